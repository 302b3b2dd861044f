/*
 * Delivering: the engine calls in here once a turn, and all that is ready goes to the program.
 */
#include "mailbox.h"
#include "state.h"
#include "strand.h"

#include <pthread.h>
#include <signal.h>

/* A shot was delivered: the request goes back to its loop thread for the next one. */
static void give_back(loop_t *loop, struct mailbox *mailbox, struct request *request) {
    struct mailbox *home = &loop->mailboxes[state_worker(state_load(request))];
    if (home == mailbox) {
        push_local(home, request);
    } else {
        push(&home->inbox, request, &request->next);
        capi_wake(loop, home);
    }
}

/* Calls the callback of one request. From there on the request is the program's, unless it has more shots. */
static inline void deliver(loop_t *loop, struct mailbox *mailbox, struct request *request) {
    loop_callback_t callback = request->callback;
    int64_t result = request->result;
    bool more = (request->flags & LOOP_MORE) != 0;
    if (callback == NULL) {
        push(&loop->shared.harvest, request, &request->next);
    } else if (more) {
        callback(loop, (loop_request_t *)request, result);
        give_back(loop, mailbox, request);
    } else {
        leave_pool(request);
        state_free(request);
        callback(loop, (loop_request_t *)request, result);
    }
    count(&mailbox->completions);
    if (!more) count(&mailbox->delivered);
}

static inline bool stopped(loop_t *loop) {
    return atomic_load_explicit(&loop->shared.stop, memory_order_relaxed) != 0;
}

uint32_t capi_deliver(loop_t *loop, uint32_t worker) {
    struct mailbox *mailbox = &loop->mailboxes[worker];
    struct here before = capi_here;
    capi_here = (struct here){loop, mailbox};
    uint32_t delivered = 0;
    struct request *request;
    while ((request = mailbox->ready_head) != NULL && !stopped(loop)) {
        mailbox->ready_head = request->next;
        if (request->next == NULL) {
            mailbox->ready_tail = NULL;
        } else {
            request->next->prev = NULL;
        }
        deliver(loop, mailbox, request);
        delivered++;
    }
    capi_here = before;
    return delivered;
}

/* Takes the oldest request of a ring; loop/request/ring.go in C. */
static struct request *take(struct ring *ring) {
    uint32_t head = atomic_load(&ring->head);
    while (head != atomic_load(&ring->tail)) {
        struct request *request = atomic_load(&ring->slots[head % RING_SIZE]);
        if (atomic_compare_exchange_weak(&ring->head, &head, head + 1)) return request;
    }
    return NULL;
}

/*
 * Delivers a request that holds its strand, and then those that wait in the strand, up to a batch. Returns
 * how many. What is left goes to the ring again, by the next turn of this thread's worker.
 */
static uint32_t deliver_strand(loop_t *loop, struct mailbox *mailbox, struct request *request) {
    enum { batch = 64 };
    struct strand *strand = request->strand;
    for (uint32_t delivered = 1;; delivered++) {
        uint64_t lease = capi_lend_strand(mailbox, strand);
        deliver(loop, mailbox, request);
        request = capi_next_in_strand(mailbox, strand, lease);
        if (request == NULL) return delivered;
        if (delivered == batch || stopped(loop)) {
            push(&mailbox->ring.resumed, request, &request->next);
            return delivered;
        }
    }
}

uint32_t capi_deliver_ring(loop_t *loop, uint32_t worker, uint32_t from) {
    struct mailbox *mailbox = &loop->mailboxes[worker];
    struct here before = capi_here;
    capi_here = (struct here){loop, mailbox};
    uint32_t delivered = 0;
    struct request *request;
    while (!stopped(loop) && (request = take(&loop->mailboxes[from].ring)) != NULL) {
        if (!request->in_strand || request->callback == NULL) {
            deliver(loop, mailbox, request);
            delivered++;
        } else {
            delivered += deliver_strand(loop, mailbox, request);
            if (atomic_load(&mailbox->ring.resumed) != NULL) break; /* its turn */
        }
    }
    capi_here = before;
    /* The counters are visible before the engine looks whether somebody sleeps who waits for them. */
    atomic_thread_fence(memory_order_seq_cst);
    return delivered;
}

/*
 * Blocks in a thread of the pool the signals that the Go runtime does not keep blocked in its threads
 * (SIGCHLD, SIGPROF, SIGURG and some more): a host's handlers do not expect to run there.
 */
static void block_signals(void) {
    static _Thread_local bool blocked __attribute__((tls_model("initial-exec")));
    if (blocked) return;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    blocked = true;
}

void capi_work(struct request *request) {
    block_signals();
    if (request->op == OP_NAME) {
        capi_look_up(request);
        return;
    }
    ((void (*)(loop_request_t *))request->address)((loop_request_t *)request);
}

void loop_ignore(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    (void)request;
    (void)result;
}
