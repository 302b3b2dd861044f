package sys

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Thread is an operating system thread of the engine's own: a loop thread or one of the blocking pool.
type Thread struct {
	id atomic.Int32
}

// firstThread is the thread that the runtime began with; package initialisation runs on it. It is the one
// thread that does not end with the goroutine that is locked to it: the runtime parks it for ever.
var firstThread = unix.Gettid()

// StartThread runs a function on a thread of its own, which ends with it. The name shows in ps and debuggers
// (15 bytes at most).
func StartThread(name string, run func()) *Thread {
	t := &Thread{}
	go t.begin(name, run, func() {})
	return t
}

// begin takes a thread and keeps it: the thread ends with the goroutine that is locked to it. On the first
// thread it begins again while it occupies that one, so that it gets another.
func (t *Thread) begin(name string, run, begun func()) {
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

// Join waits until the thread is gone. Call it once run is about to return, or it waits that long.
func (t *Thread) Join() {
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

// Gone reports whether the thread has ended.
func (t *Thread) Gone() bool {
	return unix.Tgkill(unix.Getpid(), int(t.id.Load()), 0) != nil
}

func setThreadName(name string) {
	if bytes, err := unix.BytePtrFromString(name); err == nil {
		unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(bytes)), 0, 0, 0)
	}
}
