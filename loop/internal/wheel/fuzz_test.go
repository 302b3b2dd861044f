package wheel

import (
	"encoding/binary"
	"slices"
	"sort"
	"testing"

	"github.com/libloop/libloop/loop/request"
)

// FuzzWheel compares the wheel with a sorted list. An input is the time of the beginning, and then steps of
// three bytes: what to do, and a distance in time with its magnitude.
func FuzzWheel(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x05\x00\x00\x05\x00\x05\x09\x00\x04\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x40\xff\xff\xff\xfd" +
		"\x00\x03\x01\x01\x09\x0a\x00\xff\x14\x06\xff\x1e\x05\xff\x28"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\x00" +
		"\x00\xff\x3f\x00\xff\x00\x05\x40\x00\x04\x01\x00\x05\xff\x08"))
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) < 8 {
			return
		}
		m := &model{t: t, now: min(binary.BigEndian.Uint64(input), request.Never-1)}
		m.wheel.Expire(m.now, noLimit, nil)
		for input = input[8:]; len(input) >= 3; input = input[3:] {
			m.step(input[0], uint64(input[1])<<(input[2]%64))
		}
		m.expire(request.Never-1, noLimit)
	})
}

// model is a wheel, and what it holds in the order in which it has to fire.
type model struct {
	t      *testing.T
	wheel  Wheel
	now    uint64
	sorted []*request.Request
}

func (m *model) step(what byte, distance uint64) {
	switch what % 8 {
	case 0, 1, 2:
		m.add(request.DeadlineAfter(m.now, distance))
	case 3: // in the past
		m.add(m.now - min(m.now, distance))
	case 4:
		if len(m.sorted) > 0 {
			at := int(distance % uint64(len(m.sorted)))
			m.wheel.Remove(m.sorted[at])
			m.sorted = slices.Delete(m.sorted, at, at+1)
		}
	case 5:
		m.expire(min(request.DeadlineAfter(m.now, distance), request.Never-1), int(what/8%4))
	default:
		m.expire(min(request.DeadlineAfter(m.now, distance), request.Never-1), noLimit)
	}
	if m.wheel.Empty() != (len(m.sorted) == 0) {
		m.t.Fatalf("empty %v with %d requests", m.wheel.Empty(), len(m.sorted))
	}
	if len(m.sorted) > 0 && m.wheel.Next() > m.sorted[0].Deadline {
		m.t.Fatalf("next is %d, later than %d", m.wheel.Next(), m.sorted[0].Deadline)
	}
}

func (m *model) add(deadline uint64) {
	r := &request.Request{Deadline: deadline}
	m.wheel.Add(r)
	at := sort.Search(len(m.sorted), func(i int) bool { return m.sorted[i].Deadline > deadline })
	m.sorted = slices.Insert(m.sorted, at, r)
}

func (m *model) expire(now uint64, limit int) {
	m.now = now
	m.wheel.Expire(now, limit, func(r *request.Request) {
		if len(m.sorted) == 0 || m.sorted[0] != r || r.Deadline > now || limit == 0 {
			m.t.Fatalf("%d fired at %d, out of order or beyond the limit", r.Deadline, now)
		}
		m.sorted, limit = m.sorted[1:], limit-1
	})
	if limit > 0 && len(m.sorted) > 0 && m.sorted[0].Deadline <= now {
		m.t.Fatalf("%d is late at %d", m.sorted[0].Deadline, now)
	}
}
