// Package pool runs what can only be had by blocking, on threads of its own.
//
// The threads grow with demand up to a limit and leave when they were idle for a while. Work comes in
// classes; each class has a limit below the total, so that a slow one always leaves threads to the others.
// Idle threads sleep on a futex each, newest first, rather than in the Go scheduler: waking one is a single
// system call and no goroutine changes threads.
package pool

import (
	"sync"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// Class is a kind of work that must not starve another.
type Class int

// The classes.
const (
	Files Class = iota // file operations of the backends
	Work               // the program's own functions
	classes
)

const idleNs = 5_000_000_000 // how long a thread waits for work before it leaves

// Pool is a set of threads shared by the workers of one loop.
type Pool struct {
	kernel  sys.Kernel
	perform [classes]func(*request.Request) int64
	done    func(*request.Request) // gives a finished request back to its worker; any thread

	limit      int // threads in all
	classLimit int // threads that one class may have at a time

	mu      sync.Mutex
	queued  [classes]request.List
	running [classes]int
	idle    []*thread // sleeping threads, the newest last
	threads int
	started []*thread // not yet known to be gone
	closing bool
	next    Class // where the search for work begins
}

type thread struct {
	system *sys.Thread
	signal uint32 // futex: 1 = there is work, or the pool closes
	left   bool
}

// New makes a pool without threads. limit is the most threads it may have; each class gets at least one.
// work calls the function of an OpWork request; done gives back a request whose Result is set.
func New(kernel sys.Kernel, limit int, work func(*request.Request) int64, done func(*request.Request)) *Pool {
	limit = max(limit, int(classes))
	p := &Pool{kernel: kernel, done: done, limit: limit}
	reserve := max(1, limit/4)
	p.classLimit = limit - reserve*int(classes-1)
	p.perform[Files] = p.performFile
	p.perform[Work] = work
	return p
}

// Submit queues a request. The pool owns it until done.
func (p *Pool) Submit(class Class, r *request.Request) {
	p.mu.Lock()
	r.Queued = true
	p.queued[class].Push(r)
	sleeper := p.summon(class)
	p.mu.Unlock()
	p.wake(sleeper)
}

// Cancel takes a request out of the queue. False: it runs already, or has run, and done will come.
func (p *Pool) Cancel(class Class, r *request.Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !r.Queued {
		return false
	}
	r.Queued = false
	p.queued[class].Remove(r)
	return true
}

// CancelFd takes the reads and writes on a descriptor that have not begun out of the queue.
func (p *Pool) CancelFd(fd int64) (cancelled request.List) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := p.queued[Files].First(); r != nil; {
		next := r.Next
		if r.Fd == fd && (r.Op == request.OpRead || r.Op == request.OpWrite) {
			r.Queued = false
			p.queued[Files].Remove(r)
			cancelled.Push(r)
		}
		r = next
	}
	return cancelled
}

// CancelQueued gives back all that has not begun, as cancelled.
func (p *Pool) CancelQueued() {
	p.mu.Lock()
	var cancelled request.List
	for class := range p.queued {
		for r := p.queued[class].Pop(); r != nil; r = p.queued[class].Pop() {
			r.Queued = false
			cancelled.Push(r)
		}
	}
	p.mu.Unlock()
	for r := cancelled.Pop(); r != nil; r = cancelled.Pop() {
		r.Result = sys.ECANCELED
		p.done(r)
	}
}

// Threads returns the number of threads now.
func (p *Pool) Threads() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.threads
}

// Close ends all threads and waits until they are gone. Nothing is queued or running.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closing = true
	sleepers := p.idle
	p.idle = nil
	for _, t := range sleepers {
		t.signal = 1
	}
	started := p.started
	p.mu.Unlock()
	for _, t := range sleepers {
		p.wake(t)
	}
	for _, t := range started {
		t.system.Join()
	}
}

// summon finds a thread for new work of a class: one that sleeps and must be woken, or a new one. nil when
// the work has to wait for a thread that is busy. The lock is held.
func (p *Pool) summon(class Class) *thread {
	if p.running[class] >= p.classLimit {
		return nil
	}
	if n := len(p.idle); n > 0 {
		sleeper := p.idle[n-1]
		p.idle = p.idle[:n-1]
		sleeper.signal = 1
		return sleeper
	}
	if p.threads < p.limit {
		p.spawn()
	}
	return nil
}

func (p *Pool) wake(sleeper *thread) {
	if sleeper != nil {
		p.kernel.FutexWake(&sleeper.signal)
	}
}

func (p *Pool) spawn() {
	kept := p.started[:0]
	for _, t := range p.started {
		if !t.left || !t.system.Gone() {
			kept = append(kept, t)
		}
	}
	t := &thread{}
	p.started = append(kept, t)
	p.threads++
	t.system = sys.StartThread("loop-blocking", func() { p.run(t) })
}

// run is the life of one thread.
func (p *Pool) run(t *thread) {
	p.mu.Lock()
	for {
		if class, r := p.take(); r != nil {
			p.mu.Unlock()
			r.Result = p.perform[class](r)
			p.done(r)
			p.mu.Lock()
			p.running[class]--
			continue
		}
		if p.closing || !p.sleep(t) {
			break
		}
	}
	p.threads--
	t.left = true
	p.mu.Unlock()
}

// take chooses the next request to run, from the classes in turn. The lock is held.
func (p *Pool) take() (Class, *request.Request) {
	for range classes {
		class := p.next
		p.next = (p.next + 1) % classes
		if p.running[class] >= p.classLimit {
			continue
		}
		if r := p.queued[class].Pop(); r != nil {
			r.Queued = false
			p.running[class]++
			return class, r
		}
	}
	return 0, nil
}

// sleep waits for work; false when none came for so long that the thread should leave. The lock is held,
// but not while it sleeps.
func (p *Pool) sleep(t *thread) (summoned bool) {
	t.signal = 0
	p.idle = append(p.idle, t)
	p.mu.Unlock()
	p.kernel.FutexWait(&t.signal, 0, idleNs)
	p.mu.Lock()
	for i, other := range p.idle {
		if other == t {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return false
		}
	}
	return true
}
