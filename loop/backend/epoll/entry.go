package epoll

import (
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// A waiter hangs in the list of the direction it waits for.
type direction int

const (
	reading direction = iota
	writing
	either // both directions, or neither (hang-up and error alone)
	directions
)

// entry is what is known of one descriptor number.
type entry struct {
	fd         int
	generation uint32 // counts registrations; the kernel's events carry it
	closings   uint32 // counts loop_close; a watch that began before one does not resume
	registered bool   // as far as we know; the program may have closed the descriptor since
	queued     bool   // in Backend.unarmed
	renew      bool   // arm even if the events asked for are armed already: the state must be looked at
	polled     bool   // the poll set watches it
	fresh      bool   // in Backend.fresh
	urgent     bool   // there were urgent data since the last loop_close
	deaf       bool   // events that help nobody hold on: an edge is awaited
	looked     bool   // for `direct`, since the last loop_close
	direct     bool   // transfers bypass the page cache
	unwatched  bool   // the last edge-triggered watch has ended, and left the registration armed

	armed       uint32 // events that the kernel will report; 0 after it reported one
	edgeWatches int    // edge-triggered watches, in the list or between two shots
	edgeEvents  uint32 // what those ask for
	latched     uint32 // what edges reported while no edge-triggered watch was in the list

	waiters [directions]request.List
	busy    [directions]bool // the pool has what is to be taken or sent first; other transfers wait
	waits   int              // requests in them that wait for readiness, rather than to transfer bytes
}

// edge reports whether the registration stays armed after an event.
func (e *entry) edge() bool { return e.edgeWatches > 0 || e.deaf }

// connecting reports whether the descriptor is about to be connected. Other operations are not tried
// meanwhile: they would take the error that is meant for the connect.
func (e *entry) connecting() bool {
	first := e.waiters[writing].First()
	return first != nil && first.Op == request.OpConnect
}

// urgentData in entry.edgeEvents asks to be told of urgent data.
const urgentData = 1 << 31

// empty reports whether nobody waits.
func (e *entry) empty() bool {
	return e.waiters[reading].Empty() && e.waiters[writing].Empty() && e.waiters[either].Empty()
}

// wants reports whether somebody waits for a direction. While the pool has what comes first, those who
// transfer do not: what they would be told of again and again does not help them.
func (e *entry) wants(d direction) bool {
	r := e.waiters[d].First()
	for e.busy[d] && r != nil && waitsOf(r) == 0 {
		r = r.Next
	}
	return r != nil
}

// interest returns the epoll events that the waiters want.
func (e *entry) interest() uint32 {
	asked := e.edgeEvents
	if e.wants(reading) {
		asked |= request.Readable
	}
	if e.wants(writing) {
		asked |= request.Writable
	}
	for r := e.waiters[either].First(); r != nil; r = r.Next {
		asked |= r.Events
	}
	events := uint32(0)
	if asked&request.Readable != 0 {
		events |= sys.EpollIn
	}
	if asked&request.Readable != 0 || e.waits > 0 || e.edge() {
		// Not for writes alone: a half close does not end them, and would be reported again and again.
		events |= sys.EpollRdHup
	}
	if asked&request.Writable != 0 {
		events |= sys.EpollOut
	}
	if asked&urgentData != 0 {
		events |= sys.EpollUrgent
	}
	return events
}
