"""Addresses of Python's buffers, without copies.

Each function returns an object to be kept, and the address and number of bytes that it keeps in place. While
it is kept, a bytearray refuses to be resized. The object is passed to ctypes as the address itself where
that is quicker.
"""

import ctypes
from typing import Any, Sequence, Tuple

from . import _abi

_Place = ctypes.c_char * 0  # fits any buffer

_PyBUF_SIMPLE = 0


class _View(ctypes.Structure):
    """Py_buffer, for memory that is read-only: ctypes by itself takes only writable memory."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]

    def __del__(self) -> None:
        if self.obj:
            _release(ctypes.byref(self))


_get = ctypes.pythonapi.PyObject_GetBuffer
_get.argtypes = [ctypes.py_object, ctypes.POINTER(_View), ctypes.c_int]
_get.restype = ctypes.c_int
_release = ctypes.pythonapi.PyBuffer_Release
_release.argtypes = [ctypes.POINTER(_View)]
_release.restype = None


def writable(buffer: Any) -> Tuple[object, int, int]:
    """Pins a writable, contiguous buffer: bytearray, memoryview, array, mmap, ctypes."""
    if type(buffer) is bytearray:
        size = len(buffer)
    else:
        view = memoryview(buffer)
        if view.readonly:
            raise TypeError(f"a writable buffer is needed, not {type(buffer).__name__}")
        if not view.c_contiguous:
            raise BufferError("the buffer is not contiguous")
        size = view.nbytes
        buffer = view
    if not size:
        return buffer, 0, 0
    place = _Place.from_buffer(buffer)
    return place, ctypes.addressof(place), size


def readable(buffer: Any) -> Tuple[object, Any, int]:
    """Pins a contiguous buffer. For bytes the address is the object: ctypes knows where its bytes are."""
    if type(buffer) is bytes:
        return buffer, buffer, len(buffer)
    view = _View()
    view.source = buffer  # so that its memory outlives the release, in whatever order garbage is collected
    _get(buffer, ctypes.byref(view), _PyBUF_SIMPLE)
    return view, view.buf, view.len


def vector(buffers: Sequence[Any], pin: Any) -> Tuple[object, int, int]:
    """Pins buffers, each by `pin`, and makes a list of them that the library reads (loop_iovec_t)."""
    pinned = [pin(buffer) for buffer in buffers]
    array = (_abi.Iovec * len(pinned))()
    for entry, (_, address, size) in zip(array, pinned):
        if type(address) is bytes:
            address = ctypes.cast(ctypes.c_char_p(address), ctypes.c_void_p)
        entry.base = address
        entry.len = size
    return (array, pinned), ctypes.addressof(array), len(pinned)
