package pool

import (
	"slices"

	"github.com/libloop/libloop/loop/internal/sys"
)

const (
	idleNs = 5_000_000_000 // how long a thread waits for work before it leaves
	noFd   = -1
)

// thread is one thread of a pool. It sleeps on a futex of its own rather than in the Go scheduler: waking
// the newest sleeper is a single system call, and no goroutine changes threads.
type thread struct {
	system sys.Thread
	signal uint32 // futex: 1 = there is work, or the pool closes
	left   bool

	fd int64 // of the transfer that it makes; noFd when it makes none
}

// lookout decides whether a thread that ran out of work keeps its eyes open for a moment before it sleeps.
//
// Where a thread that is woken needs an idle processor, the wake-up costs far more than the moment. Where it
// needs the processor that the thread occupies, or nothing comes, the moment is lost. Which of the two it is
// shows in the outcome alone: a vain look doubles the number of times that a thread goes to sleep at
// once, and one that found work halves it. So vain looks get so rare that they cost next to nothing.
type lookout struct {
	skip    int // how many more times not to look
	penalty int // how many times that was after the last look
}

const (
	lookoutNs   = 30_000 // a wake-up, and what the loop does until it submits again
	mostPenalty = 1023
)

func (l *lookout) due() bool {
	if l.skip > 0 {
		l.skip--
		return false
	}
	return true
}

func (l *lookout) learn(found bool) {
	if found {
		l.penalty /= 2
	} else {
		l.penalty = min(2*l.penalty+1, mostPenalty)
	}
	l.skip = l.penalty
}

// summon finds a thread for what is queued: one that sleeps and must be woken, or a new one. nil when there
// is a searcher already, or the work has to wait for a thread that is busy. The lock is held.
func (p *Pool) summon() *thread {
	if p.searcher != nil || !p.startable() {
		return nil
	}
	if sleeper := p.rouse(); sleeper != nil {
		p.searcher = sleeper
		p.announce()
		return sleeper
	}
	if p.threads < p.limit {
		p.searcher = p.spawn()
		p.announce()
	}
	return nil
}

// Muster wakes a second thread when nobody has begun yet with what was submitted. The thread that was
// summoned will summon the next, but only when it runs, and where processors are idle that takes as long as
// a short piece of work. Call it when nothing more will be submitted for the moment: before that it would be
// one wake-up for each request. Any thread.
func (p *Pool) Muster() {
	if p.inbox[Files].empty() && p.inbox[Work].empty() && p.inbox[Names].empty() {
		return
	}
	p.mu.Lock()
	sleeper := p.reinforce()
	p.mu.Unlock()
	p.wake(sleeper)
}

// reinforce finds a thread for the second of several requests that wait, if it may run beside those of the
// threads that are coming. The lock is held.
func (p *Pool) reinforce() *thread {
	coming := p.coming()
	for class, room := range p.room() {
		p.inbox[class].moveTo(&p.queued[class])
		first := p.queued[class].First()
		if room <= coming || first == nil || first.Next == nil {
			continue
		}
		if sleeper := p.rouse(); sleeper != nil {
			p.announce()
			return sleeper
		}
		if p.threads < p.limit {
			p.spawn()
			p.announce()
		}
		return nil
	}
	return nil
}

// rouse signals the newest of the threads that sleep, which is then to be woken; nil when none sleeps. The
// lock is held.
func (p *Pool) rouse() *thread {
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	sleeper := p.idle[n-1]
	p.idle = p.idle[:n-1]
	sleeper.signal = 1
	return sleeper
}

// announce tells submitters whether they have to summon a thread. Whenever that may have become so, look at
// the inboxes afterwards, as summon does: somebody may have submitted in reliance on it just before. The lock
// is held.
func (p *Pool) announce() {
	covered := p.searcher != nil || len(p.idle) == 0 && p.threads == p.limit
	for class, room := range p.room() {
		p.inbox[class].cover(covered || room == 0)
	}
}

func (p *Pool) wake(sleeper *thread) {
	if sleeper != nil {
		p.kernel.FutexWake(&sleeper.signal)
	}
}

func (p *Pool) spawn() *thread {
	kept := p.started[:0]
	for _, t := range p.started {
		if !t.left || !t.system.Gone() {
			kept = append(kept, t)
		}
	}
	t := &thread{fd: noFd}
	p.started = append(kept, t)
	p.threads++
	t.system = p.kernel.StartThread("loop-blocking", func() { p.run(t) })
	return t
}

// run is the life of one thread.
func (p *Pool) run(t *thread) {
	p.mu.Lock()
	for {
		if class, r := p.take(); r != nil {
			if p.searcher == t {
				p.searcher = nil
			}
			t.fd = noFd
			if isTransfer(r) {
				t.fd = r.Fd
			}
			p.announce()
			sleeper := p.summon()
			p.mu.Unlock()
			p.wake(sleeper)
			r.Result = p.perform[class](r)
			p.done(r)
			p.mu.Lock()
			p.running[class]--
			t.fd = noFd
			p.unhold()
			continue
		}
		if p.closing.Load() || !p.rest(t) {
			break
		}
	}
	p.threads--
	t.left = true
	p.announce()
	sleeper := p.summon()
	p.mu.Unlock()
	p.wake(sleeper)
}

// rest waits for work; false when none came for so long that the thread should leave. The lock is held, but
// not while it waits.
func (p *Pool) rest(t *thread) bool {
	if p.searcher == nil || p.searcher == t {
		if p.lookout.due() {
			p.searcher = t
			p.announce()
			room := p.room()
			p.mu.Unlock()
			found := p.look(room)
			p.mu.Lock()
			p.lookout.learn(found)
			if found || p.closing.Load() {
				return true
			}
		}
		p.searcher = nil
	}
	return p.sleep(t)
}

// look watches the inboxes of the classes that have room for a moment, and reports whether something came.
func (p *Pool) look(room [classes]int) bool {
	for until := p.kernel.Now() + lookoutNs; p.kernel.Now() < until && !p.closing.Load(); {
		for class := range p.inbox {
			if room[class] > 0 && !p.inbox[class].empty() {
				return true
			}
		}
		p.kernel.Relax()
	}
	return false
}

// sleep waits until the thread is summoned; false when that took too long. The lock is held, but not while
// it sleeps.
func (p *Pool) sleep(t *thread) (summoned bool) {
	t.signal = 0
	p.idle = append(p.idle, t)
	p.announce()
	sleeper := p.summon() // perhaps t itself, which then does not sleep
	until := p.kernel.Now() + idleNs
	for {
		p.mu.Unlock()
		p.wake(sleeper)
		p.kernel.FutexWait(&t.signal, 0, idleNs)
		p.mu.Lock()
		sleeper = nil
		if t.signal != 0 {
			return true
		}
		if p.kernel.Now() >= until { // earlier, it was a wake-up that came late
			p.idle = slices.DeleteFunc(p.idle, func(other *thread) bool { return other == t })
			return false
		}
	}
}
