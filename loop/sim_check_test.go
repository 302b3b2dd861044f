package loop

import (
	"bytes"
	"unsafe"

	"github.com/libloop/libloop/loop/internal/sim"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// What the checker wants of every completion, whenever the loop is at rest, and at the end.

// simSnapshot is the memory of a request and its buffer when it was given back.
type simSnapshot struct {
	core   [unsafe.Sizeof(request.Request{})]byte
	memory []byte
}

func (s *simSnapshot) take(o *simOperation) {
	s.core = *simCore(o)
	s.memory = append(s.memory[:0], o.memory...)
}

func simCore(o *simOperation) *[unsafe.Sizeof(request.Request{})]byte {
	return (*[unsafe.Sizeof(request.Request{})]byte)(unsafe.Pointer(&o.request.core))
}

// check wants a completion that can be.
func (p *simProgram) check(o *simOperation, result int64, more bool) {
	if more && (!o.isMulti() || result < 0) {
		p.fail("%v completes with %d, and more is to come", o, result)
	}
	if result < 0 {
		p.checkError(o, result)
	}
	if result == sys.ECONNABORTED && o.multi {
		p.fail("%v ends because a connection was aborted", o)
	}
	p.checkOrder(o, result)
	switch o.kind {
	case simTick, simAccess, simConnect, simShutdown, simClose:
		if result > 0 {
			p.fail("%v completes with %d", o, result)
		}
	case simWork:
		p.checkWork(o, result)
	case simTimer:
		p.checkTimer(o, result)
	case simWait, simWatch:
		if result >= 0 {
			p.checkMask(o, uint32(result))
		}
	case simRead, simReceive:
		if o.pooled {
			p.checkPooled(o, result)
		} else {
			p.checkRead(o, max(result, 0))
		}
	case simReadAt:
		p.checkReadAt(o, max(result, 0))
	case simWrite, simWriteAt, simSend:
		p.checkCount(o, result, len(o.memory))
	case simSendfile:
		p.checkCount(o, result, o.length)
		if !more {
			o.source.requests--
		}
	}
}

// checkCount wants no more than what was to be written, and all of it where that was asked for.
func (p *simProgram) checkCount(o *simOperation, result int64, most int) {
	if result > int64(most) {
		p.fail("%v moved %d bytes", o, result)
	}
	if o.source != nil {
		most = min(most, max(0, len(p.kernel.ContentOf(o.source.description))-int(o.offset)))
	}
	if o.all && result >= 0 && result < int64(most) && !p.isTroubled(o) {
		p.fail("%v moved %d bytes, and nothing kept it from moving all", o, result)
	}
}

// isTroubled reports whether something ended an operation early, which may have done a part.
func (p *simProgram) isTroubled(o *simOperation) bool {
	late := o.timeout > 0 && p.kernel.Time() >= o.submittedAt+o.timeout
	return late || o.cancelled || p.closing || p.wasEnded(o) || p.kernel.Record.Trouble(o.fd, o.submitted) ||
		o.source != nil && p.kernel.Record.Trouble(o.source.fd, o.submitted)
}

// checkError wants an error that has a cause.
func (p *simProgram) checkError(o *simOperation, errno int64) {
	const inProgress, already = -115, -114
	record := &p.kernel.Record
	switch errno {
	case sys.EAGAIN, sys.EINTR, inProgress, already, sys.EBADF:
		p.fail("%v ends with %d, which nobody is to see", o, errno)
	case sys.ECANCELED:
		if !o.cancelled && !p.closing && !p.wasEnded(o) {
			p.fail("%v was cancelled, and nobody asked for it", o)
		}
	case sys.ETIMEDOUT:
		if o.timeout == 0 || p.kernel.Time() < o.submittedAt+o.timeout {
			p.fail("%v timed out after %d ns", o, p.kernel.Time()-o.submittedAt)
		}
	default:
		if o.pooled && errno == sys.ENOBUFS { // checkPooled looks at that
			return
		}
		if record.Failed(o.fd, errno, o.submitted) || record.Failed(-1, errno, o.submitted) ||
			o.source != nil && record.Failed(o.source.fd, errno, o.submitted) {
			return
		}
		p.fail("%v ends with %d, which no call returned", o, errno)
	}
}

// wasEnded reports whether a close or cancel of the descriptor may have cancelled an operation.
func (p *simProgram) wasEnded(o *simOperation) bool {
	for i := len(p.operations) - 1; i >= 0; i-- {
		other := p.operations[i]
		if (other.kind == simClose || other.kind == simCancelFd) && other.fd == o.fd && other != o &&
			(!other.ended || other.endedAt >= o.submitted) {
			return true
		}
	}
	return false
}

// checkOrder wants ticks in the order of their submits, and none in a turn of its own.
func (p *simProgram) checkOrder(o *simOperation, _ int64) {
	if o.kind != simTick || p.threads > 1 || o.harvested || o.timeout > 0 {
		return
	}
	if uint64(o.index) < p.lastTick && !o.cancelled {
		p.fail("%v runs after tick %d", o, p.lastTick)
	}
	p.lastTick = max(p.lastTick, uint64(o.index))
}

func (p *simProgram) checkWork(o *simOperation, result int64) {
	switch {
	case result == 0 && o.worked != 1:
		p.fail("%v is done, and its function ran %d times", o, o.worked)
	case result == sys.ECANCELED && o.worked != 0:
		p.fail("%v was cancelled, and its function ran", o)
	case result > 0:
		p.fail("%v completes with %d", o, result)
	}
}

// checkTimer wants that it is not early, and not after one that is due later.
func (p *simProgram) checkTimer(o *simOperation, result int64) {
	if result != 0 {
		if result > 0 {
			p.fail("%v completes with %d", o, result)
		}
		return
	}
	due := o.due()
	if now := p.kernel.Time(); now < due {
		p.fail("%v fires %d ns early", o, due-now)
	}
	if p.threads > 1 || o.period > 0 || o.harvested {
		return
	}
	for other := range p.flying {
		if other.kind == simTimer && other.index < o.index && other.period == 0 && !other.harvested &&
			!other.cancelled && other.timeout == 0 && other.deadline <= o.deadline {
			p.fail("%v fires before %v, which is due %d ns before", o, other, o.deadline-other.deadline)
		}
	}
}

// due returns the earliest time of the next shot.
func (o *simOperation) due() uint64 { return o.submittedAt + o.delay + uint64(o.shots)*o.period }

// checkMask wants events that were asked for, and that the kernel reported.
func (p *simProgram) checkMask(o *simOperation, mask uint32) {
	asked := o.events&(Readable|Writable) | Hangup | Error
	if mask == 0 || mask&^asked != 0 {
		p.fail("%v completes with events %#x", o, mask)
	}
	if o.file.kind == simRegular {
		return
	}
	causes := []struct{ event, reported uint32 }{
		{Readable, sys.EpollIn | sys.EpollHup}, {Writable, sys.EpollOut},
		{Hangup, sys.EpollHup | sys.EpollRdHup}, {Error, sys.EpollErr},
	}
	for _, cause := range causes {
		if mask&cause.event == 0 {
			continue
		}
		reported := false
		for bit, at := range o.file.description.Reported {
			reported = reported || cause.reported>>bit&1 != 0 && at > o.submitted
		}
		if !reported {
			p.fail("%v completes with events %#x, which the kernel did not report", o, mask)
		}
	}
}

// checkRead wants the bytes that the kernel gave for it, all of them, and no others touched.
func (p *simProgram) checkRead(o *simOperation, n int64) {
	address := uintptr(unsafe.Pointer(unsafe.SliceData(o.memory)))
	place := 0
	for _, piece := range p.kernel.Record.TakeRead(address, len(o.memory)) {
		in, _ := o.file.description.Channels()
		if piece.Channel != in {
			p.fail("%v got bytes of another file", o)
		}
		want := piece.Channel.History[piece.Position : piece.Position+piece.Length]
		if !bytes.Equal(o.memory[place:place+piece.Length], want) {
			p.fail("%v got wrong bytes", o)
		}
		place += piece.Length
		p.read[in] += piece.Length
	}
	if int64(place) != n {
		p.fail("%v took %d bytes, and its result is %d", o, place, n)
	}
	in, _ := o.file.description.Channels()
	if o.all && o.file.kind == simStream && n > 0 && place < len(o.memory) && !in.Ended() && !in.Deaf() &&
		!p.isTroubled(o) {
		p.fail("%v got %d bytes, and was to wait for all", o, n)
	}
	p.checkCanary(o, place)
}

func (p *simProgram) checkCanary(o *simOperation, from int) {
	for i, b := range o.memory[from:] {
		if b != simCanary {
			p.fail("%v: byte %d behind the result was written", o, i)
		}
	}
}

// checkReadAt wants the bytes of the file, as far as nobody writes to it.
func (p *simProgram) checkReadAt(o *simOperation, n int64) {
	if n > int64(len(o.memory)) {
		p.fail("%v read %d bytes", o, n)
	}
	content := p.kernel.ContentOf(o.file.description)
	if o.file.immutable && n > 0 && !bytes.Equal(o.memory[:n], content[o.offset:o.offset+n]) {
		p.fail("%v read wrong bytes", o)
	}
	whole := min(len(o.memory), max(0, len(content)-int(o.offset)))
	shortens := p.kernel.Faults.Ratio[sim.ShortCounts] > 0
	if o.file.immutable && n < int64(whole) && !shortens && !p.isTroubled(o) {
		p.fail("%v read %d bytes of %d", o, n, whole)
	}
	for i, b := range o.memory[n:] { // a try that moved more may have come before
		place := o.offset + n + int64(i)
		if b != simCanary && (place >= int64(len(content)) || o.file.immutable && b != content[place]) {
			p.fail("%v: byte %d behind the result was written", o, i)
		}
	}
}

// checkPending compares the loop's count with ours, between two runs.
func (p *simProgram) checkPending() {
	pending, most := p.loop.Pending(), len(p.flying)+p.refs
	if pending > most || pending < most-p.harvest {
		p.fail("%d are pending, and %d in flight, of which %d are without callback", pending, most, p.harvest)
	}
}

// checkOwed wants that nothing is in flight which could be done: the loop is at rest.
func (p *simProgram) checkOwed() {
	crowded := false // threads of the pool may all be blocked
	for o := range p.flying {
		crowded = crowded || o.file != nil && o.file.blocking
	}
	for _, o := range p.operations {
		if p.flying[o] && p.owed(o, crowded) {
			p.fail("at rest %v is in flight, and could be done", o)
		}
	}
}

func (p *simProgram) owed(o *simOperation, crowded bool) bool {
	switch o.kind {
	case simTick, simCancelFd:
		return true
	case simTimer:
		return o.due()+1_000_000 < p.kernel.Time()
	case simWork:
		return true
	case simOpen, simAccess, simClose, simReadAt, simWriteAt:
		return !crowded
	}
	if o.file.blocking || o.file.closed {
		return false
	}
	if o.cancelled {
		return !crowded
	}
	state := o.file.description.State()
	wanted := uint32(sys.EpollErr | sys.EpollHup)
	switch o.kind {
	case simRead, simReceive, simAccept:
		wanted |= sys.EpollIn | sys.EpollRdHup
	case simWrite, simSend, simShutdown, simSendfile:
		if crowded { // a part of a file may have to be read by the pool first
			return false
		}
		wanted |= sys.EpollOut
	case simConnect:
		return !crowded
	case simWait, simWatch:
		return p.owesShot(o, state)
	}
	return state&wanted != 0
}

// owesShot reports whether a wait or watch has something to report.
func (p *simProgram) owesShot(o *simOperation, state uint32) bool {
	events := o.events
	if o.kind == simWatch {
		events = o.asked
	}
	if o.events&EdgeTriggered != 0 { // only what came after the last shot is sure to be an edge
		since := max(o.submitted, o.lastShot)
		return events&Readable != 0 && state&sys.EpollIn != 0 && o.file.description.LastIn > since
	}
	wanted := uint32(sys.EpollErr | sys.EpollHup | sys.EpollRdHup)
	if events&Readable != 0 {
		wanted |= sys.EpollIn
	}
	if events&Writable != 0 {
		wanted |= sys.EpollOut
	}
	return state&wanted != 0
}

// wakeWatches writes to what edge-triggered watches wait for: they have to notice.
func (p *simProgram) wakeWatches() {
	for _, o := range p.operations {
		if !p.flying[o] || !p.canBeWoken(o) {
			continue
		}
		shots := o.shots
		n := p.kernel.Put(o.file.peer.fd, []byte{1})
		o.file.peer.put += n
		p.rest()
		if n > 0 && p.flying[o] && o.shots == shots && !o.cancelled {
			p.fail("%v did not notice that a byte came", o)
		}
	}
}

// canBeWoken reports whether a byte from the peer is sure to be noticed: by this watch, and by nobody else.
func (p *simProgram) canBeWoken(o *simOperation) bool {
	if o.kind != simWatch || o.events&EdgeTriggered == 0 || o.asked&Readable == 0 || o.cancelled {
		return false
	}
	f := o.file
	fed := f.peer != nil && f.peer.direct && !f.peer.closed
	return fed && f.reads() && !f.closing && !f.closed && !o.harvested && !p.isRead(f)
}

// isRead reports whether somebody else may take what comes.
func (p *simProgram) isRead(f *simFile) bool {
	for o := range p.flying {
		if o.file == f && (o.kind == simRead || o.kind == simReceive) {
			return true
		}
	}
	return false
}

// checkChannels wants that each byte was written and read once, and in order where that is promised.
func (p *simProgram) checkChannels() {
	for _, f := range p.files {
		in, out := f.description.Channels()
		if in != nil && f.kind != simDatagrams && in.Taken != p.read[in] {
			p.fail("%d bytes were read from %v, and %d were reported", in.Taken, f, p.read[in])
		}
		if out != nil {
			p.checkWritten(f, out)
		}
	}
}

func (p *simProgram) checkWritten(f *simFile, out *sim.Channel) {
	if f.direct {
		if len(out.History) != f.put {
			p.fail("%v has bytes that nobody wrote", f)
		}
		return
	}
	var expected []byte
	count := 0
	for _, o := range f.sends {
		n := max(o.result, 0)
		count += int(n)
		if o.kind == simSendfile && n > 0 {
			content := p.kernel.ContentOf(o.source.description)
			expected = append(expected, content[o.offset:o.offset+n]...)
		} else if n > 0 {
			expected = append(expected, o.memory[:n]...)
		}
	}
	if count != len(out.History) {
		p.fail("%d bytes were written to %v, and %d were reported", len(out.History), f, count)
	}
	if f.isSocket() && !bytes.Equal(expected, out.History) {
		p.fail("what arrived from %v is not what was sent, or not in order", f)
	}
}

// checkEnd wants nothing left, and nothing touched, after Close.
func (p *simProgram) checkEnd() {
	for _, o := range p.operations {
		if p.flying[o] {
			p.fail("%v did not complete", o)
		}
		if o.ended && !o.reused && (o.after.core != *simCore(o) || !bytes.Equal(o.after.memory, o.memory)) {
			p.fail("the memory of %v was touched after its end", o)
		}
	}
	p.mustBeEmpty("Close")
}

func (p *simProgram) mustBeEmpty(after string) {
	open := 0
	for _, f := range p.files {
		if !f.closed {
			open++
		}
	}
	if left := p.kernel.LeftBehind(open); left != "" {
		p.fail("after %s %s", after, left)
	}
}
