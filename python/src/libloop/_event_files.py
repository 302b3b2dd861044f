"""Files for the asyncio event loop: real asynchronous operations, where asyncio itself has only threads."""

import asyncio
import os
from typing import Any, List, Optional

from ._buffers import readable, writable
from ._cached_files import Reader
from ._errors import error_of
from ._library import native
from ._loop_files import AT_FDCWD, Path, bytes_read
from ._time import deadline

_CHUNK_BYTES = 16384
_READS_AT_ONCE = 32  # between two turns


def _finish(future: Any, keep: Any, result: int, more: bool) -> None:
    if future.done() or future._loop.is_closed():
        return
    if result < 0:
        future.set_exception(error_of(result))
    else:
        future.set_result(result)


def _finish_open(future: Any, keep: Any, result: int, more: bool) -> None:
    if result >= 0 and (future.done() or future._loop.is_closed()):
        os.close(result)  # nobody else knows of it
    elif result < 0 and not future.done() and not future._loop.is_closed():
        future.set_exception(error_of(result, os.fsdecode(keep)))
    else:
        _finish(future, keep, result, more)


class _FileRead:
    """Reads a file from its opening to its closing, step by step as each completes, and wakes the coroutine
    that waits for it but once."""

    __slots__ = ("loop", "future", "fd", "size", "parts", "target", "position", "record", "cancelled")

    def __init__(self, loop: Any, name: bytes, fd: int):
        self.loop = loop
        self.future = loop.create_future()
        self.fd = -1
        self.size = 0
        self.parts: List[bytes] = []
        self.position = 0
        self.cancelled = False
        self.target = b""
        if fd >= 0:
            self.opened(name, fd, False)
            return
        self.record = loop._engine.submit(
            native.loop_open, _FileRead.opened, self, name, 0, name, os.O_RDONLY | os.O_CLOEXEC, 0
        )

    def opened(self, keep: Any, result: int, more: bool) -> None:
        """Then: the first bytes, all of them if the file is as large as it says."""
        if result < 0:
            self.fail(error_of(result, os.fsdecode(keep)))
            return
        self.fd = result
        self.size = os.fstat(result).st_size
        self.read(self.size + 1 if self.size else _CHUNK_BYTES)

    def read(self, size: int) -> None:
        """One more read, of at most what a read can bring."""
        if self.cancelled or self.loop._engine.pointer is None:
            self.fail(None)
            return
        self.target = target = bytes(min(size, 0x7FFFF000))
        self.record = self.loop._engine.submit(
            native.loop_pread, _FileRead.received, self, target, 0,
            self.fd, target, len(target), self.position,
        )

    def received(self, keep: Any, result: int, more: bool) -> None:
        """Then: the end of the file, or more of it."""
        if result < 0:
            self.fail(error_of(result))
            return
        part = bytes_read(result, keep)
        self.position += result
        if result == 0 or (self.position == self.size and not self.cancelled):
            data = part if not self.parts else b"".join((*self.parts, part))
            self.close()
            if not self.future.done():
                self.future.set_result(data)
            return
        self.parts.append(part)
        self.read(max(self.size + 1 - self.position, _CHUNK_BYTES))

    def close(self) -> None:
        """Nothing was written, so there is nothing to wait for."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def fail(self, error: Optional[BaseException]) -> None:
        """The end, for want of a file."""
        self.close()
        if not self.future.done() and not self.loop.is_closed():
            if error is None:
                self.future.cancel()
            else:
                self.future.set_exception(error)


class FileOperations:
    """Methods of EventLoop. When a task that awaits one is cancelled, the operation is, too, and the task
    goes on only when the library has let go of the buffer. `timeout` is in seconds; past it: TimeoutError.

    Where a method takes `into`, a number asks for so many bytes and the result is bytes; a writable buffer
    is filled in place and the result is the number of bytes.
    """

    _engine: Any
    create_future: Any
    is_closed: Any

    def _init_files(self) -> None:
        self._cached = Reader()
        self._reads_at_once = 0

    async def _file(self, function: Any, complete: Any, keep: Any, timeout: Optional[float],
                    *arguments: Any) -> Any:
        future = self.create_future()
        record = self._engine.submit(function, complete, future, keep, deadline(timeout), *arguments)
        try:
            return await future
        except asyncio.CancelledError:
            await self._let_go(record, future)
            raise

    async def _let_go(self, record: Any, owner: Any) -> None:
        """Cancels the request of `owner` and waits until it has completed, however often we are cancelled."""
        if record.owner is not owner:
            return
        gone = self.create_future()
        complete = record.complete

        def completed(*arguments: Any) -> None:
            complete(*arguments)
            if not self.is_closed():
                gone.set_result(None)

        record.complete = completed
        self._engine.cancel(record)
        while not gone.done():
            try:
                await asyncio.wait([gone])
            except asyncio.CancelledError:
                pass  # it is raised once the buffer is free

    async def open_fd(self, path: Path, flags: int = os.O_RDONLY, mode: int = 0o666, *,
                      dir_fd: int = AT_FDCWD, timeout: Optional[float] = None) -> int:
        """Opens a file, closed on exec. Returns the descriptor, yours to close."""
        name = os.fsencode(path)
        return await self._file(native.loop_openat, _finish_open, name, timeout,
                                dir_fd, name, flags | os.O_CLOEXEC, mode)

    async def close_fd(self, fd: int) -> None:
        """Closes a descriptor; file operations that wait on it are cancelled."""
        await self._file(native.loop_close, _finish, None, None, fd)

    async def pread(self, fd: int, into: Any, offset: int, *, timeout: Optional[float] = None) -> Any:
        """Reads at `offset` bytes from the start of a file."""
        if type(into) is int:
            target = bytes(into)
            result = await self._file(native.loop_pread, _finish, target, timeout, fd, target, into, offset)
            return bytes_read(result, target)
        keep, address, size = writable(into)
        return await self._file(native.loop_pread, _finish, keep, timeout, fd, address, size, offset)

    async def pwrite(self, fd: int, data: Any, offset: int, *, timeout: Optional[float] = None) -> int:
        """Writes at `offset` bytes from the start of a file. Returns the number of bytes."""
        keep, address, size = readable(data)
        return await self._file(native.loop_pwrite, _finish, keep, timeout, fd, address, size, offset)

    async def access(self, path: Path, mode: int = os.F_OK) -> None:
        """Raises an OSError unless a file may be accessed: os.F_OK, or a mask of R_OK, W_OK, X_OK."""
        name = os.fsencode(path)
        await self._file(native.loop_faccessat, _finish, name, None, AT_FDCWD, name, mode, 0)

    async def read_file(self, path: Path) -> bytes:
        """Returns the contents of a file, or of a device that has positions (ESPIPE for others)."""
        name = os.fsencode(path)
        fd, data = self._cached.read(name)
        if data is not None:
            self._reads_at_once += 1
            if self._reads_at_once >= _READS_AT_ONCE:  # others want their turn
                self._reads_at_once = 0
                await asyncio.sleep(0)
            return data
        read = _FileRead(self, name, fd)
        try:
            return await read.future
        except asyncio.CancelledError:
            read.cancelled = True
            await self._let_go(read.record, read)
            raise

    async def write_file(self, path: Path, data: Any, mode: int = 0o666) -> int:
        """Makes data the contents of a file, which is created or truncated. Returns the number of bytes."""
        view = memoryview(data).cast("B")
        fd = await self.open_fd(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            written = 0
            while written < len(view):
                written += await self.pwrite(fd, view[written:], written)
        except BaseException:
            os.close(fd)
            raise
        await self.close_fd(fd)
        return written
