"""The interface of the library as ctypes sees it: a mirror of loop.h.

Pointers that this package only passes on are c_void_p, which takes addresses as plain integers. The tests
compare sizes, offsets, constants and the list of functions with the header.
"""

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Dict, Tuple

VERSION = "0.1.0"

BACKEND_AUTO = 0
BACKEND_EPOLL = 1
BACKEND_IO_URING = 2
BACKEND_KQUEUE = 3
BACKEND_IOCP = 4

THREADS_PER_CPU = 0xFFFFFFFF
THREADS_MAX = 1024
THREAD_BOUND = 1

MORE = 1
BUFFER = 2

READABLE = 1
WRITABLE = 2
HANGUP = 4
ERROR = 8
EDGE_TRIGGERED = 16

MULTISHOT = 0x01000000
SEND_ALL = 0x00800000
NO_OFFSET = 2**64 - 1
BUFFERS_MAX = 32768
POSTS_MAX = 1024


class Request(ctypes.Structure):
    """loop_request_t. ctypes zeroes a new structure, as the library wants it."""

    _fields_ = [
        ("user", c_void_p),
        ("result", c_int64),
        ("timeout_ns", c_uint64),
        ("flags", c_uint32),
        ("reserved32", c_uint32),
        ("reserved", c_uint64 * 28),
    ]


class Iovec(ctypes.Structure):
    """loop_iovec_t."""

    _fields_ = [("base", c_void_p), ("len", c_size_t)]


class Options(ctypes.Structure):
    """loop_options_t."""

    _fields_ = [
        ("size", c_uint32),
        ("threads", c_uint32),
        ("blocking_threads", c_uint32),
        ("backend", c_uint32),
        ("flags", c_uint32),
    ]


class Statistics(ctypes.Structure):
    """loop_statistics_t."""

    _fields_ = [
        ("size", c_uint32),
        ("blocking_threads", c_uint32),
        ("completions", c_uint64),
        ("turns", c_uint64),
        ("sleeps", c_uint64),
        ("deliveries", c_uint64),
        ("entries", c_uint64),
        ("wakes", c_uint64),
        ("stale_events", c_uint64),
        ("poll_fallbacks", c_uint64),
        ("heap_objects", c_uint64),
    ]


class Strand(ctypes.Structure):
    """loop_strand_t."""

    _fields_ = [("reserved", c_uint64 * 8)]


STRUCTURES = {
    "loop_request_t": Request,
    "loop_iovec_t": Iovec,
    "loop_options_t": Options,
    "loop_statistics_t": Statistics,
    "loop_strand_t": Strand,
}

Callback = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int64)  # loop_callback_t
Work = ctypes.CFUNCTYPE(None, c_void_p)  # the function of loop_queue_work
Post = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)  # the function of loop_post

# Short names, so that a prototype is a line. A callback is c_void_p here: None, an address, or a Callback.
_loop = _request = _pointer = _callback = c_void_p
_fd, _flags, _length = c_int, c_uint32, c_uint32
_submit = (c_int, _loop, _request)

# Name: type of the result, types of the arguments.
PROTOTYPES: Dict[str, Tuple[Any, ...]] = {
    "loop_version": (c_char_p,),
    "loop_error_name": (c_char_p, c_int),
    "loop_error_message": (c_char_p, c_int),
    "loop_init": (c_int, POINTER(c_void_p), POINTER(Options)),
    "loop_init_single_threaded": (c_int, POINTER(c_void_p)),
    "loop_init_multi_threaded": (c_int, POINTER(c_void_p)),
    "loop_init_thread_pool": (c_int, POINTER(c_void_p), c_uint32),
    "loop_run": (c_int, _loop),
    "loop_run_once": (c_int, _loop, c_int64),
    "loop_wait": (c_int, _loop, _pointer, c_uint32, c_int64),
    "loop_stop": (c_int, _loop),
    "loop_deinit": (c_int, _loop),
    "loop_ref": (c_int, _loop),
    "loop_unref": (c_int, _loop),
    "loop_pending": (c_int64, _loop),
    "loop_now": (c_uint64, _loop),
    "loop_default": (c_void_p,),
    "loop_backend_name": (c_char_p, _loop),
    "loop_backend_fd": (c_int, _loop),
    "loop_backend_timeout": (c_int64, _loop),
    "loop_get_statistics": (c_int, _loop, POINTER(Statistics)),
    "loop_on_next_tick": (*_submit, _callback),
    "loop_cancel_on_next_tick": (c_int, _loop, _request),
    "loop_cancel": (c_int, _loop, _request),
    "loop_ignore": (None, _loop, _request, c_int64),
    "loop_wait_until_fd_readable": (*_submit, _fd, _callback),
    "loop_wait_until_fd_writable": (*_submit, _fd, _callback),
    "loop_wait_until_fd_writable_or_readable": (*_submit, _fd, _callback),
    "loop_add_fd": (*_submit, _fd, c_uint32, _callback),
    "loop_mod_fd": (c_int, _loop, _request, c_uint32),
    "loop_remove_fd": (c_int, _loop, _request),
    "loop_open": (*_submit, _pointer, c_int, c_uint32, _callback),
    "loop_openat": (*_submit, _fd, _pointer, c_int, c_uint32, _callback),
    "loop_close": (*_submit, _fd, _callback),
    "loop_read": (*_submit, _fd, _pointer, c_size_t, _callback),
    "loop_readv": (*_submit, _fd, _pointer, c_uint32, _callback),
    "loop_pread": (*_submit, _fd, _pointer, c_size_t, c_uint64, _callback),
    "loop_preadv": (*_submit, _fd, _pointer, c_uint32, c_uint64, _callback),
    "loop_write": (*_submit, _fd, _pointer, c_size_t, _callback),
    "loop_writev": (*_submit, _fd, _pointer, c_uint32, _callback),
    "loop_pwrite": (*_submit, _fd, _pointer, c_size_t, c_uint64, _callback),
    "loop_pwritev": (*_submit, _fd, _pointer, c_uint32, c_uint64, _callback),
    "loop_faccessat": (*_submit, _fd, _pointer, c_uint32, _flags, _callback),
    "loop_socket": (c_int, _loop, c_int, c_int, c_int),
    "loop_accept": (*_submit, _fd, _pointer, _pointer, _flags, _callback),
    "loop_connect": (*_submit, _fd, _pointer, _length, _callback),
    "loop_recv": (*_submit, _fd, _pointer, c_size_t, _flags, _callback),
    "loop_recvfrom": (*_submit, _fd, _pointer, c_size_t, _flags, _pointer, _pointer, _callback),
    "loop_recvmsg": (*_submit, _fd, _pointer, _flags, _callback),
    "loop_send": (*_submit, _fd, _pointer, c_size_t, _flags, _callback),
    "loop_sendto": (*_submit, _fd, _pointer, c_size_t, _flags, _pointer, _length, _callback),
    "loop_sendmsg": (*_submit, _fd, _pointer, _flags, _callback),
    "loop_shutdown": (*_submit, _fd, c_int, _callback),
    "loop_sendfile": (*_submit, _fd, _fd, c_uint64, c_size_t, _flags, _callback),
    "loop_splice": (*_submit, _fd, c_uint64, _fd, c_uint64, c_size_t, _flags, _callback),
    "loop_cancel_fd": (*_submit, _fd, _callback),
    "loop_buffers_init": (c_int, _loop, POINTER(c_void_p), _pointer, c_uint32, c_uint32),
    "loop_buffers_deinit": (c_int, _pointer),
    "loop_recv_buffer": (*_submit, _fd, _pointer, _flags, _callback),
    "loop_buffer": (c_void_p, _request),
    "loop_buffer_return": (c_int, _pointer, _pointer),
    "loop_getaddrinfo": (*_submit, c_char_p, c_char_p, _pointer, _pointer, _callback),
    "loop_getnameinfo": (
        *_submit, _pointer, _length, _pointer, c_size_t, _pointer, c_size_t, c_int, _callback,
    ),
    "loop_timer_start": (*_submit, c_uint64, c_uint64, _callback),
    "loop_queue_work": (*_submit, Work, _callback),
    "loop_post": (c_int, _loop, Post, c_void_p),
    "loop_set_strand": (c_int, _request, POINTER(Strand)),
}
