package loop

import (
	"bytes"
	"unsafe"

	"github.com/libloop/libloop/loop/internal/sim"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// Pools of buffers are made by capi, in C memory. The simulator does that part itself.

// simBuffers is a pool, and what the program has of it.
type simBuffers struct {
	memory  []byte
	pool    []uint64 // a struct loop_buffers
	records []simBufferRecord
	size    int
	held    map[uint32]bool // buffers that the program has not given back

	lastGiven uint64 // when it gave one back last
}

// simBufferRecord, simBufferPool and simBufferShare have the layout of package request.
type simBufferRecord struct{ next, length, out uint32 }

type simBufferPool struct {
	loop, memory, buffers                     uintptr
	size, count, threads, slot, number, users uint32
	_                                         [2]uintptr
}

type simBufferShare struct {
	returned, free uint32
	_              [56]byte
}

var _ [request.SizeofPool]byte = [unsafe.Sizeof(simBufferPool{})]byte{}

func newSimBuffers(threads, size, count int) *simBuffers {
	b := &simBuffers{size: size, memory: make([]byte, size*count), held: make(map[uint32]bool)}
	b.records = make([]simBufferRecord, count)
	b.pool = make([]uint64, (request.SizeofPool+uintptr(threads)*request.SizeofShare)/8)
	*b.head() = simBufferPool{
		memory: simAddress(b.memory), buffers: uintptr(unsafe.Pointer(&b.records[0])), size: uint32(size),
		count: uint32(count), threads: uint32(threads), number: 1,
	}
	for number := uint32(count); number > 0; number-- {
		b.give(number)
	}
	return b
}

func simAddress(memory []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(memory))) }

func (b *simBuffers) head() *simBufferPool { return (*simBufferPool)(unsafe.Pointer(&b.pool[0])) }

// give puts a buffer in the share of its loop thread.
func (b *simBuffers) give(number uint32) {
	worker := (number - 1) % b.head().threads
	word := (request.SizeofPool + uintptr(worker)*request.SizeofShare) / 8
	share := (*simBufferShare)(unsafe.Pointer(&b.pool[word]))
	b.records[number-1].next = share.returned
	share.returned = number
}

// submitPooled receives into buffers of the pool.
func (p *simProgram) submitPooled(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && f.isSocket() })
	if f == nil {
		return
	}
	o := p.begin(simReceive, r, f)
	if o == nil {
		return
	}
	o.pooled, o.harvested = true, false
	flags := uint32(0)
	if r.OneIn(2) {
		o.multi, flags = true, Multishot
	}
	p.submit(o, func(q *Request, done func(*Request)) error {
		return p.loop.submit(q, p.loop.home(f.fd), done, func() {
			q.setOperand(nil)
			q.core.Op, q.core.Fd, q.core.Mode = request.OpReceive, int64(f.fd), flags
			q.core.Length, q.core.Offset, q.core.Events = 0, request.CurrentPosition, 0
			q.core.Moved, q.core.Message = 0, 0
			q.core.Held, q.core.Pool = 0, (*request.BufferPool)(unsafe.Pointer(p.buffers.head()))
			p.buffers.head().users++
		})
	})
}

// checkPooled wants the bytes that came, in a buffer that is nobody else's.
func (p *simProgram) checkPooled(o *simOperation, result int64) {
	shows := o.request.core.Flags&request.Buffer != 0
	if shows != (result > 0) {
		p.fail("%v completes with %d, and shows a buffer: %v", o, result, shows)
	}
	if !shows {
		unused := len(p.buffers.held) == 0 && p.buffers.lastGiven < o.submitted && !p.othersPooled(o)
		if result == sys.ENOBUFS && unused {
			p.fail("%v found no buffer, though nobody had one", o)
		}
		return
	}
	distance := o.request.core.Address - simAddress(p.buffers.memory)
	number := uint32(distance/uintptr(p.buffers.size)) + 1
	if distance%uintptr(p.buffers.size) != 0 || number > p.buffers.head().count || p.buffers.held[number] {
		p.fail("%v shows buffer %d, which it cannot have", o, number)
	}
	place := 0
	for _, piece := range p.kernel.Record.TakeRead(o.request.core.Address, p.buffers.size) {
		in, _ := o.file.description.Channels()
		memory := p.buffers.memory[int(distance)+place:]
		want := piece.Channel.History[piece.Position : piece.Position+piece.Length]
		if piece.Channel != in || !bytes.Equal(memory[:piece.Length], want) {
			p.fail("%v got wrong bytes", o)
		}
		place += piece.Length
		p.read[in] += piece.Length
	}
	if int64(place) != result {
		p.fail("%v took %d bytes, and its result is %d", o, place, result)
	}
	p.buffers.held[number] = true
	p.buffers.records[number-1].out = 0
	p.giveBack(o, number)
}

// giveBack returns a buffer now or later.
func (p *simProgram) giveBack(o *simOperation, number uint32) {
	back := func() {
		delete(p.buffers.held, number)
		p.buffers.lastGiven = p.kernel.Record.Sequence()
		p.buffers.give(number)
	}
	if o.random.OneIn(3) {
		p.kernel.After(uint64(o.random.Below(5_000_000)), back)
		return
	}
	back()
}

func (p *simProgram) othersPooled(o *simOperation) bool {
	for other := range p.flying {
		if other.pooled && other != o {
			return true
		}
	}
	return false
}
