"""The driver of the benchmarks: builds the programs, runs both sides in turn, and prints one table.

The standard library is enough. What each program does is told in its own first lines.
"""

import argparse
import csv
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
OUTPUT = ROOT / "build" / "bench"
DATA_FILE = OUTPUT / "pread.data"

LIBRARIES = ("libloop", "libuv")
PROGRAMS = ("ticks", "pread", "echo_server", "wakeup", "work", "timers", "posts", "lifecycle")
COMPILE = ["-std=c11", "-O2", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow",
           "-Wstrict-prototypes", "-Wmissing-prototypes", "-Werror"]

ROUNDS, WINDOW_MS = 7, 1000
QUICK_ROUNDS, QUICK_WINDOW_MS = 3, 200
RUN_LIMIT_SECONDS = 60  # of one run of one program; a run takes some seconds at most


@dataclass(frozen=True)
class Goal:
    """A bound: for the figure of libloop itself, or for its ratio to the figure of libuv."""

    of: str  # "figure" or "ratio"
    relation: str  # "<=" or ">="
    bound: float

    def is_met(self, figure, ratio):
        value = figure if self.of == "figure" else ratio
        return value <= self.bound if self.relation == "<=" else value >= self.bound

    def __str__(self):
        return f"{self.relation} {self.bound:g}" + ("x" if self.of == "ratio" else "")


@dataclass(frozen=True)
class Metric:
    """One row of the table: a figure that a program prints."""

    name: str
    label: str
    unit: str
    better: str  # "more" or "less"
    goal: Goal | None = None


@dataclass(frozen=True)
class Workload:
    """One run of a program on each side."""

    name: str
    program: str
    metrics: tuple
    arguments: tuple = ()  # after the length of the window
    timed: bool = True  # whether the program takes the length of the window


def pread(depth, goal=None):
    metric = Metric("pread_rate", f"pread 4 KiB, cached, depth {depth}", "reads/s", "more", goal)
    return Workload(f"pread{depth}", "pread", (metric,), (str(depth), str(DATA_FILE)))


def work(in_flight, label):
    metric = Metric("work_rate", label, "works/s", "more")
    return Workload(f"work{in_flight}", "work", (metric,), (str(in_flight),))


WORKLOADS = (
    Workload("ticks", "ticks", (
        Metric("ticks_each", "tick, each submitted again (uv_idle)", "ns", "less", Goal("figure", "<=", 30)),
        Metric("ticks_batch", "tick, 64 submitted at once (uv_idle)", "ns", "less", Goal("figure", "<=", 30)),
    )),
    pread(1, Goal("ratio", ">=", 8)),
    pread(32, Goal("ratio", ">=", 1.5)),
    pread(256),
    Workload("echo", "echo_server", (
        Metric("echo_cpu_ns", "TCP echo x64, server CPU / round trip", "ns", "less", Goal("ratio", "<=", 1)),
        Metric("echo_cpu_user_ns", "  the user part of it, sampled", "ns", "less"),
        Metric("echo_rate", "  round trips", "1/s", "more"),
    )),
    Workload("wakeup", "wakeup", (
        Metric("wakeup_rate", "wake-up ping-pong of two loops", "1/s", "more", Goal("ratio", ">=", 1)),
    )),
    work(1, "queue_work, one at a time"),
    work(1000, "queue_work, 1,000 in flight"),
    Workload("timers", "timers", (
        Metric("timers_start_ns", "timer start, of 1 M", "ns", "less"),
        Metric("timers_fire_ns", "timer fire, of 1 M", "ns", "less"),
        Metric("timers_cancel_ns", "timer cancel, of 1 M", "ns", "less"),
    ), timed=False),
    Workload("posts", "posts", (Metric("posts_rate", "messages from 4 threads", "1/s", "more"),)),
    Workload("lifecycle", "lifecycle", (
        Metric("lifecycle_ns", "init, one tick, deinit", "ns", "less"),
        Metric("lifecycle_rss_kib", "process with an empty loop, RSS", "KiB", "less"),
        Metric("lifecycle_anonymous_kib", "  of that not backed by a file", "KiB", "less"),
        Metric("lifecycle_more_loop_kib", "  each further loop", "KiB", "less"),
    )),
)


@dataclass
class Results:
    """All figures measured so far."""

    figures: dict = field(default_factory=dict)  # (workload, metric, library) -> [figure of each round]

    def add(self, workload, library, output):
        lines = parse(output)
        for metric in workload.metrics:
            key = (workload.name, metric.name, library)
            self.figures.setdefault(key, []).append(float(lines[metric.name]))


class Failure(Exception):
    """Something that keeps the benchmarks from measuring."""


def parse(output):
    """Return the lines "NAME VALUE" of a program as a dictionary."""
    return dict(line.split(" ", 1) for line in output.splitlines())


# ---- building -----------------------------------------------------------------------------------------


def binary(library, program):
    return OUTPUT / f"{library}-{program}"


def compile_program(target, sources, flags):
    compiler = shlex.split(os.environ.get("CC", "gcc"))
    command = [*compiler, *COMPILE, *map(str, sources), "-o", str(target), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{shlex.join(command)}\n{done.stderr}")


def build(library_directory):
    if not (library_directory / "libloop.so").exists():
        raise Failure(f"there is no libloop.so in {library_directory}; build it first: ./build.sh lib")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    flags = {
        "libloop": [f"-I{ROOT / 'include'}", f"-L{library_directory}", f"-Wl,-rpath,{library_directory}",
                    "-lloop", "-lpthread"],
        "libuv": ["-luv", "-lpthread"],
    }
    support = BENCH / "support.c"
    for library in LIBRARIES:
        for program in PROGRAMS:
            source = BENCH / library / f"{program}.c"
            compile_program(binary(library, program), (source, support), flags[library])
    compile_program(OUTPUT / "echo-load", (BENCH / "echo_load.c", support), [])


# ---- running ------------------------------------------------------------------------------------------


def run_program(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        raise Failure(f"{shlex.join(command)}\nis still running after {RUN_LIMIT_SECONDS} s") from None
    if done.returncode != 0:
        raise Failure(f"{shlex.join(command)}\nended with {done.returncode}: {done.stderr}")
    return done.stdout


def on_processor(processor, command):
    return ["taskset", "-c", str(processor), *map(str, command)]


def run_echo(server_program, window_ms, processors):
    """Run a server on the first processor and the load on the last one."""
    with tempfile.TemporaryFile(mode="w+") as errors:
        server = subprocess.Popen(on_processor(processors[0], [server_program]), stdout=subprocess.PIPE,
                                  stderr=errors, text=True)
        try:
            port = server.stdout.readline().removeprefix("port ").strip()
            load = [OUTPUT / "echo-load", window_ms, port, server.pid]
            output = run_program(on_processor(processors[-1], load))
            if server.wait(timeout=RUN_LIMIT_SECONDS) == 0:
                return output
            errors.seek(0)
            raise Failure(f"{server_program} ended with {server.returncode}: {errors.read()}")
        except subprocess.TimeoutExpired:
            raise Failure(f"{server_program} did not end with its last connection") from None
        finally:
            server.kill()
            server.wait()


def run_workload(workload, library, window_ms, processors):
    program = binary(library, workload.program)
    if workload.program == "echo_server":
        return run_echo(program, window_ms, processors)
    timing = [str(window_ms)] if workload.timed else []
    return run_program([str(program), *timing, *workload.arguments])


def versions():
    """Return what each library says of itself."""
    commands = {library: [str(binary(library, "lifecycle")), "1"] for library in LIBRARIES}
    return {library: parse(run_program(command))["version"] for library, command in commands.items()}


def measure(workloads, rounds, window_ms):
    """Run every workload on both sides in turn; who goes first changes from round to round."""
    processors = sorted(os.sched_getaffinity(0))
    results = Results()
    for round_number in range(1, rounds + 1):
        order = LIBRARIES if round_number % 2 else LIBRARIES[::-1]
        for workload in workloads:
            progress(f"round {round_number} of {rounds}: {workload.name}")
            for library in order:
                results.add(workload, library, run_workload(workload, library, window_ms, processors))
    progress("")
    return results


def progress(text):
    """Show what is being done: in place on a terminal, otherwise a line for each step."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


# ---- reporting ----------------------------------------------------------------------------------------


def read_first(path, pattern):
    match = re.search(pattern, Path(path).read_text())
    return match.group(1).strip() if match else "unknown"


def describe(version, load_before, rounds, window_ms):
    processors = sorted(os.sched_getaffinity(0))
    model = read_first("/proc/cpuinfo", r"model name\s*:(.*)")
    lines = [
        f"libloop {version['libloop']}; libuv {version['libuv']}",
        f"Linux {platform.release()} {platform.machine()}; {model}, {len(processors)} processors;"
        f" load before: {load_before:.1f}",
        f"{rounds} round(s), both sides in turn, windows of {window_ms} ms after a warm-up:"
        " median (min..max)",
        "ratio = libloop / libuv of the same round, median and quartiles; goals are judged by medians",
    ]
    if len(processors) == 1:
        lines.append("Only one processor: the echo server and its load share it, and so do the two loops.")
    return lines


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(figures):
    return f"{number(statistics.median(figures))} ({number(min(figures))}..{number(max(figures))})"


def quartiles(ratios):
    """Return the median and the middle half of ratios; those without a value were sampled as 0."""
    if not ratios:
        return "-"
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f}..{high:.2f})"


def row(metric, ours, theirs):
    """Return the cells of a metric, and whether its goal was missed."""
    ratios = [our / their for our, their in zip(ours, theirs) if their]
    cells = [metric.label, metric.unit, metric.better, spread(ours), spread(theirs), quartiles(ratios)]
    if metric.goal is None:
        return [*cells, "", ""], False
    met = metric.goal.is_met(statistics.median(ours), statistics.median(ratios))
    return [*cells, str(metric.goal), "yes" if met else "MISSED"], not met


def table(workloads, results):
    """Return the lines of the table, and the labels of the goals that were missed."""
    rows = [("", "unit", "better", "libloop", "libuv", "ratio", "goal", "met")]
    missed = []
    for workload in workloads:
        for metric in workload.metrics:
            cells, was_missed = row(metric, *(results.figures[workload.name, metric.name, library]
                                              for library in LIBRARIES))
            rows.append(cells)
            if was_missed:
                missed.append(metric.label)
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(rows[0]))]
    align = ("<", "<", "<", ">", ">", ">", "<", "<")
    lines = []
    for cells in rows:
        padded = (f"{cell:{side}{width}}" for cell, side, width in zip(cells, align, widths))
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return lines, missed


def write_csv(path, workloads, results):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("workload", "metric", "unit", "library", "round", "value"))
        for workload in workloads:
            for metric in workload.metrics:
                for library in LIBRARIES:
                    key = (workload.name, metric.name, metric.unit, library)
                    figures = results.figures[workload.name, metric.name, library]
                    writer.writerows((*key, number, value) for number, value in enumerate(figures, 1))


def parse_arguments():
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="bench/run.sh", description="Measure libloop against libuv.")
    parser.add_argument("--quick", action="store_true", help="3 short rounds, less than two minutes")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    parser.add_argument("--rounds", type=int, metavar="NUMBER",
                        help=f"{ROUNDS}, or {QUICK_ROUNDS} with --quick")
    parser.add_argument("--library", type=Path, default=ROOT / "build", metavar="DIRECTORY",
                        help="where libloop.so is (build/)")
    parser.add_argument("workload", nargs="*", help=f"only these: {', '.join(names)}")
    arguments = parser.parse_args()
    unknown = set(arguments.workload) - set(names)
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("at least one round")
    if unknown:
        parser.error(f"there is no workload {', '.join(sorted(unknown))}")
    return arguments


def main():
    arguments = parse_arguments()
    workloads = [w for w in WORKLOADS if not arguments.workload or w.name in arguments.workload]
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    window_ms = QUICK_WINDOW_MS if arguments.quick else WINDOW_MS
    load_before = os.getloadavg()[0]
    try:
        progress("building")
        build(arguments.library.resolve())
        version = versions()
        results = measure(workloads, rounds, window_ms)
    except Failure as failure:
        progress("")
        print(f"bench: {failure}", file=sys.stderr)
        return 2
    lines, missed = table(workloads, results)
    lines = [*describe(version, load_before, rounds, window_ms), "", *lines, ""]
    lines += [f"goal missed: {label}" for label in missed] or ["all goals are met"]
    print("\n".join(lines))
    write_csv(OUTPUT / "results.csv", workloads, results)
    (OUTPUT / "results.txt").write_text("\n".join(lines) + "\n")
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
