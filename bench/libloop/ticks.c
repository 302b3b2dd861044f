/*
 * Ticks: 64 are always in flight, so that each turn delivers 64 of them.
 *
 * ticks_each   every tick is submitted again in its own callback
 * ticks_batch  all 64 are submitted again in the callback of the last one
 * Both are ns per tick, from submit to the return of its callback, and check the order.
 *
 * Usage: ticks WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"
#include "backend.h"

#include <loop.h>

static loop_request_t ticks[TICK_BATCH];
static loop_request_t *expected;
static struct measurement measurement;

static void expect(const loop_request_t *request, int64_t result) {
    CHECK(request == expected && result == 0);
    expected = request == &ticks[TICK_BATCH - 1] ? ticks : expected + 1;
}

static void on_tick_each(loop_t *loop, loop_request_t *request, int64_t result) {
    expect(request, result);
    if (measurement_continues(&measurement)) CHECK(loop_on_next_tick(loop, request, on_tick_each) == 0);
}

static void on_tick_batch(loop_t *loop, loop_request_t *request, int64_t result) {
    expect(request, result);
    const bool goes_on = measurement_continues(&measurement);
    if (request != &ticks[TICK_BATCH - 1] || !goes_on) return;
    for (int i = 0; i < TICK_BATCH; i++) CHECK(loop_on_next_tick(loop, &ticks[i], on_tick_batch) == 0);
}

static void run(const char *name, loop_callback_t callback, uint64_t window_ms) {
    loop_t *loop = make_loop();
    expected = ticks;
    measurement_begin(&measurement, window_ms);
    for (int i = 0; i < TICK_BATCH; i++) CHECK(loop_on_next_tick(loop, &ticks[i], callback) == 0);
    CHECK(loop_run(loop) == 0);
    CHECK(loop_deinit(loop) == 0);
    report_each(name, &measurement);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    run("ticks_each", on_tick_each, window_ms);
    run("ticks_batch", on_tick_batch, window_ms);
    return 0;
}
