/*
 * The socket side of the echo servers that are told when a connection is ready and make the system calls
 * themselves: libloop's watches, libev and raw epoll do exactly the same here. What a send could not take is
 * kept, and nothing more is read until it is gone.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_ECHO_SOCKET_H
#define BENCH_ECHO_SOCKET_H

#include "support.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

struct echo_socket {
    int fd;
    char *unsent; /* what could not be sent yet; NULL: nothing */
    size_t unsent_length;
};

enum echo_state {
    ECHO_MORE,    /* there may be more to read */
    ECHO_DRAINED, /* all was read and sent: wait until the socket is readable */
    ECHO_BLOCKED, /* wait until it is writable */
    ECHO_ENDED    /* the peer ended the stream, and all that it sent was sent back */
};

/* Send what can be sent, and return the number of bytes. */
static inline size_t echo_send(int fd, const char *data, size_t length) {
    const ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
    if (sent >= 0) return (size_t)sent;
    CHECK(errno == EAGAIN);
    return 0;
}

/* Send more of what was left over. */
static inline enum echo_state echo_flush(struct echo_socket *socket) {
    const size_t sent = echo_send(socket->fd, socket->unsent, socket->unsent_length);
    socket->unsent_length -= sent;
    memmove(socket->unsent, socket->unsent + sent, socket->unsent_length);
    if (socket->unsent_length > 0) return ECHO_BLOCKED;
    free(socket->unsent);
    socket->unsent = NULL;
    return ECHO_MORE;
}

static inline enum echo_state echo_keep(struct echo_socket *socket, const char *data, size_t length) {
    socket->unsent = (char *)malloc(length);
    CHECK(socket->unsent != NULL);
    memcpy(socket->unsent, data, length);
    socket->unsent_length = length;
    return ECHO_BLOCKED;
}

/* Receive once and send it back, or send what was left over. */
static inline enum echo_state echo_once(struct echo_socket *socket, char *buffer, size_t size) {
    if (socket->unsent != NULL) return echo_flush(socket);
    const ssize_t received = recv(socket->fd, buffer, size, 0);
    if (received == 0) return ECHO_ENDED;
    if (received < 0) {
        CHECK(errno == EAGAIN);
        return ECHO_DRAINED;
    }
    const size_t sent = echo_send(socket->fd, buffer, (size_t)received);
    if (sent < (size_t)received) return echo_keep(socket, buffer + sent, (size_t)received - sent);
    return (size_t)received < size ? ECHO_DRAINED : ECHO_MORE;
}

#endif
