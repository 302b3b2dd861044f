package loop

import "runtime"

// Two threads that answer each other at once spend most of their time in falling asleep and being woken. So a
// worker that another thread woke looks at its mailbox for a while before it sleeps again, for as long as
// sleeping and waking would take. When nothing came the next looks are left out, twice as many each time.
const (
	spinNs       = 10_000
	spinsLeftOut = 6 // log2 of the most looks that are left out
)

// spinner decides when to look. Only the worker's thread uses it.
type spinner struct {
	woken    bool // by another thread, from its last sleep
	failures uint // looks in vain since the last one that was not
	leaveOut int
}

// wake notes how a sleep ended.
func (s *spinner) wake(byOther bool) {
	s.woken = byOther
	if byOther && s.leaveOut > 0 {
		s.leaveOut--
		s.woken = false
	}
}

// spin looks at the mailbox for a while, if that is promising. It reports whether something came. patience is
// how long the worker is about to wait.
func (w *worker) spin(patience int64) bool {
	s := &w.spinner
	if !s.woken || runtime.NumCPU() == 1 || patience > 0 && patience < 2*spinNs {
		return false
	}
	kernel := w.engine.kernel
	for start := kernel.Now(); kernel.Now()-start < spinNs; kernel.Relax() {
		if w.mailbox.HasForeignWork() {
			s.failures = 0
			return true
		}
	}
	s.failures++
	s.leaveOut = 1 << min(s.failures, spinsLeftOut)
	s.woken = false
	return false
}
