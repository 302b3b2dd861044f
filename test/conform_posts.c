/*
 * Conformance of loop_post: order, number, the full queue, the end of the loop.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <sched.h>
#include <sys/wait.h>

/* Posts that record: how often each was called, and in which order among all of the test. */
typedef struct call {
    unsigned number; /* from 0 */
    unsigned order;  /* of the last call, from 1; 0 = not called */
    unsigned calls;
} call_t;

static call_t      calls[LOOP_POSTS_MAX + 1];
static unsigned    calls_made; /* posts run one at a time, so these need not be atomic */
static atomic_bool inside;

static void begin_call(void)
{
    CHECK(!atomic_exchange(&inside, true));
}

static void end_call(void)
{
    atomic_store(&inside, false);
}

static void note_call(loop_t *loop, void *user)
{
    call_t *call = user;
    (void)loop;
    begin_call();
    call->calls++;
    call->order = ++calls_made;
    end_call();
}

static void forget_calls(void)
{
    calls_made = 0;
    memset(calls, 0, sizeof calls);
    for (unsigned i = 0; i < COUNT(calls); i++) {
        calls[i].number = i;
    }
}

/* The posts with these numbers were called once each, in this order and without another in between. */
static void assert_called_in_order(unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        assert_int_equal(calls[i].calls, 1);
        assert_int_equal(calls[i].order, i + 1);
    }
}

/* ---- calling --------------------------------------------------------------------------------- */

LOOP_TEST(posts_of_one_thread_are_called_once_each_in_order)
{
    forget_calls();
    for (unsigned i = 0; i < 100; i++) {
        assert_result(loop_post(loop, note_call, &calls[i]), 0);
    }
    assert_int_equal(calls_made, 0);
    assert_true(loop_pending(loop) > 0);
    run(loop);
    assert_int_equal(calls_made, 100);
    assert_called_in_order(0, 100);
}

LOOP_TEST(what_is_wrong_with_the_arguments_is_refused)
{
    assert_result(loop_post(NULL, note_call, NULL), LOOP_EINVAL);
    assert_result(loop_post(loop, NULL, NULL), LOOP_EINVAL);
    assert_result(loop_pending(loop), 0);
    run(loop);
}

LOOP_TEST(a_full_queue_refuses_and_takes_posts_again_when_it_was_called)
{
    for (unsigned round = 0; round < 5; round++) {
        forget_calls();
        for (unsigned i = 0; i < LOOP_POSTS_MAX; i++) {
            assert_result(loop_post(loop, note_call, &calls[i]), 0);
        }
        assert_result(loop_post(loop, note_call, &calls[LOOP_POSTS_MAX]), LOOP_ENOBUFS);
        assert_result(loop_post(loop, note_call, &calls[LOOP_POSTS_MAX]), LOOP_ENOBUFS);
        run(loop);
        assert_int_equal(calls_made, LOOP_POSTS_MAX);
        assert_called_in_order(0, LOOP_POSTS_MAX);
    }
}

static void post_the_next(loop_t *loop, void *user)
{
    call_t *call = user;
    note_call(loop, call);
    CHECK(loop_post(loop, note_call, call + 1) == 0);
    CHECK(call[1].calls == 0);
}

LOOP_TEST(a_post_from_a_post_waits_for_a_later_turn)
{
    forget_calls();
    assert_result(loop_post(loop, note_call, &calls[0]), 0);
    assert_result(loop_post(loop, post_the_next, &calls[1]), 0);
    if (test_threads() == 1) {
        assert_true(loop_run_once(loop, -1) > 0);
        assert_int_equal(calls_made, 2);
    }
    run(loop);
    assert_int_equal(calls_made, 3);
    assert_called_in_order(0, 3);
}

static void post_and_find_it_full(loop_t *loop, void *user)
{
    CHECK(loop_post(loop, note_call, user) == 0); /* its own place is free already */
    CHECK(loop_post(loop, note_call, user) == LOOP_ENOBUFS);
}

LOOP_TEST(a_post_that_runs_does_not_count_among_those_that_wait)
{
    forget_calls();
    assert_result(loop_post(loop, post_and_find_it_full, &calls[LOOP_POSTS_MAX]), 0);
    for (unsigned i = 0; i < LOOP_POSTS_MAX - 1; i++) {
        assert_result(loop_post(loop, note_call, &calls[i]), 0);
    }
    run(loop);
    assert_called_in_order(0, LOOP_POSTS_MAX - 1);
    assert_int_equal(calls[LOOP_POSTS_MAX].calls, 1);
}

static void post_from_a_callback(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(loop_post(loop, note_call, request->user) == 0);
    record(loop, request, result);
}

static loop_t *loop_of_work;

static void post_from_work(loop_request_t *request)
{
    CHECK(loop_post(loop_of_work, note_call, request->user) == 0);
}

LOOP_TEST(callbacks_and_work_functions_may_post)
{
    operation_t tick = {0}, timer = {0}, work = {0};
    forget_calls();
    loop_of_work = loop;
    tick.request.user = &calls[0];
    timer.request.user = &calls[1];
    work.request.user = &calls[2];
    assert_result(loop_on_next_tick(loop, begin(&tick), post_from_a_callback), 0);
    assert_result(loop_timer_start(loop, begin(&timer), MILLISECOND, 0, post_from_a_callback), 0);
    assert_result(loop_queue_work(loop, begin(&work), post_from_work, record), 0);
    run(loop);
    assert_int_equal(completions_of(&work), 1);
    assert_int_equal(calls_made, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(calls[i].calls, 1);
    }
}

static unsigned endless_posts;

static void post_for_ever(loop_t *loop, void *user)
{
    atomic_bool *stop = user;
    endless_posts++;
    if (!atomic_load(stop)) {
        CHECK(loop_post(loop, post_for_ever, user) == 0);
    }
}

LOOP_TEST(endless_posts_delay_neither_timers_nor_descriptors)
{
    operation_t timer = {0}, readable = {0}, tick = {0};
    atomic_bool stop = false;
    int         ends[2];
    make_pipe(ends);
    put(ends[1], "x", 1);
    endless_posts = 0;
    for (unsigned i = 0; i < 100; i++) {
        assert_result(loop_post(loop, post_for_ever, &stop), 0);
    }
    assert_result(loop_timer_start(loop, begin(&timer), 5 * MILLISECOND, 0, record), 0);
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), ends[0], record), 0);
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    assert_result(await(loop, &readable), LOOP_READABLE);
    assert_result(await(loop, &tick), 0);
    assert_result(await(loop, &timer), 0);
    atomic_store(&stop, true);
    run(loop);
    assert_true(endless_posts >= 200);
    close_both(ends);
}

static void stop_the_loop(loop_t *loop, void *user)
{
    note_call(loop, user);
    CHECK(loop_stop(loop) == 0);
}

LOOP_TEST(what_waits_when_the_loop_is_stopped_is_called_in_the_next_run)
{
    forget_calls();
    for (unsigned i = 0; i < 30; i++) {
        assert_result(loop_post(loop, i % 10 == 4 ? stop_the_loop : note_call, &calls[i]), 0);
    }
    for (unsigned called = 5; called < 30; called += 10) {
        assert_result(loop_run(loop), 0);
        assert_int_equal(calls_made, called);
        assert_true(loop_pending(loop) > 0);
    }
    run(loop);
    assert_int_equal(calls_made, 30);
    assert_called_in_order(0, 30);
}

/* ---- several threads ------------------------------------------------------------------------- */

enum { POSTERS = 4, POSTS_PER_POSTER = 20000 };

typedef struct poster {
    loop_t     *loop;
    uint64_t    chance;
    atomic_uint called;
    unsigned    accepted;
    pthread_t   thread;
} poster_t;
static poster_t posters[POSTERS];

typedef struct message {
    poster_t *poster;
    unsigned  sequence;
} message_t;
static message_t messages[POSTERS][POSTS_PER_POSTER];

static void deliver_message(loop_t *loop, void *user)
{
    message_t *message = user;
    (void)loop;
    begin_call();
    CHECK(atomic_load(&message->poster->called) == message->sequence);
    atomic_fetch_add(&message->poster->called, 1);
    end_call();
}

/* Posts until the number is reached or the loop refuses; sometimes it pauses, for the loop to fall asleep. */
static void *post_messages(void *argument)
{
    poster_t  *poster = argument;
    message_t *own = messages[poster - posters];
    for (unsigned i = 0; i < POSTS_PER_POSTER;) {
        own[i] = (message_t){poster, i};
        int error = loop_post(poster->loop, deliver_message, &own[i]);
        if (error == LOOP_ENOBUFS) {
            sched_yield();
            continue;
        }
        if (error == LOOP_ESHUTDOWN) {
            break;
        }
        CHECK(error == 0);
        i = ++poster->accepted;
        if (random_below(&poster->chance, 500) == 0) {
            sleep_for(random_below(&poster->chance, 200000));
        }
    }
    return NULL;
}

static void *post_messages_and_let_go(void *argument)
{
    poster_t *poster = argument;
    post_messages(argument);
    CHECK(poster->accepted == POSTS_PER_POSTER);
    CHECK(loop_unref(poster->loop) == 0);
    return NULL;
}

static void start_posters(loop_t *loop, void *(*body)(void *), uint64_t seed)
{
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i].loop = loop;
        posters[i].chance = seed * POSTERS + i + 1;
        posters[i].accepted = 0;
        atomic_store(&posters[i].called, 0);
    }
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i].thread = start_thread(body, &posters[i]);
    }
}

LOOP_TEST(posts_of_four_threads_are_called_one_at_a_time_in_the_order_of_each)
{
    for (unsigned i = 0; i < POSTERS; i++) {
        assert_result(loop_ref(loop), 0);
    }
    start_posters(loop, post_messages_and_let_go, 1);
    run(loop);
    for (unsigned i = 0; i < POSTERS; i++) {
        join_thread(posters[i].thread);
        assert_int_equal(atomic_load(&posters[i].called), POSTS_PER_POSTER);
    }
}

typedef struct lone_post {
    loop_t     *loop;
    bool        holds_reference;
    atomic_uint called;
    pthread_t   thread;
} lone_post_t;

static void count_lone_post(loop_t *loop, void *user)
{
    (void)loop;
    atomic_fetch_add(&((lone_post_t *)user)->called, 1);
}

/* Posts once. */
static void *post_once(void *argument)
{
    lone_post_t *lone = argument;
    CHECK(loop_post(lone->loop, count_lone_post, lone) == 0);
    if (lone->holds_reference) {
        CHECK(loop_unref(lone->loop) == 0);
    }
    return NULL;
}

LOOP_TEST(an_accepted_post_keeps_loop_run_from_returning)
{
    for (unsigned round = 0; round < 500; round++) {
        /* While the one lets go of the loop, the other may be in the middle of its post. */
        lone_post_t held = {.loop = loop, .holds_reference = true}, other = {.loop = loop};
        assert_result(loop_ref(loop), 0);
        other.thread = start_thread(post_once, &other);
        held.thread = start_thread(post_once, &held);
        assert_result(loop_run(loop), 0);
        assert_int_equal(atomic_load(&held.called), 1);
        join_thread(other.thread);
        join_thread(held.thread);
        run(loop);
        assert_int_equal(atomic_load(&other.called), 1);
    }
}

/* ---- the end of the loop --------------------------------------------------------------------- */

TEST(posts_that_wait_are_called_when_the_loop_ends)
{
    loop_t *loop = new_loop();
    forget_calls();
    for (unsigned i = 0; i < LOOP_POSTS_MAX; i++) {
        assert_result(loop_post(loop, note_call, &calls[i]), 0);
    }
    end_loop(loop);
    assert_int_equal(calls_made, LOOP_POSTS_MAX);
    assert_called_in_order(0, LOOP_POSTS_MAX);
    assert_result(loop_post(loop, note_call, &calls[0]), LOOP_ESHUTDOWN);
}

static void post_and_be_refused(loop_t *loop, void *user)
{
    note_call(loop, user);
    CHECK(loop_post(loop, note_call, user) == LOOP_ESHUTDOWN);
}

TEST(a_post_that_is_called_when_the_loop_ends_cannot_post)
{
    loop_t *loop = new_loop();
    forget_calls();
    assert_result(loop_post(loop, post_and_be_refused, &calls[0]), 0);
    end_loop(loop);
    assert_int_equal(calls[0].calls, 1);
}

TEST(a_race_with_the_end_of_the_loop_calls_what_was_accepted_and_nothing_else)
{
    for (unsigned round = 1; round <= 100; round++) {
        uint64_t chance = round;
        loop_t  *loop = new_loop();
        start_posters(loop, post_messages, round);
        if (round % 2 == 0) {
            run_for(loop, random_below(&chance, 2 * (uint32_t)MILLISECOND));
        } else {
            sleep_for(random_below(&chance, 2 * (uint32_t)MILLISECOND));
        }
        end_loop(loop);
        for (unsigned i = 0; i < POSTERS; i++) {
            join_thread(posters[i].thread);
            assert_int_equal(atomic_load(&posters[i].called), posters[i].accepted);
        }
    }
}

TEST(the_next_loop_has_posts_of_its_own)
{
    for (unsigned round = 0; round < 20; round++) {
        loop_t *loop = new_loop();
        forget_calls();
        for (unsigned i = 0; i < LOOP_POSTS_MAX; i++) {
            assert_result(loop_post(loop, note_call, &calls[i]), 0);
        }
        assert_result(loop_post(loop, note_call, &calls[LOOP_POSTS_MAX]), LOOP_ENOBUFS);
        run(loop);
        assert_called_in_order(0, LOOP_POSTS_MAX);
        end_loop(loop);
    }
}

LOOP_TEST(a_forked_child_is_refused)
{
    pid_t child = fork();
    int   status;
    assert_true(child >= 0);
    if (child == 0) {
        bool refused = loop_post(loop, note_call, NULL) == LOOP_ENOTSUP;
        _exit(refused && loop_post(loop, NULL, NULL) == LOOP_ENOTSUP ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    run(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(posts_of_one_thread_are_called_once_each_in_order),
        GUARDED(what_is_wrong_with_the_arguments_is_refused),
        GUARDED(a_full_queue_refuses_and_takes_posts_again_when_it_was_called),
        GUARDED(a_post_from_a_post_waits_for_a_later_turn),
        GUARDED(a_post_that_runs_does_not_count_among_those_that_wait),
        GUARDED(callbacks_and_work_functions_may_post),
        GUARDED(endless_posts_delay_neither_timers_nor_descriptors),
        GUARDED(what_waits_when_the_loop_is_stopped_is_called_in_the_next_run),
        GUARDED(posts_of_four_threads_are_called_one_at_a_time_in_the_order_of_each),
        GUARDED(an_accepted_post_keeps_loop_run_from_returning),
        GUARDED(posts_that_wait_are_called_when_the_loop_ends),
        GUARDED(a_post_that_is_called_when_the_loop_ends_cannot_post),
        GUARDED(a_race_with_the_end_of_the_loop_calls_what_was_accepted_and_nothing_else),
        GUARDED(the_next_loop_has_posts_of_its_own),
        GUARDED(a_forked_child_is_refused),
    };
    return RUN_SUITE(tests);
}
