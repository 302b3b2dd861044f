package loop

import (
	"fmt"
	"time"

	"github.com/libloop/libloop/loop/internal/sim"
	"github.com/libloop/libloop/loop/request"
)

// A program of the simulator is a list of steps, each at a moment of virtual time and with random numbers of
// its own, so that leaving one out does not change the others. What a callback does comes from its
// operation's.

const (
	simMostSteps = 120
	simPatience  = uint64(100 * time.Second) // of virtual time, until a run hangs
	simSettling  = 60 * time.Millisecond     // of virtual time in which nothing happens: the loop is at rest
)

// simProgram is a run of a program.
type simProgram struct {
	simCase
	kernel *sim.Kernel
	loop   *Loop
	random sim.Random // of the driver
	log    func(string, ...any)

	threads  int
	steps    int   // how many there are
	left     int   // that have not been made
	actions  []int // those that this program makes
	budget   int   // operations that may still be submitted
	reacting int   // one in so many callbacks does something

	files       []*simFile
	operations  []*simOperation
	flying      map[*simOperation]bool
	requests    map[*Request]*simOperation // whose a request is
	spare       []*Request                 // free to be used again
	refs        int
	harvest     int  // operations in flight without a callback
	completions int  // that the program has seen
	finishing   bool // nothing new is begun
	closing     bool
	lastTick    uint64
	ports       int
	lastTimer   *simOperation
	buffers     *simBuffers
	read        map[*sim.Channel]int // bytes that results told
}

func newSimProgram(c simCase, log func(string, ...any)) *simProgram {
	p := &simProgram{simCase: c, kernel: sim.New(c.seed), random: sim.NewRandom(c.seed ^ 0xa5a5a5a5)}
	p.flying, p.requests = make(map[*simOperation]bool), make(map[*Request]*simOperation)
	if log != nil && *simTrace {
		p.log = log
		p.kernel.Trace = func(what string, values ...any) { p.trace("    "+what, values...) }
	}
	p.budget, p.read = 1500, make(map[*sim.Channel]int)
	return p
}

func (p *simProgram) trace(format string, arguments ...any) {
	if p.log != nil {
		p.log("%12d %s", p.kernel.Time(), fmt.Sprintf(format, arguments...))
	}
}

func (p *simProgram) fail(format string, arguments ...any) {
	p.trace("FAILURE: "+format, arguments...)
	p.kernel.Fail(fmt.Sprintf(format, arguments...))
}

// run plays the whole program.
func (p *simProgram) run() {
	p.kernel.Limit(simPatience)
	p.setUp()
	if !p.openLoop() {
		return
	}
	for p.left > 0 {
		p.drive()
	}
	p.kernel.Settle()
	p.trace("faults are over")
	if p.random.OneIn(4) {
		p.closeInFlight()
	} else {
		p.rest()
		p.checkOwed()
		p.finishing = true
		p.wakeWatches()
		p.finishAll()
		p.checkChannels()
		p.close()
	}
	p.checkEnd()
}

// setUp draws what kind of program it is.
func (p *simProgram) setUp() {
	r := &p.random
	p.threads = 1
	if r.OneIn(5) {
		p.threads = r.Range(2, 3)
	}
	for f := range sim.FaultKinds {
		strikes := r.OneIn(3)
		ratio := []int{10, 60, 250}[r.Below(3)]
		if f == sim.Errors || f == sim.LostSubmitters {
			ratio = min(ratio, 60)
		}
		if strikes && (p.faults == nil || p.faults[f]) {
			p.kernel.Faults.Ratio[f] = ratio
		}
	}
	p.kernel.Preemptive = p.threads == 1
	p.kernel.Faults.On = true
	if r.OneIn(3) {
		p.kernel.RingEntries = 1 << r.Range(1, 4)
	}
	share := []int{1, 3, 6}[r.Below(3)] // of 8; where they are few they meet more often
	for a := range simActionKinds {
		if r.Below(8) < share {
			p.actions = append(p.actions, a)
		}
	}
	p.reacting = r.Range(2, 8)
	p.steps = r.Range(10, simMostSteps)
	spacing := []int{1_000, 100_000, 3_000_000}[r.Below(3)]
	at := uint64(0)
	for i := range p.steps {
		at += uint64(r.Below(spacing))
		if p.keep != nil && !p.keep[i] {
			continue
		}
		p.left++
		p.kernel.After(at, func() { p.step(i) })
	}
	for range r.Range(1, 6) {
		p.makeFile(r)
	}
}

func (p *simProgram) openLoop() bool {
	backend := BackendEpoll
	if p.random.OneIn(2) {
		backend = BackendIOUring
	}
	options := Options{Threads: p.threads, BlockingThreads: p.random.Range(1, 6), Backend: backend}
	l, err := newLoop(p.kernel, options)
	p.trace("loop: %+v: %v", options, err)
	p.trace("faults %v, rings of %d", p.kernel.Faults.Ratio, p.kernel.RingEntries)
	if err != nil {
		if p.kernel.Faults.Ratio[sim.Errors]+p.kernel.Faults.Ratio[sim.FewWatches] == 0 {
			p.fail("New: %v", err)
		}
		p.mustBeEmpty("New failed")
		return false
	}
	p.loop = l
	p.buffers = newSimBuffers(p.threads, p.random.Range(1, 100), p.threads+p.random.Below(5))
	return true
}

// step makes a step: one or several actions.
func (p *simProgram) step(number int) {
	p.left--
	random := sim.NewRandom(p.seed<<10 + uint64(number))
	for range random.Range(1, 4) {
		p.act(&random)
	}
	if p.left == 0 && p.loop != nil { // somebody may wait for what never comes
		p.kernel.After(1_000_000, p.stop)
	}
}

func (p *simProgram) stop() {
	if p.loop != nil && !p.closing {
		p.trace("stop")
		p.loop.Stop()
	}
}

// drive makes one call of those that run the loop.
func (p *simProgram) drive() {
	r := &p.random
	before := p.kernel.Time()
	timeout := time.Duration(r.Below(5_000_000))
	if r.OneIn(3) {
		timeout = 0
	}
	switch r.Below(4) {
	case 0, 1:
		p.trace("run")
		p.mustRun(p.loop.Run())
	case 2:
		p.runOnce(timeout)
	case 3:
		p.trace("wait, %v", timeout)
		p.collect(timeout)
	}
	p.checkPending()
	if p.kernel.Time()-before < 1_000_000 {
		p.kernel.Sleep(uint64(1 + r.Below(2_000_000)))
	}
}

// runOnce wants to be told of each callback, or a program that waits for one would wait for ever.
func (p *simProgram) runOnce(timeout time.Duration) {
	p.trace("run once, %v", timeout)
	seen := p.completions
	n, err := p.loop.RunOnce(timeout)
	p.mustRun(err)
	p.trace("ran once: %d", n)
	if called := p.completions - seen; n < called {
		p.fail("one run made %d callbacks, and told of %d", called, n)
	}
}

func (p *simProgram) mustRun(err error) {
	if err != nil {
		p.fail("the loop does not run: %v", err)
	}
}

// collect harvests.
func (p *simProgram) collect(timeout time.Duration) (n int) {
	var done [4]*Request
	n, err := p.loop.Wait(done[:], timeout)
	p.mustRun(err)
	for _, r := range done[:n] {
		p.completed(r)
	}
	return n
}

// rest runs the loop until nothing happens any more.
func (p *simProgram) rest() {
	for quiet := 0; quiet < 2; {
		start := p.kernel.Time()
		n, err := p.loop.RunOnce(simSettling)
		p.mustRun(err)
		for p.collect(0) > 0 {
			n++
		}
		p.quieten()
		switch {
		case n > 0:
			quiet = 0
		case p.kernel.Time()-start >= uint64(simSettling) || p.loop.Pending() == 0: // and not a stop
			quiet++
		}
	}
	p.trace("at rest with %d in flight", len(p.flying))
}

// quieten cancels what completes for ever: periodic timers and level-triggered watches.
func (p *simProgram) quieten() {
	for _, o := range p.operations {
		if p.flying[o] && o.shots > 50 && !o.cancelled {
			p.cancel(o)
		}
	}
}

// finishAll ends all that is in flight, by ending what it waits for, and by cancelling.
func (p *simProgram) finishAll() {
	for p.refs > 0 {
		p.refs--
		if err := p.loop.Unref(); err != nil {
			p.fail("unref: %v", err)
		}
	}
	for round := range 4 {
		p.endPeers()
		for _, o := range p.operations {
			if p.flying[o] && (round > 0 || o.isMulti() || p.random.OneIn(2)) {
				p.cancel(o)
			}
		}
		p.rest()
	}
	for len(p.flying) > 0 {
		n, err := p.loop.RunOnce(10 * time.Second)
		p.mustRun(err)
		for p.collect(0) > 0 {
			n++
		}
		if n == 0 {
			p.fail("at the end %v does not complete", p.anyFlying())
		}
	}
	if pending := p.loop.Pending(); pending != 0 {
		p.fail("all is done, and %d are pending", pending)
	}
}

func (p *simProgram) anyFlying() *simOperation {
	for _, o := range p.operations {
		if p.flying[o] {
			return o
		}
	}
	return nil
}

// closeInFlight ends the loop with everything in flight.
func (p *simProgram) closeInFlight() {
	p.trace("close in flight")
	for round := range 4 {
		p.kernel.After(uint64(1+round)*2_000_000, p.endPeers)
	}
	p.close()
}

func (p *simProgram) close() {
	p.finishing, p.closing = true, true
	for _, o := range p.operations {
		o.cancelled = true
	}
	p.mustRun(p.loop.Close())
	p.trace("closed")
	for _, o := range p.operations { // completions that nobody harvested
		if p.flying[o] && o.harvested && o.request.core.Phase() == request.Free {
			o.request.core.Flags = 0
			p.completed(o.request)
		}
	}
}
