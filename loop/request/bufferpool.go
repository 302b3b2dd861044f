package request

import (
	"sync/atomic"
	"unsafe"
)

// BufferPool is memory from which receives take a buffer when bytes have arrived. The program makes it
// through capi, and gives buffers back on any thread. Each worker has a share of its own, so taking needs no
// lock.
//
// Buffers are known by their numbers, from 1 on; 0 = none.
type BufferPool struct {
	loop    uintptr
	memory  uintptr
	buffers uintptr // *[]buffer
	Size    uint32  // bytes of a buffer
	Count   uint32  // of buffers
	threads uint32
	Slot    uint32 // of the pools of its loop
	Number  uint32 // of this pool, for ever: a slot may come to serve another one
	users   atomic.Uint32
	_       [2]uintptr
	// The shares follow.
}

// PoolSlots is how many pools a loop may have at a time.
const PoolSlots = 64

type buffer struct {
	next   uint32
	length uint32
	out    atomic.Uint32
}

type share struct {
	returned atomic.Uint32
	free     uint32
	_        [56]byte
}

func (p *BufferPool) buffer(number uint32) *buffer {
	return (*buffer)(unsafe.Add(Pointer(p.buffers), uintptr(number-1)*unsafe.Sizeof(buffer{})))
}

func (p *BufferPool) share(worker int) *share {
	return (*share)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p)+uintptr(worker)*unsafe.Sizeof(share{})))
}

// Address returns where a buffer is.
func (p *BufferPool) Address(number uint32) uintptr {
	return p.memory + uintptr(number-1)*uintptr(p.Size)
}

// Take takes a buffer from the share of a worker; 0 = all are out.
func (p *BufferPool) Take(worker int) uint32 {
	s := p.share(worker)
	if s.free == 0 && s.returned.Load() != 0 {
		s.free = s.returned.Swap(0)
	}
	number := s.free
	if number != 0 {
		s.free = p.buffer(number).next
	}
	return number
}

// PutBack undoes the last Take.
func (p *BufferPool) PutBack(worker int, number uint32) {
	s := p.share(worker)
	p.buffer(number).next = s.free
	s.free = number
}

// Share returns how many buffers a worker has in all.
func (p *BufferPool) Share(worker int) uint32 {
	return (p.Count + p.threads - 1 - uint32(worker)) / p.threads
}

// LeavePool says that a receive does not use its pool any more: it is about to be the program's again.
func (r *Request) LeavePool() {
	if r.IsPooled() {
		r.Pool.users.Add(^uint32(0))
	}
}

// Hold notes that a buffer was filled, for Show to show in its turn.
func (r *Request) Hold(number, length uint32) {
	b := r.Pool.buffer(number)
	b.length, b.next = length, 0
	first, last := uint32(r.Held), uint32(r.Held>>32)
	if last == 0 {
		first = number
	} else {
		r.Pool.buffer(last).next = number
	}
	r.Held = uint64(first) | uint64(number)<<32
}

// Show makes the oldest filled buffer the one that the request shows, and returns its length; ok = there is
// one.
func (r *Request) Show() (length int64, ok bool) {
	number := uint32(r.Held)
	if number == 0 {
		return 0, false
	}
	b := r.Pool.buffer(number)
	if b.next == 0 {
		r.Held = 0
	} else {
		r.Held = r.Held&^0xffffffff | uint64(b.next)
	}
	b.out.Store(1)
	r.Address = r.Pool.Address(number)
	return int64(b.length), true
}
