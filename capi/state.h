/*
 * The state of a request, as far as C changes it: acceptance, control, delivery. The table of all states and
 * events, and the functions that the engine uses, are in loop/request/state.go.
 */
#ifndef CAPI_STATE_H
#define CAPI_STATE_H

#include "layout.h"

enum phase { PHASE_FREE, PHASE_QUEUED, PHASE_ACTIVE, PHASE_SHOT, PHASE_HELD, PHASE_DONE };

#define STATE_PHASE        UINT64_C(0xff)
#define STATE_CONTROL      (UINT64_C(1) << 8)
#define STATE_CANCEL       (UINT64_C(1) << 9)
#define STATE_MODIFY       (UINT64_C(1) << 10)
#define STATE_WORKER_SHIFT 16
#define STATE_WORKER       UINT64_C(0xffff)
#define STATE_MAGIC        (UINT64_C(0x4c6f6f70) << 32)
#define STATE_MAGIC_MASK   (UINT64_C(0xffffffff) << 32)

/* Event Accept. Returns 0, LOOP_EBUSY for a request in flight, LOOP_EINVAL for one that was not zeroed. */
static inline int state_accept(struct request *request, uint32_t worker) {
    /* Looked at first: with a locked instruction as the first access to requests that are not in the cache,
     * starting a million timers in a row took three times as long. */
    uint64_t state = atomic_load_explicit(&request->state, memory_order_relaxed);
    uint64_t queued = STATE_MAGIC | (uint64_t)worker << STATE_WORKER_SHIFT | PHASE_QUEUED;
    if (state == 0 &&
        atomic_compare_exchange_strong_explicit(&request->state, &state, queued, memory_order_acquire,
                                                memory_order_relaxed)) {
        return 0;
    }
    return (state & STATE_MAGIC_MASK) == STATE_MAGIC ? LOOP_EBUSY : LOOP_EINVAL;
}

/*
 * Event Deliver. A free request has no marks: from its acceptance on a cancel may set one, so the submitter
 * must not write there any more.
 */
static inline void state_free(struct request *request) {
    request->marks = 0;
    atomic_store_explicit(&request->state, 0, memory_order_release);
}

/*
 * Called before a request becomes the program's again: a receive does not use its pool of buffers any more.
 * Not before: until then the pool must not be ended.
 */
static inline void leave_pool(struct request *request) {
    if (request->op == OP_RECEIVE && request->pool != NULL) atomic_fetch_sub(&request->pool->users, 1);
}

static inline uint64_t state_load(struct request *request) {
    return atomic_load_explicit(&request->state, memory_order_acquire);
}

/*
 * The end of a request that was accepted, and is refused after all. False: a control message for it is on its
 * way, so its memory cannot go back to the program yet.
 */
static inline bool state_refuse(struct request *request) {
    uint64_t state = atomic_load(&request->state);
    do {
        if ((state & STATE_CONTROL) != 0) return false;
    } while (!atomic_compare_exchange_weak(&request->state, &state, 0));
    return true;
}

static inline enum phase state_phase(uint64_t state) { return (enum phase)(state & STATE_PHASE); }

static inline uint32_t state_worker(uint64_t state) {
    return (uint32_t)(state >> STATE_WORKER_SHIFT & STATE_WORKER);
}

/*
 * Notes a cancel or a change. Returns 0 with *first set if the caller must push the request on the control
 * list; LOOP_ENOENT if the request is not in flight, LOOP_EINVAL if it is not a request.
 */
static inline int state_ask_control(struct request *request, uint64_t flags, bool *first) {
    uint64_t state = state_load(request);
    *first = false;
    for (;;) {
        if (state == 0) return LOOP_ENOENT;
        if ((state & STATE_MAGIC_MASK) != STATE_MAGIC) return LOOP_EINVAL;
        if (state_phase(state) == PHASE_HELD || state_phase(state) == PHASE_DONE) return 0;
        if (atomic_compare_exchange_weak(&request->state, &state, state | flags | STATE_CONTROL)) {
            *first = (state & STATE_CONTROL) == 0;
            return 0;
        }
    }
}

#endif
