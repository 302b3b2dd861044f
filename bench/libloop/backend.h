/*
 * Makes the loop of a benchmark program on the backend that LOOP_BENCH_BACKEND names ("epoll" or
 * "io_uring"; unset: the default of the library). A backend that does not exist here ends the program
 * with the status BACKEND_MISSING, by which run.py leaves the side out.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_LIBLOOP_BACKEND_H
#define BENCH_LIBLOOP_BACKEND_H

#include "../support.h"

#include <loop.h>
#include <string.h>

enum { BACKEND_MISSING = 77 };

/* A loop with these options, but for the backend. */
static inline loop_t *make_loop_with(loop_options_t options) {
    const char *name = getenv("LOOP_BENCH_BACKEND");
    loop_t *loop;
    if (name != NULL) {
        const bool is_uring = strcmp(name, "io_uring") == 0;
        CHECK(is_uring || strcmp(name, "epoll") == 0);
        options.backend = is_uring ? LOOP_BACKEND_IO_URING : LOOP_BACKEND_EPOLL;
    }
    const int error = loop_init(&loop, &options);
    if (error == LOOP_ENOTSUP) {
        fprintf(stderr, "backend %s: %s\n", name, loop_error_message(error));
        exit(BACKEND_MISSING);
    }
    CHECK(error == 0);
    CHECK(name == NULL || strcmp(loop_backend_name(loop), name) == 0);
    return loop;
}

/* A loop with `threads` threads that run callbacks. */
static inline loop_t *make_loop_with_threads(uint32_t threads) {
    return make_loop_with((loop_options_t){.size = sizeof(loop_options_t), .threads = threads});
}

/* A loop with one thread. */
static inline loop_t *make_loop(void) { return make_loop_with_threads(1); }

#endif
