package loop

import (
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// Flags of operations on sockets, beside the MSG_* of the system.
const (
	Multishot = request.Multishot // Accept: complete again and again, until cancelled or an error
	SendAll   = request.SendAll   // Send, Sendfile: go on until all is sent
)

// Socket makes a socket, non-blocking and closed on exec.
func (l *Loop) Socket(domain, kind, protocol int) (fd int, err error) {
	n := l.engine.Socket(domain, kind, protocol)
	return int(max(n, -1)), sys.Error(min(n, 0))
}

// Accept accepts a connection; the result is its descriptor. flags is 0 or Multishot.
func (l *Loop) Accept(r *Request, fd int, flags uint32, done func(*Request)) error {
	return l.socket(r, request.OpAccept, fd, nil, flags, done)
}

// Connect connects a socket to an address, which is as the system has it in memory.
func (l *Loop) Connect(r *Request, fd int, address []byte, done func(*Request)) error {
	return l.socket(r, request.OpConnect, fd, address, 0, done)
}

// Receive receives up to len(buffer) bytes, or one datagram, as recv(2).
func (l *Loop) Receive(r *Request, fd int, buffer []byte, flags uint32, done func(*Request)) error {
	return l.socket(r, request.OpReceive, fd, buffer, flags, done)
}

// Send sends up to len(buffer) bytes, or one datagram, as send(2). Those on one socket are made in the order
// of their submits.
func (l *Loop) Send(r *Request, fd int, buffer []byte, flags uint32, done func(*Request)) error {
	return l.socket(r, request.OpSend, fd, buffer, flags, done)
}

// Shutdown ends one or both directions of a connection, as shutdown(2); that of sending after the sends that
// were submitted before.
func (l *Loop) Shutdown(r *Request, fd, how int, done func(*Request)) error {
	return l.socket(r, request.OpShutdown, fd, nil, uint32(how), done)
}

// Sendfile sends count bytes of a file from an offset on. flags is 0 or SendAll.
func (l *Loop) Sendfile(r *Request, out, in int, offset, count int64, flags uint32,
	done func(*Request)) error {
	return l.submit(r, l.home(out), done, func() {
		r.core.Op, r.core.Fd, r.core.Mode = request.OpSendfile, int64(out), flags
		r.core.Moved, r.core.Message = 0, 0
		r.core.OwnMessage.Name = uintptr(in)
		r.core.Offset, r.core.Length = position(offset), uint64(count)
	})
}

// CancelFd cancels all requests on a descriptor; the result is their number.
func (l *Loop) CancelFd(r *Request, fd int, done func(*Request)) error {
	return l.socket(r, request.OpCancelFd, fd, nil, 0, done)
}

func (l *Loop) socket(r *Request, op request.Op, fd int, memory []byte, flags uint32,
	done func(*Request)) error {
	return l.submit(r, l.home(fd), done, func() {
		r.core.Op, r.core.Fd, r.core.Mode, r.core.Length = op, int64(fd), flags, uint64(len(memory))
		r.core.Offset, r.core.Events = request.CurrentPosition, 0
		r.core.Moved, r.core.Message, r.core.Pool = 0, 0, nil
		r.setOperand(memory)
	})
}
