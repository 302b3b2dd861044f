/*
 * Idleness: a loop with 10,000 connected sockets (fewer where the limit of descriptors is lower), on each a
 * receive that waits in a pool of buffers, and a timer that is far away. While it is watched no turn
 * begins, no thread of the loop wakes up, other threads hardly do, and hardly any processor time goes by.
 * Afterwards every receive still works.
 *
 * SPDX-License-Identifier: MIT
 */
#include "idle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"

enum { SOCKETS = 10000, DESCRIPTORS_BESIDE = 100, BUFFERS = 64, BUFFER_SIZE = 512 };

#define FAR_AWAY (24 * 3600 * SECONDS)

/* The watch begins when no thread has woken up for so long, or after so many such times: when the loop has
 * taken all in, its blocking threads have gone, and the Go runtime has given back memory. */
#define QUIET (500 * MILLISECONDS)
enum { MOST_UNQUIET = 20 };

/* What may go by while nothing happens: the main thread sleeps and measures, and the Go runtime may look up.
 * The loop itself has no allowance. */
#define MOST_PROCESSOR_TIME_NS (20 * MILLISECONDS)
enum { MOST_SWITCHES_A_SECOND = 5 };

typedef struct receiver {
    loop_request_t  request; /* first, so that the callback can get at the rest */
    loop_buffers_t *pool;
    int             fd;
} receiver_t;

static atomic_uint received;

static void sleep_for(uint64_t duration_ns)
{
    struct timespec left = {(time_t)(duration_ns / SECONDS), (long)(duration_ns % SECONDS)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

static void arrived(loop_t *loop, loop_request_t *request, int64_t result)
{
    const receiver_t *receiver = (const receiver_t *)(const void *)request;
    (void)loop;
    if (result == 1 && loop_buffer_return(receiver->pool, loop_buffer(request)) == 0) {
        atomic_fetch_add(&received, 1);
    }
}

/* Raises the limit as far as it goes; the value is how many sockets there can be. */
static unsigned allowed_sockets(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur < SOCKETS + DESCRIPTORS_BESIDE ? (unsigned)limit.rlim_cur - DESCRIPTORS_BESIDE
                                                         : SOCKETS;
}

/* Connects sockets in pairs, and lets each wait for something to receive. Returns how many there are. */
static unsigned connect_receivers(loop_t *loop, receiver_t *receivers, unsigned count, loop_buffers_t *pool)
{
    for (unsigned i = 0; i + 1 < count; i += 2) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
            return i;
        }
        for (unsigned end = 0; end < 2; end++) {
            receiver_t *receiver = &receivers[i + end];
            receiver->pool = pool;
            receiver->fd = ends[end];
            loop_recv_buffer(loop, &receiver->request, receiver->fd, pool, i % 4 == 0 ? LOOP_MULTISHOT : 0,
                             arrived);
        }
    }
    return count & ~1u;
}

/* The thread that runs the loop has a name like those that the library starts. */
static void *run(void *loop)
{
    pthread_setname_np(pthread_self(), "loop-runner");
    loop_run(loop);
    return NULL;
}

/* The counters are read before the quiet and after the watch: reading them stirs the Go runtime. */
static loop_statistics_t statistics_of(loop_t *loop)
{
    loop_statistics_t statistics = {.size = sizeof statistics};
    loop_get_statistics(loop, &statistics);
    return statistics;
}

static void await_quiet(void)
{
    uint64_t before = 0;
    for (unsigned i = 0; i < MOST_UNQUIET && voluntary_switches(false) > before + 1; i++) {
        before = voluntary_switches(false);
        sleep_for(QUIET);
    }
}

static bool watch(loop_t *loop, unsigned count, double seconds)
{
    sleep_for(QUIET);
    loop_statistics_t before = statistics_of(loop);
    await_quiet();
    uint64_t loop_switches = voluntary_switches(true);
    uint64_t switches = voluntary_switches(false);
    uint64_t spent_ns = processor_time_ns();
    sleep_for((uint64_t)(seconds * (double)SECONDS));
    spent_ns = processor_time_ns() - spent_ns;
    switches = voluntary_switches(false) - switches;
    loop_switches = voluntary_switches(true) - loop_switches;
    loop_statistics_t after = statistics_of(loop);
    uint64_t          turns = after.turns - before.turns;
    uint64_t          sleeps = after.sleeps - before.sleeps;
    bool ok = turns == 0 && sleeps == 0 && loop_switches == 0 && spent_ns <= MOST_PROCESSOR_TIME_NS &&
              (double)switches <= MOST_SWITCHES_A_SECOND * (1 + seconds);
    printf("{\"summary\":\"idle\",\"backend\":\"%s\",\"sockets\":%u,\"seconds\":%.0f,\"turns\":%llu,"
           "\"sleeps\":%llu,\"loop_switches\":%llu,\"all_switches\":%llu,\"processor_ms\":%.3f,\"ok\":%s}\n",
           loop_backend_name(loop), count, seconds, (unsigned long long)turns, (unsigned long long)sleeps,
           (unsigned long long)loop_switches, (unsigned long long)switches,
           (double)spent_ns / (double)MILLISECONDS, ok ? "true" : "false");
    return ok;
}

/* Sends a byte to each socket, and waits for all of them to have arrived. */
static bool wake_all(const receiver_t *receivers, unsigned count)
{
    atomic_store(&received, 0);
    for (unsigned i = 0; i < count; i++) {
        if (write(receivers[i].fd, "x", 1) != 1) {
            return false;
        }
        while (i - atomic_load(&received) > BUFFERS / 4 && i >= atomic_load(&received)) {
            sleep_for(MILLISECONDS / 100);
        }
    }
    for (unsigned i = 0; i < 5000 && atomic_load(&received) < count; i++) {
        sleep_for(MILLISECONDS);
    }
    return atomic_load(&received) == count;
}

bool prove_idle(const program_options_t *options, double seconds)
{
    loop_t         *loop;
    loop_buffers_t *pool;
    loop_options_t  loop_options = {
         .size = sizeof loop_options, .threads = options->threads, .backend = options->backend};
    loop_request_t  timer = {0};
    pthread_t       runner;
    unsigned        allowed = allowed_sockets();
    receiver_t     *receivers = calloc(allowed, sizeof *receivers);
    if (receivers == NULL || loop_init(&loop, &loop_options) != 0 ||
        loop_buffers_init(loop, &pool, NULL, BUFFER_SIZE, BUFFERS) != 0) {
        return false;
    }
    unsigned count = connect_receivers(loop, receivers, allowed, pool);
    loop_timer_start(loop, &timer, FAR_AWAY, 0, loop_ignore);
    pthread_create(&runner, NULL, run, loop);
    bool ok = watch(loop, count, seconds);
    ok = wake_all(receivers, count) && ok;
    for (unsigned i = 0; i < count; i++) {
        loop_cancel(loop, &receivers[i].request);
    }
    loop_cancel(loop, &timer);
    pthread_join(runner, NULL);
    ok = loop_buffers_deinit(pool) == 0 && loop_deinit(loop) == 0 && ok;
    for (unsigned i = 0; i < count; i++) {
        close(receivers[i].fd);
    }
    free(receivers);
    return ok && count > 0;
}
