package request

import "sync/atomic"

// Shared is what the threads of one loop share, beside their mailboxes.
type Shared struct {
	stop         atomic.Uint32 // loop_stop was called
	lifecycle    atomic.Uint32 // Opened, Closing or Closed
	referenced   atomic.Uint64 // references taken,
	dereferenced atomic.Uint64 // and dropped
	withdrawn    atomic.Uint64 // ticks taken back, and submits refused after they were counted
	harvest      atomic.Pointer[Request]
	threads      uint32
	embedded     atomic.Uint32 // loop_backend_fd was called
	running      atomic.Uint32 // somebody is inside loop_run, loop_run_once, loop_wait or loop_deinit
}

// The life of a loop.
const (
	Closed uint32 = iota // not made yet, or ended
	Opened
	Closing // loop_deinit is at work: nothing new is accepted
	Broken  // an internal error happened: nothing works any more
)

// Init opens a loop of so many threads in zeroed memory.
func (s *Shared) Init(threads int) {
	s.threads = uint32(threads)
	s.lifecycle.Store(Opened)
}

// Open reports whether the loop accepts requests.
func (s *Shared) Open() bool { return s.lifecycle.Load() == Opened }

// BeginClosing ends acceptance; false if it was over.
func (s *Shared) BeginClosing() bool { return s.lifecycle.CompareAndSwap(Opened, Closing) }

// Break says that the loop met an internal error.
func (s *Shared) Break() { s.lifecycle.Store(Broken) }

// Broken reports whether Break was called.
func (s *Shared) Broken() bool { return s.lifecycle.Load() == Broken }

// Claim makes the caller the one who runs the loop; false if there is one. Unclaim ends that.
func (s *Shared) Claim() bool { return s.running.CompareAndSwap(0, 1) }

// Unclaim gives the loop free.
func (s *Shared) Unclaim() { s.running.Store(0) }

// EndClosing says that the loop is gone.
func (s *Shared) EndClosing() { s.lifecycle.Store(Closed) }

// Stop asks the loop to return; TakeStop answers and forgets it.
func (s *Shared) Stop() { s.stop.Store(1) }

// Stopped reports whether a stop was asked for.
func (s *Shared) Stopped() bool { return s.stop.Load() != 0 }

// TakeStop forgets a stop, and reports whether there was one.
func (s *Shared) TakeStop() bool { return s.Stopped() && s.stop.Swap(0) != 0 }

// Ref holds a reference.
func (s *Shared) Ref() { s.referenced.Add(1) }

// Unref drops a reference; false when none is held.
func (s *Shared) Unref() bool {
	for {
		dropped := s.dereferenced.Load()
		if dropped >= s.referenced.Load() {
			return false
		}
		if s.dereferenced.CompareAndSwap(dropped, dropped+1) {
			return true
		}
	}
}

// CountWithdrawn says that an accepted request will not be delivered.
func (s *Shared) CountWithdrawn() { s.withdrawn.Add(1) }

// HasHarvest reports whether a completion waits to be harvested.
func (s *Shared) HasHarvest() bool { return s.harvest.Load() != nil }

// PushHarvest queues a completion for harvest. Any loop thread.
func (s *Shared) PushHarvest(r *Request) { push(&s.harvest, r, &r.Next) }

// TakeHarvest empties the harvest and returns its requests, oldest first, linked through Next.
func (s *Shared) TakeHarvest() *Request { return takeAll(&s.harvest) }

// Embedded reports whether another loop watches this one's descriptor.
func (s *Shared) Embedded() bool { return s.embedded.Load() != 0 }

// SetEmbedded says that another loop watches this one's descriptor.
func (s *Shared) SetEmbedded() { s.embedded.Store(1) }

// Pending returns the number of requests in flight plus references. When it returns 0, there was a moment
// when nothing was pending: ends are read before beginnings, both only grow, and no end precedes its
// beginning. References count only while the loop is open: its end does not wait for them.
func (s *Shared) Pending(mailboxes []*Mailbox) int64 {
	dropped := s.dereferenced.Load()
	inFlight := s.InFlight(mailboxes)
	if !s.Open() {
		return inFlight
	}
	return inFlight + int64(s.referenced.Load()-dropped)
}

// InFlight is Pending without the references.
func (s *Shared) InFlight(mailboxes []*Mailbox) int64 {
	ended := s.withdrawn.Load()
	for _, m := range mailboxes {
		ended += m.delivered.Load()
	}
	var begun uint64
	for _, m := range mailboxes {
		begun += m.foreignAccepted.Load() + m.localAccepted.Load()
	}
	return int64(begun - ended)
}
