// Package sim is a simulated kernel and clock for tests of the engine: a sys.Kernel under which the real
// backends, workers and the blocking pool run, in virtual time and in an order that a seed decides.
//
// Threads are goroutines of which one has the turn at a time. A thread gives it up when it blocks in a call,
// and the seed chooses who goes on; when all are blocked, the clock moves to the next thing that happens. So
// a run is the same whenever its seed is, and takes no longer than its computations.
//
// The kernel keeps to what Linux does, and to the worst of what Linux may do: calls fail, move a part, return
// early, take their time; events come late, in any order, or for a file that has no number any more. Faults
// says how often. What it did is on record (Record) for a checker that trusts the kernel and not the engine.
package sim

import (
	"strconv"

	"github.com/libloop/libloop/loop/internal/sys"
)

// Kernel is a simulated machine with one process. It implements sys.Kernel.
type Kernel struct {
	Faults Faults
	// RingEntries, if not 0, is the length of both queues of every ring.
	RingEntries uint32
	// Preemptive says that no lock is held in calls that look for events without waiting.
	Preemptive bool
	Record     Record
	// Trace, if not nil, is told what happens.
	Trace func(what string, values ...any)

	random   Random
	now      uint64
	deadline uint64 // of the run, in virtual time
	calls    int    // since the clock was moved last
	events   events

	threads []*thread
	current *thread
	failure error

	lastThread int64
	sleepers   []*sleeperOn

	files    []*Description // by number
	paths    map[string]*inode
	ports    map[uint16]*socket
	mappings map[uintptr][]uint64
	rings    []*ring
}

var _ sys.Kernel = (*Kernel)(nil)

// Failure is what the kernel found wrong with the program: it panics with it.
type Failure string

func (f Failure) Error() string { return string(f) }

const (
	firstFd   = 3
	callNs    = 60            // virtual time of a call
	mostCalls = 200_000       // without sleep: who makes more spins
	mostFds   = 4096          // RLIMIT_NOFILE
	epoch     = 1_000_000_007 // when the machine starts: 0 means "not looked at" to some
)

// New makes a machine. The calling goroutine is its first thread.
func New(seed uint64) *Kernel {
	k := &Kernel{random: NewRandom(seed), now: epoch, deadline: ^uint64(0)}
	k.paths = make(map[string]*inode)
	k.ports = make(map[uint16]*socket)
	k.mappings = make(map[uintptr][]uint64)
	k.files = make([]*Description, firstFd)
	k.Record.init(k)
	k.threads = []*thread{{kernel: k, id: 1, name: "main", turn: make(chan struct{}, 1)}}
	k.current, k.lastThread = k.threads[0], 1
	return k
}

// Limit ends the run, with a failure, at a virtual time from now.
func (k *Kernel) Limit(ns uint64) { k.deadline = k.now + ns }

// call begins a system call.
func (k *Kernel) call() {
	k.now += callNs
	k.Record.sequence++
	if k.calls++; k.calls > mostCalls {
		k.fail("a thread spins: " + k.current.name)
	}
	for _, r := range k.rings { // completions are made whenever their thread passes through the kernel
		if r.submitter == k.current && len(r.work) > 0 && k.random.OneIn(4) {
			r.runTaskWork()
		}
	}
}

func (k *Kernel) trace(what string, values ...any) {
	if k.Trace != nil {
		k.Trace(k.current.name+": "+what, values...)
	}
}

// ClockNs is how long a look at the clock takes.
const ClockNs = callNs / 2

// Now implements sys.Kernel.
func (k *Kernel) Now() uint64 {
	k.now += ClockNs
	if k.calls++; k.calls > mostCalls {
		k.fail("a thread spins: " + k.current.name)
	}
	return k.now
}

// Time returns the time, which passes only in calls.
func (k *Kernel) Time() uint64 { return k.now }

// ThreadID implements sys.Kernel.
func (k *Kernel) ThreadID() int64 { return k.current.id }

// LeftBehind says what of the machine is still in use that a program which freed everything would not have:
// threads and mappings; and descriptors beyond the number that the program says are its own.
func (k *Kernel) LeftBehind(programFds int) string {
	open := 0
	for _, d := range k.files {
		if d != nil {
			open++
		}
	}
	switch {
	case open != programFds:
		return strconv.Itoa(open) + " descriptors are open, and the program has " + strconv.Itoa(programFds)
	case len(k.threads) > 1:
		return "thread " + k.threads[1].name + " is left"
	case len(k.mappings) > 0:
		return strconv.Itoa(len(k.mappings)) + " mappings are left"
	}
	return ""
}

// event is something that happens at a time, by itself.
type event struct {
	at     uint64
	number uint64 // ties are broken by age
	happen func()
}

// events is a heap.
type events struct {
	heap   []event
	number uint64
}

// After has something happen after a time, while a thread is blocked: it may call the engine as the program
// would.
func (k *Kernel) After(ns uint64, happen func()) {
	q := &k.events
	q.number++
	q.heap = append(q.heap, event{k.now + ns, q.number, happen})
	for i := len(q.heap) - 1; i > 0 && q.before(i, (i-1)/2); i = (i - 1) / 2 {
		q.heap[i], q.heap[(i-1)/2] = q.heap[(i-1)/2], q.heap[i]
	}
}

func (q *events) before(i, j int) bool {
	a, b := &q.heap[i], &q.heap[j]
	return a.at < b.at || a.at == b.at && a.number < b.number
}

func (q *events) pop() event {
	first, last := q.heap[0], len(q.heap)-1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if q.before(child, least) {
				least = child
			}
		}
		if least == i {
			return first
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}

// happenDue has everything happen that is due.
func (k *Kernel) happenDue() {
	for len(k.events.heap) > 0 && k.events.heap[0].at <= k.now {
		e := k.events.pop()
		k.Record.sequence++
		e.happen()
	}
}
