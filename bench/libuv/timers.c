/*
 * COUNT timers with random delays, one shot each.
 *
 * timers_start_ns   start one
 * timers_cancel_ns  stop one long before it is due (libuv reports nothing then)
 * timers_fire_ns    deliver one, when all are due already: the loop's work without the waiting
 *
 * Usage: timers COUNT
 * SPDX-License-Identifier: MIT
 */
#include "../timers.h"

#include <string.h>
#include <uv.h>

static uv_loop_t loop;
static uv_timer_t *timers;
static uint64_t count;
static uint64_t random_state = 88172645463325252u;
static uint64_t fired;

static void on_timer(uv_timer_t *timer) {
    (void)timer;
    fired++;
}

static void start_all(uint64_t shortest_ms) {
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t delay_ms = random_delay_ms(&random_state, shortest_ms);
        CHECK(uv_timer_start(&timers[i], on_timer, delay_ms, 0) == 0);
    }
}

static void stop_all(void) {
    for (uint64_t i = 0; i < count; i++) CHECK(uv_timer_stop(&timers[i]) == 0);
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
    uv_update_time(&loop);
    start_all(near_ms(count));
    wait_until_due(now_ns(), count);
    CHECK(fired == 0);
    const uint64_t begin_ns = now_ns();
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    report_share("timers_fire_ns", now_ns() - begin_ns, count);
    CHECK(fired == count);
}

int main(int argc, char **argv) {
    count = number_argument(argc, argv, 1, TIMERS_MAX);
    timers = malloc(count * sizeof *timers);
    CHECK(timers != NULL);
    memset(timers, 0, count * sizeof *timers);
    CHECK(uv_loop_init(&loop) == 0);
    for (uint64_t i = 0; i < count; i++) CHECK(uv_timer_init(&loop, &timers[i]) == 0);
    start_all(TIMER_FAR_MS); /* a warm-up */
    stop_all();
    start_and_stop();
    start_and_fire();
    for (uint64_t i = 0; i < count; i++) uv_close((uv_handle_t *)&timers[i], NULL);
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_loop_close(&loop) == 0);
    free(timers);
    return 0;
}
