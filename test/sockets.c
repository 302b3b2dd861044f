/*
 * Connections, data, readers and multishot operations of the suites about sockets; see sockets.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

#include <signal.h>

/* ---- addresses and connections --------------------------------------------------------------- */

endpoint_t loopback(int family)
{
    endpoint_t endpoint = {.length = sizeof endpoint.ip4};
    memset(&endpoint.ip6, 0, sizeof endpoint.ip6);
    if (family == AF_INET6) {
        endpoint.ip6.sin6_family = AF_INET6;
        endpoint.ip6.sin6_addr = in6addr_loopback;
        endpoint.length = sizeof endpoint.ip6;
    } else {
        endpoint.ip4.sin_family = AF_INET;
        endpoint.ip4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    return endpoint;
}

endpoint_t name_of(int fd)
{
    endpoint_t endpoint = {.length = sizeof endpoint.local};
    CHECK(getsockname(fd, &endpoint.any, &endpoint.length) == 0);
    return endpoint;
}

endpoint_t peer_of(int fd)
{
    endpoint_t endpoint = {.length = sizeof endpoint.local};
    CHECK(getpeername(fd, &endpoint.any, &endpoint.length) == 0);
    return endpoint;
}

endpoint_t local_endpoint(const char *name)
{
    endpoint_t endpoint = {.length = 0};
    size_t     length = strlen(name);
    CHECK(length < sizeof endpoint.local.sun_path);
    memset(&endpoint.local, 0, sizeof endpoint.local);
    endpoint.local.sun_family = AF_UNIX;
    memcpy(endpoint.local.sun_path, name, length);
    if (name[0] == '@') {
        endpoint.local.sun_path[0] = '\0';
    } else {
        length++; /* a path ends with its 0 byte */
    }
    endpoint.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    return endpoint;
}

bool has_ip6_loopback(void)
{
    endpoint_t endpoint = loopback(AF_INET6);
    int        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool       can_bind = fd >= 0 && bind(fd, &endpoint.any, endpoint.length) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return can_bind;
}

int make_socket(int family, int type)
{
    int fd = socket(family, type | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    return fd;
}

int make_bound(int family, int type)
{
    endpoint_t endpoint = loopback(family);
    int        fd = make_socket(family, type);
    CHECK(bind(fd, &endpoint.any, endpoint.length) == 0);
    return fd;
}

int make_listener(int family, int backlog)
{
    int fd = make_bound(family, SOCK_STREAM);
    CHECK(listen(fd, backlog) == 0);
    return fd;
}

int dial(endpoint_t endpoint)
{
    int fd = make_socket(endpoint.any.sa_family, SOCK_STREAM);
    CHECK(connect(fd, &endpoint.any, endpoint.length) == 0);
    return fd;
}

full_listener_t make_full_listener(void)
{
    full_listener_t listener = {.fd = make_listener(AF_INET, 0)};
    listener.endpoint = name_of(listener.fd);
    for (bool full = false; !full;) {
        CHECK(listener.filler_count < MOST_FILLERS);
        int           fd = make_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
        struct pollfd poller = {.fd = fd, .events = POLLOUT};
        int           status = connect(fd, &listener.endpoint.any, listener.endpoint.length);
        CHECK(status == 0 || errno == EINPROGRESS);
        listener.fillers[listener.filler_count++] = fd;
        full = poll(&poller, 1, 50) == 0; /* on the loopback device a connection that can be made, is */
    }
    return listener;
}

void close_full_listener(const full_listener_t *listener)
{
    for (unsigned i = 0; i < listener->filler_count; i++) {
        CHECK(close(listener->fillers[i]) == 0);
    }
    CHECK(close(listener->fd) == 0);
}

void make_narrow_pair(int ends[2], bool nonblocking)
{
    int size = 32768;
    make_tcp_pair(ends);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
    CHECK(setsockopt(ends[1], SOL_SOCKET, SO_RCVBUF, &size, sizeof size) == 0);
    set_nonblocking(ends[0], nonblocking);
}

size_t make_full_pair(int ends[2])
{
    make_socketpair(ends);
    set_nonblocking(ends[0], true);
    return fill(ends[0]);
}

void reset_connection(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    CHECK(close(fd) == 0);
}

void wait_for(int fd, short events)
{
    struct pollfd poller = {.fd = fd, .events = events};
    CHECK(poll(&poller, 1, 10000) == 1);
}

/* ---- data ------------------------------------------------------------------------------------ */

/* Two periods, so that a piece of one period can be had from any position. */
static char           pattern[2 * PATTERN_PERIOD];
static pthread_once_t pattern_made = PTHREAD_ONCE_INIT;

static void make_pattern(void)
{
    uint64_t state = 4711;
    for (size_t i = 0; i < PATTERN_PERIOD; i++) {
        pattern[i] = pattern[i + PATTERN_PERIOD] = (char)random_below(&state, 256);
    }
}

/* The part of the pattern at the position, and how much of `length` lies there in one piece. */
static const char *piece_of_pattern(size_t length, size_t position, size_t *piece)
{
    pthread_once(&pattern_made, make_pattern);
    *piece = length < PATTERN_PERIOD ? length : PATTERN_PERIOD;
    return pattern + position % PATTERN_PERIOD;
}

void fill_with_pattern(void *bytes, size_t length, size_t position)
{
    size_t piece;
    for (char *next = bytes; length > 0; next += piece, position += piece, length -= piece) {
        const char *source = piece_of_pattern(length, position, &piece);
        memcpy(next, source, piece);
    }
}

bool has_pattern(const void *bytes, size_t length, size_t position)
{
    size_t piece;
    for (const char *next = bytes; length > 0; next += piece, position += piece, length -= piece) {
        const char *expected = piece_of_pattern(length, position, &piece);
        if (memcmp(next, expected, piece) != 0) {
            return false;
        }
    }
    return true;
}

char *new_pattern(size_t length)
{
    char *bytes = malloc(length);
    CHECK(bytes != NULL);
    fill_with_pattern(bytes, length, 0);
    return bytes;
}

void take(int fd, void *bytes, size_t length)
{
    char *next = bytes;
    while (length > 0) {
        ssize_t received = read(fd, next, length);
        CHECK(received > 0);
        next += received;
        length -= (size_t)received;
    }
}

void discard(int fd, size_t length)
{
    char bytes[16384];
    while (length > 0) {
        size_t piece = length < sizeof bytes ? length : sizeof bytes;
        take(fd, bytes, piece);
        length -= piece;
    }
}

size_t discard_all(int fd)
{
    char    bytes[16384];
    size_t  total = 0;
    ssize_t received;
    while ((received = read(fd, bytes, sizeof bytes)) > 0) {
        total += (size_t)received;
    }
    CHECK(received == 0);
    return total;
}

static void *read_to_the_end(void *argument)
{
    reader_t *reader = argument;
    size_t    capacity = 0;
    for (;;) {
        if (capacity - reader->length < reader->chunk) {
            capacity = 2 * capacity + reader->chunk;
            reader->bytes = realloc(reader->bytes, capacity);
            CHECK(reader->bytes != NULL);
        }
        ssize_t received = read(reader->fd, reader->bytes + reader->length, reader->chunk);
        CHECK(received >= 0 || errno == ECONNRESET);
        if (received <= 0) {
            return NULL;
        }
        reader->length += (size_t)received;
        sleep_for(reader->pause_ns);
    }
}

void start_reader(reader_t *reader, int fd, size_t chunk, uint64_t pause_ns)
{
    *reader = (reader_t){.fd = fd, .chunk = chunk, .pause_ns = pause_ns};
    reader->thread = start_thread(read_to_the_end, reader);
}

void finish_reader(reader_t *reader)
{
    join_thread(reader->thread);
}

size_t finish_pattern_reader(reader_t *reader)
{
    finish_reader(reader);
    assert_true(has_pattern(reader->bytes, reader->length, 0));
    free(reader->bytes);
    return reader->length;
}

/* ---- multishot operations -------------------------------------------------------------------- */

void record_shot(loop_t *loop, loop_request_t *request, int64_t result)
{
    shots_t *shots = (shots_t *)(void *)request;
    unsigned number = atomic_load(&shots->count);
    (void)loop;
    CHECK(request->result == result && number < MOST_SHOTS && atomic_load(&shots->ended) == 0);
    shots->results[number] = result;
    atomic_store(&shots->count, number + 1);
    if ((request->flags & LOOP_MORE) == 0) {
        atomic_store(&shots->ended, 1);
    }
}

int64_t await_end(loop_t *loop, shots_t *shots)
{
    run_until(loop, &shots->ended, 1);
    return shots->results[atomic_load(&shots->count) - 1];
}

/* ---- signals --------------------------------------------------------------------------------- */

static atomic_uint      sigpipe_count;
static struct sigaction sigpipe_before;

static void note_sigpipe(int number)
{
    (void)number;
    atomic_fetch_add(&sigpipe_count, 1);
}

void count_sigpipe(void)
{
    struct sigaction action = {.sa_handler = note_sigpipe, .sa_flags = SA_ONSTACK | SA_RESTART};
    atomic_store(&sigpipe_count, 0);
    CHECK(sigaction(SIGPIPE, &action, &sigpipe_before) == 0);
}

unsigned sigpipes(void)
{
    CHECK(sigaction(SIGPIPE, &sigpipe_before, NULL) == 0);
    return atomic_load(&sigpipe_count);
}
