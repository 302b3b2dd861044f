/*
 * COUNT timers with random delays, one shot each.
 *
 * timers_start_ns   start one
 * timers_cancel_ns  stop one long before it is due (libev reports nothing then)
 * timers_fire_ns    deliver one, when all are due already: the loop's work without the waiting
 *
 * Usage: timers COUNT
 * SPDX-License-Identifier: MIT
 */
#include "../timers.h"

#include <ev.h>

static struct ev_loop *loop;
static ev_timer *timers;
static uint64_t count;
static uint64_t random_state = 88172645463325252u;
static uint64_t fired;

static void on_timer(struct ev_loop *unused, ev_timer *timer, int events) {
    (void)unused;
    (void)timer;
    (void)events;
    fired++;
}

static void start_all(uint64_t shortest_ms) {
    for (uint64_t i = 0; i < count; i++) {
        const double delay_s = (double)random_delay_ms(&random_state, shortest_ms) / 1000;
        ev_timer_init(&timers[i], on_timer, delay_s, 0);
        ev_timer_start(loop, &timers[i]);
    }
}

static void stop_all(void) {
    for (uint64_t i = 0; i < count; i++) ev_timer_stop(loop, &timers[i]);
}

static void start_and_stop(void) {
    const uint64_t begin_ns = now_ns();
    start_all(TIMER_FAR_MS);
    const uint64_t started_ns = now_ns();
    stop_all();
    const uint64_t stopped_ns = now_ns();
    report_share("timers_start_ns", started_ns - begin_ns, count);
    report_share("timers_cancel_ns", stopped_ns - started_ns, count);
}

static void start_and_fire(void) {
    ev_now_update(loop);
    start_all(near_ms(count));
    wait_until_due(now_ns(), count);
    CHECK(fired == 0);
    const uint64_t begin_ns = now_ns();
    CHECK(ev_run(loop, 0) == 0);
    report_share("timers_fire_ns", now_ns() - begin_ns, count);
    CHECK(fired == count);
}

int main(int argc, char **argv) {
    count = number_argument(argc, argv, 1, TIMERS_MAX);
    timers = malloc(count * sizeof *timers);
    loop = ev_loop_new(EVFLAG_AUTO);
    CHECK(timers != NULL && loop != NULL);
    start_all(TIMER_FAR_MS); /* a warm-up */
    stop_all();
    start_and_stop();
    start_and_fire();
    ev_loop_destroy(loop);
    free(timers);
    return 0;
}
