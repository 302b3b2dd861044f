package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of Receive and Send that the engine looks at or adds.
const (
	MsgMore       = unix.MSG_MORE
	MsgDontWait   = unix.MSG_DONTWAIT
	MsgWaitAll    = unix.MSG_WAITALL
	MsgNoSignal   = unix.MSG_NOSIGNAL
	MsgPeek       = unix.MSG_PEEK
	MsgTrunc      = unix.MSG_TRUNC
	MsgOutOfBand  = unix.MSG_OOB
	MsgErrorQueue = unix.MSG_ERRQUEUE

	ShutdownRead = unix.SHUT_RD

	SpliceNonblock = unix.SPLICE_F_NONBLOCK

	// SocketFlags are those of the sockets that Accept makes.
	SocketFlags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
)

// Socket implements Kernel.
func (Linux) Socket(domain, kind, protocol int) int64 {
	return fast(unix.SYS_SOCKET, uintptr(domain), uintptr(kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC),
		uintptr(protocol), 0, 0, 0)
}

// Accept implements Kernel.
func (Linux) Accept(fd int, address, length uintptr) int64 {
	return slow(unix.SYS_ACCEPT4, uintptr(fd), address, length, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
}

// AcceptNow implements Kernel.
func (Linux) AcceptNow(fd int, address, length uintptr) int64 {
	return fast(unix.SYS_ACCEPT4, uintptr(fd), address, length, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
}

// Connect implements Kernel. A connect that a signal interrupted goes on by itself, and cannot be repeated:
// the second call tells that the first is under way.
func (Linux) Connect(fd int, address uintptr, length uint32) int64 {
	value, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), address, uintptr(length))
	if errno == unix.EINTR {
		return EINPROGRESS
	}
	return result(value, errno)
}

// ConnectNow implements Kernel.
func (Linux) ConnectNow(fd int, address uintptr, length uint32) int64 {
	return fast(unix.SYS_CONNECT, uintptr(fd), address, uintptr(length), 0, 0, 0)
}

// SocketError implements Kernel.
func (Linux) SocketError(fd int) int64 { return -int64(option(fd, unix.SO_ERROR)) }

// Receive implements Kernel.
func (Linux) Receive(fd int, address uintptr, length uint64, flags uint32) int64 {
	return fast(unix.SYS_RECVFROM, uintptr(fd), address, uintptr(length), uintptr(flags|MsgDontWait), 0, 0)
}

// Send implements Kernel.
func (Linux) Send(fd int, address uintptr, length uint64, flags uint32) int64 {
	return fast(unix.SYS_SENDTO, uintptr(fd), address, uintptr(length),
		uintptr(flags|MsgDontWait|MsgNoSignal), 0, 0)
}

// ReceiveMessage implements Kernel.
func (Linux) ReceiveMessage(fd int, message uintptr, flags uint32) int64 {
	return fast(unix.SYS_RECVMSG, uintptr(fd), message, uintptr(flags|MsgDontWait), 0, 0, 0)
}

// SendMessage implements Kernel.
func (Linux) SendMessage(fd int, message uintptr, flags uint32) int64 {
	return fast(unix.SYS_SENDMSG, uintptr(fd), message, uintptr(flags|MsgDontWait|MsgNoSignal), 0, 0, 0)
}

// Shutdown implements Kernel.
func (Linux) Shutdown(fd int, how uint32) int64 {
	return fast(unix.SYS_SHUTDOWN, uintptr(fd), uintptr(how), 0, 0, 0, 0)
}

// Sendfile implements Kernel.
func (Linux) Sendfile(out, in int, offset *int64, count uint64) int64 {
	mask := blockPipeSignal()
	n := slow(unix.SYS_SENDFILE, uintptr(out), uintptr(in), uintptr(unsafe.Pointer(offset)), uintptr(count),
		0, 0)
	unblockPipeSignal(mask, n, count)
	return n
}

// Splice implements Kernel.
func (Linux) Splice(in int, inOffset *int64, out int, outOffset *int64, count uint64, flags uint32) int64 {
	mask := blockPipeSignal()
	n := slow(unix.SYS_SPLICE, uintptr(in), uintptr(unsafe.Pointer(inOffset)), uintptr(out),
		uintptr(unsafe.Pointer(outOffset)), uintptr(count), uintptr(flags|SpliceNonblock))
	unblockPipeSignal(mask, n, count)
	return n
}

// signalMask is a sigset_t of the kernel.
type signalMask uint64

const pipeSignal signalMask = 1 << (unix.SIGPIPE - 1)

// blockPipeSignal blocks SIGPIPE, for a call that raises it for a broken pipe and takes no flag against it,
// and returns the mask before.
func blockPipeSignal() (before signalMask) {
	block := pipeSignal
	setMask(unix.SIG_BLOCK, &block, &before)
	return before
}

// unblockPipeSignal takes the signal that the call may have raised, and restores the mask. A call that has
// moved a part before it met the broken pipe says nothing of that.
func unblockPipeSignal(before signalMask, n int64, count uint64) {
	if before&pipeSignal != 0 {
		return
	}
	if n == EPIPE || n >= 0 && uint64(n) < count {
		raised, now := pipeSignal, unix.Timespec{}
		unix.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&raised)), 0,
			uintptr(unsafe.Pointer(&now)), maskBytes, 0, 0)
	}
	setMask(unix.SIG_SETMASK, &before, nil)
}

const maskBytes = 8

func setMask(how uintptr, mask, before *signalMask) {
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, how, uintptr(unsafe.Pointer(mask)),
		uintptr(unsafe.Pointer(before)), maskBytes, 0, 0)
}
