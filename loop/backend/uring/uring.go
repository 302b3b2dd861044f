package uring

import (
	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/backend/pool"
	"github.com/libloop/libloop/loop/internal/fdtable"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

const (
	submissions = 256
	completions = 1024
	pauseMs     = 1 // before the kernel is asked again after it refused everything
)

// opcodes are what the kernel must know.
var opcodes = []uint8{
	sys.RingOpPollAdd, sys.RingOpAsyncCancel, sys.RingOpOpenat, sys.RingOpClose,
	sys.RingOpRead, sys.RingOpReadv, sys.RingOpWrite, sys.RingOpWritev,
	sys.RingOpAccept, sys.RingOpConnect, sys.RingOpReceive, sys.RingOpReceiveMsg,
	sys.RingOpSend, sys.RingOpSendMessage,
}

// Backend implements backend.Backend.
type Backend struct {
	kernel sys.Kernel
	sink   backend.Sink
	pool   *pool.Pool

	ring   *ring
	wakeFd int
	bound  bool   // to the thread that attaches first
	driver int64  // the thread that attached last
	wakeID uint64 // what completions of the present wake poll carry, above the tag
	waking bool   // the wake poll is armed, or will be by the next enter
	eager  bool   // the last look found something: the next one may, too
	behind bool   // the kernel refused something that does not wait in its queue: no time to sleep

	table       fdtable.Table[entry]
	others      entry        // of requests that are about no descriptor
	backlog     request.List // what found no place in the submission queue
	closing     request.List // closes for the pool, behind what the kernel has not taken yet
	owesCancels bool         // cancels found none
	splices     int          // those that the kernel, the backlog or the pool has
	bundles     []*backend.Bundle
	bundlesUsed int // those that are submitted, or will be
	direct      backend.Direct
	groups      [request.PoolSlots]*group // rings of buffers, by the slots of the pools that they serve
	used        []*group                  // those that receives in flight use
	noSignal    uint32                    // RwfNosignal, until the kernel says that it does not know it
}

// entry is what is known of one descriptor number.
type entry struct {
	inFlight request.List // what the kernel has
	queue    request.List // writes that wait for others to end
	readers  request.List // reads that wait for another one to end
	reads    int          // those at the current position that the kernel or the backlog has
	writes   int          // the same of writes, apart from the bundle; and what the pool has to send
	bundled  int          // how many of the queue are in the bundle that the kernel has
	alone    bool         // the next write must not go in a bundle
	closings uint32       // counts loop_close; a watch that began before one does not resume
	seekable bool         // a look said so,
	direct   bool         // and that transfers bypass the page cache
	socket   bool         // a look said so
	looked   bool         // for `file`, since the last loop_close
	file     bool         // transfers at the current position move that
}

var _ backend.Backend = (*Backend)(nil)

// New makes a ring and its wake descriptor, and tries them. fileThreads is the most threads of the kernel
// that may work on files for it. bound says that one thread alone will ever attach. A negative errno says
// what could not be had.
func New(kernel sys.Kernel, sink backend.Sink, pool *pool.Pool, fileThreads int, bound bool) (
	*Backend, int64,
) {
	b := &Backend{kernel: kernel, sink: sink, pool: pool, wakeFd: -1, noSignal: sys.RwfNosignal, bound: bound}
	b.direct = backend.NewDirect(kernel)
	flags := uint32(sys.RingCoop)
	if bound {
		flags = sys.RingSingle | sys.RingDeferred | sys.RingDisabled
	}
	ring, errno := openRing(kernel, submissions, completions, flags)
	if errno < 0 {
		return nil, errno
	}
	b.ring = ring
	if errno = b.prepare(fileThreads); errno < 0 {
		b.Close()
		return nil, errno
	}
	return b, 0
}

func (b *Backend) prepare(fileThreads int) int64 {
	if !b.kernel.RingSupports(b.ring.fd, opcodes...) {
		return sys.ENOSYS
	}
	if errno := b.kernel.RingLimitThreads(b.ring.fd, uint32(fileThreads)); errno < 0 {
		return errno
	}
	wakeFd := b.kernel.EventCreate()
	if wakeFd < 0 {
		return wakeFd
	}
	b.wakeFd = int(wakeFd)
	errno := b.ring.enter(0, 0) // a sandbox may allow the other calls and not this one
	if errno == sys.EBADFD && b.bound {
		return 0 // Attach will enable it
	}
	return min(0, errno)
}

// Name implements backend.Backend.
func (b *Backend) Name() string { return "io_uring" }

// Attach implements backend.Backend. Completions of the wake poll are made by the thread that armed it, so
// the one that is to be woken arms it.
func (b *Backend) Attach() {
	thread := b.kernel.ThreadID()
	if thread == b.driver {
		return
	}
	if b.bound && b.driver == 0 {
		b.kernel.RingEnable(b.ring.fd) // when that fails, so does the first enter
	}
	b.driver = thread
	b.waking = false
}

// Resume implements backend.Backend.
func (b *Backend) Resume(r *request.Request) {
	e := b.table.Find(r.Fd)
	cancelled := r.Marked(request.MarkCancel) || r.Generation != e.closings
	switch {
	case r.Op == request.OpReceive:
		b.resumePooled(r, cancelled)
	case r.Op == request.OpWatch && r.Events&request.EdgeTriggered != 0:
		b.resumeEdge(e, r, cancelled)
	case cancelled:
		b.sink.Finish(r, sys.ECANCELED)
	default:
		b.issue(r)
	}
}

// Return implements backend.Backend.
func (b *Backend) Return(r *request.Request) {
	r.Marks &^= request.MarkPooled
	b.countStream(r, -1)
	defer b.continueStream(r)
	switch {
	case r.Op >= request.OpAccept:
		b.returnSocket(r)
	case r.Op == request.OpOpen:
		b.returnOpen(r)
	case r.Result != sys.EAGAIN:
		b.sink.Finish(r, r.Result)
	case r.Op != request.OpRead && r.Op != request.OpWrite:
		b.sink.Finish(r, sys.EBUSY)
	default: // the descriptor is non-blocking, or another reader was faster
		b.awaitReadiness(r)
	}
}

// Cancel implements backend.Backend.
func (b *Backend) Cancel(r *request.Request) {
	switch {
	case r.Marked(request.MarkBacklog):
		b.leaveBacklog(r)
		b.abandon(r)
		b.continueStream(r)
	case r.Marked(request.MarkWaiting):
		b.cancelQueued(b.table.Find(r.Fd), r)
	case r.Marked(request.MarkFileShown): // and thus not with the kernel
		b.unlist(r)
		b.sink.Finish(r, sys.ECANCELED)
	case r.Marked(request.MarkInKernel):
		b.interrupt(r)
	case r.Marked(request.MarkPooled) && b.pool.Cancel(pool.Files, r):
		r.Marks &^= request.MarkPooled
		b.Return(withResult(r, sys.ECANCELED))
	}
}

// abandon ends a request that was cancelled before the kernel had it.
func (b *Backend) abandon(r *request.Request) {
	if r.IsPooled() {
		b.leaveGroup(r)
	}
	b.sink.Finish(r, sys.ECANCELED)
}

func withResult(r *request.Request, result int64) *request.Request {
	r.Result = result
	return r
}

// CancelAll implements backend.Backend. A close goes on: its descriptor is the program's no more.
func (b *Backend) CancelAll() {
	for r := b.backlog.First(); r != nil; r = b.backlog.First() {
		b.Cancel(r)
	}
	b.table.Each(b.cancelEntry)
	b.cancelEntry(&b.others)
}

func (b *Backend) cancelEntry(e *entry) {
	for r := e.readers.First(); r != nil; r = e.readers.First() {
		b.cancelQueued(e, r)
	}
	for r := e.queue.First(); r != nil; {
		next := r.Next
		r.Marks |= request.MarkCancel
		b.cancelQueued(e, r)
		r = next
	}
	for r := e.inFlight.First(); r != nil; {
		next := r.Next
		if r.Op != request.OpClose {
			r.Marks |= request.MarkCancel
			b.Cancel(r)
		}
		r = next
	}
}

// Modify implements backend.Backend. Where the kernel has to know, the poll of the watch ends with a
// cancellation that nobody asked for, and so begins again, with the new events.
func (b *Backend) Modify(r *request.Request, events uint32) {
	asked := events&backend.DirectionEvents | r.Events&request.EdgeTriggered
	r.Mode &^= asked &^ r.Events // what is asked for anew is looked at anew
	r.Events = asked
	if r.Marked(request.MarkInKernel) && !armedFor(r) {
		b.interrupt(r)
	}
}

// Flush implements backend.Backend.
func (b *Backend) Flush() (expectant bool) {
	if !b.waking {
		b.armWake()
	}
	for r := b.backlog.First(); r != nil && b.ring.unsubmitted() <= b.ring.sqMask; r = b.backlog.First() {
		b.leaveBacklog(r)
		b.issue(r)
	}
	if b.owesCancels {
		b.payCancels()
	}
	for _, g := range b.used {
		g.refill()
	}
	b.tryLone()
	b.ring.publish()
	b.handClosing()
	b.behind = !b.waking || b.owesCancels || !b.backlog.Empty()
	return b.behind || b.ring.unsubmitted() > 0 || b.ring.ready() > 0 || b.ring.owing()
}

// Submit implements backend.Backend.
func (b *Backend) Submit() bool {
	if b.ring.published() > 0 {
		b.ring.enter(0, 0)
	}
	return !b.behind && b.ring.published() == 0
}

// Wait implements backend.Backend. After a look that found something it looks before it waits, for a look
// does not pass through the scheduler of the Go runtime.
func (b *Backend) Wait(timeoutNs int64) int64 {
	errno := int64(0)
	if timeoutNs == 0 || b.eager || b.behind || b.ring.ready() > 0 {
		errno = b.look()
	}
	if timeoutNs != 0 && b.ring.ready() == 0 && !b.behind {
		errno = b.ring.enter(1, timeoutNs)
	}
	b.eager = b.ring.ready() > 0
	switch {
	case errno >= 0:
		return 0
	case errno != sys.EAGAIN && errno != sys.EBUSY && errno != sys.ENOMEM && errno != sys.EINVAL:
		return errno
	case timeoutNs != 0 && !b.eager:
		b.kernel.Poll(nil, pauseMs)
	}
	return 0
}

// look submits what there is and has the kernel make the completions that it can. Those that only another
// thread can make, because it submitted them, it is made to: it is busy elsewhere.
func (b *Backend) look() (errno int64) {
	if b.ring.published() == 0 && !b.ring.owing() {
		return 0
	}
	errno = b.ring.enter(0, 0)
	if b.ring.stuck() {
		b.kernel.InterruptThreads()
	}
	return errno
}

// Descriptor implements backend.Backend.
func (b *Backend) Descriptor() int { return b.ring.fd }

// WakeDescriptor implements backend.Backend.
func (b *Backend) WakeDescriptor() int { return b.wakeFd }

// Statistics implements backend.Backend. Completions are never stale, and poll(2) has no part in them.
func (b *Backend) Statistics() (stale, fallbacks uint64) { return 0, 0 }

// Close implements backend.Backend.
func (b *Backend) Close() {
	b.ring.close()
	for _, g := range b.groups {
		if g != nil {
			b.kernel.RingUnmap(g.memory.address, g.memory.length)
		}
	}
	if b.wakeFd >= 0 {
		b.kernel.Close(b.wakeFd, false)
	}
}
