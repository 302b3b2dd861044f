/*
 * What the loads for the echo servers share: messages that can be told apart, and latencies.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "support.h"

#include <string.h>

enum { PATTERN_STARTS = 65536 };

/* Random bytes. A message is a piece of them, at a place of its own: nothing is copied to send one, and each
 * byte of the answer can be compared, in however many pieces it comes. */
struct pattern {
    unsigned char bytes[PATTERN_STARTS + MESSAGE_MAX];
};

static inline void pattern_fill(struct pattern *pattern) {
    uint64_t random_state = 88172645463325252u;
    for (size_t i = 0; i < sizeof pattern->bytes; i++) {
        pattern->bytes[i] = (unsigned char)(random_next(&random_state) >> 32);
    }
}

/* Latencies in buckets that are 1/32 of a power of two wide, so that percentiles are exact within 3 %. */
enum { BUCKET_BITS = 5, BUCKETS = 64 << BUCKET_BITS };

struct histogram {
    uint64_t count;
    uint64_t buckets[BUCKETS];
};

static inline size_t histogram_bucket(uint64_t value) {
    if (value < (1u << BUCKET_BITS)) return (size_t)value;
    const unsigned shift = 63u - (unsigned)__builtin_clzll(value) - BUCKET_BITS;
    return ((size_t)(shift + 1) << BUCKET_BITS) + (size_t)((value >> shift) & ((1u << BUCKET_BITS) - 1));
}

/* The middle of the values that are in a bucket. */
static inline double histogram_value(size_t bucket) {
    if (bucket < (1u << BUCKET_BITS)) return (double)bucket;
    const unsigned shift = (unsigned)(bucket >> BUCKET_BITS) - 1;
    const uint64_t low = ((UINT64_C(1) << BUCKET_BITS) + (bucket & ((1u << BUCKET_BITS) - 1))) << shift;
    return (double)low + (double)((UINT64_C(1) << shift) - 1) / 2;
}

static inline void histogram_add(struct histogram *histogram, uint64_t value) {
    histogram->count++;
    histogram->buckets[histogram_bucket(value)]++;
}

static inline double histogram_quantile(const struct histogram *histogram, double quantile) {
    const double target = quantile * (double)histogram->count;
    uint64_t seen = 0;
    for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen > 0 && (double)seen >= target) return histogram_value(bucket);
    }
    return 0;
}

/* Print NAME_p50_us, NAME_p99_us and NAME_p999_us of a histogram of ns. */
static inline void histogram_report(const char *name, const struct histogram *histogram) {
    static const struct {
        const char *suffix;
        double quantile;
    } figures[] = {{"p50_us", 0.5}, {"p99_us", 0.99}, {"p999_us", 0.999}};
    CHECK(histogram->count > 0);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        char line[64];
        snprintf(line, sizeof line, "%s_%s", name, figures[i].suffix);
        report(line, histogram_quantile(histogram, figures[i].quantile) / 1000);
    }
}

#endif
