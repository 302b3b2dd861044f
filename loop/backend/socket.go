package backend

import (
	"math"
	"unsafe"

	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// CheckSocket finds what is wrong with the operands of an operation on a socket before the kernel sees them:
// where it would look at them only once there are bytes, and at flags that are ours and not its own.
func CheckSocket(r *request.Request) int64 {
	flags := r.Mode
	switch r.Op {
	case request.OpAccept:
		flags &^= request.Multishot
	case request.OpReceive:
		return checkReceive(r)
	case request.OpSend:
		if r.Message != 0 && !r.Vector && !isAddressLength(r.OwnMessage.NameLength) {
			return sys.EINVAL // which is not what the call with a message would say
		}
		return checkMessage(r, r.Mode&request.Multishot == 0)
	case request.OpSendfile:
		flags &^= request.SendAll
		if r.Offset < 0 || r.Length > math.MaxInt64 {
			return sys.EINVAL
		}
	case request.OpSplice:
		if r.Offset < request.CurrentPosition || *r.OtherOffset() < request.CurrentPosition {
			return sys.EINVAL
		}
		return 0
	default:
		return 0
	}
	if flags != 0 {
		return sys.EINVAL
	}
	return 0
}

func isAddressLength(length uint32) bool {
	const most = 128 // sizeof(struct sockaddr_storage)
	return length > 0 && length <= most
}

func checkReceive(r *request.Request) int64 {
	if r.Pool != nil {
		if r.Mode&^request.Multishot != 0 {
			return sys.EINVAL
		}
		return 0
	}
	if r.Message != 0 && !r.Vector && r.Held == 0 {
		return sys.EFAULT // an address, and no place for its length
	}
	return checkMessage(r, r.Mode&(request.Multishot|request.SendAll) == 0)
}

func checkMessage(r *request.Request, flagsRight bool) int64 {
	switch {
	case !flagsRight || r.Length > math.MaxInt64:
		return sys.EINVAL
	case r.Vector && r.Message == 0:
		return sys.EFAULT
	case !r.Vector && r.Address == 0 && r.Length > 0 && r.Mode&sys.MsgTrunc == 0:
		return sys.EFAULT
	}
	return 0
}

// MessageFlags returns the flags of a receive or send as the kernel takes them. Going on until all is moved
// is our work, so that it is the same everywhere; io_uring's own way gives the same bytes twice to a peek.
func MessageFlags(r *request.Request) uint32 {
	return r.Mode &^ (request.Multishot | request.SendAll | sys.MsgDontWait | sys.MsgWaitAll)
}

// goesOn reports whether a short count is not the end of a transfer.
func goesOn(r *request.Request) bool {
	switch r.Op {
	case request.OpSend, request.OpSendfile:
		return r.Mode&request.SendAll != 0
	case request.OpReceive:
		return r.Mode&sys.MsgWaitAll != 0 && r.Mode&(sys.MsgPeek|sys.MsgOutOfBand|sys.MsgErrorQueue) == 0
	}
	return false
}

// mayGoOn reports whether the first bytes of a receive may be followed by others: not a datagram, and not
// what may come with descriptors, for those of later bytes would be lost.
func mayGoOn(kernel sys.Kernel, r *request.Request) bool {
	fd := int(r.Fd)
	return kernel.IsTCP(fd) || kernel.IsStream(fd) && !takesControlData(r)
}

// takesControlData reports whether a message has room for control data. The kernel has read it before us.
func takesControlData(r *request.Request) bool {
	return r.Vector && (*request.Message)(request.Pointer(r.Message)).Control != 0
}

// IsNoShot reports that the result of a step is none for its request: an accept of many shots has met a
// connection that was aborted before it could be accepted.
func IsNoShot(r *request.Request, n int64) bool {
	return r.Op == request.OpAccept && r.IsSocketShots() && n == sys.ECONNABORTED
}

// Advance accounts for n bytes that a step of a transfer has moved, and reports whether there is a next step.
// Otherwise the result of the transfer is r.Moved + n if n is not an error, and n if it is.
func Advance(kernel sys.Kernel, r *request.Request, n int64) (more bool) {
	if n <= 0 || !goesOn(r) || n >= left(r) {
		return false
	}
	if r.Op == request.OpReceive && !mayGoOn(kernel, r) {
		return false
	}
	TellAddressLength(r)
	r.Moved += uint64(n)
	if r.Message == 0 || !r.Vector {
		r.Length -= uint64(n)
		r.Address += uintptr(n)
	}
	return true
}

// left returns how many bytes are still to be moved.
func left(r *request.Request) int64 {
	if !r.Vector {
		return int64(r.Length)
	}
	total := uint64(0)
	for _, v := range vectors(r) {
		total += v.Length
	}
	return int64(total - r.Moved)
}

// vectors returns the buffers of the program's message, which the kernel has read before us.
func vectors(r *request.Request) []request.Iovec {
	message := (*request.Message)(request.Pointer(r.Message))
	return unsafe.Slice((*request.Iovec)(request.Pointer(message.Vectors)), message.VectorCount)
}

// Step is what the next call of a receive or send is to move: a plain buffer if Message is 0.
type Step struct {
	Message uintptr
	Address uintptr
	Length  uint64
}

// NextStep returns the operands of the next call of a receive or send. A message of which a part is moved
// goes on without its address and control data, and a buffer that was moved in part goes on its own: so the
// program's memory stays as it is.
func NextStep(r *request.Request) Step {
	switch {
	case !r.Vector && r.Moved == 0 && r.Message != 0:
		return Step{Message: r.Message}
	case !r.Vector:
		return Step{Address: r.Address, Length: r.Length}
	case r.Moved == 0:
		return Step{Message: r.Message}
	}
	skip := r.Moved
	buffers := vectors(r)
	for len(buffers) > 0 && skip >= buffers[0].Length {
		skip -= buffers[0].Length
		buffers = buffers[1:]
	}
	if skip > 0 {
		return Step{Address: buffers[0].Base + uintptr(skip), Length: buffers[0].Length - skip}
	}
	r.OwnMessage = request.Message{
		Vectors:     uintptr(unsafe.Pointer(unsafe.SliceData(buffers))),
		VectorCount: uint64(len(buffers)),
	}
	return Step{Message: uintptr(unsafe.Pointer(&r.OwnMessage))}
}

// AskAddress tells the kernel how much room there is for the address of the next connection: an accept before
// may have left the length of another one there.
func AskAddress(r *request.Request) {
	if r.Address != 0 && r.Length != 0 {
		*(*uint32)(request.Pointer(uintptr(r.Length))) = r.OwnMessage.NameLength
	}
}

// TellAddressLength tells the program of OpReceive how long the address of the sender is.
func TellAddressLength(r *request.Request) {
	if r.Op == request.OpReceive && r.Message != 0 && !r.Vector && r.Moved == 0 {
		*(*uint32)(request.Pointer(uintptr(r.Held))) = r.OwnMessage.NameLength
	}
}

// Result is the result of a transfer whose last step gave n.
func Result(r *request.Request, n int64) int64 {
	if n < 0 {
		return n // and the worker makes it r.Moved, if bytes were moved before
	}
	TellAddressLength(r)
	if r.Op < request.OpAccept {
		return n
	}
	return int64(r.Moved) + n
}
