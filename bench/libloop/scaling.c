/*
 * Callbacks that compute, on a loop of one thread and then on one of as many as there are processors (two at
 * least). 256 ticks are in flight; each computes for some 10 us and submits itself again.
 *
 * scaling_one_rate   callbacks per second with one thread
 * scaling_all_rate   and with all threads
 * scaling_threads    how many those are
 * scaling_speedup    the quotient
 *
 * Usage: scaling WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"
#include "backend.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { TASKS = 256, STEPS = 8192 };

struct task {
    loop_request_t request;
    uint64_t random_state;
    uint64_t runs; /* written by the thread that runs the callback */
};

static struct task tasks[TASKS];
static atomic_bool stopping;

static void on_task(loop_t *loop, loop_request_t *request, int64_t result) {
    struct task *task = request->user;
    CHECK(result == 0);
    for (int i = 0; i < STEPS; i++) random_next(&task->random_state);
    task->runs++;
    if (!atomic_load_explicit(&stopping, memory_order_relaxed)) {
        CHECK(loop_on_next_tick(loop, request, on_task) == 0);
    }
}

static void *stop_later(void *window_ms) {
    usleep((useconds_t)(*(uint64_t *)window_ms * 1000));
    atomic_store(&stopping, true);
    return NULL;
}

/* Returns the callbacks per second. */
static double run(uint32_t threads, uint64_t window_ms) {
    pthread_t clock;
    uint64_t runs = 0;
    loop_t *loop = make_loop_with_threads(threads);
    atomic_store(&stopping, false);
    for (uint64_t i = 0; i < TASKS; i++) {
        tasks[i] = (struct task){.random_state = i + 1};
        tasks[i].request.user = &tasks[i];
        CHECK(loop_on_next_tick(loop, &tasks[i].request, on_task) == 0);
    }
    const uint64_t begin_ns = now_ns();
    CHECK(pthread_create(&clock, NULL, stop_later, &window_ms) == 0);
    CHECK(loop_run(loop) == 0);
    const uint64_t end_ns = now_ns();
    CHECK(pthread_join(clock, NULL) == 0);
    CHECK(loop_deinit(loop) == 0);
    for (int i = 0; i < TASKS; i++) {
        CHECK(tasks[i].runs > 0);
        runs += tasks[i].runs;
    }
    return (double)runs * 1e9 / (double)(end_ns - begin_ns);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    const uint32_t threads = processors > 2 ? (uint32_t)processors : 2;
    run(1, window_ms / 4 + 1); /* a warm-up */
    const double one_rate = run(1, window_ms);
    const double all_rate = run(threads, window_ms);
    report("scaling_one_rate", one_rate);
    report("scaling_all_rate", all_rate);
    report("scaling_threads", threads);
    report("scaling_speedup", all_rate / one_rate);
    return 0;
}
