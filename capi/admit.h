/*
 * What every submitting function does: admit the request (check loop and request, choose a mailbox, claim the
 * request), fill in the operands, and commit (count and push). No Go, no lock, no allocation, and no system
 * call unless the loop thread sleeps.
 */
#ifndef CAPI_ADMIT_H
#define CAPI_ADMIT_H

#include "mailbox.h"
#include "state.h"

/* A request on its way in. */
struct admission {
    loop_t         *loop;
    struct request *request;
    struct mailbox *mailbox;
    int             error;
};

/* What to choose the mailbox by, when it is not a descriptor. */
#define NO_FD INT64_C(-1)

/* Spreads strands over the loop threads, by a hash of their addresses. */
static inline uint32_t worker_of_strand(const struct strand *strand, uint32_t threads) {
    return (uint32_t)((uintptr_t)strand * UINT64_C(0x9e3779b97f4a7c15) >> 32) % threads;
}

/*
 * Requests on one descriptor all go to one mailbox, so that whoever closes it finds them. Other requests
 * go to the loop thread that runs the submitting callback, or, from outside, to the first: that keeps the
 * ticks of one thread in order, also when it submits some and then runs the loop. Those in a strand go to the
 * loop thread of the strand, whoever submits them: that keeps the ticks of a strand in order.
 */
static inline uint32_t choose_worker(const loop_t *loop, const struct request *request, int64_t fd) {
    uint32_t threads = loop->shared.threads;
    if (threads == 1) return 0;
    if (fd >= 0) return (uint32_t)fd % threads;
    if (request->in_strand) return worker_of_strand(request->strand, threads);
    if (capi_here.loop == loop) return (uint32_t)(capi_here.mailbox - loop->mailboxes);
    return 0;
}

static inline struct admission admit(loop_t *loop, loop_request_t *request, int64_t fd) {
    struct admission a = {.loop = loop, .request = (struct request *)request};
    if ((a.error = check_loop(loop)) < 0) return a;
    if ((a.error = check_request(request)) < 0) return a;
    uint32_t worker = choose_worker(loop, a.request, fd);
    a.mailbox = &loop->mailboxes[worker];
    a.error = state_accept(a.request, worker);
    return a;
}

/* mailbox.c: gives an admitted request to the loop. Returns 0, or LOOP_ESHUTDOWN if that closed meanwhile. */
int capi_commit_foreign(struct admission *admission);

static inline uint64_t time_after(uint64_t now, uint64_t delay_ns) {
    return delay_ns > UINT64_MAX - now ? UINT64_MAX : now + delay_ns;
}

/* Where a transfer starts: an offset that the kernel cannot take becomes one that the engine refuses. */
static inline int64_t position(uint64_t offset) {
    return offset > INT64_MAX ? CURRENT_POSITION - 1 : (int64_t)offset;
}

/*
 * True for what has an order among threads: ticks of a strand, and what is done on one descriptor. Then it
 * goes the way of requests from other threads, or who takes those while a callback runs would let them
 * overtake.
 */
static inline bool keeps_order(const struct request *request, enum op op) {
    return op >= OP_WAIT || (op == OP_TICK && request->in_strand);
}

static inline int commit(struct admission *a, enum op op, bool vector, loop_callback_t callback) {
    struct request *request = a->request;
    request->op = (uint8_t)op;
    request->vector = vector;
    request->queued = false;
    request->callback = callback;
    request->owner = a->loop->id;
    if (request->timeout_ns != 0) {
        request->timeout_at_ns = time_after(loop_now(a->loop), request->timeout_ns);
    }
    if (capi_here.mailbox != a->mailbox) return capi_commit_foreign(a);
    count(&a->mailbox->local_accepted);
    if (keeps_order(request, op)) {
        push(&a->mailbox->inbox, request, &request->next);
    } else {
        push_local(a->mailbox, request);
    }
    return 0;
}

#endif
