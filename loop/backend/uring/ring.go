package uring

import (
	"sync/atomic"
	"unsafe"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// ring is the pair of queues that is shared with the kernel. One thread at a time uses it.
type ring struct {
	kernel sys.Kernel
	fd     int
	memory [2]mapping // the queues; the submissions

	entries         []sys.RingSqe
	sqHead, sqFlags *uint32 // the kernel's
	sqTail          *uint32
	tail            uint32 // what *sqTail becomes
	cqes            []sys.RingCqe
	cqHead          *uint32
	cqTail          *uint32 // the kernel's
	sqMask, cqMask  uint32
	timeout         sys.RingTimeout
}

type mapping struct{ address, length uintptr }

// openRing makes a ring. A negative errno says what could not be had.
func openRing(kernel sys.Kernel, submissions, completions, flags uint32) (*ring, int64) {
	const needed = sys.RingNoDrop | sys.RingStable | sys.RingRwCur | sys.RingFastRw | sys.RingExtArg |
		sys.RingSkipCqe
	params := sys.RingParams{CqEntries: completions}
	params.Flags = sys.RingClamp | sys.RingSizedCq | sys.RingSubmitAll | sys.RingTaskrunFlag | flags
	fd := kernel.RingSetup(submissions, &params)
	if fd < 0 {
		return nil, fd
	}
	r := &ring{kernel: kernel, fd: int(fd)}
	if params.Features&needed != needed {
		r.close()
		return nil, sys.ENOSYS
	}
	if errno := r.mapMemory(&params); errno < 0 {
		r.close()
		return nil, errno
	}
	return r, 0
}

// mapMemory maps the queues and finds their parts.
func (r *ring) mapMemory(p *sys.RingParams) (errno int64) {
	const word = unsafe.Sizeof(uint32(0))
	submissions := uintptr(p.SqEntries) * unsafe.Sizeof(sys.RingSqe{})
	queues := max(uintptr(p.Sq.Array)+uintptr(p.SqEntries)*word,
		uintptr(p.Cq.Cqes)+uintptr(p.CqEntries)*unsafe.Sizeof(sys.RingCqe{}))
	for i, part := range []struct{ offset, length uintptr }{
		{sys.RingMapRings, queues}, {sys.RingMapEntries, submissions},
	} {
		var address uintptr
		if address, errno = r.kernel.RingMap(r.fd, part.offset, part.length); errno < 0 {
			return errno
		}
		r.memory[i] = mapping{address, part.length}
	}
	base := request.Pointer(r.memory[0].address)
	at := func(offset uint32) *uint32 { return (*uint32)(unsafe.Add(base, offset)) }
	r.sqHead, r.sqTail, r.sqFlags = at(p.Sq.Head), at(p.Sq.Tail), at(p.Sq.Flags)
	r.cqHead, r.cqTail = at(p.Cq.Head), at(p.Cq.Tail)
	r.sqMask, r.cqMask = p.SqEntries-1, p.CqEntries-1
	r.cqes = unsafe.Slice((*sys.RingCqe)(unsafe.Add(base, p.Cq.Cqes)), p.CqEntries)
	r.entries = unsafe.Slice((*sys.RingSqe)(request.Pointer(r.memory[1].address)), p.SqEntries)
	array := unsafe.Slice(at(p.Sq.Array), p.SqEntries)
	for i := range array {
		array[i] = uint32(i) // submissions are taken in the order of their slots
	}
	return 0
}

func (r *ring) close() {
	for _, m := range r.memory {
		if m.address != 0 {
			r.kernel.RingUnmap(m.address, m.length)
		}
	}
	r.kernel.Close(r.fd, false)
}

// next returns a zeroed submission to fill in, which goes to the kernel by an enter after the next publish.
// When the queue is full that is done first; nil when the kernel takes none.
func (r *ring) next() *sys.RingSqe {
	if r.unsubmitted() > r.sqMask {
		r.publish()
		r.enter(0, 0)
		if r.unsubmitted() > r.sqMask {
			return nil
		}
	}
	sqe := &r.entries[r.tail&r.sqMask]
	*sqe = sys.RingSqe{}
	r.tail++
	return sqe
}

// last returns the submission that was filled in last; takeBack takes it back, if the kernel has not got it.
func (r *ring) last() *sys.RingSqe { return &r.entries[(r.tail-1)&r.sqMask] }

func (r *ring) takeBack() { r.tail-- }

// unsubmitted returns how many submissions the kernel has not taken.
func (r *ring) unsubmitted() uint32 { return r.tail - atomic.LoadUint32(r.sqHead) }

// publish shows the kernel the submissions up to now, which are filled in. Who holds the worker's lock may
// add further ones while the worker's thread, without it, is on its way into the kernel.
func (r *ring) publish() { atomic.StoreUint32(r.sqTail, r.tail) }

// published returns how many submissions an enter would hand over. It needs no lock.
func (r *ring) published() uint32 { return atomic.LoadUint32(r.sqTail) - atomic.LoadUint32(r.sqHead) }

// ready returns how many completions there are to be read.
func (r *ring) ready() uint32 { return atomic.LoadUint32(r.cqTail) - *r.cqHead }

// owing reports whether the kernel has completions that it will only give to who enters.
func (r *ring) owing() bool {
	return atomic.LoadUint32(r.sqFlags)&(sys.RingSqOverflow|sys.RingSqTaskrun) != 0
}

// stuck reports whether completions wait to be made by a thread that is not here.
func (r *ring) stuck() bool {
	return r.ready() == 0 && atomic.LoadUint32(r.sqFlags)&sys.RingSqTaskrun != 0
}

// enter submits what is published, and waits for `wait` completions, at most timeoutNs (< 0: no limit).
func (r *ring) enter(wait uint32, timeoutNs int64) int64 {
	return r.kernel.RingEnter(r.fd, r.published(), wait, timeoutNs, &r.timeout)
}

// pop returns the oldest completion.
func (r *ring) pop() sys.RingCqe {
	head := *r.cqHead
	cqe := r.cqes[head&r.cqMask]
	atomic.StoreUint32(r.cqHead, head+1)
	return cqe
}
