/*
 * What all benchmark programs share: the sizes of the workloads, the clock, the measuring window, the
 * file that is read, and the output format. Nothing here knows an event loop, so both sides do the
 * same work.
 *
 * Output: one line "NAME VALUE" for each figure, on standard output, read by run.py.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_SUPPORT_H
#define BENCH_SUPPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TICK_BATCH = 64,
    BLOCK_SIZE = 4096,
    FILE_BLOCKS = 16384, /* of BLOCK_SIZE: 64 MiB */
    READS_MAX = 256,
    CONNECTIONS_MAX = 15000,
    MESSAGE_MAX = 16384,
    ECHO_BUFFER = 16384,        /* of a connection, where each has one of its own */
    ECHO_SHARED_BUFFER = 65536, /* where all connections share one */
    POST_THREADS = 4,
    POSTS_PER_THREAD = 256,
    WORK_MAX = 1000,
    CLOCK_STRIDE = 64      /* operations between two looks at the clock; a power of two */
};

/* End the program when a result is not what it must be: a wrong benchmark has no figures. */
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

enum phase { WARMING_UP, MEASURING, ENDED };

/* A warm-up of a quarter of the time, and then a window in which operations count. */
struct measurement {
    enum phase phase;
    uint64_t operations; /* since the start of the warm-up */
    uint64_t counted;    /* in the window, once it ended */
    uint64_t length_ns;  /* of the window; once it ended, what it really was */
    uint64_t next_ns;    /* when the phase ends */
    uint64_t first_ns;   /* when the window began ... */
    uint64_t first;      /* ... and the operations at that time */
};

/* The monotonic clock, in ns. */
uint64_t now_ns(void);

void measurement_begin(struct measurement *m, uint64_t window_ms);

/* Look at the clock and change the phase when it is time. False once the window ended. */
bool measurement_look(struct measurement *m);

/* Count one operation. False once the window ended: stop then. */
static inline bool measurement_continues(struct measurement *m) {
    m->operations++;
    if ((m->operations & (CLOCK_STRIDE - 1)) == 0) return measurement_look(m);
    return m->phase != ENDED;
}

/* Print a figure. */
void report(const char *name, double value);

/* Print the operations per second, or the ns of each operation, in the window. */
void report_rate(const char *name, const struct measurement *m);
void report_each(const char *name, const struct measurement *m);

/* The command line argument at `index`, a number from 1 to `max`. */
uint64_t number_argument(int argc, char **argv, int index, uint64_t max);

/* Keep the calling thread on the first, or the last, of the processors that it may use now. */
void pin_to_first_processor(void);
void pin_to_last_processor(void);

/* A random number (xorshift64); *state must not be 0. */
static inline uint64_t random_next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The word at `index` of a block: two blocks of the file differ in all of their words. */
static inline uint64_t block_word(uint64_t block, uint64_t index) {
    return ((block + 1) * 0x9E3779B97F4A7C15u) ^ index;
}

/* Whether a buffer holds that block, by its first and its last word, so that checking costs little. */
static inline bool block_is(const uint64_t *buffer, uint64_t block) {
    const uint64_t last = BLOCK_SIZE / sizeof(uint64_t) - 1;
    return buffer[0] == block_word(block, 0) && buffer[last] == block_word(block, last);
}

/* Open the file of FILE_BLOCKS blocks, made if it is not there, and read all of it into the page cache. */
int open_cached_file(const char *path);

/* Print the resident memory of this process, and the part of it that is no file: NAME_rss_kib and
 * NAME_anonymous_kib. */
void report_memory(const char *name);

/* The resident memory of a process that is no file, in KiB; of this process. */
double anonymous_kib_of(pid_t pid);
double anonymous_kib(void);

/* Allow as many descriptors as the hard limit does. */
void raise_descriptor_limit(void);

/* A non-blocking listener on a free port of the loopback, whose number is printed as "port NUMBER". */
int listen_on_loopback(void);

/* A blocking connection to it, without Nagle's delay. */
int connect_to_loopback(uint16_t port);

/* Accept one connection of a non-blocking listener, itself non-blocking and without Nagle's delay. -1 if
 * there is none. */
int accept_connection(int listener_fd);

/* Send without Nagle's delay on a socket. */
void set_no_delay(int fd);

#ifdef __cplusplus
}
#endif

#endif
