package sim

// What the program that uses the engine does without it. None of it fails, and none of it takes time.

// Pipe makes a pipe.
func (k *Kernel) Pipe(pages int, nonblocking bool) (reader, writer int, channel *Channel) {
	c := &Channel{kernel: k, page: 32, capacity: 32 * pages}
	c.reader, reader = k.open(&pipeEnd{channel: c})
	c.writer, writer = k.open(&pipeEnd{channel: c, writes: true})
	c.reader.nonblocking, c.writer.nonblocking = nonblocking, nonblocking
	return reader, writer, c
}

// SocketPair makes two sockets that are connected, and returns the channel from each to the other.
func (k *Kernel) SocketPair(datagrams bool, capacity int, nonblocking bool) (fds [2]int, out [2]*Channel) {
	var ends [2]*socket
	for i := range ends {
		ends[i] = &socket{kernel: k, datagrams: datagrams}
		ends[i].description, fds[i] = k.open(ends[i])
		ends[i].description.nonblocking = nonblocking
	}
	k.join(ends[0], ends[1], capacity)
	return fds, [2]*Channel{ends[0].out, ends[1].out}
}

// Listener makes a listening socket on a port.
func (k *Kernel) Listener(port uint16, backlog int, nonblocking bool) int {
	s := &socket{kernel: k, tcp: true, listening: true, port: port, mostWait: backlog}
	d, fd := k.open(s)
	s.description, d.nonblocking = d, nonblocking
	k.ports[port] = s
	return fd
}

// File makes a file with contents, if there is none by that path, and opens it.
func (k *Kernel) File(path string, content []byte) int {
	i := k.paths[path]
	if i == nil {
		i = &inode{path: path, content: content, cold: make(map[int]bool)}
		k.paths[path] = i
	}
	_, fd := k.open(&regular{kernel: k, inode: i})
	return fd
}

// Content returns the contents of the file that is open.
func (k *Kernel) Content(fd int) []byte { return k.files[fd].file.(*regular).inode.content }

// Position returns the position of a description of a file.
func (d *Description) Position() int64 { return d.file.(*regular).position }

// ContentOf returns the contents of the file that a description is open on.
func (k *Kernel) ContentOf(d *Description) []byte { return d.file.(*regular).inode.content }

// Shut shuts down both directions of a socket.
func (k *Kernel) Shut(fd int) { k.files[fd].file.(*socket).shutdown(2) }

// Describe returns the description of a descriptor, or nil.
func (k *Kernel) Describe(fd int) *Description { return k.find(fd) }

// State returns the events of poll that hold.
func (d *Description) State() uint32 { return d.file.state() }

// Open reports whether the description has a number.
func (d *Description) Open() bool { return d.numbers > 0 }

// Peculiar makes a description one of a driver that cannot do everything.
func (d *Description) Peculiar(neverWaits, denies bool) { d.neverWaits, d.denies = neverWaits, denies }

// Channels returns what goes in and out of a socket or pipe; nil: nothing.
func (d *Description) Channels() (in, out *Channel) {
	switch f := d.file.(type) {
	case *socket:
		return f.in, f.out
	case *pipeEnd:
		if f.writes {
			return nil, f.channel
		}
		return f.channel, nil
	}
	return nil, nil
}

// Dup makes a second number of a description.
func (k *Kernel) Dup(fd int) int { return k.install(k.files[fd]) }

// Exchange exchanges two numbers, as dup and close do.
func (k *Kernel) Exchange(a, b int) { k.files[a], k.files[b] = k.files[b], k.files[a] }

// CloseBehind closes a descriptor without the engine.
func (k *Kernel) CloseBehind(fd int) { k.closeNumber(fd) }

// Put writes bytes as a peer does, as far as there is room, and returns how many that were.
func (k *Kernel) Put(fd int, b []byte) int {
	on := k.Faults.On
	k.Faults.On = on && k.Faults.Ratio[Latency] > 0
	d := k.files[fd]
	n := d.file.write(d, []span{spanOf(b)}, -1)
	k.Faults.On = on
	return int(max(n, 0))
}

// Take reads up to n bytes as a peer does.
func (k *Kernel) Take(fd, n int) int {
	on := k.Faults.On
	k.Faults.On = false
	b := make([]byte, n)
	d := k.files[fd]
	got := d.file.read(d, []span{spanOf(b)}, -1)
	k.Faults.On = on
	k.Record.TakeRead(spanOf(b).address, n)
	return int(max(got, 0))
}

// End shuts down the sending direction of a socket.
func (k *Kernel) End(fd int) { k.files[fd].file.(*socket).shutdown(1) }

// IsSocket reports whether it is a socket.
func (d *Description) IsSocket() bool { _, ok := d.file.(*socket); return ok }

// Settle has all that is on its way arrive: nothing is late from now on.
func (k *Kernel) Settle() { k.Faults.On = false }
