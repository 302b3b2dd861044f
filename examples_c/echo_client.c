/*
 * echo_client: many connections to an echo server at once, every byte that comes back compared.
 *
 *     echo_client PORT [CONNECTIONS [MESSAGES [BYTES]]]
 *     echo_client      starts the program echo_server that is beside it, and ends together with it
 *
 * Each connection sends MESSAGES messages of BYTES bytes, the next one when the last came back whole; then it
 * closes its writing end and expects the server to end the connection.
 *
 * Shown: loop_add_fd watches a descriptor for as long as it lives, and loop_mod_fd changes what for: for room
 * to write only while something is left to send, or it would fire all the time. A watch has a time limit
 * like any other request; here it ends a connection on which nothing happens.
 */
#define _POSIX_C_SOURCE 200809L

#include <loop.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SILENCE_LIMIT_NS UINT64_C(10000000000)

enum { CONNECTIONS_MAX = 10000, MESSAGES_MAX = 1000000000, BYTES_MAX = 16 << 20, RECEIVE_BYTES = 64 * 1024 };

/* What the arguments say. */
typedef struct plan {
    unsigned long port, connections, messages, bytes;
} plan_t;

typedef struct connection {
    loop_request_t watch;
    const plan_t  *plan;
    unsigned long  number;
    int            fd;
    uint32_t       events;         /* what the watch waits for now */
    unsigned long  messages_begun; /* the one on its way included */
    size_t         sent, received; /* bytes of the message on its way */
    unsigned char *message;
} connection_t;

static uint64_t round_trips;
static bool     failed;

/* Ends a connection. The watch has one more completion to come, and that closes the descriptor. */
static void finish(loop_t *loop, connection_t *connection, const char *wrong) {
    if (wrong != NULL) {
        fprintf(stderr, "echo_client: connection %lu: %s\n", connection->number, wrong);
        failed = true;
    }
    loop_remove_fd(loop, &connection->watch);
}

/* Fills in the next message: different in each connection and each time, so that mixed up bytes show. */
static void begin_message(connection_t *connection) {
    connection->messages_begun++;
    connection->sent = 0;
    connection->received = 0;
    unsigned long seed = connection->number * 7 + connection->messages_begun * 13;
    for (size_t i = 0; i < connection->plan->bytes; i++)
        connection->message[i] = (unsigned char)(seed + (i ^ i >> 8));
}

/* Whether a call on a socket failed only for now. */
static bool is_temporary(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

/* Sends what the socket takes now. Returns NULL, or what went wrong. */
static const char *send_some(connection_t *connection) {
    while (connection->sent < connection->plan->bytes) {
        ssize_t sent = send(connection->fd, connection->message + connection->sent,
                            connection->plan->bytes - connection->sent, MSG_NOSIGNAL);
        if (sent < 0) return is_temporary(errno) ? NULL : strerror(errno);
        connection->sent += (size_t)sent;
    }
    return NULL;
}

/* Called when a message came back whole: goes on with the next one, or says that no more will come. */
static const char *begin_next_message(connection_t *connection) {
    round_trips++;
    if (connection->messages_begun < connection->plan->messages) {
        begin_message(connection);
        return send_some(connection);
    }
    return shutdown(connection->fd, SHUT_WR) < 0 ? strerror(errno) : NULL;
}

/* Receives once, and compares. Returns NULL, or what went wrong; sets *ended at the regular end. */
static const char *receive_some(connection_t *connection, bool *ended) {
    static unsigned char buffer[RECEIVE_BYTES]; /* one for all: the callbacks of this loop run one by one */
    ssize_t              count = recv(connection->fd, buffer, sizeof buffer, 0);
    size_t               bytes = connection->plan->bytes;
    bool                 complete = connection->received == bytes; /* then it was the last message */
    if (count < 0) return is_temporary(errno) ? NULL : strerror(errno);
    if (count == 0) {
        *ended = complete;
        return complete ? NULL : "the server ended the connection too early";
    }
    if ((size_t)count > connection->sent - connection->received) return "more came back than was sent";
    if (memcmp(buffer, connection->message + connection->received, (size_t)count) != 0)
        return "other bytes came back";
    connection->received += (size_t)count;
    return connection->received == bytes ? begin_next_message(connection) : NULL;
}

static void on_last_event(connection_t *connection, int64_t result) {
    if (result != LOOP_ECANCELED) {
        fprintf(stderr, "echo_client: connection %lu: %s\n", connection->number,
                loop_error_message((int)result));
        failed = true;
    }
    close(connection->fd);
    free(connection->message);
    connection->message = NULL;
}

static void on_event(loop_t *loop, loop_request_t *request, int64_t result) {
    connection_t *connection = request->user;
    bool          ended = false;
    if ((request->flags & LOOP_MORE) == 0) {
        on_last_event(connection, result);
        return;
    }
    /* A connect that failed shows here as well: send and recv then report its error. */
    const char *wrong = send_some(connection);
    if (wrong == NULL && (result & (LOOP_READABLE | LOOP_HANGUP | LOOP_ERROR)) != 0)
        wrong = receive_some(connection, &ended);
    if (wrong != NULL || ended) {
        finish(loop, connection, wrong);
        return;
    }
    uint32_t events = LOOP_READABLE | (connection->sent < connection->plan->bytes ? LOOP_WRITABLE : 0);
    if (events != connection->events && loop_mod_fd(loop, request, events) == 0) connection->events = events;
}

/* Returns a socket that is connected, or will be soon: nobody waits for it here; or a negated errno. */
static int connect_soon(unsigned long port) {
    const int          on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return -errno;

    /* Flags of descriptors are the program's business; the loop changes none. */
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS) return fd;
    int error = errno;
    close(fd);
    return -error;
}

/* Begins a connection with its first message ready to go; returns 0 or a negative error. */
static int begin_connection(loop_t *loop, connection_t *connection) {
    connection->message = malloc(connection->plan->bytes);
    if (connection->message == NULL) return LOOP_ENOMEM;
    connection->fd = connect_soon(connection->plan->port);
    if (connection->fd < 0) return connection->fd;

    begin_message(connection);
    connection->watch.user = connection;
    connection->watch.timeout_ns = SILENCE_LIMIT_NS;
    connection->events = LOOP_READABLE | LOOP_WRITABLE;
    return loop_add_fd(loop, &connection->watch, connection->fd, connection->events, on_event);
}

/* Runs all connections to their end; returns 0 or a negative error. */
static int run_connections(loop_t *loop, const plan_t *plan, connection_t *connections) {
    for (unsigned long i = 0; i < plan->connections; i++) {
        connections[i].plan = plan;
        connections[i].number = i;
        int error = begin_connection(loop, &connections[i]);
        if (error < 0) return error;
    }
    return loop_run(loop);
}

/* Does what the plan says; false when anything went wrong. */
static bool converse(const plan_t *plan) {
    loop_t       *loop;
    connection_t *connections = calloc(plan->connections, sizeof *connections);
    if (connections == NULL || loop_init(&loop, NULL) < 0) {
        free(connections);
        return false;
    }
    uint64_t begin_ns = loop_now(loop);
    int      error = run_connections(loop, plan, connections);
    double   seconds = (double)(loop_now(loop) - begin_ns) / 1e9;
    int      deinit_error = loop_deinit(loop);
    if (error < 0) fprintf(stderr, "echo_client: %s\n", loop_error_message(error));
    for (unsigned long i = 0; i < plan->connections; i++) free(connections[i].message);
    free(connections);

    printf("%llu round trips of %lu bytes on %lu connections in %.3f s: %.0f/s\n",
           (unsigned long long)round_trips, plan->bytes, plan->connections, seconds,
           (double)round_trips / seconds);
    return error == 0 && deinit_error == 0 && !failed &&
           round_trips == (uint64_t)plan->connections * plan->messages;
}

/* ---- the server beside this program -------------------------------------------------------------- */

typedef struct child {
    pid_t pid;
    FILE *output;
} child_t;

/* Starts `echo_server 0 CONNECTIONS` with its output in a pipe, and reads from there which port it got. */
static bool start_server(const char *own_path, plan_t *plan, child_t *child_out) {
    extern char              **environ;
    char                       path[4096], connections[24];
    int                        pipe_fds[2];
    posix_spawn_file_actions_t actions;
    const char                *slash = strrchr(own_path, '/');
    int                        directory_len = slash == NULL ? 0 : (int)(slash - own_path + 1);
    snprintf(path, sizeof path, "%.*secho_server", directory_len, own_path);
    snprintf(connections, sizeof connections, "%lu", plan->connections);
    char *arguments[] = {path, (char[]){"0"}, connections, NULL};

    if (pipe(pipe_fds) < 0) return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, pipe_fds[0]);
    posix_spawn_file_actions_addclose(&actions, pipe_fds[1]);
    int error = posix_spawnp(&child_out->pid, path, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_fds[1]);
    child_out->output = fdopen(pipe_fds[0], "r");
    if (error != 0) fprintf(stderr, "echo_client: %s: %s\n", path, strerror(error));
    if (error != 0 || child_out->output == NULL) return false;
    return fscanf(child_out->output, "listening on 127.0.0.1:%lu", &plan->port) == 1;
}

/* Passes on what the server still says and waits for its end; false when it failed. */
static bool await_server(child_t *child, bool client_good) {
    char line[256];
    int  status = 0;
    if (!client_good) kill(child->pid, SIGTERM); /* it may be waiting for connections that will not come */
    while (fgets(line, sizeof line, child->output) != NULL)
        if (line[0] != '\n') printf("server: %s", line); /* an end of line is left of the first one */
    fclose(child->output);
    return waitpid(child->pid, &status, 0) == child->pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- the program --------------------------------------------------------------------------------- */

/* Reads argument `index`, a decimal number from 1 to most, if it is there; false when it is wrong. */
static bool parse_argument(int argc, char **argv, int index, unsigned long most, unsigned long *number_out) {
    char *end;
    if (index >= argc) return true;
    if (argv[index][0] < '0' || argv[index][0] > '9') return false; /* strtoul would take signs and spaces */
    *number_out = strtoul(argv[index], &end, 10);
    return *end == '\0' && *number_out >= 1 && *number_out <= most;
}

int main(int argc, char **argv) {
    plan_t  plan = {.connections = 50, .messages = 200, .bytes = 1024};
    child_t server;
    if (argc > 5 || !parse_argument(argc, argv, 1, 65535, &plan.port) ||
        !parse_argument(argc, argv, 2, CONNECTIONS_MAX, &plan.connections) ||
        !parse_argument(argc, argv, 3, MESSAGES_MAX, &plan.messages) ||
        !parse_argument(argc, argv, 4, BYTES_MAX, &plan.bytes)) {
        fputs("usage: echo_client [PORT [CONNECTIONS [MESSAGES [BYTES]]]]\n", stderr);
        return 2;
    }
    if (argc > 1) return converse(&plan) ? 0 : 1;

    if (!start_server(argv[0], &plan, &server)) return 1;
    bool good = converse(&plan);
    return await_server(&server, good) && good ? 0 : 1;
}
