/*
 * Submitting ticks, timers, work, waits for readiness and operations on files; see admit.h.
 */
#include "admit.h"

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
