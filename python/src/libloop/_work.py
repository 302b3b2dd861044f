"""Python functions on the blocking threads of the library."""

import itertools
from typing import Any, Callable, Dict, Tuple

from . import _abi
from ._engine import Engine
from ._library import native
from ._operation import Operation

_numbers = itertools.count(1)
_jobs: Dict[int, "_Job"] = {}  # by number, which the request carries in its field `user`


class _Job:
    """A call to make, and what came of it."""

    def __init__(self, function: Callable[..., Any], arguments: Tuple[Any, ...]):
        self.function = function
        self.arguments = arguments
        self.value: Any = None
        self.error: Any = None


def _work(request: int) -> None:
    """Called by a blocking thread. Nothing may be raised through the library."""
    job = _jobs[_abi.Request.from_address(request).user]
    try:
        job.value = job.function(*job.arguments)
    except BaseException as error:
        job.error = error


_run = _abi.Work(_work)


def work_outcome(result: int, job: _Job) -> Any:
    """What the function returned; raises what it raised."""
    if job.error is not None:
        raise job.error
    return job.value


def submit_work(engine: Engine, operation: Operation[Any], function: Callable[..., Any],
                arguments: Tuple[Any, ...]) -> None:
    """Lets a blocking thread call function(*arguments) and complete the operation."""
    job = _Job(function, arguments)
    number = next(_numbers)

    def submit(loop: int, request: int, callback: None) -> int:
        _abi.Request.from_address(request).user = number
        return native.loop_queue_work(loop, request, _run, callback)

    def complete(owner: Operation[Any], keep: _Job, result: int, more: bool) -> None:
        del _jobs[number]
        engine.work_running -= 1
        owner._complete(keep, result, more)

    _jobs[number] = job
    engine.work_running += 1
    try:
        operation._record = engine.submit(submit, complete, operation, job, 0)
    except BaseException:
        del _jobs[number]
        engine.work_running -= 1
        raise
