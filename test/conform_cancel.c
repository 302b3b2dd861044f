/*
 * Conformance of loop_cancel: every kind of request in every state, and races with completion.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <sched.h>
#include <termios.h>

/* ---- one request of each kind ---------------------------------------------------------------- */

/* What the requests work on. */
typedef struct bench {
    int          empty[2], full[2]; /* a pipe to read from in vain, and one to write to in vain */
    int          file, spare;       /* spare is there to be closed */
    char         byte;
    loop_iovec_t vector;
} bench_t;

static void open_bench(bench_t *bench)
{
    make_pipe(bench->empty);
    make_pipe(bench->full);
    fill(bench->full[1]);
    bench->file = temporary_file("x", 1);
    bench->spare = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_true(bench->spare >= 0);
    bench->vector = (loop_iovec_t){&bench->byte, 1};
}

static void close_bench(bench_t *bench)
{
    close_both(bench->empty);
    close_both(bench->full);
    close(bench->file);
    if (bench->spare >= 0) {
        close(bench->spare);
    }
}

static void do_nothing(loop_request_t *request)
{
    (void)request;
}

/* The kinds of request; those before FIRST_TO_COMPLETE wait until they are cancelled. */
enum { FIRST_TO_COMPLETE = 13, KINDS = 25 };

static int submit_waiting(loop_t *loop, loop_request_t *request, bench_t *bench, unsigned kind,
                          loop_callback_t done)
{
    switch (kind) {
    case 0: return loop_timer_start(loop, request, HOUR, 0, done);
    case 1: return loop_timer_start(loop, request, HOUR, HOUR, done);
    case 2: return loop_timer_start(loop, request, UINT64_MAX, 0, done);
    case 3: return loop_wait_until_fd_readable(loop, request, bench->empty[0], done);
    case 4: return loop_wait_until_fd_writable(loop, request, bench->full[1], done);
    case 5: return loop_wait_until_fd_writable_or_readable(loop, request, bench->empty[0], done);
    case 6: return loop_add_fd(loop, request, bench->empty[0], LOOP_READABLE, done);
    case 7: return loop_add_fd(loop, request, bench->full[1], LOOP_WRITABLE | LOOP_EDGE_TRIGGERED, done);
    case 8: return loop_add_fd(loop, request, bench->empty[0], 0, done);
    case 9: return loop_read(loop, request, bench->empty[0], &bench->byte, 1, done);
    case 10: return loop_readv(loop, request, bench->empty[0], &bench->vector, 1, done);
    case 11: return loop_write(loop, request, bench->full[1], &bench->byte, 1, done);
    default: return loop_writev(loop, request, bench->full[1], &bench->vector, 1, done);
    }
}

static int submit(loop_t *loop, loop_request_t *request, bench_t *bench, unsigned kind, loop_callback_t done)
{
    switch (kind) {
    case 13: return loop_on_next_tick(loop, request, done);
    case 14: return loop_timer_start(loop, request, 0, 0, done);
    case 15: return loop_wait_until_fd_readable(loop, request, bench->full[0], done);
    case 16: return loop_wait_until_fd_writable(loop, request, -1, done);
    case 17: return loop_open(loop, request, "/", O_RDONLY | O_CLOEXEC, 0, done);
    case 18: return loop_openat(loop, request, AT_FDCWD, "/", O_RDONLY | O_CLOEXEC, 0, done);
    case 19: return loop_close(loop, request, bench->spare, done);
    case 20: return loop_pread(loop, request, bench->file, &bench->byte, 1, 0, done);
    case 21: return loop_preadv(loop, request, bench->file, &bench->vector, 1, 0, done);
    case 22: return loop_pwrite(loop, request, bench->file, &bench->byte, 1, 0, done);
    case 23: return loop_faccessat(loop, request, AT_FDCWD, "/", F_OK, 0, done);
    case 24: return loop_queue_work(loop, request, do_nothing, done);
    default: return submit_waiting(loop, request, bench, kind, done);
    }
}

/* The result is the real one, or that of a cancel where that was possible; what it left behind fits it. */
static void assert_outcome(operation_t *operation, bench_t *bench, unsigned kind, bool cancelled)
{
    assert_int_equal(completions_of(operation), 1);
    assert_int_equal(operation->flags, 0);
    if (kind < FIRST_TO_COMPLETE || operation->result == LOOP_ECANCELED) {
        assert_true(cancelled);
        assert_result(operation->result, LOOP_ECANCELED);
        assert_true(is_open(bench->spare));
        return;
    }
    switch (kind) {
    case 16:
        assert_result(operation->result, LOOP_EBADF);
        break;
    case 17:
    case 18:
        assert_true(operation->result >= 0);
        assert_int_equal(close((int)operation->result), 0);
        break;
    case 19:
        assert_result(operation->result, 0);
        assert_false(is_open(bench->spare));
        bench->spare = -1;
        break;
    default:
        assert_true(operation->result >= 0);
        break;
    }
}

LOOP_TEST(what_was_never_submitted_is_not_found)
{
    operation_t operation = {0};
    assert_result(loop_cancel(loop, &operation.request), LOOP_ENOENT);
    assert_result(loop_pending(loop), 0);
    run(loop);
    assert_int_equal(completions_of(&operation), 0);
}

LOOP_TEST(each_kind_can_be_cancelled_right_after_its_submit)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        bench_t     bench;
        operation_t operation = {0};
        open_bench(&bench);
        assert_result(submit(loop, begin(&operation), &bench, kind, record), 0);
        assert_result(loop_cancel(loop, &operation.request), 0);
        assert_result(loop_cancel(loop, &operation.request), 0);
        assert_int_equal(completions_of(&operation), 0);
        assert_result(loop_pending(loop), 1);
        run(loop);
        assert_outcome(&operation, &bench, kind, true);
        assert_result(loop_cancel(loop, &operation.request), LOOP_ENOENT);
        close_bench(&bench);
    }
}

LOOP_TEST(each_kind_that_waits_can_be_cancelled_while_it_does)
{
    for (unsigned kind = 0; kind < FIRST_TO_COMPLETE; kind++) {
        bench_t     bench;
        operation_t operation = {0};
        open_bench(&bench);
        for (unsigned round = 0; round < 3; round++) { /* the request is as good as new afterwards */
            assert_result(submit(loop, begin(&operation), &bench, kind, record), 0);
            run_for(loop, round * MILLISECOND);
            assert_int_equal(completions_of(&operation), 0);
            assert_result(loop_cancel(loop, &operation.request), 0);
            assert_result(loop_cancel(loop, &operation.request), 0);
            run(loop);
            assert_outcome(&operation, &bench, kind, true);
        }
        close_bench(&bench);
    }
}

LOOP_TEST(each_kind_can_be_cancelled_after_any_number_of_turns)
{
    for (unsigned kind = FIRST_TO_COMPLETE; kind < KINDS; kind++) {
        for (unsigned turns = 0; turns < 6; turns++) {
            bench_t     bench;
            operation_t operation = {0};
            open_bench(&bench);
            assert_result(submit(loop, begin(&operation), &bench, kind, record), 0);
            for (unsigned i = 0; i < turns; i++) {
                assert_true(loop_run_once(loop, 0) >= 0);
            }
            int status = loop_cancel(loop, &operation.request);
            assert_result(status, completions_of(&operation) == 0 ? 0 : LOOP_ENOENT);
            run(loop);
            assert_outcome(&operation, &bench, kind, status == 0);
            close_bench(&bench);
        }
    }
}

LOOP_TEST(each_kind_completes_when_nobody_cancels_it)
{
    for (unsigned kind = FIRST_TO_COMPLETE; kind < KINDS; kind++) {
        bench_t     bench;
        operation_t operation = {0};
        open_bench(&bench);
        assert_result(submit(loop, begin(&operation), &bench, kind, record), 0);
        run(loop);
        assert_outcome(&operation, &bench, kind, false);
        assert_result(loop_cancel(loop, &operation.request), LOOP_ENOENT);
        close_bench(&bench);
    }
}

LOOP_TEST(a_request_of_another_loop_is_not_found_and_not_disturbed)
{
    loop_t *other = new_loop();
    for (unsigned kind = 0; kind < KINDS; kind++) {
        bench_t     bench;
        operation_t operation = {0};
        open_bench(&bench);
        assert_result(submit(loop, begin(&operation), &bench, kind, record), 0);
        assert_result(loop_cancel(other, &operation.request), LOOP_ENOENT);
        run_for(loop, 0);
        if (kind < FIRST_TO_COMPLETE) {
            assert_int_equal(completions_of(&operation), 0);
            assert_result(loop_cancel(other, &operation.request), LOOP_ENOENT);
            assert_result(loop_cancel(loop, &operation.request), 0);
        }
        run(loop);
        assert_outcome(&operation, &bench, kind, kind < FIRST_TO_COMPLETE);
        close_bench(&bench);
    }
    end_loop(other);
}

LOOP_TEST(harvested_requests_of_each_kind_can_be_cancelled)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        bench_t         bench;
        operation_t     operation = {0};
        loop_request_t *done = NULL;
        open_bench(&bench);
        assert_result(submit(loop, begin(&operation), &bench, kind, NULL), 0);
        assert_result(loop_cancel(loop, &operation.request), 0);
        assert_result(loop_wait(loop, &done, 1, -1), 1);
        assert_ptr_equal(done, &operation.request);
        assert_result(loop_cancel(loop, &operation.request), LOOP_ENOENT);
        record(loop, done, done->result);
        assert_outcome(&operation, &bench, kind, true);
        close_bench(&bench);
    }
}

/* ---- from callbacks -------------------------------------------------------------------------- */

static void cancel_the_others(loop_t *loop, loop_request_t *request, int64_t result)
{
    operation_t *others = request->user;
    for (unsigned kind = 0; kind < FIRST_TO_COMPLETE; kind++) {
        CHECK(loop_cancel(loop, &others[kind].request) == 0);
    }
    CHECK(loop_cancel(loop, request) == LOOP_ENOENT);
    record(loop, request, result);
}

LOOP_TEST(a_callback_can_cancel_others_but_not_itself)
{
    bench_t     bench;
    operation_t others[FIRST_TO_COMPLETE];
    operation_t timer = {.request.user = others};
    open_bench(&bench);
    memset(others, 0, sizeof others);
    for (unsigned kind = 0; kind < FIRST_TO_COMPLETE; kind++) {
        assert_result(submit(loop, begin(&others[kind]), &bench, kind, record), 0);
    }
    assert_result(loop_timer_start(loop, begin(&timer), MILLISECOND, 0, cancel_the_others), 0);
    run(loop);
    for (unsigned kind = 0; kind < FIRST_TO_COMPLETE; kind++) {
        assert_outcome(&others[kind], &bench, kind, true);
    }
    close_bench(&bench);
}

static void submit_again_once(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(result == LOOP_ECANCELED);
    CHECK(loop_timer_start(loop, request, 0, 0, record) == 0);
}

LOOP_TEST(a_cancelled_request_can_be_submitted_in_its_callback)
{
    operation_t timer = {0};
    assert_result(loop_timer_start(loop, begin(&timer), HOUR, 0, submit_again_once), 0);
    assert_result(loop_cancel(loop, &timer.request), 0);
    run(loop);
    assert_int_equal(completions_of(&timer), 1);
    assert_result(timer.result, 0);
}

static void free_yourself(loop_t *loop, loop_request_t *request, int64_t result)
{
    (void)loop;
    CHECK(result == LOOP_ECANCELED);
    memset(request, 0xA5, sizeof *request);
    free(request);
}

LOOP_TEST(a_cancelled_request_can_be_freed_in_its_callback)
{
    bench_t bench;
    open_bench(&bench);
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned kind = 0; kind < FIRST_TO_COMPLETE; kind++) {
            loop_request_t *request = calloc(1, sizeof *request);
            assert_non_null(request);
            assert_result(submit(loop, request, &bench, kind, free_yourself), 0);
            if (round % 2 == 0) {
                run_for(loop, 0);
            }
            assert_result(loop_cancel(loop, request), 0);
        }
        run(loop);
    }
    close_bench(&bench);
}

/* ---- races ----------------------------------------------------------------------------------- */

enum { ROUNDS = 100000 };
typedef struct racer {
    loop_t     *loop;
    operation_t operation;
    int         ends[2];
    char        byte;
    unsigned    kind;
    unsigned    cancelled, completed; /* outcomes */
    uint64_t    chance;
} racer_t;

static void spin(uint32_t turns)
{
    while (turns-- > 0) {
        atomic_signal_fence(memory_order_seq_cst);
    }
}

static void begin_race(racer_t *racer)
{
    loop_request_t *request = begin(&racer->operation);
    int             status;
    switch (racer->kind) {
    case 0:
        status = loop_read(racer->loop, request, racer->ends[0], &racer->byte, 1, record);
        break;
    case 1:
        status = loop_wait_until_fd_readable(racer->loop, request, racer->ends[0], record);
        break;
    case 2:
        status = loop_timer_start(racer->loop, request, random_below(&racer->chance, 20000), 0, record);
        break;
    case 3:
        status = loop_on_next_tick(racer->loop, request, record);
        break;
    default:
        status = loop_faccessat(racer->loop, request, AT_FDCWD, "/", F_OK, 0, record);
        break;
    }
    CHECK(status == 0);
}

/* Either the operation completed or it was cancelled; a cancelled read consumed nothing. */
static void end_race(racer_t *racer, int status)
{
    static const int64_t real_results[] = {1, LOOP_READABLE, 0, 0, 0};
    CHECK(status == 0 || status == LOOP_ENOENT);
    while (completions_of(&racer->operation) == 0) {
        sched_yield();
    }
    int64_t result = racer->operation.result;
    CHECK(completions_of(&racer->operation) == 1);
    CHECK(result == real_results[racer->kind] || (result == LOOP_ECANCELED && status == 0));
    if (result == LOOP_ECANCELED) {
        racer->cancelled++;
    } else {
        racer->completed++;
    }
    if (racer->kind < 2) {
        bool consumed = racer->kind == 0 && result == 1;
        CHECK(drain(racer->ends[0]) == (consumed ? 0u : 1u));
    }
}

static void *race(void *argument)
{
    racer_t *racer = argument;
    for (unsigned round = 0; round < ROUNDS / 5; round++) {
        begin_race(racer);
        spin(random_below(&racer->chance, 3000));
        if (racer->kind < 2 && round % 2 == 0) {
            put(racer->ends[1], "x", 1);
            spin(random_below(&racer->chance, 3000));
        }
        int status = loop_cancel(racer->loop, &racer->operation.request);
        if (racer->kind < 2 && round % 2 == 1) {
            put(racer->ends[1], "x", 1);
        }
        end_race(racer, status);
    }
    CHECK(loop_unref(racer->loop) == 0);
    return NULL;
}

LOOP_TEST(a_hundred_thousand_races_with_completion_have_one_winner_each)
{
    for (unsigned kind = 0; kind < 5; kind++) {
        racer_t racer = {.loop = loop, .kind = kind, .chance = 1 + kind};
        make_pipe(racer.ends);
        assert_result(loop_ref(loop), 0);
        pthread_t thread = start_thread(race, &racer);
        run(loop);
        join_thread(thread);
        close_both(racer.ends);
        print_message("    kind %u: %u completed, %u cancelled\n", kind, racer.completed, racer.cancelled);
        assert_int_equal(racer.completed + racer.cancelled, ROUNDS / 5);
    }
}

typedef struct crowd {
    loop_t           *loop;
    operation_t       operation;
    pthread_barrier_t before, after;
} crowd_t;

enum { CROWD_ROUNDS = 3000, CROWD_SIZE = 3 };

static void *cancel_with_the_crowd(void *argument)
{
    crowd_t *crowd = argument;
    for (unsigned round = 0; round < CROWD_ROUNDS; round++) {
        pthread_barrier_wait(&crowd->before);
        int status = loop_cancel(crowd->loop, &crowd->operation.request);
        CHECK(status == 0 || status == LOOP_ENOENT);
        pthread_barrier_wait(&crowd->after);
    }
    return NULL;
}

static void *lead_the_crowd(void *argument)
{
    crowd_t *crowd = argument;
    for (unsigned round = 0; round < CROWD_ROUNDS; round++) {
        CHECK(loop_timer_start(crowd->loop, begin(&crowd->operation), HOUR, 0, record) == 0);
        pthread_barrier_wait(&crowd->before);
        pthread_barrier_wait(&crowd->after);
        while (completions_of(&crowd->operation) == 0) {
            sched_yield();
        }
        CHECK(completions_of(&crowd->operation) == 1);
        CHECK(crowd->operation.result == LOOP_ECANCELED);
    }
    CHECK(loop_unref(crowd->loop) == 0);
    return NULL;
}

LOOP_TEST(several_threads_may_cancel_one_request_at_once)
{
    static crowd_t crowd;
    pthread_t      threads[CROWD_SIZE + 1];
    memset(&crowd, 0, sizeof crowd);
    crowd.loop = loop;
    assert_int_equal(pthread_barrier_init(&crowd.before, NULL, COUNT(threads)), 0);
    assert_int_equal(pthread_barrier_init(&crowd.after, NULL, COUNT(threads)), 0);
    assert_result(loop_ref(loop), 0);
    threads[0] = start_thread(lead_the_crowd, &crowd);
    for (size_t i = 1; i < COUNT(threads); i++) {
        threads[i] = start_thread(cancel_with_the_crowd, &crowd);
    }
    run(loop);
    for (size_t i = 0; i < COUNT(threads); i++) {
        join_thread(threads[i]);
    }
    pthread_barrier_destroy(&crowd.before);
    pthread_barrier_destroy(&crowd.after);
}

static void *race_with_timeouts(void *argument)
{
    racer_t *racer = argument;
    for (unsigned round = 0; round < ROUNDS / 5; round++) {
        racer->operation.request.timeout_ns = 1 + random_below(&racer->chance, 30000);
        CHECK(loop_read(racer->loop, begin(&racer->operation), racer->ends[0], &racer->byte, 1, record) == 0);
        spin(random_below(&racer->chance, 10000));
        put(racer->ends[1], "x", 1);
        spin(random_below(&racer->chance, 10000));
        bool cancel = random_below(&racer->chance, 2) == 0;
        int  status = cancel ? loop_cancel(racer->loop, &racer->operation.request) : 0;
        CHECK(status == 0 || status == LOOP_ENOENT);
        while (completions_of(&racer->operation) == 0) {
            sched_yield();
        }
        int64_t result = racer->operation.result;
        CHECK(completions_of(&racer->operation) == 1);
        CHECK(result == 1 || result == LOOP_ETIMEDOUT || (cancel && result == LOOP_ECANCELED));
        CHECK(drain(racer->ends[0]) == (result == 1 ? 0u : 1u));
    }
    CHECK(loop_unref(racer->loop) == 0);
    return NULL;
}

LOOP_TEST(timeout_cancel_and_completion_have_one_winner)
{
    racer_t racer = {.loop = loop, .chance = 77};
    make_pipe(racer.ends);
    assert_result(loop_ref(loop), 0);
    pthread_t thread = start_thread(race_with_timeouts, &racer);
    run(loop);
    join_thread(thread);
    close_both(racer.ends);
}

/* ---- descriptors on which only a blocking call can read --------------------------------------- */

/* A pipe that was spliced from, which Linux does not read without waiting any more. */
static void make_spliced_pipe(int ends[2])
{
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_true(nowhere >= 0);
    make_pipe(ends);
    put(ends[1], "x", 1);
    assert_int_equal(splice(ends[0], NULL, nowhere, NULL, 1, 0), 1);
    close(nowhere);
}

/* A terminal to read from, and the other end. */
static void make_terminal(int ends[2])
{
    struct termios mode;
    ends[1] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(ends[1] >= 0);
    assert_int_equal(grantpt(ends[1]), 0);
    assert_int_equal(unlockpt(ends[1]), 0);
    ends[0] = open(ptsname(ends[1]), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(ends[0] >= 0);
    assert_int_equal(tcgetattr(ends[0], &mode), 0);
    cfmakeraw(&mode);
    assert_int_equal(tcsetattr(ends[0], TCSANOW, &mode), 0);
}

/* One read gets the byte that comes; the others, which it was announced to as well, are not stuck. */
static void check_reads_of_one_byte(loop_t *loop, const int ends[2])
{
    enum { READS = 3 };
    operation_t reads[READS] = {0};
    char        bytes[READS];
    unsigned    successes = 0;
    for (unsigned i = 0; i < READS; i++) {
        assert_result(loop_read(loop, begin(&reads[i]), ends[0], &bytes[i], 1, record), 0);
    }
    run_for(loop, MILLISECOND);
    put(ends[1], "x", 1);
    while (completions_of(&reads[0]) + completions_of(&reads[1]) + completions_of(&reads[2]) == 0) {
        run_for(loop, MILLISECOND);
    }
    run_for(loop, 5 * MILLISECOND);
    for (unsigned i = 0; i < READS; i++) {
        loop_cancel(loop, &reads[i].request);
    }
    run(loop);
    for (unsigned i = 0; i < READS; i++) {
        assert_int_equal(completions_of(&reads[i]), 1);
        assert_true(reads[i].result == 1 || reads[i].result == LOOP_ECANCELED);
        successes += reads[i].result == 1;
    }
    assert_int_equal(successes, 1);
}

LOOP_TEST(reads_on_a_pipe_that_only_blocks_can_be_cancelled_when_one_got_the_bytes)
{
    int ends[2];
    make_spliced_pipe(ends);
    check_reads_of_one_byte(loop, ends);
    close_both(ends);
}

LOOP_TEST(reads_on_a_terminal_can_be_cancelled_when_one_got_the_bytes)
{
    int ends[2];
    make_terminal(ends);
    check_reads_of_one_byte(loop, ends);
    close_both(ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(what_was_never_submitted_is_not_found),
        GUARDED(each_kind_can_be_cancelled_right_after_its_submit),
        GUARDED(each_kind_that_waits_can_be_cancelled_while_it_does),
        GUARDED(each_kind_can_be_cancelled_after_any_number_of_turns),
        GUARDED(each_kind_completes_when_nobody_cancels_it),
        GUARDED(a_request_of_another_loop_is_not_found_and_not_disturbed),
        GUARDED(harvested_requests_of_each_kind_can_be_cancelled),
        GUARDED(a_callback_can_cancel_others_but_not_itself),
        GUARDED(a_cancelled_request_can_be_submitted_in_its_callback),
        GUARDED(a_cancelled_request_can_be_freed_in_its_callback),
        GUARDED(a_hundred_thousand_races_with_completion_have_one_winner_each),
        GUARDED(several_threads_may_cancel_one_request_at_once),
        GUARDED(timeout_cancel_and_completion_have_one_winner),
        GUARDED(reads_on_a_pipe_that_only_blocks_can_be_cancelled_when_one_got_the_bytes),
        GUARDED(reads_on_a_terminal_can_be_cancelled_when_one_got_the_bytes),
    };
    return RUN_SUITE(tests);
}
