/*
 * A name server that does not answer: the resolver of the C library is stuck for minutes in a blocking
 * thread. A look-up that is cancelled, or whose time is over, ends all the same, other requests go on, and
 * the process exits at once and with its status. Each case is a process of its own.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STATUS = 7, ROUNDS = 5, TIMER_NS = 2000000 };
enum { TIMEOUT_NS = 100000000 }; /* as a rule the resolver is stuck by then; if not, the result is the same */

static atomic_uint_fast64_t stuck; /* look-ups in the resolver */

/* The resolver of this process, which the library uses as well. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **list) {
    (void)node;
    (void)service;
    (void)hints;
    (void)list;
    atomic_fetch_add(&stuck, 1);
    for (;;) {
        pause();
    }
}

static loop_t               *loop;
static struct addrinfo      *addresses;
static atomic_uint_fast64_t ended;

static void on_end(loop_t *ignored, loop_request_t *request, int64_t result) {
    (void)ignored;
    CHECK(result == *(const int64_t *)request->user);
    CHECK(addresses == NULL);
    atomic_fetch_add(&ended, 1);
}

static loop_request_t look_up;

static void start_look_up(const int64_t *wanted) {
    static pthread_t thread;
    look_up.user = (void *)(uintptr_t)wanted;
    CHECK_OK(loop_init(&loop, NULL));
    CHECK_OK(loop_getaddrinfo(loop, &look_up, "localhost", NULL, NULL, &addresses, on_end));
    CHECK(pthread_create(&thread, NULL, guest_run_loop, loop) == 0);
}

static int run_and_exit(const char *role) {
    const int64_t cancelled = LOOP_ECANCELED, late = LOOP_ETIMEDOUT, done = 0;
    if (strcmp(role, "cancel") == 0) {
        start_look_up(&cancelled);
        guest_await(&stuck, 1, "look-ups");
        CHECK_OK(loop_cancel(loop, &look_up));
        guest_await(&ended, 1, "ended look-ups");
    } else if (strcmp(role, "timeout") == 0) {
        look_up.timeout_ns = TIMEOUT_NS;
        start_look_up(&late);
        guest_await(&ended, 1, "ended look-ups");
    } else {
        loop_request_t timer = {.user = (void *)(uintptr_t)&done};
        start_look_up(&cancelled);
        guest_await(&stuck, 1, "look-ups");
        CHECK_OK(loop_timer_start(loop, &timer, TIMER_NS, 0, on_end));
        guest_await(&ended, 1, "timers");
    }
    exit(STATUS);
}

int main(int argc, char **argv) {
    const char *roles[] = {"cancel", "timeout", "other"};
    if (argc > 1) {
        return run_and_exit(argv[1]);
    }
    for (int i = 0; i < ROUNDS * 3; i++) {
        int status = guest_run_again(roles[i % 3], NULL);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == STATUS);
    }
    return 0;
}
