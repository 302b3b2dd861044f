package loop

import (
	"fmt"
	"time"

	"github.com/libloop/libloop/loop/internal/sim"
)

// simKind is what an operation does.
type simKind int

const (
	simTick simKind = iota
	simTimer
	simWork
	simWait
	simWatch
	simRead
	simWrite
	simReadAt
	simWriteAt
	simOpen
	simAccess
	simClose
	simAccept
	simConnect
	simReceive
	simSend
	simShutdown
	simSendfile
	simCancelFd
	simKinds
)

var simKindNames = [simKinds]string{"tick", "timer", "work", "wait", "watch", "read", "write", "read at",
	"write at",
	"open", "access", "close", "accept", "connect", "receive", "send", "shutdown", "sendfile", "cancel fd"}

// simOperation is a request, from its submission to its end, and what the checker knows of it.
type simOperation struct {
	index   int
	kind    simKind
	request *Request
	random  sim.Random
	file    *simFile
	fd      int
	source  *simFile // of sendfile

	memory []byte // the buffer, or what is to be written
	offset int64
	length int
	events uint32
	asked  uint32 // the events of a watch, after changes
	all    bool   // MSG_WAITALL, SendAll
	multi  bool   // of accept and receive
	pooled bool   // of receive: into buffers of the pool

	submitted   uint64 // when, in what the kernel counts
	submittedAt uint64 // and on its clock
	timeout     uint64
	delay       uint64
	deadline    uint64 // of a timer, as the engine has it
	period      uint64
	harvested   bool // has no callback
	cancelled   bool
	worked      int           // calls of the work function
	chain       *simOperation // of a tick: what is to complete although tick follows tick
	links       int           // ticks in the chain

	shots    int
	lastShot uint64 // when
	ended    bool
	endedAt  uint64
	result   int64
	after    simSnapshot
	reused   bool
}

func (o *simOperation) String() string {
	name := fmt.Sprintf("%d (%s", o.index, simKindNames[o.kind])
	if o.file != nil {
		name += fmt.Sprintf(" on %d", o.fd)
	}
	if o.memory != nil {
		name += fmt.Sprintf(", %d bytes", len(o.memory))
	}
	if o.timeout > 0 {
		name += fmt.Sprintf(", timeout %v", time.Duration(o.timeout))
	}
	return name + ")"
}

// isMulti reports whether the operation completes again and again.
func (o *simOperation) isMulti() bool {
	return o.kind == simWatch || o.kind == simTimer && o.period > 0 || o.multi
}

// simFill is byte i of what an operation writes.
func (o *simOperation) simFill() {
	for i := range o.memory {
		o.memory[i] = byte(o.index*37 + i*7 + i>>8)
	}
}

const simCanary = 0xa7

// buffer makes memory to read into.
func (o *simOperation) buffer(n int) {
	o.memory = make([]byte, n)
	for i := range o.memory {
		o.memory[i] = simCanary
	}
}

// begin makes an operation; nil when there were enough.
func (p *simProgram) begin(kind simKind, r *sim.Random, f *simFile) *simOperation {
	if p.budget--; p.budget < 0 || p.closing {
		return nil
	}
	o := &simOperation{index: len(p.operations), kind: kind, file: f, random: sim.NewRandom(r.Next())}
	if n := len(p.spare); n > 0 && r.OneIn(2) {
		o.request = p.spare[n-1]
		p.spare = p.spare[:n-1]
		p.requests[o.request].reused = true
	} else {
		o.request = new(Request)
	}
	if f != nil {
		o.fd = f.fd
	}
	if r.OneIn(6) {
		o.timeout = uint64(r.Range(1, 10_000_000))
	}
	o.harvested = r.OneIn(8) && p.left > 0
	return o
}

// submit puts it in flight.
func (p *simProgram) submit(o *simOperation, call func(*Request, func(*Request)) error) {
	o.submitted, o.submittedAt = p.kernel.Record.Sequence(), p.kernel.Time()
	o.request.SetTimeout(time.Duration(o.timeout))
	done := p.completed
	if o.harvested {
		done = nil
		p.harvest++
	}
	p.operations = append(p.operations, o)
	p.flying[o] = true
	p.requests[o.request] = o
	if o.file != nil {
		o.file.requests++
	}
	p.trace("submit %v", o)
	if err := call(o.request, done); err != nil {
		p.fail("submit of %v: %v", o, err)
	}
	if o.request.core.Phase() == 0 {
		p.fail("%v completed in its submit", o)
	}
	p.regret(o)
}

// regret has an operation cancelled soon, perhaps: about when it completes.
func (p *simProgram) regret(o *simOperation) {
	if !o.random.OneIn(8) || o.kind == simClose || o.kind == simWatch {
		return
	}
	p.kernel.After(uint64(o.random.Below(100_000)), func() {
		if p.flying[o] && !o.reused && !p.closing {
			p.cancel(o)
		}
	})
}

// completed is the callback of all requests.
func (p *simProgram) completed(r *Request) {
	o := p.requests[r]
	if o == nil || !p.flying[o] {
		p.fail("%v completes again, with %d", o, r.Result())
	}
	p.trace("%v completes: %d, more: %v", o, r.Result(), r.More())
	p.completions++
	if !p.closing && !o.harvested && p.loop.Pending() == 0 {
		p.fail("the callback of %v runs, and nothing is pending", o)
	}
	more := r.More() // another operation may have the request soon
	p.check(o, r.Result(), more)
	if more {
		o.shots++
		o.lastShot = p.kernel.Record.Sequence()
	} else {
		p.ended(o, r.Result())
	}
	p.learn(o, r.Result())
	if p.closing {
		return
	}
	// Others help a thread whose callback runs long, and the next edge may come meanwhile.
	isEdge := o.events&EdgeTriggered != 0
	if p.threads > 1 && (o.random.OneIn(12) || isEdge && o.random.OneIn(2)) {
		p.kernel.Sleep(uint64(o.random.Below(3_000_000)))
	}
	if p.closing {
		return
	}
	if o.chain != nil {
		p.link(o.chain, o.links+1)
	}
	if o.random.OneIn(p.reacting) {
		p.act(&o.random)
	}
	if more && (o.shots > 30 || o.random.OneIn(12)) {
		p.cancel(o)
	}
}

// ended notes the last completion.
func (p *simProgram) ended(o *simOperation, result int64) {
	o.ended, o.result, o.endedAt = true, result, p.kernel.Record.Sequence()
	delete(p.flying, o)
	if o.file != nil {
		o.file.requests--
	}
	if o.harvested {
		p.harvest--
	}
	o.after.take(o)
	p.spare = append(p.spare, o.request)
}

// learn takes over the descriptors that results name.
func (p *simProgram) learn(o *simOperation, result int64) {
	switch {
	case o.kind == simOpen && result >= 0:
		f := p.add(simRegular, int(result))
		f.immutable = false
	case o.kind == simAccept && result >= 0:
		p.add(simStream, int(result))
	case o.kind == simConnect && result == 0:
		o.file.kind = simStream
	case o.kind == simClose && o.ended:
		o.file.closed = result != -9 && result != -125
		o.file.closing = o.file.closed
		if result == -9 {
			p.fail("%v: the descriptor was gone", o)
		}
	}
}

// cancel asks for the end of an operation.
func (p *simProgram) cancel(o *simOperation) {
	p.trace("cancel %v", o)
	if p.loop.Cancel(o.request) {
		o.cancelled = true
	} else if p.flying[o] && !o.harvested {
		p.fail("%v is in flight, and cannot be cancelled", o)
	}
}
