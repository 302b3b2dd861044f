package request

import "unsafe"

// Iovec is a buffer as the kernel takes it.
type Iovec struct {
	Base   uintptr
	Length uint64
}

// Pointer makes a pointer of an address, of memory outside of Go's or of what is held elsewhere.
func Pointer(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }

// CallMost is how many bytes one call moves at most.
const CallMost = 0x7ffff000

// Buffers returns the buffers of a transfer as an iovec array: the program's own, or the one that Address and
// Length form.
func (r *Request) Buffers() (iov uintptr, count int) {
	if r.Vector {
		return r.Address, int(r.Length)
	}
	return uintptr(unsafe.Pointer(&r.Address)), 1
}

// Bytes returns how many bytes a transfer asked for, as far as one call can move them. Call it after the call
// has succeeded: the kernel has read the program's iovec array then, so it is there to be read.
func (r *Request) Bytes() int64 {
	if !r.Vector {
		return int64(min(r.Length, CallMost))
	}
	total := int64(0)
	for _, buffer := range unsafe.Slice((*Iovec)(Pointer(r.Address)), r.Length) {
		total = min(total+int64(buffer.Length), CallMost)
	}
	return total
}

// IsStreamRead reports whether the request takes the next bytes of a descriptor, once.
func (r *Request) IsStreamRead() bool {
	return r.Op == OpRead && r.Offset == CurrentPosition ||
		r.Op == OpReceive && r.Mode&(Multishot|msgErrorQueue|msgOutOfBand) == 0
}

// IsStreamWrite reports whether the request adds to what a descriptor takes, so that its place among others
// matters.
func (r *Request) IsStreamWrite() bool {
	switch r.Op {
	case OpWrite:
		return r.Offset == CurrentPosition
	case OpShutdown:
		return r.Mode != shutdownRead
	}
	return r.Op == OpSend || r.Op == OpSendfile
}

// IsPlainWrite reports whether the request is nothing but bytes for a stream: those of several may be written
// together.
func (r *Request) IsPlainWrite() bool {
	switch r.Op {
	case OpWrite:
		return r.Offset == CurrentPosition && !r.Vector
	case OpSend:
		return r.Message == 0 && r.Mode&^SendAll == 0
	}
	return false
}

// IsPooled reports whether the request receives into buffers of a pool. For other operations Pool is what an
// earlier receive left there.
func (r *Request) IsPooled() bool { return r.Op == OpReceive && r.Pool != nil }

// IsSocketShots reports whether the request accepts or receives until it is cancelled.
func (r *Request) IsSocketShots() bool {
	return (r.Op == OpAccept || r.Op == OpReceive) && r.Mode&Multishot != 0
}

// Flags of the system that the predicates need; package sys has them, too.
const (
	msgOutOfBand  = 0x1
	msgErrorQueue = 0x2000
	shutdownRead  = 0
)

// OtherFd is the second descriptor of a transfer between two: the file of OpSendfile, the far end of
// OpSplice.
func (r *Request) OtherFd() int64 { return int64(r.OwnMessage.Name) }

// OtherOffset is the position in that.
func (r *Request) OtherOffset() *int64 { return (*int64)(unsafe.Pointer(&r.OwnMessage.Control)) }
