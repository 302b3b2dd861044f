package uring

import (
	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// Collect implements backend.Backend.
func (b *Backend) Collect() {
	b.handClosing()
	for n := b.ring.ready(); n > 0; n-- {
		cqe := b.ring.pop()
		more := cqe.Flags&sys.RingCqeMore != 0
		switch cqe.UserData & tagMask {
		case tagWake:
			if !more && cqe.UserData>>3 == b.wakeID {
				b.waking = false
			}
		case tagCancel:
			// Too late, or the request cannot be interrupted. Its own completion tells.
		case tagBundle:
			b.completeBundle(b.table.Find(int64(cqe.UserData>>3)), int64(cqe.Result))
		default:
			b.complete(requestOf(cqe.UserData), int64(cqe.Result), cqe.Flags)
		}
	}
}

// complete handles a completion of a request.
func (b *Backend) complete(r *request.Request, result int64, flags uint32) {
	switch {
	case r.Op == request.OpWatch && r.Events&request.EdgeTriggered != 0:
		b.completeEdge(r, result, flags&sys.RingCqeMore != 0)
		return
	case r.IsPooled():
		b.completePooled(r, result, flags)
		return
	}
	b.unlist(r)
	r.Marks &^= request.MarkCancelSent
	defer b.continueStream(r)
	if result == sys.ECANCELED || result == sys.EINTR {
		b.interrupted(r, result)
		return
	}
	switch r.Op {
	case request.OpWait, request.OpWatch:
		b.completePoll(r, result)
	case request.OpRead, request.OpWrite:
		b.completeTransfer(r, result)
	case request.OpOpen:
		b.completeOpen(r, result)
	case request.OpClose:
		b.sink.Finish(r, result)
	default:
		b.completeSocket(r, result)
	}
}

// interrupted ends a request that was cancelled, and begins one again that nobody cancelled: its events were
// changed, or the thread that submitted it ended, or a signal came. A close is done in spite of a signal; one
// that was cancelled never began.
func (b *Backend) interrupted(r *request.Request, result int64) {
	switch {
	case r.Op == request.OpClose && result == sys.EINTR:
		b.sink.Finish(r, 0)
	case r.Marked(request.MarkCancel):
		b.sink.Finish(r, sys.ECANCELED)
	case r.Op == request.OpConnect: // goes on by itself
		r.Marks |= request.MarkBegun
		b.awaitReadiness(r)
	default:
		b.issue(r)
	}
}

// completePoll ends a wait, or delivers a shot of a level-triggered watch.
func (b *Backend) completePoll(r *request.Request, result int64) {
	mask := shown(r, result)
	switch {
	case result < 0:
		b.sink.Finish(r, result)
	case r.Marked(request.MarkCancel) && (mask == 0 || r.Op == request.OpWatch):
		b.sink.Finish(r, sys.ECANCELED)
	case mask == 0: // what happened is not asked for any more
		b.issue(r)
	case r.Op == request.OpWait:
		b.sink.Finish(r, mask)
	default:
		b.sink.Shoot(r, mask)
	}
}

// shown returns what a poll found of what a wait asks for.
func shown(r *request.Request, result int64) int64 {
	return int64(backend.EventMask(uint32(result)) & (r.Events | request.Hangup | request.Error))
}

// completeTransfer ends a transfer, or has it wait.
func (b *Backend) completeTransfer(r *request.Request, result int64) {
	switch {
	case r.Marked(request.MarkBlocked):
		r.Marks &^= request.MarkBlocked
		switch {
		case result < 0:
			b.sink.Finish(r, result)
		case r.Marked(request.MarkCancel):
			b.sink.Finish(r, sys.ECANCELED)
		default:
			b.block(r) // a call does not block now, or not for longer than any call on a file
		}
	case result == sys.EAGAIN:
		b.awaitReadiness(r)
	case result == sys.ENOTSUP && r.Op == request.OpWrite && b.noSignal != 0:
		b.noSignal = 0
		b.issue(r)
	default:
		b.mendPosition(r, result)
		b.sink.Finish(r, result)
	}
}

// mendPosition moves the position of a file where the ring leaves it behind: after a short write. It comes to
// that when the number of a descriptor has become a file's since the last look.
func (b *Backend) mendPosition(r *request.Request, n int64) {
	if !r.IsStreamWrite() || n <= 0 || n >= r.Bytes() || !b.kernel.HasPosition(int(r.Fd)) {
		return
	}
	b.kernel.Seek(int(r.Fd), n)
	e := b.table.Find(r.Fd)
	e.looked, e.file = true, true
}

// completeOpen ends an open. The kernel tried it with O_NONBLOCK first, which makes a difference for a FIFO:
// to read, the descriptor came without waiting for a writer; to write, an error came without waiting for a
// reader. The pool then opens it again, in the way of open(2). The first descriptor is kept until then: a
// writer that it let in may have begun to write. If that one is gone already, the first is the result.
func (b *Backend) completeOpen(r *request.Request, result int64) {
	switch {
	case result == sys.EAGAIN:
		b.sink.Finish(r, sys.EBUSY) // O_NONBLOCK, and the file is leased
	case r.Marked(request.MarkCancel) || sys.OpensNonblocking(r.Length):
		b.sink.Finish(r, result)
	case result == sys.ENXIO && sys.OpensForWriting(r.Length):
		b.block(r)
	case result >= 0 && sys.OpensForReading(r.Length) && b.kernel.IsPipe(int(result)):
		r.Offset = result
		r.Marks |= request.MarkBlocked
		b.block(r)
	default:
		b.sink.Finish(r, result)
	}
}

// returnOpen ends an open that the pool made.
func (b *Backend) returnOpen(r *request.Request) {
	if r.Marked(request.MarkBlocked) && r.Result != r.Offset {
		b.kernel.Close(int(r.Offset), false)
	}
	if r.Result == sys.EAGAIN {
		r.Result = sys.EBUSY
	}
	b.sink.Finish(r, r.Result)
}
