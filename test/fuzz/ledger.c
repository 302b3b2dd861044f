/*
 * The ledger of the fuzz harness, requests: each submit, completion and withdrawal is booked here, and
 * checked against what the contract allows. Memory that is the program's again is filled with a pattern,
 * which a late write of the library or the kernel would spoil.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

entry_t         entries[ENTRIES];
pthread_mutex_t ledger_lock = PTHREAD_MUTEX_INITIALIZER;

/* Operands of calls that are refused. */
static entry_t       nobody;
static unsigned char nobodys_buffer[BUFFER_SIZE];

/* A request that was not zeroed. */
static struct {
    _Alignas(loop_request_t) unsigned char bytes[sizeof(loop_request_t)];
} garbage;

enum { GARBAGE = 0xA5 };

void must_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
    abort();
}

static bool consists_of(const void *memory, size_t size, unsigned char byte)
{
    const unsigned char *bytes = memory;
    return size == 0 || (bytes[0] == byte && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* ---- names ----------------------------------------------------------------------------------- */

loop_t *named_loop(const instruction_t *instruction)
{
    switch (instruction->loop & 7) {
    case 5: return NULL;
    case 6: return ended_loop;
    default: return slots[(instruction->loop & 7) % LOOPS].loop;
    }
}

entry_t *named_entry(const instruction_t *instruction)
{
    unsigned number = instruction->request & 15;
    return number < ENTRIES ? &entries[number] : number == 15 ? &entries[0] : NULL;
}

loop_request_t *named_request(const instruction_t *instruction)
{
    entry_t *entry = named_entry(instruction);
    if (entry != NULL) {
        return entry->request;
    }
    switch (instruction->request & 15) {
    case 12: return NULL;
    case 13: return (loop_request_t *)((uintptr_t)entries[0].request + 1 + (instruction->request >> 4) % 7);
    default: return (loop_request_t *)&garbage;
    }
}

/* ---- the memory of requests ------------------------------------------------------------------ */

/* Requests and buffers of earlier inputs, newest first, which nobody may touch any more. */
enum { QUARANTINE = 4 };
static struct {
    loop_request_t *requests[ENTRIES];
    unsigned char  *buffers[ENTRIES];
} quarantine[QUARANTINE];

static void release_oldest(void)
{
    for (size_t i = 0; i < ENTRIES; i++) {
        loop_request_t *request = quarantine[QUARANTINE - 1].requests[i];
        unsigned char  *buffer = quarantine[QUARANTINE - 1].buffers[i];
        MUST(request == NULL || consists_of(request, sizeof *request, SCRIBBLE));
        MUST(buffer == NULL || consists_of(buffer, BUFFER_SIZE, SCRIBBLE));
        free(request);
        free(buffer);
    }
    memmove(&quarantine[1], &quarantine[0], (QUARANTINE - 1) * sizeof quarantine[0]);
}

void make_entries(void)
{
    memset(&garbage, GARBAGE, sizeof garbage);
    nobody.buffer = nobodys_buffer;
    for (size_t i = 0; i < ENTRIES; i++) {
        entry_t *entry = &entries[i];
        memset(entry, 0, sizeof *entry);
        entry->request = calloc(1, sizeof *entry->request);
        entry->buffer = malloc(BUFFER_SIZE);
        MUST(entry->request != NULL && entry->buffer != NULL);
        memset(entry->buffer, SCRIBBLE, BUFFER_SIZE);
        entry->request->user = entry;
    }
}

void check_and_free_entries(void)
{
    MUST(consists_of(&garbage, sizeof garbage, GARBAGE));
    release_oldest();
    for (size_t i = 0; i < ENTRIES; i++) {
        entry_t *entry = &entries[i];
        MUST(!entry->in_flight);
        MUST(consists_of(entry->buffer, BUFFER_SIZE, SCRIBBLE));
        memset(entry->request, SCRIBBLE, sizeof *entry->request);
        quarantine[0].requests[i] = entry->request;
        quarantine[0].buffers[i] = entry->buffer;
    }
}

/* ---- submitting ------------------------------------------------------------------------------ */

/* What the entry of a call is like before the operands are filled in. */
static void begin_flight(call_t *call, unsigned repeats)
{
    entry_t *entry = call->entry;
    entry->instruction = *call->i;
    entry->slot = call->slot;
    entry->callback = call->callback;
    entry->repeats = repeats;
    entry->length = SIZE_MAX;
    entry->uses[0].number = entry->uses[1].number = -1;
    entry->pool = NULL;
    entry->strand = NULL;
    entry->message.msg_control = NULL;
    entry->list = NULL;
}

/* Sets what may be set while a request is not in flight. */
static void prepare_request(call_t *call)
{
    static const uint64_t timeouts_ns[] = {
        0, 0, 0, 0, 0, 0, 1, 1000, 100000, 1000000, UINT64_C(3600000000000), UINT64_MAX,
    };
    entry_t *entry = call->entry;
    MUST(consists_of(entry->buffer, BUFFER_SIZE, SCRIBBLE));
    if (call->slot != NULL && (call->i->loop & 8) != 0) {
        entry->strand = &call->slot->strands[call->i->loop >> 4 & 1];
    }
    MUST(loop_set_strand(entry->request, entry->strand == NULL ? NULL : &entry->strand->strand) == 0);
    entry->request->timeout_ns = timeouts_ns[(call->i->request >> 4) % COUNT(timeouts_ns)];
    entry->in_flight = true;
}

static void check_refusal(const call_t *call, bool fresh, int result)
{
    bool shut = call->slot != NULL && call->slot->closing;
    MUST(result < 0);
    if (call->slot == NULL) {
        MUST(result == LOOP_EINVAL || result == LOOP_ESHUTDOWN);
    } else if (shut && result == LOOP_ESHUTDOWN) {
        return;
    } else if (call->wrong || named_entry(call->i) == NULL) {
        MUST(result == LOOP_EINVAL);
    } else {
        MUST(!fresh && result == LOOP_EBUSY);
    }
}

void submit(const instruction_t *instruction, unsigned repeats)
{
    call_t call = {
        .i = instruction,
        .loop = named_loop(instruction),
        .request = named_request(instruction),
        .slot = slot_of(named_loop(instruction)),
        .callback = (instruction->callback & 7) == 0 ? NULL : on_completion,
    };
    entry_t *entry = named_entry(instruction);
    bool     fresh = entry != NULL && !entry->in_flight;
    if (entry != NULL && !fresh && !is_at_rest(entry->slot)) {
        return; /* it may have completed just now, and be accepted */
    }
    call.entry = fresh ? entry : &nobody;
    begin_flight(&call, repeats);
    if (fresh) {
        prepare_request(&call);
    }
    int result = submitting(instruction->operation)(&call);
    if (result == 0) {
        MUST(fresh && call.slot != NULL);
        MUST(!call.wrong);
        MUST(!call.slot->closing);
        return;
    }
    check_refusal(&call, fresh, result);
    end_flight(call.entry);
}

/* ---- completions ----------------------------------------------------------------------------- */

static void release(const use_t *use, const slot_t *slot)
{
    if (use->number < 0) {
        return;
    }
    descriptor_t *descriptor = &descriptors[use->number];
    if (descriptor->incarnation != use->incarnation) {
        return; /* it was closed meanwhile */
    }
    unsigned *count = use->second ? &descriptor->lent : &descriptor->uses[slot - slots];
    MUST(*count > 0);
    (*count)--;
}

void end_flight(entry_t *entry)
{
    if (closes(&entry->instruction) && entry->uses[0].number >= 0) {
        descriptors[entry->uses[0].number].closing = false;
    }
    release(&entry->uses[0], entry->slot);
    release(&entry->uses[1], entry->slot);
    entry->uses[0].number = entry->uses[1].number = -1;
    entry->in_flight = false;
    if (entry->buffer != nobodys_buffer) {
        memset(entry->buffer, SCRIBBLE, BUFFER_SIZE);
    }
}

static void check_result(const entry_t *entry, int64_t result)
{
    MUST(result == entry->request->result);
    MUST(result >= INT32_MIN);
    MUST(result != LOOP_EINTR && result != LOOP_EAGAIN && result != LOOP_ENOTRECOVERABLE);
    MUST(result >= 0 || strcmp(loop_error_name((int)result), "LOOP_EUNKNOWN") != 0);
    MUST((entry->request->flags & ~(LOOP_MORE | LOOP_BUFFER)) == 0);
    MUST(result != LOOP_ETIMEDOUT || entry->request->timeout_ns != 0);
}

void settle(entry_t *entry, loop_t *loop, int64_t result)
{
    bool more = (entry->request->flags & LOOP_MORE) != 0;
    MUST(entry->in_flight && entry->slot->loop == loop);
    check_result(entry, result);
    MUST(!more || may_repeat(&entry->instruction));
    consume(entry, result, more);
    if (!more) {
        end_flight(entry);
    }
}
