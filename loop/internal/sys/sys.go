// Package sys makes all system calls of the engine; no other package does (a test checks it).
//
// Kernel is the set of calls as a value that a loop holds, so that tests can put faults, or a simulated
// kernel, in its place. Results are as the kernel gives them: a value >= 0, or a negated errno. Calls that a
// signal interrupted are repeated here, in one place, unless noted; EINTR never leaves this package.
//
// Calls that may block enter through the scheduler-aware path of the Go runtime, so that other goroutines
// run meanwhile; calls that cannot block skip it.
package sys

import "golang.org/x/sys/unix"

// Kernel is the set of kernel entry points that the engine uses.
type Kernel interface {
	// Now returns the time of the monotonic clock in ns, which is that of CLOCK_MONOTONIC.
	Now() uint64

	// EpollCreate makes an epoll instance, closed on exec.
	EpollCreate() int64
	// EpollControl adds (EpollAdd), changes (EpollModify) or deletes the registration of fd.
	EpollControl(epfd int, op int, fd int, events uint32, data uint64) int64
	// EpollWait waits at most timeoutNs (< 0: no limit, 0: not at all) and returns the number of events.
	// EINTR is a return of 0.
	EpollWait(epfd int, events []EpollEvent, timeoutNs int64) int64
	// EventCreate makes a non-blocking eventfd, closed on exec.
	EventCreate() int64
	// EventSignal makes an eventfd readable.
	EventSignal(fd int) int64
	// EventClear makes an eventfd unreadable.
	EventClear(fd int) int64
	// Poll waits for events on some descriptors; EINTR is a return of 0.
	Poll(fds []PollFd, timeoutMs int) int64
	// Close closes a descriptor of the loop's own, or of the program with blocking set. It is never
	// repeated: on Linux the descriptor is gone even after EINTR, which is therefore a success.
	Close(fd int, blocking bool) int64

	// ReadNow and WriteNow move bytes without blocking, or answer -EAGAIN (not now) or -EOPNOTSUPP (this
	// descriptor cannot be asked so). Offset -1 is the current position.
	ReadNow(fd int, iov uintptr, count int, offset int64) int64
	WriteNow(fd int, iov uintptr, count int, offset int64) int64
	// Read and Write are the same and may block.
	Read(fd int, iov uintptr, count int, offset int64) int64
	Write(fd int, iov uintptr, count int, offset int64) int64
	// Open opens a path; may block.
	Open(dirfd int, path uintptr, flags int, mode uint32) int64
	// Access checks a path; may block.
	Access(dirfd int, path uintptr, mode uint32, flags int) int64

	// Socket makes a socket, non-blocking and closed on exec.
	Socket(domain, kind, protocol int) int64
	// Accept takes a connection, non-blocking and closed on exec. It may block on a listener that does;
	// AcceptNow does not, on one that does not.
	Accept(fd int, address, length uintptr) int64
	AcceptNow(fd int, address, length uintptr) int64
	// Connect begins to connect, and blocks if the socket does; ConnectNow is for those that do not.
	Connect(fd int, address uintptr, length uint32) int64
	ConnectNow(fd int, address uintptr, length uint32) int64
	// SocketError returns the error that is pending on a socket, as a negated errno, and clears it.
	SocketError(fd int) int64
	// Receive and Send move bytes without blocking; ReceiveMessage and SendMessage take a struct msghdr. No
	// send raises SIGPIPE.
	Receive(fd int, address uintptr, length uint64, flags uint32) int64
	Send(fd int, address uintptr, length uint64, flags uint32) int64
	ReceiveMessage(fd int, message uintptr, flags uint32) int64
	SendMessage(fd int, message uintptr, flags uint32) int64
	// Shutdown ends one or both directions of a connection.
	Shutdown(fd int, how uint32) int64
	// Sendfile sends from a file, without SIGPIPE, and moves the offset; it may block as the two descriptors
	// do.
	Sendfile(out, in int, offset *int64, count uint64) int64
	// Splice moves bytes between a pipe and another descriptor, without SIGPIPE and without waiting for a
	// pipe, and moves the offsets; it may block as the other descriptor does. nil is the current position.
	Splice(in int, inOffset *int64, out int, outOffset *int64, count uint64, flags uint32) int64

	// IsOpen reports whether a number is an open descriptor.
	IsOpen(fd int) bool
	// IsPipe reports whether it is that of a pipe or FIFO, IsFile that of a regular file or directory.
	IsPipe(fd int) bool
	IsFile(fd int) bool
	// HasPosition reports whether it is that of a regular file or block device.
	HasPosition(fd int) bool
	// Seek moves the current position by a distance.
	Seek(fd int, distance int64) int64
	// IsStream reports whether it is that of a socket whose bytes have no boundaries: TCP or Unix.
	IsStream(fd int) bool
	// IsTCP reports whether it is that of a TCP socket.
	IsTCP(fd int) bool
	// IsSocket reports whether it is that of a socket.
	IsSocket(fd int) bool
	// Listens reports whether it is that of a socket which accepts connections.
	Listens(fd int) bool
	// IsDatagram reports whether it is that of a socket whose bytes have boundaries.
	IsDatagram(fd int) bool
	// MayRead and MayWrite report whether a descriptor was opened for that.
	MayRead(fd int) bool
	MayWrite(fd int) bool
	// IsNonblocking reports whether O_NONBLOCK is set on the descriptor, IsDirect the same of O_DIRECT.
	IsNonblocking(fd int) bool
	IsDirect(fd int) bool

	// RingSetup makes an io_uring instance of so many submissions, closed on exec.
	RingSetup(entries uint32, params *RingParams) int64
	// RingMap maps the memory that offset (RingMapRings, RingMapEntries) names; RingUnmap undoes it.
	RingMap(fd int, offset, length uintptr) (memory uintptr, errno int64)
	RingUnmap(memory, length uintptr)
	// RingEnter submits, and has the kernel make the completions that it can; with wait > 0 it waits until
	// there are as many, at most timeoutNs (< 0: no limit). It returns the number of submissions taken;
	// EINTR and ETIME are a return of 0. The kernel says in the memory of the ring what it did.
	RingEnter(fd int, submit, wait uint32, timeoutNs int64, memory *RingTimeout) int64
	// RingSupports reports whether the kernel knows all of these opcodes.
	RingSupports(fd int, opcodes ...uint8) bool
	// RingEnable begins the life of a ring that was made with RingDisabled, on the calling thread.
	RingEnable(fd int) int64
	// RingLimitThreads sets how many threads of the kernel may work on files for this ring at a time.
	RingLimitThreads(fd int, files uint32) int64
	// RingMapBuffers makes memory for a ring of buffers, which RingUnmap frees; RingRegisterBuffers gives
	// such a ring, of entries places, to the kernel under the number of a group, and RingUnregisterBuffers
	// takes it back.
	RingMapBuffers(length uintptr) (memory uintptr, errno int64)
	RingRegisterBuffers(fd int, group uint16, memory uintptr, entries uint32) int64
	RingUnregisterBuffers(fd int, group uint16) int64
	// ThreadID returns the number of the calling thread.
	ThreadID() int64
	// InterruptThreads makes every thread of this process that runs user code pass through the kernel.
	InterruptThreads()

	// FutexWait sleeps while *word == value, at most timeoutNs. It may return early.
	FutexWait(word *uint32, value uint32, timeoutNs int64)
	// FutexWake wakes one sleeper on word.
	FutexWake(word *uint32)

	// StartThread runs a function on a thread of its own, which ends with it. The name shows in ps and
	// debuggers (15 bytes at most).
	StartThread(name string, run func()) Thread
	// Relax passes some hundred nanoseconds without keeping the processor busy, between two looks at memory
	// that another thread is about to change.
	Relax()
}

// Thread is an operating system thread of the engine's own: a loop thread or one of the blocking pool.
type Thread interface {
	// Join waits until the thread is gone. Call it once run is about to return, or it waits that long.
	Join()
	// Gone reports whether the thread has ended.
	Gone() bool
}

// Errno values that the engine looks at, negated as the kernel returns them.
const (
	EPERM    = -int64(unix.EPERM)
	ENOENT   = -int64(unix.ENOENT)
	EINTR    = -int64(unix.EINTR)
	ENXIO    = -int64(unix.ENXIO)
	ESPIPE   = -int64(unix.ESPIPE)
	EPIPE    = -int64(unix.EPIPE)
	ENOBUFS  = -int64(unix.ENOBUFS)
	EALREADY = -int64(unix.EALREADY)
	ENOTSOCK = -int64(unix.ENOTSOCK)
	EISCONN  = -int64(unix.EISCONN)
	ENOTCONN = -int64(unix.ENOTCONN)

	EINPROGRESS  = -int64(unix.EINPROGRESS)
	ECONNABORTED = -int64(unix.ECONNABORTED)
	EIO          = -int64(unix.EIO)
	EBADF        = -int64(unix.EBADF)
	EAGAIN       = -int64(unix.EAGAIN)
	ENOMEM       = -int64(unix.ENOMEM)
	EFAULT       = -int64(unix.EFAULT)
	EBADFD       = -int64(unix.EBADFD)
	EBUSY        = -int64(unix.EBUSY)
	EEXIST       = -int64(unix.EEXIST)
	EINVAL       = -int64(unix.EINVAL)
	ENOSPC       = -int64(unix.ENOSPC)
	ENOSYS       = -int64(unix.ENOSYS)
	ENOTSUP      = -int64(unix.EOPNOTSUPP)
	ESHUTDOWN    = -int64(unix.ESHUTDOWN)
	ETIMEDOUT    = -int64(unix.ETIMEDOUT)
	ECANCELED    = -int64(unix.ECANCELED)

	ENOTRECOVERABLE = -int64(unix.ENOTRECOVERABLE)
)

// Error returns the error that a result stands for, or nil.
func Error(result int64) error {
	if result >= 0 {
		return nil
	}
	return unix.Errno(-result)
}
