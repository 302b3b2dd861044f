"""Event loops for Python beside each other: libloop on both backends, asyncio's own, and uvloop.

Usage: run.py [--rounds N] [--scale FACTOR] [--cold] [--loops NAME ...] [WORKLOAD ...]

Each measurement is a process of its own. Rounds alternate between the loops, so that what else the machine
does falls on all of them. Printed: the median, and in brackets the smallest and largest, of the processor
time of an operation in the process of the loop, and the median of operations per second; and for each loop
the ratio of its times to those of asyncio's own, round by round. LIBLOOP_LIBRARY and PYTHONPATH say
where libloop is; uvloop is left out, and said to be, where it is not installed (Debian: python3-uvloop).
"""

import argparse
import asyncio
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time

from workloads import WORKLOADS

LOOPS = ("asyncio", "libloop/io_uring", "libloop/epoll", "uvloop")


def make_loop(name):
    """An event loop, by its name in LOOPS."""
    if name == "asyncio":
        return asyncio.SelectorEventLoop()
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    import libloop

    return libloop.new_event_loop(name.split("/")[1])


def processor_seconds():
    """Of this process, with all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(loop_name, workload, scale, cold):
    """Runs a workload in this process; prints seconds and processor seconds per operation."""
    function, count, context = WORKLOADS[workload]
    count = max(1000, int(count * scale) // 1000 * 1000)
    with context() as prepared, asyncio.Runner(loop_factory=lambda: make_loop(loop_name)) as runner:
        if not cold:
            runner.run(function(1000, prepared))
        began, processor_began = time.perf_counter(), processor_seconds()
        runner.run(function(count, prepared))
        seconds, processor = time.perf_counter() - began, processor_seconds() - processor_began
    print(json.dumps([seconds / count, processor / count]))


def one(loop_name, workload, scale, cold):
    """A measurement in a process of its own."""
    command = [sys.executable, __file__, "--measure", loop_name, "--scale", str(scale), workload]
    command += ["--cold"] if cold else []
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def spread(values, digits=2):
    """The median, and in brackets the smallest and the largest."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def compare(workload, loops, rounds, scale, cold):
    """Measures the loops in turns and prints their rows of the table."""
    results = {name: [] for name in loops}
    for _ in range(rounds):
        for name in loops:
            results[name].append(one(name, workload, scale, cold))
    for name in loops:
        wall = [seconds for seconds, _ in results[name]]
        processor = [seconds * 1e6 for _, seconds in results[name]]
        pairs = list(zip(results[loops[0]], results[name]))
        ratios = " | ".join(spread([first[part] / this[part] for first, this in pairs]) for part in (1, 0))
        rate = 1 / statistics.median(wall)
        print(f"| {workload} | {name} | {spread(processor)} | {rate:,.0f} | {ratios} |", flush=True)


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--cold", action="store_true", help="without a run before that warms up")
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS)
    parser.add_argument("--measure", metavar="LOOP", help=argparse.SUPPRESS)
    parser.add_argument("workloads", nargs="*", default=[])
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.workloads[0], arguments.scale, arguments.cold)
        return
    loops = list(arguments.loops)
    if "uvloop" in loops and importlib.util.find_spec("uvloop") is None:
        loops.remove("uvloop")
        print("uvloop is not installed: left out\n")
    print("| workload | loop | processor time, µs | per second | times less processor | times faster |")
    print("|---|---|---|---|---|---|")
    for workload in arguments.workloads or WORKLOADS:
        compare(workload, loops, arguments.rounds, arguments.scale, arguments.cold)


if __name__ == "__main__":
    main()
