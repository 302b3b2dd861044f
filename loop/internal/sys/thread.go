package sys

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// thread is a thread of Linux.
type thread struct {
	id atomic.Int32
}

// firstThread is the thread that the runtime began with; package initialisation runs on it. It is the one
// thread that does not end with the goroutine that is locked to it: the runtime parks it for ever.
var firstThread = unix.Gettid()

// StartThread implements Kernel.
func (Linux) StartThread(name string, run func()) Thread {
	t := &thread{}
	go t.begin(name, run, func() {})
	return t
}

// begin takes a thread and keeps it: the thread ends with the goroutine that is locked to it. On the first
// thread it begins again while it occupies that one, so that it gets another.
func (t *thread) begin(name string, run, begun func()) {
	runtime.LockOSThread()
	if unix.Gettid() == firstThread {
		elsewhere := make(chan struct{})
		go t.begin(name, run, func() { close(elsewhere) })
		<-elsewhere
		runtime.UnlockOSThread()
		return
	}
	begun()
	setThreadName(name)
	t.id.Store(int32(unix.Gettid()))
	run()
}

// Join implements Thread.
func (t *thread) Join() {
	for t.id.Load() == 0 {
		runtime.Gosched()
	}
	for wait := int64(10_000); !t.Gone(); {
		pause := unix.NsecToTimespec(wait)
		unix.Nanosleep(&pause, nil)
		if wait < 1_000_000 {
			wait *= 2
		}
	}
}

// Gone implements Thread.
func (t *thread) Gone() bool {
	return unix.Tgkill(unix.Getpid(), int(t.id.Load()), 0) != nil
}

func setThreadName(name string) {
	if bytes, err := unix.BytePtrFromString(name); err == nil {
		unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(bytes)), 0, 0, 0)
	}
}
