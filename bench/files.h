/*
 * What the programs share that work with files, beside support.h: a set of small files, a file that is read
 * from the device, and the processor time of a measuring window. Nothing here knows an event loop.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_FILES_H
#define BENCH_FILES_H

#include "support.h"

#include <stddef.h>

enum {
    SMALL_FILES = 20000,
    SMALL_FILES_PER_DIRECTORY = 200,
    SMALL_FILES_IN_FLIGHT = 64,
    SMALL_FILE_MAX = 1024, /* bytes; more than any of them has */
    SMALL_PATH_MAX = 512
};

/*
 * Open a file of FILE_BLOCKS blocks as open_cached_file does, but with O_DIRECT and with nothing of it in the
 * page cache, so that every read goes to the device.
 */
int open_uncached_file(const char *path);

/* Whether the fourth argument of a program says "direct": reads are to go to the device. */
bool is_direct(int argc, char **argv);

/* The file that the third argument names, opened in the one way or the other. */
int open_file_argument(int argc, char **argv);

/*
 * Make SMALL_FILES files below a directory, each of some hundred bytes, unless they are there, and read each
 * once: directory entries, inodes and contents are in memory afterwards.
 */
void prepare_small_files(const char *directory);

/* The path of one of them. */
const char *small_file_path(uint64_t index);

/* Whether a buffer holds that file, by its length and its first and last word. */
bool small_file_is(uint64_t index, const uint64_t *buffer, int64_t length);

/* The processor time that this process, all its threads included, used in the window of a measurement. */
struct processor_time {
    enum phase phase;
    uint64_t first_ns;
    uint64_t used_ns;
};

/* Read the processor time if the phase of the measurement has changed. */
void processor_time_follow(struct processor_time *p, const struct measurement *m);

/* measurement_continues, with the processor time. */
static inline bool metered_continues(struct measurement *m, struct processor_time *p) {
    const bool goes_on = measurement_continues(m);
    if (m->phase != p->phase) processor_time_follow(p, m);
    return goes_on;
}

/* Print the ns of processor time of each operation in the window. */
void report_processor_time(const char *name, const struct processor_time *p, const struct measurement *m);

#endif
