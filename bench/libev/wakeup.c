/*
 * Ping-pong between two loops in two threads, each on a processor of its own: ev_async_send wakes the other
 * loop, whose callback sends one back. Both loops sleep in the kernel in between. wakeup_rate is round trips
 * per second.
 *
 * Usage: wakeup WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <ev.h>
#include <pthread.h>

static struct ev_loop *near_loop;
static struct ev_loop *far_loop;
static ev_async ping;
static ev_async pong;
static bool last; /* written before the last ping is sent */
static uint64_t answers;
static struct measurement measurement;

static void on_ping(struct ev_loop *loop, ev_async *async, int events) {
    (void)events;
    if (last) {
        ev_async_stop(loop, async);
        return;
    }
    answers++;
    ev_async_send(near_loop, &pong);
}

static void on_pong(struct ev_loop *loop, ev_async *async, int events) {
    (void)events;
    if (!measurement_continues(&measurement)) {
        last = true;
        ev_async_stop(loop, async);
    }
    ev_async_send(far_loop, &ping);
}

static struct ev_loop *make_loop(ev_async *async, void (*callback)(struct ev_loop *, ev_async *, int)) {
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    CHECK(loop != NULL);
    ev_async_init(async, callback);
    ev_async_start(loop, async);
    return loop;
}

static void *run_far_loop(void *unused) {
    pin_to_last_processor();
    ev_run(far_loop, 0);
    return unused;
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    pthread_t thread;
    near_loop = make_loop(&pong, on_pong);
    far_loop = make_loop(&ping, on_ping);
    CHECK(pthread_create(&thread, NULL, run_far_loop, NULL) == 0);
    pin_to_first_processor();
    measurement_begin(&measurement, window_ms);
    ev_async_send(far_loop, &ping);
    ev_run(near_loop, 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(answers == measurement.operations);
    ev_loop_destroy(near_loop);
    ev_loop_destroy(far_loop);
    report_rate("wakeup_rate", &measurement);
    return 0;
}
