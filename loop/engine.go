package loop

import (
	"runtime"
	"sync/atomic"

	"github.com/libloop/libloop/loop/backend/pool"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// Engine is an event loop over memory that it shares with its host. Its methods return 0 or a value,
// or a negated errno number. Run, RunOnce, Wait and Close are for one thread at a time, which has claimed the
// loop (request.Shared.Claim) and is not in one of its callbacks.
type Engine struct {
	kernel  sys.Kernel
	host    Host
	shared  *request.Shared
	workers []*worker
	boxes   []*request.Mailbox
	pool    *pool.Pool

	helpers helpers
	guests  atomic.Int32 // threads inside that do not run the loop
	ending  atomic.Bool  // no guest may come in
	signal  func(fd int) // makes a wake descriptor readable
	contain bool         // see Config
	watcher atomic.Int32 // 1 + the index of the worker that keeps watch; 0 = none

	// When more than this many requests have completed, on whatever thread, the first worker does not sleep:
	// its caller wants to know. Never while in Run.
	returnAfter atomic.Uint64
}

// Host is the program that a loop works for: where its callbacks and work functions are.
type Host interface {
	// Deliver calls the callbacks of the requests in the mailbox's Ready list, until it is empty or the loop
	// is stopped. It returns the number of completions. Called without a lock, on the worker's thread.
	Deliver(worker int) int
	// DeliverRing does the same with the ring of worker `from`, on the thread of `worker`.
	DeliverRing(worker, from int) int
	// Work calls the function of an OpWork request, or does the look-up of the proxy of an OpName request, on
	// a thread of the blocking pool.
	Work(r *request.Request)
	// Settle hands the outcome of a look-up to the program's request, unless that is nil, frees the proxy,
	// and returns the result.
	Settle(proxy, r *request.Request) int64
}

// Config says what a loop is made of.
type Config struct {
	Threads         int // loop threads, at least 1
	BlockingThreads int // most threads of the blocking pool
	Backend         BackendChoice
	ThreadBound     bool // one thread will run the loop, and end it
	Host            Host
	Shared          *request.Shared   // zeroed
	Mailboxes       []request.Mailbox // zeroed, one for each thread

	// Contain says that a panic, which is an error in the engine, must not end the process: the loop is
	// broken then, and says so (ENOTRECOVERABLE). A Go program would rather see it, for the error may be
	// in a callback.
	Contain bool
}

// BackendChoice says which kernel interface a loop is to use. The numbers are those of loop.h.
type BackendChoice int

// The choices.
const (
	BackendAuto    BackendChoice = iota // io_uring, or epoll where that cannot be had
	BackendEpoll                        // without any attempt at io_uring
	BackendIOUring                      // or fail
)

// NewEngine makes a loop over the memory of its host. A negative errno says what could not be had;
// nothing is left behind then.
func NewEngine(config Config) (*Engine, int64) { return newEngine(sys.Linux{}, config) }

func newEngine(kernel sys.Kernel, config Config) (*Engine, int64) {
	e := &Engine{kernel: kernel, host: config.Host, shared: config.Shared, contain: config.Contain}
	e.signal = func(fd int) { kernel.EventSignal(fd) }
	e.pool = pool.New(kernel, config.BlockingThreads, e.work, e.post)
	for i := range config.Threads {
		e.workers = append(e.workers, &worker{engine: e, index: i, mailbox: &config.Mailboxes[i]})
		e.boxes = append(e.boxes, &config.Mailboxes[i])
	}
	if errno := e.openBackends(&config); errno < 0 {
		e.pool.Close()
		return nil, errno
	}
	e.helpers.init(kernel, config.Threads)
	e.returnAfter.Store(request.Never)
	e.shared.Init(config.Threads)
	return e, 0
}

// Run delivers completions until nothing is pending or Stop is called.
func (e *Engine) Run() (errno int64) {
	defer e.Contained(&errno)
	e.workers[0].attach()
	for !e.shared.Stopped() && e.Pending() > 0 {
		e.turn(-1)
	}
	return e.leave()
}

// RunOnce waits at most timeoutNs (< 0: no limit) for something to complete, delivers what is there, and
// returns the number of completions. With nothing pending it returns at once.
func (e *Engine) RunOnce(timeoutNs int64) (n int64) {
	defer e.Contained(&n)
	e.workers[0].attach()
	before := e.completions()
	e.runUntil(timeoutNs, func() bool { return e.completions() > before })
	if errno := e.leave(); errno < 0 {
		return errno
	}
	return int64(e.completions() - before)
}

// Wait runs until a completion without callback is there to be harvested, for at most timeoutNs (< 0: no
// limit), or nothing is pending, or Stop is called.
func (e *Engine) Wait(timeoutNs int64) (errno int64) {
	defer e.Contained(&errno)
	e.workers[0].attach()
	e.runUntil(timeoutNs, e.shared.HasHarvest)
	return e.leave()
}

// runUntil does turns until done says so, the time is over, nothing is pending, or Stop was called. With a
// timeout of 0 it is one turn.
func (e *Engine) runUntil(timeoutNs int64, done func() bool) {
	deadline := request.Never
	if timeoutNs > 0 {
		deadline = request.DeadlineAfter(e.kernel.Now(), uint64(timeoutNs))
	}
	for {
		e.returnAfter.Store(e.completions()) // before the look: what completes after it is noticed
		if done() || e.shared.Stopped() || e.Pending() == 0 {
			return
		}
		e.turn(timeoutNs)
		if timeoutNs == 0 {
			return
		}
		if timeoutNs > 0 {
			now := e.kernel.Now()
			timeoutNs = int64(max(deadline, now) - now)
		}
	}
}

// Stop makes the call that runs the loop, or the next one, return. Any thread.
func (e *Engine) Stop() {
	e.shared.Stop()
	e.wake(e.workers[0])
}

// Close cancels what is in flight, delivers it on the calling thread, and frees what the loop made. The host
// has seen to it that the loop refuses requests already.
func (e *Engine) Close() (errno int64) {
	defer e.Contained(&errno)
	const glanceNs = 1_000_000 // several workers, one thread: nobody wakes it for the others
	for _, w := range e.workers {
		w.attach()
	}
	for e.shared.InFlight(e.boxes) > 0 {
		e.shared.TakeStop()
		e.discardHarvest()
		e.pool.CancelQueued()
		for _, w := range e.workers {
			w.cancelAll()
			w.turn(0)
		}
		if e.shared.InFlight(e.boxes) > 0 && !e.unfinished() {
			e.workers[0].turn(e.glance(glanceNs))
		}
	}
	e.discardHarvest()
	e.release()
	return 0
}

// discardHarvest ends completions that nobody harvested: the request is the program's, or, with more shots to
// come, goes on to be cancelled.
func (e *Engine) discardHarvest() {
	for r := e.shared.TakeHarvest(); r != nil; {
		next := r.Next
		if r.Phase() == request.Shot {
			e.discardShot(r)
		} else {
			r.LeavePool()
			r.Move(request.Deliver)
		}
		r = next
	}
}

// discardShot sends a request whose shot nobody harvested on to be cancelled. A connection that it accepted
// would stay open for ever: nobody else knows its descriptor.
func (e *Engine) discardShot(r *request.Request) {
	if r.Op == request.OpAccept {
		e.kernel.Close(int(r.Result), true)
	}
	e.post(r)
}

// glance returns the longest wait of one worker while another may have something to do.
func (e *Engine) glance(ns int64) int64 {
	if e.multi() {
		return ns
	}
	return -1
}

// unfinished reports whether there is something to do at once: a worker's, or a shot to be discarded.
func (e *Engine) unfinished() bool {
	if e.shared.HasHarvest() {
		return true
	}
	for _, w := range e.workers {
		if w.mailbox.HasWork() || w.unfinished() || w.mailbox.Ring.Len() > 0 {
			return true
		}
	}
	return false
}

// release frees threads and descriptors.
func (e *Engine) release() {
	e.ending.Store(true)
	for e.guests.Load() != 0 {
		runtime.Gosched()
	}
	e.helpers.quit()
	for _, m := range e.boxes {
		m.EndSleep(runtime.Gosched)
	}
	e.pool.Close()
	for _, w := range e.workers {
		w.sweepLookups()
		w.backend.Close()
	}
}

// Visit makes a call of a thread that does not run the loop, unless the loop has ended: what the call uses
// does not go away meanwhile. The memory of the loop may serve another one already, so that memory does not
// tell.
func (e *Engine) Visit(call func() int64) int64 {
	e.guests.Add(1)
	defer e.guests.Add(-1)
	if e.ending.Load() {
		return sys.ESHUTDOWN
	}
	return call()
}

// Withdraw takes back a tick that was accepted; false = too late. Any thread; ownThread says that the caller
// is a callback on the thread of the tick's worker.
func (e *Engine) Withdraw(r *request.Request, ownThread bool) bool {
	w := r.Worker()
	if w >= len(e.workers) || !e.workers[w].withdraw(r, ownThread) {
		return false
	}
	e.Nudge()
	return true
}

// Nudge makes Run notice that nothing is pending any more. Any thread.
func (e *Engine) Nudge() {
	if e.Pending() == 0 {
		e.wake(e.workers[0])
	}
}

// Pending returns the number of requests in flight plus references. Any thread.
func (e *Engine) Pending() int64 { return e.shared.Pending(e.boxes) }

// Now returns the time on the clock of timers. Any thread.
func (e *Engine) Now() uint64 { return e.kernel.Now() }

// Socket makes a socket, non-blocking and closed on exec. Any thread.
func (e *Engine) Socket(domain, kind, protocol int) int64 {
	return e.kernel.Socket(domain, kind, protocol)
}

// BackendName names the kernel interface in use. Any thread.
func (e *Engine) BackendName() string { return e.workers[0].backend.Name() }

// BackendDescriptor returns a descriptor that is readable when RunOnce(0) would find something to do, and has
// other threads signal it from now on. A loop of several threads has none.
func (e *Engine) BackendDescriptor() int64 {
	if e.multi() {
		return sys.ENOTSUP
	}
	w := e.workers[0]
	e.shared.SetEmbedded()
	if e.shared.Claim() {
		w.settle()
		e.shared.Unclaim()
	} else { // the thread that runs the loop will settle; or it just has, and is about to return
		w.mailbox.SetSleeping()
		e.wake(w)
	}
	return int64(w.backend.Descriptor())
}

// BackendTimeout returns how long another loop may wait for the descriptor: ns, or -1 for ever.
func (e *Engine) BackendTimeout() int64 {
	if e.multi() {
		return sys.ENOTSUP
	}
	w := e.workers[0]
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Pending() == 0 {
		return -1
	}
	if w.mailbox.HasWork() {
		return 0
	}
	w.now = 0
	w.backend.Flush()
	return w.patience(-1)
}

// work runs an OpWork request, or the proxy of an OpName request, on a thread of the pool.
func (e *Engine) work(r *request.Request) int64 {
	e.host.Work(r)
	return 0
}

// post gives a request to its worker: a new one, one that the pool is done with, or one between two shots.
func (e *Engine) post(r *request.Request) {
	w := e.workers[r.Worker()]
	w.mailbox.Push(r)
	e.notify(w)
}

// notify sees to it that what was pushed to a worker's mailbox is looked at: by the worker, or, while that
// runs a callback, by another one that sleeps. Any thread.
func (e *Engine) notify(w *worker) {
	if !e.wake(w) && e.multi() && w.mailbox.Busy() {
		e.wakeHelper(w)
	}
}

// Statistics are counters of a loop.
type Statistics struct {
	BlockingThreads                                                           int
	Completions, Turns, Sleeps, Deliveries, Wakes, StaleEvents, PollFallbacks uint64
}

// Statistics returns the counters. Any thread.
func (e *Engine) Statistics() (s Statistics) {
	s.BlockingThreads = e.pool.Threads()
	s.Completions = e.completions()
	for _, w := range e.workers {
		s.Turns += w.turns.Load()
		s.Sleeps += w.sleeps.Load()
		s.Deliveries += w.deliveries.Load()
		s.Wakes += w.mailbox.Wakes()
		stale, fallbacks := w.backend.Statistics()
		s.StaleEvents += stale
		s.PollFallbacks += fallbacks
	}
	return s
}

// deliver hands the results of a worker to the program.
func (e *Engine) deliver(w *worker) int {
	if !e.multi() {
		return e.host.Deliver(w.index)
	}
	return e.deliverShared(w, w)
}

// wake ends the sleep of a worker; false if it does not sleep. Any thread.
func (e *Engine) wake(w *worker) bool {
	return w.mailbox.Wake(e.signal)
}

func (e *Engine) completions() (n uint64) {
	for _, m := range e.boxes {
		n += m.Completions()
	}
	return n
}
