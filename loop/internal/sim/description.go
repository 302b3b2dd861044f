package sim

import "github.com/libloop/libloop/loop/internal/sys"

// file is what a description is open on.
type file interface {
	// state returns the events of poll that hold.
	state() uint32
	// read and write move bytes without waiting. EAGAIN: it would block.
	read(d *Description, to []span, offset int64) int64
	write(d *Description, from []span, offset int64) int64
	// release is called when the last number is gone.
	release()
}

// Description is an open file: what several descriptors, made by dup, have in common.
type Description struct {
	kernel      *Kernel
	file        file
	numbers     int // and calls and operations that use it
	nonblocking bool
	neverWaits  bool // io_uring answers EAGAIN instead of waiting for readiness
	denies      bool // calls without waiting answer EOPNOTSUPP

	registrations []*registration
	waiting       []*operation
	Reported      [32]uint64 // when each event was reported last
	LastIn        uint64     // when something came last
}

// open gives a file the lowest free number.
func (k *Kernel) open(f file) (*Description, int) {
	d := &Description{kernel: k, file: f}
	return d, k.install(d)
}

func (k *Kernel) install(d *Description) int {
	d.numbers++
	for fd := firstFd; fd < len(k.files); fd++ {
		if k.files[fd] == nil {
			k.files[fd] = d
			return fd
		}
	}
	k.files = append(k.files, d)
	return len(k.files) - 1
}

// find returns the description of a number, or nil.
func (k *Kernel) find(fd int) *Description {
	if fd < 0 || fd >= len(k.files) {
		return nil
	}
	return k.files[fd]
}

// closeNumber frees a number, and the description with its last one. What epoll knows of the description
// lives as long as that.
func (k *Kernel) closeNumber(fd int) int64 {
	d := k.find(fd)
	if d == nil {
		return sys.EBADF
	}
	k.files[fd] = nil
	d.drop()
	return 0
}

// hold keeps the file open during a call that waits, and drop undoes it.
func (d *Description) hold() { d.numbers++ }

func (d *Description) drop() {
	if d.numbers--; d.numbers > 0 {
		return
	}
	for len(d.registrations) > 0 {
		d.registrations[0].remove()
	}
	d.file.release()
}

// notify says that events began to hold, or came again.
func (d *Description) notify(events uint32) {
	if d == nil {
		return
	}
	if events&sys.EpollIn != 0 {
		d.LastIn = d.kernel.Record.sequence
	}
	for _, r := range d.registrations {
		r.hear(events)
	}
	for i := 0; i < len(d.waiting); {
		o := d.waiting[i]
		if events&(o.awaits|alwaysReported) == 0 {
			i++
			continue
		}
		if !o.hear() {
			i++
		}
	}
}

// stopWaiting takes an operation of io_uring off.
func (d *Description) stopWaiting(o *operation) {
	for i, other := range d.waiting {
		if other == o {
			d.waiting = append(d.waiting[:i], d.waiting[i+1:]...)
			return
		}
	}
}

// report notes events that a program is told, perhaps with one that does not hold.
func (d *Description) report(events, asked uint32) uint32 {
	if d.kernel.strikes(SpuriousWakes) {
		events |= asked & (sys.EpollIn | sys.EpollOut)
	}
	for bit := range d.Reported {
		if events>>bit&1 != 0 {
			d.Reported[bit] = d.kernel.Record.sequence
		}
	}
	return events
}

// eventfd is a counter that is readable when it is not 0.
type eventfd struct {
	description *Description
	count       uint64
}

func (e *eventfd) state() uint32 {
	if e.count > 0 {
		return sys.EpollIn | sys.EpollOut
	}
	return sys.EpollOut
}

func (e *eventfd) read(*Description, []span, int64) int64  { return sys.EINVAL }
func (e *eventfd) write(*Description, []span, int64) int64 { return sys.EINVAL }
func (e *eventfd) release()                                {}

// EventCreate implements sys.Kernel.
func (k *Kernel) EventCreate() int64 {
	k.call()
	if errno := k.misfortune(makeErrors); errno < 0 {
		return k.Record.note(-1, errno)
	}
	e := &eventfd{}
	d, fd := k.open(e)
	d.nonblocking, e.description = true, d
	return int64(fd)
}

// EventSignal implements sys.Kernel.
func (k *Kernel) EventSignal(fd int) int64 {
	k.call()
	d := k.find(fd)
	if d == nil {
		k.fail("a wake descriptor was closed and signalled")
	}
	e, ok := d.file.(*eventfd)
	if !ok {
		k.fail("a wake descriptor is another file now")
	}
	e.count++
	d.notify(sys.EpollIn)
	return 8
}

// EventClear implements sys.Kernel.
func (k *Kernel) EventClear(fd int) int64 {
	k.call()
	if d := k.find(fd); d != nil {
		d.file.(*eventfd).count = 0
	}
	return 8
}

// is reports whether a descriptor is open on a file of which something holds.
func (k *Kernel) is(fd int, holds func(d *Description) bool) bool {
	k.call()
	d := k.find(fd)
	if d == nil {
		k.Record.note(fd, sys.EBADF)
		return false
	}
	return holds(d)
}

// IsOpen implements sys.Kernel.
func (k *Kernel) IsOpen(fd int) bool { return k.is(fd, func(*Description) bool { return true }) }

// IsPipe implements sys.Kernel.
func (k *Kernel) IsPipe(fd int) bool {
	return k.is(fd, func(d *Description) bool { _, ok := d.file.(*pipeEnd); return ok })
}

// IsFile implements sys.Kernel.
func (k *Kernel) IsFile(fd int) bool {
	return k.is(fd, func(d *Description) bool { _, ok := d.file.(*regular); return ok })
}

// Seek implements sys.Kernel. The simulated ring moves the position itself.
func (k *Kernel) Seek(fd int, distance int64) int64 { return 0 }

// HasPosition implements sys.Kernel.
func (k *Kernel) HasPosition(fd int) bool { return k.IsFile(fd) }

// socketIs is is for sockets.
func (k *Kernel) socketIs(fd int, holds func(s *socket) bool) bool {
	return k.is(fd, func(d *Description) bool {
		s, ok := d.file.(*socket)
		if !ok {
			k.Record.note(fd, sys.ENOTSOCK)
		}
		return ok && holds(s)
	})
}

// IsStream implements sys.Kernel.
func (k *Kernel) IsStream(fd int) bool {
	return k.socketIs(fd, func(s *socket) bool { return !s.datagrams })
}

// IsDatagram implements sys.Kernel.
func (k *Kernel) IsDatagram(fd int) bool {
	return k.socketIs(fd, func(s *socket) bool { return s.datagrams })
}

// IsTCP implements sys.Kernel.
func (k *Kernel) IsTCP(fd int) bool {
	return k.socketIs(fd, func(s *socket) bool { return !s.datagrams && s.tcp })
}

// IsSocket implements sys.Kernel.
func (k *Kernel) IsSocket(fd int) bool { return k.socketIs(fd, func(*socket) bool { return true }) }

// Listens implements sys.Kernel.
func (k *Kernel) Listens(fd int) bool {
	return k.socketIs(fd, func(s *socket) bool { return s.listening })
}

// MayRead implements sys.Kernel.
func (k *Kernel) MayRead(fd int) bool {
	return k.is(fd, func(d *Description) bool { p, ok := d.file.(*pipeEnd); return !ok || !p.writes })
}

// MayWrite implements sys.Kernel.
func (k *Kernel) MayWrite(fd int) bool {
	return k.is(fd, func(d *Description) bool { p, ok := d.file.(*pipeEnd); return !ok || p.writes })
}

// IsNonblocking implements sys.Kernel.
func (k *Kernel) IsNonblocking(fd int) bool {
	return k.is(fd, func(d *Description) bool { return d.nonblocking })
}

// IsDirect implements sys.Kernel.
func (k *Kernel) IsDirect(fd int) bool {
	return k.is(fd, func(d *Description) bool { f, ok := d.file.(*regular); return ok && f.direct })
}
