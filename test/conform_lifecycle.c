/*
 * Conformance of the life cycle: loop_init and its options, loop_run, loop_run_once, loop_stop, loop_deinit,
 * references and pending counts, the default loop, several loops at once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <sys/resource.h>
#include <time.h>

/* ---- making a loop --------------------------------------------------------------------------- */

static void assert_it_runs_a_tick(loop_t *loop)
{
    operation_t tick = {0};
    assert_non_null(loop);
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    run(loop);
    assert_int_equal(completions_of(&tick), 1);
    assert_result(tick.result, 0);
}

TEST(every_way_to_make_a_loop_makes_one_that_runs)
{
    loop_t *loop = NULL;
    assert_result(loop_init(&loop, NULL), 0);
    assert_it_runs_a_tick(loop);
    end_loop(loop);
    assert_result(loop_init_single_threaded(&loop), 0);
    assert_it_runs_a_tick(loop);
    end_loop(loop);
    assert_result(loop_init_multi_threaded(&loop), 0);
    assert_it_runs_a_tick(loop);
    end_loop(loop);
    for (uint32_t threads = 1; threads <= 9; threads += 2) {
        assert_result(loop_init_thread_pool(&loop, threads), 0);
        assert_it_runs_a_tick(loop);
        end_loop(loop);
    }
}

TEST(zeroed_options_are_the_defaults)
{
    loop_options_t options = {0};
    loop_t        *loop = new_loop_with(options);
    assert_it_runs_a_tick(loop);
    end_loop(loop);
    options.threads = LOOP_THREADS_PER_CPU;
    loop = new_loop_with(options);
    assert_it_runs_a_tick(loop);
    end_loop(loop);
}

static void assert_refused(loop_options_t options, int error)
{
    loop_t *loop = (loop_t *)(void *)&options;
    assert_result(loop_init(&loop, &options), error);
    assert_null(loop);
}

TEST(options_out_of_range_are_refused)
{
    const uint32_t size = sizeof(loop_options_t);
    assert_refused((loop_options_t){.size = size, .threads = LOOP_THREADS_MAX + 1}, LOOP_EINVAL);
    assert_refused((loop_options_t){.size = size, .threads = LOOP_THREADS_PER_CPU - 1}, LOOP_EINVAL);
    assert_refused((loop_options_t){.size = size, .blocking_threads = LOOP_THREADS_MAX + 1}, LOOP_EINVAL);
    assert_refused((loop_options_t){.size = size, .blocking_threads = UINT32_MAX}, LOOP_EINVAL);
    assert_refused((loop_options_t){.size = size, .backend = LOOP_BACKEND_IOCP + 1}, LOOP_EINVAL);
    assert_refused((loop_options_t){.size = size, .backend = UINT32_MAX}, LOOP_EINVAL);
    assert_refused((loop_options_t){.size = size, .flags = 2}, LOOP_EINVAL);
    assert_refused((loop_options_t){.size = size, .flags = UINT32_C(1) << 31}, LOOP_EINVAL);
    assert_refused((loop_options_t){.size = 1}, LOOP_EINVAL);
    assert_refused((loop_options_t){.size = size - 1}, LOOP_EINVAL);
    assert_refused((loop_options_t){.size = size + 1}, LOOP_EINVAL);
    assert_refused((loop_options_t){.size = UINT32_MAX}, LOOP_EINVAL);
}

TEST(a_thread_count_of_zero_is_refused)
{
    loop_t *loop = (loop_t *)(void *)&loop;
    assert_result(loop_init_thread_pool(&loop, 0), LOOP_EINVAL);
    assert_null(loop);
    loop = (loop_t *)(void *)&loop;
    assert_result(loop_init_thread_pool(&loop, LOOP_THREADS_MAX + 1), LOOP_EINVAL);
    assert_null(loop);
}

TEST(a_backend_of_another_system_does_not_exist)
{
    assert_refused((loop_options_t){.backend = LOOP_BACKEND_KQUEUE}, LOOP_ENOTSUP);
    assert_refused((loop_options_t){.backend = LOOP_BACKEND_IOCP}, LOOP_ENOTSUP);
}

TEST(the_backend_asked_for_is_the_backend_in_use)
{
    loop_t *loop = new_loop_with((loop_options_t){.backend = LOOP_BACKEND_EPOLL});
    assert_string_equal(loop_backend_name(loop), "epoll");
    end_loop(loop);
    loop_options_t options = {.backend = LOOP_BACKEND_IO_URING};
    int            status = loop_init(&loop, &options);
    if (status == 0) {
        assert_string_equal(loop_backend_name(loop), "io_uring");
        end_loop(loop);
    } else {
        assert_result(status, LOOP_ENOTSUP);
        assert_null(loop);
    }
    assert_null(loop_backend_name(NULL));
}

TEST(out_of_descriptors_is_reported_and_leaves_nothing_behind)
{
    struct rlimit limit, none_left;
    bool          succeeded = false;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int lowest_free = closed_descriptor();
    for (rlim_t more = 0; more < 64 && !succeeded; more++) {
        none_left = limit;
        none_left.rlim_cur = (rlim_t)lowest_free + more;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none_left), 0);
        loop_t        *loop;
        loop_options_t options = test_options();
        int            status = loop_init(&loop, &options);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        succeeded = status == 0;
        if (succeeded) {
            assert_true(more > 0);
            end_loop(loop);
        } else {
            assert_result(status, LOOP_EMFILE);
            assert_null(loop);
            assert_int_equal(closed_descriptor(), lowest_free);
        }
    }
    assert_true(succeeded);
}

/* ---- running --------------------------------------------------------------------------------- */

static long resident_kilobytes(void)
{
    long  total, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &total, &resident), 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* The memory of the process is back where it was, but for what allocators keep. The address sanitizer keeps
 * all that was freed, so it is no judge of this. */
static void assert_no_growth(long kilobytes_before)
{
    print_message("    memory grew by %ld KiB\n", resident_kilobytes() - kilobytes_before);
#if !defined(__SANITIZE_ADDRESS__)
    assert_true(resident_kilobytes() - kilobytes_before < 8 * 1024);
#endif
}

/* Makes, runs and ends so many loops, with a tick in each if wanted. */
static void churn(uint32_t threads, unsigned rounds, bool with_tick)
{
    loop_options_t options = test_options();
    options.threads = threads;
    for (unsigned i = 0; i < rounds; i++) {
        operation_t tick = {0};
        loop_t     *loop = new_loop_with(options);
        if (with_tick) {
            assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
        }
        run(loop);
        assert_int_equal(completions_of(&tick), with_tick);
        end_loop(loop);
    }
}

TEST(ten_thousand_loops_with_nothing_pending_leave_no_trace)
{
    static const uint32_t threads[] = {1, 2, 3, 8};
    churn(8, 2000, false);
    long before = resident_kilobytes();
    for (size_t i = 0; i < COUNT(threads); i++) {
        churn(threads[i], 10000, false);
        assert_int_equal(take_inventory().loop_threads, 0);
    }
    assert_no_growth(before);
}

TEST(loops_that_ran_a_tick_leave_no_trace)
{
    static const uint32_t threads[] = {1, 2, 3, 8};
    churn(8, 100, true);
    long before = resident_kilobytes();
    for (size_t i = 0; i < COUNT(threads); i++) {
        churn(threads[i], 300, true);
        assert_int_equal(take_inventory().loop_threads, 0);
    }
    assert_no_growth(before);
}

LOOP_TEST(a_loop_runs_again_after_it_ended)
{
    for (unsigned i = 0; i < 1000; i++) {
        assert_it_runs_a_tick(loop);
    }
}

LOOP_TEST(nothing_runs_before_loop_run)
{
    int         ends[2];
    char        byte;
    operation_t tick = {0}, timer = {0}, readable = {0}, read_one = {0}, access_root = {0};
    make_pipe(ends);
    put(ends[1], "xy", 2);
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    assert_result(loop_timer_start(loop, begin(&timer), 0, 0, record), 0);
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), ends[0], record), 0);
    assert_result(loop_read(loop, begin(&read_one), ends[0], &byte, 1, record), 0);
    assert_result(loop_faccessat(loop, begin(&access_root), AT_FDCWD, "/", F_OK, 0, record), 0);
    sleep_for(20 * MILLISECOND);
    operation_t *const all[] = {&tick, &timer, &readable, &read_one, &access_root};
    for (size_t i = 0; i < COUNT(all); i++) {
        assert_int_equal(completions_of(all[i]), 0);
    }
    assert_result(loop_pending(loop), COUNT(all));
    run(loop);
    for (size_t i = 0; i < COUNT(all); i++) {
        assert_int_equal(completions_of(all[i]), 1);
    }
    close_both(ends);
}

TEST(with_one_thread_every_callback_runs_on_the_caller_of_loop_run)
{
    enum { TICKS = 500 };
    static operation_t ticks[TICKS];
    operation_t        access_root = {0}, timer = {0};
    loop_t            *loop;
    assert_result(loop_init_single_threaded(&loop), 0);
    for (size_t i = 0; i < TICKS; i++) {
        assert_result(loop_on_next_tick(loop, begin(&ticks[i]), record), 0);
    }
    assert_result(loop_faccessat(loop, begin(&access_root), AT_FDCWD, "/", F_OK, 0, record), 0);
    assert_result(loop_timer_start(loop, begin(&timer), MILLISECOND, 0, record), 0);
    run(loop);
    for (size_t i = 0; i < TICKS; i++) {
        assert_true(pthread_equal(ticks[i].thread, pthread_self()));
    }
    assert_true(pthread_equal(access_root.thread, pthread_self()));
    assert_true(pthread_equal(timer.thread, pthread_self()));
    end_loop(loop);
}

typedef struct rendezvous {
    operation_t   operation;
    atomic_uint  *arrived;
    unsigned      party;
} rendezvous_t;

static void meet_the_others(loop_t *loop, loop_request_t *request, int64_t result)
{
    rendezvous_t *rendezvous = (rendezvous_t *)(void *)request;
    atomic_fetch_add(rendezvous->arrived, 1);
    while (atomic_load(rendezvous->arrived) < rendezvous->party) {
        sleep_for(MILLISECOND / 10);
    }
    record(loop, request, result);
}

LOOP_TEST(as_many_callbacks_run_at_once_as_there_are_threads)
{
    rendezvous_t all[16];
    atomic_uint  arrived = 0;
    unsigned     party = test_threads();
    assert_true(party <= COUNT(all));
    memset(all, 0, sizeof all);
    for (unsigned i = 0; i < party; i++) {
        all[i].arrived = &arrived;
        all[i].party = party;
        assert_result(loop_on_next_tick(loop, begin(&all[i].operation), meet_the_others), 0);
    }
    run(loop);
    for (unsigned i = 0; i < party; i++) {
        for (unsigned j = 0; j < i; j++) {
            assert_false(pthread_equal(all[i].operation.thread, all[j].operation.thread));
        }
    }
}

static atomic_uint callbacks_running;

static void run_for_a_moment(loop_t *loop, loop_request_t *request, int64_t result)
{
    atomic_fetch_add(&callbacks_running, 1);
    sleep_for(MILLISECOND);
    record(loop, request, result);
    atomic_fetch_sub(&callbacks_running, 1);
}

LOOP_TEST(no_callback_runs_after_loop_run_once_returned)
{
    enum { TIMERS = 60 };
    static operation_t timers[TIMERS];
    atomic_store(&callbacks_running, 0);
    for (unsigned i = 0; i < TIMERS; i++) {
        assert_result(loop_timer_start(loop, begin(&timers[i]), i / 3 * MILLISECOND, 0, run_for_a_moment), 0);
    }
    while (loop_pending(loop) > 0) {
        unsigned before = 0, after = 0;
        assert_true(loop_run_once(loop, -1) >= 0);
        assert_int_equal(atomic_load(&callbacks_running), 0);
        for (unsigned i = 0; i < TIMERS; i++) {
            before += completions_of(&timers[i]);
        }
        sleep_for(MILLISECOND);
        for (unsigned i = 0; i < TIMERS; i++) {
            after += completions_of(&timers[i]);
        }
        assert_int_equal(before, after);
    }
}

/* ---- one turn -------------------------------------------------------------------------------- */

LOOP_TEST(loop_run_once_with_nothing_pending_returns_at_once)
{
    assert_result(loop_run_once(loop, 0), 0);
    assert_result(loop_run_once(loop, INT64_MAX), 0);
    assert_result(loop_run_once(loop, -1), 0);
    assert_result(loop_run_once(loop, INT64_MIN), 0);
}

LOOP_TEST(loop_run_once_counts_what_it_delivered)
{
    operation_t ticks[5];
    int         delivered = 0;
    memset(ticks, 0, sizeof ticks);
    for (size_t i = 0; i < COUNT(ticks); i++) {
        assert_result(loop_on_next_tick(loop, begin(&ticks[i]), record), 0);
    }
    for (int turn = 0; loop_pending(loop) > 0; turn++) {
        int n = loop_run_once(loop, -1);
        assert_true(n >= 0);
        delivered += n;
        if (test_threads() == 1) {
            assert_int_equal(turn, 0); /* all of them are due in the next turn */
        }
    }
    assert_int_equal(delivered, COUNT(ticks));
}

LOOP_TEST(loop_run_once_waits_no_longer_than_it_was_told)
{
    operation_t timer = {0};
    assert_result(loop_timer_start(loop, begin(&timer), HOUR, 0, record), 0);
    assert_result(loop_run_once(loop, 0), 0);
    unsigned calls = 0;
    for (uint64_t end = loop_now(loop) + 200 * MILLISECOND; loop_now(loop) < end; calls++) {
        assert_result(loop_run_once(loop, (int64_t)(20 * MILLISECOND)), 0);
    }
    /* 10 if each call waits its time. A loop that does not wait at all comes to many thousands. */
    assert_true(calls < 1000);
    assert_result(loop_cancel(loop, &timer.request), 0);
    run(loop);
    assert_result(timer.result, LOOP_ECANCELED);
}

LOOP_TEST(loop_run_once_without_limit_waits_for_a_completion)
{
    operation_t timer = {0};
    assert_result(loop_timer_start(loop, begin(&timer), 20 * MILLISECOND, 0, record), 0);
    int delivered = 0;
    while (delivered == 0) {
        delivered = loop_run_once(loop, -1);
    }
    assert_int_equal(delivered, 1);
    assert_int_equal(completions_of(&timer), 1);
}

/* ---- stop ------------------------------------------------------------------------------------ */

LOOP_TEST(a_stop_before_the_run_makes_the_next_run_return_at_once)
{
    operation_t tick = {0};
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    assert_result(loop_stop(loop), 0);
    assert_result(loop_stop(loop), 0);
    assert_result(loop_run(loop), 0);
    assert_int_equal(completions_of(&tick), 0);
    assert_result(loop_pending(loop), 1);
    run(loop);
    assert_int_equal(completions_of(&tick), 1);
}

LOOP_TEST(a_stop_is_used_up_by_one_call)
{
    loop_request_t *done;
    operation_t     tick = {0};
    assert_result(loop_stop(loop), 0);
    assert_result(loop_run(loop), 0);
    assert_it_runs_a_tick(loop);
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    assert_result(loop_stop(loop), 0);
    assert_result(loop_run_once(loop, -1), 0);
    assert_int_equal(completions_of(&tick), 0);
    assert_result(loop_stop(loop), 0);
    assert_result(loop_wait(loop, &done, 1, -1), 0);
    assert_int_equal(completions_of(&tick), 0);
    run(loop);
    assert_int_equal(completions_of(&tick), 1);
}

static void record_and_stop(loop_t *loop, loop_request_t *request, int64_t result)
{
    record(loop, request, result);
    CHECK(loop_stop(loop) == 0);
}

LOOP_TEST(a_stop_in_a_callback_leaves_the_rest_pending)
{
    operation_t ticks[10];
    unsigned    completed = 0;
    memset(ticks, 0, sizeof ticks);
    for (size_t i = 0; i < COUNT(ticks); i++) {
        assert_result(loop_on_next_tick(loop, begin(&ticks[i]), i == 2 ? record_and_stop : record), 0);
    }
    assert_result(loop_run(loop), 0);
    for (size_t i = 0; i < COUNT(ticks); i++) {
        completed += completions_of(&ticks[i]);
    }
    assert_int_equal(completions_of(&ticks[2]), 1);
    assert_result(loop_pending(loop), COUNT(ticks) - completed);
    if (test_threads() == 1) {
        assert_int_equal(completed, 3);
    }
    run(loop);
    for (size_t i = 0; i < COUNT(ticks); i++) {
        assert_int_equal(completions_of(&ticks[i]), 1);
    }
}

static void *stop_after_a_moment(void *argument)
{
    static uint64_t chance = 42;
    sleep_for(random_below(&chance, 300000));
    CHECK(loop_stop(argument) == 0);
    return NULL;
}

static void assert_stop_wakes(loop_options_t options, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        operation_t timer = {0}, readable = {0};
        int         ends[2];
        loop_t     *loop = new_loop_with(options);
        make_pipe(ends);
        assert_result(loop_timer_start(loop, begin(&timer), HOUR, 0, record), 0);
        assert_result(loop_wait_until_fd_readable(loop, begin(&readable), ends[0], record), 0);
        pthread_t stopper = start_thread(stop_after_a_moment, loop);
        assert_result(loop_run(loop), 0);
        join_thread(stopper);
        assert_result(loop_pending(loop), 2);
        end_loop(loop);
        assert_result(timer.result, LOOP_ECANCELED);
        assert_result(readable.result, LOOP_ECANCELED);
        close_both(ends);
    }
}

TEST(a_stop_by_another_thread_wakes_every_sleeper)
{
    loop_options_t options = test_options();
    assert_stop_wakes(options, 200);
    options.threads = 8;
    assert_stop_wakes(options, 50);
}

/* ---- references and pending ------------------------------------------------------------------ */

static void *unref_after_a_moment(void *argument)
{
    sleep_for(10 * MILLISECOND);
    CHECK(loop_unref(argument) == 0);
    return NULL;
}

LOOP_TEST(a_reference_keeps_loop_run_from_returning)
{
    assert_result(loop_ref(loop), 0);
    assert_result(loop_ref(loop), 0);
    assert_result(loop_pending(loop), 2);
    uint64_t  start = loop_now(loop);
    pthread_t thread = start_thread(unref_after_a_moment, loop);
    join_thread(thread);
    assert_result(loop_pending(loop), 1);
    thread = start_thread(unref_after_a_moment, loop);
    assert_result(loop_run(loop), 0);
    join_thread(thread);
    assert_true(loop_now(loop) - start >= 20 * MILLISECOND);
    assert_result(loop_pending(loop), 0);
    assert_result(loop_unref(loop), LOOP_EINVAL);
    assert_result(loop_pending(loop), 0);
}

LOOP_TEST(a_loop_with_references_can_be_ended)
{
    assert_result(loop_ref(loop), 0);
}

static void note_pending(loop_t *loop, loop_request_t *request, int64_t result)
{
    *(int64_t *)request->user = loop_pending(loop);
    record(loop, request, result);
}

LOOP_TEST(a_request_counts_until_its_callback_returned)
{
    operation_t tick = {0};
    int64_t     pending = -1;
    tick.request.user = &pending;
    assert_result(loop_pending(loop), 0);
    assert_result(loop_on_next_tick(loop, begin(&tick), note_pending), 0);
    assert_result(loop_pending(loop), 1);
    run(loop);
    assert_result(pending, 1);
    assert_result(loop_pending(loop), 0);
}

static void start_a_file_operation(loop_t *loop, loop_request_t *request, int64_t result)
{
    operation_t *next = request->user;
    CHECK(loop_faccessat(loop, begin(next), AT_FDCWD, "/", F_OK, 0, record) == 0);
    record(loop, request, result);
}

LOOP_TEST(what_the_last_callback_starts_completes_in_the_same_run)
{
    int         ends[2];
    operation_t readable = {0}, next = {0};
    make_pipe(ends);
    put(ends[1], "x", 1);
    readable.request.user = &next;
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), ends[0], start_a_file_operation), 0);
    run(loop);
    assert_int_equal(completions_of(&next), 1);
    close_both(ends);
}

/* ---- the default loop ------------------------------------------------------------------------ */

TEST(the_default_loop_is_one_until_it_is_ended)
{
    for (unsigned i = 0; i < 10; i++) {
        loop_t *loop = loop_default();
        assert_non_null(loop);
        assert_ptr_equal(loop_default(), loop);
        assert_it_runs_a_tick(loop);
        end_loop(loop);
    }
}

static void *get_default(void *argument)
{
    (void)argument;
    return loop_default();
}

TEST(threads_that_ask_at_once_get_the_same_default_loop)
{
    for (unsigned round = 0; round < 20; round++) {
        pthread_t threads[8];
        void     *loops[COUNT(threads)];
        for (size_t i = 0; i < COUNT(threads); i++) {
            threads[i] = start_thread(get_default, NULL);
        }
        for (size_t i = 0; i < COUNT(threads); i++) {
            assert_int_equal(pthread_join(threads[i], &loops[i]), 0);
            assert_non_null(loops[i]);
            assert_ptr_equal(loops[i], loops[0]);
        }
        end_loop(loops[0]);
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

static void record_and_try_to_submit(loop_t *loop, loop_request_t *request, int64_t result)
{
    operation_t another = {0};
    record(loop, request, result);
    CHECK(loop_on_next_tick(loop, begin(&another), record) == LOOP_ESHUTDOWN);
    CHECK(loop_timer_start(loop, request, 0, 0, record) == LOOP_ESHUTDOWN);
}

static void work_briefly(loop_request_t *request)
{
    (void)request;
    sleep_for(MILLISECOND);
}

/* One of everything, in flight: what is sure to wait comes first. */
enum { EVERYTHING = 12, SURE_TO_WAIT = 8 };
typedef struct everything {
    operation_t operations[EVERYTHING];
    int         empty[2], full[2];
    char        byte;
} everything_t;

static void start_everything(loop_t *loop, everything_t *all, loop_callback_t callback)
{
    operation_t *operation = all->operations;
    make_pipe(all->empty);
    make_pipe(all->full);
    fill(all->full[1]);
    assert_result(loop_timer_start(loop, begin(operation++), HOUR, 0, callback), 0);
    assert_result(loop_timer_start(loop, begin(operation++), HOUR, HOUR, callback), 0);
    assert_result(loop_timer_start(loop, begin(operation++), UINT64_MAX, 0, callback), 0);
    assert_result(loop_wait_until_fd_readable(loop, begin(operation++), all->empty[0], callback), 0);
    assert_result(loop_wait_until_fd_writable(loop, begin(operation++), all->full[1], callback), 0);
    assert_result(loop_add_fd(loop, begin(operation++), all->empty[0], LOOP_READABLE, callback), 0);
    assert_result(loop_read(loop, begin(operation++), all->empty[0], &all->byte, 1, callback), 0);
    assert_result(loop_write(loop, begin(operation++), all->full[1], "x", 1, callback), 0);
    assert_result(loop_on_next_tick(loop, begin(operation++), callback), 0);
    assert_result(loop_queue_work(loop, begin(operation++), work_briefly, callback), 0);
    assert_result(loop_faccessat(loop, begin(operation++), AT_FDCWD, "/", F_OK, 0, callback), 0);
    assert_result(loop_wait_until_fd_readable(loop, begin(operation++), -1, callback), 0);
    assert_ptr_equal(operation, all->operations + EVERYTHING);
}

static void assert_everything_ended(everything_t *all)
{
    for (unsigned i = 0; i < EVERYTHING; i++) {
        operation_t *operation = &all->operations[i];
        assert_int_equal(completions_of(operation), 1);
        assert_int_equal(operation->flags & LOOP_MORE, 0);
        if (i < SURE_TO_WAIT) {
            assert_result(operation->result, LOOP_ECANCELED);
            assert_true(pthread_equal(operation->thread, pthread_self()));
        } else if (operation->result != LOOP_ECANCELED) {
            assert_result(operation->result, i == EVERYTHING - 1 ? LOOP_EBADF : 0);
        }
    }
    close_both(all->empty);
    close_both(all->full);
}

TEST(an_end_without_any_run_delivers_everything_exactly_once_on_the_caller)
{
    everything_t all = {0};
    loop_t      *loop = new_loop();
    start_everything(loop, &all, record_and_try_to_submit);
    end_loop(loop);
    assert_everything_ended(&all);
    for (unsigned i = SURE_TO_WAIT; i < EVERYTHING; i++) {
        assert_true(pthread_equal(all.operations[i].thread, pthread_self()));
    }
}

TEST(an_end_after_some_turns_delivers_everything_exactly_once)
{
    for (unsigned turns = 1; turns < 20; turns++) {
        everything_t all = {0};
        loop_t      *loop = new_loop();
        start_everything(loop, &all, record);
        for (unsigned i = 0; i < turns; i++) {
            assert_true(loop_run_once(loop, 0) >= 0);
        }
        for (unsigned i = 0; turns % 3 == 0 && i < EVERYTHING; i++) {
            int status = loop_cancel(loop, &all.operations[i].request);
            assert_true(status == 0 || status == LOOP_ENOENT);
        }
        assert_result(loop_stop(loop), 0); /* a stop that nobody saw does not disturb the end */
        end_loop(loop);
        assert_everything_ended(&all);
    }
}

static void *run_until_stopped(void *argument)
{
    CHECK(loop_run(argument) == 0);
    return NULL;
}

TEST(an_end_after_a_run_by_another_thread_delivers_on_the_caller)
{
    everything_t all = {0};
    loop_t      *loop = new_loop();
    start_everything(loop, &all, record);
    pthread_t runner = start_thread(run_until_stopped, loop);
    for (unsigned i = SURE_TO_WAIT; i < EVERYTHING; i++) {
        while (completions_of(&all.operations[i]) == 0) {
            sleep_for(MILLISECOND / 10);
        }
    }
    assert_result(loop_deinit(loop), LOOP_EBUSY);
    assert_result(loop_stop(loop), 0);
    join_thread(runner);
    end_loop(loop);
    assert_everything_ended(&all);
    assert_result(loop_deinit(loop), LOOP_ESHUTDOWN);
}

enum { SUBMITTERS = 4, SLOTS = 512 };
typedef struct submitter {
    loop_t     *loop;
    operation_t ticks[SLOTS];
    unsigned    accepted;
} submitter_t;

static void *submit_until_refused(void *argument)
{
    submitter_t *submitter = argument;
    for (unsigned i = 0; i < SLOTS; i++) {
        int status = loop_on_next_tick(submitter->loop, begin(&submitter->ticks[i]), record);
        if (status < 0) {
            CHECK(status == LOOP_ESHUTDOWN);
            break;
        }
        submitter->accepted++;
    }
    return NULL;
}

TEST(an_end_while_others_submit_completes_what_was_accepted)
{
    static submitter_t submitters[SUBMITTERS];
    for (unsigned round = 0; round < 100; round++) {
        pthread_t threads[SUBMITTERS];
        loop_t   *loop = new_loop();
        memset(submitters, 0, sizeof submitters);
        for (size_t i = 0; i < SUBMITTERS; i++) {
            submitters[i].loop = loop;
            threads[i] = start_thread(submit_until_refused, &submitters[i]);
        }
        sleep_for(round * 1000);
        end_loop(loop);
        for (size_t i = 0; i < SUBMITTERS; i++) {
            join_thread(threads[i]);
            for (unsigned j = 0; j < SLOTS; j++) {
                assert_int_equal(completions_of(&submitters[i].ticks[j]), j < submitters[i].accepted);
            }
        }
    }
}

TEST(every_thread_of_a_loop_is_gone_when_loop_deinit_returns)
{
    for (unsigned round = 0; round < 50; round++) {
        operation_t work[4];
        loop_t     *loop = new_loop();
        memset(work, 0, sizeof work);
        for (size_t i = 0; i < COUNT(work); i++) {
            assert_result(loop_queue_work(loop, begin(&work[i]), work_briefly, record), 0);
        }
        if (round % 2 == 0) {
            run(loop);
        } else {
            assert_true(loop_run_once(loop, 0) >= 0);
        }
        end_loop(loop);
        assert_int_equal(take_inventory().loop_threads, 0);
    }
}

static void free_yourself(loop_t *loop, loop_request_t *request, int64_t result)
{
    (void)loop;
    (void)result;
    free(request);
}

LOOP_TEST(callbacks_of_the_end_may_free_their_requests)
{
    for (unsigned i = 0; i < 100; i++) {
        loop_request_t *timer = calloc(1, sizeof *timer);
        assert_non_null(timer);
        assert_result(loop_timer_start(loop, timer, HOUR, 0, free_yourself), 0);
    }
}

/* ---- clock, names, statistics ---------------------------------------------------------------- */

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

LOOP_TEST(loop_now_is_the_monotonic_clock)
{
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t before = monotonic_ns();
        uint64_t now = loop_now(i % 2 == 0 ? loop : NULL);
        uint64_t after = monotonic_ns();
        assert_in_range(now, before, after);
    }
}

TEST(the_library_has_the_version_of_the_header)
{
    char version[32];
    assert_string_equal(loop_version(), LOOP_VERSION_STRING);
    snprintf(version, sizeof version, "%d.%d.%d", LOOP_VERSION_MAJOR, LOOP_VERSION_MINOR, LOOP_VERSION_PATCH);
    assert_string_equal(version, LOOP_VERSION_STRING);
}

TEST(every_error_has_its_name_and_message_with_either_sign)
{
#define EXPECT_ERROR(name, number, message)                          \
    assert_int_equal(LOOP_##name, -(number));                        \
    assert_int_equal(number, name);                                  \
    assert_string_equal(loop_error_name(-(number)), "LOOP_" #name);  \
    assert_string_equal(loop_error_name(number), "LOOP_" #name);     \
    assert_string_equal(loop_error_message(-(number)), message);     \
    assert_string_equal(loop_error_message(number), message);
    LOOP_ERROR_MAP(EXPECT_ERROR)
    assert_int_equal(LOOP_EWOULDBLOCK, LOOP_EAGAIN);
    assert_int_equal(LOOP_ENOTSUP, LOOP_EOPNOTSUPP);
    assert_string_equal(loop_error_name(0), "LOOP_OK");
    assert_non_null(loop_error_message(0));
}

TEST(a_number_without_a_name_is_unknown)
{
    static const int numbers[] = {41, -41, 58, -58, 134, -134, 1000, -1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT(numbers); i++) {
        assert_string_equal(loop_error_name(numbers[i]), "LOOP_EUNKNOWN");
        assert_non_null(loop_error_message(numbers[i]));
    }
}

LOOP_TEST(statistics_count_completions)
{
    enum { TICKS = 1000 };
    static operation_t ticks[TICKS];
    loop_statistics_t  before = {.size = sizeof before}, after = {.size = sizeof after};
    assert_result(loop_get_statistics(loop, &before), 0);
    assert_int_equal(before.completions, 0);
    assert_int_equal(before.blocking_threads, 0);
    for (size_t i = 0; i < TICKS; i++) {
        assert_result(loop_on_next_tick(loop, begin(&ticks[i]), record), 0);
    }
    assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, "/", F_OK, 0), 0);
    assert_result(RESULT_OF(loop, loop_timer_start, MILLISECOND, 0), 0);
    assert_result(loop_get_statistics(loop, &after), 0);
    assert_int_equal(after.completions, TICKS + 2);
    assert_true(after.blocking_threads > 0);
    assert_true(after.turns > before.turns && after.sleeps > before.sleeps);
    assert_true(after.sleeps <= after.turns);
    assert_true(after.deliveries > before.deliveries && after.deliveries <= after.completions);
    assert_true(after.entries > before.entries);
    assert_true(after.heap_objects > 0);
}

LOOP_TEST(statistics_write_no_more_than_their_size)
{
    struct {
        loop_statistics_t statistics;
        unsigned char     behind[64];
    } room;
    memset(&room, 0xAB, sizeof room);
    room.statistics.size = offsetof(loop_statistics_t, turns);
    assert_it_runs_a_tick(loop);
    assert_result(loop_get_statistics(loop, &room.statistics), 0);
    assert_int_equal(room.statistics.completions, 1);
    const unsigned char *bytes = (const unsigned char *)&room;
    for (size_t i = offsetof(loop_statistics_t, turns); i < sizeof room; i++) {
        assert_int_equal(bytes[i], 0xAB);
    }
    room.statistics.size = 0;
    assert_result(loop_get_statistics(loop, &room.statistics), LOOP_EINVAL);
    room.statistics.size = sizeof(uint32_t);
    assert_result(loop_get_statistics(loop, &room.statistics), LOOP_EINVAL);
}

/* ---- several loops --------------------------------------------------------------------------- */

typedef struct chain {
    operation_t operation;
    unsigned    left;
} chain_t;

static void next_in_chain(loop_t *loop, loop_request_t *request, int64_t result)
{
    chain_t *chain = (chain_t *)(void *)request;
    CHECK(result == 0);
    if (--chain->left > 0) {
        CHECK(loop_on_next_tick(loop, request, next_in_chain) == 0);
        return;
    }
    record(loop, request, result);
}

static void *run_a_chain(void *argument)
{
    loop_t *loop = argument;
    chain_t chain = {.left = 100000};
    CHECK(loop_on_next_tick(loop, begin(&chain.operation), next_in_chain) == 0);
    CHECK(loop_run(loop) == 0);
    CHECK(completions_of(&chain.operation) == 1);
    return NULL;
}

TEST(two_loops_run_side_by_side)
{
    loop_t   *loops[2] = {new_loop(), new_loop()};
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        threads[i] = start_thread(run_a_chain, loops[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        join_thread(threads[i]);
        end_loop(loops[i]);
    }
}

/* A callback that runs a loop of its own, in which a callback does the same, so many levels deep. */
static void run_a_loop_inside(loop_t *loop, loop_request_t *request, int64_t result)
{
    chain_t       *outer = (chain_t *)(void *)request;
    chain_t        inner = {.left = outer->left - 1};
    loop_options_t options = test_options();
    loop_t        *inner_loop;
    if (outer->left > 0) {
        CHECK(loop_init(&inner_loop, &options) == 0);
        CHECK(loop_on_next_tick(inner_loop, begin(&inner.operation), run_a_loop_inside) == 0);
        CHECK(loop_run(inner_loop) == 0);
        CHECK(completions_of(&inner.operation) == 1);
        CHECK(loop_deinit(inner_loop) == 0);
        CHECK(loop_run(loop) == LOOP_EBUSY);
    }
    record(loop, request, result);
}

LOOP_TEST(a_callback_may_run_another_loop)
{
    chain_t outer = {.left = 5};
    assert_result(loop_on_next_tick(loop, begin(&outer.operation), run_a_loop_inside), 0);
    run(loop);
    assert_int_equal(completions_of(&outer.operation), 1);
}

static void submit_to_another_loop(loop_t *loop, loop_request_t *request, int64_t result)
{
    operation_t *other_tick = request->user;
    CHECK(loop_on_next_tick(other_tick->request.user, begin(other_tick), record) == 0);
    record(loop, request, result);
}

LOOP_TEST(a_callback_may_submit_to_another_loop)
{
    operation_t tick = {0}, other_tick = {0};
    loop_t     *other = new_loop();
    tick.request.user = &other_tick;
    other_tick.request.user = other;
    assert_result(loop_on_next_tick(loop, begin(&tick), submit_to_another_loop), 0);
    run(loop);
    assert_int_equal(completions_of(&other_tick), 0);
    assert_result(loop_pending(other), 1);
    run(other);
    assert_int_equal(completions_of(&other_tick), 1);
    end_loop(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(every_way_to_make_a_loop_makes_one_that_runs),
        GUARDED(zeroed_options_are_the_defaults),
        GUARDED(options_out_of_range_are_refused),
        GUARDED(a_thread_count_of_zero_is_refused),
        GUARDED(a_backend_of_another_system_does_not_exist),
        GUARDED(the_backend_asked_for_is_the_backend_in_use),
        GUARDED(out_of_descriptors_is_reported_and_leaves_nothing_behind),
        GUARDED(ten_thousand_loops_with_nothing_pending_leave_no_trace),
        GUARDED(loops_that_ran_a_tick_leave_no_trace),
        GUARDED(a_loop_runs_again_after_it_ended),
        GUARDED(nothing_runs_before_loop_run),
        GUARDED(with_one_thread_every_callback_runs_on_the_caller_of_loop_run),
        GUARDED(as_many_callbacks_run_at_once_as_there_are_threads),
        GUARDED(no_callback_runs_after_loop_run_once_returned),
        GUARDED(loop_run_once_with_nothing_pending_returns_at_once),
        GUARDED(loop_run_once_counts_what_it_delivered),
        GUARDED(loop_run_once_waits_no_longer_than_it_was_told),
        GUARDED(loop_run_once_without_limit_waits_for_a_completion),
        GUARDED(a_stop_before_the_run_makes_the_next_run_return_at_once),
        GUARDED(a_stop_is_used_up_by_one_call),
        GUARDED(a_stop_in_a_callback_leaves_the_rest_pending),
        GUARDED(a_stop_by_another_thread_wakes_every_sleeper),
        GUARDED(a_reference_keeps_loop_run_from_returning),
        GUARDED(a_loop_with_references_can_be_ended),
        GUARDED(a_request_counts_until_its_callback_returned),
        GUARDED(what_the_last_callback_starts_completes_in_the_same_run),
        GUARDED(the_default_loop_is_one_until_it_is_ended),
        GUARDED(threads_that_ask_at_once_get_the_same_default_loop),
        GUARDED(an_end_without_any_run_delivers_everything_exactly_once_on_the_caller),
        GUARDED(an_end_after_some_turns_delivers_everything_exactly_once),
        GUARDED(an_end_after_a_run_by_another_thread_delivers_on_the_caller),
        GUARDED(an_end_while_others_submit_completes_what_was_accepted),
        GUARDED(every_thread_of_a_loop_is_gone_when_loop_deinit_returns),
        GUARDED(callbacks_of_the_end_may_free_their_requests),
        GUARDED(loop_now_is_the_monotonic_clock),
        GUARDED(the_library_has_the_version_of_the_header),
        GUARDED(every_error_has_its_name_and_message_with_either_sign),
        GUARDED(a_number_without_a_name_is_unknown),
        GUARDED(statistics_count_completions),
        GUARDED(statistics_write_no_more_than_their_size),
        GUARDED(two_loops_run_side_by_side),
        GUARDED(a_callback_may_run_another_loop),
        GUARDED(a_callback_may_submit_to_another_loop),
    };
    return RUN_SUITE(tests);
}
