package loop

import (
	"runtime"
	"testing"
)

func TestLooksInVainGetRarer(t *testing.T) {
	if runtime.NumCPU() == 1 {
		t.Skip("a worker on the only processor does not look")
	}
	l, err := New(Options{})
	must(t, err)
	defer l.Close()
	w := l.engine.workers[0]
	looks := 0
	for range 1000 {
		w.spinner.wake(true)
		if w.spinner.woken {
			looks++
			if w.spin(-1) {
				t.Fatal("found something in an empty mailbox")
			}
		}
	}
	if looks < 5 || looks > 5+1000/(1<<spinsLeftOut)+spinsLeftOut {
		t.Errorf("%d looks in 1000 sleeps", looks)
	}
}

func TestAWorkerThatIODisturbedDoesNotLook(t *testing.T) {
	var s spinner
	s.wake(true)
	s.wake(false)
	if s.woken {
		t.Error("looks although no thread pushed anything")
	}
}
