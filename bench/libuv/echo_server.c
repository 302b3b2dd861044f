/*
 * A TCP echo server. Prints its port, serves until CONNECTIONS connections came and went, and exits.
 *
 * Each connection is a uv_tcp_t that reads into one buffer shared by all (libuv calls back before it
 * reads again) and answers with uv_try_write, the shortest way that libuv has. echo_load.c measures
 * it.
 *
 * Usage: echo_server
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <uv.h>

static uv_loop_t loop;
static uv_tcp_t listener;
static char shared_buffer[65536];
static int accepted;
static int ended;

static void on_closed(uv_handle_t *handle) {
    free(handle);
    ended++;
    if (ended == CONNECTIONS) uv_close((uv_handle_t *)&listener, NULL);
}

static void on_allocate(uv_handle_t *handle, size_t suggested_size, uv_buf_t *buffer) {
    (void)handle;
    (void)suggested_size;
    *buffer = uv_buf_init(shared_buffer, sizeof shared_buffer);
}

static void on_read(uv_stream_t *stream, ssize_t received, const uv_buf_t *buffer) {
    if (received == 0) return;
    if (received < 0) {
        CHECK(received == UV_EOF);
        uv_close((uv_handle_t *)stream, on_closed);
        return;
    }
    /* A client has one short message under way, so there is always room for it. */
    const uv_buf_t answer = uv_buf_init(buffer->base, (unsigned)received);
    CHECK(uv_try_write(stream, &answer, 1) == received);
}

static void on_connection(uv_stream_t *server, int status) {
    uv_tcp_t *connection = malloc(sizeof *connection);
    CHECK(status == 0 && connection != NULL);
    CHECK(uv_tcp_init(&loop, connection) == 0);
    CHECK(uv_accept(server, (uv_stream_t *)connection) == 0);
    CHECK(uv_tcp_nodelay(connection, 1) == 0);
    accepted++;
    CHECK(uv_read_start((uv_stream_t *)connection, on_allocate, on_read) == 0);
}

static void listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int length = sizeof address;
    CHECK(uv_tcp_init(&loop, &listener) == 0);
    CHECK(uv_tcp_bind(&listener, (struct sockaddr *)&address, 0) == 0);
    CHECK(uv_listen((uv_stream_t *)&listener, CONNECTIONS, on_connection) == 0);
    CHECK(uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &length) == 0);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(void) {
    CHECK(uv_loop_init(&loop) == 0);
    listen_on_loopback();
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(accepted == CONNECTIONS && ended == CONNECTIONS);
    CHECK(uv_loop_close(&loop) == 0);
    return 0;
}
