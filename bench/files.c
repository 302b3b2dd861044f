/*
 * The parts of the benchmark programs that make and check files; see files.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SMALL_WORDS_MIN = 25, SMALL_WORDS_SPREAD = 75 }; /* 200 to 792 bytes */

static char (*paths)[SMALL_PATH_MAX];

int open_uncached_file(const char *path) {
    close(open_cached_file(path));
    const int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    return fd;
}

bool is_direct(int argc, char **argv) {
    CHECK(argc == 4 || (argc == 5 && strcmp(argv[4], "direct") == 0));
    return argc == 5;
}

int open_file_argument(int argc, char **argv) {
    return is_direct(argc, argv) ? open_uncached_file(argv[3]) : open_cached_file(argv[3]);
}

static size_t small_file_words(uint64_t index) {
    return SMALL_WORDS_MIN + (size_t)(block_word(index, 0) % SMALL_WORDS_SPREAD);
}

const char *small_file_path(uint64_t index) { return paths[index]; }

bool small_file_is(uint64_t index, const uint64_t *buffer, int64_t length) {
    const size_t words = small_file_words(index);
    return length == (int64_t)(words * sizeof *buffer) && buffer[0] == block_word(index, 0) &&
           buffer[words - 1] == block_word(index, words - 1);
}

static void write_small_file(uint64_t index) {
    uint64_t words[SMALL_FILE_MAX / sizeof(uint64_t)];
    const size_t count = small_file_words(index);
    for (size_t i = 0; i < count; i++) words[i] = block_word(index, i);
    const int fd = open(paths[index], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, words, count * sizeof *words) == (ssize_t)(count * sizeof *words));
    CHECK(close(fd) == 0);
}

/* Read one into the cache. False if it is not there, or is not what it should be. */
static bool read_small_file(uint64_t index) {
    uint64_t words[SMALL_FILE_MAX / sizeof(uint64_t)];
    const int fd = open(paths[index], O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const ssize_t length = read(fd, words, sizeof words);
    CHECK(close(fd) == 0);
    return small_file_is(index, words, length);
}

static void make_directory(const char *path) { CHECK(mkdir(path, 0700) == 0 || errno == EEXIST); }

void prepare_small_files(const char *directory) {
    paths = malloc(SMALL_FILES * sizeof *paths);
    CHECK(paths != NULL);
    make_directory(directory);
    for (uint64_t index = 0; index < SMALL_FILES; index++) {
        const unsigned part = (unsigned)(index / SMALL_FILES_PER_DIRECTORY);
        int length = snprintf(paths[index], SMALL_PATH_MAX, "%s/%03u", directory, part);
        CHECK(length > 0 && length < SMALL_PATH_MAX - 32);
        if (index % SMALL_FILES_PER_DIRECTORY == 0) make_directory(paths[index]);
        snprintf(paths[index] + length, SMALL_PATH_MAX - (size_t)length, "/%05u.data", (unsigned)index);
        if (read_small_file(index)) continue;
        write_small_file(index);
        CHECK(read_small_file(index));
    }
}

void processor_time_follow(struct processor_time *p, const struct measurement *m) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    const uint64_t now = (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
    if (m->phase == MEASURING) p->first_ns = now;
    if (m->phase == ENDED) p->used_ns = now - p->first_ns;
    p->phase = m->phase;
}

void report_processor_time(const char *name, const struct processor_time *p, const struct measurement *m) {
    CHECK(m->phase == ENDED && p->phase == ENDED && m->counted > 0);
    report(name, (double)p->used_ns / (double)m->counted);
}
