/*
 * Conformance: a loop that is run by one thread after the other. What a thread submitted outlives it, what
 * another one waits for reaches it, and any thread may end the loop.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <sys/socket.h>

enum { ROUNDS = 20, BLOCK = 65536 };

/* Far more than anything here may take; a test that gets there has lost something. */
#define GENEROUS (30 * SECOND)

/* ---- what is in flight while the loop moves -------------------------------------------------- */

typedef struct luggage {
    operation_t wait, read, write, pread, timer, work, level, edge, never;
    int         waited[2], read_from[2], written_to[2], watched[2], idle[2];
    int         file;
    size_t      filling; /* bytes that written_to is full of */
    char        buffer[8];
    atomic_uint level_shots, edge_shots;
} luggage_t;

static char block[BLOCK];
static char contents[BLOCK];

static void ignore_work(loop_request_t *request)
{
    (void)request;
}

/* A shot of a watch: the first one of each ends it. */
static void on_shot(loop_t *loop, loop_request_t *request, int64_t result)
{
    operation_t *operation = operation_of(request);
    if ((request->flags & LOOP_MORE) == 0) {
        record(loop, request, result);
        return;
    }
    CHECK(result == LOOP_READABLE);
    atomic_fetch_add((atomic_uint *)operation->request.user, 1);
    CHECK(loop_remove_fd(loop, request) == 0);
}

static void pack(luggage_t *l)
{
    memset(contents, 'x', sizeof contents);
    make_pipe(l->waited);
    make_pipe(l->read_from);
    make_pipe(l->written_to);
    make_socketpair(l->watched);
    make_pipe(l->idle);
    l->filling = fill(l->written_to[1]);
    l->file = temporary_file(contents, sizeof contents);
    CHECK(posix_fadvise(l->file, 0, 0, POSIX_FADV_DONTNEED) == 0);
    l->level.request.user = &l->level_shots;
    l->edge.request.user = &l->edge_shots;
    atomic_store(&l->level_shots, 0);
    atomic_store(&l->edge_shots, 0);
}

static void submit_all(loop_t *loop, luggage_t *l)
{
    CHECK(loop_wait_until_fd_readable(loop, begin(&l->wait), l->waited[0], record) == 0);
    CHECK(loop_wait_until_fd_readable(loop, begin(&l->never), l->idle[0], record) == 0);
    CHECK(loop_read(loop, begin(&l->read), l->read_from[0], l->buffer, sizeof l->buffer, record) == 0);
    CHECK(loop_write(loop, begin(&l->write), l->written_to[1], "more", 4, record) == 0);
    CHECK(loop_pread(loop, begin(&l->pread), l->file, block, sizeof block, 0, record) == 0);
    CHECK(loop_timer_start(loop, begin(&l->timer), 5 * MILLISECOND, 0, record) == 0);
    CHECK(loop_queue_work(loop, begin(&l->work), ignore_work, record) == 0);
    CHECK(loop_add_fd(loop, begin(&l->level), l->watched[0], LOOP_READABLE, on_shot) == 0);
    CHECK(loop_add_fd(loop, begin(&l->edge), l->watched[0], LOOP_READABLE | LOOP_EDGE_TRIGGERED, on_shot) ==
          0);
}

/* Has everything happen that the requests wait for. */
static void let_it_happen(loop_t *loop, luggage_t *l)
{
    CHECK(loop_cancel(loop, &l->never.request) == 0);
    put(l->waited[1], "1", 1);
    put(l->read_from[1], "123", 3);
    put(l->watched[1], "1", 1);
    CHECK(drain(l->written_to[0]) >= l->filling); /* and maybe what went into the room that this made */
}

static void check_results(luggage_t *l)
{
    const struct {
        const operation_t *operation;
        int64_t            result;
    } expected[] = {
        {&l->wait, LOOP_READABLE}, {&l->never, LOOP_ECANCELED}, {&l->read, 3},
        {&l->write, 4},            {&l->pread, BLOCK},          {&l->timer, 0},
        {&l->work, 0},             {&l->level, LOOP_ECANCELED}, {&l->edge, LOOP_ECANCELED},
    };
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_int_equal(completions_of(expected[i].operation), 1);
        assert_result(expected[i].operation->result, expected[i].result);
    }
    assert_true(atomic_load(&l->level_shots) >= 1);
    assert_true(atomic_load(&l->edge_shots) >= 1);
    if (test_threads() == 1) { /* another thread may begin a shot before it hears of the removal */
        assert_int_equal(atomic_load(&l->level_shots), 1);
        assert_int_equal(atomic_load(&l->edge_shots), 1);
    }
    assert_memory_equal(l->buffer, "123", 3);
    assert_memory_equal(block, contents, sizeof block);
}

static void unpack(luggage_t *l)
{
    close_both(l->waited);
    close_both(l->read_from);
    close_both(l->written_to);
    close_both(l->watched);
    close_both(l->idle);
    CHECK(close(l->file) == 0);
}

/* ---- threads that run the loop --------------------------------------------------------------- */

typedef struct visit {
    loop_t     *loop;
    luggage_t  *luggage;
    atomic_uint submitted;
    atomic_bool stay, spin;
} visit_t;

/* Submits, gives all of it to the kernel, and ends; or stays, asleep or busy, and does no more for it. */
static void *submit_and_go(void *argument)
{
    visit_t *visit = argument;
    submit_all(visit->loop, visit->luggage);
    for (int turn = 0; turn < 3; turn++) {
        CHECK(loop_run_once(visit->loop, 0) >= 0);
    }
    atomic_store(&visit->submitted, 1);
    while (atomic_load(&visit->stay)) {
        if (!atomic_load(&visit->spin)) {
            sleep_for(MILLISECOND);
        }
    }
    return NULL;
}

static void *run_to_the_end(void *argument)
{
    visit_t *visit = argument;
    CHECK(loop_run(visit->loop) == 0);
    return NULL;
}

static void *deinit(void *argument)
{
    visit_t *visit = argument;
    CHECK(loop_deinit(visit->loop) == 0);
    return NULL;
}

LOOP_TEST(what_a_thread_submitted_outlives_it)
{
    static luggage_t luggage;
    visit_t          visit = {.loop = loop, .luggage = &luggage};
    for (int round = 0; round < ROUNDS; round++) {
        pack(&luggage);
        join_thread(start_thread(submit_and_go, &visit));
        if (round % 2 == 0) {
            let_it_happen(loop, &luggage);
            join_thread(start_thread(run_to_the_end, &visit));
        } else { /* the next one sleeps already when it happens */
            pthread_t next = start_thread(run_to_the_end, &visit);
            sleep_for(MILLISECOND);
            let_it_happen(loop, &luggage);
            join_thread(next);
        }
        check_results(&luggage);
        unpack(&luggage);
    }
}

static void submitter_stays(loop_t *loop, bool spin)
{
    static luggage_t luggage;
    for (int round = 0; round < ROUNDS; round++) {
        visit_t visit = {.loop = loop, .luggage = &luggage, .stay = true, .spin = spin};
        pack(&luggage);
        pthread_t first = start_thread(submit_and_go, &visit);
        while (atomic_load(&visit.submitted) == 0) {
            sleep_for(MILLISECOND / 10);
        }
        let_it_happen(loop, &luggage);
        join_thread(start_thread(run_to_the_end, &visit));
        check_results(&luggage);
        atomic_store(&visit.stay, false);
        join_thread(first);
        unpack(&luggage);
    }
}

LOOP_TEST(what_a_thread_submitted_that_sleeps_elsewhere_completes)
{
    submitter_stays(loop, false);
}

LOOP_TEST(what_a_thread_submitted_that_is_busy_elsewhere_completes)
{
    submitter_stays(loop, true);
}

TEST(any_thread_may_end_a_loop_with_requests_of_another_in_flight)
{
    static luggage_t luggage;
    for (int round = 0; round < ROUNDS; round++) {
        visit_t visit = {.loop = new_loop(), .luggage = &luggage, .stay = round % 2 != 0};
        pack(&luggage);
        pthread_t first = start_thread(submit_and_go, &visit);
        if (round % 2 == 0) {
            join_thread(first);
        }
        while (atomic_load(&visit.submitted) == 0) {
            sleep_for(MILLISECOND / 10);
        }
        join_thread(start_thread(deinit, &visit));
        const operation_t *idle[] = {&luggage.wait, &luggage.never, &luggage.read,
                                     &luggage.write, &luggage.level, &luggage.edge};
        for (size_t i = 0; i < COUNT(idle); i++) {
            assert_int_equal(completions_of(idle[i]), 1);
            assert_result(idle[i]->result, LOOP_ECANCELED);
        }
        assert_int_equal(completions_of(&luggage.pread), 1);
        assert_int_equal(completions_of(&luggage.timer), 1);
        assert_int_equal(completions_of(&luggage.work), 1);
        assert_int_equal(atomic_load(&luggage.level_shots) + atomic_load(&luggage.edge_shots), 0);
        if (round % 2 != 0) {
            atomic_store(&visit.stay, false);
            join_thread(first);
        }
        unpack(&luggage);
    }
}

/* ---- wake-ups -------------------------------------------------------------------------------- */

typedef struct caller {
    loop_t     *loop;
    operation_t tick;
    atomic_bool end;
} caller_t;

/* Runs the loop, asleep most of the time, until it is stopped. */
static void *run_until_stopped(void *argument)
{
    caller_t *caller = argument;
    CHECK(loop_run(caller->loop) == 0);
    return NULL;
}

static void tick_from_outside(caller_t *caller)
{
    uint64_t deadline = loop_now(NULL) + GENEROUS;
    CHECK(loop_on_next_tick(caller->loop, begin(&caller->tick), record) == 0);
    while (completions_of(&caller->tick) == 0) {
        CHECK(loop_now(NULL) < deadline);
        sleep_for(MILLISECOND / 20);
    }
    CHECK(completions_of(&caller->tick) == 1 && caller->tick.result == 0);
}

LOOP_TEST(a_tick_from_outside_wakes_whoever_runs_the_loop_now)
{
    caller_t caller = {.loop = loop};
    assert_result(loop_ref(loop), 0);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t runner = start_thread(run_until_stopped, &caller);
        for (int i = 0; i < 5; i++) {
            sleep_for((uint64_t)(i % 3) * MILLISECOND); /* asleep, on its way, or in a turn */
            tick_from_outside(&caller);
        }
        assert_result(loop_stop(loop), 0);
        join_thread(runner);
    }
    assert_result(loop_unref(loop), 0);
}

/* Two threads that both go on living pass the loop to and fro, asleep or not when the other one stops it. */
static void *take_turns(void *argument)
{
    caller_t *caller = argument;
    while (!atomic_load(&caller->end)) {
        int64_t n = loop_run_once(caller->loop, (int64_t)MILLISECOND);
        CHECK(n >= 0 || n == LOOP_EBUSY);
    }
    return NULL;
}

LOOP_TEST(threads_that_take_turns_lose_no_wake_up)
{
    caller_t  caller = {.loop = loop};
    pthread_t threads[3];
    assert_result(loop_ref(loop), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        threads[i] = start_thread(take_turns, &caller);
    }
    for (int i = 0; i < 500; i++) {
        tick_from_outside(&caller);
    }
    atomic_store(&caller.end, true);
    for (size_t i = 0; i < COUNT(threads); i++) {
        join_thread(threads[i]);
    }
    assert_result(loop_unref(loop), 0);
}

/* ---- a periodic timer and a pipe that is read again and again, across many threads ----------- */

typedef struct stream {
    operation_t  read;
    int          ends[2];
    unsigned     received;
    char         byte;
} stream_t;

static void read_on(loop_t *loop, loop_request_t *request, int64_t result)
{
    stream_t *stream = (stream_t *)(void *)request;
    if (result != 1) {
        record(loop, request, result);
        return;
    }
    stream->received++;
    CHECK(loop_read(loop, request, stream->ends[0], &stream->byte, 1, read_on) == 0);
}

static void count_shot(loop_t *loop, loop_request_t *request, int64_t result)
{
    if ((request->flags & LOOP_MORE) == 0) {
        record(loop, request, result);
        return;
    }
    CHECK(result == 0);
    atomic_fetch_add((atomic_uint *)request->user, 1);
}

static void *run_one_turn_that_waits(void *argument)
{
    loop_t *loop = argument;
    CHECK(loop_run_once(loop, -1) >= 0);
    return NULL;
}

LOOP_TEST(a_stream_of_reads_and_a_periodic_timer_pass_through_many_threads)
{
    atomic_uint shots = 0;
    operation_t timer = {.request.user = &shots};
    stream_t    stream = {.received = 0};
    make_pipe(stream.ends);
    assert_result(loop_read(loop, begin(&stream.read), stream.ends[0], &stream.byte, 1, read_on), 0);
    assert_result(loop_timer_start(loop, begin(&timer), MILLISECOND, MILLISECOND, count_shot), 0);
    for (unsigned i = 1; i <= 60; i++) {
        put(stream.ends[1], "x", 1);
        uint64_t deadline = loop_now(NULL) + GENEROUS;
        while (stream.received < i) {
            assert_true(loop_now(NULL) < deadline);
            join_thread(start_thread(run_one_turn_that_waits, loop));
        }
    }
    run_until(loop, &shots, atomic_load(&shots) + 3);
    assert_result(loop_cancel(loop, &timer.request), 0);
    assert_result(await(loop, &timer), LOOP_ECANCELED);
    close(stream.ends[1]);
    assert_result(await(loop, &stream.read), 0);
    assert_int_equal(stream.received, 60);
    close(stream.ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(what_a_thread_submitted_outlives_it),
        GUARDED(what_a_thread_submitted_that_sleeps_elsewhere_completes),
        GUARDED(what_a_thread_submitted_that_is_busy_elsewhere_completes),
        GUARDED(any_thread_may_end_a_loop_with_requests_of_another_in_flight),
        GUARDED(a_tick_from_outside_wakes_whoever_runs_the_loop_now),
        GUARDED(threads_that_take_turns_lose_no_wake_up),
        GUARDED(a_stream_of_reads_and_a_periodic_timer_pass_through_many_threads),
    };
    return RUN_SUITE(tests);
}
