/*
 * Ping-pong between two loops in two threads, each on a processor of its own: a tick goes to the other
 * loop, whose callback sends one back. Both loops sleep in the kernel in between. wakeup_rate is round
 * trips per second.
 *
 * Usage: wakeup WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"
#include "backend.h"

#include <loop.h>
#include <pthread.h>

static loop_t *near_loop;
static loop_t *far_loop;
static loop_request_t ping;
static loop_request_t pong;
static bool last; /* written before the last ping is submitted */
static uint64_t answers;
static struct measurement measurement;

static void on_pong(loop_t *loop, loop_request_t *request, int64_t result);

static void on_ping(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)request;
    CHECK(result == 0);
    if (last) {
        CHECK(loop_unref(loop) == 0);
        return;
    }
    answers++;
    CHECK(loop_on_next_tick(near_loop, &pong, on_pong) == 0);
}

static void on_pong(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)request;
    CHECK(result == 0);
    if (!measurement_continues(&measurement)) {
        last = true;
        CHECK(loop_unref(loop) == 0);
    }
    CHECK(loop_on_next_tick(far_loop, &ping, on_ping) == 0);
}

static void *run_far_loop(void *unused) {
    pin_to_last_processor();
    CHECK(loop_run(far_loop) == 0);
    return unused;
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    pthread_t thread;
    near_loop = make_loop();
    far_loop = make_loop();
    CHECK(loop_ref(near_loop) == 0);
    CHECK(loop_ref(far_loop) == 0);
    CHECK(pthread_create(&thread, NULL, run_far_loop, NULL) == 0);
    pin_to_first_processor();
    measurement_begin(&measurement, window_ms);
    CHECK(loop_on_next_tick(far_loop, &ping, on_ping) == 0);
    CHECK(loop_run(near_loop) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(answers == measurement.operations);
    CHECK(loop_deinit(near_loop) == 0);
    CHECK(loop_deinit(far_loop) == 0);
    report_rate("wakeup_rate", &measurement);
    return 0;
}
