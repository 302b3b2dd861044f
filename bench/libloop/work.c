/*
 * Work functions that do next to nothing, on the blocking pool, IN_FLIGHT of them at a time; each is
 * queued again when it is done. work_rate is work functions per second. The pool has the default size
 * of the library.
 *
 * Usage: work WINDOW_MS IN_FLIGHT
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"
#include "backend.h"

#include <loop.h>

struct item {
    loop_request_t request;
    uint64_t worked;
    uint64_t done;
};

static struct item items[WORK_MAX];
static struct measurement measurement;

static void work(loop_request_t *request) {
    struct item *item = request->user;
    item->worked++;
}

static void on_done(loop_t *loop, loop_request_t *request, int64_t result) {
    struct item *item = request->user;
    item->done++;
    CHECK(result == 0 && item->worked == item->done);
    if (measurement_continues(&measurement)) CHECK(loop_queue_work(loop, request, work, on_done) == 0);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    const uint64_t in_flight = number_argument(argc, argv, 2, WORK_MAX);
    loop_t *loop = make_loop();
    measurement_begin(&measurement, window_ms);
    for (uint64_t i = 0; i < in_flight; i++) {
        items[i].request.user = &items[i];
        CHECK(loop_queue_work(loop, &items[i].request, work, on_done) == 0);
    }
    CHECK(loop_run(loop) == 0);
    CHECK(loop_deinit(loop) == 0);
    report_rate("work_rate", &measurement);
    return 0;
}
