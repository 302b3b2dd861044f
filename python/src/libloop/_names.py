"""Look-ups of names by the library: the structures of getaddrinfo and getnameinfo, and Python's tuples."""

import ctypes
import socket
from typing import Any, List, Optional, Tuple

from . import _addresses

_HOST_BYTES, _SERVICE_BYTES = 1025, 32  # NI_MAXHOST, NI_MAXSERV


class _Information(ctypes.Structure):
    """struct addrinfo."""

    _fields_ = [
        ("flags", ctypes.c_int),
        ("family", ctypes.c_int),
        ("type", ctypes.c_int),
        ("protocol", ctypes.c_int),
        ("address_length", ctypes.c_uint32),
        ("address", ctypes.c_void_p),
        ("canonical_name", ctypes.c_char_p),
        ("next", ctypes.c_void_p),
    ]


_free = ctypes.PyDLL(None).freeaddrinfo
_free.argtypes = [ctypes.c_void_p]
_free.restype = None


def _text(value: Any, encoding: str) -> Optional[bytes]:
    if value is None or isinstance(value, bytes):
        return value
    return str(value).encode(encoding)


class Query:
    """A question for addresses, as socket.getaddrinfo takes it, and where the library puts the answer."""

    def __init__(self, host: Any, port: Any, family: int, kind: int, protocol: int, flags: int):
        self.host = _text(host, "idna")
        self.port = _text(port, "ascii")
        self._hints = _Information(flags=flags, family=family, type=kind, protocol=protocol)
        self._answer = ctypes.c_void_p()
        self.hints_address = ctypes.addressof(self._hints)
        self.answer_address = ctypes.addressof(self._answer)

    def answer(self) -> List[Tuple[Any, ...]]:
        """The tuples of socket.getaddrinfo. Once: the answer is freed."""
        found: List[Tuple[Any, ...]] = []
        place = first = self._answer.value
        while place:
            entry = _Information.from_address(place)
            raw = ctypes.string_at(entry.address, entry.address_length)
            found.append((
                socket.AddressFamily(entry.family), socket.SocketKind(entry.type), entry.protocol,
                (entry.canonical_name or b"").decode(), _addresses.decode(raw),
            ))
            place = entry.next
        if first:
            _free(first)
            self._answer.value = None
        return found


class Names:
    """Room for the names of an address."""

    def __init__(self) -> None:
        self._host = ctypes.create_string_buffer(_HOST_BYTES)
        self._service = ctypes.create_string_buffer(_SERVICE_BYTES)
        self.places = (
            ctypes.addressof(self._host), _HOST_BYTES, ctypes.addressof(self._service), _SERVICE_BYTES
        )

    def found(self) -> Tuple[str, str]:
        """The host and the service."""
        return self._host.value.decode(), self._service.value.decode()
