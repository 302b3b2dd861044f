/*
 * Conformance of embedding: a loop driven by another one through loop_backend_fd, loop_backend_timeout and
 * loop_run_once. Only loops of one thread can be embedded.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <poll.h>

static loop_t *new_embeddable_loop(void)
{
    loop_options_t options = test_options();
    options.threads = 1;
    return new_loop_with(options);
}

/* Whether the descriptor becomes readable within the time. */
static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    int           ready = poll(&entry, 1, timeout_ms);
    assert_true(ready >= 0);
    return ready == 1;
}

/* Takes turns, as the embedding program does, until the descriptor says that there is nothing to do. */
static int run_while_readable(loop_t *loop, int fd)
{
    int delivered = 0;
    for (int turns = 0; is_readable(fd, 0); turns++) {
        int n = loop_run_once(loop, 0);
        assert_true(n >= 0);
        assert_true(turns < 10);
        delivered += n;
    }
    return delivered;
}

LOOP_TEST(a_loop_of_several_threads_cannot_be_embedded)
{
    if (test_threads() > 1) {
        assert_result(loop_backend_fd(loop), LOOP_ENOTSUP);
    } else {
        assert_true(loop_backend_fd(loop) >= 0);
        assert_int_equal(loop_backend_fd(loop), loop_backend_fd(loop));
    }
}

TEST(a_submit_makes_the_descriptor_readable_until_it_is_delivered)
{
    loop_t *loop = new_embeddable_loop();
    int     fd = loop_backend_fd(loop);
    assert_true(fd >= 0);
    run_while_readable(loop, fd);
    for (unsigned i = 0; i < 100; i++) {
        operation_t tick = {0};
        assert_false(is_readable(fd, 0));
        assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
        assert_true(is_readable(fd, 10000));
        assert_int_equal(run_while_readable(loop, fd), 1);
        assert_int_equal(completions_of(&tick), 1);
    }
    end_loop(loop);
}

TEST(what_was_submitted_before_the_first_call_makes_the_descriptor_readable)
{
    operation_t tick = {0};
    loop_t     *loop = new_embeddable_loop();
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    int fd = loop_backend_fd(loop);
    assert_true(is_readable(fd, 10000));
    assert_int_equal(run_while_readable(loop, fd), 1);
    end_loop(loop);
}

TEST(readiness_of_a_descriptor_shows_outside)
{
    loop_t     *loop = new_embeddable_loop();
    int         ends[2];
    operation_t readable = {0}, read_one = {0};
    char        byte = 0;
    int         fd = loop_backend_fd(loop);
    make_pipe(ends);
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), ends[0], record), 0);
    assert_result(loop_read(loop, begin(&read_one), ends[0], &byte, 1, record), 0);
    run_while_readable(loop, fd);
    assert_int_equal(completions_of(&readable) + completions_of(&read_one), 0);
    assert_false(is_readable(fd, 20));
    put(ends[1], "x", 1);
    assert_true(is_readable(fd, 10000));
    while (completions_of(&readable) == 0 || completions_of(&read_one) == 0) {
        assert_true(is_readable(fd, 10000));
        run_while_readable(loop, fd);
    }
    assert_result(read_one.result, 1);
    assert_int_equal(byte, 'x');
    close_both(ends);
    end_loop(loop);
}

static void *submit_after_a_moment(void *argument)
{
    operation_t *tick = argument;
    sleep_for(2 * MILLISECOND);
    CHECK(loop_on_next_tick(tick->request.user, begin(tick), record) == 0);
    return NULL;
}

TEST(a_tick_of_another_thread_wakes_the_outer_loop)
{
    loop_t *loop = new_embeddable_loop();
    int     fd = loop_backend_fd(loop);
    run_while_readable(loop, fd);
    for (unsigned i = 0; i < 100; i++) {
        operation_t tick = {.request.user = loop};
        pthread_t   thread = start_thread(submit_after_a_moment, &tick);
        assert_true(is_readable(fd, 10000));
        while (completions_of(&tick) == 0) {
            assert_true(is_readable(fd, 10000));
            run_while_readable(loop, fd);
        }
        join_thread(thread);
        run_while_readable(loop, fd);
    }
    end_loop(loop);
}

TEST(work_that_is_done_wakes_the_outer_loop)
{
    loop_t     *loop = new_embeddable_loop();
    int         fd = loop_backend_fd(loop);
    operation_t access_root = {0};
    assert_result(loop_faccessat(loop, begin(&access_root), AT_FDCWD, "/", F_OK, 0, record), 0);
    while (completions_of(&access_root) == 0) {
        assert_true(is_readable(fd, 10000));
        run_while_readable(loop, fd);
    }
    assert_result(access_root.result, 0);
    end_loop(loop);
}

TEST(the_timeout_tells_when_the_next_timer_is_due)
{
    loop_t     *loop = new_embeddable_loop();
    int         fd = loop_backend_fd(loop);
    operation_t tick = {0}, later = {0}, sooner = {0};
    assert_result(loop_backend_timeout(loop), -1);
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    assert_result(loop_backend_timeout(loop), 0);
    run_while_readable(loop, fd);
    assert_result(loop_backend_timeout(loop), -1);
    assert_result(loop_timer_start(loop, begin(&later), HOUR, 0, record), 0);
    run_while_readable(loop, fd);
    int64_t timeout_ns = loop_backend_timeout(loop);
    assert_true(timeout_ns > 0 && timeout_ns <= (int64_t)HOUR);
    assert_result(loop_timer_start(loop, begin(&sooner), 0, 0, record), 0);
    while (completions_of(&sooner) == 0) {
        assert_true(loop_backend_timeout(loop) >= 0);
        assert_true(loop_run_once(loop, 0) >= 0);
    }
    assert_result(loop_cancel(loop, &later.request), 0);
    assert_result(await(loop, &later), LOOP_ECANCELED);
    assert_result(loop_backend_timeout(loop), -1);
    end_loop(loop);
}

typedef struct pinger {
    operation_t timer, read_one, access_root;
    int         ends[2];
    char        byte;
    unsigned    rounds;
} pinger_t;

static void next_round(loop_t *loop, loop_request_t *request, int64_t result)
{
    pinger_t *pinger = request->user;
    CHECK(result >= 0);
    if (pinger->rounds-- == 0) {
        return;
    }
    if (request == &pinger->timer.request) {
        CHECK(loop_read(loop, &pinger->read_one.request, pinger->ends[0], &pinger->byte, 1, next_round) == 0);
        put(pinger->ends[1], "x", 1);
    } else if (request == &pinger->read_one.request) {
        CHECK(loop_faccessat(loop, &pinger->access_root.request, AT_FDCWD, "/", F_OK, 0, next_round) == 0);
    } else {
        CHECK(loop_timer_start(loop, &pinger->timer.request, MILLISECOND, 0, next_round) == 0);
    }
}

TEST(poll_drives_timers_descriptors_and_files)
{
    pinger_t pinger = {.rounds = 90};
    loop_t  *loop = new_embeddable_loop();
    int      fd = loop_backend_fd(loop);
    make_pipe(pinger.ends);
    pinger.timer.request.user = pinger.read_one.request.user = pinger.access_root.request.user = &pinger;
    assert_result(loop_timer_start(loop, &pinger.timer.request, 0, 0, next_round), 0);
    while (loop_pending(loop) > 0) {
        int64_t timeout_ns = loop_backend_timeout(loop);
        assert_true(timeout_ns >= -1);
        is_readable(fd, timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000));
        assert_true(loop_run_once(loop, 0) >= 0);
    }
    close_both(pinger.ends);
    end_loop(loop);
}

TEST(loop_run_works_on_an_embeddable_loop)
{
    loop_t     *loop = new_embeddable_loop();
    int         fd = loop_backend_fd(loop);
    operation_t tick = {0};
    run_for(loop, MILLISECOND);
    run_while_readable(loop, fd);
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    assert_true(is_readable(fd, 10000));
    run(loop);
    assert_int_equal(completions_of(&tick), 1);
    assert_false(is_readable(fd, 0));
    end_loop(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_loop_of_several_threads_cannot_be_embedded),
        GUARDED(a_submit_makes_the_descriptor_readable_until_it_is_delivered),
        GUARDED(what_was_submitted_before_the_first_call_makes_the_descriptor_readable),
        GUARDED(readiness_of_a_descriptor_shows_outside),
        GUARDED(a_tick_of_another_thread_wakes_the_outer_loop),
        GUARDED(work_that_is_done_wakes_the_outer_loop),
        GUARDED(the_timeout_tells_when_the_next_timer_is_due),
        GUARDED(poll_drives_timers_descriptors_and_files),
        GUARDED(loop_run_works_on_an_embeddable_loop),
    };
    return RUN_SUITE(tests);
}
