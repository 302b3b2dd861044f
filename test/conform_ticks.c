/*
 * Conformance of ticks: their order, their fairness, their number, and loop_cancel_on_next_tick.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <sched.h>

/* ---- order ----------------------------------------------------------------------------------- */

enum { MANY = 10000 };
static operation_t many[MANY];

LOOP_TEST(ticks_run_once_each_in_the_order_of_one_submitter)
{
    for (size_t i = 0; i < MANY; i++) {
        assert_result(loop_on_next_tick(loop, begin(&many[i]), record), 0);
    }
    assert_result(loop_pending(loop), MANY);
    run(loop);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(completions_of(&many[i]), 1);
        assert_result(many[i].result, 0);
        assert_int_equal(many[i].flags, 0);
        if (test_threads() == 1) { /* with several threads they start in order, but run side by side */
            assert_int_equal(many[i].order, i + 1);
        }
    }
}

enum { SUBMITTERS = 4, PER_SUBMITTER = 20000 };
typedef struct submitter {
    loop_t     *loop;
    operation_t ticks[PER_SUBMITTER];
} submitter_t;
static submitter_t submitters[SUBMITTERS];

static void *submit_all(void *argument)
{
    submitter_t *submitter = argument;
    for (size_t i = 0; i < PER_SUBMITTER; i++) {
        CHECK(loop_on_next_tick(submitter->loop, begin(&submitter->ticks[i]), record) == 0);
    }
    CHECK(loop_unref(submitter->loop) == 0);
    return NULL;
}

LOOP_TEST(ticks_of_each_foreign_thread_keep_their_order)
{
    pthread_t threads[SUBMITTERS];
    for (size_t i = 0; i < SUBMITTERS; i++) {
        submitters[i].loop = loop;
        assert_result(loop_ref(loop), 0);
        threads[i] = start_thread(submit_all, &submitters[i]);
    }
    run(loop);
    for (size_t i = 0; i < SUBMITTERS; i++) {
        join_thread(threads[i]);
        for (size_t j = 0; j < PER_SUBMITTER; j++) {
            assert_int_equal(completions_of(&submitters[i].ticks[j]), 1);
            if (test_threads() == 1 && j > 0) {
                assert_true(submitters[i].ticks[j].order > submitters[i].ticks[j - 1].order);
            }
        }
    }
}

static void submit_another(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(loop_on_next_tick(loop, begin(request->user), record) == 0);
    record(loop, request, result);
}

LOOP_TEST(a_tick_submitted_by_a_tick_waits_for_the_turn_after)
{
    operation_t first = {0}, second = {0}, third = {0}, inner = {0};
    first.request.user = &inner;
    assert_result(loop_on_next_tick(loop, begin(&first), submit_another), 0);
    assert_result(loop_on_next_tick(loop, begin(&second), record), 0);
    assert_result(loop_on_next_tick(loop, begin(&third), record), 0);
    if (test_threads() == 1) {
        assert_result(loop_run_once(loop, -1), 3);
        assert_int_equal(completions_of(&inner), 0);
        assert_result(loop_run_once(loop, -1), 1);
        assert_int_equal(inner.order, 4);
    } else {
        run(loop);
    }
    assert_int_equal(completions_of(&inner), 1);
}

/* ---- fairness -------------------------------------------------------------------------------- */

static atomic_bool endless_ticks_stop;
static atomic_uint endless_ticks_run;

static void tick_for_ever(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(result == 0);
    atomic_fetch_add(&endless_ticks_run, 1);
    if (!atomic_load(&endless_ticks_stop)) {
        CHECK(loop_on_next_tick(loop, request, tick_for_ever) == 0);
    }
}

static void start_endless_ticks(loop_t *loop, operation_t *ticks, size_t count)
{
    atomic_store(&endless_ticks_stop, false);
    atomic_store(&endless_ticks_run, 0);
    for (size_t i = 0; i < count; i++) {
        assert_result(loop_on_next_tick(loop, begin(&ticks[i]), tick_for_ever), 0);
    }
}

static void note_ticks_run(loop_t *loop, loop_request_t *request, int64_t result)
{
    *(unsigned *)request->user = atomic_load(&endless_ticks_run);
    record(loop, request, result);
}

/* So many ticks that submit themselves again; a timer, a ready descriptor, a file operation and a tick of the
 * ordinary kind must complete all the same. Returns how many ticks ran before the descriptor's turn. */
static unsigned starve(loop_t *loop, size_t count)
{
    operation_t timer = {0}, readable = {0}, access_root = {0}, tick = {0};
    int         ends[2];
    unsigned    ticks_before = 0;
    make_pipe(ends);
    put(ends[1], "x", 1);
    start_endless_ticks(loop, many, count);
    readable.request.user = &ticks_before;
    assert_result(loop_timer_start(loop, begin(&timer), 5 * MILLISECOND, 0, record), 0);
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), ends[0], note_ticks_run), 0);
    assert_result(loop_faccessat(loop, begin(&access_root), AT_FDCWD, "/", F_OK, 0, record), 0);
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    assert_result(await(loop, &readable), LOOP_READABLE);
    assert_result(await(loop, &tick), 0);
    assert_result(await(loop, &access_root), 0);
    assert_result(await(loop, &timer), 0);
    atomic_store(&endless_ticks_stop, true);
    run(loop);
    close_both(ends);
    return ticks_before;
}

LOOP_TEST(two_endless_ticks_delay_nothing_by_more_than_a_turn)
{
    unsigned ticks_before = starve(loop, 2);
    if (test_threads() == 1) {
        assert_true(ticks_before <= 4); /* two turns: that of the submit, and one more */
    }
}

LOOP_TEST(ten_thousand_endless_ticks_starve_nobody)
{
    starve(loop, MANY);
}

/* ---- taking a tick back ---------------------------------------------------------------------- */

LOOP_TEST(a_tick_taken_back_before_the_run_never_runs)
{
    operation_t first = {0}, second = {0}, third = {0};
    assert_result(loop_on_next_tick(loop, begin(&first), record), 0);
    assert_result(loop_on_next_tick(loop, begin(&second), record), 0);
    assert_result(loop_on_next_tick(loop, begin(&third), record), 0);
    assert_result(loop_cancel_on_next_tick(loop, &second.request), 0);
    assert_result(loop_pending(loop), 2);
    assert_result(loop_cancel_on_next_tick(loop, &second.request), LOOP_ENOENT);
    assert_result(loop_pending(loop), 2);
    run(loop);
    assert_int_equal(completions_of(&first), 1);
    assert_int_equal(completions_of(&second), 0);
    assert_int_equal(completions_of(&third), 1);
}

LOOP_TEST(the_memory_of_a_tick_taken_back_is_free_at_once)
{
    for (unsigned i = 0; i < 1000; i++) {
        operation_t *tick = calloc(1, sizeof *tick);
        assert_non_null(tick);
        assert_result(loop_on_next_tick(loop, begin(tick), record), 0);
        assert_result(loop_cancel_on_next_tick(loop, &tick->request), 0);
        assert_result(loop_on_next_tick(loop, begin(tick), record), 0);
        assert_result(loop_cancel_on_next_tick(loop, &tick->request), 0);
        memset(tick, 0xA5, sizeof *tick);
        free(tick);
    }
    assert_result(loop_pending(loop), 0);
    assert_result(loop_run(loop), 0);
}

typedef struct take_back {
    operation_t  operation; /* a tick that takes back another */
    operation_t *target;
    int          status;
} take_back_t;

static void take_back_the_target(loop_t *loop, loop_request_t *request, int64_t result)
{
    take_back_t *take_back = (take_back_t *)(void *)request;
    take_back->status = loop_cancel_on_next_tick(loop, &take_back->target->request);
    record(loop, request, result);
}

/* The answer was definite: 0 and it never ran, or LOOP_ENOENT and it ran once. */
static void assert_definite(const operation_t *tick, int status)
{
    assert_int_equal(completions_of(tick), status == 0 ? 0 : 1);
    assert_result(status, status == 0 ? 0 : LOOP_ENOENT);
}

LOOP_TEST(a_tick_can_be_taken_back_by_an_earlier_one_of_its_batch)
{
    for (unsigned i = 0; i < 1000; i++) {
        operation_t target = {0}, between = {0};
        take_back_t take_back = {.target = &target};
        assert_result(loop_on_next_tick(loop, begin(&take_back.operation), take_back_the_target), 0);
        assert_result(loop_on_next_tick(loop, begin(&between), record), 0);
        assert_result(loop_on_next_tick(loop, begin(&target), record), 0);
        run(loop);
        assert_definite(&target, take_back.status);
    }
}

static void submit_and_take_back(loop_t *loop, loop_request_t *request, int64_t result)
{
    take_back_t *take_back = (take_back_t *)(void *)request;
    CHECK(loop_on_next_tick(loop, begin(take_back->target), record) == 0);
    take_back_the_target(loop, request, result);
}

LOOP_TEST(a_tick_can_be_taken_back_by_the_callback_that_submitted_it)
{
    for (unsigned i = 0; i < 1000; i++) {
        operation_t target = {0};
        take_back_t take_back = {.target = &target};
        assert_result(loop_on_next_tick(loop, begin(&take_back.operation), submit_and_take_back), 0);
        run(loop);
        assert_definite(&target, take_back.status);
        if (test_threads() == 1) {
            assert_result(take_back.status, 0);
        }
    }
}

LOOP_TEST(taking_back_what_is_not_a_tick_in_flight_finds_nothing)
{
    operation_t never = {0}, ran = {0}, timer = {0};
    take_back_t itself = {.target = &itself.operation};
    assert_result(loop_cancel_on_next_tick(loop, &never.request), LOOP_ENOENT);
    assert_result(loop_on_next_tick(loop, begin(&ran), record), 0);
    run(loop);
    assert_result(loop_cancel_on_next_tick(loop, &ran.request), LOOP_ENOENT);
    assert_result(loop_on_next_tick(loop, begin(&itself.operation), take_back_the_target), 0);
    run(loop);
    assert_result(itself.status, LOOP_ENOENT);
    assert_result(loop_timer_start(loop, begin(&timer), 0, 0, record), 0);
    assert_result(loop_cancel_on_next_tick(loop, &timer.request), LOOP_ENOENT);
    run(loop);
    assert_int_equal(completions_of(&timer), 1);
    assert_result(timer.result, 0);
    assert_int_equal(completions_of(&never), 0);
}

LOOP_TEST(a_tick_whose_end_was_asked_for_still_gets_a_definite_answer)
{
    operation_t tick = {0};
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    assert_result(loop_cancel(loop, &tick.request), 0);
    int status = loop_cancel_on_next_tick(loop, &tick.request);
    run(loop);
    assert_definite(&tick, status);
}

typedef struct foreign {
    loop_t     *loop;
    operation_t tick;
    int         status;
    unsigned    pause_ns; /* between the submit and taking it back */
} foreign_t;

static void *take_back_from_another_thread(void *argument)
{
    foreign_t *foreign = argument;
    foreign->status = loop_cancel_on_next_tick(foreign->loop, &foreign->tick.request);
    return NULL;
}

LOOP_TEST(another_thread_can_take_back_a_tick_of_a_loop_that_is_not_running)
{
    foreign_t foreign = {.loop = loop};
    for (unsigned i = 0; i < 50; i++) {
        assert_result(loop_on_next_tick(loop, begin(&foreign.tick), record), 0);
        join_thread(start_thread(take_back_from_another_thread, &foreign));
        assert_result(foreign.status, 0);
        assert_result(loop_pending(loop), 0);
    }
    run(loop);
    assert_int_equal(completions_of(&foreign.tick), 0);
}

static void *race_to_take_back(void *argument)
{
    foreign_t *foreign = argument;
    uint64_t   chance = 7;
    for (unsigned round = 0; round < 20000; round++) {
        CHECK(loop_on_next_tick(foreign->loop, begin(&foreign->tick), record) == 0);
        for (uint32_t spins = random_below(&chance, 200); spins > 0; spins--) {
            atomic_signal_fence(memory_order_seq_cst);
        }
        if (round % 50 == 0) {
            sleep_for(random_below(&chance, 50000)); /* the loop falls asleep, or is asleep */
        }
        int status = loop_cancel_on_next_tick(foreign->loop, &foreign->tick.request);
        CHECK(status == 0 || status == LOOP_ENOENT);
        while (status != 0 && completions_of(&foreign->tick) == 0) {
            sched_yield();
        }
        CHECK(completions_of(&foreign->tick) == (status == 0 ? 0u : 1u));
    }
    CHECK(loop_unref(foreign->loop) == 0);
    return NULL;
}

LOOP_TEST(a_race_to_take_back_a_tick_has_one_winner)
{
    foreign_t foreign = {.loop = loop};
    assert_result(loop_ref(loop), 0);
    pthread_t thread = start_thread(race_to_take_back, &foreign);
    run(loop);
    join_thread(thread);
}

static void *take_back_the_last(void *argument)
{
    foreign_t *foreign = argument;
    CHECK(loop_on_next_tick(foreign->loop, begin(&foreign->tick), record) == 0);
    sleep_for(foreign->pause_ns);
    foreign->status = loop_cancel_on_next_tick(foreign->loop, &foreign->tick.request);
    CHECK(loop_unref(foreign->loop) == 0);
    return NULL;
}

LOOP_TEST(loop_run_returns_when_the_last_tick_is_taken_back)
{
    for (unsigned i = 0; i < 300; i++) {
        foreign_t foreign = {.loop = loop, .pause_ns = i * 100};
        assert_result(loop_ref(loop), 0);
        pthread_t thread = start_thread(take_back_the_last, &foreign);
        run(loop);
        join_thread(thread);
        run(loop);
        assert_definite(&foreign.tick, foreign.status);
    }
}

/* ---- numbers --------------------------------------------------------------------------------- */

static atomic_uint chain_left;

static void next_in_chain(loop_t *loop, loop_request_t *request, int64_t result)
{
    note_stack_depth();
    if (atomic_fetch_sub(&chain_left, 1) > 1) {
        CHECK(loop_on_next_tick(loop, request, next_in_chain) == 0);
    } else {
        record(loop, request, result);
    }
}

LOOP_TEST(ten_million_ticks_in_a_chain_need_no_more_stack_than_one)
{
    operation_t tick = {0};
    atomic_store(&chain_left, 10000000);
    assert_result(loop_on_next_tick(loop, begin(&tick), next_in_chain), 0);
    run(loop);
    assert_int_equal(completions_of(&tick), 1);
    assert_int_equal(atomic_load(&chain_left), 0);
    assert_true(stack_spread() < 4096);
}

enum { BURST = 64, TICKS_PER_PRODUCER = 250000 };
typedef struct producer {
    loop_t        *loop;
    loop_request_t ticks[BURST];
    atomic_uint    runs[BURST];
} producer_t;

static void count_run(loop_t *loop, loop_request_t *request, int64_t result)
{
    (void)loop;
    CHECK(result == 0);
    atomic_fetch_add((atomic_uint *)request->user, 1);
}

/* Submits bursts of ticks, and waits for each one to have run before the next, so that the loop falls asleep
 * in between. */
static void *produce(void *argument)
{
    producer_t *producer = argument;
    uint64_t    chance = (uintptr_t)producer;
    unsigned    expected[BURST] = {0};
    for (unsigned i = 0; i < BURST; i++) {
        producer->ticks[i].user = &producer->runs[i];
    }
    for (unsigned left = TICKS_PER_PRODUCER; left > 0;) {
        unsigned burst = 1 + random_below(&chance, BURST);
        burst = burst < left ? burst : left;
        left -= burst;
        for (unsigned i = 0; i < burst; i++) {
            CHECK(loop_on_next_tick(producer->loop, &producer->ticks[i], count_run) == 0);
            expected[i]++;
        }
        for (unsigned i = 0; i < burst; i++) {
            while (atomic_load(&producer->runs[i]) != expected[i]) {
                CHECK(atomic_load(&producer->runs[i]) <= expected[i]);
                sched_yield();
            }
        }
    }
    for (unsigned i = 0; i < BURST; i++) {
        CHECK(atomic_load(&producer->runs[i]) == expected[i]);
    }
    CHECK(loop_unref(producer->loop) == 0);
    return NULL;
}

LOOP_TEST(a_million_ticks_from_four_threads_to_a_sleeping_loop_all_run_once)
{
    static producer_t producers[4];
    pthread_t         threads[COUNT(producers)];
    loop_statistics_t statistics = {.size = sizeof statistics};
    memset(producers, 0, sizeof producers);
    for (size_t i = 0; i < COUNT(producers); i++) {
        producers[i].loop = loop;
        assert_result(loop_ref(loop), 0);
        threads[i] = start_thread(produce, &producers[i]);
    }
    run(loop);
    for (size_t i = 0; i < COUNT(producers); i++) {
        join_thread(threads[i]);
    }
    assert_result(loop_get_statistics(loop, &statistics), 0);
    assert_int_equal(statistics.completions, COUNT(producers) * TICKS_PER_PRODUCER);
    assert_true(statistics.sleeps > 0);
}

/* ---- the rest -------------------------------------------------------------------------------- */

LOOP_TEST(loop_ignore_is_a_callback_like_any_other)
{
    loop_request_t tick = {0}, wait = {0};
    assert_result(loop_on_next_tick(loop, &tick, loop_ignore), 0);
    assert_result(loop_wait_until_fd_readable(loop, &wait, -1, loop_ignore), 0);
    run(loop);
    assert_result(tick.result, 0);
    assert_result(wait.result, LOOP_EBADF);
    loop_ignore(NULL, NULL, 0);
    loop_ignore(loop, &tick, 0);
}

LOOP_TEST(a_tick_that_comes_too_late_times_out)
{
    operation_t late = {.request.timeout_ns = 1}, in_time = {.request.timeout_ns = HOUR};
    operation_t never = {.request.timeout_ns = UINT64_MAX};
    assert_result(loop_on_next_tick(loop, begin(&late), record), 0);
    assert_result(loop_on_next_tick(loop, begin(&in_time), record), 0);
    assert_result(loop_on_next_tick(loop, begin(&never), record), 0);
    sleep_for(MILLISECOND);
    run(loop);
    assert_int_equal(completions_of(&late), 1);
    assert_result(late.result, LOOP_ETIMEDOUT);
    assert_result(in_time.result, 0);
    assert_result(never.result, 0);
    assert_int_equal(late.request.timeout_ns, 1);
}

static void resubmit_then_free(loop_t *loop, loop_request_t *request, int64_t result)
{
    unsigned *left = request->user;
    CHECK(result == 0);
    if (--*left > 0) {
        CHECK(loop_on_next_tick(loop, request, resubmit_then_free) == 0);
    } else {
        free(left);
        memset(request, 0xA5, sizeof *request);
        free(request);
    }
}

LOOP_TEST(a_callback_may_submit_or_free_its_request)
{
    for (unsigned i = 0; i < 100; i++) {
        loop_request_t *tick = calloc(1, sizeof *tick);
        unsigned       *left = malloc(sizeof *left);
        assert_true(tick != NULL && left != NULL);
        *left = 1 + i % 10;
        tick->user = left;
        assert_result(loop_on_next_tick(loop, tick, resubmit_then_free), 0);
    }
    run(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(ticks_run_once_each_in_the_order_of_one_submitter),
        GUARDED(ticks_of_each_foreign_thread_keep_their_order),
        GUARDED(a_tick_submitted_by_a_tick_waits_for_the_turn_after),
        GUARDED(two_endless_ticks_delay_nothing_by_more_than_a_turn),
        GUARDED(ten_thousand_endless_ticks_starve_nobody),
        GUARDED(a_tick_taken_back_before_the_run_never_runs),
        GUARDED(the_memory_of_a_tick_taken_back_is_free_at_once),
        GUARDED(a_tick_can_be_taken_back_by_an_earlier_one_of_its_batch),
        GUARDED(a_tick_can_be_taken_back_by_the_callback_that_submitted_it),
        GUARDED(taking_back_what_is_not_a_tick_in_flight_finds_nothing),
        GUARDED(a_tick_whose_end_was_asked_for_still_gets_a_definite_answer),
        GUARDED(another_thread_can_take_back_a_tick_of_a_loop_that_is_not_running),
        GUARDED(a_race_to_take_back_a_tick_has_one_winner),
        GUARDED(loop_run_returns_when_the_last_tick_is_taken_back),
        GUARDED(ten_million_ticks_in_a_chain_need_no_more_stack_than_one),
        GUARDED(a_million_ticks_from_four_threads_to_a_sleeping_loop_all_run_once),
        GUARDED(loop_ignore_is_a_callback_like_any_other),
        GUARDED(a_tick_that_comes_too_late_times_out),
        GUARDED(a_callback_may_submit_or_free_its_request),
    };
    return RUN_SUITE(tests);
}
