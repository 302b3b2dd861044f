/*
 * Conformance of loop_set_strand: one callback at a time, the order of ticks, strands side by side, and the
 * life of a strand.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <sched.h>

/* How long a callback waits for another one that must run beside it, before it says that none did. */
#define PATIENCE (20 * SECOND)

/* A strand with a look at who is in it. */
typedef struct lane {
    loop_strand_t   strand;
    atomic_bool     occupied;
    unsigned        entered; /* callbacks so far; as they run one at a time, this need not be atomic */
    pthread_mutex_t order;   /* guards `submitted`, and keeps a submit and its number together */
    unsigned        submitted;
    unsigned        ran;  /* the number of the last tick that ran */
    bool            shut; /* the loop was stopped by a callback: no other may run until the next run */
} lane_t;

/* Zeroes a lane: strands have no other beginning. */
static void open_lane(lane_t *lane)
{
    memset(lane, 0, sizeof *lane);
    assert_int_equal(pthread_mutex_init(&lane->order, NULL), 0);
}

static void enter(lane_t *lane)
{
    CHECK(!atomic_exchange(&lane->occupied, true));
    lane->entered++;
}

static void leave(lane_t *lane)
{
    atomic_store(&lane->occupied, false);
}

static void waste_time(uint32_t spins)
{
    for (; spins > 0; spins--) {
        atomic_signal_fence(memory_order_seq_cst);
    }
}

/* A request that runs in a lane. */
typedef struct passenger {
    operation_t operation; /* first */
    lane_t     *lane;
    unsigned    number; /* of a tick, among those of its lane */
    unsigned    left;   /* submits that are still to come */
    uint64_t    chance;
} passenger_t;

static passenger_t *passenger_of(loop_request_t *request)
{
    return (passenger_t *)(void *)request;
}

static loop_request_t *board(passenger_t *passenger, lane_t *lane)
{
    loop_request_t *request = begin(&passenger->operation);
    passenger->lane = lane;
    CHECK(loop_set_strand(request, &lane->strand) == 0);
    return request;
}

static void pass(loop_t *loop, loop_request_t *request, int64_t result)
{
    lane_t *lane = passenger_of(request)->lane;
    enter(lane);
    record(loop, request, result);
    leave(lane);
}

/* ---- setting --------------------------------------------------------------------------------- */

LOOP_TEST(what_is_wrong_with_the_arguments_is_refused)
{
    operation_t   operation = {0};
    loop_strand_t strand = {0};
    char         *bytes = (char *)&strand;
    assert_result(loop_set_strand(NULL, &strand), LOOP_EINVAL);
    assert_result(loop_set_strand(NULL, NULL), LOOP_EINVAL);
    assert_result(loop_set_strand(&operation.request, (loop_strand_t *)(void *)(bytes + 1)), LOOP_EINVAL);
    bytes = (char *)&operation.request;
    assert_result(loop_set_strand((loop_request_t *)(void *)(bytes + 4), &strand), LOOP_EINVAL);
    assert_result(loop_set_strand(&operation.request, &strand), 0);
    assert_result(loop_set_strand(&operation.request, NULL), 0);
    assert_result(loop_set_strand(&operation.request, &strand), 0);
    assert_result(RESULT_OF(loop, loop_timer_start, 0, 0), 0);
}

static void try_to_set_the_strand(loop_t *loop, loop_request_t *request, int64_t result)
{
    if ((request->flags & LOOP_MORE) != 0) {
        CHECK(loop_set_strand(request, NULL) == LOOP_EBUSY);
        CHECK(loop_cancel(loop, request) == 0);
    } else {
        CHECK(loop_set_strand(request, NULL) == 0);
        record(loop, request, result);
    }
}

LOOP_TEST(the_strand_of_a_request_in_flight_cannot_be_changed)
{
    operation_t   timer = {0};
    loop_strand_t strand = {0};
    assert_result(loop_set_strand(&timer.request, &strand), 0);
    assert_result(loop_timer_start(loop, begin(&timer), 1, 1, try_to_set_the_strand), 0);
    assert_result(loop_set_strand(&timer.request, NULL), LOOP_EBUSY);
    run(loop);
    assert_int_equal(completions_of(&timer), 1);
    assert_result(timer.result, LOOP_ECANCELED);
}

/* ---- order ----------------------------------------------------------------------------------- */

enum { MANY = 10000 };
static passenger_t many[MANY];
static lane_t      lanes[4];

/* Records a tick that must be the next one of its lane, and leaves the lane entered. */
static lane_t *enter_in_order(loop_t *loop, loop_request_t *request, int64_t result)
{
    passenger_t *passenger = passenger_of(request);
    lane_t      *lane = passenger->lane;
    enter(lane);
    CHECK(passenger->number == lane->ran + 1);
    lane->ran = passenger->number;
    record(loop, request, result);
    return lane;
}

static void run_in_order(loop_t *loop, loop_request_t *request, int64_t result)
{
    leave(enter_in_order(loop, request, result));
}

/* Submits a tick, so that the numbers of a lane are those of the order of submits, on whatever threads. */
static void submit_in_order(loop_t *loop, passenger_t *passenger, loop_callback_t callback)
{
    lane_t *lane = passenger->lane;
    CHECK(pthread_mutex_lock(&lane->order) == 0);
    passenger->number = ++lane->submitted;
    CHECK(loop_on_next_tick(loop, &passenger->operation.request, callback) == 0);
    CHECK(pthread_mutex_unlock(&lane->order) == 0);
}

LOOP_TEST(ticks_run_in_the_order_of_their_submits)
{
    for (size_t i = 0; i < COUNT(lanes); i++) {
        open_lane(&lanes[i]);
    }
    memset(many, 0, sizeof many);
    for (size_t i = 0; i < MANY; i++) {
        board(&many[i], &lanes[i % COUNT(lanes)]);
        submit_in_order(loop, &many[i], run_in_order);
    }
    run(loop);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(completions_of(&many[i].operation), 1);
    }
    for (size_t i = 0; i < COUNT(lanes); i++) {
        assert_int_equal(lanes[i].ran, MANY / COUNT(lanes));
    }
}

enum { TRAVELLERS = 16, FOREIGN_THREADS = 3, JOURNEYS = 2000 };

/* Runs in order, then submits itself again, to a lane that chance says: on a loop thread, from a callback. */
static void travel(loop_t *loop, loop_request_t *request, int64_t result)
{
    passenger_t *passenger = passenger_of(request);
    lane_t      *lane = passenger->lane;
    CHECK(result == 0);
    enter(lane);
    CHECK(passenger->number == lane->ran + 1);
    lane->ran = passenger->number;
    waste_time(random_below(&passenger->chance, 100));
    if (--passenger->left == 0) {
        record(loop, request, result);
    } else {
        passenger->lane = &lanes[random_below(&passenger->chance, COUNT(lanes))];
        CHECK(loop_set_strand(request, &passenger->lane->strand) == 0);
        submit_in_order(loop, passenger, travel);
    }
    leave(lane);
}

typedef struct foreign {
    loop_t     *loop;
    passenger_t travellers[TRAVELLERS];
} foreign_t;

static void *send_travellers(void *argument)
{
    foreign_t *foreign = argument;
    for (unsigned i = 0; i < TRAVELLERS; i++) {
        passenger_t *passenger = &foreign->travellers[i];
        passenger->left = JOURNEYS;
        passenger->chance = (uint64_t)(i + 1) * 977;
        board(passenger, &lanes[i % COUNT(lanes)]);
        submit_in_order(foreign->loop, passenger, travel);
        sleep_for(10000);
    }
    CHECK(loop_unref(foreign->loop) == 0);
    return NULL;
}

LOOP_TEST(ticks_from_callbacks_and_from_other_threads_keep_the_order_of_their_submits)
{
    static foreign_t foreigners[FOREIGN_THREADS];
    pthread_t        threads[FOREIGN_THREADS];
    unsigned         total = 0;
    memset(foreigners, 0, sizeof foreigners);
    for (size_t i = 0; i < COUNT(lanes); i++) {
        open_lane(&lanes[i]);
    }
    for (size_t i = 0; i < FOREIGN_THREADS; i++) {
        foreigners[i].loop = loop;
        assert_result(loop_ref(loop), 0);
        threads[i] = start_thread(send_travellers, &foreigners[i]);
    }
    run(loop);
    for (size_t i = 0; i < FOREIGN_THREADS; i++) {
        join_thread(threads[i]);
    }
    for (size_t i = 0; i < COUNT(lanes); i++) {
        assert_int_equal(lanes[i].ran, lanes[i].submitted);
        total += lanes[i].ran;
    }
    assert_int_equal(total, FOREIGN_THREADS * TRAVELLERS * JOURNEYS);
}

/* ---- one at a time --------------------------------------------------------------------------- */

static void do_a_little(loop_request_t *request)
{
    (void)request;
    waste_time(100);
}

/* One of each kind of request, that submits itself again and again. */
typedef struct crowd {
    lane_t      lane;
    passenger_t tick, timer, work, access, wait, periodic, watch;
    int         ends[2];
} crowd_t;

enum { SHOTS = 300 };

static void again(loop_t *loop, loop_request_t *request, int64_t result);

static int submit_again(loop_t *loop, loop_request_t *request, crowd_t *crowd)
{
    if (request == &crowd->tick.operation.request) {
        return loop_on_next_tick(loop, request, again);
    }
    if (request == &crowd->timer.operation.request) {
        return loop_timer_start(loop, request, 1, 0, again);
    }
    if (request == &crowd->work.operation.request) {
        return loop_queue_work(loop, request, do_a_little, again);
    }
    if (request == &crowd->wait.operation.request) {
        return loop_wait_until_fd_readable(loop, request, crowd->ends[0], again);
    }
    return loop_faccessat(loop, request, AT_FDCWD, "/", F_OK, 0, again);
}

static void again(loop_t *loop, loop_request_t *request, int64_t result)
{
    passenger_t *passenger = passenger_of(request);
    CHECK(result >= 0);
    enter(passenger->lane);
    waste_time(random_below(&passenger->chance, 300));
    if (--passenger->left > 0) {
        CHECK(submit_again(loop, request, (crowd_t *)(void *)passenger->lane) == 0);
    } else {
        record(loop, request, result);
    }
    leave(passenger->lane);
}

static void shoot(loop_t *loop, loop_request_t *request, int64_t result)
{
    passenger_t *passenger = passenger_of(request);
    enter(passenger->lane);
    waste_time(random_below(&passenger->chance, 300));
    if ((request->flags & LOOP_MORE) == 0) {
        CHECK(result == LOOP_ECANCELED);
        record(loop, request, result);
    } else if (--passenger->left == 0) {
        CHECK(loop_cancel(loop, request) == 0);
    }
    leave(passenger->lane);
}

static void start_crowd(loop_t *loop, crowd_t *crowd)
{
    passenger_t *resubmitted[] = {&crowd->tick, &crowd->timer, &crowd->work, &crowd->access, &crowd->wait};
    passenger_t *multishot[] = {&crowd->periodic, &crowd->watch};
    memset(crowd, 0, sizeof *crowd);
    open_lane(&crowd->lane);
    make_pipe(crowd->ends);
    put(crowd->ends[1], "x", 1);
    for (size_t i = 0; i < COUNT(resubmitted); i++) {
        resubmitted[i]->left = SHOTS;
        resubmitted[i]->chance = 3 + i;
        CHECK(submit_again(loop, board(resubmitted[i], &crowd->lane), crowd) == 0);
    }
    for (size_t i = 0; i < COUNT(multishot); i++) {
        multishot[i]->left = SHOTS;
        multishot[i]->chance = 13 + i;
        board(multishot[i], &crowd->lane);
    }
    assert_result(loop_timer_start(loop, &crowd->periodic.operation.request, 1, 1, shoot), 0);
    loop_request_t *watch = &crowd->watch.operation.request;
    assert_result(loop_add_fd(loop, watch, crowd->ends[0], LOOP_READABLE, shoot), 0);
}

LOOP_TEST(requests_of_every_kind_run_one_at_a_time)
{
    static crowd_t crowds[3];
    for (size_t i = 0; i < COUNT(crowds); i++) {
        start_crowd(loop, &crowds[i]);
    }
    run(loop);
    for (size_t i = 0; i < COUNT(crowds); i++) {
        /* A shot may come between the request to cancel and its end. */
        assert_true(crowds[i].lane.entered >= 5 * SHOTS + 2 * (SHOTS + 1));
        assert_int_equal(completions_of(&crowds[i].work.operation), 1);
        assert_int_equal(completions_of(&crowds[i].watch.operation), 1);
        close_both(crowds[i].ends);
    }
}

LOOP_TEST(a_request_without_callback_is_harvested_whatever_its_strand)
{
    lane_t          lane;
    passenger_t     tick = {0}, harvested = {0};
    loop_request_t *done = NULL;
    open_lane(&lane);
    assert_result(loop_on_next_tick(loop, board(&tick, &lane), pass), 0);
    assert_result(loop_on_next_tick(loop, board(&harvested, &lane), NULL), 0);
    assert_result(loop_wait(loop, &done, 1, -1), 1);
    assert_ptr_equal(done, &harvested.operation.request);
    run(loop);
    assert_int_equal(completions_of(&tick.operation), 1);
}

/* ---- side by side ---------------------------------------------------------------------------- */

static atomic_uint met;

/* Waits until so many are here, which takes as many threads. */
static void meet(unsigned number)
{
    uint64_t deadline = loop_now(NULL) + PATIENCE;
    atomic_fetch_add(&met, 1);
    while (atomic_load(&met) < number) {
        CHECK(loop_now(NULL) < deadline);
        sched_yield();
    }
}

static void meet_the_other(loop_t *loop, loop_request_t *request, int64_t result)
{
    enter(passenger_of(request)->lane);
    meet(passenger_of(request)->left);
    record(loop, request, result);
    leave(passenger_of(request)->lane);
}

/* As many strands as there are threads, two ticks in each: the first ticks meet, and then the second ones. */
LOOP_TEST(as_many_strands_run_side_by_side_as_there_are_threads)
{
    uint32_t threads = test_threads();
    assert_true(threads <= COUNT(lanes));
    for (unsigned round = 0; round < 100; round++) {
        passenger_t ticks[COUNT(lanes)][2] = {0};
        atomic_store(&met, 0);
        for (uint32_t i = 0; i < threads; i++) {
            open_lane(&lanes[i]);
            for (unsigned j = 0; j < 2; j++) {
                board(&ticks[i][j], &lanes[i]);
                ticks[i][j].left = threads * (j + 1);
                submit_in_order(loop, &ticks[i][j], meet_the_other);
            }
        }
        run(loop);
        for (uint32_t i = 0; i < threads; i++) {
            assert_int_equal(lanes[i].entered, 2);
        }
    }
}

static void meet_outside(loop_t *loop, loop_request_t *request, int64_t result)
{
    meet(2);
    record(loop, request, result);
}

/* The callback of a strand waits for requests outside of it, submitted before and behind it. */
LOOP_TEST(a_strand_that_runs_long_holds_up_nothing_else)
{
    if (test_threads() == 1) {
        return; /* one thread runs one callback at a time */
    }
    for (unsigned round = 0; round < 50; round++) {
        lane_t      lane;
        passenger_t first = {.left = 2}, waiting[100] = {0};
        operation_t behind = {0};
        atomic_store(&met, 0);
        open_lane(&lane);
        assert_result(loop_on_next_tick(loop, board(&first, &lane), meet_the_other), 0);
        for (size_t i = 0; i < COUNT(waiting); i++) {
            assert_result(loop_on_next_tick(loop, board(&waiting[i], &lane), pass), 0);
        }
        if (round % 2 == 0) {
            assert_result(loop_on_next_tick(loop, begin(&behind), meet_outside), 0);
        } else {
            assert_result(loop_timer_start(loop, begin(&behind), MILLISECOND, 0, meet_outside), 0);
        }
        run(loop);
        assert_int_equal(lane.entered, 1 + COUNT(waiting));
        assert_int_equal(completions_of(&behind), 1);
    }
}

/* ---- stopping, ending, taking back ----------------------------------------------------------- */

static void stop_now_and_then(loop_t *loop, loop_request_t *request, int64_t result)
{
    lane_t *lane = enter_in_order(loop, request, result);
    CHECK(!lane->shut);
    if (random_below(&passenger_of(request)->chance, 50) == 0) {
        lane->shut = true;
        CHECK(loop_stop(loop) == 0);
    }
    leave(lane);
}

LOOP_TEST(what_waits_when_the_loop_is_stopped_runs_in_the_next_runs)
{
    unsigned runs = 0;
    memset(many, 0, sizeof many);
    for (size_t i = 0; i < COUNT(lanes); i++) {
        open_lane(&lanes[i]);
    }
    for (size_t i = 0; i < MANY; i++) {
        many[i].chance = i + 1;
        board(&many[i], &lanes[i % COUNT(lanes)]);
        submit_in_order(loop, &many[i], stop_now_and_then);
    }
    while (loop_pending(loop) > 0) {
        assert_result(loop_run(loop), 0);
        runs++;
        for (size_t i = 0; i < COUNT(lanes); i++) {
            assert_false(atomic_load(&lanes[i].occupied));
            lanes[i].shut = false;
        }
    }
    assert_true(runs > 1);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(completions_of(&many[i].operation), 1);
    }
    for (size_t i = 0; i < COUNT(lanes); i++) {
        assert_int_equal(lanes[i].ran, MANY / COUNT(lanes));
    }
}

static void go_on_or_end(loop_t *loop, loop_request_t *request, int64_t result)
{
    passenger_t *passenger = passenger_of(request);
    enter(passenger->lane);
    CHECK(result == 0 || result == LOOP_ECANCELED);
    if ((request->flags & LOOP_MORE) == 0) {
        int error = loop_on_next_tick(loop, request, go_on_or_end);
        CHECK(error == 0 || error == LOOP_ESHUTDOWN);
        if (error < 0) {
            record(loop, request, result);
        }
    }
    leave(passenger->lane);
}

TEST(a_loop_that_ends_in_full_flight_completes_each_request_once)
{
    for (unsigned round = 1; round <= 100; round++) {
        uint64_t        chance = round;
        loop_t         *loop = new_loop();
        passenger_t     flying[64] = {0};
        loop_request_t *request;
        for (size_t i = 0; i < COUNT(lanes); i++) {
            open_lane(&lanes[i]);
        }
        for (size_t i = 0; i < COUNT(flying); i++) {
            request = board(&flying[i], &lanes[random_below(&chance, COUNT(lanes))]);
            assert_result(i % 4 == 0 ? loop_timer_start(loop, request, 1, 1000, go_on_or_end)
                                     : loop_on_next_tick(loop, request, go_on_or_end),
                          0);
        }
        if (round % 3 != 0) {
            run_for(loop, random_below(&chance, 2 * (uint32_t)MILLISECOND));
        }
        end_loop(loop);
        for (size_t i = 0; i < COUNT(flying); i++) {
            assert_int_equal(completions_of(&flying[i].operation), 1);
        }
    }
}

TEST(a_strand_may_serve_one_loop_after_the_other)
{
    lane_t lane;
    open_lane(&lane);
    for (unsigned round = 0; round < 50; round++) {
        loop_t     *loop = new_loop();
        passenger_t ticks[100] = {0};
        for (size_t i = 0; i < COUNT(ticks); i++) {
            board(&ticks[i], &lane);
            submit_in_order(loop, &ticks[i], run_in_order);
        }
        if (round % 2 == 0) {
            run(loop);
        }
        end_loop(loop);
        assert_int_equal(lane.ran, (round + 1) * COUNT(ticks));
    }
}

LOOP_TEST(taking_back_ticks_of_a_strand_gets_definite_answers)
{
    uint64_t chance = 5;
    for (unsigned round = 0; round < 200; round++) {
        lane_t      lane;
        passenger_t ticks[50] = {0};
        int         status[COUNT(ticks)] = {0};
        unsigned    taken_back = 0;
        open_lane(&lane);
        for (size_t i = 0; i < COUNT(ticks); i++) {
            assert_result(loop_on_next_tick(loop, board(&ticks[i], &lane), pass), 0);
        }
        if (round % 2 == 1) {
            assert_true(loop_run_once(loop, 0) >= 0);
        }
        for (size_t i = random_below(&chance, 4); i < COUNT(ticks); i += 1 + random_below(&chance, 4)) {
            status[i] = loop_cancel_on_next_tick(loop, &ticks[i].operation.request);
            taken_back += status[i] == 0;
            assert_true(status[i] == LOOP_ENOENT || status[i] == 0);
            status[i] = status[i] == 0;
        }
        run(loop);
        assert_int_equal(lane.entered, COUNT(ticks) - taken_back);
        for (size_t i = 0; i < COUNT(ticks); i++) {
            assert_int_equal(completions_of(&ticks[i].operation), status[i] ? 0 : 1);
        }
    }
}

/* ---- the life of a strand -------------------------------------------------------------------- */

/* An object of a program: a strand, and all the requests that refer to it. The last callback frees it. */
typedef struct object {
    lane_t       lane;
    passenger_t  tick, timer, work;
    unsigned     left;
    atomic_uint *freed;
} object_t;

static void free_after_the_last(loop_t *loop, loop_request_t *request, int64_t result)
{
    object_t *object = (object_t *)(void *)passenger_of(request)->lane;
    (void)loop;
    CHECK(result == 0);
    enter(&object->lane);
    if (--object->left > 0) {
        leave(&object->lane);
        return;
    }
    atomic_uint *freed = object->freed;
    memset(object, 0xA5, sizeof *object);
    free(object);
    atomic_fetch_add(freed, 1);
}

static void make_object(loop_t *loop, atomic_uint *freed)
{
    object_t *object = calloc(1, sizeof *object);
    assert_non_null(object);
    open_lane(&object->lane);
    object->freed = freed;
    object->left = 3;
    loop_request_t *tick = board(&object->tick, &object->lane);
    loop_request_t *timer = board(&object->timer, &object->lane);
    loop_request_t *work = board(&object->work, &object->lane);
    assert_result(loop_on_next_tick(loop, tick, free_after_the_last), 0);
    assert_result(loop_timer_start(loop, timer, 20000, 0, free_after_the_last), 0);
    assert_result(loop_queue_work(loop, work, do_a_little, free_after_the_last), 0);
}

LOOP_TEST(the_last_callback_in_a_strand_may_free_it)
{
    atomic_uint freed = 0;
    for (unsigned made = 0; made < 3000;) {
        for (unsigned i = 0; i < 30; i++) {
            make_object(loop, &freed);
            made++;
        }
        run_until(loop, &freed, made - 15);
    }
    run(loop);
    assert_int_equal(atomic_load(&freed), 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(what_is_wrong_with_the_arguments_is_refused),
        GUARDED(the_strand_of_a_request_in_flight_cannot_be_changed),
        GUARDED(ticks_run_in_the_order_of_their_submits),
        GUARDED(ticks_from_callbacks_and_from_other_threads_keep_the_order_of_their_submits),
        GUARDED(requests_of_every_kind_run_one_at_a_time),
        GUARDED(a_request_without_callback_is_harvested_whatever_its_strand),
        GUARDED(as_many_strands_run_side_by_side_as_there_are_threads),
        GUARDED(a_strand_that_runs_long_holds_up_nothing_else),
        GUARDED(what_waits_when_the_loop_is_stopped_runs_in_the_next_runs),
        GUARDED(a_loop_that_ends_in_full_flight_completes_each_request_once),
        GUARDED(a_strand_may_serve_one_loop_after_the_other),
        GUARDED(taking_back_ticks_of_a_strand_gets_definite_answers),
        GUARDED(the_last_callback_in_a_strand_may_free_it),
    };
    return RUN_SUITE(tests);
}
