package sim

import "github.com/libloop/libloop/loop/internal/sys"

// Fault is a kind of misfortune.
type Fault int

// The kinds.
const (
	Errors         Fault = iota // calls fail with an errno that is legal for them
	ShortCounts                 // calls move less than they could
	Latency                     // bytes and ends arrive later than they were sent; connections take time
	ColdPages                   // parts of files are not in memory
	SpuriousWakes               // waits return early, and events are reported that do not hold
	Disorder                    // events and completions come in any order
	Lateness                    // completions of io_uring come late
	Refusals                    // io_uring takes no submissions, or some; a poll of many shots ends
	LostSubmitters              // io_uring cancels what it has, as if the thread that submitted it had ended
	FewWatches                  // epoll has no room
	FaultKinds
)

// FaultNames are the names of the kinds.
var FaultNames = [FaultKinds]string{"errors", "short", "latency", "cold", "spurious", "disorder", "lateness",
	"refusals", "submitters", "watches"}

// Faults says how often each kind strikes, in 1,024 chances, while On.
type Faults struct {
	On    bool
	Ratio [FaultKinds]int
}

// strikes decides whether a fault strikes now.
func (k *Kernel) strikes(f Fault) bool {
	return k.Faults.On && k.Faults.Ratio[f] > 0 && k.random.Below(1024) < k.Faults.Ratio[f]
}

// Errno values that the engine has no name for.
const (
	ECONNREFUSED = -111
	ECONNRESET   = -104
	EISCONN      = -106
	ENOTCONN     = -107
	EDESTADDRREQ = -89
	EMSGSIZE     = -90
	EMFILE       = -24
	ENFILE       = -23
	EPROTO       = -71
	EDQUOT       = -122
	EACCES       = -13
	EOPNOTSUPP   = -95
)

// Errno values that are legal for calls.
var (
	readErrors   = []int64{sys.EIO, sys.ENOMEM, ECONNRESET}
	writeErrors  = []int64{sys.EIO, sys.ENOSPC, EDQUOT, sys.ENOMEM, ECONNRESET, sys.ENOBUFS}
	acceptErrors = []int64{EMFILE, ENFILE, sys.ENOMEM, sys.ENOBUFS, EPROTO,
		sys.ECONNABORTED, sys.ECONNABORTED, sys.ECONNABORTED, sys.ECONNABORTED} // that one ends nothing
	openErrors   = []int64{EMFILE, ENFILE, sys.ENOMEM, EACCES, sys.ENOSPC}
	closeErrors  = []int64{sys.EIO, sys.ENOSPC, EDQUOT}
	controlError = []int64{sys.ENOMEM, sys.ENOSPC}
	enterErrors  = []int64{sys.EAGAIN, sys.EBUSY, sys.ENOMEM}
	makeErrors   = []int64{EMFILE, ENFILE, sys.ENOMEM}
)

// misfortune returns an errno out of a list, or 0.
func (k *Kernel) misfortune(list []int64) int64 {
	if k.strikes(Errors) {
		return list[k.random.Below(len(list))]
	}
	return 0
}

// short makes a count smaller, perhaps.
func (k *Kernel) short(n int) int {
	if n > 1 && k.strikes(ShortCounts) {
		return 1 + k.random.Below(n-1)
	}
	return n
}

// delay returns a time that something takes, or 0.
func (k *Kernel) delay(f Fault) uint64 {
	if !k.strikes(f) {
		return 0
	}
	scales := [...]int{2_000, 50_000, 1_000_000, 20_000_000}
	return uint64(1 + k.random.Below(scales[k.random.Below(len(scales))]))
}
