package epoll

import (
	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// startWait begins a wait for readiness, of one shot or many.
func (b *Backend) startWait(r *request.Request) {
	errno := int64(0)
	if r.Events&^backend.KnownEvents != 0 {
		errno = sys.EINVAL
	}
	if e := b.admit(r, errno); e != nil {
		b.await(e, r)
	}
}

// admit notes which opening of its descriptor a request is for, and returns the entry of that. nil: the
// request is finished, because of an error in its operands or because the descriptor is not open.
func (b *Backend) admit(r *request.Request, errno int64) *entry {
	if errno < 0 {
		b.sink.Finish(r, errno)
		return nil
	}
	e := b.entryOf(r.Fd)
	if e == nil {
		b.sink.Finish(r, sys.EBADF)
		return nil
	}
	r.Generation = e.closings
	return e
}

// entryOf returns the entry of a descriptor, or nil if that is not open.
func (b *Backend) entryOf(fd int64) *entry {
	e := b.table.Find(fd)
	if e == nil {
		if !b.kernel.IsOpen(int(fd)) {
			return nil
		}
		e = b.table.Get(fd)
	}
	e.fd = int(fd)
	return e
}

// await puts a request in the waiter list of its descriptor.
func (b *Backend) await(e *entry, r *request.Request) {
	if r.Op == request.OpWatch {
		b.beginWatch(e, r)
		e.latched = 0 // of the time before; the look that follows tells what holds
	}
	b.enlist(e, r)
	b.renew(e)
}

// beginWatch keeps the registration of an entry armed while an edge-triggered watch, or an accept or receive
// of many shots, is in flight.
func (b *Backend) beginWatch(e *entry, r *request.Request) {
	if isEdge(r) {
		e.edgeWatches++
		e.edgeEvents |= edgeEvents(r)
		b.waiters++
	}
}

func isEdge(r *request.Request) bool {
	return r.Op == request.OpWatch && r.Events&request.EdgeTriggered != 0 || r.IsSocketShots()
}

func edgeEvents(r *request.Request) uint32 {
	if r.Op == request.OpWatch {
		return r.Events & backend.DirectionEvents
	}
	if r.Op == request.OpReceive {
		return request.Readable | urgentData
	}
	return request.Readable
}

// directionOf returns the list that a request waits in.
func directionOf(r *request.Request) direction {
	switch {
	case r.Op == request.OpRead || r.Op == request.OpAccept || r.IsStreamRead() || r.IsSocketShots():
		return reading
	case r.Op == request.OpWrite || r.Op == request.OpConnect || r.IsStreamWrite():
		return writing
	case r.Op == request.OpReceive:
		return either // the queue of errors, or urgent data
	case r.Events&backend.DirectionEvents == request.Readable:
		return reading
	case r.Events&backend.DirectionEvents == request.Writable:
		return writing
	}
	return either
}

// enlist and delist put a request in its waiter list and take it out.
func (b *Backend) enlist(e *entry, r *request.Request) {
	r.Marks |= request.MarkWaiting
	e.waiters[directionOf(r)].Push(r)
	e.waits += waitsOf(r)
	b.waiters++
	if r.Op == request.OpSplice {
		b.splices++
	}
}

func (b *Backend) delist(e *entry, r *request.Request) {
	r.Marks &^= request.MarkWaiting
	e.waiters[directionOf(r)].Remove(r)
	e.waits -= waitsOf(r)
	b.waiters--
	if r.Op == request.OpSplice {
		b.splices--
	}
}

func waitsOf(r *request.Request) int {
	if r.Op == request.OpWait || r.Op == request.OpWatch {
		return 1
	}
	return 0
}

// forget takes a waiting request out for good.
func (b *Backend) forget(e *entry, r *request.Request) {
	b.delist(e, r)
	b.endWatch(e, r)
}

// endWatch undoes beginWatch.
func (b *Backend) endWatch(e *entry, r *request.Request) {
	if !isEdge(r) {
		return
	}
	b.waiters--
	if r.Generation != e.closings {
		return // the entry was reset since
	}
	e.edgeWatches--
	if e.edgeWatches > 0 {
		b.renew(e) // it may have taken an edge and left what the others rely on being told of
		return
	}
	e.unwatched = e.registered
	e.edgeEvents, e.latched, e.armed = 0, 0, 0
	b.queue(e)
}

// resumeWatch puts a watch back in its list after a shot was delivered.
func (b *Backend) resumeWatch(r *request.Request) {
	e := b.table.Find(r.Fd)
	if r.Marked(request.MarkCancel) || r.Generation != e.closings {
		b.endWatch(e, r)
		b.sink.Finish(r, sys.ECANCELED)
		return
	}
	if r.Events&request.EdgeTriggered == 0 || e.edgeWatches > 1 {
		// With several edge-triggered watches the latch cannot tell whose edge it holds: look again.
		b.enlist(e, r)
		b.renew(e)
		return
	}
	if mask := e.latched & (r.Events | request.Hangup | request.Error); mask != 0 {
		e.latched &^= mask
		b.sink.Shoot(r, int64(mask))
		return
	}
	b.enlist(e, r)
	b.queue(e)
}

// Modify implements backend.Backend.
func (b *Backend) Modify(r *request.Request, events uint32) {
	e := b.table.Find(r.Fd)
	waiting := r.Marked(request.MarkWaiting)
	if waiting {
		b.delist(e, r)
	}
	r.Events = events&backend.DirectionEvents | r.Events&request.EdgeTriggered
	if r.Events&request.EdgeTriggered != 0 {
		e.edgeEvents |= r.Events & backend.DirectionEvents
	}
	if waiting {
		b.enlist(e, r)
	}
	e.latched = 0 // what was latched for nobody must not be told now; the look tells what holds
	b.renew(e)
}

// renew asks that the kernel look at the descriptor again before the next wait; queue only that the
// registration cover what the waiters want.
func (b *Backend) renew(e *entry) {
	e.renew = true
	b.queue(e)
}

func (b *Backend) queue(e *entry) {
	if !e.queued {
		e.queued = true
		b.unarmed = append(b.unarmed, e)
	}
}

// serve gives the events of a descriptor to its waiters.
func (b *Backend) serve(e *entry, events uint32) {
	mask := backend.EventMask(events)
	if e.edgeWatches > 0 {
		e.latched |= mask
	}
	if events&sys.EpollUrgent != 0 {
		e.urgent = true
	}
	if e.connecting() && !b.serveNext(e, e.waiters[writing].First()) {
		b.listen(e, events)
		return
	}
	if events&(sys.EpollIn|sys.EpollRdHup|sys.EpollHup|sys.EpollErr) != 0 {
		b.serveList(e, reading, mask)
	}
	if events&(sys.EpollOut|sys.EpollRdHup|sys.EpollHup|sys.EpollErr) != 0 {
		b.serveList(e, writing, mask)
	}
	b.serveList(e, either, mask)
	b.listen(e, events)
}

// listen prepares an entry for its next event. An error or hang-up that did not help those who wait would be
// reported again and again (an error does as long as a queue of errors is not read): then only an edge
// counts.
func (b *Backend) listen(e *entry, events uint32) {
	deaf := !e.empty() && events&(sys.EpollIn|sys.EpollOut) == 0
	if e.deaf && !deaf && e.edgeWatches == 0 {
		e.unwatched = e.registered // the registration is armed still
	}
	e.deaf = deaf
	if !e.empty() || e.unwatched {
		b.queue(e)
	}
}

// serveList completes the waits of one direction, and the transfers in it until one would block.
func (b *Backend) serveList(e *entry, d direction, mask uint32) {
	list := &e.waiters[d]
	blocked := e.busy[d]
	for r := list.First(); r != nil && !(blocked && e.waits == 0); {
		next := r.Next
		switch {
		case waitsOf(r) > 0:
			b.serveWait(e, r, mask)
		case !blocked:
			done, full := b.writeBundle(e, r)
			if done {
				next = list.First()
			}
			blocked = full || !done && !b.serveNext(e, r)
		}
		r = next
	}
}

// serveNext tries a transfer, or another operation, that waited. False: what is behind it has to wait on.
func (b *Backend) serveNext(e *entry, r *request.Request) bool {
	if r.Op >= request.OpAccept {
		return b.serveSocket(e, r)
	}
	return b.serveTransfer(e, r)
}

// serveWait completes a wait, or one shot of it, if the mask has what it asked for.
func (b *Backend) serveWait(e *entry, r *request.Request, mask uint32) {
	mask &= r.Events | request.Hangup | request.Error
	if mask == 0 {
		return
	}
	if r.Op == request.OpWait {
		b.forget(e, r)
		b.sink.Finish(r, int64(mask))
		return
	}
	if r.Events&request.EdgeTriggered != 0 {
		e.latched &^= mask
	}
	b.delist(e, r)
	b.sink.Shoot(r, int64(mask))
}
