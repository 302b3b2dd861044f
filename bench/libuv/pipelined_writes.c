/*
 * COUNT writes of 64 bytes, all submitted in one callback, each with a request of its own, on a stream
 * socket that a thread on the other processor drains. Every message is checked there. pipelined_writes_rate
 * is writes per second, from the first submit until the last message was read.
 *
 * Usage: pipelined_writes COUNT
 * SPDX-License-Identifier: MIT
 */
#include "../drain.h"

#include <string.h>
#include <uv.h>

static uv_loop_t loop;
static uv_pipe_t stream;
static uv_idle_t begin;
static struct drain drain;
static uv_write_t *requests;
static uint64_t written;

static void on_write(uv_write_t *request, int status) {
    (void)request;
    CHECK(status == 0);
    written++;
}

static void on_begin(uv_idle_t *idle) {
    CHECK(uv_idle_stop(idle) == 0);
    drain_begin(&drain);
    for (uint64_t i = 0; i < drain.count; i++) {
        const uv_buf_t buffer = uv_buf_init((char *)&drain.messages[i], WRITE_SIZE);
        CHECK(uv_write(&requests[i], (uv_stream_t *)&stream, &buffer, 1, on_write) == 0);
    }
}

static void run(void) {
    written = 0;
    CHECK(uv_idle_start(&begin, on_begin) == 0);
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    drain_end(&drain);
    CHECK(written == drain.count);
}

int main(int argc, char **argv) {
    const uint64_t count = number_argument(argc, argv, 1, WRITES_MAX);
    requests = malloc(count * sizeof *requests);
    CHECK(requests != NULL);
    memset(requests, 0, count * sizeof *requests);
    drain_init(&drain, count);
    CHECK(uv_loop_init(&loop) == 0);
    CHECK(uv_idle_init(&loop, &begin) == 0);
    CHECK(uv_pipe_init(&loop, &stream, 0) == 0);
    CHECK(uv_pipe_open(&stream, drain.fd) == 0);
    run();
    uv_close((uv_handle_t *)&begin, NULL);
    uv_close((uv_handle_t *)&stream, NULL);
    drain.fd = -1; /* closed with the stream */
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_loop_close(&loop) == 0);
    drain_report("pipelined_writes_rate", &drain);
    free(requests);
    return 0;
}
