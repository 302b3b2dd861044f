/*
 * Four threads on one processor send messages to a loop on another as ticks, each from a ring of 256 of
 * its own: a message may be sent again once it was delivered. The order within a thread is checked.
 * posts_rate is messages delivered per second.
 *
 * Usage: posts WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"
#include "backend.h"

#include <loop.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

struct message {
    loop_request_t request;
    atomic_bool under_way;
    uint64_t sequence;
    struct poster *poster;
};

struct poster {
    pthread_t thread;
    uint64_t delivered;
    struct message messages[POSTS_PER_THREAD];
};

static loop_t *loop;
static struct poster posters[POST_THREADS];
static atomic_int posters_left = POST_THREADS;
static atomic_bool stopping;
static loop_request_t end;
static struct measurement measurement;

static void on_message(loop_t *unused, loop_request_t *request, int64_t result) {
    struct message *message = request->user;
    (void)unused;
    CHECK(result == 0 && message->sequence == message->poster->delivered);
    message->poster->delivered++;
    if (!measurement_continues(&measurement)) atomic_store_explicit(&stopping, true, memory_order_relaxed);
    atomic_store_explicit(&message->under_way, false, memory_order_release);
}

static void on_end(loop_t *unused, loop_request_t *request, int64_t result) {
    (void)unused;
    (void)request;
    CHECK(result == 0);
    CHECK(loop_unref(loop) == 0);
}

/* Wait until a message was delivered. False when it is time to stop. */
static bool await(struct message *message) {
    while (!atomic_load_explicit(&stopping, memory_order_relaxed)) {
        if (!atomic_load_explicit(&message->under_way, memory_order_acquire)) return true;
        sched_yield();
    }
    return false;
}

static void *post(void *argument) {
    struct poster *poster = argument;
    pin_to_last_processor();
    for (uint64_t sequence = 0;; sequence++) {
        struct message *message = &poster->messages[sequence % POSTS_PER_THREAD];
        if (!await(message)) break;
        message->sequence = sequence;
        message->poster = poster;
        message->request.user = message;
        atomic_store_explicit(&message->under_way, true, memory_order_relaxed);
        CHECK(loop_on_next_tick(loop, &message->request, on_message) == 0);
    }
    if (atomic_fetch_sub(&posters_left, 1) == 1) CHECK(loop_on_next_tick(loop, &end, on_end) == 0);
    return NULL;
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    loop = make_loop();
    CHECK(loop_ref(loop) == 0);
    measurement_begin(&measurement, window_ms);
    for (int i = 0; i < POST_THREADS; i++) {
        CHECK(pthread_create(&posters[i].thread, NULL, post, &posters[i]) == 0);
    }
    pin_to_first_processor();
    CHECK(loop_run(loop) == 0);
    for (int i = 0; i < POST_THREADS; i++) CHECK(pthread_join(posters[i].thread, NULL) == 0);
    CHECK(loop_deinit(loop) == 0);
    report_rate("posts_rate", &measurement);
    return 0;
}
