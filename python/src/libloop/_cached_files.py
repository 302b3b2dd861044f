"""Reads of small files that are in memory, at once: a turn of the loop would cost more than the calls do.

Each call is of the kind that never waits: openat2 with RESOLVE_CACHED, and preadv2 with RWF_NOWAIT. What they
cannot do is left to the library.
"""

import ctypes
import os
import stat
from typing import Optional, Tuple

from ._loop_files import AT_FDCWD

MOST_BYTES = 65536

_SYS_OPENAT2 = 437  # on every architecture
_RESOLVE_CACHED = 0x20

_syscall = ctypes.PyDLL(None).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]

# struct open_how. O_NONBLOCK: opening a FIFO must not wait for a writer; for files it has no meaning.
_how = (ctypes.c_uint64 * 3)(os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0, _RESOLVE_CACHED)
_how_address = ctypes.addressof(_how)
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class Reader:
    """For one thread."""

    def __init__(self) -> None:
        self._buffer = bytearray(MOST_BYTES)
        self._view = memoryview(self._buffer)

    def read(self, name: bytes) -> Tuple[int, int, Optional[bytes]]:
        """Returns the descriptor, the size and the contents of a file. No contents: read them from the
        descriptor. A descriptor of -1: nothing was done, or it is closed already."""
        if not _NOWAIT or b"\0" in name:
            return -1, 0, None
        fd = _syscall(_SYS_OPENAT2, AT_FDCWD, name, _how_address, 24)
        if fd < 0:
            return -1, 0, None
        status = os.fstat(fd)
        size = status.st_size
        if stat.S_ISREG(status.st_mode) and 0 < size <= MOST_BYTES:
            try:
                count = os.preadv(fd, (self._view[:size],), 0, _NOWAIT)
            except OSError:  # not in memory, or a file system without such reads
                return fd, size, None
            if count == size:
                os.close(fd)
                return -1, size, bytes(self._view[:size])
        return fd, size, None
