package request

import "sync/atomic"

const ringSize = 256

// Ring is a bounded queue of ready requests from which several threads take: the worker that fills it, and
// idle workers that help. One thread pushes; who takes moves the head by compare-and-swap, so requests start
// in the order in which they were pushed. Only loops of several threads use it.
type Ring struct {
	head    atomic.Uint32 // next to take; any loop thread
	_       [60]byte
	tail    atomic.Uint32 // next to fill; the worker
	_       uint32
	resumed atomic.Pointer[Request] // runners of strands that the worker's thread left; see strand.go
	lease   atomic.Uint64           // of the strand that the worker's thread lends
	_       [40]byte
	slots   [ringSize]atomic.Pointer[Request]
}

// Fill moves requests from the list to the ring, as many as fit; those whose strand is held join it.
func (q *Ring) Fill(list *List) {
	q.fillResumed()
	for !list.Empty() && q.hasRoom() {
		r := list.Pop()
		if !r.InStrand || r.callback == 0 || r.strand().join(r) {
			q.put(r)
		}
	}
}

// fillResumed moves the runners of strands that a thread left to the ring, as many as fit.
func (q *Ring) fillResumed() {
	for r := takeAll(&q.resumed); r != nil; {
		next := r.Next
		if q.hasRoom() {
			q.put(r)
		} else {
			push(&q.resumed, r, &r.Next)
		}
		r = next
	}
}

func (q *Ring) hasRoom() bool { return q.tail.Load()-q.head.Load() < ringSize }

func (q *Ring) put(r *Request) {
	tail := q.tail.Load()
	q.slots[tail%ringSize].Store(r)
	q.tail.Store(tail + 1)
}

// Len returns how many requests wait in the ring. What was resumed counts as one, and needs a Fill first.
func (q *Ring) Len() int {
	waiting := int(int32(q.tail.Load() - q.head.Load()))
	if q.resumed.Load() != nil {
		waiting++
	}
	return waiting
}

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
