/*
 * Pointers that are none: small integers as user data, buffers and paths nowhere. To a Go runtime such a
 * value in a pointer variable is a reason to end the process, when it collects garbage or moves a stack; so
 * they have to be numbers there. Loops are made and ended meanwhile, as garbage to collect.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <fcntl.h>
#include <unistd.h>

enum { ODD = 64, GARBAGE_LOOPS = 400 };

static int completions[3]; /* by kind of request */

static void *odd(uintptr_t value) {
    return (void *)value; /* 1, 2, 3, ...: what programs use for numbers, and no address */
}

static void on_tick(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    CHECK_OK(result);
    CHECK((uintptr_t)request->user >= 1 && (uintptr_t)request->user <= ODD);
    completions[0]++;
}

static void on_read(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    CHECK(result == LOOP_EFAULT);
    CHECK((uintptr_t)request->user >= 1 && (uintptr_t)request->user <= ODD);
    completions[1]++;
}

static void on_open(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    (void)request;
    CHECK(result == LOOP_EFAULT);
    completions[2]++;
}

static void make_garbage(void) {
    for (int i = 0; i < GARBAGE_LOOPS; i++) {
        loop_t        *other;
        loop_request_t tick = {.user = odd(1)};
        CHECK_OK(loop_init(&other, NULL));
        CHECK_OK(loop_on_next_tick(other, &tick, loop_ignore));
        CHECK_OK(loop_run(other));
        CHECK_OK(loop_deinit(other));
    }
}

int main(void) {
    static loop_request_t ticks[ODD], reads[ODD], opens[ODD];
    static char           bytes[ODD];
    loop_t               *loop;
    int                   ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    CHECK_OK(loop_init(&loop, NULL));
    for (uintptr_t i = 0; i < ODD; i++) {
        ticks[i].user = reads[i].user = opens[i].user = odd(i + 1);
        CHECK_OK(loop_read(loop, &reads[i], ends[0], odd(i + 1), 1, on_read));
        CHECK_OK(loop_open(loop, &opens[i], odd(i + 1), O_RDONLY | O_CLOEXEC, 0, on_open));
        CHECK_OK(loop_on_next_tick(loop, &ticks[i], on_tick));
    }
    while (completions[0] + completions[2] < 2 * ODD) { /* the reads wait: the pipe is empty */
        CHECK_OK(loop_run_once(loop, -1));
    }
    CHECK(completions[1] == 0);
    make_garbage();
    CHECK(write(ends[1], bytes, ODD) == ODD);
    CHECK_OK(loop_run(loop));
    CHECK(completions[1] == ODD);
    CHECK_OK(loop_deinit(loop));
    return close(ends[0]) + close(ends[1]);
}
