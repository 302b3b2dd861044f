"""Runs CPython's own asyncio tests, as they are installed, on libloop's event loop.

Usage: cpython_suite.py [-v] [MODULE ...]     such as test_events; without one: MODULES below

The names by which those tests get a loop, asyncio.SelectorEventLoop and the default policy, stand for
libloop's. Nothing else is replaced. The tests must be installed (Debian: libpython3-testsuite). Exit status:
0 if all passed, 77 if the tests are not installed.
"""

import argparse
import asyncio
import importlib.util
import sys
import unittest

import libloop

# Older versions of CPython have not all of them.
MODULES = (
    "test_buffered_proto",
    "test_context",
    "test_events",
    "test_locks",
    "test_pep492",
    "test_queues",
    "test_runners",
    "test_sendfile",
    "test_server",
    "test_sock_lowlevel",
    "test_ssl",
    "test_sslproto",
    "test_streams",
    "test_subprocess",
    "test_taskgroups",
    "test_tasks",
    "test_threads",
    "test_timeouts",
    "test_unix_events",
    "test_waitfor",
)

# Tests that cannot pass, and why. docs/python.md has the same list.
_FORK = "makes a loop in a forked child, where the library refuses"
EXCLUDED = {
    "test_events.TestCGetEventLoop.test_get_event_loop_new_process": _FORK,
    "test_events.TestPyGetEventLoop.test_get_event_loop_new_process": _FORK,
    "test_unix_events.TestFork.test_fork_asyncio_run": _FORK,  # from CPython 3.12 on
    "test_unix_events.TestFork.test_fork_asyncio_subprocess": _FORK,
    "test_unix_events.TestFork.test_fork_not_share_event_loop": _FORK,
}


class LoopUnderTest(libloop.EventLoop):
    """The tests pass a selector where they want a certain kind; here there is one kind."""

    def __init__(self, selector=None):
        super().__init__()


class PolicyUnderTest(asyncio.DefaultEventLoopPolicy):
    """The default policy with the other loop."""

    _loop_factory = LoopUnderTest


def put_in_place() -> None:
    """From now on those names stand for libloop's loop."""
    asyncio.SelectorEventLoop = LoopUnderTest
    asyncio.DefaultEventLoopPolicy = PolicyUnderTest
    asyncio.unix_events.SelectorEventLoop = LoopUnderTest
    asyncio.unix_events.DefaultEventLoopPolicy = PolicyUnderTest
    if hasattr(asyncio, "EventLoop"):
        asyncio.EventLoop = LoopUnderTest
    asyncio.set_event_loop_policy(None)


def is_installed(name: str) -> bool:
    """Whether this version of CPython has the module."""
    return importlib.util.find_spec(f"test.test_asyncio.{name}") is not None


def wanted(test: unittest.TestCase) -> bool:
    """Whether a test is not excluded."""
    return ".".join(test.id().split(".")[-3:]) not in EXCLUDED


def flatten(suite: unittest.TestSuite):
    """All tests of a suite."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def main() -> int:
    """Runs the tests and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("-k", "--keyword", help="only tests whose names contain this")
    parser.add_argument("modules", nargs="*")
    arguments = parser.parse_args()
    try:
        importlib.import_module("test.test_asyncio")
    except ImportError:
        print("CPython's tests are not installed (Debian: libpython3-testsuite)")
        return 77
    put_in_place()
    suite = unittest.TestSuite()
    for name in arguments.modules or filter(is_installed, MODULES):
        module = importlib.import_module(f"test.test_asyncio.{name}")
        loaded = unittest.defaultTestLoader.loadTestsFromModule(module)
        tests = [test for test in flatten(loaded) if wanted(test)]
        if arguments.keyword:
            tests = [test for test in tests if arguments.keyword in test.id()]
        suite.addTests(tests)
    result = unittest.TextTestRunner(verbosity=2 if arguments.verbose else 1).run(suite)
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
