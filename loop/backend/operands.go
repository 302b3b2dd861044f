package backend

import (
	"math"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// DirectionEvents are the events that a wait may ask for, KnownEvents all that its operand may hold.
const (
	DirectionEvents = request.Readable | request.Writable
	KnownEvents     = DirectionEvents | request.EdgeTriggered
)

// CheckTransfer finds what is wrong with the operands of a transfer before the kernel sees them. It does so
// where the kernel would answer differently for different kinds of descriptors, or only once there are bytes.
func CheckTransfer(r *request.Request) int64 {
	switch {
	case r.Offset < request.CurrentPosition:
		return sys.EINVAL
	case r.Vector:
		return 0
	case r.Length > math.MaxInt64:
		return sys.EINVAL
	case r.Address == 0 && r.Length > 0:
		return sys.EFAULT
	}
	return 0
}

// TransferNow makes a transfer without blocking. EAGAIN: it would block; ENOTSUP: the descriptor cannot tell.
func TransferNow(kernel sys.Kernel, r *request.Request) int64 {
	iov, count := r.Buffers()
	if r.Op == request.OpRead {
		return kernel.ReadNow(int(r.Fd), iov, count, r.Offset)
	}
	return kernel.WriteNow(int(r.Fd), iov, count, r.Offset)
}

// EventMask translates the events of epoll and poll to those of loop.h. For a pipe without writers the kernel
// says EPOLLHUP alone; but a read does not block then: it finds the end.
func EventMask(events uint32) (mask uint32) {
	if events&(sys.EpollIn|sys.EpollHup) != 0 {
		mask |= request.Readable
	}
	if events&sys.EpollOut != 0 {
		mask |= request.Writable
	}
	if events&(sys.EpollHup|sys.EpollRdHup) != 0 {
		mask |= request.Hangup
	}
	if events&sys.EpollErr != 0 {
		mask |= request.Error
	}
	return mask
}
