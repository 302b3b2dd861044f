/*
 * Loops that are bound to a thread (LOOP_THREAD_BOUND): who may do what, and that callbacks are left in
 * peace.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <sys/epoll.h>

static loop_t *bound_loop(void)
{
    loop_options_t options = test_options();
    options.threads = 1;
    options.flags = LOOP_THREAD_BOUND;
    return new_loop_with(options);
}

TEST(only_a_loop_of_one_thread_can_be_bound)
{
    loop_options_t options = {.threads = 2, .flags = LOOP_THREAD_BOUND};
    loop_t        *loop;
    assert_result(loop_init(&loop, &options), LOOP_EINVAL);
    options = (loop_options_t){.flags = LOOP_THREAD_BOUND | 2};
    assert_result(loop_init(&loop, &options), LOOP_EINVAL);
}

typedef struct intruder {
    loop_t     *loop;
    operation_t tick;
} intruder_t;

static void *intrude(void *argument)
{
    intruder_t     *intruder = argument;
    loop_request_t *done[1];
    CHECK(loop_run(intruder->loop) == LOOP_EPERM);
    CHECK(loop_run_once(intruder->loop, 0) == LOOP_EPERM);
    CHECK(loop_wait(intruder->loop, done, 1, 0) == LOOP_EPERM);
    CHECK(loop_backend_fd(intruder->loop) == LOOP_EPERM);
    CHECK(loop_deinit(intruder->loop) == LOOP_EPERM);
    CHECK(loop_on_next_tick(intruder->loop, begin(&intruder->tick), record) == 0);
    return NULL;
}

TEST(other_threads_may_submit_and_nothing_else)
{
    intruder_t intruder = {.loop = bound_loop()};
    run(intruder.loop);
    join_thread(start_thread(intrude, &intruder));
    run(intruder.loop);
    assert_int_equal(completions_of(&intruder.tick), 1);
    assert_true(pthread_equal(intruder.tick.thread, pthread_self()));
    end_loop(intruder.loop);
}

static void *run_and_end(void *argument)
{
    loop_t *loop = argument;
    CHECK(loop_run(loop) == 0);
    CHECK(loop_deinit(loop) == 0);
    return NULL;
}

TEST(it_is_bound_to_the_thread_that_runs_it_not_to_the_one_that_made_it)
{
    loop_t     *loop = bound_loop();
    operation_t tick = {0};
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    join_thread(start_thread(run_and_end, loop));
    assert_int_equal(completions_of(&tick), 1);
}

typedef struct crowd {
    int         ends[30][2];
    operation_t reads[30];
    char        bytes[30];
} crowd_t;

static void *disturb(void *argument)
{
    crowd_t *crowd = argument;
    for (size_t i = 0; i < COUNT(crowd->reads); i++) {
        sleep_for(MILLISECOND);
        put(crowd->ends[i][1], "x", 1);
    }
    return NULL;
}

/*
 * Blocks in calls that are not restarted when they are interrupted, while reads of the loop become ready. In
 * a loop that is not bound all twenty are interrupted. The ends of rings of earlier tests, which the kernel
 * puts off, may interrupt some.
 */
static void block(loop_t *loop, loop_request_t *request, int64_t result)
{
    crowd_t           *crowd = request->user;
    struct epoll_event event;
    int                epoll = epoll_create1(EPOLL_CLOEXEC), interrupted = 0;
    pthread_t          thread = start_thread(disturb, crowd);
    (void)loop;
    CHECK(result == 0 && epoll >= 0);
    for (int i = 0; i < 20; i++) {
        interrupted += epoll_wait(epoll, &event, 1, 2) != 0;
    }
    CHECK(interrupted < 10);
    close(epoll);
    join_thread(thread);
}

TEST(calls_that_block_in_callbacks_are_not_interrupted)
{
    loop_t        *loop = bound_loop();
    crowd_t        crowd = {0};
    loop_request_t timer = {.user = &crowd};
    for (size_t i = 0; i < COUNT(crowd.reads); i++) {
        make_pipe(crowd.ends[i]);
        loop_request_t *request = begin(&crowd.reads[i]);
        assert_result(loop_read(loop, request, crowd.ends[i][0], &crowd.bytes[i], 1, record), 0);
    }
    assert_result(loop_timer_start(loop, &timer, MILLISECOND, 0, block), 0);
    run(loop);
    for (size_t i = 0; i < COUNT(crowd.reads); i++) {
        assert_int_equal(completions_of(&crowd.reads[i]), 1);
        assert_result(crowd.reads[i].result, 1);
        close_both(crowd.ends[i]);
    }
    end_loop(loop);
}

TEST(files_waits_timers_and_wakes_work)
{
    loop_t     *loop = bound_loop();
    operation_t wait = {0};
    int         ends[2], file = temporary_file("contents", 8);
    char        bytes[8];
    make_pipe(ends);
    assert_result(RESULT_OF(loop, loop_pread, file, bytes, sizeof bytes, 0), 8);
    assert_memory_equal(bytes, "contents", 8);
    assert_result(loop_wait_until_fd_readable(loop, begin(&wait), ends[0], record), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_int_equal(completions_of(&wait), 0);
    assert_result(loop_cancel(loop, &wait.request), 0);
    assert_result(await(loop, &wait), LOOP_ECANCELED);
    assert_result(RESULT_OF(loop, loop_write, ends[1], "ab", 2), 2);
    assert_result(RESULT_OF(loop, loop_read, ends[0], bytes, sizeof bytes), 2);
    close_both(ends);
    close(file);
    end_loop(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(only_a_loop_of_one_thread_can_be_bound),
        GUARDED(other_threads_may_submit_and_nothing_else),
        GUARDED(it_is_bound_to_the_thread_that_runs_it_not_to_the_one_that_made_it),
        GUARDED(calls_that_block_in_callbacks_are_not_interrupted),
        GUARDED(files_waits_timers_and_wakes_work),
    };
    return RUN_SUITE(tests);
}
