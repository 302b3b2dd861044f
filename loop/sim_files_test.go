package loop

import (
	"fmt"

	"github.com/libloop/libloop/loop/internal/sim"
	"github.com/libloop/libloop/loop/request"
)

// simFileKind is what a descriptor of the program is.
type simFileKind int

const (
	simPipeReader simFileKind = iota
	simPipeWriter
	simStream
	simDatagrams
	simRegular
	simListener
	simUnconnected
)

var simFileNames = [...]string{"pipe to read", "pipe to write", "stream", "datagrams", "file", "listener",
	"socket"}

// simFile is a descriptor of the program.
type simFile struct {
	kind        simFileKind
	fd          int
	description *sim.Description
	peer        *simFile // the other end of a pipe or pair
	direct      bool     // the program uses it without the loop
	blocking    bool
	closing     bool // a close of it was submitted
	closed      bool
	immutable   bool // a regular file that is never written
	port        uint16
	put         int // bytes that the program wrote without the loop
	sends       []*simOperation
	requests    int // in flight
}

func (f *simFile) String() string { return fmt.Sprintf("fd %d (%s)", f.fd, simFileNames[f.kind]) }

func (f *simFile) reads() bool {
	return f.kind == simPipeReader || f.kind == simStream || f.kind == simDatagrams
}

func (f *simFile) writes() bool {
	return f.kind == simPipeWriter || f.kind == simStream || f.kind == simDatagrams
}

func (f *simFile) isSocket() bool { return f.kind == simStream || f.kind == simDatagrams }

// usable reports whether operations may be submitted on it.
func (f *simFile) usable() bool { return !f.closing && !f.closed && !f.direct }

func (p *simProgram) add(kind simFileKind, fd int) *simFile {
	f := &simFile{kind: kind, fd: fd, description: p.kernel.Describe(fd)}
	if f.description == nil {
		p.fail("descriptor %d, which a result names, is not open", fd)
	}
	p.files = append(p.files, f)
	p.trace("made %v", f)
	return f
}

// makeFile opens something new.
func (p *simProgram) makeFile(r *sim.Random) {
	k := p.kernel
	blocking := r.OneIn(3)
	var made [2]*simFile
	switch r.Below(6) {
	case 0, 1:
		reader, writer, _ := k.Pipe(r.Range(1, 8), !blocking)
		made = [2]*simFile{p.add(simPipeReader, reader), p.add(simPipeWriter, writer)}
	case 2, 3:
		fds, _ := k.SocketPair(false, 1<<r.Range(5, 11), !blocking)
		made = [2]*simFile{p.add(simStream, fds[0]), p.add(simStream, fds[1])}
	case 4:
		if r.OneIn(2) {
			fds, _ := k.SocketPair(true, 256, !blocking)
			made = [2]*simFile{p.add(simDatagrams, fds[0]), p.add(simDatagrams, fds[1])}
			break
		}
		p.ports++
		f := p.add(simListener, k.Listener(uint16(p.ports), r.Range(1, 4), !blocking))
		f.port, f.blocking = uint16(p.ports), blocking
	case 5:
		p.makeRegular(r)
	}
	if made[0] == nil {
		return
	}
	made[0].peer, made[1].peer = made[1], made[0]
	peculiar := r.OneIn(4)
	for _, f := range made {
		f.blocking = blocking
		f.description.Peculiar(peculiar && !f.isSocket(), peculiar && !f.isSocket())
	}
	if r.OneIn(3) {
		made[r.Below(2)].direct = true
	}
}

func (p *simProgram) makeRegular(r *sim.Random) {
	content := make([]byte, r.Range(1, 600))
	number := len(p.files)
	for i := range content {
		content[i] = simFileByte(number, i)
	}
	f := p.add(simRegular, p.kernel.File(fmt.Sprintf("/file%d", number), content))
	f.immutable = true
}

// simFileByte is what is at a place of a file.
func simFileByte(number, place int) byte { return byte(number*13 + place*7 + place>>8*3) }

// pick chooses a file for which something holds, or nil.
func (p *simProgram) pick(r *sim.Random, holds func(*simFile) bool) *simFile {
	for range 6 {
		if len(p.files) == 0 {
			return nil
		}
		if f := p.files[r.Below(len(p.files))]; holds(f) {
			return f
		}
	}
	return nil
}

// feed does what peers do: it writes, reads, and ends.
func (p *simProgram) feed(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.direct && !f.closed })
	if f == nil {
		return
	}
	p.exchange(f, r)
	if r.OneIn(25) {
		p.closeBehind(f)
	} else if r.OneIn(25) && f.kind == simStream {
		p.trace("end of %v", f)
		p.kernel.End(f.fd)
	}
}

// agitate has a file become ready several times in the time that comes.
func (p *simProgram) agitate(f *simFile, r *sim.Random) {
	for range r.Range(2, 4) {
		p.soon(r, 2_000_000, func(r *sim.Random) {
			if f.direct && !f.closed {
				p.exchange(f, r)
			}
		})
	}
}

// exchange puts bytes in a file or takes some out.
func (p *simProgram) exchange(f *simFile, r *sim.Random) {
	switch {
	case f.writes() && (f.kind != simStream || r.OneIn(2)):
		data := make([]byte, r.Range(1, 300))
		for i := range data {
			data[i] = byte(r.Next())
		}
		n := p.kernel.Put(f.fd, data)
		f.put += n
		p.trace("put %d bytes in %v", n, f)
	case f.reads():
		in, _ := f.description.Channels()
		n := p.kernel.Take(f.fd, r.Range(1, 500))
		p.read[in] += n
		p.trace("took %d bytes out of %v", n, f)
	}
}

func (p *simProgram) closeBehind(f *simFile) {
	p.trace("close %v behind the loop's back", f)
	f.closed = true
	p.kernel.CloseBehind(f.fd)
}

// shuffleNumbers closes an idle descriptor without the loop, perhaps after giving its file another number.
func (p *simProgram) shuffleNumbers(r *sim.Random) {
	f := p.pick(r, func(f *simFile) bool { return f.usable() && f.requests == 0 })
	if f == nil || p.usesNumber(f.fd) {
		return
	}
	if r.OneIn(4) {
		p.closeBehind(f)
		return
	}
	g := p.pick(r, func(g *simFile) bool {
		return g != f && g.usable() && g.requests == 0 && !p.usesNumber(g.fd)
	})
	if g != nil {
		p.trace("%v and %v exchange their numbers", f, g)
		p.kernel.Exchange(f.fd, g.fd)
		f.fd, g.fd = g.fd, f.fd
		p.submitWaitOn(f, r)
		p.submitWaitOn(g, r)
		return
	}
	fd := p.kernel.Dup(f.fd)
	p.trace("%v becomes %d", f, fd)
	p.kernel.CloseBehind(f.fd)
	f.fd = fd
}

// usesNumber reports whether a request in flight names a number.
func (p *simProgram) usesNumber(fd int) bool {
	for o := range p.flying {
		if o.fd == fd || o.source != nil && o.source.fd == fd {
			return true
		}
	}
	return false
}

// isSource reports whether a request in flight sends from a file, which then must not be closed.
func (p *simProgram) isSource(f *simFile) bool {
	for o := range p.flying {
		if o.source == f {
			return true
		}
	}
	return false
}

// isBusy reports whether the loop has requests on a file. Those that wait to be harvested are none.
func (p *simProgram) isBusy(f *simFile) bool {
	for o := range p.flying {
		if phase := o.request.core.Phase(); o.file == f && phase != request.Done && phase != request.Free {
			return true
		}
	}
	return false
}

// endPeers closes all that requests in flight may wait for.
func (p *simProgram) endPeers() {
	p.trace("peers end")
	for _, f := range p.files {
		if f.closed || f.closing {
			continue
		}
		switch {
		case f.direct:
			p.closeBehind(f)
		case f.blocking && !p.isBusy(f):
			p.closeBehind(f)
		case f.kind == simStream && f.blocking:
			p.kernel.Shut(f.fd)
		}
	}
}
