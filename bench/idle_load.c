/*
 * Opens CONNECTIONS connections to an echo server, makes one round trip of 64 bytes on each, and leaves them
 * idle, to see what the server's process has grown by. Only memory that is no file counts, and none of the
 * kernel's.
 *
 * idle_connection_bytes   what a connection adds
 * idle_anonymous_kib      what the process has with all of them
 *
 * Usage: idle_load PORT SERVER_PID CONNECTIONS
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_SIZE = 64 };

static int open_connection(uint16_t port) {
    char message[MESSAGE_SIZE];
    char answer[MESSAGE_SIZE];
    const int fd = connect_to_loopback(port);
    memset(message, fd & 0xff, sizeof message);
    CHECK(send(fd, message, sizeof message, MSG_NOSIGNAL) == sizeof message);
    CHECK(recv(fd, answer, sizeof answer, MSG_WAITALL) == sizeof answer);
    CHECK(memcmp(message, answer, sizeof answer) == 0);
    return fd;
}

int main(int argc, char **argv) {
    const uint16_t port = (uint16_t)number_argument(argc, argv, 1, 65535);
    const pid_t server = (pid_t)number_argument(argc, argv, 2, INT32_MAX);
    const int connections = (int)number_argument(argc, argv, 3, CONNECTIONS_MAX);
    int *fds = calloc((size_t)connections, sizeof *fds);
    CHECK(fds != NULL);
    raise_descriptor_limit();
    const double before_kib = anonymous_kib_of(server);
    for (int i = 0; i < connections; i++) fds[i] = open_connection(port);
    const double after_kib = anonymous_kib_of(server);
    report("idle_connection_bytes", (after_kib - before_kib) * 1024 / connections);
    report("idle_anonymous_kib", after_kib);
    for (int i = 0; i < connections; i++) close(fds[i]);
    free(fds);
    return 0;
}
