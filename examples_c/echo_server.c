/*
 * echo_server: a TCP server that sends back what it gets.
 *
 *     echo_server PORT [CONNECTIONS]    PORT 0: any free one. Ends after CONNECTIONS, on SIGINT or SIGTERM.
 *     echo_server                       tests itself: serves one connection of its own
 *
 * Shown: the loop tells when a socket is ready, and the program itself calls accept4, recv and send on
 * sockets that never block. What every such server has to get right is here: a send that takes only a part,
 * a client that closes its writing end first, a client that is faster than the others, running out of
 * descriptors, and an end in which every connection is closed and all memory freed.
 *
 * echo_client.c is the other side.
 */
#define _GNU_SOURCE /* accept4 */

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

enum { BUFFER_BYTES = 64 * 1024, SELF_TEST_BYTES = 20000 };

typedef struct server {
    loop_request_t accept_wait; /* waits for clients */
    loop_request_t signal_read; /* waits for a byte from on_signal */
    char           signal_byte;
    int            listen_fd;
    bool           out_of_fds;  /* no descriptor was left for the next client */
    bool           failed;
    uint64_t       connections_limit; /* 0 = none */
    uint64_t       connections_accepted, connections_ended;
    uint64_t       bytes_echoed;
} server_t;

/* One client. It has one request, because it waits for one thing at a time: for bytes, or for room. */
typedef struct connection {
    loop_request_t request;
    server_t      *server;
    int            fd;
    size_t         begin, end; /* what was received and not yet sent back */
    unsigned char  buffer[BUFFER_BYTES];
} connection_t;

static void accept_clients(loop_t *loop, server_t *server);
static void on_incoming(loop_t *loop, loop_request_t *request, int64_t result);
static void on_readable(loop_t *loop, loop_request_t *request, int64_t result);
static void on_writable(loop_t *loop, loop_request_t *request, int64_t result);

/* ---- one connection ------------------------------------------------------------------------------ */

/* Only called while no request of the connection is in flight; then a plain close is safe, and so is free. */
static void end_connection(loop_t *loop, connection_t *connection) {
    server_t *server = connection->server;
    close(connection->fd);
    free(connection);
    server->connections_ended++;
    if (server->connections_ended == server->connections_limit)
        loop_stop(loop); /* loop_run returns; loop_deinit will end what still waits */
    else if (server->out_of_fds)
        accept_clients(loop, server); /* now one is free again */
}

/* A wait is refused when the loop is being deinitialised: then there is nothing left to do but to end. */
static void wait_until_readable(loop_t *loop, connection_t *connection) {
    if (loop_wait_until_fd_readable(loop, &connection->request, connection->fd, on_readable) < 0)
        end_connection(loop, connection);
}

static void wait_until_writable(loop_t *loop, connection_t *connection) {
    if (loop_wait_until_fd_writable(loop, &connection->request, connection->fd, on_writable) < 0)
        end_connection(loop, connection);
}

/* Whether a call on a socket failed only for now. */
static bool is_temporary(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

/* Sends what was received. A socket whose buffer fills up takes a part; the rest follows when it has room. */
static void send_back(loop_t *loop, connection_t *connection) {
    while (connection->begin < connection->end) {
        /* Without MSG_NOSIGNAL a client that is gone would end the whole server by SIGPIPE. */
        ssize_t sent = send(connection->fd, connection->buffer + connection->begin,
                            connection->end - connection->begin, MSG_NOSIGNAL);
        if (sent < 0) {
            if (is_temporary(errno))
                wait_until_writable(loop, connection);
            else
                end_connection(loop, connection);
            return;
        }
        connection->begin += (size_t)sent;
        connection->server->bytes_echoed += (uint64_t)sent;
    }
    wait_until_readable(loop, connection);
}

/* Receives once, not until there is no more: so a fast client gets one turn like all others. */
static void on_readable(loop_t *loop, loop_request_t *request, int64_t result) {
    connection_t *connection = request->user;
    if (result < 0) { /* LOOP_ECANCELED: the loop is being deinitialised */
        end_connection(loop, connection);
        return;
    }
    ssize_t received = recv(connection->fd, connection->buffer, sizeof connection->buffer, 0);
    if (received > 0) {
        connection->begin = 0;
        connection->end = (size_t)received;
        send_back(loop, connection);
    } else if (received < 0 && is_temporary(errno)) {
        wait_until_readable(loop, connection);
    } else {
        /* 0: the client closed its writing end. All that it sent has been sent back, or we were not here. */
        end_connection(loop, connection);
    }
}

static void on_writable(loop_t *loop, loop_request_t *request, int64_t result) {
    connection_t *connection = request->user;
    if (result < 0)
        end_connection(loop, connection);
    else
        send_back(loop, connection);
}

/* ---- the server ---------------------------------------------------------------------------------- */

static void fail(loop_t *loop, server_t *server, const char *what, int error) {
    fprintf(stderr, "echo_server: %s: %s\n", what, loop_error_message(error));
    server->failed = true;
    loop_stop(loop);
}

static void begin_connection(loop_t *loop, server_t *server, int fd) {
    /* Small messages go out at once instead of waiting for more to come. */
    const int     on = 1;
    connection_t *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        close(fd);
        fail(loop, server, "a connection", ENOMEM);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->request.user = connection;
    connection->server = server;
    connection->fd = fd;
    server->connections_accepted++;
    wait_until_readable(loop, connection);
}

static void accept_clients(loop_t *loop, server_t *server) {
    server->out_of_fds = false;
    while (server->connections_limit == 0 || server->connections_accepted < server->connections_limit) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            begin_connection(loop, server, fd);
        } else if (is_temporary(errno)) {
            /* Refused only when the loop is being deinitialised; then nobody is to come any more. */
            loop_wait_until_fd_readable(loop, &server->accept_wait, server->listen_fd, on_incoming);
            return;
        } else if (errno == EMFILE || errno == ENFILE) {
            /* The client stays in the queue, so a wait would end at once; end_connection goes on instead. */
            server->out_of_fds = true;
            if (server->connections_accepted == server->connections_ended)
                fail(loop, server, "accept", errno);
            return;
        } else if (errno != ECONNABORTED) {
            fail(loop, server, "accept", errno);
            return;
        }
    }
}

static void on_incoming(loop_t *loop, loop_request_t *request, int64_t result) {
    if (result >= 0) accept_clients(loop, request->user);
}

/* Returns a listening socket on the loopback interface, or a negated errno. */
static int listen_on(uint16_t port) {
    const int          on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
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
    (void)request;
    if (result > 0) loop_stop(loop);
}

static int stop_on_signals(loop_t *loop, server_t *server) {
    /* SA_ONSTACK: inside loop_run the stack is a small one; the library provides another for signals. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (pipe(signal_pipe) < 0) return -errno;
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

    server->accept_wait.user = server;
    accept_clients(loop, server);
    int error = stop_on_signals(loop, server);
    if (error == 0) error = loop_run(loop);

    /* Every wait ends with LOOP_ECANCELED in here, so its callback closes its connection. */
    int deinit_error = loop_deinit(loop);
    printf("served %llu connections, %llu bytes\n", (unsigned long long)server->connections_ended,
           (unsigned long long)server->bytes_echoed);
    if (self_test && !came_back(client_fd, bytes)) {
        fputs("echo_server: self test: other bytes came back\n", stderr);
        return false;
    }
    return error == 0 && deinit_error == 0 && !server->failed &&
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
