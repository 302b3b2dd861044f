package uring

import (
	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// isDirect reports whether an operation is made by calls that do not block, and has the ring wait for
// readiness only: the kernel has no opcode for it, or one that occupies a thread.
func isDirect(r *request.Request) bool {
	switch r.Op {
	case request.OpShutdown, request.OpSendfile, request.OpSplice:
		return true
	}
	return r.Op == request.OpConnect && r.Marked(request.MarkBegun)
}

// checkSocket finds what is wrong with the operands of an operation on a socket.
func (b *Backend) checkSocket(e *entry, r *request.Request) int64 {
	if errno := backend.CheckSocket(r); errno < 0 {
		return errno
	}
	if !r.IsPooled() {
		return 0
	}
	if !e.socket { // the kernel would notice only when there is something to receive
		switch {
		case !b.kernel.IsSocket(int(r.Fd)):
			return sys.ENOTSOCK
		case b.kernel.Listens(int(r.Fd)):
			return sys.ENOTCONN
		}
		e.socket = true
	}
	return b.joinGroup(r)
}

// fillSocket translates an operation on a socket.
func (b *Backend) fillSocket(sqe *sys.RingSqe, r *request.Request) {
	if r.Marked(request.MarkBlocked) {
		sqe.Opcode, sqe.OpFlags = sys.RingOpPollAdd, transferEvents(r)
		return
	}
	switch r.Op {
	case request.OpAccept:
		sqe.Opcode, sqe.OpFlags = sys.RingOpAccept, sys.SocketFlags
		sqe.Address, sqe.Offset = uint64(r.Address), r.Length
		backend.AskAddress(r)
	case request.OpConnect:
		sqe.Opcode, sqe.Address, sqe.Offset = sys.RingOpConnect, uint64(r.Address), r.Length
	case request.OpReceive:
		if r.Pool != nil {
			b.fillPooled(sqe, r)
			return
		}
		fillStep(sqe, r, sys.RingOpReceive, sys.RingOpReceiveMsg)
	case request.OpSend:
		fillStep(sqe, r, sys.RingOpSend, sys.RingOpSendMessage)
		// The kernel may have the bytes of a datagram when it finds that there is no room, and would send an
		// empty one when there is: it must not try again by itself.
		sqe.OpFlags |= sys.MsgNoSignal | sys.MsgDontWait
	}
}

// fillStep translates the next step of a receive or send.
func fillStep(sqe *sys.RingSqe, r *request.Request, plain, message uint8) {
	step := backend.NextStep(r)
	sqe.OpFlags = backend.MessageFlags(r)
	if step.Message != 0 {
		sqe.Opcode, sqe.Address, sqe.Length = message, uint64(step.Message), 1
		return
	}
	sqe.Opcode, sqe.Address = plain, uint64(step.Address)
	sqe.Length = uint32(min(step.Length, request.CallMost)) // the field has 32 bits
}

// completeSocket ends an operation on a socket, or goes on with it.
func (b *Backend) completeSocket(r *request.Request, result int64) {
	if r.Marked(request.MarkBlocked) {
		r.Marks &^= request.MarkBlocked
		switch {
		case r.Marked(request.MarkCancel):
			b.sink.Finish(r, sys.ECANCELED)
		case result < 0:
			b.sink.Finish(r, result)
		default:
			noteReadiness(r, result)
			b.issue(r)
		}
		return
	}
	if result == sys.EAGAIN {
		b.awaitAnother(r)
		return
	}
	b.endStep(r, result)
}

// noteReadiness notes what a poll found before another try. An error or hang-up that is reported without
// being asked for may be so for ever (an error is as long as a queue of errors is not read): if the try comes
// to nothing, the next one takes a moment.
func noteReadiness(r *request.Request, events int64) {
	r.Marks &^= request.MarkStalled
	if uint32(events)&transferEvents(r) == 0 {
		r.Marks |= request.MarkStalled
	}
}

// awaitAnother has an operation that would block wait for another try.
func (b *Backend) awaitAnother(r *request.Request) {
	if r.Op == request.OpConnect {
		r.Marks |= request.MarkBegun // by a call: the kernel's own tries cost a whole processor
	}
	if r.Marked(request.MarkStalled) || b.direct.Stalls(r) {
		b.block(r)
	} else {
		b.awaitReadiness(r)
	}
}

// cancelSplices cancels the splices that wait on an entry and whose other end is a descriptor.
func (b *Backend) cancelSplices(e *entry, fd int64) (n int64) {
	for r := e.inFlight.First(); r != nil; {
		next := r.Next
		if r.Op == request.OpSplice && r.OtherFd() == fd {
			r.Marks |= request.MarkCancel
			b.Cancel(r)
			n++
		}
		r = next
	}
	return n
}

// endStep goes on with an operation after a step of it, or ends it.
func (b *Backend) endStep(r *request.Request, n int64) {
	switch {
	case r.IsSocketShots() && n >= 0:
		b.sink.Shoot(r, n)
	case !backend.IsNoShot(r, n) && !backend.Advance(b.kernel, r, n):
		b.sink.Finish(r, backend.Result(r, n))
	case r.Marked(request.MarkCancel):
		b.sink.Finish(r, sys.ECANCELED)
	default:
		b.issue(r)
	}
}

// attempt makes an operation by calls, as far as they do not block.
func (b *Backend) attempt(r *request.Request) {
	n := b.direct.Try(r)
	for steps := 1; backend.Advance(b.kernel, r, n); steps++ {
		if steps == backend.StepsAtOnce {
			b.awaitReadiness(r)
			return
		}
		n = b.direct.Try(r)
	}
	switch n {
	case sys.EAGAIN:
		if r.Op == request.OpSplice { // which may wait for its other descriptor
			r.Generation = b.table.Get(r.Fd).closings
		}
		b.awaitAnother(r)
	case backend.Blocks:
		b.block(r)
	default:
		b.sink.Finish(r, backend.Result(r, n))
	}
}

// returnSocket goes on with an operation that the pool made, or tried to make.
func (b *Backend) returnSocket(r *request.Request) {
	n := r.Result
	stalled := r.Marked(request.MarkStalled)
	r.Marks &^= request.MarkStalled
	switch {
	case n == sys.EAGAIN && r.Op == request.OpSendfile && !stalled:
		b.awaitReadiness(r)
	case n != sys.EAGAIN && !backend.Advance(b.kernel, r, n):
		b.sink.Finish(r, backend.Result(r, n))
	case r.Marked(request.MarkCancel) || r.Generation != b.table.Find(r.Fd).closings:
		b.sink.Finish(r, sys.ECANCELED)
	default:
		b.issue(r)
	}
}
