package sim

import "github.com/libloop/libloop/loop/internal/sys"

// operation is a submission that the kernel has.
type operation struct {
	ring        *ring
	sqe         sys.RingSqe
	description *Description // nil: none
	spans       []span
	path        string

	awaits   uint32 // events that it waits for; 0: it does not
	polled   bool   // it has waited: it may be tried
	parkedIn bool   // in the list of its description
	queued   bool   // in ring.work
	busy     bool   // a thread of the kernel has it: it cannot be cancelled
	doomed   bool   // it was cancelled, and may not wait any more
	over     bool
}

// begin starts an operation. What the submission points to is read now.
func (r *ring) begin(sqe *sys.RingSqe) {
	k := r.kernel
	o := &operation{ring: r, sqe: *sqe}
	switch sqe.Opcode {
	case sys.RingOpAsyncCancel:
		r.cancel(sqe)
		return
	case sys.RingOpOpenat:
		o.path = text(uintptr(sqe.Address))
	case sys.RingOpReadv, sys.RingOpWritev:
		o.spans = vectors(uintptr(sqe.Address), int(sqe.Length))
	case sys.RingOpSendMessage, sys.RingOpReceiveMsg:
		_, o.spans = message(uintptr(sqe.Address))
	case sys.RingOpRead, sys.RingOpWrite, sys.RingOpSend, sys.RingOpReceive:
		o.spans = plain(uintptr(sqe.Address), uint64(sqe.Length))
	}
	r.inFlight = append(r.inFlight, o)
	if sqe.Opcode != sys.RingOpOpenat && sqe.Opcode != sys.RingOpClose {
		o.description = k.find(int(sqe.Fd))
		if o.description == nil {
			o.finish(sys.EBADF)
			return
		}
		o.description.hold()
	}
	o.start()
}

// start makes the first attempt, unless the operation is to wait first.
func (o *operation) start() {
	k := o.ring.kernel
	switch o.sqe.Opcode {
	case sys.RingOpPollAdd:
		o.poll()
		return
	case sys.RingOpOpenat, sys.RingOpClose:
		if delay := k.delay(Lateness); delay > 0 {
			o.busy = true
			k.After(delay, o.wake)
			return
		}
	case sys.RingOpReceive:
		if o.sqe.Priority&sys.RingPollFirst != 0 {
			o.park(sys.EpollIn | sys.EpollRdHup)
			return
		}
	}
	o.try()
}

// wake has the operation go on, on the thread that submitted it.
func (o *operation) wake() {
	if o.queued || o.over || o.ring.closed {
		return
	}
	o.queued = true
	o.ring.work = append(o.ring.work, o)
	o.ring.showFlags()
}

// hear is called when something happened to the file; true: the operation left its list.
func (o *operation) hear() bool {
	if o.isPollMulti() || o.queued {
		o.later()
		return false
	}
	o.unpark()
	o.later()
	return true
}

// later wakes the operation now or after a while.
func (o *operation) later() {
	if delay := o.ring.kernel.delay(Lateness); delay > 0 {
		o.ring.kernel.After(delay, o.wake)
		return
	}
	o.wake()
}

// goOn is what a woken operation does.
func (o *operation) goOn() {
	if o.sqe.Opcode == sys.RingOpPollAdd {
		o.poll()
		return
	}
	o.busy = false
	o.try()
}

// park waits for events, which may hold already.
func (o *operation) park(events uint32) {
	if o.doomed {
		o.finish(sys.ECANCELED)
		return
	}
	o.awaits = events
	o.polled = true
	if o.description.file.state()&(events|alwaysReported) != 0 {
		o.later()
		return
	}
	o.parkedIn = true
	o.description.waiting = append(o.description.waiting, o)
}

func (o *operation) unpark() {
	if o.parkedIn {
		o.parkedIn = false
		o.description.stopWaiting(o)
	}
}

// parked reports whether the operation waits for nothing but readiness.
func (o *operation) parked() bool { return !o.over && !o.busy && (o.parkedIn || o.isPollMulti()) }

// leave takes the operation out of everything.
func (o *operation) leave() {
	o.over = true
	o.unpark()
	for i, other := range o.ring.inFlight {
		if other == o {
			o.ring.inFlight = append(o.ring.inFlight[:i], o.ring.inFlight[i+1:]...)
			break
		}
	}
	if o.description != nil {
		o.description.drop()
	}
}

// finish makes the last completion.
func (o *operation) finish(result int64) { o.finishWith(result, 0) }

func (o *operation) finishWith(result int64, flags uint32) {
	fd := int(o.sqe.Fd)
	o.ring.kernel.Record.note(fd, result)
	o.leave()
	o.ring.complete(o.sqe.UserData, result, flags)
}

func (o *operation) isPollMulti() bool {
	return o.sqe.Opcode == sys.RingOpPollAdd && o.sqe.Length&sys.RingPollMulti != 0
}

func (o *operation) isMulti() bool {
	return o.isPollMulti() || o.sqe.Opcode == sys.RingOpReceive && o.sqe.Priority&sys.RingMultishot != 0
}

// poll looks at the events of a poll.
func (o *operation) poll() {
	asked := o.sqe.OpFlags
	d := o.description
	holds := d.file.state() & (asked | alwaysReported)
	if holds != 0 || o.polled && o.ring.kernel.strikes(SpuriousWakes) {
		holds = d.report(holds, asked) & (asked | alwaysReported)
	}
	_, file := d.file.(*regular)
	switch {
	case holds == 0 && o.doomed:
		o.finish(sys.ECANCELED)
		return
	case holds != 0 && (!o.isPollMulti() || file):
		o.finish(int64(holds))
		return
	case holds != 0 && o.polled && o.ring.kernel.strikes(Refusals):
		o.finish(int64(holds)) // there was no memory for a completion besides the last
		return
	case holds != 0:
		o.ring.complete(o.sqe.UserData, int64(holds), sys.RingCqeMore)
	}
	o.polled = true
	if !o.parkedIn {
		o.awaits = asked
		o.parkedIn = true
		d.waiting = append(d.waiting, o)
	}
}

// try makes an attempt, and has the operation wait if it would block.
func (o *operation) try() {
	k := o.ring.kernel
	k.Record.sequence++
	fd := int(o.sqe.Fd)
	switch o.sqe.Opcode {
	case sys.RingOpOpenat:
		o.finish(k.openPath(fd, o.path, int(o.sqe.OpFlags)))
	case sys.RingOpClose:
		errno := k.closeNumber(fd)
		if errno == 0 {
			errno = k.misfortune(closeErrors)
		}
		o.finish(errno)
	case sys.RingOpAccept:
		o.end(o.asSocket(func(s *socket) int64 { return s.accept() }), sys.EpollIn)
	case sys.RingOpConnect:
		o.connect()
	default:
		o.move()
	}
}

// asSocket makes a call on a socket.
func (o *operation) asSocket(call func(*socket) int64) int64 {
	s, ok := o.description.file.(*socket)
	if !ok {
		return sys.ENOTSOCK
	}
	return call(s)
}

// end finishes with a result, or waits if that is EAGAIN.
func (o *operation) end(n int64, events uint32) {
	if n != sys.EAGAIN {
		o.finish(n)
		return
	}
	o.park(events)
}

func (o *operation) connect() {
	n := o.asSocket(func(s *socket) int64 { return s.beginConnect(uintptr(o.sqe.Address)) })
	if n == sys.EINPROGRESS || n == sys.EALREADY && o.polled {
		n = sys.EAGAIN
	}
	o.end(n, sys.EpollOut)
}

// move makes a read, write, receive or send.
func (o *operation) move() {
	k, d := o.ring.kernel, o.description
	t := transfer{spans: o.spans, offset: -1, flags: o.sqe.OpFlags}
	switch o.sqe.Opcode {
	case sys.RingOpWrite, sys.RingOpWritev:
		t.writes, t.offset = true, int64(o.sqe.Offset)
	case sys.RingOpRead, sys.RingOpReadv:
		t.offset = int64(o.sqe.Offset)
	case sys.RingOpSend, sys.RingOpSendMessage:
		t.writes, t.socket = true, true
	default:
		t.socket = true
	}
	if o.sqe.Flags&sys.RingSqeSelect != 0 {
		o.receiveSelected()
		return
	}
	n := k.attempt(int(o.sqe.Fd), d, &t)
	f, file := d.file.(*regular)
	if file && n > 0 && !t.writes && !o.busy && n < f.readable(&t) {
		n = sys.EAGAIN // the ring reads on, as far as the file goes
	}
	if n != sys.EAGAIN {
		o.finish(n)
		return
	}
	switch {
	case file && o.busy: // the device is done
		o.finish(f.readPatiently(t.spans, t.offset))
	case file:
		o.busy = true
		k.After(1+k.delay(Lateness), func() {
			if !o.over {
				o.finish(f.readPatiently(t.spans, t.offset))
			}
		})
	case t.socket && t.flags&sys.MsgDontWait != 0, !t.socket && d.neverWaits && d.nonblocking:
		o.finish(sys.EAGAIN)
	case t.writes:
		o.park(sys.EpollOut)
	default:
		o.park(sys.EpollIn | sys.EpollRdHup)
	}
}

// receiveSelected receives into buffers of a group, once or until nothing is left.
func (o *operation) receiveSelected() {
	k := o.ring.kernel
	multi := o.sqe.Priority&sys.RingMultishot != 0
	for {
		d := o.description
		if d.file.state()&(sys.EpollIn|alwaysReported) == 0 {
			o.park(sys.EpollIn | sys.EpollRdHup)
			return
		}
		g := o.ring.groups[o.sqe.BufferGroup]
		if g == nil || uint16(g.tail()-g.head) == 0 {
			o.finish(sys.ENOBUFS)
			return
		}
		b := g.buffers[g.head&uint16(len(g.buffers)-1)]
		t := transfer{spans: plain(uintptr(b.Address), uint64(b.Length)), socket: true}
		n := k.attempt(int(o.sqe.Fd), d, &t)
		if n == sys.EAGAIN {
			o.park(sys.EpollIn | sys.EpollRdHup)
			return
		}
		if n <= 0 {
			o.finish(n)
			return
		}
		g.head++
		flags := uint32(sys.RingCqeBuffer) | uint32(b.ID)<<sys.RingCqeBufferShift
		if !multi || k.strikes(Refusals) {
			o.finishWith(n, flags)
			return
		}
		o.ring.complete(o.sqe.UserData, n, flags|sys.RingCqeMore)
	}
}

func (g *bufferGroup) tail() uint16 { return g.buffers[0].Tail }

// cancel ends the operation that carries some user data, if it can be.
func (r *ring) cancel(sqe *sys.RingSqe) {
	result := sys.ENOENT
	for _, o := range r.inFlight {
		if o.sqe.UserData != sqe.Address {
			continue
		}
		switch {
		case o.busy:
			result = sys.EALREADY
			if _, file := o.file().(*regular); file && r.kernel.strikes(Lateness) {
				o.finish(sys.EINTR) // the thread that had it was interrupted
			}
		case o.queued && !o.isMulti() && r.kernel.random.OneIn(2):
			result = sys.EALREADY // something happened to it before: its completion comes
			o.doomed = true
		default:
			o.finish(sys.ECANCELED)
			result = 0
		}
		break
	}
	if result < 0 || sqe.Flags&sys.RingSqeSkipSuccess == 0 {
		r.complete(sqe.UserData, result, 0)
	}
}

func (o *operation) file() file {
	if o.description == nil {
		return nil
	}
	return o.description.file
}
