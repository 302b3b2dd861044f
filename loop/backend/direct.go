package backend

import (
	"unsafe"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// Blocks is the result of an attempt that only a blocking thread can make. No kernel returns it.
const Blocks = int64(-1) << 32

// StepsAtOnce is how many steps of a transfer follow each other before others have their turn.
const StepsAtOnce = 4

const (
	copyMost = 32 << 10 // up to this size it costs less to copy a part of a file than to have it sent
	fileMost = 1 << 20  // sent from a file at a time
)

// Direct makes operations on sockets by calls that do not block. The kernel finds its memory where it is: it
// must not be on a goroutine's stack.
type Direct struct {
	kernel sys.Kernel
	vector request.Iovec
	ends   [2]sys.PollFd
	buffer []byte // made when it is needed first
}

// NewDirect returns a Direct.
func NewDirect(kernel sys.Kernel) Direct { return Direct{kernel: kernel} }

// Try makes the next step of an operation. EAGAIN: it would block; Blocks: only a blocking thread can tell.
func (d *Direct) Try(r *request.Request) int64 {
	fd := int(r.Fd)
	switch r.Op {
	case request.OpAccept:
		if !d.kernel.IsNonblocking(fd) && d.kernel.Listens(fd) {
			return Blocks
		}
		AskAddress(r)
		return d.kernel.AcceptNow(fd, r.Address, uintptr(r.Length))
	case request.OpConnect:
		return d.connect(r)
	case request.OpReceive:
		return d.receive(r)
	case request.OpSend:
		return d.send(r)
	case request.OpShutdown:
		return d.kernel.Shutdown(fd, r.Mode)
	case request.OpSendfile:
		return d.sendfile(r)
	default:
		return d.splice(r)
	}
}

// connect begins to connect, or asks how that went: the same call tells.
func (d *Direct) connect(r *request.Request) int64 {
	if !d.kernel.IsNonblocking(int(r.Fd)) {
		return Blocks
	}
	n := d.kernel.ConnectNow(int(r.Fd), r.Address, uint32(r.Length))
	switch {
	case n == sys.EINPROGRESS, n == sys.EALREADY && r.Marked(request.MarkBegun):
		r.Marks |= request.MarkBegun
		return sys.EAGAIN
	case n == sys.EISCONN && r.Marked(request.MarkBegun):
		return 0 // some protocols say so to the second call
	case n == sys.EAGAIN: // the queue of a Unix socket is full, and nothing tells when it is not
		return Blocks
	}
	return n
}

func (d *Direct) receive(r *request.Request) int64 {
	step, flags := NextStep(r), MessageFlags(r)
	if step.Message == 0 {
		return d.kernel.Receive(int(r.Fd), step.Address, step.Length, flags)
	}
	return d.kernel.ReceiveMessage(int(r.Fd), step.Message, flags)
}

func (d *Direct) send(r *request.Request) int64 {
	step, flags := NextStep(r), MessageFlags(r)
	if step.Message == 0 {
		return d.kernel.Send(int(r.Fd), step.Address, step.Length, flags)
	}
	n := d.kernel.SendMessage(int(r.Fd), step.Message, flags)
	if n == sys.EAGAIN && d.Stalls(r) {
		return Blocks
	}
	return n
}

// Stalls reports, and notes, whether a send or connect that would block waits for what no readiness tells of:
// room in the queue of a Unix socket which it is not connected to. All that helps is to try again after a
// moment.
func (d *Direct) Stalls(r *request.Request) bool {
	if r.Op != request.OpConnect && (r.Op != request.OpSend || r.Message == 0) {
		return false
	}
	d.ends[0] = sys.PollFd{Fd: int32(r.Fd), Events: sys.EpollOut}
	if d.kernel.Poll(d.ends[:1], 0) > 0 {
		r.Marks |= request.MarkStalled
	}
	return r.Marked(request.MarkStalled)
}

// ReceivePooled receives into a buffer of the pool, and notes it in the request. EAGAIN: there is nothing;
// ENOBUFS: there is something, and no buffer.
func (d *Direct) ReceivePooled(r *request.Request, worker int) int64 {
	number := r.Pool.Take(worker)
	if number == 0 {
		d.space()
		n := d.kernel.Receive(int(r.Fd), address(d.buffer), 1, sys.MsgPeek)
		if n > 0 {
			return sys.ENOBUFS
		}
		return n
	}
	n := d.kernel.Receive(int(r.Fd), r.Pool.Address(number), uint64(r.Pool.Size), 0)
	if n > 0 {
		r.Hold(number, uint32(n))
	} else {
		r.Pool.PutBack(worker, number)
	}
	return n
}

// sendfile sends the next part of a file. A short one is copied, by calls that tell at once what is not in
// memory; and so is all that goes to a socket which blocks, or else the kernel would wait for it.
func (d *Direct) sendfile(r *request.Request) int64 {
	if r.Length > copyMost && d.kernel.IsNonblocking(int(r.Fd)) {
		count := min(r.Length, fileMost)
		if !d.inMemory(r, 0) || !d.inMemory(r, count-1) {
			return Blocks
		}
		return d.kernel.Sendfile(int(r.Fd), int(r.OtherFd()), &r.Offset, count)
	}
	n := d.read(r, d.kernel.ReadNow)
	if n <= 0 {
		if n == sys.EAGAIN || n == sys.ENOTSUP {
			return Blocks
		}
		return n
	}
	return d.sendCopy(r, n)
}

// SendfileBlocking does the same on a blocking thread, which may wait for the file, but not for the socket.
func (d *Direct) SendfileBlocking(r *request.Request) int64 {
	n := d.read(r, d.kernel.Read)
	if n <= 0 {
		return n
	}
	return d.sendCopy(r, n)
}

type readCall func(fd int, iov uintptr, count int, offset int64) int64

// read reads the next part of a file into the buffer.
func (d *Direct) read(r *request.Request, call readCall) int64 {
	d.space()
	d.vector = request.Iovec{Base: address(d.buffer), Length: min(r.Length, copyMost)}
	return call(int(r.OtherFd()), uintptr(unsafe.Pointer(&d.vector)), 1, r.Offset)
}

func (d *Direct) sendCopy(r *request.Request, n int64) int64 {
	flags := uint32(0)
	if uint64(n) < r.Length && n == copyMost {
		flags = sys.MsgMore
	}
	sent := d.kernel.Send(int(r.Fd), address(d.buffer), uint64(n), flags)
	if sent > 0 {
		r.Offset += sent
	}
	return sent
}

// inMemory reports whether a byte of the file can be had without waiting. At the end of the file it can.
func (d *Direct) inMemory(r *request.Request, distance uint64) bool {
	d.space()
	d.vector = request.Iovec{Base: address(d.buffer), Length: 1}
	n := d.kernel.ReadNow(int(r.OtherFd()), uintptr(unsafe.Pointer(&d.vector)), 1, r.Offset+int64(distance))
	return n >= 0
}

func (d *Direct) space() {
	if d.buffer == nil {
		d.buffer = make([]byte, copyMost)
	}
}

func address(buffer []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(buffer))) }
