/*
 * What a loop costs that does nothing.
 *
 * lifecycle_ns               make a loop, run one idle callback on it, end it
 * lifecycle_rss_kib          resident memory of this process with one loop that has run, libraries included
 * lifecycle_anonymous_kib    the part of it that is no file: heap, stacks
 * lifecycle_more_loop_kib    what each further loop adds to that
 *
 * Usage: lifecycle WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <ev.h>

enum { MORE_LOOPS = 100 };

static uint64_t ticks;

static void on_idle(struct ev_loop *loop, ev_idle *idle, int events) {
    (void)events;
    ticks++;
    ev_idle_stop(loop, idle);
}

static struct ev_loop *make_and_run(void) {
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    ev_idle idle;
    CHECK(loop != NULL);
    ev_idle_init(&idle, on_idle);
    ev_idle_start(loop, &idle);
    ev_run(loop, 0);
    return loop;
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    struct ev_loop *more[MORE_LOOPS];
    struct measurement measurement;

    struct ev_loop *loop = make_and_run();
    report_memory("lifecycle");
    const double before_kib = anonymous_kib();
    for (int i = 0; i < MORE_LOOPS; i++) more[i] = make_and_run();
    report("lifecycle_more_loop_kib", (anonymous_kib() - before_kib) / MORE_LOOPS);
    for (int i = 0; i < MORE_LOOPS; i++) ev_loop_destroy(more[i]);
    ev_loop_destroy(loop);

    measurement_begin(&measurement, window_ms);
    ticks = 0;
    do {
        ev_loop_destroy(make_and_run());
    } while (measurement_continues(&measurement));
    CHECK(ticks == measurement.operations);
    report_each("lifecycle_ns", &measurement);
    return 0;
}
