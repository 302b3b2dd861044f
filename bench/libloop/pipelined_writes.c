/*
 * COUNT writes of 64 bytes, all submitted in one callback, each with a request of its own, on a stream
 * socket that a thread on the other processor drains. Every message is checked there. pipelined_writes_rate
 * is writes per second, from the first submit until the last message was read. (libloop promises no order
 * among writes in flight together; libuv and asio write in order.)
 *
 * Usage: pipelined_writes COUNT
 * SPDX-License-Identifier: MIT
 */
#include "../drain.h"
#include "backend.h"

static struct drain drain;
static loop_request_t *requests;
static uint64_t written;

static void on_write(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    (void)request;
    CHECK(result == WRITE_SIZE);
    written++;
}

static void on_begin(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)request;
    CHECK(result == 0);
    drain_begin(&drain);
    for (uint64_t i = 0; i < drain.count; i++) {
        CHECK(loop_write(loop, &requests[i], drain.fd, &drain.messages[i], WRITE_SIZE, on_write) == 0);
    }
}

static void run(loop_t *loop) {
    loop_request_t begin = {0};
    written = 0;
    CHECK(loop_on_next_tick(loop, &begin, on_begin) == 0);
    CHECK(loop_run(loop) == 0);
    drain_end(&drain);
    CHECK(written == drain.count);
}

int main(int argc, char **argv) {
    const uint64_t count = number_argument(argc, argv, 1, WRITES_MAX);
    requests = malloc(count * sizeof *requests);
    CHECK(requests != NULL);
    memset(requests, 0, count * sizeof *requests);
    drain_init(&drain, count);
    loop_t *loop = make_loop();
    run(loop);
    CHECK(loop_deinit(loop) == 0);
    drain_report("pipelined_writes_rate", &drain);
    free(requests);
    return 0;
}
