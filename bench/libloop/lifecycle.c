/*
 * What a loop costs that does nothing.
 *
 * lifecycle_ns               make a loop, run one tick on it, end it
 * lifecycle_rss_kib          resident memory of this process with one loop that has run, libraries included
 * lifecycle_anonymous_kib    the part of it that is no file: heap, stacks, the Go runtime's own memory
 * lifecycle_more_loop_kib    what each further loop adds to that
 *
 * Usage: lifecycle WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"
#include "backend.h"

#include <loop.h>

enum { MORE_LOOPS = 100 };

static uint64_t ticks;

static void on_tick(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    (void)request;
    CHECK(result == 0);
    ticks++;
}

static loop_t *make_and_run(void) {
    loop_request_t tick = {0};
    loop_t *loop = make_loop();
    CHECK(loop_on_next_tick(loop, &tick, on_tick) == 0);
    CHECK(loop_run(loop) == 0);
    return loop;
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    loop_t *more[MORE_LOOPS];
    struct measurement measurement;

    loop_t *loop = make_and_run();
    report_memory("lifecycle");
    const double before_kib = anonymous_kib();
    for (int i = 0; i < MORE_LOOPS; i++) more[i] = make_and_run();
    report("lifecycle_more_loop_kib", (anonymous_kib() - before_kib) / MORE_LOOPS);
    for (int i = 0; i < MORE_LOOPS; i++) CHECK(loop_deinit(more[i]) == 0);
    printf("version %s, %s backend\n", loop_version(), loop_backend_name(loop));
    CHECK(loop_deinit(loop) == 0);

    measurement_begin(&measurement, window_ms);
    ticks = 0;
    do {
        CHECK(loop_deinit(make_and_run()) == 0);
    } while (measurement_continues(&measurement));
    CHECK(ticks == measurement.operations);
    report_each("lifecycle_ns", &measurement);
    return 0;
}
