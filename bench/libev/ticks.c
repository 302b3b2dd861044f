/*
 * The nearest thing of libev to a tick: an idle watcher, which is called once a turn while it is active. 64
 * of them are active, so that each turn calls 64. Not the same work: watchers belong to the loop's own
 * thread, and libev polls the kernel without waiting in every turn.
 *
 * ticks_each   every watcher is stopped and started again in its own callback, as a one-shot tick would be
 * ticks_batch  every watcher is stopped in its callback; the last one starts all again
 * Both are ns per callback.
 *
 * Usage: ticks WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <ev.h>

static ev_idle idles[TICK_BATCH];
static int in_turn;
static struct measurement measurement;

static void on_idle_each(struct ev_loop *loop, ev_idle *idle, int events) {
    (void)events;
    ev_idle_stop(loop, idle);
    if (measurement_continues(&measurement)) ev_idle_start(loop, idle);
}

static void on_idle_batch(struct ev_loop *loop, ev_idle *idle, int events) {
    (void)events;
    ev_idle_stop(loop, idle);
    const bool goes_on = measurement_continues(&measurement);
    if (++in_turn < TICK_BATCH) return;
    in_turn = 0;
    if (!goes_on) return;
    for (int i = 0; i < TICK_BATCH; i++) ev_idle_start(loop, &idles[i]);
}

typedef void (*idle_callback)(struct ev_loop *loop, ev_idle *idle, int events);

static void run(const char *name, idle_callback callback, uint64_t window_ms) {
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    CHECK(loop != NULL);
    measurement_begin(&measurement, window_ms);
    for (int i = 0; i < TICK_BATCH; i++) {
        ev_idle_init(&idles[i], callback);
        ev_idle_start(loop, &idles[i]);
    }
    ev_run(loop, 0);
    ev_loop_destroy(loop);
    report_each(name, &measurement);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    run("ticks_each", on_idle_each, window_ms);
    run("ticks_batch", on_idle_batch, window_ms);
    return 0;
}
