"""Finds and loads the shared library, and declares its functions.

The library is looked for in this order: the file that the environment variable LIBLOOP_LIBRARY names, the
copy that a wheel carries beside this file, and the one of the system, libloop.so.0.

Functions that may wait or call back are declared in `waiting`, where ctypes gives up the interpreter lock
for the time of the call. All others return at once and are in `quick`, which keeps the lock: that halves the
price of a call.
"""

import ctypes
import os
import pathlib
from types import SimpleNamespace

from . import _abi

SONAME = "libloop.so.0"

_WAITING = {"loop_run", "loop_run_once", "loop_wait", "loop_init", "loop_deinit", "loop_buffers_deinit"}


def library_path() -> str:
    """Returns the name under which the library is loaded."""
    chosen = os.environ.get("LIBLOOP_LIBRARY")
    if chosen:
        return chosen
    bundled = pathlib.Path(__file__).with_name(SONAME)
    return str(bundled) if bundled.exists() else SONAME


def _declare(library: ctypes.CDLL, name: str) -> object:
    restype, *argtypes = _abi.PROTOTYPES[name]
    function = getattr(library, name)
    function.restype = restype
    function.argtypes = argtypes
    return function


def _load() -> SimpleNamespace:
    path = library_path()
    try:
        waiting, quick = ctypes.CDLL(path), ctypes.PyDLL(path)
    except OSError as error:
        raise ImportError(
            f"the libloop library cannot be loaded: {error}. Install a wheel of libloop, which carries it, "
            "or let LIBLOOP_LIBRARY name the file."
        ) from error
    functions = {
        name: _declare(waiting if name in _WAITING else quick, name) for name in _abi.PROTOTYPES
    }
    return SimpleNamespace(path=path, **functions)


native = _load()
