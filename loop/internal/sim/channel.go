package sim

import "github.com/libloop/libloop/loop/internal/sys"

// Channel is one direction of a pipe or connection: a stream of bytes, or of datagrams. All that ever went
// through it is kept, for the checker.
type Channel struct {
	kernel   *Kernel
	History  []byte
	Taken    int // bytes that were read
	arrived  int // bytes that may be read
	capacity int
	page     int // of a pipe: room for less is none; 0: a socket

	datagrams []int // lengths of those that wait, behind Taken
	here      int   // how many of them have arrived

	ended      bool // the writer is gone, or said that it is done
	endArrived bool
	deaf       bool         // the reader is gone, or said that it reads no more
	reader     *Description // nil: gone
	writer     *Description
}

// available returns the bytes that may be read.
func (c *Channel) available() int { return c.arrived - c.Taken }

// AtEnd reports whether a read finds the end.
func (c *Channel) AtEnd() bool { return c.endArrived && c.available() == 0 }

// Ended reports whether nothing more will be written.
func (c *Channel) Ended() bool { return c.ended }

// Deaf reports whether nothing more will be read.
func (c *Channel) Deaf() bool { return c.deaf }

func (c *Channel) room() int { return c.capacity - (len(c.History) - c.Taken) }

// writable reports whether poll calls the channel that.
func (c *Channel) writable() bool {
	if c.page > 0 {
		return c.room() >= c.page
	}
	return 3*c.room() >= c.capacity
}

// put writes bytes.
func (c *Channel) put(from []span) int64 {
	wanted := total(from)
	switch room := c.room(); {
	case c.deaf || c.ended:
		return sys.EPIPE
	case wanted == 0:
		return 0
	case room <= 0, c.page > 0 && room < min(wanted, c.page):
		return sys.EAGAIN
	case c.page > 0 && wanted <= c.page:
		// Writes as short as this are atomic.
	default:
		wanted = c.shorten(min(wanted, room), sys.EpollOut)
	}
	c.History = gather(c.History, from, wanted)
	c.send(len(c.History))
	return int64(wanted)
}

// shorten makes a count smaller, perhaps. To who is told of edges only a short count means that there is no
// more for the moment, so an edge follows.
func (c *Channel) shorten(n int, event uint32) int {
	shorter := c.kernel.short(n)
	if shorter < n {
		c.kernel.After(1, func() {
			if event == sys.EpollOut {
				c.writer.notify(event)
			} else {
				c.reader.notify(event)
			}
		})
	}
	return shorter
}

// send has what was written arrive, now or later.
func (c *Channel) send(end int) {
	arrive := func() {
		if end > c.arrived {
			c.arrived = end
			if c.reader != nil {
				c.reader.notify(sys.EpollIn)
			}
		}
	}
	if delay := c.kernel.delay(Latency); delay > 0 {
		c.kernel.After(delay, arrive)
		return
	}
	arrive()
}

// take reads bytes.
func (c *Channel) take(to []span, peek bool) int64 {
	wanted := total(to)
	if wanted == 0 {
		return 0
	}
	n := min(wanted, c.available())
	if n == 0 {
		if c.endArrived || c.deaf {
			return 0
		}
		return sys.EAGAIN
	}
	n = c.shorten(n, sys.EpollIn)
	c.deliver(to, n, n, peek)
	return int64(n)
}

// deliver copies n bytes to the reader and moves its place by some more, which are lost.
func (c *Channel) deliver(to []span, n, advance int, peek bool) {
	place, left := c.Taken, n
	for _, s := range to {
		part := min(s.length, left)
		if part == 0 {
			continue
		}
		copy(s.bytes(), c.History[place:place+part])
		if !peek {
			c.kernel.Record.consumed(c, place, s.address, part)
		}
		place += part
		left -= part
	}
	if peek {
		return
	}
	before := c.writable()
	c.Taken += advance
	if !before && c.writable() {
		c.writer.notify(sys.EpollOut)
	}
}

// putDatagram sends one.
func (c *Channel) putDatagram(from []span) int64 {
	length := total(from)
	switch {
	case c.deaf:
		return ECONNREFUSED
	case length > c.capacity:
		return EMSGSIZE
	case c.datagramsFull():
		return sys.EAGAIN
	}
	c.History = gather(c.History, from, length)
	c.datagrams = append(c.datagrams, length)
	arrive := func() {
		c.here++
		c.reader.notify(sys.EpollIn)
	}
	if delay := c.kernel.delay(Latency); delay > 0 && c.here == len(c.datagrams)-1 {
		c.kernel.After(delay, arrive)
	} else if c.here == len(c.datagrams)-1 {
		arrive()
	} else {
		c.kernel.After(20_000_001, arrive) // behind those that are on their way
	}
	return int64(length)
}

func (c *Channel) datagramsFull() bool { return len(c.datagrams) >= 4 }

// takeDatagram receives one; what does not fit is lost.
func (c *Channel) takeDatagram(to []span, peek bool) int64 {
	if c.here == 0 {
		if c.deaf {
			return 0
		}
		return sys.EAGAIN
	}
	length := c.datagrams[0]
	n := min(length, total(to))
	c.deliver(to, n, length, peek)
	if !peek {
		full := c.datagramsFull()
		c.datagrams = c.datagrams[1:]
		c.here--
		if full {
			c.writer.notify(sys.EpollOut)
		}
	}
	return int64(n)
}

// end says that nothing more will be written.
func (c *Channel) end() {
	if c.ended {
		return
	}
	c.ended = true
	arrive := func() {
		c.arrived, c.endArrived = len(c.History), true
		c.reader.notify(sys.EpollIn | sys.EpollRdHup | sys.EpollHup)
	}
	if delay := c.kernel.delay(Latency); delay > 0 {
		c.kernel.After(delay, arrive)
		return
	}
	arrive()
}

// pipeEnd is one end of a pipe.
type pipeEnd struct {
	channel *Channel
	writes  bool
}

func (p *pipeEnd) state() (events uint32) {
	c := p.channel
	if !p.writes {
		if c.available() > 0 {
			events |= sys.EpollIn
		}
		if c.endArrived {
			events |= sys.EpollHup
		}
		return events
	}
	if c.writable() {
		events |= sys.EpollOut
	}
	if c.deaf {
		events |= sys.EpollErr
	}
	return events
}

func (p *pipeEnd) read(_ *Description, to []span, offset int64) int64 {
	switch {
	case p.writes:
		return sys.EBADF
	case offset >= 0:
		return sys.ESPIPE
	}
	return p.channel.take(to, false)
}

func (p *pipeEnd) write(_ *Description, from []span, offset int64) int64 {
	switch {
	case !p.writes:
		return sys.EBADF
	case offset >= 0:
		return sys.ESPIPE
	}
	return p.channel.put(from)
}

func (p *pipeEnd) release() {
	c := p.channel
	if p.writes {
		c.writer = nil
		c.end()
		return
	}
	c.reader, c.deaf = nil, true
	c.writer.notify(sys.EpollErr | sys.EpollOut)
}
