package epoll

import (
	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// startSocket begins an operation on a socket: at once if it does not block, otherwise behind those that
// wait.
func (b *Backend) startSocket(r *request.Request) {
	e := b.admit(r, backend.CheckSocket(r))
	if e == nil {
		return
	}
	if r.Op == request.OpReceive && r.Mode&sys.MsgOutOfBand != 0 {
		r.Events = urgentData
	}
	switch {
	case r.IsStreamWrite():
		b.startWrite(e, r)
	case r.IsSocketShots():
		b.startShots(e, r)
	case r.IsStreamRead() && (!e.waiters[reading].Empty() || e.connecting()):
		b.await(e, r)
	default:
		b.begin(e, r)
	}
}

// begin makes an operation, or has it wait. A blocking thread that accepts is worth it only when there is
// something to accept.
func (b *Backend) begin(e *entry, r *request.Request) {
	n := b.pursue(r)
	switch {
	case n == sys.EAGAIN && r.Op == request.OpSplice:
		b.awaitSplice(r)
	case n == sys.EAGAIN, n == backend.Blocks && r.Op == request.OpAccept:
		b.await(e, r)
	case n == backend.Blocks:
		b.block(r)
	default:
		b.endSocket(r, n)
	}
}

// awaitSplice has a splice wait for the one of its descriptors that is not ready.
func (b *Backend) awaitSplice(r *request.Request) {
	if e := b.admit(r, 0); e != nil {
		b.await(e, r)
	}
}

// pursue makes the steps of an operation until it ends, or cannot go on without waiting or blocking.
func (b *Backend) pursue(r *request.Request) int64 {
	if r.IsPooled() {
		return b.direct.ReceivePooled(r, r.Worker())
	}
	for range backend.StepsAtOnce {
		n := b.direct.Try(r)
		if !backend.Advance(b.kernel, r, n) {
			return n
		}
	}
	b.renew(b.table.Find(r.Fd)) // it goes on after the others
	return sys.EAGAIN
}

// endSocket ends an operation with the result of its last step, or delivers a shot.
func (b *Backend) endSocket(r *request.Request, n int64) {
	if r.IsPooled() {
		if length, ok := r.Show(); ok {
			r.Marks |= request.MarkBuffer
			n = length
		}
	}
	switch {
	case r.IsSocketShots() && (n > 0 || n == 0 && r.Op == request.OpAccept):
		b.sink.Shoot(r, n)
	case r.IsSocketShots():
		b.endWatch(b.table.Find(r.Fd), r)
		b.sink.Finish(r, n)
	default:
		b.sink.Finish(r, backend.Result(r, n))
	}
}

// serveSocket tries an operation that waited. False: what is behind it has to wait on.
func (b *Backend) serveSocket(e *entry, r *request.Request) bool {
	if r.Op == request.OpSplice { // which may come to wait for its other descriptor
		b.delist(e, r)
		b.begin(e, r)
		return true
	}
	n := int64(0)
	if r.IsSocketShots() {
		e.latched &^= request.Readable
		n = b.nextShot(r)
	} else {
		n = b.pursue(r)
	}
	switch {
	case n == sys.EAGAIN:
		return false
	case n == backend.Blocks:
		b.delist(e, r)
		if r.Op == request.OpAccept { // of a listener that blocks
			b.blockIfReady(r)
		} else {
			b.block(r)
		}
		return false
	}
	b.delist(e, r)
	b.endSocket(r, n)
	return true
}

// returnSocket goes on with an operation that a thread of the pool made, or tried to make.
func (b *Backend) returnSocket(r *request.Request) {
	e := b.entryOf(r.Fd)
	n := r.Result
	r.Marks &^= request.MarkStalled
	again := n == sys.EAGAIN || n == sys.EINPROGRESS || n == sys.EALREADY && r.Marked(request.MarkBegun)
	switch {
	case backend.IsNoShot(r, n):
		b.resumeShots(r)
	case !again && !backend.Advance(b.kernel, r, n):
		b.endSocket(r, n)
	case r.Marked(request.MarkCancel) || e == nil || r.Generation != e.closings:
		b.endSocket(r, sys.ECANCELED)
	case r.IsStreamWrite():
		r.Marks |= request.MarkWaiting
		e.waiters[writing].PushFront(r)
		b.waiters++
		b.refresh(e)
	case r.IsSocketShots():
		b.enlist(e, r)
		b.renew(e)
	default:
		if n == sys.EINPROGRESS {
			r.Marks |= request.MarkBegun
		}
		b.begin(e, r)
	}
}

// An accept or receive of many shots keeps its registration armed, as an edge-triggered watch does: a message
// then costs one receive and its share of a wait. r.Offset says how many bytes a receive would have got if
// more had been there: after a shorter one an edge will tell of the next. That is so for TCP, but for urgent
// data; a Unix stream ends a receive behind a message with descriptors.

// startShots begins one.
func (b *Backend) startShots(e *entry, r *request.Request) {
	r.Offset = 0
	if r.Op == request.OpReceive && b.kernel.IsTCP(e.fd) {
		r.Offset = int64(r.Pool.Size)
	}
	b.beginWatch(e, r)
	b.renew(e) // nothing is believed about a descriptor on which nobody waited
	b.goOn(e, r)
}

// resumeShots goes on after a shot was delivered.
func (b *Backend) resumeShots(r *request.Request) {
	e := b.table.Find(r.Fd)
	r.Marks &^= request.MarkBuffer
	switch {
	case r.Marked(request.MarkCancel) || r.Generation != e.closings:
		b.endWatch(e, r)
		b.sink.Finish(r, sys.ECANCELED)
	case r.Result < r.Offset && e.latched == 0 && !e.urgent && e.edgeWatches == 1:
		b.enlist(e, r)
		b.queue(e)
	default:
		b.goOn(e, r)
	}
}

// goOn takes the next connection or message, or waits for it.
func (b *Backend) goOn(e *entry, r *request.Request) {
	e.latched &^= request.Readable
	n := b.nextShot(r)
	switch n {
	case sys.EAGAIN:
		b.enlist(e, r)
		b.queue(e)
	case backend.Blocks: // nothing was tried: it may be ready, and no edge will tell
		b.enlist(e, r)
		b.renew(e)
	default:
		b.endSocket(r, n)
	}
}

// nextShot makes an attempt. Connections that were aborted before they could be accepted are none.
func (b *Backend) nextShot(r *request.Request) int64 {
	n := b.pursue(r)
	for backend.IsNoShot(r, n) {
		n = b.pursue(r)
	}
	return n
}
