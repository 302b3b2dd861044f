/*
 * Speaking to a request in flight: cancel, change the events of a watch, take back a tick.
 */
#include "_cgo_export.h"
#include "mailbox.h"
#include "state.h"

/* Sends the message that `flags` says to the loop thread that has the request. */
static int send_control(loop_t *loop, struct request *request, uint64_t flags) {
    bool first;
    int error = state_ask_control(request, flags, &first);
    if (error < 0 || !first) return error;
    struct mailbox *mailbox = &loop->mailboxes[state_worker(state_load(request))];
    push(&mailbox->control, request, &request->control_next);
    capi_wake(loop, mailbox);
    return 0;
}

/* Finds a request in flight in this loop. `ops` is a bit set of the operations that are meant. */
static int find(loop_t *loop, struct request *request, uint64_t ops) {
    int error = check_loop(loop);
    if (error < 0) return error;
    if ((error = check_request(request)) < 0) return error;
    uint64_t state = state_load(request);
    if (state == 0) return LOOP_ENOENT;
    if ((state & STATE_MAGIC_MASK) != STATE_MAGIC) return LOOP_EINVAL;
    if (request->owner != loop->id) return LOOP_ENOENT;
    return ops >> request->op & 1 ? 0 : LOOP_EINVAL;
}

int loop_cancel(loop_t *loop, loop_request_t *target) {
    struct request *request = (struct request *)target;
    int error = find(loop, request, UINT64_MAX);
    return error < 0 ? error : send_control(loop, request, STATE_CANCEL);
}

int loop_remove_fd(loop_t *loop, loop_request_t *target) {
    struct request *request = (struct request *)target;
    int error = find(loop, request, UINT64_C(1) << OP_WATCH);
    return error < 0 ? error : send_control(loop, request, STATE_CANCEL);
}

int loop_mod_fd(loop_t *loop, loop_request_t *target, uint32_t events) {
    struct request *request = (struct request *)target;
    int error = find(loop, request, UINT64_C(1) << OP_WATCH);
    if (error < 0) return error;
    if ((events & ~(LOOP_READABLE | LOOP_WRITABLE | LOOP_EDGE_TRIGGERED)) != 0) return LOOP_EINVAL;
    atomic_store(&request->new_events, events);
    return send_control(loop, request, STATE_MODIFY);
}

/* Takes a request out of the list that this thread is delivering. */
static void remove_ready(struct mailbox *mailbox, struct request *request) {
    if (request->prev == NULL) {
        mailbox->ready_head = request->next;
    } else {
        request->prev->next = request->next;
    }
    if (request->next == NULL) {
        mailbox->ready_tail = request->prev;
    } else {
        request->next->prev = request->prev;
    }
}

int loop_cancel_on_next_tick(loop_t *loop, loop_request_t *target) {
    struct request *request = (struct request *)target;
    int error = find(loop, request, UINT64_MAX);
    if (error < 0) return error;
    if (request->op != OP_TICK) return LOOP_ENOENT;
    struct mailbox *mailbox = &loop->mailboxes[state_worker(state_load(request))];
    bool own_thread = capi_here.mailbox == mailbox;
    switch (state_phase(state_load(request))) {
    case PHASE_QUEUED:
        atomic_fetch_add_explicit(&loop->entries, 1, memory_order_relaxed);
        return engineWithdraw(loop->engine, request, own_thread);
    case PHASE_DONE:
        /* In the list that a callback on this thread came from; but with several threads in the ring, without
         * a callback in the harvest, and after a control message still with the engine. */
        if (!own_thread || loop->shared.threads > 1 || request->callback == NULL) return LOOP_ENOENT;
        if ((request->marks & MARK_RELEASED) != 0) return LOOP_ENOENT;
        remove_ready(mailbox, request);
        state_free(request);
        atomic_fetch_add(&loop->shared.withdrawn, 1);
        return 0;
    default:
        return LOOP_ENOENT;
    }
}
