package wheel

import (
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/libloop/libloop/loop/request"
)

func expireAll(w *Wheel, now uint64) (fired []*request.Request) {
	w.Expire(now, func(r *request.Request) { fired = append(fired, r) })
	return fired
}

func TestFiresInOrderOfDeadlineAndTiesInOrderOfStart(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 50 {
		w := &Wheel{}
		now := random.Uint64N(1 << 40)
		w.Expire(now, nil)
		spread := uint64(1) << random.IntN(40)
		var expected []*request.Request
		for range 500 {
			r := &request.Request{Deadline: now + random.Uint64N(spread)}
			w.Add(r)
			expected = append(expected, r)
		}
		sort.SliceStable(expected, func(i, j int) bool { return expected[i].Deadline < expected[j].Deadline })
		var fired []*request.Request
		for !w.Empty() {
			now += random.Uint64N(spread/8 + 2)
			for _, r := range expireAll(w, now) {
				if r.Deadline > now {
					t.Fatalf("round %d: fired %d ns early", round, r.Deadline-now)
				}
				fired = append(fired, r)
			}
			if next := w.Next(); next <= now {
				t.Fatalf("round %d: next is %d ns in the past", round, now-next)
			}
		}
		for i := range expected {
			if fired[i] != expected[i] {
				t.Fatalf("round %d: place %d is out of order", round, i)
			}
		}
	}
}

func TestRemovedRequestsDoNotFire(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	w := &Wheel{}
	alive := map[*request.Request]bool{}
	now := uint64(0)
	for range 20_000 {
		switch random.IntN(3) {
		case 0, 1:
			r := &request.Request{Deadline: now + random.Uint64N(1<<30)}
			w.Add(r)
			alive[r] = true
		case 2:
			for r := range alive {
				w.Remove(r)
				delete(alive, r)
				break
			}
		}
		if random.IntN(100) == 0 {
			now += random.Uint64N(1 << 26)
			for _, r := range expireAll(w, now) {
				if !alive[r] {
					t.Fatal("fired a request that was removed or had fired")
				}
				delete(alive, r)
			}
			for r := range alive {
				if r.Deadline <= now {
					t.Fatalf("missed a deadline by %d ns", now-r.Deadline)
				}
			}
		}
	}
}

func TestDeadlineInThePastIsDueNow(t *testing.T) {
	w := &Wheel{}
	w.Expire(1000, nil)
	r := &request.Request{Deadline: 10}
	w.Add(r)
	if got := expireAll(w, 1000); len(got) != 1 || got[0] != r {
		t.Fatalf("fired %v", got)
	}
}

func TestHugeDeadlinesNeitherWrapNorFire(t *testing.T) {
	w := &Wheel{}
	w.Expire(1<<50, nil)
	for _, deadline := range []uint64{1 << 62, 1<<63 - 1, 1 << 63, request.Never - 1, request.Never} {
		w.Add(&request.Request{Deadline: deadline})
	}
	if got := expireAll(w, 1<<61); len(got) != 0 {
		t.Fatalf("%d fired", len(got))
	}
	if next := w.Next(); next != 1<<62 {
		t.Fatalf("next is %d", next)
	}
}

func TestNextIsExactForAFewRequests(t *testing.T) {
	w := &Wheel{}
	w.Expire(12345, nil)
	w.Add(&request.Request{Deadline: 12345 + 5_000_000_000})
	w.Add(&request.Request{Deadline: 12345 + 5_000_000_001})
	if next := w.Next(); next != 12345+5_000_000_000 {
		t.Fatalf("next is %d", next)
	}
}

func TestFireMayAddAndRemove(t *testing.T) {
	w := &Wheel{}
	other := &request.Request{Deadline: 10}
	again := &request.Request{Deadline: 5}
	shots := 0
	w.Add(again)
	w.Add(other)
	w.Expire(20, func(r *request.Request) {
		shots++
		if r == again && shots == 1 {
			w.Remove(other)
			r.Deadline = 30
			w.Add(r)
		}
	})
	if shots != 1 || w.Empty() {
		t.Fatalf("%d shots, empty %v", shots, w.Empty())
	}
}

func BenchmarkStartAndFire(b *testing.B) {
	w := &Wheel{}
	requests := make([]request.Request, b.N)
	random := rand.New(rand.NewPCG(5, 6))
	for i := range requests {
		requests[i].Deadline = random.Uint64N(1 << 33)
		w.Add(&requests[i])
	}
	w.Expire(1<<33, func(*request.Request) {})
}
