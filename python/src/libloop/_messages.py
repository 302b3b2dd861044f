"""The kernel's structures for sendmsg and recvmsg, from and to what Python's socket module has for them."""

import ctypes
import socket
import struct
from typing import Any, Iterable, List, Tuple

from . import _addresses
from ._buffers import readable, vector

_CONTROL_HEAD = struct.Struct("@Nii")  # cmsghdr: its length, level, type

Ancillary = Tuple[int, int, bytes]


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vector", ctypes.c_void_p),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


def _encode_control(entries: Iterable[Any]) -> bytearray:
    control = bytearray()
    for level, kind, data in entries:
        content = bytes(data)
        head = _CONTROL_HEAD.pack(socket.CMSG_LEN(len(content)), level, kind)
        control += (head + content).ljust(socket.CMSG_SPACE(len(content)), b"\0")
    return control


def _decode_control(control: bytes) -> List[Ancillary]:
    entries, offset = [], 0
    while offset + _CONTROL_HEAD.size <= len(control):
        length, level, kind = _CONTROL_HEAD.unpack_from(control, offset)
        content = control[offset + _CONTROL_HEAD.size : offset + length]
        entries.append((level, kind, content))
        offset += socket.CMSG_SPACE(length - _CONTROL_HEAD.size)
    return entries


class Message:
    """A message on its way. It keeps in place all that its structure points to."""

    def __init__(self, keep: object, vector: int, vector_length: int, control: bytearray, name: bytearray):
        self._keep = keep
        self._control = control
        self._name = name
        self._header = header = _Header(vector=vector, vector_length=vector_length)
        self._pinned = [(ctypes.c_char * len(room)).from_buffer(room) for room in (control, name)]
        if control:
            header.control, header.control_length = ctypes.addressof(self._pinned[0]), len(control)
        if name:
            header.name, header.name_length = ctypes.addressof(self._pinned[1]), len(name)
        self.address = ctypes.addressof(header)

    def received(self) -> Tuple[List[Ancillary], int, Any]:
        """What came with the bytes: control data, flags, and the address of the sender or None."""
        header = self._header
        control = bytes(self._control[: header.control_length])
        name = bytes(self._name[: header.name_length])
        return _decode_control(control), header.flags, _addresses.decode(name)


def outgoing(family: int, buffers: Any, ancillary: Iterable[Any], address: Any) -> Message:
    """A message to send, to an address or (None) to the peer."""
    name = b"" if address is None else _addresses.encode(family, address)
    return Message(*vector(buffers, readable), _encode_control(ancillary), bytearray(name))


def incoming(buffers: Any, pin: Any, ancillary_bytes: int) -> Message:
    """A message to receive into buffers, with room for control data and the address of the sender."""
    return Message(*vector(buffers, pin), bytearray(ancillary_bytes), bytearray(_addresses.STORAGE_BYTES))
