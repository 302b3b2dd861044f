/*
 * The listening socket of the servers: on the loopback, at a port that the system chooses and the program
 * prints.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_LIBUV_LISTENER_H
#define BENCH_LIBUV_LISTENER_H

#include "../support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <uv.h>

static inline void start_listener(uv_loop_t *loop, uv_tcp_t *listener, uv_connection_cb on_connection) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int length = sizeof address;
    CHECK(uv_tcp_init(loop, listener) == 0);
    CHECK(uv_tcp_bind(listener, (struct sockaddr *)&address, 0) == 0);
    CHECK(uv_listen((uv_stream_t *)listener, SOMAXCONN, on_connection) == 0);
    CHECK(uv_tcp_getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
}

#endif
