package loop

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/libloop/libloop/loop/internal/sys"
)

// The kernel of the torture: the operating system, of whose calls it fails one, or all from one on.
// Submissions to io_uring are calls as well: one that is to fail becomes a submission of nothing, with a
// result of our choice.

// tortureCall is a call that can fail; tortureCalls is the data about it.
type tortureCall int

const (
	callEpollCreate tortureCall = iota
	callEpollAddWake
	callEpollAdd
	callEpollModify
	callEpollDelete
	callEpollWait
	callEventCreate
	callEventClear
	callPoll
	callPollSet
	callClose
	callReadNow
	callWriteNow
	callRead
	callWrite
	callOpen
	callAccess
	callSocket
	callAccept
	callAcceptNow
	callConnect
	callConnectNow
	callReceive
	callSend
	callReceiveMessage
	callSendMessage
	callShutdown
	callSendfile
	callSplice
	callRingSetup
	callRingMap
	callRingSupports
	callRingLimitThreads
	callRingFirstEnter
	callRingEnter
	callRingMapBuffers
	callRingRegisterBuffers
	callRingUnregisterBuffers
	callRingWake
	callRingPoll
	callRingRead
	callRingWrite
	callRingOpen
	callRingClose
	callRingAccept
	callRingConnect
	callRingReceive
	callRingSend
	tortureCallKinds
)

// EINTR as a fault: sys repeats the call, or returns 0 where the engine has to look around first.
const interrupted = int64(0)

// tortureCalls says which errors are legal for a call. Those that are hidden must not become the result of a
// request: the engine tries again, or another way. Some errors cannot go on for ever, or the kernel would
// break its own promises (a wait that never waits, a pipe with bytes that are never to be had): those that
// pass end after tortureBurst calls.
var tortureCalls = [tortureCallKinds]struct {
	name    string
	shown   []int64
	hidden  []int64
	passing bool // whatever the error
}{
	callEpollCreate:  {name: "epoll_create", shown: []int64{sys.ENOMEM, emfile, enfile}},
	callEpollAddWake: {name: "epoll_add_wake", shown: []int64{sys.ENOMEM}, hidden: []int64{sys.ENOSPC}},
	callEpollAdd: {
		name: "epoll_add", shown: []int64{sys.EBADF},
		hidden: []int64{sys.ENOMEM, sys.ENOSPC},
	},
	callEpollModify: {
		name: "epoll_modify", shown: []int64{sys.EBADF},
		hidden: []int64{sys.ENOENT, sys.ENOMEM},
	},
	callEpollDelete: {name: "epoll_delete", hidden: []int64{sys.ENOENT, sys.EBADF}},
	callEpollWait:   {name: "epoll_wait", hidden: []int64{interrupted}, passing: true},
	callEventCreate: {name: "eventfd", shown: []int64{sys.ENOMEM, emfile, enfile}},
	callEventClear:  {name: "eventfd_read", hidden: []int64{sys.EAGAIN}},
	callPoll: {
		name: "poll", shown: []int64{sys.ENOMEM},
		hidden: []int64{interrupted}, passing: true,
	},
	callPollSet: {
		name:   "poll_set",
		hidden: []int64{interrupted, sys.ENOMEM, sys.EINVAL}, passing: true,
	},
	callClose: {
		name: "close", shown: []int64{sys.EIO, sys.ENOSPC, edquot},
		hidden: []int64{interrupted},
	},
	callReadNow: {name: "read_now", shown: []int64{sys.EIO, sys.ENOMEM, econnreset},
		hidden: []int64{sys.EAGAIN, sys.ENOTSUP}},
	callWriteNow: {name: "write_now", shown: []int64{sys.EIO, sys.ENOSPC, sys.EPIPE, edquot, efbig},
		hidden: []int64{sys.EAGAIN, sys.ENOTSUP}},
	callRead: {name: "read", shown: []int64{sys.EIO, eisdir, econnreset}, hidden: []int64{sys.EAGAIN}},
	callWrite: {
		name: "write", shown: []int64{sys.EIO, sys.ENOSPC, sys.EPIPE},
		hidden: []int64{sys.EAGAIN},
	},
	callOpen:   {name: "open", shown: []int64{sys.ENOENT, emfile, enfile, sys.ENOMEM, eacces}},
	callAccess: {name: "access", shown: []int64{sys.ENOENT, eacces, sys.EIO}},
	callSocket: {name: "socket", shown: []int64{emfile, enfile, sys.ENOBUFS, sys.ENOMEM, eacces}},
	callAccept: {name: "accept", shown: []int64{emfile, sys.ENOBUFS, sys.ENOMEM, eproto, sys.ECONNABORTED},
		hidden: []int64{sys.EAGAIN}},
	callAcceptNow: {name: "accept_now", shown: []int64{emfile, enfile, sys.ENOBUFS, sys.ECONNABORTED},
		hidden: []int64{sys.EAGAIN}},
	callConnect: {name: "connect", shown: []int64{econnrefused, sys.ETIMEDOUT, enetunreach},
		hidden: []int64{sys.EAGAIN}},
	callConnectNow: {name: "connect_now", shown: []int64{econnrefused, sys.ETIMEDOUT, eaddrnotavail},
		hidden: []int64{sys.EAGAIN}},
	callReceive: {name: "receive", shown: []int64{econnreset, sys.ENOMEM, sys.ETIMEDOUT},
		hidden: []int64{sys.EAGAIN}},
	callSend: {name: "send", shown: []int64{econnreset, sys.EPIPE, sys.ENOBUFS, sys.ENOMEM},
		hidden: []int64{sys.EAGAIN}},
	callReceiveMessage: {name: "receive_message", shown: []int64{econnreset, sys.ENOMEM},
		hidden: []int64{sys.EAGAIN}},
	callSendMessage: {name: "send_message", shown: []int64{econnreset, sys.EPIPE, sys.ENOBUFS},
		hidden: []int64{sys.EAGAIN}},
	callShutdown: {name: "shutdown", shown: []int64{sys.ENOTCONN, sys.ENOBUFS}},
	callSendfile: {name: "sendfile", shown: []int64{sys.EIO, sys.ENOMEM, sys.EPIPE},
		hidden: []int64{sys.EAGAIN}},
	callSplice: {name: "splice", shown: []int64{sys.EPIPE, sys.ENOMEM, sys.EINVAL},
		hidden: []int64{sys.EAGAIN}},

	callRingSetup: {name: "ring_setup", shown: []int64{emfile, enfile, sys.ENOMEM},
		hidden: []int64{sys.ENOSYS, sys.EPERM, sys.EINVAL}},
	callRingMap: {
		name: "ring_map", shown: []int64{sys.ENOMEM},
		hidden: []int64{sys.EAGAIN, sys.EPERM},
	},
	callRingSupports:     {name: "ring_probe", hidden: []int64{sys.ENOSYS}},
	callRingLimitThreads: {name: "ring_limit", shown: []int64{sys.ENOMEM}, hidden: []int64{sys.EINVAL}},
	callRingFirstEnter: {name: "ring_first_enter", shown: []int64{sys.ENOMEM},
		hidden: []int64{sys.EPERM, sys.ENOSYS}},
	callRingEnter: {name: "ring_enter", hidden: []int64{sys.EAGAIN, sys.EBUSY, sys.ENOMEM, interrupted},
		passing: true},
	callRingMapBuffers: {name: "ring_map_buffers", shown: []int64{sys.ENOMEM},
		hidden: []int64{sys.EAGAIN}},
	callRingRegisterBuffers:   {name: "ring_register_buffers", shown: []int64{sys.ENOMEM, sys.EINVAL}},
	callRingUnregisterBuffers: {name: "ring_unregister_buffers", hidden: []int64{sys.EINVAL}},

	callRingWake: {name: "ring_wake", hidden: []int64{sys.ECANCELED}, passing: true},
	callRingPoll: {name: "ring_poll", shown: []int64{sys.ENOMEM}, hidden: []int64{sys.ECANCELED}},
	callRingRead: {name: "ring_read", shown: []int64{sys.EIO, sys.ENOMEM, econnreset},
		hidden: []int64{sys.EAGAIN, sys.EINTR, sys.ECANCELED}},
	callRingWrite: {name: "ring_write", shown: []int64{sys.EIO, sys.ENOSPC, sys.EPIPE},
		hidden: []int64{sys.EAGAIN, sys.EINTR, sys.ECANCELED}},
	callRingOpen: {name: "ring_open", shown: []int64{sys.ENOENT, emfile, enfile, eacces},
		hidden: []int64{sys.EINTR, sys.ECANCELED}},
	callRingClose: {name: "ring_close", shown: []int64{sys.EIO, sys.ENOSPC}, hidden: []int64{sys.EINTR}},
	callRingAccept: {name: "ring_accept", shown: []int64{emfile, enfile, sys.ENOBUFS, sys.ECONNABORTED},
		hidden: []int64{sys.EAGAIN, sys.EINTR, sys.ECANCELED}},
	callRingConnect: {name: "ring_connect", shown: []int64{econnrefused, sys.ETIMEDOUT, enetunreach},
		hidden: []int64{sys.EAGAIN, sys.EINTR, sys.ECANCELED}},
	callRingReceive: {name: "ring_receive", shown: []int64{econnreset, sys.ENOMEM, sys.ETIMEDOUT},
		hidden: []int64{sys.EAGAIN, sys.EINTR, sys.ECANCELED}},
	callRingSend: {name: "ring_send", shown: []int64{econnreset, sys.EPIPE, sys.ENOBUFS},
		hidden: []int64{sys.EAGAIN, sys.EINTR, sys.ECANCELED}},
}

// Errors that package sys does not name, for the engine has no need to.
const (
	emfile        = -int64(unix.EMFILE)
	enfile        = -int64(unix.ENFILE)
	edquot        = -int64(unix.EDQUOT)
	efbig         = -int64(unix.EFBIG)
	eisdir        = -int64(unix.EISDIR)
	eacces        = -int64(unix.EACCES)
	eproto        = -int64(unix.EPROTO)
	econnreset    = -int64(unix.ECONNRESET)
	econnrefused  = -int64(unix.ECONNREFUSED)
	enetunreach   = -int64(unix.ENETUNREACH)
	eaddrnotavail = -int64(unix.EADDRNOTAVAIL)
)

// tortureBurst is how many calls fail at most with an error that passes.
const tortureBurst = 8

// tortureFault is what the kernel does: the nth call of a kind fails, or with `ever` all from that one on.
type tortureFault struct {
	call  tortureCall
	nth   int
	errno int64
	ever  bool
}

func (f tortureFault) String() string {
	if f.nth == 0 {
		return "no fault"
	}
	name, often := "EINTR", "once"
	if f.errno != interrupted {
		name = unix.ErrnoName(unix.Errno(-f.errno))
	}
	if f.ever {
		often = "ever"
	}
	return fmt.Sprintf("%s/%d/%s/%s", tortureCalls[f.call].name, f.nth, name, often)
}

// passes reports whether the fault ends by itself.
func (f tortureFault) passes() bool {
	switch f.errno {
	case sys.EAGAIN, sys.EINTR, sys.EBUSY, sys.ECANCELED, sys.ECONNABORTED, interrupted:
		return true
	}
	return tortureCalls[f.call].passing
}

// tortured is the operating system with a fault.
type tortured struct {
	sys.Linux
	fault  tortureFault
	opened atomic.Bool // the loop is made
	full   bool        // epoll has no room for descriptors of the program

	mu          sync.Mutex
	counts      [tortureCallKinds]int
	fired       int
	rings       map[int]*torturedRing
	mappings    int
	threads     []sys.Thread
	doubleClose bool
}

func newTortured(fault tortureFault) *tortured {
	return &tortured{fault: fault, rings: make(map[int]*torturedRing)}
}

// hit counts a call and reports whether it is to fail.
func (k *tortured) hit(call tortureCall) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.hitLocked(call)
}

func (k *tortured) hitLocked(call tortureCall) bool {
	k.counts[call]++
	f, n := k.fault, k.counts[call]
	if call != f.call || f.nth == 0 || n < f.nth || n > f.nth && !f.ever {
		return false
	}
	if f.passes() && k.fired == tortureBurst {
		return false
	}
	k.fired++
	return true
}

// try makes a call, or fails it.
func (k *tortured) try(call tortureCall, make func() int64) int64 {
	if k.hit(call) {
		return k.fault.errno
	}
	return make()
}

// hits returns how many calls failed.
func (k *tortured) hits() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fired
}

// left says what the loop has not given back.
func (k *tortured) left() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, thread := range k.threads {
		if !thread.Gone() {
			return "a thread"
		}
	}
	switch {
	case k.mappings != 0:
		return "a mapping"
	case k.doubleClose:
		return "nothing, but closed a descriptor that is not open"
	}
	return ""
}

func (k *tortured) StartThread(name string, run func()) sys.Thread {
	thread := k.Linux.StartThread(name, run)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.threads = append(k.threads, thread)
	return thread
}

func (k *tortured) EpollCreate() int64 { return k.try(callEpollCreate, k.Linux.EpollCreate) }

func (k *tortured) EpollControl(epfd, op, fd int, events uint32, data uint64) int64 {
	const wakeTag = ^uint64(0)
	call := callEpollAdd
	switch {
	case op == sys.EpollModify:
		call = callEpollModify
	case op == sys.EpollDelete:
		call = callEpollDelete
	case data == wakeTag:
		call = callEpollAddWake
	case k.full:
		return sys.ENOSPC
	}
	if k.hit(call) {
		if k.fault.errno == sys.ENOENT { // another file came to this number
			k.Linux.EpollControl(epfd, sys.EpollDelete, fd, 0, 0)
		}
		return k.fault.errno
	}
	return k.Linux.EpollControl(epfd, op, fd, events, data)
}

func (k *tortured) EpollWait(epfd int, events []sys.EpollEvent, timeoutNs int64) int64 {
	return k.try(callEpollWait, func() int64 { return k.Linux.EpollWait(epfd, events, timeoutNs) })
}

func (k *tortured) EventCreate() int64 { return k.try(callEventCreate, k.Linux.EventCreate) }

// EventClear fails when another reader was faster: the descriptor is not readable then.
func (k *tortured) EventClear(fd int) int64 {
	n := k.Linux.EventClear(fd)
	return k.try(callEventClear, func() int64 { return n })
}

func (k *tortured) Poll(fds []sys.PollFd, timeoutMs int) int64 {
	call := callPoll
	if timeoutMs < 0 {
		call = callPollSet
	}
	return k.try(call, func() int64 { return k.Linux.Poll(fds, timeoutMs) })
}

// Close closes in spite of the error, as Linux does.
func (k *tortured) Close(fd int, blocking bool) int64 {
	n := k.Linux.Close(fd, blocking)
	if n == sys.EBADF {
		k.mu.Lock()
		k.doubleClose = true
		k.mu.Unlock()
	}
	return k.try(callClose, func() int64 { return n })
}

func (k *tortured) ReadNow(fd int, iov uintptr, count int, offset int64) int64 {
	return k.try(callReadNow, func() int64 { return k.Linux.ReadNow(fd, iov, count, offset) })
}

func (k *tortured) WriteNow(fd int, iov uintptr, count int, offset int64) int64 {
	return k.try(callWriteNow, func() int64 { return k.Linux.WriteNow(fd, iov, count, offset) })
}

func (k *tortured) Read(fd int, iov uintptr, count int, offset int64) int64 {
	return k.try(callRead, func() int64 { return k.Linux.Read(fd, iov, count, offset) })
}

func (k *tortured) Write(fd int, iov uintptr, count int, offset int64) int64 {
	return k.try(callWrite, func() int64 { return k.Linux.Write(fd, iov, count, offset) })
}

func (k *tortured) Open(dirfd int, path uintptr, flags int, mode uint32) int64 {
	return k.try(callOpen, func() int64 { return k.Linux.Open(dirfd, path, flags, mode) })
}

func (k *tortured) Access(dirfd int, path uintptr, mode uint32, flags int) int64 {
	return k.try(callAccess, func() int64 { return k.Linux.Access(dirfd, path, mode, flags) })
}

func (k *tortured) Socket(domain, kind, protocol int) int64 {
	return k.try(callSocket, func() int64 { return k.Linux.Socket(domain, kind, protocol) })
}

func (k *tortured) Accept(fd int, address, length uintptr) int64 {
	return k.try(callAccept, func() int64 { return k.Linux.Accept(fd, address, length) })
}

func (k *tortured) AcceptNow(fd int, address, length uintptr) int64 {
	return k.try(callAcceptNow, func() int64 { return k.Linux.AcceptNow(fd, address, length) })
}

func (k *tortured) Connect(fd int, address uintptr, length uint32) int64 {
	return k.try(callConnect, func() int64 { return k.Linux.Connect(fd, address, length) })
}

func (k *tortured) ConnectNow(fd int, address uintptr, length uint32) int64 {
	return k.try(callConnectNow, func() int64 { return k.Linux.ConnectNow(fd, address, length) })
}

func (k *tortured) Receive(fd int, address uintptr, length uint64, flags uint32) int64 {
	return k.try(callReceive, func() int64 { return k.Linux.Receive(fd, address, length, flags) })
}

func (k *tortured) Send(fd int, address uintptr, length uint64, flags uint32) int64 {
	return k.try(callSend, func() int64 { return k.Linux.Send(fd, address, length, flags) })
}

func (k *tortured) ReceiveMessage(fd int, message uintptr, flags uint32) int64 {
	return k.try(callReceiveMessage, func() int64 { return k.Linux.ReceiveMessage(fd, message, flags) })
}

func (k *tortured) SendMessage(fd int, message uintptr, flags uint32) int64 {
	return k.try(callSendMessage, func() int64 { return k.Linux.SendMessage(fd, message, flags) })
}

func (k *tortured) Shutdown(fd int, how uint32) int64 {
	return k.try(callShutdown, func() int64 { return k.Linux.Shutdown(fd, how) })
}

func (k *tortured) Sendfile(out, in int, offset *int64, count uint64) int64 {
	return k.try(callSendfile, func() int64 { return k.Linux.Sendfile(out, in, offset, count) })
}

func (k *tortured) Splice(in int, inOffset *int64, out int, outOffset *int64, count uint64,
	flags uint32) int64 {
	return k.try(callSplice, func() int64 {
		return k.Linux.Splice(in, inOffset, out, outOffset, count, flags)
	})
}

// ---- io_uring

// torturedRing is where a ring keeps its submissions.
type torturedRing struct {
	params  sys.RingParams
	queues  uintptr
	entries []sys.RingSqe
	seen    uint32 // submissions up to this one had their chance to fail
}

func (k *tortured) RingSetup(entries uint32, params *sys.RingParams) int64 {
	fd := k.try(callRingSetup, func() int64 { return k.Linux.RingSetup(entries, params) })
	if fd >= 0 {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.rings[int(fd)] = &torturedRing{params: *params}
	}
	return fd
}

func (k *tortured) RingMap(fd int, offset, length uintptr) (uintptr, int64) {
	if k.hit(callRingMap) {
		return 0, k.fault.errno
	}
	address, errno := k.Linux.RingMap(fd, offset, length)
	k.mu.Lock()
	defer k.mu.Unlock()
	ring := k.rings[fd]
	if offset == sys.RingMapEntries {
		first := *(**sys.RingSqe)(unsafe.Pointer(&address))
		ring.entries = unsafe.Slice(first, ring.params.SqEntries)
	} else {
		ring.queues = address
	}
	k.mappings++
	return address, errno
}

func (k *tortured) RingUnmap(memory, length uintptr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mappings--
	k.Linux.RingUnmap(memory, length)
}

func (k *tortured) RingSupports(fd int, opcodes ...uint8) bool {
	return !k.hit(callRingSupports) && k.Linux.RingSupports(fd, opcodes...)
}

func (k *tortured) RingLimitThreads(fd int, files uint32) int64 {
	return k.try(callRingLimitThreads, func() int64 { return k.Linux.RingLimitThreads(fd, files) })
}

func (k *tortured) RingMapBuffers(length uintptr) (uintptr, int64) {
	if k.hit(callRingMapBuffers) {
		return 0, k.fault.errno
	}
	k.mu.Lock()
	k.mappings++
	k.mu.Unlock()
	return k.Linux.RingMapBuffers(length)
}

func (k *tortured) RingRegisterBuffers(fd int, group uint16, memory uintptr, entries uint32) int64 {
	return k.try(callRingRegisterBuffers, func() int64 {
		return k.Linux.RingRegisterBuffers(fd, group, memory, entries)
	})
}

func (k *tortured) RingUnregisterBuffers(fd int, group uint16) int64 {
	n := k.Linux.RingUnregisterBuffers(fd, group)
	return k.try(callRingUnregisterBuffers, func() int64 { return n })
}

func (k *tortured) RingEnter(fd int, submit, wait uint32, timeoutNs int64, memory *sys.RingTimeout) int64 {
	call := callRingEnter
	if !k.opened.Load() {
		call = callRingFirstEnter
	}
	return k.try(call, func() int64 {
		k.spoil(fd, submit)
		return k.Linux.RingEnter(fd, submit, wait, timeoutNs, memory)
	})
}

// spoil has submissions fail that are about to be handed over.
func (k *tortured) spoil(fd int, submit uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ring := k.rings[fd]
	head := *(*uintptr)(unsafe.Pointer(&ring.queues)) + uintptr(ring.params.Sq.Head)
	first := atomic.LoadUint32(*(**uint32)(unsafe.Pointer(&head)))
	for place := first; place != first+submit; place++ {
		if int32(place-ring.seen) < 0 {
			continue // it had its chance, and was not taken
		}
		ring.seen = place + 1
		entry := &ring.entries[place&(ring.params.SqEntries-1)]
		if call, known := ringCall(entry); known && k.hitLocked(call) {
			k.replace(entry)
		}
	}
}

// ringCall returns which call a submission stands for; a cancel is none, for it either works or is too late.
func ringCall(entry *sys.RingSqe) (call tortureCall, known bool) {
	const tagMask, tagWake = 7, 1
	switch entry.Opcode {
	case sys.RingOpPollAdd:
		if entry.UserData&tagMask == tagWake {
			return callRingWake, true
		}
		return callRingPoll, true
	case sys.RingOpRead, sys.RingOpReadv:
		return callRingRead, true
	case sys.RingOpWrite, sys.RingOpWritev:
		return callRingWrite, true
	case sys.RingOpOpenat:
		return callRingOpen, true
	case sys.RingOpClose:
		return callRingClose, true
	case sys.RingOpAccept:
		return callRingAccept, true
	case sys.RingOpConnect:
		return callRingConnect, true
	case sys.RingOpReceive, sys.RingOpReceiveMsg:
		return callRingReceive, true
	case sys.RingOpSend, sys.RingOpSendMessage:
		return callRingSend, true
	}
	return 0, false
}

// replace makes a submission one that does nothing and has the result of the fault. A close closes first.
func (k *tortured) replace(entry *sys.RingSqe) {
	const opNothing, injectResult = 0, 1 // IORING_OP_NOP, IORING_NOP_INJECT_RESULT: Linux 6.10
	if entry.Opcode == sys.RingOpClose {
		k.Linux.Close(int(entry.Fd), true)
	}
	*entry = sys.RingSqe{
		Opcode: opNothing, OpFlags: injectResult, UserData: entry.UserData,
		Length: uint32(int32(k.fault.errno)),
	}
}
