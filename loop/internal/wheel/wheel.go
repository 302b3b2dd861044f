// Package wheel keeps the deadlines of one worker: a hierarchical timing wheel with the precision of a heap.
//
// A deadline is a 64-bit number of ns, seen as eight digits of base 256. The cursor is the time up to which
// everything has fired. A request hangs in the slot that its highest digit different from the cursor's
// names: level = position of that digit, slot = its value. So level 0 holds exact deadlines, a slot of level
// 1 those of one span of 256 ns, and so on. When the cursor reaches the beginning of a slot, the requests in
// it fall to lower levels, at most seven times in their life and usually twice. Start and cancel touch two
// links and a bitmap; the memory is 2,048 slots, whatever the number of requests.
//
// The slot follows from deadline and cursor alone, so equal deadlines share a slot at any time, in the order
// of their start; and removal need not be told where the request hangs.
package wheel

import (
	"math/bits"

	"github.com/libloop/libloop/loop/request"
)

const (
	levels    = 8
	slotCount = 256
	digitBits = 8
	words     = slotCount / 64
	scanLimit = 32 // requests looked at for the exact deadline of a slot
)

// Wheel holds requests by Request.Deadline. The zero value is empty, with the cursor at 0.
type Wheel struct {
	cursor uint64
	count  int
	used   [levels][words]uint64    // bitmap of slots in use
	slots  *[levels][slotCount]slot // nil until the first Add: many loops never need it
}

type slot struct {
	head, tail *request.Request
}

// Empty reports whether no deadline is kept.
func (w *Wheel) Empty() bool { return w.count == 0 }

// First returns a request that the wheel holds, or nil.
func (w *Wheel) First() *request.Request {
	level, index, ok := w.earliest()
	if !ok {
		return nil
	}
	return w.slots[level][index].head
}

// Add keeps the deadline of a request. One in the past counts as due now.
func (w *Wheel) Add(r *request.Request) {
	if w.slots == nil {
		w.slots = new([levels][slotCount]slot)
	}
	w.place(r)
	w.count++
}

// Remove forgets the deadline of a request that was added and has not expired.
func (w *Wheel) Remove(r *request.Request) {
	level, index := w.position(r.Deadline)
	s := &w.slots[level][index]
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
		w.used[level][index/64] &^= 1 << (index % 64)
	}
	w.count--
}

// Expire calls fire, in order, with each request whose deadline is not after now; it is off the wheel then.
// fire may add requests, but not with deadlines up to now, and may remove others.
func (w *Wheel) Expire(now uint64, fire func(*request.Request)) {
	for w.count > 0 {
		level, index, ok := w.earliest()
		if !ok {
			panic("wheel: lost a request")
		}
		start := w.start(level, index)
		if start > now {
			break
		}
		w.cursor = max(w.cursor, start)
		if level > 0 {
			w.cascade(level, index)
			continue
		}
		r := w.slots[0][index].head
		w.Remove(r)
		fire(r)
	}
	w.cursor = max(w.cursor, now)
}

// Next returns the time at which Expire has something to do: the earliest deadline, or a time before it when
// finding it exactly would take long. Never when the wheel is empty.
func (w *Wheel) Next() uint64 {
	level, index, ok := w.earliest()
	if !ok {
		return request.Never
	}
	next := request.Never
	r := w.slots[level][index].head
	for n := 0; r != nil; n++ {
		if n == scanLimit {
			return w.start(level, index)
		}
		next = min(next, r.Deadline)
		r = r.TimerNext
	}
	return next
}

// position returns the slot of a deadline. One in the past shares the slot of the cursor.
func (w *Wheel) position(deadline uint64) (level, index int) {
	deadline = max(deadline, w.cursor)
	if difference := deadline ^ w.cursor; difference != 0 {
		level = (bits.Len64(difference) - 1) / digitBits
	}
	return level, int(deadline >> (level * digitBits) & (slotCount - 1))
}

// place links a request into its slot, behind those that are there. In the slot of the cursor deadlines may
// differ, because some are in the past; it is kept in order.
func (w *Wheel) place(r *request.Request) {
	level, index := w.position(r.Deadline)
	s := &w.slots[level][index]
	before := s.tail
	for level == 0 && before != nil && before.Deadline > r.Deadline {
		before = before.TimerPrev
	}
	s.insert(before, r)
	w.used[level][index/64] |= 1 << (index % 64)
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

// cascade moves the requests of a slot that the cursor has reached to lower levels.
func (w *Wheel) cascade(level, index int) {
	s := &w.slots[level][index]
	r := s.head
	*s = slot{}
	w.used[level][index/64] &^= 1 << (index % 64)
	for r != nil {
		next := r.TimerNext
		w.place(r)
		r = next
	}
}

// earliest returns the slot that holds the earliest deadline.
func (w *Wheel) earliest() (level, index int, ok bool) {
	if w.count == 0 {
		return 0, 0, false
	}
	for level := range levels {
		// Slots below the cursor's digit are empty: what they would hold has expired.
		for word := range words {
			if set := w.used[level][word]; set != 0 {
				return level, word*64 + bits.TrailingZeros64(set), true
			}
		}
	}
	return 0, 0, false
}

// start returns the first time that belongs to a slot.
func (w *Wheel) start(level, index int) uint64 {
	shift := level * digitBits
	above := uint64(0)
	if shift+digitBits < 64 {
		above = w.cursor >> (shift + digitBits) << (shift + digitBits)
	}
	return above | uint64(index)<<shift
}
