/*
 * The memory that C and the engine share, as C sees it: requests, mailboxes, loops.
 *
 * Package loop/request has the same structs in Go, and explains them; layout.go makes the build fail when the
 * two differ. Go includes this file too, so it holds declarations only.
 */
#ifndef CAPI_LAYOUT_H
#define CAPI_LAYOUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

enum op {
    OP_TICK = 1,
    OP_TIMER,
    OP_WORK,
    OP_WAIT,
    OP_WATCH,
    OP_OPEN,
    OP_CLOSE,
    OP_READ,
    OP_WRITE,
    OP_ACCESS,
    OP_ACCEPT,
    OP_CONNECT,
    OP_RECEIVE,
    OP_SEND,
    OP_SHUTDOWN,
    OP_SENDFILE,
    OP_SPLICE,
    OP_CANCEL_FD,
    OP_NAME
};

#define CURRENT_POSITION INT64_C(-1)

/* A mark of the engine in struct request.marks. */
enum { MARK_RELEASED = 1 << 8 };

/* struct msghdr of the kernel, in which a receive or send with an address finds its operands. */
struct message {
    uintptr_t name;
    uint32_t  name_length;
    uint32_t  pad1;
    uintptr_t vectors;
    uint64_t  vector_count;
    uintptr_t control;
    uint64_t  control_length;
    uint32_t  flags;
    uint32_t  pad2;
};

/* A struct loop_request from the inside. */
struct request {
    void              *user;
    int64_t            result;
    uint64_t           timeout_ns;
    uint32_t           flags;
    uint32_t           owner; /* struct loop.id, for identity checks */
    _Atomic uint64_t   state; /* state.h */
    struct request    *next;
    loop_callback_t    callback;
    uint8_t            op;
    bool               vector; /* address and length are an iovec array and its count */
    bool               queued; /* the pool's */
    uint8_t            in_strand; /* strand is set; here because it is in a cache line that all need. No bool:
                                     it is read before a request that was not zeroed is refused */
    uint32_t           marks; /* the engine's; 0 when free */
    struct request    *prev;
    int64_t            fd;
    uintptr_t          address; /* address and length form a struct iovec */
    uint64_t           length;
    int64_t            offset;
    uint64_t           deadline_ns;
    struct request    *timer_next;
    struct request    *timer_prev;
    struct request    *control_next;
    _Atomic uint32_t   new_events;
    uint32_t           mode;
    uint32_t           generation;
    uint32_t           events;
    uint64_t           timeout_at_ns;
    struct strand     *strand; /* of loop_set_strand, kept between flights */
    uint64_t           moved; /* bytes that a transfer of several steps has moved */
    uintptr_t          message; /* the program's struct msghdr, or own_message, or 0 */
    struct loop_buffers *pool;
    uint64_t           held; /* the engine's: filled buffers that were not shown yet */
    struct message     own_message;
};

/* One buffer of a pool. Links are numbers of buffers, from 1 on; 0 = none. */
struct buffer {
    uint32_t         next;
    uint32_t         length; /* bytes received */
    _Atomic uint32_t out;    /* with the program */
};

/* What one loop thread has of a pool: the buffers whose number modulo the threads is its own. */
struct share {
    _Atomic uint32_t returned; /* given back, newest first; any thread pushes */
    uint32_t         free;     /* the engine's */
    char             pad[56];
};

/* A pool of buffers; loop/request/bufferpool.go. */
struct loop_buffers {
    loop_t          *loop;
    uintptr_t        memory;
    struct buffer   *buffers;
    uint32_t         buffer_size;
    uint32_t         buffer_count;
    uint32_t         threads;
    uint32_t         slot;   /* in struct loop.pools */
    uint32_t         number; /* of this pool, for ever */
    _Atomic uint32_t users;  /* receives in flight */
    uintptr_t        own_memory; /* to be freed with the pool, or 0 */
    _Alignas(64) struct share shares[];
};

#define RING_SIZE 256

struct ring {
    _Atomic uint32_t          head;
    char                      pad1[60];
    _Atomic uint32_t          tail;
    uint32_t                  pad2;
    struct request *_Atomic   resumed;
    _Atomic uint64_t          lease;
    char                      pad3[40];
    struct request *_Atomic   slots[RING_SIZE];
};

/* A struct loop_strand from the inside; strand.c. */
struct strand {
    _Atomic uint64_t            word;
    _Atomic uint64_t *_Atomic   lender; /* whose lease the word is */
    struct request             *oldest; /* of those that the holder took from the word */
    uint64_t                    pad[5];
};

enum { STRAND_FREE = 0, STRAND_HELD = 1, STRAND_LENT = 2, STRAND_JOINED = 3, STRAND_KIND = 3 };

/* How requests reach one loop thread. */
struct mailbox {
    struct request *_Atomic inbox;
    struct request *_Atomic control;
    _Atomic uint64_t        foreign_accepted;
    _Atomic uint32_t        sleeping;
    int32_t                 wake_fd;
    _Atomic uint64_t        wakes;
    _Atomic uint32_t        busy;
    _Atomic uint32_t        wakers;
    char                    pad1[16];

    /* Owner: the loop thread. */
    struct request  *local_head;
    struct request  *local_tail;
    _Atomic uint64_t local_accepted;
    _Atomic uint64_t delivered;
    _Atomic uint64_t completions;
    struct request  *ready_head;
    struct request  *ready_tail;
    char             pad2[8];

    struct ring ring;
};

enum lifecycle { LIFECYCLE_CLOSED, LIFECYCLE_OPENED, LIFECYCLE_CLOSING, LIFECYCLE_BROKEN };

struct shared {
    _Atomic uint32_t        stop;
    _Atomic uint32_t        lifecycle;
    _Atomic uint64_t        referenced;
    _Atomic uint64_t        dereferenced;
    _Atomic uint64_t        withdrawn;
    struct request *_Atomic harvest;
    uint32_t                threads;
    _Atomic uint32_t        embedded;
    _Atomic uint32_t        running;
};

enum { POOLS = 64 };

struct posts;

struct loop {
    struct shared    shared;
    void            *engine; /* mattn/go-pointer's stand-in for the Go engine */
    uint32_t         id;        /* of this memory, for ever */
    bool             uses_ring; /* io_uring; otherwise epoll */
    bool             bound;     /* LOOP_THREAD_BOUND */
    _Atomic uintptr_t runner;   /* of a bound loop: its thread, by the address of capi_here */
    _Atomic uint64_t entries;
    /* Owner: who runs the loop. */
    struct request  *harvested_head; /* taken from shared.harvest, oldest first */
    struct request  *shown_head;     /* shots that loop_wait returned: left alone until the next call */
    struct loop     *next_free;
    uint32_t         capacity; /* mailboxes there is memory for */
    _Atomic uint32_t pools[POOLS]; /* numbers of its buffer pools; 0 = none */
    struct posts *_Atomic posts;   /* post.c; made by the first post */
    _Alignas(64) struct mailbox mailboxes[]; /* one for each loop thread */
};

/* deliver.c: called by the engine. */
uint32_t capi_deliver(loop_t *loop, uint32_t worker);
uint32_t capi_deliver_ring(loop_t *loop, uint32_t worker, uint32_t from);
void     capi_work(struct request *request);

/* names.c: called by the engine, and on a thread of its pool. */
int64_t capi_settle(struct request *proxy, struct request *request);
void    capi_look_up(struct request *proxy);

#endif
