/*
 * Conformance of loop_queue_work and of the blocking threads: where work runs, how much of it at once, and
 * that nobody waits for it but its own request.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <signal.h>
#include <sys/stat.h>

/* A piece of work that notes what happened, and waits for a gate if it has one. */
typedef struct job {
    operation_t  operation;
    atomic_uint  runs;
    pthread_t    worker;
    atomic_bool *gate;
} job_t;

static void do_job(loop_request_t *request)
{
    job_t *job = (job_t *)(void *)request;
    job->worker = pthread_self();
    atomic_fetch_add(&job->runs, 1);
    while (job->gate != NULL && !atomic_load(job->gate)) {
        sleep_for(MILLISECOND / 10);
    }
}

static void queue(loop_t *loop, job_t *job)
{
    assert_result(loop_queue_work(loop, begin(&job->operation), do_job, record), 0);
}

static loop_t *new_loop_with_blocking_threads(uint32_t count)
{
    loop_options_t options = test_options();
    options.blocking_threads = count;
    return new_loop_with(options);
}

LOOP_TEST(work_runs_on_a_thread_of_its_own_and_completes_on_one_of_the_loop)
{
    enum { JOBS = 100 };
    static job_t jobs[JOBS];
    memset(jobs, 0, sizeof jobs);
    for (size_t i = 0; i < JOBS; i++) {
        queue(loop, &jobs[i]);
    }
    run(loop);
    for (size_t i = 0; i < JOBS; i++) {
        assert_int_equal(completions_of(&jobs[i].operation), 1);
        assert_result(jobs[i].operation.result, 0);
        assert_int_equal(atomic_load(&jobs[i].runs), 1);
        assert_false(pthread_equal(jobs[i].worker, pthread_self()));
        assert_false(pthread_equal(jobs[i].worker, jobs[i].operation.thread));
        if (test_threads() == 1) {
            assert_true(pthread_equal(jobs[i].operation.thread, pthread_self()));
        }
    }
}

static void double_the_number(loop_request_t *request)
{
    int *number = request->user;
    *number *= 2;
}

LOOP_TEST(work_may_change_what_its_request_points_to)
{
    int         number = 21;
    operation_t work = {.request.user = &number};
    assert_result(loop_queue_work(loop, begin(&work), double_the_number, record), 0);
    assert_result(await(loop, &work), 0);
    assert_int_equal(number, 42);
}

LOOP_TEST(work_without_a_function_is_refused)
{
    operation_t work = {0};
    assert_result(loop_queue_work(loop, begin(&work), NULL, record), LOOP_EINVAL);
    assert_result(loop_pending(loop), 0);
    run(loop);
    assert_int_equal(completions_of(&work), 0);
}

LOOP_TEST(thousands_of_jobs_in_flight_all_run_once)
{
    enum { JOBS = 20000 };
    static job_t jobs[JOBS];
    memset(jobs, 0, sizeof jobs);
    for (size_t i = 0; i < JOBS; i++) {
        queue(loop, &jobs[i]);
    }
    run(loop);
    for (size_t i = 0; i < JOBS; i++) {
        assert_int_equal(completions_of(&jobs[i].operation), 1);
        assert_result(jobs[i].operation.result, 0);
        assert_int_equal(atomic_load(&jobs[i].runs), 1);
    }
}

/* ---- ending early ---------------------------------------------------------------------------- */

TEST(work_that_is_queued_can_be_cancelled_and_never_runs)
{
    atomic_bool  gate = false;
    static job_t blockers[2], jobs[100];
    loop_t      *loop = new_loop_with_blocking_threads(2);
    memset(blockers, 0, sizeof blockers);
    memset(jobs, 0, sizeof jobs);
    for (size_t i = 0; i < COUNT(blockers); i++) { /* the class of work has one thread or two */
        blockers[i].gate = &gate;
        queue(loop, &blockers[i]);
    }
    run_for(loop, 10 * MILLISECOND);
    for (size_t i = 0; i < COUNT(jobs); i++) {
        jobs[i].operation.request.timeout_ns = i % 2 == 0 ? MILLISECOND : 0;
        queue(loop, &jobs[i]);
    }
    run_for(loop, 10 * MILLISECOND);
    for (size_t i = 1; i < COUNT(jobs); i += 2) {
        assert_int_equal(completions_of(&jobs[i].operation), 0);
        assert_result(loop_cancel(loop, &jobs[i].operation.request), 0);
    }
    run_for(loop, 10 * MILLISECOND);
    for (size_t i = 0; i < COUNT(jobs); i++) {
        assert_int_equal(completions_of(&jobs[i].operation), 1);
        assert_result(jobs[i].operation.result, i % 2 == 0 ? LOOP_ETIMEDOUT : LOOP_ECANCELED);
    }
    atomic_store(&gate, true);
    run(loop);
    end_loop(loop);
    for (size_t i = 0; i < COUNT(jobs); i++) {
        assert_int_equal(atomic_load(&jobs[i].runs), 0);
        assert_int_equal(completions_of(&jobs[i].operation), 1);
    }
}

LOOP_TEST(work_that_runs_finishes_in_spite_of_cancel_and_timeout)
{
    atomic_bool gate = false;
    job_t       cancelled = {.gate = &gate};
    job_t       timed = {.gate = &gate, .operation.request.timeout_ns = 50 * MILLISECOND};
    queue(loop, &cancelled);
    queue(loop, &timed);
    while (atomic_load(&cancelled.runs) == 0 || atomic_load(&timed.runs) == 0) {
        if (completions_of(&timed.operation) == 1) {
            break; /* a very slow machine: it timed out before it began */
        }
        assert_true(loop_run_once(loop, (int64_t)MILLISECOND) >= 0);
    }
    assert_result(loop_cancel(loop, &cancelled.operation.request), 0);
    assert_result(loop_cancel(loop, &cancelled.operation.request), 0);
    run_for(loop, 100 * MILLISECOND);
    assert_int_equal(completions_of(&cancelled.operation), 0);
    atomic_store(&gate, true);
    run(loop);
    assert_result(cancelled.operation.result, 0);
    assert_result(timed.operation.result, atomic_load(&timed.runs) == 1 ? 0 : LOOP_ETIMEDOUT);
}

TEST(an_end_waits_for_work_that_runs_and_drops_what_is_queued)
{
    static job_t jobs[50];
    loop_t      *loop = new_loop_with_blocking_threads(2);
    atomic_bool  gate = false;
    memset(jobs, 0, sizeof jobs);
    jobs[0].gate = &gate;
    queue(loop, &jobs[0]);
    while (atomic_load(&jobs[0].runs) == 0) {
        assert_true(loop_run_once(loop, (int64_t)MILLISECOND) >= 0);
    }
    for (size_t i = 1; i < COUNT(jobs); i++) {
        queue(loop, &jobs[i]);
    }
    assert_true(loop_run_once(loop, 0) >= 0);
    atomic_store(&gate, true);
    end_loop(loop);
    assert_result(jobs[0].operation.result, 0);
    for (size_t i = 0; i < COUNT(jobs); i++) {
        assert_int_equal(completions_of(&jobs[i].operation), 1);
        assert_result(jobs[i].operation.result, atomic_load(&jobs[i].runs) == 1 ? 0 : LOOP_ECANCELED);
    }
}

/* ---- how much at once ------------------------------------------------------------------------ */

static atomic_uint running_now, most_running;

static void count_running(loop_request_t *request)
{
    unsigned now = atomic_fetch_add(&running_now, 1) + 1;
    (void)request;
    for (unsigned most = atomic_load(&most_running); now > most;) {
        if (atomic_compare_exchange_weak(&most_running, &most, now)) {
            break;
        }
    }
    sleep_for(MILLISECOND / 2);
    atomic_fetch_sub(&running_now, 1);
}

static void assert_limit_holds(uint32_t limit)
{
    enum { JOBS = 200 };
    static operation_t jobs[JOBS];
    loop_t            *loop = new_loop_with_blocking_threads(limit);
    atomic_store(&most_running, 0);
    for (size_t i = 0; i < JOBS; i++) {
        assert_result(loop_queue_work(loop, begin(&jobs[i]), count_running, record), 0);
    }
    while (loop_pending(loop) > 0) {
        assert_true(loop_run_once(loop, -1) >= 0);
        /* Each class has a thread of its own, so a limit of 1 still makes one for files and one for work. */
        assert_true(take_inventory().loop_threads <= (limit < 2 ? 2 : limit) + test_threads() - 1);
    }
    assert_in_range(atomic_load(&most_running), 1, limit);
    if (limit >= 4) {
        assert_true(atomic_load(&most_running) > 1); /* 200 jobs of half a millisecond meet */
    }
    end_loop(loop);
}

TEST(no_more_work_runs_at_once_than_there_are_blocking_threads)
{
    static const uint32_t limits[] = {1, 2, 4, 16};
    for (size_t i = 0; i < COUNT(limits); i++) {
        assert_limit_holds(limits[i]);
    }
}

TEST(blocked_work_leaves_a_thread_to_files)
{
    static job_t jobs[100];
    for (uint32_t limit = 0; limit <= 3; limit++) {
        loop_t     *loop = new_loop_with_blocking_threads(limit);
        atomic_bool gate = false;
        memset(jobs, 0, sizeof jobs);
        for (size_t i = 0; i < COUNT(jobs); i++) {
            jobs[i].gate = &gate;
            queue(loop, &jobs[i]);
        }
        for (unsigned i = 0; i < 10; i++) {
            assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, "/", F_OK, 0), 0);
        }
        atomic_store(&gate, true);
        run(loop);
        end_loop(loop);
    }
}

TEST(blocked_files_leave_a_thread_to_work)
{
    static operation_t opens[100];
    for (uint32_t limit = 0; limit <= 3; limit++) {
        loop_t     *loop = new_loop_with_blocking_threads(limit);
        const char *path = temporary_path("blocking-fifo");
        job_t       job = {0};
        assert_int_equal(mkfifo(path, 0600), 0);
        for (size_t i = 0; i < COUNT(opens); i++) {
            assert_result(loop_open(loop, begin(&opens[i]), path, O_RDONLY | O_CLOEXEC, 0, record), 0);
        }
        queue(loop, &job);
        assert_result(await(loop, &job.operation), 0);
        int writer = open(path, O_RDWR | O_CLOEXEC);
        run(loop);
        for (size_t i = 0; i < COUNT(opens); i++) {
            assert_true(opens[i].result >= 0);
            close((int)opens[i].result);
        }
        close(writer);
        unlink(path);
        end_loop(loop);
    }
}

/* ---- around work ----------------------------------------------------------------------------- */

typedef struct spawner {
    operation_t operation;
    loop_t     *loop;
    operation_t tick, timer, access_root;
    job_t       job;
} spawner_t;

static void submit_from_work(loop_request_t *request)
{
    spawner_t *spawner = (spawner_t *)(void *)request;
    CHECK(loop_on_next_tick(spawner->loop, begin(&spawner->tick), record) == 0);
    CHECK(loop_timer_start(spawner->loop, begin(&spawner->timer), MILLISECOND, 0, record) == 0);
    CHECK(loop_queue_work(spawner->loop, begin(&spawner->job.operation), do_job, record) == 0);
    CHECK(loop_faccessat(spawner->loop, begin(&spawner->access_root), AT_FDCWD, "/", F_OK, 0, record) == 0);
}

LOOP_TEST(work_may_submit_other_requests)
{
    for (unsigned i = 0; i < 50; i++) {
        spawner_t spawner = {.loop = loop};
        assert_result(loop_queue_work(loop, begin(&spawner.operation), submit_from_work, record), 0);
        run(loop);
        assert_int_equal(completions_of(&spawner.operation), 1);
        assert_int_equal(completions_of(&spawner.tick), 1);
        assert_int_equal(completions_of(&spawner.timer), 1);
        assert_int_equal(completions_of(&spawner.access_root), 1);
        assert_int_equal(completions_of(&spawner.job.operation), 1);
    }
}

TEST(blocked_work_of_one_loop_does_not_delay_another)
{
    loop_t      *blocked = new_loop_with_blocking_threads(1), *free_loop = new_loop_with_blocking_threads(1);
    atomic_bool  gate = false;
    job_t        stuck[3] = {{.gate = &gate}, {.gate = &gate}, {.gate = &gate}};
    for (size_t i = 0; i < COUNT(stuck); i++) {
        queue(blocked, &stuck[i]);
    }
    run_for(blocked, 2 * MILLISECOND);
    for (unsigned i = 0; i < 20; i++) {
        job_t job = {0};
        queue(free_loop, &job);
        assert_result(await(free_loop, &job.operation), 0);
    }
    end_loop(free_loop);
    atomic_store(&gate, true);
    run(blocked);
    end_loop(blocked);
}

static void note_signal_mask(loop_request_t *request)
{
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, request->user) == 0);
}

/* Whether it makes no difference that the signal is blocked: the kernel or the C library sees to that. */
static bool is_beyond_masks(int number)
{
    static const int faults[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGKILL, SIGSTOP};
    for (size_t i = 0; i < COUNT(faults); i++) {
        if (number == faults[i]) {
            return true;
        }
    }
    return number >= __SIGRTMIN && number < SIGRTMIN;
}

LOOP_TEST(signals_are_blocked_in_work)
{
    sigset_t    mask;
    operation_t work = {.request.user = &mask};
    unsigned    unblocked = 0;
    sigemptyset(&mask);
    assert_result(loop_queue_work(loop, begin(&work), note_signal_mask, record), 0);
    assert_result(await(loop, &work), 0);
    for (int number = 1; number <= SIGRTMAX; number++) {
        if (sigismember(&mask, number) == 0 && !is_beyond_masks(number)) {
            print_error("signal %d (%s) is not blocked\n", number, strsignal(number));
            unblocked++;
        }
    }
    assert_int_equal(unblocked, 0);
}

static void work_with_much_stack(loop_request_t *request)
{
    volatile char room[48 * 1024]; /* what a C function may expect of its thread */
    for (size_t i = 0; i < sizeof room; i += 512) {
        room[i] = (char)i;
    }
    *(int *)request->user = room[512] == 0;
}

LOOP_TEST(work_has_the_stack_of_an_ordinary_thread)
{
    int         done = 0;
    operation_t work = {.request.user = &done};
    assert_result(loop_queue_work(loop, begin(&work), work_with_much_stack, record), 0);
    assert_result(await(loop, &work), 0);
    assert_int_equal(done, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(work_runs_on_a_thread_of_its_own_and_completes_on_one_of_the_loop),
        GUARDED(work_may_change_what_its_request_points_to),
        GUARDED(work_without_a_function_is_refused),
        GUARDED(thousands_of_jobs_in_flight_all_run_once),
        GUARDED(work_that_is_queued_can_be_cancelled_and_never_runs),
        GUARDED(work_that_runs_finishes_in_spite_of_cancel_and_timeout),
        GUARDED(an_end_waits_for_work_that_runs_and_drops_what_is_queued),
        GUARDED(no_more_work_runs_at_once_than_there_are_blocking_threads),
        GUARDED(blocked_work_leaves_a_thread_to_files),
        GUARDED(blocked_files_leave_a_thread_to_work),
        GUARDED(work_may_submit_other_requests),
        GUARDED(blocked_work_of_one_loop_does_not_delay_another),
        GUARDED(signals_are_blocked_in_work),
        GUARDED(work_has_the_stack_of_an_ordinary_thread),
    };
    return RUN_SUITE(tests);
}
