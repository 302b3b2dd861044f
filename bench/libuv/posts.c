/*
 * Four threads on one processor send messages to a loop on another, each from a ring of 256 of its own: a
 * message may be sent again once it was delivered. The order within a thread is checked. posts_rate is
 * messages delivered per second.
 *
 * uv_async_send merges calls and carries nothing, so messages go through a list behind a mutex, which
 * the loop takes whole; only who finds the list empty sends the wake-up.
 *
 * Usage: posts WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <sched.h>
#include <stdatomic.h>
#include <uv.h>

struct message {
    struct message *next;
    atomic_bool under_way;
    uint64_t sequence;
    struct poster *poster; /* NULL: the last message of all */
};

struct poster {
    uv_thread_t thread;
    uint64_t delivered;
    struct message messages[POSTS_PER_THREAD];
};

static uv_loop_t loop;
static uv_async_t async;
static uv_mutex_t mutex;
static struct message *head; /* the list, guarded by the mutex */
static struct message **tail = &head;
static struct poster posters[POST_THREADS];
static atomic_int posters_left = POST_THREADS;
static atomic_bool stopping;
static struct message end;
static struct measurement measurement;

static void on_message(struct message *message) {
    if (message->poster == NULL) {
        uv_close((uv_handle_t *)&async, NULL);
        return;
    }
    CHECK(message->sequence == message->poster->delivered);
    message->poster->delivered++;
    if (!measurement_continues(&measurement)) atomic_store_explicit(&stopping, true, memory_order_relaxed);
    atomic_store_explicit(&message->under_way, false, memory_order_release);
}

static void on_async(uv_async_t *unused) {
    (void)unused;
    uv_mutex_lock(&mutex);
    struct message *message = head;
    head = NULL;
    tail = &head;
    uv_mutex_unlock(&mutex);
    while (message != NULL) {
        struct message *next = message->next;
        on_message(message);
        message = next;
    }
}

static void send_message(struct message *message) {
    message->next = NULL;
    uv_mutex_lock(&mutex);
    const bool was_empty = head == NULL;
    *tail = message;
    tail = &message->next;
    uv_mutex_unlock(&mutex);
    if (was_empty) CHECK(uv_async_send(&async) == 0);
}

/* Wait until a message was delivered. False when it is time to stop. */
static bool await(struct message *message) {
    while (!atomic_load_explicit(&stopping, memory_order_relaxed)) {
        if (!atomic_load_explicit(&message->under_way, memory_order_acquire)) return true;
        sched_yield();
    }
    return false;
}

static void post(void *argument) {
    struct poster *poster = argument;
    pin_to_last_processor();
    for (uint64_t sequence = 0;; sequence++) {
        struct message *message = &poster->messages[sequence % POSTS_PER_THREAD];
        if (!await(message)) break;
        message->sequence = sequence;
        message->poster = poster;
        atomic_store_explicit(&message->under_way, true, memory_order_relaxed);
        send_message(message);
    }
    if (atomic_fetch_sub(&posters_left, 1) == 1) send_message(&end);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    CHECK(uv_loop_init(&loop) == 0);
    CHECK(uv_mutex_init(&mutex) == 0);
    CHECK(uv_async_init(&loop, &async, on_async) == 0);
    measurement_begin(&measurement, window_ms);
    for (int i = 0; i < POST_THREADS; i++) {
        CHECK(uv_thread_create(&posters[i].thread, post, &posters[i]) == 0);
    }
    pin_to_first_processor();
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    for (int i = 0; i < POST_THREADS; i++) CHECK(uv_thread_join(&posters[i].thread) == 0);
    uv_mutex_destroy(&mutex);
    CHECK(uv_loop_close(&loop) == 0);
    report_rate("posts_rate", &measurement);
    return 0;
}
