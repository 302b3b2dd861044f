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

#include <uv.h>

enum { MORE_LOOPS = 100 };

static uint64_t ticks;

static void on_idle(uv_idle_t *idle) {
    ticks++;
    uv_close((uv_handle_t *)idle, NULL);
}

static uv_loop_t *make_and_run(void) {
    uv_loop_t *loop = malloc(sizeof *loop);
    uv_idle_t idle;
    CHECK(loop != NULL);
    CHECK(uv_loop_init(loop) == 0);
    CHECK(uv_idle_init(loop, &idle) == 0);
    CHECK(uv_idle_start(&idle, on_idle) == 0);
    CHECK(uv_run(loop, UV_RUN_DEFAULT) == 0);
    return loop;
}

static void end(uv_loop_t *loop) {
    CHECK(uv_loop_close(loop) == 0);
    free(loop);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    uv_loop_t *more[MORE_LOOPS];
    struct measurement measurement;

    uv_loop_t *loop = make_and_run();
    report_memory("lifecycle");
    const double before_kib = anonymous_kib();
    for (int i = 0; i < MORE_LOOPS; i++) more[i] = make_and_run();
    report("lifecycle_more_loop_kib", (anonymous_kib() - before_kib) / MORE_LOOPS);
    for (int i = 0; i < MORE_LOOPS; i++) end(more[i]);
    printf("version %s\n", uv_version_string());
    end(loop);

    measurement_begin(&measurement, window_ms);
    ticks = 0;
    do {
        end(make_and_run());
    } while (measurement_continues(&measurement));
    CHECK(ticks == measurement.operations);
    report_each("lifecycle_ns", &measurement);
    return 0;
}
