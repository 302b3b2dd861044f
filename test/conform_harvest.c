/*
 * Conformance of harvesting: requests without a callback, fetched with loop_wait.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

enum { MANY = 1000 };
static loop_request_t requests[MANY];
static unsigned       fetched_times[MANY];

static void forget_requests(void)
{
    memset(requests, 0, sizeof requests);
    memset(fetched_times, 0, sizeof fetched_times);
}

/* Counts what was fetched, and wants each to be one of the requests. */
static void note_fetched(loop_request_t *const *done, int count)
{
    for (int i = 0; i < count; i++) {
        assert_true(done[i] >= requests && done[i] < requests + MANY);
        fetched_times[done[i] - requests]++;
    }
}

LOOP_TEST(a_request_without_callback_is_fetched)
{
    loop_request_t  tick = {0};
    loop_request_t *done[2] = {NULL, NULL};
    tick.result = -1;
    assert_result(loop_on_next_tick(loop, &tick, NULL), 0);
    assert_result(loop_wait(loop, done, 2, -1), 1);
    assert_ptr_equal(done[0], &tick);
    assert_null(done[1]);
    assert_result(tick.result, 0);
    assert_int_equal(tick.flags, 0);
    assert_result(loop_pending(loop), 0);
    assert_result(loop_wait(loop, done, 2, -1), 0);
}

LOOP_TEST(every_kind_of_request_can_be_harvested)
{
    char            bytes[2];
    int             ends[2], file = temporary_file("f", 1);
    loop_request_t *done[8];
    make_pipe(ends);
    put(ends[1], "p", 1);
    forget_requests();
    assert_result(loop_on_next_tick(loop, &requests[0], NULL), 0);
    assert_result(loop_timer_start(loop, &requests[1], MILLISECOND, 0, NULL), 0);
    assert_result(loop_wait_until_fd_writable(loop, &requests[2], ends[1], NULL), 0);
    assert_result(loop_read(loop, &requests[3], ends[0], &bytes[0], 1, NULL), 0);
    assert_result(loop_pread(loop, &requests[4], file, &bytes[1], 1, 0, NULL), 0);
    assert_result(loop_faccessat(loop, &requests[5], AT_FDCWD, "/", F_OK, 0, NULL), 0);
    assert_result(loop_read(loop, &requests[6], -1, bytes, 1, NULL), 0);
    assert_result(loop_open(loop, &requests[7], "/", O_RDONLY | O_CLOEXEC, 0, NULL), 0);
    for (int total = 0; total < 8;) {
        int n = loop_wait(loop, done, 8, -1);
        assert_true(n > 0);
        note_fetched(done, n);
        total += n;
    }
    const int64_t expected[] = {0, 0, LOOP_WRITABLE, 1, 1, 0, LOOP_EBADF};
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_result(requests[i].result, expected[i]);
    }
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(fetched_times[i], 1);
    }
    assert_memory_equal(bytes, "pf", 2);
    assert_int_equal(close((int)requests[7].result), 0);
    close(file);
    close_both(ends);
}

LOOP_TEST(no_more_are_fetched_than_there_are_places)
{
    loop_request_t *done[4];
    int             total = 0;
    forget_requests();
    for (size_t i = 0; i < MANY; i++) {
        assert_result(loop_on_next_tick(loop, &requests[i], NULL), 0);
    }
    while (total < MANY) {
        done[3] = NULL;
        int n = loop_wait(loop, done, 3, -1);
        assert_in_range(n, 1, 3);
        assert_null(done[3]);
        note_fetched(done, n);
        total += n;
        if (test_threads() == 1) { /* in order of completion, which is that of the ticks */
            assert_ptr_equal(done[n - 1], &requests[total - 1]);
        }
    }
    assert_int_equal(total, MANY);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(fetched_times[i], 1);
    }
    assert_result(loop_wait(loop, done, 3, 0), 0);
}

LOOP_TEST(completions_come_in_the_order_in_which_they_happened)
{
    loop_request_t *done[3];
    forget_requests();
    for (size_t i = 0; i < 3; i++) {
        assert_result(loop_timer_start(loop, &requests[i], (30 - 10 * i) * MILLISECOND, 0, NULL), 0);
    }
    assert_result(loop_run(loop), 0);
    assert_result(loop_wait(loop, done, 3, 0), 3);
    if (test_threads() == 1) {
        for (size_t i = 0; i < 3; i++) {
            assert_ptr_equal(done[i], &requests[2 - i]);
        }
    }
    note_fetched(done, 3);
    assert_true(fetched_times[0] == 1 && fetched_times[1] == 1 && fetched_times[2] == 1);
}

LOOP_TEST(what_completed_is_not_pending_and_stays_fetchable)
{
    loop_request_t *done[MANY];
    forget_requests();
    for (size_t i = 0; i < MANY; i++) {
        assert_result(loop_on_next_tick(loop, &requests[i], NULL), 0);
        if (i % 100 == 99) {
            assert_result(loop_run(loop), 0);
            assert_result(loop_pending(loop), 0);
        }
    }
    assert_result(loop_run_once(loop, 0), 0);
    assert_result(loop_wait(loop, done, MANY, -1), MANY);
    note_fetched(done, MANY);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(fetched_times[i], 1);
        assert_result(requests[i].result, 0);
    }
    assert_result(loop_wait(loop, done, MANY, -1), 0);
}

/* ---- waiting --------------------------------------------------------------------------------- */

LOOP_TEST(a_wait_lasts_no_longer_than_it_was_told)
{
    loop_request_t  timer = {0};
    loop_request_t *done;
    assert_result(loop_timer_start(loop, &timer, HOUR, 0, NULL), 0);
    assert_result(loop_wait(loop, &done, 1, 0), 0);
    for (unsigned i = 0; i < 5; i++) {
        uint64_t start = loop_now(loop);
        assert_result(loop_wait(loop, &done, 1, (int64_t)(5 * MILLISECOND)), 0);
        assert_true(loop_now(loop) - start >= 5 * MILLISECOND);
    }
    assert_result(loop_cancel(loop, &timer), 0);
    assert_result(loop_wait(loop, &done, 1, INT64_MAX), 1);
    assert_ptr_equal(done, &timer);
    assert_result(timer.result, LOOP_ECANCELED);
}

LOOP_TEST(callbacks_run_while_loop_wait_waits)
{
    loop_request_t  harvested = {0};
    loop_request_t *done;
    operation_t     periodic = {0}, tick = {0};
    assert_result(loop_timer_start(loop, begin(&periodic), MILLISECOND, MILLISECOND, record), 0);
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    assert_result(loop_timer_start(loop, &harvested, 30 * MILLISECOND, 0, NULL), 0);
    uint64_t start = loop_now(loop);
    assert_result(loop_wait(loop, &done, 1, -1), 1);
    assert_true(loop_now(loop) - start >= 29 * MILLISECOND);
    assert_ptr_equal(done, &harvested);
    assert_int_equal(completions_of(&tick), 1);
    assert_true(completions_of(&periodic) > 0);
    assert_result(loop_cancel(loop, &periodic.request), 0);
    assert_result(loop_wait(loop, &done, 1, -1), 0); /* with callbacks alone: until nothing is pending */
    assert_result(periodic.result, LOOP_ECANCELED);
    assert_result(loop_pending(loop), 0);
}

static void submit_without_callback(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(result == 0);
    CHECK(loop_on_next_tick(loop, request->user, NULL) == 0);
}

LOOP_TEST(a_callback_can_submit_what_is_harvested)
{
    loop_request_t  harvested = {0};
    loop_request_t  timer = {.user = &harvested};
    loop_request_t *done = NULL;
    assert_result(loop_timer_start(loop, &timer, MILLISECOND, 0, submit_without_callback), 0);
    assert_result(loop_wait(loop, &done, 1, -1), 1);
    assert_ptr_equal(done, &harvested);
}

static void *submit_after_a_moment(void *argument)
{
    loop_request_t *request = argument;
    sleep_for(2 * MILLISECOND);
    CHECK(loop_on_next_tick(request->user, request, NULL) == 0);
    return NULL;
}

LOOP_TEST(a_submit_of_another_thread_ends_the_wait)
{
    assert_result(loop_ref(loop), 0);
    for (unsigned i = 0; i < 50; i++) {
        loop_request_t  tick = {.user = loop};
        loop_request_t *done = NULL;
        pthread_t       thread = start_thread(submit_after_a_moment, &tick);
        assert_result(loop_wait(loop, &done, 1, -1), 1);
        assert_ptr_equal(done, &tick);
        join_thread(thread);
    }
    assert_result(loop_unref(loop), 0);
}

static void *stop_after_a_moment(void *argument)
{
    sleep_for(2 * MILLISECOND);
    CHECK(loop_stop(argument) == 0);
    return NULL;
}

LOOP_TEST(a_stop_ends_the_wait)
{
    loop_request_t  timer = {0};
    loop_request_t *done;
    assert_result(loop_timer_start(loop, &timer, HOUR, 0, NULL), 0);
    for (unsigned i = 0; i < 50; i++) {
        pthread_t thread = start_thread(stop_after_a_moment, loop);
        assert_result(loop_wait(loop, &done, 1, -1), 0);
        join_thread(thread);
    }
    assert_result(loop_cancel(loop, &timer), 0);
    assert_result(loop_wait(loop, &done, 1, -1), 1);
}

/* ---- the life of a request ------------------------------------------------------------------- */

LOOP_TEST(a_fetched_request_can_be_submitted_again)
{
    loop_request_t  tick = {0};
    loop_request_t *done;
    for (unsigned i = 0; i < 1000; i++) {
        assert_result(loop_on_next_tick(loop, &tick, NULL), 0);
        assert_result(loop_wait(loop, &done, 1, -1), 1);
    }
}

LOOP_TEST(a_request_that_was_not_fetched_is_still_the_loops)
{
    loop_request_t  tick = {0};
    loop_request_t *done;
    assert_result(loop_on_next_tick(loop, &tick, NULL), 0);
    assert_result(loop_run(loop), 0);
    assert_result(loop_on_next_tick(loop, &tick, NULL), LOOP_EBUSY);
    assert_result(loop_timer_start(loop, &tick, 0, 0, loop_ignore), LOOP_EBUSY);
    int status = loop_cancel(loop, &tick); /* ending already, or not in flight any more */
    assert_true(status == 0 || status == LOOP_ENOENT);
    assert_result(loop_cancel_on_next_tick(loop, &tick), LOOP_ENOENT);
    assert_result(loop_wait(loop, &done, 1, -1), 1);
    assert_result(tick.result, 0);
    assert_result(loop_on_next_tick(loop, &tick, NULL), 0);
    assert_result(loop_wait(loop, &done, 1, -1), 1);
}

LOOP_TEST(a_tick_without_callback_can_be_taken_back)
{
    loop_request_t  tick = {0};
    loop_request_t *done;
    assert_result(loop_on_next_tick(loop, &tick, NULL), 0);
    assert_result(loop_cancel_on_next_tick(loop, &tick), 0);
    assert_result(loop_wait(loop, &done, 1, -1), 0);
}

LOOP_TEST(the_shots_of_a_periodic_timer_can_be_harvested)
{
    loop_request_t  timer = {0};
    loop_request_t *done[4];
    assert_result(loop_timer_start(loop, &timer, 0, MILLISECOND, NULL), 0);
    for (unsigned i = 0; i < 20; i++) {
        assert_result(loop_wait(loop, done, 4, -1), 1);
        assert_ptr_equal(done[0], &timer);
        assert_result(timer.result, 0);
        assert_int_equal(timer.flags, LOOP_MORE);
        assert_result(loop_pending(loop), 1);
    }
    assert_result(loop_cancel(loop, &timer), 0);
    do { /* a shot may have been on its way out */
        assert_result(loop_wait(loop, done, 4, -1), 1);
        assert_ptr_equal(done[0], &timer);
    } while (timer.flags == LOOP_MORE);
    assert_result(timer.result, LOOP_ECANCELED);
    assert_int_equal(timer.flags, 0);
    assert_result(loop_pending(loop), 0);
    assert_result(loop_wait(loop, done, 4, -1), 0);
}

LOOP_TEST(the_shots_of_a_watch_can_be_harvested)
{
    loop_request_t  watch = {0};
    loop_request_t *done[4];
    int             ends[2];
    make_pipe(ends);
    put(ends[1], "x", 1);
    assert_result(loop_add_fd(loop, &watch, ends[0], LOOP_READABLE, NULL), 0);
    for (unsigned i = 0; i < 100; i++) {
        assert_result(loop_wait(loop, done, 4, -1), 1);
        assert_ptr_equal(done[0], &watch);
        assert_result(watch.result, LOOP_READABLE);
        assert_int_equal(watch.flags, LOOP_MORE);
    }
    assert_int_equal(drain(ends[0]), 1);
    int n = loop_wait(loop, done, 4, (int64_t)(5 * MILLISECOND));
    assert_in_range(n, 0, 1); /* a shot may have been on its way out */
    assert_result(loop_wait(loop, done, 4, (int64_t)(5 * MILLISECOND)), 0);
    assert_result(loop_remove_fd(loop, &watch), 0);
    assert_result(loop_wait(loop, done, 4, -1), 1);
    assert_result(watch.result, LOOP_ECANCELED);
    assert_int_equal(watch.flags, 0);
    close_both(ends);
}

LOOP_TEST(a_shot_that_was_not_fetched_is_not_followed_by_another)
{
    loop_request_t  timer = {0};
    loop_request_t *done[4];
    assert_result(loop_timer_start(loop, &timer, 0, MILLISECOND, NULL), 0);
    run_for(loop, 20 * MILLISECOND);
    assert_result(loop_wait(loop, done, 4, 0), 1);
    assert_int_equal(timer.flags, LOOP_MORE);
    assert_result(loop_cancel(loop, &timer), 0);
    do {
        assert_result(loop_wait(loop, done, 4, -1), 1);
    } while (timer.flags == LOOP_MORE);
    assert_result(timer.result, LOOP_ECANCELED);
}

/* ---- the end --------------------------------------------------------------------------------- */

TEST(an_end_gives_back_what_nobody_fetched)
{
    loop_t        *loop = new_loop(), *other = new_loop();
    loop_request_t tick = {0}, waiting = {0}, periodic = {0}, never_run = {0};
    loop_request_t *const all[] = {&tick, &waiting, &periodic, &never_run};
    loop_request_t *done[4];
    tick.result = waiting.result = never_run.result = INT64_MIN;
    assert_result(loop_on_next_tick(loop, &tick, NULL), 0);
    assert_result(loop_timer_start(loop, &waiting, HOUR, 0, NULL), 0);
    assert_result(loop_timer_start(loop, &periodic, 0, HOUR, NULL), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_result(loop_on_next_tick(loop, &never_run, NULL), 0);
    end_loop(loop);
    assert_result(tick.result, 0);
    assert_result(waiting.result, LOOP_ECANCELED);
    assert_true(never_run.result == 0 || never_run.result == LOOP_ECANCELED);
    for (size_t i = 0; i < COUNT(all); i++) { /* they are the program's again */
        assert_result(loop_on_next_tick(other, all[i], NULL), 0);
    }
    assert_result(loop_run(other), 0);
    assert_result(loop_wait(other, done, 4, 0), 4);
    end_loop(other);
}

LOOP_TEST(a_hundred_thousand_reads_are_harvested_in_batches)
{
    enum { READS = 100000, DEPTH = 64 };
    static loop_request_t reads[DEPTH];
    static char           bytes[DEPTH];
    loop_request_t       *done[DEPTH];
    int                   fd = temporary_file("x", 1);
    unsigned              submitted = 0, harvested = 0;
    memset(reads, 0, sizeof reads);
    for (; submitted < DEPTH; submitted++) {
        assert_result(loop_pread(loop, &reads[submitted], fd, &bytes[submitted], 1, 0, NULL), 0);
    }
    while (harvested < READS) {
        int n = loop_wait(loop, done, DEPTH, -1);
        assert_in_range(n, 1, DEPTH);
        for (int i = 0; i < n; i++, harvested++) {
            size_t slot = (size_t)(done[i] - reads);
            assert_true(slot < DEPTH && done[i]->result == 1 && bytes[slot] == 'x');
            bytes[slot] = 0;
            if (submitted < READS) {
                assert_result(loop_pread(loop, done[i], fd, &bytes[slot], 1, 0, NULL), 0);
                submitted++;
            }
        }
    }
    assert_int_equal(harvested, READS);
    assert_result(loop_pending(loop), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_request_without_callback_is_fetched),
        GUARDED(every_kind_of_request_can_be_harvested),
        GUARDED(no_more_are_fetched_than_there_are_places),
        GUARDED(completions_come_in_the_order_in_which_they_happened),
        GUARDED(what_completed_is_not_pending_and_stays_fetchable),
        GUARDED(a_wait_lasts_no_longer_than_it_was_told),
        GUARDED(callbacks_run_while_loop_wait_waits),
        GUARDED(a_callback_can_submit_what_is_harvested),
        GUARDED(a_submit_of_another_thread_ends_the_wait),
        GUARDED(a_stop_ends_the_wait),
        GUARDED(a_fetched_request_can_be_submitted_again),
        GUARDED(a_request_that_was_not_fetched_is_still_the_loops),
        GUARDED(a_tick_without_callback_can_be_taken_back),
        GUARDED(the_shots_of_a_periodic_timer_can_be_harvested),
        GUARDED(the_shots_of_a_watch_can_be_harvested),
        GUARDED(a_shot_that_was_not_fetched_is_not_followed_by_another),
        GUARDED(an_end_gives_back_what_nobody_fetched),
        GUARDED(a_hundred_thousand_reads_are_harvested_in_batches),
    };
    return RUN_SUITE(tests);
}
