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
		return p.kernel.Open(fd, r.Address, int(int32(r.Length)), r.Mode)
	case request.OpAccess:
		return p.kernel.Access(fd, r.Address, r.Mode, int(int32(r.Length)))
	case request.OpClose:
		return p.kernel.Close(fd, true)
	}
	return sys.EINVAL
}
