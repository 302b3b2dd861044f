#!/usr/bin/env python3
"""count_calls.py PROGRAM: the system calls of an operation on each backend, counted by strace.

PROGRAM is test/count_calls.c. Exits with 77, which CTest counts as skipped, where there is no strace, no
io_uring, or no permission to trace. The figures are exact, for one thread does everything in a fixed order. A
loop that is told to use epoll must make no call of io_uring from the start of the process to its end.

SPDX-License-Identifier: MIT
"""

import collections
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
ROUNDS = 50

# The other end of the echo, in the program itself, and the scheduler and memory of the Go runtime. The clock
# is no system call.
NOT_OURS = {"write", "read", "futex", "sched_yield", "nanosleep", "madvise", "mmap", "munmap", "getpid",
            "tgkill", "rt_sigprocmask", "rt_sigreturn", "restart_syscall"}

# Calls in a round of (backend, workload, width), in which each of `width` lanes does one operation.
#
# reads
#   epoll: a read of what is in the page cache is one call that does not block, and the loop, which has
#     something to deliver, asks the kernel for nothing else.
#   io_uring: a read without company is the same call; 32 go in one enter, which brings all 32 results.
# echo: all lanes wait in a read when a timer has all the peers send.
#   epoll: the sleep until the timer, a wait that finds all sockets readable, a read and a write of each lane;
#     then the next read of each, in vain, whose registration is renewed. After a wait that found several
#     sockets a wait that does not sleep comes before the one that does.
#   io_uring: the messages arrive by themselves, for the kernel completes the reads while the timer's callback
#     sends. One enter takes all the answers and brings their results. The next hands over all the reads and
#     looks; nothing is there, so the third sleeps until the timer.
# shots: the same, but each lane has a receive of many shots in flight, with buffers of a pool.
#   epoll: the registration stays, and a receive that did not fill its buffer is not repeated.
#   io_uring: there is no next read to hand over.
EXPECTED = {
    ("epoll", "reads", 1): {"preadv2": 1},
    ("epoll", "reads", 32): {"preadv2": 32},
    ("epoll", "echo", 1): {"preadv2": 2, "pwritev2": 1, "epoll_ctl": 1, "wait": 2},
    ("epoll", "echo", 16): {"preadv2": 32, "pwritev2": 16, "epoll_ctl": 16, "wait": 3},
    ("epoll", "shots", 1): {"recvfrom": 1, "sendto": 1, "wait": 3},
    ("epoll", "shots", 16): {"recvfrom": 16, "sendto": 16, "wait": 3},
    ("io_uring", "reads", 1): {"preadv2": 1},
    ("io_uring", "reads", 32): {"io_uring_enter": 1},
    ("io_uring", "echo", 1): {"io_uring_enter": 3},
    ("io_uring", "echo", 16): {"io_uring_enter": 3},
    ("io_uring", "shots", 1): {"io_uring_enter": 2},
    ("io_uring", "shots", 16): {"io_uring_enter": 2},
}

# A timer that is over before the loop went to sleep, on a machine that is busy otherwise, spares a wait.
TOLERANCE = {"wait": 0.1, "io_uring_enter": 0.1}


class Skipped(Exception):
    """This machine does not let us count."""


def trace(program, backend, workload, width):
    """Return the lines that strace writes about one run."""
    with tempfile.NamedTemporaryFile("r") as log:
        command = ["strace", "-f", "-qq", "-o", log.name, program, backend, workload, str(width), str(ROUNDS)]
        run = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=100, check=False)
        lines = log.read().splitlines()
        if run.returncode == SKIPPED or "ptrace" in run.stderr.lower():
            raise Skipped(f"{backend}: {run.stderr}")
        if run.returncode != 0:
            sys.exit(f"FAILED: {' '.join(command)}: {run.stderr}")
        return lines


def calls(lines):
    """Return (thread, name, arguments) of each call."""
    pattern = re.compile(r"(\d+) +(\w+)\((.*)")
    return [match.groups() for match in map(pattern.match, lines) if match]


def between_marks(all_calls):
    """Count the calls of the thread that made the marks, between them."""
    counts, thread = collections.Counter(), None
    for caller, name, arguments in all_calls:
        if arguments.startswith('-1, "begin"'):
            thread = caller
        elif arguments.startswith('-1, "end"'):
            return counts
        elif caller == thread and name not in NOT_OURS:
            counts["wait" if name.startswith(("epoll_wait", "epoll_pwait")) else name] += 1
    sys.exit("FAILED: the marks are missing")


def differences(counts, expected):
    """Say what is more or less than it should be."""
    for name in sorted(counts.keys() | expected.keys()):
        wanted, found = expected.get(name, 0), counts[name] / ROUNDS
        if abs(found - wanted) > wanted * TOLERANCE.get(name, 0):
            yield f"{name}: {found:g} in a round, not {wanted:g}"


def check(program, backend, workload, width):
    """Count one workload, print the figure, and return what is wrong with it."""
    all_calls = calls(trace(program, backend, workload, width))
    counts = between_marks(all_calls)
    problems = list(differences(counts, EXPECTED[backend, workload, width]))
    of_ring = sum(name.startswith("io_uring") for _, name, _ in all_calls)
    if (of_ring > 0) != (backend == "io_uring"):
        problems.append(f"{of_ring} calls of io_uring from start to end")
    each = sum(counts.values()) / ROUNDS / width
    print(f"{backend:9}{workload:6}{width:3}: {each:.3f} calls an operation", *problems)
    return problems


def main():
    if not shutil.which("strace"):
        print("SKIPPED: needs strace")
        return SKIPPED
    failed = skipped = False
    for workload in EXPECTED:
        try:
            failed |= bool(check(sys.argv[1], *workload))
        except Skipped as reason:
            print("SKIPPED:", reason)
            skipped = True
    return 1 if failed else SKIPPED if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
