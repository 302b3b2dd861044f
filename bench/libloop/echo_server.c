/*
 * A TCP echo server. Prints its port, serves until CONNECTIONS connections came and went, and exits.
 *
 * Each connection is an edge-triggered watch: one shot for each arrival of data, which recv takes
 * until it comes up short, and a direct send. echo_load.c measures it.
 *
 * Usage: echo_server
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <loop.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint32_t EVENTS = LOOP_READABLE | LOOP_EDGE_TRIGGERED;

struct connection {
    loop_request_t watch;
    int fd;
};

static loop_request_t listener_watch;
static int listener_fd;
static int accepted;
static int ended;

/* Send back what is there. False at the end of the stream. */
static bool echo(const struct connection *connection) {
    char buffer[65536];
    for (;;) {
        const ssize_t received = recv(connection->fd, buffer, sizeof buffer, 0);
        if (received == 0) return false;
        if (received < 0) {
            CHECK(errno == EAGAIN);
            return true;
        }
        /* A client has one short message under way, so there is always room for it. */
        CHECK(send(connection->fd, buffer, (size_t)received, MSG_NOSIGNAL) == received);
        if ((size_t)received < sizeof buffer) return true;
    }
}

static void on_connection(loop_t *loop, loop_request_t *request, int64_t result) {
    struct connection *connection = request->user;
    if ((request->flags & LOOP_MORE) == 0) {
        CHECK(result == LOOP_ECANCELED);
        close(connection->fd);
        free(connection);
        ended++;
        if (ended == CONNECTIONS) CHECK(loop_remove_fd(loop, &listener_watch) == 0);
        return;
    }
    CHECK(result > 0);
    /* The end of the stream is reported with the last data at the latest. */
    const bool hung_up = (result & LOOP_HANGUP) != 0;
    if (!echo(connection) || (hung_up && !echo(connection))) CHECK(loop_remove_fd(loop, request) == 0);
}

static void add_connection(loop_t *loop, int fd) {
    const int on = 1;
    struct connection *connection = calloc(1, sizeof *connection);
    CHECK(connection != NULL);
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    connection->fd = fd;
    connection->watch.user = connection;
    accepted++;
    CHECK(loop_add_fd(loop, &connection->watch, fd, EVENTS, on_connection) == 0);
}

static void on_listener(loop_t *loop, loop_request_t *request, int64_t result) {
    if ((request->flags & LOOP_MORE) == 0) {
        CHECK(result == LOOP_ECANCELED);
        return;
    }
    for (;;) {
        const int fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) break;
        add_connection(loop, fd);
    }
    CHECK(errno == EAGAIN);
}

static int listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(bind(fd, (struct sockaddr *)&address, length) == 0);
    CHECK(listen(fd, CONNECTIONS) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(void) {
    loop_t *loop;
    CHECK(loop_init(&loop, NULL) == 0);
    listener_fd = listen_on_loopback();
    CHECK(loop_add_fd(loop, &listener_watch, listener_fd, EVENTS, on_listener) == 0);
    CHECK(loop_run(loop) == 0);
    CHECK(accepted == CONNECTIONS && ended == CONNECTIONS);
    CHECK(loop_deinit(loop) == 0);
    close(listener_fd);
    return 0;
}
