package uring

import (
	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// The kernel gets one write at a time for each descriptor at its current position; the others queue. Each
// one that found a full socket would wait in the kernel, and all would wake when there is room for one. The
// writes that have queued for a stream go together, as one submission, the bundle: many short writes cost
// little more than a long one.

// startWrite hands a write to the kernel, or queues it.
func (b *Backend) startWrite(e *entry, r *request.Request) {
	if e.writes == 0 && e.queue.Empty() {
		b.issue(r)
		return
	}
	r.Marks |= request.MarkWaiting
	e.queue.Push(r)
}

// continueWrites hands queued writes to the kernel, after another write ended.
func (b *Backend) continueWrites(e *entry) {
	if e.queue.Empty() || e.bundled > 0 {
		return
	}
	for e.writes == 0 && !e.queue.Empty() { // again after one that was made by a call
		if !e.alone && b.submitBundle(e) {
			return
		}
		e.alone = false
		b.issueQueued(e)
	}
}

// issueQueued hands over the first one that queues. A datagram is sent by a call: that costs less than a
// round of the ring for each, and keeps their order.
func (b *Backend) issueQueued(e *entry) {
	r := e.queue.First()
	b.dequeue(e, r)
	if r.Op == request.OpSend && b.kernel.IsDatagram(int(r.Fd)) {
		b.attempt(r)
	} else {
		b.issue(r)
	}
}

// submitBundle submits the writes at the head of a queue as one, if they are several and go to a stream. They
// stay in the queue meanwhile.
func (b *Backend) submitBundle(e *entry) bool {
	r := e.queue.First()
	bundle := b.freeBundle()
	count, _ := bundle.Gather(&e.queue)
	if count < 2 || !b.kernel.IsStream(int(r.Fd)) {
		return false
	}
	sqe := b.ring.next()
	if sqe == nil {
		return false
	}
	sqe.Opcode, sqe.Fd, sqe.OpFlags = sys.RingOpSendMessage, int32(r.Fd), sys.MsgNoSignal
	sqe.Address, sqe.Length = uint64(bundle.Message()), 1
	sqe.UserData = bundleOf(r.Fd)
	b.bundlesUsed++
	e.bundled = count
	for range count {
		r.Marks |= request.MarkInKernel
		r = r.Next
	}
	return true
}

// freeBundle returns a bundle that is not in use. The kernel has copied a bundle when it took the submission;
// so all are free once it has taken what there was.
func (b *Backend) freeBundle() *backend.Bundle {
	if b.ring.unsubmitted() == 0 {
		b.bundlesUsed = 0
	}
	if b.bundlesUsed == len(b.bundles) {
		b.bundles = append(b.bundles, new(backend.Bundle))
	}
	return b.bundles[b.bundlesUsed]
}

// bundleOf is what the completion of the bundle of a descriptor carries.
func bundleOf(fd int64) uint64 { return uint64(uint32(fd))<<3 | tagBundle }

// completeBundle ends the writes of a bundle that were done; the others, in part or not at all, are tried
// again, or end if they were cancelled. An error, or the nothing of writes of no bytes, is that of the first:
// it is told by that one alone.
func (b *Backend) completeBundle(e *entry, result int64) {
	count := e.bundled
	e.bundled = 0
	r := e.queue.First()
	for range count {
		r.Marks &^= request.MarkInKernel | request.MarkCancelSent
		r = r.Next
	}
	e.alone = result <= 0 && result != sys.ECANCELED && result != sys.EINTR
	backend.Spread(&e.queue, count, result, func(r *request.Request, n int64) {
		if r.Marked(request.MarkCancel) || !backend.Advance(b.kernel, r, n) {
			count--
			b.dequeue(e, r)
			b.sink.Finish(r, backend.Result(r, n))
		}
	})
	for r := e.queue.First(); count > 0; count-- {
		next := r.Next
		if r.Marked(request.MarkCancel) {
			b.dequeue(e, r)
			b.sink.Finish(r, sys.ECANCELED)
		}
		r = next
	}
	b.continueWrites(e)
}

func (b *Backend) dequeue(e *entry, r *request.Request) {
	r.Marks &^= request.MarkWaiting
	e.queue.Remove(r)
}

// cancelQueued ends a transfer that queues; in a bundle, by ending that.
func (b *Backend) cancelQueued(e *entry, r *request.Request) {
	if r.IsStreamRead() {
		r.Marks &^= request.MarkWaiting
		e.readers.Remove(r)
		b.abandon(r)
		return
	}
	if r.Marked(request.MarkInKernel) {
		b.interrupt(e.queue.First())
		return
	}
	b.dequeue(e, r)
	b.sink.Finish(r, sys.ECANCELED)
}

// Reads at the current position go to the kernel one at a time for each descriptor, too: it takes the
// position of a file when it begins a read and moves it when that ends, so two of them would read the same.

// startRead hands a read to the kernel, or queues it.
func (b *Backend) startRead(e *entry, r *request.Request) {
	if e.reads == 0 && e.readers.Empty() {
		b.issue(r)
		return
	}
	r.Marks |= request.MarkWaiting
	e.readers.Push(r)
}

// Transfers at the current position of a file are calls, and not submissions: the kernel's ring leaves the
// position where it was when it moved some bytes and then met an error, so the next write would go over the
// last one.

// movesPosition reports whether a request is such a transfer.
func (b *Backend) movesPosition(r *request.Request) bool {
	if r.Op != request.OpRead && r.Op != request.OpWrite || r.Offset != request.CurrentPosition {
		return false
	}
	e := b.table.Find(r.Fd)
	if !e.looked {
		e.looked, e.file = true, b.kernel.HasPosition(int(r.Fd))
		e.direct = b.kernel.IsDirect(int(r.Fd))
	}
	return e.file
}

// transferFile makes it, if it does not block; otherwise the pool does.
func (b *Backend) transferFile(r *request.Request) {
	e := b.table.Find(r.Fd)
	n := sys.EAGAIN // a call on what bypasses the page cache waits for the device
	if !e.direct {
		n = backend.TransferNow(b.kernel, r)
	}
	switch {
	case n != sys.EAGAIN && n != sys.ENOTSUP:
		b.sink.Finish(r, n)
	case b.kernel.HasPosition(int(r.Fd)):
		b.block(r)
	default: // close(2) and open made it another one
		e.file = false
		b.issue(r)
	}
}

// continueStream goes on after a request ended, or came back for another try.
func (b *Backend) continueStream(r *request.Request) {
	switch {
	case r.IsStreamWrite():
		b.continueWrites(b.table.Find(r.Fd))
	case r.IsStreamRead():
		e := b.table.Find(r.Fd)
		for e.reads == 0 && !e.readers.Empty() { // again after one that was made by a call
			next := e.readers.Pop()
			next.Marks &^= request.MarkWaiting
			b.issue(next)
		}
	}
}
