package request

import "sync/atomic"

// Mailbox is how requests reach one worker. Each loop thread has one.
//
// Other threads push on inbox and control (lists in reverse order, taken whole). The worker's own thread
// appends to the local list, without a locked instruction, what has no order among threads: ticks, timers and
// work. Who pushes from outside looks at sleeping afterwards, and the worker looks at the lists after it set
// sleeping, so one of the two sees the other: no wake-up is lost, and none is needed while the worker is
// awake.
type Mailbox struct {
	inbox           atomic.Pointer[Request]
	control         atomic.Pointer[Request]
	foreignAccepted atomic.Uint64 // requests that other threads pushed
	sleeping        atomic.Uint32 // the worker waits in the kernel, or is about to
	WakeFd          int32         // an eventfd; immutable after the loop is made
	wakes           atomic.Uint64
	busy            atomic.Uint32 // the worker's thread runs callbacks; changes under the worker's lock
	wakers          atomic.Uint32 // threads that may be about to signal WakeFd
	_               [16]byte

	// owner: the worker's thread.
	localHead     *Request
	localTail     *Request
	localAccepted atomic.Uint64
	delivered     atomic.Uint64 // requests whose callback returned, or that wait to be harvested
	completions   atomic.Uint64 // the same, and shots
	Ready         List          // what is to be delivered next
	_             [8]byte

	Ring Ring // what is to be delivered next, in a loop of several threads
}

// Push hands an admitted request to the worker, from any thread. The worker must be woken afterwards.
func (m *Mailbox) Push(r *Request) { push(&m.inbox, r, &r.Next) }

// PushControl hands over a request that AskControl answered with AskedFirst; otherwise as Push.
func (m *Mailbox) PushControl(r *Request) { push(&m.control, r, &r.controlNext) }

func push(list *atomic.Pointer[Request], r *Request, link **Request) {
	for {
		head := list.Load()
		*link = head
		if list.CompareAndSwap(head, r) {
			return
		}
	}
}

// Wake calls signal, which makes WakeFd readable, if the worker sleeps, and reports whether it did. The
// descriptor is sure to be the worker's meanwhile: EndSleep waits for those who are in here.
func (m *Mailbox) Wake(signal func(fd int)) bool {
	if m.sleeping.Load() == 0 {
		return false
	}
	m.wakers.Add(1)
	defer m.wakers.Add(^uint32(0))
	if m.sleeping.Swap(0) == 0 {
		return false
	}
	m.wakes.Add(1)
	signal(int(m.WakeFd))
	return true
}

// EndSleep makes the worker one that is awake for ever, and calls pause until nobody can be about to signal
// WakeFd any more, so that it may be closed.
func (m *Mailbox) EndSleep(pause func()) {
	m.sleeping.Store(0)
	for m.wakers.Load() != 0 {
		pause()
	}
}

// CountAccepted counts a request before its push; see Shared.Pending.
func (m *Mailbox) CountAccepted() { m.foreignAccepted.Add(1) }

// TakeInbox empties the inbox and returns its requests, oldest first, linked through Next.
func (m *Mailbox) TakeInbox() *Request { return takeAll(&m.inbox) }

// takeAll empties a list that push filled and returns its requests, oldest first, linked through Next.
func takeAll(list *atomic.Pointer[Request]) *Request {
	if list.Load() == nil {
		return nil
	}
	var oldest *Request
	for r := list.Swap(nil); r != nil; {
		next := r.Next
		r.Next = oldest
		oldest, r = r, next
	}
	return oldest
}

// TakeControl empties the control list and returns its requests; NextControl walks them. Take it before the
// inbox: then the request that a message speaks of is out of the inbox when the message is read.
func (m *Mailbox) TakeControl() *Request {
	if m.control.Load() == nil {
		return nil
	}
	return m.control.Swap(nil)
}

// NextControl returns the request after r in the list that TakeControl returned.
func NextControl(r *Request) *Request { return r.controlNext }

// TakeLocal empties the local list and returns its requests, oldest first. Only the worker's thread, or who
// knows that it is not in user code.
func (m *Mailbox) TakeLocal() *Request {
	r := m.localHead
	m.localHead, m.localTail = nil, nil
	return r
}

// HasWork reports whether a request or a message is waiting.
func (m *Mailbox) HasWork() bool {
	return m.localHead != nil || m.HasForeignWork()
}

// HasForeignWork reports whether another thread pushed something. Any thread may ask.
func (m *Mailbox) HasForeignWork() bool {
	return m.inbox.Load() != nil || m.control.Load() != nil
}

// SetBusy and Busy tell whether the worker's thread runs callbacks.
func (m *Mailbox) SetBusy(busy bool) {
	var word uint32
	if busy {
		word = 1
	}
	if m.busy.Load() != word {
		m.busy.Store(word)
	}
}

// Busy reports what SetBusy said.
func (m *Mailbox) Busy() bool { return m.busy.Load() != 0 }

// SetSleeping announces that the worker is about to wait in the kernel. It must look for work once more
// afterwards.
func (m *Mailbox) SetSleeping() { m.sleeping.Store(1) }

// ClearSleeping says that the worker is awake.
func (m *Mailbox) ClearSleeping() {
	if m.sleeping.Load() != 0 {
		m.sleeping.Store(0)
	}
}

// CountDelivered counts n completions, of which `last` were last ones. Only the worker's thread.
func (m *Mailbox) CountDelivered(n, last uint64) {
	m.delivered.Store(m.delivered.Load() + last)
	m.completions.Store(m.completions.Load() + n)
}

// Completions returns the number of completions delivered so far.
func (m *Mailbox) Completions() uint64 { return m.completions.Load() }

// Wakes returns how often another thread had to wake the worker.
func (m *Mailbox) Wakes() uint64 { return m.wakes.Load() }
