"""Fork, spawn, threads and the end of the interpreter: each in a process of its own."""

import os
import subprocess
import sys
import textwrap
import unittest


class ProcessTest(unittest.TestCase):
    maxDiff = None

    """Programs, and what they print."""

    def check(self, program, output, status=0, seconds=60):
        """Runs a program and compares what it prints, and its exit status; its errors have to be empty."""
        result = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds, cwd="/",
        )
        self.assertEqual((result.stdout, result.stderr, result.returncode), (output, "", status))

    def test_a_forked_child_is_refused_clearly(self):
        self.check("""
            import os, libloop
            loop = libloop.Loop()
            operation = loop.sleep(60)
            child = os.fork()
            if child == 0:
                for function in (loop.next_tick, loop.run, libloop.Loop, libloop.new_event_loop, loop.stop):
                    try:
                        function()
                    except libloop.ForkError as error:
                        print(function.__name__, "refused", flush=True)
                loop.close()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            operation.cancel()
            loop.run()
            print(repr(operation._error))
            loop.close()
        """, "next_tick refused\nrun refused\nLoop refused\nnew_event_loop refused\nstop refused\n"
             "Cancelled(125, 'operation Canceled')\n")

    def test_a_forked_child_ends_in_order(self):
        self.check("""
            import os, sys, socket, libloop
            loop = libloop.Loop()
            one, two = socket.socketpair()
            operation = loop.recv(one, 10)
            loop.run_once(0.01)
            if os.fork() == 0:
                sys.exit(0)  # with the interpreter's clean-up
            print(os.wait()[1])
            two.send(b"x")
            loop.run()
            print(operation.result())
            loop.close()
        """, "0\nb'x'\n")

    def test_multiprocessing(self):
        self.check("""
            import asyncio, concurrent.futures, multiprocessing, operator, libloop

            async def main():
                loop = asyncio.get_running_loop()
                for method in ("spawn", "forkserver", "fork"):
                    context = multiprocessing.get_context(method)
                    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
                        print(method, await loop.run_in_executor(pool, operator.add, 1, 2))

            libloop.run(main())
        """, "spawn 3\nforkserver 3\nfork 3\n")

    def test_a_spawned_child_has_loops_of_its_own(self):
        self.check("""
            import multiprocessing, libloop
            loop = libloop.new_event_loop()
            program = "import asyncio, libloop; libloop.run(asyncio.sleep(0)); print('ran', flush=True)"
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(exec, (program, {}))
            loop.close()
        """, "ran\n")

    def test_exit_with_everything_pending(self):
        self.check("""
            import socket, libloop
            loop = libloop.Loop()
            one, two = socket.socketpair()
            operations = [loop.recv(one, bytearray(1000)) for _ in range(100)] + [loop.sleep(1000)]
            loop.run_once(0.01)
            print("end")
        """, "end\n")

    def test_exit_in_a_coroutine(self):
        self.check("""
            import asyncio, sys, libloop

            async def main():
                asyncio.get_running_loop().create_task(asyncio.sleep(1000))
                await asyncio.sleep(0.01)
                sys.exit(3)

            libloop.run(main())
        """, "", 3)

    def test_exit_waits_for_work(self):
        self.check("""
            import time, libloop
            loop = libloop.Loop()
            loop.work(lambda: (time.sleep(0.3), print("done")))
            loop.run_once(0.05)
        """, "done\n")

    def test_exit_does_not_wait_for_what_cannot_end(self):
        self.check("""
            import os, tempfile, libloop
            with tempfile.TemporaryDirectory() as folder:
                os.mkfifo(folder + "/fifo")
                loop = libloop.Loop()
                loop.open(folder + "/fifo")  # until somebody opens it for writing, which nobody does
                loop.run_once(0.05)
        """, "")

    def test_threads_have_loops_of_their_own(self):
        self.check("""
            import asyncio, threading, libloop
            results = []

            async def main(number):
                await asyncio.sleep(0.01)
                return number, len(await asyncio.get_running_loop().read_file("/dev/null"))

            def run(number):
                results.append(libloop.run(main(number)))

            threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            print(sorted(results) == [(n, 0) for n in range(8)])
        """, "True\n")

    def test_a_loop_that_was_not_closed_is_told_of(self):
        result = subprocess.run(
            [sys.executable, "-W", "always", "-c", "import libloop; libloop.Loop(); print('x')"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, cwd="/",
        )
        self.assertEqual(result.stdout, "x\n")
        self.assertIn("ResourceWarning: unclosed loop", result.stderr)

    def test_a_missing_library_is_explained(self):
        result = subprocess.run(
            [sys.executable, "-c", "import libloop"], stderr=subprocess.PIPE, text=True, timeout=60, cwd="/",
            env={**os.environ, "LIBLOOP_LIBRARY": "/nonexistent"},
        )
        self.assertIn("LIBLOOP_LIBRARY", result.stderr.splitlines()[-1])


if __name__ == "__main__":
    unittest.main()
