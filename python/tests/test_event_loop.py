"""What libloop's asyncio loop has beyond asyncio's tests, which cpython_suite.py runs."""

import asyncio
import errno
import gc
import os
import selectors
import signal
import socket
import tempfile
import threading
import time
import unittest

import libloop


def run(coroutine, **options):
    """Runs a coroutine on a loop of the backend that LIBLOOP_BACKEND names."""
    return libloop.run(coroutine, **options)


class FilesTest(unittest.TestCase):
    """Files as awaitables."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "file")

    def test_files_of_all_sizes(self):
        async def main():
            loop = asyncio.get_running_loop()
            for size in (0, 1, 4095, 4096, 16384, 16385, 1_000_000):
                data = os.urandom(size)
                self.assertEqual(await loop.write_file(self.path, bytearray(data)), size)
                with open(self.path, "rb") as file:
                    self.assertEqual(file.read(), data)
                self.assertEqual(await loop.read_file(self.path), data)

        run(main())

    def test_file_without_a_size(self):
        async def main():
            return await asyncio.get_running_loop().read_file("/proc/self/cmdline")

        with open("/proc/self/cmdline", "rb") as file:
            self.assertEqual(run(main()), file.read())

    def test_many_at_once(self):
        async def main():
            loop = asyncio.get_running_loop()
            await asyncio.gather(*[loop.write_file(f"{self.path}{n}", b"%d" % n) for n in range(200)])
            return await asyncio.gather(*[loop.read_file(f"{self.path}{n}") for n in range(200)])

        self.assertEqual(run(main()), [b"%d" % n for n in range(200)])

    def test_reads_of_cached_files_let_others_run(self):
        async def main():
            loop = asyncio.get_running_loop()
            turns, done = [], False

            async def count():
                while not done:
                    turns.append(1)
                    await asyncio.sleep(0)

            await loop.write_file(self.path, b"data")
            task = asyncio.ensure_future(count())
            for _ in range(1000):
                self.assertEqual(await loop.read_file(self.path), b"data")
            done = True
            await task
            return len(turns)

        self.assertGreater(run(main()), 20)

    def test_with_and_without_the_short_way(self):
        """Files that are read at once, and by the library."""
        async def main():
            loop = asyncio.get_running_loop()
            paths = [__file__, "/proc/self/cmdline", "/dev/null", "/nonexistent", "/etc", "a\0b"]
            short = await asyncio.gather(*map(loop.read_file, paths), return_exceptions=True)
            loop._cached.read = lambda name: (-1, None)
            library = await asyncio.gather(*map(loop.read_file, paths), return_exceptions=True)
            return list(map(repr, short)), list(map(repr, library))

        short, library = run(main())
        self.assertEqual(short, library)

    def test_a_fifo_is_refused_at_once(self):
        os.mkfifo(self.path)

        async def main():
            with self.assertRaises(OSError) as seen:
                await asyncio.wait_for(asyncio.get_running_loop().read_file(self.path), 60)
            return seen.exception.errno

        self.assertEqual(run(main()), errno.ESPIPE)

    def test_parts(self):
        async def main():
            loop = asyncio.get_running_loop()
            fd = await loop.open_fd(self.path, os.O_RDWR | os.O_CREAT)
            self.assertFalse(os.get_inheritable(fd))
            self.assertEqual(await loop.pwrite(fd, b"hello world", 0), 11)
            buffer = bytearray(5)
            self.assertEqual(await loop.pread(fd, buffer, 6), 5)
            part = await loop.pread(fd, 100, 9)
            await loop.access(self.path)
            await loop.close_fd(fd)
            return bytes(buffer), part

        self.assertEqual(run(main()), (b"world", b"ld"))

    def test_errors(self):
        async def main():
            loop = asyncio.get_running_loop()
            for function in (loop.read_file, loop.open_fd, loop.access):
                with self.assertRaises(FileNotFoundError):
                    await function("/nonexistent")
            with self.assertRaises(IsADirectoryError):
                await loop.read_file("/etc")
            with self.assertRaises(FileNotFoundError) as seen:
                await loop.read_file("/nonexistent")
            return seen.exception.filename

        self.assertEqual(run(main()), "/nonexistent")

    def test_a_cancelled_task_goes_on_when_the_buffer_is_free(self):
        os.mkfifo(self.path)

        async def main():
            loop = asyncio.get_running_loop()
            task = asyncio.ensure_future(loop.open_fd(self.path))  # until there is a writer
            await asyncio.sleep(0.05)
            task.cancel()
            threading.Timer(0.2, lambda: os.close(os.open(self.path, os.O_RDWR))).start()
            with self.assertRaises(asyncio.CancelledError):
                await task
            self.assertEqual(loop._engine.pending, 1)  # the watch of signals

        before = len(os.listdir("/proc/self/fd"))
        run(main())
        gc.collect()
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), before + 1)


class LoopTest(unittest.TestCase):
    """The loop itself."""

    def test_many_threads_call_soon(self):
        async def main():
            loop = asyncio.get_running_loop()
            got, done = [], asyncio.Event()

            def receive(item):
                got.append(item)
                if len(got) == 8000:
                    done.set()

            def send(number):
                for count in range(1000):
                    loop.call_soon_threadsafe(receive, (number, count))

            threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            await asyncio.wait_for(done.wait(), 60)
            for thread in threads:
                thread.join()
            return got

        got = run(main())
        for number in range(8):
            self.assertEqual([count for sender, count in got if sender == number], list(range(1000)))

    def test_threads_that_call_do_not_starve_sockets(self):
        async def main():
            loop = asyncio.get_running_loop()
            one, two = socket.socketpair()
            one.setblocking(False)
            stop = threading.Event()

            def spam():
                while not stop.is_set():
                    loop.call_soon_threadsafe(int)

            thread = threading.Thread(target=spam)
            thread.start()
            try:
                two.send(b"x")
                return await asyncio.wait_for(loop.sock_recv(one, 10), 60)
            finally:
                stop.set()
                thread.join()
                one.close(), two.close()

        self.assertEqual(run(main()), b"x")

    def test_writer_of_a_half_closed_connection(self):
        """The peer has ended its half and takes nothing: the loop has to sleep, and then to go on."""

        async def main():
            loop = asyncio.get_running_loop()
            one, two = socket.socketpair()
            one.setblocking(False)
            two.shutdown(socket.SHUT_WR)
            data = b"x" * 3_000_000
            task = asyncio.ensure_future(loop.sock_sendall(one, data))
            await asyncio.sleep(0.05)
            turns, run_once = [], loop._run_once
            loop._run_once = lambda: (turns.append(1), run_once())
            await asyncio.sleep(0.2)
            idle_turns = len(turns)
            two.setblocking(False)
            got = 0
            while got < len(data):
                got += len(await loop.sock_recv(two, 1_000_000))
            await task
            one.close(), two.close()
            return idle_turns

        self.assertLess(run(main()), 10)

    def test_reader_that_does_not_read_is_called_again(self):
        async def main():
            loop = asyncio.get_running_loop()
            one, two = socket.socketpair()
            calls, done = [], loop.create_future()

            def on_readable():
                calls.append(1)
                if len(calls) == 5:
                    loop.remove_reader(one)
                    done.set_result(None)

            loop.add_reader(one, on_readable)
            two.send(b"x")
            await asyncio.wait_for(done, 60)
            one.close(), two.close()

        run(main())

    def test_pause_and_end(self):
        """What comes while reading is paused, the end included, comes after it is resumed."""

        async def main():
            loop = asyncio.get_running_loop()
            events, lost = [], loop.create_future()

            class Protocol(asyncio.Protocol):
                def connection_made(self, transport):
                    self.transport = transport
                    transport.pause_reading()
                    loop.call_later(0.05, self.resume)

                def resume(self):
                    events.append("resumed")
                    self.transport.resume_reading()

                def data_received(self, data):
                    events.append(len(data))
                    self.transport.pause_reading()
                    loop.call_soon(self.transport.resume_reading)

                def eof_received(self):
                    events.append("end")

                def connection_lost(self, error):
                    lost.set_result(error)

            one, two = socket.socketpair()
            two.setblocking(False)
            await loop.create_connection(Protocol, sock=one)
            await loop.sock_sendall(two, b"x" * 100_000)
            two.close()
            self.assertIsNone(await asyncio.wait_for(lost, 60))
            return events

        events = run(main())
        self.assertEqual((events[0], events[-1], sum(events[1:-1])), ("resumed", "end", 100_000))

    def test_messages_of_changing_sizes(self):
        """Each is received whole whatever came before it, also by a protocol that pauses in between."""

        async def main(pauses):
            loop = asyncio.get_running_loop()
            received, arrived = bytearray(), asyncio.Event()

            class Protocol(asyncio.Protocol):
                def connection_made(self, transport):
                    self.transport = transport

                def data_received(self, data):
                    received.extend(data)
                    arrived.set()
                    if pauses:
                        self.transport.pause_reading()
                        loop.call_soon(self.transport.resume_reading)

            one, two = socket.socketpair()
            two.setblocking(False)
            transport, _ = await loop.create_connection(Protocol, sock=one)
            for size in (1, 479, 1, 480, 1, 478, 100_000, 1, 32768, 1, 1, 1_000_000, 5):
                message = os.urandom(size)
                await loop.sock_sendall(two, message)
                while len(received) < size:
                    arrived.clear()
                    await asyncio.wait_for(arrived.wait(), 60)
                self.assertEqual(received, message)
                received.clear()
            transport.close()
            two.close()

        run(main(False))
        run(main(True))

    def test_large_transfers(self):
        async def main():
            data = os.urandom(20_000_000)

            async def serve(reader, writer):
                writer.write(await reader.readexactly(len(data)))
                await writer.drain()
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(data)
            self.assertEqual(await reader.read(), data)
            writer.close()
            server.close()

        run(main())

    def test_port_is_free_after_close(self):
        async def main():
            for _ in range(20):
                server = await asyncio.start_server(print, "127.0.0.1", 0)
                address = server.sockets[0].getsockname()
                server.close()
                await server.wait_closed()
                again = socket.socket()
                again.bind(address)
                again.listen()
                again.close()

        run(main())

    def test_the_end_of_a_connection_is_not_read_by_a_closed_loop(self):
        ours, theirs = socket.socketpair()
        loop = libloop.new_event_loop()
        transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
        theirs.close()
        loop.close()
        with self.assertWarns(ResourceWarning):
            del transport, ours
            gc.collect()

    def test_ctrl_c(self):
        cancelled = []

        async def main():
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        with self.assertRaises(KeyboardInterrupt):
            run(main())
        self.assertEqual(cancelled, [True])

    def test_ctrl_c_loses_nothing(self):
        """With asyncio's handler of Ctrl-C out of the way it is raised in the loop: mostly where that waits,
        when completions may have been fetched already."""
        loop = libloop.new_event_loop()
        got = interrupts = 0
        pairs = [socket.socketpair() for _ in range(20)]

        async def receive(sock):
            nonlocal got
            for _ in range(60):
                data = await loop.sock_recv(sock, 1)
                got += len(data)

        def send():
            for _ in range(60):
                for _, two in pairs:
                    two.send(b"x")
                time.sleep(0.003)

        def interrupt(number, frame):
            if frame.f_code.co_name == "turn" and "rest" not in frame.f_locals:
                raise InterruptedError

        for one, _ in pairs:
            one.setblocking(False)
        tasks = [loop.create_task(receive(one)) for one, _ in pairs]
        sender = threading.Thread(target=send)
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        try:
            sender.start()
            while not all(task.done() for task in tasks) and interrupts < 10_000:
                try:
                    loop.run_until_complete(asyncio.wait(tasks))
                except InterruptedError:
                    interrupts += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            sender.join()
        self.assertEqual(got, 20 * 60)
        self.assertGreater(interrupts, 0)
        for sock in (sock for pair in pairs for sock in pair):
            sock.close()
        loop.close()

    def test_debug_mode_tells_of_slow_callbacks(self):
        async def main():
            asyncio.get_running_loop().slow_callback_duration = 0.01
            time.sleep(0.05)

        with self.assertLogs("asyncio", "WARNING") as logs:
            run(main(), debug=True)
        self.assertIn("took 0.0", "".join(logs.output))

    def test_policy(self):
        asyncio.set_event_loop_policy(libloop.EventLoopPolicy())
        self.addCleanup(asyncio.set_event_loop_policy, None)
        loop = asyncio.new_event_loop()
        self.assertIsInstance(loop, libloop.EventLoop)
        loop.close()


class SelectorTest(unittest.TestCase):
    """The selector alone, beside the system's."""

    def test_as_the_selector_of_the_system(self):
        one, two = socket.socketpair()
        two.send(b"x")
        answers = []
        for selector in (selectors.EpollSelector(), libloop.Selector()):
            with selector:
                key = selector.register(one, selectors.EVENT_READ, "data")
                self.assertEqual(selector.get_key(one), key)
                self.assertEqual(list(selector.get_map().values()), [key])
                first = selector.select(1)
                again = selector.select(1)
                selector.modify(one, selectors.EVENT_READ | selectors.EVENT_WRITE, "both")
                selector.select(1)  # may still tell of what was found before
                both = selector.select(1)
                self.assertRaises(KeyError, selector.register, one, selectors.EVENT_READ)
                self.assertRaises(ValueError, selector.register, two, 0)
                selector.unregister(one)
                self.assertRaises(KeyError, selector.unregister, one)
                answers.append((first, again, both, selector.select(0)))
        one.close(), two.close()
        self.assertEqual(answers[0], answers[1])

    def test_closed_descriptor_is_refused(self):
        with libloop.Selector() as selector:
            self.assertRaises(OSError, selector.register, 9999, selectors.EVENT_READ)

    def test_asyncio_on_the_selector(self):
        async def main():
            reader, writer = await asyncio.open_connection(*server.getsockname())
            writer.write(b"ping")
            peer, _ = server.accept()
            with peer:
                self.assertEqual(peer.recv(4), b"ping")
                peer.send(b"pong")
            self.assertEqual(await reader.read(), b"pong")
            writer.close()

        with socket.create_server(("127.0.0.1", 0)) as server:
            loop = asyncio.SelectorEventLoop(libloop.Selector())
            try:
                loop.run_until_complete(main())
            finally:
                loop.close()


if __name__ == "__main__":
    unittest.main()
