package request

import "sync/atomic"

// Op is what a request asks for. The numbers are shared with capi/layout.h.
type Op uint8

// The operations. Read and Write serve all their siblings: Request.Vector and Request.Offset tell which.
const (
	OpTick Op = iota + 1
	OpTimer
	OpWork
	OpWait  // one shot of readiness
	OpWatch // many shots of readiness
	OpOpen
	OpClose
	OpRead
	OpWrite
	OpAccess
	OpAccept
	OpConnect
	OpReceive
	OpSend
	OpShutdown
	OpSendfile
	OpSplice
	OpCancelFd // cancels what is on a descriptor
	OpName     // a look-up of names
)

// Events of a descriptor: what a wait asks for and what its result reports.
const (
	Readable      = 1
	Writable      = 2
	Hangup        = 4
	Error         = 8
	EdgeTriggered = 16
)

// More in Request.Flags says that the request is still in flight, Buffer that it shows one of its pool.
const (
	More   = 1
	Buffer = 2
)

// Flags in Request.Mode of operations on sockets, beside those of the system.
const (
	Multishot = 0x01000000
	SendAll   = 0x00800000
)

// CurrentPosition as Request.Offset means: no offset, use the position of the descriptor.
const CurrentPosition = -1

// Never is the deadline that does not come.
const Never = ^uint64(0)

// Marks are the engine's notes on a request. Only the worker that has the request touches them.
const (
	MarkCancel       uint32 = 1 << iota // an end was asked for; whoever has the request next ends it
	MarkTimedOut                        // the end was asked for by the deadline
	MarkTimed                           // linked into the wheel of its worker
	MarkTickList                        // linked into the tick queue of its worker
	MarkWaiting                         // linked into a waiter list of the backend
	MarkPooled                          // handed to the blocking pool
	MarkBlocked                         // the pool found that the descriptor would block after all
	MarkTimeoutFirst                    // a timer whose timeout is over before it is due
	MarkReleased                        // was held for a control message; capi/layout.h has this one, too
	MarkFileShown                       // an edge-triggered watch of a file had its one shot
	MarkInKernel                        // linked into the list of what the kernel has
	MarkArmed                           // an edge-triggered watch that the kernel reports to
	MarkBacklog                         // linked into the backlog: the kernel had no room
	MarkCancelSent                      // the kernel was asked to end it
	MarkBuffer                          // shows a buffer of its pool
	MarkBegun                           // an OpConnect that is under way
	MarkStalled                         // no readiness tells of what it waits for: it is tried again
	MarkStarved                         // a receive that found no buffer: not before there is something again
	MarkEnded                           // a receive of many shots; Offset is its last result
	MarkReady                           // the pool makes the call only if the descriptor still is ready
)

// Request is one operation in flight, in the memory of the program. The first four fields are public in
// loop.h; the others are private to the loop.
//
// The order is that of the cache lines: a tick needs the first 64 bytes, a timer or a transfer 128.
//
// A field is written by the submitter before it accepts the request, and by the worker that has the request
// from then until delivery, unless it says otherwise.
type Request struct {
	user      uintptr // the program's; never read here
	Result    int64
	TimeoutNs uint64
	Flags     uint32
	Owner     uint32 // number of the loop, for identity checks

	state    atomic.Uint64 // see state.go
	Next     *Request      // in the mailbox, tick queue, waiter list, pool queue or ready list
	callback uintptr       // the program's; nil means harvest
	Op       Op
	Vector   bool   // Address and Length are an iovec array and its count
	Queued   bool   // in the queue of the blocking pool; guarded by the pool's lock
	InStrand bool   // Strand is set; here because it is in a cache line that all need
	Marks    uint32 // engine's notes; 0 when free

	Prev     *Request
	Fd       int64   // descriptor, or directory descriptor
	Address  uintptr // buffer, iovec array, path or work function; Address and Length form an iovec
	Length   uint64  // bytes, iovecs, or flags of OpOpen and OpAccess
	Offset   int64   // OpRead, OpWrite: position; OpTimer: period in ns
	Deadline uint64  // key in the wheel, ns: when a timer is due, or TimeoutAt

	TimerNext   *Request
	TimerPrev   *Request
	controlNext *Request // in the control list; written by who asked for control
	newEvents   atomic.Uint32
	Mode        uint32 // OpOpen, OpAccess
	Generation  uint32 // of the descriptor's entry when the request began
	Events      uint32 // OpWait, OpWatch: what is asked for
	TimeoutAt   uint64 // ns: when TimeoutNs is over; Never = no deadline

	Strand     uintptr     // the program's, kept between flights; 0 = none
	Moved      uint64      // bytes that a transfer of several steps has moved; 0 when accepted
	Message    uintptr     // OpReceive, OpSend: the program's struct msghdr, or OwnMessage, or 0
	Pool       *BufferPool // OpReceive: where the buffer comes from, or nil
	Held       uint64      // filled buffers of it that were not shown yet; see bufferpool.go
	OwnMessage Message
}

// Message is the kernel's struct msghdr.
type Message struct {
	Name          uintptr
	NameLength    uint32
	_             uint32
	Vectors       uintptr
	VectorCount   uint64
	Control       uintptr
	ControlLength uint64
	Flags         uint32
	_             uint32
}

// Marked reports whether one of the marks is set.
func (r *Request) Marked(marks uint32) bool { return r.Marks&marks != 0 }

// TellPool lets the pool see the marks as they are now: later ones, which the worker sets meanwhile, are not
// for it. They travel in a field that is of no use to what goes to the pool.
func (r *Request) TellPool() { r.newEvents.Store(r.Marks) }

// Told reports whether one of the marks was set when TellPool was called. Any thread.
func (r *Request) Told(marks uint32) bool { return r.newEvents.Load()&marks != 0 }

// IsMultishot reports whether the request completes until it is cancelled.
func (r *Request) IsMultishot() bool {
	return r.Op == OpWatch || r.Op == OpTimer && r.Offset != 0 || r.IsSocketShots()
}

// DeadlineAfter returns the time `delay` ns after `now`, or Never when that is past the clock's end.
func DeadlineAfter(now, delay uint64) uint64 {
	if delay > Never-now {
		return Never
	}
	return now + delay
}
