/*
 * cancel: taking back what was submitted.
 *
 * Shown: loop_cancel asks for an early end of anything, and the completion still comes, with LOOP_ECANCELED.
 * Only then are the request and its buffers yours again: the kernel may be writing into them until then. A
 * tick, which no kernel knows of, can be removed on the spot by loop_cancel_on_next_tick. And a limit of time
 * is a cancel that the loop does by itself.
 */
#define _POSIX_C_SOURCE 200809L

#include <loop.h>

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#define MILLISECOND_NS UINT64_C(1000000)
#define HOUR_NS        (UINT64_C(3600) * 1000 * MILLISECOND_NS)

static bool failed;

/* Notes a wrong result. The program goes on, so that all that is wrong is seen, and then exits with 1. */
static void expect(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "cancel: wrong: %s\n", what);
    failed = true;
}

/* A request and how it should end. */
typedef struct attempt {
    loop_request_t request;
    const char    *name;
    int64_t        result_expected;
    int            completions;
} attempt_t;

static void on_end(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    attempt_t *attempt = request->user;
    attempt->completions++;
    printf("%-36s ended with %s\n", attempt->name, loop_error_name((int)result));
    expect(result == attempt->result_expected, attempt->name);
}

static attempt_t attempt_of(const char *name, int64_t result_expected) {
    return (attempt_t){.name = name, .result_expected = result_expected};
}

/* A removed tick never completes: its memory is ours as soon as the call returned 0. */
static void cancel_a_tick(loop_t *loop) {
    attempt_t tick = attempt_of("a tick that should be gone", 0);
    tick.request.user = &tick;
    expect(loop_on_next_tick(loop, &tick.request, on_end) == 0, "submit a tick");
    expect(loop_cancel_on_next_tick(loop, &tick.request) == 0, "remove a tick");
    expect(loop_run(loop) == 0, "run with nothing to do");
    expect(tick.completions == 0, "a removed tick does not run");
    printf("%-36s removed, and never ran\n", "a tick");

    expect(loop_on_next_tick(loop, &tick.request, on_end) == 0, "submit it again");
    tick.name = "the same tick, left alone";
    expect(loop_run(loop) == 0, "run the tick");
    expect(loop_cancel_on_next_tick(loop, &tick.request) == LOOP_ENOENT, "too late to remove it");
    expect(tick.completions == 1, "a tick that was not removed runs once");
}

/* What was cancelled stays in flight until its completion, which loop_run delivers. */
static void cancel_what_waits(loop_t *loop, int fd) {
    attempt_t timer = attempt_of("a timer of one hour, cancelled", LOOP_ECANCELED);
    attempt_t wait = attempt_of("a wait for a silent pipe, cancelled", LOOP_ECANCELED);
    attempt_t read = attempt_of("a read from it, cancelled", LOOP_ECANCELED);
    attempt_t limit = attempt_of("a wait for it, for 10 ms at most", LOOP_ETIMEDOUT);
    char      buffer[16];
    timer.request.user = &timer;
    wait.request.user = &wait;
    read.request.user = &read;
    limit.request.user = &limit;
    limit.request.timeout_ns = 10 * MILLISECOND_NS;

    expect(loop_timer_start(loop, &timer.request, HOUR_NS, 0, on_end) == 0, "start a timer");
    expect(loop_wait_until_fd_readable(loop, &wait.request, fd, on_end) == 0, "wait for the pipe");
    expect(loop_read(loop, &read.request, fd, buffer, sizeof buffer, on_end) == 0, "read from the pipe");
    expect(loop_wait_until_fd_readable(loop, &limit.request, fd, on_end) == 0, "wait with a limit");
    expect(loop_pending(loop) == 4, "four requests are in flight");

    expect(loop_cancel(loop, &timer.request) == 0, "cancel the timer");
    expect(loop_cancel(loop, &wait.request) == 0, "cancel the wait");
    expect(loop_cancel(loop, &read.request) == 0, "cancel the read");
    expect(timer.completions + wait.completions + read.completions == 0, "a cancel delivers nothing itself");

    expect(loop_run(loop) == 0, "run until all have ended");
    expect(timer.completions == 1 && wait.completions == 1, "each cancelled request completes once");
    expect(read.completions == 1 && limit.completions == 1, "and so do these");
    expect(loop_cancel(loop, &timer.request) == LOOP_ENOENT, "what has ended cannot be cancelled");
}

int main(void) {
    loop_t *loop;
    int     pipe_fds[2];
    if (loop_init(&loop, NULL) < 0 || pipe(pipe_fds) < 0) return 1;
    cancel_a_tick(loop);
    cancel_what_waits(loop, pipe_fds[0]);
    expect(loop_deinit(loop) == 0, "end the loop");
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return failed ? 1 : 0;
}
