"""Pools of buffers, from which receives take one only when something has come."""

import ctypes
import errno
import mmap
from collections import deque
from typing import Any, Deque, Optional, Set

from . import _abi
from ._engine import Engine
from ._errors import check
from ._library import native


class Buffer:
    """Bytes that were received into a buffer of a pool, which is yours until `release`. In a with statement
    it is a memoryview of them, and released at the end. Nothing may look at them afterwards."""

    __slots__ = ("_pool", "_address", "data")

    def __init__(self, pool: "Buffers", address: Optional[int], size: int):
        self._pool = pool
        self._address = address
        self.data = pool._view(address, size)

    def __len__(self) -> int:
        return len(self.data)

    def __enter__(self) -> memoryview:
        return self.data

    def __exit__(self, *exception: Any) -> None:
        self.release()

    def release(self) -> None:
        """Gives the buffer back to its pool. May be repeated. Any thread may."""
        address, self._address = self._address, None
        if address is not None:
            self.data.release()
            self._pool._give_back(address)

    def __del__(self) -> None:
        self.release()


class Arrival:
    """A receive into a pool that is in flight: finds out which buffer was taken for a completion."""

    def __init__(self, pool: "Buffers"):
        self.pool = pool
        self.request = 0
        self._aside: Deque[int] = deque()

    def submit(self, loop: int, request: int, fd: int, flags: int, callback: None) -> int:
        """The call of the library, for Engine.submit."""
        self.request = request
        self.pool._arrivals.add(self)
        code = native.loop_recv_buffer(loop, request, fd, self.pool._pointer, flags, callback)
        if code:
            self.pool._arrivals.discard(self)
        return code

    def set_aside(self) -> None:
        """Remembers the buffer of a completion that is delivered later, when the request may be another."""
        self._aside.append(native.loop_buffer(self.request))

    def take(self, size: int) -> Buffer:
        """The buffer of the completion that is delivered now; an empty one at the end of a stream."""
        address = self._aside.popleft() if self._aside else native.loop_buffer(self.request)
        return Buffer(self.pool, address, size)


class Buffers:
    """A pool; made by Loop.buffers. Use it in a with statement, or close it; the loop's close does, too."""

    def __init__(self, engine: Engine, pools: Set["Buffers"], size: int, count: int):
        self._engine = engine
        self._pools = pools  # of the loop, which ends them before itself
        self._pointer: Optional[int] = None
        self._memory = mmap.mmap(-1, max(size * count, 1))
        self._place = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._arrivals: Set[Arrival] = set()
        pointer = ctypes.c_void_p()
        code = native.loop_buffers_init(engine.pointer, ctypes.byref(pointer), self._place, size, count)
        if engine.pointer is None:
            engine.refuse(code)
        check(code)
        self._pointer = pointer.value
        pools.add(self)

    def __enter__(self) -> "Buffers":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def _view(self, address: Optional[int], size: int) -> memoryview:
        if address is None:
            return memoryview(b"")
        offset = address - self._place
        return memoryview(self._memory)[offset : offset + size]

    def _give_back(self, address: int) -> None:
        if self._pointer is not None:
            native.loop_buffer_return(self._pointer, address)

    def close(self) -> None:
        """Ends the pool: its receives are cancelled first. Bytes that were received and not yet released may
        still be looked at. May be repeated. For the thread that runs the loop."""
        if self._pointer is None:
            return
        for arrival in list(self._arrivals):
            self._engine.end(arrival.request, arrival)
        pointer, self._pointer = self._pointer, None
        if native.loop_buffers_deinit(pointer) == -errno.EBUSY:
            self._pointer = pointer
            raise RuntimeError("another thread receives into the pool")
        self._pools.discard(self)
