package pool

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// observed is the operating system. It counts the threads that sleep, and a test may replace its clock.
type observed struct {
	sys.Linux
	asleep atomic.Int64
	now    atomic.Pointer[func() uint64]
}

func (k *observed) Now() uint64 {
	if now := k.now.Load(); now != nil {
		return (*now)()
	}
	return k.Linux.Now()
}

func (k *observed) FutexWait(word *uint32, value uint32, timeoutNs int64) {
	k.asleep.Add(1)
	defer k.asleep.Add(-1)
	k.Linux.FutexWait(word, value, timeoutNs)
}

// job is a request and what became of it.
type job struct {
	request request.Request
	gate    chan struct{} // if there is one, the work waits until it is closed
	begun   atomic.Int64
	done    atomic.Int64
}

// harness is a pool whose work functions and look-ups are jobs.
type harness struct {
	*Pool
	kernel observed
	jobs   sync.Map // *request.Request -> *job
}

func newHarness(t *testing.T, limit int) *harness {
	h := &harness{}
	work := func(r *request.Request) int64 {
		j := h.find(r)
		j.begun.Add(1)
		if j.gate != nil {
			<-j.gate
		}
		return 0
	}
	h.Pool = New(&h.kernel, limit, work, func(r *request.Request) { h.find(r).done.Add(1) })
	t.Cleanup(func() {
		if !t.Failed() { // else a gate may be closed for ever, and Close would wait for it
			h.Close()
		}
	})
	return h
}

func (h *harness) find(r *request.Request) *job {
	j, _ := h.jobs.Load(r)
	return j.(*job)
}

func (h *harness) queue(gate chan struct{}) *job { return h.queueIn(Work, gate) }

func (h *harness) queueIn(class Class, gate chan struct{}) *job {
	j := &job{gate: gate}
	j.request.Op = request.OpWork
	h.jobs.Store(&j.request, j)
	h.Submit(class, &j.request)
	return j
}

// closeNothing queues a file operation, which fails.
func (h *harness) closeNothing() *job {
	j := &job{}
	j.request.Op, j.request.Fd = request.OpClose, -1
	h.jobs.Store(&j.request, j)
	h.Submit(Files, &j.request)
	return j
}

// eventually waits until something is true, but not until a thread that should have been woken leaves, and
// finds what was lost.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(idleNs * 4 / 5); !holds(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

func isDone(j *job) func() bool { return func() bool { return j.done.Load() != 0 } }

func TestRequestsOfManySubmittersRunOnceEach(t *testing.T) {
	const submitters, each = 4, 5000
	for _, limit := range []int{1, 3, 4, 8} {
		h := newHarness(t, limit)
		jobs := make([][]*job, submitters)
		var group sync.WaitGroup
		for s := range submitters {
			group.Add(1)
			go func() {
				defer group.Done()
				for i := range each {
					jobs[s] = append(jobs[s], h.queue(nil))
					if i%(7+s) == 0 { // let the pool run out of work now and then
						runtime.Gosched()
					}
					if i%(997+s) == 0 {
						time.Sleep(200 * time.Microsecond)
					}
				}
			}()
		}
		group.Wait()
		for _, list := range jobs {
			for _, j := range list {
				eventually(t, "every request is done", isDone(j))
				if begun, done := j.begun.Load(), j.done.Load(); begun != 1 || done != 1 {
					t.Fatalf("limit %d: a request ran %d times, was given back %d times", limit, begun, done)
				}
			}
		}
	}
}

func TestARequestThatBlocksDelaysNoOther(t *testing.T) {
	const limit = 8
	h := newHarness(t, limit)
	for round := range 300 {
		gate := make(chan struct{})
		var blocked []*job
		for range h.mostOf(1) - 1 {
			blocked = append(blocked, h.queue(gate))
		}
		eventually(t, "one beside those that block is done", isDone(h.queue(nil)))
		if round%10 == 0 {
			time.Sleep(100 * time.Microsecond) // so that the threads are found asleep, too
		}
		eventually(t, "another one is done", isDone(h.queue(nil)))
		close(gate)
		for _, j := range blocked {
			eventually(t, "those that blocked are done", isDone(j))
		}
	}
	if n := h.Threads(); n > limit {
		t.Errorf("%d threads where %d are allowed", n, limit)
	}
}

func TestAClassAtItsLimitKeepsNoThreadAwake(t *testing.T) {
	h := newHarness(t, 8)
	var ticks atomic.Uint64 // a clock that does not go on while a thread is kept from running
	now := func() uint64 { return ticks.Add(1000) }
	h.kernel.now.Store(&now)
	gate := make(chan struct{})
	most := h.mostOf(1)
	for range most {
		h.queue(gate)
	}
	eventually(t, "the class is at its limit", func() bool { return h.runningNow(Work) == most })
	var waiting []*job
	for range 100 {
		waiting = append(waiting, h.queue(gate))
		h.forgetVainLooks()
		eventually(t, "a file operation finds a thread", isDone(h.closeNothing()))
		idle := int64(h.Threads() - most)
		eventually(t, "the threads that may not take it sleep", func() bool {
			return h.kernel.asleep.Load() == idle
		})
	}
	for _, j := range waiting {
		if j.begun.Load() != 0 {
			t.Fatal("more of the class run than its limit allows")
		}
	}
	close(gate)
	for _, j := range waiting {
		eventually(t, "what had to wait is done", isDone(j))
	}
}

func (h *harness) forgetVainLooks() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lookout = lookout{}
}

func (h *harness) runningNow(class Class) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running[class]
}

// mostOf returns how many threads so many classes have at most, which is while the others have none.
func (h *harness) mostOf(n int) int { return h.limit - h.reserve*(int(classes)-n) }

func TestClassesThatAreStuckLeaveAThreadToTheOthers(t *testing.T) {
	for _, limit := range []int{1, 4, 5, 8, 17} {
		for free := range classes {
			h := newHarness(t, limit)
			h.perform[Files] = h.perform[Work]
			gate := make(chan struct{})
			var stuck []*job
			for range h.limit {
				stuck = append(stuck, h.queueIn((free+1)%classes, gate), h.queueIn((free+2)%classes, gate))
			}
			begun := func() (n int64) {
				for _, j := range stuck {
					n += j.begun.Load()
				}
				return n
			}
			most := int64(h.mostOf(2))
			eventually(t, "the stuck classes have all they may have", func() bool { return begun() == most })
			for range 10 {
				eventually(t, "a request of the third class is done", isDone(h.queueIn(free, nil)))
			}
			if n := begun(); n != most {
				t.Errorf("limit %d: %d are stuck, where %d may be", limit, n, most)
			}
			close(gate)
			for _, j := range stuck {
				eventually(t, "what was stuck is done", isDone(j))
			}
		}
	}
}

func TestNoThreadIsStartedThatCouldDoNothing(t *testing.T) {
	h := newHarness(t, int(classes))
	gate := make(chan struct{})
	var jobs []*job
	for range 20 {
		jobs = append(jobs, h.queue(gate), h.queue(gate))
		h.Muster()
	}
	eventually(t, "one runs", func() bool { return h.runningNow(Work) == 1 })
	close(gate)
	for _, j := range jobs {
		eventually(t, "all are done", isDone(j))
	}
	if n := h.Threads(); n != 1 {
		t.Errorf("%d threads for a class that may have one", n)
	}
}

func TestOneClassMayHaveMostThreads(t *testing.T) {
	for _, limit := range []int{8, 16, 64} {
		for class := range classes {
			h := newHarness(t, limit)
			h.perform[Files] = h.perform[Work]
			gate := make(chan struct{})
			var blocked []*job
			for range limit {
				blocked = append(blocked, h.queueIn(class, gate))
			}
			eventually(t, "three quarters of the threads run it", func() bool {
				return h.runningNow(class) >= limit*3/4
			})
			close(gate)
			for _, j := range blocked {
				eventually(t, "what was blocked is done", isDone(j))
			}
		}
	}
}

func TestWhatComesAsAThreadStopsLookingIsNotLost(t *testing.T) {
	h := newHarness(t, 2)
	var calls atomic.Int64
	late := make(chan *job, 1)
	now := func() uint64 {
		switch calls.Add(1) {
		case 1: // the look begins
			return h.kernel.Linux.Now()
		case 2: // it ends
			late <- h.queue(nil)
		}
		return h.kernel.Linux.Now() + 2*lookoutNs
	}
	h.kernel.now.Store(&now)
	h.queue(nil)
	eventually(t, "what came late is done", isDone(<-late))
}

func TestCancelEndsWhatHasNotBegunAndNothingElse(t *testing.T) {
	h := newHarness(t, 2)
	gate := make(chan struct{})
	running := h.queue(gate)
	eventually(t, "it runs", func() bool { return running.begun.Load() == 1 })
	first, second := h.queue(nil), h.queue(nil)
	if h.Cancel(Work, &running.request) {
		t.Error("what runs was cancelled")
	}
	if !h.Cancel(Work, &first.request) {
		t.Error("what waits was not cancelled")
	}
	if h.Cancel(Work, &first.request) {
		t.Error("it was cancelled twice")
	}
	close(gate)
	eventually(t, "the next one runs", isDone(second))
	if h.Cancel(Work, &second.request) {
		t.Error("what has run was cancelled")
	}
	if first.begun.Load() != 0 || first.done.Load() != 0 {
		t.Error("what was cancelled ran")
	}
}

func TestVainLooksGetRareAndFindsBringThemBack(t *testing.T) {
	var l lookout
	looks := func(rests int, found bool) (n int) {
		for range rests {
			if l.due() {
				n++
				l.learn(found)
			}
		}
		return n
	}
	if n := looks(10_000, false); n > 20 {
		t.Errorf("%d looks in 10,000 rests, all of them vain", n)
	}
	looks(2*mostPenalty, true)
	if n := looks(1000, true); n != 1000 {
		t.Errorf("%d looks in 1,000 rests though each look finds something", n)
	}
}

func nothing(*request.Request) int64 { return 0 }

func TestACloseWaitsForTheTransferThatRunsOnItsDescriptor(t *testing.T) {
	kernel := &slowReads{release: make(chan struct{})}
	done := make(chan *request.Request, 3)
	p := New(kernel, 8, nothing, func(r *request.Request) { done <- r })
	read := &request.Request{Op: request.OpRead, Fd: 7}
	closing := &request.Request{Op: request.OpClose, Fd: 7}
	other := &request.Request{Op: request.OpClose, Fd: 8}
	p.Submit(Files, read)
	kernel.waitUntilReading(t)
	if _, running := p.CancelFd(7); !running {
		t.Error("the read is not seen running")
	}
	p.Submit(Files, closing)
	p.Submit(Files, other)
	if first := <-done; first != other {
		t.Fatalf("first came operation %d on %d", first.Op, first.Fd)
	}
	select {
	case early := <-done:
		t.Fatalf("operation %d on %d did not wait", early.Op, early.Fd)
	case <-time.After(20 * time.Millisecond):
	}
	close(kernel.release)
	if first, second := <-done, <-done; first != read || second != closing {
		t.Errorf("order: operation %d, then %d", first.Op, second.Op)
	}
	p.Submit(Files, closing)
	<-done
	p.Close()
}

// slowReads is the operating system, with reads that take until they are released, and closes of nothing.
type slowReads struct {
	sys.Linux
	reading atomic.Bool
	release chan struct{}
}

func (k *slowReads) Read(int, uintptr, int, int64) int64 {
	k.reading.Store(true)
	<-k.release
	return 0
}

func (k *slowReads) Close(int, bool) int64 { return 0 }

func (k *slowReads) waitUntilReading(t *testing.T) {
	for start := time.Now(); !k.reading.Load(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the read does not begin")
		}
	}
}
