/*
 * A host that closes all descriptors it does not know, as daemons do with closefrom(3): after the library was
 * loaded, and between two loops, nothing happens. With a loop open it takes the loop's descriptors away: that
 * loop is broken then, and says so in every call; nothing hangs or crashes, and other loops can be made.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <linux/close_range.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void close_all(void) {
    CHECK(close_range(3, ~0U, 0) == 0);
}

static void run_load(void) {
    loop_t      *loop;
    guest_load_t load = {0};
    CHECK_OK(loop_init(&loop, NULL));
    guest_load_start(&load, loop);
    guest_load_end(&load);
    CHECK_OK(loop_run(loop));
    guest_load_free(&load);
    CHECK_OK(loop_deinit(loop));
}

static void on_timer(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    (void)request;
    CHECK(result == 0);
}

/* The requests of a broken loop never complete: they are static. */
static void break_loop(uint32_t backend, uint32_t threads, bool after_a_run) {
    static loop_request_t timer, tick, late;
    loop_t               *loop;
    loop_options_t        options = {.size = sizeof(options), .threads = threads, .backend = backend};
    int                   made = loop_init(&loop, &options);
    if (made == LOOP_ENOTSUP && backend == LOOP_BACKEND_IO_URING) {
        return;
    }
    CHECK_OK(made);
    if (after_a_run) {
        CHECK_OK(loop_on_next_tick(loop, &tick, on_timer));
        CHECK_OK(loop_run(loop));
    }
    CHECK_OK(loop_timer_start(loop, &timer, 1000000, 0, on_timer));
    close_all();
    CHECK(loop_run(loop) == LOOP_ENOTRECOVERABLE);
    CHECK(loop_run_once(loop, -1) == LOOP_ENOTRECOVERABLE);
    CHECK(loop_timer_start(loop, &late, 1, 0, on_timer) == LOOP_ENOTRECOVERABLE);
    CHECK(loop_on_next_tick(loop, &tick, on_timer) == LOOP_ENOTRECOVERABLE);
    CHECK(loop_deinit(loop) == LOOP_ENOTRECOVERABLE);
    run_load();
}

int main(int argc, char **argv) {
    const char *cases[] = {"epoll 1", "epoll 2", "io_uring 1", "io_uring 2"};
    if (argc == 3) {
        uint32_t backend = strstr(argv[1], "epoll") != NULL ? LOOP_BACKEND_EPOLL : LOOP_BACKEND_IO_URING;
        break_loop(backend, strchr(argv[1], '2') != NULL ? 2 : 1, strcmp(argv[2], "run") == 0);
        return 0;
    }
    close_all();
    run_load();
    close_all();
    run_load();
    for (int i = 0; i < 4; i++) {
        CHECK(guest_run_again(cases[i], "fresh") == 0);
        CHECK(guest_run_again(cases[i], "run") == 0);
    }
    return 0;
}
