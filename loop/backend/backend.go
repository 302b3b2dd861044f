// Package backend is the contract between a worker and the kernel interface that serves it.
//
// The contract speaks of requests and completions, not of readiness, so that readiness interfaces (epoll,
// kqueue) and completion interfaces (io_uring, IOCP) fit it alike. Each worker has an instance of its own.
// All methods but Wait are called with the worker's lock held, all by the worker's thread, unless noted.
package backend

import "github.com/libloop/libloop/loop/request"

// Sink receives results. The worker implements it.
type Sink interface {
	// Finish ends a request that was started. The backend must not touch it any more.
	Finish(r *request.Request, result int64)
	// Shoot delivers one result of a multishot request. The backend must not touch it until Resume.
	Shoot(r *request.Request, result int64)
}

// Backend serves the operations of one worker that concern descriptors and files.
type Backend interface {
	// Name names the kernel interface.
	Name() string

	// Attach says that the calling thread drives the backend from now on, until another one does.
	Attach()

	// Start begins an operation: OpWait, OpWatch, OpOpen, OpClose, OpRead, OpWrite or OpAccess. The backend
	// gives it to Sink.Finish exactly once, now or later.
	Start(r *request.Request)
	// Resume continues a multishot request whose shot was delivered.
	Resume(r *request.Request)
	// Return takes back a request that the blocking pool is done with; its result is in r.Result.
	Return(r *request.Request)
	// Cancel asks for the early end of a request that was started and is not on its way out. The backend
	// may know better; then its result comes as usual.
	Cancel(r *request.Request)
	// CancelAll cancels all that waits in the backend.
	CancelAll()
	// Modify changes the events of an OpWatch.
	Modify(r *request.Request, events uint32)

	// Flush hands to the kernel what was started since the last call, as far as that was put off. It reports
	// whether the kernel might have something to say, so that a look is worth a system call.
	Flush() (expectant bool)
	// Submit makes sure that what Flush handed over is with the kernel, and reports whether it is. Wait does
	// so by itself.
	Submit() bool
	// Wait waits for the kernel, at most timeoutNs (0: not at all, < 0: no limit), and remembers what it
	// said. It is called without the lock, and returns a negative errno when the kernel interface is
	// broken.
	Wait(timeoutNs int64) int64
	// Collect passes on what Wait remembered.
	Collect()

	// Descriptor is readable when Wait would return at once.
	Descriptor() int
	// WakeDescriptor makes Wait return when it is signalled; see sys.Kernel.EventSignal.
	WakeDescriptor() int
	// Statistics returns how many events were stale, and how many waits fell back to poll(2). Any thread.
	Statistics() (stale, fallbacks uint64)
	// Close frees what the backend holds. Nothing is in flight.
	Close()
}
