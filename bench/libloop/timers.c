/*
 * COUNT timers with random delays, one shot each.
 *
 * timers_start_ns   start one (the loop has taken in the last one when the time is read)
 * timers_cancel_ns  cancel one long before it is due, delivery of its LOOP_ECANCELED included
 * timers_fire_ns    deliver one, when all are due already: the loop's work without the waiting
 *
 * Usage: timers COUNT
 * SPDX-License-Identifier: MIT
 */
#include "../timers.h"
#include "backend.h"

static loop_request_t *timers;
static uint64_t count;
static loop_request_t started;
static uint64_t random_state = 88172645463325252u;
static uint64_t started_at_ns;
static uint64_t begin_ns;
static uint64_t start_ns;
static uint64_t end_ns;
static uint64_t completions;
static int64_t expected_result;

static void on_timer(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    (void)request;
    CHECK(result == expected_result);
    completions++;
    if (completions == count) end_ns = now_ns();
}

/* Called in the turn after the one that started the timers: they are all in the loop. */
static void on_started(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)request;
    CHECK(result == 0);
    started_at_ns = now_ns();
    start_ns = started_at_ns - begin_ns;
    if (expected_result == 0) {
        CHECK(loop_stop(loop) == 0);
        return;
    }
    begin_ns = started_at_ns;
    for (uint64_t i = 0; i < count; i++) CHECK(loop_cancel(loop, &timers[i]) == 0);
}

/* Starts the timers from a callback, as programs do. */
static void on_begin(loop_t *loop, loop_request_t *request, int64_t result) {
    const uint64_t shortest_ms = expected_result == 0 ? near_ms(count) : TIMER_FAR_MS;
    CHECK(result == 0);
    begin_ns = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t delay_ns = random_delay_ms(&random_state, shortest_ms) * 1000000u;
        CHECK(loop_timer_start(loop, &timers[i], delay_ns, 0, on_timer) == 0);
    }
    CHECK(loop_on_next_tick(loop, request, on_started) == 0);
}

static void run(loop_t *loop, int64_t result) {
    expected_result = result;
    completions = 0;
    CHECK(loop_on_next_tick(loop, &started, on_begin) == 0);
    CHECK(loop_run(loop) == 0);
}

int main(int argc, char **argv) {
    count = number_argument(argc, argv, 1, TIMERS_MAX);
    timers = malloc(count * sizeof *timers);
    CHECK(timers != NULL);
    memset(timers, 0, count * sizeof *timers);
    loop_t *loop = make_loop();
    run(loop, LOOP_ECANCELED); /* a warm-up */
    run(loop, LOOP_ECANCELED);
    CHECK(completions == count);
    report_share("timers_start_ns", start_ns, count);
    report_share("timers_cancel_ns", end_ns - begin_ns, count);

    run(loop, 0); /* returns when all are started */
    CHECK(completions == 0 && start_ns < near_ms(count) * UINT64_C(1000000));
    wait_until_due(started_at_ns, count);
    begin_ns = now_ns();
    CHECK(loop_run(loop) == 0);
    CHECK(completions == count);
    report_share("timers_fire_ns", end_ns - begin_ns, count);
    CHECK(loop_deinit(loop) == 0);
    free(timers);
    return 0;
}
