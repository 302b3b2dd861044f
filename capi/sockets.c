/*
 * Submitting operations on sockets; see admit.h.
 */
#include "admit.h"

#include "_cgo_export.h"

loop_fd_t loop_socket(loop_t *loop, int domain, int type, int protocol) {
    int error = check_loop(loop);
    if (error < 0) return error;
    return engineSocket(loop->engine, domain, type, protocol);
}

/* Admits a request on a descriptor, with the operands that most of them have. */
static inline struct admission on_socket(loop_t *loop, loop_request_t *request, loop_fd_t fd,
                                         const void *address, uint64_t length, uint32_t flags) {
    struct admission a = admit(loop, request, fd);
    if (a.error < 0) return a;
    a.request->fd = fd;
    a.request->address = (uintptr_t)address;
    a.request->length = length;
    a.request->mode = flags;
    a.request->events = 0;
    a.request->offset = CURRENT_POSITION;
    a.request->moved = 0;
    a.request->message = 0;
    a.request->pool = NULL;
    return a;
}

int loop_accept(loop_t *loop, loop_request_t *request, loop_fd_t fd, struct sockaddr *address,
                loop_socklen_t *length, uint32_t flags, loop_callback_t callback) {
    struct admission a = on_socket(loop, request, fd, address, (uintptr_t)length, flags);
    if (a.error < 0) return a.error;
    if (address != NULL && length != NULL) a.request->own_message.name_length = *length;
    return commit(&a, OP_ACCEPT, false, callback);
}

int loop_connect(loop_t *loop, loop_request_t *request, loop_fd_t fd, const struct sockaddr *address,
                 loop_socklen_t length, loop_callback_t callback) {
    struct admission a = on_socket(loop, request, fd, address, length, 0);
    return a.error < 0 ? a.error : commit(&a, OP_CONNECT, false, callback);
}

/* ---- receiving and sending ---- */

/* Makes a message of a buffer and an address. The request's address and length form the buffer's vector. */
static void address_message(struct request *request, const void *address, loop_socklen_t length) {
    request->own_message = (struct message){
        .name = (uintptr_t)address,
        .name_length = length,
        .vectors = (uintptr_t)&request->address,
        .vector_count = 1,
    };
    request->message = (uintptr_t)&request->own_message;
}

int loop_recv(loop_t *loop, loop_request_t *request, loop_fd_t fd, void *buf, size_t len, uint32_t flags,
              loop_callback_t callback) {
    struct admission a = on_socket(loop, request, fd, buf, len, flags);
    return a.error < 0 ? a.error : commit(&a, OP_RECEIVE, false, callback);
}

int loop_recvfrom(loop_t *loop, loop_request_t *request, loop_fd_t fd, void *buf, size_t len, uint32_t flags,
                  struct sockaddr *address, loop_socklen_t *length, loop_callback_t callback) {
    struct admission a = on_socket(loop, request, fd, buf, len, flags);
    if (a.error < 0) return a.error;
    if (address != NULL) {
        address_message(a.request, address, length == NULL ? 0 : *length);
        a.request->held = (uintptr_t)length; /* where the engine writes the length back */
    }
    return commit(&a, OP_RECEIVE, false, callback);
}

int loop_recvmsg(loop_t *loop, loop_request_t *request, loop_fd_t fd, struct msghdr *message, uint32_t flags,
                 loop_callback_t callback) {
    struct admission a = on_socket(loop, request, fd, NULL, 0, flags);
    if (a.error < 0) return a.error;
    a.request->message = (uintptr_t)message;
    return commit(&a, OP_RECEIVE, true, callback);
}

int loop_send(loop_t *loop, loop_request_t *request, loop_fd_t fd, const void *buf, size_t len,
              uint32_t flags, loop_callback_t callback) {
    struct admission a = on_socket(loop, request, fd, buf, len, flags);
    return a.error < 0 ? a.error : commit(&a, OP_SEND, false, callback);
}

int loop_sendto(loop_t *loop, loop_request_t *request, loop_fd_t fd, const void *buf, size_t len,
                uint32_t flags, const struct sockaddr *address, loop_socklen_t length,
                loop_callback_t callback) {
    struct admission a = on_socket(loop, request, fd, buf, len, flags);
    if (a.error < 0) return a.error;
    if (address != NULL) address_message(a.request, address, length);
    return commit(&a, OP_SEND, false, callback);
}

int loop_sendmsg(loop_t *loop, loop_request_t *request, loop_fd_t fd, const struct msghdr *message,
                 uint32_t flags, loop_callback_t callback) {
    struct admission a = on_socket(loop, request, fd, NULL, 0, flags);
    if (a.error < 0) return a.error;
    a.request->message = (uintptr_t)message;
    return commit(&a, OP_SEND, true, callback);
}

int loop_shutdown(loop_t *loop, loop_request_t *request, loop_fd_t fd, int how, loop_callback_t callback) {
    struct admission a = on_socket(loop, request, fd, NULL, 0, (uint32_t)how);
    return a.error < 0 ? a.error : commit(&a, OP_SHUTDOWN, false, callback);
}

int loop_recv_buffer(loop_t *loop, loop_request_t *request, loop_fd_t fd, loop_buffers_t *buffers,
                     uint32_t flags, loop_callback_t callback) {
    if (buffers == NULL || (uintptr_t)buffers % _Alignof(struct loop_buffers) != 0 || buffers->loop != loop) {
        return capi_forked ? LOOP_ENOTSUP : LOOP_EINVAL;
    }
    struct admission a = on_socket(loop, request, fd, NULL, 0, flags);
    if (a.error < 0) return a.error;
    a.request->pool = buffers;
    a.request->held = 0;
    atomic_fetch_add(&buffers->users, 1);
    int error = commit(&a, OP_RECEIVE, false, callback);
    if (error < 0) atomic_fetch_sub(&buffers->users, 1);
    return error;
}

/* ---- between two descriptors ---- */

int loop_sendfile(loop_t *loop, loop_request_t *request, loop_fd_t out_fd, loop_fd_t in_fd, uint64_t offset,
                  size_t len, uint32_t flags, loop_callback_t callback) {
    struct admission a = on_socket(loop, request, out_fd, NULL, len, flags);
    if (a.error < 0) return a.error;
    a.request->own_message.name = (uintptr_t)(intptr_t)in_fd; /* the other descriptor */
    a.request->offset = position(offset);
    return commit(&a, OP_SENDFILE, false, callback);
}

int loop_splice(loop_t *loop, loop_request_t *request, loop_fd_t in_fd, uint64_t in_offset, loop_fd_t out_fd,
                uint64_t out_offset, size_t len, uint32_t flags, loop_callback_t callback) {
    struct admission a = on_socket(loop, request, in_fd, NULL, len, flags);
    if (a.error < 0) return a.error;
    a.request->events = LOOP_READABLE; /* what it waits for first */
    a.request->own_message.name = (uintptr_t)(intptr_t)out_fd; /* the other descriptor, and its offset */
    a.request->offset = in_offset == LOOP_NO_OFFSET ? CURRENT_POSITION : position(in_offset);
    a.request->own_message.control =
        (uintptr_t)(out_offset == LOOP_NO_OFFSET ? CURRENT_POSITION : position(out_offset));
    return commit(&a, OP_SPLICE, false, callback);
}

int loop_cancel_fd(loop_t *loop, loop_request_t *request, loop_fd_t fd, loop_callback_t callback) {
    struct admission a = on_socket(loop, request, fd, NULL, 0, 0);
    return a.error < 0 ? a.error : commit(&a, OP_CANCEL_FD, false, callback);
}
