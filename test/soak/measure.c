/*
 * Measurements of the process by /proc, and the fit of a line.
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE 1

#include "measure.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Reads a file of a directory as text; empty when a thread has just ended. */
static const char *text_of(int directory, const char *path)
{
    static char text[4096];
    ssize_t     length = 0;
    int         fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        length = read(fd, text, sizeof text - 1);
        close(fd);
    }
    text[length > 0 ? length : 0] = '\0';
    return text;
}

static DIR *rewound(DIR **directory, const char *path)
{
    if (*directory == NULL) {
        *directory = opendir(path);
    }
    if (*directory == NULL) {
        perror(path);
        abort();
    }
    rewinddir(*directory);
    return *directory;
}

static struct dirent *next_entry(DIR *directory)
{
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL && entry->d_name[0] == '.') {
    }
    return entry;
}

static DIR *descriptors, *tasks;

static bool is_loop_thread(const char *task)
{
    char path[300];
    snprintf(path, sizeof path, "%s/comm", task);
    return strncmp(text_of(dirfd(tasks), path), "loop", 4) == 0;
}

static double rss_kb(void)
{
    static int statm = -1;
    char       text[128] = "";
    long       total = 0, resident = 0;
    if (statm < 0) {
        statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    }
    if (pread(statm, text, sizeof text - 1, 0) <= 0 || sscanf(text, "%ld %ld", &total, &resident) != 2) {
        perror("/proc/self/statm");
        abort();
    }
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1024;
}

inventory_t take_inventory(void)
{
    inventory_t inventory = {.rss_kb = rss_kb()};
    rewound(&tasks, "/proc/self/task");
    rewound(&descriptors, "/proc/self/fd");
    while (next_entry(descriptors) != NULL) {
        inventory.descriptors++;
    }
    for (struct dirent *entry; (entry = next_entry(tasks)) != NULL;) {
        inventory.threads++;
        inventory.loop_threads += is_loop_thread(entry->d_name);
    }
    return inventory;
}

uint64_t processor_time_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t voluntary_switches(bool of_loops_only)
{
    uint64_t sum = 0;
    rewound(&tasks, "/proc/self/task");
    for (struct dirent *entry; (entry = next_entry(tasks)) != NULL;) {
        char path[300];
        if (of_loops_only && !is_loop_thread(entry->d_name)) {
            continue;
        }
        snprintf(path, sizeof path, "%s/status", entry->d_name);
        const char *line = strstr(text_of(dirfd(tasks), path), "\nvoluntary_ctxt_switches:");
        if (line != NULL) {
            sum += strtoull(strchr(line, ':') + 1, NULL, 10);
        }
    }
    return sum;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

double percentile(double *values, size_t count, double percent)
{
    if (count == 0) {
        return 0;
    }
    qsort(values, count, sizeof *values, compare);
    return values[(size_t)((double)(count - 1) * percent / 100)];
}

trend_t fit(const double *values, size_t count)
{
    trend_t trend = {0};
    double  n = (double)count;
    double  middle = (n - 1) / 2;
    double  products = 0, squares = 0, beside = 0;
    for (size_t i = 0; i < count; i++) {
        trend.mean += values[i] / n;
    }
    for (size_t i = 0; i < count; i++) {
        products += ((double)i - middle) * (values[i] - trend.mean);
        squares += ((double)i - middle) * ((double)i - middle);
    }
    double slope = squares > 0 ? products / squares : 0;
    for (size_t i = 0; i < count; i++) {
        double difference = values[i] - trend.mean - slope * ((double)i - middle);
        beside += difference * difference;
    }
    trend.growth = slope * (n - 1);
    trend.error = count > 2 ? sqrt(beside / (n - 2) / squares) * (n - 1) : 0;
    return trend;
}
