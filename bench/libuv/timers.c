/*
 * A million timers with random delays, one shot each.
 *
 * timers_start_ns   start one
 * timers_cancel_ns  stop one long before it is due (libuv reports nothing then)
 * timers_fire_ns    deliver one, when all are due already: the loop's work without the waiting
 *
 * Usage: timers
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <string.h>
#include <unistd.h>
#include <uv.h>

static uv_loop_t loop;
static uv_timer_t *timers;
static uint64_t random_state = 88172645463325252u;
static uint64_t fired;

static void on_timer(uv_timer_t *timer) {
    (void)timer;
    fired++;
}

static void start_all(uint64_t shortest_ms) {
    for (int i = 0; i < TIMERS; i++) {
        const uint64_t delay_ms = shortest_ms + random_next(&random_state) % TIMER_SPREAD_MS;
        CHECK(uv_timer_start(&timers[i], on_timer, delay_ms, 0) == 0);
    }
}

static void stop_all(void) {
    for (int i = 0; i < TIMERS; i++) CHECK(uv_timer_stop(&timers[i]) == 0);
}

static void start_and_stop(void) {
    const uint64_t begin_ns = now_ns();
    start_all(TIMER_FAR_MS);
    const uint64_t started_ns = now_ns();
    stop_all();
    const uint64_t stopped_ns = now_ns();
    report("timers_start_ns", (double)(started_ns - begin_ns) / TIMERS);
    report("timers_cancel_ns", (double)(stopped_ns - started_ns) / TIMERS);
}

static void start_and_fire(void) {
    uv_update_time(&loop);
    start_all(TIMER_NEAR_MS);
    const uint64_t due_ns = now_ns() + (TIMER_NEAR_MS + TIMER_SPREAD_MS) * UINT64_C(1000000);
    while (now_ns() < due_ns) usleep(1000);
    const uint64_t begin_ns = now_ns();
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    report("timers_fire_ns", (double)(now_ns() - begin_ns) / TIMERS);
    CHECK(fired == TIMERS);
}

int main(void) {
    timers = malloc(TIMERS * sizeof *timers);
    CHECK(timers != NULL);
    memset(timers, 0, TIMERS * sizeof *timers);
    CHECK(uv_loop_init(&loop) == 0);
    for (int i = 0; i < TIMERS; i++) CHECK(uv_timer_init(&loop, &timers[i]) == 0);
    start_all(TIMER_FAR_MS); /* a warm-up */
    stop_all();
    start_and_stop();
    start_and_fire();
    for (int i = 0; i < TIMERS; i++) uv_close((uv_handle_t *)&timers[i], NULL);
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_loop_close(&loop) == 0);
    free(timers);
    return 0;
}
