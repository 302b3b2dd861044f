/*
 * What the timer programs share: how many timers, and when they are due. The delays are whole milliseconds,
 * because that is what libuv has.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_TIMERS_H
#define BENCH_TIMERS_H

#include "support.h"

#include <unistd.h>

enum {
    TIMERS_MAX = 10000000,
    TIMER_SPREAD_MS = 1000, /* deadlines are spread over this time */
    TIMER_FAR_MS = 600000   /* the shortest delay of timers that are cancelled */
};

/* A random delay of at least `shortest_ms`. */
static inline uint64_t random_delay_ms(uint64_t *random_state, uint64_t shortest_ms) {
    return shortest_ms + random_next(random_state) % TIMER_SPREAD_MS;
}

/* The shortest delay of timers that are to fire: none may be due before all are started. */
static inline uint64_t near_ms(uint64_t count) { return 200 + count / 5000; }

/* Wait until the last one of timers that were started until `started_ns` is due. */
static inline void wait_until_due(uint64_t started_ns, uint64_t count) {
    const uint64_t due_ns = started_ns + (near_ms(count) + TIMER_SPREAD_MS) * UINT64_C(1000000);
    while (now_ns() < due_ns) usleep(1000);
}

/* Print a time as ns of each of `count` operations. */
static inline void report_share(const char *name, uint64_t time_ns, uint64_t count) {
    report(name, (double)time_ns / (double)count);
}

#endif
