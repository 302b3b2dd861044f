/*
 * What the suites about sockets need beside support.h: listeners and connections on the loopback device, data
 * whose place in a stream shows, a peer that reads at its own pace, and multishot operations that record.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_TEST_SOCKETS_H
#define LOOP_TEST_SOCKETS_H

#include "support.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

/* What a system call said, as a result of the library. */
static inline int64_t outcome(ssize_t value)
{
    return value < 0 ? -errno : value;
}

/* ---- addresses and connections --------------------------------------------------------------- */

/* An address of any family, with its length; the members share their bytes. */
typedef struct endpoint {
    union {
        struct sockaddr     any;
        struct sockaddr_in  ip4;
        struct sockaddr_in6 ip6;
        struct sockaddr_un  local;
    };
    socklen_t length;
} endpoint_t;

/* The loopback address of IPv4 or IPv6 with port 0, and those of the two ends of a socket. */
endpoint_t loopback(int family);
endpoint_t name_of(int fd);
endpoint_t peer_of(int fd);

/* A Unix address: a path, or, when it begins with '@', an abstract name. */
endpoint_t local_endpoint(const char *name);

bool has_ip6_loopback(void);

/* Sockets of the loopback device, closed on exec and blocking. A listener is bound to a port of its own. */
int make_socket(int family, int type);
int make_bound(int family, int type);
int make_listener(int family, int backlog);

/* A connection to a listener, or to any other address. */
int dial(endpoint_t endpoint);

/* A TCP listener to which no further connection can be made: its queue is full with those in `fillers`. */
enum { MOST_FILLERS = 8 };
typedef struct full_listener {
    int        fd;
    endpoint_t endpoint;
    int        fillers[MOST_FILLERS];
    unsigned   filler_count;
} full_listener_t;
full_listener_t make_full_listener(void);
void            close_full_listener(const full_listener_t *listener);

/* A connected pair, of which the first end has small buffers, so that it is soon full. */
void make_narrow_pair(int ends[2], bool nonblocking);

/* A connected pair, of which the first end takes no byte more before the second one is read from; returns the
 * number of bytes in it. By a Unix socket: one of TCP may find room in its time. */
size_t make_full_pair(int ends[2]);

/* Closes a TCP socket so that the peer gets a reset. */
void reset_connection(int fd);

/* Waits, with a generous limit, until poll(2) reports one of the events. */
void wait_for(int fd, short events);

/* ---- data ------------------------------------------------------------------------------------ */

/* Bytes that tell their position in a stream. The pattern repeats itself after so many bytes, a prime. */
#define PATTERN_PERIOD ((size_t)65521)

void fill_with_pattern(void *bytes, size_t length, size_t position);
bool has_pattern(const void *bytes, size_t length, size_t position);

/* Memory with the pattern from position 0 on, to be freed. */
char *new_pattern(size_t length);

/* Reads exactly so many bytes, blocking; discard forgets them. */
void take(int fd, void *bytes, size_t length);
void discard(int fd, size_t length);

/* Reads to the end and returns the number of bytes. */
size_t discard_all(int fd);

/* A thread that reads a blocking descriptor to its end, and sleeps between two reads. Finishing joins it and
 * returns what it read; the caller frees that. */
typedef struct reader {
    int       fd;
    size_t    chunk;
    uint64_t  pause_ns;
    char     *bytes;
    size_t    length;
    pthread_t thread;
} reader_t;
void start_reader(reader_t *reader, int fd, size_t chunk, uint64_t pause_ns);
void finish_reader(reader_t *reader);

/* As above, and wants the bytes to be those of the pattern; returns their number. */
size_t finish_pattern_reader(reader_t *reader);

/* ---- multishot operations -------------------------------------------------------------------- */

enum { MOST_SHOTS = 256 };
typedef struct shots {
    loop_request_t request; /* first, so that a callback can get at the rest */
    atomic_uint    count;
    atomic_uint    ended; /* whether the last one came */
    int64_t        results[MOST_SHOTS];
} shots_t;

void record_shot(loop_t *loop, loop_request_t *request, int64_t result);

/* Runs the loop until the last shot has come, and returns its result. */
int64_t await_end(loop_t *loop, shots_t *shots);

/* ---- signals --------------------------------------------------------------------------------- */

/* Between the two calls SIGPIPE is counted; the second returns how many came. */
void     count_sigpipe(void);
unsigned sigpipes(void);

#endif /* LOOP_TEST_SOCKETS_H */
