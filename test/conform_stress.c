/*
 * Stress of the whole API: requests of every kind, submitted, cancelled, modified, taken back and harvested
 * by callbacks and by outside threads at once, must complete exactly once and with a result that they may
 * have.
 *
 * Environment: LOOP_STRESS_SECONDS (3 if unset) and LOOP_STRESS_SEED (from the clock if unset). A seed
 * repeats the choices of each thread, but not how the threads interleave: a failure may take several runs
 * to come back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

enum { SLOTS = 64, PIPES = 8, OUTSIDE_THREADS = 2 };
enum { FILE_LENGTH = 4096, PREAD_LENGTH = 16, BUFFER_LENGTH = 64 };

#define ROUND_NS (100 * MILLISECOND)

/* A test that takes so much longer than it should hangs: SIGALRM ends the process. */
#define HANG_SECONDS 60

/* ---- what is under stress -------------------------------------------------------------------- */

typedef enum kind {
    TICK,
    TIMER,
    PERIODIC_TIMER,
    WORK,
    READ,
    PREAD,
    WAIT_READABLE,
    WAIT_WRITABLE,
    LEVEL_WATCH,
    EDGE_WATCH,
    KINDS
} kind_t;

static const char *const kind_names[KINDS] = {
    "tick",  "timer",    "periodic timer", "work",        "read",
    "pread", "readable", "writable",       "level watch", "edge watch",
};

typedef enum slot_state {
    IDLE,     /* the request is ours */
    IN_FLIGHT /* it was submitted, and neither completed nor was taken back */
} slot_state_t;

/* A request and what it may deliver. The lock is held by whoever submits or controls the request, so that it
 * is not reused under a cancel; a completion does not take it. */
typedef struct slot {
    pthread_mutex_t lock;
    loop_request_t  request;
    atomic_int      state; /* slot_state_t */
    atomic_bool     cancel_asked;
    kind_t          kind;
    bool            harvested;   /* submitted without a callback */
    int64_t         least_result, most_result; /* the values that this flight may deliver */
    char            buffer[BUFFER_LENGTH];
} slot_t;

static slot_t slots[SLOTS];

/* One round: the life of a loop. */
static struct {
    loop_t     *loop;
    int         pipes[PIPES][2]; /* [0] to read from, [1] to write to; not blocking */
    int         file;
    bool        one_thread;
    atomic_bool threads_finish;
    atomic_bool callbacks_submit;
    atomic_bool deinitialising;
    atomic_int  callbacks_running;
} round_now;

static struct {
    atomic_ulong submitted, completed, shots, withdrawn, cancels, modifications;
} counts;

#define CHECK_SLOT(slot, condition) ((condition) ? (void)0 : slot_failed((slot), #condition, __LINE__))

_Noreturn static void slot_failed(const slot_t *slot, const char *condition, int line)
{
    fprintf(stderr, "slot %td, %s, %s: state %d, cancel asked %d, timeout %llu ns, result %lld, flags %u\n",
            slot - slots, kind_names[slot->kind], slot->harvested ? "harvested" : "callback",
            atomic_load(&slot->state), atomic_load(&slot->cancel_asked),
            (unsigned long long)slot->request.timeout_ns, (long long)slot->request.result,
            slot->request.flags);
    check_failed(condition, __FILE__, line);
}

/* ---- chance ---------------------------------------------------------------------------------- */

static uint64_t seed;

/* The start of one thread's chance: neighbouring numbers give unlike sequences. */
static uint64_t chance_of(uint64_t number)
{
    uint64_t chance = (seed + number) * UINT64_C(0x9E3779B97F4A7C15);
    return chance != 0 ? chance : 1;
}

static bool one_in(uint64_t *chance, uint32_t limit)
{
    return random_below(chance, limit) == 0;
}

static slot_t *any_slot(uint64_t *chance)
{
    return &slots[random_below(chance, SLOTS)];
}

/* The chance of a thread of the loop, which nobody else could give it. */
static uint64_t *callback_chance(void)
{
    static atomic_uint            threads;
    static _Thread_local uint64_t chance;
    if (chance == 0) {
        chance = chance_of(1000000 + atomic_fetch_add(&threads, 1));
    }
    return &chance;
}

/* ---- completions ----------------------------------------------------------------------------- */

static bool is_watch(const slot_t *slot)
{
    return slot->kind == LEVEL_WATCH || slot->kind == EDGE_WATCH;
}

static bool is_multishot(const slot_t *slot)
{
    return slot->kind == PERIODIC_TIMER || is_watch(slot);
}

static void check_result(const slot_t *slot)
{
    int64_t result = slot->request.result;
    bool    is_value = result >= slot->least_result && result <= slot->most_result;
    CHECK_SLOT(slot, is_value || (result == LOOP_ETIMEDOUT && slot->request.timeout_ns != 0) ||
                         (result == LOOP_ECANCELED && (atomic_load(&slot->cancel_asked) ||
                                                       atomic_load(&round_now.deinitialising))));
    /* A request of several results ends with an error, and no other one has more to come. */
    CHECK_SLOT(slot, ((slot->request.flags & LOOP_MORE) != 0) == (is_value && is_multishot(slot)));
}

/* From here on the slot may be in use by another thread. */
static void end_flight(slot_t *slot)
{
    CHECK_SLOT(slot, atomic_exchange(&slot->state, IDLE) == IN_FLIGHT);
}

static void note_completion(slot_t *slot)
{
    CHECK_SLOT(slot, atomic_load(&slot->state) == IN_FLIGHT);
    check_result(slot);
    if (slot->request.flags & LOOP_MORE) {
        atomic_fetch_add(&counts.shots, 1);
        return;
    }
    atomic_fetch_add(&counts.completed, 1);
    end_flight(slot);
}

static void meddle(slot_t *slot, uint64_t *chance);

static void completed(loop_t *loop, loop_request_t *request, int64_t result)
{
    uint64_t *chance = callback_chance();
    bool      is_nested = atomic_fetch_add(&round_now.callbacks_running, 1) > 0;
    CHECK(loop == round_now.loop);
    CHECK(!(is_nested && round_now.one_thread));
    CHECK(request->result == result);
    note_completion(request->user);
    if (atomic_load(&round_now.callbacks_submit) && one_in(chance, 4)) {
        slot_t *other = any_slot(chance);
        if (pthread_mutex_trylock(&other->lock) == 0) { /* a callback should not wait for a thread */
            meddle(other, chance);
            pthread_mutex_unlock(&other->lock);
        }
    }
    atomic_fetch_sub(&round_now.callbacks_running, 1);
}

/* Fetches what has completed without a callback. */
static int harvest(int64_t timeout_ns)
{
    loop_request_t *done[8];
    int             count = loop_wait(round_now.loop, done, COUNT(done), timeout_ns);
    CHECK(count >= 0 && count <= (int)COUNT(done));
    for (int i = 0; i < count; i++) {
        note_completion(done[i]->user);
    }
    return count;
}

/* ---- what the threads and the callbacks do to a slot ----------------------------------------- */

static void work_a_little(loop_request_t *request)
{
    (void)request;
    for (volatile int i = 0; i < 1000; i++) {
    }
}

static int submit_as(slot_t *slot, loop_callback_t callback, uint64_t *chance)
{
    loop_t         *loop = round_now.loop;
    loop_request_t *request = &slot->request;
    const int      *pipe = round_now.pipes[random_below(chance, PIPES)];
    uint64_t        delay_ns = random_below(chance, MILLISECOND);
    uint64_t        period_ns = 1 + random_below(chance, MILLISECOND);
    uint64_t        offset = random_below(chance, FILE_LENGTH - PREAD_LENGTH);
    switch (slot->kind) {
    case TICK: return loop_on_next_tick(loop, request, callback);
    case TIMER: return loop_timer_start(loop, request, delay_ns, 0, callback);
    case PERIODIC_TIMER: return loop_timer_start(loop, request, delay_ns, period_ns, callback);
    case WORK: return loop_queue_work(loop, request, work_a_little, callback);
    case READ: return loop_read(loop, request, pipe[0], slot->buffer, (size_t)slot->most_result, callback);
    case PREAD:
        return loop_pread(loop, request, round_now.file, slot->buffer, PREAD_LENGTH, offset, callback);
    case WAIT_READABLE: return loop_wait_until_fd_readable(loop, request, pipe[0], callback);
    case WAIT_WRITABLE: return loop_wait_until_fd_writable(loop, request, pipe[1], callback);
    case LEVEL_WATCH: return loop_add_fd(loop, request, pipe[0], LOOP_READABLE, callback);
    default: return loop_add_fd(loop, request, pipe[0], LOOP_READABLE | LOOP_EDGE_TRIGGERED, callback);
    }
}

/* Both ends of the pipes stay open during a round: no end of file, hangup or error can come. */
static void choose_results(slot_t *slot, uint64_t *chance)
{
    slot->least_result = slot->most_result = 0;
    switch (slot->kind) {
    case READ:
        slot->least_result = 1;
        slot->most_result = 1 + random_below(chance, BUFFER_LENGTH);
        break;
    case PREAD: slot->least_result = slot->most_result = PREAD_LENGTH; break;
    case WAIT_READABLE:
    case LEVEL_WATCH:
    case EDGE_WATCH: slot->least_result = slot->most_result = LOOP_READABLE; break;
    case WAIT_WRITABLE: slot->least_result = slot->most_result = LOOP_WRITABLE; break;
    default: break;
    }
}

static void submit(slot_t *slot, uint64_t *chance)
{
    slot->kind = (kind_t)random_below(chance, KINDS);
    slot->harvested = one_in(chance, 4);
    slot->request.user = slot;
    slot->request.result = INT64_MIN;
    slot->request.timeout_ns = one_in(chance, 3) ? 1 + random_below(chance, 2 * MILLISECOND) : 0;
    atomic_store(&slot->cancel_asked, false);
    choose_results(slot, chance);
    /* Before the submit, for the completion may come before it returns. */
    atomic_store(&slot->state, IN_FLIGHT);
    int error = submit_as(slot, slot->harvested ? NULL : completed, chance);
    if (error == 0) {
        atomic_fetch_add(&counts.submitted, 1);
        return;
    }
    slot->request.result = error; /* for the message */
    CHECK_SLOT(slot, error == LOOP_ESHUTDOWN && atomic_load(&round_now.deinitialising));
    end_flight(slot);
}

static void cancel(slot_t *slot)
{
    atomic_store(&slot->cancel_asked, true);
    int error = loop_cancel(round_now.loop, &slot->request);
    CHECK_SLOT(slot, error == 0 || error == LOOP_ENOENT || error == LOOP_ESHUTDOWN);
    atomic_fetch_add(&counts.cancels, 1);
}

static void take_back(slot_t *slot)
{
    int error = loop_cancel_on_next_tick(round_now.loop, &slot->request);
    CHECK_SLOT(slot, error == 0 || error == LOOP_ENOENT || error == LOOP_ESHUTDOWN);
    if (error == 0) {
        atomic_fetch_add(&counts.withdrawn, 1);
        end_flight(slot);
    }
}

static void modify(slot_t *slot, uint32_t events)
{
    int error = loop_mod_fd(round_now.loop, &slot->request, events);
    CHECK_SLOT(slot, error == 0 || error == LOOP_ENOENT || error == LOOP_ESHUTDOWN);
    atomic_fetch_add(&counts.modifications, 1);
}

/* Submits what is idle and disturbs what is not. The caller has the lock. */
static void meddle(slot_t *slot, uint64_t *chance)
{
    if (atomic_load(&slot->state) == IDLE) {
        submit(slot, chance);
    } else if (slot->kind == TICK && one_in(chance, 2)) {
        take_back(slot);
    } else if (is_watch(slot) && one_in(chance, 2)) {
        modify(slot, random_below(chance, 4));
    } else {
        cancel(slot);
    }
}

/* ---- the outside threads --------------------------------------------------------------------- */

static bool is_done_or_shut_down(int error)
{
    return error == 0 || (error == LOOP_ESHUTDOWN && atomic_load(&round_now.deinitialising));
}

/* What is done to the loop rather than to a request, and bytes for those who wait for some. */
static void meddle_with_loop(uint64_t *chance)
{
    static const char bytes[BUFFER_LENGTH];
    int               fd = round_now.pipes[random_below(chance, PIPES)][1];
    CHECK(write(fd, bytes, 1 + random_below(chance, BUFFER_LENGTH)) > 0 || errno == EAGAIN);
    if (one_in(chance, 64)) {
        CHECK(is_done_or_shut_down(loop_stop(round_now.loop)));
    }
    if (one_in(chance, 16) && loop_ref(round_now.loop) == 0) {
        CHECK(is_done_or_shut_down(loop_unref(round_now.loop)));
    }
}

static void *run_outside_thread(void *chance_start)
{
    uint64_t chance = *(uint64_t *)chance_start;
    while (!atomic_load(&round_now.threads_finish)) {
        slot_t *slot = any_slot(&chance);
        if (one_in(&chance, 8)) {
            meddle_with_loop(&chance);
            continue;
        }
        pthread_mutex_lock(&slot->lock);
        /* What is in flight is left alone half of the time, to complete by itself. */
        if (atomic_load(&slot->state) == IDLE || one_in(&chance, 2)) {
            meddle(slot, &chance);
        }
        pthread_mutex_unlock(&slot->lock);
        if (one_in(&chance, 512)) {
            sleep_for(random_below(&chance, 300000)); /* long enough for the loop to fall asleep */
        }
    }
    return NULL;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static void drive_loop(uint64_t *chance)
{
    uint32_t timeout_ns = random_below(chance, MILLISECOND);
    switch (random_below(chance, 4)) {
    case 0: CHECK(loop_run_once(round_now.loop, one_in(chance, 3) ? 0 : timeout_ns) >= 0); break;
    case 1: harvest(timeout_ns); break;
    case 2:
        if (one_in(chance, 8)) { /* rarely, for only the outside threads' loop_stop ends it */
            CHECK(loop_run(round_now.loop) == 0);
        }
        break;
    default: drain(round_now.pipes[random_below(chance, PIPES)][0]); break;
    }
}

static void open_round(void)
{
    char contents[FILE_LENGTH] = {0};
    round_now.file = temporary_file(contents, sizeof contents);
    for (size_t i = 0; i < PIPES; i++) {
        make_pipe(round_now.pipes[i]);
        set_nonblocking(round_now.pipes[i][0], true);
        set_nonblocking(round_now.pipes[i][1], true);
    }
    round_now.one_thread = test_threads() == 1;
    atomic_store(&round_now.threads_finish, false);
    atomic_store(&round_now.callbacks_submit, true);
    atomic_store(&round_now.deinitialising, false);
    round_now.loop = new_loop();
}

static void close_round(void)
{
    close(round_now.file);
    for (size_t i = 0; i < PIPES; i++) {
        close_both(round_now.pipes[i]);
    }
}

static void finish_threads(const pthread_t *threads)
{
    atomic_store(&round_now.threads_finish, true);
    for (size_t i = 0; i < OUTSIDE_THREADS; i++) {
        join_thread(threads[i]);
    }
}

/* Ends the loop in full flight: the threads go on until it is gone. */
static void end_in_flight(const pthread_t *threads)
{
    atomic_store(&round_now.deinitialising, true);
    end_loop(round_now.loop);
    finish_threads(threads);
    for (slot_t *slot = slots; slot < slots + SLOTS; slot++) {
        if (atomic_load(&slot->state) == IN_FLIGHT) {
            CHECK_SLOT(slot, slot->harvested); /* nobody fetched it, but it has its result */
            note_completion(slot);
        }
    }
}

/* Cancels what is left and runs the loop until all is quiet. */
static void end_at_rest(const pthread_t *threads)
{
    finish_threads(threads);
    atomic_store(&round_now.callbacks_submit, false); /* or there would be no end */
    for (slot_t *slot = slots; slot < slots + SLOTS; slot++) {
        if (atomic_load(&slot->state) == IN_FLIGHT) {
            cancel(slot);
        }
    }
    /* Not loop_run: a shot that nobody fetches keeps its request pending. */
    while (harvest(-1) > 0 || loop_pending(round_now.loop) > 0) {
    }
    assert_result(loop_pending(round_now.loop), 0);
    for (slot_t *slot = slots; slot < slots + SLOTS; slot++) {
        CHECK_SLOT(slot, atomic_load(&slot->state) == IDLE);
    }
    end_loop(round_now.loop);
}

static void run_round(uint64_t *chance)
{
    pthread_t threads[OUTSIDE_THREADS];
    uint64_t  chances[OUTSIDE_THREADS];
    open_round();
    for (size_t i = 0; i < OUTSIDE_THREADS; i++) {
        chances[i] = chance_of(random_below(chance, UINT32_MAX));
        threads[i] = start_thread(run_outside_thread, &chances[i]);
    }
    for (uint64_t end = loop_now(NULL) + ROUND_NS; loop_now(NULL) < end;) {
        drive_loop(chance);
    }
    if (one_in(chance, 2)) {
        end_in_flight(threads);
    } else {
        end_at_rest(threads);
    }
    close_round();
    assert_int_equal(counts.submitted, counts.completed + counts.withdrawn);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    char       *end = NULL;
    if (text == NULL) {
        return otherwise;
    }
    uint64_t number = strtoull(text, &end, 10);
    CHECK(*text != '\0' && *end == '\0');
    return number;
}

TEST(every_request_completes_exactly_once_under_stress)
{
    uint64_t seconds = from_environment("LOOP_STRESS_SECONDS", 3);
    uint64_t rounds = 0;
    seed = from_environment("LOOP_STRESS_SEED", loop_now(NULL));
    alarm((unsigned)seconds + HANG_SECONDS);
    print_message("LOOP_STRESS_SEED=%llu\n", (unsigned long long)seed);
    for (slot_t *slot = slots; slot < slots + SLOTS; slot++) {
        CHECK(pthread_mutex_init(&slot->lock, NULL) == 0);
    }
    uint64_t chance = chance_of(0);
    for (uint64_t end = loop_now(NULL) + seconds * SECOND; rounds == 0 || loop_now(NULL) < end; rounds++) {
        run_round(&chance);
    }
    print_message("%llu rounds: %lu submitted, %lu completed, %lu withdrawn; %lu shots, %lu cancels, "
                  "%lu modifications\n",
                  (unsigned long long)rounds, counts.submitted, counts.completed, counts.withdrawn,
                  counts.shots, counts.cancels, counts.modifications);
    assert_true(counts.completed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(every_request_completes_exactly_once_under_stress),
    };
    return RUN_SUITE(tests);
}
