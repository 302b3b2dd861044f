/*
 * Signal handlers that the host installs after the library was loaded, with an alternate stack (SA_ONSTACK)
 * and without, see each of their signals while loops run under load; and they see them on the host's own
 * threads only, but for SIGURG, which the Go runtime does not keep blocked in its own. A fault in a callback
 * can be handled as anywhere else.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <pthread.h>
#include <setjmp.h>
#include <string.h>
#include <unistd.h>

enum { LOOPS = 4, ROUNDS = 200, HANDLER_STACK_BYTES = 8192 };

static const int signals[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGPIPE, SIGTERM, SIGHUP, SIGWINCH, SIGURG};
enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };

static atomic_uint_fast64_t handled[NSIG];
static atomic_uint_fast64_t handled_elsewhere; /* on threads that are not the host's */
static _Thread_local bool   of_host;

/* Uses the stack as handlers do that format a message. */
static void handle(int signal) {
    volatile char message[HANDLER_STACK_BYTES];
    for (int i = 0; i < HANDLER_STACK_BYTES; i++) {
        message[i] = (char)signal;
    }
    atomic_fetch_add(&handled[signal], (uint64_t)(message[0] == signal));
    if (!of_host && signal != SIGURG) {
        atomic_fetch_add(&handled_elsewhere, 1);
    }
}

static void install(int signal, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigfillset(&action.sa_mask);
    CHECK(sigaction(signal, &action, NULL) == 0);
}

static void *run_as_host(void *loop) {
    of_host = true;
    CHECK_OK(loop_run(loop));
    return NULL;
}

/* ---- signals from outside ------------------------------------------------------------------- */

typedef struct host_thread {
    pthread_t    thread;
    loop_t      *loop;
    guest_load_t load;
} host_thread_t;

/* Sends each signal to the process and to each loop thread, and waits for its handler. */
static void send_all(const host_thread_t *threads) {
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < SIGNALS; i++) {
            int      signal = signals[i];
            uint64_t before = atomic_load(&handled[signal]);
            CHECK(pthread_kill(threads[round % LOOPS].thread, signal) == 0);
            guest_await(&handled[signal], before + 1, "signals to a loop thread");
            CHECK(kill(getpid(), signal) == 0);
            guest_await(&handled[signal], before + 2, "signals to the process");
        }
    }
}

/* Several loops, so that a handler that runs past the end of a stack meets something that matters. */
static void test_handlers(uint32_t threads_per_loop, int flags) {
    static host_thread_t threads[LOOPS];
    loop_options_t       options = {.size = sizeof(options), .threads = threads_per_loop};
    memset(threads, 0, sizeof(threads));
    for (int i = 0; i < SIGNALS; i++) {
        install(signals[i], handle, flags);
    }
    for (int i = 0; i < LOOPS; i++) {
        CHECK_OK(loop_init(&threads[i].loop, &options));
        guest_load_start(&threads[i].load, threads[i].loop);
        CHECK(pthread_create(&threads[i].thread, NULL, run_as_host, threads[i].loop) == 0);
        guest_load_await(&threads[i].load, 1);
    }
    send_all(threads);
    for (int i = 0; i < LOOPS; i++) {
        guest_load_end(&threads[i].load);
        CHECK(pthread_join(threads[i].thread, NULL) == 0);
        guest_load_free(&threads[i].load);
        CHECK_OK(loop_deinit(threads[i].loop));
    }
}

/* ---- faults --------------------------------------------------------------------------------- */

static sigjmp_buf             recovery;
static volatile sig_atomic_t  faults;
static const volatile char   *volatile nowhere; /* NULL, unknown to the compiler */

static void recover(int signal) {
    (void)signal;
    faults++;
    siglongjmp(recovery, 1);
}

static void fault(void) {
    if (sigsetjmp(recovery, 1) == 0) {
        (void)*nowhere;
        CHECK(!"a read from address 0 went through");
    }
}

static void fault_in_callback(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)result;
    int *left = request->user;
    fault();
    if (--*left > 0) {
        CHECK_OK(loop_on_next_tick(loop, request, fault_in_callback));
    }
}

static void test_faults(int flags) {
    loop_t        *loop;
    int            left = 100;
    loop_request_t tick = {.user = &left};
    guest_load_t   load = {0};
    faults = 0;
    install(SIGSEGV, recover, flags);
    CHECK_OK(loop_init(&loop, NULL));
    guest_load_start(&load, loop);
    guest_load_end(&load);
    CHECK_OK(loop_on_next_tick(loop, &tick, fault_in_callback));
    CHECK_OK(loop_run(loop));
    fault();
    CHECK(faults == 101);
    guest_load_free(&load);
    CHECK_OK(loop_deinit(loop));
}

int main(void) {
    of_host = true;
    for (uint32_t threads = 1; threads <= 2; threads++) {
        test_handlers(threads, SA_ONSTACK);
        test_handlers(threads, SA_ONSTACK | SA_RESTART);
        test_handlers(threads, 0);
    }
    CHECK(atomic_load(&handled_elsewhere) == 0);
    test_faults(SA_ONSTACK);
    test_faults(0);
    return 0;
}
