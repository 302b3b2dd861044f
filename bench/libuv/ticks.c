/*
 * The nearest thing of libuv to a tick: an idle handle, which is called once a turn while it is
 * started. 64 of them are started, so that each turn calls 64. Not the same work: an idle handle
 * belongs to the loop's own thread, and makes libuv poll the kernel without waiting in every turn.
 *
 * ticks_each   every handle is stopped and started again in its own callback, as a one-shot tick would be
 * ticks_batch  every handle is stopped in its callback; the last one starts all again
 * Both are ns per callback.
 *
 * Usage: ticks WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <uv.h>

static uv_loop_t loop;
static uv_idle_t idles[TICK_BATCH];
static int in_turn;
static struct measurement measurement;

static void on_idle_each(uv_idle_t *idle) {
    CHECK(uv_idle_stop(idle) == 0);
    if (measurement_continues(&measurement)) CHECK(uv_idle_start(idle, on_idle_each) == 0);
}

static void on_idle_batch(uv_idle_t *idle) {
    CHECK(uv_idle_stop(idle) == 0);
    const bool goes_on = measurement_continues(&measurement);
    if (++in_turn < TICK_BATCH) return;
    in_turn = 0;
    if (!goes_on) return;
    for (int i = 0; i < TICK_BATCH; i++) CHECK(uv_idle_start(&idles[i], on_idle_batch) == 0);
}

static void run(const char *name, uv_idle_cb callback, uint64_t window_ms) {
    CHECK(uv_loop_init(&loop) == 0);
    measurement_begin(&measurement, window_ms);
    for (int i = 0; i < TICK_BATCH; i++) {
        CHECK(uv_idle_init(&loop, &idles[i]) == 0);
        CHECK(uv_idle_start(&idles[i], callback) == 0);
    }
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    for (int i = 0; i < TICK_BATCH; i++) uv_close((uv_handle_t *)&idles[i], NULL);
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_loop_close(&loop) == 0);
    report_each(name, &measurement);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    run("ticks_each", on_idle_each, window_ms);
    run("ticks_batch", on_idle_batch, window_ms);
    return 0;
}
