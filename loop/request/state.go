package request

// The life of a request.
//
//	phase   where the request is                                        who may move it
//	------  ----------------------------------------------------------  ---------------------------------
//	Free    with the program                                            any thread that submits it
//	Queued  accepted: in a mailbox, or drained and not started yet      the worker that owns the mailbox
//	Active  started: in the wheel, in a backend or in the pool          the worker that started it
//	Shot    multishot: a shot is on its way out, or back for the next   its worker; delivery while out
//	Held    finished, but a control message for it is still on its way  the worker, on that message
//	Done    finished: in a ready list, or waiting to be harvested       delivery
//
//	event     from                 to     by
//	--------  -------------------  -----  --------------------------------------------------------
//	Accept    Free                 Queued the submitter (any thread; capi/state.h in C)
//	Start     Queued, Shot         Active the worker, when it hands the request to wheel or backend
//	Shoot     Queued, Active       Shot   the worker: one result of several
//	Finish    Queued, Active, Shot Done   the worker: the last result; Held when Control is set
//	Release   Held                 Done   the worker, when the control message came in
//	Withdraw  Queued               Free   loop_cancel_on_next_tick (worker locked), unless Control is set
//	Deliver   Done                 Free   the delivering thread, before the callback (capi/state.h in C)
//
// A cancel or a change of events does not move the request: it sets Control (and why) while the phase is
// Queued, Active or Shot, and pushes the request on the control list of its worker's mailbox. Control stays
// set until the worker took the message from the list; that is why Finish may have to hold a request.
//
// The word: bits 0-7 phase, 8-10 control flags, 16-31 index of the worker, 32-63 magic. A free request is 0;
// a word that is neither 0 nor carries the magic was not written by us, and the request is refused.
type Phase uint64

// The phases.
const (
	Free Phase = iota
	Queued
	Active
	Shot
	Held
	Done
)

// Control flags.
const (
	Control uint64 = 1 << (8 + iota) // on the control list
	Cancel                           // an early end is asked for
	Modify                           // other events are asked for
)

const (
	phaseMask   = 0xff
	workerShift = 16
	workerMask  = 0xffff
	magic       = uint64(0x4c6f6f70) << 32
	magicMask   = uint64(0xffffffff) << 32
)

// Event is a cause for a request to change its phase.
type Event uint8

// The events.
const (
	Accept Event = iota
	Start
	Shoot
	Finish
	Release
	Withdraw
	Deliver
)

var transitions = [...]struct {
	from uint64 // bit set of phases
	to   Phase
}{
	Accept:   {1 << Free, Queued},
	Start:    {1<<Queued | 1<<Shot, Active},
	Shoot:    {1<<Queued | 1<<Active, Shot},
	Finish:   {1<<Queued | 1<<Active | 1<<Shot, Done},
	Release:  {1 << Held, Done},
	Withdraw: {1 << Queued, Free},
	Deliver:  {1 << Done, Free},
}

// Move applies an event and returns the new phase. It is the only writer of the phase in Go. An event that
// the table does not allow is an error in the engine, and panics.
func (r *Request) Move(event Event) Phase {
	transition := &transitions[event]
	for {
		word := r.state.Load()
		if transition.from>>(word&phaseMask)&1 == 0 {
			panic("request: event does not fit the phase of the request")
		}
		next := word&^uint64(phaseMask) | uint64(transition.to)
		switch {
		case event == Withdraw && word&Control != 0:
			next = word // the request is on the control list and cannot leave
		case event == Finish && word&Control != 0:
			next = word&^uint64(phaseMask) | uint64(Held)
		case event == Deliver && word&Control != 0:
			panic("request: one with a message on its way is delivered")
		case transition.to == Free:
			next = 0
		}
		if next == 0 {
			if r.free(word) {
				return Free
			}
			continue
		}
		if r.state.CompareAndSwap(word, next) {
			return Phase(next & phaseMask)
		}
	}
}

// free makes a request the program's. It has no marks then: from its next acceptance on a cancel may set one,
// so the submitter must not write there.
func (r *Request) free(word uint64) bool {
	marks := r.Marks
	r.Marks = 0
	if r.state.CompareAndSwap(word, 0) {
		return true
	}
	r.Marks = marks
	return false
}

// Admission is the answer to a submit.
type Admission int

// The answers.
const (
	Admitted Admission = iota
	InFlight           // the request is not free
	Garbage            // the request was not zeroed
)

// Admit claims a free request for the worker with the given index. Any thread may try.
func (r *Request) Admit(worker int) Admission {
	word := r.state.Load()
	if word == 0 && r.state.CompareAndSwap(0, magic|uint64(worker)<<workerShift|uint64(Queued)) {
		return Admitted
	}
	if word != 0 && word&magicMask != magic {
		return Garbage
	}
	return InFlight
}

// Refund frees a request that was admitted and is refused after all. False: a control message for it is on
// its way, so it must be pushed.
func (r *Request) Refund() bool {
	for {
		word := r.state.Load()
		if word&Control != 0 {
			return false
		}
		if r.state.CompareAndSwap(word, 0) {
			return true
		}
	}
}

// Phase returns the phase now. Other threads may change it unless the caller has the request.
func (r *Request) Phase() Phase { return Phase(r.state.Load() & phaseMask) }

// HasControl reports whether a control message is on its way.
func (r *Request) HasControl() bool { return r.state.Load()&Control != 0 }

// CancelAsked reports whether a cancel is on its way.
func (r *Request) CancelAsked() bool { return r.state.Load()&Cancel != 0 }

// Worker returns the index of the worker whose mailbox the request belongs to.
func (r *Request) Worker() int { return int(r.state.Load() >> workerShift & workerMask) }

// Asked is the answer to AskControl.
type Asked int

// The answers.
const (
	AskedFirst   Asked = iota // the caller must push the request on the control list
	AskedAgain                // a message is on its way already and carries this one too
	AskedEnding               // the request has finished and is on its way to delivery
	AskedNothing              // the request is not in flight
)

// AskControl notes a cancel or a change for a request in flight. Any thread may ask.
func (r *Request) AskControl(flags uint64) Asked {
	for {
		word := r.state.Load()
		if word&magicMask != magic {
			return AskedNothing
		}
		switch Phase(word & phaseMask) {
		case Queued, Active, Shot:
		case Held, Done:
			return AskedEnding
		default:
			return AskedNothing
		}
		if r.state.CompareAndSwap(word, word|flags|Control) {
			if word&Control != 0 {
				return AskedAgain
			}
			return AskedFirst
		}
	}
}

// TakeControl returns the flags of the control message and clears them; the request is off the list.
func (r *Request) TakeControl() uint64 {
	return r.state.And(^(Control | Cancel | Modify)) & (Control | Cancel | Modify)
}

// AskEvents notes the events that a Modify asks for. Call before AskControl.
func (r *Request) AskEvents(events uint32) { r.newEvents.Store(events) }

// AskedEvents returns what the last AskEvents noted.
func (r *Request) AskedEvents() uint32 { return r.newEvents.Load() }
