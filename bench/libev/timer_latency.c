/*
 * How exactly timers of 1 ms fire while the loop is busy: up to 32 of them, started at random when one of 16
 * bytes arrives that bounce between socket pairs of the same loop.
 *
 * timer_p50_us ...      how far from the time that was asked for (1 ms after the start), early or late
 * timer_early_percent   how many were early
 *
 * The clock of libev's timers is read once a turn.
 *
 * Usage: timer_latency WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../latency.h"

#include <ev.h>

struct timer {
    ev_timer watcher;
    uint64_t due_ns;
};

static struct timer timers[LATENCY_TIMERS];
static ev_io watches[LOAD_ENDS];
static int ends[LOAD_ENDS];
static struct latency latency;

static void start_timer(struct ev_loop *loop, struct timer *timer) {
    timer->due_ns = now_ns() + LATENCY_DELAY_NS;
    ev_timer_set(&timer->watcher, LATENCY_DELAY_NS / 1e9, 0);
    ev_timer_start(loop, &timer->watcher);
}

static void on_timer(struct ev_loop *loop, ev_timer *watcher, int events) {
    struct timer *timer = watcher->data;
    (void)events;
    if (!latency_fired(&latency, (int)(timer - timers), timer->due_ns)) ev_break(loop, EVBREAK_ALL);
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events) {
    CHECK(events == EV_READ);
    load_bounce(watcher->fd);
    const int next = latency_next(&latency);
    if (next >= 0) start_timer(loop, &timers[next]);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    CHECK(loop != NULL);
    load_open(ends);
    latency_begin(&latency, window_ms);
    for (int i = 0; i < LOAD_ENDS; i++) {
        ev_io_init(&watches[i], on_readable, ends[i], EV_READ);
        ev_io_start(loop, &watches[i]);
    }
    for (int i = 0; i < LATENCY_TIMERS; i++) {
        ev_init(&timers[i].watcher, on_timer);
        timers[i].watcher.data = &timers[i];
    }
    ev_run(loop, 0);
    ev_loop_destroy(loop);
    load_close(ends);
    latency_report(&latency);
    return 0;
}
