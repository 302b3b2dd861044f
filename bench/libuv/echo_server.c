/*
 * A TCP echo server. Prints its port, serves until CONNECTIONS connections came and went, and exits.
 * echo_load.c measures it.
 *
 * Each connection is a uv_tcp_t that reads into one buffer shared by all (libuv calls back before it
 * reads again) and answers with uv_try_write, the shortest way that libuv has. What that could not take is
 * copied and goes with uv_write; the connection reads no more until it is gone.
 *
 * Usage: echo_server CONNECTIONS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"
#include "listener.h"

#include <string.h>
#include <uv.h>

struct rest {
    uv_write_t request;
    char data[];
};

static uv_loop_t loop;
static uv_tcp_t listener;
static char shared_buffer[ECHO_SHARED_BUFFER];
static int connections;
static int accepted;
static int ended;

static void on_read(uv_stream_t *stream, ssize_t received, const uv_buf_t *buffer);

static void on_closed(uv_handle_t *handle) {
    free(handle);
    ended++;
    if (ended == connections) uv_close((uv_handle_t *)&listener, NULL);
}

static void on_allocate(uv_handle_t *handle, size_t suggested_size, uv_buf_t *buffer) {
    (void)handle;
    (void)suggested_size;
    *buffer = uv_buf_init(shared_buffer, sizeof shared_buffer);
}

static void on_written(uv_write_t *request, int status) {
    CHECK(status == 0);
    CHECK(uv_read_start(request->handle, on_allocate, on_read) == 0);
    free(request->data);
}

static void write_rest(uv_stream_t *stream, const char *data, size_t length) {
    struct rest *rest = malloc(sizeof *rest + length);
    CHECK(rest != NULL);
    memcpy(rest->data, data, length);
    rest->request.data = rest;
    const uv_buf_t answer = uv_buf_init(rest->data, (unsigned)length);
    CHECK(uv_read_stop(stream) == 0);
    CHECK(uv_write(&rest->request, stream, &answer, 1, on_written) == 0);
}

static void on_read(uv_stream_t *stream, ssize_t received, const uv_buf_t *buffer) {
    if (received == 0) return;
    if (received < 0) {
        CHECK(received == UV_EOF);
        uv_close((uv_handle_t *)stream, on_closed);
        return;
    }
    const uv_buf_t answer = uv_buf_init(buffer->base, (unsigned)received);
    const int written = uv_try_write(stream, &answer, 1);
    CHECK(written >= 0 || written == UV_EAGAIN);
    const int sent = written >= 0 ? written : 0;
    if (sent < received) write_rest(stream, buffer->base + sent, (size_t)(received - sent));
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

int main(int argc, char **argv) {
    connections = (int)number_argument(argc, argv, 1, CONNECTIONS_MAX);
    raise_descriptor_limit();
    CHECK(uv_loop_init(&loop) == 0);
    start_listener(&loop, &listener, on_connection);
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(accepted == connections && ended == connections);
    CHECK(uv_loop_close(&loop) == 0);
    return 0;
}
