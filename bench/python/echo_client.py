"""The client of the echo benchmarks: echo_client.py PORT CONNECTIONS COUNT BYTES

Keeps one message in flight on each connection, on plain sockets and epoll, until COUNT have come back.
"""

import select
import socket
import sys


def main():
    """Runs the client; exits non-zero when an answer is not what was sent."""
    port, connections, count, size = map(int, sys.argv[1:])
    message = bytes(range(256))[:size] if size <= 256 else b"m" * size
    poll = select.epoll()
    sockets = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[sock.fileno()] = (sock.recv, sock.send)
        poll.register(sock, select.EPOLLIN)
        sock.send(message)
    left, unsent = count, count - connections
    while left > 0:
        for fd, _ in poll.poll():
            recv, send = sockets[fd]
            if recv(65536) != message:
                sys.exit(1)
            left -= 1
            if unsent > 0:
                unsent -= 1
                send(message)


if __name__ == "__main__":
    main()
