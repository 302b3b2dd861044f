"""libloop: an event loop whose engine is a shared library, for plain Python and for asyncio.

With asyncio:

    with asyncio.Runner(loop_factory=libloop.new_event_loop) as runner:
        runner.run(main())

Without:

    with libloop.Loop() as loop:
        contents = loop.run(read_all(loop, "/etc/hosts"))

docs/python.md of the project is the guide. The environment variables LIBLOOP_LIBRARY (the shared library to
load) and LIBLOOP_BACKEND (auto, io_uring, epoll) are read when the package is imported, and when a loop is
made.
"""

from ._abi import EDGE_TRIGGERED, ERROR, HANGUP, READABLE, VERSION, WRITABLE
from ._errors import Cancelled, ForkError
from ._event_loop import EventLoop, new_event_loop, run
from ._library import native as _native
from ._loop import Loop
from ._operation import Operation, Task
from ._policy import EventLoopPolicy
from ._pool import Buffer, Buffers
from ._selector import Selector

__version__ = VERSION


def library_version() -> str:
    """The version of the shared library that is loaded."""
    return _native.loop_version().decode()


__all__ = [
    "Buffer",
    "Buffers",
    "Cancelled",
    "EDGE_TRIGGERED",
    "ERROR",
    "EventLoop",
    "EventLoopPolicy",
    "ForkError",
    "HANGUP",
    "Loop",
    "Operation",
    "READABLE",
    "Selector",
    "Task",
    "WRITABLE",
    "library_version",
    "new_event_loop",
    "run",
]
