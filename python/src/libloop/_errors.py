"""Exceptions for the errors of the library.

Its numbers are those of errno on Linux, so an error is the OSError that the system call itself would raise:
FileNotFoundError, PermissionError, ConnectionResetError, BrokenPipeError and so on.
"""

import errno
import socket

from ._library import native


class Cancelled(OSError):
    """The operation was cancelled (errno ECANCELED)."""


class ForkError(RuntimeError):
    """The process is a forked child: the engine and its threads stayed with the parent.

    In a child the library can do nothing. Start children with exec (subprocess, or multiprocessing with
    the start methods spawn or forkserver), or import libloop after the fork.
    """


# Errors of name look-ups: the library numbers them itself, Python knows those of the system.
_NAME_ERRORS = {
    3000 + index: getattr(socket, name, None)
    for index, name in enumerate(
        "EAI_ADDRFAMILY EAI_AGAIN EAI_BADFLAGS EAI_FAIL EAI_FAMILY EAI_NODATA EAI_NONAME EAI_OVERFLOW "
        "EAI_SERVICE EAI_SOCKTYPE".split()
    )
}


def error_of(result: int, filename: object = None) -> OSError:
    """Returns the exception for a negative result. OSError chooses the subclass that errno stands for."""
    number = -result
    message = native.loop_error_message(result).decode()
    if number in _NAME_ERRORS:
        return socket.gaierror(_NAME_ERRORS[number] or number, message)
    if number == errno.ECANCELED:
        return Cancelled(number, message)
    if filename is not None:
        return OSError(number, message, filename)
    return OSError(number, message)


def check(result: int) -> int:
    """Returns a result that is not negative; raises what a negative one stands for."""
    if result < 0:
        raise error_of(result)
    return result
