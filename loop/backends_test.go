package loop

import (
	"strconv"
	"testing"

	"github.com/libloop/libloop/loop/internal/sys"
)

// opener makes a loop on the backend that is being tested.
type opener func(*testing.T, Options) *Loop

// forEachBackend runs a test on epoll, on io_uring, and on io_uring with queues that are much too short.
func forEachBackend(t *testing.T, test func(*testing.T, opener)) {
	on := func(name string, kernel sys.Kernel, backend BackendChoice) {
		t.Run(name, func(t *testing.T) {
			test(t, func(t *testing.T, options Options) *Loop {
				options.Backend = backend
				l, err := newLoop(kernel, options)
				must(t, err)
				return l
			})
		})
	}
	on("epoll", sys.Linux{}, BackendEpoll)
	if !ringWorksHere(t) {
		return
	}
	on("io_uring", sys.Linux{}, BackendIOUring)
	for _, entries := range []uint32{2, 4, 8} {
		on("io_uring"+strconv.Itoa(int(entries)), &shortRings{entries: entries}, BackendIOUring)
	}
}

// ringWorksHere reports whether this machine lets us use io_uring, and says so when not.
func ringWorksHere(t *testing.T) bool {
	l, err := newLoop(sys.Linux{}, Options{Threads: 1, BlockingThreads: 2, Backend: BackendIOUring})
	if err != nil {
		t.Logf("NOT TESTED: io_uring cannot be had here: %v", err)
		return false
	}
	must(t, l.Close())
	return true
}

// shortRings is the operating system with rings of so many submissions, and as many completions.
type shortRings struct {
	sys.Linux
	entries uint32
}

func (k *shortRings) RingSetup(_ uint32, params *sys.RingParams) int64 {
	params.CqEntries = k.entries
	return k.Linux.RingSetup(k.entries, params)
}
