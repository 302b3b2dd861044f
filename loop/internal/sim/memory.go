package sim

import "unsafe"

// span is memory of the program.
type span struct {
	address uintptr
	length  int
}

// at makes a pointer of an address in the program's memory.
func at(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }

func (s span) bytes() []byte { return unsafe.Slice((*byte)(at(s.address)), s.length) }

// vectors reads an array of struct iovec.
func vectors(array uintptr, count int) []span {
	type iovec struct {
		base   uintptr
		length uint64
	}
	if count == 0 {
		return nil
	}
	spans := make([]span, 0, count)
	for _, v := range unsafe.Slice((*iovec)(at(array)), count) {
		spans = append(spans, span{v.base, int(v.length)})
	}
	return spans
}

func total(spans []span) (n int) {
	for _, s := range spans {
		n += s.length
	}
	return n
}

// header is struct msghdr.
type header struct {
	name       uintptr
	nameLength uint32
	_          uint32
	vectors    uintptr
	count      uint64
	control    uintptr
	controlLen uint64
	flags      uint32
	_          uint32
}

// message reads a struct msghdr.
func message(address uintptr) (*header, []span) {
	h := (*header)(at(address))
	return h, vectors(h.vectors, int(h.count))
}

// text reads a string that ends with 0.
func text(address uintptr) string {
	n := 0
	for *(*byte)(at(address + uintptr(n))) != 0 {
		n++
	}
	return string(span{address, n}.bytes())
}

// gather appends the first n bytes of the program's memory to a slice.
func gather(to []byte, spans []span, n int) []byte {
	for _, s := range spans {
		part := min(n, s.length)
		if part > 0 {
			to = append(to, s.bytes()[:part]...)
		}
		n -= part
	}
	return to
}

// spanOf is the inverse of bytes.
func spanOf(b []byte) span { return span{uintptr(unsafe.Pointer(unsafe.SliceData(b))), len(b)} }
