/*
 * The process ends while another thread runs a loop: by exit from main, by exit in a callback or in blocking
 * work, by return from main. It ends at once and with its status. Each case is a process of its own.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STATUS = 7, ROUNDS = 15 };

static guest_load_t load; /* static: the loop runs on while main returns */

static void exit_in_work(loop_request_t *request) {
    (void)request;
    exit(STATUS);
}

static void exit_in_callback(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    (void)request;
    (void)result;
    exit(STATUS);
}

static void submit_exit(loop_t *loop, const char *role) {
    static loop_request_t request;
    if (strcmp(role, "callback") == 0) {
        CHECK_OK(loop_timer_start(loop, &request, 1000000, 0, exit_in_callback));
    } else if (strcmp(role, "work") == 0) {
        CHECK_OK(loop_queue_work(loop, &request, exit_in_work, loop_ignore));
    }
}

static int run_and_end(const char *role) {
    loop_t   *loop;
    pthread_t thread;
    CHECK_OK(loop_init(&loop, NULL));
    guest_load_start(&load, loop);
    CHECK(pthread_create(&thread, NULL, guest_run_loop, loop) == 0);
    guest_load_await(&load, 3);
    if (strcmp(role, "exit") == 0) {
        exit(STATUS);
    }
    if (strcmp(role, "return") != 0) {
        submit_exit(loop, role);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    return STATUS;
}

int main(int argc, char **argv) {
    const char *roles[] = {"exit", "return", "callback", "work"};
    if (argc > 1) {
        return run_and_end(argv[1]);
    }
    for (int i = 0; i < ROUNDS * 4; i++) {
        int status = guest_run_again(roles[i % 4], NULL);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == STATUS);
    }
    return 0;
}
