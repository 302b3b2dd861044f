package sim

import (
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/libloop/libloop/loop/internal/sys"
)

// thread is a goroutine that runs only when it has the turn.
type thread struct {
	kernel   *Kernel
	id       int64
	name     string
	turn     chan struct{}
	ready    func() bool // what it waits for; nil: it can go on
	deadline uint64      // when it stops waiting
	gone     bool
}

const never = ^uint64(0)

// StartThread implements sys.Kernel.
func (k *Kernel) StartThread(name string, run func()) sys.Thread {
	k.call()
	k.lastThread++
	t := &thread{kernel: k, id: k.lastThread, name: name, turn: make(chan struct{}, 1), deadline: never}
	k.threads = append(k.threads, t)
	go func() {
		<-t.turn
		defer t.catch()
		if k.failure == nil {
			run()
			t.exit()
		}
	}()
	return t
}

// catch makes a panic of a thread the failure of the run.
func (t *thread) catch() {
	switch cause := recover().(type) {
	case nil:
	case error:
		t.kernel.report("panic: " + cause.Error() + "\n" + string(debug.Stack()))
	case string:
		t.kernel.report("panic: " + cause + "\n" + string(debug.Stack()))
	}
}

// exit ends a thread: the turn goes to another one.
func (t *thread) exit() {
	k := t.kernel
	t.gone = true
	for i, other := range k.threads {
		if other == t {
			k.threads = append(k.threads[:i], k.threads[i+1:]...)
			break
		}
	}
	if next := k.choose(); next != nil {
		k.current = next
		next.turn <- struct{}{}
		return
	}
	k.report(k.standstill())
}

// standstill says why no thread goes on.
func (k *Kernel) standstill() string {
	if len(k.events.heap) > 0 {
		return "the run takes too long"
	}
	return "all threads sleep for ever"
}

// Join implements sys.Thread.
func (t *thread) Join() { t.kernel.block(func() bool { return t.gone }, never) }

// Gone implements sys.Thread.
func (t *thread) Gone() bool { return t.gone }

// isMain reports whether it is the thread of the test.
func (t *thread) isMain() bool { return t == t.kernel.threads[0] }

// block gives up the turn until something holds or a time has come.
func (k *Kernel) block(ready func() bool, deadline uint64) {
	t := k.current
	t.ready, t.deadline = ready, deadline
	k.passTurn()
	t.ready, t.deadline = nil, never
}

// blockFor is block for a time that is counted from now; < 0: no limit.
func (k *Kernel) blockFor(ready func() bool, ns int64) {
	deadline := never
	if ns >= 0 && uint64(ns) < never-k.now {
		deadline = k.now + uint64(ns)
	}
	k.block(ready, deadline)
}

// interleave lets another thread go first, perhaps. Only where the caller holds no lock.
func (k *Kernel) interleave() {
	if k.random.OneIn(2) {
		k.passTurn()
	}
}

// mayBlock tells threads of the pool, which hold no lock in a call, to let others go first, or to lose the
// processor for a while before the call begins.
func (k *Kernel) mayBlock() {
	if k.current.name != "loop-blocking" {
		return
	}
	if k.Faults.On && k.random.OneIn(4) {
		k.Sleep(uint64(k.random.Below(200_000)))
		return
	}
	k.interleave()
}

// Relax implements sys.Kernel.
func (k *Kernel) Relax() {
	k.now += 500
	k.interleave()
}

// Sleep lets time pass on the first thread, outside of the engine.
func (k *Kernel) Sleep(ns uint64) { k.block(func() bool { return false }, k.now+ns) }

// passTurn has the thread that the seed chooses go on, and returns when it is this one's turn again.
func (k *Kernel) passTurn() {
	self := k.current
	next := k.choose()
	if next == nil {
		k.fail(k.standstill())
	}
	if next == self {
		return
	}
	k.current = next
	next.turn <- struct{}{}
	<-self.turn
	if k.failure != nil {
		self.abandon()
	}
}

// choose returns the next thread that can go on, after a time if it must be; nil if none ever can.
func (k *Kernel) choose() *thread {
	var ready [64]*thread
	for {
		k.happenDue()
		count := 0
		for _, t := range k.threads {
			if count < len(ready) && (t.deadline <= k.now && t.ready != nil || t.ready == nil || t.ready()) {
				ready[count] = t
				count++
			}
		}
		if count > 0 {
			return ready[k.random.Below(count)]
		}
		if !k.advance() {
			return nil
		}
	}
}

// advance moves the clock to when something happens next.
func (k *Kernel) advance() bool {
	next := never
	for _, t := range k.threads {
		next = min(next, t.deadline)
	}
	if len(k.events.heap) > 0 {
		next = min(next, k.events.heap[0].at)
	}
	if next == never || next > k.deadline {
		return false
	}
	if next > k.now {
		k.now = next
		k.calls = 0
	}
	return true
}

// fail ends the run: the first thread panics, and the others end.
func (k *Kernel) fail(why string) {
	k.report(why)
	k.current.abandon()
}

func (k *Kernel) report(why string) {
	if k.failure == nil {
		k.failure = Failure(why)
	}
	if !k.current.isMain() || k.current.gone {
		main := k.threads[0]
		k.current = main
		main.turn <- struct{}{}
	}
}

// Fail ends the run from whatever thread has the turn.
func (k *Kernel) Fail(why string) { k.fail(why) }

// abandon ends a thread of a run that failed.
func (t *thread) abandon() {
	if t.isMain() {
		panic(t.kernel.failure)
	}
	runtime.Goexit()
}

// Bury ends the threads that a failed run left, which wait for a turn that never comes.
func (k *Kernel) Bury() {
	if k.failure == nil {
		k.failure = Failure("the run is over")
	}
	for _, t := range k.threads[1:] {
		t.turn <- struct{}{}
	}
}

// FutexWait implements sys.Kernel.
func (k *Kernel) FutexWait(word *uint32, value uint32, timeoutNs int64) {
	k.call()
	if *word != value || k.strikes(SpuriousWakes) {
		k.interleave()
		return
	}
	sleeper := &sleeperOn{word: word}
	k.sleepers = append(k.sleepers, sleeper)
	k.blockFor(func() bool { return sleeper.woken }, timeoutNs)
	if !sleeper.woken {
		k.sleepers = slices.DeleteFunc(k.sleepers, func(other *sleeperOn) bool { return other == sleeper })
	}
}

// sleeperOn is a thread that sleeps on a futex.
type sleeperOn struct {
	word  *uint32
	woken bool
}

// FutexWake implements sys.Kernel.
func (k *Kernel) FutexWake(word *uint32) {
	k.call()
	for i, s := range k.sleepers {
		if s.word == word {
			s.woken = true
			k.sleepers = slices.Delete(k.sleepers, i, i+1)
			return
		}
	}
}

// InterruptThreads implements sys.Kernel.
func (k *Kernel) InterruptThreads() {
	k.call()
	for _, d := range k.files {
		if d != nil {
			if r, ok := d.file.(*ring); ok {
				r.runTaskWork()
			}
		}
	}
}
