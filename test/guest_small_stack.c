/*
 * A loop runs on a thread of 64 KiB of stack. What the engine needs is elsewhere; callbacks have the stack of
 * the thread, all but a few KiB of it.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <pthread.h>

enum { STACK_BYTES = 64 * 1024, CALLBACK_BYTES = 32 * 1024 };

typedef struct stack_user {
    loop_request_t       tick;
    atomic_uint_fast64_t runs;
    unsigned char        sum;
} stack_user_t;

static void use_stack(loop_t *loop, loop_request_t *request, int64_t result) {
    stack_user_t          *user = request->user;
    volatile unsigned char room[CALLBACK_BYTES];
    CHECK_OK(result);
    for (int i = 0; i < CALLBACK_BYTES; i++) {
        room[i] = (unsigned char)i;
    }
    user->sum = room[CALLBACK_BYTES - 1];
    if (atomic_fetch_add(&user->runs, 1) < 1000) {
        CHECK_OK(loop_on_next_tick(loop, request, use_stack));
    }
}

static void run_on_small_stack(uint32_t threads) {
    loop_options_t options = {.size = sizeof(options), .threads = threads};
    stack_user_t   user = {.tick.user = &user};
    guest_load_t   load = {0};
    loop_t        *loop;
    pthread_attr_t attributes;
    pthread_t      thread;
    CHECK_OK(loop_init(&loop, &options));
    guest_load_start(&load, loop);
    CHECK_OK(loop_on_next_tick(loop, &user.tick, use_stack));
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0);
    CHECK(pthread_create(&thread, &attributes, guest_run_loop, loop) == 0);
    guest_await(&user.runs, 1001, "callbacks");
    guest_load_await(&load, 50);
    guest_load_end(&load);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_attr_destroy(&attributes) == 0);
    guest_load_free(&load);
    CHECK_OK(loop_deinit(loop));
}

int main(void) {
    run_on_small_stack(1);
    run_on_small_stack(2);
    return 0;
}
