/*
 * http_server: a small and correct HTTP/1.1 server.
 *
 *     http_server [-p PORT] [-r ROOT] [-t THREADS] [-b auto|io_uring|epoll] [-o NAME=MILLISECONDS]...
 *
 * It serves the files below ROOT (the current directory), GET /hello, and POST /echo, which answers with what
 * it got, on the loopback interface, port 8080; PORT 0 is any free one. SIGINT or SIGTERM end it in good
 * order: requests that have begun are answered. A second signal ends it at once.
 *
 * Shown: completions instead of readiness; one receive for the whole life of a connection, which takes
 * buffers from a pool; sends that the library keeps in order; deadlines; work that may wait for a disk on a
 * blocking thread; a strand for each connection, so that the same code runs with one thread and with many;
 * running out of descriptors without spinning; and an end that breaks nothing off.
 *
 * This file accepts connections and ends the server. The folder http_server/ has the rest: connection.c is
 * what one connection does with the loop; parser.c, files.c and answer.c know no loop.
 */
#define _DEFAULT_SOURCE /* SA_ONSTACK and more */

#include "http_server/answer.h"
#include "http_server/connection.h"
#include "http_server/files.h"

#include <loop.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFERS = 256 /* for each thread; they are given back at once, so fewer would do as well */ };

#define MILLISECOND UINT64_C(1000000)

typedef struct options {
    unsigned long  port;
    const char    *root;
    loop_options_t loop;
    http_limits_t  limits;
    uint64_t       stop_ns;   /* from the first signal to the end, at most */
    uint64_t       accept_ns; /* until the next try when no descriptor was left */
} options_t;

typedef struct server {
    http_connections_t connections; /* first, so that one is the other */
    options_t          options;
    int                listen_fd;
    int                signal_pipe[2];
    char               signal_byte;
    loop_request_t     accept, accept_retry, close_listener, signal_read, stop_timer;

    pthread_mutex_t lock; /* of what follows */
    bool            accepting;
} server_t;

/* ---- accepting ------------------------------------------------------------------------------------- */

static void on_accepted(loop_t *loop, loop_request_t *request, int64_t result);

static bool is_serving(server_t *server) { return atomic_load(&server->connections.stop) == HTTP_SERVING; }

/* Accepts until there is an error. Nothing to do if that is so already, or nobody is to come any more. */
static void accept_clients(server_t *server) {
    pthread_mutex_lock(&server->lock);
    if (!server->accepting && is_serving(server))
        server->accepting = loop_accept(server->connections.loop, &server->accept, server->listen_fd, NULL,
                                        NULL, LOOP_MULTISHOT, on_accepted) == 0;
    pthread_mutex_unlock(&server->lock);
}

/* The server has ended when nobody can come any more and all have gone. */
static void stop_if_over(server_t *server) {
    pthread_mutex_lock(&server->lock);
    const bool over = !server->accepting && http_connections_are_over(&server->connections);
    pthread_mutex_unlock(&server->lock);
    if (over) loop_stop(server->connections.loop);
}

/* A descriptor is free: if that was what was missing, clients can be accepted again. */
static void on_connection_end(http_connections_t *connections) {
    server_t *server = (server_t *)connections;
    if (is_serving(server))
        accept_clients(server);
    else
        stop_if_over(server);
}

static void on_accept_retry(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    (void)result;
    accept_clients(request->user);
}

/*
 * When it ends with an error, most likely no descriptor is left. The client waits in the queue, so trying
 * again at once would go on for ever; the end of a connection, or the timer, tries again. (LOOP_EBUSY: it
 * runs already.)
 */
static void on_accepted(loop_t *loop, loop_request_t *request, int64_t result) {
    server_t *server = request->user;
    if (result >= 0) http_connection_begin(&server->connections, (int)result);
    if (request->flags & LOOP_MORE) return;
    pthread_mutex_lock(&server->lock);
    server->accepting = false;
    pthread_mutex_unlock(&server->lock);
    if (is_serving(server))
        loop_timer_start(loop, &server->accept_retry, server->options.accept_ns, 0, on_accept_retry);
    else
        stop_if_over(server);
}

/* Returns a listening socket on the loopback interface, or a negated errno. */
static int listen_on(uint16_t port) {
    const int          on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* every connection inherits it */
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
    int error = errno;
    close(fd);
    return -error;
}

static unsigned port_of(int fd) {
    struct sockaddr_in address = {0};
    socklen_t          size = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &size);
    return ntohs(address.sin_port);
}

/* ---- the end --------------------------------------------------------------------------------------- */

static int signal_write_fd;

/* A signal handler may not call the loop. It writes into a pipe, and the loop reads from it. */
static void on_signal(int number) {
    int     saved_errno = errno;
    ssize_t written = write(signal_write_fd, "!", 1);
    (void)number;
    (void)written;
    errno = saved_errno;
}

static void on_stop_timer(loop_t *loop, loop_request_t *request, int64_t result) {
    server_t *server = request->user;
    (void)loop;
    if (result == 0) http_connections_stop(&server->connections, HTTP_BREAKING);
}

/* Nobody is accepted any more; those who are idle end now, the others after their present request. */
static void begin_stop(server_t *server) {
    loop_t *loop = server->connections.loop;
    pthread_mutex_lock(&server->lock); /* nobody begins to accept between the two */
    http_connections_stop(&server->connections, HTTP_FINISHING);
    loop_close(loop, &server->close_listener, server->listen_fd, loop_ignore); /* ends the accept, too */
    pthread_mutex_unlock(&server->lock);
    loop_timer_start(loop, &server->stop_timer, server->options.stop_ns, 0, on_stop_timer);
    stop_if_over(server);
}

static void on_signal_byte(loop_t *loop, loop_request_t *request, int64_t result) {
    server_t *server = request->user;
    if (result <= 0) return; /* the loop is being deinitialised */
    if (is_serving(server))
        begin_stop(server);
    else
        http_connections_stop(&server->connections, HTTP_BREAKING);
    loop_read(loop, request, server->signal_pipe[0], &server->signal_byte, 1, on_signal_byte);
}

static int stop_on_signals(server_t *server) {
    /* SA_ONSTACK: inside loop_run the stack is a small one; the library provides another for signals. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (pipe(server->signal_pipe) < 0) return -errno;
    signal_write_fd = server->signal_pipe[1];
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return loop_read(server->connections.loop, &server->signal_read, server->signal_pipe[0],
                     &server->signal_byte, 1, on_signal_byte);
}

/* ---- the program ----------------------------------------------------------------------------------- */

/* Reads a decimal number from 0 to most; false when `text` is none. */
static bool parse_number(const char *text, unsigned long most, unsigned long *number_out) {
    char *end;
    if (*text < '0' || *text > '9') return false; /* strtoul would take signs and spaces */
    errno = 0;
    *number_out = strtoul(text, &end, 10);
    return *end == '\0' && errno == 0 && *number_out <= most;
}

static bool parse_backend(const char *name, uint32_t *backend_out) {
    static const struct {
        const char *name;
        uint32_t    backend;
    } backends[] = {
        {"auto", LOOP_BACKEND_AUTO}, {"io_uring", LOOP_BACKEND_IO_URING}, {"epoll", LOOP_BACKEND_EPOLL}};
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        *backend_out = backends[i].backend;
        if (strcmp(name, backends[i].name) == 0) return true;
    }
    return false;
}

/* NAME=MILLISECONDS */
static bool parse_limit(const char *text, options_t *options) {
    http_limits_t *limits = &options->limits;
    const struct {
        const char *name;
        uint64_t   *limit_ns;
    } names[] = {{"idle=", &limits->idle_ns},   {"head=", &limits->head_ns},   {"body=", &limits->body_ns},
                 {"send=", &limits->send_ns},   {"drain=", &limits->drain_ns}, {"stop=", &options->stop_ns},
                 {"accept=", &options->accept_ns}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t  length = strlen(names[i].name);
        unsigned long milliseconds;
        if (strncmp(text, names[i].name, length) != 0) continue;
        if (!parse_number(text + length, 1000000000, &milliseconds) || milliseconds == 0) return false;
        *names[i].limit_ns = milliseconds * MILLISECOND;
        return true;
    }
    return false;
}

static bool parse_options(int argc, char **argv, options_t *options) {
    unsigned long threads;
    int           option;
    bool          good = true;
    while (good && (option = getopt(argc, argv, "p:r:t:b:o:")) != -1) {
        switch (option) {
        case 'p': good = parse_number(optarg, 65535, &options->port); break;
        case 'r': options->root = optarg; break;
        case 't':
            good = parse_number(optarg, LOOP_THREADS_MAX, &threads) && threads > 0;
            options->loop.threads = (uint32_t)threads;
            break;
        case 'b': good = parse_backend(optarg, &options->loop.backend); break;
        case 'o': good = parse_limit(optarg, options); break;
        default: good = false;
        }
    }
    return good && optind == argc;
}

/* Serves until it is stopped. Returns 0 or a negative error. */
static int serve(server_t *server) {
    http_connections_t *connections = &server->connections;
    loop_request_t     *requests[] = {&server->accept, &server->accept_retry, &server->signal_read,
                                      &server->stop_timer};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) requests[i]->user = server;
    connections->limits = server->options.limits;
    connections->on_end = on_connection_end;
    int error = loop_buffers_init(connections->loop, &connections->buffers, NULL, HTTP_RECEIVE_BYTES,
                                  BUFFERS * server->options.loop.threads);
    if (error < 0) return error;
    error = stop_on_signals(server);
    if (error < 0) return error;
    printf("listening on 127.0.0.1:%u, %s\n", port_of(server->listen_fd),
           loop_backend_name(connections->loop));
    fflush(stdout);
    accept_clients(server);
    error = loop_run(connections->loop);
    return error < 0 ? error : loop_buffers_deinit(connections->buffers);
}

static int fail(const char *what, int error) {
    fprintf(stderr, "http_server: %s: %s\n", what, loop_error_message(error));
    return 1;
}

/* Makes all that the server needs, and serves. */
static int run(server_t *server) {
    http_connections_t *connections = &server->connections;
    pthread_mutex_init(&server->lock, NULL);
    pthread_mutex_init(&connections->lock, NULL);
    connections->files = http_files_new(server->options.root, HTTP_COPIED_MAX);
    if (connections->files == NULL) return fail(server->options.root, -errno);
    server->listen_fd = listen_on((uint16_t)server->options.port);
    if (server->listen_fd < 0) return fail("listen", server->listen_fd);
    int error = loop_init(&connections->loop, &server->options.loop);
    if (error < 0) return fail("loop_init", error);
    error = serve(server);
    const int deinit_error = loop_deinit(connections->loop);
    http_files_free(connections->files);
    if (error < 0) return fail("serve", error);
    return deinit_error < 0 ? fail("loop_deinit", deinit_error) : 0;
}

int main(int argc, char **argv) {
    static server_t server;
    server.options = (options_t){
        .port = 8080,
        .root = ".",
        .loop = {.size = sizeof(loop_options_t), .threads = 1},
        .limits = {.idle_ns = 60000 * MILLISECOND, .head_ns = 10000 * MILLISECOND,
                   .body_ns = 30000 * MILLISECOND, .send_ns = 30000 * MILLISECOND,
                   .drain_ns = 2000 * MILLISECOND},
        .stop_ns = 10000 * MILLISECOND,
        .accept_ns = 100 * MILLISECOND,
    };
    if (!parse_options(argc, argv, &server.options)) {
        fputs("usage: http_server [-p PORT] [-r ROOT] [-t THREADS] [-b auto|io_uring|epoll]"
              " [-o NAME=MILLISECONDS]...\n"
              "NAME: idle, head, body, send, drain, stop, accept\n", stderr);
        return 2;
    }
    return run(&server);
}
