package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Names of the epoll interface.
const (
	EpollAdd    = unix.EPOLL_CTL_ADD
	EpollModify = unix.EPOLL_CTL_MOD
	EpollDelete = unix.EPOLL_CTL_DEL

	EpollIn      = unix.EPOLLIN
	EpollOut     = unix.EPOLLOUT
	EpollHup     = unix.EPOLLHUP
	EpollRdHup   = unix.EPOLLRDHUP
	EpollErr     = unix.EPOLLERR
	EpollUrgent  = unix.EPOLLPRI
	EpollEdge    = unix.EPOLLET & 0xffffffff
	EpollOneShot = unix.EPOLLONESHOT

	// PollInvalid is the event of poll for a descriptor that is not open.
	PollInvalid = unix.POLLNVAL
)

// PollFd is one descriptor of Poll.
type PollFd = unix.PollFd

// EpollEvent is one event of EpollWait.
type EpollEvent = unix.EpollEvent

// EventData returns the 64 bits that the registration carried.
func EventData(e *EpollEvent) uint64 { return uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32 }

// Linux is the operating system.
type Linux struct{}

const (
	rwfNowait   = 0x8
	rwfNosignal = 0x100 // Linux 6.18

	futexWaitPrivate = 0 | 128
	futexWakePrivate = 1 | 128
)

// result turns the two answers of a system call stub into one.
func result(value uintptr, errno unix.Errno) int64 {
	if errno != 0 {
		return -int64(errno)
	}
	return int64(value)
}

// fast makes a call that cannot block. What is passed as a pointer must not be on the stack, which may grow
// and move before the kernel sees it: the directive sees to that.
//
//go:uintptrescapes
func fast(number, a, b, c, d, e, f uintptr) int64 {
	for {
		value, _, errno := unix.RawSyscall6(number, a, b, c, d, e, f)
		if errno != unix.EINTR {
			return result(value, errno)
		}
	}
}

// slow makes a call that may block. See fast for the directive.
//
//go:uintptrescapes
func slow(number, a, b, c, d, e, f uintptr) int64 {
	for {
		value, _, errno := unix.Syscall6(number, a, b, c, d, e, f)
		if errno != unix.EINTR {
			return result(value, errno)
		}
	}
}

// Now implements Kernel.
func (Linux) Now() uint64 { return uint64(nanotime()) }

// EpollCreate implements Kernel.
func (Linux) EpollCreate() int64 {
	return fast(unix.SYS_EPOLL_CREATE1, unix.EPOLL_CLOEXEC, 0, 0, 0, 0, 0)
}

// EpollControl implements Kernel.
func (Linux) EpollControl(epfd, op, fd int, events uint32, data uint64) int64 {
	event := EpollEvent{Events: events, Fd: int32(uint32(data)), Pad: int32(uint32(data >> 32))}
	value, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&event)), 0, 0)
	return result(value, errno)
}

// EpollWait implements Kernel. It prefers epoll_pwait2, whose timeout is in ns (Linux 5.11); an older kernel,
// or a sandbox that does not know it, gets epoll_pwait with the time rounded up, so that it is never early.
func (Linux) EpollWait(epfd int, events []EpollEvent, timeoutNs int64) int64 {
	buffer, capacity := uintptr(unsafe.Pointer(&events[0])), uintptr(len(events))
	var value uintptr
	var errno unix.Errno
	switch {
	case timeoutNs == 0:
		value, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), buffer, capacity, 0, 0, 0)
	case timeoutNs < 0:
		const noLimit = ^uintptr(0)
		value, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), buffer, capacity, noLimit, 0, 0)
	default:
		timeout := unix.NsecToTimespec(timeoutNs)
		value, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epfd), buffer, capacity,
			uintptr(unsafe.Pointer(&timeout)), 0, 0)
		if errno == unix.ENOSYS || errno == unix.EPERM {
			value, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), buffer, capacity,
				uintptr(milliseconds(timeoutNs)), 0, 0)
		}
	}
	if errno == unix.EINTR {
		return 0
	}
	return result(value, errno)
}

// milliseconds rounds up, and ends at what an int32 holds: the caller waits again.
func milliseconds(ns int64) int64 {
	const most = 1<<31 - 1
	if ns >= most*1_000_000 {
		return most
	}
	return (ns + 999_999) / 1_000_000
}

// EventCreate implements Kernel.
func (Linux) EventCreate() int64 {
	return fast(unix.SYS_EVENTFD2, 0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK, 0, 0, 0, 0)
}

// EventSignal implements Kernel.
func (Linux) EventSignal(fd int) int64 {
	one := uint64(1)
	value, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), 8)
	return result(value, errno)
}

// EventClear implements Kernel.
func (Linux) EventClear(fd int) int64 {
	var count uint64
	value, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&count)), 8)
	return result(value, errno)
}

// Poll implements Kernel.
func (Linux) Poll(fds []PollFd, timeoutMs int) int64 {
	n, err := unix.Poll(fds, timeoutMs)
	switch errno, _ := err.(unix.Errno); errno {
	case 0:
		return int64(n)
	case unix.EINTR:
		return 0
	default:
		return -int64(errno)
	}
}

// Close implements Kernel.
func (Linux) Close(fd int, blocking bool) int64 {
	var errno unix.Errno
	if blocking {
		_, _, errno = unix.Syscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	} else {
		_, _, errno = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	}
	if errno == unix.EINTR {
		return 0
	}
	return -int64(errno)
}

// ReadNow implements Kernel.
func (Linux) ReadNow(fd int, iov uintptr, count int, offset int64) int64 {
	return now(unix.SYS_PREADV2, fd, iov, count, offset, rwfNowait)
}

// WriteNow implements Kernel. On kernels that know the flag, a broken pipe raises no SIGPIPE.
func (Linux) WriteNow(fd int, iov uintptr, count int, offset int64) int64 {
	n := now(unix.SYS_PWRITEV2, fd, iov, count, offset, rwfNowait|rwfNosignal)
	if n == ENOTSUP {
		n = now(unix.SYS_PWRITEV2, fd, iov, count, offset, rwfNowait)
	}
	return n
}

// now makes a transfer with flags, and folds the two answers of kernels that cannot do it into one.
func now(number uintptr, fd int, iov uintptr, count int, offset int64, flags uintptr) int64 {
	n := fast(number, uintptr(fd), iov, uintptr(count), low(offset), high(offset), flags)
	if n == ENOSYS {
		return ENOTSUP
	}
	return n
}

// Read implements Kernel.
func (Linux) Read(fd int, iov uintptr, count int, offset int64) int64 {
	if offset == -1 {
		return slow(unix.SYS_READV, uintptr(fd), iov, uintptr(count), 0, 0, 0)
	}
	return slow(unix.SYS_PREADV, uintptr(fd), iov, uintptr(count), low(offset), high(offset), 0)
}

// Write implements Kernel.
func (Linux) Write(fd int, iov uintptr, count int, offset int64) int64 {
	if offset == -1 {
		return slow(unix.SYS_WRITEV, uintptr(fd), iov, uintptr(count), 0, 0, 0)
	}
	return slow(unix.SYS_PWRITEV, uintptr(fd), iov, uintptr(count), low(offset), high(offset), 0)
}

// low and high are the halves of an offset as the vectored calls take it. A 64-bit kernel takes all of it
// from the low half and shifts the high half out.
func low(offset int64) uintptr  { return uintptr(offset) }
func high(offset int64) uintptr { return uintptr(uint64(offset) >> 32) }

// Open implements Kernel.
func (Linux) Open(dirfd int, path uintptr, flags int, mode uint32) int64 {
	return slow(unix.SYS_OPENAT, uintptr(dirfd), path, uintptr(flags), uintptr(mode), 0, 0)
}

// Access implements Kernel. The call with flags is Linux 5.8; the older one serves where there are none.
func (Linux) Access(dirfd int, path uintptr, mode uint32, flags int) int64 {
	if flags == 0 {
		return slow(unix.SYS_FACCESSAT, uintptr(dirfd), path, uintptr(mode), 0, 0, 0)
	}
	return slow(unix.SYS_FACCESSAT2, uintptr(dirfd), path, uintptr(mode), uintptr(flags), 0, 0)
}

// IsOpen implements Kernel.
func (Linux) IsOpen(fd int) bool {
	return fd == int(int32(fd)) && fast(unix.SYS_FCNTL, uintptr(fd), unix.F_GETFD, 0, 0, 0, 0) >= 0
}

// IsPipe implements Kernel.
func (Linux) IsPipe(fd int) bool {
	return fast(unix.SYS_FCNTL, uintptr(fd), unix.F_GETPIPE_SZ, 0, 0, 0, 0) >= 0
}

// IsFile implements Kernel.
func (Linux) IsFile(fd int) bool {
	kind := kindOf(fd)
	return kind == unix.S_IFREG || kind == unix.S_IFDIR
}

// HasPosition implements Kernel.
func (Linux) HasPosition(fd int) bool {
	kind := kindOf(fd)
	return kind == unix.S_IFREG || kind == unix.S_IFBLK
}

// Seek implements Kernel.
func (Linux) Seek(fd int, distance int64) int64 {
	return fast(unix.SYS_LSEEK, uintptr(fd), uintptr(distance), unix.SEEK_CUR, 0, 0, 0)
}

func kindOf(fd int) uint32 {
	var status unix.Stat_t
	unix.RawSyscall(unix.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(&status)), 0)
	return status.Mode & unix.S_IFMT
}

// IsStream implements Kernel. A socket of SCTP calls itself a stream, and keeps boundaries all the same.
func (k Linux) IsStream(fd int) bool {
	if option(fd, unix.SO_TYPE) != unix.SOCK_STREAM {
		return false
	}
	return option(fd, unix.SO_DOMAIN) == unix.AF_UNIX || k.IsTCP(fd)
}

// IsTCP implements Kernel.
func (Linux) IsTCP(fd int) bool {
	protocol := option(fd, unix.SO_PROTOCOL)
	return protocol == unix.IPPROTO_TCP || protocol == unix.IPPROTO_MPTCP
}

// IsSocket implements Kernel.
func (Linux) IsSocket(fd int) bool { return option(fd, unix.SO_TYPE) >= 0 }

// Listens implements Kernel.
func (Linux) Listens(fd int) bool { return option(fd, unix.SO_ACCEPTCONN) == 1 }

// IsDatagram implements Kernel.
func (Linux) IsDatagram(fd int) bool {
	kind := option(fd, unix.SO_TYPE)
	return kind >= 0 && kind != unix.SOCK_STREAM
}

// option returns an option of a socket, or -1.
func option(fd int, name uintptr) int32 {
	value, size := int32(-1), uint32(unsafe.Sizeof(int32(0)))
	unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, name, uintptr(unsafe.Pointer(&value)),
		uintptr(unsafe.Pointer(&size)), 0)
	return value
}

// IsNonblocking implements Kernel.
func (Linux) IsNonblocking(fd int) bool { return hasFlag(fd, unix.O_NONBLOCK) }

// IsDirect implements Kernel.
func (Linux) IsDirect(fd int) bool { return hasFlag(fd, unix.O_DIRECT) }

// MayRead implements Kernel.
func (Linux) MayRead(fd int) bool { return accessMode(fd)&1 == 0 }

// MayWrite implements Kernel.
func (Linux) MayWrite(fd int) bool { return accessMode(fd) != unix.O_RDONLY }

func accessMode(fd int) int64 {
	return fast(unix.SYS_FCNTL, uintptr(fd), unix.F_GETFL, 0, 0, 0, 0) & unix.O_ACCMODE
}

func hasFlag(fd int, flag int64) bool {
	flags := fast(unix.SYS_FCNTL, uintptr(fd), unix.F_GETFL, 0, 0, 0, 0)
	return flags >= 0 && flags&flag != 0
}

// ThreadID implements Kernel.
func (Linux) ThreadID() int64 {
	return fast(unix.SYS_GETTID, 0, 0, 0, 0, 0, 0)
}

// InterruptThreads implements Kernel.
func (Linux) InterruptThreads() {
	const expedited, registerExpedited = 1 << 3, 1 << 4 // MEMBARRIER_CMD_PRIVATE_...
	if fast(unix.SYS_MEMBARRIER, expedited, 0, 0, 0, 0, 0) == EPERM {
		fast(unix.SYS_MEMBARRIER, registerExpedited, 0, 0, 0, 0, 0)
		fast(unix.SYS_MEMBARRIER, expedited, 0, 0, 0, 0, 0)
	}
}

// FutexWait implements Kernel.
func (Linux) FutexWait(word *uint32, value uint32, timeoutNs int64) {
	timeout := unix.NsecToTimespec(timeoutNs)
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWaitPrivate, uintptr(value),
		uintptr(unsafe.Pointer(&timeout)), 0, 0)
}

// FutexWake implements Kernel.
func (Linux) FutexWake(word *uint32) {
	unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWakePrivate, 1, 0, 0, 0)
}

// OpensNonblocking, OpensForReading and OpensForWriting tell what the flags of an open ask for.
func OpensNonblocking(flags uint64) bool { return flags&unix.O_NONBLOCK != 0 }

// OpensForReading reports whether they ask for reading alone.
func OpensForReading(flags uint64) bool { return flags&unix.O_ACCMODE == unix.O_RDONLY }

// OpensForWriting reports whether they ask for writing alone.
func OpensForWriting(flags uint64) bool { return flags&unix.O_ACCMODE == unix.O_WRONLY }
