"""The plain loop. Expected values come from the operating system and Python's own calls."""

import errno
import gc
import os
import select
import signal
import socket
import struct
import tempfile
import threading
import time
import unittest
import warnings

import libloop


class LoopTest(unittest.TestCase):
    """With a loop of the backend that LIBLOOP_BACKEND names."""

    def setUp(self):
        self.loop = libloop.Loop()
        self.addCleanup(self.loop.close)

    # ---- files ----

    def test_file_as_the_system_has_it(self):
        async def read(path):
            fd = await self.loop.open(path)
            parts = []
            while part := await self.loop.read(fd, 1000):
                parts.append(part)
            await self.loop.close_fd(fd)
            with self.assertRaises(OSError):
                os.fstat(fd)
            return b"".join(parts)

        with open(__file__, "rb") as file:
            self.assertEqual(self.loop.run(read(__file__)), file.read())

    def test_buffers_are_filled_in_place(self):
        with tempfile.TemporaryFile() as file:
            first, second = bytearray(3), bytearray(4)
            fd = file.fileno()

            async def main():
                self.assertEqual(await self.loop.pwrite(fd, memoryview(b"0123456789")[1:], 0), 9)
                self.assertEqual(await self.loop.pwritev(fd, [b"ab", bytearray(b"c")], 9), 3)
                self.assertEqual(await self.loop.preadv(fd, [first, second], 1), 7)
                self.assertEqual(await self.loop.pread(fd, memoryview(first)[1:], 9), 2)
                return await self.loop.pread(fd, 100, 5)

            self.assertEqual(self.loop.run(main()), b"6789abc")
            self.assertEqual((bytes(first), bytes(second)), (b"2ab", b"5678"))
            self.assertEqual(os.pread(fd, 100, 0), b"123456789abc")

    def test_buffer_is_pinned_until_completion(self):
        reader, writer = os.pipe()
        buffer = bytearray(10)
        operation = self.loop.read(reader, buffer)
        with self.assertRaises(BufferError):
            buffer.append(1)
        os.write(writer, b"abc")
        self.loop.run()
        self.assertEqual((operation.result(), buffer[:3]), (3, b"abc"))
        buffer.append(1)
        os.close(reader), os.close(writer)

    def test_errors_are_those_of_python(self):
        for function, arguments in (
            (self.loop.open, ("/nonexistent",)),
            (self.loop.open, ("/etc", os.O_WRONLY)),
            (self.loop.open, ("/etc/passwd/x",)),
            (self.loop.access, ("/nonexistent",)),
            (self.loop.pread, (-1, 10, 0)),
        ):
            operation = function(*arguments)
            self.loop.run()
            with self.assertRaises(OSError) as ours:
                operation.result()
            same = {"open": os.open, "access": os.stat, "pread": os.pread}[function.__name__]
            with self.assertRaises(OSError) as systems:
                same(*arguments) if same is not os.open else os.open(arguments[0], *(arguments[1:] or (0,)))
            self.assertIs(type(ours.exception), type(systems.exception))
            self.assertEqual(ours.exception.errno, systems.exception.errno)

    def test_wrong_arguments_are_refused(self):
        with self.assertRaises(TypeError):
            self.loop.pread(0, b"read-only", 0)
        with self.assertRaises(TypeError):
            self.loop.write(1, "text")
        self.assertEqual(self.loop.pending, 0)

    # ---- sockets ----

    def test_connection(self):
        for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0)),
                                (socket.AF_UNIX, "")):
            with self.subTest(family), socket.socket(family) as listener, socket.socket(family) as client:
                listener.bind(address)
                listener.listen()

                async def serve():
                    server = await self.loop.accept(listener)
                    with server:
                        data = await self.loop.recv(server, 100)
                        self.assertEqual(await self.loop.sendall(server, data.upper()), len(data))

                async def main():
                    task = self.loop.spawn(serve())
                    await self.loop.connect(client, listener.getsockname())
                    await self.loop.send(client, b"hello")
                    await self.loop.shutdown(client, socket.SHUT_WR)
                    buffer = bytearray(100)
                    count = await self.loop.recv(client, buffer)
                    await task
                    return buffer[:count], await self.loop.recv(client, 100)

                self.assertEqual(self.loop.run(main()), (b"HELLO", b""))

    def test_datagrams_carry_addresses(self):
        with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))

            async def main():
                await self.loop.sendto(one, b"ping", two.getsockname())
                return await self.loop.recvfrom(two, 100)

            self.assertEqual(self.loop.run(main()), (b"ping", one.getsockname()))

    def test_accept_of_many(self):
        accepted = []

        def on_accept(operation):
            if not operation.more:
                self.assertRaises(libloop.Cancelled, operation.result)
                return
            accepted.append(operation.result())
            if len(accepted) == 3:
                operation.cancel()

        with socket.create_server(("127.0.0.1", 0)) as listener:
            clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
            self.loop.accept(listener, many=True, callback=on_accept)
            self.loop.run()
            self.assertEqual(sorted(sock.getpeername() for sock in accepted),
                             sorted(sock.getsockname() for sock in clients))
            for sock in accepted + clients:
                sock.close()

    # ---- time, ticks, cancel ----

    def test_order(self):
        order = []
        for number in range(200):
            self.loop.next_tick(lambda operation, number=number: order.append(number))
        self.loop.sleep(0.03, callback=lambda operation: order.append("late"))
        self.loop.sleep(0.01, callback=lambda operation: order.append("early"))
        self.assertEqual(order, [])
        self.loop.run()
        self.assertEqual(order, [*range(200), "early", "late"])

    def test_timer_with_a_period(self):
        shots = []

        def on_shot(operation):
            shots.append(operation.more)
            if len(shots) == 3:
                operation.cancel()

        began = time.monotonic()
        self.loop.timer(0.01, 0.01, on_shot)
        self.loop.run()
        self.assertEqual(shots, [True, True, True, False])
        self.assertGreaterEqual(time.monotonic() - began, 0.03)

    def test_deadline_and_cancel(self):
        one, two = socket.socketpair()
        with one, two:
            late = self.loop.recv(one, 10, timeout=0.01)
            cancelled = self.loop.recv(two, 10)
            self.assertTrue(cancelled.cancel())
            self.loop.run()
            self.assertRaises(TimeoutError, late.result)
            self.assertRaises(libloop.Cancelled, cancelled.result)
            self.assertFalse(cancelled.cancel())

    def test_cancelled_task_lets_go(self):
        one, two = socket.socketpair()
        with one, two:
            async def receive():
                try:
                    await self.loop.recv(one, 10)
                finally:
                    await self.loop.next_tick()

            async def main():
                task = self.loop.spawn(receive())
                await self.loop.sleep(0.01)
                self.assertTrue(task.cancel())
                with self.assertRaises(libloop.Cancelled):
                    await task

            self.loop.run(main())

    def test_watch(self):
        reader, writer = os.pipe()
        seen = []

        def on_shot(operation):
            if operation.more:
                seen.append((operation.result(), os.read(reader, 1)))
                if len(seen) == 2:
                    operation.cancel()

        os.write(writer, b"ab")
        self.loop.watch(reader, libloop.READABLE, on_shot)
        self.loop.run()
        self.assertEqual(seen, [(libloop.READABLE, b"a"), (libloop.READABLE, b"b")])
        os.close(reader), os.close(writer)

    # ---- messages, pools, names ----

    def test_messages_with_descriptors(self):
        one, two = socket.socketpair()
        self.addCleanup(one.close), self.addCleanup(two.close)

        async def main():
            with tempfile.TemporaryFile() as file:
                file.write(b"contents")
                file.flush()
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file.fileno()))]
                self.assertEqual(await self.loop.sendmsg(one, [b"ab", bytearray(b"cde")], rights), 5)
            data, ancillary, flags, address = await self.loop.recvmsg(two, 100, socket.CMSG_SPACE(4))
            ((level, kind, content),) = ancillary
            self.assertEqual((data, level, kind), (b"abcde", socket.SOL_SOCKET, socket.SCM_RIGHTS))
            (fd,) = struct.unpack("i", content)
            self.assertFalse(os.get_inheritable(fd))
            self.assertEqual(await self.loop.pread(fd, 100, 0), b"contents")
            os.close(fd)
            one.sendmsg([b"123", b"456"])  # what the system's own call sends
            first, second = bytearray(2), bytearray(10)
            self.assertEqual((await self.loop.recvmsg(two, [first, second]))[0], 6)
            self.assertEqual((bytes(first), second[:4]), (b"12", b"3456"))

        self.loop.run(main())

    def test_messages_with_addresses(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
            one.bind(("127.0.0.1", 0)), two.bind(("127.0.0.1", 0))

            async def main():
                self.assertEqual(await self.loop.sendmsg(one, [b"abc"], address=two.getsockname()), 3)
                return await self.loop.recvmsg(two, 2)

            data, ancillary, flags, address = self.loop.run(main())
            self.assertEqual((data, ancillary, address), (b"ab", [], one.getsockname()))
            self.assertTrue(flags & socket.MSG_TRUNC)

    def test_receives_into_a_pool(self):
        one, two = socket.socketpair()
        with one, two, self.loop.buffers(4, 2) as pool:

            async def main():
                one.send(b"abcdef")
                first = await self.loop.recv_buffer(two, pool)
                second = await self.loop.recv_buffer(two, pool)
                one.send(b"ghi")
                with self.assertRaises(OSError) as seen:
                    await self.loop.recv_buffer(two, pool)
                self.assertEqual(seen.exception.errno, errno.ENOBUFS)
                with first as data:
                    self.assertEqual((bytes(data), bytes(second.data)), (b"abcd", b"ef"))
                first.release()
                del second  # gives its buffer back, too
                with await self.loop.recv_buffer(two, pool) as data:
                    self.assertEqual(bytes(data), b"ghi")
                one.close()
                self.assertEqual(len(await self.loop.recv_buffer(two, pool)), 0)

            self.loop.run(main())

    def test_many_receives_into_a_pool(self):
        pairs = [socket.socketpair() for _ in range(5)]
        received, ended = [], []

        def on_data(operation):
            if not operation.more:
                ended.append(operation)
                return
            with operation.result() as data:
                received.append(bytes(data))

        with self.loop.buffers(16, 4) as pool:
            for ours, _ in pairs:
                self.loop.recv_buffer(ours, pool, many=True, callback=on_data)
            for turn in range(3):
                for number, (_, theirs) in enumerate(pairs[:4]):
                    theirs.send(b"%d %d" % (turn, number))
                while len(received) < 4 * (turn + 1):
                    self.loop.run_once(60)
        expected = [b"%d %d" % (turn, number) for turn in range(3) for number in range(4)]
        self.assertEqual(sorted(received), expected)
        self.loop.run()  # the end of the pool has cancelled them
        for operation in ended:
            self.assertRaises(libloop.Cancelled, operation.result)
        self.assertEqual(len(ended), 5)
        for ours, theirs in pairs:
            ours.close(), theirs.close()

    def test_buffers_of_receives_that_an_exception_puts_off(self):
        """They are remembered, though the requests that they came with are in use for something else."""
        pairs = [socket.socketpair() for _ in range(5)]
        reader, writer = os.pipe()
        received, reads = [], []

        def on_data(operation):
            with operation.result() as data:
                received.append(bytes(data))
            reads.extend(self.loop.read(reader, 1) for _ in range(5))
            raise ZeroDivisionError

        with self.loop.buffers(16, 5) as pool:
            for number, (ours, theirs) in enumerate(pairs):
                self.loop.recv_buffer(ours, pool, callback=on_data)
                theirs.send(b"%d" % number)
            while len(received) < 5:
                with self.assertRaises(ZeroDivisionError):
                    self.loop.run_once(60)
        self.assertEqual(sorted(received), [b"0", b"1", b"2", b"3", b"4"])
        os.close(writer)
        self.loop.run()
        self.assertEqual([read.result() for read in reads], [b""] * 25)
        os.close(reader)
        for ours, theirs in pairs:
            ours.close(), theirs.close()

    def test_the_loop_ends_its_pools(self):
        one, two = socket.socketpair()
        with one, two:
            pool = self.loop.buffers(4, 2)
            operation = self.loop.recv_buffer(two, pool)
            self.loop.close()
            self.assertRaises(libloop.Cancelled, operation.result)
            pool.close()
            with self.assertRaisesRegex(RuntimeError, "closed"):
                self.loop.buffers(4, 2)

    def test_names(self):
        async def main():
            for arguments in (("127.0.0.1", 80), ("::1", "http", socket.AF_INET6, socket.SOCK_STREAM),
                              (None, 80, 0, 0, 0, socket.AI_PASSIVE),
                              ("localhost", None, socket.AF_INET, 0, 0, socket.AI_CANONNAME)):
                self.assertEqual(await self.loop.getaddrinfo(*arguments), socket.getaddrinfo(*arguments))
            with self.assertRaises(socket.gaierror) as seen:
                await self.loop.getaddrinfo("127.0.0.1.", 80, 0, 0, 0, socket.AI_NUMERICHOST)
            self.assertEqual(seen.exception.errno, socket.EAI_NONAME)
            for arguments in ((("127.0.0.1", 80), 0), (("::1", 443), socket.NI_NUMERICHOST)):
                self.assertEqual(await self.loop.getnameinfo(*arguments), socket.getnameinfo(*arguments))

        self.loop.run(main())

    # ---- descriptors, references, embedding ----

    def test_vectors_at_the_current_position(self):
        reader, writer = os.pipe()

        async def main():
            first, second = bytearray(2), bytearray(3)
            self.assertEqual(await self.loop.writev(writer, [b"ab", b"cde"]), 5)
            self.assertEqual(await self.loop.readv(reader, [first, second]), 5)
            return bytes(first), bytes(second)

        self.assertEqual(self.loop.run(main()), (b"ab", b"cde"))
        os.close(reader), os.close(writer)

    def test_readiness_of_both_directions_and_its_cancel(self):
        one, two = socket.socketpair()
        with one, two:

            async def main():
                self.assertEqual(await self.loop.wait_ready(one.fileno()), libloop.WRITABLE)
                waits = [self.loop.wait_readable(one.fileno()) for _ in range(3)]
                await self.loop.next_tick()
                self.assertEqual(await self.loop.cancel_fd(one.fileno()), 3)
                for wait in waits:
                    with self.assertRaises(libloop.Cancelled):
                        await wait

            self.loop.run(main())

    def test_a_reference_keeps_the_loop_running(self):
        posted = []

        def work():
            time.sleep(0.02)
            self.loop.post(posted.append, 1)
            self.loop.unref()

        self.loop.ref()
        self.assertEqual(self.loop.pending, 1)
        thread = threading.Thread(target=work)
        thread.start()
        self.loop.run()
        thread.join()
        self.assertEqual((posted, self.loop.pending), ([1], 0))
        self.assertRaises(ValueError, self.loop.unref)

    def test_embedding(self):
        poll = select.poll()
        poll.register(self.loop.backend_fd(), select.POLLIN)
        self.assertIsNone(self.loop.backend_timeout())
        timer = self.loop.sleep(0.01)
        self.assertLessEqual(self.loop.backend_timeout(), 0.01)
        reader, writer = os.pipe()
        read = self.loop.read(reader, 10)
        deadline = time.monotonic() + 60
        os.write(writer, b"x")
        while not (read.done() and timer.done()) and time.monotonic() < deadline:
            timeout = self.loop.backend_timeout()
            poll.poll(None if timeout is None else timeout * 1000)
            self.loop.run_once(0)
        self.assertEqual((read.result(), timer.result()), (b"x", 0))
        os.close(reader), os.close(writer)

    def test_statistics(self):
        before = self.loop.statistics()
        self.loop.next_tick()
        self.loop.run()
        self.assertEqual(self.loop.statistics()["completions"] - before["completions"], 1)

    # ---- callbacks that raise, threads, work, signals ----

    def test_callback_that_raises_loses_nothing(self):
        delivered = []

        def fail(operation):
            delivered.append("failed")
            raise ZeroDivisionError

        for number in range(10):
            self.loop.next_tick(fail if number == 3 else lambda operation, n=number: delivered.append(n))
        with self.assertRaises(ZeroDivisionError):
            self.loop.run()
        self.assertEqual(delivered, [0, 1, 2, "failed"])
        self.loop.run()
        self.assertEqual(delivered, [0, 1, 2, "failed", 4, 5, 6, 7, 8, 9])

    def test_task_that_raises(self):
        async def fail():
            await self.loop.next_tick()
            raise KeyError("x")

        with self.assertRaises(KeyError):
            self.loop.run(fail())

    def test_work_on_another_thread(self):
        fine = self.loop.work(threading.get_ident)
        failed = self.loop.work(lambda: 1 // 0)
        self.loop.run()
        self.assertNotEqual(fine.result(), threading.get_ident())
        self.assertRaises(ZeroDivisionError, failed.result)

    def test_posts_of_many_threads(self):
        got = {number: [] for number in range(8)}

        def post(number):
            for count in range(500):
                self.loop.post(got[number].append, count)

        async def main():
            threads = [threading.Thread(target=post, args=(number,)) for number in got]
            for thread in threads:
                thread.start()
            while sum(map(len, got.values())) < 4000:
                await self.loop.sleep(0.001)
            for thread in threads:
                thread.join()

        self.loop.run(main())
        self.assertEqual(list(got.values()), [list(range(500))] * 8)

    def test_submits_of_many_threads(self):
        done = []
        stop = self.loop.sleep(60)

        def submit():
            for _ in range(300):
                self.loop.next_tick(done.append)

        threads = [threading.Thread(target=submit) for _ in range(8)]
        for thread in threads:
            thread.start()
        while len(done) < 2400:
            self.loop.run_once(0.01)
        for thread in threads:
            thread.join()
        stop.cancel()
        self.loop.run()
        self.assertEqual(len(set(map(id, done))), 2400)

    def test_the_interpreter_goes_on_while_the_loop_waits(self):
        def work():
            time.sleep(0.02)
            done.cancel()

        done = self.loop.sleep(60)
        thread = threading.Thread(target=work)
        thread.start()
        self.loop.run()
        thread.join()
        self.assertRaises(libloop.Cancelled, done.result)

    def test_signals_end_the_wait(self):
        def handler(number, frame):
            raise InterruptedError

        before = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        operation = self.loop.sleep(60)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with self.assertRaises(InterruptedError):
            self.loop.run()
        self.assertFalse(operation.done())
        self.assertEqual(signal.set_wakeup_fd(-1), -1)

    # ---- life and end ----

    def test_close_completes_everything(self):
        one, two = socket.socketpair()
        completed = []
        with one, two:
            for number in range(100):
                self.loop.recv(one, 10, callback=completed.append)
            self.loop.close()
            self.assertEqual(len(completed), 100)
            for operation in completed:
                self.assertRaises(libloop.Cancelled, operation.result)
        with self.assertRaisesRegex(RuntimeError, "closed"):
            self.loop.next_tick()
        self.loop.close()

    def test_collected_with_requests_in_flight(self):
        one, two = socket.socketpair()
        with one, two, warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            loop = libloop.Loop()
            operations = [loop.recv(one, bytearray(100)) for _ in range(50)]
            operations.append(loop.write(two.fileno(), bytearray(b"x" * 100)))
            del loop, operations
            gc.collect()
        self.assertEqual([warning.category for warning in seen], [ResourceWarning])

    def test_one_run_at_a_time(self):
        errors = []

        def again(operation):
            try:
                self.loop.run()
            except RuntimeError as error:
                errors.append(error)

        self.loop.next_tick(again)
        self.loop.run()
        self.assertEqual(len(errors), 1)

    def test_waiting_for_nothing_is_told(self):
        async def main():
            await libloop.Operation(self.loop)  # that nothing was submitted for

        with self.assertRaisesRegex(RuntimeError, "nothing will end"):
            self.loop.run(main())

    def test_stop(self):
        operation = self.loop.sleep(60)
        self.loop.next_tick(lambda tick: self.loop.stop())
        self.loop.run()
        self.assertFalse(operation.done())

    def test_backend(self):
        wanted = os.environ.get("LIBLOOP_BACKEND", "auto")
        if wanted != "auto":
            self.assertEqual(self.loop.backend, wanted)
        with self.assertRaises(ValueError):
            libloop.Loop(backend="kqueue")


if __name__ == "__main__":
    unittest.main()
