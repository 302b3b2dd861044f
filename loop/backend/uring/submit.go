package uring

import (
	"unsafe"

	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/backend/pool"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// What a completion carries: the address of its request, or in the lowest bits one of these.
const (
	tagWake   = 1 // the wake poll; above it its number
	tagCancel = 2 // a cancel that changed nothing
	tagBundle = 3 // a bundle of writes; above it the descriptor
	tagMask   = 7
)

func userData(r *request.Request) uint64 { return uint64(uintptr(unsafe.Pointer(r))) }

// requestOf is the inverse of userData. The request is in one of our lists, so it is where it was.
func requestOf(userData uint64) *request.Request {
	return (*request.Request)(request.Pointer(uintptr(userData)))
}

// Start implements backend.Backend.
func (b *Backend) Start(r *request.Request) {
	switch r.Op {
	case request.OpAccess:
		b.block(r)
	case request.OpOpen:
		b.issue(r)
	default:
		b.startOnDescriptor(r)
	}
}

func (b *Backend) startOnDescriptor(r *request.Request) {
	e := b.table.Find(r.Fd)
	if e == nil {
		if !b.kernel.IsOpen(int(r.Fd)) {
			b.sink.Finish(r, sys.EBADF)
			return
		}
		e = b.table.Get(r.Fd)
	}
	if r.Op == request.OpCancelFd {
		n, _ := b.cancelFd(e, r.Fd)
		b.sink.Finish(r, n)
		return
	}
	if errno := b.check(e, r); errno < 0 {
		b.sink.Finish(r, errno)
		return
	}
	r.Generation = e.closings
	if r.Op == request.OpWatch {
		r.Length = 0 // the latch of an edge-triggered watch
	}
	switch {
	case r.Op == request.OpClose:
		b.startClose(e, r)
	case r.IsStreamWrite():
		b.startWrite(e, r)
	case r.IsStreamRead():
		b.startRead(e, r)
	default:
		b.issue(r)
	}
}

// cancelFd cancels all that is on a descriptor, and returns how many requests that were, apart from those
// between two shots. Those on which a thread of the pool is at work go on.
func (b *Backend) cancelFd(e *entry, fd int64) (n int64, pooled bool) {
	queued, pooled := b.pool.CancelFd(fd)
	if b.splices > 0 {
		b.table.Each(func(e *entry) { n += b.cancelSplices(e, fd) })
	}
	n += e.readers.Len() + e.queue.Len() + e.inFlight.Len()
	b.cancelEntry(e) // first what queues, or it would follow what leaves the pool and the backlog
	for r := queued.Pop(); r != nil; r = queued.Pop() {
		b.Return(withResult(r, sys.ECANCELED))
		n++
	}
	for r := b.backlog.First(); r != nil; {
		next := r.Next
		if r.Op != request.OpOpen && r.Fd == fd {
			b.Cancel(r)
			n++
		}
		r = next
	}
	e.closings++
	return n, pooled
}

// check finds what is wrong with the operands of a request before the kernel sees them.
func (b *Backend) check(e *entry, r *request.Request) int64 {
	switch r.Op {
	case request.OpWait, request.OpWatch:
		if r.Events&^backend.KnownEvents != 0 {
			return sys.EINVAL
		}
	case request.OpClose:
	case request.OpRead, request.OpWrite:
		if errno := backend.CheckTransfer(r); errno < 0 {
			return errno
		}
		if r.Offset >= 0 && !e.seekable {
			if b.tryNothing(r) == sys.ESPIPE {
				return sys.ESPIPE
			}
			e.seekable, e.direct = true, b.kernel.IsDirect(int(r.Fd))
		}
	default:
		return b.checkSocket(e, r)
	}
	return 0
}

// tryNothing makes a transfer of no bytes at an offset.
func (b *Backend) tryNothing(r *request.Request) int64 {
	const noVector, noCount = 0, 0
	if r.Op == request.OpRead {
		return b.kernel.ReadNow(int(r.Fd), noVector, noCount, 0)
	}
	return b.kernel.WriteNow(int(r.Fd), noVector, noCount, 0)
}

// startClose ends what is on a descriptor, and closes it.
func (b *Backend) startClose(e *entry, r *request.Request) {
	_, pooled := b.cancelFd(e, r.Fd)
	e.seekable, e.socket, e.looked = false, false, false
	if pooled {
		b.closing.Push(r)
	} else {
		b.issue(r)
	}
}

// handClosing hands the pool its closes when the kernel has taken all submissions. A pool that is faster
// would have those before the close meet what has got the number of the descriptor since.
func (b *Backend) handClosing() {
	if b.ring.unsubmitted() > 0 {
		return
	}
	for r := b.closing.Pop(); r != nil; r = b.closing.Pop() {
		b.block(r)
	}
}

// issue hands a request to the kernel, or to the backlog when the kernel takes no more.
func (b *Backend) issue(r *request.Request) {
	if !r.Marked(request.MarkBlocked) {
		switch {
		case isDirect(r):
			b.attempt(r)
			return
		case b.movesPosition(r):
			b.transferFile(r)
			return
		}
	}
	sqe := b.ring.next()
	if sqe == nil {
		b.postpone(r)
		return
	}
	sqe.UserData = userData(r)
	b.fill(sqe, r)
	b.list(r)
}

// postpone puts a request in the backlog, and leaveBacklog takes it out.
func (b *Backend) postpone(r *request.Request) {
	r.Marks |= request.MarkBacklog
	b.backlog.Push(r)
	b.countStream(r, 1)
}

func (b *Backend) leaveBacklog(r *request.Request) {
	r.Marks &^= request.MarkBacklog
	b.backlog.Remove(r)
	b.countStream(r, -1)
}

// tryLone makes a read of a file at once, by a call that does not block, if it is all there is to be
// submitted: without company a call is a third faster than a submission and its completion
// (docs/performance.md). What is not in memory, or came out short, is left to the ring.
func (b *Backend) tryLone() {
	if b.ring.unsubmitted() != 1 {
		return
	}
	sqe := b.ring.last()
	if sqe.Opcode != sys.RingOpRead && sqe.Opcode != sys.RingOpReadv || int64(sqe.Offset) < 0 {
		return
	}
	r := requestOf(sqe.UserData)
	if b.table.Find(r.Fd).direct {
		return // such a call waits for the device
	}
	n := backend.TransferNow(b.kernel, r)
	if n < 0 || n < r.Bytes() {
		return
	}
	b.ring.takeBack()
	b.unlist(r)
	b.sink.Finish(r, n)
}

// list and unlist put a request in the list of what the kernel has on its descriptor, and take it out.
func (b *Backend) list(r *request.Request) {
	e := b.entryOf(r)
	r.Marks |= request.MarkInKernel
	e.inFlight.Push(r)
	b.countStream(r, 1)
}

func (b *Backend) unlist(r *request.Request) {
	e := b.entryOf(r)
	r.Marks &^= request.MarkInKernel
	e.inFlight.Remove(r)
	b.countStream(r, -1)
}

// countStream keeps the number of reads and writes that those behind them on their descriptor wait for, and
// of splices.
func (b *Backend) countStream(r *request.Request, change int) {
	if r.Op == request.OpSplice {
		b.splices += change
	} else if r.IsStreamWrite() {
		b.table.Find(r.Fd).writes += change
	} else if r.IsStreamRead() {
		b.table.Find(r.Fd).reads += change
	}
}

func (b *Backend) entryOf(r *request.Request) *entry {
	if r.Op == request.OpOpen {
		return &b.others
	}
	return b.table.Find(r.Fd)
}

// fill translates a request.
func (b *Backend) fill(sqe *sys.RingSqe, r *request.Request) {
	sqe.Fd = int32(r.Fd)
	switch r.Op {
	case request.OpWait:
		sqe.Opcode, sqe.OpFlags = sys.RingOpPollAdd, pollEvents(r.Events)
	case request.OpWatch:
		sqe.Opcode, sqe.OpFlags = sys.RingOpPollAdd, pollEvents(r.Events)
		if r.Events&request.EdgeTriggered != 0 {
			sqe.Length = sys.RingPollMulti
			r.Mode = r.Events
			r.Marks |= request.MarkArmed
		}
	case request.OpRead, request.OpWrite:
		if r.Marked(request.MarkBlocked) {
			sqe.Opcode, sqe.OpFlags = sys.RingOpPollAdd, transferEvents(r)
		} else {
			b.fillTransfer(sqe, r)
		}
	case request.OpOpen:
		sqe.Opcode = sys.RingOpOpenat
		sqe.Address, sqe.Length, sqe.OpFlags = uint64(r.Address), r.Mode, uint32(r.Length)
	case request.OpClose:
		sqe.Opcode = sys.RingOpClose
	default:
		b.fillSocket(sqe, r)
	}
}

func (b *Backend) fillTransfer(sqe *sys.RingSqe, r *request.Request) {
	sqe.Address, sqe.Offset = uint64(r.Address), uint64(r.Offset)
	sqe.Length = uint32(min(r.Length, request.CallMost)) // the field has 32 bits
	switch {
	case r.Op == request.OpRead && r.Vector:
		sqe.Opcode = sys.RingOpReadv
	case r.Op == request.OpRead:
		sqe.Opcode = sys.RingOpRead
	case r.Vector:
		sqe.Opcode, sqe.OpFlags = sys.RingOpWritev, b.noSignal
	default:
		sqe.Opcode, sqe.OpFlags = sys.RingOpWrite, b.noSignal
	}
}

// pollEvents returns what a wait asks of poll. A half close counts as a hang-up.
func pollEvents(events uint32) uint32 {
	asked := uint32(sys.EpollRdHup)
	if events&request.Readable != 0 {
		asked |= sys.EpollIn
	}
	if events&request.Writable != 0 {
		asked |= sys.EpollOut
	}
	return asked
}

// transferEvents returns what to wait for before another try.
func transferEvents(r *request.Request) uint32 {
	switch r.Op {
	case request.OpRead, request.OpAccept:
		return sys.EpollIn | sys.EpollRdHup
	case request.OpReceive:
		switch {
		case r.Mode&sys.MsgErrorQueue != 0:
			return sys.EpollErr
		case r.Mode&sys.MsgOutOfBand != 0:
			return sys.EpollUrgent
		}
		return sys.EpollIn | sys.EpollRdHup
	case request.OpSplice:
		return pollEvents(r.Events)
	}
	return sys.EpollOut
}

// awaitReadiness makes a transfer, which did not get through, wait until it is worth another try.
func (b *Backend) awaitReadiness(r *request.Request) {
	if r.Marked(request.MarkCancel) || r.Generation != b.table.Find(r.Fd).closings {
		b.sink.Finish(r, sys.ECANCELED)
		return
	}
	r.Marks |= request.MarkBlocked
	b.issue(r)
}

// block hands a request to the pool. What queues behind it waits on.
func (b *Backend) block(r *request.Request) {
	b.countStream(r, 1)
	r.Marks |= request.MarkPooled
	r.TellPool()
	b.pool.Submit(pool.Files, r)
}

// interrupt asks the kernel to end a request that it has. Its completion follows, at once or, if the kernel
// cannot interrupt it, in time.
func (b *Backend) interrupt(r *request.Request) {
	if r.Marked(request.MarkCancelSent) {
		return
	}
	target := userData(r)
	if r.Marked(request.MarkWaiting) {
		target = bundleOf(r.Fd)
	}
	if b.submitCancel(target) {
		r.Marks |= request.MarkCancelSent
	} else {
		b.owesCancels = true
	}
}

// submitCancel asks for the end of the submission that carries this user data; false = there is no place.
func (b *Backend) submitCancel(userData uint64) bool {
	sqe := b.ring.next()
	if sqe == nil {
		return false
	}
	sqe.Opcode, sqe.Flags, sqe.UserData = sys.RingOpAsyncCancel, sys.RingSqeSkipSuccess, tagCancel
	sqe.Address = userData
	return true
}

// payCancels sends the cancels that found no place, and those that change the events of a watch. A watch that
// is interrupted for nothing begins again.
func (b *Backend) payCancels() {
	b.owesCancels = false
	pay := func(e *entry) {
		for r := e.inFlight.First(); r != nil && !b.owesCancels; r = r.Next {
			if r.Marked(request.MarkCancel) || r.Op == request.OpWatch && !armedFor(r) {
				b.interrupt(r)
			}
		}
		r := e.queue.First()
		for i := 0; i < e.bundled; i++ {
			if r.Marked(request.MarkCancel) {
				b.interrupt(e.queue.First())
				break
			}
			r = r.Next
		}
	}
	b.table.Each(pay)
	pay(&b.others)
}

// armWake polls the wake descriptor, for ever. It is never read: each signal makes a completion. The poll
// before it, which another thread armed, ends.
func (b *Backend) armWake() {
	if b.wakeID > 0 && !b.submitCancel(b.wakeID<<3|tagWake) {
		return
	}
	sqe := b.ring.next()
	if sqe == nil {
		return
	}
	b.waking = true
	b.wakeID++
	sqe.Opcode, sqe.Fd = sys.RingOpPollAdd, int32(b.wakeFd)
	sqe.OpFlags, sqe.Length = sys.EpollIn, sys.RingPollMulti
	sqe.UserData = b.wakeID<<3 | tagWake
}
