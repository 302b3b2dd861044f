/*
 * Actors with stream sockets: clients that send tagged bytes and want them back, servants that send back what
 * they get, whatever it is, and acceptors that bring the two together.
 *
 * SPDX-License-Identifier: MIT
 */
#include "program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SEND = 0, BURST = 3, RECEIVE = 3, CONNECT = 4 };
enum { ROUND_MOST = 96 * 1024, CHUNK_MOST = 16 * 1024, SCRIBBLED = 64 };

static const uint8_t guard = 0xA5;

/* A close that the peer sees as a reset. */
static void set_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

/* Two pieces of memory, for the vectored calls and messages. */
typedef struct halves {
    struct iovec  pieces[2];
    struct msghdr message;
} halves_t;

static void halve(halves_t *halves, void *bytes, size_t length)
{
    halves->pieces[0] = (struct iovec){bytes, length / 2};
    halves->pieces[1] = (struct iovec){(uint8_t *)bytes + length / 2, length - length / 2};
    memset(&halves->message, 0, sizeof halves->message);
    halves->message.msg_iov = halves->pieces;
    halves->message.msg_iovlen = 2;
}

static const loop_iovec_t *vector_of(const halves_t *halves)
{
    return (const loop_iovec_t *)(const void *)halves->pieces;
}

/* Sends some of the bytes, by one of the calls that can. */
static void send_somehow(flight_t *flight, flight_end_t then, const void *bytes, size_t length,
                         halves_t *halves)
{
    actor_t        *actor = flight->actor;
    loop_t         *loop = actor->program->loop;
    loop_request_t *request = &flight->request;
    uint32_t        flags = one_in(&actor->chance, 2) ? LOOP_SEND_ALL : 0;
    flight->steady = false;
    prepare(flight, then, 1, (int64_t)length, stream_errors);
    halve(halves, (void *)(uintptr_t)bytes, length);
    switch (random_number(&actor->chance, 5)) {
    case 0: SUBMIT(flight, loop_write(loop, request, actor->fd, bytes, length, flight->callback)); break;
    case 1:
        SUBMIT(flight, loop_writev(loop, request, actor->fd, vector_of(halves), 2, flight->callback));
        break;
    case 2:
        SUBMIT(flight, loop_sendmsg(loop, request, actor->fd, &halves->message, flags, flight->callback));
        break;
    default:
        SUBMIT(flight, loop_send(loop, request, actor->fd, bytes, length, flags, flight->callback));
        break;
    }
}

/* Receives by one of the calls that take memory. With `all` it may also wait until the memory is full. */
static void receive_somehow(flight_t *flight, flight_end_t then, void *bytes, size_t length, bool all,
                            halves_t *halves)
{
    actor_t        *actor = flight->actor;
    loop_t         *loop = actor->program->loop;
    loop_request_t *request = &flight->request;
    uint32_t        flags = all && one_in(&actor->chance, 2) ? MSG_WAITALL : 0;
    prepare(flight, then, 0, (int64_t)length, stream_errors);
    halve(halves, bytes, length);
    switch (random_number(&actor->chance, 5)) {
    case 0: SUBMIT(flight, loop_read(loop, request, actor->fd, bytes, length, flight->callback)); break;
    case 1:
        SUBMIT(flight, loop_readv(loop, request, actor->fd, vector_of(halves), 2, flight->callback));
        break;
    case 2:
        SUBMIT(flight, loop_recvmsg(loop, request, actor->fd, &halves->message, flags, flight->callback));
        break;
    default:
        SUBMIT(flight, loop_recv(loop, request, actor->fd, bytes, length, flags, flight->callback));
        break;
    }
}

/* ---- clients ---------------------------------------------------------------------------------- */

typedef struct client {
    actor_t  actor;
    uint64_t tag, base; /* of the bytes of this round */
    bool     is_file_round;
    bool     is_leaving;
    unsigned rounds;
    size_t   length, sent, received;
    uint64_t position; /* in the stream of this connection */
    halves_t sending, receiving;
    size_t   wanted;
    uint8_t  outgoing[ROUND_MOST];
    uint8_t  incoming[CHUNK_MOST + 1];
} client_t;

static client_t *client_of(const flight_t *flight)
{
    return (client_t *)(void *)flight->actor;
}

static void start_round(client_t *client);
static void receive_more(client_t *client);

/* Once nothing is in flight any more, the act is over. */
static void leave_at_last(client_t *client)
{
    if (is_closed(&client->actor)) {
        rest(&client->actor);
    }
}

static void client_closed(flight_t *flight, int64_t result)
{
    (void)result;
    leave_at_last(client_of(flight));
}

static void leave(client_t *client)
{
    actor_t *actor = &client->actor;
    if (client->is_leaving) {
        return;
    }
    client->is_leaving = true;
    if (actor->program->has_resets && one_in(&actor->chance, 4)) {
        set_reset(actor->fd);
    }
    close_actor(actor, client_closed);
}

static void leave_broken(client_t *client)
{
    if (!client->is_leaving) {
        atomic_fetch_add(&client->actor.program->counts.broken_streams, 1);
        leave(client);
    }
}

/* The end of the stream, after the sending side was shut down. */
static void client_at_end(flight_t *flight, int64_t result)
{
    client_t *client = client_of(flight);
    EXPECT(flight->actor, flight, result <= 0);
    leave(client);
    leave_at_last(client);
}

static void client_shut(flight_t *flight, int64_t result)
{
    client_t *client = client_of(flight);
    flight_t *receive = &flight->actor->flights[RECEIVE];
    if (result < 0) {
        leave(client);
    } else {
        receive_somehow(receive, client_at_end, client->incoming, 1, false, &client->receiving);
    }
    leave_at_last(client);
}

static void shut_down(client_t *client)
{
    static const int errors[] = {LOOP_ENOTCONN, 0};
    flight_t        *flight = &client->actor.flights[CONNECT];
    prepare(flight, client_shut, 0, 0, errors);
    SUBMIT(flight, loop_shutdown(client->actor.program->loop, &flight->request, client->actor.fd, SHUT_WR,
                                 flight->callback));
}

static void next_round(flight_t *flight, int64_t result)
{
    client_t *client = client_of(flight);
    (void)result;
    if (client->rounds > 0 && !is_over(flight->actor)) {
        client->rounds--;
        start_round(client);
    } else if (one_in(&flight->actor->chance, 2)) {
        shut_down(client);
    } else {
        leave(client);
    }
}

static bool is_sending(const client_t *client)
{
    for (unsigned i = 0; i < BURST; i++) {
        if (client->actor.flights[SEND + i].aloft) {
            return true;
        }
    }
    return false;
}

/* A round is over when all came back, and the loop has said that all was sent. */
static void end_round(client_t *client)
{
    if (client->is_leaving) {
        leave_at_last(client);
    } else if (client->received == client->length && !is_sending(client)) {
        EXPECT(&client->actor, NULL, client->sent == client->length);
        pause_for(&client->actor, MILLISECONDS / 10, next_round);
    }
}

static void client_sent(flight_t *flight, int64_t result);

static void send_more(client_t *client)
{
    actor_t         *actor = &client->actor;
    const program_t *program = actor->program;
    flight_t        *flight = &actor->flights[SEND];
    size_t           left = client->length - client->sent;
    uint32_t         flags = one_in(&actor->chance, 2) ? LOOP_SEND_ALL : 0;
    if (!client->is_file_round) {
        send_somehow(flight, client_sent, client->outgoing + client->sent, left, &client->sending);
        return;
    }
    flight->steady = false;
    prepare(flight, client_sent, 1, (int64_t)left, stream_errors);
    SUBMIT(flight, loop_sendfile(program->loop, &flight->request, actor->fd, program->file,
                                 client->base + client->sent, left, flags, flight->callback));
}

static void client_sent(flight_t *flight, int64_t result)
{
    client_t *client = client_of(flight);
    if (!client->is_leaving && result < 0 && !interrupted(result)) {
        leave_broken(client);
    }
    client->sent += result > 0 ? (size_t)result : 0;
    if (!client->is_leaving && client->sent < client->length) {
        send_more(client);
    }
    end_round(client);
}

static void part_sent(flight_t *flight, int64_t result)
{
    client_t *client = client_of(flight);
    if (!client->is_leaving && result < flight->most) {
        leave_broken(client);
    }
    client->sent += result > 0 ? (size_t)result : 0;
    end_round(client);
}

/* Several sends at once are done in the order of their submits. None may be cancelled: the next one would go
 * on elsewhere in the stream. */
static void send_burst(client_t *client)
{
    actor_t *actor = &client->actor;
    size_t   at = 0;
    for (unsigned i = 0; i < BURST; i++) {
        flight_t *flight = &actor->flights[SEND + i];
        size_t    length = i + 1 < BURST ? client->length / BURST : client->length - at;
        flight->steady = true;
        prepare(flight, part_sent, 1, (int64_t)length, stream_errors);
        SUBMIT(flight, loop_send(actor->program->loop, &flight->request, actor->fd, client->outgoing + at,
                                 length, LOOP_SEND_ALL, flight->callback));
        at += length;
    }
}

static void resume_receiving(flight_t *flight, int64_t result)
{
    client_t *client = client_of(flight);
    (void)result;
    if (client->is_leaving) {
        leave_at_last(client);
    } else {
        receive_more(client);
    }
}

static void check_received(client_t *client, const flight_t *flight, size_t length)
{
    EXPECT(&client->actor, flight,
           is_tagged(client->incoming, length, client->tag, client->base + client->received));
    EXPECT(&client->actor, flight, client->incoming[client->wanted] == guard);
    memset(client->incoming, guard, SCRIBBLED);
    client->received += length;
    atomic_fetch_add(&client->actor.program->counts.bytes_verified, length);
}

static void client_received(flight_t *flight, int64_t result)
{
    client_t *client = client_of(flight);
    uint64_t *chance = &flight->actor->chance;
    if (result > 0) {
        check_received(client, flight, (size_t)result);
    } else if (!client->is_leaving && !interrupted(result)) {
        leave_broken(client);
    }
    if (client->is_leaving || client->received == client->length) {
        end_round(client);
    } else if (one_in(chance, 64)) {
        leave(client);
    } else if (one_in(chance, 16)) {
        pause_for(flight->actor, 2 * MILLISECONDS, resume_receiving);
    } else {
        receive_more(client);
    }
}

/* Memory that was delivered belongs to the program: nobody may have written to it since. */
static void receive_more(client_t *client)
{
    actor_t *actor = &client->actor;
    size_t   left = client->length - client->received;
    size_t   wanted = 1 + random_number(&actor->chance, CHUNK_MOST);
    for (size_t i = 0; i < SCRIBBLED; i++) {
        EXPECT(actor, &actor->flights[RECEIVE], client->incoming[i] == guard);
    }
    client->wanted = wanted < left ? wanted : left;
    client->incoming[client->wanted] = guard;
    receive_somehow(&actor->flights[RECEIVE], client_received, client->incoming, client->wanted, true,
                    &client->receiving);
}

static void start_round(client_t *client)
{
    actor_t         *actor = &client->actor;
    const program_t *program = actor->program;
    uint64_t        *chance = &actor->chance;
    client->length = 1 + random_number(chance, one_in(chance, 12) ? ROUND_MOST : 2048);
    client->sent = client->received = 0;
    client->is_file_round = one_in(chance, 6);
    bool is_burst = !client->is_file_round && client->length >= BURST && !actor->meddling.aloft &&
                    one_in(chance, 4);
    if (client->is_file_round) {
        client->tag = program->file_tag;
        client->base = random_number(chance, TAGGED_FILE_LENGTH - ROUND_MOST);
    } else {
        client->tag = new_tag();
        client->base = client->position;
        client->position += client->length;
        fill_tagged(client->outgoing, client->length, client->tag, client->base);
    }
    if (is_burst) {
        send_burst(client);
    } else {
        send_more(client);
    }
    receive_more(client);
}

static void connected(flight_t *flight, int64_t result)
{
    client_t *client = client_of(flight);
    if (result < 0) {
        leave(client);
    } else {
        next_round(flight, 0);
    }
}

static void client_begin(actor_t *actor)
{
    static const int  errors[] = {LOOP_EADDRNOTAVAIL, LOOP_ECONNRESET, LOOP_EPIPE, 0};
    client_t         *client = (client_t *)(void *)actor;
    program_t        *program = actor->program;
    flight_t         *flight = &actor->flights[CONNECT];
    const endpoint_t *server = &program->addresses[random_number(&actor->chance, 2)];
    int               family = server->any.sa_family;
    bool              is_blocking = one_in(&actor->chance, 8);
    int fd = is_blocking ? socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)
                         : loop_socket(program->loop, family, SOCK_STREAM, 0);
    if (fd < 0) {
        EXPECT(actor, NULL, program->options.faults || atomic_load(&program->ending));
        rest(actor);
        return;
    }
    open_actor(actor, fd);
    client->is_leaving = false;
    client->position = 0;
    client->rounds = 1 + random_number(&actor->chance, 6);
    memset(client->incoming, guard, sizeof client->incoming);
    prepare(flight, connected, 0, 0, errors);
    SUBMIT(flight, loop_connect(program->loop, &flight->request, fd, &server->any, server->length,
                                flight->callback));
}

const role_t client_role = {.name = "client", .size = sizeof(client_t), .begin = client_begin};

/* ---- servants --------------------------------------------------------------------------------- */

/* Bytes to be sent back, in a buffer of the pool or in the servant's own. */
typedef struct piece {
    uint8_t *bytes;
    size_t   length;
    bool     is_pooled;
} piece_t;

enum { PIECES = POOL_BUFFERS_MOST + 1 };

typedef struct servant {
    actor_t  actor;
    bool     is_serving, is_leaving, is_broken, is_at_end;
    bool     receives_pooled;
    piece_t  pieces[PIECES];
    unsigned first, count;
    size_t   sent; /* of the first piece */
    halves_t sending, receiving;
    uint8_t  buffer[CHUNK_MOST];
} servant_t;

static servant_t *servant_of(const flight_t *flight)
{
    return (servant_t *)(void *)flight->actor;
}

static void drop_piece(servant_t *servant)
{
    actor_t *actor = &servant->actor;
    piece_t *piece = &servant->pieces[servant->first];
    if (piece->is_pooled && actor->program->pool != NULL) {
        EXPECT(actor, NULL, loop_buffer_return(actor->program->pool, piece->bytes + piece->length / 2) == 0);
        atomic_fetch_add(&actor->program->counts.calls, 1);
    }
    servant->first = (servant->first + 1) % PIECES;
    servant->count--;
    servant->sent = 0;
}

static void add_piece(servant_t *servant, const flight_t *flight, piece_t piece)
{
    EXPECT(&servant->actor, flight, servant->count < PIECES);
    servant->pieces[(servant->first + servant->count++) % PIECES] = piece;
}

static void servant_left(servant_t *servant)
{
    actor_t *actor = &servant->actor;
    if (is_closed(actor)) {
        while (servant->count > 0) {
            drop_piece(servant);
        }
        servant->is_serving = false;
    }
}

static void servant_closed(flight_t *flight, int64_t result)
{
    (void)result;
    servant_left(servant_of(flight));
}

static void serve_on(servant_t *servant);

static void servant_sent(flight_t *flight, int64_t result)
{
    servant_t     *servant = servant_of(flight);
    const piece_t *piece = &servant->pieces[servant->first];
    if (result < 0) {
        servant->is_broken |= !interrupted(result);
    } else if ((servant->sent += (size_t)result) == piece->length) {
        drop_piece(servant);
    }
    serve_on(servant);
}

static void resume_serving(flight_t *flight, int64_t result)
{
    (void)result;
    serve_on(servant_of(flight));
}

static void take_piece(servant_t *servant, const flight_t *flight, int64_t result)
{
    void *buffer = loop_buffer(&flight->request);
    bool  has_buffer = (flight->request.flags & LOOP_BUFFER) != 0;
    EXPECT(flight->actor, flight, has_buffer == (buffer != NULL));
    EXPECT(flight->actor, flight, !servant->receives_pooled || has_buffer == (result > 0));
    if (result > 0) {
        add_piece(servant, flight, (piece_t){has_buffer ? buffer : servant->buffer, (size_t)result,
                                             has_buffer});
    }
}

static void servant_received(flight_t *flight, int64_t result)
{
    servant_t *servant = servant_of(flight);
    actor_t   *actor = flight->actor;
    take_piece(servant, flight, result);
    servant->is_at_end |= result == 0;
    if (result == LOOP_ENOBUFS) {
        if (!actor->pause.aloft) {
            pause_for(actor, MILLISECONDS, resume_serving);
        }
    } else if (result < 0) {
        servant->is_broken |= !interrupted(result);
    }
    serve_on(servant);
}

static void servant_receive(servant_t *servant)
{
    static const int errors[] = {LOOP_ECONNRESET, LOOP_EPIPE, LOOP_ENOBUFS, 0};
    actor_t         *actor = &servant->actor;
    program_t       *program = actor->program;
    flight_t        *flight = &actor->flights[RECEIVE];
    bool             is_multishot = one_in(&actor->chance, 2);
    servant->receives_pooled = servant->count > 0 || one_in(&actor->chance, 2);
    if (!servant->receives_pooled) {
        flight->multishot = false;
        receive_somehow(flight, servant_received, servant->buffer, sizeof servant->buffer, false,
                        &servant->receiving);
    } else if (!atomic_load(&program->ending)) {
        flight->multishot = is_multishot;
        prepare(flight, servant_received, 0, program->pool_buffer_size, errors);
        SUBMIT(flight, loop_recv_buffer(program->loop, &flight->request, actor->fd, program->pool,
                                        is_multishot ? LOOP_MULTISHOT : 0, flight->callback));
    }
}

/* Does what is to be done next. */
static void serve_on(servant_t *servant)
{
    actor_t  *actor = &servant->actor;
    bool      resets = actor->program->has_resets && one_in(&actor->chance, 256);
    flight_t *send = &actor->flights[SEND];
    if (servant->is_leaving) {
        servant_left(servant);
    } else if (servant->is_broken || resets || (servant->is_at_end && servant->count == 0)) {
        servant->is_leaving = true;
        if (resets) {
            set_reset(actor->fd);
        }
        close_actor(actor, servant_closed);
    } else {
        piece_t *piece = &servant->pieces[servant->first];
        if (servant->count > 0 && !send->aloft) {
            send_somehow(send, servant_sent, piece->bytes + servant->sent, piece->length - servant->sent,
                         &servant->sending);
        }
        if (!servant->is_at_end && !actor->flights[RECEIVE].aloft && !actor->pause.aloft) {
            servant_receive(servant);
        }
    }
}

void hand_over(program_t *program, int fd)
{
    for (unsigned i = 0; i < SERVANTS && fd >= 0 && !atomic_load(&program->ending); i++) {
        actor_t   *actor = program->servants[i];
        servant_t *servant = (servant_t *)(void *)actor;
        pthread_mutex_lock(&actor->lock);
        if (!servant->is_serving) {
            servant->is_serving = true;
            servant->is_leaving = servant->is_broken = servant->is_at_end = false;
            open_actor(actor, fd);
            fd = -1;
            serve_on(servant);
        }
        pthread_mutex_unlock(&actor->lock);
    }
    if (fd >= 0) {
        atomic_fetch_add(&program->counts.turned_away, 1);
        close(fd);
    }
}

static void servant_begin(actor_t *actor)
{
    (void)actor; /* hand_over begins */
}

static void servant_stop(actor_t *actor)
{
    cancel_flight(&actor->flights[RECEIVE]);
}

const role_t servant_role = {
    .name = "servant",
    .size = sizeof(servant_t),
    .is_server = true,
    .begin = servant_begin,
    .stop = servant_stop,
};

/* ---- acceptors -------------------------------------------------------------------------------- */

typedef struct acceptor {
    actor_t        actor;
    bool           is_stopped;
    endpoint_t     peer;
    loop_socklen_t peer_length;
} acceptor_t;

static void acceptor_begin(actor_t *actor);

static void resume_accepting(flight_t *flight, int64_t result)
{
    (void)result;
    acceptor_begin(flight->actor);
}

static void accepted(flight_t *flight, int64_t result)
{
    if (result >= 0) {
        hand_over(flight->actor->program, (int)result);
    }
    if (flight->aloft) {
        return;
    }
    if (result == LOOP_EMFILE || result == LOOP_ENFILE) {
        pause_for(flight->actor, 5 * MILLISECONDS, resume_accepting);
    } else {
        acceptor_begin(flight->actor);
    }
}

static void acceptor_begin(actor_t *actor)
{
    static const int errors[] = {LOOP_ECONNABORTED, 0};
    acceptor_t      *acceptor = (acceptor_t *)(void *)actor;
    program_t       *program = actor->program;
    flight_t        *flight = &actor->flights[0];
    bool             wants_address = one_in(&actor->chance, 2);
    if (acceptor->is_stopped) {
        return;
    }
    if (actor->fd < 0) {
        open_actor(actor, program->listeners[actor->number]);
        program->listeners[actor->number] = -1;
    }
    acceptor->peer_length = sizeof acceptor->peer;
    flight->multishot = one_in(&actor->chance, 2);
    prepare(flight, accepted, 0, INT32_MAX, errors);
    SUBMIT(flight, loop_accept(program->loop, &flight->request, actor->fd,
                               wants_address ? &acceptor->peer.any : NULL,
                               wants_address ? &acceptor->peer_length : NULL,
                               flight->multishot ? LOOP_MULTISHOT : 0, flight->callback));
}

static void acceptor_stop(actor_t *actor)
{
    ((acceptor_t *)(void *)actor)->is_stopped = true;
    cancel_flight(&actor->flights[0]);
}

const role_t acceptor_role = {
    .name = "acceptor",
    .size = sizeof(acceptor_t),
    .is_server = true,
    .begin = acceptor_begin,
    .stop = acceptor_stop,
};
