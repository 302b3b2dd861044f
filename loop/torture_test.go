package loop

import (
	"flag"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// The torture: each scenario (torture_scenarios_test.go) is run once to count its system calls, and then once
// for each of them and each errno that is legal for it (torture_kernel_test.go), with the call failing once,
// or all like it from there on. In every run the loop must keep what loop.h promises (torture_run_test.go),
// and leave nothing behind.
//
//	go test ./loop -run TestTorture -v                         a sample, by seed
//	go test ./loop -run TestTorture -v -torture.full           all of it, a quarter of a minute
//	go test ./loop -run TestTorture -torture.seed=7            another sample
//	go test ./loop -run TestTorture -torture.seconds=60        a larger one
//	go test ./loop -run TestTorture -torture.case='a pipe/epoll/read_now/1/EIO/once'
var (
	tortureFull     = flag.Bool("torture.full", false, "fail every call, rather than a sample")
	tortureSeed     = flag.Int64("torture.seed", 1, "which sample")
	tortureSeconds  = flag.Int("torture.seconds", 10, "how long the sample may take")
	torturePatience = flag.Duration("torture.patience", 20*time.Second,
		"how long a run may take: it hangs then")
	tortureOnly = flag.String("torture.case", "",
		"the one run to do, or the scenarios whose names begin so")
)

// tortureMostCalls is how many calls of a kind get their turn to fail in a scenario.
const tortureMostCalls = 40

// tortureCase is one run: a scenario on a backend, with a fault.
type tortureCase struct {
	scenario *tortureScenario
	backend  BackendChoice
	fault    tortureFault
}

var tortureBackends = map[BackendChoice]string{
	BackendAuto: "auto", BackendEpoll: "epoll", BackendIOUring: "io_uring",
}

func (c tortureCase) String() string {
	return c.scenario.name + "/" + tortureBackends[c.backend] + "/" + c.fault.String()
}

func TestTorture(t *testing.T) {
	if len(tortureScenarios) < 40 {
		t.Errorf("there are %d scenarios", len(tortureScenarios))
	}
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, make([]byte, 100_000), 0o600))
	cases := tortureCases(t, path)
	if !*tortureFull && *tortureOnly == "" {
		random := rand.New(rand.NewSource(*tortureSeed))
		random.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
	}
	start, last := time.Now(), time.Now()
	runs, fired, failures := 0, 0, 0
	for _, c := range cases {
		if !strings.HasPrefix(c.String(), *tortureOnly) {
			continue
		}
		sampled := !*tortureFull && *tortureOnly == ""
		if sampled && time.Since(start) > time.Duration(*tortureSeconds)*time.Second {
			break
		}
		runs++
		kernel, wrong := c.run(path)
		fired += min(kernel.hits(), 1)
		if len(wrong) > 0 {
			failures++
			t.Errorf("%v: %s\n\t-torture.case='%v'", c, strings.Join(wrong, "; "), c)
		}
		if failures == 20 {
			t.Fatal("and so on")
		}
		if time.Since(last) > 10*time.Second {
			last = time.Now()
			fmt.Printf("torture: %d of %d runs, %v\n", runs, len(cases), time.Since(start).Round(time.Second))
		}
	}
	if runs == 0 || fired < runs/2 {
		t.Errorf("%d runs, and in %d of them something failed", runs, fired)
	}
	t.Logf("seed %d: %d of %d runs, %d of them with a call that failed, %v", *tortureSeed, runs, len(cases),
		fired, time.Since(start).Round(time.Millisecond))
}

// tortureCases runs each scenario without a fault, and returns the runs with one.
func tortureCases(t *testing.T, path string) (cases []tortureCase) {
	rings := ringWorksHere(t)
	scripted := rings && injectionWorksHere(t)
	for i := range tortureScenarios {
		scenario := &tortureScenarios[i]
		for backend := range BackendChoice(len(tortureBackends)) {
			if backend != BackendEpoll && !rings || backend == BackendAuto && !scenario.auto ||
				backend == BackendEpoll && scenario.ring || backend != BackendEpoll && scenario.full {
				continue
			}
			c := tortureCase{scenario: scenario, backend: backend}
			if *tortureOnly != "" && !strings.HasPrefix(*tortureOnly, scenario.name) &&
				!strings.HasPrefix(scenario.name, *tortureOnly) {
				continue
			}
			kernel, wrong := c.run(path)
			if len(wrong) > 0 {
				t.Errorf("%v: %s", c, strings.Join(wrong, "; "))
				continue
			}
			for call, count := range kernel.counts {
				if call := tortureCall(call); call < callRingWake || scripted {
					cases = append(cases, c.faults(call, count)...)
				}
			}
		}
	}
	return cases
}

// faults returns the runs that have a call fail.
func (c tortureCase) faults(call tortureCall, count int) (cases []tortureCase) {
	errnos := append(append([]int64(nil), tortureCalls[call].shown...), tortureCalls[call].hidden...)
	for nth := 1; nth <= min(count, tortureMostCalls); nth++ {
		for _, errno := range errnos {
			if c.scenario.edge && c.backend == BackendEpoll && errno == sys.EAGAIN {
				continue
			}
			for _, ever := range []bool{false, true} {
				c.fault = tortureFault{call, nth, errno, ever}
				cases = append(cases, c)
			}
		}
	}
	return cases
}

// injectionWorksHere reports whether the kernel lets us choose the result of a submission (Linux 6.10).
func injectionWorksHere(t *testing.T) bool {
	var wait Request
	k := newTortured(tortureFault{call: callRingPoll, nth: 1, errno: sys.ENOMEM})
	l, err := newLoop(k, Options{Threads: 1, BlockingThreads: 2, Backend: BackendIOUring})
	must(t, err)
	k.opened.Store(true)
	reader, _ := pipe(t)
	wait.SetTimeout(time.Second)
	must(t, l.WaitUntilReady(&wait, reader, Readable, nil))
	must(t, l.Run())
	must(t, l.Close())
	if wait.Result() != sys.ENOMEM {
		t.Logf("NOT TESTED: results of io_uring cannot be injected here: %v", wait.Err())
	}
	return wait.Result() == sys.ENOMEM
}

// run does one run, and says what was wrong.
func (c tortureCase) run(path string) (*tortured, []string) {
	watchdog := time.AfterFunc(*torturePatience, func() {
		stacks := make([]byte, 1<<20)
		fmt.Printf("%s\n", stacks[:runtime.Stack(stacks, true)])
		panic("the torture hangs: -torture.case='" + c.String() + "'")
	})
	defer watchdog.Stop()
	before := countDescriptors()
	x := &torment{tortureCase: c, kernel: newTortured(c.fault), path: path}
	x.kernel.full = c.scenario.full
	x.play()
	for _, fd := range x.descriptors {
		sys.Linux{}.Close(fd, true)
	}
	if after := countDescriptors(); after != before {
		x.complain("%d descriptors before, %d after", before, after)
	}
	if left := x.kernel.left(); left != "" {
		x.complain("the loop left %s", left)
	}
	return x.kernel, x.wrong
}

func countDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(entries)
}

// open makes the loop of a run. When a call fails then, so does this, with an error that loop_init may have.
func (x *torment) open() bool {
	threads := max(x.scenario.threads, 1)
	l := &Loop{boxes: make([]request.Mailbox, threads), id: lastID.Add(1)}
	engine, errno := newEngine(x.kernel, Config{
		Threads: threads, BlockingThreads: 2, Backend: x.backend, ThreadBound: x.scenario.bound,
		Host: program{l}, Shared: &l.shared, Mailboxes: l.boxes, Contain: true,
	})
	x.kernel.opened.Store(true)
	switch {
	case errno == 0:
		l.engine = engine
		x.loop = l
		return true
	case x.kernel.hits() == 0:
		x.complain("the loop cannot be made, without a fault: %v", sys.Error(errno))
	case x.backend == BackendAuto && x.fault.call >= callRingSetup:
		x.complain("no io_uring, and no loop: %v", sys.Error(errno))
	case errno != sys.ENOMEM && errno != emfile && errno != enfile &&
		(errno != sys.ENOTSUP || x.backend != BackendIOUring):
		x.complain("loop_init must not say %v", sys.Error(errno))
	}
	return false
}

func TestALoopWhoseKernelInterfaceIsGoneSaysSo(t *testing.T) {
	scenario := tortureScenario{name: "a timer", play: func(x *torment) { x.timer(time.Millisecond, nil) }}
	for _, c := range []tortureCase{
		{&scenario, BackendEpoll, tortureFault{callEpollWait, 1, sys.EBADF, true}},
		{&scenario, BackendIOUring, tortureFault{callRingEnter, 1, sys.EBADF, true}},
	} {
		if c.backend == BackendIOUring && !ringWorksHere(t) {
			continue
		}
		x := &torment{tortureCase: c, kernel: newTortured(c.fault)}
		if !x.open() {
			t.Fatal(x.wrong)
		}
		scenario.play(x)
		for _, call := range []func() error{x.loop.Run, x.loop.Run, x.loop.Close} {
			if err := call(); err != sys.Error(sys.ENOTRECOVERABLE) {
				t.Errorf("%v: %v", c, err)
			}
		}
		for _, w := range x.loop.engine.workers { // which a broken loop leaves alone
			w.backend.Close()
		}
		x.loop.engine.pool.Close()
	}
}
