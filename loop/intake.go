package loop

import (
	"github.com/libloop/libloop/loop/backend/pool"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// drain takes what came to the mailbox: requests, and then the control messages that speak of them. local
// says that the worker's own thread is not running callbacks, so that its own list may be taken too.
func (w *worker) drain(local bool) {
	m := w.mailbox
	control := m.TakeControl()
	if local {
		w.receive(m.TakeLocal())
	}
	w.receive(m.TakeInbox())
	for control != nil {
		r := control
		control = request.NextControl(r)
		w.obey(r)
	}
}

// receive sorts requests by why they came.
func (w *worker) receive(r *request.Request) {
	for r != nil {
		next := r.Next
		switch r.Phase() {
		case request.Queued:
			w.accept(r)
		case request.Active:
			w.takeBack(r)
		case request.Shot:
			w.resume(r)
		default:
			panic("loop: a request in the mailbox is in no phase to be there")
		}
		r = next
	}
}

// accept queues a new request. Ticks stay in phase Queued until they run: that spares them a transition.
func (w *worker) accept(r *request.Request) {
	switch r.Op {
	case request.OpTick:
		w.acceptTick(r)
	case request.OpTimer:
		r.Move(request.Start)
		if r.Marked(request.MarkCancel) { // the message came before the request was drained
			w.finish(&w.completed, r, sys.ECANCELED)
			return
		}
		w.startTimer(r)
	default:
		w.incoming.Push(r)
	}
}

// acceptTick moves a tick on to delivery, if it may run in this turn and nobody has anything to say about it;
// otherwise it queues.
func (w *worker) acceptTick(r *request.Request) {
	if w.ticks.Empty() && w.tickBudget > 0 && r.TimeoutNs == 0 && !r.HasControl() {
		w.tickBudget--
		w.finish(&w.dueTicks, r, 0)
		return
	}
	r.Marks |= request.MarkTickList
	w.ticks.Push(r)
}

// startTimer puts a timer on the wheel, or its timeout if that comes first.
func (w *worker) startTimer(r *request.Request) {
	if r.TimeoutNs != 0 && r.TimeoutAt < r.Deadline {
		r.Deadline = r.TimeoutAt
		r.Marks |= request.MarkTimeoutFirst
	}
	w.keepTime(r)
}

// takeBack handles a request that the blocking pool is done with.
func (w *worker) takeBack(r *request.Request) {
	if r.Op == request.OpWork {
		r.Marks &^= request.MarkPooled
		w.finish(&w.completed, r, r.Result)
		return
	}
	if r.Op == request.OpName {
		w.takeBackLookup(r)
		return
	}
	w.backend.Return(r)
}

// resume continues a multishot request after one of its shots was delivered.
func (w *worker) resume(r *request.Request) {
	r.Move(request.Start)
	if w.closing || r.CancelAsked() { // the message may come in after the request: no shot more
		r.Marks |= request.MarkCancel
	}
	if r.TimeoutNs != 0 {
		r.TimeoutAt = request.DeadlineAfter(w.clock(), r.TimeoutNs)
	}
	switch {
	case r.Op != request.OpTimer:
		w.startTimeout(r)
		w.backend.Resume(r)
	case r.Marked(request.MarkCancel):
		w.finish(&w.completed, r, sys.ECANCELED)
	default:
		r.Deadline = nextOnGrid(r.Deadline, uint64(r.Offset), w.clock())
		w.startTimer(r)
	}
}

// nextOnGrid returns the first time after now that is a whole number of periods after last.
func nextOnGrid(last, period, now uint64) uint64 {
	if next := request.DeadlineAfter(last, period); next > now {
		return next
	}
	return request.DeadlineAfter(now, period-(now-last)%period)
}

// obey handles a control message.
func (w *worker) obey(r *request.Request) {
	flags := r.TakeControl()
	if r.Phase() == request.Held {
		if r.Op == request.OpTick && flags&request.Cancel != 0 {
			r.Result = sys.ECANCELED // ticks of after it may run before it: it is not one of the row any more
		}
		r.Move(request.Release)
		r.Marks |= request.MarkReleased
		w.completed.Push(r)
		return
	}
	if flags&request.Modify != 0 {
		w.modify(r)
	}
	if flags&request.Cancel != 0 && !r.Marked(request.MarkCancel) {
		w.cancel(r)
	}
}

// cancel asks for the early end of a request, wherever it is.
func (w *worker) cancel(r *request.Request) {
	r.Marks |= request.MarkCancel
	if r.Phase() != request.Active {
		return // whoever has it next looks at the mark
	}
	switch r.Op {
	case request.OpTimer:
		w.finish(&w.completed, r, sys.ECANCELED)
	case request.OpWork:
		if w.engine.pool.Cancel(pool.Work, r) {
			r.Marks &^= request.MarkPooled
			w.finish(&w.completed, r, sys.ECANCELED)
		}
	case request.OpName:
		w.cancelLookup(r)
	default:
		w.backend.Cancel(r)
	}
}

// modify changes the events of a watch.
func (w *worker) modify(r *request.Request) {
	if r.Phase() == request.Active {
		w.backend.Modify(r, r.AskedEvents())
	} else {
		events := r.AskedEvents()&^request.EdgeTriggered | r.Events&request.EdgeTriggered
		r.Mode &^= events &^ r.Events // what is asked for anew is looked at anew
		r.Events = events
	}
}

// cancelAll cancels everything that is in this worker, for the end of the loop.
func (w *worker) cancelAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mailbox.SetBusy(false)
	w.closing = true
	w.tickBudget = 0
	w.drain(true)
	for r := w.ticks.First(); r != nil; r = r.Next {
		r.Marks |= request.MarkCancel
	}
	for r := w.incoming.First(); r != nil; r = r.Next {
		r.Marks |= request.MarkCancel
	}
	for r := w.wheel.First(); r != nil; r = w.wheel.First() {
		w.dropTime(r)
		if r.Op == request.OpTimer {
			w.cancel(r)
		}
	}
	for r := w.lookups.First(); r != nil; r = w.lookups.First() {
		w.cancel(r)
	}
	w.backend.CancelAll()
}

// withdraw takes back a tick, unless it has begun to move to delivery. ownThread says that the caller is a
// callback on the worker's own thread.
func (w *worker) withdraw(r *request.Request, ownThread bool) bool {
	w.mu.Lock()
	defer w.disturb()
	defer w.mu.Unlock()
	w.now, w.tickBudget = 0, 0
	w.drain(ownThread || !w.mailbox.Busy())
	inTicks := r.Phase() == request.Queued && r.Marked(request.MarkTickList)
	if !inTicks || r.Move(request.Withdraw) != request.Free {
		return false
	}
	w.ticks.Remove(r)
	w.engine.shared.CountWithdrawn()
	return true
}

// disturb makes the worker look at its queues before it sleeps, or wakes it: another thread drained its
// mailbox.
func (w *worker) disturb() {
	w.disturbed.Store(true)
	w.engine.wake(w)
}
