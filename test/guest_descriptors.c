/*
 * Descriptors: the library keeps none when no loop exists, so that the host's next one is 3 in a fresh
 * process (a Go runtime would keep two of the cgroup open); all that a running loop has are closed on exec;
 * and no flag of a descriptor of the host's is changed by an operation on it.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOPS = 20 };

static void test_none_is_kept(void) {
    loop_t *loop;
    for (uint32_t i = 0; i < LOOPS; i++) {
        guest_load_t   load = {0};
        loop_options_t options = {.size = sizeof(options), .threads = i % 3 + 1};
        CHECK_OK(loop_init(&loop, &options));
        guest_load_start(&load, loop);
        guest_load_end(&load);
        CHECK_OK(loop_run(loop));
        guest_load_free(&load);
        CHECK_OK(loop_deinit(loop));
        CHECK(guest_next_descriptor() == 3);
    }
}

/* Nor does the garbage of many loops make the Go runtime open any: see the ballast in capi/exports.go. */
static void test_the_runtime_opens_none_either(void) {
    enum { MANY_LOOPS = 4000, SETTLE_US = 300000 };
    for (uint32_t i = 0; i < MANY_LOOPS; i++) {
        loop_t        *loop;
        loop_options_t options = {.size = sizeof(options), .threads = i % 4 + 1};
        CHECK_OK(loop_init(&loop, &options));
        CHECK(loop_run_once(loop, 0) == 0);
        CHECK_OK(loop_deinit(loop));
    }
    usleep(SETTLE_US);
    CHECK(guest_next_descriptor() == 3);
}

static void test_all_close_on_exec(void) {
    guest_load_t load = {0};
    loop_t      *loop;
    pthread_t    thread;
    int          count = 0;
    CHECK_OK(loop_init(&loop, NULL));
    guest_load_start(&load, loop);
    CHECK(pthread_create(&thread, NULL, guest_run_loop, loop) == 0);
    guest_load_await(&load, 10);
    for (int fd = 3; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0) {
            CHECK((flags & FD_CLOEXEC) != 0);
            count++;
        }
    }
    CHECK(count > 3); /* the load's three, and some of the loop's */
    guest_load_end(&load);
    CHECK(pthread_join(thread, NULL) == 0);
    guest_load_free(&load);
    CHECK_OK(loop_deinit(loop));
}

/* ---- flags of the host's descriptors -------------------------------------------------------- */

static void on_end(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    (void)request;
    CHECK_OK(result);
}

/* Reads what is not there yet, writes, and waits, so that the descriptor takes all ways through the loop. */
static void use(int reading, int writing) {
    loop_t        *loop;
    loop_request_t read = {0}, write = {0}, wait = {0};
    char           in = 0, out = 'x';
    int            status[2] = {fcntl(reading, F_GETFL), fcntl(writing, F_GETFL)};
    int            descriptor[2] = {fcntl(reading, F_GETFD), fcntl(writing, F_GETFD)};
    CHECK_OK(loop_init(&loop, NULL));
    CHECK_OK(loop_read(loop, &read, reading, &in, 1, on_end));
    CHECK_OK(loop_wait_until_fd_writable(loop, &wait, writing, on_end));
    CHECK_OK(loop_run_once(loop, 0));
    CHECK_OK(loop_write(loop, &write, writing, &out, 1, on_end));
    CHECK_OK(loop_run(loop));
    CHECK(in == 'x');
    CHECK(fcntl(reading, F_GETFL) == status[0] && fcntl(writing, F_GETFL) == status[1]);
    CHECK(fcntl(reading, F_GETFD) == descriptor[0] && fcntl(writing, F_GETFD) == descriptor[1]);
    CHECK_OK(loop_deinit(loop));
    CHECK(fcntl(reading, F_GETFL) == status[0] && fcntl(writing, F_GETFL) == status[1]);
}

static void test_flags_stay(void) {
    for (int flags = 0; flags < 2; flags++) {
        int ends[2];
        CHECK(pipe2(ends, flags == 0 ? 0 : O_NONBLOCK | O_CLOEXEC) == 0);
        use(ends[0], ends[1]);
        close(ends[0]);
        close(ends[1]);
        int type = SOCK_STREAM | (flags == 0 ? 0 : SOCK_NONBLOCK | SOCK_CLOEXEC);
        CHECK(socketpair(AF_UNIX, type, 0, ends) == 0);
        use(ends[0], ends[1]);
        close(ends[0]);
        close(ends[1]);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc == 1) {
        guest_exec_fresh("test");
    }
    test_none_is_kept();
    test_the_runtime_opens_none_either();
    test_all_close_on_exec();
    test_flags_stay();
    return 0;
}
