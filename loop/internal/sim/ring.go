package sim

import (
	"slices"
	"unsafe"

	"github.com/libloop/libloop/loop/internal/sys"
)

// mostLost is how often the submitter of a ring is lost: a program whose threads end faster than requests can
// be handed over does not get anywhere.
const mostLost = 30

// ring is an io_uring instance: its queues are in memory that it shares with the program, laid out as the
// parameters say.
type ring struct {
	kernel    *Kernel
	queues    []uint64
	sqes      []sys.RingSqe
	cqes      []sys.RingCqe
	array     []uint32
	submitter *thread
	lost      int // how often a submitter was lost
	closed    bool

	sqHead, sqTail, sqFlags *uint32
	cqHead, cqTail          *uint32

	overflow []sys.RingCqe
	inFlight []*operation
	work     []*operation // have something to do on the thread that submitted them
	groups   map[uint16]*bufferGroup
}

// bufferGroup is a ring of buffers.
type bufferGroup struct {
	buffers []sys.RingBuffer
	head    uint16
}

// The layout of the queues, in bytes. The completions follow, and then the array.
const (
	sqHeadAt, sqTailAt, sqFlagsAt = 0, 64, 128
	cqHeadAt, cqTailAt, cqesAt    = 192, 256, 320
)

// RingSetup implements sys.Kernel.
func (k *Kernel) RingSetup(entries uint32, params *sys.RingParams) int64 {
	k.call()
	if errno := k.misfortune(makeErrors); errno < 0 {
		return k.Record.note(-1, errno)
	}
	if k.RingEntries > 0 {
		entries, params.CqEntries = k.RingEntries, k.RingEntries
	}
	r := &ring{kernel: k, groups: make(map[uint16]*bufferGroup)}
	params.SqEntries = entries
	arrayAt := cqesAt + params.CqEntries*uint32(unsafe.Sizeof(sys.RingCqe{}))
	r.queues = make([]uint64, (arrayAt+4*entries+7)/8)
	r.sqes = make([]sys.RingSqe, entries)
	base := unsafe.Pointer(unsafe.SliceData(r.queues))
	word := func(offset uint32) *uint32 { return (*uint32)(unsafe.Add(base, offset)) }
	r.sqHead, r.sqTail, r.sqFlags = word(sqHeadAt), word(sqTailAt), word(sqFlagsAt)
	r.cqHead, r.cqTail = word(cqHeadAt), word(cqTailAt)
	r.cqes = unsafe.Slice((*sys.RingCqe)(unsafe.Pointer(word(cqesAt))), params.CqEntries)
	r.array = unsafe.Slice(word(arrayAt), entries)
	params.Sq.Head, params.Sq.Tail, params.Sq.Flags, params.Sq.Array = sqHeadAt, sqTailAt, sqFlagsAt, arrayAt
	params.Cq.Head, params.Cq.Tail, params.Cq.Cqes = cqHeadAt, cqTailAt, cqesAt
	params.Features = sys.RingNoDrop | sys.RingStable | sys.RingRwCur | sys.RingFastRw | sys.RingExtArg |
		sys.RingSkipCqe
	k.rings = append(k.rings, r)
	_, fd := k.open(r)
	return int64(fd)
}

// RingMap implements sys.Kernel.
func (k *Kernel) RingMap(fd int, offset, length uintptr) (uintptr, int64) {
	k.call()
	if k.misfortune(makeErrors) < 0 {
		return 0, k.Record.note(-1, sys.ENOMEM)
	}
	r := k.find(fd).file.(*ring)
	memory := uintptr(unsafe.Pointer(unsafe.SliceData(r.queues)))
	if offset == sys.RingMapEntries {
		memory = uintptr(unsafe.Pointer(unsafe.SliceData(r.sqes)))
	}
	k.mappings[memory] = r.queues
	return memory, 0
}

// RingUnmap implements sys.Kernel.
func (k *Kernel) RingUnmap(memory, _ uintptr) {
	k.call()
	if k.mappings[memory] == nil {
		k.fail("what is not mapped was unmapped")
	}
	delete(k.mappings, memory)
}

// RingSupports implements sys.Kernel.
func (k *Kernel) RingSupports(int, ...uint8) bool { return true }

// RingEnable implements sys.Kernel.
func (k *Kernel) RingEnable(int) int64 { return 0 }

// RingLimitThreads implements sys.Kernel.
func (k *Kernel) RingLimitThreads(int, uint32) int64 { return k.misfortune(makeErrors[2:]) }

// RingMapBuffers implements sys.Kernel.
func (k *Kernel) RingMapBuffers(length uintptr) (uintptr, int64) {
	k.call()
	if k.misfortune(makeErrors) < 0 {
		return 0, k.Record.note(-1, sys.ENOMEM)
	}
	words := make([]uint64, length/8)
	memory := uintptr(unsafe.Pointer(unsafe.SliceData(words)))
	k.mappings[memory] = words
	return memory, 0
}

// RingRegisterBuffers implements sys.Kernel.
func (k *Kernel) RingRegisterBuffers(fd int, group uint16, memory uintptr, entries uint32) int64 {
	k.call()
	r := k.find(fd).file.(*ring)
	if r.groups[group] != nil {
		return k.Record.note(-1, sys.EEXIST)
	}
	if errno := k.misfortune(makeErrors[2:]); errno < 0 {
		return k.Record.note(-1, errno)
	}
	r.groups[group] = &bufferGroup{buffers: unsafe.Slice((*sys.RingBuffer)(at(memory)), entries)}
	return 0
}

// RingUnregisterBuffers implements sys.Kernel.
func (k *Kernel) RingUnregisterBuffers(fd int, group uint16) int64 {
	k.call()
	delete(k.find(fd).file.(*ring).groups, group)
	return 0
}

func (r *ring) state() uint32 {
	if *r.cqTail != *r.cqHead || len(r.work) > 0 {
		return sys.EpollIn
	}
	return 0
}

func (r *ring) read(*Description, []span, int64) int64  { return sys.EINVAL }
func (r *ring) write(*Description, []span, int64) int64 { return sys.EINVAL }

func (r *ring) release() {
	r.closed = true
	r.kernel.rings = slices.DeleteFunc(r.kernel.rings, func(other *ring) bool { return other == r })
	for len(r.inFlight) > 0 {
		r.inFlight[0].leave()
	}
}

// RingEnter implements sys.Kernel.
func (k *Kernel) RingEnter(fd int, submit, wait uint32, timeoutNs int64, _ *sys.RingTimeout) int64 {
	k.call()
	d := k.find(fd)
	if d == nil {
		return sys.EBADF
	}
	r := d.file.(*ring)
	if submit > 0 && k.strikes(Refusals) {
		return k.Record.note(-1, enterErrors[k.random.Below(len(enterErrors))])
	}
	r.submitter = k.current
	k.trace("enter: submit %d of %d, wait %d for %d", submit, *r.sqTail-*r.sqHead, wait, timeoutNs)
	taken := r.takeSubmissions(submit)
	if r.lost < mostLost && k.strikes(LostSubmitters) {
		r.lost++
		r.loseSubmitter()
	}
	r.runTaskWork()
	if wait == 0 || taken < submit {
		return int64(taken)
	}
	k.interleave()
	if k.strikes(SpuriousWakes) {
		return int64(taken)
	}
	k.blockFor(func() bool { return r.count() >= wait || len(r.work) > 0 && r.works() >= wait }, timeoutNs)
	r.runTaskWork()
	return int64(taken)
}

// works runs what there is to do, on the waiting thread's behalf, and returns the number of completions.
func (r *ring) works() uint32 {
	r.runTaskWork()
	return r.count()
}

func (r *ring) count() uint32 { return *r.cqTail - *r.cqHead }

// takeSubmissions takes submissions, all that are asked for or some.
func (r *ring) takeSubmissions(submit uint32) (taken uint32) {
	submit = min(submit, *r.sqTail-*r.sqHead)
	if submit > 0 && r.kernel.strikes(Refusals) {
		submit = uint32(r.kernel.random.Below(int(submit) + 1))
	}
	for ; taken < submit; taken++ {
		sqe := r.sqes[r.array[*r.sqHead&uint32(len(r.array)-1)]]
		*r.sqHead++
		r.kernel.trace("ring takes %d, fd %d, %x, address %x", sqe.Opcode, sqe.Fd, sqe.UserData, sqe.Address)
		r.begin(&sqe)
	}
	return taken
}

// loseSubmitter ends what is in flight, as the end of a thread does with what it submitted.
func (r *ring) loseSubmitter() {
	for _, o := range append([]*operation(nil), r.inFlight...) {
		if o.parked() {
			o.finish(sys.ECANCELED)
		}
	}
}

// runTaskWork goes on with operations that something happened to, and moves completions out of the overflow.
func (r *ring) runTaskWork() {
	work := r.work
	r.work = nil
	if len(work) > 1 && r.kernel.strikes(Disorder) {
		for i := range work {
			j := i + r.kernel.random.Below(len(work)-i)
			work[i], work[j] = work[j], work[i]
		}
	}
	for _, o := range work {
		o.queued = false
		if !o.over {
			o.goOn()
		}
	}
	r.flushOverflow()
	r.showFlags()
}

// showFlags sets the flags that the program sees.
func (r *ring) showFlags() {
	*r.sqFlags = 0
	if len(r.overflow) > 0 {
		*r.sqFlags |= sys.RingSqOverflow
	}
	if len(r.work) > 0 {
		*r.sqFlags |= sys.RingSqTaskrun
	}
}

func (r *ring) flushOverflow() {
	for len(r.overflow) > 0 && r.count() < uint32(len(r.cqes)) {
		r.push(r.overflow[0])
		r.overflow = r.overflow[1:]
	}
}

func (r *ring) push(cqe sys.RingCqe) {
	r.cqes[*r.cqTail&uint32(len(r.cqes)-1)] = cqe
	*r.cqTail++
}

// complete makes a completion, in the overflow if the queue is full.
func (r *ring) complete(userData uint64, result int64, flags uint32) {
	if r.closed {
		return
	}
	r.kernel.Record.sequence++
	r.kernel.trace("ring completes %x: %d, flags %x", userData, result, flags)
	cqe := sys.RingCqe{UserData: userData, Result: int32(result), Flags: flags}
	if len(r.overflow) > 0 || r.count() == uint32(len(r.cqes)) {
		r.overflow = append(r.overflow, cqe)
	} else {
		r.push(cqe)
	}
	r.showFlags()
}
