package loop

import (
	"fmt"
	"time"

	"github.com/libloop/libloop/loop/internal/sim"
	"github.com/libloop/libloop/loop/internal/sys"
)

// simActionKinds is how many things a program may do.
const simActionKinds = 35

// act does one thing at random.
func (p *simProgram) act(r *sim.Random) {
	if !p.finishing && p.loop != nil && len(p.actions) > 0 {
		p.perform(p.actions[r.Below(len(p.actions))], r)
	}
}

// soon does something at a time below `most` ns from now, unless nothing new is begun by then.
func (p *simProgram) soon(r *sim.Random, most int, act func(*sim.Random)) {
	random := sim.NewRandom(r.Next())
	p.kernel.After(uint64(r.Below(most)), func() {
		if !p.finishing {
			act(&random)
		}
	})
}

func (p *simProgram) perform(action int, r *sim.Random) {
	switch action {
	case 0, 1:
		p.submitTick(r)
	case 2, 3:
		p.submitTimer(r)
	case 4:
		p.submitWork(r)
	case 5:
		p.submitReady(r, simWait)
	case 6:
		p.submitReady(r, simWatch)
	case 7:
		p.modify(r)
	case 8, 9:
		p.submitRead(r)
	case 10, 11:
		p.submitWrite(r)
	case 12:
		p.submitReadAt(r)
	case 13:
		p.submitWriteAt(r)
	case 14:
		p.submitPath(r)
	case 15:
		p.submitClose(r)
	case 16:
		p.submitAccept(r)
	case 17:
		p.submitConnect(r)
	case 18, 19:
		p.submitReceive(r)
	case 20, 21:
		p.submitSend(r)
	case 22:
		p.submitShutdown(r)
	case 23:
		p.submitSendfile(r)
	case 24:
		p.submitCancelFd(r)
	case 32, 33:
		p.submitPooled(r)
	case 34:
		p.startChain(r)
	default:
		p.interfere(action, r)
	}
}

// interfere does what is no operation.
func (p *simProgram) interfere(action int, r *sim.Random) {
	switch action {
	case 25:
		p.cancelOne(r)
	case 26, 27, 28:
		for range 3 {
			p.feed(r)
		}
	case 29:
		p.shuffleNumbers(r)
	case 30:
		if r.OneIn(3) {
			p.stop()
		} else {
			p.makeFile(r)
		}
	case 31:
		if p.refs > 0 && r.OneIn(2) {
			p.refs--
			p.loop.Unref()
		} else if p.left > 0 {
			p.refs++
			p.loop.Ref()
			p.kernel.After(uint64(r.Below(10_000_000)), p.dropReference)
		}
	}
}

func (p *simProgram) dropReference() {
	if p.refs > 0 && !p.closing {
		p.refs--
		if err := p.loop.Unref(); err != nil {
			p.fail("unref: %v", err)
		}
	}
}

func (p *simProgram) cancelOne(r *sim.Random) {
	if len(p.operations) == 0 {
		return
	}
	o := p.operations[len(p.operations)-1-r.Below(min(len(p.operations), 12))]
	if o.kind == simTick && r.OneIn(2) && !o.reused {
		if p.loop.CancelOnNextTick(o.request) {
			p.trace("%v was taken back", o)
			if !p.flying[o] {
				p.fail("%v was taken back after it had completed", o)
			}
			p.ended(o, 0)
		}
		return
	}
	if !o.reused {
		p.cancel(o)
	}
}

func (p *simProgram) submitTick(r *sim.Random) {
	if o := p.begin(simTick, r, nil); o != nil {
		p.submit(o, func(q *Request, done func(*Request)) error { return p.loop.OnNextTick(q, done) })
	}
}

// startChain waits for what holds already, while each tick submits another one.
func (p *simProgram) startChain(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && p.isWritable(f) })
	if f == nil {
		return
	}
	o := p.begin(simWait, r, f)
	if o == nil {
		return
	}
	o.events, o.harvested = Writable, false
	p.submit(o, func(q *Request, done func(*Request)) error {
		return p.loop.WaitUntilReady(q, f.fd, Writable, done)
	})
	p.link(o, 0)
}

func (p *simProgram) isWritable(f *simFile) bool {
	return f.writes() && !f.blocking && f.description.State()&sys.EpollOut != 0
}

// mostTurns is how many turns something may take that is ready. A turn brings no more completions than the
// queue of a ring has room for, and what was submitted before may come first.
func (p *simProgram) mostTurns(o *simOperation) int {
	turns := 50
	if entries := int(p.kernel.RingEntries); entries > 0 {
		turns += o.index / entries
	}
	return turns
}

// link adds a tick to a chain, until what it is about completes.
func (p *simProgram) link(o *simOperation, links int) {
	if o.ended || p.finishing || !p.isWritable(o.file) || o.file.closing {
		return
	}
	ratio := &p.kernel.Faults.Ratio
	if links > p.mostTurns(o) {
		slow := ratio[sim.Lateness] + ratio[sim.Refusals] + ratio[sim.LostSubmitters] + ratio[sim.FewWatches]
		if slow == 0 && p.threads == 1 {
			p.fail("%v waits behind %d turns of ticks", o, links)
		}
		return
	}
	random := sim.NewRandom(uint64(links))
	if tick := p.begin(simTick, &random, nil); tick != nil {
		tick.timeout, tick.harvested, tick.chain, tick.links = 0, false, o, links
		p.submit(tick, func(q *Request, done func(*Request)) error { return p.loop.OnNextTick(q, done) })
	}
}

func (p *simProgram) submitTimer(r *sim.Random) {
	o := p.begin(simTimer, r, nil)
	if o == nil {
		return
	}
	scale := []int{1, 1_000, 100_000, 10_000_000}[r.Below(4)]
	o.delay = uint64(r.Below(scale))
	if r.OneIn(4) {
		o.period = uint64(1 + r.Below(scale))
	}
	if last := p.lastTimer; last != nil && r.OneIn(3) && last.deadline > p.kernel.Time()+sim.ClockNs {
		o.delay = last.deadline - p.kernel.Time() - sim.ClockNs // due at the same time
	}
	p.submit(o, func(q *Request, done func(*Request)) error {
		return p.loop.StartTimer(q, time.Duration(o.delay), time.Duration(o.period), done)
	})
	o.deadline = o.request.core.Deadline
	p.lastTimer = o
}

func (p *simProgram) submitWork(r *sim.Random) {
	o := p.begin(simWork, r, nil)
	if o == nil {
		return
	}
	duration := uint64(0)
	if r.OneIn(2) {
		duration = uint64(r.Below(3_000_000))
	}
	p.submit(o, func(q *Request, done func(*Request)) error {
		return p.loop.QueueWork(q, func() {
			o.worked++
			p.kernel.Sleep(duration)
		}, done)
	})
}

func (p *simProgram) submitReady(r *sim.Random, kind simKind) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && f.kind != simUnconnected })
	if f == nil {
		return
	}
	o := p.begin(kind, r, f)
	if o == nil {
		return
	}
	o.events = []uint32{Readable, Writable, Readable | Writable, Readable, 0}[r.Below(5)]
	if kind == simWait {
		p.submit(o, func(q *Request, done func(*Request)) error {
			return p.loop.WaitUntilReady(q, f.fd, o.events, done)
		})
		return
	}
	o.asked = o.events
	if r.OneIn(2) {
		o.events |= EdgeTriggered
		p.agitate(f, r)
	}
	p.submit(o, func(q *Request, done func(*Request)) error { return p.loop.Watch(q, f.fd, o.events, done) })
}

// submitWaitOn waits until a file becomes readable or writable.
func (p *simProgram) submitWaitOn(f *simFile, r *sim.Random) {
	if o := p.begin(simWait, r, f); o != nil {
		o.events = []uint32{Readable, Writable}[r.Below(2)]
		p.submit(o, func(q *Request, done func(*Request)) error {
			return p.loop.WaitUntilReady(q, f.fd, o.events, done)
		})
	}
}

func (p *simProgram) modify(r *sim.Random) {
	for _, o := range p.operations {
		if o.kind == simWatch && p.flying[o] && r.OneIn(2) {
			events := []uint32{Readable, Writable, Readable | Writable}[r.Below(3)]
			p.trace("modify %v: %d", o, events)
			o.asked = events
			o.events |= events // what was asked for before may still be reported
			if !p.loop.ModifyWatch(o.request, events) && !o.harvested {
				p.fail("%v is in flight, and its events cannot be changed", o)
			}
			return
		}
	}
}

func (p *simProgram) submitRead(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && f.reads() })
	if f == nil {
		return
	}
	if o := p.begin(simRead, r, f); o != nil {
		o.buffer(r.Range(1, 400))
		p.submit(o, func(q *Request, done func(*Request)) error {
			return p.loop.Read(q, f.fd, o.memory, done)
		})
	}
}

func (p *simProgram) submitWrite(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && f.writes() })
	if f == nil {
		return
	}
	if o := p.begin(simWrite, r, f); o != nil {
		o.memory = make([]byte, r.Range(1, 300))
		o.simFill()
		f.sends = append(f.sends, o)
		p.submit(o, func(q *Request, done func(*Request)) error {
			return p.loop.Write(q, f.fd, o.memory, done)
		})
	}
}

func (p *simProgram) submitReadAt(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && f.kind == simRegular })
	if f == nil {
		return
	}
	if o := p.begin(simReadAt, r, f); o != nil {
		o.buffer(r.Range(1, 300))
		o.offset = int64(r.Below(700))
		p.submit(o, func(q *Request, done func(*Request)) error {
			return p.loop.ReadAt(q, f.fd, o.memory, o.offset, done)
		})
	}
	if r.OneIn(3) { // while a thread of the pool may be reading
		p.soon(r, 100_000, func(r *sim.Random) {
			if f.usable() && !p.isSource(f) {
				p.closeFile(f, r)
			}
		})
	}
}

func (p *simProgram) submitWriteAt(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && f.kind == simRegular && !f.immutable })
	if f == nil {
		return
	}
	if o := p.begin(simWriteAt, r, f); o != nil {
		o.memory = make([]byte, r.Range(1, 200))
		o.simFill()
		o.offset = int64(o.index * 200 % 60_000) // nobody else's place
		p.submit(o, func(q *Request, done func(*Request)) error {
			return p.loop.WriteAt(q, f.fd, o.memory, o.offset, done)
		})
	}
}

func (p *simProgram) submitPath(r *sim.Random) {
	const create, cwd = 0o100, -100
	path, flags := fmt.Sprintf("/new%d", r.Below(4)), []int{2 | create, 2}[r.Below(2)]
	kind := []simKind{simOpen, simAccess}[r.Below(2)]
	o := p.begin(kind, r, nil)
	if o == nil {
		return
	}
	o.fd = cwd
	p.submit(o, func(q *Request, done func(*Request)) error {
		if kind == simOpen {
			return p.loop.Open(q, path, flags, 0o600, done)
		}
		return p.loop.Access(q, cwd, path, 4, 0, done)
	})
}

func (p *simProgram) submitClose(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && !p.isSource(f) })
	if f != nil && r.OneIn(2) {
		p.closeFile(f, r)
	}
}

func (p *simProgram) closeFile(f *simFile, r *sim.Random) {
	if o := p.begin(simClose, r, f); o != nil {
		o.timeout, o.harvested = 0, false
		f.closing = true
		p.submit(o, func(q *Request, done func(*Request)) error { return p.loop.CloseFd(q, f.fd, done) })
	}
}

func (p *simProgram) submitCancelFd(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() })
	if f == nil {
		return
	}
	if o := p.begin(simCancelFd, r, f); o != nil {
		p.submit(o, func(q *Request, done func(*Request)) error { return p.loop.CancelFd(q, f.fd, done) })
	}
}

func (p *simProgram) submitAccept(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && f.kind == simListener })
	if f == nil {
		return
	}
	o := p.begin(simAccept, r, f)
	if o == nil {
		return
	}
	flags := uint32(0)
	if r.OneIn(2) {
		o.multi, flags = true, Multishot
	}
	o.harvested = false // or a descriptor might be lost
	p.submit(o, func(q *Request, done func(*Request)) error { return p.loop.Accept(q, f.fd, flags, done) })
}

func (p *simProgram) submitConnect(r *sim.Random) {
	listener := p.pick(r, func(f *simFile) bool { return f.kind == simListener })
	if listener == nil {
		return
	}
	fd := int(p.kernel.Socket(2, 1, 0))
	f := p.add(simUnconnected, fd)
	o := p.begin(simConnect, r, f)
	if o == nil {
		return
	}
	port := listener.port
	if r.OneIn(10) {
		port = 9999
	}
	address := make([]byte, 16)
	address[2], address[3] = byte(port>>8), byte(port)
	o.harvested = false
	p.submit(o, func(q *Request, done func(*Request)) error { return p.loop.Connect(q, fd, address, done) })
}

func (p *simProgram) submitReceive(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && f.isSocket() })
	if f == nil {
		return
	}
	o := p.begin(simReceive, r, f)
	if o == nil {
		return
	}
	const waitAll = 0x100
	flags := uint32(0)
	if r.OneIn(3) {
		o.all, flags = true, waitAll
	}
	o.buffer(r.Range(1, 400))
	p.submit(o, func(q *Request, done func(*Request)) error {
		return p.loop.Receive(q, f.fd, o.memory, flags, done)
	})
}

func (p *simProgram) submitSend(r *sim.Random) {
	if f := p.pick(r, func(f *simFile) bool { return f.usable() && f.isSocket() }); f != nil {
		p.send(f, r)
	}
}

func (p *simProgram) send(f *simFile, r *sim.Random) {
	o := p.begin(simSend, r, f)
	if o == nil {
		return
	}
	flags := uint32(0)
	if r.OneIn(2) && f.kind == simStream {
		o.all, flags = true, SendAll
	}
	o.memory = make([]byte, r.Range(1, 250))
	o.simFill()
	f.sends = append(f.sends, o)
	p.submit(o, func(q *Request, done func(*Request)) error {
		return p.loop.Send(q, f.fd, o.memory, flags, done)
	})
}

func (p *simProgram) submitShutdown(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && f.kind == simStream })
	if f == nil || !r.OneIn(3) {
		return
	}
	if o := p.begin(simShutdown, r, f); o != nil {
		how := []int{1, 1, 2}[r.Below(3)]
		p.submit(o, func(q *Request, done func(*Request)) error {
			return p.loop.Shutdown(q, f.fd, how, done)
		})
	}
}

func (p *simProgram) submitSendfile(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && f.kind == simStream })
	source := p.pick(r, func(f *simFile) bool { return f.usable() && f.kind == simRegular && f.immutable })
	if f == nil || source == nil {
		return
	}
	o := p.begin(simSendfile, r, f)
	if o == nil {
		return
	}
	flags := uint32(0)
	if r.OneIn(2) {
		o.all, flags = true, SendAll
	}
	o.source = source
	source.requests++
	o.offset, o.length = int64(r.Below(100)), r.Range(1, 400)
	f.sends = append(f.sends, o)
	p.submit(o, func(q *Request, done func(*Request)) error {
		return p.loop.Sendfile(q, f.fd, source.fd, o.offset, int64(o.length), flags, done)
	})
	if r.OneIn(2) { // it waits behind the part of the file
		p.send(f, r)
	}
}
