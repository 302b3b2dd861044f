package epoll

import (
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// arm makes the kernel report what the waiters of an entry want.
func (b *Backend) arm(e *entry) {
	if e.empty() && !e.edge() {
		b.silence(e)
		return
	}
	events := e.interest() | sys.EpollEdge
	if !e.edge() {
		events |= sys.EpollOneShot
	}
	if e.armed == events && !e.renew {
		return
	}
	e.renew = false
	if e.polled {
		b.pollInstead(e)
		return
	}
	switch errno := b.register(e, events); errno {
	case 0:
		e.armed = events
		e.unwatched = false
	case sys.EPERM:
		b.serveFile(e)
	case sys.ENOSPC, sys.ENOMEM:
		b.pollInstead(e)
	default:
		b.failWaiters(e, errno)
	}
}

// silence ends a registration that an edge-triggered watch left armed: it would report every change for ever.
func (b *Backend) silence(e *entry) {
	if e.unwatched {
		e.unwatched, e.registered, e.armed = false, false, 0
		b.kernel.EpollControl(b.epfd, sys.EpollDelete, e.fd, 0, 0)
	}
}

// register renews the registration of a descriptor, or makes one where there is none, or where the program
// put another file in its place.
func (b *Backend) register(e *entry, events uint32) int64 {
	e.generation++ // each arming has a tag of its own, for the same number may have several registrations
	if e.registered {
		errno := b.kernel.EpollControl(b.epfd, sys.EpollModify, e.fd, events, e.tag())
		if errno != sys.ENOENT {
			return errno
		}
		e.registered = false
	}
	errno := b.kernel.EpollControl(b.epfd, sys.EpollAdd, e.fd, events, e.tag())
	if errno == sys.EEXIST {
		// The same file came back to the same number.
		errno = b.kernel.EpollControl(b.epfd, sys.EpollModify, e.fd, events, e.tag())
	}
	e.registered = errno == 0
	return errno
}

// tag is what the events of the present registration carry.
func (e *entry) tag() uint64 { return uint64(uint32(e.fd)) | uint64(e.generation)<<32 }

// serveFile serves the waiters of a descriptor that epoll refuses: a regular file or a directory, which is
// always ready, though reading and writing may block.
func (b *Backend) serveFile(e *entry) {
	e.registered, e.armed = false, 0
	for d := range e.waiters {
		for r := e.waiters[d].First(); r != nil; {
			next := r.Next
			switch {
			case r.Marked(request.MarkFileShown):
				// Nothing will change any more.
			case r.Op == request.OpWait || r.Op == request.OpWatch:
				if r.Op == request.OpWatch && r.Events&request.EdgeTriggered != 0 {
					r.Marks |= request.MarkFileShown
				}
				b.serveWait(e, r, request.Readable|request.Writable)
			case r.Op >= request.OpAccept:
				// Not a socket: the call itself says so.
				b.serveSocket(e, r)
			case r.Marked(request.MarkBlocked):
				// Neither waiting nor a blocking call helps: the file is locked against us.
				b.forget(e, r)
				b.sink.Finish(r, sys.EIO)
			default:
				b.forget(e, r)
				b.block(r)
			}
			r = next
		}
	}
}

// failWaiters ends all that waits on an entry.
func (b *Backend) failWaiters(e *entry, errno int64) {
	e.registered, e.armed = false, 0
	for d := range e.waiters {
		for r := e.waiters[d].First(); r != nil; r = e.waiters[d].First() {
			b.forget(e, r)
			b.sink.Finish(r, errno)
		}
	}
}

// cancelWaiters ends all that waits on an entry because the loop or the descriptor is closed.
func (b *Backend) cancelWaiters(e *entry) { b.failWaiters(e, sys.ECANCELED) }

// startClose closes a descriptor. What waits on it is cancelled first. Closing a file may block (a network
// file system writes it back), so that is the pool's work; for a registered descriptor it is not.
func (b *Backend) startClose(r *request.Request) {
	_, running := b.cancelPooled(r.Fd)
	e := b.table.Find(r.Fd)
	if e == nil {
		b.block(r)
		return
	}
	registered := e.registered
	b.reset(e)
	if !registered || running {
		b.block(r)
		return
	}
	b.sink.Finish(r, b.kernel.Close(int(r.Fd), true))
}

// cancelFd cancels all that is on a descriptor, and returns how many requests that were, apart from watches
// between two shots.
func (b *Backend) cancelFd(fd int64) int64 {
	n, _ := b.cancelPooled(fd)
	e := b.table.Find(fd)
	if e == nil {
		return n
	}
	for d := range e.waiters {
		n += e.waiters[d].Len()
	}
	b.reset(e)
	return n
}

// cancelPooled cancels the transfers on a descriptor that wait for a thread of the pool. It returns their
// number, and whether others run.
func (b *Backend) cancelPooled(fd int64) (n int64, running bool) {
	queued, running := b.pool.CancelFd(fd)
	for r := queued.Pop(); r != nil; r = queued.Pop() {
		b.leavePool(r)
		b.endPooled(r)
		n++
	}
	if b.splices > 0 {
		b.table.Each(func(e *entry) { n += b.cancelSplices(e, fd) })
	}
	return n, running
}

// cancelSplices cancels the splices that wait on an entry and whose other end is a descriptor.
func (b *Backend) cancelSplices(e *entry, fd int64) (n int64) {
	for d := range e.waiters {
		for r := e.waiters[d].First(); r != nil; {
			next := r.Next
			if r.Op == request.OpSplice && r.OtherFd() == fd {
				b.forget(e, r)
				b.sink.Finish(r, sys.ECANCELED)
				n++
			}
			r = next
		}
	}
	return n
}

// reset cancels what waits on an entry, has the watches that are between two shots end, and takes the
// registration back: a duplicate may keep the file open, and its events must not come here any more.
func (b *Backend) reset(e *entry) {
	if e.armed != 0 {
		b.kernel.EpollControl(b.epfd, sys.EpollDelete, e.fd, 0, 0)
	}
	if e.polled {
		b.fallback.forget(e.fd)
		e.polled = false
	}
	b.cancelWaiters(e)
	e.closings++
	e.looked, e.urgent, e.deaf = false, false, false
	e.edgeWatches, e.edgeEvents, e.latched = 0, 0, 0
}
