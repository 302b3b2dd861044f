package pool

import (
	"unsafe"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// performFile makes the system call of a file operation, however long it takes.
func (p *Pool) performFile(r *request.Request) int64 {
	fd := int(r.Fd)
	switch r.Op {
	case request.OpRead:
		iov, count := Vector(r)
		return p.kernel.Read(fd, iov, count, r.Offset)
	case request.OpWrite:
		iov, count := Vector(r)
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

// Vector returns the buffers of a read or write as an iovec array: the program's own, or the one that the
// operands Address and Length of the request form.
func Vector(r *request.Request) (iov uintptr, count int) {
	if r.Vector {
		return r.Address, int(r.Length)
	}
	return uintptr(unsafe.Pointer(&r.Address)), 1
}

// Iovec is a buffer as the kernel takes it.
type Iovec struct {
	Base   uintptr
	Length uint64
}

// Length returns how many bytes a transfer that succeeded had asked for, as far as one call can move them.
// The kernel has read the program's iovec array by then, so it is there to be read.
func Length(r *request.Request) int64 {
	const most = 0x7ffff000
	if !r.Vector {
		return min(int64(r.Length), most)
	}
	array := *(*unsafe.Pointer)(unsafe.Pointer(&r.Address))
	total := int64(0)
	for _, buffer := range unsafe.Slice((*Iovec)(array), r.Length) {
		total = min(total+int64(buffer.Length), most)
	}
	return total
}
