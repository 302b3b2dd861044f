#!/usr/bin/env python3
"""files: the loop in Python, by ctypes alone.

Usage: files.py [FILE]

Shown: how a language without a binding of its own uses the library. Requests are submitted with None for
their callback and harvested with loop_wait: one call then brings many completions, and no Python code runs
inside a call from C. A callback works as well; the tick has one.

The program reads a file (this one, if none is named) in blocks that are in flight at once, and compares it
with what Python reads. The library is found through LIBLOOP_LIBRARY, or in ../build.
"""

import ctypes
import os
import pathlib
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

BLOCK_BYTES = 1024
DEPTH = 4


class Request(ctypes.Structure):
    """loop_request_t. ctypes zeroes a new structure, as the loop wants it."""

    _fields_ = [
        ("user", c_void_p),
        ("result", c_int64),
        ("timeout_ns", c_uint64),
        ("flags", c_uint32),
        ("reserved32", c_uint32),
        ("reserved", c_uint64 * 28),
    ]


Callback = ctypes.CFUNCTYPE(None, c_void_p, POINTER(Request), c_int64)


def load_library():
    """Loads the library and says what its functions take: a pointer must not pass as a 32-bit int."""
    beside = pathlib.Path(__file__).resolve().parent.parent / "build" / "libloop.so"
    library = ctypes.CDLL(os.environ.get("LIBLOOP_LIBRARY", str(beside)))
    request, callback = POINTER(Request), c_void_p
    for name, arguments in {
        "loop_init": [POINTER(c_void_p), c_void_p],
        "loop_deinit": [c_void_p],
        "loop_wait": [c_void_p, POINTER(request), c_uint32, c_int64],
        "loop_on_next_tick": [c_void_p, request, Callback],
        "loop_open": [c_void_p, request, c_char_p, c_int, c_uint32, callback],
        "loop_pread": [c_void_p, request, c_int, c_void_p, c_size_t, c_uint64, callback],
        "loop_close": [c_void_p, request, c_int, callback],
    }.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = c_int
    library.loop_error_message.argtypes = [c_int]
    library.loop_error_message.restype = c_char_p
    return library


LIBRARY = load_library()


def check(result):
    """Returns a result, or raises what it stands for: the numbers are those of errno on Linux."""
    if result < 0:
        raise OSError(-result, LIBRARY.loop_error_message(result).decode())
    return result


class Loop:
    """A loop whose requests are harvested. Use it in a with statement."""

    def __init__(self):
        self.pointer = c_void_p()
        self.in_flight = {}  # address of a request: the request and all that must outlive it
        check(LIBRARY.loop_init(byref(self.pointer), None))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        # Ends what is still in flight; only now may the memory of it go.
        check(LIBRARY.loop_deinit(self.pointer))
        self.in_flight.clear()

    def submit(self, function, *arguments, keep=None):
        """Submits a request to be harvested. `keep` is what it points to, and comes back with it."""
        request = Request()
        check(function(self.pointer, byref(request), *arguments, None))
        self.in_flight[ctypes.addressof(request)] = (request, keep)
        return request

    def harvest(self):
        """Waits for completions; yields the request and what was kept for each."""
        done = (POINTER(Request) * 64)()
        count = check(LIBRARY.loop_wait(self.pointer, done, len(done), -1))
        for pointer in done[:count]:
            yield self.in_flight.pop(ctypes.addressof(pointer.contents))

    def finish(self, function, *arguments, keep=None):
        """Submits a request and waits for it alone; for steps between which nothing else goes on."""
        self.submit(function, *arguments, keep=keep)
        ((request, _),) = self.harvest()
        return check(request.result)


def read_blocks(loop, fd):
    """Returns the contents of a file, read with DEPTH blocks in flight."""
    blocks = {}
    next_offset = 0

    def read_at(offset, length):
        buffer = ctypes.create_string_buffer(length)
        loop.submit(LIBRARY.loop_pread, fd, buffer, length, offset, keep=(buffer, offset))

    for _ in range(DEPTH):
        read_at(next_offset, BLOCK_BYTES)
        next_offset += BLOCK_BYTES
    while loop.in_flight:
        for request, (buffer, offset) in list(loop.harvest()):
            count = check(request.result)
            blocks[offset] = buffer.raw[:count]
            if count == 0:
                continue  # the end of the file
            if count < len(buffer):
                read_at(offset + count, len(buffer) - count)  # a read may be short anywhere
            else:
                read_at(next_offset, BLOCK_BYTES)
                next_offset += BLOCK_BYTES
    return b"".join(blocks[offset] for offset in sorted(blocks))


def main(arguments):
    """Runs the program and returns its exit status."""
    if len(arguments) > 2:
        print("usage: files.py [FILE]", file=sys.stderr)
        return 2
    path = arguments[1] if len(arguments) == 2 else __file__
    ticks = []

    @Callback
    def on_tick(_loop, _request, result):
        ticks.append(result)  # an exception could not leave a callback: keep them simple

    with Loop() as loop:
        # The tick, its request and its callback must live until it has run; here all do until the end.
        tick = Request()
        check(LIBRARY.loop_on_next_tick(loop.pointer, byref(tick), on_tick))

        name = os.fsencode(path)
        fd = loop.finish(LIBRARY.loop_open, name, os.O_RDONLY | os.O_CLOEXEC, 0, keep=name)
        contents = read_blocks(loop, fd)
        loop.finish(LIBRARY.loop_close, fd)

    print(f"read {len(contents)} bytes of {path}; {len(ticks)} tick")
    return 0 if contents == pathlib.Path(path).read_bytes() and ticks == [0] else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv))
    except OSError as error:
        print(f"files.py: {error}", file=sys.stderr)
        sys.exit(1)
