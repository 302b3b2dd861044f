package backend

import (
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// A splice waits for one of its two descriptors at a time. That one is r.Fd, so that the backend finds the
// request there, and r.Events says which it is: Readable for the near end, Writable for the far one.

// spliceEnds returns the two descriptors of a splice.
func spliceEnds(r *request.Request) (in, out int) {
	if r.Events == request.Writable {
		return int(r.OtherFd()), int(r.Fd)
	}
	return int(r.Fd), int(r.OtherFd())
}

// waitFor makes r.Fd the end that is to become ready.
func waitFor(r *request.Request, events uint32) {
	if r.Events != events {
		other := r.OtherFd()
		r.OwnMessage.Name = uintptr(r.Fd)
		r.Fd, r.Events = other, events
	}
}

// splice moves bytes, or finds which end to wait for.
func (d *Direct) splice(r *request.Request) int64 {
	in, out := spliceEnds(r)
	awake := d.staysAwake(in) && d.staysAwake(out)
	n := d.checkEnds(r, in, out)
	if n == 0 && awake {
		n = SpliceNow(d.kernel, r)
	}
	if n < 0 && n != sys.EAGAIN || n >= 0 && awake {
		return n
	}
	d.ends = [2]sys.PollFd{{Fd: int32(in), Events: sys.EpollIn}, {Fd: int32(out), Events: sys.EpollOut}}
	if n := d.kernel.Poll(d.ends[:], 0); n < 0 {
		return n
	}
	switch {
	case d.ends[0].Revents == 0:
		waitFor(r, request.Readable)
		return sys.EAGAIN
	case d.ends[1].Revents == 0:
		waitFor(r, request.Writable)
		return sys.EAGAIN
	}
	return Blocks // an end that blocks; or somebody was faster, and a blocking thread tries again
}

// checkEnds finds what the call would find wrong, without a wait for that which cannot come.
func (d *Direct) checkEnds(r *request.Request, in, out int) int64 {
	inPipe, outPipe := d.kernel.IsPipe(in), d.kernel.IsPipe(out)
	switch {
	case !d.kernel.IsOpen(in), !d.kernel.IsOpen(out), !d.kernel.MayRead(in), !d.kernel.MayWrite(out):
		return sys.EBADF
	case !inPipe && !outPipe:
		return sys.EINVAL
	case inPipe && r.Offset >= 0, outPipe && *r.OtherOffset() >= 0:
		return sys.ESPIPE
	case r.Offset >= 0 && d.kernel.IsSocket(in), *r.OtherOffset() >= 0 && d.kernel.IsSocket(out):
		return sys.EINVAL
	}
	return 0
}

// staysAwake reports whether a splice does not wait for this end.
func (d *Direct) staysAwake(fd int) bool { return d.kernel.IsPipe(fd) || d.kernel.IsNonblocking(fd) }

// SpliceNow makes the call. It may block for an end that is no pipe.
func SpliceNow(kernel sys.Kernel, r *request.Request) int64 {
	in, out := spliceEnds(r)
	var inOffset, outOffset *int64
	if r.Offset >= 0 {
		inOffset = &r.Offset
	}
	if *r.OtherOffset() >= 0 {
		outOffset = r.OtherOffset()
	}
	return kernel.Splice(in, inOffset, out, outOffset, r.Length, r.Mode)
}
