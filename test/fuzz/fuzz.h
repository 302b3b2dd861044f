/*
 * What the parts of the fuzz harness share: the instructions that an input consists of, and the ledger of
 * loops, requests, pools and descriptors against which every answer of the library is checked.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_FUZZ_H
#define LOOP_FUZZ_H

#define _GNU_SOURCE 1

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "loop.h"

/* Ends the process, which is what a fuzzer looks for. */
#define MUST(condition) ((condition) ? (void)0 : must_failed(#condition, __FILE__, __LINE__))
_Noreturn void must_failed(const char *condition, const char *file, int line);

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- inputs ---------------------------------------------------------------------------------- */

/*
 * An input is a sequence of these. Any byte means something everywhere: numbers are taken modulo what there
 * is to choose from.
 */
typedef struct instruction {
    uint8_t operation;
    uint8_t loop;     /* low 3 bits: slot 0 to 4, NULL, one that has ended, slot 0 */
    uint8_t request;  /* low 4 bits: entry 0 to 11, NULL, misaligned, garbage, entry 0; above: timeout_ns */
    uint8_t fd;       /* low 4 bits: slot 0 to 11, -1, closed, INT_MAX, INT_MIN; above: a second slot */
    uint8_t callback; /* low 3 bits: what it does; above: the entry that it does it to */
    uint8_t a;        /* operands, as each operation likes */
    uint8_t b;
    uint8_t c;
} instruction_t;

/* The most instructions of an input that are executed. */
enum { INSTRUCTIONS = 96 };

/* The names of the operations; the last is followed by NULL. */
const char *operation_name(unsigned number);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- loops ----------------------------------------------------------------------------------- */

enum { LOOPS = 3, ENTRIES = 12, DESCRIPTORS = 12, POOLS = 3, BUFFER_SIZE = 256, STRANDS = 2 };

typedef struct strand {
    loop_strand_t strand;
    atomic_uint   inside; /* callbacks that run in it now */
} strand_t;

typedef struct slot {
    loop_t    *loop; /* NULL = none */
    uint32_t   threads;
    bool       bound;
    bool       closing;
    unsigned   references;
    unsigned   posted; /* posts that were accepted */
    atomic_uint called; /* and those that were called */
    atomic_uint inside; /* callbacks that run now */
    strand_t   strands[STRANDS];
    pthread_t  runner; /* the thread that runs the loop in the background */
    atomic_bool runs;  /* there is one */
    atomic_bool returned;
    atomic_bool run_here; /* the thread that executes the input is inside the loop */
} slot_t;

extern slot_t  slots[LOOPS];
extern loop_t *ended_loop; /* whose memory serves no other loop; or NULL */

/* The slot that has a loop; NULL if it is in none. */
slot_t *slot_of(const loop_t *loop);

void open_loop(slot_t *slot, uint8_t how, uint8_t threads, uint8_t backend);
void run_in_background(slot_t *slot);
void join_runner(slot_t *slot);

/* Ends the pools of a loop, then the loop, and checks that nothing that it accepted was forgotten. */
void close_loop(slot_t *slot);

/* Runs a turn, and settles what was harvested. */
void run_turn(slot_t *slot, int64_t timeout_ns);
void harvest(slot_t *slot, uint32_t capacity, int64_t timeout_ns);

/* ---- descriptors ----------------------------------------------------------------------------- */

/*
 * Descriptors have fixed, high numbers, so that one that is closed stays so until an instruction makes it
 * anew: no number that the library or the system takes is ever hit by mistake.
 */
typedef struct descriptor {
    bool     open;
    bool     closing;     /* loop_close has it: nothing more is submitted on it */
    bool     nonblocking;
    bool     socket;
    unsigned incarnation;
    unsigned uses[LOOPS]; /* flights in each loop */
    unsigned lent;        /* flights that have it as the second descriptor */
} descriptor_t;

/* A flight's use of a descriptor; number < 0 = none. */
typedef struct use {
    int      number;
    unsigned incarnation;
    bool     second;
} use_t;

extern descriptor_t descriptors[DESCRIPTORS];

enum { NO_DESCRIPTOR = 790 }; /* a number that is never open */

int  number_of(unsigned descriptor);
void make_descriptors(unsigned first, uint8_t kind, uint8_t how);
void close_descriptor(unsigned descriptor);
void close_all_descriptors(void);
void move_bytes(unsigned descriptor, bool write, uint8_t count);

/* Where listeners are; the result is the length of the address. */
socklen_t address_of(uint8_t choice, struct sockaddr_storage *address);

unsigned open_descriptors(void); /* of the process */

/* ---- requests -------------------------------------------------------------------------------- */

typedef struct pool {
    loop_buffers_t *buffers; /* NULL = none */
    slot_t         *slot;
    uint32_t        size;
} pool_t;

extern pool_t pools[POOLS];

/* Makes a pool; the sizes and counts that are refused are among the choices. */
void open_pool(pool_t *pool, slot_t *slot, loop_t *loop, uint8_t size, uint8_t count);

/* A request with all that it may point to. Guarded by the lock; what a flight uses is the loop's. */
typedef struct entry {
    loop_request_t *request;
    unsigned char  *buffer; /* BUFFER_SIZE bytes, all of them SCRIBBLE between flights */

    bool          in_flight;
    slot_t       *slot;
    instruction_t instruction; /* that submitted it */
    loop_callback_t callback;
    unsigned      repeats; /* times that its callback may submit it again */
    uint64_t      length;  /* the largest result that makes sense */
    use_t         uses[2];
    pool_t       *pool;
    strand_t     *strand;
    slot_t       *strand_slot;
    atomic_uint   worked;

    loop_iovec_t            vector[2];
    struct msghdr           message;
    struct sockaddr_storage address;
    loop_socklen_t          address_length;
    struct addrinfo        *list;
    char                    host[64];
    char                    service[32];
    _Alignas(struct cmsghdr) char control[64];
} entry_t;

enum { SCRIBBLE = 0xDD };

extern entry_t         entries[ENTRIES];
extern pthread_mutex_t ledger_lock;

void make_entries(void);
void check_and_free_entries(void);

/* Submits as the instruction says. With the lock held. */
void submit(const instruction_t *instruction, unsigned repeats);

/* Books a completion. With the lock held. */
void settle(entry_t *entry, loop_t *loop, int64_t result);

/* A flight is over: completed, withdrawn or refused. */
void end_flight(entry_t *entry);

/* The callback of all requests that have one. */
void on_completion(loop_t *loop, loop_request_t *request, int64_t result);

/* Whether nothing can complete before the next call that runs the loop. */
bool is_at_rest(const slot_t *slot);

/* The loop and the request that an instruction names. */
loop_t         *named_loop(const instruction_t *instruction);
loop_request_t *named_request(const instruction_t *instruction);
entry_t        *named_entry(const instruction_t *instruction); /* NULL if it is none of ours */

/* ---- submitting operations ------------------------------------------------------------------- */

/* One call of a submitting function. */
typedef struct call {
    const instruction_t *i;
    loop_t              *loop;
    loop_request_t      *request;
    entry_t             *entry; /* whose operands it has */
    slot_t              *slot;  /* of the loop, or NULL */
    loop_callback_t      callback;
    bool                 wrong; /* an argument that the function names is */
} call_t;

typedef int submit_t(call_t *call);

/* The submitting function of an operation; NULL if it is another kind of function. */
submit_t *submitting(unsigned operation);

/* Whether a completion may have LOOP_MORE; whether it is a loop_close. */
bool may_repeat(const instruction_t *instruction);
bool closes(const instruction_t *instruction);

/* What came with a completion is checked, and given back: descriptors, buffers, lists. */
void consume(entry_t *entry, int64_t result, bool more);

/* operations.c has the submitting functions first, this many; abi_fuzz.c the others. */
extern const char *const submitting_names[];
unsigned                 submitting_count(void);

#endif
