"""Runs the HTTP servers for the benchmark: libloop's example, the one on libuv, and nginx.

The load is wrk, which run.py starts. What is measured is the requests that it counts, and the processor time
of the server meanwhile.
"""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from workloads import HTTP_FILES, HTTP_ROOT, OUTPUT, SOURCES

START_LIMIT_SECONDS = 10


def make_files():
    """Make the files that are served, if they are not there."""
    HTTP_ROOT.mkdir(exist_ok=True)
    for name, size in HTTP_FILES.items():
        path = HTTP_ROOT / name
        if not path.exists() or path.stat().st_size != size:
            path.write_bytes(random.Random(size).randbytes(size))


def nginx_program():
    """Return the path of nginx, None if it is not installed. It may be where only root looks for programs."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def nginx_version():
    """Return what nginx says of itself, on standard error."""
    program = nginx_program()
    said = program and subprocess.run([program, "-v"], capture_output=True, text=True).stderr
    match = re.search(r"nginx/(\S+)", said or "")
    return match.group(1) if match else "none"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def nginx_command(program):
    directory = OUTPUT / "nginx"
    directory.mkdir(exist_ok=True)
    port = free_port()
    text = SOURCES["nginx", program][0].read_text()
    configuration = directory / "nginx.conf"
    configuration.write_text(text.replace("@PORT@", str(port)).replace("@ROOT@", f'"{HTTP_ROOT}"'))
    # As root it would give its worker to a user who perhaps may not read our files.
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    return [nginx_program(), "-p", str(directory), "-e", "stderr", "-c", str(configuration), *user], port


def command_of(side, binary, program, variant):
    """Return what starts the server, and its port if the server does not print it."""
    if side.folder == "nginx":
        return nginx_command(program)
    if side.folder == "libloop":
        backend = side.environment["LOOP_BENCH_BACKEND"]
        return [str(binary), "-p", "0", "-r", str(HTTP_ROOT), "-b", backend], None
    return [str(binary), str(HTTP_ROOT), variant], None


def wait_for(port):
    """Wait until a server listens."""
    limit = time.monotonic() + START_LIMIT_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > limit:
                raise ValueError(f"no server on port {port}") from None
            time.sleep(0.01)


@contextmanager
def serving(command, port, environment):
    """Run a server; yield its port and process id."""
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        if port is None:
            line = server.stdout.readline()
            match = re.search(r"(?:port |:)(\d+)", line)
            if not match:
                raise ValueError(f"{command[0]}: no port in {line!r}")
            port = int(match.group(1))
        wait_for(port)
        yield port, server.pid
        server.send_signal(signal.SIGTERM)
        status = server.wait(START_LIMIT_SECONDS)
        if status != 0:
            raise ValueError(f"{command} ended with {status}")
    finally:
        server.kill()
        server.wait()


def processor_time_ns(process):
    """Return the processor time that a process and its children have used, all threads."""
    total = 0
    for task in Path(f"/proc/{process}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
        total += sum(processor_time_ns(int(child)) for child in (task / "children").read_text().split())
    return total


def figures(output, used_ns):
    """Return the figures of a run as lines, from what wrk printed and the processor time of the server."""
    counted = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec: *([\d.]+)", output)
    if not counted or not rate or re.search("Socket errors|Non-2xx", output):
        raise ValueError(f"wrk: {output}")
    return f"http_rate {rate.group(1)}\nhttp_cpu_ns {used_ns / int(counted.group(1)):.0f}"
