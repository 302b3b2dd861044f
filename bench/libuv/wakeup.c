/*
 * Ping-pong between two loops in two threads, each on a processor of its own: uv_async_send wakes the
 * other loop, whose callback sends one back. Both loops sleep in the kernel in between. wakeup_rate is
 * round trips per second.
 *
 * Usage: wakeup WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <uv.h>

static uv_loop_t near_loop;
static uv_loop_t far_loop;
static uv_async_t ping;
static uv_async_t pong;
static bool last; /* written before the last ping is sent */
static uint64_t answers;
static struct measurement measurement;

static void on_ping(uv_async_t *async) {
    if (last) {
        uv_close((uv_handle_t *)async, NULL);
        return;
    }
    answers++;
    CHECK(uv_async_send(&pong) == 0);
}

static void on_pong(uv_async_t *async) {
    if (!measurement_continues(&measurement)) {
        last = true;
        uv_close((uv_handle_t *)async, NULL);
    }
    CHECK(uv_async_send(&ping) == 0);
}

static void run_far_loop(void *unused) {
    (void)unused;
    pin_to_last_processor();
    CHECK(uv_run(&far_loop, UV_RUN_DEFAULT) == 0);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    uv_thread_t thread;
    CHECK(uv_loop_init(&near_loop) == 0);
    CHECK(uv_loop_init(&far_loop) == 0);
    CHECK(uv_async_init(&near_loop, &pong, on_pong) == 0);
    CHECK(uv_async_init(&far_loop, &ping, on_ping) == 0);
    CHECK(uv_thread_create(&thread, run_far_loop, NULL) == 0);
    pin_to_first_processor();
    measurement_begin(&measurement, window_ms);
    CHECK(uv_async_send(&ping) == 0);
    CHECK(uv_run(&near_loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_thread_join(&thread) == 0);
    CHECK(answers == measurement.operations);
    CHECK(uv_loop_close(&near_loop) == 0);
    CHECK(uv_loop_close(&far_loop) == 0);
    report_rate("wakeup_rate", &measurement);
    return 0;
}
