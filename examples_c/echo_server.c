/*
 * echo_server: a TCP server that sends back what it gets.
 *
 *     echo_server PORT [CONNECTIONS]    PORT 0: any free one. Ends after CONNECTIONS, on SIGINT or SIGTERM.
 *     echo_server                       tests itself: serves one connection of its own
 *
 * Shown: one request accepts all clients. A receive takes a buffer from a pool when bytes have come, so idle
 * clients hold none; sends have a time limit, so clients that take nothing hold one only so long. What every
 * such server has to get right is here: clients that close their writing end first, more busy clients than
 * buffers, running out of descriptors, and an end in which every connection is closed and all memory freed.
 *
 * echo_client.c is the other side, on readiness instead of completions.
 */
#define _GNU_SOURCE

#include <loop.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_LIMIT_NS UINT64_C(10000000000)

enum { BUFFER_BYTES = 64 * 1024, BUFFERS = 64, SELF_TEST_BYTES = 20000 };

typedef struct connection connection_t;

typedef struct server {
    loop_request_t  accept;
    loop_request_t  signal_read; /* waits for a byte from on_signal */
    char            signal_byte;
    int             listen_fd;
    loop_buffers_t *buffers;
    connection_t   *connections;                  /* all of them */
    connection_t   *first_waiting, *last_waiting; /* those for which no buffer was left */
    bool            out_of_fds;                   /* no descriptor was left for the next client */
    bool            ending, failed;
    uint64_t        connections_limit; /* 0 = none */
    uint64_t        connections_accepted, connections_ended;
    uint64_t        bytes_echoed;
} server_t;

/* One client. It has one request, because it does one thing at a time: receive, or send back. */
struct connection {
    loop_request_t request;
    server_t      *server;
    connection_t  *previous, *next; /* in the list of all */
    connection_t  *next_waiting;
    int            fd;
    void          *buffer; /* held while its bytes are sent back */
    int64_t        length; /* of these */
};

static void end(loop_t *loop, server_t *server);
static void on_accepted(loop_t *loop, loop_request_t *request, int64_t result);
static void resume_next(loop_t *loop, server_t *server);
static void on_received(loop_t *loop, loop_request_t *request, int64_t result);

/* ---- one connection ------------------------------------------------------------------------------ */

/* Refused only when the loop is being deinitialised; then nobody is to come any more. */
static void accept_clients(loop_t *loop, server_t *server) {
    server->out_of_fds = false;
    loop_accept(loop, &server->accept, server->listen_fd, NULL, NULL, LOOP_MULTISHOT, on_accepted);
}

/* Only called while no request of the connection is in flight; then a plain close is safe, and so is free. */
static void end_connection(loop_t *loop, connection_t *connection) {
    server_t *server = connection->server;
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        server->connections = connection->next;
    if (connection->next != NULL) connection->next->previous = connection->previous;
    close(connection->fd);
    free(connection);
    server->connections_ended++;
    if (server->connections_ended == server->connections_limit)
        end(loop, server);
    else if (server->out_of_fds && !server->ending)
        accept_clients(loop, server); /* now one is free again */
    resume_next(loop, server); /* it may have been given a turn and not needed the buffer */
}

static void receive(loop_t *loop, connection_t *connection) {
    connection->request.timeout_ns = 0; /* a client may think for as long as it likes */
    if (connection->server->ending || loop_recv_buffer(loop, &connection->request, connection->fd,
                                                       connection->server->buffers, 0, on_received) < 0)
        end_connection(loop, connection);
}

static void wait_for_buffer(connection_t *connection) {
    server_t *server = connection->server;
    connection->next_waiting = NULL;
    if (server->first_waiting == NULL)
        server->first_waiting = connection;
    else
        server->last_waiting->next_waiting = connection;
    server->last_waiting = connection;
}

/* Lets the next one that waits for a buffer try again; if there is none after all, it waits again. */
static void resume_next(loop_t *loop, server_t *server) {
    connection_t *connection = server->first_waiting;
    if (connection == NULL) return;
    server->first_waiting = connection->next_waiting;
    receive(loop, connection);
}

static void return_buffer(loop_t *loop, connection_t *connection) {
    loop_buffer_return(connection->server->buffers, connection->buffer);
    resume_next(loop, connection->server);
}

static void on_sent(loop_t *loop, loop_request_t *request, int64_t result) {
    connection_t *connection = request->user;
    if (result > 0) connection->server->bytes_echoed += (uint64_t)result;
    return_buffer(loop, connection);
    /* With LOOP_SEND_ALL fewer bytes than asked for mean that the client is gone, or took too long. */
    if (result < connection->length)
        end_connection(loop, connection);
    else
        receive(loop, connection);
}

/* Receives once, not until there is no more: so a fast client gets one turn like all others. */
static void on_received(loop_t *loop, loop_request_t *request, int64_t result) {
    connection_t *connection = request->user;
    if (result == LOOP_ENOBUFS && !connection->server->ending) {
        wait_for_buffer(connection);
        return;
    }
    if (result <= 0) { /* 0: the client closed its writing end, and all that it sent has been sent back */
        end_connection(loop, connection);
        return;
    }
    connection->buffer = loop_buffer(request);
    connection->length = result;
    request->timeout_ns = SEND_LIMIT_NS;
    if (loop_send(loop, request, connection->fd, connection->buffer, (size_t)result, LOOP_SEND_ALL,
                  on_sent) < 0) {
        return_buffer(loop, connection);
        end_connection(loop, connection);
    }
}

/* ---- the server ---------------------------------------------------------------------------------- */

/* Ends all that is in flight, so that loop_run returns once the last completion has been delivered. */
static void end(loop_t *loop, server_t *server) {
    if (server->ending) return;
    server->ending = true;
    server->first_waiting = NULL;
    loop_cancel(loop, &server->accept);
    loop_cancel(loop, &server->signal_read);
    for (connection_t *connection = server->connections, *next; connection != NULL; connection = next) {
        next = connection->next;
        /* Nothing of it is in flight: it was one of those that wait for a buffer. */
        if (loop_cancel(loop, &connection->request) < 0) end_connection(loop, connection);
    }
}

static void fail(loop_t *loop, server_t *server, const char *what, int error) {
    fprintf(stderr, "echo_server: %s: %s\n", what, loop_error_message(error));
    server->failed = true;
    end(loop, server);
}

static void begin_connection(loop_t *loop, server_t *server, int fd) {
    /* Small messages go out at once instead of waiting for more to come. */
    const int     on = 1;
    connection_t *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        close(fd);
        fail(loop, server, "a connection", LOOP_ENOMEM);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->request.user = connection;
    connection->server = server;
    connection->fd = fd;
    connection->next = server->connections;
    if (connection->next != NULL) connection->next->previous = connection;
    server->connections = connection;
    server->connections_accepted++;
    receive(loop, connection);
}

/* Called for each client, and once more when the request ends. */
static void on_accepted(loop_t *loop, loop_request_t *request, int64_t result) {
    server_t *server = request->user;
    bool      is_full = server->connections_accepted == server->connections_limit &&
                   server->connections_limit != 0;
    if (result >= 0 && (is_full || server->ending)) {
        close((int)result); /* it was on its way when the accept was cancelled */
    } else if (result >= 0) {
        begin_connection(loop, server, (int)result);
        if (server->connections_accepted == server->connections_limit) loop_cancel(loop, request);
    } else if ((result == LOOP_EMFILE || result == LOOP_ENFILE) && server->connections != NULL) {
        server->out_of_fds = true; /* the client stays in the queue until end_connection goes on */
    } else if (result != LOOP_ECANCELED) {
        fail(loop, server, "accept", (int)result);
    }
}

/* Returns a listening socket on the loopback interface, or a negated errno. */
static int listen_on(uint16_t port) {
    const int          on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
    int error = errno;
    close(fd);
    return -error;
}

/* Returns the address that a socket got. */
static struct sockaddr_in address_of(int fd) {
    struct sockaddr_in address = {0};
    socklen_t          size = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &size);
    return address;
}

/* ---- signals ------------------------------------------------------------------------------------- */

static int signal_pipe[2];

/* A signal handler may not call the loop. It writes into a pipe, and the loop reads from it. */
static void on_signal(int number) {
    int     saved_errno = errno;
    ssize_t written = write(signal_pipe[1], "!", 1);
    (void)number;
    (void)written;
    errno = saved_errno;
}

static void on_signal_byte(loop_t *loop, loop_request_t *request, int64_t result) {
    if (result > 0) end(loop, request->user);
}

static int end_on_signals(loop_t *loop, server_t *server) {
    /* SA_ONSTACK: inside loop_run the stack is a small one; the library provides another for signals. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (pipe(signal_pipe) < 0) return -errno;
    server->signal_read.user = server;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return loop_read(loop, &server->signal_read, signal_pipe[0], &server->signal_byte, 1, on_signal_byte);
}

/* ---- the test of itself -------------------------------------------------------------------------- */

/* The bytes fit into the buffers of the sockets, so the client may send all before the server even runs. */
static int send_test_bytes(struct sockaddr_in address, const unsigned char *bytes) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        send(fd, bytes, SELF_TEST_BYTES, MSG_NOSIGNAL) != SELF_TEST_BYTES || shutdown(fd, SHUT_WR) < 0) {
        perror("echo_server: self test");
        exit(1);
    }
    return fd;
}

/* After the server has ended the connection, the same bytes are there, and then the end. */
static bool came_back(int fd, const unsigned char *bytes) {
    static unsigned char echo[SELF_TEST_BYTES + 1];
    size_t               size = 0;
    ssize_t              received;
    while (size < sizeof echo && (received = recv(fd, echo + size, sizeof echo - size, 0)) > 0)
        size += (size_t)received;
    close(fd);
    return size == SELF_TEST_BYTES && memcmp(echo, bytes, SELF_TEST_BYTES) == 0;
}

/* ---- the program --------------------------------------------------------------------------------- */

/* Reads a decimal number from 0 to most; false when `text` is none. */
static bool parse_number(const char *text, unsigned long most, unsigned long *number_out) {
    char *end;
    if (*text < '0' || *text > '9') return false; /* strtoul would take signs and spaces */
    errno = 0;
    *number_out = strtoul(text, &end, 10);
    return *end == '\0' && errno == 0 && *number_out <= most;
}

static bool parse_arguments(int argc, char **argv, uint16_t *port_out, uint64_t *limit_out) {
    unsigned long port = 0, limit = argc < 2; /* the test of itself has one connection */
    if (argc > 3 || (argc > 1 && !parse_number(argv[1], 65535, &port))) return false;
    if (argc > 2 && (!parse_number(argv[2], 1000000000, &limit) || limit == 0)) return false;
    *port_out = (uint16_t)port;
    *limit_out = limit;
    return true;
}

/* Serves until it is stopped; false when something failed. */
static bool serve(loop_t *loop, server_t *server, bool self_test) {
    static unsigned char bytes[SELF_TEST_BYTES];
    int                  client_fd = -1;
    struct sockaddr_in   address = address_of(server->listen_fd);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 7 + i / 256);

    printf("listening on 127.0.0.1:%u\n", (unsigned)ntohs(address.sin_port));
    fflush(stdout);
    if (self_test) client_fd = send_test_bytes(address, bytes);

    server->accept.user = server;
    accept_clients(loop, server);
    int error = loop_buffers_init(loop, &server->buffers, NULL, BUFFER_BYTES, BUFFERS);
    if (error == 0) error = end_on_signals(loop, server);
    if (error == 0) error = loop_run(loop);

    /* Every connection has ended by now, so no buffer is in use. */
    int buffers_error = loop_buffers_deinit(server->buffers);
    int deinit_error = loop_deinit(loop);
    printf("served %llu connections, %llu bytes\n", (unsigned long long)server->connections_ended,
           (unsigned long long)server->bytes_echoed);
    if (self_test && !came_back(client_fd, bytes)) {
        fputs("echo_server: self test: other bytes came back\n", stderr);
        return false;
    }
    return error == 0 && buffers_error == 0 && deinit_error == 0 && !server->failed &&
           server->connections_accepted == server->connections_ended;
}

int main(int argc, char **argv) {
    loop_t  *loop;
    server_t server = {0};
    uint16_t port;
    if (!parse_arguments(argc, argv, &port, &server.connections_limit)) {
        fputs("usage: echo_server [PORT [CONNECTIONS]]\n", stderr);
        return 2;
    }
    server.listen_fd = listen_on(port);
    if (server.listen_fd < 0) {
        fprintf(stderr, "echo_server: listen: %s\n", loop_error_message(server.listen_fd));
        return 1;
    }
    if (loop_init(&loop, NULL) < 0) return 1;
    bool good = serve(loop, &server, argc < 2);
    close(server.listen_fd);
    close(signal_pipe[0]);
    close(signal_pipe[1]);
    return good ? 0 : 1;
}
