package wheel

import (
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/libloop/libloop/loop/request"
)

const noLimit = 1 << 62

func expireAll(w *Wheel, now uint64) (fired []*request.Request) {
	w.Expire(now, noLimit, func(r *request.Request) { fired = append(fired, r) })
	return fired
}

func TestFiresInOrderOfDeadlineAndTiesInOrderOfStart(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 50 {
		w := &Wheel{}
		now := random.Uint64N(1 << 40)
		w.Expire(now, noLimit, nil)
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
	w.Expire(1000, noLimit, nil)
	r := &request.Request{Deadline: 10}
	w.Add(r)
	if got := expireAll(w, 1000); len(got) != 1 || got[0] != r {
		t.Fatalf("fired %v", got)
	}
}

func TestHugeDeadlinesNeitherWrapNorFire(t *testing.T) {
	w := &Wheel{}
	w.Expire(1<<50, noLimit, nil)
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
	w.Expire(12345, noLimit, nil)
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
	w.Expire(20, noLimit, func(r *request.Request) {
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

// Ties: many requests share few deadlines. Adding while Expire stopped at its limit puts new requests before,
// among and behind those that are due and still wait.
func TestBehavesAsASortedListUnderAnyMixOfAddRemoveAndLimitedExpire(t *testing.T) {
	for _, origin := range []uint64{0, 1<<20 - 3, 1<<40 - 1000, 1<<60 - 5, request.Never - 1<<20} {
		for _, spread := range []uint64{1, 3, 2000, 1 << 19} {
			compareWithSortedList(t, origin, spread)
		}
	}
}

func compareWithSortedList(t *testing.T, origin, spread uint64) {
	random := rand.New(rand.NewPCG(origin, spread))
	w := &Wheel{}
	w.Expire(origin, noLimit, nil)
	now := origin
	var sorted []*request.Request
	for range 3000 {
		switch random.IntN(8) {
		case 0, 1, 2, 3:
			from := now - min(now, random.Uint64N(spread/4+2)) // some are in the past
			r := &request.Request{Deadline: request.DeadlineAfter(from, random.Uint64N(spread))}
			w.Add(r)
			at := sort.Search(len(sorted), func(i int) bool { return sorted[i].Deadline > r.Deadline })
			sorted = slices.Insert(sorted, at, r)
		case 4, 5:
			if len(sorted) > 0 {
				at := random.IntN(len(sorted))
				w.Remove(sorted[at])
				sorted = slices.Delete(sorted, at, at+1)
			}
		default:
			now = min(request.DeadlineAfter(now, random.Uint64N(spread/4+2)), request.Never-1)
			limit := random.IntN(5)
			w.Expire(now, limit, func(r *request.Request) {
				if len(sorted) == 0 || sorted[0] != r || r.Deadline > now || limit == 0 {
					t.Fatalf("origin %d, spread %d: %d fired at %d", origin, spread, r.Deadline, now)
				}
				sorted, limit = sorted[1:], limit-1
			})
			if limit > 0 && len(sorted) > 0 && sorted[0].Deadline <= now {
				t.Fatalf("origin %d, spread %d: %d is late at %d", origin, spread, sorted[0].Deadline, now)
			}
		}
		if w.Empty() != (len(sorted) == 0) || !w.Empty() && w.Next() > sorted[0].Deadline {
			t.Fatalf("origin %d, spread %d: empty %v, next %d", origin, spread, w.Empty(), w.Next())
		}
	}
}

func TestSlotWithMoreRequestsThanAreWarmedKeepsTheirOrder(t *testing.T) {
	w := &Wheel{}
	requests := make([]request.Request, 2*warmLimit+10)
	for i := range requests {
		requests[i].Deadline = 1<<30 + uint64(i/3)
		w.Add(&requests[i])
	}
	for i, r := range expireAll(w, 1<<31) {
		if r != &requests[i] {
			t.Fatalf("place %d is out of order", i)
		}
	}
	if !w.Empty() {
		t.Fatal("some did not fire")
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
	w.Expire(1<<33, noLimit, func(*request.Request) {})
}
