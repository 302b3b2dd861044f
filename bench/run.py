"""The driver of the benchmarks: builds the programs, runs all sides in turn, and prints one table.

What is compared is declared in workloads.py; chart.py draws it, with matplotlib. All else needs no more than
the standard library.
"""

import argparse
import csv
import hashlib
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import http_load
from workloads import (BENCH, GUARDS, OUTPUT, QUICK_ROUNDS, QUICK_WINDOW_MS, ROOT, ROUNDS, SIDES,
                       SOURCES, SUPPORT_SOURCES, WINDOW_MS, WORKLOADS)

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
OPTIONS = ["-O2", "-D_GNU_SOURCE", *WARNINGS]
C_OPTIONS = ["-std=c11", *OPTIONS, "-Wstrict-prototypes", "-Wmissing-prototypes"]
CXX_OPTIONS = ["-std=c++17", *OPTIONS]

RUN_LIMIT_SECONDS = 120  # of one run of one program; a run takes some seconds at most
BACKEND_MISSING = 77  # the status of a program whose backend does not exist here


class Failure(Exception):
    """Something that keeps the benchmarks from measuring."""


class BackendMissing(Failure):
    """A side that this system or this library does not have."""


@dataclass
class Results:
    """All figures measured so far."""

    # (workload, side, variant) -> {metric: [figure of each round]}
    figures: dict = field(default_factory=dict)
    failures: dict = field(default_factory=dict)  # (workload, side, variant) -> what went wrong

    def add(self, workload, side, variant, output):
        lines = parse(output)
        figures = self.figures.setdefault((workload.name, side.name, variant), {})
        for metric in workload.metrics:
            if metric.sides and side.name not in metric.sides:
                continue
            if metric.name not in lines and metric.optional:
                continue
            if metric.name not in lines:
                raise Failure(f"{side.name}: {workload.program} does not print {metric.name}")
            figures.setdefault(metric.name, []).append(float(lines[metric.name]))

    def fail(self, workload, side, variant, failure):
        key = (workload.name, side.name, variant)
        self.figures.pop(key, None)
        self.failures[key] = str(failure)

    def variant_of(self, workload, side):
        """Return the way that counts: the one whose first figure is the best."""
        first = workload.metrics[0]
        measured = {variant: statistics.median(self.figures[workload.name, side.name, variant][first.name])
                    for variant in variants_of(workload, side)
                    if (workload.name, side.name, variant) in self.figures}
        if not measured:
            return None
        return (max if first.better == "more" else min)(measured, key=measured.get)

    def of(self, workload, metric, side):
        """Return the figures of all rounds; none when there are none."""
        variant = self.variant_of(workload, side)
        return self.figures.get((workload.name, side.name, variant), {}).get(metric.name, [])


def variants_of(workload, side):
    return workload.variants.get(side.folder, ("",))


def parse(output):
    """Return the lines "NAME VALUE" of a program as a dictionary."""
    return dict(line.split(" ", 1) for line in output.splitlines() if " " in line)


# ---- building -----------------------------------------------------------------------------------------


def sources_of(side, program):
    """Return the sources of a program, none if that side does not take part."""
    usual = (BENCH / side.folder / (program + suffix) for suffix in (".c", ".cpp"))
    return SOURCES.get((side.folder, program)) or tuple(filter(Path.exists, usual))


def binary(side, program):
    return OUTPUT / f"{side.folder}-{program}"


def takes_part(side, workload):
    return sources_of(side, workload.program) and side.name in (workload.sides or [side.name])


def run_compiler(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{shlex.join(command)}\n{done.stderr}")


def build_once(target, command, inputs):
    """Run a compiler unless the target was made by the same command from the same contents."""
    digest = hashlib.sha256(shlex.join(command).encode())
    for path in sorted(inputs):
        digest.update(Path(path).read_bytes())
    stamp = target.with_name(target.name + ".inputs")
    if target.exists() and stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    run_compiler([*command, "-o", str(target)])
    stamp.write_text(digest.hexdigest())


def compilers():
    return shlex.split(os.environ.get("CC", "gcc")), shlex.split(os.environ.get("CXX", "g++"))


def build_support():
    """Return the objects of what all programs share."""
    c_compiler, _ = compilers()
    objects = []
    for name in SUPPORT_SOURCES:
        source = BENCH / name
        if not source.exists():
            continue
        target = OUTPUT / f"{source.stem}.o"
        build_once(target, [*c_compiler, *C_OPTIONS, "-c", str(source)], [source, *BENCH.glob("*.h")])
        objects.append(target)
    return objects


def build_program(target, sources, objects, flags, libraries, link_directory):
    c_compiler, cxx_compiler = compilers()
    is_c = all(source.suffix == ".c" for source in sources)
    compiler = [*c_compiler, *C_OPTIONS] if is_c else [*cxx_compiler, *CXX_OPTIONS]
    command = [*compiler, *flags, *map(str, [*sources, *objects]), f"-L{link_directory}", *libraries,
               "-lpthread"]
    headers = {header for source in sources for header in source.parent.glob("*.h*")}
    build_once(target, command, [*sources, *objects, *headers.union(BENCH.glob("*.h"))])


def build(workloads, library_directory):
    """Build what the workloads need, two programs at a time. Return what each library says of itself."""
    if not (library_directory / "libloop.so").exists():
        raise Failure(f"there is no libloop.so in {library_directory}; build it first: ./build.sh lib")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    # The programs find the library by LD_LIBRARY_PATH, so that they can be run with any build of it.
    os.environ["LD_LIBRARY_PATH"] = str(library_directory)
    objects = build_support()
    jobs = {}
    for side in SIDES:
        for program in {workload.program for workload in workloads if takes_part(side, workload)}:
            if side.name != "nginx":
                jobs[binary(side, program)] = (sources_of(side, program), objects, side.flags, side.libraries,
                                               library_directory)
    jobs[OUTPUT / "echo-load"] = ((BENCH / "echo_load.c",), objects, (), (), library_directory)
    jobs[OUTPUT / "idle-load"] = ((BENCH / "idle_load.c",), objects, (), (), library_directory)
    jobs[OUTPUT / "versions"] = ((BENCH / "versions.c",), objects, (f"-I{ROOT / 'include'}",),
                                 ("-lloop", "-luv", "-lev"), library_directory)
    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(build_program, target, *rest) for target, rest in jobs.items()]:
            job.result()


# ---- running ------------------------------------------------------------------------------------------


def run_program(command, environment=None):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_LIMIT_SECONDS,
                              env={**os.environ, **(environment or {})})
    except subprocess.TimeoutExpired:
        raise Failure(f"{shlex.join(command)}\nis still running after {RUN_LIMIT_SECONDS} s") from None
    if done.returncode == BACKEND_MISSING:
        raise BackendMissing(done.stderr.strip())
    if done.returncode != 0:
        raise Failure(f"{shlex.join(command)}\nended with {done.returncode}: {done.stderr}")
    return done.stdout


def on_processors(processors, command):
    return ["taskset", "-c", ",".join(map(str, processors)), *map(str, command)]


@dataclass(frozen=True)
class Run:
    """One run of one workload on one side."""

    workload: object
    side: object
    variant: str
    window_ms: int
    processors: list

    def ways(self):
        """Return the argument that chooses the way to do it, if there are several."""
        return [self.variant] if self.variant else []


def run_alone(run):
    timing = [str(run.window_ms)] if run.workload.timed else []
    command = [str(binary(run.side, run.workload.program)), *timing, *run.workload.arguments, *run.ways()]
    return run_program(command, run.side.environment)


@contextmanager
def serving(run, arguments, processors):
    """Run a server; yield its port and process id. It ends by itself with its last connection."""
    command = on_processors(processors, [binary(run.side, run.workload.program), *arguments])
    with tempfile.TemporaryFile(mode="w+") as errors:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True,
                                  env={**os.environ, **run.side.environment})
        try:
            port = server.stdout.readline().removeprefix("port ").strip()
            failure = None
            try:
                yield port, server.pid
            except Failure as of_load:
                failure = of_load
            status = server.wait(timeout=5 if failure else RUN_LIMIT_SECONDS)
            if status != 0 or failure:
                errors.seek(0)
                raise Failure(f"{shlex.join(command)}\nended with {status}: {errors.read()}{failure or ''}")
        except subprocess.TimeoutExpired:
            raise Failure(f"{shlex.join(command)}\ndoes not end with its last connection"
                          f" {failure or ''}") from None
        finally:
            server.kill()
            server.wait()


def run_echo(run):
    """Run a server on the first processor and the load on the last one."""
    connections, size = run.workload.arguments
    with serving(run, [connections, *run.ways()], run.processors[:1]) as (port, server):
        load = [OUTPUT / "echo-load", run.window_ms, port, server, connections, size]
        return run_program(on_processors(run.processors[-1:], load))


def run_idle(run):
    connections, = run.workload.arguments
    with serving(run, [connections, *run.ways()], run.processors[:1]) as (port, server):
        load = [OUTPUT / "idle-load", port, server, connections]
        return run_program(on_processors(run.processors[-1:], load))


def run_echo_threads(run):
    """Run a server with one thread and one with two, each under two loads with half of the connections.

    They have processors of their own where there are four; otherwise all share all, and the figures only say
    what that gives.
    """
    connections, size = run.workload.arguments
    shared = len(run.processors) < 4
    server_processors = run.processors if shared else run.processors[:2]
    load_processors = run.processors if shared else run.processors[2:]
    rates = {}
    for threads in (1, 2):
        with serving(run, [connections, *run.ways(), str(threads)], server_processors) as (port, server):
            load = [OUTPUT / "echo-load", run.window_ms, port, server, int(connections) // 2, size]
            with ThreadPoolExecutor(2) as pool:
                outputs = list(pool.map(run_program, [on_processors(load_processors, load)] * 2))
        rates[threads] = sum(float(parse(output)["echo_rate"]) for output in outputs)
    lines = [f"echo_threads_{threads}_rate {rate}" for threads, rate in rates.items()]
    return "\n".join([*lines, f"echo_threads_scaling {rates[2] / rates[1]}"])


def run_http(run):
    """Run a server on the first processor and wrk on the last one. wrk counts in seconds."""
    target, = run.workload.arguments
    program = run.workload.program
    server, port = http_load.command_of(run.side, binary(run.side, program), program, run.variant)
    http_load.make_files()
    try:
        with http_load.serving(on_processors(run.processors[:1], server), port,
                               run.side.environment) as (port, process):
            load = ["wrk", "-t1", "-c64", f"-d{max(1, round(3 * run.window_ms / 1000))}s",
                    f"http://127.0.0.1:{port}/{target}"]
            before = http_load.processor_time_ns(process)
            output = run_program(on_processors(run.processors[-1:], load))
            return http_load.figures(output, http_load.processor_time_ns(process) - before)
    except ValueError as failure:
        raise Failure(failure) from None


RUNNERS = {"alone": run_alone, "echo": run_echo, "idle": run_idle, "echo_threads": run_echo_threads,
           "http": run_http}


def liburing_version():
    """liburing 2.3 tells its version only to pkg-config."""
    try:
        return run_program(["pkg-config", "--modversion", "liburing"]).strip()
    except (Failure, FileNotFoundError):
        return "unknown"


def versions():
    """Return what the libraries say of themselves, the sides that exist here, and why others are left out."""
    sides, missing, version = [], [], {}
    for side in SIDES:
        try:
            if side.name == "nginx" and not http_load.nginx_program():
                raise BackendMissing("it is not installed")
            if side.role == "ours":
                version = parse(run_program([str(OUTPUT / "versions")], side.environment))
            sides.append(side)
        except BackendMissing as reason:
            missing.append(f"{side.name} is left out: {reason}")
    return {**version, "liburing": liburing_version(), "nginx": http_load.nginx_version()}, sides, missing


def schedule(workloads, sides, rounds, quick):
    """Yield every run: sides in turn, and who goes first changes from round to round.

    A quick measurement has one round of what takes its own time.
    """
    for number in range(rounds):
        order = sides[number % len(sides):] + sides[:number % len(sides)]
        if number % 2:
            order.reverse()
        for workload in workloads:
            if number < (1 if quick and not workload.timed else workload.rounds_at_most):
                yield number + 1, workload, [side for side in order if takes_part(side, workload)]


def measure(workloads, sides, rounds, window_ms, quick):
    processors = sorted(os.sched_getaffinity(0))
    results = Results()
    for number, workload, order in schedule(workloads, sides, rounds, quick):
        for side in order:
            for variant in variants_of(workload, side):
                if (workload.name, side.name, variant) in results.failures:
                    continue
                progress(f"round {number} of {rounds}: {workload.name}, {side.name} {variant}")
                run = Run(workload, side, variant, window_ms, processors)
                try:
                    results.add(workload, side, variant, RUNNERS[workload.runner](run))
                except Failure as failure:
                    results.fail(workload, side, variant, failure)
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


def describe(version, sides, missing, load_before, rounds, window_ms):
    processors = sorted(os.sched_getaffinity(0))
    model = read_first("/proc/cpuinfo", r"model name\s*:(.*)")
    congestion_control = read_first("/proc/sys/net/ipv4/tcp_congestion_control", "(.*)")
    lines = [
        "; ".join(f"{name} {number}" for name, number in version.items()),
        f"Linux {platform.release()} {platform.machine()}; {model}, {len(processors)} processors;"
        f" TCP with {congestion_control}; load before: {load_before:.1f}",
        f"{rounds} round(s), all sides in turn, windows of {window_ms} ms after a warm-up:"
        " median ± half of the range, all figures are in results.csv",
        "ratios: libloop on that backend to the best peer and to the best limit of the same round, medians;"
        " goals are judged by them",
        *(f"{side.name}: {side.does}" for side in sides),
        *missing,
    ]
    if len(processors) == 1:
        lines.append("Only one processor: the echo server and its load share it, and so do the two loops.")
    return lines


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(figures):
    """Return the median, and how far the figures are apart, in percent of it."""
    median = statistics.median(figures)
    percent = 50 * (max(figures) - min(figures)) / median if median else 0
    return f"{number(median)} ±{percent:.0f}%"


def reference(of, workload, metric, sides, results):
    """Return the figure of each round that a ratio is taken to, and what it is called."""
    roles = {"peers": "peer", "limits": "limit"}
    those = [side for side in sides if side.role == roles.get(of) or side.name == of]
    rounds = [results.of(workload, metric, side) for side in those]
    best = max if metric.better == "more" else min
    return [best(figures) for figures in zip(*filter(None, rounds))]


def ratio(ours, theirs):
    """Return the median of the ratios of all rounds; sampled figures may be 0, which says nothing."""
    ratios = [our / their for our, their in zip(ours, theirs) if their]
    return statistics.median(ratios) if ratios else None


@dataclass
class Verdict:
    goal: object
    value: float | None  # None: nothing to compare with
    met: bool | None


def judge(workload, metric, side, sides, results):
    """Return the verdicts on all goals that this side has for this figure."""
    ours = results.of(workload, metric, side)
    verdicts = []
    for goal in metric.goals:
        if side.name not in goal.sides or not ours:
            continue
        if goal.of == "figure":
            value = statistics.median(ours)
        else:
            value = ratio(ours, reference(goal.of, workload, metric, sides, results))
        verdicts.append(Verdict(goal, value, None if value is None else goal.is_met(value)))
    return verdicts


def broken_guards(workloads, sides, results):
    """Return what GUARDS says and is not so."""
    broken = []
    for workload in workloads:
        for metric in workload.metrics:
            guard = GUARDS.get((workload.name, metric.name))
            for side in (side for side in sides if side.role == "ours"):
                if guard is None or side.name not in guard.sides:
                    continue
                value = ratio(results.of(workload, metric, side),
                              reference(guard.of, workload, metric, sides, results))
                if value is not None and not guard.is_met(value):
                    broken.append(f"{metric.label.strip()}: {side.name} {number(value)}, must be {guard}")
    return broken


def figure_cell(workload, metric, side, results):
    figures = results.of(workload, metric, side)
    if not figures:
        return ""
    variant = results.variant_of(workload, side)
    return f"{variant} {spread(figures)}".strip()


def ratio_cells(workload, metric, side, sides, results):
    """Return the ratios of one of our sides to the best peer and to the best limit."""
    ours = results.of(workload, metric, side)
    to = [ratio(ours, reference(of, workload, metric, sides, results)) for of in ("peers", "limits")]
    return ["" if value is None else f"{value:.2f}" for value in to]


def verdict_cell(verdicts):
    """Return each goal once, with the sides that missed it."""
    words = []
    for goal in dict.fromkeys(str(verdict.goal) for _, verdict in verdicts):
        of_goal = [(side, verdict) for side, verdict in verdicts if str(verdict.goal) == goal]
        missed = [f"{side.name.removeprefix('libloop-')} {number(verdict.value)}"
                  for side, verdict in of_goal if verdict.met is False]
        unknown = all(verdict.met is None for _, verdict in of_goal)
        words.append(f"{goal} " + (f"MISSED ({', '.join(missed)})" if missed else "?" if unknown else "met"))
    return "; ".join(words)


def row(workload, metric, sides, results):
    """Return the cells of a figure, and what was missed."""
    cells = [metric.label.strip(), metric.unit, metric.better]
    cells += [figure_cell(workload, metric, side, results) for side in sides]
    ours = [side for side in sides if side.role == "ours"]
    for side in ours:
        cells += ratio_cells(workload, metric, side, sides, results)
    verdicts = [(side, verdict) for side in ours for verdict in judge(workload, metric, side, sides, results)]
    missed = [f"{metric.label.strip()}: {side.name} {number(verdict.value)}, should be {verdict.goal}"
              for side, verdict in verdicts if verdict.met is False]
    return [*cells, verdict_cell(verdicts)], missed


def table(workloads, sides, results):
    """Return the lines of the table, and the goals that were missed."""
    ours = [side.name.removeprefix("libloop-") for side in sides if side.role == "ours"]
    ratios = [f"{name}/{of}" for name in ours for of in ("peer", "limit")]
    rows = [["", "unit", "better", *(side.name for side in sides), *ratios, "goals"]]
    missed = []
    for workload in workloads:
        for metric in workload.metrics:
            cells, was_missed = row(workload, metric, sides, results)
            rows.append(cells)
            missed += was_missed
    used = [column for column in range(len(rows[0])) if any(cells[column] for cells in rows[1:])]
    widths = {column: max(len(cells[column]) for cells in rows) for column in used}
    align = ["<"] * 3 + [">"] * (len(rows[0]) - 4) + ["<"]
    lines = []
    for cells in rows:
        padded = (f"{cells[column]:{align[column]}{widths[column]}}" for column in used)
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return lines, missed


def write_csv(path, workloads, sides, results):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("workload", "metric", "unit", "side", "variant", "stands", "round", "value"))
        for workload in workloads:
            for metric in workload.metrics:
                for side in sides:
                    for variant in variants_of(workload, side):
                        stands = "yes" if variant == results.variant_of(workload, side) else "no"
                        key = (workload.name, metric.name, metric.unit, side.name, variant, stands)
                        figures = results.figures.get((workload.name, side.name, variant), {})
                        for number_of_round, value in enumerate(figures.get(metric.name, []), 1):
                            writer.writerow((*key, number_of_round, value))


def parse_arguments():
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="bench/run.sh", description="Measure libloop beside its peers.")
    parser.add_argument("--quick", action="store_true", help="some workloads in short rounds: two minutes")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a guard is broken")
    parser.add_argument("--publish", action="store_true", help="also put charts and table into docs/charts/")
    parser.add_argument("--list", action="store_true", help="say what each workload does, and end")
    parser.add_argument("--rounds", type=int, metavar="NUMBER",
                        help=f"{ROUNDS}, or {QUICK_ROUNDS} with --quick")
    parser.add_argument("--library", type=Path, default=ROOT / "build", metavar="DIRECTORY",
                        help="where libloop.so is (build/)")
    parser.add_argument("--sides", metavar="NAME,NAME", help="only these sides")
    parser.add_argument("workload", nargs="*", help=f"only these: {', '.join(names)}")
    arguments = parser.parse_args()
    unknown = set(arguments.workload) - set(names)
    unknown_sides = set(filter(None, (arguments.sides or "").split(","))) - {side.name for side in SIDES}
    if unknown_sides:
        parser.error(f"there is no side {', '.join(sorted(unknown_sides))}")
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("at least one round")
    if unknown:
        parser.error(f"there is no workload {', '.join(sorted(unknown))}")
    return arguments


def chosen_workloads(arguments):
    if arguments.workload:
        return [workload for workload in WORKLOADS if workload.name in arguments.workload]
    return [workload for workload in WORKLOADS if workload.quick or not arguments.quick]


def print_list():
    width = max(len(workload.name) for workload in WORKLOADS)
    for workload in WORKLOADS:
        names = ", ".join(side.name for side in SIDES if takes_part(side, workload))
        print(f"{workload.name:{width}}  {workload.does} ({names})")


def draw(publish):
    """Draw the charts of the results that were just written; without matplotlib there are none."""
    try:
        from chart import draw_charts
        directories = [OUTPUT, *([ROOT / "docs" / "charts"] if publish else [])]
        return [f"charts: {path.relative_to(ROOT)}"
                for directory in directories for path in draw_charts(OUTPUT / "results.csv", directory)]
    except ImportError as missing:
        return [f"no charts: {missing}"]


def report(workloads, sides, results, head, publish):
    """Print and write everything. Return the status without --check, and whether a guard is broken."""
    lines, missed = table(workloads, sides, results)
    broken = broken_guards(workloads, sides, results)
    lines = [*head, "", *lines, ""]
    lines += [f"goal missed: {label}" for label in missed] or ["all goals are met"]
    lines += [f"GUARD BROKEN: {label}" for label in broken] or ["all guards hold"]
    lines += [f"FAILED: {' '.join(filter(None, key))}: {failure}"
              for key, failure in results.failures.items()]
    write_csv(OUTPUT / "results.csv", workloads, sides, results)
    text = "\n".join(lines) + "\n"
    print(text, end="")
    (OUTPUT / "results.txt").write_text(text)
    print("\n".join(draw(publish)))
    if publish:
        directory = ROOT / "docs" / "charts"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "results.txt").write_text(text)
    return 2 if results.failures else 0, bool(broken)


def main():
    arguments = parse_arguments()
    if arguments.list:
        print_list()
        return 0
    workloads = chosen_workloads(arguments)
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    window_ms = QUICK_WINDOW_MS if arguments.quick else WINDOW_MS
    load_before = os.getloadavg()[0]
    try:
        progress("building")
        build(workloads, arguments.library.resolve())
        version, sides, missing = versions()
        if arguments.sides:
            sides = [side for side in sides if side.name in arguments.sides.split(",")]
        results = measure(workloads, sides, rounds, window_ms, arguments.quick)
    except Failure as failure:
        progress("")
        print(f"bench: {failure}", file=sys.stderr)
        return 2
    head = describe(version, sides, missing, load_before, rounds, window_ms)
    status, broken = report(workloads, sides, results, head, arguments.publish)
    return status or int(broken and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
