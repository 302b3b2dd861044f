"""A loop of the library, its pool of requests, and the harvest of completions.

This is the only module that runs a loop. Requests live in slabs that never move; each has a Record, which
says what to call when it completes and keeps alive what the request points to. Everything is submitted
without a callback: one call of loop_wait a turn fetches all that has completed, and no Python code ever
runs inside a call from C.
"""

import atexit
import ctypes
import errno
import mmap
import os
import signal
import threading
import warnings
import weakref
from array import array
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import _abi
from ._errors import ForkError, check, error_of
from ._library import native

BACKENDS = {"auto": _abi.BACKEND_AUTO, "epoll": _abi.BACKEND_EPOLL, "io_uring": _abi.BACKEND_IO_URING}

_REQUEST_BYTES = ctypes.sizeof(_abi.Request)
_SLAB_REQUESTS = 64
_HARVEST = 256  # most completions fetched by one call
_NOTHING = array("Q", bytes(8 * _HARVEST))
_EXIT_GRACE_NS = 1_000_000_000

_wait = native.loop_wait
_process = os.getpid()
_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()


class Record:
    """A request of the pool. While it is in flight, `owner` and `keep` are what its user gave.

    `shot` may be set for a request of many shots: the short way. It is called with the record for each
    completion, first, and returns whether it has dealt with it; if not, `complete` is called as ever.
    """

    __slots__ = ("address", "words", "complete", "owner", "keep", "busy", "shot")

    def __init__(self, address: int, words: memoryview):
        self.address = address
        self.words = words  # of 64 bits: user, result, timeout_ns, flags
        self.complete: Any = None
        self.owner: Any = None
        self.keep: Any = None
        self.busy = False
        self.shot: Any = None


class Engine:
    """A loop and its requests. `complete(owner, keep, result, more)` is called for each completion."""

    def __init__(self, backend: Optional[str] = None, blocking_threads: int = 0):
        self.pointer: Optional[int] = None
        name = backend or os.environ.get("LIBLOOP_BACKEND") or "auto"
        if name not in BACKENDS:
            raise ValueError(f"the backend is one of {', '.join(BACKENDS)}, not {name!r}")
        if os.getpid() != _process:
            raise ForkError("libloop cannot make a loop in a forked child; see libloop.ForkError")
        options = _abi.Options(
            size=ctypes.sizeof(_abi.Options), backend=BACKENDS[name], blocking_threads=blocking_threads
        )
        pointer = ctypes.c_void_p()
        check(native.loop_init(ctypes.byref(pointer), ctypes.byref(options)))
        self.pointer = pointer.value
        self.work_running = 0  # functions of Python that a blocking thread runs, or will
        self._records: Dict[int, Record] = {}  # by address
        self._free: List[Record] = []
        self._growing = threading.Lock()
        self._slabs: List[mmap.mmap] = []
        self._references = 0
        self._done = array("Q", _NOTHING)
        self._done_address = self._done.buffer_info()[0]
        self._fetched: Any = iter(())  # of the present turn, those that were not called for yet
        self._interrupted = False  # a turn has begun: there may be completions in _done and _fetched
        self._postponed: List[Tuple[Any, ...]] = []
        self._signals: Any = None  # the two ends of a pipe, see wake_on_signals
        self._wakeup_fd_before = -1
        _engines.add(self)

    # ---- submitting ------------------------------------------------------------------------------------

    def submit(
        self, function: Any, complete: Callable[..., object], owner: Any, keep: Any, timeout_ns: int,
        *arguments: Any,
    ) -> Record:
        """Calls function(loop, request, *arguments, NULL) with a request of the pool. Any thread may."""
        try:
            record = self._free.pop()
        except IndexError:
            record = self._grow()
        record.complete = complete
        record.owner = owner
        record.keep = keep
        record.busy = True
        record.words[2] = timeout_ns
        try:
            code = function(self.pointer, record.address, *arguments, None)
        except BaseException:  # ctypes refused an argument
            self._recycle(record)
            raise
        if code:
            self._recycle(record)
            self.refuse(code)
        return record

    def refuse(self, code: int) -> None:
        """Raises what the refusal of a call means."""
        if os.getpid() != _process:
            raise ForkError("this loop belongs to the parent process; see libloop.ForkError")
        if self.pointer is None:
            raise RuntimeError("the loop is closed")
        raise error_of(code)

    def _ask(self, function: Any, *arguments: Any) -> int:
        """Calls function(loop, *arguments) and returns its result; raises what a refusal means."""
        result: int = function(self.pointer, *arguments)
        if result < 0:
            self.refuse(result)
        return result

    def _grow(self) -> Record:
        with self._growing:
            slab = mmap.mmap(-1, _SLAB_REQUESTS * _REQUEST_BYTES)
            base = ctypes.addressof(ctypes.c_char.from_buffer(slab))
            words = memoryview(slab).cast("q")
            step = _REQUEST_BYTES // 8
            fresh = [
                Record(base + index * _REQUEST_BYTES, words[index * step : index * step + 4])
                for index in range(_SLAB_REQUESTS)
            ]
            self._slabs.append(slab)
            self._records.update((record.address, record) for record in fresh)
            record = fresh.pop()
            self._free.extend(fresh)
            return record

    def _recycle(self, record: Record) -> None:
        record.owner = record.keep = record.complete = record.shot = None
        record.busy = False
        self._free.append(record)

    def cancel(self, record: Record) -> bool:
        """Asks that a request end early. Its completion still comes. Any thread may."""
        return native.loop_cancel(self.pointer, record.address) == 0

    # ---- running ---------------------------------------------------------------------------------------

    def turn(self, timeout_ns: int) -> int:
        """Waits for completions (< 0: no limit), calls what belongs to them, and returns their number.

        An exception of a call passes through; the completions that were not yet called for come first in
        the next turn.
        """
        count = 0
        if self._interrupted or self._postponed:
            count = self._catch_up()
            timeout_ns = 0
        self._interrupted = True
        fetched = _wait(self.pointer, self._done_address, _HARVEST, timeout_ns)
        if fetched < 0:
            self._interrupted = False
            self.refuse(fetched)
        if not fetched:
            self._interrupted = False
            return count
        done, records, free = self._done, self._records, self._free
        self._fetched = rest = iter(done[:fetched])
        done[:fetched] = _NOTHING[:fetched]
        for address in rest:
            record = records[address]
            shot = record.shot
            if shot is not None and shot(record):
                continue
            words, complete, owner, keep = record.words, record.complete, record.owner, record.keep
            if words[3] & 1:
                complete(owner, keep, words[1], True)
                continue
            record.owner = record.keep = record.shot = None
            record.busy = False
            free.append(record)
            complete(owner, keep, words[1], False)
        self._interrupted = False
        return count + fetched

    def _collect(self) -> None:
        """Moves what was fetched, and not called for, to _postponed."""
        fresh = [address for address in self._done if address]
        self._done[:] = _NOTHING
        for address in (*self._fetched, *fresh):
            record = self._records[address]
            more = bool(record.words[3] & _abi.MORE)
            if record.words[3] & _abi.BUFFER:
                record.keep.set_aside()
            self._postponed.append((record.complete, record.owner, record.keep, record.words[1], more))
            if not more:
                self._recycle(record)
        self._interrupted = False

    def _catch_up(self) -> int:
        """Calls for what an exception interrupted, or `settle` put aside."""
        if self._interrupted:
            self._collect()
        count = 0
        while self._postponed:
            complete, owner, keep, result, more = self._postponed.pop(0)
            count += 1
            complete(owner, keep, result, more)
        return count

    def end(self, address: int, keep: Any) -> None:
        """Cancels the request at this address if it is in flight and keeps `keep`, and waits until it has
        completed. For the thread that runs the loop."""
        record = self._records[address]
        if record.busy and record.keep is keep and self.cancel(record):
            self.settle(record, record.owner)

    def settle(self, record: Record, owner: Any) -> None:
        """Waits until the request of `owner`, which was cancelled, has completed. What else completes
        meanwhile is put aside for the next turn. For the thread that runs the loop."""
        if self._interrupted:
            self._collect()
        while record.busy and record.owner is owner:
            self._interrupted = True
            fetched = _wait(self.pointer, self._done_address, _HARVEST, -1)
            if fetched < 0:
                self._interrupted = False
                self.refuse(fetched)
            self._collect()

    def wake(self) -> None:
        """Makes the present wait, or the next one, return. Any thread may."""
        code = native.loop_stop(self.pointer)
        if code:
            self.refuse(code)

    def wake_on_signals(self) -> None:
        """From now on a signal with a handler in Python ends the wait. For the main thread."""
        if self._signals is None:
            reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                self.submit(native.loop_add_fd, _drain, reader, None, 0, reader, _abi.READABLE)
            except BaseException:
                os.close(reader)
                os.close(writer)
                raise
            self._signals = reader, writer
        self._wakeup_fd_before = signal.set_wakeup_fd(self._signals[1], warn_on_full_buffer=False)

    def ignore_signals(self) -> None:
        """The opposite."""
        signal.set_wakeup_fd(self._wakeup_fd_before)

    @property
    def pending(self) -> int:
        """The number of requests that were submitted and whose completion was not called for yet."""
        own = self._signals is not None and self.pointer is not None
        flying = len(self._records) - len(self._free) - own
        return flying + len(self._postponed) + self._references

    def ref(self) -> None:
        """Holds a reference, which counts as something that is pending. Any thread may."""
        self._ask(native.loop_ref)
        with self._growing:
            self._references += 1

    def unref(self) -> None:
        """Drops one; ValueError if none is held. Any thread may."""
        with self._growing:
            if not self._references:
                raise ValueError("no reference is held")
            self._references -= 1
        self._ask(native.loop_unref)

    def statistics(self) -> Dict[str, int]:
        """The counters of the library, by their names in loop_statistics_t."""
        counters = _abi.Statistics(size=ctypes.sizeof(_abi.Statistics))
        self._ask(native.loop_get_statistics, ctypes.byref(counters))
        return {name: getattr(counters, name) for name, _ in _abi.Statistics._fields_ if name != "size"}

    def backend_fd(self) -> int:
        """The descriptor for embedding in another loop."""
        return self._ask(native.loop_backend_fd)

    def backend_timeout(self) -> int:
        """Nanoseconds for which another loop may wait for that descriptor; -1: no limit."""
        timeout = native.loop_backend_timeout(self.pointer)
        if timeout < -1:
            self.refuse(timeout)
        return timeout

    @property
    def backend(self) -> str:
        """The backend in use: "io_uring" or "epoll"."""
        name = native.loop_backend_name(self.pointer)
        return name.decode() if name else "none"

    # ---- ending ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends the loop: cancels what is in flight, and calls for every completion. May be repeated."""
        pointer, self.pointer = self.pointer, None
        if pointer is None:
            return
        code = native.loop_deinit(pointer)
        if code == -errno.EBUSY:
            self.pointer = pointer
            raise RuntimeError("the loop is running in another thread")
        _engines.discard(self)
        self._close_signals()
        if code < 0:
            return  # a forked child, or a loop that an internal error broke: its requests stay as they are
        try:
            self._catch_up()
        finally:
            self._complete_rest()

    def _close_signals(self) -> None:
        ends, self._signals = self._signals, None
        for end in ends or ():
            os.close(end)

    def _complete_rest(self) -> None:
        for record in list(self._records.values()):
            if record.busy:
                complete, owner, keep = record.complete, record.owner, record.keep
                self._recycle(record)
                complete(owner, keep, record.words[1], False)

    def abandon(self) -> None:
        """At the end of the interpreter: ends the loop if that can be done soon. Otherwise keeps its memory,
        which the kernel or a blocking thread may write to, and lets the process end."""
        if self.pointer is None or os.getpid() != _process:
            return
        for record in list(self._records.values()):
            if record.busy:
                self.cancel(record)
        deadline = native.loop_now(None) + _EXIT_GRACE_NS
        while native.loop_pending(self.pointer) > 0:
            remaining = deadline - native.loop_now(None)
            if remaining <= 0 and not self.work_running:
                break
            if _wait(self.pointer, self._done_address, _HARVEST, min(max(remaining, 0), 50_000_000)) < 0:
                break
        if native.loop_pending(self.pointer) == 0:
            native.loop_deinit(self.pointer)
        else:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.__dict__))
        self.pointer = None

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self.pointer is not None and os.getpid() == _process:
            _warn(f"unclosed loop {self!r}", ResourceWarning, source=self)
            pointer, self.pointer = self.pointer, None
            native.loop_deinit(pointer)
            self._close_signals()


def _drain(reader: int, keep: None, result: int, more: bool) -> None:
    """The bytes that signals wrote have done their work by coming."""
    try:
        while more and os.read(reader, 4096):
            pass
    except BlockingIOError:
        pass


@atexit.register
def _at_exit() -> None:
    for engine in list(_engines):
        engine.abandon()
