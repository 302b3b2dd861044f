package loop

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// faulty is the operating system with faults: it fails the nth call of those that can fail in steady state.
type faulty struct {
	sys.Linux
	calls  atomic.Int64
	failAt int64 // 0 = never
	errno  int64
	after  int64 // calls from this one on fail too, if > 0

	refuseAdd  int64 // what EpollControl answers to EpollAdd, but for eventfds of the loop
	interrupts atomic.Int64
}

// onEpoll are the options of a loop whose faults are in epoll.
var onEpoll = Options{Threads: 1, BlockingThreads: 8, Backend: BackendEpoll}

func (f *faulty) fails() bool {
	n := f.calls.Add(1)
	return f.failAt != 0 && (n == f.failAt || f.after > 0 && n >= f.after)
}

func (f *faulty) EpollCreate() int64 {
	if f.fails() {
		return f.errno
	}
	return f.Linux.EpollCreate()
}

func (f *faulty) EventCreate() int64 {
	if f.fails() {
		return f.errno
	}
	return f.Linux.EventCreate()
}

func (f *faulty) EpollControl(epfd, op, fd int, events uint32, data uint64) int64 {
	const wakeTag = ^uint64(0)
	if data == wakeTag && f.fails() {
		return f.errno
	}
	if data != wakeTag && op == sys.EpollAdd && f.refuseAdd != 0 {
		return f.refuseAdd
	}
	return f.Linux.EpollControl(epfd, op, fd, events, data)
}

func (f *faulty) EpollWait(epfd int, events []sys.EpollEvent, timeoutNs int64) int64 {
	if f.interrupts.Add(-1) >= 0 {
		return 0 // what EINTR looks like
	}
	return f.Linux.EpollWait(epfd, events, timeoutNs)
}

func TestInitThatFailsAnywhereLeavesNothingBehind(t *testing.T) {
	const threads = 4
	before := descriptors(t)
	failures := 0
	for at := int64(1); ; at++ {
		kernel := &faulty{failAt: at, errno: -int64(syscall.EMFILE)}
		l, err := newLoop(kernel, Options{Threads: threads, BlockingThreads: 8, Backend: BackendEpoll})
		if err == nil {
			must(t, l.Close())
			break
		}
		failures++
		if !errors.Is(err, syscall.EMFILE) {
			t.Fatalf("call %d failed with EMFILE, New with %v", at, err)
		}
		if after := descriptors(t); after != before {
			t.Fatalf("call %d failed: %d descriptors before, %d after", at, before, after)
		}
	}
	if want := 3 * threads; failures != want {
		t.Fatalf("%d calls of New could fail, not %d", failures, want)
	}
	if names := loopThreads(t); len(names) > 0 {
		t.Fatalf("threads left behind: %v", names)
	}
}

func TestPollServesWhatEpollHasNoRoomFor(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.ENOMEM} {
		l, err := newLoop(&faulty{refuseAdd: -int64(errno)}, onEpoll)
		must(t, err)
		reader, writer := pipe(t)
		idle, _ := pipe(t)
		var read, wait, cancelled, late, feed Request
		buffer := make([]byte, 8)
		var results [2]int64
		must(t, l.Read(&read, reader, buffer, func(r *Request) {
			results[0] = r.Result()
			l.Cancel(&cancelled)
		}))
		must(t, l.WaitUntilReady(&wait, writer, Writable, func(r *Request) { results[1] = r.Result() }))
		must(t, l.WaitUntilReady(&cancelled, idle, Readable, func(r *Request) {
			if !errors.Is(r.Err(), syscall.ECANCELED) {
				t.Errorf("cancelled wait ended with %v, %v", r.Result(), r.Err())
			}
		}))
		late.SetTimeout(5 * time.Millisecond)
		must(t, l.WaitUntilReady(&late, idle, Readable, func(r *Request) {
			if !errors.Is(r.Err(), syscall.ETIMEDOUT) {
				t.Errorf("late wait ended with %v, %v", r.Result(), r.Err())
			}
		}))
		must(t, l.StartTimer(&feed, 2*time.Millisecond, 0, func(*Request) {
			syscall.Write(writer, []byte("fed"))
		}))
		must(t, l.Run())
		if results != [2]int64{3, Writable} {
			t.Errorf("%v: results %v", errno, results)
		}
		if l.Statistics().PollFallbacks == 0 {
			t.Errorf("%v: poll was not asked", errno)
		}
		must(t, l.Close())
	}
}

func TestStopWorksWhileOnlyPollWaits(t *testing.T) {
	l, err := newLoop(&faulty{refuseAdd: -int64(syscall.ENOSPC)}, onEpoll)
	must(t, err)
	reader, _ := pipe(t)
	var wait Request
	must(t, l.WaitUntilReady(&wait, reader, Readable, nil))
	go func() {
		time.Sleep(2 * time.Millisecond)
		l.Stop()
	}()
	must(t, l.Run())
	if l.Pending() != 1 {
		t.Fatalf("%d pending", l.Pending())
	}
	must(t, l.Close())
}

func TestInterruptedWaitsDoNotFireTimersEarly(t *testing.T) {
	kernel := &faulty{}
	kernel.interrupts.Store(50)
	l, err := newLoop(kernel, onEpoll)
	must(t, err)
	var timer Request
	const delay = 5 * time.Millisecond
	start := l.Now()
	must(t, l.StartTimer(&timer, delay, 0, func(*Request) {
		if l.Now()-start < delay {
			t.Error("fired early")
		}
	}))
	must(t, l.Run())
	if kernel.interrupts.Load() >= 0 {
		t.Error("no wait was interrupted")
	}
	must(t, l.Close())
}

func TestAPanicInTheEngineBreaksTheLoopAndNothingElse(t *testing.T) {
	l := &Loop{boxes: make([]request.Mailbox, 1)}
	engine, errno := newEngine(&broken{}, Config{
		Threads: 1, BlockingThreads: 8, Backend: BackendEpoll,
		Host: program{l}, Shared: &l.shared, Mailboxes: l.boxes, Contain: true,
	})
	must(t, sys.Error(errno))
	l.engine = engine
	var timer, other Request
	must(t, l.StartTimer(&timer, time.Hour, 0, nil))
	if err := l.Run(); !errors.Is(err, syscall.ENOTRECOVERABLE) {
		t.Fatalf("run: %v", err)
	}
	for name, err := range map[string]error{
		"run":    l.Run(),
		"close":  l.Close(),
		"submit": l.OnNextTick(&other, nil),
	} {
		if !errors.Is(err, syscall.ENOTRECOVERABLE) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// broken is an operating system whose epoll instance was closed by somebody else.
type broken struct{ sys.Linux }

func (broken) EpollWait(int, []sys.EpollEvent, int64) int64 { return sys.EBADF }
