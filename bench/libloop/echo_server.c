/*
 * A TCP echo server in the three styles that libloop offers. Prints its port, serves until CONNECTIONS
 * connections came and went, and exits. echo_load.c measures it.
 *
 * watch  each connection is an edge-triggered watch: one shot for each arrival of data, and then recv and
 *        send directly, until recv comes up short
 * read   completions: loop_read into a buffer of the connection, loop_write of what came, and again
 * shots  completions: one receive of many shots, each with a buffer of a pool, which is sent and given back
 *
 * Usage: echo_server CONNECTIONS watch|read|shots [THREADS]
 * SPDX-License-Identifier: MIT
 */
#include "../echo_socket.h"
#include "backend.h"

#include <stdatomic.h>
#include <unistd.h>

/* With both directions from the start no watch is ever changed: edges of a writable socket are rare. */
static const uint32_t EVENTS = LOOP_READABLE | LOOP_WRITABLE | LOOP_EDGE_TRIGGERED;

struct connection {
    loop_request_t request;
    struct echo_socket socket;
    size_t begin; /* read: what was received and not yet sent */
    size_t end;
    char buffer[]; /* read: ECHO_BUFFER bytes */
};

static loop_request_t listener_watch;
static int listener_fd;
static int connections;
static enum { WATCH, READ, SHOTS } style;
static loop_buffers_t *pool;
static int accepted; /* of the listener's callback only */
static atomic_int ended;

static void end_connection(loop_t *loop, struct connection *connection) {
    close(connection->socket.fd);
    free(connection);
    if (atomic_fetch_add(&ended, 1) + 1 == connections) CHECK(loop_remove_fd(loop, &listener_watch) == 0);
}

/* ---- watch ------------------------------------------------------------------------------------- */

static void on_ready(loop_t *loop, loop_request_t *request, int64_t result) {
    struct connection *connection = request->user;
    char buffer[ECHO_SHARED_BUFFER];
    enum echo_state state;
    if ((request->flags & LOOP_MORE) == 0) {
        CHECK(result == LOOP_ECANCELED);
        end_connection(loop, connection);
        return;
    }
    CHECK(result > 0);
    /* The end of the stream makes no edge of its own when it came with data: then read to the very end. */
    const bool hung_up = (result & LOOP_HANGUP) != 0;
    do {
        state = echo_once(&connection->socket, buffer, sizeof buffer);
    } while (state == ECHO_MORE || (state == ECHO_DRAINED && hung_up));
    if (state == ECHO_ENDED) CHECK(loop_remove_fd(loop, request) == 0);
}

/* ---- read -------------------------------------------------------------------------------------- */

static void on_read(loop_t *loop, loop_request_t *request, int64_t result);

static void start_read(loop_t *loop, struct connection *connection) {
    const int fd = connection->socket.fd;
    CHECK(loop_read(loop, &connection->request, fd, connection->buffer, ECHO_BUFFER, on_read) == 0);
}

static void on_write(loop_t *loop, loop_request_t *request, int64_t result);

static void start_write(loop_t *loop, struct connection *connection) {
    const char *data = connection->buffer + connection->begin;
    const size_t length = connection->end - connection->begin;
    CHECK(loop_write(loop, &connection->request, connection->socket.fd, data, length, on_write) == 0);
}

static void on_write(loop_t *loop, loop_request_t *request, int64_t result) {
    struct connection *connection = request->user;
    CHECK(result > 0);
    connection->begin += (size_t)result;
    if (connection->begin < connection->end) {
        start_write(loop, connection);
    } else {
        start_read(loop, connection);
    }
}

static void on_read(loop_t *loop, loop_request_t *request, int64_t result) {
    struct connection *connection = request->user;
    CHECK(result >= 0);
    if (result == 0) {
        end_connection(loop, connection);
        return;
    }
    connection->begin = 0;
    connection->end = (size_t)result;
    start_write(loop, connection);
}

/* ---- shots ------------------------------------------------------------------------------------- */

/* A message on its way back. There are as many as the pool has buffers. */
struct answer {
    loop_request_t send;
    struct answer *next;
    void *buffer;
};

enum { POOL_BUFFERS = 8192 };

static _Thread_local struct answer *free_answers;

static struct answer *take_answer(void) {
    struct answer *answer = free_answers;
    if (answer == NULL) {
        answer = calloc(1, sizeof *answer);
        CHECK(answer != NULL);
        answer->send.user = answer;
        return answer;
    }
    free_answers = answer->next;
    return answer;
}

static void on_answered(loop_t *loop, loop_request_t *request, int64_t result) {
    struct answer *answer = request->user;
    (void)loop;
    CHECK(result > 0);
    CHECK(loop_buffer_return(pool, answer->buffer) == 0);
    answer->next = free_answers;
    free_answers = answer;
}

static void receive(loop_t *loop, struct connection *connection);

static void on_received(loop_t *loop, loop_request_t *request, int64_t result) {
    struct connection *connection = request->user;
    if (result == LOOP_ENOBUFS) {
        receive(loop, connection);
        return;
    }
    CHECK(result >= 0);
    if (result == 0) {
        end_connection(loop, connection);
        return;
    }
    struct answer *answer = take_answer();
    answer->buffer = loop_buffer(request);
    CHECK(loop_send(loop, &answer->send, connection->socket.fd, answer->buffer, (size_t)result, LOOP_SEND_ALL,
                    on_answered) == 0);
}

static void receive(loop_t *loop, struct connection *connection) {
    CHECK(loop_recv_buffer(loop, &connection->request, connection->socket.fd, pool, LOOP_MULTISHOT,
                           on_received) == 0);
}

/* ---- all --------------------------------------------------------------------------------------- */

static void add_connection(loop_t *loop, int fd) {
    struct connection *connection = malloc(sizeof *connection + (style == READ ? ECHO_BUFFER : 0));
    CHECK(connection != NULL);
    *connection = (struct connection){.request.user = connection, .socket.fd = fd};
    accepted++;
    switch (style) {
    case WATCH: CHECK(loop_add_fd(loop, &connection->request, fd, EVENTS, on_ready) == 0); break;
    case READ: start_read(loop, connection); break;
    case SHOTS: receive(loop, connection); break;
    }
}

static void on_listener(loop_t *loop, loop_request_t *request, int64_t result) {
    int fd;
    if ((request->flags & LOOP_MORE) == 0) {
        CHECK(result == LOOP_ECANCELED);
        return;
    }
    while ((fd = accept_connection(listener_fd)) >= 0) add_connection(loop, fd);
}

int main(int argc, char **argv) {
    connections = (int)number_argument(argc, argv, 1, CONNECTIONS_MAX);
    CHECK(argc >= 3);
    style = strcmp(argv[2], "read") == 0 ? READ : strcmp(argv[2], "shots") == 0 ? SHOTS : WATCH;
    CHECK(style != WATCH || strcmp(argv[2], "watch") == 0);
    raise_descriptor_limit();
    loop_t *loop = make_loop_with_threads(argc > 3 ? (uint32_t)number_argument(argc, argv, 3, 1024) : 1);
    if (style == SHOTS) CHECK(loop_buffers_init(loop, &pool, NULL, ECHO_BUFFER, POOL_BUFFERS) == 0);
    listener_fd = listen_on_loopback();
    CHECK(loop_add_fd(loop, &listener_watch, listener_fd, LOOP_READABLE, on_listener) == 0);
    CHECK(loop_run(loop) == 0);
    CHECK(accepted == connections && ended == connections);
    if (style == SHOTS) CHECK(loop_buffers_deinit(pool) == 0);
    CHECK(loop_deinit(loop) == 0);
    close(listener_fd);
    return 0;
}
