"""A program with types, for mypy in test_types.py. Lines that come after `refused:` are wrong."""

import asyncio
import contextlib
import socket
from typing import List

import libloop


def on_accept(operation: "libloop.Operation[socket.socket]") -> None:
    """A callback."""
    with contextlib.suppress(libloop.Cancelled):
        operation.result().close()
        # refused: operation.result().open()


async def main(loop: libloop.Loop) -> int:
    """A coroutine of the plain loop."""
    fd = await loop.open("/proc/self/comm")
    # refused: text: str = await loop.write(fd, b"")
    buffer = bytearray(10)
    await loop.read(fd, buffer, timeout=1.0)
    await loop.close_fd(fd)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        loop.accept(listener, callback=on_accept)
        # refused: loop.accept(listener.fileno())
        await loop.cancel_fd(listener.fileno())
    lengths: List[int] = [await loop.work(len, buffer)]
    task = loop.spawn(other(loop))
    name: str = await task
    # refused: number: int = await task
    return lengths[0] + len(name)


async def other(loop: libloop.Loop) -> str:
    """Another."""
    host, _ = await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST)
    return host


async def with_asyncio() -> bytes:
    """A coroutine of asyncio."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, libloop.EventLoop)
    data: bytes = await loop.read_file("/proc/self/comm")
    # refused: await loop.read_file(3)
    return data


if __name__ == "__main__":
    with libloop.Loop(backend="epoll") as plain:
        total = plain.run(main(plain))
        # refused: plain.run(main)
        print(total)
    contents: bytes = libloop.run(with_asyncio())
    # refused: contents = libloop.run(with_asyncio)
    print(contents)
