"""Reads of small files that are in memory, at once: a turn of the loop would cost more than the calls do.

Each call is of the kind that never waits: openat2 with RESOLVE_CACHED, and preadv2 with RWF_NOWAIT. What they
cannot do is left to the library.
"""

import ctypes
import os
from os import SEEK_END, close, lseek, preadv
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
_HOW_BYTES = ctypes.sizeof(_how)
_how_address = ctypes.addressof(_how)
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class Reader:
    """For one thread."""

    def __init__(self) -> None:
        self._view = memoryview(bytearray(MOST_BYTES))
        self._views = [self._view]

    def read(self, name: bytes) -> Tuple[int, Optional[bytes]]:
        """Returns a descriptor and the contents of a file. No contents: read them from the descriptor, which
        is yours, at offsets of your own. A descriptor of -1: nothing was done, or it is closed already."""
        if not _NOWAIT or b"\0" in name:
            return -1, None
        fd = _syscall(_SYS_OPENAT2, AT_FDCWD, name, _how_address, _HOW_BYTES)
        if fd < 0:
            return -1, None
        try:
            size = lseek(fd, 0, SEEK_END)  # a third of the price of fstat, which makes an object
            if 0 < size <= MOST_BYTES and preadv(fd, self._views, 0, _NOWAIT) == size:
                close(fd)
                return -1, self._view[:size].tobytes()
        except OSError:  # not in memory, a file system without such reads, or not a file
            pass
        return fd, None
