/*
 * Work functions that do next to nothing, on the thread pool, IN_FLIGHT of them at a time; each is
 * queued again when it is done. work_rate is work functions per second. The pool has the default size
 * of the library.
 *
 * Usage: work WINDOW_MS IN_FLIGHT
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <uv.h>

struct item {
    uv_work_t request;
    uint64_t worked;
    uint64_t done;
};

static uv_loop_t loop;
static struct item items[WORK_MAX];
static struct measurement measurement;

static void work(uv_work_t *request) {
    struct item *item = request->data;
    item->worked++;
}

static void on_done(uv_work_t *request, int status) {
    struct item *item = request->data;
    item->done++;
    CHECK(status == 0 && item->worked == item->done);
    if (measurement_continues(&measurement)) CHECK(uv_queue_work(&loop, request, work, on_done) == 0);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    const uint64_t in_flight = number_argument(argc, argv, 2, WORK_MAX);
    CHECK(uv_loop_init(&loop) == 0);
    measurement_begin(&measurement, window_ms);
    for (uint64_t i = 0; i < in_flight; i++) {
        items[i].request.data = &items[i];
        CHECK(uv_queue_work(&loop, &items[i].request, work, on_done) == 0);
    }
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_loop_close(&loop) == 0);
    report_rate("work_rate", &measurement);
    return 0;
}
