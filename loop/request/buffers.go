package request

import "unsafe"

// Iovec is a buffer as the kernel takes it.
type Iovec struct {
	Base   uintptr
	Length uint64
}

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
	const most = 0x7ffff000
	if !r.Vector {
		return int64(min(r.Length, most))
	}
	array := *(*unsafe.Pointer)(unsafe.Pointer(&r.Address))
	total := int64(0)
	for _, buffer := range unsafe.Slice((*Iovec)(array), r.Length) {
		total = min(total+int64(buffer.Length), most)
	}
	return total
}

// IsStreamRead reports whether the request is a read at the current position.
func (r *Request) IsStreamRead() bool { return r.Op == OpRead && r.Offset == CurrentPosition }

// IsStreamWrite reports whether the request is a write at the current position.
func (r *Request) IsStreamWrite() bool { return r.Op == OpWrite && r.Offset == CurrentPosition }
