"""A selector of Python's module `selectors` on watches of the library.

It serves any asyncio.SelectorEventLoop, and programs that use selectors themselves. libloop's own event
loop derives from it and takes the events without a list in between.
"""

import fcntl
import select
import selectors
from typing import Any, Dict, List, Mapping, Optional, Tuple

from . import _abi
from ._engine import Engine
from ._library import native
from ._time import limit

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE  # the same bits as READABLE and WRITABLE


def _descriptor(fileobj: Any) -> int:
    fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd


class Watch:
    """A descriptor that is registered, and the request that watches it."""

    __slots__ = ("key", "record", "edge", "start")

    def __init__(self, key: selectors.SelectorKey):
        self.key = key
        self.record: Any = None
        self.edge = False
        self.start = 0  # the number of the present request; shots of those before are stale


class Selector(selectors.BaseSelector):
    """selectors.BaseSelector on an engine. Not for use by several threads at once."""

    def __init__(self, engine: Optional[Engine] = None):
        self._engine = engine or Engine()
        self._watches: Dict[int, Watch] = {}
        self._ready: Dict[int, Tuple[selectors.SelectorKey, int]] = {}
        self._rechecks: Dict[int, Watch] = {}

    # ---- registering -----------------------------------------------------------------------------------

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As selectors.BaseSelector.register."""
        if not events or events & ~(_READ | _WRITE):
            raise ValueError(f"Invalid events: {events!r}")
        fd = self._lookup(fileobj)
        if fd in self._watches:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        fcntl.fcntl(fd, fcntl.F_GETFD)  # raises for what is not open
        watch = Watch(selectors.SelectorKey(fileobj, fd, events, data))
        self._watches[fd] = watch
        try:
            self._start(watch)
        except BaseException:
            del self._watches[fd]
            raise
        return watch.key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """As selectors.BaseSelector.unregister. The descriptor may be closed afterwards."""
        fd = self._lookup(fileobj)
        try:
            watch = self._watches.pop(fd)
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        self._ready.pop(fd, None)
        self._rechecks.pop(fd, None)
        self._stop(watch)
        return watch.key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As selectors.BaseSelector.modify."""
        if not events or events & ~(_READ | _WRITE):
            raise ValueError(f"Invalid events: {events!r}")
        watch = self._watch(fileobj)
        changed = events != watch.key.events
        watch.key = watch.key._replace(events=events, data=data)
        if watch.record is None or (changed and watch.edge):
            self._stop(watch)
            self._start(watch)
        elif changed:
            native.loop_mod_fd(self._engine.pointer, watch.record.address, events)
        return watch.key

    def _lookup(self, fileobj: Any) -> int:
        try:
            return _descriptor(fileobj)
        except (ValueError, AttributeError, TypeError):
            for watch in self._watches.values():  # closed meanwhile: it no longer knows its number
                if watch.key.fileobj is fileobj:
                    return watch.key.fd
            raise ValueError(f"Invalid file object: {fileobj!r}") from None

    def _watch(self, fileobj: Any) -> Watch:
        try:
            return self._watches[self._lookup(fileobj)]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """As selectors.BaseSelector.get_key."""
        return self._watch(fileobj).key

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """The keys by file object."""
        return {watch.key.fileobj: watch.key for watch in self._watches.values()}

    # ---- watches ---------------------------------------------------------------------------------------

    def _start(self, watch: Watch, edge: bool = False) -> None:
        watch.edge = edge
        watch.start += 1
        events = watch.key.events | (_abi.EDGE_TRIGGERED if edge else 0)
        watch.record = self._engine.submit(
            native.loop_add_fd, self._on_shot, watch, watch.start, 0, watch.key.fd, events
        )

    def _stop(self, watch: Watch) -> None:
        record, watch.record = watch.record, None
        if record is not None and native.loop_remove_fd(self._engine.pointer, record.address) == 0:
            self._engine.settle(record, watch)

    def _on_shot(self, watch: Watch, start: int, result: int, more: bool) -> None:
        if watch.record is None or start != watch.start:
            return  # was unregistered, or begun anew
        if not more:
            watch.record = None
        if result < 0:
            events = _READ | _WRITE  # whoever uses the descriptor now meets the error
        else:
            events = result & (_READ | _WRITE)
            if result & _abi.ERROR:
                events = _READ | _WRITE
            elif result & _abi.HANGUP:
                events |= _READ
        events &= watch.key.events
        if events:
            self._deliver(watch, events)
            if watch.edge:
                self._rechecks[watch.key.fd] = watch
        elif not watch.edge:
            # The peer ended its half, and only writing is of interest here, for which there is no room. That
            # state lasts, and would be told in every turn: from now on only changes are.
            self._stop(watch)
            self._start(watch, edge=True)

    def _recheck(self) -> None:
        """What is told of changes only is looked at again for as long as it is writable."""
        for fd, watch in list(self._rechecks.items()):
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            if poll.poll(0):
                self._deliver(watch, watch.key.events)
            else:
                del self._rechecks[fd]

    def _deliver(self, watch: Watch, events: int) -> None:
        fd = watch.key.fd
        before = self._ready.get(fd)
        self._ready[fd] = (watch.key, events | (before[1] if before else 0))

    # ---- waiting ---------------------------------------------------------------------------------------

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        """As selectors.BaseSelector.select. A signal with a handler in Python ends the wait only if
        signal.set_wakeup_fd names a descriptor that is registered here."""
        timeout_ns = limit(timeout)
        if self._rechecks:
            self._recheck()
        if self._ready:
            timeout_ns = 0
        self._engine.turn(timeout_ns)
        ready, self._ready = self._ready, {}
        return list(ready.values())

    def close(self) -> None:
        """Ends the loop and all watches. May be repeated."""
        self._watches.clear()
        self._ready.clear()
        self._rechecks.clear()
        self._engine.close()
