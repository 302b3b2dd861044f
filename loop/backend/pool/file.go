package pool

import (
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// performFile makes the system call of a file operation, however long it takes.
func (p *Pool) performFile(r *request.Request) int64 {
	fd := int(r.Fd)
	switch r.Op {
	case request.OpRead:
		iov, count := r.Buffers()
		return p.kernel.Read(fd, iov, count, r.Offset)
	case request.OpWrite:
		iov, count := r.Buffers()
		return p.kernel.Write(fd, iov, count, r.Offset)
	case request.OpOpen:
		if r.Marked(request.MarkBlocked) && p.missedWriter(int(r.Offset)) {
			return r.Offset
		}
		return p.kernel.Open(fd, r.Address, int(int32(r.Length)), r.Mode)
	case request.OpAccess:
		return p.kernel.Access(fd, r.Address, r.Mode, int(int32(r.Length)))
	case request.OpClose:
		return p.kernel.Close(fd, true)
	}
	return sys.EINVAL
}

// missedWriter reports whether a FIFO that a first try has opened for reading, without waiting, has had a
// writer since that is gone again: an open would wait for another one. A writer that waited for us gets a
// moment to write and go; one that takes longer is met by the open.
func (p *Pool) missedWriter(fifo int) bool {
	const momentMs = 2
	fds := []sys.PollFd{{Fd: int32(fifo)}}
	return p.kernel.Poll(fds, momentMs) > 0 && fds[0].Revents&sys.EpollHup != 0
}
