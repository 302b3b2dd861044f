"""Stream sockets of the asyncio event loop.

asyncio's own transport does the writing and ending. Reading is different: one watch of the library lasts as
long as the connection, tells of changes only, and calls the protocol from within the harvest, without a
handle in between. To pause costs nothing: what is told meanwhile is remembered.
"""

import contextvars
from asyncio import protocols, selector_events
from typing import Any, Callable

from . import _abi
from ._engine import Record
from ._library import native

# Bytes asked for by one receive: more, up to the most, for a connection on which they all come. A buffer of
# the most for each message would cost more than the message does: such memory is mapped for each, and zeroed.
# After a small message a small buffer is enough, which CPython's own allocator has at hand (512 bytes, with
# the head of the object); what does not fit is received at once.
_RECV_BYTES = 32 * 1024
_RECV_BYTES_MOST = 256 * 1024
_RECV_BYTES_SMALL = 479
_READABLE = _abi.READABLE
_FATAL_READ_ERROR = "Fatal read error on socket transport"
_ENDING = _abi.HANGUP | _abi.ERROR


def _receive_at_once(record: Record) -> bool:
    """The short way of a shot: reads what has come, and gives it to the protocol. An error is the last shot
    (`result` is negative), so one word tells whether all is as usual.

    What is called here is in a variable first: for an attribute CPython would look for a method.
    """
    transport = record.owner
    data_received = transport._data_received
    if data_received is None or record.words[1] != _READABLE:
        return False
    receive, size = transport._recv, transport._recv_bytes
    try:
        data = receive(size)
    except (BlockingIOError, InterruptedError):
        return True
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        record.keep(transport._fatal_error, error, _FATAL_READ_ERROR)
        return True
    run = record.keep
    if not data:
        run(transport._end)
        return True
    try:
        run(data_received, data)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        transport._fatal_error(error, "Fatal error: protocol.data_received() call failed.")
    received = len(data)
    if received < _RECV_BYTES_SMALL:
        transport._recv_bytes = _RECV_BYTES_SMALL
    elif received == size:
        transport._grow()
        if size == _RECV_BYTES_SMALL:
            return _receive_at_once(record)
        transport._read_again(_READABLE, run.__self__)
    return True


def _on_shot(transport: "SocketTransport", run: Callable[..., Any], result: int, more: bool) -> None:
    """A change: something has come, most often. `run` runs things in the context of the connection."""
    if not more:
        transport._record = None
    loop = transport._loop
    if transport._closing or loop.is_closed():
        return
    if result < 0:
        result = _abi.ERROR
    if loop._debug:
        loop.call_soon(transport._read, result, context=run.__self__)  # there slow callbacks are told of
    else:
        run(transport._read, result)


class SocketTransport(selector_events._SelectorSocketTransport):
    """A connection."""

    def __init__(self, *arguments: Any, **keywords: Any):
        self._record: Any = None  # the watch
        self._unread = False  # there may be something to read of which no shot will tell
        self._recv_bytes = _RECV_BYTES
        self._ended = False  # the peer sends no more, and the protocol knows
        self._data_received: Any = None  # the protocol's method, while shots may take the short way
        super().__init__(*arguments, **keywords)
        self._recv, self._send = self._sock.recv, self._sock.send

    def __repr__(self) -> str:
        text = super().__repr__()
        return text.replace("read=idle", "read=polling") if self._record and self.is_reading() else text

    def set_protocol(self, protocol: Any) -> None:
        """As asyncio's."""
        self._buffered = isinstance(protocol, protocols.BufferedProtocol)
        super().set_protocol(protocol)
        self._choose_way()

    # ---- reading ---------------------------------------------------------------------------------------

    def _add_reader(self, fd: int, callback: Any, *arguments: Any) -> None:
        """Called when reading begins."""
        if not self.is_reading() or self._ended:
            return
        if self._record is None:
            self._record = self._loop._engine.submit(
                native.loop_add_fd, _on_shot, self, contextvars.copy_context().run, 0,
                fd, _abi.READABLE | _abi.EDGE_TRIGGERED,
            )
            self._record.shot = _receive_at_once
        elif self._unread:
            self._unread = False
            self._loop.call_soon(self._read, _ENDING)
        self._choose_way()

    def _choose_way(self) -> None:
        """Lets shots take the short way if they may: reading, bytes, and not in debug mode."""
        reading = self._record is not None and not self._ended and self.is_reading()
        quick = reading and not self._buffered and not self._loop._debug
        self._data_received = self._protocol.data_received if quick else None

    def pause_reading(self) -> None:
        """As asyncio's."""
        if self.is_reading():
            self._paused = True
            self._data_received = None

    def resume_reading(self) -> None:
        """As asyncio's."""
        if not self._closing and self._paused:
            self._paused = False
            self._add_reader(self._sock_fd, None)

    def _read(self, events: int) -> None:
        """Reads once. As long as more may be there of which no shot will tell, it is called again."""
        if self._closing or self._ended:
            return
        if self._paused:
            self._unread = True
            return
        if self._buffered:
            more = self._read_into_buffer()
        else:
            more = self._read_bytes()
        if more or (events & _ENDING and more is not None):
            self._read_again(events, None)

    def _read_again(self, events: int, context: Any) -> None:
        if self._paused:
            self._unread = True
        elif not self._closing:
            self._loop.call_soon(self._read, events, context=context)

    def _read_bytes(self) -> Any:
        """Returns whether there may be more; None: not now, and a shot will tell."""
        data = self._receive(self._recv, self._recv_bytes)
        if data is None:
            return None
        self._tell("data_received", data)
        full = len(data) == self._recv_bytes
        if full:
            self._grow()
        return full

    def _grow(self) -> None:
        self._recv_bytes = min(max(2 * self._recv_bytes, _RECV_BYTES), _RECV_BYTES_MOST)

    def _read_into_buffer(self) -> Any:
        """The same for protocols that have the buffer."""
        try:
            buffer = self._protocol.get_buffer(-1)
            size = len(buffer)
            if not size:
                raise RuntimeError("get_buffer() returned an empty buffer")
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal error: protocol.get_buffer() call failed.")
            return None
        count = self._receive(self._sock.recv_into, buffer)
        if count is None:
            return None
        self._tell("buffer_updated", count)
        return count == size

    def _receive(self, receive: Any, argument: Any) -> Any:
        """Returns what a call received; None if nothing, for now or ever."""
        try:
            received = receive(argument)
        except (BlockingIOError, InterruptedError):
            return None
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, _FATAL_READ_ERROR)
            return None
        if received:
            return received
        self._end()
        return None

    def _tell(self, method: str, argument: Any) -> None:
        """Calls a method of the protocol, whose exceptions end the connection."""
        try:
            getattr(self._protocol, method)(argument)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, f"Fatal error: protocol.{method}() call failed.")

    def _end(self) -> None:
        self._ended = True
        self._data_received = None
        self._read_ready__on_eof()

    # ---- writing ---------------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """As asyncio's."""
        if type(data) is bytes and not (self._buffer or self._conn_lost or self._eof or self._empty_waiter):
            send = self._send  # in a variable, see _receive_at_once
            try:
                sent = send(data)
            except OSError:
                pass  # nothing was sent; asyncio's own way meets the error, and handles it
            else:
                if sent == len(data):
                    return
                data = data[sent:]
        super().write(data)

    # ---- ending ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """As asyncio's."""
        super().close()
        self._remove_watch()

    def _force_close(self, error: Any) -> None:
        super()._force_close(error)
        self._remove_watch()

    def _remove_watch(self) -> None:
        self._data_received = None
        if self._record is not None and not self._loop.is_closed():
            native.loop_remove_fd(self._loop._engine.pointer, self._record.address)

    def _call_connection_lost(self, error: Any) -> None:
        """Before the socket is closed nothing may be in flight on it."""
        record = self._record
        if record is not None and record.owner is self:
            self._loop._engine.settle(record, self)
        super()._call_connection_lost(error)
        self._recv = self._send = None
