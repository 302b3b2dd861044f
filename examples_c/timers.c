/*
 * timers: one shot, periodic, cancelled, and a time limit on something else.
 *
 * Shown: every time is in nanoseconds on a clock that never jumps; a timer is never early; a periodic timer
 * repeats until it is cancelled, and says by LOOP_MORE that it will; any request can be given a limit by
 * `timeout_ns`, so that no second timer is needed for that.
 */
#define _POSIX_C_SOURCE 200809L

#include <loop.h>

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#define MILLISECOND_NS UINT64_C(1000000)

static uint64_t started_ns;
static bool     failed;

/* Notes a wrong result. The program goes on, so that all that is wrong is seen, and then exits with 1. */
static void expect(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "timers: wrong: %s\n", what);
    failed = true;
}

static double milliseconds_since_start(loop_t *loop) {
    return (double)(loop_now(loop) - started_ns) / (double)MILLISECOND_NS;
}

static void on_one_shot(loop_t *loop, loop_request_t *request, int64_t result) {
    printf("%6.1f ms  one shot, asked for after 20 ms\n", milliseconds_since_start(loop));
    expect(result == 0, "the one-shot timer delivers 0");
    expect(request->flags == 0, "the one-shot timer does not repeat");
    expect(loop_now(loop) >= started_ns + 20 * MILLISECOND_NS, "a timer is never early");
}

static void on_periodic(loop_t *loop, loop_request_t *request, int64_t result) {
    int *shots = request->user;
    if (result == LOOP_ECANCELED) {
        printf("%6.1f ms  the periodic timer has ended\n", milliseconds_since_start(loop));
        expect((request->flags & LOOP_MORE) == 0, "the last completion is without LOOP_MORE");
        return;
    }
    ++*shots;
    printf("%6.1f ms  shot %d of the periodic timer\n", milliseconds_since_start(loop), *shots);
    expect(result == 0 && (request->flags & LOOP_MORE) != 0, "a shot that is not the last has LOOP_MORE");

    /* Cancelling asks for the end; the end itself is one more completion, the one above. */
    if (*shots == 4) expect(loop_cancel(loop, request) == 0, "the periodic timer can be cancelled");
}

static void on_cancelled(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)request;
    printf("%6.1f ms  the timer of one hour: %s\n", milliseconds_since_start(loop),
           loop_error_name((int)result));
    expect(result == LOOP_ECANCELED, "a cancelled timer delivers LOOP_ECANCELED");
}

static void on_read_timeout(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)request;
    printf("%6.1f ms  a read from a pipe that stays empty: %s\n", milliseconds_since_start(loop),
           loop_error_name((int)result));
    expect(result == LOOP_ETIMEDOUT, "a request past its limit delivers LOOP_ETIMEDOUT");
}

int main(void) {
    loop_t        *loop;
    loop_request_t one_shot = {0}, periodic = {0}, hour = {0}, read_request = {0};
    int            shots = 0;
    int            pipe_fds[2];
    char           byte;
    if (loop_init(&loop, NULL) < 0 || pipe(pipe_fds) < 0) return 1;
    started_ns = loop_now(loop);

    /* loop, request, delay to the first shot, period (0: no further shot), callback. */
    expect(loop_timer_start(loop, &one_shot, 20 * MILLISECOND_NS, 0, on_one_shot) == 0, "submit");

    periodic.user = &shots;
    expect(loop_timer_start(loop, &periodic, 0, 8 * MILLISECOND_NS, on_periodic) == 0, "submit");

    expect(loop_timer_start(loop, &hour, 3600 * 1000 * MILLISECOND_NS, 0, on_cancelled) == 0, "submit");
    expect(loop_cancel(loop, &hour) == 0, "cancel");

    read_request.timeout_ns = 30 * MILLISECOND_NS;
    expect(loop_read(loop, &read_request, pipe_fds[0], &byte, 1, on_read_timeout) == 0, "submit");

    if (loop_run(loop) < 0 || loop_deinit(loop) < 0) return 1;
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    expect(shots == 4, "the periodic timer fired four times");
    return failed ? 1 : 0;
}
