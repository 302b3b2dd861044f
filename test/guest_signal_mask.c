/*
 * Signals that the host blocks stay blocked in the whole process: it may fetch them with signalfd or
 * sigtimedwait. The Go runtime starts its threads before main with the mask of that moment; the library has
 * to see to it that this mask is full, and that the host finds its own one again.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define BIT(signal) (UINT64_C(1) << ((signal) - 1))

/* What a Go runtime insists on, and what the C library keeps for itself. All others are to be blocked. */
static uint64_t unblockable(void) {
    uint64_t mask = BIT(SIGKILL) | BIT(SIGSTOP) | BIT(32) | BIT(33) | BIT(34);
    mask |= BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGSEGV);
    return mask | BIT(SIGCHLD) | BIT(SIGPROF) | BIT(SIGURG) | BIT(SIGSTKFLT);
}

static void check_all_blocked(uint64_t blocked, const char *where) {
    uint64_t open = ~blocked & ~unblockable();
    if (open != 0) {
        fprintf(stderr, "%s takes signals %#llx\n", where, (unsigned long long)open);
    }
    CHECK(open == 0);
}

/* ---- the host's mask is the one that it was started with ------------------------------------ */

static uint64_t current_mask(void) {
    sigset_t set;
    uint64_t mask = 0;
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &set) == 0);
    for (int signal = 1; signal <= 64; signal++) {
        if (sigismember(&set, signal) == 1) {
            mask |= BIT(signal);
        }
    }
    return mask;
}

static void set_blocked(int how, const int *signals, int count) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < count; i++) {
        sigaddset(&set, signals[i]);
    }
    CHECK(pthread_sigmask(how, &set, NULL) == 0);
}

static void test_mask_survives_load(void) {
    const int some[] = {SIGUSR2, SIGHUP, SIGCHLD, SIGURG, SIGRTMIN + 3};
    set_blocked(SIG_SETMASK, some, 5);
    char expected[32];
    snprintf(expected, sizeof(expected), "%#llx", (unsigned long long)current_mask());
    CHECK(guest_run_again("print-mask", expected) == 0);
    set_blocked(SIG_SETMASK, NULL, 0);
    CHECK(guest_run_again("print-mask", "0") == 0);
}

static int child_mask(const char *expected) {
    char actual[32];
    snprintf(actual, sizeof(actual), "%#llx", (unsigned long long)current_mask());
    return strcmp(actual, expected) != 0;
}

/* ---- threads that are not the host's -------------------------------------------------------- */

typedef struct threads {
    pid_t host[2];
    int   others;
} threads_t;

static void check_thread(pid_t tid, void *user) {
    threads_t *threads = user;
    if (tid == threads->host[0] || tid == threads->host[1]) {
        return;
    }
    check_all_blocked(guest_blocked_signals(tid), "a thread of the library");
    threads->others++;
}

static void check_work_thread(loop_request_t *request) {
    (void)request;
    check_all_blocked(current_mask(), "a thread for blocking work");
}

/* ---- signals that the host fetches itself --------------------------------------------------- */

static const int fetched[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGALRM, SIGQUIT};
enum { FETCHED = sizeof(fetched) / sizeof(fetched[0]), ROUNDS = 50 };

/* Each signal would end the process, if any thread took it. */
static void fetch_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < FETCHED; i++) {
        sigaddset(&set, fetched[i]);
    }
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    CHECK(fd >= 0);
    for (int i = 0; i < ROUNDS * FETCHED; i++) {
        int signal = fetched[i % FETCHED];
        CHECK(kill(getpid(), signal) == 0);
        if (i / FETCHED % 2 == 0) {
            struct signalfd_siginfo information;
            struct pollfd           readable = {.fd = fd, .events = POLLIN};
            CHECK(poll(&readable, 1, 20000) == 1);
            CHECK(read(fd, &information, sizeof(information)) == (ssize_t)sizeof(information));
            CHECK((int)information.ssi_signo == signal);
        } else {
            struct timespec patience = {.tv_sec = 20};
            CHECK(sigtimedwait(&set, NULL, &patience) == signal);
        }
    }
    close(fd);
}

/* ---- a host's thread that runs a loop keeps its mask ---------------------------------------- */

typedef struct runner {
    loop_t              *loop;
    atomic_uint_fast64_t tid, mask_in_callback;
    loop_request_t       tick;
    uint64_t             mask_before;
} runner_t;

static void note_mask(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    (void)result;
    runner_t *runner = request->user;
    atomic_store(&runner->mask_in_callback, current_mask());
    atomic_store(&runner->tid, (uint64_t)gettid());
}

static void *run_with_own_mask(void *user) {
    runner_t *runner = user;
    const int own[] = {SIGUSR2, SIGRTMIN + 1};
    set_blocked(SIG_BLOCK, own, 2);
    runner->mask_before = current_mask();
    runner->tick.user = runner;
    CHECK_OK(loop_on_next_tick(runner->loop, &runner->tick, note_mask));
    CHECK_OK(loop_run(runner->loop));
    CHECK(current_mask() == runner->mask_before);
    CHECK(atomic_load(&runner->mask_in_callback) == runner->mask_before);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc > 2) {
        return child_mask(argv[2]);
    }
    test_mask_survives_load();

    set_blocked(SIG_SETMASK, fetched, FETCHED);
    runner_t     runner = {0};
    guest_load_t load = {.work = check_work_thread};
    pthread_t    thread;
    CHECK_OK(loop_init(&runner.loop, NULL));
    guest_load_start(&load, runner.loop);
    CHECK(pthread_create(&thread, NULL, run_with_own_mask, &runner) == 0);
    guest_await(&runner.tid, 1, "the loop thread");
    guest_load_await(&load, 100);

    threads_t threads = {.host = {getpid(), (pid_t)atomic_load(&runner.tid)}};
    guest_each_thread(check_thread, &threads);
    CHECK(threads.others >= 3);
    fetch_signals();

    guest_load_end(&load);
    CHECK(pthread_join(thread, NULL) == 0);
    guest_load_free(&load);
    CHECK_OK(loop_deinit(runner.loop));
    return 0;
}
