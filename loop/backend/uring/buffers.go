package uring

import (
	"sync/atomic"
	"unsafe"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// A group is the share of this worker in a pool of buffers, as the kernel sees it: a ring in which we put the
// buffers that are free, and from which it takes one when something has arrived.
//
// The program may end a pool when no receive is in flight; so a group is touched only while some are. That a
// group serves a pool which is gone shows when the next pool comes to its slot.
type group struct {
	pool    *request.BufferPool
	number  uint32 // of the pool
	worker  int
	users   int // receives in flight
	memory  mapping
	buffers []sys.RingBuffer
	tail    uint16
	stocked int // buffers in the ring
}

// joinGroup finds the group of a receive, or makes it.
func (b *Backend) joinGroup(r *request.Request) int64 {
	g := b.groups[r.Pool.Slot]
	if g == nil || g.number != r.Pool.Number {
		b.dropGroup(r.Pool.Slot)
		made, errno := b.openGroup(r.Pool, r.Worker())
		if errno < 0 {
			return errno
		}
		g = made
		b.groups[r.Pool.Slot] = g
	}
	if g.users == 0 {
		b.used = append(b.used, g)
	}
	g.users++
	return 0
}

// leaveGroup says that a receive has ended.
func (b *Backend) leaveGroup(r *request.Request) {
	g := b.groups[r.Pool.Slot]
	g.users--
	if g.users > 0 {
		return
	}
	for i, used := range b.used {
		if used == g {
			b.used[i] = b.used[len(b.used)-1]
			b.used = b.used[:len(b.used)-1]
			return
		}
	}
}

func (b *Backend) openGroup(pool *request.BufferPool, worker int) (*group, int64) {
	entries := uint32(1)
	for entries < pool.Share(worker) {
		entries *= 2
	}
	length := uintptr(entries) * unsafe.Sizeof(sys.RingBuffer{})
	memory, errno := b.kernel.RingMapBuffers(length)
	if errno < 0 { // whatever the call says
		return nil, sys.ENOMEM
	}
	errno = b.kernel.RingRegisterBuffers(b.ring.fd, uint16(pool.Slot), memory, entries)
	if errno < 0 {
		b.kernel.RingUnmap(memory, length)
		return nil, errno
	}
	g := &group{pool: pool, number: pool.Number, worker: worker, memory: mapping{memory, length}}
	g.buffers = unsafe.Slice((*sys.RingBuffer)(request.Pointer(memory)), entries)
	return g, 0
}

func (b *Backend) dropGroup(slot uint32) {
	if g := b.groups[slot]; g != nil {
		b.groups[slot] = nil
		b.kernel.RingUnregisterBuffers(b.ring.fd, uint16(slot))
		b.kernel.RingUnmap(g.memory.address, g.memory.length)
	}
}

// refill puts the buffers that the program gave back into the ring.
func (g *group) refill() {
	before := g.tail
	for number := g.pool.Take(g.worker); number != 0; number = g.pool.Take(g.worker) {
		b := &g.buffers[g.tail&uint16(len(g.buffers)-1)]
		b.Address, b.Length, b.ID = uint64(g.pool.Address(number)), g.pool.Size, uint16(number-1)
		g.tail++
		g.stocked++
	}
	if g.tail != before {
		g.publish()
	}
}

// publish shows the kernel the tail. It shares a word with the number of the first buffer, which stays.
func (g *group) publish() {
	word := (*uint32)(unsafe.Pointer(&g.buffers[0].ID))
	atomic.StoreUint32(word, uint32(g.buffers[0].ID)|uint32(g.tail)<<16)
}

// fillPooled translates a receive into a buffer of a pool. When there is no buffer it must not be tried
// before there is something to receive, or it would fail for want of one. (With a buffer it must: the kernel
// does not look behind the first bytes of a receive of many shots that waited first, and so misses the end
// that is there.)
func (b *Backend) fillPooled(sqe *sys.RingSqe, r *request.Request) {
	g := b.groups[r.Pool.Slot]
	g.refill()
	sqe.Opcode, sqe.Flags, sqe.BufferGroup = sys.RingOpReceive, sys.RingSqeSelect, uint16(r.Pool.Slot)
	if g.stocked == 0 {
		r.Marks |= request.MarkStarved
	}
	if r.Marked(request.MarkStarved) {
		sqe.Priority = sys.RingPollFirst
	}
	if r.IsSocketShots() {
		sqe.Priority |= sys.RingMultishot
	}
	r.Marks |= request.MarkArmed
}

// completePooled handles a completion of a receive into a buffer. It may come while a shot is being
// delivered.
func (b *Backend) completePooled(r *request.Request, result int64, flags uint32) {
	g := b.groups[r.Pool.Slot]
	if flags&sys.RingCqeBuffer != 0 {
		g.stocked--
		number := flags>>sys.RingCqeBufferShift + 1
		if result > 0 {
			r.Hold(number, uint32(result))
		} else {
			r.Pool.PutBack(g.worker, number)
		}
	}
	switch {
	case flags&sys.RingCqeMore == 0:
		r.Marks &^= request.MarkArmed | request.MarkCancelSent
		b.disarmed(r, g, result)
	case r.Marked(request.MarkStarved):
		r.Marks &^= request.MarkStarved
		b.interrupt(r) // to begin again, and look behind these bytes
	}
	if r.Phase() == request.Shot {
		return // resumePooled sees to the rest
	}
	b.unlist(r)
	b.showNext(r)
	b.continueStream(r)
}

// disarmed notes how a receive goes on that the kernel has ended.
func (b *Backend) disarmed(r *request.Request, g *group, result int64) {
	g.refill()
	starved := r.Marked(request.MarkStarved)
	r.Marks &^= request.MarkStarved
	switch {
	case result > 0:
	case result == sys.ENOBUFS && !starved && !r.Marked(request.MarkCancel):
		r.Marks |= request.MarkStarved
	case !worthAnotherTry(r, g, result):
		b.endPooled(r, g, result)
	}
}

// endPooled notes the last result of a receive. That there is no buffer says nothing of what there is to
// receive: it may be the end, or an error.
func (b *Backend) endPooled(r *request.Request, g *group, result int64) {
	cancelled := r.Marked(request.MarkCancel) || r.Generation != b.table.Find(r.Fd).closings
	if result == sys.ENOBUFS && cancelled {
		result = sys.ECANCELED // the descriptor may be closed already
	}
	if result == sys.ENOBUFS {
		result = b.direct.ReceivePooled(r, g.worker)
		if result > 0 || result == sys.EAGAIN {
			return
		}
	}
	r.Marks |= request.MarkEnded
	r.Offset = result
}

// worthAnotherTry reports whether a receive that failed may go on: there are buffers again, or will be when
// the filled ones have been shown; or the thread that submitted it has ended.
func worthAnotherTry(r *request.Request, g *group, errno int64) bool {
	switch errno {
	case sys.ENOBUFS:
		return g.stocked > 0 || r.Held != 0
	case sys.ECANCELED, sys.EINTR, sys.EAGAIN:
		return !r.Marked(request.MarkCancel)
	}
	return false
}

// showNext delivers the oldest filled buffer; when there is none, the end, or it goes on waiting.
func (b *Backend) showNext(r *request.Request) {
	length, filled := r.Show()
	if filled {
		r.Marks |= request.MarkBuffer
	}
	switch {
	case filled && r.IsSocketShots():
		b.sink.Shoot(r, length)
	case filled:
		b.finishPooled(r, length)
	case r.Marked(request.MarkEnded):
		b.finishPooled(r, r.Offset)
	case r.Marked(request.MarkArmed):
		b.list(r)
	case r.Marked(request.MarkCancel):
		b.finishPooled(r, sys.ECANCELED)
	default:
		b.issue(r)
	}
}

func (b *Backend) finishPooled(r *request.Request, result int64) {
	b.leaveGroup(r)
	b.sink.Finish(r, result)
}

// resumePooled continues after a shot was delivered. Buffers that are filled already are shown even when the
// receive was cancelled: their bytes were received. Meanwhile the kernel is asked to fill no more.
func (b *Backend) resumePooled(r *request.Request, cancelled bool) {
	r.Marks &^= request.MarkBuffer
	armed := r.Marked(request.MarkArmed)
	if cancelled && armed {
		r.Marks |= request.MarkCancel
		b.interrupt(r)
	}
	switch {
	case r.Held != 0 || r.Marked(request.MarkEnded) || !cancelled:
		b.showNext(r)
	case armed:
		b.list(r)
	default:
		b.finishPooled(r, sys.ECANCELED)
	}
}
