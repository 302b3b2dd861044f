"""What a submit of the plain loop returns, and the coroutines that wait for it."""

import traceback
from typing import Any, Callable, Coroutine, Generator, Generic, Optional, TypeVar

from ._engine import Engine
from ._errors import Cancelled, error_of
from ._time import deadline

_NONE: Any = object()

T = TypeVar("T")
Callback = Optional[Callable[[Any], object]]  # gets the operation


class Operation(Generic[T]):
    """Something that a loop does: done, failed, or in flight. Made by the methods of Loop.

    Await it in a coroutine of Loop.run, give it a callback (called with the operation, in Loop.run), or look
    at it after Loop.run. A repeated operation (a watch, a timer with a period, an accept of many) calls its
    callback for each shot, with `more` set on all but the last, and `result` is that of the latest.
    """

    __slots__ = ("_loop", "_record", "_finish", "_callback", "_value", "_error", "_waiter", "more")

    def __init__(self, loop: Any, finish: Optional[Callable[[int, Any], T]] = None,
                 callback: Callback = None):
        self._loop = loop
        self._record: Any = None
        self._finish = finish
        self._callback = callback
        self._value: Any = _NONE
        self._error: Optional[BaseException] = None
        self._waiter: Any = None
        self.more = False

    def done(self) -> bool:
        """Whether it has completed for the last time."""
        return not self.more and (self._error is not None or self._value is not _NONE)

    def result(self) -> T:
        """Returns the result, or raises the error: an OSError, of the subclass that its errno stands for;
        libloop.Cancelled; TimeoutError. RuntimeError if there is none yet."""
        if self._error is not None:
            raise self._error
        if self._value is _NONE:
            raise RuntimeError("the operation is in flight")
        value: T = self._value
        return value

    def cancel(self) -> bool:
        """Asks that it end early. Its completion still comes: Cancelled, or the real result if that was
        first. Returns False if it has completed already. Any thread may."""
        record = self._record
        engine: Engine = self._loop._engine
        return record is not None and record.owner is self and engine.cancel(record)

    def __await__(self) -> Generator[Any, Any, T]:
        if not self.done():
            yield self
        return self.result()

    def _complete(self, keep: Any, result: int, more: bool) -> None:
        """A completion of the request."""
        self.more = more
        if not more:
            self._record = None
        if result < 0:
            self._settle(_NONE, error_of(result))
            return
        try:
            value = result if self._finish is None else self._finish(result, keep)
        except Exception as error:
            self._settle(_NONE, error)
        else:
            self._settle(value, None)

    def _settle(self, value: Any, error: Optional[BaseException]) -> None:
        self._value, self._error = value, error
        waiter, self._waiter = (self._waiter, None) if not self.more else (None, self._waiter)
        if self._callback is not None:
            try:
                self._callback(self)
            finally:
                if waiter is not None:
                    waiter._step()
        elif waiter is not None:
            waiter._step()


def complete(operation: Operation[Any], keep: Any, result: int, more: bool) -> None:
    """The completion function of the engine for operations."""
    operation._complete(keep, result, more)


class Starter:
    """What the groups of methods of Loop share: how an operation begins."""

    _engine: Engine

    def _start(self, function: Any, finish: Any, keep: Any, callback: Callback, timeout: Optional[float],
               *arguments: Any, completion: Callable[..., None] = complete) -> Operation[Any]:
        operation: Operation[Any] = Operation(self, finish, callback)
        operation._record = self._engine.submit(
            function, completion, operation, keep, deadline(timeout), *arguments
        )
        return operation


class Task(Operation[T]):
    """A coroutine that a loop runs; made by Loop.spawn. It completes with what the coroutine returns. An
    error that nobody asked for is printed when the task is forgotten."""

    __slots__ = ("_coroutine", "_awaited", "_cancelling", "_seen")

    def __init__(self, loop: Any, coroutine: Coroutine[Any, Any, T], callback: Callback = None):
        super().__init__(loop, None, callback)
        self._coroutine = coroutine
        self._awaited: Optional[Operation[Any]] = None
        self._cancelling = False
        self._seen = False  # its error was raised somewhere
        loop._tasks.add(self)

    def cancel(self) -> bool:
        """Cancels what the coroutine waits for, or raises Cancelled in it when it waits next."""
        if self.done():
            return False
        if self._awaited is None or not self._awaited.cancel():
            self._cancelling = True
        return True

    def result(self) -> T:
        """As Operation.result; or raises what the coroutine raised."""
        self._seen = True
        return super().result()

    def __del__(self) -> None:
        if self._error is not None and not self._seen:
            traceback.print_exception(type(self._error), self._error, self._error.__traceback__)

    def _step(self) -> None:
        self._awaited = None
        try:
            if self._cancelling:
                self._cancelling = False
                operation = self._coroutine.throw(error_of(-125))
            else:
                operation = self._coroutine.send(None)
        except StopIteration as stop:
            self._end(stop.value, None)
        except (KeyboardInterrupt, SystemExit):
            self._loop._tasks.discard(self)
            raise
        except BaseException as error:
            self._end(_NONE, error)
        else:
            self._wait_for(operation)

    def _wait_for(self, operation: Any) -> None:
        if not isinstance(operation, Operation) or operation._waiter is not None:
            self._coroutine.close()
            message = "a coroutine of libloop.Loop awaits operations of the loop, each in one place"
            self._end(_NONE, RuntimeError(f"{message}; not {operation!r}"))
            return
        self._awaited = operation
        operation._waiter = self
        if self._cancelling and operation.cancel():
            self._cancelling = False

    def _end(self, value: Any, error: Optional[BaseException]) -> None:
        self._loop._tasks.discard(self)
        if error is None or isinstance(error, Cancelled):
            self._seen = True
        self._settle(value, error)

