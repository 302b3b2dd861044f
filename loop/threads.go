package loop

import (
	"sync"
	"sync/atomic"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// A loop of n threads has n workers. The caller of Run drives the first one; n-1 helper threads drive the
// others, but only while somebody is inside Run, RunOnce or Wait: in between they are parked, and no callback
// runs. They are started when they are needed first, and end with the loop.

// While workers run callbacks, one idle worker keeps watch over what becomes ready that they cannot
// start: it sleeps at most watchNs at a time. After watchNaps naps in which nothing happened anywhere it
// sleeps soundly, and the next worker that gets busy wakes a new watcher.
const (
	watchNs   = 1_000_000
	watchNaps = 4
)

// helpers is the parking place.
type helpers struct {
	kernel  sys.Kernel
	most    int // threads that may await a change
	mu      sync.Mutex
	changes uint32 // of what follows; a futex
	active  bool   // helpers may run
	ending  bool
	working int // helpers that may be running callbacks
	threads []sys.Thread
	leaving atomic.Bool // mirror of !active, for workers on their way to sleep
}

func (h *helpers) init(kernel sys.Kernel, most int) { h.kernel, h.most = kernel, most }

// await waits for a change, and may return early. The lock is held, but not while it waits.
func (h *helpers) await() {
	const longNs = 1 << 60
	seen := h.changes
	h.mu.Unlock()
	h.kernel.FutexWait(&h.changes, seen, longNs)
	h.mu.Lock()
}

// announce wakes all who await a change. The lock is held.
func (h *helpers) announce() {
	h.changes++
	for range h.most {
		h.kernel.FutexWake(&h.changes)
	}
}

// multi reports whether the loop has several workers.
func (e *Engine) multi() bool { return len(e.workers) > 1 }

// turn does one turn on the calling thread, with the helpers running beside it.
func (e *Engine) turn(limitNs int64) {
	if e.multi() {
		e.activate()
	}
	if e.workers[0].turn(limitNs) == 0 && e.multi() {
		e.workers[0].assist()
	}
}

// leave parks the helpers, prepares for the time until the next call, and returns what the call ends with.
func (e *Engine) leave() int64 {
	e.rest()
	e.shared.TakeStop() // now that no helper could go on for want of it
	e.returnAfter.Store(request.Never)
	if e.shared.Broken() {
		return sys.ENOTRECOVERABLE // on a helper's thread
	}
	e.workers[0].settle()
	return 0
}

// settle prepares a worker for the time when nobody drives it.
func (w *worker) settle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mailbox.SetBusy(false)
	if w.engine.shared.Embedded() {
		w.announceRest()
	}
}

// announceRest makes submits signal the descriptor although nobody waits in the kernel: another loop
// does. What the descriptor has to say so far is collected first, or it would stay readable.
func (w *worker) announceRest() {
	w.backend.Flush()
	w.backend.Wait(0)
	w.backend.Collect()
	w.backend.Flush() // what was collected may have to go on
	submitted := w.backend.Submit()
	w.mailbox.SetSleeping()
	if !submitted || w.mailbox.HasWork() || w.unfinished() {
		w.engine.wake(w)
	}
}

// activate starts or wakes the helpers.
func (e *Engine) activate() {
	h := &e.helpers
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.active {
		return
	}
	h.active = true
	h.leaving.Store(false)
	if h.threads == nil {
		for _, w := range e.workers[1:] {
			h.threads = append(h.threads, e.kernel.StartThread("loop", w.help))
		}
	}
	h.announce()
}

// rest parks the helpers, and returns when no callback runs any more.
func (e *Engine) rest() {
	h := &e.helpers
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.active {
		return
	}
	h.active = false
	h.leaving.Store(true)
	for _, w := range e.workers[1:] {
		e.wake(w)
	}
	for h.working > 0 {
		h.await()
	}
}

// quit ends the helpers and waits until their threads are gone.
func (h *helpers) quit() {
	h.mu.Lock()
	h.ending = true
	threads := h.threads
	h.announce()
	h.mu.Unlock()
	for _, t := range threads {
		t.Join()
	}
}

// help is the life of a helper thread.
func (w *worker) help() {
	h := &w.engine.helpers
	h.mu.Lock()
	for !h.ending {
		if !h.active || w.engine.shared.Stopped() || w.engine.shared.Broken() {
			h.await()
			continue
		}
		h.working++
		h.mu.Unlock()
		w.work()
		h.mu.Lock()
		h.working--
		h.announce()
	}
	h.mu.Unlock()
}

// work runs turns until the loop rests.
func (w *worker) work() {
	e := w.engine
	var errno int64
	defer e.Contained(&errno)
	w.attach()
	for !e.helpers.leaving.Load() && !e.shared.Stopped() {
		if w.turn(-1) == 0 {
			w.assist()
		}
		if e.finished() {
			e.wake(e.workers[0])
		}
	}
	w.settle()
}

// finished reports whether the caller of Run, RunOnce or Wait has reason to return.
func (e *Engine) finished() bool {
	return e.Pending() == 0 || e.completions() > e.returnAfter.Load()
}

// interrupted reports whether a worker must not sleep. It is asked after the worker announced its sleep.
func (e *Engine) interrupted(w *worker) bool {
	if e.shared.Stopped() || w.index == 0 && e.finished() || w.index != 0 && e.helpers.leaving.Load() {
		return true
	}
	for _, other := range e.workers {
		if other.mailbox.Ring.Len() > 0 {
			return true
		}
	}
	return false
}

// watchful limits a sleep if it falls to this worker to keep watch.
func (e *Engine) watchful(w *worker, patience int64) int64 {
	if !e.multi() || patience > 0 && patience < watchNs {
		return patience
	}
	if w.quiet++; e.stirs(w) {
		w.quiet = 0
	}
	self := int32(w.index) + 1
	if w.quiet <= watchNaps && (e.watcher.Load() == self || e.watcher.CompareAndSwap(0, self)) {
		return watchNs
	}
	e.endWatch(w)
	if e.stirs(w) { // somebody got busy who still saw a watcher
		w.quiet = 0
		return watchNs
	}
	return patience
}

// stirs reports whether another worker runs callbacks, or has done a turn since this one asked last.
func (e *Engine) stirs(w *worker) bool {
	busy, turns := false, uint64(0)
	for _, other := range e.workers {
		if other != w {
			busy = busy || other.mailbox.Busy()
			turns += other.turns.Load()
		}
	}
	news := turns != w.seenTurns
	w.seenTurns = turns
	return busy || news
}

// endWatch says that this worker keeps no watch any more.
func (e *Engine) endWatch(w *worker) { e.watcher.CompareAndSwap(int32(w.index)+1, 0) }

// getBusy is called by a worker that is about to run callbacks: somebody has to keep watch, and to look
// at what was pushed to it after it drained its mailbox, by who may not have seen it busy yet.
func (e *Engine) getBusy(w *worker) {
	e.endWatch(w)
	if e.watcher.Load() == 0 || w.mailbox.HasForeignWork() {
		e.wakeHelper(w)
	}
}

// assist delivers what other workers have ready and cannot start at once, and collects for those whose
// callbacks run long.
func (w *worker) assist() {
	e := w.engine
	for _, other := range e.workers {
		if other == w || e.shared.Stopped() || e.helpers.leaving.Load() {
			continue
		}
		if other.mailbox.Busy() && other.mu.TryLock() {
			if other.mailbox.Busy() {
				other.collectForBusy()
			}
			other.mu.Unlock()
		}
		if other.mailbox.Ring.Len() > 0 {
			w.mu.Lock()
			w.mailbox.SetBusy(true)
			w.mu.Unlock()
			e.getBusy(w)
			w.turns.Add(1)
			w.deliveries.Add(1)
			e.deliverShared(w, other)
		}
	}
}

// collectForBusy is a turn of a worker whose thread is in a callback, done by another thread up to delivery.
// The worker's local list is out of reach: its thread may be appending to it.
func (w *worker) collectForBusy() {
	w.now = 0
	w.tickBudget = tickBatch
	w.drain(false)
	w.advance()
	if w.backend.Flush() {
		w.backend.Wait(0)
		w.backend.Collect()
	}
	w.gather()
	w.disturbed.Store(true)
}

// deliverShared delivers from the ring of a worker, with the help of another one if there is more than one
// request in it.
func (e *Engine) deliverShared(w, from *worker) int {
	if from.mailbox.Ring.Len() > 1 {
		e.wakeHelper(w)
	}
	return e.host.DeliverRing(w.index, from.index)
}

// wakeHelper wakes a worker that sleeps, if there is one.
func (e *Engine) wakeHelper(w *worker) {
	for _, other := range e.workers {
		if other != w && e.wake(other) {
			return
		}
	}
}

// Contained, deferred, turns a panic into an error code, if the host wants that.
func (e *Engine) Contained(result *int64) {
	if !e.contain {
		return
	}
	if cause := recover(); cause != nil {
		reportPanic(cause)
		e.shared.Break()
		*result = sys.ENOTRECOVERABLE
		e.shared.Stop()
		e.wake(e.workers[0])
	}
}

func reportPanic(cause any) {
	switch cause := cause.(type) {
	case string:
		println("libloop: internal error:", cause)
	case error:
		println("libloop: internal error:", cause.Error())
	default:
		println("libloop: internal error")
	}
}
