/*
 * A million timers with random delays, one shot each.
 *
 * timers_start_ns   start one (the loop has taken in the last one when the time is read)
 * timers_cancel_ns  cancel one long before it is due, delivery of its LOOP_ECANCELED included
 * timers_fire_ns    deliver one, when all are due already: the loop's work without the waiting
 *
 * Usage: timers
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <loop.h>
#include <string.h>
#include <unistd.h>

static loop_request_t *timers;
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
    if (completions == TIMERS) end_ns = now_ns();
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
    for (int i = 0; i < TIMERS; i++) CHECK(loop_cancel(loop, &timers[i]) == 0);
}

/* Starts the timers from a callback, as programs do. */
static void on_begin(loop_t *loop, loop_request_t *request, int64_t result) {
    const uint64_t shortest_ms = expected_result == 0 ? TIMER_NEAR_MS : TIMER_FAR_MS;
    CHECK(result == 0);
    begin_ns = now_ns();
    for (int i = 0; i < TIMERS; i++) {
        const uint64_t delay_ms = shortest_ms + random_next(&random_state) % TIMER_SPREAD_MS;
        CHECK(loop_timer_start(loop, &timers[i], delay_ms * 1000000u, 0, on_timer) == 0);
    }
    CHECK(loop_on_next_tick(loop, request, on_started) == 0);
}

static void run(loop_t *loop, int64_t result) {
    expected_result = result;
    completions = 0;
    CHECK(loop_on_next_tick(loop, &started, on_begin) == 0);
    CHECK(loop_run(loop) == 0);
}

int main(void) {
    loop_t *loop;
    timers = malloc(TIMERS * sizeof *timers);
    CHECK(timers != NULL);
    memset(timers, 0, TIMERS * sizeof *timers);
    CHECK(loop_init(&loop, NULL) == 0);
    run(loop, LOOP_ECANCELED); /* a warm-up */
    run(loop, LOOP_ECANCELED);
    CHECK(completions == TIMERS);
    report("timers_start_ns", (double)start_ns / TIMERS);
    report("timers_cancel_ns", (double)(end_ns - begin_ns) / TIMERS);

    run(loop, 0); /* returns when all are started */
    CHECK(completions == 0 && start_ns < TIMER_NEAR_MS * UINT64_C(1000000));
    while (now_ns() < started_at_ns + (TIMER_NEAR_MS + TIMER_SPREAD_MS) * UINT64_C(1000000)) usleep(1000);
    begin_ns = now_ns();
    CHECK(loop_run(loop) == 0);
    CHECK(completions == TIMERS);
    report("timers_fire_ns", (double)(end_ns - begin_ns) / TIMERS);
    CHECK(loop_deinit(loop) == 0);
    free(timers);
    return 0;
}
