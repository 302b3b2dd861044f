/*
 * A TCP echo server on liburing: the limit for those that are built on io_uring. Prints its port, serves
 * until CONNECTIONS connections came and went, and exits. echo_load.c measures it.
 *
 * linked     each connection has a buffer; when a receive is done, a send of all of it and the next receive
 *            are linked, so that a round trip is one completion
 * multishot  one receive for each connection that goes on for ever, into buffers of a ring shared by all, and
 *            a send for each buffer; sends of one connection wait for each other, to keep their order
 *
 * Usage: echo_server CONNECTIONS linked|multishot
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ENTRIES = 4096, BUFFERS_MAX = 1024, GROUP = 0, NOTHING = -1 };

/* What a completion is for, in the two lowest bits of its user data; the rest is the connection. */
enum kind { ACCEPT, RECEIVE, SEND };

struct connection {
    int fd;
    int first; /* multishot: buffers that wait to be sent; the first one is being sent */
    int last;
    bool receiving; /* multishot: the receive is under way */
    bool waiting;   /* multishot: it waits for buffers */
    bool at_end;
    struct connection *next_waiting;
    char buffer[]; /* linked: ECHO_BUFFER bytes */
};

/* A buffer of the shared ring. */
struct slice {
    char data[ECHO_BUFFER];
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffer_ring;
static struct slice *slices;
static int slice_next[BUFFERS_MAX];
static size_t slice_length[BUFFERS_MAX];
static int slice_count;
static struct connection *waiting; /* connections whose receive found no buffer */
static int listener_fd;
static int connections;
static bool multishot;
static int accepted;
static int ended;

static struct io_uring_sqe *next_entry(void) {
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    while (entry == NULL) {
        CHECK(io_uring_submit(&ring) >= 0);
        entry = io_uring_get_sqe(&ring);
    }
    return entry;
}

static void tag(struct io_uring_sqe *entry, struct connection *connection, enum kind kind) {
    io_uring_sqe_set_data64(entry, (uint64_t)(uintptr_t)connection | (uint64_t)kind);
}

static void end_connection(struct connection *connection) {
    close(connection->fd);
    free(connection);
    ended++;
}

/* ---- linked ------------------------------------------------------------------------------------ */

static void receive_next(struct connection *connection) {
    struct io_uring_sqe *entry = next_entry();
    io_uring_prep_recv(entry, connection->fd, connection->buffer, ECHO_BUFFER, 0);
    entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
    tag(entry, connection, RECEIVE);
}

/* The receive starts when all is sent, and tells of a send that failed by being cancelled. */
static void send_and_receive(struct connection *connection, size_t length) {
    if (io_uring_sq_space_left(&ring) < 2) CHECK(io_uring_submit(&ring) >= 0);
    struct io_uring_sqe *entry = next_entry();
    io_uring_prep_send(entry, connection->fd, connection->buffer, length, MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_flags(entry, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);
    tag(entry, connection, SEND);
    receive_next(connection);
}

static void on_receive(struct connection *connection, int result) {
    CHECK(result >= 0);
    if (result == 0) {
        end_connection(connection);
    } else {
        send_and_receive(connection, (size_t)result);
    }
}

/* ---- multishot --------------------------------------------------------------------------------- */

static void receive_always(struct connection *connection) {
    struct io_uring_sqe *entry = next_entry();
    io_uring_prep_recv_multishot(entry, connection->fd, NULL, 0, 0);
    io_uring_sqe_set_flags(entry, IOSQE_BUFFER_SELECT);
    entry->buf_group = GROUP;
    entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
    tag(entry, connection, RECEIVE);
    connection->receiving = true;
}

static void give_back(int slice) {
    io_uring_buf_ring_add(buffer_ring, &slices[slice], ECHO_BUFFER, (unsigned short)slice,
                          io_uring_buf_ring_mask((unsigned)slice_count), 0);
    io_uring_buf_ring_advance(buffer_ring, 1);
    if (waiting != NULL) {
        struct connection *connection = waiting;
        waiting = connection->next_waiting;
        connection->waiting = false;
        receive_always(connection);
    }
}

static void send_first(struct connection *connection) {
    const int slice = connection->first;
    struct io_uring_sqe *entry = next_entry();
    io_uring_prep_send(entry, connection->fd, &slices[slice], slice_length[slice],
                       MSG_NOSIGNAL | MSG_WAITALL);
    tag(entry, connection, SEND);
}

static void end_if_idle(struct connection *connection) {
    const bool is_idle = connection->first == NOTHING && !connection->receiving && !connection->waiting;
    if (connection->at_end && is_idle) end_connection(connection);
}

static void on_sent(struct connection *connection, int result) {
    const int slice = connection->first;
    CHECK(result == (int)slice_length[slice]);
    connection->first = slice_next[slice];
    if (connection->first != NOTHING) send_first(connection);
    give_back(slice);
    end_if_idle(connection);
}

static void on_received(struct connection *connection, const struct io_uring_cqe *completion) {
    if ((completion->flags & IORING_CQE_F_MORE) == 0) connection->receiving = false;
    if (completion->res == -ENOBUFS) {
        connection->waiting = true;
        connection->next_waiting = waiting;
        waiting = connection;
        return;
    }
    CHECK(completion->res >= 0);
    if (completion->res == 0) {
        connection->at_end = true;
        end_if_idle(connection);
        return;
    }
    const int slice = (int)(completion->flags >> IORING_CQE_BUFFER_SHIFT);
    slice_length[slice] = (size_t)completion->res;
    slice_next[slice] = NOTHING;
    if (connection->first == NOTHING) {
        connection->first = connection->last = slice;
        send_first(connection);
    } else {
        slice_next[connection->last] = slice;
        connection->last = slice;
    }
    if (!connection->receiving) receive_always(connection);
}

/* Twice as many buffers as connections, within reason: a ring is used in turn, so more would only leave the
 * cache. */
static void make_buffers(void) {
    struct io_uring_buf_reg registration = {.bgid = GROUP};
    slice_count = 2;
    while (slice_count < 2 * connections && slice_count < BUFFERS_MAX) slice_count *= 2;
    const size_t size = (size_t)slice_count * sizeof *buffer_ring->bufs;
    CHECK(posix_memalign((void **)&buffer_ring, 4096, size) == 0);
    CHECK(posix_memalign((void **)&slices, 4096, (size_t)slice_count * sizeof *slices) == 0);
    registration.ring_addr = (uint64_t)(uintptr_t)buffer_ring;
    registration.ring_entries = (uint32_t)slice_count;
    CHECK(io_uring_register_buf_ring(&ring, &registration, 0) == 0);
    io_uring_buf_ring_init(buffer_ring);
    for (int i = 0; i < slice_count; i++) give_back(i);
}

/* ---- both -------------------------------------------------------------------------------------- */

static void on_accept(const struct io_uring_cqe *completion) {
    CHECK(completion->res >= 0 && (completion->flags & IORING_CQE_F_MORE) != 0);
    struct connection *connection = malloc(sizeof *connection + (multishot ? 0 : ECHO_BUFFER));
    CHECK(connection != NULL);
    *connection = (struct connection){.fd = completion->res, .first = NOTHING, .last = NOTHING};
    set_no_delay(connection->fd);
    accepted++;
    if (multishot) {
        receive_always(connection);
    } else {
        receive_next(connection);
    }
}

static void on_completion(const struct io_uring_cqe *completion) {
    const enum kind kind = completion->user_data & 3;
    struct connection *connection = (struct connection *)(uintptr_t)(completion->user_data & ~UINT64_C(3));
    if (kind == ACCEPT) {
        on_accept(completion);
    } else if (kind == RECEIVE && multishot) {
        on_received(connection, completion);
    } else if (kind == RECEIVE) {
        on_receive(connection, completion->res);
    } else {
        CHECK(multishot); /* linked: only a send that failed gets here */
        on_sent(connection, completion->res);
    }
}

static void serve(void) {
    while (ended < connections) {
        struct io_uring_cqe *completion;
        unsigned head;
        unsigned count = 0;
        const int result = io_uring_submit_and_wait(&ring, 1);
        CHECK(result >= 0 || result == -EINTR);
        io_uring_for_each_cqe(&ring, head, completion) {
            on_completion(completion);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}

int main(int argc, char **argv) {
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
        .cq_entries = 4 * ENTRIES,
    };
    connections = (int)number_argument(argc, argv, 1, CONNECTIONS_MAX);
    CHECK(argc >= 3);
    multishot = strcmp(argv[2], "multishot") == 0;
    CHECK(multishot || strcmp(argv[2], "linked") == 0);
    raise_descriptor_limit();
    CHECK(io_uring_queue_init_params(ENTRIES, &ring, &parameters) == 0);
    if (multishot) make_buffers();
    listener_fd = listen_on_loopback();
    struct io_uring_sqe *entry = next_entry();
    io_uring_prep_multishot_accept(entry, listener_fd, NULL, NULL, SOCK_CLOEXEC);
    tag(entry, NULL, ACCEPT);
    serve();
    CHECK(accepted == connections);
    io_uring_queue_exit(&ring);
    close(listener_fd);
    return 0;
}
