/*
 * How exactly timers of 1 ms fire while the loop is busy: up to 32 of them, started at random when one of 16
 * bytes arrives that bounce between socket pairs of the same loop.
 *
 * timer_p50_us ...      how far from the time that was asked for (1 ms after the start), early or late
 * timer_early_percent   how many were early
 *
 * Usage: timer_latency WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../latency.h"
#include "backend.h"

struct timer {
    loop_request_t request;
    uint64_t due_ns;
};

static struct timer timers[LATENCY_TIMERS];
static loop_request_t watches[LOAD_ENDS];
static int ends[LOAD_ENDS];
static struct latency latency;
static bool stopping;

static void on_timer(loop_t *loop, loop_request_t *request, int64_t result) {
    struct timer *timer = request->user;
    if (stopping) return;
    CHECK(result == 0);
    if (latency_fired(&latency, (int)(timer - timers), timer->due_ns)) return;
    stopping = true;
    CHECK(loop_stop(loop) == 0);
}

static void start_timer(loop_t *loop, struct timer *timer) {
    timer->due_ns = now_ns() + LATENCY_DELAY_NS;
    CHECK(loop_timer_start(loop, &timer->request, LATENCY_DELAY_NS, 0, on_timer) == 0);
}

static void on_readable(loop_t *loop, loop_request_t *request, int64_t result) {
    if (stopping) return;
    CHECK(result == LOOP_READABLE);
    load_bounce(*(int *)request->user);
    const int next = latency_next(&latency);
    if (next >= 0) start_timer(loop, &timers[next]);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    loop_t *loop = make_loop();
    load_open(ends);
    latency_begin(&latency, window_ms);
    for (int i = 0; i < LOAD_ENDS; i++) {
        watches[i].user = &ends[i];
        CHECK(loop_add_fd(loop, &watches[i], ends[i], LOOP_READABLE | LOOP_EDGE_TRIGGERED, on_readable) == 0);
    }
    for (int i = 0; i < LATENCY_TIMERS; i++) timers[i].request.user = &timers[i];
    CHECK(loop_run(loop) == 0);
    CHECK(loop_deinit(loop) == 0);
    load_close(ends);
    latency_report(&latency);
    return 0;
}
