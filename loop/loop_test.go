package loop

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// threadCounts are the loops that every test of the contract runs on.
var threadCounts = []int{1, 2, 4}

// onEachLoop runs a test on loops of every kind, and checks that nothing of the loop is left afterwards.
func onEachLoop(t *testing.T, test func(t *testing.T, l *Loop)) {
	for _, threads := range threadCounts {
		t.Run(strings.Repeat("thread ", threads), func(t *testing.T) {
			before := descriptors(t)
			t.Cleanup(func() { // after those that the test registers
				if after := descriptors(t); after != before {
					t.Errorf("%d descriptors before, %d after", before, after)
				}
				if names := loopThreads(t); len(names) > 0 {
					t.Errorf("threads left behind: %v", names)
				}
			})
			l, err := New(Options{Threads: threads})
			must(t, err)
			test(t, l)
			must(t, l.Close())
		})
	}
}

func descriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// loopThreads returns the names of the threads that a loop made.
func loopThreads(t *testing.T) (names []string) {
	comms, _ := filepath.Glob("/proc/self/task/*/comm")
	for _, comm := range comms {
		name, err := os.ReadFile(comm)
		ours := strings.HasPrefix(string(name), "loop") && !strings.HasPrefix(string(name), "loop.test")
		if err == nil && ours {
			names = append(names, strings.TrimSpace(string(name)))
		}
	}
	return names
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pipe(t *testing.T) (reader, writer int) {
	var fds [2]int
	must(t, syscall.Pipe2(fds[:], syscall.O_CLOEXEC))
	t.Cleanup(func() {
		syscall.Close(fds[0])
		syscall.Close(fds[1])
	})
	return fds[0], fds[1]
}

func TestRunWithNothingPendingReturns(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 8} {
		for range 200 {
			l, err := New(Options{Threads: threads})
			must(t, err)
			must(t, l.Run())
			must(t, l.Close())
		}
	}
}

func TestTicksOfOneGoroutineStartInOrder(t *testing.T) {
	l, err := New(Options{})
	must(t, err)
	const count = 5000
	requests := make([]Request, count)
	var order []int
	for i := range requests {
		must(t, l.OnNextTick(&requests[i], func(*Request) { order = append(order, i) }))
	}
	must(t, l.Run())
	must(t, l.Close())
	for i := range order {
		if order[i] != i {
			t.Fatalf("tick %d ran at place %d", order[i], i)
		}
	}
	if len(order) != count {
		t.Fatalf("%d ticks ran", len(order))
	}
}

func TestTickInATickWaitsATurn(t *testing.T) {
	l, err := New(Options{})
	must(t, err)
	var first, second Request
	ran := 0
	must(t, l.OnNextTick(&first, func(*Request) {
		ran++
		must(t, l.OnNextTick(&second, func(*Request) { ran++ }))
	}))
	for turn := 1; turn <= 2; turn++ {
		if n, err := l.RunOnce(0); n != 1 || err != nil || ran != turn {
			t.Fatalf("turn %d: %d completions, %v, %d ran", turn, n, err, ran)
		}
	}
	must(t, l.Close())
}

func TestEndlessTicksStarveNothing(t *testing.T) {
	l, err := New(Options{})
	must(t, err)
	reader, writer := pipe(t)
	var endless [2]Request
	var timer, wait, third Request
	over, turns := 0, 0
	var again func(r *Request)
	again = func(r *Request) {
		turns++
		if over < 3 && turns < 1_000_000 {
			must(t, l.OnNextTick(r, again))
		}
	}
	for i := range endless {
		must(t, l.OnNextTick(&endless[i], again))
	}
	done := func(*Request) { over++ }
	must(t, l.StartTimer(&timer, 5*time.Millisecond, 0, done))
	must(t, l.WaitUntilReady(&wait, reader, Readable, done))
	must(t, l.OnNextTick(&third, done))
	if _, err := syscall.Write(writer, []byte("x")); err != nil {
		t.Fatal(err)
	}
	must(t, l.Run())
	if over != 3 {
		t.Fatalf("%d of 3 ran beside %d endless ticks", over, turns)
	}
	must(t, l.Close())
}

func TestNoTickIsLostOrRunsTwiceWhileEveryThreadSleeps(t *testing.T) {
	const posters, each = 4, 5000
	onEachLoop(t, func(t *testing.T, l *Loop) {
		var ran [posters * each]atomic.Int32
		var finished atomic.Int32
		requests := make([]Request, posters*each)
		l.Ref()
		var group sync.WaitGroup
		for p := range posters {
			group.Go(func() {
				for i := p * each; i < (p+1)*each; i++ {
					err := l.OnNextTick(&requests[i], func(*Request) { ran[i].Add(1); finished.Add(1) })
					if err != nil {
						panic(err)
					}
					if i%16 == 0 { // let the loop fall asleep now and then
						for int(finished.Load()) < i%each/2 {
							time.Sleep(10 * time.Microsecond)
						}
					}
				}
			})
		}
		go func() {
			group.Wait()
			l.Unref()
		}()
		must(t, l.Run())
		for i := range ran {
			if n := ran[i].Load(); n != 1 {
				t.Fatalf("tick %d ran %d times", i, n)
			}
		}
	})
}

func TestCancelOnNextTickSaysWhatHappened(t *testing.T) {
	onEachLoop(t, func(t *testing.T, l *Loop) {
		var r Request
		if l.CancelOnNextTick(&r) {
			t.Fatal("took back what was never submitted")
		}
		must(t, l.OnNextTick(&r, func(*Request) { t.Error("a tick ran that was taken back") }))
		if !l.CancelOnNextTick(&r) || l.Pending() != 0 {
			t.Fatal("a queued tick could not be taken back")
		}
		must(t, l.Run())
		ran := false
		must(t, l.OnNextTick(&r, func(*Request) { ran = true }))
		must(t, l.Run())
		if !ran || l.CancelOnNextTick(&r) {
			t.Fatal("took back a tick that had run")
		}
	})
}

func TestTimersFireInOrderAndNeverEarly(t *testing.T) {
	l, err := New(Options{})
	must(t, err)
	delays := []time.Duration{3, 1, 2, 1, 3, 0, 2}
	requests := make([]Request, len(delays))
	var fired []int
	start := l.Now()
	for i, delay := range delays {
		delay *= 2 * time.Millisecond
		must(t, l.StartTimer(&requests[i], delay, 0, func(*Request) {
			if l.Now()-start < delay {
				t.Errorf("timer %d fired early", i)
			}
			fired = append(fired, i)
		}))
	}
	must(t, l.Run())
	want := []int{5, 1, 3, 2, 6, 0, 4}
	for i := range want {
		if fired[i] != want[i] {
			t.Fatalf("fired in order %v", fired)
		}
	}
	must(t, l.Close())
}

func TestPeriodicTimerFiresUntilCancelled(t *testing.T) {
	onEachLoop(t, func(t *testing.T, l *Loop) {
		var r Request
		shots := 0
		var last error
		must(t, l.StartTimer(&r, time.Millisecond, time.Millisecond, func(r *Request) {
			if !r.More() {
				last = r.Err()
				return
			}
			if shots++; shots == 5 && !l.Cancel(r) {
				t.Error("cancel from its own callback was refused")
			}
		}))
		must(t, l.Run())
		if shots != 5 || !errors.Is(last, syscall.ECANCELED) {
			t.Fatalf("%d shots, then %v", shots, last)
		}
	})
}

func TestTimeoutEndsAWait(t *testing.T) {
	onEachLoop(t, func(t *testing.T, l *Loop) {
		reader, _ := pipe(t)
		var r Request
		r.SetTimeout(3 * time.Millisecond)
		start := l.Now()
		must(t, l.WaitUntilReady(&r, reader, Readable, nil))
		var done [1]*Request
		n, err := l.Wait(done[:], -1)
		elapsed := l.Now() - start
		timedOut := n == 1 && errors.Is(done[0].Err(), syscall.ETIMEDOUT)
		if err != nil || !timedOut || elapsed < 3*time.Millisecond {
			t.Fatalf("%d harvested, %v, after %v", n, err, elapsed)
		}
	})
}

func TestReaderAndWriterWaitOnOneSocket(t *testing.T) {
	onEachLoop(t, func(t *testing.T, l *Loop) {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		must(t, err)
		defer syscall.Close(pair[0])
		var read, write, both Request
		var results [3]int64
		must(t, l.WaitUntilReady(&read, pair[0], Readable, func(r *Request) { results[0] = r.Result() }))
		must(t, l.WaitUntilReady(&write, pair[0], Writable, func(r *Request) {
			results[1] = r.Result()
			syscall.Close(pair[1])
		}))
		must(t, l.WaitUntilReady(&both, pair[0], Readable|Writable, func(r *Request) {
			results[2] = r.Result()
		}))
		must(t, l.Run())
		if results[0]&Readable == 0 || results[1] != Writable || results[2] != Writable {
			t.Fatalf("results %v", results)
		}
	})
}

func TestReadWaitsForBytes(t *testing.T) {
	onEachLoop(t, func(t *testing.T, l *Loop) {
		reader, writer := pipe(t)
		var read, write Request
		buffer := make([]byte, 16)
		var result int64
		must(t, l.Read(&read, reader, buffer, func(r *Request) { result = r.Result() }))
		must(t, l.StartTimer(&write, 2*time.Millisecond, 0, func(r *Request) {
			must(t, l.Write(r, writer, []byte("bytes"), nil))
		}))
		must(t, l.Run())
		if result != 5 || string(buffer[:5]) != "bytes" {
			t.Fatalf("read %d: %q", result, buffer)
		}
	})
}

func TestFileRoundTrip(t *testing.T) {
	onEachLoop(t, func(t *testing.T, l *Loop) {
		name := t.TempDir() + "/file"
		content := []byte(strings.Repeat("0123456789", 10_000))
		buffer := make([]byte, len(content))
		var r Request
		var fd int
		step := func(next func()) func(*Request) {
			return func(r *Request) {
				if r.Err() != nil {
					t.Error(r.Err())
				}
				if next != nil {
					next()
				}
			}
		}
		must(t, l.Open(&r, name, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600, step(func() {
			fd = int(r.Result())
			must(t, l.WriteAt(&r, fd, content, 0, step(func() {
				must(t, l.ReadAt(&r, fd, buffer, 0, step(func() {
					must(t, l.CloseFd(&r, fd, step(func() {
						must(t, l.Access(&r, -100, name, 4, 0, step(nil)))
					})))
				})))
			})))
		})))
		must(t, l.Run())
		if string(buffer) != string(content) {
			t.Fatal("read something else than was written")
		}
	})
}

func TestWorkRunsOffTheLoopAndCanBeCancelledInTheQueue(t *testing.T) {
	onEachLoop(t, func(t *testing.T, l *Loop) {
		const count = 100
		requests := make([]Request, count)
		release := make(chan struct{})
		var worked, finished, cancelled atomic.Int32
		for i := range requests {
			must(t, l.QueueWork(&requests[i], func() { worked.Add(1); <-release }, func(r *Request) {
				switch {
				case r.Err() == nil:
					finished.Add(1)
				case errors.Is(r.Err(), syscall.ECANCELED):
					if cancelled.Add(1) == 1 { // while all threads are at work
						close(release)
					}
				}
			}))
		}
		var timer Request
		must(t, l.StartTimer(&timer, 5*time.Millisecond, 0, func(*Request) {
			for i := range requests {
				l.Cancel(&requests[i])
			}
		}))
		must(t, l.Run())
		ran, ended, never := worked.Load(), finished.Load(), cancelled.Load()
		if ran != ended || ended+never != count || never == 0 {
			t.Fatalf("%d worked, %d finished, %d cancelled", ran, ended, never)
		}
	})
}

func TestCancelRacingWithCompletionGivesOneOfTheTwo(t *testing.T) {
	onEachLoop(t, func(t *testing.T, l *Loop) {
		reader, writer := pipe(t)
		l.Ref()
		var completions, data, cancelled atomic.Int32
		const rounds = 2000
		go func() {
			defer l.Unref()
			for round := range rounds {
				r := &Request{}
				buffer := make([]byte, 1)
				l.Read(r, reader, buffer, func(r *Request) {
					switch {
					case r.Result() == 1:
						data.Add(1)
					case errors.Is(r.Err(), syscall.ECANCELED):
						cancelled.Add(1)
					}
					completions.Add(1)
				})
				syscall.Write(writer, []byte("x"))
				l.Cancel(r)
				for int(completions.Load()) <= round {
					time.Sleep(time.Microsecond)
				}
			}
		}()
		must(t, l.Run())
		total, read, never := completions.Load(), data.Load(), cancelled.Load()
		if total != rounds || read+never != rounds {
			t.Fatalf("%d completions: %d data, %d cancelled", total, read, never)
		}
	})
}

func TestCloseDeliversEverythingOnce(t *testing.T) {
	onEachLoop(t, func(t *testing.T, l *Loop) {
		reader, _ := pipe(t)
		const count = 400
		requests := make([]Request, count)
		var completions atomic.Int32
		done := func(r *Request) {
			if !r.More() {
				completions.Add(1)
			}
			if l.OnNextTick(&Request{}, nil) == nil {
				t.Error("a closing loop accepted a request")
			}
		}
		for i := range requests {
			r := &requests[i]
			switch i % 5 {
			case 0:
				must(t, l.OnNextTick(r, done))
			case 1:
				must(t, l.StartTimer(r, time.Hour, time.Hour, done))
			case 2:
				must(t, l.Watch(r, reader, Readable, done))
			case 3:
				must(t, l.Read(r, reader, make([]byte, 8), done))
			case 4:
				must(t, l.QueueWork(r, func() { time.Sleep(time.Millisecond) }, done))
			}
		}
		must(t, l.Close())
		if completions.Load() != count {
			t.Fatalf("%d of %d completed", completions.Load(), count)
		}
		// onEachLoop closes the loop: make it another one.
		again, err := New(Options{})
		must(t, err)
		l.engine, l.boxes = again.engine, again.boxes
		l.shared.Init(len(l.boxes))
		l.shared.Unclaim()
		l.engine.shared = &l.shared
	})
}

func TestTwoWorkersShareCallbacksThatTakeLong(t *testing.T) {
	l, err := New(Options{Threads: 2})
	must(t, err)
	var requests [2]Request
	var meeting sync.WaitGroup
	meeting.Add(2)
	for i := range requests {
		// Each callback waits for the other: with one thread this would never end.
		must(t, l.OnNextTick(&requests[i], func(*Request) { meeting.Done(); meeting.Wait() }))
	}
	must(t, l.Run())
	must(t, l.Close())
}

func TestATickForABusyThreadIsTakenByAnIdleOne(t *testing.T) {
	l, err := New(Options{Threads: 2})
	must(t, err)
	var long, late Request
	ran := make(chan struct{})
	must(t, l.OnNextTick(&long, func(*Request) {
		go func() {
			time.Sleep(5 * time.Millisecond) // the other thread sleeps by now
			must(t, l.OnNextTick(&late, func(*Request) { close(ran) }))
		}()
		<-ran
	}))
	must(t, l.Run())
	must(t, l.Close())
}

func TestDeliveryAllocatesNothing(t *testing.T) {
	l, err := New(Options{})
	must(t, err)
	file, err := os.Open("/etc/passwd")
	must(t, err)
	defer file.Close()
	fd := int(file.Fd())
	requests := make([]Request, 64)
	buffer := make([]byte, 64)
	round := func() {
		for i := range requests {
			if i%2 == 0 {
				l.OnNextTick(&requests[i], nil)
			} else {
				l.ReadAt(&requests[i], fd, buffer, 0, nil)
			}
		}
		var done [64]*Request
		for harvested := 0; harvested < len(requests); {
			n, _ := l.Wait(done[:], -1)
			harvested += n
		}
	}
	if allocations := testing.AllocsPerRun(200, round); allocations > 1 { // `done` escapes: the test's own
		t.Errorf("%v allocations in a round of %d operations", allocations, len(requests))
	}
	must(t, l.Close())
}
