/* What the guest tests share; see guest_support.h. */
#define _GNU_SOURCE
#include "guest_support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000 }; /* far longer than anything takes: the end of a test that hangs */

extern char **environ;

void guest_check(bool holds, const char *condition, const char *file, int line) {
    if (!holds) {
        fprintf(stderr, "%s:%d: %s (errno %d)\n", file, line, condition, errno);
        abort();
    }
}

void guest_sleep_ms(unsigned milliseconds) {
    struct timespec left = {.tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

void guest_await(const atomic_uint_fast64_t *counter, uint64_t value, const char *what) {
    for (int waited_ms = 0; atomic_load(counter) < value; waited_ms++) {
        if (waited_ms >= PATIENCE_MS) {
            fprintf(stderr, "%s: only %" PRIuFAST64 " of %" PRIu64 "\n", what, atomic_load(counter), value);
            abort();
        }
        guest_sleep_ms(1);
    }
}

/* ---- processes and threads ------------------------------------------------------------------ */

int guest_run_again(const char *role, const char *detail) {
    char *arguments[] = {program_invocation_name, (char *)(uintptr_t)role, (char *)(uintptr_t)detail, NULL};
    pid_t child;
    CHECK(posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ) == 0);
    return guest_wait_for(child);
}

int guest_wait_for(pid_t child) {
    for (int waited_ms = 0;; waited_ms++) {
        int   status;
        pid_t ended = waitpid(child, &status, WNOHANG);
        CHECK(ended == 0 || ended == child || errno == EINTR);
        if (ended == child) {
            return status;
        }
        if (waited_ms == PATIENCE_MS) {
            fprintf(stderr, "child %d hangs\n", (int)child);
            kill(child, SIGKILL);
        }
        guest_sleep_ms(1);
    }
}

int guest_next_descriptor(void) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(close(fd) == 0);
    return fd;
}

uint64_t guest_blocked_signals(pid_t tid) {
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)tid);
    FILE *status = fopen(path, "re");
    if (status == NULL) {
        return ~UINT64_C(0); /* the thread ended meanwhile */
    }
    uint64_t blocked = ~UINT64_C(0);
    while (fgets(line, sizeof(line), status) != NULL) {
        if (sscanf(line, "SigBlk: %" SCNx64, &blocked) == 1) {
            break;
        }
    }
    fclose(status);
    return blocked;
}

void guest_each_thread(void (*visit)(pid_t tid, void *user), void *user) {
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
        if (entry->d_name[0] != '.') {
            visit((pid_t)strtol(entry->d_name, NULL, 10), user);
        }
    }
    closedir(tasks);
}
