/*
 * Conformance of timers: never early, in order, on the grid, at every extreme of the clock.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

/* A timer that knows between which two instants it is due. */
typedef struct timed {
    operation_t operation;
    uint64_t    due_from, due_until;
    uint64_t    fired_at;
} timed_t;

static void fire(loop_t *loop, loop_request_t *request, int64_t result)
{
    timed_t *timed = (timed_t *)(void *)request;
    timed->fired_at = loop_now(loop);
    if (result == 0) {
        CHECK(timed->fired_at >= timed->due_from);
    }
    record(loop, request, result);
}

static void start(loop_t *loop, timed_t *timed, uint64_t delay_ns, uint64_t period_ns)
{
    timed->due_from = loop_now(loop) + delay_ns;
    assert_result(loop_timer_start(loop, begin(&timed->operation), delay_ns, period_ns, fire), 0);
    timed->due_until = loop_now(loop) + delay_ns;
}

/* ---- never early, in order ------------------------------------------------------------------- */

enum { CROWD = 100000 };
static timed_t crowd[CROWD];

LOOP_TEST(a_hundred_thousand_timers_fire_once_each_and_never_early)
{
    uint64_t chance = 1;
    memset(crowd, 0, sizeof crowd);
    for (size_t i = 0; i < CROWD; i++) {
        start(loop, &crowd[i], random_below(&chance, 300 * 1000000), 0);
    }
    run(loop);
    for (size_t i = 0; i < CROWD; i++) {
        assert_int_equal(completions_of(&crowd[i].operation), 1);
        assert_result(crowd[i].operation.result, 0);
        assert_true(crowd[i].fired_at >= crowd[i].due_from);
    }
}

LOOP_TEST(half_of_a_hundred_thousand_timers_can_be_cancelled)
{
    uint64_t chance = 2;
    memset(crowd, 0, sizeof crowd);
    for (size_t i = 0; i < CROWD; i++) {
        start(loop, &crowd[i], (i % 2 == 0 ? HOUR : 0) + random_below(&chance, 1000000), 0);
    }
    for (size_t i = 0; i < CROWD; i += 2) {
        assert_result(loop_cancel(loop, &crowd[i].operation.request), 0);
    }
    run(loop);
    for (size_t i = 0; i < CROWD; i++) {
        assert_int_equal(completions_of(&crowd[i].operation), 1);
        assert_result(crowd[i].operation.result, i % 2 == 0 ? LOOP_ECANCELED : 0);
    }
}

static int by_order(const void *left, const void *right)
{
    const timed_t *const *a = left;
    const timed_t *const *b = right;
    return ((*a)->operation.order > (*b)->operation.order) - ((*a)->operation.order < (*b)->operation.order);
}

TEST(timers_fire_in_the_order_in_which_they_are_due)
{
    enum { TIMERS = 2000 };
    static timed_t *fired[TIMERS];
    uint64_t        chance = 3, latest = 0;
    loop_options_t  options = test_options();
    options.threads = 1; /* with several threads callbacks run side by side */
    loop_t *loop = new_loop_with(options);
    memset(crowd, 0, sizeof crowd);
    for (size_t i = 0; i < TIMERS; i++) {
        fired[i] = &crowd[i];
        start(loop, &crowd[i], random_below(&chance, 50 * 1000000), 0);
    }
    run(loop);
    qsort(fired, TIMERS, sizeof fired[0], by_order);
    for (size_t i = 0; i < TIMERS; i++) {
        assert_true(fired[i]->due_until >= latest);
        latest = fired[i]->due_from > latest ? fired[i]->due_from : latest;
    }
    end_loop(loop);
}

TEST(timers_of_equal_delay_fire_in_the_order_of_their_start)
{
    enum { TIMERS = 10000 };
    static const uint64_t delays[] = {0, MILLISECOND, 10 * MILLISECOND};
    loop_options_t        options = test_options();
    options.threads = 1;
    loop_t *loop = new_loop_with(options);
    for (size_t round = 0; round < COUNT(delays); round++) {
        memset(crowd, 0, TIMERS * sizeof crowd[0]);
        for (size_t i = 0; i < TIMERS; i++) {
            start(loop, &crowd[i], delays[round], 0);
        }
        run(loop);
        for (size_t i = 1; i < TIMERS; i++) {
            assert_int_equal(crowd[i].operation.order, crowd[i - 1].operation.order + 1);
        }
    }
    end_loop(loop);
}

typedef struct late_start {
    loop_t *loop;
    timed_t timer;
} late_start_t;

static void *start_a_short_timer(void *argument)
{
    late_start_t *late_start = argument;
    sleep_for(5 * MILLISECOND);
    CHECK(loop_timer_start(late_start->loop, begin(&late_start->timer.operation), MILLISECOND, 0, fire) == 0);
    return NULL;
}

LOOP_TEST(a_shorter_timer_of_another_thread_shortens_the_sleep)
{
    late_start_t late_start = {.loop = loop};
    timed_t      far = {0};
    start(loop, &far, HOUR, 0);
    pthread_t thread = start_thread(start_a_short_timer, &late_start);
    while (completions_of(&late_start.timer.operation) == 0) {
        assert_true(loop_run_once(loop, -1) >= 0);
    }
    join_thread(thread);
    assert_int_equal(completions_of(&far.operation), 0);
    assert_result(loop_cancel(loop, &far.operation.request), 0);
    run(loop);
}

/* ---- extremes -------------------------------------------------------------------------------- */

LOOP_TEST(huge_values_mean_never)
{
    const uint64_t huge[] = {UINT64_MAX,      UINT64_MAX - 1,        UINT64_MAX - loop_now(loop), INT64_MAX,
                             (uint64_t)1 << 63, UINT64_MAX / 2 + SECOND, 1000 * 24 * HOUR};
    timed_t        timers[2 * COUNT(huge)];
    memset(timers, 0, sizeof timers);
    for (size_t i = 0; i < COUNT(huge); i++) {
        start(loop, &timers[2 * i], huge[i], 0);
        start(loop, &timers[2 * i + 1], huge[i], huge[i]);
    }
    run_for(loop, 20 * MILLISECOND);
    for (size_t i = 0; i < COUNT(timers); i++) {
        assert_int_equal(completions_of(&timers[i].operation), 0);
        assert_result(loop_cancel(loop, &timers[i].operation.request), 0);
    }
    run(loop);
    for (size_t i = 0; i < COUNT(timers); i++) {
        assert_int_equal(completions_of(&timers[i].operation), 1);
        assert_result(timers[i].operation.result, LOOP_ECANCELED);
    }
}

LOOP_TEST(a_huge_period_shoots_once_and_not_again)
{
    timed_t timer = {0};
    start(loop, &timer, 0, UINT64_MAX);
    assert_result(await(loop, &timer.operation), 0);
    assert_int_equal(timer.operation.flags, LOOP_MORE);
    run_for(loop, 10 * MILLISECOND);
    assert_int_equal(completions_of(&timer.operation), 1);
    assert_result(loop_cancel(loop, &timer.operation.request), 0);
    run(loop);
    assert_int_equal(completions_of(&timer.operation), 2);
    assert_int_equal(timer.operation.flags, 0);
    assert_result(timer.operation.result, LOOP_ECANCELED);
}

static void restart_at_once(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(result == 0);
    if (--*(unsigned *)request->user > 0) {
        CHECK(loop_timer_start(loop, request, 0, 0, restart_at_once) == 0);
    }
}

LOOP_TEST(a_timer_of_no_delay_that_restarts_itself_starves_nobody)
{
    unsigned       left = UINT32_MAX;
    loop_request_t endless = {.user = &left};
    operation_t    tick = {0}, timer = {0}, readable = {0};
    int            ends[2];
    make_pipe(ends);
    put(ends[1], "x", 1);
    assert_result(loop_timer_start(loop, &endless, 0, 0, restart_at_once), 0);
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    assert_result(loop_timer_start(loop, begin(&timer), MILLISECOND, 0, record), 0);
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), ends[0], record), 0);
    assert_result(await(loop, &tick), 0);
    assert_result(await(loop, &timer), 0);
    assert_result(await(loop, &readable), LOOP_READABLE);
    left = 1;
    run(loop);
    close_both(ends);
}

LOOP_TEST(a_loop_that_waits_for_a_timer_sleeps)
{
    loop_statistics_t before = {.size = sizeof before}, after = {.size = sizeof after};
    assert_result(loop_get_statistics(loop, &before), 0);
    run_for(loop, 200 * MILLISECOND);
    assert_result(loop_get_statistics(loop, &after), 0);
    assert_true(after.turns - before.turns < 1000); /* one that spins comes to many thousands */
}

/* ---- periods --------------------------------------------------------------------------------- */

enum { SHOTS = 40 };
typedef struct periodic {
    operation_t operation;
    uint64_t    began[SHOTS], ended[SHOTS];
    uint64_t    pause_ns; /* how long each callback takes */
    uint64_t    first_pause_ns;
} periodic_t;

static void shoot(loop_t *loop, loop_request_t *request, int64_t result)
{
    periodic_t *periodic = (periodic_t *)(void *)request;
    unsigned    shot = completions_of(&periodic->operation);
    if (result == 0) {
        CHECK(request->flags == LOOP_MORE);
        CHECK(shot < SHOTS);
        periodic->began[shot] = loop_now(loop);
        sleep_for(shot == 0 && periodic->first_pause_ns > 0 ? periodic->first_pause_ns : periodic->pause_ns);
        periodic->ended[shot] = loop_now(loop);
        if (shot + 1 == SHOTS) {
            CHECK(loop_cancel(loop, request) == 0);
        }
    }
    record(loop, request, result);
}

/* Lets a periodic timer make SHOTS shots and checks that each belongs to a later point of the grid than that
 * at which the callback before it ended: no shot is early, and none makes up for one that was missed. */
static void assert_on_grid(loop_t *loop, periodic_t *periodic, uint64_t delay_ns, uint64_t period_ns)
{
    uint64_t first_from = loop_now(loop) + delay_ns;
    assert_result(loop_timer_start(loop, begin(&periodic->operation), delay_ns, period_ns, shoot), 0);
    uint64_t first_until = loop_now(loop) + delay_ns;
    run(loop);
    assert_int_equal(completions_of(&periodic->operation), SHOTS + 1);
    assert_result(periodic->operation.result, LOOP_ECANCELED);
    assert_int_equal(periodic->operation.flags, 0);
    assert_true(periodic->began[0] >= first_from);
    for (unsigned i = 1; i < SHOTS; i++) {
        uint64_t point = (periodic->began[i] - first_from) / period_ns;
        assert_true(point >= i);
        if (periodic->ended[i - 1] > first_until) {
            assert_true(point > (periodic->ended[i - 1] - first_until) / period_ns);
        }
    }
}

LOOP_TEST(a_periodic_timer_stays_on_its_grid)
{
    periodic_t periodic = {0};
    assert_on_grid(loop, &periodic, 3 * MILLISECOND, 2 * MILLISECOND);
    memset(&periodic.operation, 0, sizeof periodic.operation);
    assert_on_grid(loop, &periodic, 0, MILLISECOND);
}

LOOP_TEST(missed_shots_are_not_made_up_for)
{
    periodic_t periodic = {.first_pause_ns = 25 * MILLISECOND};
    assert_on_grid(loop, &periodic, MILLISECOND, MILLISECOND);
    memset(&periodic.operation, 0, sizeof periodic.operation);
    periodic.pause_ns = 3 * MILLISECOND / 2;
    assert_on_grid(loop, &periodic, MILLISECOND, MILLISECOND);
}

/* A timer that counted its period from the end of each callback would drift by half a period with each shot,
 * so that only half of them came near a point of the grid. */
LOOP_TEST(long_callbacks_do_not_make_the_grid_drift)
{
    const uint64_t period = 10 * MILLISECOND;
    for (unsigned attempt = 0; attempt < 5; attempt++) {
        periodic_t periodic = {.pause_ns = period / 2};
        unsigned   near = 0;
        assert_on_grid(loop, &periodic, 0, period);
        for (unsigned i = 1; i < SHOTS; i++) {
            near += (periodic.began[i] - periodic.began[0]) % period < period / 4 ||
                    (periodic.began[i] - periodic.began[0]) % period > period - period / 8;
        }
        if (near > SHOTS * 3 / 4) {
            return; /* a noisy machine may need another attempt */
        }
    }
    fail();
}

/* ---- cancel, restart, time out --------------------------------------------------------------- */

LOOP_TEST(a_timer_can_be_cancelled_until_it_fired)
{
    timed_t early = {0}, waiting = {0}, fired = {0};
    start(loop, &early, 0, 0);
    assert_result(loop_cancel(loop, &early.operation.request), 0);
    assert_result(loop_cancel(loop, &early.operation.request), 0);
    run(loop);
    assert_int_equal(completions_of(&early.operation), 1);
    assert_result(early.operation.result, LOOP_ECANCELED);
    start(loop, &waiting, HOUR, 0);
    run_for(loop, MILLISECOND);
    assert_result(loop_cancel(loop, &waiting.operation.request), 0);
    assert_result(loop_cancel(loop, &waiting.operation.request), 0);
    run(loop);
    assert_int_equal(completions_of(&waiting.operation), 1);
    assert_result(waiting.operation.result, LOOP_ECANCELED);
    start(loop, &fired, 0, 0);
    run(loop);
    assert_result(fired.operation.result, 0);
    assert_result(loop_cancel(loop, &fired.operation.request), LOOP_ENOENT);
}

static void cancel_the_other(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(loop_cancel(loop, request) == LOOP_ENOENT); /* itself: the callback was entered */
    int status = loop_cancel(loop, request->user);
    CHECK(status == 0 || status == LOOP_ENOENT);
    record(loop, request, result);
}

LOOP_TEST(a_timer_can_cancel_another_that_is_due_at_the_same_time)
{
    for (unsigned i = 0; i < 200; i++) {
        timed_t timers[2] = {0};
        timers[0].operation.request.user = &timers[1].operation.request;
        timers[1].operation.request.user = &timers[0].operation.request;
        for (size_t j = 0; j < 2; j++) {
            loop_request_t *request = begin(&timers[j].operation);
            assert_result(loop_timer_start(loop, request, i * 1000, 0, cancel_the_other), 0);
        }
        run(loop);
        for (size_t j = 0; j < 2; j++) {
            assert_int_equal(completions_of(&timers[j].operation), 1);
            if (timers[j].operation.result != 0) {
                assert_result(timers[j].operation.result, LOOP_ECANCELED);
            }
        }
    }
}

static void cancel_yourself(loop_t *loop, loop_request_t *request, int64_t result)
{
    if (result == 0) {
        CHECK(request->flags == LOOP_MORE);
        CHECK(loop_cancel(loop, request) == 0);
    }
    record(loop, request, result);
}

LOOP_TEST(a_periodic_timer_can_end_itself)
{
    operation_t timer = {0};
    assert_result(loop_timer_start(loop, begin(&timer), 0, MILLISECOND, cancel_yourself), 0);
    run(loop);
    assert_int_equal(completions_of(&timer), 2);
    assert_result(timer.result, LOOP_ECANCELED);
    assert_int_equal(timer.flags, 0);
}

LOOP_TEST(a_timer_can_be_restarted_in_its_callback)
{
    unsigned       left = 1000;
    loop_request_t timer = {.user = &left};
    assert_result(loop_timer_start(loop, &timer, 0, 0, restart_at_once), 0);
    run(loop);
    assert_int_equal(left, 0);
}

static void free_yourself(loop_t *loop, loop_request_t *request, int64_t result)
{
    (void)loop;
    (void)result;
    memset(request, 0xA5, sizeof *request);
    free(request);
}

LOOP_TEST(a_timer_can_be_freed_in_its_callback)
{
    for (unsigned i = 0; i < 1000; i++) {
        loop_request_t *timer = calloc(1, sizeof *timer);
        assert_non_null(timer);
        assert_result(loop_timer_start(loop, timer, i * 1000, 0, free_yourself), 0);
    }
    run(loop);
}

LOOP_TEST(a_timeout_ends_a_timer_that_is_due_later)
{
    timed_t timed_out = {0}, in_time = {0}, no_limit = {0};
    timed_out.operation.request.timeout_ns = MILLISECOND;
    in_time.operation.request.timeout_ns = HOUR;
    no_limit.operation.request.timeout_ns = UINT64_MAX;
    start(loop, &timed_out, HOUR, 0);
    start(loop, &in_time, MILLISECOND, 0);
    start(loop, &no_limit, MILLISECOND, 0);
    run(loop);
    assert_int_equal(completions_of(&timed_out.operation), 1);
    assert_result(timed_out.operation.result, LOOP_ETIMEDOUT);
    assert_true(timed_out.fired_at >= timed_out.due_from - HOUR + MILLISECOND);
    assert_result(in_time.operation.result, 0);
    assert_result(no_limit.operation.result, 0);
}

LOOP_TEST(the_timeout_of_a_periodic_timer_counts_from_the_last_shot)
{
    operation_t patient = {.request.timeout_ns = 30 * MILLISECOND};
    operation_t impatient = {.request.timeout_ns = 5 * MILLISECOND};
    assert_result(loop_timer_start(loop, begin(&patient), 0, 5 * MILLISECOND, record), 0);
    assert_result(loop_timer_start(loop, begin(&impatient), 0, HOUR, record), 0);
    run_until(loop, &impatient.completions, 2);
    assert_result(impatient.result, LOOP_ETIMEDOUT);
    assert_int_equal(impatient.flags, 0);
    run_until(loop, &patient.completions, 20); /* for three times its timeout */
    assert_result(patient.result, 0);
    assert_int_equal(patient.flags, LOOP_MORE);
    assert_result(loop_cancel(loop, &patient.request), 0);
    run(loop);
    assert_result(patient.result, LOOP_ECANCELED);
    assert_int_equal(completions_of(&impatient), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_hundred_thousand_timers_fire_once_each_and_never_early),
        GUARDED(half_of_a_hundred_thousand_timers_can_be_cancelled),
        GUARDED(timers_fire_in_the_order_in_which_they_are_due),
        GUARDED(timers_of_equal_delay_fire_in_the_order_of_their_start),
        GUARDED(a_shorter_timer_of_another_thread_shortens_the_sleep),
        GUARDED(huge_values_mean_never),
        GUARDED(a_huge_period_shoots_once_and_not_again),
        GUARDED(a_timer_of_no_delay_that_restarts_itself_starves_nobody),
        GUARDED(a_loop_that_waits_for_a_timer_sleeps),
        GUARDED(a_periodic_timer_stays_on_its_grid),
        GUARDED(missed_shots_are_not_made_up_for),
        GUARDED(long_callbacks_do_not_make_the_grid_drift),
        GUARDED(a_timer_can_be_cancelled_until_it_fired),
        GUARDED(a_timer_can_cancel_another_that_is_due_at_the_same_time),
        GUARDED(a_periodic_timer_can_end_itself),
        GUARDED(a_timer_can_be_restarted_in_its_callback),
        GUARDED(a_timer_can_be_freed_in_its_callback),
        GUARDED(a_timeout_ends_a_timer_that_is_due_later),
        GUARDED(the_timeout_of_a_periodic_timer_counts_from_the_last_shot),
    };
    return RUN_SUITE(tests);
}
