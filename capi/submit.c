/*
 * Submitting: every function of loop.h that puts a request in flight.
 *
 * All of them admit the request (check loop and request, choose a mailbox, claim the request), fill in the
 * operands, and commit (count and push). No Go, no lock, no allocation, and no system call unless the loop
 * thread sleeps.
 */
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

/*
 * Requests on one descriptor all go to one mailbox, so that whoever closes it finds them. Other requests
 * go to the loop thread that runs the submitting callback, or, from outside, to the first: that keeps the
 * ticks of one thread in order, also when it submits some and then runs the loop.
 */
static inline uint32_t choose_worker(const loop_t *loop, int64_t fd) {
    uint32_t threads = loop->shared.threads;
    if (threads == 1) return 0;
    if (fd >= 0) return (uint32_t)fd % threads;
    if (capi_here.loop == loop) return (uint32_t)(capi_here.mailbox - loop->mailboxes);
    return 0;
}

static inline struct admission admit(loop_t *loop, loop_request_t *request, int64_t fd) {
    struct admission a = {.loop = loop, .request = (struct request *)request};
    if ((a.error = check_loop(loop)) < 0) return a;
    if ((a.error = check_request(request)) < 0) return a;
    uint32_t worker = choose_worker(loop, fd);
    a.mailbox = &loop->mailboxes[worker];
    a.error = state_accept(a.request, worker);
    return a;
}

static inline uint64_t time_after(uint64_t now, uint64_t delay_ns) {
    return delay_ns > UINT64_MAX - now ? UINT64_MAX : now + delay_ns;
}

/* Gives an admitted request to the loop. Returns 0, or LOOP_ESHUTDOWN if the loop closed meanwhile. */
static int commit_foreign(struct admission *a) {
    /* Counted first: loop_deinit, which ends acceptance and then waits for a count of 0, cannot miss us. */
    atomic_fetch_add(&a->mailbox->foreign_accepted, 1);
    if (atomic_load(&a->loop->shared.lifecycle) != LIFECYCLE_OPENED) {
        state_free(a->request);
        atomic_fetch_add(&a->loop->shared.withdrawn, 1);
        capi_wake_if_finished(a->loop);
        return LOOP_ESHUTDOWN;
    }
    push(&a->mailbox->inbox, a->request, &a->request->next);
    capi_wake(a->loop, a->mailbox);
    return 0;
}

static inline int commit(struct admission *a, enum op op, bool vector, loop_callback_t callback) {
    struct request *request = a->request;
    request->op = (uint8_t)op;
    request->vector = vector;
    request->queued = false;
    request->marks = 0;
    request->callback = callback;
    request->owner = a->loop->id;
    if (request->timeout_ns != 0) {
        request->timeout_at_ns = time_after(loop_now(a->loop), request->timeout_ns);
    }
    if (capi_here.mailbox != a->mailbox) return commit_foreign(a);
    count(&a->mailbox->local_accepted);
    push_local(a->mailbox, request);
    return 0;
}

int loop_on_next_tick(loop_t *loop, loop_request_t *request, loop_callback_t callback) {
    struct admission a = admit(loop, request, NO_FD);
    if (a.error < 0) return a.error;
    return commit(&a, OP_TICK, false, callback);
}

int loop_timer_start(loop_t *loop, loop_request_t *request, uint64_t delay_ns, uint64_t period_ns,
                     loop_callback_t callback) {
    struct admission a = admit(loop, request, NO_FD);
    if (a.error < 0) return a.error;
    a.request->deadline_ns = time_after(loop_now(loop), delay_ns);
    a.request->offset = (int64_t)(period_ns > INT64_MAX ? INT64_MAX : period_ns);
    return commit(&a, OP_TIMER, false, callback);
}

int loop_queue_work(loop_t *loop, loop_request_t *request, void (*work)(loop_request_t *request),
                    loop_callback_t callback) {
    if (work == NULL) return capi_forked ? LOOP_ENOTSUP : LOOP_EINVAL;
    struct admission a = admit(loop, request, NO_FD);
    if (a.error < 0) return a.error;
    a.request->address = (uintptr_t)work;
    return commit(&a, OP_WORK, false, callback);
}

/* ---- readiness ---- */

static int wait_for(loop_t *loop, loop_request_t *request, loop_fd_t fd, enum op op, uint32_t events,
                    loop_callback_t callback) {
    struct admission a = admit(loop, request, fd);
    if (a.error < 0) return a.error;
    a.request->fd = fd;
    a.request->events = events;
    return commit(&a, op, false, callback);
}

int loop_wait_until_fd_readable(loop_t *loop, loop_request_t *request, loop_fd_t fd,
                                loop_callback_t callback) {
    return wait_for(loop, request, fd, OP_WAIT, LOOP_READABLE, callback);
}

int loop_wait_until_fd_writable(loop_t *loop, loop_request_t *request, loop_fd_t fd,
                                loop_callback_t callback) {
    return wait_for(loop, request, fd, OP_WAIT, LOOP_WRITABLE, callback);
}

int loop_wait_until_fd_writable_or_readable(loop_t *loop, loop_request_t *request, loop_fd_t fd,
                                            loop_callback_t callback) {
    return wait_for(loop, request, fd, OP_WAIT, LOOP_READABLE | LOOP_WRITABLE, callback);
}

int loop_add_fd(loop_t *loop, loop_request_t *request, loop_fd_t fd, uint32_t events,
                loop_callback_t callback) {
    return wait_for(loop, request, fd, OP_WATCH, events, callback);
}

/* ---- files ---- */

static int on_path(loop_t *loop, loop_request_t *request, enum op op, loop_fd_t dirfd, const char *path,
                   uint32_t flags, uint32_t mode, loop_callback_t callback) {
    struct admission a = admit(loop, request, NO_FD);
    if (a.error < 0) return a.error;
    a.request->fd = dirfd;
    a.request->address = (uintptr_t)path;
    a.request->length = flags;
    a.request->mode = mode;
    return commit(&a, op, false, callback);
}

int loop_open(loop_t *loop, loop_request_t *request, const char *path, int flags, uint32_t mode,
              loop_callback_t callback) {
    enum { at_fdcwd = -100 }; /* AT_FDCWD */
    return on_path(loop, request, OP_OPEN, at_fdcwd, path, (uint32_t)flags, mode, callback);
}

int loop_openat(loop_t *loop, loop_request_t *request, loop_fd_t dirfd, const char *path, int flags,
                uint32_t mode, loop_callback_t callback) {
    return on_path(loop, request, OP_OPEN, dirfd, path, (uint32_t)flags, mode, callback);
}

int loop_faccessat(loop_t *loop, loop_request_t *request, loop_fd_t dirfd, const char *path, uint32_t mode,
                   uint32_t flags, loop_callback_t callback) {
    return on_path(loop, request, OP_ACCESS, dirfd, path, flags, mode, callback);
}

int loop_close(loop_t *loop, loop_request_t *request, loop_fd_t fd, loop_callback_t callback) {
    struct admission a = admit(loop, request, fd);
    if (a.error < 0) return a.error;
    a.request->fd = fd;
    return commit(&a, OP_CLOSE, false, callback);
}

/* Where a transfer starts: an offset that the kernel cannot take becomes one that the engine refuses. */
static inline int64_t position(uint64_t offset) {
    return offset > INT64_MAX ? CURRENT_POSITION - 1 : (int64_t)offset;
}

static inline int transfer(loop_t *loop, loop_request_t *request, enum op op, loop_fd_t fd,
                           const void *address, size_t length, bool vector, int64_t offset,
                           loop_callback_t callback) {
    struct admission a = admit(loop, request, fd);
    if (a.error < 0) return a.error;
    a.request->fd = fd;
    a.request->address = (uintptr_t)address;
    a.request->length = length;
    a.request->offset = offset;
    return commit(&a, op, vector, callback);
}

int loop_read(loop_t *loop, loop_request_t *request, loop_fd_t fd, void *buf, size_t len,
              loop_callback_t callback) {
    return transfer(loop, request, OP_READ, fd, buf, len, false, CURRENT_POSITION, callback);
}

int loop_readv(loop_t *loop, loop_request_t *request, loop_fd_t fd, const loop_iovec_t *iov,
               uint32_t iov_count, loop_callback_t callback) {
    return transfer(loop, request, OP_READ, fd, iov, iov_count, true, CURRENT_POSITION, callback);
}

int loop_pread(loop_t *loop, loop_request_t *request, loop_fd_t fd, void *buf, size_t len, uint64_t offset,
               loop_callback_t callback) {
    return transfer(loop, request, OP_READ, fd, buf, len, false, position(offset), callback);
}

int loop_preadv(loop_t *loop, loop_request_t *request, loop_fd_t fd, const loop_iovec_t *iov,
                uint32_t iov_count, uint64_t offset, loop_callback_t callback) {
    return transfer(loop, request, OP_READ, fd, iov, iov_count, true, position(offset), callback);
}

int loop_write(loop_t *loop, loop_request_t *request, loop_fd_t fd, const void *buf, size_t len,
               loop_callback_t callback) {
    return transfer(loop, request, OP_WRITE, fd, buf, len, false, CURRENT_POSITION, callback);
}

int loop_writev(loop_t *loop, loop_request_t *request, loop_fd_t fd, const loop_iovec_t *iov,
                uint32_t iov_count, loop_callback_t callback) {
    return transfer(loop, request, OP_WRITE, fd, iov, iov_count, true, CURRENT_POSITION, callback);
}

int loop_pwrite(loop_t *loop, loop_request_t *request, loop_fd_t fd, const void *buf, size_t len,
                uint64_t offset, loop_callback_t callback) {
    return transfer(loop, request, OP_WRITE, fd, buf, len, false, position(offset), callback);
}

int loop_pwritev(loop_t *loop, loop_request_t *request, loop_fd_t fd, const loop_iovec_t *iov,
                 uint32_t iov_count, uint64_t offset, loop_callback_t callback) {
    return transfer(loop, request, OP_WRITE, fd, iov, iov_count, true, position(offset), callback);
}
