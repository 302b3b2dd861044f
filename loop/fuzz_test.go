package loop

import (
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libloop/libloop/loop/internal/sys"
)

// FuzzProgram executes an input as a program of calls on one loop and the real kernel: its first byte chooses
// the backend, its second the number of threads, and each four bytes that follow are a call. Whatever the
// program is, each request that was accepted completes exactly once, with a result that the contract allows,
// and nothing is left of the loop.
func FuzzProgram(f *testing.F) {
	for _, calls := range []string{
		"a0b1c2" + "\x00\x03\x00\x00" + "\x12\x00\x00\x00",
		"\x14\x00\x00\x00\x05\x00\x00\x00\x06\x01\x01\x00\x12\x00\x00\x00\x0d\x02\x00\x00\x12\x00\x00\x00",
		"\x14\x00\x00\x01\x09\x00\x00\x00\x0a\x01\x01\x02\x04\x02\x01\x03\x12\x00\x00\x01" +
			"\x0c\x03\x00\x01\x12\x00\x00\x00",
		"\x14\x00\x02\x02\x07\x00\x02\x01\x08\x01\x02\x02\x0f\x02\x00\x00" +
			"\x02\x03\x00\x00\x12\x00\x00\x01\x13\x00\x00\x00",
		"\x01\x00\x02\x02\x01\x01\x06\x00\x03\x02\x00\x00\x10\x00\x00\x00" +
			"\x12\x00\x00\x01\x15\x00\x00\x00\x11\x01\x00\x00",
	} {
		for _, backend := range "\x00\x01\x02" {
			f.Add([]byte(string(backend) + "\x00" + calls))
			f.Add([]byte(string(backend) + "\x01" + calls))
		}
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) >= 2 {
			runFuzzProgram(t, input[0], input[1], input[2:min(len(input), 402)])
		}
	})
}

func runFuzzProgram(t *testing.T, backend, threads byte, calls []byte) {
	before := descriptors(t)
	p := &fuzzProgram{t: t}
	p.open(backend, threads)
	for ; len(calls) >= 4; calls = calls[4:] {
		p.call(calls[0]%24, int(calls[1])%len(p.flights), int(calls[2])%len(p.fds), calls[3])
	}
	must(t, p.loop.Close())
	for i := range p.flights {
		if f := &p.flights[i]; f.inFlight && !f.harvested {
			t.Errorf("request %d: accepted and not completed", i)
		}
	}
	p.closeFds()
	wantFewDescriptors(t, before)
}

// wantFewDescriptors fails if there are more than that, and stay. The fuzzer itself opens and closes some.
func wantFewDescriptors(t *testing.T, most int) {
	for tries := 0; descriptors(t) > most; tries++ {
		if tries == 100 {
			t.Fatalf("%d descriptors before, %d after", most, descriptors(t))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// fuzzProgram is a program that runs. The mutex guards what callbacks of several threads touch.
type fuzzProgram struct {
	t       *testing.T
	loop    *Loop
	mutex   sync.Mutex
	flights [8]fuzzFlight
	fds     [6]fuzzFd
}

// fuzzFlight is a request, and what is known about its present flight.
type fuzzFlight struct {
	request   Request
	inFlight  bool
	harvested bool // it has no callback
	multishot bool
	opens     bool // its result is a descriptor
	closes    *fuzzFd
	repeats   int // times that its callback submits it again
	buffer    [64]byte
}

// fuzzFd is a descriptor with a number that nobody else is given.
type fuzzFd struct {
	open, closing bool
}

const firstFuzzFd = 700

// open makes the loop; where io_uring cannot be had, on epoll.
func (p *fuzzProgram) open(backend, threads byte) {
	options := Options{Threads: 1 + int(threads)%3, BlockingThreads: 2, Backend: BackendEpoll}
	kernel := sys.Kernel(sys.Linux{})
	switch backend % 3 {
	case 1:
		options.Backend = BackendAuto
	case 2:
		options.Backend, kernel = BackendAuto, &shortRings{entries: 2 << (backend / 3 % 3)}
	}
	l, err := newLoop(kernel, options)
	must(p.t, err)
	p.loop = l
}

// fd is the number of a descriptor, or of one that is not open.
func (p *fuzzProgram) fd(at int) int {
	if f := &p.fds[at]; !f.open || f.closing {
		return firstFuzzFd - 1
	}
	return firstFuzzFd + at
}

// call makes one call.
func (p *fuzzProgram) call(what byte, at, fd int, operand byte) {
	f := &p.flights[at]
	switch what {
	case 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15:
		p.submit(what, at, fd, operand)
	case 16:
		if p.loop.Cancel(&f.request) != f.inFlight {
			p.t.Errorf("cancel of request %d, in flight %v, says otherwise", at, f.inFlight)
		}
	case 17:
		if p.loop.CancelOnNextTick(&f.request) {
			p.end(f)
		}
	case 18:
		timeout := time.Duration(operand%2) * 100 * time.Microsecond
		for range 1 + operand/2%8 {
			_, err := p.loop.RunOnce(timeout)
			must(p.t, err)
			p.harvest()
		}
	case 19:
		p.harvest()
	case 20:
		p.makeFds(fd, operand)
	case 21:
		p.loop.ModifyWatch(&f.request, uint32(operand)%32)
	case 22:
		p.loop.Stop()
		must(p.t, p.loop.Run())
	default:
		syscall.SetNonblock(p.fd(fd), true)
		syscall.Write(p.fd(fd), f.buffer[:operand%64])
	}
}

// submit submits a request; one that is in flight must be busy.
func (p *fuzzProgram) submit(what byte, at, fd int, operand byte) {
	f := &p.flights[at]
	if f.inFlight {
		if err := p.send(what, f, fd, operand, nil); !errors.Is(err, syscall.EBUSY) {
			p.t.Errorf("submit of request %d, which is in flight: %v", at, err)
		}
		return
	}
	var done func(*Request)
	f.repeats = int(operand / 16 % 3)
	if operand%16 != 15 {
		done = func(r *Request) {
			p.mutex.Lock()
			defer p.mutex.Unlock()
			p.complete(f)
			if !f.inFlight && f.repeats > 0 && p.loop.check() == nil {
				f.repeats--
				p.begin(what, f, fd, operand, done)
			}
		}
	}
	p.begin(what, f, fd, operand, done)
}

// begin submits a request that is not in flight.
func (p *fuzzProgram) begin(what byte, f *fuzzFlight, fd int, operand byte, done func(*Request)) {
	f.inFlight, f.harvested = true, done == nil
	f.multishot = what == 4 || what == 1 || what == 11
	f.opens = what == 11 || what == 15
	f.closes = nil
	number := p.fd(fd)
	if what == 13 && number >= firstFuzzFd {
		f.closes = &p.fds[fd]
		defer func() { p.fds[fd].closing = f.closes != nil }()
	}
	f.request.SetTimeout(time.Duration(operand/64) * 50 * time.Microsecond)
	if err := p.send(what, f, fd, operand, done); err != nil {
		p.t.Errorf("submit: %v", err)
		f.inFlight = false
	}
}

// send makes the call that submits.
func (p *fuzzProgram) send(what byte, f *fuzzFlight, at int, operand byte, done func(*Request)) error {
	l, r, fd, bytes := p.loop, &f.request, p.fd(at), f.buffer[:operand%65]
	times := [...]time.Duration{0, 1, time.Microsecond, 100 * time.Microsecond, time.Hour, 1<<63 - 1}
	offsets := [...]int64{0, 1, 40, 4096, 1<<63 - 1, -1}
	switch what {
	case 0:
		return l.OnNextTick(r, done)
	case 1:
		return l.StartTimer(r, times[operand%6], times[operand/6%6], done)
	case 2:
		return l.QueueWork(r, func() {}, done)
	case 3:
		return l.WaitUntilReady(r, fd, 1+uint32(operand)%3, done)
	case 4:
		return l.Watch(r, fd, uint32(operand)%32, done)
	case 5:
		return l.Read(r, fd, bytes, done)
	case 6:
		return l.Write(r, fd, bytes, done)
	case 7:
		return l.ReadAt(r, fd, bytes, offsets[operand%6], done)
	case 8:
		return l.WriteAt(r, fd, bytes, offsets[operand%6], done)
	case 9:
		return l.Receive(r, fd, bytes, uint32(operand)&(syscall.MSG_PEEK|syscall.MSG_WAITALL), done)
	case 10:
		return l.Send(r, fd, bytes, SendAll*uint32(operand%2), done)
	case 11:
		return l.Accept(r, fd, Multishot*uint32(operand%2), done)
	case 12:
		return l.Shutdown(r, fd, int(operand%4), done)
	case 13:
		return l.CloseFd(r, fd, done)
	case 14:
		return l.CancelFd(r, fd, done)
	default:
		return l.Open(r, [...]string{"/dev/null", "/", "", "/nowhere"}[operand%4], syscall.O_CLOEXEC, 0, done)
	}
}

// harvest fetches what has no callback.
func (p *fuzzProgram) harvest() {
	var done [8]*Request
	n, err := p.loop.Wait(done[:], 0)
	must(p.t, err)
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, r := range done[:n] {
		for i := range p.flights {
			if &p.flights[i].request == r {
				p.complete(&p.flights[i])
			}
		}
	}
}

// complete books a completion.
func (p *fuzzProgram) complete(f *fuzzFlight) {
	result := f.request.Result()
	switch err := f.request.Err(); {
	case !f.inFlight:
		p.t.Errorf("a completion too many: %d", result)
	case f.request.More() && (!f.multishot || err != nil):
		p.t.Errorf("a shot that was not asked for: %d", result)
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR):
		p.t.Errorf("completed with %v", err)
	}
	if f.opens && result >= 0 {
		must(p.t, syscall.Close(int(result)))
	}
	if !f.request.More() {
		p.end(f)
	}
}

// end books the end of a flight.
func (p *fuzzProgram) end(f *fuzzFlight) {
	f.inFlight = false
	if f.closes != nil {
		err := f.request.Err()
		f.closes.open = errors.Is(err, syscall.ECANCELED) || errors.Is(err, syscall.ETIMEDOUT)
		f.closes.closing = false
		f.closes = nil
	}
}

// makeFds makes one or two descriptors, if their numbers are free.
func (p *fuzzProgram) makeFds(at int, kind byte) {
	var pair [2]int
	var err error
	switch kind % 4 {
	case 0:
		err = syscall.Pipe2(pair[:], syscall.O_CLOEXEC)
	case 1:
		pair, err = syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	case 2:
		const nameless = 0x410000 // O_TMPFILE
		pair[0], err = syscall.Open(p.t.TempDir(), syscall.O_RDWR|syscall.O_CLOEXEC|nameless, 0o600)
		pair[1] = -1
	default:
		pair[0], err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		pair[1] = -1
		must(p.t, err)
		must(p.t, syscall.Bind(pair[0], &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
		must(p.t, syscall.Listen(pair[0], 1))
	}
	must(p.t, err)
	for i, number := range pair {
		if number < 0 {
			continue
		}
		if f := &p.fds[(at+i)%len(p.fds)]; !f.open && !f.closing {
			must(p.t, syscall.Dup3(number, firstFuzzFd+(at+i)%len(p.fds), syscall.O_CLOEXEC))
			f.open = true
		}
		must(p.t, syscall.Close(number))
	}
}

func (p *fuzzProgram) closeFds() {
	for i := range p.fds {
		if p.fds[i].open || p.fds[i].closing {
			syscall.Close(firstFuzzFd + i)
		}
	}
}
