package loop

import (
	"math/rand"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libloop/libloop/loop/internal/sys"
)

// Operations on sockets under load, on every backend and on rings that are much too short. What the C suites
// show of single operations is not repeated here.

// conversation sends a stream of numbered bytes through a socket, in requests of all sizes of which some are
// cancelled, and checks what arrives.
type conversation struct {
	t      *testing.T
	l      *Loop
	random *rand.Rand

	sender, receiver int
	sends            [8]Request
	sizes            [8]int
	buffers          [8][]byte
	left             int // requests still to be submitted
	inFlight         int
	sent             int // bytes that the results of sends say

	receive  Request
	buffer   []byte
	received int
	ended    bool
	shutdown Request
}

func newConversation(t *testing.T, l *Loop, seed int64, requests int) *conversation {
	ours, peers := socketPair(t)
	must(t, unix.SetsockoptInt(ours, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<10))
	c := &conversation{t: t, l: l, random: rand.New(rand.NewSource(seed)), sender: ours, receiver: peers,
		left: requests, buffer: make([]byte, 3000)}
	return c
}

// byteAt is the byte at a place of the stream.
func byteAt(place int) byte { return byte(place*7 + place>>9) }

// fill fills a buffer with the bytes of the stream from a place on.
func fill(buffer []byte, place int) {
	for i := range buffer {
		buffer[i] = byteAt(place + i)
	}
}

// start begins with several sends at once, whose places in the stream follow each other: all send all they
// have.
func (c *conversation) start() {
	place := c.sent
	for i := range c.sends {
		if c.left == 0 {
			break
		}
		c.left--
		c.inFlight++
		c.sizes[i] = 1 + c.random.Intn(20_000)
		c.buffers[i] = make([]byte, c.sizes[i])
		fill(c.buffers[i], place)
		place += c.sizes[i]
		must(c.t, c.l.Send(&c.sends[i], c.sender, c.buffers[i], SendAll, c.sentOne))
	}
	if c.inFlight == 0 {
		must(c.t, c.l.Shutdown(&c.shutdown, c.sender, unix.SHUT_WR, func(r *Request) { must(c.t, r.Err()) }))
	}
}

func (c *conversation) sentOne(r *Request) {
	c.inFlight--
	for i := range c.sends {
		if r == &c.sends[i] && int(r.Result()) != c.sizes[i] {
			c.t.Errorf("send %d of %d bytes: %d", i, c.sizes[i], r.Result())
		}
	}
	c.sent += int(max(r.Result(), 0))
	if c.inFlight == 0 {
		c.start()
	}
}

func (c *conversation) listen() {
	flags := uint32(0)
	if c.random.Intn(2) == 0 {
		flags = unix.MSG_WAITALL
	}
	size := 1 + c.random.Intn(len(c.buffer))
	must(c.t, c.l.Receive(&c.receive, c.receiver, c.buffer[:size], flags, c.heard))
}

func (c *conversation) heard(r *Request) {
	if r.Result() <= 0 {
		must(c.t, r.Err())
		c.ended = true
		return
	}
	for i, b := range c.buffer[:r.Result()] {
		if b != byteAt(c.received+i) {
			c.t.Errorf("byte %d is wrong", c.received+i)
			return
		}
	}
	c.received += int(r.Result())
	c.listen()
}

func TestStreamsOfManySendsArriveWholeAndInOrder(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		l := open(t, Options{Threads: 1, BlockingThreads: 2})
		converse(t, l, 20, 60)
		must(t, l.Close())
	})
}

func TestStreamsArriveWholeThroughARingThatRefuses(t *testing.T) {
	onUnreliableRings(t, func(t *testing.T, l *Loop) { converse(t, l, 5, 20) })
}

// converse holds several conversations of so many sends on a loop.
func converse(t *testing.T, l *Loop, pairs, sends int) {
	var conversations []*conversation
	for seed := range pairs {
		c := newConversation(t, l, int64(seed), sends)
		c.start()
		c.listen()
		conversations = append(conversations, c)
	}
	runWithin(t, l)
	for i, c := range conversations {
		if !c.ended || c.received != c.sent || c.received == 0 {
			t.Errorf("conversation %d: %d bytes sent, %d received, ended: %v", i, c.sent, c.received, c.ended)
		}
	}
}

func TestASendThatIsCancelledReportsWhatThePeerGot(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		l := open(t, Options{Threads: 1, BlockingThreads: 2})
		ours, peers := socketPair(t)
		data := make([]byte, 4<<20)
		var send, tick Request
		must(t, l.Send(&send, ours, data, SendAll, func(*Request) {}))
		must(t, l.StartTimer(&tick, 20_000_000, 0, func(*Request) { l.Cancel(&send) }))
		runWithin(t, l)
		must(t, syscall.SetNonblock(peers, true))
		got, buffer := 0, make([]byte, 1<<16)
		for {
			n, err := unix.Read(peers, buffer)
			if err == syscall.EAGAIN {
				break
			}
			must(t, err)
			got += n
		}
		if got == 0 || int64(got) != send.Result() {
			t.Errorf("the result is %d, and the peer got %d", send.Result(), got)
		}
		must(t, l.Close())
	})
}

func TestCloseInFullFlightEndsEverySocketOperation(t *testing.T) {
	forEachBackend(t, func(t *testing.T, open opener) {
		l := open(t, Options{Threads: 1, BlockingThreads: 2})
		const pairs = 200
		var ended atomic.Int64
		count := func(*Request) { ended.Add(1) }
		requests := make([]Request, 6*pairs)
		for i := range pairs {
			ours, peers := socketPair(t)
			r := requests[6*i:]
			data := make([]byte, 1<<20)
			must(t, l.Receive(&r[0], ours, make([]byte, 100), 0, count))
			must(t, l.Receive(&r[1], ours, make([]byte, 100), unix.MSG_WAITALL, count))
			must(t, l.Send(&r[2], peers, data[:1000], 0, count))
			must(t, l.Send(&r[3], ours, data, SendAll, count))
			must(t, l.Send(&r[4], ours, data, 0, count))
			must(t, l.Shutdown(&r[5], ours, unix.SHUT_WR, count))
		}
		for range 3 {
			_, err := l.RunOnce(0)
			must(t, err)
		}
		must(t, l.Close())
		if ended.Load() != int64(len(requests)) {
			t.Errorf("%d of %d requests ended", ended.Load(), len(requests))
		}
	})
}

// stingy is the operating system, with direct sends and receives that move one byte, or find nothing ready.
type stingy struct {
	sys.Linux
	calls atomic.Int64
}

func (k *stingy) Send(fd int, address uintptr, length uint64, flags uint32) int64 {
	if k.calls.Add(1)%3 == 0 {
		return sys.EAGAIN
	}
	return k.Linux.Send(fd, address, min(length, 1), flags)
}

func (k *stingy) Receive(fd int, address uintptr, length uint64, flags uint32) int64 {
	if k.calls.Add(1)%3 == 0 {
		return sys.EAGAIN
	}
	return k.Linux.Receive(fd, address, min(length, 1), flags)
}

func TestTransfersThatCrawlArriveWhole(t *testing.T) {
	l, err := newLoop(&stingy{}, Options{Threads: 1, BlockingThreads: 2, Backend: BackendEpoll})
	must(t, err)
	ours, peers := socketPair(t)
	data, buffer := make([]byte, 500), make([]byte, 500)
	fill(data, 0)
	var send, receive Request
	must(t, l.Send(&send, ours, data, SendAll, func(*Request) {}))
	must(t, l.Receive(&receive, peers, buffer, unix.MSG_WAITALL, func(*Request) {}))
	runWithin(t, l)
	if send.Result() != 500 || receive.Result() != 500 || string(buffer) != string(data) {
		t.Errorf("sent %d, received %d", send.Result(), receive.Result())
	}
	must(t, l.Close())
}
