package loop

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/backend/pool"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/internal/wheel"
	"github.com/libloop/libloop/loop/request"
)

const (
	timerBatch = 256  // deadlines handled in one turn: few enough that delivery finds them in the cache
	tickBatch  = 1024 // ticks delivered in one turn
	startBatch = 256  // operations started in one turn
)

// worker is what one loop thread drives: its mailbox, its queues and its backend.
//
// The lock guards all of it. The worker's thread holds it except while it waits in the kernel or runs
// callbacks; a thread that takes back a tick, or helps a worker whose callback runs long, holds it meanwhile.
type worker struct {
	engine  *Engine
	index   int
	mailbox *request.Mailbox

	mu         sync.Mutex
	backend    backend.Backend
	wheel      wheel.Wheel
	ticks      request.List // accepted ticks that have to wait
	incoming   request.List // accepted operations that were not started yet
	lookups    request.List // look-ups of names that have begun
	closing    bool         // the loop ends: no shot more
	tickBudget int          // ticks that may still be moved to delivery in this turn
	now        uint64       // the time as of this turn; 0 = not looked at yet
	yielded    uint64       // when the worker last passed through the scheduler

	// What is to be delivered, in this order.
	dueTimers request.List
	dueTicks  request.List
	completed request.List

	spinner spinner

	// Of the worker's thread: keeping watch, see threads.go.
	quiet     int
	seenTurns uint64

	disturbed                 atomic.Bool // another thread drained the mailbox
	turns, sleeps, deliveries atomic.Uint64
}

// yieldNs is how often a worker passes through the scheduler of the Go runtime. A goroutine that never
// does looks stuck to the runtime's monitor after 10 ms, which from then on takes the processor away from
// it in each system call and callback, however short: that cost a busy loop up to a fifth of a core.
const yieldNs = 5_000_000

// turn does what there is to do, or waits for it at most limitNs (< 0: no limit), and delivers the results.
// It returns the number of completions.
func (w *worker) turn(limitNs int64) int {
	w.turns.Add(1)
	w.mu.Lock()
	w.mailbox.SetBusy(false)
	w.disturbed.Store(false)
	w.now = 0
	w.tickBudget = tickBatch
	w.drain(true)
	w.advance()
	expectant := w.backend.Flush()
	if patience := w.patience(limitNs); patience != 0 || expectant {
		w.mu.Unlock()
		w.wait(patience, expectant)
		w.yield()
		w.mu.Lock()
		w.now = 0
		w.backend.Collect()
		if patience != 0 {
			w.drain(true) // what woke us
			w.advance()
		}
	}
	ready := w.gather()
	w.mailbox.SetBusy(ready)
	w.mu.Unlock()
	if !ready {
		return 0
	}
	if w.engine.multi() {
		w.engine.getBusy(w)
	}
	w.deliveries.Add(1)
	return w.engine.deliver(w)
}

// attach says that the calling thread drives the worker from now on.
func (w *worker) attach() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.backend.Attach()
	if w.yielded == 0 {
		w.yielded = w.engine.kernel.Now()
	}
}

// advance turns what is due into results.
func (w *worker) advance() {
	w.expire()
	w.takeTicks()
	w.startIncoming()
}

// patience returns how long the worker may wait in the kernel: 0 when there is something to deliver or to go
// on with, < 0 when nothing limits it.
func (w *worker) patience(limitNs int64) int64 {
	if limitNs == 0 || w.unfinished() {
		return 0
	}
	next := w.wheel.Next()
	if next == request.Never {
		return limitNs
	}
	now := w.clock()
	if next <= now {
		return 0
	}
	if until := int64(min(next-now, 1<<62)); limitNs < 0 || until < limitNs {
		return until
	}
	return limitNs
}

// unfinished reports whether there is something to deliver, or accepted and not started.
func (w *worker) unfinished() bool {
	return !w.completed.Empty() || !w.dueTicks.Empty() || !w.dueTimers.Empty() || !w.mailbox.Ready.Empty() ||
		!w.ticks.Empty() || !w.incoming.Empty()
}

// wait lets the backend wait, unless something came up after the worker announced its sleep. expectant says
// that a look is worth a system call.
func (w *worker) wait(patience int64, expectant bool) {
	if patience != 0 && w.spin(patience) {
		if !expectant {
			return
		}
		patience = 0
	}
	if patience != 0 {
		w.engine.pool.Muster()
		w.mailbox.SetSleeping()
		if w.mailbox.HasForeignWork() || w.disturbed.Load() || w.engine.interrupted(w) {
			patience = 0
		} else {
			w.sleeps.Add(1)
			patience = w.engine.watchful(w, patience)
		}
	}
	errno := w.backend.Wait(patience)
	w.mailbox.ClearSleeping()
	if patience != 0 {
		w.spinner.wake(w.mailbox.HasForeignWork())
	}
	if errno < 0 {
		panic("loop: the kernel interface was closed behind the loop's back")
	}
}

// yield passes through the scheduler if it is time to.
func (w *worker) yield() {
	if now := w.engine.kernel.Now(); now-w.yielded > yieldNs {
		w.yielded = now
		runtime.Gosched()
	}
}

// gather moves the results to where delivery finds them, in the order that loop.h promises. It reports
// whether there are any.
func (w *worker) gather() bool {
	ready := &w.mailbox.Ready
	ready.Append(&w.dueTimers)
	ready.Append(&w.dueTicks)
	ready.Append(&w.completed)
	if w.engine.multi() {
		w.mailbox.Ring.Fill(ready)
		return w.mailbox.Ring.Len() > 0
	}
	return !ready.Empty()
}

// clock returns the time, read once a turn and again after a wait.
func (w *worker) clock() uint64 {
	if w.now == 0 {
		w.now = w.engine.kernel.Now()
	}
	return w.now
}

// expire handles the deadlines that have passed, up to a batch.
func (w *worker) expire() {
	if !w.wheel.Empty() {
		w.wheel.Expire(w.clock(), timerBatch, w.due)
	}
}

// due handles one deadline: a timer fires, any other request is asked to end.
func (w *worker) due(r *request.Request) {
	r.Marks &^= request.MarkTimed
	switch {
	case r.Op != request.OpTimer || r.Marked(request.MarkTimeoutFirst):
		if !r.Marked(request.MarkCancel) {
			r.Marks |= request.MarkTimedOut
			w.cancel(r)
		}
	case r.IsMultishot():
		w.shoot(&w.dueTimers, r, 0)
	default:
		w.finish(&w.dueTimers, r, 0)
	}
}

// takeTicks moves the ticks that were accepted, up to a batch, to delivery.
func (w *worker) takeTicks() {
	for ; w.tickBudget > 0; w.tickBudget-- {
		r := w.ticks.Pop()
		if r == nil {
			return
		}
		if r.TimeoutNs != 0 && !r.Marked(request.MarkCancel) && r.TimeoutAt <= w.clock() {
			r.Marks |= request.MarkTimedOut | request.MarkCancel
		}
		r.Marks &^= request.MarkTickList
		w.finish(&w.dueTicks, r, cancelledOr(r, 0))
	}
}

// startIncoming starts operations that were accepted, up to a batch.
func (w *worker) startIncoming() {
	for range startBatch {
		r := w.incoming.Pop()
		if r == nil {
			return
		}
		if r.Marked(request.MarkCancel) {
			w.dropLookup(r)
			w.finish(&w.completed, r, sys.ECANCELED)
			continue
		}
		r.Move(request.Start)
		w.startTimeout(r)
		switch r.Op {
		case request.OpWork:
			r.Marks |= request.MarkPooled
			w.engine.pool.Submit(pool.Work, r)
		case request.OpName:
			w.startLookup(r)
		default:
			w.backend.Start(r)
		}
	}
}

// startTimeout puts the deadline of an operation on the wheel.
func (w *worker) startTimeout(r *request.Request) {
	if r.TimeoutNs != 0 && r.TimeoutAt != request.Never {
		r.Deadline = r.TimeoutAt
		w.keepTime(r)
	}
}

func (w *worker) keepTime(r *request.Request) {
	r.Marks |= request.MarkTimed
	w.wheel.Add(r)
}

func (w *worker) dropTime(r *request.Request) {
	if r.Marked(request.MarkTimed) {
		r.Marks &^= request.MarkTimed
		w.wheel.Remove(r)
	}
}

// Finish implements backend.Sink.
func (w *worker) Finish(r *request.Request, result int64) { w.finish(&w.completed, r, result) }

// Shoot implements backend.Sink.
func (w *worker) Shoot(r *request.Request, result int64) { w.shoot(&w.completed, r, result) }

// finish ends a request: it goes to delivery, unless a control message for it is on its way; then it is held
// until that came in.
func (w *worker) finish(list *request.List, r *request.Request, result int64) {
	w.dropTime(r)
	if result == sys.ECANCELED && r.Marked(request.MarkTimedOut) {
		result = sys.ETIMEDOUT
	}
	r.Result, r.Flags = result, 0
	if r.Op >= request.OpAccept {
		settleSocket(r)
	}
	if r.Move(request.Finish) == request.Done {
		list.Push(r)
	}
}

// settleSocket completes the result of an operation on a socket: bytes that were moved count for more than
// the error that came after them.
func settleSocket(r *request.Request) {
	if r.Result < 0 && r.Moved > 0 {
		r.Result = int64(r.Moved)
	}
	if r.Marked(request.MarkBuffer) {
		r.Flags |= request.Buffer
	}
}

// shoot delivers one result of a multishot request, which comes back through the mailbox afterwards.
func (w *worker) shoot(list *request.List, r *request.Request, result int64) {
	w.dropTime(r)
	r.Result, r.Flags = result, request.More
	if r.Marked(request.MarkBuffer) {
		r.Flags |= request.Buffer
	}
	r.Move(request.Shoot)
	list.Push(r)
}

func cancelledOr(r *request.Request, result int64) int64 {
	if r.Marked(request.MarkCancel) {
		return sys.ECANCELED
	}
	return result
}
