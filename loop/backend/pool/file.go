package pool

import (
	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// performFile makes the system call of an operation, however long it takes.
func (p *Pool) performFile(r *request.Request) int64 {
	fd := int(r.Fd)
	if r.Told(request.MarkStalled) {
		p.kernel.Poll(nil, napMs)
		return sys.EAGAIN
	}
	if r.Told(request.MarkReady) && !p.isReady(r) {
		return sys.EAGAIN
	}
	switch r.Op {
	case request.OpRead:
		iov, count := r.Buffers()
		return p.kernel.Read(fd, iov, count, r.Offset)
	case request.OpWrite:
		iov, count := r.Buffers()
		return p.kernel.Write(fd, iov, count, r.Offset)
	case request.OpOpen:
		if r.Told(request.MarkBlocked) && p.missedWriter(int(r.Offset)) {
			return r.Offset
		}
		return p.kernel.Open(fd, r.Address, int(int32(r.Length)), r.Mode)
	case request.OpAccess:
		return p.kernel.Access(fd, r.Address, r.Mode, int(int32(r.Length)))
	case request.OpClose:
		return p.kernel.Close(fd, true)
	case request.OpAccept:
		backend.AskAddress(r)
		return p.kernel.Accept(fd, r.Address, uintptr(r.Length))
	case request.OpConnect:
		return p.connect(r)
	case request.OpSendfile:
		return p.sendfile(r)
	case request.OpSplice:
		return p.splice(r)
	}
	return sys.EINVAL
}

// isReady reports whether there is something to take, a connection or bytes, or room to write. If somebody
// else was faster, a call would wait for what may never come, and nothing could end it.
func (p *Pool) isReady(r *request.Request) bool {
	fds := []sys.PollFd{{Fd: int32(r.Fd), Events: sys.EpollIn}}
	if r.Op == request.OpWrite {
		fds[0].Events = sys.EpollOut
	}
	return p.kernel.Poll(fds, 0) != 0
}

// connect connects a socket that blocks, or a Unix socket that found the queue of its peer full: nothing but
// another try after a moment tells when it is not.
func (p *Pool) connect(r *request.Request) int64 {
	if p.kernel.IsNonblocking(int(r.Fd)) {
		p.kernel.Poll(nil, napMs)
	}
	return p.kernel.Connect(int(r.Fd), r.Address, uint32(r.Length))
}

// sendfile sends the next part of a file, as far as the socket takes it.
func (p *Pool) sendfile(r *request.Request) int64 {
	direct, ok := p.senders.Get().(*backend.Direct)
	if !ok {
		direct = new(backend.NewDirect(p.kernel))
	}
	defer p.senders.Put(direct)
	return direct.SendfileBlocking(r)
}

// splice splices from or to what may block. Somebody else may have been faster; then it is tried again after
// a moment.
func (p *Pool) splice(r *request.Request) int64 {
	n := backend.SpliceNow(p.kernel, r)
	if n == sys.EAGAIN {
		p.kernel.Poll(nil, napMs)
	}
	return n
}

const napMs = 1

// missedWriter reports whether a FIFO that a first try has opened for reading, without waiting, has had a
// writer since that is gone again: an open would wait for another one. A writer that waited for us gets a
// moment to write and go; one that takes longer is met by the open.
func (p *Pool) missedWriter(fifo int) bool {
	const momentMs = 2
	fds := []sys.PollFd{{Fd: int32(fifo)}}
	return p.kernel.Poll(fds, momentMs) > 0 && fds[0].Revents&sys.EpollHup != 0
}
