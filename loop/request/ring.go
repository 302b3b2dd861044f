package request

import "sync/atomic"

const ringSize = 256

// Ring is a bounded queue of ready requests from which several threads take: the worker that fills it, and
// idle workers that help. One thread pushes; who takes moves the head by compare-and-swap, so requests start
// in the order in which they were pushed. Only loops of several threads use it.
type Ring struct {
	head  atomic.Uint32 // next to take; any loop thread
	_     [60]byte
	tail  atomic.Uint32 // next to fill; the worker
	_     [60]byte
	slots [ringSize]atomic.Pointer[Request]
}

// Fill moves requests from the list to the ring, as many as fit.
func (q *Ring) Fill(list *List) {
	tail := q.tail.Load()
	for !list.Empty() && tail-q.head.Load() < ringSize {
		q.slots[tail%ringSize].Store(list.Pop())
		tail++
		q.tail.Store(tail)
	}
}

// Len returns how many requests wait in the ring.
func (q *Ring) Len() int { return int(int32(q.tail.Load() - q.head.Load())) }

// Take removes the oldest request, or returns nil.
func (q *Ring) Take() *Request {
	for {
		head := q.head.Load()
		if head == q.tail.Load() {
			return nil
		}
		r := q.slots[head%ringSize].Load()
		if q.head.CompareAndSwap(head, head+1) {
			return r
		}
	}
}
