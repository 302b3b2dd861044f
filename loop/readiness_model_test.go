package loop

import (
	"fmt"
	"math/rand"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// The readiness model: random operations on a few sockets, whose peers write, read, fill, shut down and go
// away at random. Whenever the loop has nothing left to do, what is still in flight is compared with what
// poll(2) says of its descriptor.

const (
	modelDuration   = 2 * time.Second
	modelSteps      = 60
	modelOperations = 8
	modelPairs      = 3
	modelPatience   = 500 // turns of a millisecond until a missing completion counts as lost
)

// Events of poll(2).
const (
	pollIn     = 0x0001
	pollOut    = 0x0004
	pollHangup = 0x2000 // POLLRDHUP: the peer closed, or closed its writing end
)

// modelKind is what an operation of the model does.
type modelKind int

const (
	modelRead modelKind = iota
	modelWrite
	modelWait
	modelLevelWatch
	modelEdgeWatch
	modelKinds
)

func (k modelKind) String() string {
	return [...]string{"read", "write", "wait", "level watch", "edge watch"}[k]
}

func (k modelKind) isWatch() bool { return k == modelLevelWatch || k == modelEdgeWatch }

// modelOperation is a request, and what the model knows of it.
type modelOperation struct {
	request      Request
	kind         modelKind
	fd           int
	events       uint32
	flying       bool
	shots        int
	shotsAtWrite int // shots when the peer last wrote
	buffer       [4096]byte
}

// readinessModel is one run of the model.
type readinessModel struct {
	t          *testing.T
	seed       int64
	rnd        *rand.Rand
	loop       *Loop
	near, far  [modelPairs]int // the ends that the loop has, and those of the peers
	operations [modelOperations]modelOperation
	newData    map[int]bool // near ends whose peer wrote since the last comparison
	spare      []int        // duplicates and peers that outlive their pair
	junk       [65536]byte
	history    []string
}

func TestReadinessAgreesWithPoll(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		first := time.Now().UnixNano()
		for seed, start := first, time.Now(); !t.Failed() && time.Since(start) < modelDuration; seed++ {
			runReadinessModel(t, open, seed)
		}
	})
}

func runReadinessModel(t *testing.T, open opener, seed int64) {
	l := open(t, Options{Threads: 1, BlockingThreads: 4})
	rnd := rand.New(rand.NewSource(seed))
	m := &readinessModel{t: t, seed: seed, rnd: rnd, loop: l, newData: map[int]bool{}}
	for pair := range modelPairs {
		m.open(pair)
	}
	for step := 0; step < modelSteps && !t.Failed(); step++ {
		m.step()
		if m.rnd.Intn(2) == 0 {
			m.compare()
		}
	}
	must(t, l.Close())
	for i := range m.operations {
		if m.operations[i].flying {
			m.fail("operation %d was not completed by Close", i)
		}
	}
	for pair := range modelPairs {
		syscall.Close(m.near[pair])
		syscall.Close(m.far[pair])
	}
	for _, fd := range m.spare {
		syscall.Close(fd)
	}
}

// say notes what happened, for the report of a failure.
func (m *readinessModel) say(format string, arguments ...any) {
	m.history = append(m.history, fmt.Sprintf(format, arguments...))
}

// fail reports the first failure of a run with all that led to it.
func (m *readinessModel) fail(format string, arguments ...any) {
	if m.t.Failed() {
		return
	}
	m.t.Errorf("seed %d: %s", m.seed, fmt.Sprintf(format, arguments...))
	for _, line := range m.history {
		m.t.Log(line)
	}
}

func (m *readinessModel) open(pair int) {
	const kind = syscall.SOCK_STREAM | syscall.SOCK_CLOEXEC | syscall.SOCK_NONBLOCK
	fds, err := syscall.Socketpair(syscall.AF_UNIX, kind, 0)
	must(m.t, err)
	m.near[pair], m.far[pair] = fds[0], fds[1]
}

// ---- random steps ----

// step does one random thing.
func (m *readinessModel) step() {
	operation, pair := m.rnd.Intn(modelOperations), m.rnd.Intn(modelPairs)
	o := &m.operations[operation]
	switch choice := m.rnd.Intn(12); {
	case choice < 5 && !o.flying:
		m.submit(operation, pair)
	case choice == 5 && o.flying:
		m.say("cancel operation %d", operation)
		m.loop.Cancel(&o.request)
	case choice == 6 && o.flying && o.kind.isWatch():
		o.events = uint32(m.rnd.Intn(4))
		m.say("modify operation %d: events %d", operation, o.events)
		m.loop.ModifyWatch(&o.request, o.events)
	case choice == 7:
		m.peerWrites(pair)
	case choice == 8:
		m.say("peer of %d reads %d", m.near[pair], m.transferAll(syscall.Read, m.far[pair]))
	case choice == 9:
		m.say("fill %d: %d", m.near[pair], m.transferAll(syscall.Write, m.near[pair]))
	case choice == 10:
		n, _ := syscall.Read(m.near[pair], m.junk[:])
		m.say("drain %d: %d", m.near[pair], n)
	case choice == 11:
		m.end(pair)
	}
}

func (m *readinessModel) submit(operation, pair int) {
	o := &m.operations[operation]
	o.kind, o.fd, o.flying = modelKind(m.rnd.Intn(int(modelKinds))), m.near[pair], true
	o.shots, o.shotsAtWrite = 0, -1
	done := func(*Request) { m.completed(operation) }
	var err error
	switch o.kind {
	case modelRead:
		o.events = Readable
		err = m.loop.Read(&o.request, o.fd, o.buffer[:], done)
	case modelWrite:
		o.events = Writable
		err = m.loop.Write(&o.request, o.fd, o.buffer[:], done)
	case modelWait:
		o.events = uint32(1 + m.rnd.Intn(3))
		err = m.loop.WaitUntilReady(&o.request, o.fd, o.events, done)
	case modelLevelWatch:
		o.events = uint32(m.rnd.Intn(4))
		err = m.loop.Watch(&o.request, o.fd, o.events, done)
	case modelEdgeWatch:
		o.events = uint32(1 + m.rnd.Intn(3))
		err = m.loop.Watch(&o.request, o.fd, o.events|EdgeTriggered, done)
	}
	must(m.t, err)
	m.say("operation %d: %v on %d, events %d", operation, o.kind, o.fd, o.events)
}

func (m *readinessModel) completed(operation int) {
	o := &m.operations[operation]
	result, more := o.request.Result(), o.request.More()
	o.shots++
	if o.shots < 4 || !more { // a level watch has very many shots
		m.say("    operation %d, %v on %d: result %d, more %v", operation, o.kind, o.fd, result, more)
	}
	if result == 0 && o.kind != modelRead || result == -int64(syscall.EBADF) {
		m.fail("operation %d, %v: result %d", operation, o.kind, result)
	}
	o.flying = more
}

func (m *readinessModel) peerWrites(pair int) {
	n, err := syscall.Write(m.far[pair], m.junk[:1+m.rnd.Intn(100)])
	if err != nil {
		return
	}
	m.say("peer of %d writes %d", m.near[pair], n)
	m.newData[m.near[pair]] = true
	for i := range m.operations {
		if o := &m.operations[i]; o.fd == m.near[pair] {
			o.shotsAtWrite = o.shots
		}
	}
}

// transferAll reads or writes until no more goes, and returns the number of bytes.
func (m *readinessModel) transferAll(transfer func(int, []byte) (int, error), fd int) (total int) {
	for {
		n, err := transfer(fd, m.junk[:])
		if err != nil || n == 0 {
			return total
		}
		total += n
	}
}

// end ends a pair, or a direction of it, in one of several ways.
func (m *readinessModel) end(pair int) {
	switch m.rnd.Intn(4) {
	case 0:
		m.say("peer of %d shuts down its writing end", m.near[pair])
		syscall.Shutdown(m.far[pair], syscall.SHUT_WR)
	case 1:
		m.closeThroughLoop(pair)
	case 2:
		if !m.busy(m.near[pair]) { // close(2) is allowed only with nothing in flight
			m.closeBehindLoop(pair)
		}
	}
}

func (m *readinessModel) busy(fd int) bool {
	for i := range m.operations {
		if m.operations[i].flying && m.operations[i].fd == fd {
			return true
		}
	}
	return false
}

// maybeDuplicate keeps the file of a descriptor open, half of the time: its events go on then.
func (m *readinessModel) maybeDuplicate(fd int) int {
	if m.rnd.Intn(2) == 0 {
		return -1
	}
	duplicate, err := syscall.Dup(fd)
	must(m.t, err)
	m.spare = append(m.spare, duplicate)
	return duplicate
}

func (m *readinessModel) closeThroughLoop(pair int) {
	fd := m.near[pair]
	m.say("CloseFd %d, duplicate %d", fd, m.maybeDuplicate(fd))
	var request Request
	closed := false
	must(m.t, m.loop.CloseFd(&request, fd, func(*Request) { closed = true }))
	if !m.turnUntil(func() bool { return closed }) {
		m.fail("CloseFd %d hangs", fd)
	}
	if !m.turnUntil(func() bool { return !m.busy(fd) }) {
		m.fail("an operation on %d survived its CloseFd", fd)
	}
	syscall.Close(m.far[pair])
	m.open(pair)
}

func (m *readinessModel) closeBehindLoop(pair int) {
	duplicate := m.maybeDuplicate(m.near[pair])
	m.say("close %d, duplicate %d", m.near[pair], duplicate)
	syscall.Close(m.near[pair])
	if duplicate >= 0 && m.rnd.Intn(2) == 0 {
		m.spare = append(m.spare, m.far[pair]) // a peer that stays can still cause events
	} else {
		syscall.Close(m.far[pair])
	}
	m.open(pair)
}

// ---- comparison ----

// turnUntil gives the loop turns until the condition holds, and reports whether it came to hold.
func (m *readinessModel) turnUntil(holds func() bool) bool {
	for range modelPatience {
		if holds() {
			return true
		}
		m.loop.RunOnce(0)
		if !holds() {
			time.Sleep(time.Millisecond)
		}
	}
	return holds()
}

// compare lets the loop come to rest, and wants each operation that is still in flight to have had what
// poll(2) says is there.
func (m *readinessModel) compare() {
	var before [modelOperations]int
	for i := range m.operations {
		before[i] = m.operations[i].shots
	}
	for range 6 { // turns enough for a message, an event and its delivery
		m.loop.RunOnce(0)
	}
	for i := range m.operations {
		o := &m.operations[i]
		served := func() bool { // or another operation took what was there
			return !o.flying || o.shots > before[i] || !m.owesCompletion(o, pollNow(o.fd, o.pollEvents()))
		}
		if !served() && !m.turnUntil(served) {
			m.fail("operation %d, %v on %d: no completion, though poll says %#x", i, o.kind, o.fd,
				pollNow(o.fd, o.pollEvents()))
		}
	}
	clear(m.newData)
}

// owesCompletion reports whether the loop has to complete an operation whose descriptor is in that state.
func (m *readinessModel) owesCompletion(o *modelOperation, state int16) bool {
	if o.kind != modelEdgeWatch {
		return state != 0
	}
	// What was there before is no edge: only bytes that no shot has followed are sure to be one.
	return state&pollIn != 0 && o.events&Readable != 0 && m.newData[o.fd] && o.shots == o.shotsAtWrite
}

// pollEvents is what an operation waits for, in the terms of poll(2).
func (o *modelOperation) pollEvents() (events int16) {
	if o.events&Readable != 0 {
		events |= pollIn | pollHangup
	}
	if o.events&Writable != 0 {
		events |= pollOut
	}
	if o.kind == modelWait || o.kind == modelLevelWatch {
		events |= pollHangup // reported whether asked for or not
	}
	return events
}

// pollNow returns what poll(2) says of a descriptor at this moment.
func pollNow(fd int, events int16) int16 {
	entry := struct {
		fd              int32
		events, revents int16
	}{int32(fd), events, 0}
	const withoutWaiting = 0
	syscall.Syscall(syscall.SYS_POLL, uintptr(unsafe.Pointer(&entry)), 1, withoutWaiting)
	return entry.revents
}
