package epoll

import (
	"slices"
	"sync"

	"github.com/libloop/libloop/loop/internal/sys"
)

// pollSet watches with poll(2), on a thread of its own, the descriptors that epoll has no room for.
type pollSet struct {
	kernel  sys.Kernel
	control int    // eventfd: the set changed
	wake    func() // wakes the worker: there are events; any thread
	thread  sys.Thread

	mu      sync.Mutex
	watched map[int]polledFd
	ready   []polledFd // for collectFallback
	closing bool
}

// polledFd is a descriptor and what is wanted of it, or what happened.
type polledFd struct {
	fd         int
	generation uint32
	events     uint32
}

// pollInstead has the poll set watch a descriptor.
func (b *Backend) pollInstead(e *entry) {
	if b.fallback == nil {
		control := b.kernel.EventCreate()
		if control < 0 {
			b.failWaiters(e, control)
			return
		}
		b.fallback = startPollSet(b.kernel, int(control), func() { b.kernel.EventSignal(b.wakeFd) })
	}
	b.fallbacks.Add(1)
	e.polled, e.armed = true, 0
	e.generation++ // what poll says of the descriptor's past is stale
	b.fallback.watch(polledFd{e.fd, e.generation, e.interest()})
}

// collectFallback serves what the poll set reported.
func (b *Backend) collectFallback() {
	for _, p := range b.fallback.take() {
		e := b.table.Find(int64(p.fd))
		if !e.polled || e.generation != p.generation {
			b.stale.Add(1)
			continue
		}
		e.polled = false
		if p.events&sys.PollInvalid != 0 {
			b.failWaiters(e, sys.EBADF)
			continue
		}
		b.serve(e, p.events)
	}
}

func startPollSet(kernel sys.Kernel, control int, wake func()) *pollSet {
	s := &pollSet{kernel: kernel, control: control, wake: wake, watched: make(map[int]polledFd)}
	s.thread = kernel.StartThread("loop-poll", s.run)
	return s
}

// watch reports the next event of a descriptor, once.
func (s *pollSet) watch(p polledFd) {
	s.mu.Lock()
	s.watched[p.fd] = p
	s.mu.Unlock()
	s.kernel.EventSignal(s.control)
}

// forget stops watching a descriptor.
func (s *pollSet) forget(fd int) {
	s.mu.Lock()
	delete(s.watched, fd)
	s.mu.Unlock()
	s.kernel.EventSignal(s.control)
}

// take returns the events so far.
func (s *pollSet) take() []polledFd {
	s.mu.Lock()
	defer s.mu.Unlock()
	ready := s.ready
	s.ready = nil
	return ready
}

func (s *pollSet) close() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.kernel.EventSignal(s.control)
	s.thread.Join()
	s.kernel.Close(s.control, false)
}

// run is the life of the thread.
func (s *pollSet) run() {
	const pauseMs = 1
	var fds []sys.PollFd
	var asked []polledFd // what the entries of fds but the first stand for
	for {
		asked = asked[:0]
		fds = append(fds[:0], sys.PollFd{Fd: int32(s.control), Events: sys.EpollIn})
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			return
		}
		for _, p := range s.watched {
			asked = append(asked, p)
		}
		// In order, so that a run can be repeated.
		slices.SortFunc(asked, func(a, b polledFd) int { return a.fd - b.fd })
		for _, p := range asked {
			fds = append(fds, sys.PollFd{Fd: int32(p.fd), Events: int16(p.events)})
		}
		s.mu.Unlock()
		if s.kernel.Poll(fds, -1) < 0 {
			// Out of memory even for this. All that is left is to try again.
			s.kernel.Poll(nil, pauseMs)
			continue
		}
		if fds[0].Revents != 0 {
			s.kernel.EventClear(s.control)
		}
		s.report(asked, fds[1:])
	}
}

// report moves the descriptors that poll found ready from watched to ready, unless they were forgotten, or
// watched anew, meanwhile.
func (s *pollSet) report(asked []polledFd, fds []sys.PollFd) {
	s.mu.Lock()
	for i, p := range asked {
		if fds[i].Revents == 0 || s.watched[p.fd].generation != p.generation {
			continue
		}
		delete(s.watched, p.fd)
		p.events = uint32(uint16(fds[i].Revents))
		s.ready = append(s.ready, p)
	}
	found := len(s.ready) > 0
	s.mu.Unlock()
	if found {
		s.wake()
	}
}
