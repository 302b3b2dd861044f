"""What the benchmark compares: the sides, the workloads, their figures and the goals.

This file is data. run.py runs it, chart.py draws it. What a program does in detail is told in its own first
lines; how to read the table is told in README.md.
"""

from dataclasses import dataclass, field
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
OUTPUT = ROOT / "build" / "bench"
DATA_FILE = OUTPUT / "pread.data"

ROUNDS, WINDOW_MS = 5, 700
QUICK_ROUNDS, QUICK_WINDOW_MS = 3, 200

# ---- the sides ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One of those that are compared."""

    name: str
    role: str  # "ours", "peer" (what users would pick instead) or "limit" (no library at all)
    folder: str  # of its programs, in bench/
    does: str
    libraries: tuple = ()  # for the linker
    flags: tuple = ()  # for the compiler
    environment: dict = field(default_factory=dict)


SIDES = (
    Side("libloop-uring", "ours", "libloop", "libloop, backend io_uring", ("-lloop",),
         (f"-I{ROOT / 'include'}",), {"LOOP_BENCH_BACKEND": "io_uring"}),
    Side("libloop-epoll", "ours", "libloop", "libloop, backend epoll", ("-lloop",),
         (f"-I{ROOT / 'include'}",), {"LOOP_BENCH_BACKEND": "epoll"}),
    Side("libuv", "peer", "libuv", "libuv, as it is by default", ("-luv",)),
    Side("libev", "peer", "libev", "libev, as it is by default (epoll)", ("-lev",)),
    Side("asio", "peer", "asio", "standalone asio, one thread (epoll)", (), ("-DASIO_STANDALONE",)),
    Side("nginx", "peer", "nginx", "nginx, one worker"),
    Side("raw_epoll", "limit", "raw_epoll", "system calls on epoll, no library"),
    Side("raw_uring", "limit", "raw_uring", "liburing, SINGLE_ISSUER and DEFER_TASKRUN", ("-luring",)),
)

# Programs that are more or other sources than FOLDER/PROGRAM.c, by folder and program. nginx is not built; it
# is run with that configuration.
EXAMPLE = ROOT / "examples_c" / "http_server"
HTTP_PARTS = tuple(EXAMPLE / name for name in ("parser.c", "files.c", "answer.c"))
SOURCES = {
    ("libloop", "http_server"): (EXAMPLE.with_suffix(".c"), EXAMPLE / "connection.c", *HTTP_PARTS),
    ("libuv", "http_server"): (BENCH / "libuv" / "http_server.c", *HTTP_PARTS),
    ("nginx", "http_server"): (BENCH / "nginx" / "http_server.conf",),
}

# Sources that every program is linked with; they know no event loop. Those that do not exist are left out.
SUPPORT_SOURCES = ("support.c", "files.c", "drain.c")

# ---- goals, figures, workloads ------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """A bound for a figure of libloop, on each of its backends.

    of: "figure" for the figure itself; otherwise for its ratio to another one of the same round: "peers" or
    "limits" (the best of them), or the name of a side.
    """

    of: str
    relation: str  # "<=" or ">="
    bound: float
    sides: tuple = ("libloop-uring", "libloop-epoll")

    def is_met(self, value):
        return value <= self.bound if self.relation == "<=" else value >= self.bound

    def __str__(self):
        return f"{self.relation} {self.bound:g}" + ("" if self.of == "figure" else f" x {self.of}")


@dataclass(frozen=True)
class Metric:
    """A figure that a program prints: a line "NAME VALUE"."""

    name: str
    label: str
    unit: str
    better: str  # "more" or "less"
    goals: tuple = ()
    chart: str = ""  # the chart that it is drawn in; each is a file NAME.svg
    sides: tuple = ()  # those that print it; () = all that have the workload
    optional: bool = False  # whether it may be missing, where the system does not let it be measured


@dataclass(frozen=True)
class Workload:
    """One run of a program on each side."""

    name: str
    program: str  # FOLDER/PROGRAM.c or .cpp; a side that has no such file does not take part
    does: str  # one sentence
    metrics: tuple
    arguments: tuple = ()  # after the length of the window
    timed: bool = True  # whether the program takes the length of the window, in ms, as its first argument
    runner: str = "alone"  # how it is run, see RUNNERS in run.py
    quick: bool = True  # whether it is part of --quick
    sides: tuple = ()  # those that take part; () = all that have the program
    rounds_at_most: int = 99  # for those that take long
    # Ways to do it, by folder: one more argument each. All are measured; the one whose first figure is the
    # best stands in the table, by its name. The others are in the CSV file.
    variants: dict = field(default_factory=dict)


def at_most(bound, of, **more):
    return Goal(of, "<=", bound, **more)


def at_least(bound, of, **more):
    return Goal(of, ">=", bound, **more)


# ---- echo and latency ---------------------------------------------------------------------------------

ECHO_VARIANTS = {"libloop": ("watch", "read", "shots"), "asio": ("read", "wait"),
                 "raw_uring": ("linked", "multishot")}


def echo(connections, size, quick=False):
    size_text = f"{size} B" if size < 1024 else f"{size // 1024} KiB"
    what = f"echo {connections:,} x {size_text}"
    latency_goals = (at_most(1, "libuv"),)
    return Workload(
        f"echo{connections}x{size}", "echo_server",
        f"TCP echo: {connections:,} connection(s), one message of {size_text} under way on each", (
            Metric("echo_cpu_ns", f"{what}: server CPU / round trip", "ns", "less",
                   (at_most(1, "peers"), at_most(1.05, "limits")), "echo-cpu"),
            Metric("echo_cpu_user_ns", f"{what}: user-space part of it", "ns", "less", (at_most(1, "peers"),),
                   "echo-user", optional=True),
            Metric("echo_rate", f"{what}: round trips", "1/s", "more",
                   (at_least(1, "peers"), at_least(0.95, "limits")), "echo-rate"),
            Metric("echo_p50_us", f"{what}: latency, median", "us", "less", latency_goals),
            Metric("echo_p99_us", f"{what}: latency, p99", "us", "less", latency_goals, "echo-p99"),
            Metric("echo_p999_us", f"{what}: latency, p99.9", "us", "less", latency_goals),
        ), (str(connections), str(size)), runner="echo", quick=quick, variants=ECHO_VARIANTS)


ECHO = (
    echo(1, 64, quick=True), echo(64, 64, quick=True), echo(512, 64), echo(5000, 64),
    echo(1, 16384), echo(64, 16384), echo(512, 16384), echo(5000, 16384),
)

IDLE_CONNECTIONS = 10000
IDLE_TEXT = f"{IDLE_CONNECTIONS:,} idle connections"

LATENCY = (
    Workload("timer_latency", "timer_latency", "timers of 1 ms, started at random in a loop that is busy", (
        Metric("timer_p50_us", "1 ms timer under load: off by, median", "us", "less", (at_most(1, "libuv"),),
               "timer-latency"),
        Metric("timer_p99_us", "1 ms timer under load: off by, p99", "us", "less", (at_most(1, "libuv"),),
               "timer-latency"),
        Metric("timer_p999_us", "1 ms timer under load: off by, p99.9", "us", "less", (at_most(1, "libuv"),),
               "timer-latency"),
        Metric("timer_early_percent", "1 ms timer under load: too early", "%", "less"),
    )),
    Workload("idle", "echo_server", f"memory of the echo server with {IDLE_TEXT}", (
        Metric("idle_connection_bytes", f"{IDLE_TEXT}: memory of each", "bytes", "less",
               (at_most(0.5, "libuv"),), "memory"),
        Metric("idle_anonymous_kib", f"{IDLE_TEXT}: memory of the process", "KiB", "less", (), "memory"),
    ), (str(IDLE_CONNECTIONS),), runner="idle", quick=False, rounds_at_most=3, variants=ECHO_VARIANTS),
    Workload("echo_threads", "echo_server", "the echo server with 1 thread and with 2, under 2 loads", (
        Metric("echo_threads_2_rate", "echo 64 x 64 B: round trips, 2 threads", "1/s", "more"),
        Metric("echo_threads_1_rate", "echo 64 x 64 B: round trips, 1 thread", "1/s", "more"),
        Metric("echo_threads_scaling", "echo 64 x 64 B: 2 threads / 1 thread", "ratio", "more"),
    ), ("64", "64"), runner="echo_threads", quick=False, sides=("libloop-uring", "libloop-epoll"),
        variants={"libloop": ("watch", "read")}),
)

# ---- everything else ----------------------------------------------------------------------------------

URING = ("libloop-uring",)
A_THIRD = 0.333


def pread(depth, *goals, cpu_goals=()):
    what = f"pread 4 KiB, cached, depth {depth}"
    return Workload(
        f"pread{depth}", "pread", f"4 KiB from random places of a cached file, {depth} in flight", (
            Metric("pread_rate", what, "reads/s", "more", (*goals, at_least(0.93, "limits", sides=URING)),
                   "pread"),
            Metric("pread_cpu_ns", f"{what}: CPU of each, all threads", "ns", "less", cpu_goals, "pread-cpu"),
        ), (str(depth), str(DATA_FILE)))


def work(in_flight, label):
    metric = Metric("work_rate", label, "works/s", "more", (at_least(1.5, "libuv"),), f"work{in_flight}")
    return Workload(f"work{in_flight}", "work",
                    f"functions that do nothing, on the thread pool, {in_flight:,} at a time, and back",
                    (metric,), (str(in_flight),))


def pipelined_writes(name, count, count_text, **more):
    metric = Metric("pipelined_writes_rate", f"write 64 B, {count_text} queued", "writes/s", "more",
                    (at_least(2, "libuv"),), "pipelined-writes")
    return Workload(name, "pipelined_writes", f"{count_text} writes of 64 B queued on one socket", (metric,),
                    (str(count),), timed=False, **more)


def timers(name, count, count_text, **more):
    goals = (at_most(A_THIRD, "peers"),)
    return Workload(name, "timers", f"{count_text} timers with random delays: start, cancel, fire all", (
        Metric("timers_start_ns", f"timer start, of {count_text}", "ns", "less", goals, name),
        Metric("timers_fire_ns", f"timer fire, of {count_text}", "ns", "less", goals, name),
        Metric("timers_cancel_ns", f"timer cancel, of {count_text}", "ns", "less", goals, name),
    ), (str(count),), timed=False, **more)


COMPUTING = (
    Workload("ticks", "ticks", "64 ticks a turn (asio: posted functions; libuv, libev: idle handles)", (
        Metric("ticks_each", "tick, each submitted again", "ns", "less",
               (at_most(20, "figure"), at_most(A_THIRD, "peers")), "ticks"),
        Metric("ticks_batch", "tick, 64 submitted at once", "ns", "less",
               (at_most(20, "figure"), at_most(A_THIRD, "peers")), "ticks"),
    )),
    timers("timers", 200000, "200,000"),
    timers("timers10m", 10000000, "10 M", quick=False, rounds_at_most=2),
)

FILES = (
    pread(1, at_least(10, "libuv")),
    pread(32, at_least(1.8, "libuv", sides=URING)),
    pread(256, at_least(1, "libuv", sides=URING), cpu_goals=(at_most(0.5, "libuv"),)),
    Workload("small_files", "small_files", "open, read and close 20,000 small cached files, 64 under way", (
        Metric("small_files_rate", "small file: open, read, close", "files/s", "more",
               (at_least(2, "libuv"),), "files"),
        Metric("small_files_cpu_ns", "small file: CPU of each, all threads", "ns", "less", (), "files-cpu"),
    ), (str(OUTPUT / "small_files"),)),
    Workload("cold_reads", "pread", "4 KiB from random places of a file with O_DIRECT, 32 in flight", (
        Metric("pread_rate", "pread 4 KiB, from the device, depth 32", "reads/s", "more",
               (at_least(1, "libuv"), at_least(0.93, "limits", sides=URING)), "files"),
        Metric("pread_cpu_ns", "pread 4 KiB, from the device: CPU of each", "ns", "less", (),
               "files-cpu"),
    ), ("32", str(DATA_FILE), "direct")),
    pipelined_writes("pipelined_writes", 200000, "200,000"),
    pipelined_writes("pipelined_writes1m", 1000000, "1 M", quick=False, rounds_at_most=3),
)

THREADS = (
    Workload("wakeup", "wakeup", "two loops, each with its own processor, wake each other in turn", (
        Metric("wakeup_rate", "wake-up ping-pong of two loops", "1/s", "more", (at_least(1.2, "peers"),),
               "wakeup"),
    )),
    Workload("posts", "posts", "messages from 4 threads to a loop; delivered ones count", (
        Metric("posts_rate", "messages from 4 threads", "1/s", "more", (at_least(5, "peers"),), "posts"),
    )),
    work(1, "queue_work, one at a time"),
    work(1000, "queue_work, 1,000 in flight"),
    Workload("scaling", "scaling", "ticks that compute for some 10 us, on 1 thread and on all", (
        Metric("scaling_speedup", "callbacks that compute: all threads / 1", "ratio", "more",
               (at_least(1.8, "figure"),)),
        Metric("scaling_one_rate", "callbacks that compute: 1 thread", "1/s", "more"),
        Metric("scaling_all_rate", "callbacks that compute: all threads", "1/s", "more"),
    )),
)

LIFECYCLE = (
    Workload("lifecycle", "lifecycle", "make, run and end a loop; the memory of one that does nothing", (
        Metric("lifecycle_ns", "init, one tick, deinit", "ns", "less", (), "lifecycle"),
        Metric("lifecycle_rss_kib", "process with an empty loop, RSS", "KiB", "less", (), "memory-empty"),
        Metric("lifecycle_anonymous_kib", "  of that not backed by a file", "KiB", "less", (),
               "memory-empty"),
        Metric("lifecycle_more_loop_kib", "  each further loop", "KiB", "less"),
    )),
)

# ---- HTTP ---------------------------------------------------------------------------------------------

HTTP_ROOT = OUTPUT / "http"
HTTP_FILES = {"1k.bin": 1024, "64k.bin": 65536}  # in HTTP_ROOT, and their sizes


def http(name, target, what, *goals):
    what = f"HTTP, 64 connections, {what}"
    return Workload(name, "http_server", f"{what}: GET without end, by wrk", (
        Metric("http_rate", f"{what}: requests", "1/s", "more", (at_least(1, "libuv"), *goals), "http"),
        Metric("http_cpu_ns", f"{what}: server CPU / request", "ns", "less", (), "http-cpu"),
    ), (target,), runner="http", variants={"libuv": ("memory", "sendfile")})


HTTP = (
    http("http1k", "1k.bin", "a file of 1 KiB", at_least(0.8, "nginx")),
    http("http64k", "64k.bin", "a file of 64 KiB"),
    http("http_hello", "hello", "a fixed answer"),
)

WORKLOADS = (*COMPUTING, *FILES, *THREADS, *LIFECYCLE, *ECHO, *LATENCY, *HTTP)

# ---- guards -------------------------------------------------------------------------------------------

# What --check judges: lower bars than the goals, by ratios that every run keeps unless something broke. They
# are about the figures that other load on the machine moves least.
GUARDS = {
    ("ticks", "ticks_each"): at_most(2, "asio"),
    ("ticks", "ticks_batch"): at_most(1.7, "asio"),
    ("timers", "timers_start_ns"): at_most(1.1, "libuv"),
    ("timers", "timers_cancel_ns"): at_most(0.5, "libuv"),
    ("timers", "timers_fire_ns"): at_most(0.5, "libuv"),
    ("pread1", "pread_rate"): at_least(8, "libuv"),
    ("pread1", "pread_cpu_ns"): at_most(1.25, "limits"),
    ("pread32", "pread_cpu_ns"): at_most(1.35, "limits", sides=URING),
    ("pread256", "pread_cpu_ns"): at_most(1.35, "limits", sides=URING),
    ("small_files", "small_files_cpu_ns"): at_most(0.8, "libuv", sides=URING),
    ("pipelined_writes", "pipelined_writes_rate"): at_least(1.3, "libuv"),
    ("work1", "work_rate"): at_least(1, "libuv"),
    ("echo64x64", "echo_cpu_ns"): at_most(1.25, "peers"),
}
