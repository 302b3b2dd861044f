package sim

import "github.com/libloop/libloop/loop/internal/sys"

// epoll is an epoll instance.
type epoll struct {
	kernel        *Kernel
	registrations []*registration
	ready         []*registration
}

// registration is what an instance knows of a description under a number. It lives on when the number is
// closed and the description is not.
type registration struct {
	epoll       *epoll
	description *Description
	fd          int
	events      uint32
	armed       bool // not disarmed by EPOLLONESHOT
	queued      bool // in ready
	data        uint64
}

const alwaysReported = sys.EpollErr | sys.EpollHup

func (e *epoll) state() uint32 {
	if len(e.ready) > 0 {
		return sys.EpollIn
	}
	return 0
}

func (e *epoll) read(*Description, []span, int64) int64  { return sys.EINVAL }
func (e *epoll) write(*Description, []span, int64) int64 { return sys.EINVAL }

func (e *epoll) release() {
	for len(e.registrations) > 0 {
		e.registrations[0].remove()
	}
}

// hear is called when something happened to the file.
func (r *registration) hear(events uint32) {
	if r.armed && events&(r.events|alwaysReported) != 0 {
		r.queue()
	}
}

func (r *registration) queue() {
	if !r.queued {
		r.queued = true
		r.epoll.ready = append(r.epoll.ready, r)
	}
}

// arm begins to report, and looks at the present state.
func (r *registration) arm(events uint32, data uint64) {
	r.events, r.data, r.armed = events, data, true
	r.hear(r.description.file.state())
}

func (r *registration) remove() {
	drop := func(list []*registration) []*registration {
		for i, other := range list {
			if other == r {
				return append(list[:i], list[i+1:]...)
			}
		}
		return list
	}
	r.armed = false
	r.epoll.registrations = drop(r.epoll.registrations)
	r.epoll.ready = drop(r.epoll.ready)
	r.description.registrations = drop(r.description.registrations)
}

// EpollCreate implements sys.Kernel.
func (k *Kernel) EpollCreate() int64 {
	k.call()
	if errno := k.misfortune(makeErrors); errno < 0 {
		return k.Record.note(-1, errno)
	}
	_, fd := k.open(&epoll{kernel: k})
	return int64(fd)
}

// EpollControl implements sys.Kernel.
func (k *Kernel) EpollControl(epfd, op, fd int, events uint32, data uint64) int64 {
	k.call()
	k.trace("epoll control %d of %d: %x", op, fd, events)
	e, d := k.find(epfd).file.(*epoll), k.find(fd)
	if d == nil {
		return k.Record.note(fd, sys.EBADF)
	}
	if _, ok := d.file.(*regular); ok {
		return sys.EPERM
	}
	var found *registration
	for _, r := range d.registrations {
		if r.epoll == e && r.fd == fd {
			found = r
		}
	}
	switch {
	case op == sys.EpollAdd && found != nil:
		return sys.EEXIST
	case op == sys.EpollAdd && (k.strikes(FewWatches)):
		return k.Record.note(fd, controlError[k.random.Below(len(controlError))])
	case op == sys.EpollAdd:
		found = &registration{epoll: e, description: d, fd: fd}
		e.registrations = append(e.registrations, found)
		d.registrations = append(d.registrations, found)
	case found == nil:
		return sys.ENOENT
	case op == sys.EpollDelete:
		found.remove()
		return 0
	}
	found.arm(events, data)
	return 0
}

// EpollWait implements sys.Kernel.
func (k *Kernel) EpollWait(epfd int, events []sys.EpollEvent, timeoutNs int64) int64 {
	k.call()
	d := k.find(epfd)
	if d == nil {
		return sys.EBADF
	}
	e := d.file.(*epoll)
	if timeoutNs != 0 || k.Preemptive {
		k.interleave()
	}
	if n := e.collect(events); n > 0 || timeoutNs == 0 {
		return int64(n)
	}
	if k.strikes(SpuriousWakes) {
		return 0 // EINTR
	}
	k.blockFor(func() bool { return e.hasNews() }, timeoutNs)
	return int64(e.collect(events))
}

// hasNews reports whether collect would find something, and forgets what it would not.
func (e *epoll) hasNews() bool {
	for i := 0; i < len(e.ready); {
		r := e.ready[i]
		if r.description.file.state()&(r.events|alwaysReported) != 0 {
			return true
		}
		r.queued = false
		e.ready = append(e.ready[:i], e.ready[i+1:]...)
	}
	return false
}

// collect takes events off the ready list.
func (e *epoll) collect(events []sys.EpollEvent) (n int) {
	ready := e.ready
	e.ready = nil
	if len(ready) > 1 && e.kernel.strikes(Disorder) {
		for i := range ready {
			j := i + e.kernel.random.Below(len(ready)-i)
			ready[i], ready[j] = ready[j], ready[i]
		}
	}
	most := len(events)
	if e.kernel.strikes(ShortCounts) {
		most = 1
	}
	for _, r := range ready {
		r.queued = false
		asked := r.events | alwaysReported
		holds := r.description.file.state() & asked
		if holds == 0 && !e.kernel.strikes(SpuriousWakes) {
			continue
		}
		if n == most {
			r.queue()
			continue
		}
		holds = r.description.report(holds, r.events) & asked
		if holds == 0 {
			continue
		}
		events[n] = sys.EpollEvent{Events: holds, Fd: int32(uint32(r.data)), Pad: int32(uint32(r.data >> 32))}
		n++
		r.epoll.kernel.trace("epoll reports %x of %d", holds, r.fd)
		switch {
		case r.events&sys.EpollOneShot != 0:
			r.armed = false
		case r.events&sys.EpollEdge == 0:
			r.queue()
		}
	}
	return n
}
