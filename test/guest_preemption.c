/*
 * The Go runtime of the library sends no SIGURG: it uses that signal to interrupt goroutines that run for
 * long, and a signal that comes late interrupts a system call of the host instead. The statistics stop the
 * runtime, which is when it would send one to each thread that is busy in Go.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <pthread.h>

enum { STOPS = 3000, LOOPS = 2 };

static atomic_uint_fast64_t interruptions;

static void count(int signal) {
    (void)signal;
    atomic_fetch_add(&interruptions, 1);
}

int main(void) {
    static guest_load_t loads[LOOPS];
    loop_t             *loops[LOOPS];
    pthread_t           threads[LOOPS];
    /* In place of the handler of the runtime, which needs none when it sends none. */
    struct sigaction action = {.sa_handler = count, .sa_flags = SA_ONSTACK | SA_RESTART};
    CHECK(sigaction(SIGURG, &action, NULL) == 0);
    for (int i = 0; i < LOOPS; i++) {
        CHECK_OK(loop_init(&loops[i], NULL));
        guest_load_start(&loads[i], loops[i]);
        CHECK(pthread_create(&threads[i], NULL, guest_run_loop, loops[i]) == 0);
    }
    for (int i = 0; i < STOPS; i++) {
        loop_statistics_t statistics = {.size = sizeof(statistics)};
        CHECK_OK(loop_get_statistics(loops[i % LOOPS], &statistics));
    }
    for (int i = 0; i < LOOPS; i++) {
        guest_load_end(&loads[i]);
        CHECK(pthread_join(threads[i], NULL) == 0);
        guest_load_free(&loads[i]);
        CHECK_OK(loop_deinit(loops[i]));
    }
    CHECK(atomic_load(&interruptions) == 0);
    return 0;
}
