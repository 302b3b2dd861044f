package loop

import (
	"bytes"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/libloop/libloop/loop/internal/sys"
)

// The io_uring backend under a kernel that has little room, refuses, or takes a part, and on threads that
// come and go.

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// runWithin runs a loop, and fails instead of hanging for ever.
func runWithin(t *testing.T, l *Loop) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- l.Run() }()
	awaitRun(t, l, ended)
}

func awaitRun(t *testing.T, l *Loop, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		must(t, err)
	case <-time.After(patience):
		t.Fatalf("the loop hangs with %d pending", l.Pending())
	}
}

// onThread runs a function on a thread of its own, and returns when the thread is gone.
func onThread(t *testing.T, body func()) {
	t.Helper()
	thread := make(chan int, 1)
	var start func()
	start = func() {
		runtime.LockOSThread() // and no unlock: the thread ends with the goroutine
		if syscall.Gettid() == syscall.Getpid() {
			elsewhere := make(chan struct{}) // the first thread of a process never ends: keep it out of this
			go func() { start(); close(elsewhere) }()
			<-elsewhere
			runtime.UnlockOSThread()
			return
		}
		body()
		thread <- syscall.Gettid()
	}
	go start()
	var id int
	select {
	case id = <-thread:
	case <-time.After(patience):
		t.Fatal("the thread hangs")
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(id)); err != nil {
			return
		}
		if time.Since(start) > patience {
			t.Fatalf("thread %d does not end", id)
		}
	}
}

// unreliable is the operating system with an io_uring that, once `on`, refuses to take submissions, is
// interrupted, or takes some of them only, at random.
type unreliable struct {
	shortRings
	on     atomic.Bool
	faults atomic.Int64

	mu     sync.Mutex
	random *rand.Rand
}

func (k *unreliable) draw(n uint32) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.random.Intn(int(n))
}

func (k *unreliable) RingEnter(fd int, submit, wait uint32, timeoutNs int64, memory *sys.RingTimeout) int64 {
	refusals := [...]int64{sys.EAGAIN, sys.EBUSY, sys.ENOMEM, sys.EINVAL, 0 /* EINTR */}
	if !k.on.Load() || k.faults.Load() > 0 && k.draw(2) == 0 { // the first one for certain
		return k.Linux.RingEnter(fd, submit, wait, timeoutNs, memory)
	}
	k.faults.Add(1)
	if n := k.draw(uint32(len(refusals) + 1)); n < len(refusals) {
		return refusals[n]
	}
	// After a partial submit the kernel returns without waiting.
	return k.Linux.RingEnter(fd, uint32(k.draw(submit+1)), 0, 0, memory)
}

// crowd is many requests of all kinds in flight together, half of which are cancelled.
type crowd struct {
	t        *testing.T
	loop     *Loop
	requests []Request
	ends     []atomic.Int32
	buffers  []byte

	silent, spoken, full [2]int // pipes: nothing ever comes; a byte is in it and stays; bytes for the readers
	file                 int
}

const crowdKinds = 6

func newCrowd(t *testing.T, l *Loop, size int) *crowd {
	c := &crowd{t: t, loop: l, requests: make([]Request, size), ends: make([]atomic.Int32, size)}
	c.buffers = make([]byte, size)
	for _, ends := range []*[2]int{&c.silent, &c.spoken, &c.full} {
		ends[0], ends[1] = pipe(t)
	}
	unix.FcntlInt(uintptr(c.full[1]), unix.F_SETPIPE_SZ, 1<<20)
	file, err := os.CreateTemp(t.TempDir(), "")
	must(t, err)
	t.Cleanup(func() { file.Close() })
	_, err = file.WriteString("contents")
	must(t, err)
	c.file = int(file.Fd())
	return c
}

// submit puts request i in flight.
func (c *crowd) submit(i int) {
	r, done := &c.requests[i], func(*Request) { c.ends[i].Add(1) }
	var err error
	switch i % crowdKinds {
	case 0:
		err = c.loop.Read(r, c.full[0], c.buffers[i:i+1], done)
	case 1:
		err = c.loop.WaitUntilReady(r, c.spoken[0], Readable, done)
	case 2:
		err = c.loop.StartTimer(r, time.Duration(i)*time.Microsecond, 0, done)
	case 3:
		err = c.loop.ReadAt(r, c.file, c.buffers[i:i+1], int64(i%8), done)
	case 4: // nothing but its timeout or the cancel ends it
		r.SetTimeout(50 * time.Millisecond)
		err = c.loop.WaitUntilReady(r, c.silent[0], Readable, done)
	case 5:
		err = c.loop.WaitUntilReady(r, c.full[1], Writable, done)
	}
	if err != nil {
		c.t.Errorf("submit %d: %v", i, err)
	}
}

// check wants one completion of each request, with a result that can be.
func (c *crowd) check(fed int) {
	bytesRead := 0
	for i := range c.requests {
		result, cancelled := c.requests[i].Result(), i/crowdKinds%2 == 0
		if n := c.ends[i].Load(); n != 1 {
			c.t.Fatalf("request %d of kind %d completed %d times", i, i%crowdKinds, n)
		}
		if cancelled && result == sys.ECANCELED {
			continue
		}
		wanted := []int64{1, Readable, 0, 1, sys.ETIMEDOUT, Writable}[i%crowdKinds]
		if result != wanted {
			c.t.Fatalf("request %d of kind %d: result %d, not %d", i, i%crowdKinds, result, wanted)
		}
		if i%crowdKinds == 0 {
			bytesRead++
		}
	}
	left, err := unix.IoctlGetInt(c.full[0], unix.TIOCINQ)
	must(c.t, err)
	if bytesRead+left != fed {
		c.t.Fatalf("%d bytes were written, %d read, %d are left", fed, bytesRead, left)
	}
}

// run has all in flight together: a turn or more pass before what they wait for comes.
func (c *crowd) run() {
	for i := range c.requests {
		c.submit(i)
	}
	if pending := c.loop.Pending(); pending != len(c.requests) {
		c.t.Fatalf("%d pending", pending)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.loop.Run() }()
	time.Sleep(5 * time.Millisecond)
	for i := range c.requests {
		if i/crowdKinds%2 == 0 {
			c.loop.Cancel(&c.requests[i])
		}
	}
	_, err := syscall.Write(c.spoken[1], []byte("."))
	must(c.t, err)
	fed, err := syscall.Write(c.full[1], make([]byte, len(c.requests)/crowdKinds+1))
	must(c.t, err)
	awaitRun(c.t, c.loop, ended)
	c.check(fed)
}

func TestTenThousandRequestsInFlightLoseNothing(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		for _, threads := range []int{1, 2} {
			l := open(t, Options{Threads: threads, BlockingThreads: 8})
			newCrowd(t, l, 10_000).run()
			must(t, l.Close())
		}
	})
}

func TestCloseWithTenThousandRequestsInFlightEndsAll(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		l := open(t, Options{Threads: 1, BlockingThreads: 8})
		c := newCrowd(t, l, 10_000)
		for i := range c.requests {
			c.submit(i)
		}
		for range 20 {
			if _, err := l.RunOnce(0); err != nil {
				t.Fatal(err)
			}
		}
		must(t, l.Close())
		for i := range c.requests {
			if n := c.ends[i].Load(); n != 1 {
				t.Fatalf("request %d of kind %d completed %d times", i, i%crowdKinds, n)
			}
		}
	})
}

// onUnreliableRings runs a test on rings of several lengths that refuse at random.
func onUnreliableRings(t *testing.T, test func(*testing.T, *Loop)) {
	if !ringWorksHere(t) {
		t.Skip("needs io_uring")
	}
	for _, entries := range []uint32{2, 4, 8, 64} {
		for seed := int64(1); seed <= 5; seed++ {
			kernel := &unreliable{random: rand.New(rand.NewSource(seed))}
			kernel.entries = entries
			t.Run(strconv.Itoa(int(entries))+"/"+strconv.Itoa(int(seed)), func(t *testing.T) {
				l, err := newLoop(kernel, Options{Threads: 1, BlockingThreads: 8, Backend: BackendIOUring})
				must(t, err)
				kernel.on.Store(true)
				test(t, l)
				must(t, l.Close())
				if kernel.faults.Load() == 0 {
					t.Error("there were no faults")
				}
			})
		}
	}
}

func TestARingThatRefusesLosesNothing(t *testing.T) {
	onUnreliableRings(t, func(t *testing.T, l *Loop) { newCrowd(t, l, 900).run() })
}

func TestManyWritesToARingThatRefusesArriveOnceEach(t *testing.T) {
	onUnreliableRings(t, func(t *testing.T, l *Loop) {
		const count = 600
		reader, writer := pipe(t)
		_, err := unix.FcntlInt(uintptr(writer), unix.F_SETPIPE_SZ, 4096)
		must(t, err)
		requests, lines := make([]Request, count), make([][]byte, count)
		for i := range requests {
			lines[i] = []byte(strconv.Itoa(i) + strings.Repeat(" ", 60) + "\n")
			must(t, l.Write(&requests[i], writer, lines[i], nil))
		}
		ended := make(chan error, 1)
		go func() { ended <- l.Run() }()
		time.Sleep(time.Millisecond)
		for i := 0; i < count; i += 2 {
			l.Cancel(&requests[i])
		}
		received := make(chan []byte)
		go func() {
			all, buffer := []byte(nil), make([]byte, 1<<16)
			for {
				n, err := syscall.Read(reader, buffer)
				if n <= 0 || err != nil {
					received <- all
					return
				}
				all = append(all, buffer[:n]...)
			}
		}()
		awaitRun(t, l, ended)
		must(t, syscall.Close(writer))
		all := <-received
		for i := range requests {
			copies := bytes.Count(append([]byte("\n"), all...), append([]byte("\n"), lines[i]...))
			switch result := requests[i].Result(); {
			case result == int64(len(lines[i])) && copies == 1:
			case result == sys.ECANCELED && copies == 0 && i%2 == 0:
			default:
				t.Fatalf("write %d ended with %d and arrived %d times", i, result, copies)
			}
		}
	})
}

func TestEventsOfAWatchChangeOnARingThatRefuses(t *testing.T) {
	onUnreliableRings(t, func(t *testing.T, l *Loop) {
		const count = 20
		var watches [2 * count]Request
		shots, tick := 0, Request{}
		for i := range watches {
			fd, _ := socketPair(t)
			edge, shown := uint32(i%2*EdgeTriggered), false
			must(t, l.Watch(&watches[i], fd, Readable|edge, func(r *Request) {
				if r.More() && !shown {
					shown = true
					shots++
					l.Cancel(r)
				}
			}))
		}
		must(t, l.OnNextTick(&tick, nil))
		for range 20 {
			_, err := l.RunOnce(0)
			must(t, err)
		}
		for i := range watches {
			if !l.ModifyWatch(&watches[i], Writable) {
				t.Fatalf("watch %d is not in flight", i)
			}
		}
		runWithin(t, l)
		if shots != len(watches) {
			t.Fatalf("%d of %d watches saw their new event", shots, len(watches))
		}
	})
}

// strict is the operating system with short rings that refuse a number of enters that do not wait.
type strict struct {
	shortRings
	refuse atomic.Int64
}

func (k *strict) RingEnter(fd int, submit, wait uint32, timeoutNs int64, memory *sys.RingTimeout) int64 {
	if wait == 0 && k.refuse.Add(-1) >= 0 {
		return sys.EAGAIN
	}
	return k.Linux.RingEnter(fd, submit, wait, timeoutNs, memory)
}

func TestWhatFoundNoPlaceIsNotForgottenBehindAWait(t *testing.T) {
	if !ringWorksHere(t) {
		t.Skip("needs io_uring")
	}
	kernel := &strict{shortRings: shortRings{entries: 2}}
	l, err := newLoop(kernel, Options{Threads: 1, BlockingThreads: 8, Backend: BackendIOUring})
	must(t, err)
	idle, wake := pipe(t)
	ready, feed := pipe(t)
	_, err = syscall.Write(feed, []byte("x"))
	must(t, err)
	var waits [4]Request
	for i := range waits {
		must(t, l.WaitUntilReady(&waits[i], idle, Readable, nil))
	}
	var last, fromOutside Request
	must(t, l.WaitUntilReady(&last, ready, Readable, func(*Request) {
		go func() { l.OnNextTick(&fromOutside, func(*Request) { syscall.Write(wake, []byte("x")) }) }()
	}))
	kernel.refuse.Store(4)
	runWithin(t, l)
	must(t, l.Close())
}

func TestInitOfARingThatFailsAnywhereLeavesNothingBehind(t *testing.T) {
	if !ringWorksHere(t) {
		t.Skip("needs io_uring")
	}
	const threads, callsOfEach = 3, 7
	errnos := []syscall.Errno{syscall.EMFILE, syscall.ENOMEM, syscall.ENOSYS, syscall.EPERM, syscall.EINVAL}
	for _, errno := range errnos {
		for at := int64(1); at <= threads*callsOfEach+1; at++ {
			before := descriptors(t)
			kernel := &failing{at: at, errno: -int64(errno)}
			l, err := newLoop(kernel, Options{Threads: threads, BlockingThreads: 8, Backend: BackendIOUring})
			switch succeeds := at > threads*callsOfEach; {
			case succeeds != (err == nil):
				t.Fatalf("call %d fails with %v, New with %v", at, errno, err)
			case succeeds:
				must(t, l.Close())
			default:
				wanted := errno
				if kernel.unsupported || errno != syscall.EMFILE && errno != syscall.ENOMEM {
					wanted = syscall.EOPNOTSUPP
				}
				if !errors.Is(err, wanted) {
					t.Errorf("call %d failed with %v, New with %v", at, errno, err)
				}
			}
			kernel.checkNothingLeft(t, before)

			kernel = &failing{at: at, errno: -int64(errno)}
			l, err = newLoop(kernel, Options{Threads: threads, BlockingThreads: 8})
			must(t, err)
			wanted := "epoll"
			if at > threads*callsOfEach {
				wanted = "io_uring"
			}
			if name := l.BackendName(); name != wanted {
				t.Errorf("call %d failed with %v: the backend is %s", at, errno, name)
			}
			must(t, l.Close())
			kernel.checkNothingLeft(t, before)
		}
	}
}

// failing is the operating system that fails the call of this number of those that make a ring.
type failing struct {
	sys.Linux
	at, calls   int64
	errno       int64
	unsupported bool // the call that failed has only a yes and a no
	mapped      int
}

func (k *failing) fails() bool {
	k.calls++
	return k.calls == k.at
}

func (k *failing) RingSetup(entries uint32, params *sys.RingParams) int64 {
	if k.fails() {
		return k.errno
	}
	return k.Linux.RingSetup(entries, params)
}

func (k *failing) RingMap(fd int, offset, length uintptr) (uintptr, int64) {
	if k.fails() {
		return 0, k.errno
	}
	k.mapped++
	return k.Linux.RingMap(fd, offset, length)
}

func (k *failing) RingUnmap(memory, length uintptr) {
	k.mapped--
	k.Linux.RingUnmap(memory, length)
}

func (k *failing) RingSupports(fd int, opcodes ...uint8) bool {
	if k.fails() {
		k.unsupported = true
		return false
	}
	return k.Linux.RingSupports(fd, opcodes...)
}

func (k *failing) RingLimitThreads(fd int, files uint32) int64 {
	if k.fails() {
		return k.errno
	}
	return k.Linux.RingLimitThreads(fd, files)
}

func (k *failing) EventCreate() int64 {
	if k.fails() {
		return k.errno
	}
	return k.Linux.EventCreate()
}

func (k *failing) RingEnter(fd int, submit, wait uint32, timeoutNs int64, memory *sys.RingTimeout) int64 {
	if k.calls < k.at && k.fails() {
		return k.errno
	}
	return k.Linux.RingEnter(fd, submit, wait, timeoutNs, memory)
}

func (k *failing) checkNothingLeft(t *testing.T, before int) {
	t.Helper()
	if after := descriptors(t); after != before || k.mapped != 0 {
		t.Fatalf("call %d failed: %d descriptors before, %d after; %d mappings", k.at, before, after,
			k.mapped)
	}
	if names := loopThreads(t); len(names) > 0 {
		t.Fatalf("threads left behind: %v", names)
	}
}

// older is a kernel that does not know RwfNosignal: it turns the flag into one that no kernel knows.
type older struct {
	sys.Linux
	entries []sys.RingSqe
	refused int
}

func (k *older) RingMap(fd int, offset, length uintptr) (uintptr, int64) {
	address, errno := k.Linux.RingMap(fd, offset, length)
	if offset == sys.RingMapEntries && errno == 0 {
		first := *(**sys.RingSqe)(unsafe.Pointer(&address))
		k.entries = unsafe.Slice(first, length/unsafe.Sizeof(sys.RingSqe{}))
	}
	return address, errno
}

func (k *older) RingEnter(fd int, submit, wait uint32, timeoutNs int64, memory *sys.RingTimeout) int64 {
	const unknown = 1 << 30
	for i := range k.entries {
		e := &k.entries[i]
		if (e.Opcode == sys.RingOpWrite || e.Opcode == sys.RingOpWritev) && e.OpFlags&sys.RwfNosignal != 0 {
			e.OpFlags = unknown
			k.refused++
		}
	}
	return k.Linux.RingEnter(fd, submit, wait, timeoutNs, memory)
}

func TestWritesWorkOnAKernelThatDoesNotKnowTheirFlag(t *testing.T) {
	if !ringWorksHere(t) {
		t.Skip("needs io_uring")
	}
	const count = 8
	kernel := &older{}
	l, err := newLoop(kernel, Options{Threads: 1, BlockingThreads: 8, Backend: BackendIOUring})
	must(t, err)
	reader, writer := pipe(t)
	var writes [count]Request
	for range 2 {
		for i := range writes {
			must(t, l.Write(&writes[i], writer, []byte("four"), func(r *Request) {
				if r.Result() != 4 {
					t.Errorf("write: %d, %v", r.Result(), r.Err())
				}
			}))
		}
		runWithin(t, l)
	}
	must(t, l.Close())
	if n, err := syscall.Read(reader, make([]byte, 1000)); n != 2*4*count || err != nil {
		t.Errorf("%d bytes arrived, %v", n, err)
	}
	if kernel.refused == 0 || kernel.refused > count {
		t.Errorf("%d writes were refused: the flag is to be dropped after the first batch", kernel.refused)
	}
}

func TestRequestsOfAThreadThatEndedCompleteOnTheNext(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		for range 5 {
			testMove(t, open(t, Options{Threads: 1, BlockingThreads: 8}))
		}
	})
}

// testMove submits on a thread that ends, and completes on another one.
func testMove(t *testing.T, l *Loop) {
	var wait, read, write, level, edge, timer, never Request
	waited, feedWait := pipe(t)
	source, feedRead := pipe(t)
	drained, sink := pipe(t)
	watched, feedWatch := pipe(t)
	filled := fillUp(t, sink)
	buffer := make([]byte, 8)
	shots := [2]int{}
	onShot := func(i int) func(*Request) {
		return func(r *Request) {
			if r.More() && r.Result() == Readable {
				shots[i]++
				l.Cancel(r)
			} else if r.Result() != sys.ECANCELED {
				t.Errorf("watch %d: %d", i, r.Result())
			}
		}
	}
	wanted := map[*Request]int64{&wait: Readable, &read: 3, &write: 4, &timer: 0, &never: sys.ECANCELED}
	onThread(t, func() {
		must(t, l.WaitUntilReady(&wait, waited, Readable, nil))
		must(t, l.WaitUntilReady(&never, waited, Readable, nil))
		must(t, l.Read(&read, source, buffer, nil))
		must(t, l.Write(&write, sink, []byte("more"), nil))
		must(t, l.Watch(&level, watched, Readable, onShot(0)))
		must(t, l.Watch(&edge, watched, Readable|EdgeTriggered, onShot(1)))
		must(t, l.StartTimer(&timer, 20*time.Millisecond, 0, nil))
		for range 3 {
			_, err := l.RunOnce(0)
			must(t, err)
		}
	})
	l.Cancel(&never)
	ended := make(chan error, 1)
	go func() { ended <- l.Run() }()
	time.Sleep(time.Millisecond)
	for _, fd := range []int{feedWait, feedRead, feedWatch} {
		_, err := syscall.Write(fd, []byte("abc"))
		must(t, err)
	}
	_, err := syscall.Read(drained, make([]byte, filled))
	must(t, err)
	awaitRun(t, l, ended)
	for r, result := range wanted {
		if r.Result() != result {
			t.Errorf("result %d, not %d", r.Result(), result)
		}
	}
	if shots != [2]int{1, 1} || !bytes.HasPrefix(buffer, []byte("abc")) {
		t.Errorf("shots %v, bytes %q", shots, buffer)
	}
	must(t, l.Close())
}

func TestALoopThatMovesBetweenThreadsIsWokenOnEach(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		l := open(t, Options{Threads: 1, BlockingThreads: 8})
		l.Ref()
		for range 50 {
			onThread(t, func() {
				var tick Request
				go func() {
					time.Sleep(200 * time.Microsecond)
					l.OnNextTick(&tick, nil)
				}()
				done := make([]*Request, 1)
				if n, err := l.Wait(done, patience/2); n != 1 || err != nil {
					t.Errorf("not woken: %d, %v", n, err)
				}
			})
		}
		// Those of threads that ended go in the background.
		for start := time.Now(); pollsInFlight(t, l) > 1; time.Sleep(time.Millisecond) {
			if time.Since(start) > patience {
				t.Fatalf("%d polls are left in the kernel, of which one is needed", pollsInFlight(t, l))
			}
		}
		must(t, l.Unref())
		must(t, l.Close())
	})
}

// pollsInFlight returns how many polls the kernel has for a loop with a ring; 0 for others.
func pollsInFlight(t *testing.T, l *Loop) (polls int) {
	fd := l.engine.workers[0].backend.Descriptor()
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	must(t, err)
	_, list, _ := strings.Cut(string(info), "PollList:\n")
	for line := range strings.Lines(list) {
		if !strings.Contains(line, "op=") {
			break
		}
		polls++
	}
	return polls
}

// Two threads that both live take turns: neither must leave a wake poll behind at each change.
func TestThreadsThatTakeTurnsLeaveNoPollsBehind(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		l := open(t, Options{Threads: 1, BlockingThreads: 8})
		l.Ref()
		var turns [2]chan bool
		for i := range turns {
			turns[i] = make(chan bool)
			go func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				for range turns[i] {
					l.RunOnce(0)
					turns[i] <- true
				}
			}()
		}
		for range 200 {
			for i := range turns {
				turns[i] <- true
				<-turns[i]
			}
		}
		if polls := pollsInFlight(t, l); polls > 3 {
			t.Errorf("%d polls are left in the kernel, of which one is needed", polls)
		}
		close(turns[0])
		close(turns[1])
		must(t, l.Unref())
		must(t, l.Close())
	})
}

func TestEdgesAreNotLostWhenTheCompletionQueueOverflows(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		const pipes, rounds = 60, 40
		l := open(t, Options{Threads: 1, BlockingThreads: 8})
		var watches [pipes]Request
		var writers [pipes]int
		received, wanted := 0, 0
		for i := range watches {
			reader, writer := pipe(t)
			must(t, syscall.SetNonblock(reader, true))
			writers[i] = writer
			buffer := make([]byte, 64)
			must(t, l.Watch(&watches[i], reader, Readable|EdgeTriggered, func(r *Request) {
				for r.More() {
					n, err := syscall.Read(reader, buffer)
					if err != nil {
						return
					}
					received += n
				}
			}))
		}
		for round := range rounds {
			for i, writer := range writers {
				for range 1 + (round+i)%3 { // several wake-ups of one watch before a look
					_, err := syscall.Write(writer, []byte("x"))
					must(t, err)
					wanted++
				}
			}
			for start := time.Now(); received < wanted; {
				_, err := l.RunOnce(patience)
				must(t, err)
				if time.Since(start) > patience {
					t.Fatalf("round %d: %d bytes of %d seen", round, received, wanted)
				}
			}
		}
		for i := range watches {
			l.Cancel(&watches[i])
		}
		runWithin(t, l)
		must(t, l.Close())
	})
}

// Taking back a tick empties the mailbox of a worker that is on its way into the kernel, or in it.
func TestTakingBackTicksDisturbsNothing(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		l := open(t, Options{Threads: 1, BlockingThreads: 8})
		l.Ref()
		ended := make(chan error, 1)
		go func() { ended <- l.Run() }()
		idle, _ := pipe(t)
		var done sync.WaitGroup
		var completed atomic.Int64
		const rounds = 300
		for range 3 {
			done.Go(func() {
				for range rounds {
					tick, waits, count := new(Request), [4]Request{}, func(*Request) { completed.Add(1) }
					for i := range waits {
						must(t, l.WaitUntilReady(&waits[i], idle, Readable, count))
					}
					must(t, l.OnNextTick(tick, func(*Request) {}))
					for i := range waits {
						l.Cancel(&waits[i])
					}
					l.CancelOnNextTick(tick)
				}
			})
		}
		done.Wait()
		must(t, l.Unref())
		awaitRun(t, l, ended)
		if n := completed.Load(); n != 3*4*rounds {
			t.Errorf("%d waits completed", n)
		}
		must(t, l.Close())
	})
}

func TestReadsAtThePositionOfAFileDoNotReadTheSame(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		const count, size = 64, 16384
		path := filepath.Join(t.TempDir(), "file")
		contents := make([]byte, 0, count*size)
		for i := range count {
			contents = append(contents, bytes.Repeat([]byte{byte(i)}, size)...)
		}
		must(t, os.WriteFile(path, contents, 0o600))
		file, err := os.Open(path)
		must(t, err)
		defer file.Close()
		fd := int(file.Fd())
		dropFromCache(t, fd)
		l := open(t, Options{Threads: 1, BlockingThreads: 8})
		var requests [count]Request
		var buffers [count][size]byte
		for i := range requests {
			must(t, l.Read(&requests[i], fd, buffers[i][:], nil))
		}
		runWithin(t, l)
		must(t, l.Close())
		var seen [count]bool
		for i := range requests {
			if requests[i].Result() == size {
				seen[buffers[i][0]] = true
			}
		}
		for i := range seen {
			if !seen[i] {
				t.Fatalf("block %d was read by nobody", i)
			}
		}
	})
}

// dropFromCache has the next read of a file go to its device, if it has one.
func dropFromCache(t *testing.T, fd int) {
	must(t, syscall.Fsync(fd))
	must(t, unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
}

func TestWritesAtThePositionOfAFileDoNotOverwriteEachOther(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		const count, size = 500, 1000
		file, err := os.Create(filepath.Join(t.TempDir(), "file"))
		must(t, err)
		defer file.Close()
		l := open(t, Options{Threads: 1, BlockingThreads: 8})
		requests := make([]Request, count)
		for i := range requests {
			block := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, size/2)
			must(t, l.Write(&requests[i], int(file.Fd()), block, func(r *Request) {
				if r.Result() != size {
					t.Errorf("write: %d, %v", r.Result(), r.Err())
				}
			}))
		}
		runWithin(t, l)
		must(t, l.Close())
		contents, err := os.ReadFile(file.Name())
		must(t, err)
		seen := map[[2]byte]bool{}
		for at := 0; at+size <= len(contents); at += size {
			seen[[2]byte(contents[at:])] = true
		}
		if len(contents) != count*size || len(seen) != count {
			t.Errorf("%d bytes with %d of %d blocks", len(contents), len(seen), count)
		}
	})
}

func TestOpeningAFifoMeetsAWriterThatIsGoneAtOnce(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		path := filepath.Join(t.TempDir(), "fifo")
		must(t, syscall.Mkfifo(path, 0o600))
		l := open(t, Options{Threads: 1, BlockingThreads: 8})
		for round := range 20 {
			written := make(chan error, 1)
			go func() {
				fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
				if err == nil {
					_, err = syscall.Write(fd, []byte("x"))
					syscall.Close(fd)
				}
				written <- err
			}()
			time.Sleep(time.Millisecond)
			var request Request
			must(t, l.Open(&request, path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0, nil))
			ended := make(chan error, 1)
			go func() { ended <- l.Run() }()
			select {
			case err := <-ended:
				must(t, err)
			case <-time.After(2 * time.Second):
				t.Errorf("round %d: the open waits for another writer", round)
				fd, _ := syscall.Open(path, syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
				awaitRun(t, l, ended) // with that one
				syscall.Close(fd)
			}
			must(t, <-written)
			n, err := syscall.Read(int(request.Result()), make([]byte, 8))
			if n != 1 || err != nil {
				t.Errorf("round %d: %d bytes, %v", round, n, err)
			}
			must(t, syscall.Close(int(request.Result())))
			if t.Failed() {
				break
			}
		}
		must(t, l.Close())
	})
}

// Results that the kernel writes into a variable must get there on a stack that is about to grow, too.
func TestKernelCallsFindTheirMemoryAtAnyDepthOfTheStack(t *testing.T) {
	if !ringWorksHere(t) {
		t.Skip("needs io_uring")
	}
	l, err := newLoop(sys.Linux{}, Options{Threads: 1, BlockingThreads: 8, Backend: BackendIOUring})
	must(t, err)
	ring := l.engine.workers[0].backend.Descriptor()
	file, err := os.Open("/proc/self/exe")
	must(t, err)
	defer file.Close()
	var descend func(depth int) bool
	descend = func(depth int) bool {
		if depth > 0 {
			return descend(depth - 1)
		}
		return sys.Linux{}.RingSupports(ring, sys.RingOpRead, sys.RingOpWrite)
	}
	for depth := range 300 {
		answers := make(chan [2]bool)
		go func() { answers <- [2]bool{descend(depth), sys.Linux{}.IsFile(int(file.Fd()))} }()
		if answer := <-answers; answer != [2]bool{true, true} {
			t.Fatalf("depth %d: supported, file: %v", depth, answer)
		}
	}
	must(t, l.Close())
}

// Writes that have nothing to write, and queue behind another one, must not be tried for ever.
func TestWritesOfNothingThatQueueEnd(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		for _, makePair := range []func(*testing.T) (int, int){pipe, socketPair} {
			reader, writer := makePair(t)
			filling := fillUp(t, writer)
			l := open(t, Options{Threads: 1, BlockingThreads: 8})
			var first Request
			var empty [4]Request
			must(t, l.Write(&first, writer, []byte("first"), nil))
			for i := range empty {
				must(t, l.Write(&empty[i], writer, []byte{}, func(r *Request) {
					if r.Result() != 0 {
						t.Errorf("write of nothing: %d, %v", r.Result(), r.Err())
					}
				}))
			}
			ended := make(chan error, 1)
			go func() { ended <- l.Run() }()
			for left := filling; left > 0; {
				n, err := syscall.Read(reader, make([]byte, left))
				must(t, err)
				left -= n
			}
			awaitRun(t, l, ended)
			if first.Result() != 5 {
				t.Errorf("the write before them: %d, %v", first.Result(), first.Err())
			}
			must(t, l.Close())
		}
	})
}

func socketPair(t *testing.T) (ours, peers int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() {
		syscall.Close(fds[0])
		syscall.Close(fds[1])
	})
	return fds[0], fds[1]
}

// fillUp writes until a descriptor takes no more, and returns the number of bytes.
func fillUp(t *testing.T, fd int) (total int) {
	must(t, syscall.SetNonblock(fd, true))
	for n, err := 0, error(nil); err == nil; total += max(n, 0) {
		n, err = syscall.Write(fd, make([]byte, 1024))
	}
	must(t, syscall.SetNonblock(fd, false))
	return total
}

// hesitant is an operating system that has nothing in its cache, and whose blocking reads wait. It then lets
// the threads of the pool go first, before it takes the submissions that are there.
type hesitant struct {
	sys.Linux
	reading, release chan struct{}
	hesitates        bool
}

func (k *hesitant) ReadNow(int, uintptr, int, int64) int64 { return sys.EAGAIN }

func (k *hesitant) Read(fd int, iov uintptr, count int, offset int64) int64 {
	k.reading <- struct{}{}
	<-k.release
	return k.Linux.Read(fd, iov, count, offset)
}

func (k *hesitant) RingEnter(fd int, submit, wait uint32, timeoutNs int64, memory *sys.RingTimeout) int64 {
	if k.hesitates {
		k.hesitates = false
		close(k.release)
		time.Sleep(20 * time.Millisecond)
	}
	return k.Linux.RingEnter(fd, submit, wait, timeoutNs, memory)
}

func TestACloseByThePoolDoesNotOvertakeWhatWasSubmittedBefore(t *testing.T) {
	if !ringWorksHere(t) {
		t.Skip("needs io_uring")
	}
	kernel := &hesitant{reading: make(chan struct{}, 1), release: make(chan struct{})}
	l, err := newLoop(kernel, Options{Threads: 1, BlockingThreads: 3, Backend: BackendIOUring})
	must(t, err)
	fd, err := syscall.Open("/etc/passwd", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	must(t, err)
	var read, watch, closing Request
	must(t, l.Read(&read, fd, make([]byte, 1), nil))
	for len(kernel.reading) == 0 && l.Pending() > 0 {
		l.RunOnce(0)
	}
	kernel.hesitates = true
	must(t, l.Watch(&watch, fd, Readable, func(r *Request) {
		if r.Result() != -int64(syscall.ECANCELED) && !r.More() {
			t.Errorf("the watch ends with %v", r.Err())
		}
	}))
	must(t, l.CloseFd(&closing, fd, func(r *Request) { must(t, r.Err()) }))
	runWithin(t, l)
	must(t, l.Close())
	if len(kernel.reading) == 0 || kernel.hesitates {
		t.Error("no thread of the pool read, or nothing was submitted")
	}
}
