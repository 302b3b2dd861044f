/*
 * Writing to a pipe or socket whose other end is closed delivers LOOP_EPIPE, and SIGPIPE does not end the
 * process, whatever the host did with that signal. Each case is a process of its own.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static void on_sigpipe(int signal) {
    (void)signal;
}

static void set_disposition(const char *name) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    if (strcmp(name, "untouched") == 0) {
        return;
    }
    if (strcmp(name, "ignore") == 0) {
        action.sa_handler = SIG_IGN;
    } else if (strcmp(name, "handler") == 0) {
        action.sa_handler = on_sigpipe;
    }
    CHECK(sigaction(SIGPIPE, &action, NULL) == 0);
}

/* Opens something to write to whose other end is gone. */
static int open_broken(const char *kind) {
    int ends[2];
    int blocking = strncmp(kind, "nonblocking", 11) != 0;
    if (strstr(kind, "pipe") != NULL) {
        CHECK(pipe2(ends, blocking ? O_CLOEXEC : O_CLOEXEC | O_NONBLOCK) == 0);
    } else {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | (blocking ? 0 : SOCK_NONBLOCK), 0, ends) == 0);
    }
    CHECK(close(ends[0]) == 0);
    return ends[1];
}

static void on_written(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    CHECK(result == LOOP_EPIPE);
    ++*(int *)request->user;
}

static void write_to_broken(const char *kind, uint32_t threads) {
    loop_options_t options = {.size = sizeof(options), .threads = threads};
    int            completions = 0;
    loop_request_t write = {.user = &completions}, writev = {.user = &completions};
    loop_iovec_t   iovec = {"byte", 4};
    loop_t        *loop;
    int            fd = open_broken(kind);
    CHECK_OK(loop_init(&loop, &options));
    for (int i = 0; i < 10; i++) {
        CHECK_OK(loop_write(loop, &write, fd, "byte", 4, on_written));
        CHECK_OK(loop_run(loop));
        CHECK_OK(loop_writev(loop, &writev, fd, &iovec, 1, on_written));
        CHECK_OK(loop_run(loop));
    }
    CHECK(completions == 20);
    CHECK_OK(loop_deinit(loop));
    CHECK(close(fd) == 0);
}

/* Before Linux 6.18 a write cannot be told to raise no signal: docs/limits.md on a host that sets SIG_DFL. */
static bool kernel_can_write_without_signal(void) {
    const int    rwf_nosignal = 0x100;
    struct iovec nothing = {0};
    int          fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    ssize_t      written = pwritev2(fd, &nothing, 1, -1, rwf_nosignal);
    close(fd);
    return written >= 0;
}

int main(int argc, char **argv) {
    const char *dispositions[] = {"untouched", "default", "ignore", "handler"};
    const char *kinds[] = {"pipe", "socket", "nonblocking pipe", "nonblocking socket"};
    if (argc == 3) {
        set_disposition(argv[1]);
        write_to_broken(argv[2], 1);
        write_to_broken(argv[2], 2);
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        if (strcmp(dispositions[i], "default") == 0 && !kernel_can_write_without_signal()) {
            puts("this kernel has no RWF_NOSIGNAL: not tested with SIG_DFL");
            continue;
        }
        for (int j = 0; j < 4; j++) {
            CHECK(guest_run_again(dispositions[i], kinds[j]) == 0);
        }
    }
    return 0;
}
