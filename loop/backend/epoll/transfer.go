package epoll

import (
	"unsafe"

	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// probe is where a read beyond a short one goes. It is part of the backend because the kernel must find
// it where it is: a goroutine's stack moves.
type probe struct {
	vector request.Iovec
	target byte
}

// startTransfer begins a read or write: at once if it does not block, otherwise behind those that wait.
func (b *Backend) startTransfer(r *request.Request) {
	e := b.admit(r, backend.CheckTransfer(r))
	if e == nil {
		return
	}
	if !e.looked {
		e.looked, e.direct = true, b.kernel.IsDirect(int(r.Fd))
	}
	if e.direct {
		b.block(r) // past the page cache, "now" means as soon as the device has it
		return
	}
	if r.IsStreamWrite() {
		b.startWrite(e, r)
		return
	}
	if e.waiters[directionOf(r)].Empty() {
		if n := backend.TransferNow(b.kernel, r); n != sys.EAGAIN && n != sys.ENOTSUP {
			b.complete(r, n)
			return
		}
	}
	b.await(e, r)
}

// complete finishes a transfer that moved n bytes or failed. A read at an offset that came out short may
// have met the edge of the page cache rather than the end of the file: the pool then does it again in
// full. (A write is not repeated: where the file is open for appending, its bytes would be there twice.)
func (b *Backend) complete(r *request.Request, n int64) {
	if n > 0 && r.Op == request.OpRead && r.Offset >= 0 && n < r.Bytes() && !b.atEnd(r, n) {
		b.block(r)
		return
	}
	b.sink.Finish(r, n)
}

// atEnd reports whether a read that returned n bytes ended at the end of the file: one more byte tells.
func (b *Backend) atEnd(r *request.Request, n int64) bool {
	b.probe.vector = request.Iovec{Base: uintptr(unsafe.Pointer(&b.probe.target)), Length: 1}
	return b.kernel.ReadNow(int(r.Fd), uintptr(unsafe.Pointer(&b.probe.vector)), 1, r.Offset+n) == 0
}

// serveTransfer tries a transfer that waited, now that the kernel reported its direction ready. False: it
// still would block, or the pool has it; what is behind it has to wait on.
func (b *Backend) serveTransfer(e *entry, r *request.Request) bool {
	n := backend.TransferNow(b.kernel, r)
	if n == sys.ENOTSUP && b.kernel.IsNonblocking(int(r.Fd)) {
		iov, count := r.Buffers()
		if r.Op == request.OpRead {
			n = b.kernel.Read(int(r.Fd), iov, count, r.Offset)
		} else {
			n = b.kernel.Write(int(r.Fd), iov, count, r.Offset)
		}
	}
	switch n {
	case sys.EAGAIN:
		return false
	case sys.ENOTSUP:
		// Ready, but a call might still block: only a thread of the pool may take that risk.
		b.forget(e, r)
		b.blockIfReady(r)
		return false
	default:
		b.forget(e, r)
		b.complete(r, n)
	}
	return true
}
