package sim

import "github.com/libloop/libloop/loop/internal/sys"

// mostTries is how often a connection knocks, each ms, at a listener whose queue is full.
const mostTries = 30

// socket is a socket: a stream or for datagrams, connected, connecting or listening.
type socket struct {
	kernel      *Kernel
	description *Description
	datagrams   bool
	tcp         bool
	in, out     *Channel // nil: not connected

	connecting bool
	attempt    int   // of connecting
	pending    int64 // SO_ERROR

	listening bool
	port      uint16
	backlog   []*socket
	mostWait  int
}

func (s *socket) state() (events uint32) {
	switch {
	case s.listening:
		if len(s.backlog) > 0 {
			events |= sys.EpollIn
		}
		return events
	case s.connecting:
		return 0
	case s.in == nil:
		events = sys.EpollOut | sys.EpollHup
	default:
		events = s.connectedState()
	}
	if s.pending != 0 {
		events |= sys.EpollErr | sys.EpollIn | sys.EpollOut
	}
	return events
}

func (s *socket) connectedState() (events uint32) {
	if s.datagrams {
		if s.in.here > 0 || s.in.deaf {
			events |= sys.EpollIn
		}
		if !s.out.datagramsFull() || s.out.deaf {
			events |= sys.EpollOut
		}
		return events
	}
	if s.in.available() > 0 || s.in.endArrived || s.in.deaf {
		events |= sys.EpollIn
	}
	if s.in.endArrived || s.in.deaf {
		events |= sys.EpollRdHup
	}
	if s.in.endArrived && (s.out.deaf || s.out.ended) {
		events |= sys.EpollHup
	}
	if s.out.writable() || s.out.deaf || s.out.ended {
		events |= sys.EpollOut
	}
	return events
}

// takeError returns the pending error and forgets it.
func (s *socket) takeError() int64 {
	errno := s.pending
	s.pending = 0
	return errno
}

func (s *socket) read(_ *Description, to []span, offset int64) int64 {
	if offset >= 0 {
		return sys.ESPIPE
	}
	return s.receive(to, 0)
}

func (s *socket) receive(to []span, flags uint32) int64 {
	peek := flags&sys.MsgPeek != 0
	switch {
	case s.in == nil && s.pending != 0:
		return s.takeError()
	case s.in == nil:
		return ENOTCONN
	case s.pending != 0 && s.in.available() == 0:
		return s.takeError()
	case s.datagrams:
		return s.in.takeDatagram(to, peek)
	}
	return s.in.take(to, peek)
}

func (s *socket) write(_ *Description, from []span, offset int64) int64 {
	if offset >= 0 {
		return sys.ESPIPE
	}
	return s.send(from)
}

func (s *socket) send(from []span) int64 {
	switch {
	case s.pending != 0:
		return s.takeError()
	case s.out == nil && s.datagrams:
		return EDESTADDRREQ
	case s.out == nil:
		return ENOTCONN
	case s.datagrams:
		return s.out.putDatagram(from)
	}
	return s.out.put(from)
}

// shutdown ends directions.
func (s *socket) shutdown(how uint32) int64 {
	if s.in == nil {
		return ENOTCONN
	}
	const read, write, both = 0, 1, 2
	if how == read || how == both {
		s.in.deaf = true
		s.description.notify(sys.EpollIn | sys.EpollRdHup)
		s.in.writer.notify(sys.EpollOut)
	}
	if how == write || how == both {
		s.out.end()
		s.description.notify(sys.EpollOut)
	}
	return 0
}

func (s *socket) release() {
	if s.listening {
		delete(s.kernel.ports, s.port)
		for _, waiting := range s.backlog {
			waiting.hangUp()
		}
	}
	s.hangUp()
}

// hangUp ends a connection because its socket is gone.
func (s *socket) hangUp() {
	s.attempt++
	s.connecting = false
	if s.in == nil {
		return
	}
	unread := s.in.available() > 0 && !s.datagrams
	s.in.deaf = true
	s.in.reader, s.out.writer = nil, nil
	if peer := s.in.writer; peer != nil {
		if other, ok := peer.file.(*socket); ok && unread {
			other.pending = ECONNRESET
		}
		peer.notify(sys.EpollOut | sys.EpollHup | sys.EpollErr)
	}
	s.out.end()
}

// join connects two sockets.
func (k *Kernel) join(a, b *socket, capacity int) {
	to := &Channel{kernel: k, capacity: capacity, writer: a.description, reader: b.description}
	from := &Channel{kernel: k, capacity: capacity, writer: b.description, reader: a.description}
	a.out, b.in, b.out, a.in = to, to, from, from
}

// beginConnect begins to connect; EINPROGRESS when that takes time, which it does unless the socket may wait.
func (s *socket) beginConnect(address uintptr) int64 {
	switch {
	case s.connecting:
		return sys.EALREADY
	case s.pending != 0:
		return s.takeError()
	case s.in != nil && s.attempt%2 == 1: // the first call after it was made
		s.attempt++
		return 0
	case s.in != nil:
		return EISCONN
	}
	port := span{address, 16}.bytes()
	number := uint16(port[2])<<8 | uint16(port[3])
	s.connecting = true
	s.attempt += 1 + s.attempt%2
	attempt := s.attempt
	tries := 0
	var reach func()
	reach = func() {
		if s.attempt != attempt || !s.connecting {
			return
		}
		listener := s.kernel.ports[number]
		switch {
		case listener != nil && len(listener.backlog) >= listener.mostWait && tries < mostTries:
			tries++
			s.kernel.After(1_000_000, reach)
			return
		case listener == nil || tries == mostTries || s.kernel.strikes(Errors):
			s.pending = ECONNREFUSED
		default:
			s.arriveAt(listener)
		}
		s.connecting = false
		if s.pending != 0 {
			s.attempt++
		}
		s.description.notify(sys.EpollOut | sys.EpollIn | sys.EpollErr)
	}
	s.kernel.After(1+s.kernel.delay(Latency), reach)
	return sys.EINPROGRESS
}

// arriveAt queues the other end at a listener. It has no description before it is accepted.
func (s *socket) arriveAt(listener *socket) {
	other := &socket{kernel: s.kernel, tcp: true}
	other.description = &Description{kernel: s.kernel, file: other}
	s.kernel.join(s, other, 1<<s.kernel.random.Range(6, 12))
	listener.backlog = append(listener.backlog, other)
	listener.description.notify(sys.EpollIn)
}

// accept takes a connection.
func (s *socket) accept() int64 {
	if !s.listening {
		return sys.EINVAL
	}
	if len(s.backlog) == 0 {
		return sys.EAGAIN
	}
	if errno := s.kernel.misfortune(acceptErrors); errno < 0 {
		if errno == sys.ECONNABORTED {
			s.backlog[0].hangUp()
			s.backlog = s.backlog[1:]
		}
		return errno
	}
	other := s.backlog[0]
	s.backlog = s.backlog[1:]
	other.description.nonblocking = true
	return int64(s.kernel.install(other.description))
}
