/*
 * Actors with datagram sockets: clients that send tagged datagrams and want them back, and a server.
 *
 * SPDX-License-Identifier: MIT
 */
#include "program.h"

#include <string.h>
#include <sys/uio.h>

enum { SEND = 0, RECEIVE = 1, CONNECT = 2 };
enum { DATAGRAM_MOST = 1400 };

/* What a datagram begins with; its tagged bytes follow. */
typedef struct header {
    uint64_t tag, number;
} header_t;

#define ANSWER_PATIENCE (20 * MILLISECONDS) /* a datagram may be lost on its way */

/* ---- clients ---------------------------------------------------------------------------------- */

typedef struct datagram_client {
    actor_t        actor;
    bool           is_connected;
    header_t       header;
    unsigned       rounds;
    struct iovec   piece;
    struct msghdr  message;
    uint8_t        outgoing[DATAGRAM_MOST], incoming[DATAGRAM_MOST];
    endpoint_t     peer;
    loop_socklen_t peer_length;
} datagram_client_t;

static datagram_client_t *client_of(const flight_t *flight)
{
    return (datagram_client_t *)(void *)flight->actor;
}

static void next_datagram(datagram_client_t *client);

static void client_closed(flight_t *flight, int64_t result)
{
    (void)result;
    rest(flight->actor);
}

static void leave(actor_t *actor)
{
    close_actor(actor, client_closed);
}

static void receive_answer(datagram_client_t *client);

static void check_answer(datagram_client_t *client, const flight_t *flight, size_t length)
{
    header_t header;
    EXPECT(flight->actor, flight, length >= sizeof header);
    memcpy(&header, client->incoming, sizeof header);
    EXPECT(flight->actor, flight, header.tag == client->header.tag);
    EXPECT(flight->actor, flight, header.number <= client->header.number);
    EXPECT(flight->actor, flight,
           is_tagged(client->incoming + sizeof header, length - sizeof header, header.tag,
                     header.number * DATAGRAM_MOST));
    atomic_fetch_add(&flight->actor->program->counts.bytes_verified, length);
    if (header.number < client->header.number) {
        receive_answer(client); /* a late one */
    } else {
        next_datagram(client);
    }
}

static void answered(flight_t *flight, int64_t result)
{
    datagram_client_t *client = client_of(flight);
    if (result >= 0) {
        check_answer(client, flight, (size_t)result);
    } else {
        next_datagram(client);
    }
}

static void receive_answer(datagram_client_t *client)
{
    actor_t        *actor = &client->actor;
    flight_t       *flight = &actor->flights[RECEIVE];
    loop_t         *loop = actor->program->loop;
    loop_request_t *request = &flight->request;
    uint8_t        *bytes = client->incoming;
    prepare(flight, answered, 1, DATAGRAM_MOST, NULL);
    request->timeout_ns = ANSWER_PATIENCE;
    client->piece = (struct iovec){bytes, DATAGRAM_MOST};
    client->message = (struct msghdr){.msg_iov = &client->piece, .msg_iovlen = 1};
    client->peer_length = sizeof client->peer;
    switch (random_number(&actor->chance, 4)) {
    case 0:
        SUBMIT(flight, loop_recvfrom(loop, request, actor->fd, bytes, DATAGRAM_MOST, 0, &client->peer.any,
                                     &client->peer_length, flight->callback));
        break;
    case 1:
        SUBMIT(flight, loop_recvmsg(loop, request, actor->fd, &client->message, 0, flight->callback));
        break;
    case 2:
        SUBMIT(flight, loop_read(loop, request, actor->fd, bytes, DATAGRAM_MOST, flight->callback));
        break;
    default:
        SUBMIT(flight, loop_recv(loop, request, actor->fd, bytes, DATAGRAM_MOST, 0, flight->callback));
        break;
    }
}

static void datagram_sent(flight_t *flight, int64_t result)
{
    datagram_client_t *client = client_of(flight);
    if (result < 0) {
        next_datagram(client);
    } else {
        receive_answer(client);
    }
}

static void send_datagram(datagram_client_t *client, size_t length)
{
    actor_t          *actor = &client->actor;
    flight_t         *flight = &actor->flights[SEND];
    loop_t           *loop = actor->program->loop;
    loop_request_t   *request = &flight->request;
    const endpoint_t *server = &actor->program->datagram_address;
    prepare(flight, datagram_sent, (int64_t)length, (int64_t)length, NULL);
    client->piece = (struct iovec){client->outgoing, length};
    client->message = (struct msghdr){.msg_iov = &client->piece, .msg_iovlen = 1};
    if (!client->is_connected) {
        client->message.msg_name = (void *)(uintptr_t)&server->any;
        client->message.msg_namelen = server->length;
    }
    if (one_in(&actor->chance, 3)) {
        SUBMIT(flight, loop_sendmsg(loop, request, actor->fd, &client->message, 0, flight->callback));
    } else if (client->is_connected) {
        SUBMIT(flight, loop_send(loop, request, actor->fd, client->outgoing, length, 0, flight->callback));
    } else {
        SUBMIT(flight, loop_sendto(loop, request, actor->fd, client->outgoing, length, 0, &server->any,
                                   server->length, flight->callback));
    }
}

static void next_datagram(datagram_client_t *client)
{
    actor_t *actor = &client->actor;
    size_t   length = random_number(&actor->chance, DATAGRAM_MOST - sizeof(header_t));
    if (client->rounds-- == 0 || is_over(actor)) {
        leave(actor);
        return;
    }
    client->header.number++;
    memcpy(client->outgoing, &client->header, sizeof client->header);
    fill_tagged(client->outgoing + sizeof client->header, length, client->header.tag,
                client->header.number * DATAGRAM_MOST);
    send_datagram(client, sizeof client->header + length);
}

static void connected(flight_t *flight, int64_t result)
{
    datagram_client_t *client = client_of(flight);
    client->is_connected = result == 0;
    if (result < 0) {
        leave(flight->actor);
    } else {
        next_datagram(client);
    }
}

/* Each act has an address of the loopback device for itself: no answer to an earlier one can come to it. */
static void bind_uniquely(const actor_t *actor, int fd)
{
    static atomic_uint acts;
    uint32_t           host = 0x7F010000u + atomic_fetch_add(&acts, 1) % 0x00FE0000u;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};
    EXPECT(actor, NULL, bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
}

static void client_begin(actor_t *actor)
{
    datagram_client_t *client = (datagram_client_t *)(void *)actor;
    program_t         *program = actor->program;
    flight_t          *flight = &actor->flights[CONNECT];
    int                fd = loop_socket(program->loop, AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) {
        EXPECT(actor, NULL, program->options.faults || atomic_load(&program->ending));
        rest(actor);
        return;
    }
    bind_uniquely(actor, fd);
    open_actor(actor, fd);
    client->is_connected = false;
    client->header = (header_t){.tag = new_tag()};
    client->rounds = 1 + random_number(&actor->chance, 20);
    if (one_in(&actor->chance, 2)) {
        prepare(flight, connected, 0, 0, NULL);
        SUBMIT(flight, loop_connect(program->loop, &flight->request, fd, &program->datagram_address.any,
                                    program->datagram_address.length, flight->callback));
    } else {
        next_datagram(client);
    }
}

const role_t datagram_client_role = {
    .name = "datagram client",
    .size = sizeof(datagram_client_t),
    .begin = client_begin,
};

/* ---- the server ------------------------------------------------------------------------------- */

typedef struct datagram_server {
    actor_t        actor;
    bool           is_stopped;
    endpoint_t     peer;
    loop_socklen_t peer_length;
    uint8_t        bytes[DATAGRAM_MOST];
} datagram_server_t;

static void server_begin(actor_t *actor);

static void echoed(flight_t *flight, int64_t result)
{
    (void)result; /* one that was cancelled is a datagram lost */
    server_begin(flight->actor);
}

static void arrived(flight_t *flight, int64_t result)
{
    actor_t           *actor = flight->actor;
    datagram_server_t *server = (datagram_server_t *)(void *)actor;
    flight_t          *send = &actor->flights[SEND];
    if (result < 0) {
        server_begin(actor);
        return;
    }
    prepare(send, echoed, result, result, NULL);
    SUBMIT(send, loop_sendto(actor->program->loop, &send->request, actor->fd, server->bytes, (size_t)result,
                             0, &server->peer.any, server->peer_length, send->callback));
}

static void server_begin(actor_t *actor)
{
    datagram_server_t *server = (datagram_server_t *)(void *)actor;
    flight_t          *flight = &actor->flights[RECEIVE];
    if (server->is_stopped) {
        return;
    }
    if (actor->fd < 0) {
        open_actor(actor, actor->program->datagram_server);
        actor->program->datagram_server = -1;
    }
    server->peer_length = sizeof server->peer;
    prepare(flight, arrived, 1, DATAGRAM_MOST, NULL);
    SUBMIT(flight, loop_recvfrom(actor->program->loop, &flight->request, actor->fd, server->bytes,
                                 DATAGRAM_MOST, 0, &server->peer.any, &server->peer_length,
                                 flight->callback));
}

static void server_stop(actor_t *actor)
{
    ((datagram_server_t *)(void *)actor)->is_stopped = true;
    cancel_flight(&actor->flights[RECEIVE]);
    cancel_flight(&actor->flights[SEND]);
}

const role_t datagram_server_role = {
    .name = "datagram server",
    .size = sizeof(datagram_server_t),
    .is_server = true,
    .begin = server_begin,
    .stop = server_stop,
};
