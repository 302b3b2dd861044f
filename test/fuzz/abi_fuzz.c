/*
 * A fuzz target over the whole C API: an input is a sequence of calls on up to three loops of one to three
 * threads, made and ended at any time, with both backends; on requests of an arena, good and bad; on
 * descriptors of every kind. Every answer is checked, and at the end that each request that was accepted has
 * completed exactly once, that each post was called, that memory which was given back was not written to
 * again, and that no descriptor is left.
 *
 * Built for libFuzzer by run.sh, and as a program that replays inputs with replay.c, whose header says how
 * they are written. FUZZ_TRACE=1 in the environment prints each instruction before it is executed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool tracing;

/*
 * Asked by the leak checker, which looks after each input. Go's runtime gives a thread that it starts a block
 * which the thread frees; while the thread has not begun, nothing that the checker looks at points there.
 */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:x_cgo_thread_start\n";
}

/* ---- speaking to requests in flight ---------------------------------------------------------- */

/* Whether a request is certainly in flight in a loop, certainly not, or neither. */
typedef enum presence { ABSENT, PRESENT, UNSURE } presence_t;

static presence_t presence(const entry_t *entry, const loop_t *loop)
{
    if (entry->in_flight && !is_at_rest(entry->slot)) {
        return UNSURE;
    }
    return entry->in_flight && entry->slot->loop == loop ? PRESENT : ABSENT;
}

/* Checks the answer of a function that speaks to a request, which it refuses for what the request does or is
 * asked to do; returns false if it was a refusal. */
static bool check_answer(const instruction_t *i, int result, bool invalid)
{
    const loop_t  *loop = named_loop(i);
    const entry_t *entry = named_entry(i);
    MUST(result == 0 || result == LOOP_ENOENT || result == LOOP_EINVAL || result == LOOP_ESHUTDOWN);
    if (slot_of(loop) == NULL) {
        MUST(result == LOOP_ESHUTDOWN || result == LOOP_EINVAL);
    } else if (entry == NULL) {
        MUST(result == LOOP_EINVAL);
    } else if (presence(entry, loop) == ABSENT) {
        MUST(result == LOOP_ENOENT);
    } else if (presence(entry, loop) == PRESENT) {
        MUST(result == (invalid ? LOOP_EINVAL : 0));
    }
    return result == 0;
}

static void cancel(const instruction_t *i)
{
    check_answer(i, loop_cancel(named_loop(i), named_request(i)), false);
}

static bool is_no_watch(const instruction_t *i)
{
    const entry_t *entry = named_entry(i);
    return entry == NULL || strcmp(operation_name(entry->instruction.operation), "loop_add_fd") != 0;
}

static void remove_watch(const instruction_t *i)
{
    check_answer(i, loop_remove_fd(named_loop(i), named_request(i)), is_no_watch(i));
}

static void modify_watch(const instruction_t *i)
{
    static const uint32_t known = LOOP_READABLE | LOOP_WRITABLE | LOOP_EDGE_TRIGGERED;
    uint32_t              events = i->a > 250 ? UINT32_MAX : i->a % 32;
    check_answer(i, loop_mod_fd(named_loop(i), named_request(i), events),
                 is_no_watch(i) || (events & ~known) != 0);
}

static void cancel_tick(const instruction_t *i)
{
    int      result = loop_cancel_on_next_tick(named_loop(i), named_request(i));
    entry_t *entry = named_entry(i);
    if (result == LOOP_ENOENT && slot_of(named_loop(i)) != NULL && entry != NULL) {
        return;
    }
    if (check_answer(i, result, false)) {
        MUST(entry->instruction.operation == 0);
        end_flight(entry);
    }
}

static void set_strand(const instruction_t *i)
{
    entry_t *entry = named_entry(i);
    if (entry == NULL) {
        if ((i->request & 15) != 14) {
            MUST(loop_set_strand(named_request(i), NULL) == LOOP_EINVAL);
        }
    } else if (entry->in_flight && is_at_rest(entry->slot)) {
        MUST(loop_set_strand(entry->request, NULL) == LOOP_EBUSY);
    } else if (!entry->in_flight) {
        loop_strand_t *odd = (loop_strand_t *)((uintptr_t)&slots[0].strands[0] + 1);
        MUST(loop_set_strand(entry->request, odd) == LOOP_EINVAL);
    }
}

/* ---- loops ----------------------------------------------------------------------------------- */

static const int64_t waits_ns[] = {0, 0, 0, 1, 1000, 100000, 1000000, INT64_MAX, -1, INT64_MIN};

/* A wait. One without a limit, or with a long one, is ended before it begins. */
static int64_t wait_of(slot_t *slot, uint8_t choice)
{
    int64_t wait_ns = waits_ns[choice % COUNT(waits_ns)];
    if (wait_ns < 0 || wait_ns == INT64_MAX) {
        MUST(loop_stop(slot->loop) == 0);
        wait_ns = slot->runs ? 0 : wait_ns; /* the other thread may be the one that stops */
    }
    return wait_ns;
}

static void init(const instruction_t *i)
{
    open_loop(&slots[i->loop % LOOPS], i->a, i->b, i->c);
}

static void deinit(const instruction_t *i)
{
    slot_t *slot = slot_of(named_loop(i));
    if (slot == NULL) {
        int result = loop_deinit(named_loop(i));
        MUST(result == LOOP_EINVAL || result == LOOP_ESHUTDOWN);
    } else {
        close_loop(slot);
    }
}

static void run_once(const instruction_t *i)
{
    slot_t *slot = slot_of(named_loop(i));
    if (slot == NULL) {
        MUST(loop_run_once(named_loop(i), 0) < 0 && loop_run(named_loop(i)) < 0);
    } else {
        run_turn(slot, wait_of(slot, i->a));
    }
}

/* Several turns, as most operations need them. */
static void run_some(const instruction_t *i)
{
    slot_t *slot = slot_of(named_loop(i));
    for (unsigned turns = 0; slot != NULL && turns < 1U + i->a % 8; turns++) {
        run_turn(slot, i->b % 2 == 0 ? 0 : 100000);
        harvest(slot, ENTRIES, 0);
    }
}

static void wait_for(const instruction_t *i)
{
    slot_t         *slot = slot_of(named_loop(i));
    loop_request_t *done;
    if (slot == NULL) {
        MUST(loop_wait(named_loop(i), &done, 1, 0) < 0);
    } else if (i->b > 250) {
        MUST(loop_wait(slot->loop, NULL, 1, 0) == LOOP_EINVAL);
        MUST(loop_wait(slot->loop, &done, 0, 0) == LOOP_EINVAL);
    } else {
        harvest(slot, 1 + i->b % ENTRIES, wait_of(slot, i->a));
    }
}

static void run_on_thread(const instruction_t *i)
{
    slot_t *slot = slot_of(named_loop(i));
    if (slot != NULL) {
        run_in_background(slot);
    }
}

static void join(const instruction_t *i)
{
    slot_t *slot = slot_of(named_loop(i));
    if (slot != NULL) {
        join_runner(slot);
    }
}

static void stop(const instruction_t *i)
{
    MUST((loop_stop(named_loop(i)) == 0) == (slot_of(named_loop(i)) != NULL));
}

static void hold_reference(const instruction_t *i)
{
    slot_t *slot = slot_of(named_loop(i));
    int     result = loop_ref(named_loop(i));
    MUST((result == 0) == (slot != NULL));
    if (slot != NULL) {
        slot->references++;
    }
}

static void drop_reference(const instruction_t *i)
{
    slot_t *slot = slot_of(named_loop(i));
    int     result = loop_unref(named_loop(i));
    MUST((result == 0) == (slot != NULL && slot->references > 0));
    if (result == 0) {
        slot->references--;
    }
}

/* Everything that only asks. */
static void ask(const instruction_t *i)
{
    union {
        loop_statistics_t statistics;
        char              room[256];
    } answer = {.statistics.size = i->a};
    loop_t  *loop = named_loop(i);
    slot_t  *slot = slot_of(loop);
    int64_t  pending = loop_pending(loop);
    int      error = loop_get_statistics(loop, &answer.statistics);
    unsigned in_flight = 0;
    for (size_t e = 0; e < ENTRIES; e++) {
        in_flight += entries[e].in_flight && entries[e].slot == slot;
    }
    MUST((pending >= 0) == (slot != NULL) && (loop_backend_name(loop) != NULL) == (slot != NULL));
    MUST(slot == NULL || !is_at_rest(slot) || pending <= (int64_t)(in_flight + slot->references + 1));
    MUST((error == 0) == (slot != NULL && i->a >= 16));
    for (size_t byte = i->a; byte < sizeof answer; byte++) {
        MUST(answer.room[byte] == 0 || byte < sizeof answer.statistics.size);
    }
    MUST(loop_now(loop) > 0 && loop_version() != NULL);
    MUST(loop_error_name((int)(i->b * 0x01010101U)) != NULL && loop_error_message(-(int)i->c) != NULL);
    loop_ignore(loop, named_request(i), 0);
}

static void embed(const instruction_t *i)
{
    slot_t *slot = slot_of(named_loop(i));
    int     fd = loop_backend_fd(named_loop(i));
    MUST((fd >= 0) == (slot != NULL && slot->threads == 1));
    if (slot == NULL || !slot->runs) {
        MUST((loop_backend_timeout(named_loop(i)) >= -1) == (slot != NULL && slot->threads == 1));
    }
}

static void receive_post(loop_t *loop, void *user)
{
    slot_t *slot = user;
    MUST(slot->loop == loop);
    atomic_fetch_add(&slot->called, 1);
}

static void post(const instruction_t *i)
{
    slot_t  *slot = slot_of(named_loop(i));
    unsigned count = i->a > 250 ? LOOP_POSTS_MAX + 10 : 1U + i->a % 4;
    MUST(loop_post(named_loop(i), NULL, NULL) < 0);
    while (count-- > 0) {
        int result = loop_post(named_loop(i), receive_post, slot);
        MUST((result == 0 || result == LOOP_ENOBUFS) == (slot != NULL));
        if (result == 0) {
            slot->posted++;
        }
    }
}

/* ---- pools and descriptors ------------------------------------------------------------------- */

static void make_pool(const instruction_t *i)
{
    open_pool(&pools[i->a % POOLS], slot_of(named_loop(i)), named_loop(i), i->b, i->c);
}

static void end_pool(const instruction_t *i)
{
    pool_t *pool = &pools[i->a % POOLS];
    bool    in_use = false, sure = true;
    for (size_t e = 0; e < ENTRIES; e++) {
        in_use = in_use || (entries[e].in_flight && entries[e].pool == pool);
    }
    if (pool->buffers != NULL) {
        sure = is_at_rest(pool->slot);
    }
    int result = loop_buffers_deinit(pool->buffers);
    if (pool->buffers == NULL) {
        MUST(result == LOOP_EINVAL);
    } else {
        MUST(result == 0 || result == LOOP_EBUSY);
        MUST(!sure || (result == LOOP_EBUSY) == in_use);
        pool->buffers = result == 0 ? NULL : pool->buffers;
    }
}

static void return_buffer(const instruction_t *i)
{
    pool_t *pool = &pools[i->a % POOLS];
    MUST(loop_buffer_return(pool->buffers, entries[0].buffer) == LOOP_EINVAL);
    MUST(loop_buffer_return(pool->buffers, NULL) == LOOP_EINVAL);
    MUST(loop_buffer_return(NULL, entries[0].buffer) == LOOP_EINVAL);
}

static void make_fds(const instruction_t *i)
{
    make_descriptors(i->fd & 15, i->a, i->b);
}

static void close_fd(const instruction_t *i)
{
    close_descriptor(i->fd & 15);
}

static void put(const instruction_t *i)
{
    move_bytes(i->fd & 15, true, i->a);
}

static void take(const instruction_t *i)
{
    move_bytes(i->fd & 15, false, i->a);
}

/* ---- executing an input ---------------------------------------------------------------------- */

typedef struct operation {
    const char *name;
    void (*execute)(const instruction_t *instruction);
    bool locked; /* with the lock held: it speaks of requests or descriptors */
} operation_t;

/* Those beside the submitting ones. Names without `loop_` are the harness's own. */
static const operation_t operations[] = {
    {"loop_init", init, false},
    {"make", make_fds, true},
    {"run", run_some, false},
    {"loop_cancel", cancel, true},
    {"loop_cancel_on_next_tick", cancel_tick, true},
    {"loop_mod_fd", modify_watch, true},
    {"loop_remove_fd", remove_watch, true},
    {"loop_set_strand", set_strand, true},
    {"loop_deinit", deinit, false},
    {"loop_run_once", run_once, false},
    {"loop_wait", wait_for, false},
    {"loop_run", run_on_thread, false},
    {"join", join, false},
    {"loop_stop", stop, false},
    {"loop_ref", hold_reference, false},
    {"loop_unref", drop_reference, false},
    {"loop_pending", ask, true},
    {"loop_backend_fd", embed, false},
    {"loop_post", post, false},
    {"loop_buffers_init", make_pool, true},
    {"loop_buffers_deinit", end_pool, true},
    {"loop_buffer_return", return_buffer, true},
    {"close", close_fd, true},
    {"put", put, true},
    {"take", take, true},
};

const char *operation_name(unsigned number)
{
    unsigned submits = submitting_count();
    if (number < submits) {
        return submitting_names[number];
    }
    return number - submits < COUNT(operations) ? operations[number - submits].name : NULL;
}

static void execute(instruction_t i)
{
    i.operation = (uint8_t)(i.operation % (submitting_count() + COUNT(operations)));
    if (tracing) {
        fprintf(stderr, "%s %u %u %u %u %u %u %u\n", operation_name(i.operation), i.loop, i.request, i.fd,
                i.callback, i.a, i.b, i.c);
    }
    bool               submits = i.operation < submitting_count();
    const operation_t *operation = submits ? NULL : &operations[i.operation - submitting_count()];
    bool               locked = submits || operation->locked;
    if (locked) {
        pthread_mutex_lock(&ledger_lock);
    }
    if (submits) {
        enum { repeats = 3 };
        submit(&i, repeats);
    } else {
        operation->execute(&i);
    }
    if (locked) {
        pthread_mutex_unlock(&ledger_lock);
    }
}

/* The runtime of Go may open an epoll instance and an eventfd, once in the life of a process. */
static void check_descriptors(void)
{
    static unsigned before, granted = 2;
    unsigned        now = open_descriptors();
    if (before == 0) {
        before = now;
    }
    unsigned more = now > before ? now - before : 0;
    MUST(more == 0 || (more == granted));
    if (more > 0) {
        granted = 0;
        before = now;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!tracing) {
        tracing = getenv("FUZZ_TRACE") != NULL;
        signal(SIGPIPE, SIG_IGN);
    }
    make_entries();
    for (size_t at = 0; at + sizeof(instruction_t) <= size && at < INSTRUCTIONS * sizeof(instruction_t);
         at += sizeof(instruction_t)) {
        instruction_t instruction;
        memcpy(&instruction, data + at, sizeof instruction);
        execute(instruction);
    }
    for (size_t i = 0; i < LOOPS; i++) {
        close_loop(&slots[(i + size) % LOOPS]);
    }
    close_all_descriptors();
    check_and_free_entries();
    check_descriptors();
    return 0;
}
