package main

/*
#cgo CFLAGS: -std=gnu11 -O2 -Wall -Wextra -fvisibility=hidden -I${SRCDIR}/../include -DLOOP_BUILDING
#cgo LDFLAGS: -lpthread
#include "layout.h"
*/
import "C"

import (
	"runtime"
	"runtime/debug"
	"unsafe"

	"github.com/mattn/go-pointer"

	_ "github.com/libloop/libloop/include" // so that the build cache knows the header
	"github.com/libloop/libloop/loop"
	"github.com/libloop/libloop/loop/request"
)

func main() {}

// The runtime gets more processors than the machine has: a thread in a callback or a system call keeps
// one for a while, and while all are kept so, other threads of the engine wait and the runtime's monitor
// takes them away by force. A processor is some KiB of bookkeeping, not a thread.
func init() { runtime.GOMAXPROCS(max(4, 2*runtime.NumCPU())) }

// ballast is memory that nothing touches, so that it costs addresses and no memory. It makes the heap look so
// large that the little garbage of the engine never is a tenth of it: that much free memory would have the
// runtime give some back to the system, at a pace, by a timer; and the first timer of a process makes the
// runtime open an epoll instance and an eventfd for good. A host which closes all the descriptors that it
// does not know, as daemons do, would close these, too, and the runtime would end the process.
var ballast = make([]byte, ballastBytes)

const ballastBytes = 64 << 20

// A collection is due after 2.6 MB.
func init() { debug.SetGCPercent(4) }

// host is the C program, as the engine sees it.
type host struct {
	loop *C.loop_t
}

// Deliver implements loop.Host.
func (h host) Deliver(worker int) int {
	return int(C.capi_deliver(h.loop, C.uint32_t(worker)))
}

// DeliverRing implements loop.Host.
func (h host) DeliverRing(worker, from int) int {
	return int(C.capi_deliver_ring(h.loop, C.uint32_t(worker), C.uint32_t(from)))
}

// Work implements loop.Host.
func (h host) Work(r *request.Request) {
	C.capi_work(inC(r))
}

// Settle implements loop.Host.
func (h host) Settle(proxy, r *request.Request) int64 {
	return int64(C.capi_settle(inC(proxy), inC(r)))
}

// inC is a request as C sees it.
func inC(r *request.Request) *C.struct_request { return (*C.struct_request)(unsafe.Pointer(r)) }

// with calls an engine method for the program. Whatever goes wrong in it ends here: a panic must not reach C,
// and an engine that loop_deinit ended a moment ago is no engine any more.
func with(handle unsafe.Pointer, call func(*loop.Engine) int64) (result int64) {
	loop.DeepenStack()
	e, ok := pointer.Restore(handle).(*loop.Engine)
	if !ok {
		return C.LOOP_ESHUTDOWN
	}
	defer e.Contained(&result)
	return call(e)
}

// visit is with for calls that do not run the loop.
func visit(handle unsafe.Pointer, call func(*loop.Engine) int64) int64 {
	return with(handle, func(e *loop.Engine) int64 {
		return e.Visit(func() int64 { return call(e) })
	})
}

//export engineOpen
func engineOpen(l *C.loop_t, options *C.loop_options_t) C.int {
	threads := int(options.threads)
	mailboxes := unsafe.Add(unsafe.Pointer(l), C.sizeof_struct_loop)
	e, errno := loop.NewEngine(loop.Config{
		Threads:         threads,
		BlockingThreads: int(options.blocking_threads),
		Backend:         loop.BackendChoice(options.backend),
		ThreadBound:     bool(l.bound),
		Host:            host{l},
		Shared:          (*request.Shared)(unsafe.Pointer(&l.shared)),
		Mailboxes:       unsafe.Slice((*request.Mailbox)(mailboxes), threads),
		Contain:         true,
	})
	if errno < 0 {
		return C.int(errno)
	}
	l.engine = pointer.Save(e)
	l.uses_ring = C.bool(e.BackendName() == "io_uring")
	return 0
}

//export engineRun
func engineRun(handle unsafe.Pointer) C.int { return C.int(with(handle, (*loop.Engine).Run)) }

//export engineRunOnce
func engineRunOnce(handle unsafe.Pointer, timeoutNs C.int64_t) C.int {
	return C.int(with(handle, func(e *loop.Engine) int64 { return e.RunOnce(int64(timeoutNs)) }))
}

//export engineWait
func engineWait(handle unsafe.Pointer, timeoutNs C.int64_t) C.int {
	return C.int(with(handle, func(e *loop.Engine) int64 { return e.Wait(int64(timeoutNs)) }))
}

//export engineClose
func engineClose(handle unsafe.Pointer) C.int {
	errno := with(handle, (*loop.Engine).Close)
	if errno == 0 {
		pointer.Unref(handle)
	}
	return C.int(errno)
}

//export engineWithdraw
func engineWithdraw(handle unsafe.Pointer, r *C.struct_request, ownThread C.bool) C.int {
	return C.int(visit(handle, func(e *loop.Engine) int64 {
		if e.Withdraw((*request.Request)(unsafe.Pointer(r)), bool(ownThread)) {
			return 0
		}
		return C.LOOP_ENOENT
	}))
}

//export engineSocket
func engineSocket(handle unsafe.Pointer, domain, kind, protocol C.int) C.int {
	return C.int(visit(handle, func(e *loop.Engine) int64 {
		return e.Socket(int(domain), int(kind), int(protocol))
	}))
}

//export engineBackendDescriptor
func engineBackendDescriptor(handle unsafe.Pointer) C.int {
	return C.int(visit(handle, (*loop.Engine).BackendDescriptor))
}

//export engineBackendTimeout
func engineBackendTimeout(handle unsafe.Pointer) C.int64_t {
	return C.int64_t(visit(handle, (*loop.Engine).BackendTimeout))
}

//export engineStatistics
func engineStatistics(handle unsafe.Pointer, out *C.loop_statistics_t) C.int {
	return C.int(visit(handle, func(e *loop.Engine) int64 {
		readStatistics(e, out)
		return 0
	}))
}

func readStatistics(e *loop.Engine, out *C.loop_statistics_t) {
	s := e.Statistics()
	out.blocking_threads = C.uint32_t(s.BlockingThreads)
	out.completions = C.uint64_t(s.Completions)
	out.turns = C.uint64_t(s.Turns)
	out.sleeps = C.uint64_t(s.Sleeps)
	out.deliveries = C.uint64_t(s.Deliveries)
	out.wakes = C.uint64_t(s.Wakes)
	out.stale_events = C.uint64_t(s.StaleEvents)
	out.poll_fallbacks = C.uint64_t(s.PollFallbacks)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	out.heap_objects = C.uint64_t(memory.Mallocs)
}
