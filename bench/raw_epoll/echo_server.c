/*
 * A TCP echo server on epoll, without a library: the limit for those that are built on epoll. Prints its
 * port, serves until CONNECTIONS connections came and went, and exits. echo_load.c measures it.
 *
 * Level-triggered; recv and send are called directly, with one buffer shared by all.
 *
 * Usage: echo_server CONNECTIONS
 * SPDX-License-Identifier: MIT
 */
#include "../echo_socket.h"

#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS = 1024 };

static char shared_buffer[ECHO_SHARED_BUFFER];
static int epoll_fd;
static int listener_fd;
static int accepted;
static int ended;

static void control(int operation, struct echo_socket *connection, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    CHECK(epoll_ctl(epoll_fd, operation, connection->fd, &event) == 0);
}

static void on_connection(struct echo_socket *connection, uint32_t events) {
    const enum echo_state state = echo_once(connection, shared_buffer, sizeof shared_buffer);
    if (state == ECHO_ENDED) {
        close(connection->fd);
        free(connection);
        ended++;
    } else if ((state == ECHO_BLOCKED) != ((events & EPOLLOUT) != 0)) {
        control(EPOLL_CTL_MOD, connection, state == ECHO_BLOCKED ? EPOLLOUT : EPOLLIN);
    }
}

static void on_listener(void) {
    int fd;
    while ((fd = accept_connection(listener_fd)) >= 0) {
        struct echo_socket *connection = malloc(sizeof *connection);
        CHECK(connection != NULL);
        *connection = (struct echo_socket){.fd = fd};
        control(EPOLL_CTL_ADD, connection, EPOLLIN);
        accepted++;
    }
}

int main(int argc, char **argv) {
    const int connections = (int)number_argument(argc, argv, 1, CONNECTIONS_MAX);
    struct epoll_event events[EVENTS] = {{.events = EPOLLIN, .data.ptr = NULL}};
    raise_descriptor_limit();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(epoll_fd >= 0);
    listener_fd = listen_on_loopback();
    CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener_fd, events) == 0);
    while (ended < connections) {
        const int ready = epoll_wait(epoll_fd, events, EVENTS, -1);
        CHECK(ready > 0);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == NULL) {
                on_listener();
            } else {
                on_connection(events[i].data.ptr, events[i].events);
            }
        }
    }
    CHECK(accepted == connections);
    close(epoll_fd);
    close(listener_fd);
    return 0;
}
