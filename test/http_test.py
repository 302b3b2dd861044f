#!/usr/bin/env python3
"""http_test.py SERVER [--backend NAME] [--threads N] [TEST]...: the HTTP server of the examples.

With --seconds N it only sends bad requests, for that long, and prints the seed with which they can be had
again. Exits with 77, which CTest counts as skipped, where the backend does not exist.

SPDX-License-Identifier: MIT
"""

import argparse
import contextlib
import os
import random
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

SKIPPED = 77
LIMIT_SECONDS = 60  # against hangs only
FUZZ_REQUESTS = 20000
FUZZ_AT_ONCE = 50
FUZZ_SEED = 4

HEAD_MAX, REQUEST_LINE_MAX, FIELDS_MAX, BODY_MAX = 8192, 4096, 64, 1024 * 1024

options = None  # of the command line


# ---- the server -----------------------------------------------------------------------------------------


class BackendMissing(Exception):
    """The backend that was asked for does not exist here."""


class Server:
    """A server that serves a directory, as a context."""

    def __init__(self, root, *limits, descriptors=None):
        self.command = [options.server, "-p", "0", "-r", str(root), "-t", str(options.threads),
                        "-b", options.backend]
        for limit in limits:
            self.command += ["-o", limit]
        self.descriptors = descriptors

    def __enter__(self):
        def limit_descriptors():
            if self.descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, preexec_fn=limit_descriptors)
        first_line = self.process.stdout.readline()
        if not first_line:
            errors = self.process.communicate()[1]
            raise BackendMissing(errors) if "operation not supported" in errors else AssertionError(errors)
        self.port = int(re.match(r"listening on 127\.0\.0\.1:(\d+),", first_line).group(1))
        return self

    def __exit__(self, *_):
        """End it if it has not ended, and see that it ended well."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self):
        try:
            _, errors = self.process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the server does not end") from None
        assert self.process.returncode == 0, f"the server ended with {self.process.returncode}: {errors}"

    def connect(self, **more):
        return Client(self.port, **more)

    def get(self, target, *fields, method="GET"):
        """One request on a connection of its own."""
        with self.connect() as client:
            return client.ask(target, *fields, method=method)

    def cpu_seconds(self):
        """The processor time that it has used so far, all threads."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text()
        ticks = text.rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def descriptor_count(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@dataclass
class Response:
    status: int
    fields: dict
    body: bytes = b""


class Client:
    """A connection that reads answers and believes nothing."""

    def __init__(self, port, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(LIMIT_SECONDS)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def ask(self, target, *fields, method="GET", body=b""):
        self.send(head(method, target, *fields) + body)
        return self.response(method)

    def begin(self, part):
        """Have the server begin with a request. This first part is there for sure: it came with another."""
        self.send(head("GET", "/hello") + part)
        self.response()

    def receive(self):
        """Receive more; false at the end."""
        data = self.socket.recv(65536)
        self.buffer += data
        return bool(data)

    def at_end(self):
        """Wait for more; true when there is nothing but the end, which a reset is not."""
        return not self.buffer and not self.receive()

    def line(self):
        while b"\r\n" not in self.buffer:
            if not self.receive():
                raise EOFError(f"the connection ended after {self.buffer!r}")
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode("ascii")

    def response(self, method="GET"):
        """Read an answer, and see that it is well-formed."""
        match = re.fullmatch(r"HTTP/1\.1 ([1-5]\d\d) [ -~]+", self.line())
        assert match, "not a status line"
        response = Response(int(match.group(1)), {})
        while line := self.line():
            name, colon, value = line.partition(": ")
            assert colon and re.fullmatch(r"[A-Za-z-]+", name), f"not a field: {line!r}"
            assert name.lower() not in response.fields, f"twice: {line!r}"
            response.fields[name.lower()] = value
        if method == "HEAD" or response.status in (100, 304):
            return response
        length = int(response.fields["content-length"])
        while len(self.buffer) < length:
            if not self.receive():
                raise EOFError(f"{len(self.buffer)} bytes instead of {length}")
        response.body, self.buffer = self.buffer[:length], self.buffer[length:]
        return response


def head(method, target, *fields, version="HTTP/1.1", host="Host: test"):
    lines = [f"{method} {target} {version}", *([host] if host else []), *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunked(*pieces, extension="", trailer=""):
    """Return a chunked body of these pieces."""
    chunks = [f"{len(piece):x}{extension}\r\n".encode() + piece + b"\r\n" for piece in pieces]
    return b"".join(chunks) + f"0\r\n{trailer}\r\n".encode()


CHUNKED = "Transfer-Encoding: chunked"


# ---- the files -------------------------------------------------------------------------------------------


def make_files(root):
    """Make the files that are served, and one outside of the root that must not be."""
    generator = random.Random(1)
    files = {"index.html": b"<p>start</p>\n", "style.css": b"p {}\n", "empty.txt": b"",
             "data.json": b"{}", "unknown.xyz": b"?", "a b%.txt": b"percent\n",
             "small.bin": generator.randbytes(1024), "edge.bin": generator.randbytes(8192),
             "large.bin": generator.randbytes(65536), "huge.bin": generator.randbytes(8 << 20),
             "folder/index.html": b"<p>folder</p>\n", "folder/page.html": b"<p>page</p>\n"}
    served = root / "served"
    for name, contents in files.items():
        path = served / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
        os.utime(path, (1000000000, 1000000000))
    (root / "secret.txt").write_text("secret")
    (served / "link_out").symlink_to("../secret.txt")
    (served / "link_in").symlink_to("index.html")
    os.mkfifo(served / "pipe")
    return served, files


class HttpTest(unittest.TestCase):
    """What all tests have: files, and a server that serves them with the usual limits."""

    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)
        directory = cls.stack.enter_context(tempfile.TemporaryDirectory())
        cls.root, cls.files = make_files(Path(directory))
        cls.server = cls.stack.enter_context(Server(cls.root))


# ---- what is served --------------------------------------------------------------------------------------


class Files(HttpTest):
    def test_each_file_comes_with_its_bytes_length_type_and_date(self):
        types = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
                 ".json": "application/json", ".txt": "text/plain; charset=utf-8",
                 ".bin": "application/octet-stream", ".xyz": "application/octet-stream"}
        for name, contents in self.files.items():
            target = "/" + name.replace("%", "%25").replace(" ", "%20")
            for method in ("GET", "HEAD", "GET"):  # the second GET may find the file kept
                response = self.server.get(target, method=method)
                self.assertEqual(response.status, 200, target)
                self.assertEqual(response.body, contents if method == "GET" else b"")
                self.assertEqual(response.fields["content-length"], str(len(contents)))
                self.assertEqual(response.fields["content-type"], types[Path(name).suffix])
                self.assertEqual(response.fields["last-modified"], formatdate(1000000000, usegmt=True))
                self.assertRegex(response.fields["date"], r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")

    def test_a_directory_is_its_index_with_a_slash_and_a_redirection_without(self):
        self.assertEqual(self.server.get("/").body, self.files["index.html"])
        self.assertEqual(self.server.get("/folder/?x=1").body, self.files["folder/index.html"])
        response = self.server.get("/folder?x=1")
        self.assertEqual((response.status, response.fields["location"]), (301, "/folder/"))

    def test_a_target_may_be_absolute_and_have_a_query(self):
        for target in ("http://test/small.bin", "HTTP://test:80/small.bin?a=b", "/small.bin?",
                       "/folder/../small.bin", "/./small.bin", "/%73mall.bin"):
            self.assertEqual(self.server.get(target).body, self.files["small.bin"], target)
        self.assertEqual(self.server.get("http://test").body, self.files["index.html"])

    def test_nothing_leads_out_of_the_root(self):
        for target in ("/../secret.txt", "/folder/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt",
                       "/link_out", "//etc/passwd", "/%2fetc/passwd", "/pipe",
                       str(self.root.parent / "secret.txt").replace("/", "//", 1)):
            self.assertEqual(self.server.get(target).status, 403, target)
        self.assertEqual(self.server.get("/link_in").body, self.files["index.html"])

    def test_what_is_not_there_is_not_found(self):
        for target in ("/nothing", "/index.html/", "/folder/nothing", "/small.bin/x", "/" + "x" * 300):
            self.assertEqual(self.server.get(target).status, 404, target)

    def test_a_file_that_changes_is_served_anew(self):
        path = self.root / "changing.bin"
        for length in (100, 50000, 10):
            contents = os.urandom(length)
            path.with_suffix(".new").write_bytes(contents)
            path.with_suffix(".new").rename(path)
            limit = time.monotonic() + LIMIT_SECONDS
            while self.server.get("/changing.bin").body != contents:
                self.assertLess(time.monotonic(), limit, "it is the former file for ever")
                time.sleep(0.05)

    def test_a_file_that_is_removed_is_gone(self):
        path = self.root / "removed.bin"
        path.write_bytes(b"here")
        self.assertEqual(self.server.get("/removed.bin").body, b"here")
        path.unlink()
        limit = time.monotonic() + LIMIT_SECONDS
        while self.server.get("/removed.bin").status != 404:
            self.assertLess(time.monotonic(), limit, "it is there for ever")
            time.sleep(0.05)
        self.assertEqual(self.server.get("/removed.bin").status, 404)  # and does not come back

    def test_what_was_not_modified_is_not_sent(self):
        date = formatdate(1000000000, usegmt=True)
        for name in ("small.bin", "large.bin"):
            response = self.server.get(f"/{name}", f"If-Modified-Since: {date}")
            self.assertEqual((response.status, response.body), (304, b""))
            response = self.server.get(f"/{name}", f"If-Modified-Since: {formatdate(0, usegmt=True)}")
            self.assertEqual((response.status, response.body), (200, self.files[name]))


class Ranges(HttpTest):
    def assert_range(self, name, value, first, last):
        contents = self.files[name]
        response = self.server.get(f"/{name}", f"Range: {value}")
        self.assertEqual(response.status, 206, value)
        self.assertEqual(response.fields["content-range"], f"bytes {first}-{last}/{len(contents)}")
        self.assertEqual(response.body, contents[first:last + 1])

    def test_a_range_is_that_part_of_the_file(self):
        generator = random.Random(2)
        for name in ("small.bin", "edge.bin", "large.bin"):
            size = len(self.files[name])
            for _ in range(20):
                first, last = sorted(generator.choices(range(size), k=2))
                self.assert_range(name, f"bytes={first}-{last}", first, last)
                self.assert_range(name, f"bytes={first}-", first, size - 1)
                self.assert_range(name, f"bytes=-{size - first}", first, size - 1)
            self.assert_range(name, f"bytes=0-{size * 10}", 0, size - 1)
            self.assert_range(name, f"BYTES=-{size * 10}", 0, size - 1)
            self.assert_range(name, f"bytes=0-{10 ** 30}", 0, size - 1)

    def test_a_range_outside_of_the_file_is_416_with_its_size(self):
        for name, value in (("small.bin", "bytes=1024-"), ("small.bin", "bytes=-0"),
                            ("empty.txt", "bytes=0-"), ("empty.txt", "bytes=-1"),
                            ("large.bin", f"bytes={10 ** 30}-")):
            response = self.server.get(f"/{name}", f"Range: {value}")
            self.assertEqual(response.status, 416, value)
            self.assertEqual(response.fields["content-range"], f"bytes */{len(self.files[name])}")

    def test_what_is_no_single_range_of_bytes_is_answered_with_all(self):
        contents = self.files["small.bin"]
        for value in ("bytes=1-2,4-5", "bytes=5-4", "bytes=-", "bytes=x-", "bytes=1", "lines=1-2", "bytes",
                      "1-2", "bytes=1-2-3", "bytes= 1-2"):
            self.assertEqual(self.server.get("/small.bin", f"Range: {value}").body, contents, value)
        twice = self.server.get("/small.bin", "Range: bytes=1-2", "Range: bytes=3-4")
        self.assertEqual(twice.body, contents)

    def test_a_range_of_another_version_is_answered_with_all(self):
        date = formatdate(1000000000, usegmt=True)
        for condition, status in ((date, 206), (formatdate(0, usegmt=True), 200), ('"tag"', 200)):
            response = self.server.get("/large.bin", "Range: bytes=1-2", f"If-Range: {condition}")
            self.assertEqual(response.status, status, condition)


# ---- the protocol ----------------------------------------------------------------------------------------


class Protocol(HttpTest):
    def test_a_connection_serves_many_requests(self):
        with self.server.connect() as client:
            for name in [*self.files] * 3:
                if " " not in name:
                    self.assertEqual(client.ask(f"/{name}").body, self.files[name])
            self.assertEqual(client.ask("/hello", "Connection: x, Close").fields["connection"], "close")
            self.assertTrue(client.at_end())

    def test_pipelined_requests_are_answered_in_their_order(self):
        names = [name for name in self.files if " " not in name and name != "huge.bin"] * 20
        with self.server.connect() as client:
            def send_all():
                client.send(b"".join(head("GET", f"/{name}") for name in names))
                client.send(head("POST", "/echo", "Content-Length: 3") + b"end" + head("GET", "/hello"))
            sender = threading.Thread(target=send_all)
            sender.start()
            for name in names:
                self.assertEqual(client.response().body, self.files[name], name)
            self.assertEqual(client.response().body, b"end")
            self.assertEqual(client.response().body, b"Hello, world!\n")
            sender.join()

    def test_requests_may_come_byte_by_byte(self):
        stream = (b"\r\n\r\n" + head("GET", "/small.bin") +
                  head("POST", "/echo", CHUNKED) +
                  chunked(b"abc", b"d" * 20, extension=';x="y"', trailer="X: y\r\n") +
                  head("POST", "/echo", "Content-Length: 5") + b"12345")
        with self.server.connect() as client:
            for i in range(len(stream)):
                client.send(stream[i:i + 1])
            self.assertEqual(client.response().body, self.files["small.bin"])
            self.assertEqual(client.response().body, b"abc" + b"d" * 20)
            self.assertEqual(client.response().body, b"12345")

    def test_bodies_come_back(self):
        generator = random.Random(3)
        with self.server.connect() as client:
            for length in (0, 1, 100, 8191, 8192, 8193, 20000, 300000, BODY_MAX):
                body = generator.randbytes(length)
                response = client.ask("/echo", f"Content-Length: {length}", method="POST", body=body)
                self.assertEqual(response.body, body)
                cuts = sorted(generator.choices(range(length + 1), k=9))
                pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, length]) if a < b]
                response = client.ask("/echo", CHUNKED, method="POST", body=chunked(*pieces))
                self.assertEqual(response.body, body)

    def test_http_1_0_closes_unless_asked_to_keep_alive(self):
        with self.server.connect() as client:
            client.send(head("GET", "/hello", "Connection: keep-alive", version="HTTP/1.0", host=None))
            self.assertEqual(client.response().fields["connection"], "keep-alive")
            client.send(head("GET", "/hello", version="HTTP/1.0", host=None))
            self.assertEqual(client.response().fields["connection"], "close")
            self.assertTrue(client.at_end())

    def test_a_client_that_asks_is_told_to_continue(self):
        with self.server.connect() as client:
            for _ in range(2):
                client.send(head("POST", "/echo", "Content-Length: 4", "Expect: 100-Continue"))
                self.assertEqual(client.response().status, 100)
                client.send(b"body")
                self.assertEqual(client.response().body, b"body")
            # Nobody waits here, so nobody is told.
            client.send(head("POST", "/echo", "Content-Length: 4", "Expect: 100-continue") + b"body")
            self.assertEqual(client.response().body, b"body")

    def test_a_client_that_asks_is_told_no_before_it_sends(self):
        for target, length, status in (("/echo", BODY_MAX + 1, 413), ("/small.bin", 4, 405)):
            with self.server.connect() as client:
                client.send(head("POST", target, f"Content-Length: {length}", "Expect: 100-continue"))
                self.assertEqual(client.response().status, status)
                self.assertTrue(client.at_end())

    def test_methods(self):
        for method, target, status, allow in (("POST", "/small.bin", 405, "GET, HEAD"),
                                              ("GET", "/echo", 405, "POST"), ("HEAD", "/echo", 405, "POST"),
                                              ("DELETE", "/small.bin", 405, "GET, HEAD"),
                                              ("OPTIONS", "*", 405, "GET, HEAD"),
                                              ("CONNECT", "test:80", 405, "GET, HEAD"),
                                              ("BREW", "/pot", 501, None), ("get", "/", 501, None)):
            response = self.server.get(target, method=method)
            self.assertEqual((response.status, response.fields.get("allow")), (status, allow), method)

    def test_a_client_may_end_its_side_first(self):
        with self.server.connect() as client:
            client.send(head("GET", "/huge.bin") + head("GET", "/hello"))
            client.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(client.response().body, self.files["huge.bin"])
            self.assertEqual(client.response().status, 200)
            self.assertTrue(client.at_end())

    def test_clients_that_vanish_leave_nothing_behind(self):
        self.server.get("/hello")
        before = self.server.descriptor_count()
        for _ in range(30):
            with self.server.connect() as client:
                client.send(head("GET", "/huge.bin"))
                client.receive()
                abort(client.socket)
        limit = time.monotonic() + LIMIT_SECONDS
        while self.server.descriptor_count() > before + 1:  # the file itself is kept open
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.05)


def abort(connection):
    """Close with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


GET = ["GET / HTTP/1.1", "Host: test"]
POST = ["POST /echo HTTP/1.1", "Host: test"]

BAD_REQUESTS = (  # (status, the request line, or all lines of the head, or all bytes)
    (400, "/ HTTP/1.1"), (400, "GET HTTP/1.1"), (400, "GET  / HTTP/1.1"), (400, "GET / HTTP/1.1 "),
    (400, "GET /\tHTTP/1.1"), (400, " GET / HTTP/1.1"), (400, "GET / http/1.1"), (400, "GET / HTTP/1"),
    (400, "GET /"), (400, "GET /a#b HTTP/1.1"), (400, "GET index.html HTTP/1.1"),
    (400, "GET http:/// HTTP/1.1"), (400, "GET https://test/ HTTP/1.1"), (400, "G(T / HTTP/1.1"),
    (400, "GET /\xe4 HTTP/1.1"), (400, "GET /\x00 HTTP/1.1"), (400, "GET / HTTP/1.1\nHost: test"),
    (400, "GET / HTTP/1.1\rHost: test"), (400, b"GET / HTTP/1.1\n\n"),
    (400, "GET /%00 HTTP/1.1"), (400, "GET /% HTTP/1.1"), (400, "GET /%4 HTTP/1.1"),
    (400, "GET /%4x HTTP/1.1"),
    (505, "GET / HTTP/2.0"), (505, "GET / HTTP/1.2"), (505, "GET / HTTP/0.9"),
    (400, ["GET / HTTP/1.1"]), (400, [*GET, "Host: test"]), (400, ["GET / HTTP/1.1", "Host: a b"]),
    (400, ["GET / HTTP/1.1", "Host: a/b"]), (400, ["GET / HTTP/1.1", "Host : test"]),
    (400, ["GET / HTTP/1.1", " Host: test"]), (400, [*GET, " folded"]), (400, [*GET, "\tfolded"]),
    (400, [*GET, "no colon"]), (400, [*GET, ": no name"]), (400, [*GET, "na me: x"]),
    (400, [*GET, "na\x00me: x"]), (400, [*GET, "na\rme: x"]), (400, [*GET, "na\nme: x"]),
    (400, [*GET, "name: x\ry"]), (400, [*GET, "name: x\x00"]),
    (400, [*GET, "Content-Length: 3"]), (400, [*GET, CHUNKED]),
    (400, [*POST, "Content-Length: 3", CHUNKED]), (400, [*POST, CHUNKED, "Content-Length: 3"]),
    (400, [*POST, CHUNKED, CHUNKED]), (400, [*POST, "Content-Length: 3", "Content-Length: 3"]),
    (400, [*POST, "Content-Length: 3, 3"]), (400, [*POST, "Content-Length: +3"]),
    (400, [*POST, "Content-Length: -3"]), (400, [*POST, "Content-Length: 0x3"]),
    (400, [*POST, "Content-Length:"]), (400, [*POST, "Content-Length: 3 3"]),
    (413, [*POST, f"Content-Length: {BODY_MAX + 1}"]), (413, [*POST, f"Content-Length: {2 ** 64 + 3}"]),
    (501, [*POST, "Transfer-Encoding: gzip"]), (501, [*POST, "Transfer-Encoding: gzip, chunked"]),
    (501, [*POST, "Transfer-Encoding: chunked, chunked"]), (501, [*POST, "Transfer-Encoding: xchunked"]),
    (400, ["POST /echo HTTP/1.0", CHUNKED]), (417, [*POST, "Content-Length: 3", "Expect: 200-ok"]),
)

BAD_CHUNKS = (  # (status, what follows the head)
    (400, b"\r\n"), (400, b"x\r\n"), (400, b"-1\r\n"), (400, b"+1\r\n"), (400, b"0x1\r\n"), (400, b" 1\r\n"),
    (400, b"1 \r\n"), (400, b"1\n"), (400, b"1\r\nab"), (400, b"1\r\na\n"),
    (400, b"1\r\na\r\r"), (400, b"1\rx"),
    (400, b"1;x\x00\r\n"), (400, b"0000000000000001\r\n"), (400, b"fffffffffffffffff\r\n"),
    (413, b"%x\r\n" % (BODY_MAX + 1)), (413, b"fffffffffffffff\r\n"),
    (413, (b"80000\r\n" + b"x" * 0x80000 + b"\r\n") * 2 + b"1\r\n"),
    (400, b"0\r\n x: y\r\n"), (400, b"0\r\nno colon\r\n"), (400, b"0\r\n: x\r\n"), (400, b"0\r\nx: \x01\r\n"),
    (400, b"0\r\nx: y\n"), (400, b"0\r\n\rx"), (400, b"0\r\n" + b"x: y\r\n" * 4000),
    (400, b"1;" + b"x" * 9000),
)


class Refusals(HttpTest):
    def assert_refused(self, status, data, pieces):
        """Send it, in that many pieces: it is refused, and then the connection ends."""
        with self.server.connect() as client:
            try:
                for i in range(pieces):
                    client.send(data[len(data) * i // pieces:len(data) * (i + 1) // pieces])
            except (BrokenPipeError, ConnectionResetError):
                pass  # it was refused before all was sent
            response = client.response()
            self.assertEqual(response.status, status, data[:100])
            self.assertEqual(response.fields["connection"], "close")
            self.assertTrue(client.at_end(), data[:100])

    def test_bad_heads(self):
        for status, lines in BAD_REQUESTS:
            if isinstance(lines, str):
                lines = [lines, "Host: test"]
            data = lines if isinstance(lines, bytes) else "\r\n".join([*lines, "", ""]).encode("latin-1")
            for pieces in (1, 3):
                self.assert_refused(status, data, pieces)

    def test_bad_chunks(self):
        for status, data in BAD_CHUNKS:
            for pieces in (1, 3):
                self.assert_refused(status, head("POST", "/echo", CHUNKED) + data, pieces)

    def test_too_long_a_request_line_is_414(self):
        for length in (REQUEST_LINE_MAX, HEAD_MAX, 100000):
            self.assert_refused(414, head("GET", "/" + "x" * length), 2)
        self.assert_refused(414, b"GET /" + b"x" * (REQUEST_LINE_MAX + 10), 2)  # and no end of it

    def test_too_long_a_head_is_431(self):
        self.assert_refused(431, head("GET", "/", "X: " + "x" * HEAD_MAX), 2)
        self.assert_refused(431, head("GET", "/", *["X: " + "x" * 1000] * 9), 2)
        self.assert_refused(431, head("GET", "/", "X: " + "x" * 100000), 2)

    def test_too_many_fields_are_431(self):
        self.assert_refused(431, head("GET", "/", *["X: y"] * FIELDS_MAX), 2)

    def test_the_largest_that_is_allowed(self):
        path = "/" + "x" * (REQUEST_LINE_MAX - len("GET / HTTP/1.1"))
        self.assertEqual(self.server.get(path).status, 414)  # understood; but no file has such a name
        self.assertEqual(self.server.get("/hello?" + path[8:]).status, 200)
        self.assertEqual(self.server.get("/hello", *["X: y"] * (FIELDS_MAX - 1)).status, 200)
        rest = HEAD_MAX - len(head("GET", "/hello", "X: "))
        for before in (0, 1, 1000):  # the head may be anywhere in the buffer
            with self.server.connect() as client:
                first = head("GET", "/hello", "X: " + "x" * before)
                client.send(first + head("GET", "/hello", "X: " + "x" * rest))
                self.assertEqual([client.response().status, client.response().status], [200, 200])


# ---- deadlines, load, the end ------------------------------------------------------------------------------


class Deadlines(HttpTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.stack.enter_context(
            Server(cls.root, "idle=300", "head=400", "body=500", "send=300", "drain=200"))

    def assert_times_out(self, parts, least, pause=0.05):
        """Send the parts with pauses; 408 comes, not before its time, perhaps after a 100."""
        with self.server.connect() as client:
            start = time.monotonic()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for part in parts:
                    client.send(part)
                    time.sleep(pause)
            response = client.response()
            if response.status == 100:
                response = client.response()
            self.assertGreaterEqual(time.monotonic() - start, least)
            self.assertEqual((response.status, response.fields["connection"]), (408, "close"))
            self.assertTrue(client.at_end())

    def test_an_idle_connection_is_closed_without_a_word(self):
        for requests in range(3):
            with self.server.connect() as client:
                for _ in range(requests):
                    client.ask("/hello")
                start = time.monotonic()
                self.assertTrue(client.at_end())
                self.assertGreaterEqual(time.monotonic() - start, 0.25)  # it began a little earlier

    def test_a_head_that_does_not_end_is_408(self):
        self.assert_times_out([b"GET / HTTP/1.1\r\nHost:"], 0.4)

    def test_bytes_now_and_then_do_not_extend_the_deadline(self):
        self.assert_times_out([b"GET / HTTP/1.1\r\n", *[b"x"] * 15], 0.4)

    def test_a_body_that_does_not_end_is_408(self):
        self.assert_times_out([head("POST", "/echo", "Content-Length: 5") + b"1234"], 0.5)
        self.assert_times_out([head("POST", "/echo", CHUNKED, "Expect: 100-continue")], 0.5)
        self.assert_times_out([head("POST", "/echo", CHUNKED), b"20\r\n", *[b"x"] * 15], 0.5)

    def test_a_client_that_takes_no_answer_is_dropped(self):
        before = self.server.descriptor_count()
        with self.server.connect(receive_buffer=4096) as client:
            client.send(head("GET", "/huge.bin"))
            client.receive()
            limit = time.monotonic() + LIMIT_SECONDS
            while self.server.descriptor_count() > before + 1:
                self.assertLess(time.monotonic(), limit)
                time.sleep(0.05)
            with self.assertRaises((EOFError, ConnectionResetError)):
                client.response()

    def test_a_slow_client_gets_all_of_a_long_file(self):
        with self.server.connect(receive_buffer=65536) as client:
            client.send(head("GET", "/huge.bin"))
            start = time.monotonic()
            while time.monotonic() - start < 1:  # longer than the limit of a send
                client.buffer += client.socket.recv(100000)
                time.sleep(0.05)
            self.assertEqual(client.response().body, self.files["huge.bin"])

    def test_a_client_that_does_not_close_is_closed(self):
        before = self.server.descriptor_count()
        with self.server.connect() as client:
            client.ask("/hello", "Connection: close")
            limit = time.monotonic() + LIMIT_SECONDS
            while self.server.descriptor_count() > before:
                self.assertLess(time.monotonic(), limit)
                time.sleep(0.05)


class Load(HttpTest):
    def test_wrk_sees_no_errors(self):
        for name in ("small.bin", "large.bin", "hello"):
            url = f"http://127.0.0.1:{self.server.port}/{name}"
            done = subprocess.run(["wrk", "-t1", "-c64", "-d1s", url], capture_output=True, text=True,
                                  timeout=LIMIT_SECONDS, check=True)
            self.assertNotRegex(done.stdout, "Socket errors|Non-2xx")
            requests = re.search(r"(\d+) requests in", done.stdout)
            self.assertGreater(int(requests.group(1)), 64, done.stdout)

    def test_all_are_served_in_the_end_when_descriptors_run_out(self):
        with Server(self.root, descriptors=48) as server, contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(server.connect()) for _ in range(150)]
            for client in waiting:
                client.send(head("GET", "/hello"))
            rounds = 0
            while waiting:
                answered = self.answered(waiting)
                if rounds == 0:
                    self.assertGreater(len(waiting), len(answered), "there were enough descriptors")
                    self.assert_is_quiet(server)
                for client in answered:
                    self.assertEqual(client.response().status, 200)
                    client.socket.close()
                    waiting.remove(client)
                rounds += 1
            self.assertEqual(server.get("/small.bin").body, self.files["small.bin"])

    def answered(self, clients):
        """Wait until some of them have their answer, and no more are coming."""
        limit = time.monotonic() + LIMIT_SECONDS
        count, last = -1, 0
        while count != last or count == 0:
            self.assertLess(time.monotonic(), limit, f"{len(clients)} clients wait for ever")
            last = count
            time.sleep(0.1)
            readable, _, _ = select.select([client.socket for client in clients], [], [], 0)
            ready = [client for client in clients if client.socket in readable]
            count = len(ready)
        return ready

    def assert_is_quiet(self, server):
        """While clients wait and no descriptor is left, next to no processor time is used."""
        before = server.cpu_seconds()
        time.sleep(1)
        self.assertLess(server.cpu_seconds() - before, 0.1)


class Stop(HttpTest):
    def test_every_answer_that_was_begun_is_complete(self):
        """Clients ask without end while the server is told to stop."""
        failures, complete = [], []

        def ask_until_the_end(server):
            try:
                with server.connect() as client:
                    while True:
                        client.send(head("GET", "/large.bin"))
                        if not client.receive():
                            return
                        if client.response().body != self.files["large.bin"]:
                            failures.append("wrong bytes")
                        complete.append(1)
            except (ConnectionResetError, BrokenPipeError):
                if client.buffer:
                    failures.append("a reset within an answer")
            except Exception as failure:  # above all EOFError: half an answer
                failures.append(failure)

        with Server(self.root) as server:
            clients = [threading.Thread(target=ask_until_the_end, args=(server,)) for _ in range(8)]
            for client in clients:
                client.start()
            while len(complete) < 50 and not failures:
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            server.wait()
            for client in clients:
                client.join()
        self.assertEqual(failures, [])

    def test_requests_that_were_begun_are_answered(self):
        with Server(self.root, "stop=60000") as server, contextlib.ExitStack() as stack:
            idle, half_head, half_body, reader = (
                stack.enter_context(server.connect(receive_buffer=65536)) for _ in range(4))
            idle.ask("/hello")
            half_head.begin(b"GET /small.bin HTT")
            half_body.begin(head("POST", "/echo", "Content-Length: 6") + b"abc")
            reader.send(head("GET", "/huge.bin"))
            self.assertTrue(reader.receive())
            server.process.send_signal(signal.SIGINT)
            self.assertTrue(idle.at_end())
            self.assert_refuses(server)
            half_head.send(b"P/1.1\r\nHost: test\r\n\r\n")
            half_body.send(b"def")
            for client, body in ((half_head, self.files["small.bin"]), (half_body, b"abcdef")):
                response = client.response()
                self.assertEqual((response.body, response.fields["connection"]), (body, "close"))
                self.assertTrue(client.at_end())
            self.assertEqual(reader.response().body, self.files["huge.bin"])
            for client in (half_head, half_body, reader):
                client.socket.close()
            server.wait()

    def assert_refuses(self, server):
        """New connections are refused, and soon not even made."""
        limit = time.monotonic() + LIMIT_SECONDS
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                with server.connect() as client, contextlib.suppress(ConnectionResetError):
                    self.assertTrue(client.at_end())
                self.assertLess(time.monotonic(), limit)

    def test_the_wait_for_clients_has_a_limit(self):
        with Server(self.root, "stop=300") as server, server.connect() as client:
            client.begin(b"GET ")
            start = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            server.wait()
            self.assertGreaterEqual(time.monotonic() - start, 0.3)

    def test_a_second_signal_ends_it_at_once(self):
        with Server(self.root, "stop=1000000000", "head=1000000000") as server, server.connect() as client:
            client.begin(b"GET ")
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            self.assertIsNone(server.process.poll())
            server.process.send_signal(signal.SIGTERM)
            server.wait()


# ---- curl ------------------------------------------------------------------------------------------------


class Curl(HttpTest):
    def curl(self, *arguments):
        done = subprocess.run(["curl", "--silent", "--show-error", "--fail", "--max-time", str(LIMIT_SECONDS),
                               *arguments], capture_output=True, check=True)
        return done.stdout

    def url(self, name):
        return f"http://127.0.0.1:{self.server.port}/{name}"

    def test_downloads(self):
        for name in ("index.html", "small.bin", "huge.bin"):
            self.assertEqual(self.curl(self.url(name)), self.files[name])
            self.assertEqual(self.curl("--http1.0", self.url(name)), self.files[name])
        self.assertEqual(self.curl("--location", self.url("folder")), self.files["folder/index.html"])
        both = self.curl(self.url("small.bin"), self.url("large.bin"))  # on one connection
        self.assertEqual(both, self.files["small.bin"] + self.files["large.bin"])

    def test_heads_ranges_and_dates(self):
        self.assertIn(b"Content-Length: 65536\r\n", self.curl("--head", self.url("large.bin")))
        self.assertEqual(self.curl("--range", "10-19", self.url("large.bin")), self.files["large.bin"][10:20])
        self.assertEqual(self.curl("--range", "-9", self.url("small.bin")), self.files["small.bin"][-9:])
        code = self.curl("--write-out", "%{http_code}", "--time-cond", formatdate(1000000000, usegmt=True),
                         self.url("large.bin"))
        self.assertEqual(code, b"304")

    def test_uploads(self):
        data = self.files["huge.bin"][:BODY_MAX]
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            for more in ((), ("--header", CHUNKED), ("--header", "Expect: 100-continue"), ("--http1.0",)):
                echo = self.curl(*more, "--data-binary", f"@{file.name}", self.url("echo"))
                self.assertEqual(echo, data, more)


# ---- bad requests without end ------------------------------------------------------------------------------

FUZZ_SEEDS = (
    head("GET", "/small.bin"), head("HEAD", "/large.bin", "Range: bytes=5-9"),
    head("GET", "/large.bin", "Range: bytes=-100", "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT"),
    head("GET", "/folder", "Connection: keep-alive, close", version="HTTP/1.0"),
    head("POST", "/echo", "Content-Length: 11", "Expect: 100-continue") + b"hello world",
    head("POST", "/echo", CHUNKED) + chunked(b"hello", b"world", extension=";a=b", trailer="X: y\r\n"),
    head("GET", "http://test/%73mall.bin?x#y") + head("GET", "/hello"),
    head("POST", "/echo", CHUNKED, "Content-Length: 3") + b"0\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
)

FUZZ_PIECES = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"%", b"..", b"/", b"-", b",", b";", b"HTTP/1.1", b"0",
    b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Range: bytes=", b"ffffffffffffffff",
    b"99999999999999999999", b"x" * 5000, b"X: y\r\n" * 70, bytes(range(256)),
)


def mutate(generator):
    """Return a request that is wrong in some places."""
    data = bytearray(generator.choice(FUZZ_SEEDS))
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(data) + 1)
        end = min(len(data), at + generator.choice((0, 1, 1, 2, 10, 100)))
        way = generator.randrange(5)
        if way == 0:
            data[at:end] = b""
        elif way == 1:
            data[at:at] = generator.choice(FUZZ_PIECES)
        elif way == 2:
            data[at:at + 1] = bytes([generator.randrange(256)])
        elif way == 3:
            data[at:at] = data[at:end] * generator.choice((1, 2, 20))
        else:
            other = generator.choice(FUZZ_SEEDS)
            data[at:] = other[generator.randrange(len(other)):]
    return bytes(data)


def check_answers(data, client):
    """Read answers until the end: each is well-formed. After a reset there is no more to be said."""
    with contextlib.suppress(ConnectionResetError):
        while not client.at_end():
            client.response("HEAD" if b"HEAD" in data else "GET")
            if b"HEAD" in data:
                return  # where its answer ends depends on what the server took for its method


def fuzz(server, generator, requests):
    """Send bad requests, some at a time, each on a connection that ends its side."""
    for _ in range(0, requests, FUZZ_AT_ONCE):
        batch = []
        for data in [mutate(generator) for _ in range(FUZZ_AT_ONCE)]:
            client = server.connect()
            batch.append((data, client))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, OSError):
                client.send(data)
                client.socket.shutdown(socket.SHUT_WR)
        for data, client in batch:
            try:
                check_answers(data, client)
            except Exception as failure:
                raise AssertionError(f"after {data!r}") from failure
            abort(client.socket)


class Fuzz(HttpTest):
    def test_bad_requests_get_good_answers_or_none(self):
        fuzz(self.server, random.Random(FUZZ_SEED), FUZZ_REQUESTS)
        self.assertEqual(self.server.get("/small.bin").body, self.files["small.bin"])


def fuzz_for(seconds, seed):
    with tempfile.TemporaryDirectory() as directory:
        root, files = make_files(Path(directory))
        print(f"bad requests for {seconds} s, --seed {seed}", flush=True)
        generator, count = random.Random(seed), 0
        limit = time.monotonic() + seconds
        with Server(root) as server:
            while time.monotonic() < limit:
                fuzz(server, generator, 1000)
                count += 1000
            assert server.get("/small.bin").body == files["small.bin"]
        print(f"{count} bad requests, the server is well")


def main():
    global options
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("tests", nargs="*")
    options = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as directory:
        try:
            with Server(directory):
                pass
        except BackendMissing as reason:
            print(f"skipped: {reason}")
            return SKIPPED
    if options.seconds:
        fuzz_for(options.seconds, options.seed)
        return 0
    program = unittest.main(argv=[sys.argv[0], *options.tests], verbosity=2, exit=False)
    return 0 if program.result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
