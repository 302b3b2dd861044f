package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The names and structs of io_uring that the engine uses, as in linux/io_uring.h; x/sys has only the numbers
// of the system calls.

// Flags of RingSetup.
const (
	RingDisabled    = 1 << 6  // RingEnable begins its life
	RingClamp       = 1 << 4  // more entries than the kernel allows become as many as it does
	RingSizedCq     = 1 << 3  // CqEntries says how long the completion queue is
	RingSubmitAll   = 1 << 7  // a bad submission does not stop those behind it
	RingCoop        = 1 << 8  // completions do not interrupt the thread that submitted
	RingTaskrunFlag = 1 << 9  // RingSqTaskrun says that an enter has something to do
	RingSingle      = 1 << 12 // one thread submits
	RingDeferred    = 1 << 13 // completions are made only inside RingEnter
)

// Features that RingSetup reports.
const (
	RingNoDrop  = 1 << 1 // completions that find the queue full are kept
	RingStable  = 1 << 2 // what a submission points to is copied when it is taken
	RingRwCur   = 1 << 3 // offset -1 is the current position
	RingFastRw  = 1 << 5 // what would block waits for readiness instead of taking a thread
	RingExtArg  = 1 << 8 // RingEnter takes a timeout
	RingSkipCqe = 1 << 11
)

// Bits that the kernel sets in the flags of the submission queue.
const (
	RingSqOverflow = 1 << 1 // completions wait for room in the queue: enter to have them
	RingSqTaskrun  = 1 << 2 // completions wait to be made: enter
)

// Opcodes.
const (
	RingOpReadv       = 1
	RingOpWritev      = 2
	RingOpPollAdd     = 6
	RingOpSendMessage = 9
	RingOpReceiveMsg  = 10
	RingOpAccept      = 13
	RingOpAsyncCancel = 14
	RingOpConnect     = 16
	RingOpOpenat      = 18
	RingOpClose       = 19
	RingOpRead        = 22
	RingOpWrite       = 23
	RingOpSend        = 26
	RingOpReceive     = 27
	ringOps           = 256
)

// Flags of a submission and of a completion.
const (
	RingSqeSelect      = 1 << 5 // RingSqe.Flags: the kernel chooses a buffer of RingSqe.BufferGroup
	RingSqeSkipSuccess = 1 << 6 // RingSqe.Flags: no completion unless it fails
	RingPollMulti      = 1 << 0 // RingSqe.Length of RingOpPollAdd: until it is cancelled
	RingPollFirst      = 1 << 0 // RingSqe.Priority of a receive or send: do not try before it is ready
	RingMultishot      = 1 << 1 // RingSqe.Priority of a receive: until it is cancelled, or there is no buffer
	RingCqeBuffer      = 1 << 0 // RingCqe.Flags: a buffer was chosen; its number is above RingCqeBufferShift
	RingCqeMore        = 1 << 1 // RingCqe.Flags: more completions of this submission will come
	RingCqeBufferShift = 16

	// RwfNosignal in RingSqe.OpFlags: a broken pipe raises no SIGPIPE (Linux 6.18).
	RwfNosignal = rwfNosignal
)

// What RingMap maps.
const (
	RingMapRings   = 0
	RingMapEntries = 0x10000000
)

// RingSqe is a submission.
type RingSqe struct {
	Opcode   uint8
	Flags    uint8
	Priority uint16
	Fd       int32
	Offset   uint64
	Address  uint64
	Length   uint32
	OpFlags  uint32
	UserData uint64

	BufferGroup uint16
	_           [3]uint16
	_           [2]uint64
}

// RingCqe is a completion.
type RingCqe struct {
	UserData uint64
	Result   int32
	Flags    uint32
}

// RingBuffer is a buffer that the kernel may choose. In the first place of a ring of buffers Tail says how
// many were put there in all.
type RingBuffer struct {
	Address uint64
	Length  uint32
	ID      uint16
	Tail    uint16
}

// RingParams are what RingSetup is told, and what it answers.
type RingParams struct {
	SqEntries, CqEntries uint32
	Flags                uint32
	_                    [2]uint32
	Features             uint32
	_                    [4]uint32
	Sq                   RingSqOffsets
	Cq                   RingCqOffsets
}

// RingSqOffsets says where in the mapped memory the parts of the submission queue are.
type RingSqOffsets struct {
	Head, Tail, Mask, Entries, Flags, Dropped, Array, _ uint32
	_                                                   uint64
}

// RingCqOffsets says where in the mapped memory the parts of the completion queue are.
type RingCqOffsets struct {
	Head, Tail, Mask, Entries, Overflow, Cqes, Flags, _ uint32
	_                                                   uint64
}

// RingTimeout is the memory of RingEnter's timeout, which must stay where it is.
type RingTimeout struct {
	timeout unix.Timespec
	wait    struct {
		signals     uint64
		signalsSize uint32
		_           uint32
		timeout     uint64
	}
}

const (
	enterGetEvents = 1 << 0
	enterExtArg    = 1 << 3

	registerProbe     = 8
	registerEnable    = 12
	registerIowqLimit = 19
	registerBuffers   = 22
	unregisterBuffers = 23
	probeSupported    = 1 << 0
)

// RingSetup implements Kernel.
func (Linux) RingSetup(entries uint32, params *RingParams) int64 {
	return fast(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(params)), 0, 0, 0, 0)
}

// RingMap implements Kernel.
func (Linux) RingMap(fd int, offset, length uintptr) (memory uintptr, errno int64) {
	const access, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	value, _, failure := unix.RawSyscall6(unix.SYS_MMAP, 0, length, access, flags, uintptr(fd), offset)
	return value, -int64(failure)
}

// RingUnmap implements Kernel.
func (Linux) RingUnmap(memory, length uintptr) {
	unix.RawSyscall(unix.SYS_MUNMAP, memory, length, 0)
}

// RingEnter implements Kernel.
func (Linux) RingEnter(fd int, submit, wait uint32, timeoutNs int64, memory *RingTimeout) int64 {
	var value uintptr
	var errno unix.Errno
	switch {
	case wait == 0:
		value, _, errno = unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), 0,
			enterGetEvents, 0, 0)
	case timeoutNs < 0:
		value, _, errno = unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait),
			enterGetEvents, 0, 0)
	default:
		memory.timeout = unix.NsecToTimespec(timeoutNs)
		memory.wait.timeout = uint64(uintptr(unsafe.Pointer(&memory.timeout)))
		value, _, errno = unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait),
			enterGetEvents|enterExtArg, uintptr(unsafe.Pointer(&memory.wait)), unsafe.Sizeof(memory.wait))
	}
	if errno == unix.EINTR || errno == unix.ETIME {
		return 0
	}
	return result(value, errno)
}

// RingSupports implements Kernel.
func (Linux) RingSupports(fd int, opcodes ...uint8) bool {
	var probe struct {
		_   [2]uint64
		ops [ringOps]struct {
			_, _  uint8
			flags uint16
			_     uint32
		}
	}
	errno := fast(unix.SYS_IO_URING_REGISTER, uintptr(fd), registerProbe, uintptr(unsafe.Pointer(&probe)),
		ringOps, 0, 0)
	for _, opcode := range opcodes {
		if errno < 0 || probe.ops[opcode].flags&probeSupported == 0 {
			return false
		}
	}
	return true
}

// RingEnable implements Kernel.
func (Linux) RingEnable(fd int) int64 {
	return fast(unix.SYS_IO_URING_REGISTER, uintptr(fd), registerEnable, 0, 0, 0, 0)
}

// RingLimitThreads implements Kernel.
func (Linux) RingLimitThreads(fd int, files uint32) int64 {
	limits := [2]uint32{files, 0}
	return fast(unix.SYS_IO_URING_REGISTER, uintptr(fd), registerIowqLimit, uintptr(unsafe.Pointer(&limits)),
		uintptr(len(limits)), 0, 0)
}

// RingMapBuffers implements Kernel.
func (Linux) RingMapBuffers(length uintptr) (memory uintptr, errno int64) {
	const access, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	const noFd = ^uintptr(0)
	value, _, failure := unix.RawSyscall6(unix.SYS_MMAP, 0, length, access, flags, noFd, 0)
	return value, -int64(failure)
}

// bufferRegistration is struct io_uring_buf_reg.
type bufferRegistration struct {
	address uint64
	entries uint32
	group   uint16
	_       uint16
	_       [3]uint64
}

// RingRegisterBuffers implements Kernel.
func (Linux) RingRegisterBuffers(fd int, group uint16, memory uintptr, entries uint32) int64 {
	registration := bufferRegistration{address: uint64(memory), entries: entries, group: group}
	return fast(unix.SYS_IO_URING_REGISTER, uintptr(fd), registerBuffers,
		uintptr(unsafe.Pointer(&registration)), 1, 0, 0)
}

// RingUnregisterBuffers implements Kernel.
func (Linux) RingUnregisterBuffers(fd int, group uint16) int64 {
	registration := bufferRegistration{group: group}
	return fast(unix.SYS_IO_URING_REGISTER, uintptr(fd), unregisterBuffers,
		uintptr(unsafe.Pointer(&registration)), 1, 0, 0)
}
