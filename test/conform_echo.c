/*
 * Conformance of whole conversations: a server that accepts and echoes, and clients that connect, send in
 * pieces, check and shut down, all by callbacks of one loop.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

#include <netinet/tcp.h>

enum { CLIENTS = 24, ROUNDS = 25, LONGEST = 30000 };

/* ---- the server ------------------------------------------------------------------------------ */

typedef struct session {
    loop_request_t request; /* first, so that a callback can get at the rest */
    int            fd;
    char           bytes[7000];
} session_t;

typedef struct server {
    loop_request_t accepting; /* first */
    int            listener;
    session_t      sessions[CLIENTS];
    atomic_uint    accepted, closed;
} server_t;

static void echo_closed(loop_t *loop, loop_request_t *request, int64_t result)
{
    server_t *server = request->user;
    CHECK(result == 0);
    if (atomic_fetch_add(&server->closed, 1) + 1 == CLIENTS) {
        CHECK(loop_cancel(loop, &server->accepting) == 0);
    }
}

static void echo_received(loop_t *loop, loop_request_t *request, int64_t result);

static void receive_some(loop_t *loop, session_t *session)
{
    size_t length = sizeof session->bytes;
    CHECK(loop_recv(loop, &session->request, session->fd, session->bytes, length, 0, echo_received) == 0);
}

static void echo_sent(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(result > 0);
    receive_some(loop, (session_t *)(void *)request);
}

static void echo_received(loop_t *loop, loop_request_t *request, int64_t result)
{
    session_t *session = (session_t *)(void *)request;
    CHECK(result >= 0);
    if (result == 0) {
        CHECK(loop_close(loop, request, session->fd, echo_closed) == 0);
    } else {
        size_t length = (size_t)result;
        CHECK(loop_send(loop, request, session->fd, session->bytes, length, LOOP_SEND_ALL, echo_sent) == 0);
    }
}

static void accepted(loop_t *loop, loop_request_t *request, int64_t result)
{
    server_t *server = (server_t *)(void *)request;
    if ((request->flags & LOOP_MORE) == 0) {
        CHECK(result == LOOP_ECANCELED);
        return;
    }
    CHECK(result >= 0);
    session_t *session = &server->sessions[atomic_fetch_add(&server->accepted, 1)];
    session->request.user = server;
    session->fd = (int)result;
    receive_some(loop, session);
}

/* ---- the clients ----------------------------------------------------------------------------- */

typedef struct client {
    loop_request_t sending; /* first */
    loop_request_t receiving;
    int            fd;
    unsigned       number, round;
    uint64_t       chance;
    size_t         received; /* bytes since the beginning */
    size_t         end;      /* how many there will be after this round */
    size_t         length;   /* of this round */
    atomic_uint    parts;    /* of this round that are to complete: sending and receiving */
    struct msghdr  message;
    struct iovec   vectors[3];
    char           out[LONGEST], in[5000];
    atomic_uint   *finished;
} client_t;

static void client_received(loop_t *loop, loop_request_t *request, int64_t result);
static void next_round(loop_t *loop, client_t *client);

static void receive_echo(loop_t *loop, client_t *client)
{
    size_t length = sizeof client->in;
    CHECK(loop_recv(loop, &client->receiving, client->fd, client->in, length, 0, client_received) == 0);
}

static void client_shut_down(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(result == 0);
    receive_echo(loop, (client_t *)(void *)request);
}

/* A round ends with the later of its two parts, which may complete in either order. */
static void end_part(loop_t *loop, client_t *client)
{
    if (atomic_fetch_sub(&client->parts, 1) > 1) {
        return;
    }
    if (++client->round < ROUNDS) {
        next_round(loop, client);
    } else {
        CHECK(loop_shutdown(loop, &client->sending, client->fd, SHUT_WR, client_shut_down) == 0);
    }
}

static void client_sent(loop_t *loop, loop_request_t *request, int64_t result)
{
    client_t *client = (client_t *)(void *)request;
    CHECK(result == (int64_t)client->length);
    end_part(loop, client);
}

static void client_closed(loop_t *loop, loop_request_t *request, int64_t result)
{
    client_t *client = request->user;
    (void)loop;
    CHECK(result == 0);
    atomic_fetch_add(client->finished, 1);
}

static void client_received(loop_t *loop, loop_request_t *request, int64_t result)
{
    client_t *client = request->user;
    CHECK(result >= 0 && has_pattern(client->in, (size_t)result, client->received));
    client->received += (size_t)result;
    if (result == 0) {
        CHECK(client->round == ROUNDS && client->received == client->end);
        CHECK(loop_close(loop, request, client->fd, client_closed) == 0);
    } else if (client->received < client->end) {
        receive_echo(loop, client);
    } else {
        end_part(loop, client);
    }
}

/* Sends the next part of the pattern, in one buffer or in three, and begins to receive its echo. */
static void next_round(loop_t *loop, client_t *client)
{
    size_t          length = 1 + random_below(&client->chance, LONGEST), third = length / 3;
    loop_request_t *request = &client->sending;
    int             status;
    client->length = length;
    client->end = client->received + length;
    fill_with_pattern(client->out, length, client->received);
    atomic_store(&client->parts, 2);
    if (client->number % 2 == 0) {
        status = loop_send(loop, request, client->fd, client->out, length, LOOP_SEND_ALL, client_sent);
    } else {
        client->vectors[0] = (struct iovec){client->out, third};
        client->vectors[1] = (struct iovec){client->out + third, third};
        client->vectors[2] = (struct iovec){client->out + 2 * third, length - 2 * third};
        client->message = (struct msghdr){.msg_iov = client->vectors, .msg_iovlen = 3};
        status = loop_sendmsg(loop, request, client->fd, &client->message, LOOP_SEND_ALL, client_sent);
    }
    CHECK(status == 0);
    receive_echo(loop, client);
}

static void connected(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(result == 0);
    next_round(loop, request->user);
}

/* ---- conversations --------------------------------------------------------------------------- */

static void send_without_delay(int fd)
{
    int one = 1;
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0 || errno == EOPNOTSUPP);
}

/* Runs a server at the listener and clients of it to their ends. */
static void converse(loop_t *loop, int listener, bool nonblocking)
{
    endpoint_t  endpoint = name_of(listener);
    server_t   *server = calloc(1, sizeof *server);
    client_t   *clients = calloc(CLIENTS, sizeof *clients);
    atomic_uint finished = 0;
    set_nonblocking(listener, nonblocking);
    send_without_delay(listener); /* accepted sockets inherit it */
    server->listener = listener;
    assert_result(loop_accept(loop, &server->accepting, listener, NULL, NULL, LOOP_MULTISHOT, accepted), 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        client_t *client = &clients[i];
        client->number = i;
        client->chance = 1 + i;
        client->finished = &finished;
        client->receiving.user = client;
        client->fd = make_socket(endpoint.any.sa_family, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0));
        send_without_delay(client->fd);
        assert_result(loop_connect(loop, &client->receiving, client->fd, &endpoint.any, endpoint.length,
                                   connected),
                      0);
    }
    run(loop);
    assert_int_equal(atomic_load(&finished), CLIENTS);
    assert_int_equal(atomic_load(&server->closed), CLIENTS);
    assert_int_equal(atomic_load(&server->accepted), CLIENTS);
    free(clients);
    free(server);
    close(listener);
}

LOOP_TEST(conversations_over_tcp)
{
    converse(loop, make_listener(AF_INET, CLIENTS), true);
    converse(loop, make_listener(AF_INET, CLIENTS), false);
}

TEST(conversations_over_ip6)
{
    if (!has_ip6_loopback()) {
        print_message("    this machine has no ::1\n");
        skip();
    }
    loop_t *loop = new_loop();
    converse(loop, make_listener(AF_INET6, CLIENTS), true);
    end_loop(loop);
}

LOOP_TEST(conversations_over_unix_sockets)
{
    for (int backlog = 0; backlog <= CLIENTS; backlog += CLIENTS) {
        endpoint_t endpoint = local_endpoint(temporary_path("echo"));
        int        listener = make_socket(AF_UNIX, SOCK_STREAM);
        assert_int_equal(bind(listener, &endpoint.any, endpoint.length), 0);
        assert_int_equal(listen(listener, backlog), 0);
        converse(loop, listener, backlog == 0);
        assert_int_equal(unlink(endpoint.local.sun_path), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(conversations_over_tcp),
        GUARDED(conversations_over_ip6),
        GUARDED(conversations_over_unix_sockets),
    };
    return RUN_SUITE(tests);
}
