/*
 * Conformance of embedding: a loop driven by another one through loop_backend_fd, loop_backend_timeout and
 * loop_run_once. Only loops of one thread can be embedded.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

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

static void count_post(loop_t *loop, void *user)
{
    (void)loop;
    atomic_fetch_add((atomic_uint *)user, 1);
}

typedef struct poster {
    loop_t     *loop;
    atomic_uint posts;
} poster_t;

static void *post_after_a_moment(void *argument)
{
    poster_t *poster = argument;
    sleep_for(2 * MILLISECOND);
    CHECK(loop_post(poster->loop, count_post, &poster->posts) == 0);
    return NULL;
}

TEST(a_post_of_another_thread_wakes_the_outer_loop)
{
    poster_t poster = {.loop = new_embeddable_loop()};
    int      fd = loop_backend_fd(poster.loop);
    run_while_readable(poster.loop, fd);
    for (unsigned i = 0; i < 100; i++) {
        pthread_t thread = start_thread(post_after_a_moment, &poster);
        while (atomic_load(&poster.posts) == i) {
            assert_true(is_readable(fd, 10000));
            run_while_readable(poster.loop, fd);
        }
        join_thread(thread);
        run_while_readable(poster.loop, fd);
        assert_false(is_readable(fd, 0));
    }
    end_loop(poster.loop);
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

/* ---- sockets --------------------------------------------------------------------------------- */

/* Lets the outer loop wait and run until the operation has completed, and returns its result. */
static int64_t await_outside(loop_t *loop, operation_t *operation)
{
    int fd = loop_backend_fd(loop);
    while (completions_of(operation) == 0) {
        assert_true(is_readable(fd, 10000));
        run_while_readable(loop, fd);
    }
    assert_int_equal(completions_of(operation), 1);
    return operation->result;
}

/* What waits does not make the descriptor readable, however often the program looks and runs. */
static void assert_idle(loop_t *loop)
{
    int fd = loop_backend_fd(loop);
    run_while_readable(loop, fd);
    for (unsigned i = 0; i < 5; i++) {
        assert_false(is_readable(fd, 5));
        assert_result(loop_run_once(loop, 0), 0);
    }
}

TEST(socket_operations_show_outside_when_they_would_complete_and_not_before)
{
    operation_t receiving = {0}, sending = {0}, accepting = {0}, timer = {0};
    int         ends[2], full[2];
    char        byte = 0;
    loop_t     *loop = new_embeddable_loop();
    int         listener = make_listener(AF_INET, 1);
    make_tcp_pair(ends);
    make_socketpair(full);
    fill(full[0]);
    assert_result(loop_timer_start(loop, begin(&timer), HOUR, 0, record), 0);
    assert_result(loop_recv(loop, begin(&receiving), ends[0], &byte, 1, 0, record), 0);
    assert_result(loop_send(loop, begin(&sending), full[0], "x", 1, 0, record), 0);
    assert_result(loop_accept(loop, begin(&accepting), listener, NULL, NULL, 0, record), 0);
    assert_idle(loop);
    put(ends[1], "y", 1);
    assert_result(await_outside(loop, &receiving), 1);
    assert_int_equal(byte, 'y');
    assert_idle(loop);
    int client = dial(name_of(listener));
    int accepted = (int)await_outside(loop, &accepting);
    assert_true(accepted >= 0);
    assert_idle(loop);
    drain(full[1]);
    assert_result(await_outside(loop, &sending), 1);
    assert_idle(loop);
    assert_result(loop_cancel(loop, &timer.request), 0);
    assert_result(await_outside(loop, &timer), LOOP_ECANCELED);
    close_both(ends);
    close_both(full);
    close(client);
    close(accepted);
    close(listener);
    end_loop(loop);
}

/* ---- one loop in another --------------------------------------------------------------------- */

static void run_inner_loop(loop_t *loop, loop_request_t *request, int64_t result)
{
    (void)loop;
    CHECK(result == LOOP_READABLE || (result == LOOP_ECANCELED && (request->flags & LOOP_MORE) == 0));
    if (result == LOOP_READABLE) {
        CHECK(loop_run_once(request->user, 0) >= 0);
    }
}

LOOP_TEST(a_loop_can_be_watched_by_another_one)
{
    poster_t       poster = {.loop = new_embeddable_loop()};
    loop_request_t watch = {.user = poster.loop};
    operation_t    receiving = {0};
    int            ends[2];
    char           byte;
    make_socketpair(ends);
    assert_result(loop_add_fd(loop, &watch, loop_backend_fd(poster.loop), LOOP_READABLE, run_inner_loop), 0);
    for (unsigned i = 0; i < 20; i++) {
        assert_result(loop_recv(poster.loop, begin(&receiving), ends[0], &byte, 1, 0, record), 0);
        pthread_t thread = start_thread(post_after_a_moment, &poster);
        run_until(loop, &poster.posts, i + 1);
        join_thread(thread);
        put(ends[1], "x", 1);
        run_until(loop, &receiving.completions, 1);
        assert_result(receiving.result, 1);
    }
    assert_result(loop_remove_fd(loop, &watch), 0);
    run(loop);
    close_both(ends);
    end_loop(poster.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_loop_of_several_threads_cannot_be_embedded),
        GUARDED(a_submit_makes_the_descriptor_readable_until_it_is_delivered),
        GUARDED(what_was_submitted_before_the_first_call_makes_the_descriptor_readable),
        GUARDED(readiness_of_a_descriptor_shows_outside),
        GUARDED(a_tick_of_another_thread_wakes_the_outer_loop),
        GUARDED(a_post_of_another_thread_wakes_the_outer_loop),
        GUARDED(work_that_is_done_wakes_the_outer_loop),
        GUARDED(the_timeout_tells_when_the_next_timer_is_due),
        GUARDED(poll_drives_timers_descriptors_and_files),
        GUARDED(loop_run_works_on_an_embeddable_loop),
        GUARDED(socket_operations_show_outside_when_they_would_complete_and_not_before),
        GUARDED(a_loop_can_be_watched_by_another_one),
    };
    return RUN_SUITE(tests);
}
