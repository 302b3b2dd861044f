// Package pool runs what can only be had by blocking, on threads of its own.
//
// The threads grow with demand up to a limit and leave when they were idle for a while. Work comes in
// classes. A few threads are reserved for each class, and the rest is for whoever comes first: so a class
// that is slow can have most of them, and never those that another one needs.
//
// Who submits takes no lock: it pushes on an inbox, and wakes a thread only if none is about to look there.
// At most one thread at a time is looking for work, or on its way to; when it has found something and leaves
// more behind, it summons the next. So a crowd of short requests costs one wake-up and not one each, and a
// crowd of long ones gets as many threads as it needs all the same.
package pool

import (
	"sync"
	"sync/atomic"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// Class is a kind of work that must not starve another.
type Class int

// The classes.
const (
	Files Class = iota // file operations of the backends
	Work               // the program's own functions
	Names              // look-ups of names
	classes
)

// Pool is a set of threads shared by the workers of one loop.
type Pool struct {
	kernel  sys.Kernel
	perform [classes]func(*request.Request) int64
	done    func(*request.Request) // gives a finished request back to its worker; any thread

	senders sync.Pool // of *backend.Direct, each of which has a buffer

	limit   int // threads in all
	reserve int // threads that are reserved for each class

	_       [64]byte // what submitters write shares no cache line with what the threads write
	inbox   [classes]inbox
	closing atomic.Bool
	_       [64]byte

	mu       sync.Mutex
	queued   [classes]request.List // what was taken out of the inboxes
	held     request.List          // closes of descriptors on which a transfer runs
	running  [classes]int
	next     Class // where the search for work begins
	threads  int
	started  []*thread // not yet known to be gone
	idle     []*thread // sleeping threads, the newest last
	searcher *thread   // the thread that looks for work, or was summoned to; nil = none
	lookout  lookout
}

// inbox is how the requests of a class reach the threads: a list, newest first, on a cache line of its own.
type inbox struct {
	newest  atomic.Pointer[request.Request]
	covered atomic.Bool // somebody will look here without being summoned, or nobody can be
	_       [52]byte
}

func (b *inbox) cover(covered bool) {
	if b.covered.Load() != covered {
		b.covered.Store(covered)
	}
}

func (b *inbox) empty() bool { return b.newest.Load() == nil }

func (b *inbox) push(r *request.Request) {
	for {
		r.Next = b.newest.Load()
		if b.newest.CompareAndSwap(r.Next, r) {
			return
		}
	}
}

// moveTo empties the inbox into a list, oldest first.
func (b *inbox) moveTo(list *request.List) {
	if b.empty() {
		return
	}
	var oldest *request.Request
	for r := b.newest.Swap(nil); r != nil; {
		older := r.Next
		r.Next = oldest
		oldest, r = r, older
	}
	for r := oldest; r != nil; {
		newer := r.Next
		list.Push(r)
		r = newer
	}
}

// New makes a pool without threads. limit is the most threads it may have; each class gets at least one.
// work calls the function of an OpWork request, and does the look-up of an OpName request; done gives back a
// request whose Result is set.
func New(kernel sys.Kernel, limit int, work func(*request.Request) int64, done func(*request.Request)) *Pool {
	limit = max(limit, int(classes))
	p := &Pool{kernel: kernel, done: done, limit: limit, reserve: max(1, limit/8)}
	p.perform = [classes]func(*request.Request) int64{Files: p.performFile, Work: work, Names: work}
	return p
}

// Submit queues a request. The pool owns it until done.
func (p *Pool) Submit(class Class, r *request.Request) {
	r.Queued = true
	p.inbox[class].push(r)
	if p.inbox[class].covered.Load() {
		return
	}
	p.mu.Lock()
	sleeper := p.summon()
	p.mu.Unlock()
	p.wake(sleeper)
}

// Cancel takes a request out of the queue. False: it runs already, or has run, and done will come.
func (p *Pool) Cancel(class Class, r *request.Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox[class].moveTo(&p.queued[class])
	if !r.Queued {
		return false
	}
	r.Queued = false
	if p.isHeld(r) {
		p.held.Remove(r)
	} else {
		p.queued[class].Remove(r)
	}
	return true
}

// CancelFd takes the reads and writes on a descriptor that have not begun out of the queue, and reports
// whether others run. Until those are done the descriptor must not be closed, or they might meet another file
// by its number: hand the close to the pool, which knows when.
func (p *Pool) CancelFd(fd int64) (cancelled request.List, running bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox[Files].moveTo(&p.queued[Files])
	for r := p.queued[Files].First(); r != nil; {
		next := r.Next
		if r.Fd == fd && isTransfer(r) {
			r.Queued = false
			p.queued[Files].Remove(r)
			cancelled.Push(r)
		}
		r = next
	}
	return cancelled, p.transfers(fd)
}

// transfers reports whether a read or write on a descriptor runs. The lock is held.
func (p *Pool) transfers(fd int64) bool {
	if fd < 0 {
		return false
	}
	for _, t := range p.started {
		if t.fd == fd {
			return true
		}
	}
	return false
}

func isTransfer(r *request.Request) bool {
	isFile := r.Op == request.OpRead || r.Op == request.OpWrite
	return isFile || r.Op >= request.OpAccept && r.Op != request.OpName
}

func (p *Pool) isHeld(r *request.Request) bool {
	for held := p.held.First(); held != nil; held = held.Next {
		if held == r {
			return true
		}
	}
	return false
}

// unhold queues the closes that wait for a transfer which is done now. The lock is held.
func (p *Pool) unhold() {
	for r := p.held.First(); r != nil; {
		next := r.Next
		if !p.transfers(r.Fd) {
			p.held.Remove(r)
			p.queued[Files].Push(r)
		}
		r = next
	}
}

// CancelQueued gives back all that has not begun, as cancelled.
func (p *Pool) CancelQueued() {
	p.mu.Lock()
	var cancelled request.List
	p.queued[Files].Append(&p.held)
	for class := range p.queued {
		p.inbox[class].moveTo(&p.queued[class])
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

// take chooses the next request to run, from the classes in turn. The lock is held.
func (p *Pool) take() (Class, *request.Request) {
	room := p.room()
	for range classes {
		class := p.next
		p.next = (p.next + 1) % classes
		if room[class] == 0 {
			continue
		}
		if p.queued[class].Empty() {
			p.inbox[class].moveTo(&p.queued[class])
		}
		if r := p.popStartable(class); r != nil {
			r.Queued = false
			p.running[class]++
			return class, r
		}
	}
	return 0, nil
}

// popStartable takes the next request of a class, and puts closes aside that have to wait. The lock is held.
func (p *Pool) popStartable(class Class) *request.Request {
	for {
		r := p.queued[class].Pop()
		if r == nil || r.Op != request.OpClose || !p.transfers(r.Fd) {
			return r
		}
		p.held.Push(r)
	}
}

// startable reports whether take would find something. The lock is held.
func (p *Pool) startable() bool {
	for class, room := range p.room() {
		if room > 0 && !(p.queued[class].Empty() && p.inbox[class].empty()) {
			return true
		}
	}
	return false
}

// room tells how many more threads each class may have: what is left of those reserved for it, and those that
// are free and reserved for none. The lock is held.
func (p *Pool) room() (room [classes]int) {
	free := p.limit
	for _, running := range p.running {
		free -= max(running, p.reserve)
	}
	for class, running := range p.running {
		room[class] = free + max(p.reserve-running, 0)
	}
	return room
}

// Threads returns the number of threads now.
func (p *Pool) Threads() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.threads
}

// coming returns the number of threads that are neither at work nor asleep: they will look for work. The lock
// is held.
func (p *Pool) coming() int {
	coming := p.threads - len(p.idle)
	for _, running := range p.running {
		coming -= running
	}
	return coming
}

// Close ends all threads and waits until they are gone. Nothing is queued; what runs is done first.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closing.Store(true)
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
