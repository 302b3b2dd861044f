"""The plain loop: operations with callbacks, or awaited in coroutines, without asyncio."""

import socket
import threading
from collections import deque
from typing import Any, Callable, Coroutine, Deque, Dict, List, Optional, Set, Tuple, overload

from ._addresses import encode
from ._engine import Engine
from ._library import native
from ._loop_files import Files
from ._loop_sockets import Sockets
from ._names import Names, Query
from ._operation import Callback, Operation, T, Task
from ._pool import Buffers
from ._time import deadline, limit, nanoseconds
from ._work import submit_work, work_outcome


class Loop(Files, Sockets):
    """A loop of libloop. Use it in a with statement, or close it.

    backend           "auto", "io_uring" or "epoll"; None: what the environment variable LIBLOOP_BACKEND says.
    blocking_threads  Most threads for blocking work; 0: the library's default.

    Any thread may start and cancel operations; one at a time may run the loop. Callbacks run in `run`, never
    inside the call that starts something. An exception in one passes out of `run`; the completions that it
    kept from being delivered come first when the loop is run again.
    """

    def __init__(self, *, backend: Optional[str] = None, blocking_threads: int = 0):
        self._engine = Engine(backend, blocking_threads)
        self._tasks: Set[Task[Any]] = set()
        self._posts: Deque[Tuple[Callable[..., object], Tuple[Any, ...]]] = deque()
        self._pools: Set[Buffers] = set()
        self._running = False
        self._stopped = False

    def __enter__(self) -> "Loop":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    @property
    def backend(self) -> str:
        """The backend in use: "io_uring" or "epoll"."""
        return self._engine.backend

    @property
    def pending(self) -> int:
        """The number of operations in flight, of posts that wait, and of references held."""
        return self._engine.pending + len(self._posts)

    # ---- running ---------------------------------------------------------------------------------------

    @overload
    def run(self) -> None: ...

    @overload
    def run(self, main: Coroutine[Any, Any, T]) -> Optional[T]: ...

    def run(self, main: Optional[Coroutine[Any, Any, Any]] = None) -> Any:
        """Runs until nothing is pending, or `stop`; with a coroutine, until that has ended, and returns
        what it returns. Ctrl-C raises KeyboardInterrupt here."""
        task = self.spawn(main) if main is not None else None
        with _Running(self):
            while not self._stopped and not (task.done() if task else self.pending == 0):
                if task and self.pending == 0:
                    raise RuntimeError("the coroutine waits for something that nothing will end")
                self._turn(-1)
            self._stopped = False
        return task.result() if task and task.done() else None

    def run_once(self, timeout: Optional[float] = None) -> int:
        """Runs one turn; waits for at most `timeout` seconds. Returns the number of completions."""
        with _Running(self):
            if self.pending == 0:
                return 0
            return self._turn(limit(timeout))

    def _turn(self, timeout_ns: int) -> int:
        count = self._engine.turn(0 if self._posts else timeout_ns)
        for _ in range(len(self._posts)):
            function, arguments = self._posts.popleft()
            count += 1
            function(*arguments)
        return count

    def ref(self) -> None:
        """Holds a reference: `run` goes on, though nothing is pending, until `unref`. Any thread may."""
        self._engine.ref()

    def unref(self) -> None:
        """Drops a reference. ValueError if none is held. Any thread may."""
        self._engine.unref()
        self._engine.wake()

    def backend_fd(self) -> int:
        """For embedding in another loop: a descriptor that is readable when run_once(0) would find something
        to do, timers apart. Wait for it, never read or close it."""
        return self._engine.backend_fd()

    def backend_timeout(self) -> Optional[float]:
        """For embedding: for how many seconds another loop may wait for backend_fd; None: no limit."""
        timeout = self._engine.backend_timeout()
        return None if timeout < 0 else timeout / 1e9

    def statistics(self) -> Dict[str, int]:
        """What the loop did so far: counters, by the names of loop_statistics_t in loop.h. Takes some
        microseconds."""
        return self._engine.statistics()

    def stop(self) -> None:
        """Makes `run` return soon; what is pending stays so. Any thread may, and callbacks."""
        self._stopped = True
        self._engine.wake()

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """Calls a function in a turn of the loop. Any thread may; those of one thread are in order."""
        if self._engine.pointer is None:
            raise RuntimeError("the loop is closed")
        self._posts.append((function, arguments))
        self._engine.wake()

    def close(self) -> None:
        """Ends the loop. What is in flight is cancelled, and completes before this returns; work that a
        thread is at cannot be cancelled, and is waited for. May be repeated."""
        if self._running:
            raise RuntimeError("the loop is running")
        for pool in list(self._pools):
            pool.close()
        self._engine.close()
        for task in list(self._tasks):
            task._coroutine.close()
        self._tasks.clear()

    # ---- coroutines, ticks, timers, work ---------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, callback: Callback = None) -> Task[T]:
        """Runs a coroutine beside others, from the next turn on. Result: what it returns."""
        task = Task(self, coroutine, callback)
        try:
            self.next_tick(lambda tick: task._step())
        except BaseException:
            self._tasks.discard(task)
            coroutine.close()
            raise
        return task

    def next_tick(self, callback: Callback = None) -> Operation[int]:
        """Completes in the next turn. Ticks of one thread keep their order."""
        return self._start(native.loop_on_next_tick, None, None, callback, None)

    def sleep(self, seconds: float, *, callback: Callback = None) -> Operation[int]:
        """Completes after so many seconds, never early."""
        return self._start(native.loop_timer_start, None, None, callback, None, nanoseconds(seconds), 0)

    def timer(self, delay: float, period: float, callback: Callback) -> Operation[int]:
        """Calls back after `delay` seconds and then every `period` seconds, until it is cancelled."""
        return self._start(native.loop_timer_start, None, None, callback, None,
                           nanoseconds(delay), deadline(period))

    def work(self, function: Callable[..., T], *arguments: Any, callback: Callback = None) -> Operation[T]:
        """Calls a function on another thread. Result: what it returns; or raises what it raises."""
        operation: Operation[T] = Operation(self, work_outcome, callback)
        submit_work(self._engine, operation, function, arguments)
        return operation

    def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0,
                    flags: int = 0, *, callback: Callback = None,
                    timeout: Optional[float] = None) -> Operation[List[Tuple[Any, ...]]]:
        """Looks up addresses on another thread. Result: as socket.getaddrinfo; or raises socket.gaierror."""
        query = Query(host, port, family, type, proto, flags)
        return self._start(native.loop_getaddrinfo, _addresses_found, query, callback, timeout, query.host,
                           query.port, query.hints_address, query.answer_address)

    def getnameinfo(self, address: Any, flags: int = 0, *, callback: Callback = None,
                    timeout: Optional[float] = None) -> Operation[Tuple[str, str]]:
        """Looks up the names of an address on another thread. Result: as socket.getnameinfo."""
        names = Names()
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        raw = encode(family, address)
        return self._start(native.loop_getnameinfo, _names_found, names, callback, timeout,
                           raw, len(raw), *names.places, flags)


def _addresses_found(result: int, query: Query) -> Any:
    return query.answer()


def _names_found(result: int, names: Names) -> Any:
    return names.found()


class _Running:
    """One run of a loop: refuses a second, and lets signals end the wait in the main thread."""

    def __init__(self, loop: Loop):
        self._loop = loop
        self._watch: Any = None

    def __enter__(self) -> None:
        loop = self._loop
        if loop._running:
            raise RuntimeError("the loop is running already")
        if threading.current_thread() is threading.main_thread():
            loop._engine.wake_on_signals()
        loop._running = True

    def __exit__(self, *exception: Any) -> None:
        loop = self._loop
        loop._running = False
        if threading.current_thread() is threading.main_thread():
            loop._engine.ignore_signals()
