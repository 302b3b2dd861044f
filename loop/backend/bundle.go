package backend

import (
	"unsafe"

	"github.com/libloop/libloop/loop/request"
)

// Bundle is the buffers of several writes that wait for the same stream, so that one call makes them all. The
// kernel finds them where they are: a Bundle must not be on a goroutine's stack.
type Bundle struct {
	vectors [256]request.Iovec
	message request.Message
}

// Gather takes the buffers of the requests at the head of a list, as far as they are plain writes, and
// returns their number and bytes.
func (b *Bundle) Gather(list *request.List) (count int, bytes int64) {
	const most = 1 << 20 // enough for any socket at a time
	for r := list.First(); r != nil && count < len(b.vectors) && bytes < most; r = r.Next {
		if !r.IsPlainWrite() || r.Marked(request.MarkCancel|request.MarkBlocked) {
			break
		}
		b.vectors[count] = request.Iovec{Base: r.Address, Length: r.Length}
		count++
		bytes += r.Bytes()
	}
	b.message = request.Message{Vectors: uintptr(unsafe.Pointer(&b.vectors)), VectorCount: uint64(count)}
	return count, bytes
}

// Message returns the address of a struct msghdr with the buffers.
func (b *Bundle) Message() uintptr { return uintptr(unsafe.Pointer(&b.message)) }

// Spread tells which of the first count requests of a list were written, whole or in part, when n bytes were,
// by calling done with each, which takes it out of the list if it is done.
func Spread(list *request.List, count int, n int64, done func(r *request.Request, result int64)) {
	for r := list.First(); count > 0 && n > 0; count-- {
		next := r.Next
		result := min(r.Bytes(), n)
		n -= result
		done(r, result)
		r = next
	}
}
