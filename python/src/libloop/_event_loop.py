"""An asyncio event loop on the library.

What asyncio's own loop on selectors does right is left to it: servers, TLS, pipes, subprocesses, datagrams,
executors, debug mode. What is on the path of each turn, callback, timer and socket is done here, and files
are read and written by the library.
"""

import asyncio
import itertools
import selectors
import signal
import threading
from asyncio import events, format_helpers, sslproto
from collections import deque
from contextvars import copy_context
from heapq import heapify, heappop, heappush
from typing import Any, Callable, Coroutine, Deque, Optional

from ._engine import Engine
from ._event_files import FileOperations
from ._event_transport import SocketTransport
from ._operation import T
from ._selector import Selector, Watch
from ._time import nanoseconds

_COMPACT_AFTER = 100  # timers in the heap, of which half were cancelled


class _Handle(events.Handle):
    """events.Handle, made in less time: call_soon fills it in, so that CPython calls no __init__ of Python;
    and without debug mode there is no traceback to extract."""

    __slots__ = ()
    __init__: Any = object.__init__


class _Timer(events.TimerHandle):
    """events.TimerHandle, in the same way."""

    __slots__ = ()
    __init__: Any = object.__init__


class _LoopSelector(Selector):
    """A selector that puts the callbacks of a shot where the loop takes them from."""

    def attach(self, ready: Deque[asyncio.Handle]) -> None:
        """Tells which queue that is."""
        self._queue = ready

    def _deliver(self, watch: Watch, events: int) -> None:
        reader, writer = watch.key.data
        if events & selectors.EVENT_READ and reader is not None and not reader._cancelled:
            self._queue.append(reader)
        if events & selectors.EVENT_WRITE and writer is not None and not writer._cancelled:
            self._queue.append(writer)


class EventLoop(FileOperations, asyncio.SelectorEventLoop):
    """The event loop. `backend` is "auto", "io_uring" or "epoll"; None: what LIBLOOP_BACKEND says."""

    _closed = True  # until there is a loop, for __del__

    def __init__(self, backend: Optional[str] = None):
        self._engine = Engine(backend)
        self._init_files()
        self._woken = False
        self._timer_numbers = itertools.count()
        self._wakeup_fd_before: Optional[int] = None
        selector = _LoopSelector(self._engine)
        super().__init__(selector)
        selector.attach(self._ready)

    @property
    def backend(self) -> str:
        """The backend in use: "io_uring" or "epoll"."""
        return self._engine.backend

    # ---- callbacks and timers --------------------------------------------------------------------------

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:
        """As asyncio's."""
        if self._debug or self._closed:
            handle = super().call_soon(callback, *args, context=context)
            if handle._source_traceback:
                del handle._source_traceback[-1]  # this frame, as asyncio does with its own
            return handle
        handle = _Handle()
        handle._context = copy_context() if context is None else context
        handle._loop = self
        handle._callback = callback
        handle._args = args
        handle._cancelled = False
        handle._repr = handle._source_traceback = None
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any,
                   context: Any = None) -> asyncio.TimerHandle:
        """As asyncio's."""
        if delay is None:
            raise TypeError("delay must not be None")
        timer = self.call_at(self.time() + delay, callback, *args, context=context)
        if timer._source_traceback:
            del timer._source_traceback[-1]
        return timer

    def call_at(self, when: float, callback: Callable[..., object], *args: Any,
                context: Any = None) -> asyncio.TimerHandle:
        """As asyncio's."""
        if when is None:
            raise TypeError("when cannot be None")
        if self._closed:
            self._check_closed()
        if self._debug:
            self._check_thread()
            self._check_callback(callback, "call_at")
            timer = events.TimerHandle(when, callback, args, self, context)
            if timer._source_traceback:
                del timer._source_traceback[-1]
        else:
            timer = _Timer()
            timer._context = copy_context() if context is None else context
            timer._loop = self
            timer._callback = callback
            timer._args = args
            timer._cancelled = False
            timer._repr = timer._source_traceback = None
            timer._when = when
        timer._scheduled = True
        heappush(self._scheduled, (when, next(self._timer_numbers), timer))
        return timer

    def _drop_cancelled_timers(self) -> None:
        scheduled = self._scheduled
        if len(scheduled) > _COMPACT_AFTER and self._timer_cancelled_count * 2 > len(scheduled):
            kept = []
            for entry in scheduled:
                if entry[2]._cancelled:
                    entry[2]._scheduled = False
                else:
                    kept.append(entry)
            heapify(kept)
            self._scheduled = kept
            self._timer_cancelled_count = 0
            return
        while scheduled and scheduled[0][2]._cancelled:
            self._timer_cancelled_count -= 1
            heappop(scheduled)[2]._scheduled = False

    def _take_due_timers(self) -> None:
        end_time = self.time() + self._clock_resolution
        scheduled = self._scheduled
        while scheduled and scheduled[0][0] < end_time:
            timer = heappop(scheduled)[2]
            timer._scheduled = False
            self._ready.append(timer)

    # ---- transports ------------------------------------------------------------------------------------

    def _make_socket_transport(self, sock, protocol, waiter=None, *, extra=None, server=None):
        return SocketTransport(self, sock, protocol, waiter, extra, server)

    def _make_ssl_transport(self, rawsock, protocol, sslcontext, waiter=None, *, server_side=False,
                            server_hostname=None, extra=None, server=None, **timeouts):
        secured = sslproto.SSLProtocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts
        )
        SocketTransport(self, rawsock, secured, extra=extra, server=server)
        return secured._app_transport

    # ---- the turn --------------------------------------------------------------------------------------

    def _run_once(self) -> None:
        """One turn: wait, with one call into the library, then run what is ready now."""
        ready = self._ready
        timeout_ns = -1
        if self._scheduled:
            self._drop_cancelled_timers()
            if self._scheduled:
                timeout_ns = nanoseconds(self._scheduled[0][0] - self.time())
        if self._selector._rechecks:
            self._selector._recheck()
        if ready or self._stopping:
            timeout_ns = 0
        fetched = self._engine.turn(timeout_ns)
        if self._woken:
            self._woken = False
            if not fetched:
                self._engine.turn(0)  # another thread's wake ended the wait before it looked at anything
                self._woken = False
        if self._scheduled:
            self._take_due_timers()
        if self._debug:
            self._run_ready_slowly()
            return
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            arguments = handle._args
            try:
                if not arguments:  # to unpack takes longer
                    handle._context.run(handle._callback)
                elif len(arguments) == 1:
                    handle._context.run(handle._callback, arguments[0])
                else:
                    handle._context.run(handle._callback, *arguments)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self._report(handle, error)
        handle = arguments = None  # breaks cycles when an exception has them in its traceback

    def _report(self, handle: asyncio.Handle, error: BaseException) -> None:
        source = format_helpers._format_callback_source(handle._callback, handle._args)
        context = {"message": f"Exception in callback {source}", "exception": error, "handle": handle}
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)

    def _run_ready_slowly(self) -> None:
        """Debug mode: tells of callbacks that take long."""
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle._cancelled:
                continue
            self._current_handle = handle
            began = self.time()
            try:
                handle._run()
            finally:
                self._current_handle = None
            seconds = self.time() - began
            if seconds >= self.slow_callback_duration:
                description = asyncio.base_events._format_handle(handle)
                asyncio.log.logger.warning("Executing %s took %.3f seconds", description, seconds)
        handle = None  # breaks cycles when an exception has it in its traceback

    def _write_to_self(self) -> None:
        """Ends the wait; for other threads. Once is enough until the loop has seen it."""
        if not self._woken and self._engine.pointer is not None:
            self._woken = True
            self._engine.wake()

    # ---- signals ---------------------------------------------------------------------------------------

    def run_forever(self) -> None:
        """As asyncio's. In the main thread every signal with a handler in Python ends the wait."""
        if threading.current_thread() is not threading.main_thread():
            super().run_forever()
            return
        self._check_closed()
        before = signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)
        self._wakeup_fd_before = before
        try:
            super().run_forever()
        finally:
            self._wakeup_fd_before = None
            if not self._signal_handlers or before != -1:
                signal.set_wakeup_fd(before)

    def remove_signal_handler(self, sig: int) -> bool:
        """As asyncio's."""
        removed = super().remove_signal_handler(sig)
        if removed and not self._signal_handlers and self._wakeup_fd_before is not None:
            signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)
        return removed


def new_event_loop(backend: Optional[str] = None) -> EventLoop:
    """Makes an event loop, for asyncio.Runner(loop_factory=libloop.new_event_loop)."""
    return EventLoop(backend)


def run(main: Coroutine[Any, Any, T], *, debug: Optional[bool] = None, backend: Optional[str] = None) -> T:
    """As asyncio.run, on an event loop of libloop. Python 3.9 and newer."""
    if hasattr(asyncio, "Runner"):
        with asyncio.Runner(debug=debug, loop_factory=lambda: EventLoop(backend)) as runner:
            return runner.run(main)
    return _run_before_runners(main, debug, backend)


def _run_before_runners(main: Any, debug: Optional[bool], backend: Optional[str]) -> Any:
    loop = EventLoop(backend)
    try:
        asyncio.set_event_loop(loop)
        if debug is not None:
            loop.set_debug(debug)
        return loop.run_until_complete(main)
    finally:
        try:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
