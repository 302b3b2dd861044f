"""Socket addresses between Python's tuples and the kernel's structures."""

import ctypes
import socket
import struct
from typing import Any, Tuple

STORAGE_BYTES = 128  # sizeof(struct sockaddr_storage)


def encode(family: int, address: Any) -> bytes:
    """Returns the structure for an address as Python writes it for this family. The host is numeric."""
    if family == socket.AF_INET:
        host, port = address
        return struct.pack("=H", family) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)
    if family == socket.AF_INET6:
        host, port, flow, scope = (*address, 0, 0)[:4]
        packed = socket.inet_pton(family, host)
        return (
            struct.pack("=H", family) + struct.pack("!HI", port, flow) + packed + struct.pack("=I", scope)
        )
    if family == socket.AF_UNIX:
        path = address if isinstance(address, bytes) else address.encode("utf-8", "surrogateescape")
        if len(path) > 107:
            raise OSError("AF_UNIX path too long")
        end = b"" if path.startswith(b"\0") else b"\0"
        return struct.pack("=H", family) + path + end
    raise ValueError(f"addresses of family {family} are not supported")


def decode(raw: bytes) -> Any:
    """Returns what Python writes for a structure; None for an empty one."""
    if len(raw) < 2:
        return None
    (family,) = struct.unpack_from("=H", raw)
    if family == socket.AF_INET:
        return socket.inet_ntop(family, raw[4:8]), struct.unpack_from("!H", raw, 2)[0]
    if family == socket.AF_INET6:
        port, flow = struct.unpack_from("!HI", raw, 2)
        return socket.inet_ntop(family, raw[8:24]), port, flow, struct.unpack_from("=I", raw, 24)[0]
    if family == socket.AF_UNIX:
        path = raw[2:]
        if path.startswith(b"\0"):
            return path
        return path.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    return raw


class Storage(ctypes.Structure):
    """Room for an address that the library fills in."""

    _fields_ = [("raw", ctypes.c_char * STORAGE_BYTES), ("length", ctypes.c_uint32)]

    @classmethod
    def make(cls) -> Tuple["Storage", int, int]:
        """Returns the room, and the addresses of its structure and of its length."""
        storage = cls()
        storage.length = STORAGE_BYTES
        base = ctypes.addressof(storage)
        return storage, base, base + cls.length.offset

    def address(self) -> Any:
        """What was filled in."""
        return decode(ctypes.string_at(ctypes.addressof(self), min(self.length, STORAGE_BYTES)))
