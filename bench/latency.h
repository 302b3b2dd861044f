/*
 * What the programs timer_latency share: a load of bytes that bounce between the ends of socket pairs, so
 * that the loop is never idle, and how late timers are under it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include "load.h"

#include <sys/socket.h>
#include <unistd.h>

enum { LOAD_PAIRS = 16, LOAD_ENDS = 2 * LOAD_PAIRS, LATENCY_TIMERS = 32, LATENCY_DELAY_NS = 1000000,
       START_STRIDE = 16 /* bytes that bounce for each timer that is started, on average; a power of two */ };

struct latency {
    struct measurement measurement; /* its operations are timers that fired */
    uint64_t random_state;
    int idle_count;
    int idle[LATENCY_TIMERS]; /* timers that are not started */
    struct histogram deviations;
    uint64_t early;
};

/* Make the pairs: ends 2 i and 2 i + 1 belong together. A byte is on its way to each odd one. */
static inline void load_open(int ends[LOAD_ENDS]) {
    for (int i = 0; i < LOAD_ENDS; i += 2) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, &ends[i]) == 0);
        CHECK(write(ends[i], "x", 1) == 1);
    }
}

/* An end is readable: send the byte back to where it came from. */
static inline void load_bounce(int end) {
    char byte;
    CHECK(read(end, &byte, 1) == 1);
    CHECK(write(end, &byte, 1) == 1);
}

static inline void latency_begin(struct latency *latency, uint64_t window_ms) {
    memset(latency, 0, sizeof *latency);
    latency->random_state = 362436069u;
    for (int i = 0; i < LATENCY_TIMERS; i++) latency->idle[latency->idle_count++] = i;
    measurement_begin(&latency->measurement, window_ms);
}

static inline void load_close(const int ends[LOAD_ENDS]) {
    for (int i = 0; i < LOAD_ENDS; i++) close(ends[i]);
}

/* Which timer to start now, if one is idle: called with each byte that bounces, as programs start their
 * timeouts when something arrives, and not when the clock ticks. -1: none. */
static inline int latency_next(struct latency *latency) {
    const bool is_time = (random_next(&latency->random_state) & (START_STRIDE - 1)) == 0;
    if (!is_time || latency->idle_count == 0) return -1;
    return latency->idle[--latency->idle_count];
}

/* A timer that was due at that time fires now. Too early is as wrong as too late. False: stop. */
static inline bool latency_fired(struct latency *latency, int timer, uint64_t due_ns) {
    const uint64_t now = now_ns();
    latency->idle[latency->idle_count++] = timer;
    if (latency->measurement.phase == MEASURING) {
        histogram_add(&latency->deviations, now >= due_ns ? now - due_ns : due_ns - now);
        if (now < due_ns) latency->early++;
    }
    return measurement_continues(&latency->measurement);
}

static inline void latency_report(const struct latency *latency) {
    histogram_report("timer", &latency->deviations);
    report("timer_early_percent", 100 * (double)latency->early / (double)latency->deviations.count);
}

#endif
