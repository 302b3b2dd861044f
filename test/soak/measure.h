/*
 * What the soak measures of its process, and whether a row of measurements is flat.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_SOAK_MEASURE_H
#define LOOP_SOAK_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the process has now. */
typedef struct inventory {
    double   rss_kb;
    unsigned descriptors;
    unsigned threads;
    unsigned loop_threads; /* those of them that the library named as its own */
} inventory_t;

/* Measures without opening anything after the first call, so that it works when descriptors have run out. */
inventory_t take_inventory(void);

/* Nanoseconds of processor time that the process has used. */
uint64_t processor_time_ns(void);

/* The sum, over all threads or those of loops (whose names begin with "loop"), of their context switches that
 * were no preemptions: a sleep is one. */
uint64_t voluntary_switches(bool of_loops_only);

/* The value below which so many of a hundred are; sorts the values. 0 if there are none. */
double percentile(double *values, size_t count, double percent);

/* A straight line through measurements at equal distances, by least squares. */
typedef struct trend {
    double mean;
    double growth; /* of the line, from the first to the last measurement */
    double error;  /* the standard error of the growth, from what lies beside the line */
} trend_t;
trend_t fit(const double *values, size_t count);

#endif /* LOOP_SOAK_MEASURE_H */
