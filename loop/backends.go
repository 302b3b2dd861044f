package loop

import (
	"github.com/libloop/libloop/loop/backend"
	"github.com/libloop/libloop/loop/backend/epoll"
	"github.com/libloop/libloop/loop/backend/uring"
	"github.com/libloop/libloop/loop/internal/sys"
)

// openBackends gives each worker a backend, all of one kind.
func (e *Engine) openBackends(config *Config) int64 {
	if config.Backend != BackendEpoll {
		errno := e.openEach(func(w *worker) (backend.Backend, int64) {
			return uring.New(e.kernel, w, e.pool, config.BlockingThreads, config.ThreadBound)
		})
		if errno == 0 {
			return 0
		}
		if config.Backend == BackendIOUring {
			return refusal(errno)
		}
	}
	return shortage(e.openEach(func(w *worker) (backend.Backend, int64) {
		return epoll.New(e.kernel, w, e.pool)
	}))
}

// refusal translates why io_uring cannot be had: the kernel, its configuration or a sandbox does not offer
// it, or something ran out.
func refusal(errno int64) int64 {
	switch errno {
	case sys.ENOSYS, sys.EPERM, sys.EINVAL:
		return sys.ENOTSUP
	}
	return shortage(errno)
}

// shortage translates what says that there is no memory: a limit of watches, or of locked memory.
func shortage(errno int64) int64 {
	if errno == sys.ENOSPC || errno == sys.EAGAIN {
		return sys.ENOMEM
	}
	return errno
}

// openEach makes a backend for each worker, or for none.
func (e *Engine) openEach(open func(*worker) (backend.Backend, int64)) int64 {
	for i, w := range e.workers {
		b, errno := open(w)
		if errno < 0 {
			for _, made := range e.workers[:i] {
				made.backend.Close()
			}
			return errno
		}
		w.backend = b
		w.mailbox.WakeFd = int32(b.WakeDescriptor())
	}
	return 0
}
