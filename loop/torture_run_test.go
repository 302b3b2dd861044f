package loop

import (
	"fmt"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// One run of the torture. It keeps account of the requests: each one that was accepted completes once, with a
// result that it may have. A program whose operation fails gives up: it cancels the others. So a request that
// does not end although nothing failed is a hang, which the watchdog sees.

type torment struct {
	tortureCase
	kernel *tortured
	loop   *Loop
	path   string // a file of zeros

	mu          sync.Mutex
	acts        []*act
	gaveUp      bool
	wrong       []string
	descriptors []int // to be closed at the end
	checks      []func()
}

// act is one request.
type act struct {
	Request
	what      string
	most      int64   // results from 0 to this one are right,
	also      []int64 // and these
	buffer    []byte
	vectors   [2]request.Iovec
	then      func(*act) // after a right result
	shots     int
	ends      int
	cancelled bool
}

func (x *torment) complain(format string, arguments ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wrong = append(x.wrong, fmt.Sprintf(format, arguments...))
}

// play makes the loop, plays the scenario, runs the loop, ends it and checks what came of it.
func (x *torment) play() {
	if x.scenario.bound {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	if !x.open() {
		return
	}
	x.scenario.play(x)
	run := x.loop.Run
	if x.scenario.run != nil {
		run = func() error { return x.scenario.run(x) }
	}
	if err := run(); err != nil {
		x.complain("run: %v", err)
	}
	x.mu.Lock()
	x.gaveUp = true
	x.mu.Unlock()
	if err := x.loop.Close(); err != nil {
		x.complain("close: %v", err)
		return
	}
	for _, a := range x.acts {
		if a.ends != 1 {
			x.complain("%s completed %d times", a.what, a.ends)
		}
	}
	for _, check := range x.checks {
		check()
	}
}

// begin submits a request, unless the program gave up. Who gives up meanwhile waits, for a request must not
// be cancelled before it is accepted.
func (x *torment) begin(a *act, submit func(done func(*Request)) error) *act {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gaveUp {
		return a
	}
	if err := submit(func(*Request) { x.complete(a) }); err != nil {
		x.wrong = append(x.wrong, fmt.Sprintf("%s was refused: %v", a.what, err))
		return a
	}
	x.acts = append(x.acts, a)
	return a
}

// complete judges a result.
func (x *torment) complete(a *act) {
	result, right := a.Result(), false
	x.mu.Lock()
	if a.ends > 0 {
		x.mu.Unlock()
		x.complain("%s completed again, with %d", a.what, result)
		return
	}
	if a.More() {
		a.shots++
	} else {
		a.ends++
	}
	right = result >= 0 && result <= a.most
	for _, other := range a.also {
		right = right || result == other
	}
	cancelled := result == sys.ECANCELED && (a.cancelled || x.gaveUp)
	x.mu.Unlock()
	switch {
	case right && a.then != nil:
		a.then(a)
	case right, cancelled:
	case x.permits(result):
		x.giveUp()
	default:
		x.complain("%s: result %d, %v", a.what, result, a.Err())
		x.giveUp()
	}
}

// permits reports whether the fault may show as this result.
func (x *torment) permits(result int64) bool {
	if x.kernel.hits() == 0 {
		return false
	}
	for _, errno := range tortureCalls[x.fault.call].shown {
		if errno == x.fault.errno && result == errno {
			return true
		}
	}
	if x.fault.call == callRingMapBuffers && result == sys.ENOMEM {
		return true // EAGAIN is: no memory that may be locked
	}
	// A blocking read of a file that would block: nobody can wait for a file.
	return x.fault.errno == sys.EAGAIN && result == sys.EIO
}

// giveUp cancels what is in flight.
func (x *torment) giveUp() {
	x.mu.Lock()
	acts := append([]*act(nil), x.acts...)
	x.gaveUp = true
	x.mu.Unlock()
	for _, a := range acts {
		x.loop.Cancel(&a.Request)
	}
}

func (x *torment) cancel(a *act) {
	x.mu.Lock()
	a.cancelled = true
	x.mu.Unlock()
	x.loop.Cancel(&a.Request)
}

// atEnd has something checked when the loop is gone.
func (x *torment) atEnd(check func()) { x.checks = append(x.checks, check) }

// ---- descriptors

func (x *torment) keep(fds ...int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.descriptors = append(x.descriptors, fds...)
}

// disown says that a descriptor was closed.
func (x *torment) disown(fd int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, other := range x.descriptors {
		if other == fd {
			x.descriptors = append(x.descriptors[:i], x.descriptors[i+1:]...)
			return
		}
	}
}

func certain(err error) {
	if err != nil {
		panic(err)
	}
}

func (x *torment) pipe() (reader, writer int) {
	var fds [2]int
	certain(unix.Pipe2(fds[:], unix.O_CLOEXEC))
	x.keep(fds[0], fds[1])
	return fds[0], fds[1]
}

func (x *torment) pair(kind int) (ours, peers int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	certain(err)
	x.keep(fds[0], fds[1])
	return fds[0], fds[1]
}

// listener makes a TCP socket that listens, and the address in the form of the system.
func (x *torment) listener(flags int) (fd int, address []byte) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
	certain(err)
	x.keep(fd)
	certain(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	certain(unix.Listen(fd, 8))
	name, err := unix.Getsockname(fd)
	certain(err)
	return fd, inetAddress(name.(*unix.SockaddrInet4).Port)
}

func inetAddress(port int) []byte {
	address := make([]byte, 16)
	*(*uint16)(unsafe.Pointer(&address[0])) = unix.AF_INET
	address[2], address[3] = byte(port>>8), byte(port)
	copy(address[4:], []byte{127, 0, 0, 1})
	return address
}

// socket makes a TCP socket by the loop; -1 when that failed as it may.
func (x *torment) socket() int {
	fd, err := x.loop.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		x.keep(fd)
		return fd
	}
	if !x.permits(-int64(err.(unix.Errno))) {
		x.complain("socket: %v", err)
	}
	return -1
}

func (x *torment) write1(fd int) {
	_, err := unix.Write(fd, []byte{1})
	certain(err)
}

// ---- requests

func (x *torment) tick(then func(*act)) *act {
	a := &act{what: "tick", then: then}
	return x.begin(a, func(done func(*Request)) error { return x.loop.OnNextTick(&a.Request, done) })
}

func (x *torment) timer(delay time.Duration, then func(*act)) *act {
	a := &act{what: "timer", then: then}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.StartTimer(&a.Request, delay, 0, done)
	})
}

func (x *torment) work(work func()) *act {
	a := &act{what: "work"}
	return x.begin(a, func(done func(*Request)) error { return x.loop.QueueWork(&a.Request, work, done) })
}

func (x *torment) wait(fd int, events uint32, then func(*act)) *act {
	a := &act{what: "wait", most: 15, then: then}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.WaitUntilReady(&a.Request, fd, events, done)
	})
}

// watch watches until so many shots were seen.
func (x *torment) watch(fd int, events uint32, shots int, onShot func(*act)) *act {
	a := &act{what: "watch", most: 15}
	a.then = func(a *act) {
		if a.shots == shots {
			x.cancel(a)
		}
		if onShot != nil && a.More() {
			onShot(a)
		}
	}
	return x.begin(a, func(done func(*Request)) error { return x.loop.Watch(&a.Request, fd, events, done) })
}

func (x *torment) read(fd, size int, then func(*act)) *act {
	a := &act{what: "read", most: int64(size), then: then, buffer: make([]byte, size)}
	return x.begin(a, func(done func(*Request)) error { return x.loop.Read(&a.Request, fd, a.buffer, done) })
}

func (x *torment) readAt(fd, size int, offset int64, then func(*act)) *act {
	a := &act{what: "pread", most: int64(size), then: then, buffer: make([]byte, size)}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.ReadAt(&a.Request, fd, a.buffer, offset, done)
	})
}

func (x *torment) write(fd int, data []byte, then func(*act)) *act {
	a := &act{what: "write", most: int64(len(data)), then: then, buffer: data}
	return x.begin(a, func(done func(*Request)) error { return x.loop.Write(&a.Request, fd, data, done) })
}

func (x *torment) writeAt(fd int, data []byte, offset int64, then func(*act)) *act {
	a := &act{what: "pwrite", most: int64(len(data)), then: then, buffer: data}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.WriteAt(&a.Request, fd, data, offset, done)
	})
}

// vector reads or writes two buffers of 4 bytes.
func (x *torment) vector(op request.Op, fd int, offset int64, then func(*act)) *act {
	a := &act{what: "vector", most: 8, then: then, buffer: []byte("vectored")}
	for i := range a.vectors {
		a.vectors[i] = request.Iovec{Base: uintptr(unsafe.Pointer(&a.buffer[4*i])), Length: 4}
	}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.submit(&a.Request, x.loop.home(fd), done, func() {
			a.core.Op, a.core.Fd, a.core.Offset, a.core.Vector = op, int64(fd), offset, true
			a.core.Address, a.core.Length = uintptr(unsafe.Pointer(&a.vectors)), 2
		})
	})
}

// openFile opens a path; the descriptor is kept to the end.
func (x *torment) openFile(path string, flags int, then func(*act)) *act {
	a := &act{what: "open", most: 1 << 20}
	a.then = func(a *act) {
		x.keep(int(a.Result()))
		if then != nil {
			then(a)
		}
	}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.Open(&a.Request, path, flags|unix.O_CLOEXEC, 0o600, done)
	})
}

func (x *torment) access(path string, then func(*act)) *act {
	a := &act{what: "access", then: then}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.Access(&a.Request, unix.AT_FDCWD, path, unix.R_OK, 0, done)
	})
}

// close closes a descriptor: it is closed whatever the result says, unless that is a cancel.
func (x *torment) close(fd int, then func(*act)) *act {
	a := &act{what: "close", then: then}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.CloseFd(&a.Request, fd, func(r *Request) {
			if r.Result() != sys.ECANCELED {
				x.disown(fd)
			}
			done(r)
		})
	})
}

// accept accepts so many connections, each of which is kept to the end.
func (x *torment) accept(fd int, flags uint32, count int, then func(*act)) *act {
	a := &act{what: "accept", most: 1 << 20}
	a.then = func(a *act) {
		x.keep(int(a.Result()))
		if then != nil {
			then(a)
		}
		if flags != 0 && a.shots == count {
			x.cancel(a)
		}
	}
	return x.begin(a, func(done func(*Request)) error { return x.loop.Accept(&a.Request, fd, flags, done) })
}

func (x *torment) connect(fd int, address []byte, then func(*act)) *act {
	a := &act{what: "connect", then: then, buffer: address}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.Connect(&a.Request, fd, address, done)
	})
}

func (x *torment) receive(fd, size int, flags uint32, then func(*act)) *act {
	a := &act{what: "receive", most: int64(size), then: then, buffer: make([]byte, size)}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.Receive(&a.Request, fd, a.buffer, flags, done)
	})
}

func (x *torment) send(fd int, data []byte, flags uint32, then func(*act)) *act {
	a := &act{what: "send", most: int64(len(data)), then: then, buffer: data}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.Send(&a.Request, fd, data, flags, done)
	})
}

func (x *torment) shutdown(fd, how int) *act {
	a := &act{what: "shutdown"}
	return x.begin(a, func(done func(*Request)) error { return x.loop.Shutdown(&a.Request, fd, how, done) })
}

func (x *torment) sendfile(out, in int, count int64, flags uint32, then func(*act)) *act {
	a := &act{what: "sendfile", most: count, then: then}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.Sendfile(&a.Request, out, in, 0, count, flags, done)
	})
}

func (x *torment) splice(in int, offset int64, out int, count int, then func(*act)) *act {
	a := &act{what: "splice", most: int64(count), then: then}
	return x.begin(a, func(done func(*Request)) error {
		return x.loop.submit(&a.Request, x.loop.home(in), done, func() {
			a.core.Op, a.core.Fd, a.core.Mode, a.core.Length = request.OpSplice, int64(in), 0, uint64(count)
			a.core.Moved, a.core.Message, a.core.Pool, a.core.Events = 0, 0, nil, request.Readable
			a.core.Offset, a.core.OwnMessage.Name = offset, uintptr(out)
			*a.core.OtherOffset() = request.CurrentPosition
		})
	})
}

func (x *torment) cancelFd(fd int) *act {
	a := &act{what: "cancel_fd", most: 100}
	return x.begin(a, func(done func(*Request)) error { return x.loop.CancelFd(&a.Request, fd, done) })
}

// openTheFile opens the file of zeros without the loop.
func (x *torment) openTheFile(flags int) int {
	fd, err := unix.Open(x.path, flags|unix.O_CLOEXEC, 0)
	certain(err)
	x.keep(fd)
	return fd
}

// drain reads what is in a pipe or socket, without waiting.
func drain(fd int) (all []byte) {
	certain(unix.SetNonblock(fd, true))
	for buffer := make([]byte, 1<<16); ; {
		n, err := unix.Read(fd, buffer)
		if n <= 0 || err != nil {
			return all
		}
		all = append(all, buffer[:n]...)
	}
}
