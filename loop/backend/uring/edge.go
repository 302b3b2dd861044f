package uring

import (
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// An edge-triggered watch is a poll of many shots, which stays armed while one of them is delivered. What it
// reports meanwhile is kept in Request.Length, the latch; Request.Mode holds the events that it is armed for.

// armedFor reports whether the poll of a watch reports all that is asked for; what it reports besides is left
// out by shown.
func armedFor(r *request.Request) bool {
	return r.Events&request.EdgeTriggered != 0 && r.Events&^r.Mode == 0
}

// completeEdge handles a completion of an edge-triggered watch.
func (b *Backend) completeEdge(r *request.Request, result int64, more bool) {
	if !more {
		r.Marks &^= request.MarkArmed | request.MarkCancelSent
	}
	if r.Phase() == request.Shot {
		if result > 0 {
			r.Length |= uint64(shown(r, result))
		}
		return // resumeEdge sees the rest
	}
	switch mask := shown(r, max(result, 0)); {
	case result < 0 && result != sys.ECANCELED:
		b.unlist(r)
		b.sink.Finish(r, result)
	case r.Marked(request.MarkCancel):
		if !more {
			b.unlist(r)
			b.sink.Finish(r, sys.ECANCELED)
		}
	case mask != 0:
		b.unlist(r)
		b.sink.Shoot(r, mask)
	case !more: // the kernel had no room for a completion, or the events were changed
		b.unlist(r)
		b.issue(r)
	}
}

// resumeEdge continues an edge-triggered watch after a shot was delivered.
func (b *Backend) resumeEdge(e *entry, r *request.Request, cancelled bool) {
	armed := r.Marked(request.MarkArmed)
	mask := r.Length & uint64(r.Events|request.Hangup|request.Error)
	r.Length = 0
	switch {
	case cancelled && !armed:
		b.sink.Finish(r, sys.ECANCELED)
	case cancelled:
		r.Marks |= request.MarkCancel
		b.list(r)
		b.interrupt(r)
	case mask != 0:
		b.sink.Shoot(r, int64(mask))
	case armed && !armedFor(r): // its events were changed meanwhile
		b.list(r)
		b.interrupt(r)
	case armed:
		b.list(r)
	case b.kernel.IsFile(int(r.Fd)): // was ready, is ready, and will be
		r.Marks |= request.MarkFileShown
		b.list(r)
	default:
		b.issue(r)
	}
}
