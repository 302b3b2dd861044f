/*
 * What balance.c and reuseport.c have in common: echoing the bytes of a connection in one of several loops,
 * and clients that try it.
 */
#ifndef ECHO_SERVICE_H
#define ECHO_SERVICE_H

#include <loop.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOPS = 4, CLIENTS = 8, CONNECTIONS_EACH = 16, MESSAGES = 20, MESSAGE_BYTES = 4096 };
enum { CONNECTIONS = CLIENTS * CONNECTIONS_EACH };

/* ---- the service --------------------------------------------------------------------------------- */

/* One loop and the thread that runs it. Only that thread touches the counters, until it has ended; the one
 * exception says so itself. */
typedef struct service {
    loop_t        *loop;
    pthread_t      thread;
    loop_request_t accept;           /* reuseport.c: this loop accepts for itself */
    int            listen_fd;
    atomic_uint    connections_open; /* balance.c: read where connections are handed out */
    unsigned       connections_served;
    uint64_t       bytes_echoed;
    bool           failed;
} service_t;

/* One request is enough: a connection receives or sends, never both at once. */
typedef struct connection {
    loop_request_t request;
    service_t     *service;
    int            fd;
    int64_t        length; /* of what was received and is being sent back */
    char           buffer[MESSAGE_BYTES];
} connection_t;

/* Only called while nothing of the connection is in flight; then close and free are safe. */
static inline void end_connection(connection_t *connection) {
    atomic_fetch_sub(&connection->service->connections_open, 1);
    close(connection->fd);
    free(connection);
}

static inline void on_received(loop_t *loop, loop_request_t *request, int64_t result);

static inline void on_sent(loop_t *loop, loop_request_t *request, int64_t result) {
    connection_t *connection = request->user;
    if (result > 0) connection->service->bytes_echoed += (uint64_t)result;
    /* With LOOP_SEND_ALL fewer bytes than asked for mean that the client is gone. */
    if (result < connection->length || loop_recv(loop, request, connection->fd, connection->buffer,
                                                 sizeof connection->buffer, 0, on_received) < 0)
        end_connection(connection);
}

static inline void on_received(loop_t *loop, loop_request_t *request, int64_t result) {
    connection_t *connection = request->user;
    connection->length = result;
    if (result <= 0 || loop_send(loop, request, connection->fd, connection->buffer, (size_t)result,
                                 LOOP_SEND_ALL, on_sent) < 0)
        end_connection(connection);
}

/* Makes a connection of a descriptor; when there is no memory, closes it and returns NULL. */
static inline connection_t *new_connection(service_t *service, int fd) {
    connection_t *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        close(fd);
        return NULL;
    }
    connection->request.user = connection;
    connection->service = service;
    connection->fd = fd;
    atomic_fetch_add(&service->connections_open, 1);
    return connection;
}

/* Serves a connection from now on: called in the loop of its service. */
static inline void serve_connection(loop_t *loop, connection_t *connection) {
    connection->service->connections_served++;
    if (loop_recv(loop, &connection->request, connection->fd, connection->buffer,
                  sizeof connection->buffer, 0, on_received) < 0)
        end_connection(connection);
}

/* The thread of a loop. It comes back when nothing is pending in the loop any more. */
static inline void *run_service(void *argument) {
    service_t *service = argument;
    if (loop_run(service->loop) < 0) service->failed = true;
    return NULL;
}

/* Prints what each loop did; false unless every one served some connections, and together they served all. */
static inline bool report(const service_t *services) {
    unsigned connections = 0;
    uint64_t bytes = 0;
    bool     good = true;
    for (int i = 0; i < LOOPS; i++) {
        const service_t *service = &services[i];
        printf("loop %d served %3u connections, %8llu bytes\n", i, service->connections_served,
               (unsigned long long)service->bytes_echoed);
        connections += service->connections_served;
        bytes += service->bytes_echoed;
        good = good && !service->failed && service->connections_served > 0;
    }
    printf("together %u connections, %llu bytes\n", connections, (unsigned long long)bytes);
    return good && connections == CONNECTIONS && bytes == (uint64_t)CONNECTIONS * MESSAGES * MESSAGE_BYTES;
}

/* ---- sockets ------------------------------------------------------------------------------------- */

/* Returns a listening socket on the loopback interface, or a negative error. Port 0: any free one. */
static inline int listen_on(uint16_t port, bool share_port) {
    const int          on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if ((!share_port || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
        bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

static inline uint16_t port_of(int fd) {
    struct sockaddr_in address = {0};
    socklen_t          size = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &size);
    return ntohs(address.sin_port);
}

/* ---- clients ------------------------------------------------------------------------------------- */

/* A thread with several connections, in plain blocking calls. */
typedef struct client {
    pthread_t thread;
    uint16_t  port;
    unsigned  number;
    bool      good; /* all that was sent came back, and nothing else; read after the thread has ended */
} client_t;

static inline int connect_to(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    perror("connect");
    if (fd >= 0) close(fd);
    return -1;
}

/* Different in each connection and each time, so that mixed up bytes show. */
static inline void fill_message(char *message, const client_t *client, unsigned connection, unsigned round) {
    unsigned seed = client->number * 7 + connection * 31 + round * 13;
    for (unsigned i = 0; i < MESSAGE_BYTES; i++) message[i] = (char)(seed + (i ^ i >> 8));
}

/* Sends one message on each connection, then wants each back. */
static inline bool echo_once(const client_t *client, const int *fds, unsigned round) {
    char sent[MESSAGE_BYTES], received[MESSAGE_BYTES];
    for (unsigned i = 0; i < CONNECTIONS_EACH; i++) {
        fill_message(sent, client, i, round);
        if (send(fds[i], sent, sizeof sent, MSG_NOSIGNAL) != (ssize_t)sizeof sent) return false;
    }
    for (unsigned i = 0; i < CONNECTIONS_EACH; i++) {
        fill_message(sent, client, i, round);
        if (recv(fds[i], received, sizeof received, MSG_WAITALL) != (ssize_t)sizeof received) return false;
        if (memcmp(sent, received, sizeof sent) != 0) return false;
    }
    return true;
}

static inline void *run_client(void *argument) {
    client_t *client = argument;
    int       fds[CONNECTIONS_EACH];
    unsigned  connected = 0;
    while (connected < CONNECTIONS_EACH && (fds[connected] = connect_to(client->port)) >= 0) connected++;

    client->good = connected == CONNECTIONS_EACH;
    for (unsigned round = 0; client->good && round < MESSAGES; round++)
        client->good = echo_once(client, fds, round);
    for (unsigned i = 0; i < connected; i++) close(fds[i]);
    if (!client->good) fprintf(stderr, "client %u: what was sent did not come back\n", client->number);
    return NULL;
}

static inline bool start_clients(client_t *clients, uint16_t port) {
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (client_t){.port = port, .number = i};
        if (pthread_create(&clients[i].thread, NULL, run_client, &clients[i]) != 0) return false;
    }
    return true;
}

/* Waits for all clients; false if one of them was not content. */
static inline bool join_clients(client_t *clients) {
    bool good = true;
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
        good = good && clients[i].good;
    }
    return good;
}

#endif /* ECHO_SERVICE_H */
