/*
 * fork while a loop is busy on another thread. The child has the memory of the Go runtime and none of its
 * threads: every call must be refused there at once (LOOP_ENOTSUP), what needs no runtime must work, and exit
 * must exit. A child that execs another program hands it none of the library's descriptors.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FORKS = 30 };

static loop_t        *loop;
static loop_request_t request; /* never in flight */
static char           buffer[16];
static loop_iovec_t   iovec = {buffer, sizeof(buffer)};

static void do_work(loop_request_t *ignored) {
    (void)ignored;
}

/* ---- all calls that return an error --------------------------------------------------------- */

static void check_life_cycle_refused(void) {
    loop_t           *other = loop;
    loop_request_t   *done;
    loop_statistics_t statistics = {.size = sizeof(statistics)};
    CHECK(loop_init(&other, NULL) == LOOP_ENOTSUP && other == NULL);
    CHECK(loop_init_single_threaded(&other) == LOOP_ENOTSUP);
    CHECK(loop_init_multi_threaded(&other) == LOOP_ENOTSUP);
    CHECK(loop_init_thread_pool(&other, 2) == LOOP_ENOTSUP);
    CHECK(loop_default() == NULL);
    CHECK(loop_run(loop) == LOOP_ENOTSUP);
    CHECK(loop_run_once(loop, 0) == LOOP_ENOTSUP);
    CHECK(loop_wait(loop, &done, 1, 0) == LOOP_ENOTSUP);
    CHECK(loop_stop(loop) == LOOP_ENOTSUP);
    CHECK(loop_ref(loop) == LOOP_ENOTSUP);
    CHECK(loop_unref(loop) == LOOP_ENOTSUP);
    CHECK(loop_pending(loop) == LOOP_ENOTSUP);
    CHECK(loop_backend_fd(loop) == LOOP_ENOTSUP);
    CHECK(loop_backend_timeout(loop) == LOOP_ENOTSUP);
    CHECK(loop_get_statistics(loop, &statistics) == LOOP_ENOTSUP);
    CHECK(loop_deinit(loop) == LOOP_ENOTSUP);
}

static void check_requests_refused(void) {
    CHECK(loop_on_next_tick(loop, &request, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_cancel_on_next_tick(loop, &request) == LOOP_ENOTSUP);
    CHECK(loop_cancel(loop, &request) == LOOP_ENOTSUP);
    CHECK(loop_timer_start(loop, &request, 1, 0, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_queue_work(loop, &request, do_work, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_wait_until_fd_readable(loop, &request, 0, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_wait_until_fd_writable(loop, &request, 0, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_wait_until_fd_writable_or_readable(loop, &request, 0, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_add_fd(loop, &request, 0, LOOP_READABLE, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_mod_fd(loop, &request, LOOP_READABLE) == LOOP_ENOTSUP);
    CHECK(loop_remove_fd(loop, &request) == LOOP_ENOTSUP);
}

static void check_files_refused(void) {
    CHECK(loop_open(loop, &request, "/", O_RDONLY, 0, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_openat(loop, &request, AT_FDCWD, "/", O_RDONLY, 0, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_close(loop, &request, -1, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_faccessat(loop, &request, AT_FDCWD, "/", F_OK, 0, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_read(loop, &request, 0, buffer, sizeof(buffer), loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_readv(loop, &request, 0, &iovec, 1, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_pread(loop, &request, 0, buffer, sizeof(buffer), 0, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_preadv(loop, &request, 0, &iovec, 1, 0, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_write(loop, &request, 1, buffer, sizeof(buffer), loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_writev(loop, &request, 1, &iovec, 1, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_pwrite(loop, &request, 1, buffer, sizeof(buffer), 0, loop_ignore) == LOOP_ENOTSUP);
    CHECK(loop_pwritev(loop, &request, 1, &iovec, 1, 0, loop_ignore) == LOOP_ENOTSUP);
}

static void check_plain_functions_work(void) {
    CHECK(strcmp(loop_version(), LOOP_VERSION_STRING) == 0);
    CHECK(strcmp(loop_error_name(LOOP_ENOENT), "LOOP_ENOENT") == 0);
    CHECK(strlen(loop_error_message(LOOP_ENOENT)) > 0);
    CHECK(loop_now(NULL) > 0 && loop_now(loop) >= loop_now(NULL) - UINT64_C(1000000000));
    loop_ignore(loop, &request, 0);
    (void)loop_backend_name(loop);
}

/* ---- the child ------------------------------------------------------------------------------ */

static void run_child(void) {
    check_plain_functions_work();
    check_life_cycle_refused();
    check_requests_refused();
    check_files_refused();
    exit(0); /* with its handlers and destructors */
}

/* As a fresh process: what is open but 0, 1, 2 and the directory that lists it. */
static int count_inherited(void) {
    int inherited = 0;
    /* The runtime reads some files while it starts, beside main; afterwards it is quiet. */
    CHECK_OK(loop_init(&loop, NULL));
    CHECK_OK(loop_deinit(loop));
    DIR *open_ones = opendir("/proc/self/fd");
    CHECK(open_ones != NULL);
    for (struct dirent *entry = readdir(open_ones); entry != NULL; entry = readdir(open_ones)) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (fd > 2 && fd != dirfd(open_ones)) {
            char path[64], target[256] = "";
            snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
            CHECK(readlink(path, target, sizeof(target) - 1) > 0);
            fprintf(stderr, "inherited: %d -> %s\n", fd, target);
            inherited++;
        }
    }
    closedir(open_ones);
    return inherited;
}

static void fork_and(const char *role) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0 && role == NULL) {
        run_child();
    }
    if (child == 0) {
        execl("/proc/self/exe", "guest_fork", role, (char *)NULL);
        abort();
    }
    CHECK(guest_wait_for(child) == 0);
}

static void test_forks(void) {
    guest_load_t load = {0};
    pthread_t    thread;
    CHECK_OK(loop_init(&loop, NULL));
    guest_load_start(&load, loop);
    CHECK(pthread_create(&thread, NULL, guest_run_loop, loop) == 0);
    guest_load_await(&load, 10);
    for (int i = 0; i < FORKS; i++) {
        fork_and(NULL);
        fork_and("count-inherited");
    }
    guest_load_await(&load, 10);
    guest_load_end(&load);
    CHECK(pthread_join(thread, NULL) == 0);
    guest_load_free(&load);
    fork_and(NULL);
    CHECK_OK(loop_deinit(loop));
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "count-inherited") == 0) {
        return count_inherited();
    }
    if (argc == 1) {
        guest_exec_fresh("test");
    }
    test_forks();
    return 0;
}
