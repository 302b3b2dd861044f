"""Operations on files and descriptors, for the plain loop."""

import os
from typing import Any, Optional, Sequence, Union

from . import _abi
from ._buffers import readable, vector, writable
from ._library import native
from ._operation import Callback, Operation, Starter

AT_FDCWD = -100

Path = Union[str, bytes, "os.PathLike[Any]"]


def bytes_read(result: int, target: bytes) -> bytes:
    """What was read into bytes of our own, which nobody else has seen yet."""
    return target if result == len(target) else target[:result]


class Files(Starter):
    """Methods of Loop. `callback` is called with the operation; `timeout` is in seconds, None: no limit.

    Where a method takes `into`, a number asks for so many bytes and the result is bytes; a writable buffer
    is filled in place and the result is the number of bytes. It is kept, and cannot be resized, until then.
    """

    def open(self, path: Path, flags: int = os.O_RDONLY, mode: int = 0o666, *, dir_fd: int = AT_FDCWD,
             callback: Callback = None, timeout: Optional[float] = None) -> Operation[int]:
        """Opens a file, closed on exec. Result: the descriptor, yours to close."""
        name = os.fsencode(path)
        return self._start(native.loop_openat, None, name, callback, timeout,
                           dir_fd, name, flags | os.O_CLOEXEC, mode)

    def close_fd(self, fd: int, *, callback: Callback = None,
                 timeout: Optional[float] = None) -> Operation[int]:
        """Closes a descriptor; what waits on it ends with Cancelled."""
        return self._start(native.loop_close, None, None, callback, timeout, fd)

    def read(self, fd: int, into: Any, *, callback: Callback = None,
             timeout: Optional[float] = None) -> Operation[Any]:
        """Reads at the current position, from a file, pipe, socket or device. Nothing: the end."""
        if type(into) is int:
            target = bytes(into)
            return self._start(native.loop_read, bytes_read, target, callback, timeout, fd, target, into)
        keep, address, size = writable(into)
        return self._start(native.loop_read, None, keep, callback, timeout, fd, address, size)

    def pread(self, fd: int, into: Any, offset: int, *, callback: Callback = None,
              timeout: Optional[float] = None) -> Operation[Any]:
        """Reads at `offset` bytes from the start of the file."""
        if type(into) is int:
            target = bytes(into)
            return self._start(native.loop_pread, bytes_read, target, callback, timeout,
                               fd, target, into, offset)
        keep, address, size = writable(into)
        return self._start(native.loop_pread, None, keep, callback, timeout, fd, address, size, offset)

    def write(self, fd: int, data: Any, *, callback: Callback = None,
              timeout: Optional[float] = None) -> Operation[int]:
        """Writes at the current position. Result: the number of bytes, which may be fewer."""
        keep, address, size = readable(data)
        return self._start(native.loop_write, None, keep, callback, timeout, fd, address, size)

    def pwrite(self, fd: int, data: Any, offset: int, *, callback: Callback = None,
               timeout: Optional[float] = None) -> Operation[int]:
        """Writes at `offset` bytes from the start of the file. Result: the number of bytes."""
        keep, address, size = readable(data)
        return self._start(native.loop_pwrite, None, keep, callback, timeout, fd, address, size, offset)

    def readv(self, fd: int, buffers: Sequence[Any], *, callback: Callback = None,
              timeout: Optional[float] = None) -> Operation[int]:
        """Reads at the current position into several writable buffers. Result: the number of bytes."""
        keep, address, count = vector(buffers, writable)
        return self._start(native.loop_readv, None, keep, callback, timeout, fd, address, count)

    def writev(self, fd: int, buffers: Sequence[Any], *, callback: Callback = None,
               timeout: Optional[float] = None) -> Operation[int]:
        """Writes several buffers in turn at the current position. Result: the number of bytes."""
        keep, address, count = vector(buffers, readable)
        return self._start(native.loop_writev, None, keep, callback, timeout, fd, address, count)

    def preadv(self, fd: int, buffers: Sequence[Any], offset: int, *, callback: Callback = None,
               timeout: Optional[float] = None) -> Operation[int]:
        """Reads into several writable buffers in turn. Result: the number of bytes."""
        keep, address, count = vector(buffers, writable)
        return self._start(native.loop_preadv, None, keep, callback, timeout, fd, address, count, offset)

    def pwritev(self, fd: int, buffers: Sequence[Any], offset: int, *, callback: Callback = None,
                timeout: Optional[float] = None) -> Operation[int]:
        """Writes several buffers in turn. Result: the number of bytes."""
        keep, address, count = vector(buffers, readable)
        return self._start(native.loop_pwritev, None, keep, callback, timeout, fd, address, count, offset)

    def access(self, path: Path, mode: int = os.F_OK, *, dir_fd: int = AT_FDCWD, callback: Callback = None,
               timeout: Optional[float] = None) -> Operation[int]:
        """Asks whether a file may be accessed: os.F_OK, or a mask of R_OK, W_OK, X_OK. An error if not."""
        name = os.fsencode(path)
        return self._start(native.loop_faccessat, None, name, callback, timeout, dir_fd, name, mode, 0)

    def splice(self, in_fd: int, out_fd: int, size: int, *, callback: Callback = None,
               timeout: Optional[float] = None) -> Operation[int]:
        """Moves bytes from or to a pipe within the kernel. Result: their number; 0: the end."""
        return self._start(native.loop_splice, None, None, callback, timeout,
                           in_fd, _abi.NO_OFFSET, out_fd, _abi.NO_OFFSET, size, 0)

    def wait_readable(self, fd: int, *, callback: Callback = None,
                      timeout: Optional[float] = None) -> Operation[int]:
        """Waits until a descriptor is readable. Result: a mask of READABLE, HANGUP, ERROR."""
        return self._start(native.loop_wait_until_fd_readable, None, None, callback, timeout, fd)

    def wait_writable(self, fd: int, *, callback: Callback = None,
                      timeout: Optional[float] = None) -> Operation[int]:
        """Waits until a descriptor is writable. Result: a mask of WRITABLE, HANGUP, ERROR."""
        return self._start(native.loop_wait_until_fd_writable, None, None, callback, timeout, fd)

    def wait_ready(self, fd: int, *, callback: Callback = None,
                   timeout: Optional[float] = None) -> Operation[int]:
        """Waits until a descriptor is readable or writable. Result: a mask of READABLE, WRITABLE, HANGUP,
        ERROR."""
        return self._start(native.loop_wait_until_fd_writable_or_readable, None, None, callback, timeout, fd)

    def cancel_fd(self, fd: int, *, callback: Callback = None) -> Operation[int]:
        """Cancels all operations on a descriptor, which stays open. Result: their number."""
        return self._start(native.loop_cancel_fd, None, None, callback, None, fd)

    def watch(self, fd: int, events: int, callback: Callback) -> Operation[int]:
        """Calls back whenever one of `events` holds, for as long as it holds, until it is cancelled."""
        return self._start(native.loop_add_fd, None, None, callback, None, fd, events)
