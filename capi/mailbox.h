/*
 * Pushing requests to loop threads and waking them: loop/request/mailbox.go in C.
 */
#ifndef CAPI_MAILBOX_H
#define CAPI_MAILBOX_H

#include "layout.h"

/* The loop thread that this thread is while it runs callbacks. */
struct here {
    loop_t         *loop;
    struct mailbox *mailbox;
};

extern _Thread_local struct here capi_here __attribute__((tls_model("initial-exec")));

/* Set in a forked child: the Go runtime does not survive fork, so nothing may enter it. */
extern volatile int capi_forked;

/* Returns 0 if the loop takes calls, or why not. */
static inline int check_loop(loop_t *loop) {
    if (capi_forked) return LOOP_ENOTSUP;
    if (loop == NULL || (uintptr_t)loop % _Alignof(struct loop) != 0) return LOOP_EINVAL;
    switch (atomic_load_explicit(&loop->shared.lifecycle, memory_order_acquire)) {
    case LIFECYCLE_OPENED: return 0;
    case LIFECYCLE_BROKEN: return LOOP_ENOTRECOVERABLE;
    default: return LOOP_ESHUTDOWN;
    }
}

/* Returns 0 if a request is where one can be. */
static inline int check_request(const void *request) {
    return request != NULL && (uintptr_t)request % _Alignof(struct request) == 0 ? 0 : LOOP_EINVAL;
}

/* Adds one to a counter that only this thread changes. */
static inline void count(_Atomic uint64_t *counter) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_release);
}

static inline void push_local(struct mailbox *mailbox, struct request *request) {
    request->next = NULL;
    if (mailbox->local_head == NULL) {
        mailbox->local_head = request;
    } else {
        mailbox->local_tail->next = request;
    }
    mailbox->local_tail = request;
}

static inline void push(struct request *_Atomic *list, struct request *request, struct request **link) {
    struct request *head = atomic_load_explicit(list, memory_order_relaxed);
    do {
        *link = head;
    } while (!atomic_compare_exchange_weak(list, &head, request));
}

/* mailbox.c */
void     capi_wake(loop_t *loop, struct mailbox *mailbox);
void     capi_wake_if_finished(loop_t *loop);
int64_t  capi_pending(loop_t *loop);

#endif
