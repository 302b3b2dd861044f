"""The workloads of the benchmark of event loops for Python, each for any asyncio loop.

Each is a coroutine function that does `count` operations; run.py measures around it. What is not an event
loop's business (making files, starting a client) happens in a context before that.
"""

import asyncio
import contextlib
import pathlib
import subprocess
import sys
import tempfile

MESSAGE_BYTES = 64
CONNECTIONS = 32
FILES = 200
FILE_BYTES = 4096
READERS = 32


# ---- callbacks and timers --------------------------------------------------------------------------------


async def call_soon(count, _context):
    """A thousand callbacks are scheduled, and run, at a time."""
    loop = asyncio.get_running_loop()
    for _ in range(count // 1000):
        done = loop.create_future()
        for _ in range(999):
            loop.call_soon(int)
        loop.call_soon(done.set_result, None)
        await done


async def timers(count, _context):
    """Timers of different lengths, all started before any is due; then each fires."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def fired():
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    base = loop.time()
    for number in range(count):
        loop.call_at(base + (number * 7919 % count) * 1e-7, fired)
    await done


async def timers_cancelled(count, _context):
    """Timers that are cancelled before they are due, as deadlines mostly are."""
    loop = asyncio.get_running_loop()
    for _ in range(count // 100):
        handles = [loop.call_later(60 + number, int) for number in range(100)]
        for handle in handles:
            handle.cancel()
        await asyncio.sleep(0)


async def tasks(count, _context):
    """A task that yields once."""

    async def one():
        await asyncio.sleep(0)

    for _ in range(count // 100):
        await asyncio.gather(*[one() for _ in range(100)])


# ---- echo ------------------------------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def _serve(server, count):
    port = server.sockets[0].getsockname()[1]
    client = await asyncio.create_subprocess_exec(
        sys.executable, str(pathlib.Path(__file__).with_name("echo_client.py")),
        str(port), str(CONNECTIONS), str(count), str(MESSAGE_BYTES), stdout=subprocess.DEVNULL,
    )
    if await client.wait() != 0:
        raise RuntimeError("the client failed")
    server.close()


async def echo_protocol(count, _context):
    """Echo of short messages through a protocol."""
    loop = asyncio.get_running_loop()
    await _serve(await loop.create_server(Echo, "127.0.0.1", 0), count)


async def echo_streams(count, _context):
    """Echo of short messages through streams."""

    async def serve(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    await _serve(await asyncio.start_server(serve, "127.0.0.1", 0), count)


# ---- files -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def files():
    """A folder of small files."""
    with tempfile.TemporaryDirectory(dir=pathlib.Path(__file__).parent) as folder:
        paths = [f"{folder}/{number}" for number in range(FILES)]
        for path in paths:
            pathlib.Path(path).write_bytes(b"x" * FILE_BYTES)
        yield paths


def _read(path):
    with open(path, "rb", buffering=0) as file:
        return file.read()


async def _read_all(count, paths, readers):
    loop = asyncio.get_running_loop()
    numbers = iter(range(count))
    read = getattr(loop, "read_file", None)

    async def reader():
        for number in numbers:
            path = paths[number % len(paths)]
            data = await (read(path) if read else loop.run_in_executor(None, _read, path))
            assert len(data) == FILE_BYTES

    await asyncio.gather(*[reader() for _ in range(readers)])


async def read_files(count, paths):
    """Small files are opened, read and closed, many tasks at once."""
    await _read_all(count, paths, READERS)


async def read_files_in_turn(count, paths):
    """Small files are opened, read and closed, one after the other."""
    await _read_all(count, paths, 1)


# Name: function, operations, context.
WORKLOADS = {
    "call_soon": (call_soon, 200_000, contextlib.nullcontext),
    "tasks": (tasks, 40_000, contextlib.nullcontext),
    "timers": (timers, 50_000, contextlib.nullcontext),
    "timers_cancelled": (timers_cancelled, 50_000, contextlib.nullcontext),
    "echo_protocol": (echo_protocol, 40_000, contextlib.nullcontext),
    "echo_streams": (echo_streams, 30_000, contextlib.nullcontext),
    "read_files": (read_files, 8_000, files),
    "read_files_in_turn": (read_files_in_turn, 4_000, files),
}
