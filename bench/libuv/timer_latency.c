/*
 * How exactly timers of 1 ms fire while the loop is busy: up to 32 of them, started at random when one of 16
 * bytes arrives that bounce between socket pairs of the same loop.
 *
 * timer_p50_us ...      how far from the time that was asked for (1 ms after the start), early or late
 * timer_early_percent   how many were early
 *
 * The clock of libuv's timers counts whole milliseconds, and is read once a turn.
 *
 * Usage: timer_latency WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../latency.h"

#include <uv.h>

struct timer {
    uv_timer_t handle;
    uint64_t due_ns;
};

static uv_loop_t loop;
static struct timer timers[LATENCY_TIMERS];
static uv_poll_t watches[LOAD_ENDS];
static int ends[LOAD_ENDS];
static struct latency latency;

static void on_timer(uv_timer_t *handle) {
    struct timer *timer = handle->data;
    if (!latency_fired(&latency, (int)(timer - timers), timer->due_ns)) uv_stop(&loop);
}

static void start_timer(struct timer *timer) {
    timer->due_ns = now_ns() + LATENCY_DELAY_NS;
    CHECK(uv_timer_start(&timer->handle, on_timer, LATENCY_DELAY_NS / 1000000, 0) == 0);
}

static void on_readable(uv_poll_t *handle, int status, int events) {
    CHECK(status == 0 && events == UV_READABLE);
    load_bounce(*(int *)handle->data);
    const int next = latency_next(&latency);
    if (next >= 0) start_timer(&timers[next]);
}

static void close_handle(uv_handle_t *handle, void *unused) {
    (void)unused;
    uv_close(handle, NULL);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    CHECK(uv_loop_init(&loop) == 0);
    load_open(ends);
    latency_begin(&latency, window_ms);
    for (int i = 0; i < LOAD_ENDS; i++) {
        CHECK(uv_poll_init(&loop, &watches[i], ends[i]) == 0);
        watches[i].data = &ends[i];
        CHECK(uv_poll_start(&watches[i], UV_READABLE, on_readable) == 0);
    }
    for (int i = 0; i < LATENCY_TIMERS; i++) {
        CHECK(uv_timer_init(&loop, &timers[i].handle) == 0);
        timers[i].handle.data = &timers[i];
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_walk(&loop, close_handle, NULL);
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_loop_close(&loop) == 0);
    load_close(ends);
    latency_report(&latency);
    return 0;
}
