"""Operations on sockets, for the plain loop. They take Python's sockets, blocking or not."""

import socket
from typing import Any, Iterable, Optional, Sequence, Set, Tuple

from . import _abi, _addresses
from ._buffers import readable, writable
from ._library import native
from ._loop_files import bytes_read
from ._messages import incoming, outgoing
from ._operation import Callback, Operation, Starter
from ._pool import Arrival, Buffer, Buffers


def _accepted(result: int, keep: Any) -> socket.socket:
    return socket.socket(fileno=result)


def _received_from(result: int, keep: Any) -> Any:
    target, storage = keep
    return bytes_read(result, target), storage.address()


def _received_message(result: int, keep: Any) -> Any:
    target, message = keep
    return (result if target is None else bytes_read(result, target), *message.received())


def _received_buffer(result: int, arrival: Arrival) -> Buffer:
    return arrival.take(result)


def _complete_arrival(operation: Operation[Buffer], arrival: Arrival, result: int, more: bool) -> None:
    if not more:
        arrival.pool._arrivals.discard(arrival)
    operation._complete(arrival, result, more)


class Sockets(Starter):
    """Methods of Loop. `callback` is called with the operation; `timeout` is in seconds, None: no limit.
    A socket must stay open until what it is used for has completed, or be closed with close_fd."""

    _pools: Set[Buffers]

    def accept(self, sock: socket.socket, *, many: bool = False, callback: Callback = None,
               timeout: Optional[float] = None) -> Operation[socket.socket]:
        """Accepts a connection; with `many`, one after the other until it is cancelled. Result: a socket."""
        flags = _abi.MULTISHOT if many else 0
        return self._start(native.loop_accept, _accepted, None, callback, timeout,
                           sock.fileno(), None, None, flags)

    def connect(self, sock: socket.socket, address: Any, *, callback: Callback = None,
                timeout: Optional[float] = None) -> Operation[int]:
        """Connects to an address, in which the host is a number."""
        raw = _addresses.encode(sock.family, address)
        return self._start(native.loop_connect, None, raw, callback, timeout, sock.fileno(), raw, len(raw))

    def recv(self, sock: socket.socket, into: Any, flags: int = 0, *, callback: Callback = None,
             timeout: Optional[float] = None) -> Operation[Any]:
        """Receives: `into` a number for bytes, or into a writable buffer for their number. Nothing: the peer
        sends no more."""
        if type(into) is int:
            target = bytes(into)
            return self._start(native.loop_recv, bytes_read, target, callback, timeout,
                               sock.fileno(), target, into, flags)
        keep, address, size = writable(into)
        return self._start(native.loop_recv, None, keep, callback, timeout,
                           sock.fileno(), address, size, flags)

    def recvfrom(self, sock: socket.socket, size: int, flags: int = 0, *, callback: Callback = None,
                 timeout: Optional[float] = None) -> Operation[Tuple[bytes, Any]]:
        """Receives a datagram. Result: its bytes and the address that sent it."""
        target = bytes(size)
        storage, address, length = _addresses.Storage.make()
        return self._start(native.loop_recvfrom, _received_from, (target, storage), callback, timeout,
                           sock.fileno(), target, size, flags, address, length)

    def recvmsg(self, sock: socket.socket, into: Any, ancillary_bytes: int = 0, flags: int = 0, *,
                callback: Callback = None, timeout: Optional[float] = None) -> Operation[Tuple[Any, ...]]:
        """As socket.recvmsg: `into` is a number, or a list of writable buffers. Result: the bytes or their
        number, control data, flags, address. Descriptors that come are closed on exec, and yours."""
        if type(into) is int:
            target: Optional[bytes] = bytes(into)
            message = incoming([target], readable, ancillary_bytes)
        else:
            target, message = None, incoming(into, writable, ancillary_bytes)
        return self._start(native.loop_recvmsg, _received_message, (target, message), callback, timeout,
                           sock.fileno(), message.address, flags | socket.MSG_CMSG_CLOEXEC)

    def buffers(self, size: int, count: int) -> Buffers:
        """Makes a pool of `count` buffers of `size` bytes, for recv_buffer."""
        return Buffers(self._engine, self._pools, size, count)

    def recv_buffer(self, sock: socket.socket, pool: Buffers, *, many: bool = False,
                    callback: Callback = None, timeout: Optional[float] = None) -> Operation[Buffer]:
        """Receives into a buffer of a pool, taken when something has come; with `many`, one after the other
        until the end or until it is cancelled. Result: a Buffer, to be released; an empty one: the peer sends
        no more. An OSError with ENOBUFS: something has come, and all buffers are out."""
        arrival = Arrival(pool)
        return self._start(arrival.submit, _received_buffer, arrival, callback, timeout,
                           sock.fileno(), _abi.MULTISHOT if many else 0, completion=_complete_arrival)

    def send(self, sock: socket.socket, data: Any, flags: int = 0, *, callback: Callback = None,
             timeout: Optional[float] = None) -> Operation[int]:
        """Sends. Result: the number of bytes, which may be fewer."""
        keep, address, size = readable(data)
        return self._start(native.loop_send, None, keep, callback, timeout,
                           sock.fileno(), address, size, flags)

    def sendall(self, sock: socket.socket, data: Any, *, callback: Callback = None,
                timeout: Optional[float] = None) -> Operation[int]:
        """Sends everything. Sends on one socket keep their order. A smaller result: it ended early."""
        return self.send(sock, data, _abi.SEND_ALL, callback=callback, timeout=timeout)

    def sendto(self, sock: socket.socket, data: Any, address: Any, *, callback: Callback = None,
               timeout: Optional[float] = None) -> Operation[int]:
        """Sends a datagram to an address. Result: the number of bytes."""
        keep, place, size = readable(data)
        raw = _addresses.encode(sock.family, address)
        return self._start(native.loop_sendto, None, (keep, raw), callback, timeout,
                           sock.fileno(), place, size, 0, raw, len(raw))

    def sendmsg(self, sock: socket.socket, buffers: Sequence[Any], ancillary: Iterable[Any] = (),
                flags: int = 0, address: Any = None, *, callback: Callback = None,
                timeout: Optional[float] = None) -> Operation[int]:
        """As socket.sendmsg: several buffers, and control data. Result: the number of bytes."""
        message = outgoing(sock.family, buffers, ancillary, address)
        return self._start(native.loop_sendmsg, None, message, callback, timeout,
                           sock.fileno(), message.address, flags)

    def sendfile(self, sock: socket.socket, in_fd: int, offset: int, size: int, *, callback: Callback = None,
                 timeout: Optional[float] = None) -> Operation[int]:
        """Sends a part of a file. Result: the number of bytes; 0: at its end."""
        return self._start(native.loop_sendfile, None, None, callback, timeout,
                           sock.fileno(), in_fd, offset, size, 0)

    def shutdown(self, sock: socket.socket, how: int, *, callback: Callback = None,
                 timeout: Optional[float] = None) -> Operation[int]:
        """Shuts down one or both directions, after what was sent before."""
        return self._start(native.loop_shutdown, None, None, callback, timeout, sock.fileno(), how)
