package loop

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// Options says what a loop is made of. The zero value is one thread and the defaults.
type Options struct {
	Threads         int // threads that run callbacks, the caller of Run included; 0 = 1
	BlockingThreads int // most threads for blocking work; 0 = 8
	Backend         BackendChoice
}

// Loop is an event loop for Go programs.
//
// Requests may be submitted and cancelled on any goroutine. Callbacks run on the goroutine that called Run,
// RunOnce or Wait and, with several threads, on goroutines of the loop. Errors are errno numbers
// (syscall.Errno): EINVAL, EBUSY (the request is in flight; another goroutine runs the loop, or this is a
// callback), ESHUTDOWN (the loop is closed).
type Loop struct {
	engine  *Engine
	id      uint32 // tells this loop's requests from another one's
	shared  request.Shared
	boxes   []request.Mailbox
	next    atomic.Uint32    // spreads requests over the workers
	fetched *request.Request // taken for harvest and not fetched yet
	shown   *request.Request // shots that Wait returned: they stay as they are until the next call
}

// lastID is the number of the loop that was made last.
var lastID atomic.Uint32

// New makes a loop. End it with Close.
func New(options Options) (*Loop, error) {
	const most = 1024
	threads, blocking := options.Threads, options.BlockingThreads
	if threads == 0 {
		threads = 1
	}
	if blocking == 0 {
		blocking = 8
	}
	if threads < 0 || threads > most || blocking < 0 || blocking > most {
		return nil, sys.Error(sys.EINVAL)
	}
	options.Threads, options.BlockingThreads = threads, blocking
	return newLoop(sys.Linux{}, options)
}

func newLoop(kernel sys.Kernel, options Options) (*Loop, error) {
	l := &Loop{boxes: make([]request.Mailbox, options.Threads), id: lastID.Add(1)}
	engine, errno := newEngine(kernel, Config{
		Threads:         options.Threads,
		BlockingThreads: options.BlockingThreads,
		Backend:         options.Backend,
		Host:            program{l},
		Shared:          &l.shared,
		Mailboxes:       l.boxes,
	})
	if errno < 0 {
		return nil, sys.Error(errno)
	}
	l.engine = engine
	return l, nil
}

// Run delivers completions until nothing is pending or Stop is called. It may be called again.
func (l *Loop) Run() error {
	if err := l.claim(); err != nil {
		return err
	}
	defer l.shared.Unclaim()
	return sys.Error(l.engine.Run())
}

// RunOnce does one turn, waiting at most timeout (< 0: no limit), and returns the number of completions.
func (l *Loop) RunOnce(timeout time.Duration) (int, error) {
	if err := l.claim(); err != nil {
		return 0, err
	}
	defer l.shared.Unclaim()
	n := l.engine.RunOnce(int64(timeout))
	return int(max(n, 0)), sys.Error(min(n, 0))
}

// Wait harvests requests that were submitted without a callback: it fills done with completed ones,
// waiting at most timeout (< 0: no limit) for the first, and returns their number.
func (l *Loop) Wait(done []*Request, timeout time.Duration) (int, error) {
	if len(done) == 0 {
		return 0, sys.Error(sys.EINVAL)
	}
	if err := l.claim(); err != nil {
		return 0, err
	}
	defer l.shared.Unclaim()
	if n := l.fetch(done); n > 0 {
		return n, nil
	}
	errno := l.engine.Wait(int64(timeout))
	return l.fetch(done), sys.Error(errno)
}

// Stop makes the call that runs the loop, or the next one, return once the callbacks that run now have.
func (l *Loop) Stop() {
	if l.shared.Open() {
		l.engine.Stop()
	}
}

// Close ends the loop: it refuses new requests, cancels what is in flight, delivers every completion on the
// calling goroutine, and frees what the loop made.
func (l *Loop) Close() error {
	if err := l.claim(); err != nil {
		return err
	}
	if !l.shared.BeginClosing() {
		return sys.Error(sys.ESHUTDOWN)
	}
	for l.fetched != nil {
		core := l.fetched
		l.fetched = core.Next
		l.shared.PushHarvest(core)
	}
	if errno := l.engine.Close(); errno < 0 {
		return sys.Error(errno)
	}
	l.shared.EndClosing()
	return nil
}

// Ref holds a reference: Run does not return for want of pending requests while one is held.
func (l *Loop) Ref() { l.shared.Ref() }

// Unref drops a reference of Ref. EINVAL if none is held.
func (l *Loop) Unref() error {
	if !l.shared.Unref() {
		return sys.Error(sys.EINVAL)
	}
	l.engine.Nudge()
	return nil
}

// Pending returns the number of requests in flight plus references held.
func (l *Loop) Pending() int { return int(l.engine.Pending()) }

// Now returns the time on the clock of timers: nanoseconds, monotonic.
func (l *Loop) Now() time.Duration { return time.Duration(l.engine.Now()) }

// BackendName names the kernel interface in use, such as "epoll".
func (l *Loop) BackendName() string { return l.engine.BackendName() }

// Statistics returns what the loop did so far.
func (l *Loop) Statistics() Statistics { return l.engine.Statistics() }

// check says why the loop takes no calls.
func (l *Loop) check() error {
	switch {
	case l.shared.Broken():
		return sys.Error(sys.ENOTRECOVERABLE)
	case !l.shared.Open():
		return sys.Error(sys.ESHUTDOWN)
	}
	return nil
}

func (l *Loop) claim() error {
	if err := l.check(); err != nil {
		return err
	}
	if !l.shared.Claim() {
		return sys.Error(sys.EBUSY)
	}
	for l.shown != nil {
		core := l.shown
		l.shown = core.Next
		l.engine.post(core)
	}
	return nil
}

// fetch moves harvested requests to done.
func (l *Loop) fetch(done []*Request) (n int) {
	if l.fetched == nil {
		l.fetched = l.shared.TakeHarvest()
	}
	for n < len(done) && l.fetched != nil {
		core := l.fetched
		l.fetched = core.Next
		done[n] = (*Request)(unsafe.Pointer(core))
		n++
		if core.Flags&request.More != 0 {
			core.Next, l.shown = l.shown, core
		} else {
			done[n-1].release()
		}
	}
	return n
}

// program is the Host of a Go program.
type program struct {
	loop *Loop
}

// Deliver implements Host.
func (p program) Deliver(worker int) (n int) {
	ready := &p.loop.boxes[worker].Ready
	for !ready.Empty() && !p.loop.shared.Stopped() {
		p.complete(worker, ready.Pop())
		n++
	}
	return n
}

// DeliverRing implements Host.
func (p program) DeliverRing(worker, from int) (n int) {
	ring := &p.loop.boxes[from].Ring
	for !p.loop.shared.Stopped() {
		core := ring.Take()
		if core == nil {
			break
		}
		p.complete(worker, core)
		n++
	}
	return n
}

// Work implements Host.
func (p program) Work(core *request.Request) { (*Request)(unsafe.Pointer(core)).work() }

// Settle implements Host. Go programs look up names with package net.
func (p program) Settle(*request.Request, *request.Request) int64 { return 0 }

// complete delivers one completion.
func (p program) complete(worker int, core *request.Request) {
	r := (*Request)(unsafe.Pointer(core))
	callback, more := r.callback, core.Flags&request.More != 0
	switch {
	case callback == nil:
		p.loop.shared.PushHarvest(core)
	case more:
		callback(r)
		p.loop.engine.post(core)
	default:
		r.release()
		callback(r)
	}
	last := uint64(1)
	if more {
		last = 0
	}
	p.loop.boxes[worker].CountDelivered(1, last)
}
