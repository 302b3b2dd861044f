/*
 * Which part of its processor time a process spends in user space, by 10,000 samples a second of it. The
 * ticks that the kernel shows in /proc/PID/stat are too few to compare programs that are in the kernel most
 * of the time. The samples cost something themselves, so they are not taken while time is measured.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_USER_SHARE_H
#define BENCH_USER_SHARE_H

#include "support.h"

#include <dirent.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SAMPLE_PERIOD_NS = 100000, SAMPLE_BYTES = 1 << 20, SAMPLED_THREADS_MAX = 64 };

/* The samples of one thread. */
struct thread_samples {
    int fd;
    struct perf_event_mmap_page *map; /* followed by SAMPLE_BYTES of records */
};

struct user_share {
    int threads;
    struct thread_samples samples[SAMPLED_THREADS_MAX];
};

static inline size_t user_share_map_size(void) { return (size_t)sysconf(_SC_PAGESIZE) + SAMPLE_BYTES; }

/* Sample one thread. False when this user may not, or the thread ended. */
static inline bool user_share_add(struct user_share *share, pid_t thread) {
    struct perf_event_attr attributes;
    struct thread_samples *samples = &share->samples[share->threads];
    memset(&attributes, 0, sizeof attributes);
    attributes.size = sizeof attributes;
    attributes.type = PERF_TYPE_SOFTWARE;
    attributes.config = PERF_COUNT_SW_CPU_CLOCK;
    attributes.sample_period = SAMPLE_PERIOD_NS;
    attributes.disabled = 1;
    samples->fd = (int)syscall(SYS_perf_event_open, &attributes, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (samples->fd < 0) return false;
    void *map = mmap(NULL, user_share_map_size(), PROT_READ | PROT_WRITE, MAP_SHARED, samples->fd, 0);
    if (map == MAP_FAILED) {
        close(samples->fd);
        return false;
    }
    samples->map = map;
    CHECK(ioctl(samples->fd, PERF_EVENT_IOC_ENABLE, 0) == 0);
    share->threads++;
    return true;
}

/* Begin to sample all threads that a process has now. */
static inline void user_share_begin(struct user_share *share, pid_t process) {
    char path[64];
    const struct dirent *entry;
    snprintf(path, sizeof path, "/proc/%ld/task", (long)process);
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    share->threads = 0;
    while ((entry = readdir(directory)) != NULL && share->threads < SAMPLED_THREADS_MAX) {
        const pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
        if (thread > 0 && !user_share_add(share, thread)) break;
    }
    closedir(directory);
}

/* Count the samples of a thread, and those of them that were in user space. */
static inline void user_share_count(const struct thread_samples *samples, uint64_t *user, uint64_t *all) {
    const char *records = (const char *)samples->map + sysconf(_SC_PAGESIZE);
    const uint64_t head = __atomic_load_n(&samples->map->data_head, __ATOMIC_ACQUIRE);
    for (uint64_t at = 0; at < head;) {
        struct perf_event_header header;
        memcpy(&header, records + at, sizeof header);
        CHECK(header.size >= sizeof header);
        if (header.type == PERF_RECORD_SAMPLE) {
            (*all)++;
            if ((header.misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_USER) (*user)++;
        }
        at += header.size;
    }
}

/* End sampling, and return the share; -1 if there are no samples. */
static inline double user_share_end(struct user_share *share) {
    uint64_t user = 0;
    uint64_t all = 0;
    for (int i = 0; i < share->threads; i++) {
        struct thread_samples *samples = &share->samples[i];
        CHECK(ioctl(samples->fd, PERF_EVENT_IOC_DISABLE, 0) == 0);
        user_share_count(samples, &user, &all);
        munmap(samples->map, user_share_map_size());
        close(samples->fd);
    }
    return all > 0 ? (double)user / (double)all : -1;
}

#endif
