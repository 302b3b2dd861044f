/*
 * A TCP echo server. Prints its port, serves until CONNECTIONS connections came and went, and exits.
 * echo_load.c measures it.
 *
 * Each connection is an ev_io, and recv and send are called directly, with one buffer shared by all.
 *
 * Usage: echo_server CONNECTIONS
 * SPDX-License-Identifier: MIT
 */
#include "../echo_socket.h"

#include <ev.h>
#include <unistd.h>

struct connection {
    ev_io watcher;
    struct echo_socket socket;
};

static ev_io listener;
static char shared_buffer[ECHO_SHARED_BUFFER];
static int connections;
static int accepted;
static int ended;

static void end_connection(struct ev_loop *loop, struct connection *connection) {
    ev_io_stop(loop, &connection->watcher);
    close(connection->socket.fd);
    free(connection);
    ended++;
    if (ended == connections) ev_io_stop(loop, &listener);
}

static void change_events(struct ev_loop *loop, struct connection *connection, int events) {
    ev_io_stop(loop, &connection->watcher);
    ev_io_set(&connection->watcher, connection->socket.fd, events);
    ev_io_start(loop, &connection->watcher);
}

static void on_ready(struct ev_loop *loop, ev_io *watcher, int events) {
    struct connection *connection = watcher->data;
    const enum echo_state state = echo_once(&connection->socket, shared_buffer, sizeof shared_buffer);
    if (state == ECHO_ENDED) {
        end_connection(loop, connection);
    } else if ((state == ECHO_BLOCKED) != ((events & EV_WRITE) != 0)) {
        change_events(loop, connection, state == ECHO_BLOCKED ? EV_WRITE : EV_READ);
    }
}

static void on_listener(struct ev_loop *loop, ev_io *watcher, int events) {
    int fd;
    (void)events;
    while ((fd = accept_connection(watcher->fd)) >= 0) {
        struct connection *connection = malloc(sizeof *connection);
        CHECK(connection != NULL);
        connection->socket = (struct echo_socket){.fd = fd};
        ev_io_init(&connection->watcher, on_ready, fd, EV_READ);
        connection->watcher.data = connection;
        ev_io_start(loop, &connection->watcher);
        accepted++;
    }
}

int main(int argc, char **argv) {
    connections = (int)number_argument(argc, argv, 1, CONNECTIONS_MAX);
    raise_descriptor_limit();
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    CHECK(loop != NULL);
    const int listener_fd = listen_on_loopback();
    ev_io_init(&listener, on_listener, listener_fd, EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    CHECK(accepted == connections && ended == connections);
    ev_loop_destroy(loop);
    close(listener_fd);
    return 0;
}
