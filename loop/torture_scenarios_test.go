package loop

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// The scenarios of the torture. Each is small, ends by itself, and takes about a millisecond.

// tortureScenario submits requests to a loop, which is then run until nothing is pending, and closed.
type tortureScenario struct {
	name    string
	play    func(x *torment)
	run     func(x *torment) error // instead of Run
	threads int                    // 0 = 1
	bound   bool                   // the loop is bound to its thread
	auto    bool                   // also with the backend of the loop's choice
	ring    bool                   // not with epoll
	full    bool                   // with an epoll that has no room, and not with io_uring
	edge    bool                   // it relies on edges: no EAGAIN while there is something to be had
}

const tortureSoon = 300 * time.Microsecond

var tortureScenarios = []tortureScenario{
	{name: "nothing", play: func(*torment) {}, auto: true},
	{name: "nothing with 3 threads", play: func(*torment) {}, threads: 3, auto: true},
	{name: "ticks", play: playTicks},
	{name: "ticks on 4 threads", play: playTicks, threads: 4},
	{name: "timers", play: playTimers},
	{name: "timeouts", play: playTimeouts},
	{name: "work", play: playWork},
	{name: "work on 2 threads", play: playWork, threads: 2},
	{name: "waits", play: playWaits},
	{name: "waits without room in epoll", play: playWaits, full: true},
	{name: "a level watch", play: func(x *torment) { playWatch(x, Readable) }},
	{name: "an edge watch", play: func(x *torment) { playWatch(x, Readable|EdgeTriggered) }},
	{
		name: "a level watch without room in epoll",
		play: func(x *torment) { playWatch(x, Readable) }, full: true,
	},
	{name: "a modified watch", play: playModify},
	{name: "watches of both directions", play: playBothDirections},
	{name: "cancels", play: playCancels},
	{name: "cancels without room in epoll", play: playCancels, full: true},
	{name: "a pipe", play: playPipe},
	{
		name: "pipes on 2 threads",
		play: func(x *torment) { playPipe(x); playPipe(x); playPipe(x) }, threads: 2,
	},
	{name: "many writes to a pipe", play: playManyWrites},
	{name: "a full pipe", play: playFullPipe},
	{name: "a file at offsets", play: playFileAtOffsets},
	{name: "a file at its position", play: playFileAtPosition},
	{name: "a file opened past the cache", play: playDirect},
	{name: "vectors", play: playVectors},
	{name: "open and close", play: playOpenClose},
	{name: "open and close on 2 threads", play: playOpenClose, threads: 2},
	{name: "open of a fifo", play: playFifo},
	{name: "access", play: func(x *torment) { x.access(x.path, nil) }},
	{name: "close under a wait", play: playCloseUnderWait},
	{name: "accept and connect", play: func(x *torment) { playAccept(x, unix.SOCK_NONBLOCK) }},
	{name: "accept on a listener that blocks", play: func(x *torment) { playAccept(x, 0) }},
	{name: "accept of many shots", edge: true,
		play: func(x *torment) { playAcceptShots(x, unix.SOCK_NONBLOCK) }},
	{name: "accept of many shots on 2 threads", threads: 2, edge: true,
		play: func(x *torment) { playAcceptShots(x, 0) }},
	{name: "a refused connect", play: playRefused},
	{name: "connect of a socket that blocks", play: playBlockingConnect},
	{name: "an echo", play: playEcho},
	{name: "an echo without room in epoll", play: playEcho, full: true},
	{name: "send all, receive all", play: playAll},
	{name: "sends in order", play: playOrder},
	{name: "datagrams", play: playDatagrams},
	{name: "messages", play: playMessages},
	{name: "shutdown", play: playShutdown},
	{name: "a short sendfile", play: func(x *torment) { playSendfile(x, 2000) }},
	{name: "a long sendfile", play: func(x *torment) { playSendfile(x, 100_000) }},
	{name: "splices", play: playSplices},
	{name: "cancel of a descriptor", play: playCancelFd},
	{name: "receive into a pool", play: func(x *torment) { playPool(x, 0) }},
	{
		name: "receive of many shots into a pool",
		play: func(x *torment) { playPool(x, Multishot) }, edge: true,
	},
	{name: "close in full flight", play: playFlight, run: runLittle, edge: true},
	{name: "close in full flight on 3 threads", play: playFlight, run: runLittle, threads: 3, edge: true},
	{name: "harvest", play: func(*torment) {}, run: runHarvest},
	{name: "turns", play: playPipe, run: runTurns},
	{name: "stop", play: playPipe, run: runStopped},
	{name: "submits of other threads", play: func(*torment) {}, run: runOthers},
	{name: "submits of other threads to 2", play: func(*torment) {}, run: runOthers, threads: 2},
	{name: "a loop bound to its thread", play: playPipe, bound: true, ring: true},
}

func playTicks(x *torment) {
	x.tick(func(*act) { x.tick(func(*act) { x.tick(nil) }) })
	back := &act{what: "a tick that is taken back", ends: 1} // which is not to come
	if err := x.loop.OnNextTick(&back.Request, func(*Request) { x.complete(back) }); err != nil {
		x.complain("%v", err)
	}
	if !x.loop.CancelOnNextTick(&back.Request) {
		x.complain("a tick cannot be taken back")
	}
}

func playTimers(x *torment) {
	start := x.loop.Now()
	x.timer(tortureSoon, func(*act) {
		if x.loop.Now()-start < tortureSoon {
			x.complain("a timer fired early")
		}
	})
	a := &act{what: "periodic timer"}
	a.then = func(*act) {
		if a.shots == 3 {
			x.cancel(a)
		}
	}
	x.begin(a, func(done func(*Request)) error {
		return x.loop.StartTimer(&a.Request, tortureSoon/4, tortureSoon/4, done)
	})
	x.cancel(x.timer(time.Hour, nil))
}

func playTimeouts(x *torment) {
	silent, _ := x.pipe()
	ours, _ := x.pair(unix.SOCK_STREAM)
	late := func(what string, submit func(r *Request, done func(*Request)) error) {
		a := &act{what: what, most: -1, also: []int64{sys.ETIMEDOUT}, buffer: make([]byte, 8)}
		a.SetTimeout(tortureSoon)
		x.begin(a, func(done func(*Request)) error { return submit(&a.Request, done) })
	}
	buffer := make([]byte, 8)
	late("late wait", func(r *Request, done func(*Request)) error {
		return x.loop.WaitUntilReady(r, silent, Readable, done)
	})
	late("late read", func(r *Request, done func(*Request)) error {
		return x.loop.Read(r, silent, buffer, done)
	})
	late("late receive", func(r *Request, done func(*Request)) error {
		return x.loop.Receive(r, ours, buffer, 0, done)
	})
	late("late watch", func(r *Request, done func(*Request)) error {
		return x.loop.Watch(r, silent, Readable|EdgeTriggered, done)
	})
}

func playWork(x *torment) {
	var worked atomic.Int32
	var works []*act
	for range 5 {
		works = append(works, x.work(func() { worked.Add(1) }))
	}
	x.atEnd(func() {
		done := int32(0)
		for _, a := range works {
			if a.Result() == 0 {
				done++
			}
		}
		if n := worked.Load(); n != done {
			x.complain("%d works say that they were done, and %d were", done, n)
		}
	})
}

func playWaits(x *torment) {
	reader, writer := x.pipe()
	ours, peers := x.pair(unix.SOCK_STREAM)
	x.wait(reader, Readable, func(a *act) {
		if a.Result() != Readable {
			x.complain("wait: %d", a.Result())
		}
	})
	x.wait(writer, Writable, func(*act) { x.write1(writer) })
	x.wait(ours, Readable|Writable, nil)
	x.wait(peers, Readable, nil)
	x.timer(tortureSoon, func(*act) { x.write1(ours) })
}

// playWatch feeds a watch from its shots.
func playWatch(x *torment, events uint32) {
	reader, writer := x.pair(unix.SOCK_STREAM)
	x.write1(writer)
	x.watch(reader, events, 3, func(a *act) {
		drain(reader)
		x.write1(writer)
	})
}

func playModify(x *torment) {
	for _, edge := range []uint32{0, EdgeTriggered} {
		ours, _ := x.pair(unix.SOCK_STREAM)
		a := x.watch(ours, Readable|edge, 1, func(a *act) {
			if a.Result() != Writable {
				x.complain("the watch was modified, and sees %d", a.Result())
			}
		})
		x.timer(tortureSoon, func(*act) { x.loop.ModifyWatch(&a.Request, Writable) })
	}
}

func playBothDirections(x *torment) {
	ours, peers := x.pair(unix.SOCK_STREAM)
	x.watch(ours, Readable|EdgeTriggered, 1, nil)
	x.watch(ours, Writable|EdgeTriggered, 1, func(*act) { x.write1(peers) })
	x.watch(ours, Readable|Writable, 2, nil)
	x.wait(ours, Readable, nil)
}

func playCancels(x *torment) {
	silent, _ := x.pipe()
	ours, _ := x.pair(unix.SOCK_STREAM)
	acts := []*act{
		x.wait(silent, Readable, nil), x.read(silent, 10, nil), x.read(silent, 10, nil),
		x.receive(ours, 10, 0, nil), x.receive(ours, 10, unix.MSG_WAITALL, nil),
		x.watch(silent, Readable, 1, nil), x.watch(silent, Readable|EdgeTriggered, 1, nil),
		x.timer(time.Hour, nil), x.wait(ours, Readable, nil),
	}
	x.timer(tortureSoon, func(*act) {
		for _, a := range acts {
			x.cancel(a)
		}
	})
}

func playPipe(x *torment) {
	reader, writer := x.pipe()
	x.read(reader, 5, func(a *act) {
		if got := a.buffer[:a.Result()]; !bytes.Equal(got, []byte("hello")) {
			x.complain("read %q", got)
		}
		x.read(reader, 5, nil)
	})
	x.write(writer, []byte("hello"), func(*act) { x.write(writer, []byte("again"), nil) })
}

// playManyWrites checks that each write that succeeded arrives once, and the others not at all.
func playManyWrites(x *torment) {
	reader, writer := x.pipe()
	var writes []*act
	for i := range 12 {
		writes = append(writes, x.write(writer, bytes.Repeat([]byte{byte('a' + i)}, 100), nil))
	}
	x.atEnd(func() { x.expectAll(writes, drain(reader)) })
}

// expectAll wants all of the bytes that were written, and no others, in whatever order.
func (x *torment) expectAll(writes []*act, arrived []byte) {
	slices.Sort(arrived)
	if wanted := written(writes); !bytes.Equal(wanted, arrived) {
		x.complain("%d bytes arrived, and %d were written", len(arrived), len(wanted))
	}
}

func written(writes []*act) (all []byte) {
	for _, a := range writes {
		all = append(all, a.buffer[:max(a.Result(), 0)]...)
	}
	return all
}

func playFullPipe(x *torment) {
	reader, writer := x.pipe()
	_, err := unix.FcntlInt(uintptr(writer), unix.F_SETPIPE_SZ, 4096)
	certain(err)
	_, err = unix.Write(writer, make([]byte, 4096))
	certain(err)
	first := x.write(writer, bytes.Repeat([]byte("1"), 3000), nil)
	second := x.write(writer, bytes.Repeat([]byte("2"), 3000), nil)
	left := 4096 + 3000
	var next func(*act)
	next = func(a *act) {
		if left -= max(int(a.Result()), 0); left > 0 {
			x.read(reader, min(left, 4096), next)
		}
	}
	x.timer(tortureSoon, next)
	x.atEnd(func() {
		if total := first.Result() + second.Result(); total > 6000 {
			x.complain("%d bytes were written", total)
		}
	})
}

func playFileAtOffsets(x *torment) {
	fd := x.openTheFile(unix.O_RDWR)
	x.readAt(fd, 5000, 1000, x.wholeRead)
	x.readAt(fd, 100, 99_950, nil) // to the end
	x.readAt(fd, 100, 200_000, nil)
	x.writeAt(fd, make([]byte, 300), 500, func(*act) { x.readAt(fd, 600, 400, x.wholeRead) })
}

func (x *torment) wholeRead(a *act) {
	if int(a.Result()) != len(a.buffer) {
		x.complain("%d of %d bytes were read", a.Result(), len(a.buffer))
	}
}

func playFileAtPosition(x *torment) {
	fd := x.openTheFile(unix.O_RDWR)
	for range 3 {
		x.read(fd, 1000, nil)
	}
	x.write(fd, make([]byte, 300), func(*act) { x.write(fd, make([]byte, 10), nil) })
	x.atEnd(func() {
		moved := int64(0)
		for _, a := range x.acts {
			moved += max(a.Result(), 0)
		}
		if at, err := unix.Seek(fd, 0, 1); err != nil || at > moved {
			x.complain("%d bytes were moved, and the position is %d", moved, at)
		}
	})
}

func playDirect(x *torment) {
	fd, err := unix.Open(x.path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_DIRECT, 0)
	if err != nil {
		fd = x.openTheFile(unix.O_RDONLY) // a file system without it
	} else {
		x.keep(fd)
	}
	memory := make([]byte, 8192)
	page := memory[4096-uintptr(unsafe.Pointer(&memory[0]))%4096:][:4096]
	a := &act{what: "direct read", most: 4096, buffer: page}
	x.begin(a, func(done func(*Request)) error { return x.loop.ReadAt(&a.Request, fd, page, 0, done) })
}

func playVectors(x *torment) {
	reader, writer := x.pipe()
	x.vector(request.OpRead, reader, request.CurrentPosition, nil)
	x.vector(request.OpWrite, writer, request.CurrentPosition, nil)
	fd := x.openTheFile(unix.O_RDONLY)
	x.vector(request.OpRead, fd, 50, nil)
}

func playOpenClose(x *torment) {
	for range 2 {
		x.openFile(x.path, unix.O_RDONLY, func(a *act) { x.close(int(a.Result()), nil) })
	}
	x.openFile(x.path, unix.O_RDONLY|unix.O_NONBLOCK, nil)
	missing := &act{what: "open of nothing", most: -1, also: []int64{sys.ENOENT}}
	x.begin(missing, func(done func(*Request)) error {
		return x.loop.Open(&missing.Request, x.path+".none", unix.O_RDONLY, 0, done)
	})
	reader, _ := x.pipe()
	x.close(reader, nil)
}

func playFifo(x *torment) {
	path := filepath.Join(filepath.Dir(x.path), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil && err != unix.EEXIST {
		panic(err)
	}
	x.atEnd(func() { os.Remove(path) })
	// The peer has no part in the torture: it is there as long as the open may wait for it.
	peer, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	certain(err)
	x.keep(peer)
	x.openFile(path, unix.O_RDONLY, nil)
	x.openFile(path, unix.O_WRONLY, nil)
}

func playCloseUnderWait(x *torment) {
	ours, _ := x.pair(unix.SOCK_STREAM)
	for _, a := range []*act{
		x.wait(ours, Readable, nil), x.receive(ours, 10, 0, nil), x.read(ours, 10, nil),
		x.watch(ours, Readable|EdgeTriggered, 1, nil), x.watch(ours, Readable, 1, nil),
	} {
		a.cancelled = true // by the close
	}
	x.tick(func(*act) { x.close(ours, nil) })
}

func playAccept(x *torment, flags int) {
	listener, address := x.listener(flags)
	x.accept(listener, 0, 1, nil)
	if fd := x.socket(); fd >= 0 {
		x.connect(fd, address, nil)
	} else {
		x.giveUp()
	}
}

func playAcceptShots(x *torment, flags int) {
	listener, address := x.listener(flags)
	x.accept(listener, Multishot, 3, nil)
	for range 3 {
		if fd := x.socket(); fd >= 0 {
			x.connect(fd, address, nil)
		} else {
			x.giveUp()
		}
	}
}

func playRefused(x *torment) {
	listener, address := x.listener(0)
	x.disown(listener)
	certain(unix.Close(listener))
	if fd := x.socket(); fd >= 0 {
		x.connect(fd, address, nil).also = []int64{econnrefused}
	}
}

func playBlockingConnect(x *torment) {
	_, address := x.listener(0) // whose backlog takes the connections
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	certain(err)
	x.keep(fd)
	x.connect(fd, address, nil)
}

func playEcho(x *torment) {
	ours, peers := x.pair(unix.SOCK_STREAM)
	x.receive(peers, 10, 0, func(a *act) { x.send(peers, a.buffer[:a.Result()], 0, nil) })
	x.receive(ours, 10, 0, func(a *act) {
		if got := a.buffer[:a.Result()]; !bytes.Equal(got, []byte("echo")) {
			x.complain("the echo is %q", got)
		}
	})
	x.send(ours, []byte("echo"), 0, nil)
}

func playAll(x *torment) {
	const size = 60_000
	ours, peers := x.pair(unix.SOCK_STREAM)
	certain(unix.SetsockoptInt(ours, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<10))
	data := make([]byte, size)
	fill(data, 0)
	sent := x.send(ours, data, SendAll, func(a *act) {
		if a.Result() < size { // it failed after some bytes, and the next send would tell: the peer waits
			x.giveUp()
		}
	})
	received := x.receive(peers, size, unix.MSG_WAITALL, func(a *act) {
		if a.Result() < size {
			x.giveUp()
		}
	})
	x.atEnd(func() {
		got := append(received.buffer[:max(received.Result(), 0)], drain(peers)...)
		if wanted := data[:max(sent.Result(), 0)]; !bytes.Equal(got, wanted) {
			x.complain("%d bytes were sent, and %d arrived", len(wanted), len(got))
		}
	})
}

func playOrder(x *torment) {
	ours, peers := x.pair(unix.SOCK_STREAM)
	var sends []*act
	for i := range 10 {
		data := bytes.Repeat([]byte{byte('a' + i)}, 50)
		if i%3 == 0 {
			sends = append(sends, x.send(ours, data, 0, nil))
		} else {
			sends = append(sends, x.write(ours, data, nil))
		}
	}
	x.atEnd(func() {
		if wanted, got := written(sends), drain(peers); !bytes.Equal(wanted, got) {
			x.complain("%q was sent, and %q arrived", wanted, got)
		}
	})
}

func playDatagrams(x *torment) {
	ours, peers := x.pair(unix.SOCK_DGRAM)
	for range 3 {
		x.receive(peers, 10, 0, func(a *act) {
			if a.Result() != 4 {
				x.complain("a datagram of %d bytes", a.Result())
			}
		})
		x.send(ours, []byte("gram"), 0, nil)
	}
}

// playMessages sends and receives with struct msghdr, of two buffers each.
func playMessages(x *torment) {
	ours, peers := x.pair(unix.SOCK_STREAM)
	x.message(request.OpReceive, peers, unix.MSG_WAITALL)
	x.message(request.OpSend, ours, SendAll)
}

func (x *torment) message(op request.Op, fd int, flags uint32) {
	a := &act{what: "message", most: 8, buffer: []byte("messages")}
	for i := range a.vectors {
		a.vectors[i] = request.Iovec{Base: uintptr(unsafe.Pointer(&a.buffer[4*i])), Length: 4}
	}
	message := &request.Message{Vectors: uintptr(unsafe.Pointer(&a.vectors)), VectorCount: 2}
	a.User = message
	x.begin(a, func(done func(*Request)) error {
		return x.loop.submit(&a.Request, x.loop.home(fd), done, func() {
			a.core.Op, a.core.Fd, a.core.Mode, a.core.Vector = op, int64(fd), flags, true
			a.core.Offset, a.core.Length, a.core.Moved, a.core.Pool = request.CurrentPosition, 0, 0, nil
			a.core.Message = uintptr(unsafe.Pointer(message))
		})
	})
}

func playShutdown(x *torment) {
	ours, peers := x.pair(unix.SOCK_STREAM)
	x.receive(peers, 10, 0, func(*act) { x.receive(peers, 10, 0, nil) })
	x.send(ours, []byte("last"), 0, nil)
	x.shutdown(ours, unix.SHUT_WR)
	x.shutdown(ours, unix.SHUT_RD)
}

func playSendfile(x *torment, count int64) {
	in := x.openTheFile(unix.O_RDONLY)
	for _, nonblocking := range []int{unix.SOCK_NONBLOCK, 0} {
		ours, peers := x.pair(unix.SOCK_STREAM | nonblocking)
		a := x.sendfile(ours, in, count, SendAll, func(a *act) {
			if a.Result() < count {
				x.giveUp()
			}
		})
		x.receive(peers, int(count), unix.MSG_WAITALL, func(b *act) {
			if b.Result() < count {
				x.giveUp()
			}
		})
		x.atEnd(func() {
			if a.Result() > count {
				x.complain("%d bytes of %d were sent", a.Result(), count)
			}
		})
	}
}

func playSplices(x *torment) {
	in := x.openTheFile(unix.O_RDONLY)
	reader, writer := x.pipe()
	ours, peers := x.pair(unix.SOCK_STREAM | unix.SOCK_NONBLOCK)
	x.splice(in, 100, writer, 1000, func(a *act) {
		x.splice(reader, request.CurrentPosition, ours, 1000, nil)
		x.receive(peers, 1000, 0, nil)
	})
	source, feed := x.pipe()
	_, sink := x.pipe()
	x.splice(source, request.CurrentPosition, sink, 10, nil)
	x.timer(tortureSoon, func(*act) { x.write1(feed) })
}

func playCancelFd(x *torment) {
	ours, _ := x.pair(unix.SOCK_STREAM)
	for _, a := range []*act{
		x.wait(ours, Readable, nil), x.receive(ours, 10, 0, nil), x.receive(ours, 10, 0, nil),
		x.watch(ours, Readable|EdgeTriggered, 1, nil),
	} {
		a.cancelled = true
	}
	x.timer(tortureSoon, func(*act) { x.cancelFd(ours) })
}

// torturePool is a pool of buffers as capi makes it, of which the loop knows the first part.
type torturePool struct {
	loop, memory, buffers                     uintptr
	size, count, threads, slot, number, users uint32
	_                                         [2]uintptr
	share                                     struct {
		returned, free uint32
		_              [56]byte
	}
	places [4]struct{ next, length, out uint32 }
	bytes  [4][16]byte
}

// playPool receives what needs more buffers than there are, some of which are not given back.
func playPool(x *torment, flags uint32) {
	pool := &torturePool{size: 16, count: 4, threads: 1, number: 1 + uint32(lastID.Load())}
	pool.memory = uintptr(unsafe.Pointer(&pool.bytes))
	pool.buffers = uintptr(unsafe.Pointer(&pool.places))
	pool.share.free = 1
	for i := range 3 {
		pool.places[i].next = uint32(i + 2)
	}
	ours, peers := x.pair(unix.SOCK_STREAM)
	var receive func()
	receive = func() {
		a := &act{what: "receive into a pool", most: 16, also: []int64{sys.ENOBUFS}}
		a.User = pool
		a.then = func(a *act) {
			if a.Result() > 0 && !a.More() {
				receive()
			}
		}
		x.begin(a, func(done func(*Request)) error {
			return x.loop.submit(&a.Request, x.loop.home(ours), done, func() {
				a.core.Op, a.core.Fd, a.core.Mode, a.core.Length = request.OpReceive, int64(ours), flags, 0
				a.core.Offset, a.core.Events = request.CurrentPosition, 0
				a.core.Moved, a.core.Message, a.core.Held = 0, 0, 0
				a.core.Pool = (*request.BufferPool)(unsafe.Pointer(pool))
				pool.users++
			})
		})
	}
	receive()
	for range 3 {
		x.send(peers, make([]byte, 30), 0, nil)
	}
}

// playFlight has requests of all kinds in flight that do not end.
func playFlight(x *torment) {
	silent, _ := x.pipe()
	ours, _ := x.pair(unix.SOCK_STREAM)
	listener, _ := x.listener(unix.SOCK_NONBLOCK)
	file := x.openTheFile(unix.O_RDWR)
	x.wait(silent, Readable, nil)
	x.read(silent, 10, nil)
	x.watch(silent, Readable, 1, nil)
	x.watch(ours, Readable|EdgeTriggered, 1, nil)
	x.receive(ours, 10, unix.MSG_WAITALL, nil)
	x.send(ours, make([]byte, 1<<20), SendAll, nil)
	x.accept(listener, Multishot, 100, nil)
	x.timer(time.Hour, nil)
	x.readAt(file, 1000, 0, nil)
	x.write(file, make([]byte, 10), nil)
	x.openFile(x.path, unix.O_RDONLY, nil)
	x.work(func() {})
	x.sendfile(ours, file, 1000, 0, nil)
	dead, _ := x.pipe()
	x.close(dead, nil)
	x.tick(nil)
}

// runLittle leaves most of it to Close.
func runLittle(x *torment) error {
	for range 2 {
		if _, err := x.loop.RunOnce(0); err != nil {
			return err
		}
	}
	return nil
}

// runHarvest submits without callbacks, and fetches what completed.
func runHarvest(x *torment) error {
	reader, writer := x.pipe()
	var read, write, tick Request
	certain(x.loop.Read(&read, reader, make([]byte, 8), nil))
	certain(x.loop.Write(&write, writer, []byte("harvest"), nil))
	certain(x.loop.OnNextTick(&tick, nil))
	fetched := make(map[*Request]int64)
	for len(fetched) < 3 {
		done := make([]*Request, 2)
		n, err := x.loop.Wait(done, -1)
		if err != nil {
			return err
		}
		for _, r := range done[:n] {
			if _, twice := fetched[r]; twice {
				x.complain("a request was fetched twice")
			}
			fetched[r] = r.Result()
			if r.Result() < 0 && !x.permits(r.Result()) && r.Result() != sys.ECANCELED {
				x.complain("harvested %d", r.Result())
			}
		}
		if fetched[&write] < 0 {
			x.loop.Cancel(&read)
		}
	}
	return nil
}

func runTurns(x *torment) error {
	for x.loop.Pending() > 0 {
		if _, err := x.loop.RunOnce(time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func runStopped(x *torment) error {
	x.tick(func(*act) { x.loop.Stop() })
	if err := x.loop.Run(); err != nil {
		return err
	}
	silent, _ := x.pipe()
	x.wait(silent, Readable, nil)
	stopped := make(chan struct{})
	go func() {
		x.loop.Stop()
		close(stopped)
	}()
	err := x.loop.Run()
	<-stopped
	return err
}

// runOthers has other threads submit while the loop runs.
func runOthers(x *torment) error {
	x.loop.Ref()
	var others, last sync.WaitGroup
	for range 2 {
		others.Go(func() {
			reader, writer := x.pipe()
			for range 3 {
				x.tick(nil)
				x.write(writer, []byte("x"), nil)
				x.read(reader, 1, nil)
			}
		})
	}
	last.Go(func() {
		others.Wait()
		if err := x.loop.Unref(); err != nil {
			x.complain("unref: %v", err)
		}
	})
	err := x.loop.Run()
	last.Wait()
	return err
}
