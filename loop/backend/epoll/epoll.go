package epoll

import (
	"sync/atomic"

	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/backend/pool"
	"github.com/libloop/libloop/loop/internal/fdtable"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

const (
	batchSize = 256
	wakeTag   = ^uint64(0) // event data of the wake descriptor
)

// Backend implements backend.Backend.
type Backend struct {
	kernel sys.Kernel
	sink   backend.Sink
	pool   *pool.Pool

	epfd, wakeFd int
	table        fdtable.Table[entry]
	fresh        []*entry // entries with writes that were not tried yet
	bundle       backend.Bundle
	unarmed      []*entry // entries whose registration must be renewed before the next wait
	splices      int      // those that wait
	waiters      int      // requests in waiter lists, and edge-triggered watches between two shots

	events    [batchSize]sys.EpollEvent
	collected int  // events that Wait left for Collect
	crowded   bool // the last Wait found several

	probe    probe
	direct   backend.Direct
	fallback *pollSet // nil until epoll is out of watches

	stale, fallbacks atomic.Uint64
}

var _ backend.Backend = (*Backend)(nil)

// New makes an epoll instance and its wake descriptor. A negative errno says what could not be had.
func New(kernel sys.Kernel, sink backend.Sink, pool *pool.Pool) (*Backend, int64) {
	b := &Backend{kernel: kernel, sink: sink, pool: pool, epfd: -1, wakeFd: -1}
	b.direct = backend.NewDirect(kernel)
	epfd := kernel.EpollCreate()
	if epfd < 0 {
		return nil, epfd
	}
	b.epfd = int(epfd)
	wakeFd := kernel.EventCreate()
	if wakeFd < 0 {
		b.Close()
		return nil, wakeFd
	}
	b.wakeFd = int(wakeFd)
	errno := kernel.EpollControl(b.epfd, sys.EpollAdd, b.wakeFd, sys.EpollIn|sys.EpollEdge, wakeTag)
	if errno < 0 {
		b.Close()
		return nil, errno
	}
	return b, 0
}

// Name implements backend.Backend.
func (b *Backend) Name() string { return "epoll" }

// Attach implements backend.Backend. To epoll one thread is like another.
func (b *Backend) Attach() {}

// Start implements backend.Backend.
func (b *Backend) Start(r *request.Request) {
	switch r.Op {
	case request.OpWait, request.OpWatch:
		b.startWait(r)
	case request.OpRead, request.OpWrite:
		b.startTransfer(r)
	case request.OpClose:
		b.startClose(r)
	case request.OpOpen, request.OpAccess:
		b.block(r)
	case request.OpCancelFd:
		b.sink.Finish(r, b.cancelFd(r.Fd))
	default:
		b.startSocket(r)
	}
}

// Resume implements backend.Backend.
func (b *Backend) Resume(r *request.Request) {
	if r.Op == request.OpWatch {
		b.resumeWatch(r)
	} else {
		b.resumeShots(r)
	}
}

// Return implements backend.Backend.
func (b *Backend) Return(r *request.Request) {
	b.leavePool(r)
	if r.Op >= request.OpAccept {
		b.returnSocket(r)
		return
	}
	if r.Result != sys.EAGAIN {
		b.sink.Finish(r, r.Result)
		return
	}
	if r.Op != request.OpRead && r.Op != request.OpWrite {
		b.sink.Finish(r, sys.EBUSY) // open with O_NONBLOCK of a file that is leased
		return
	}
	// The descriptor is non-blocking, or another reader was faster; or it is being closed.
	e := b.table.Find(r.Fd)
	if r.Marked(request.MarkCancel) || r.Generation != e.closings {
		b.sink.Finish(r, sys.ECANCELED)
		return
	}
	r.Marks |= request.MarkBlocked
	b.await(e, r)
}

// Cancel implements backend.Backend.
func (b *Backend) Cancel(r *request.Request) {
	switch {
	case r.Marked(request.MarkWaiting):
		b.forget(b.table.Find(r.Fd), r)
		b.sink.Finish(r, sys.ECANCELED)
	case r.Marked(request.MarkPooled) && b.pool.Cancel(pool.Files, r):
		b.leavePool(r)
		b.endPooled(r)
	}
}

// endPooled ends a request that was cancelled before the pool began with it.
func (b *Backend) endPooled(r *request.Request) {
	if r.IsSocketShots() {
		b.endWatch(b.table.Find(r.Fd), r)
	}
	b.sink.Finish(r, sys.ECANCELED)
}

// CancelAll implements backend.Backend.
func (b *Backend) CancelAll() {
	b.table.Each(b.cancelWaiters)
}

// Flush implements backend.Backend.
func (b *Backend) Flush() (expectant bool) {
	b.makeWrites()
	for i := 0; i < len(b.unarmed); i++ { // arm may append: entries that need to be silenced
		e := b.unarmed[i]
		e.queued = false
		b.arm(e)
	}
	b.unarmed = b.unarmed[:0]
	return b.waiters > 0
}

// Submit implements backend.Backend.
func (b *Backend) Submit() bool { return true }

// Wait implements backend.Backend. After several events at once the next ones are likely to be there
// already: it then looks before it waits, for a look does not pass through the scheduler of the Go runtime.
func (b *Backend) Wait(timeoutNs int64) int64 {
	n := int64(0)
	if timeoutNs == 0 || b.crowded {
		n = b.kernel.EpollWait(b.epfd, b.events[:], 0)
	}
	if timeoutNs != 0 && n == 0 {
		n = b.kernel.EpollWait(b.epfd, b.events[:], timeoutNs)
	}
	b.crowded = n > 1
	b.collected = int(max(n, 0))
	return min(n, 0)
}

// Collect implements backend.Backend.
func (b *Backend) Collect() {
	for i := range b.collected {
		event := &b.events[i]
		data := sys.EventData(event)
		if data == wakeTag {
			continue
		}
		e := b.table.Find(int64(int32(uint32(data))))
		if e == nil || e.generation != uint32(data>>32) {
			b.stale.Add(1)
			continue
		}
		if !e.edge() {
			e.armed = 0
		}
		b.serve(e, event.Events)
	}
	b.collected = 0
	if b.fallback != nil {
		b.collectFallback()
	}
}

// Descriptor implements backend.Backend.
func (b *Backend) Descriptor() int { return b.epfd }

// WakeDescriptor implements backend.Backend.
func (b *Backend) WakeDescriptor() int { return b.wakeFd }

// Statistics implements backend.Backend.
func (b *Backend) Statistics() (stale, fallbacks uint64) { return b.stale.Load(), b.fallbacks.Load() }

// Close implements backend.Backend.
func (b *Backend) Close() {
	if b.fallback != nil {
		b.fallback.close()
	}
	for _, fd := range []int{b.wakeFd, b.epfd} {
		if fd >= 0 {
			b.kernel.Close(fd, false)
		}
	}
}

// block hands an operation to the pool. If others have to come after it, they wait.
func (b *Backend) block(r *request.Request) {
	r.Marks |= request.MarkPooled
	if comesFirst(r) {
		b.table.Find(r.Fd).busy[directionOf(r)] = true
	}
	r.TellPool()
	b.pool.Submit(pool.Files, r)
}

// blockIfReady does so with what is worth a blocking thread only while its descriptor is ready.
func (b *Backend) blockIfReady(r *request.Request) {
	r.Marks |= request.MarkReady
	b.block(r)
}

// leavePool says that the pool is done with a request, or gave it up.
func (b *Backend) leavePool(r *request.Request) {
	r.Marks &^= request.MarkPooled
	if !comesFirst(r) {
		return
	}
	r.Marks &^= request.MarkReady
	e, d := b.table.Find(r.Fd), directionOf(r)
	e.busy[d] = false
	if d == writing {
		b.refresh(e)
	} else {
		b.renew(e)
	}
}

// comesFirst reports whether the other transfers in its direction wait while the pool has an operation.
func comesFirst(r *request.Request) bool {
	isSend := r.Op >= request.OpAccept && r.IsStreamWrite()
	return isSend || r.Marked(request.MarkReady)
}
