package loop

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libloop/libloop/loop/internal/sim"
)

// The simulator: seeded programs of API calls run on the real engine over a simulated kernel and clock
// (package sim), with faults; a checker watches that the loop keeps what loop.h promises. See
// sim_program_test.go for the programs and sim_check_test.go for the promises.
//
//	go test ./loop -run TestSim                           known failures again, and new seeds for seconds
//	go test ./loop -run TestSim -sim.seconds=900          a campaign
//	go test ./loop -run TestSim -sim.seed=7 -sim.trace    one seed, with all that happens
//	go test ./loop -run TestSim -sim.seed=7 -sim.keep=3,9 -sim.faults=short,latency
//
// A failing seed is shrunk: steps and kinds of faults are left out while it still fails. What is left is
// printed as such a command line, and belongs in testdata/sim_seeds.txt when the bug is mended.
var (
	simSeconds  = flag.Int("sim.seconds", 6, "how long TestSim tries new seeds")
	simSeed     = flag.Uint64("sim.seed", 0, "the one seed to run")
	simFirst    = flag.Uint64("sim.first", 1, "the first of the new seeds")
	simCount    = flag.Int("sim.count", 0, "how many seeds to try at most; 0 = as many as there is time for")
	simKeep     = flag.String("sim.keep", "", "the steps to run: numbers with commas")
	simFaults   = flag.String("sim.faults", "", "the kinds of faults to have, or none")
	simNoKnown  = flag.Bool("sim.noknown", false, "leave the known failures out")
	simNoShrink = flag.Bool("sim.noshrink", false, "do not make a failing program smaller")
	simTrace    = flag.Bool("sim.trace", false, "print what happens")
)

// simCase is a program, as far as it is to be run.
type simCase struct {
	seed   uint64
	keep   map[int]bool // nil: all steps
	faults map[sim.Fault]bool
}

func TestSim(t *testing.T) {
	if *simSeed != 0 {
		c := simCase{seed: *simSeed}
		c.parse(*simKeep, *simFaults)
		if failure := c.run(t.Logf); failure != nil {
			t.Fatal(failure)
		}
		return
	}
	for _, c := range simKnownSeeds(t) {
		if *simNoKnown {
			break
		}
		if failure := c.run(nil); failure != nil {
			t.Fatalf("a seed that was mended fails again: %v\n%s", failure, c.command())
		}
	}
	simCampaign(t)
}

// simCampaign tries new seeds until the time is over.
func simCampaign(t *testing.T) {
	start, last := time.Now(), time.Now()
	limit := time.Duration(*simSeconds) * time.Second
	seeds, operations := 0, 0
	for seed := *simFirst; time.Since(start) < limit && (*simCount == 0 || seeds < *simCount); seed++ {
		c := simCase{seed: seed}
		p, failure := c.play(nil)
		seeds++
		operations += len(p.operations)
		if failure != nil {
			if !*simNoShrink {
				c, failure = c.shrink(failure)
			}
			t.Fatalf("seed %d, the %dth: %v\n%s", seed, seeds, failure, c.command())
		}
		if time.Since(last) > 10*time.Second {
			last = time.Now()
			elapsed := time.Since(start).Round(time.Second)
			fmt.Printf("sim: %d seeds, %d operations, %v\n", seeds, operations, elapsed)
		}
	}
	rate := float64(operations) / time.Since(start).Minutes()
	t.Logf("%d seeds, %d operations, %.1f million a minute", seeds, operations, rate/1e6)
}

// simKnownSeeds reads the seeds that failed once.
func simKnownSeeds(t *testing.T) (cases []simCase) {
	text, err := os.ReadFile(filepath.Join("testdata", "sim_seeds.txt"))
	must(t, err)
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		c, keep, faults := simCase{}, "", ""
		c.seed, err = strconv.ParseUint(fields[0], 10, 64)
		must(t, err)
		for _, field := range fields[1:] {
			if list, ok := strings.CutPrefix(field, "keep="); ok {
				keep = list
			} else if list, ok := strings.CutPrefix(field, "faults="); ok {
				faults = list
			} else {
				t.Fatalf("sim_seeds.txt: what is %q?", field)
			}
		}
		c.parse(keep, faults)
		cases = append(cases, c)
	}
	return cases
}

func (c *simCase) parse(keep, faults string) {
	if keep != "" {
		c.keep = make(map[int]bool)
		for _, number := range strings.Split(keep, ",") {
			step, err := strconv.Atoi(number)
			if err != nil {
				panic(err)
			}
			c.keep[step] = true
		}
	}
	if faults != "" {
		c.faults = make(map[sim.Fault]bool)
		for f, name := range sim.FaultNames {
			if strings.Contains(","+faults+",", ","+name+",") {
				c.faults[sim.Fault(f)] = true
			}
		}
	}
}

// command returns how to run the case.
func (c simCase) command() string {
	command := fmt.Sprintf("go test ./loop -run TestSim -sim.trace -sim.seed=%d", c.seed)
	if c.keep != nil {
		var steps []string
		for step := range simMostSteps {
			if c.keep[step] {
				steps = append(steps, strconv.Itoa(step))
			}
		}
		command += " -sim.keep=" + strings.Join(steps, ",")
		if len(steps) == 0 {
			command += "-1"
		}
	}
	if c.faults != nil {
		names := "none"
		for f, name := range sim.FaultNames {
			if c.faults[sim.Fault(f)] {
				names += "," + name
			}
		}
		command += " -sim.faults=" + strings.TrimPrefix(names, "none,")
	}
	return command
}

// run plays the case and returns what is wrong.
func (c simCase) run(log func(string, ...any)) error {
	_, failure := c.play(log)
	return failure
}

// simHang is how much real time a run may take: it hangs then in a way that the simulator cannot see.
const simHang = 30 * time.Second

// play runs the case.
func (c simCase) play(log func(string, ...any)) (p *simProgram, failure error) {
	p = newSimProgram(c, log)
	return p, p.play()
}

// play runs the program, and returns what is wrong.
func (p *simProgram) play() (failure error) {
	watchdog := time.AfterFunc(simHang, func() {
		stacks := make([]byte, 1<<20)
		fmt.Printf("%s\n", stacks[:runtime.Stack(stacks, true)])
		panic("the simulator hangs: " + p.command())
	})
	defer watchdog.Stop()
	defer p.kernel.Bury()
	defer func() {
		if cause := recover(); cause != nil {
			failure = fmt.Errorf("%v", cause)
			if _, ours := cause.(sim.Failure); !ours {
				failure = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
			}
		}
	}()
	p.run()
	return nil
}

// shrink leaves out what is not needed for the failure.
func (c simCase) shrink(failure error) (simCase, error) {
	const mostRuns = 400
	runs := 0
	try := func(smaller simCase) bool {
		if runs++; runs > mostRuns {
			return false
		}
		if f := smaller.run(nil); f != nil {
			c, failure = smaller, f
			return true
		}
		return false
	}
	all := simCase{seed: c.seed, keep: make(map[int]bool), faults: make(map[sim.Fault]bool)}
	for step := range simMostSteps {
		all.keep[step] = true
	}
	for f := range sim.FaultKinds {
		all.faults[f] = true
	}
	if !try(all) {
		return c, failure
	}
	for f := range sim.FaultKinds {
		try(c.without(nil, f))
	}
	for size := simMostSteps / 2; size > 0; size /= 2 {
		for from := 0; from < simMostSteps; from += size {
			var steps []int
			for step := from; step < from+size && step < simMostSteps; step++ {
				if c.keep[step] {
					steps = append(steps, step)
				}
			}
			if len(steps) > 0 {
				try(c.without(steps, -1))
			}
		}
	}
	return c, failure
}

// without returns the case with less in it.
func (c simCase) without(steps []int, fault sim.Fault) simCase {
	smaller := simCase{seed: c.seed, keep: make(map[int]bool), faults: make(map[sim.Fault]bool)}
	for step := range c.keep {
		smaller.keep[step] = true
	}
	for f := range c.faults {
		smaller.faults[f] = true
	}
	for _, step := range steps {
		delete(smaller.keep, step)
	}
	delete(smaller.faults, fault)
	return smaller
}

// TestSimRepeatsARunExactly wants that a seed decides everything: two runs of it tell the same.
func TestSimRepeatsARunExactly(t *testing.T) {
	for seed := uint64(1); seed <= 60; seed++ {
		var runs [2][]string
		for i := range runs {
			c := simCase{seed: seed}
			p := newSimProgram(c, nil)
			p.log = func(format string, arguments ...any) {
				runs[i] = append(runs[i], fmt.Sprintf(format, arguments...))
			}
			if failure := p.play(); failure != nil {
				t.Fatal(failure)
			}
		}
		for line := range max(len(runs[0]), len(runs[1])) {
			if line >= len(runs[0]) || line >= len(runs[1]) || runs[0][line] != runs[1][line] {
				t.Fatalf("seed %d: line %d of %d and %d differs", seed, line, len(runs[0]), len(runs[1]))
			}
		}
	}
}
