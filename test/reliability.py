#!/usr/bin/env python3
"""Runs the campaigns that try to break libloop, and writes docs/reliability.md, a table of what they found.

    test/reliability.py --seconds N             all of them, N seconds for each that can be long or short
    test/reliability.py --seconds N NAME...     these; the others stay as they were run last
    test/reliability.py                         nothing is run, the table is written again

The output of a campaign is kept in build/reliability/NAME.log, and its row, with the commit that it ran on,
in NAME.json beside it. A campaign that fails, whose summary is not found in its output, or that was not run
yet, says so in the table. The exit status is 0 only if all have passed.
"""
import argparse
import datetime
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "reliability"
TABLE = ROOT / "docs" / "reliability.md"


class Missing(Exception):
    """The output lacks a summary, or the summary says that something is wrong."""


def find(pattern, output, what):
    found = re.search(pattern, output, re.MULTILINE)
    if found is None:
        raise Missing(f"no summary of {what}")
    return found


def number(text):
    return f"{int(text):,}"


# ---- what the outputs say -----------------------------------------------------------------------------


def simulator(output):
    found = find(r"(\d+) seeds, (\d+) operations, ([\d.]+) million a minute", output, "the seeds")
    known = [line for line in (ROOT / "loop/testdata/sim_seeds.txt").read_text().splitlines()
             if line.split("#")[0].strip()]
    return (f"seeds 1 to {number(found[1])}, {number(found[2])} operations, {found[3]} million a minute"
            + (f"; {len(known)} seeds that failed once, again" if known else ""))


def mutants(output):
    found = find(r"^(\d+) of (\d+) defects caught", output, "the defects")
    if found[1] != found[2]:
        raise Missing(f"{found[1]} of {found[2]} defects caught")
    seeds = sorted(int(count) for count in re.findall(r"^caught +(\d+) ", output, re.MULTILINE))
    return (f"{found[1]} of {found[2]} defects caught; seeds needed: median {seeds[len(seeds) // 2]}, "
            f"most {seeds[-1]}")


def torture(output):
    found = find(r"seed (\d+): (\d+) of (\d+) runs, (\d+) of them with a call that failed", output, "runs")
    sample, runs, total, failing = found.groups()
    return (f"{number(runs)} of {number(total)} runs (sample {sample}), in {number(failing)} of them a call "
            "failed; 0 broken promises")


def models(output):
    held = [int(states) for states in re.findall(r"holds, (\d+) states", output)]
    errors = re.findall(r"caught, \d+ steps", output)
    if not held or not errors or "FAILED" in output or "NOT CAUGHT" in output:
        raise Missing("a search failed")
    return (f"{len(held)} models hold, {number(sum(held))} states, all of them searched; {len(errors)} of "
            f"{len(errors)} planted errors found")


def fuzz_abi(output):
    targets = re.findall(r"^(\S+) +(\d+) executions, (\d+) edges, (\d+) features, (\d+) crashes", output,
                         re.MULTILINE)
    if len(targets) != 2:
        raise Missing("no summary of two targets")
    return "; ".join(f"{name}: {number(executions)} executions, {number(edges)} edges, {crashes} crashes"
                     for name, executions, edges, _, crashes in targets)


def fuzz_go(output):
    executions = re.findall(r"execs: (\d+) .*new interesting: \d+ \(total: (\d+)\)", output)
    if not executions or not re.search(r"^ok\s", output, re.MULTILINE):
        raise Missing("no summary of the executions")
    last, interesting = executions[-1]
    return f"{number(last)} executions, {interesting} inputs that each reach something new, 0 crashes"


def sanitizers(output):
    passed = re.findall(r"^ok (\S+) \d+$", output, re.MULTILINE)
    without = re.findall(r"^-- (\S+): (.*)$", output, re.MULTILINE)
    if not passed or "FAILED" in output:
        raise Missing("a cell failed")
    figures = f"{len(passed)} cells passed: {', '.join(passed)}"
    return figures + "".join(f"; not to be had: {cell} ({why})" for cell, why in without)


def suites_of(output):
    """Adds up what CTest says of its configurations."""
    found = re.findall(r"^\d+% tests passed, (\d+) tests failed out of (\d+)$", output, re.MULTILINE)
    if not found or any(int(failed) for failed, _ in found):
        raise Missing("no summary of CTest without failures")
    skipped = len(re.findall(r"\*\*\*Skipped", output))
    return sum(int(total) for _, total in found), skipped, len(found)


def conformance(output):
    runs, skipped, builds = suites_of(output)
    suites = list((ROOT / "test").glob("conform_*.c"))
    tests = sum(len(re.findall(r"^\s+GUARDED\(", suite.read_text(), re.MULTILINE)) for suite in suites)
    return (f"{number(tests)} tests in {len(suites)} suites; {runs} runs of suites passed in {builds} builds "
            f"(io_uring and epoll with 1, 2 and 4 threads, io_uring denied), {skipped} skipped")


def guests(output):
    runs, skipped, builds = suites_of(output)
    return f"{runs - skipped} runs of hosts passed, with the shared and the static library; {skipped} skipped"


def summaries(output, kind):
    lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"summary":"%s"' % kind)]
    if not lines or not all(line.get("ok") for line in lines):
        raise Missing(f"no summary of {kind} that is ok")
    return lines


def soak(output):
    """The sums of all runs, and of each measure the run in which it came nearest to what it may grow."""
    runs = summaries(output, "soak")
    worst = {}
    for name, row in (item for run in runs for item in run.items() if isinstance(item[1], dict)):
        row["share"] = row["growth"] / row["allowance"]
        if name not in worst or row["share"] > worst[name]["share"]:
            worst[name] = row
    operations, verified = (sum(run[key] for run in runs) for key in ("operations", "bytes_verified"))
    growth = ", ".join(f"{name} {row['growth']:+g} (may be {row['allowance']:g})"
                       for name, row in worst.items())
    idle = "; ".join(f"{line['backend']} idle with {number(line['sockets'])} sockets "
                     f"for {line['seconds']:g} s: {line['turns']} wake-ups"
                     for line in summaries(output, "idle"))
    return (f"{len(runs)} runs: {number(operations)} operations, {number(verified)} bytes verified; "
            f"most growth: {growth}; {idle}")


def analysis(output):
    passed = re.findall(r"^ok +(\S+)", output, re.MULTILINE)
    absent = re.findall(r"^ABSENT +(.*)$", output, re.MULTILINE)
    if not passed:
        raise Missing("no summary of the checks")
    return f"{len(passed)} passed: {', '.join(passed)}" + "".join(f"; not run: {what}" for what in absent)


def headers(output):
    modes = re.findall(r"^ok +loop\.h", output, re.MULTILINE)
    found = find(r"^(\d+) passed, 0 failed$", output, "the checks")
    return f"{len(modes)} language modes of the header; {found[1]} checks in all"


# ---- the campaigns ------------------------------------------------------------------------------------

# (name, what it shows, command, limit in seconds beside eight times the budget, what the output says)
CAMPAIGNS = [
    ("simulator", "Seeded programs on a simulated kernel and clock, with faults, keep the contract.",
     "go test ./loop -count=1 -run '^TestSim$' -timeout 0 -v -args -sim.seconds={seconds}", 300, simulator),
    ("mutants", "The simulator sees defects: each of these, planted alone, is caught.",
     "python3 test/mutants.py --seconds 200", 3600, mutants),
    ("torture", "Each system call fails in turn with each errno legal for it, and nothing is lost or left.",
     "go test ./loop -count=1 -run '^TestTorture$' -timeout 0 -v -args -torture.seconds={seconds}", 300,
     torture),
    ("models", "All interleavings of what uses atomics keep their promises; planted errors are found.",
     "test/model/run.sh", 1800, models),
    ("fuzz-abi", "No sequence of C calls breaks the library, under AddressSanitizer.",
     "test/fuzz/run.sh {seconds}", 600, fuzz_abi),
    ("fuzz-engine", "No program of calls on the real kernel breaks the engine.",
     "go test ./loop -run '^$' -fuzz '^FuzzProgram$' -fuzztime {seconds}s", 300, fuzz_go),
    ("fuzz-timers", "No order of arming and disarming breaks the timers.",
     "go test ./loop/internal/wheel -run '^$' -fuzz '^FuzzWheel$' -fuzztime {seconds}s", 300, fuzz_go),
    ("sanitizers", "Suites are clean under sanitizers in C and Go; test/sanitize.sh says what each cell is.",
     "test/sanitize.sh", 1800, sanitizers),
    ("analysis", "Static analysis finds nothing.", "test/analyze.sh", 900, analysis),
    ("headers", "The header, the exported symbols and the style.", "./build.sh check", 900, headers),
    ("conformance", "The contract, test by test.", "./build.sh test '^conform_'", 3600, conformance),
    ("hosts", "The library is a good guest of programs that misbehave.", "./build.sh test '^guest_'", 1800,
     guests),
    ("soak", "All mixed, with faults: memory, descriptors, threads, latency stay flat; idle loops sleep.",
     "./build.sh soak --minutes {minutes} --idle-seconds {seconds}", 900, soak),
]


def execute(command, log, limit):
    """Runs a command in a process group of its own, which ends with it. Returns its exit status, or None."""
    environment = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/local/go/bin")
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(["bash", "-c", command], cwd=ROOT, env=environment, stdout=output,
                                   stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


def commit():
    """The commit of the tree, with + if files differ from it other than the table."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True,
                              text=True).stdout.strip()
    changed = git("status", "--porcelain", "--", ".", ":!docs/reliability.md")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def complaints(output):
    """The first lines in which a campaign says what failed, without what would break the table."""
    lines = re.findall(r"^(?:FAILED|MISSED|NOT CAUGHT|--- FAIL).*", output, re.MULTILINE)[:5]
    return "".join(": " + re.sub(r"[|<>`*\s]+", " ", line).strip()[:100] for line in lines)


def run(campaign, seconds):
    """Runs a campaign and keeps its row."""
    name, _, template, allowance, read = campaign
    command = template.format(seconds=seconds, minutes=f"{seconds / 60:g}")
    log = OUT / f"{name}.log"
    row = {"command": command, "commit": commit(), "kernel": os.uname().release,
           "date": datetime.date.today().isoformat(), "passed": False}
    limit = 8 * seconds + allowance
    start = datetime.datetime.now()
    status = execute(command, log, limit)
    row["seconds"] = round((datetime.datetime.now() - start).total_seconds())
    output = log.read_text(errors="replace")
    try:
        if status is None:
            raise Missing(f"it did not end within {limit} s")
        if status != 0:
            raise Missing(f"exit status {status}{complaints(output)}")
        row["figures"] = read(output)
        row["passed"] = True
    except Missing as reason:
        row["figures"] = str(reason)
    (OUT / f"{name}.json").write_text(json.dumps(row, indent=1) + "\n")
    result = "passed" if row["passed"] else "FAILED"
    print(f"{result}  {name}, {row['seconds']} s: {row['figures']}", flush=True)


# ---- the table ----------------------------------------------------------------------------------------

OPENING = """# How libloop was tried

Each row is a campaign that tries to break libloop: what it shows when it passes, what it did the last time,
and on which commit. The second table has the commands that repeat them. Written by `test/reliability.py
--seconds N` (or `./build.sh reliability N`), never by hand. A commit with a `+` had changes that were not
committed. The simulator and the torture print the command that repeats a failure.

{machine}

| campaign | what it shows | result | figures | commit, date, time |
|---|---|---|---|---|
"""


NOTES = """
## What the sanitizers do not see

- ThreadSanitizer does not see the atomics of Go. `test/sanitize/thread_bridge.h` tells it what the engine
  orders; the suite of the strands is left out. What uses atomics is searched by the models.
- MemorySanitizer takes all that the kernel wrote for the engine for uninitialised, so it runs suites that do
  not look at such bytes.
- The race detector of Go cannot be loaded with a shared library: it runs on the engine's own tests.
- memcheck runs examples, not suites, and does not look for leaks.

AddressSanitizer, MemorySanitizer and ThreadSanitizer must each report a planted error
(`test/sanitize/planted.c`) for their cells to pass. None of their reports is suppressed.

One report is suppressed in fuzz-abi, where the leak checker looks while threads are being started: the block
that Go's runtime gives a new thread (`x_cgo_thread_start`), which the thread frees as soon as it runs.
"""


def stored(name):
    path = OUT / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def write_table():
    """Writes the table from the rows that are kept; returns whether all have passed."""
    lines, commands, all_passed = [], [], True
    for name, shows, template, *_ in CAMPAIGNS:
        row = stored(name)
        all_passed &= bool(row and row["passed"])
        if row:
            result = "passed" if row["passed"] else "**FAILED**"
            lines.append(f"| {name} | {shows} | {result} | {row['figures']} | "
                         f"{row['commit']}, {row['date']}, {row['seconds']} s |")
        else:
            lines.append(f"| {name} | {shows} | **not run** | | |")
        command = row["command"] if row else template.format(seconds=60, minutes=1)
        commands.append(f"| {name} | `{command}` |")
    kernels = sorted({row["kernel"] for row in map(stored, (c[0] for c in CAMPAIGNS)) if row})
    kernel = ", ".join(kernels) or os.uname().release
    machine = f"Linux {kernel}, {os.uname().machine}, {os.cpu_count()} processors."
    TABLE.write_text(OPENING.format(machine=machine) + "\n".join(lines) +
                     "\n\n| campaign | command |\n|---|---|\n" + "\n".join(commands) + "\n" + NOTES)
    return all_passed


def main():
    names = [campaign[0] for campaign in CAMPAIGNS]
    parser = argparse.ArgumentParser(description="Run the campaigns and write docs/reliability.md.")
    parser.add_argument("--seconds", type=int, default=0, help="the budget of a campaign; 0 = run nothing")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(names)
    if unknown or arguments.seconds < 0 or (arguments.names and not arguments.seconds):
        parser.error(f"unknown: {', '.join(sorted(unknown))}" if unknown else "how many --seconds?")
    OUT.mkdir(parents=True, exist_ok=True)
    if arguments.seconds:
        for campaign in CAMPAIGNS:
            if not arguments.names or campaign[0] in arguments.names:
                run(campaign, arguments.seconds)
    return 0 if write_table() else 1


if __name__ == "__main__":
    sys.exit(main())
