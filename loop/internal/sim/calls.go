package sim

import "github.com/libloop/libloop/loop/internal/sys"

// transfer is a read or write of some kind.
type transfer struct {
	writes bool
	spans  []span
	offset int64
	flags  uint32
	socket bool // a send or receive, which is for sockets alone
}

// attempt makes a transfer without waiting; EAGAIN: it would block.
func (k *Kernel) attempt(fd int, d *Description, t *transfer) (n int64) {
	if k.Trace != nil {
		defer func() { k.trace("transfer on %d, writes %v, %d bytes: %d", fd, t.writes, total(t.spans), n) }()
	}
	if d == nil {
		return k.Record.note(fd, sys.EBADF)
	}
	s, isSocket := d.file.(*socket)
	if t.socket && !isSocket {
		return k.Record.note(fd, sys.ENOTSOCK)
	}
	list := readErrors
	if t.writes {
		list = writeErrors
	}
	if errno := k.misfortune(list); errno < 0 {
		return k.Record.note(fd, errno)
	}
	switch {
	case t.socket && t.writes:
		return k.Record.note(fd, s.send(t.spans))
	case t.socket:
		return k.Record.note(fd, s.receive(t.spans, t.flags))
	case t.writes:
		return k.Record.note(fd, d.file.write(d, t.spans, t.offset))
	}
	return k.Record.note(fd, d.file.read(d, t.spans, t.offset))
}

// now makes a transfer as RWF_NOWAIT asks for.
func (k *Kernel) transferNow(fd int, t *transfer) int64 {
	k.call()
	if d := k.find(fd); d != nil && d.denies {
		return sys.ENOTSUP
	}
	if d := k.find(fd); d != nil && t.writes {
		if _, ok := d.file.(*regular); ok && k.strikes(ColdPages) {
			return sys.EAGAIN
		}
	}
	return k.attempt(fd, k.find(fd), t)
}

// patiently makes a transfer, and waits as the description does. A blocking write goes on until all is
// written.
func (k *Kernel) patiently(fd int, t *transfer) int64 {
	k.call()
	k.mayBlock()
	d := k.find(fd)
	k.trace("patient transfer on %d, writes: %v", fd, t.writes)
	if d == nil {
		return k.Record.note(fd, sys.EBADF)
	}
	if f, ok := d.file.(*regular); ok && !t.writes {
		k.takeTime()
		if errno := k.misfortune(readErrors); errno < 0 {
			return k.Record.note(fd, errno)
		}
		return f.readPatiently(t.spans, t.offset)
	}
	d.hold()
	defer d.drop()
	written := int64(0)
	for {
		n := k.attempt(fd, d, t)
		switch {
		case n == sys.EAGAIN && !d.nonblocking:
			event := uint32(sys.EpollIn | sys.EpollHup | sys.EpollErr)
			if t.writes {
				event = sys.EpollOut | sys.EpollErr
			}
			k.block(func() bool { return d.file.state()&event != 0 }, never)
			continue
		case n > 0 && t.writes && !d.nonblocking && n < int64(total(t.spans)):
			written += n
			t.spans = skip(t.spans, int(n))
			continue
		case written > 0:
			return written + max(n, 0)
		}
		return n
	}
}

func skip(spans []span, n int) (rest []span) {
	for _, s := range spans {
		part := min(n, s.length)
		n -= part
		if part < s.length {
			rest = append(rest, span{s.address + uintptr(part), s.length - part})
		}
	}
	return rest
}

// takeTime lets a thread of the pool wait for a device.
func (k *Kernel) takeTime() {
	if delay := k.delay(Latency); delay > 0 && k.current.name == "loop-blocking" {
		k.Sleep(delay)
	}
}

// ReadNow implements sys.Kernel.
func (k *Kernel) ReadNow(fd int, iov uintptr, count int, offset int64) int64 {
	return k.transferNow(fd, &transfer{spans: vectors(iov, count), offset: offset})
}

// WriteNow implements sys.Kernel.
func (k *Kernel) WriteNow(fd int, iov uintptr, count int, offset int64) int64 {
	return k.transferNow(fd, &transfer{writes: true, spans: vectors(iov, count), offset: offset})
}

// Read implements sys.Kernel.
func (k *Kernel) Read(fd int, iov uintptr, count int, offset int64) int64 {
	return k.patiently(fd, &transfer{spans: vectors(iov, count), offset: offset})
}

// Write implements sys.Kernel.
func (k *Kernel) Write(fd int, iov uintptr, count int, offset int64) int64 {
	return k.patiently(fd, &transfer{writes: true, spans: vectors(iov, count), offset: offset})
}

// Receive implements sys.Kernel.
func (k *Kernel) Receive(fd int, address uintptr, length uint64, flags uint32) int64 {
	k.call()
	return k.attempt(fd, k.find(fd), &transfer{spans: plain(address, length), flags: flags, socket: true})
}

// Send implements sys.Kernel.
func (k *Kernel) Send(fd int, address uintptr, length uint64, flags uint32) int64 {
	k.call()
	t := &transfer{writes: true, spans: plain(address, length), flags: flags, socket: true}
	return k.attempt(fd, k.find(fd), t)
}

func plain(address uintptr, length uint64) []span { return []span{{address, int(length)}} }

// ReceiveMessage implements sys.Kernel.
func (k *Kernel) ReceiveMessage(fd int, address uintptr, flags uint32) int64 {
	k.call()
	h, spans := message(address)
	n := k.attempt(fd, k.find(fd), &transfer{spans: spans, flags: flags, socket: true})
	if n >= 0 {
		h.nameLength, h.controlLen, h.flags = 0, 0, 0
	}
	return n
}

// SendMessage implements sys.Kernel.
func (k *Kernel) SendMessage(fd int, address uintptr, flags uint32) int64 {
	k.call()
	_, spans := message(address)
	return k.attempt(fd, k.find(fd), &transfer{writes: true, spans: spans, flags: flags, socket: true})
}

// Close implements sys.Kernel.
func (k *Kernel) Close(fd int, blocking bool) int64 {
	k.call()
	if blocking {
		k.mayBlock()
	}
	k.trace("close %d", fd)
	errno := k.closeNumber(fd)
	if errno == 0 && blocking {
		errno = k.misfortune(closeErrors)
	}
	return k.Record.note(fd, errno)
}

const (
	create       = 0o100
	nonblockFlag = 0o4000
)

// Open implements sys.Kernel.
func (k *Kernel) Open(dirfd int, path uintptr, flags int, _ uint32) int64 {
	k.call()
	k.mayBlock()
	k.takeTime()
	return k.openPath(dirfd, text(path), flags)
}

func (k *Kernel) openPath(dirfd int, path string, flags int) int64 {
	if errno := k.misfortune(openErrors); errno < 0 {
		return k.Record.note(dirfd, errno)
	}
	i := k.paths[path]
	if i == nil {
		if flags&create == 0 {
			return k.Record.note(dirfd, sys.ENOENT)
		}
		i = &inode{path: path, cold: make(map[int]bool)}
		k.paths[path] = i
	}
	d, fd := k.open(&regular{kernel: k, inode: i})
	d.nonblocking = flags&nonblockFlag != 0
	return int64(fd)
}

// Access implements sys.Kernel.
func (k *Kernel) Access(dirfd int, path uintptr, _ uint32, _ int) int64 {
	k.call()
	k.mayBlock()
	if k.paths[text(path)] == nil {
		return k.Record.note(dirfd, sys.ENOENT)
	}
	return 0
}

// Socket implements sys.Kernel.
func (k *Kernel) Socket(_, kind, _ int) int64 {
	k.call()
	const datagrams = 2
	s := &socket{kernel: k, datagrams: kind&0xf == datagrams, tcp: true}
	d, fd := k.open(s)
	s.description, d.nonblocking = d, true
	return int64(fd)
}

// asSocket returns the socket of a descriptor.
func (k *Kernel) asSocket(fd int) (*socket, int64) {
	d := k.find(fd)
	if d == nil {
		return nil, k.Record.note(fd, sys.EBADF)
	}
	s, ok := d.file.(*socket)
	if !ok {
		return nil, k.Record.note(fd, sys.ENOTSOCK)
	}
	return s, 0
}

// AcceptNow implements sys.Kernel.
func (k *Kernel) AcceptNow(fd int, _, _ uintptr) int64 {
	k.call()
	s, errno := k.asSocket(fd)
	if errno < 0 {
		return errno
	}
	return k.Record.note(fd, s.accept())
}

// Accept implements sys.Kernel.
func (k *Kernel) Accept(fd int, _, _ uintptr) int64 {
	k.call()
	k.mayBlock()
	s, errno := k.asSocket(fd)
	if errno < 0 {
		return errno
	}
	if !s.description.nonblocking {
		s.description.hold()
		defer s.description.drop()
		k.block(func() bool { return len(s.backlog) > 0 }, never)
	}
	return k.Record.note(fd, s.accept())
}

// ConnectNow implements sys.Kernel.
func (k *Kernel) ConnectNow(fd int, address uintptr, _ uint32) int64 {
	k.call()
	s, errno := k.asSocket(fd)
	if errno < 0 {
		return errno
	}
	return k.Record.note(fd, s.beginConnect(address))
}

// Connect implements sys.Kernel.
func (k *Kernel) Connect(fd int, address uintptr, length uint32) int64 {
	n := k.ConnectNow(fd, address, length)
	d := k.find(fd)
	if n != sys.EINPROGRESS || d.nonblocking {
		return n
	}
	s := d.file.(*socket)
	k.block(func() bool { return !s.connecting }, never)
	return k.Record.note(fd, s.beginConnect(address))
}

// SocketError implements sys.Kernel.
func (k *Kernel) SocketError(fd int) int64 {
	k.call()
	s, errno := k.asSocket(fd)
	if errno < 0 {
		return 0
	}
	return k.Record.note(fd, s.takeError())
}

// Shutdown implements sys.Kernel.
func (k *Kernel) Shutdown(fd int, how uint32) int64 {
	k.call()
	s, errno := k.asSocket(fd)
	if errno < 0 {
		return errno
	}
	return k.Record.note(fd, s.shutdown(how))
}

// Sendfile implements sys.Kernel.
func (k *Kernel) Sendfile(out, in int, offset *int64, count uint64) int64 {
	k.call()
	k.mayBlock()
	file := k.find(in)
	if file == nil {
		return k.Record.note(out, sys.EBADF)
	}
	f, ok := file.file.(*regular)
	if !ok {
		return k.Record.note(out, sys.EINVAL)
	}
	n := max(0, min(int64(count), int64(len(f.inode.content))-*offset))
	if n == 0 {
		return 0
	}
	part := f.inode.content[*offset : *offset+n]
	sent := k.attempt(out, k.find(out), &transfer{writes: true, spans: []span{spanOf(part)}, socket: true})
	if sent > 0 {
		*offset += sent
	}
	return sent
}

// Splice implements sys.Kernel. Programs of the simulator do not splice.
func (k *Kernel) Splice(int, *int64, int, *int64, uint64, uint32) int64 { return sys.EINVAL }

// Poll implements sys.Kernel.
func (k *Kernel) Poll(fds []sys.PollFd, timeoutMs int) int64 {
	k.call()
	look := func() (found int64) {
		for i := range fds {
			p := &fds[i]
			p.Revents = 0
			if d := k.find(int(p.Fd)); d != nil {
				p.Revents = int16(d.file.state() & (uint32(uint16(p.Events)) | sys.EpollErr | sys.EpollHup))
			} else if p.Fd >= 0 {
				p.Revents = sys.PollInvalid
			}
			if p.Revents != 0 {
				found++
			}
		}
		return found
	}
	if timeoutMs != 0 && !(len(fds) > 0 && k.strikes(SpuriousWakes)) {
		k.blockFor(func() bool { return look() > 0 }, int64(timeoutMs)*1_000_000)
	}
	found := look()
	for i := range fds {
		if d := k.find(int(fds[i].Fd)); d != nil && fds[i].Revents != 0 {
			d.report(uint32(uint16(fds[i].Revents)), 0)
		} else if fds[i].Revents != 0 {
			k.Record.note(int(fds[i].Fd), sys.EBADF)
		}
	}
	return found
}
