package epoll

import (
	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// Writes at the current position are put off until the end of the turn, and those on one stream are made by
// one call: many short writes cost little more than one long one.

// startWrite has Flush try a write, unless others wait already for the stream to take more.
func (b *Backend) startWrite(e *entry, r *request.Request) {
	others := !e.waiters[writing].Empty() && e.waits == 0
	b.enlist(e, r)
	if !others {
		b.refresh(e)
	}
}

// refresh has Flush try the writes of an entry.
func (b *Backend) refresh(e *entry) {
	if !e.fresh {
		e.fresh = true
		b.fresh = append(b.fresh, e)
	}
}

// makeWrites tries the new writes of all descriptors.
func (b *Backend) makeWrites() {
	for _, e := range b.fresh {
		e.fresh = false
		b.tryWrites(e)
	}
	b.fresh = b.fresh[:0]
}

// tryWrites makes the writes of an entry until one would block. Nothing is known of the descriptor yet.
func (b *Backend) tryWrites(e *entry) {
	list := &e.waiters[writing]
	for r := list.First(); r != nil && !e.busy[writing] && !e.connecting(); {
		if !r.IsStreamWrite() {
			r = r.Next
			continue
		}
		done, full := b.writeBundle(e, r)
		next := list.First()
		if !done && !full {
			next = r.Next
			full = !b.tryWrite(e, r)
		}
		if full {
			if !e.busy[writing] {
				b.renew(e)
			}
			return
		}
		r = next
	}
}

// tryWrite makes one write; false when it would, or might, block.
func (b *Backend) tryWrite(e *entry, r *request.Request) bool {
	if r.Op != request.OpWrite {
		return b.serveSocket(e, r)
	}
	n := backend.TransferNow(b.kernel, r)
	if n == sys.EAGAIN || n == sys.ENOTSUP {
		return false
	}
	b.forget(e, r)
	b.complete(r, n)
	return true
}

// writeBundle makes several writes to a stream at once, if r and those behind it are several and the first
// ones in their list. It reports whether that got some of them done, and whether the stream is full now.
func (b *Backend) writeBundle(e *entry, r *request.Request) (done, full bool) {
	list := &e.waiters[writing]
	if r != list.First() || r.Next == nil {
		return false, false
	}
	count, bytes := b.bundle.Gather(list)
	if count < 2 || !b.kernel.IsStream(e.fd) {
		return false, false
	}
	n := b.kernel.SendMessage(e.fd, b.bundle.Message(), 0)
	if n <= 0 {
		return false, n == sys.EAGAIN // otherwise the first one alone will tell why
	}
	backend.Spread(list, count, n, func(r *request.Request, result int64) {
		if !backend.Advance(b.kernel, r, result) {
			b.forget(e, r)
			b.sink.Finish(r, backend.Result(r, result))
		}
	})
	return true, n < bytes
}
