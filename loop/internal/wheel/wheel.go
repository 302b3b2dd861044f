// Package wheel keeps the deadlines of one worker: a hierarchical timing wheel with the precision of a heap.
//
// A deadline is a 64-bit number of ns, seen as seven digits of base 1,024. The cursor is the time up to which
// everything has fired. A request hangs in the slot that its highest digit different from the cursor's
// names: level = position of that digit, slot = its value. So level 0 holds exact deadlines, a slot of level
// 1 those of one span of about 1 µs, one of level 2 those of about 1 ms, and so on. When the cursor reaches
// the beginning of a slot, the requests in it fall to lower levels, at most six times in their life and
// usually twice. Start and cancel touch two links and a bitmap; the memory is 7,168 slots, whatever the
// number of requests.
//
// The slot follows from deadline and cursor alone, so equal deadlines share a slot at any time, in the order
// of their start; and removal need not be told where the request hangs.
package wheel

import (
	"math/bits"

	"github.com/libloop/libloop/loop/request"
)

const (
	digitBits = 10
	slotCount = 1 << digitBits
	levels    = (64 + digitBits - 1) / digitBits
	words     = slotCount / 64
	scanLimit = 32   // requests looked at for the exact deadline of a slot
	warmLimit = 8192 // requests that are loaded from each end of a slot before it falls: 2 MiB of lines
)

// Wheel holds requests by Request.Deadline. The zero value is empty, with the cursor at 0.
type Wheel struct {
	cursor uint64
	count  int
	used   uint64         // bitmap of levels in use
	levels *[levels]level // nil until the first Add: many loops never need it
	warmth uint64         // what warm read; it has no meaning, but the compiler has to load it
}

type level struct {
	used      uint64        // bitmap of the words of slotsUsed that are not 0
	slotsUsed [words]uint64 // bitmap of slots in use
	slots     [slotCount]slot
}

type slot struct {
	head, tail *request.Request
}

// Empty reports whether no deadline is kept.
func (w *Wheel) Empty() bool { return w.count == 0 }

// First returns a request that the wheel holds, or nil.
func (w *Wheel) First() *request.Request {
	if w.count == 0 {
		return nil
	}
	n, index := w.earliest()
	return w.levels[n].slots[index].head
}

// Add keeps the deadline of a request. One in the past counts as due now.
func (w *Wheel) Add(r *request.Request) {
	if w.levels == nil {
		w.levels = new([levels]level)
	}
	w.place(r)
	w.count++
}

// Remove forgets the deadline of a request that was added and has not expired.
func (w *Wheel) Remove(r *request.Request) {
	n, index := w.position(r.Deadline)
	s := &w.levels[n].slots[index]
	if r.TimerPrev == nil {
		if s.head != r {
			panic("wheel: request is not in its slot")
		}
		s.head = r.TimerNext
	} else {
		r.TimerPrev.TimerNext = r.TimerNext
	}
	if r.TimerNext == nil {
		s.tail = r.TimerPrev
	} else {
		r.TimerNext.TimerPrev = r.TimerPrev
	}
	r.TimerNext, r.TimerPrev = nil, nil
	if s.head == nil {
		w.unmark(n, index)
	}
	w.count--
}

// Expire calls fire, in order, with at most limit requests whose deadline is not after now; they are off the
// wheel then. fire may add requests, but not with deadlines up to now, and may remove others.
func (w *Wheel) Expire(now uint64, limit int, fire func(*request.Request)) {
	for w.count > 0 {
		n, index := w.earliest()
		start := w.start(n, index)
		if start > now {
			break
		}
		w.cursor = start
		if n > 0 {
			w.cascade(n, index)
			continue
		}
		s := &w.levels[0].slots[index]
		for r := s.head; r != nil; r = s.head {
			if limit == 0 {
				return
			}
			limit--
			w.Remove(r)
			fire(r)
		}
	}
	w.cursor = max(w.cursor, now)
}

// Next returns the time at which Expire has something to do: the earliest deadline, or a time before it when
// finding it exactly would take long. Never when the wheel is empty.
func (w *Wheel) Next() uint64 {
	next := request.Never
	if w.count == 0 {
		return next
	}
	n, index := w.earliest()
	r := w.levels[n].slots[index].head
	for count := 0; r != nil; count++ {
		if count == scanLimit {
			return w.start(n, index)
		}
		next = min(next, r.Deadline)
		r = r.TimerNext
	}
	return next
}

// position returns the slot of a deadline. One in the past shares the slot of the cursor.
func (w *Wheel) position(deadline uint64) (n, index int) {
	deadline = max(deadline, w.cursor)
	n = (bits.Len64((deadline^w.cursor)|1) - 1) / digitBits
	return n, int(deadline >> (n * digitBits) & (slotCount - 1))
}

// place links a request into its slot, behind those that are there. In the slot of the cursor deadlines may
// differ, because some are in the past; it is kept in order.
func (w *Wheel) place(r *request.Request) {
	n, index := w.position(r.Deadline)
	l := &w.levels[n]
	s := &l.slots[index]
	before := s.tail
	if before == nil {
		w.used |= 1 << n
		l.used |= 1 << (index / 64)
		l.slotsUsed[index/64] |= 1 << (index % 64)
	} else if n == 0 {
		for before != nil && before.Deadline > r.Deadline {
			before = before.TimerPrev
		}
	}
	s.insert(before, r)
}

// insert links a request behind another one, or first.
func (s *slot) insert(before, r *request.Request) {
	r.TimerPrev = before
	if before == nil {
		r.TimerNext, s.head = s.head, r
	} else {
		r.TimerNext, before.TimerNext = before.TimerNext, r
	}
	if r.TimerNext == nil {
		s.tail = r
	} else {
		r.TimerNext.TimerPrev = r
	}
}

// unmark notes that a slot is empty.
func (w *Wheel) unmark(n, index int) {
	l := &w.levels[n]
	l.slotsUsed[index/64] &^= 1 << (index % 64)
	if l.slotsUsed[index/64] == 0 {
		l.used &^= 1 << (index / 64)
		if l.used == 0 {
			w.used &^= 1 << n
		}
	}
}

// cascade moves the requests of a slot that the cursor has reached to lower levels.
func (w *Wheel) cascade(n, index int) {
	s := &w.levels[n].slots[index]
	w.warm(s)
	r := s.head
	*s = slot{}
	w.unmark(n, index)
	for r != nil {
		next := r.TimerNext
		w.place(r)
		r = next
	}
}

// warm loads the first and the last requests of a slot into the cache. A list tells only one request ahead
// what to load; from both ends two loads are under way at a time. The line of the state comes along: it is
// needed when the request fires, soon after.
func (w *Wheel) warm(s *slot) {
	front, back := s.head, s.tail
	for range warmLimit {
		w.warmth += front.Deadline + uint64(front.Phase()) + back.Deadline + uint64(back.Phase())
		if front == back || front.TimerNext == back {
			return
		}
		front, back = front.TimerNext, back.TimerPrev
	}
}

// earliest returns the slot that holds the earliest deadline of a wheel that is not empty. Slots below the
// cursor's digit are empty: what they would hold has expired.
func (w *Wheel) earliest() (n, index int) {
	n = bits.TrailingZeros64(w.used)
	l := &w.levels[n]
	word := bits.TrailingZeros64(l.used)
	return n, word*64 + bits.TrailingZeros64(l.slotsUsed[word])
}

// start returns the first time that belongs to a slot.
func (w *Wheel) start(n, index int) uint64 {
	shift := n * digitBits
	above := uint64(0)
	if shift+digitBits < 64 {
		above = w.cursor >> (shift + digitBits) << (shift + digitBits)
	}
	return above | uint64(index)<<shift
}
