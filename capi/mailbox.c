/*
 * Pushing from other threads, waking loop threads, and counting what is pending.
 *
 * The wake is the one system call that the library makes outside of loop/internal/sys. It stays in C so that
 * a thread which only submits never enters Go: its first entry would cost it 4 us, an alternate signal stack
 * and a thread record of the Go runtime.
 */
#include "admit.h"

#include <errno.h>
#include <unistd.h>

_Thread_local struct here capi_here;

static void signal_wake(int wake_fd) {
    static const uint64_t one = 1;
    int saved_errno = errno;
    ssize_t written = write(wake_fd, &one, sizeof one);
    (void)written; /* fails only with EAGAIN, when the counter is full: the thread is woken already */
    errno = saved_errno;
}

/*
 * Wakes the mailbox's thread if it sleeps. While `wakers` counts us loop_deinit does not close the
 * descriptor: its number might be another file's by the time we write to it.
 */
static bool wake_sleeper(struct mailbox *mailbox) {
    if (atomic_load(&mailbox->sleeping) == 0) return false;
    atomic_fetch_add(&mailbox->wakers, 1);
    bool asleep = atomic_exchange(&mailbox->sleeping, 0) != 0;
    if (asleep) {
        atomic_fetch_add_explicit(&mailbox->wakes, 1, memory_order_relaxed);
        signal_wake(mailbox->wake_fd);
    }
    atomic_fetch_sub(&mailbox->wakers, 1);
    return asleep;
}

/*
 * Sees to it that what was pushed to a mailbox is looked at: by its thread, or, while that runs a
 * callback, by another one that sleeps.
 */
void capi_wake(loop_t *loop, struct mailbox *mailbox) {
    if (wake_sleeper(mailbox) || loop->shared.threads == 1 || !atomic_load(&mailbox->busy)) return;
    for (uint32_t i = 0; i < loop->shared.threads; i++) {
        if (wake_sleeper(&loop->mailboxes[i])) return;
    }
}

/* Makes loop_run notice that nothing is pending any more. */
void capi_wake_if_finished(loop_t *loop) {
    if (capi_pending(loop) == 0) wake_sleeper(&loop->mailboxes[0]);
}

/*
 * Ends are read before beginnings, and references count only while the loop is open: see Shared.Pending in
 * loop/request/shared.go.
 */
int64_t capi_pending(loop_t *loop) {
    uint64_t dereferenced = atomic_load(&loop->shared.dereferenced);
    uint64_t ended = atomic_load(&loop->shared.withdrawn);
    for (uint32_t i = 0; i < loop->shared.threads; i++) {
        ended += atomic_load(&loop->mailboxes[i].delivered);
    }
    uint64_t begun = 0;
    for (uint32_t i = 0; i < loop->shared.threads; i++) {
        begun += atomic_load(&loop->mailboxes[i].foreign_accepted);
        begun += atomic_load(&loop->mailboxes[i].local_accepted);
    }
    if (atomic_load(&loop->shared.lifecycle) == LIFECYCLE_OPENED) {
        begun += atomic_load(&loop->shared.referenced) - dereferenced;
    }
    return (int64_t)(begun - ended);
}

int capi_commit_foreign(struct admission *a) {
    /* Counted first: loop_deinit, which ends acceptance and then waits for a count of 0, cannot miss us. */
    atomic_fetch_add(&a->mailbox->foreign_accepted, 1);
    uint32_t lifecycle = atomic_load(&a->loop->shared.lifecycle);
    if (lifecycle != LIFECYCLE_OPENED && (state_refuse(a->request) || lifecycle != LIFECYCLE_CLOSING)) {
        atomic_fetch_add(&a->loop->shared.withdrawn, 1);
        capi_wake_if_finished(a->loop);
        return LOOP_ESHUTDOWN;
    }
    push(&a->mailbox->inbox, a->request, &a->request->next);
    capi_wake(a->loop, a->mailbox);
    return 0;
}
