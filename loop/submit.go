package loop

import (
	"time"
	"unsafe"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// Events of a descriptor: what a watch asks for, and what the result of a wait reports.
const (
	Readable      = request.Readable
	Writable      = request.Writable
	Hangup        = request.Hangup
	Error         = request.Error
	EdgeTriggered = request.EdgeTriggered
)

// Request is one operation. The zero value is ready for use; it belongs to the loop from submit to
// completion, and may be submitted again from its own callback on. What it points to (buffers, paths) is
// kept reachable meanwhile and must not be changed.
type Request struct {
	core     request.Request // first: the engine's pointer is the request's
	callback func(*Request)
	work     func()
	operand  unsafe.Pointer // keeps what core.Address points to

	User any // the program's; never read here
}

// Result returns what the operation gave: a value >= 0, or a negated errno number.
func (r *Request) Result() int64 { return r.core.Result }

// Err returns the error of the operation as a syscall.Errno, or nil.
func (r *Request) Err() error { return sys.Error(min(r.core.Result, 0)) }

// More reports whether the request is still in flight and will complete again.
func (r *Request) More() bool { return r.core.Flags&request.More != 0 }

// SetTimeout makes each later flight of the request end with ETIMEDOUT after a time; 0 = never.
func (r *Request) SetTimeout(timeout time.Duration) { r.core.TimeoutNs = uint64(max(timeout, 0)) }

// release makes the request the program's again.
func (r *Request) release() {
	r.operand, r.work = nil, nil
	r.core.Move(request.Deliver)
}

// OnNextTick calls done in the next turn.
func (l *Loop) OnNextTick(r *Request, done func(*Request)) error {
	return l.submit(r, 0, done, func() { r.core.Op = request.OpTick })
}

// CancelOnNextTick takes back a tick. True: it will not complete. False: too late, or not a tick in flight.
func (l *Loop) CancelOnNextTick(r *Request) bool {
	return r.core.Owner == l.id && r.core.Op == request.OpTick && r.core.Phase() == request.Queued &&
		l.engine.Withdraw(&r.core, false)
}

// Cancel asks that a request end early; its completion still comes, with ECANCELED or the real result. False:
// it is not in flight.
func (l *Loop) Cancel(r *Request) bool { return l.control(r, request.Cancel) }

// StartTimer completes after a delay and then, if period is not 0, every period until it is cancelled.
func (l *Loop) StartTimer(r *Request, delay, period time.Duration, done func(*Request)) error {
	return l.submit(r, l.spread(), done, func() {
		r.core.Op = request.OpTimer
		r.core.Deadline = request.DeadlineAfter(l.engine.Now(), uint64(max(delay, 0)))
		r.core.Offset = int64(max(period, 0))
	})
}

// QueueWork calls work on a thread of the blocking pool, and completes when it returned.
func (l *Loop) QueueWork(r *Request, work func(), done func(*Request)) error {
	if work == nil {
		return sys.Error(sys.EINVAL)
	}
	return l.submit(r, l.spread(), done, func() {
		r.core.Op = request.OpWork
		r.work = work
	})
}

// WaitUntilReady completes once when one of the events (Readable, Writable or both) holds; its result is
// a mask of events.
func (l *Loop) WaitUntilReady(r *Request, fd int, events uint32, done func(*Request)) error {
	return l.ready(r, request.OpWait, fd, events, done)
}

// Watch completes whenever one of the events holds, until it is cancelled.
func (l *Loop) Watch(r *Request, fd int, events uint32, done func(*Request)) error {
	return l.ready(r, request.OpWatch, fd, events, done)
}

// ModifyWatch changes the events of a watch. False: it is not in flight, or not a watch.
func (l *Loop) ModifyWatch(r *Request, events uint32) bool {
	if r.core.Op != request.OpWatch {
		return false
	}
	r.core.AskEvents(events)
	return l.control(r, request.Modify)
}

func (l *Loop) ready(r *Request, op request.Op, fd int, events uint32, done func(*Request)) error {
	return l.submit(r, l.home(fd), done, func() {
		r.core.Op, r.core.Fd, r.core.Events = op, int64(fd), events
	})
}

// Open opens a file, as open(2); the result is the descriptor.
func (l *Loop) Open(r *Request, path string, flags int, mode uint32, done func(*Request)) error {
	const atFdcwd = -100
	return l.path(r, request.OpOpen, atFdcwd, path, uint64(uint32(flags)), mode, done)
}

// OpenAt is Open with relative paths starting at the directory dirfd.
func (l *Loop) OpenAt(r *Request, dirfd int, path string, flags int, mode uint32, done func(*Request)) error {
	return l.path(r, request.OpOpen, dirfd, path, uint64(uint32(flags)), mode, done)
}

// Access asks whether a file may be accessed, as faccessat(2).
func (l *Loop) Access(r *Request, dirfd int, path string, mode uint32, flags int, done func(*Request)) error {
	return l.path(r, request.OpAccess, dirfd, path, uint64(uint32(flags)), mode, done)
}

func (l *Loop) path(r *Request, op request.Op, dirfd int, path string, flags uint64, mode uint32,
	done func(*Request)) error {
	terminated := append([]byte(path), 0)
	return l.submit(r, l.spread(), done, func() {
		r.core.Op, r.core.Fd, r.core.Length, r.core.Mode = op, int64(dirfd), flags, mode
		r.setOperand(terminated)
	})
}

// CloseFd closes a descriptor; requests that wait on it end with ECANCELED.
func (l *Loop) CloseFd(r *Request, fd int, done func(*Request)) error {
	return l.submit(r, l.home(fd), done, func() { r.core.Op, r.core.Fd = request.OpClose, int64(fd) })
}

// Read reads up to len(buffer) bytes at the current position, from a file, pipe, socket or device.
func (l *Loop) Read(r *Request, fd int, buffer []byte, done func(*Request)) error {
	return l.transfer(r, request.OpRead, fd, buffer, request.CurrentPosition, done)
}

// ReadAt is Read at an offset; the current position stays.
func (l *Loop) ReadAt(r *Request, fd int, buffer []byte, offset int64, done func(*Request)) error {
	return l.transfer(r, request.OpRead, fd, buffer, position(offset), done)
}

// Write writes up to len(buffer) bytes at the current position.
func (l *Loop) Write(r *Request, fd int, buffer []byte, done func(*Request)) error {
	return l.transfer(r, request.OpWrite, fd, buffer, request.CurrentPosition, done)
}

// WriteAt is Write at an offset; the current position stays.
func (l *Loop) WriteAt(r *Request, fd int, buffer []byte, offset int64, done func(*Request)) error {
	return l.transfer(r, request.OpWrite, fd, buffer, position(offset), done)
}

// position makes a negative offset one that the engine refuses, rather than the current position.
func position(offset int64) int64 {
	if offset < 0 {
		return request.CurrentPosition - 1
	}
	return offset
}

func (l *Loop) transfer(r *Request, op request.Op, fd int, buffer []byte, offset int64,
	done func(*Request)) error {
	return l.submit(r, l.home(fd), done, func() {
		r.core.Op, r.core.Fd, r.core.Length, r.core.Offset = op, int64(fd), uint64(len(buffer)), offset
		r.setOperand(buffer)
	})
}

func (r *Request) setOperand(memory []byte) {
	r.operand = unsafe.Pointer(unsafe.SliceData(memory))
	r.core.Address = uintptr(r.operand)
}

// spread chooses a worker for a request that has no home.
func (l *Loop) spread() int { return int(l.next.Add(1)) % len(l.boxes) }

// home is the worker of a descriptor: requests on one descriptor go to one worker.
func (l *Loop) home(fd int) int {
	if fd < 0 {
		return 0
	}
	return fd % len(l.boxes)
}

// submit puts a request in flight. fill sets the operands, once the request is ours.
func (l *Loop) submit(r *Request, worker int, done func(*Request), fill func()) error {
	if r == nil {
		return sys.Error(sys.EINVAL)
	}
	if err := l.check(); err != nil {
		return err
	}
	switch r.core.Admit(worker) {
	case request.InFlight:
		return sys.Error(sys.EBUSY)
	case request.Garbage:
		return sys.Error(sys.EINVAL)
	}
	r.callback = done
	r.core.Owner = l.id
	fill()
	if r.core.TimeoutNs != 0 {
		r.core.TimeoutAt = request.DeadlineAfter(l.engine.Now(), r.core.TimeoutNs)
	}
	// Counted before the second look: Close, which first ends acceptance and then counts, cannot miss it.
	l.boxes[worker].CountAccepted()
	if !l.shared.Open() && r.core.Refund() {
		l.shared.CountWithdrawn()
		l.engine.Nudge()
		return sys.Error(sys.ESHUTDOWN)
	}
	l.engine.post(&r.core)
	return nil
}

// control sends a message to the worker that has a request.
func (l *Loop) control(r *Request, flags uint64) bool {
	if r.core.Owner != l.id {
		return false
	}
	switch r.core.AskControl(flags) {
	case request.AskedNothing:
		return false
	case request.AskedFirst:
		w := l.engine.workers[r.core.Worker()]
		w.mailbox.PushControl(&r.core)
		l.engine.notify(w)
	}
	return true
}
