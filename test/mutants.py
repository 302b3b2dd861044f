#!/usr/bin/env python3
"""Plants one defect at a time in a copy of the engine; the simulator (loop/sim_test.go) has to catch each.

    test/mutants.py [--seeds N] [--seconds N] [--jobs N] [--only WORD]

The first table holds the known defects of the loop that libloop replaces, put into the terms of our code; the
second one is ours. A defect is a replacement of text that occurs once in a file, or of the first of
several. The
result is a table: the defect, how many seeds it took, and what the checker saw. It fails when a defect
survives,
and when one cannot be planted because the code has changed.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# (name, file, text, replacement)
ORIGINAL = [
    ("taking one back drops the queue", "loop/intake.go",
     "\t\tr = next\n\t}\n}\n\n// accept queues", "\t\tr = nil\n\t\t_ = next\n\t}\n}\n\n// accept queues"),
    ("a wake-up is lost: the sleep is not announced", "loop/worker.go",
     "w.mailbox.SetSleeping()\n", ""),
    ("the reference is dropped before the callback", "loop/loop.go",
     "\t\tr.release()\n\t\tcallback(r)\n\t}\n\tlast := uint64(1)\n\tif more {\n\t\tlast = 0\n\t}\n"
     "\tp.loop.boxes[worker].CountDelivered(1, last)\n",
     "\t\tr.release()\n\t\tp.loop.boxes[worker].CountDelivered(1, 1)\n\t\tcallback(r)\n\t\treturn\n\t}\n"
     "\tlast := uint64(1)\n\tif more {\n\t\tlast = 0\n\t}\n\tp.loop.boxes[worker].CountDelivered(1, last)\n"),
    ("registered is noted whether or not ADD succeeded", "loop/backend/epoll/arm.go",
     "\te.registered = errno == 0\n\treturn errno", "\te.registered = true\n\treturn 0"),
    ("a second waiter is refused", "loop/backend/epoll/wait.go",
     "\tb.enlist(e, r)\n\tb.renew(e)\n}\n\n// beginWatch",
     "\tif r.Op == request.OpWait && !e.empty() {\n\t\tb.sink.Finish(r, sys.EEXIST)\n\t\treturn\n\t}\n"
     "\tb.enlist(e, r)\n\tb.renew(e)\n}\n\n// beginWatch"),
    ("a wait for either event waits for both", "loop/backend/epoll/wait.go",
     "\tif mask == 0 {\n\t\treturn\n\t}\n\tif r.Op == request.OpWait {",
     "\tif mask == 0 || mask&r.Events != r.Events {\n\t\treturn\n\t}\n\tif r.Op == request.OpWait {"),
    ("an event disarms the other direction", "loop/backend/epoll/wait.go",
     "\tif !e.empty() || e.unwatched {\n\t\tb.queue(e)", "\tif e.unwatched {\n\t\tb.queue(e)"),
    ("a second waiter replaces the first", "loop/backend/epoll/wait.go",
     "\te.waiters[directionOf(r)].Push(r)", "\te.waiters[directionOf(r)] = request.List{}\n"
     "\te.waiters[directionOf(r)].Push(r)"),
    ("a cancelled completion is swallowed", "loop/intake.go",
     "\tcase request.OpTimer:\n\t\tw.finish(&w.completed, r, sys.ECANCELED)\n\tcase request.OpWork:",
     "\tcase request.OpTimer:\n\tcase request.OpWork:"),
    ("a failure of init leaves what was made", "loop/backends.go",
     "\t\t\tfor _, made := range e.workers[:i] {", "\t\t\tfor _, made := range e.workers[:i/2] {"),
    ("events carry an ambiguous name", "loop/backend/epoll/arm.go",
     "return uint64(uint32(e.fd)) |", "return uint64(uint32(e.fd)&^1) |"),
    ("a count of threads is one too small", "loop/backend/pool/pool.go",
     "limit = max(limit, int(classes))", "limit = 2"),
    ("a thread that ends its work stays counted", "loop/backend/pool/thread.go",
     "\t\t\tp.running[class]--\n", ""),
    ("ticks starve descriptors", "loop/worker.go",
     "patience != 0 || expectant {\n\t\tw.mu.Unlock()", "patience != 0 {\n\t\tw.mu.Unlock()"),
    ("what poll reported is not collected", "loop/backend/epoll/epoll.go",
     "\tif b.fallback != nil {\n\t\tb.collectFallback()\n\t}\n", ""),
    ("a callback runs inside the submit", "loop/submit.go",
     "\tl.engine.post(&r.core)\n\treturn nil\n}",
     "\tl.engine.post(&r.core)\n\tif r.core.Op == request.OpTick && done != nil && r.core.TimeoutNs == 0 {\n"
     "\t\tdone(r)\n\t}\n\treturn nil\n}"),
    ("a close leaves waiters behind", "loop/backend/epoll/arm.go",
     "\tb.cancelWaiters(e)\n\te.closings++", "\te.closings++"),
    ("a stop wakes one thread", "loop/threads.go",
     "\tfor _, w := range e.workers[1:] {\n\t\te.wake(w)\n\t}\n",
     "\tfor _, w := range e.workers[1:2] {\n\t\te.wake(w)\n\t}\n"),
]

OURS = [
    ("stale events are served", "loop/backend/epoll/epoll.go",
     "e == nil || e.generation != uint32(data>>32)", "e == nil"),
    ("a wait completes twice", "loop/backend/epoll/wait.go",
     "\t\tb.forget(e, r)\n\t\tb.sink.Finish(r, int64(mask))", "\t\tb.sink.Finish(r, int64(mask))"),
    ("a completion is counted twice", "loop/request/mailbox.go",
     "m.delivered.Load() + last", "m.delivered.Load() + 2*last"),
    ("timers fire early", "loop/internal/wheel/wheel.go",
     "\t\tif start > now {\n\t\t\tbreak", "\t\tif start > now+100_000 {\n\t\t\tbreak"),
    ("timers fire in reverse order", "loop/internal/wheel/wheel.go",
     "\ts.insert(before, r)\n}", "\ts.insert(nil, r)\n\t_ = before\n}"),
    ("a period is shorter than asked for", "loop/intake.go",
     "next := request.DeadlineAfter(last, period)", "next := request.DeadlineAfter(last, period/2)"),
    ("completions in overflow are not asked for", "loop/backend/uring/ring.go",
     "(sys.RingSqOverflow|sys.RingSqTaskrun)", "(sys.RingSqTaskrun)"),
    ("the backlog is forgotten", "loop/backend/uring/uring.go",
     "r != nil && b.ring.unsubmitted() <= b.ring.sqMask; r = b.backlog.First()",
     "false; r = b.backlog.First()"),
    ("a second send overtakes the first", "loop/backend/uring/stream.go",
     "\tif e.writes == 0 && e.queue.Empty() {", "\tif e.writes <= 1 {"),
    ("sends are queued newest first", "loop/backend/uring/stream.go",
     "\te.queue.Push(r)", "\te.queue.PushFront(r)"),
    ("the count of a part is lost", "loop/backend/socket.go",
     "\tr.Moved += uint64(n)\n", ""),
    ("SendAll ends after a part", "loop/backend/socket.go",
     "return r.Mode&request.SendAll != 0", "return false"),
    ("a buffer that was not filled is not put back", "loop/backend/direct.go",
     "\t\tr.Pool.PutBack(worker, number)\n", ""),
    ("bytes that came before a cancel are dropped", "loop/worker.go",
     "\tif r.Result < 0 && r.Moved > 0 {", "\tif false {"),
    ("a cancel before the start is forgotten", "loop/worker.go",
     "\t\tif r.Marked(request.MarkCancel) {\n\t\t\tw.dropLookup(r)", "\t\tif false {\n\t\t\tw.dropLookup(r)"),
    ("a request with a message on its way is delivered", "loop/request/state.go",
     "case event == Finish && word&Control != 0:", "case false:"),
    ("the timeout of a finished request stays", "loop/worker.go",
     "func (w *worker) finish(list *request.List, r *request.Request, result int64) {\n\tw.dropTime(r)\n",
     "func (w *worker) finish(list *request.List, r *request.Request, result int64) {\n"),
    ("a wake poll that ended is not armed again", "loop/backend/uring/collect.go",
     "\t\t\t\tb.waking = false\n", ""),
    ("a cancellation that nobody asked for is a result", "loop/backend/uring/collect.go",
     "\t\tb.issue(r)\n\t}\n}\n\n// completePoll",
     "\t\tb.sink.Finish(r, sys.ECANCELED)\n\t}\n}\n\n// completePoll"),
    ("EAGAIN is a result", "loop/backend/uring/collect.go",
     "\tcase result == sys.EAGAIN:\n\t\tb.awaitReadiness(r)\n", "\tcase false:\n"),
    ("a level-triggered watch is not armed again", "loop/backend/epoll/wait.go",
     "\t\tb.enlist(e, r)\n\t\tb.renew(e)\n\t\treturn\n\t}\n\tif mask := e.latched",
     "\t\tb.enlist(e, r)\n\t\treturn\n\t}\n\tif mask := e.latched"),
    ("an edge during delivery is lost (io_uring)", "loop/backend/uring/edge.go",
     "\t\t\tr.Length |= uint64(shown(r, result))\n", "\t\t\t_ = result\n"),
    ("an edge during delivery is lost (epoll)", "loop/backend/epoll/wait.go",
     "\t\te.latched |= mask\n", ""),
    ("an edge from before the watch is reported", "loop/backend/epoll/wait.go",
     "\t\te.latched = 0 // of the time before; the look that follows tells what holds\n", ""),
    ("who waits for the pool spins", "loop/backend/epoll/entry.go",
     "\tfor e.busy[d] && r != nil && waitsOf(r) == 0 {\n", "\tfor false {\n"),
    ("watches outlive the close of their descriptor", "loop/backend/epoll/arm.go",
     "\te.closings++\n", ""),
    ("changed events are not asked for (io_uring)", "loop/backend/uring/edge.go",
     "return r.Events&request.EdgeTriggered != 0 && r.Events&^r.Mode == 0", "return true"),
    ("a cancel that found no place is forgotten", "loop/backend/uring/submit.go",
     "\tb.owesCancels = false\n\tpay", "\tb.owesCancels = false\n\treturn\n\tpay"),
    ("work that was cancelled in the queue runs", "loop/backend/pool/pool.go",
     "\t} else {\n\t\tp.queued[class].Remove(r)\n\t}\n\treturn true", "\t}\n\treturn true"),
    ("nobody is summoned for what was left", "loop/backend/pool/thread.go",
     "\tsleeper := p.summon() // perhaps t itself, which then does not sleep\n",
     "\tsleeper := (*thread)(nil)\n"),
    ("a sleeping thread of the pool is not woken", "loop/backend/pool/thread.go",
     "\t\tp.kernel.FutexWake(&sleeper.signal)\n", "\t\t_ = sleeper\n"),
    ("a close overtakes a transfer of the pool", "loop/backend/pool/pool.go",
     "r == nil || r.Op != request.OpClose || !p.transfers(r.Fd)", "true"),
    ("a descriptor that a cancelled open got is lost", "loop/backend/uring/collect.go",
     "\tcase r.Marked(request.MarkCancel) || sys.OpensNonblocking(r.Length):\n\t\tb.sink.Finish(r, result)",
     "\tcase r.Marked(request.MarkCancel):\n\t\tb.sink.Finish(r, sys.ECANCELED)\n"
     "\tcase sys.OpensNonblocking(r.Length):\n\t\tb.sink.Finish(r, result)"),
    ("a short read is taken for the end of the file", "loop/backend/epoll/transfer.go",
     " && !b.atEnd(r, n) {", " && false && !b.atEnd(r, n) {"),
    ("an aborted connection ends the accepting (epoll)", "loop/backend/epoll/socket.go",
     "for backend.IsNoShot(r, n) {", "for false {"),
    ("the ring of buffers is not refilled", "loop/backend/uring/buffers.go",
     "\tg.tail++\n", ""),
    ("filled buffers are shown newest first", "loop/request/bufferpool.go",
     "\tif last == 0 {\n\t\tfirst = number\n", "\tif last == 0 || first == last {\n\t\tfirst = number\n"),
    ("the descriptors of the loop stay open", "loop/backend/epoll/epoll.go",
     "range []int{b.wakeFd, b.epfd}", "range []int{b.wakeFd}"),
    ("helpers begin before a call counts what is done", "loop/engine.go",
     "\tbefore := e.completions()\n\te.runUntil", "\te.activate()\n\te.kernel.Relax()\n"
     "\tbefore := e.completions()\n\te.runUntil"),
    ("a stop is remembered for ever", "loop/threads.go",
     "\te.shared.TakeStop() // now that no helper could go on for want of it\n", ""),
]


def plant(tree, file, text, replacement):
    """Puts a defect into the tree; a message when the text is not there."""
    path = tree / file
    code = path.read_text()
    if text not in code:
        return "its place is not found in " + file
    path.write_text(code.replace(text, replacement, 1))
    return None


def hunt(mutant, arguments):
    """Returns (caught, seeds, what was seen) for one defect."""
    name, file, text, replacement = mutant
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        tree = pathlib.Path(directory)
        for part in ("go.mod", "go.sum"):
            shutil.copy(ROOT / part, tree / part)
        shutil.copytree(ROOT / "loop", tree / "loop")
        problem = plant(tree, file, text, replacement)
        if problem:
            return False, 0, problem
        build = subprocess.run(["go", "test", "-c", "-o", "sim.test", "./loop"],
                               cwd=tree, text=True, timeout=300,
                               capture_output=True)
        if build.returncode != 0:
            return False, 0, "does not build: " + build.stderr.strip().splitlines()[-1]
        run = subprocess.run(
            [str(tree / "sim.test"), "-test.run=TestSim$", "-sim.noshrink", "-sim.noknown",
             f"-sim.seconds={arguments.seconds}", f"-sim.count={arguments.seeds}"],
            cwd=tree / "loop", capture_output=True, text=True, timeout=arguments.seconds + 120)
    output = run.stdout + run.stderr
    found = re.search(r"the (\d+)th: (.*)", output)
    if found:
        return True, int(found[1]), found[2]
    if run.returncode != 0:
        lines = [line for line in output.splitlines() if "panic" in line or "fatal" in line]
        return True, 0, (lines or output.splitlines())[0]
    total = re.search(r"(\d+) seeds", output)
    return False, int(total[1]) if total else 0, "survived"


def main():
    parser = argparse.ArgumentParser(description="Plant defects; the simulator has to catch them.")
    parser.add_argument("--seeds", type=int, default=50_000, help="the most seeds for a defect")
    parser.add_argument("--seconds", type=int, default=40, help="the most time for a defect")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at a time")
    parser.add_argument("--only", default="", help="those whose name contains a word")
    arguments = parser.parse_args()
    mutants = [mutant for mutant in ORIGINAL + OURS if arguments.only in mutant[0]]
    survivors = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for mutant, (caught, seeds, seen) in zip(mutants, pool.map(lambda m: hunt(m, arguments), mutants)):
            survivors += not caught
            print(f"{'caught ' if caught else 'MISSED '} {seeds:6}  {mutant[0]:58} {seen[:90]}", flush=True)
    print(f"{len(mutants) - survivors} of {len(mutants)} defects caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
