/*
 * The ledger of the fuzz harness, loops: made, run on this thread and on others, and ended; their callbacks,
 * pools of buffers and posts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <string.h>
#include <time.h>

slot_t  slots[LOOPS];
loop_t *ended_loop;
pool_t  pools[POOLS];

slot_t *slot_of(const loop_t *loop)
{
    for (size_t i = 0; loop != NULL && i < LOOPS; i++) {
        if (slots[i].loop == loop) {
            return &slots[i];
        }
    }
    return NULL;
}

/* The loop that this thread is inside of, and runs for the input. */
static _Thread_local const slot_t *inside;

/* With the lock, for callbacks of other loops decide by this what a request is up to. */
static void enter(slot_t *slot)
{
    pthread_mutex_lock(&ledger_lock);
    inside = slot;
    atomic_store(&slot->run_here, true);
    pthread_mutex_unlock(&ledger_lock);
}

/* When what completed in the loop is booked. */
static void leave(slot_t *slot)
{
    atomic_store(&slot->run_here, false);
    inside = NULL;
}

bool is_at_rest(const slot_t *slot)
{
    return !slot->runs && (!atomic_load(&slot->run_here) || (slot->threads == 1 && inside == slot));
}

/* ---- beginning ------------------------------------------------------------------------------- */

static int open_with_options(loop_t **loop, slot_t *slot, uint8_t backend)
{
    static const uint32_t backends[] = {LOOP_BACKEND_EPOLL, LOOP_BACKEND_IO_URING, LOOP_BACKEND_AUTO};
    loop_options_t        options = {.size = sizeof options,
                                     .threads = slot->threads,
                                     .blocking_threads = 2,
                                     .backend = backends[backend % COUNT(backends)],
                                     .flags = slot->bound ? LOOP_THREAD_BOUND : 0};
    return loop_init(loop, &options);
}

/* Options that are refused, each in its own way. */
static int open_wrongly(loop_t **loop, uint8_t how)
{
    static const loop_options_t wrong[] = {
        {.size = 3},
        {.threads = LOOP_THREADS_MAX + 1},
        {.blocking_threads = UINT32_MAX},
        {.backend = 99},
        {.backend = LOOP_BACKEND_IOCP},
        {.flags = 2},
        {.threads = 2, .flags = LOOP_THREAD_BOUND},
    };
    int result = loop_init(loop, &wrong[how % COUNT(wrong)]);
    MUST(result == LOOP_EINVAL || result == LOOP_ENOTSUP);
    MUST(loop_init(NULL, NULL) == LOOP_EINVAL && loop_init_thread_pool(loop, 0) == LOOP_EINVAL);
    return result;
}

void open_loop(slot_t *slot, uint8_t how, uint8_t threads, uint8_t backend)
{
    loop_t *loop = (loop_t *)(void *)slot;
    int     result;
    if (slot->loop != NULL) {
        return;
    }
    memset(slot, 0, sizeof *slot);
    slot->threads = 1;
    switch (how % 16) {
    case 15: result = open_wrongly(&loop, threads); break;
    case 14: result = loop_init_single_threaded(&loop); break;
    case 13: slot->threads = 2, result = loop_init_multi_threaded(&loop); break;
    case 12: slot->threads = 2, result = loop_init_thread_pool(&loop, 2); break;
    case 11: loop = loop_default(), result = loop == NULL ? LOOP_EMFILE : 0; break;
    case 10: slot->bound = true, result = open_with_options(&loop, slot, backend); break;
    default:
        slot->threads = 1 + threads % 3;
        result = open_with_options(&loop, slot, backend);
    }
    MUST((result == 0) == (loop != NULL));
    if (slot_of(loop) != NULL) {
        return; /* the default loop, once more */
    }
    slot->loop = loop;
    if (loop == ended_loop) {
        ended_loop = NULL;
    }
}

void open_pool(pool_t *pool, slot_t *slot, loop_t *loop, uint8_t size, uint8_t count)
{
    static const uint32_t sizes[] = {1, 16, 64, 200, 0, UINT32_C(0x80000000), UINT32_MAX};
    static const uint32_t counts[] = {3, 4, 16, 1, 0, LOOP_BUFFERS_MAX, LOOP_BUFFERS_MAX + 1};
    if (pool->buffers != NULL) {
        return;
    }
    pool->size = sizes[size % COUNT(sizes)];
    pool->slot = slot;
    uint32_t number = counts[count % COUNT(counts)];
    int      result = loop_buffers_init(loop, &pool->buffers, NULL, pool->size, number);
    MUST((result == 0) == (pool->buffers != NULL));
    if (slot == NULL) {
        MUST(result == LOOP_EINVAL || result == LOOP_ESHUTDOWN);
    } else if (pool->size == 0 || pool->size > INT32_MAX || number == 0 || number > LOOP_BUFFERS_MAX) {
        MUST(result == LOOP_EINVAL);
    } else if (number >= 3) {
        MUST(result == 0 || result == LOOP_ENOMEM);
    }
}

/* ---- callbacks ------------------------------------------------------------------------------- */

static void cancel_from_callback(loop_t *loop, entry_t *target)
{
    int result = loop_cancel(loop, target->request);
    bool certain = target->in_flight && target->slot->loop == loop && is_at_rest(target->slot);
    MUST(result == 0 || result == LOOP_ENOENT || result == LOOP_ESHUTDOWN);
    MUST(!certain || result != LOOP_ENOENT);
}

/* The loop that calls back can be neither run nor ended. */
static void run_from_callback(loop_t *loop)
{
    loop_request_t *done;
    int             results[] = {loop_run(loop), loop_run_once(loop, 0), loop_wait(loop, &done, 1, 0),
                                 loop_deinit(loop)};
    for (size_t i = 0; i < COUNT(results); i++) {
        MUST(results[i] == LOOP_EBUSY || results[i] == LOOP_ESHUTDOWN);
    }
}

/* What the callback of an instruction does, beside being booked. With the lock held. */
static void act(const instruction_t *instruction, slot_t *slot, loop_t *loop, bool more, unsigned repeats)
{
    unsigned other = (instruction->callback >> 3) % ENTRIES;
    switch (instruction->callback & 7) {
    case 3:
        if (!more && repeats > 0) {
            submit(instruction, repeats - 1);
        }
        break;
    case 4: cancel_from_callback(loop, &entries[other]); break;
    case 5: MUST(loop_stop(loop) == 0 || slot->closing); break;
    case 6: run_from_callback(loop); break;
    case 7:
        if (repeats > 0) {
            submit(&(instruction_t){0, (uint8_t)(slot - slots), (uint8_t)other, 0, 1, 0, 0, 0}, 0);
        }
        break;
    default: break;
    }
}

void on_completion(loop_t *loop, loop_request_t *request, int64_t result)
{
    entry_t      *entry = request->user;
    slot_t       *slot = entry->slot;
    strand_t     *strand = entry->strand;
    instruction_t instruction = entry->instruction;
    unsigned      repeats = entry->repeats;
    bool          more = (request->flags & LOOP_MORE) != 0;
    MUST(atomic_fetch_add(&slot->inside, 1) == 0 || slot->threads > 1);
    MUST(strand == NULL || atomic_fetch_add(&strand->inside, 1) == 0);
    pthread_mutex_lock(&ledger_lock);
    settle(entry, loop, result);
    act(&instruction, slot, loop, more, repeats);
    pthread_mutex_unlock(&ledger_lock);
    if (strand != NULL) {
        atomic_fetch_sub(&strand->inside, 1);
    }
    atomic_fetch_sub(&slot->inside, 1);
}

/* ---- running --------------------------------------------------------------------------------- */

static void *run_loop(void *argument)
{
    slot_t *slot = argument;
    int     result = loop_run(slot->loop);
    MUST(result == 0 || result == LOOP_EBUSY);
    atomic_store(&slot->returned, true);
    return NULL;
}

void run_in_background(slot_t *slot)
{
    if (slot->loop == NULL || slot->bound || slot->runs) {
        return;
    }
    atomic_store(&slot->returned, false);
    atomic_store(&slot->runs, true); /* before it does */
    MUST(pthread_create(&slot->runner, NULL, run_loop, slot) == 0);
}

void join_runner(slot_t *slot)
{
    if (!slot->runs) {
        return;
    }
    while (!atomic_load(&slot->returned)) {
        MUST(loop_stop(slot->loop) == 0);
        nanosleep(&(struct timespec){.tv_nsec = 10000}, NULL);
    }
    MUST(pthread_join(slot->runner, NULL) == 0);
    slot->runs = false;
}

void run_turn(slot_t *slot, int64_t timeout_ns)
{
    enter(slot);
    int result = loop_run_once(slot->loop, timeout_ns);
    leave(slot);
    MUST(result >= 0 || (slot->runs && result == LOOP_EBUSY));
}

void harvest(slot_t *slot, uint32_t capacity, int64_t timeout_ns)
{
    loop_request_t *done[ENTRIES];
    MUST(capacity <= COUNT(done));
    enter(slot);
    int count = loop_wait(slot->loop, done, capacity, timeout_ns);
    MUST((count >= 0 && (uint32_t)count <= capacity) || (slot->runs && count == LOOP_EBUSY));
    pthread_mutex_lock(&ledger_lock);
    for (int i = 0; i < count; i++) {
        entry_t *entry = done[i]->user;
        MUST(entry->callback == NULL);
        settle(entry, slot->loop, done[i]->result);
    }
    leave(slot);
    pthread_mutex_unlock(&ledger_lock);
}

/* ---- ending ---------------------------------------------------------------------------------- */

/* Asks the receives that use a pool to end; the value is their number. */
static unsigned cancel_receives(const pool_t *pool)
{
    unsigned count = 0;
    pthread_mutex_lock(&ledger_lock);
    for (size_t i = 0; i < ENTRIES; i++) {
        if (entries[i].in_flight && entries[i].pool == pool) {
            MUST(loop_cancel(pool->slot->loop, entries[i].request) == 0);
            count++;
        }
    }
    pthread_mutex_unlock(&ledger_lock);
    return count;
}

/* A pool must be ended before its loop, and without receives. */
static void end_pools(slot_t *slot)
{
    enum { patience = 20000 };
    for (size_t i = 0; i < POOLS; i++) {
        if (pools[i].buffers == NULL || pools[i].slot != slot) {
            continue;
        }
        for (unsigned turns = 0; cancel_receives(&pools[i]) > 0; turns++) {
            MUST(loop_buffers_deinit(pools[i].buffers) == LOOP_EBUSY);
            MUST(turns < patience);
            harvest(slot, ENTRIES, 1000000);
        }
        MUST(loop_buffers_deinit(pools[i].buffers) == 0);
        pools[i].buffers = NULL;
    }
}

void close_loop(slot_t *slot)
{
    if (slot->loop == NULL) {
        return;
    }
    join_runner(slot);
    end_pools(slot);
    slot->closing = true;
    enter(slot);
    MUST(loop_deinit(slot->loop) == 0);
    pthread_mutex_lock(&ledger_lock);
    for (size_t i = 0; i < ENTRIES; i++) {
        if (entries[i].in_flight && entries[i].slot == slot) {
            MUST(entries[i].callback == NULL); /* or a completion was lost */
            entries[i].request->flags &= ~LOOP_MORE;
            settle(&entries[i], slot->loop, entries[i].request->result);
        }
    }
    leave(slot);
    pthread_mutex_unlock(&ledger_lock);
    MUST(atomic_load(&slot->called) == slot->posted);
    MUST(loop_deinit(slot->loop) == LOOP_ESHUTDOWN);
    ended_loop = slot->loop;
    slot->loop = NULL;
}
