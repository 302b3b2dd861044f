/*
 * A host that loads the library with dlopen, as plug-ins and language bindings do, after it has set up its
 * signals: its handlers keep working in callbacks and outside, its mask is not touched, dlclose followed by
 * dlopen works, and loop_version needs no runtime.
 */
#define _GNU_SOURCE
#include "guest_support.h"
#include "loop.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <string.h>
#include <unistd.h>

/* The functions of the library, found by name: this program is not linked with it. */
static struct {
    void *library;
    __typeof__(loop_version) *version;
    __typeof__(loop_init) *init;
    __typeof__(loop_run) *run;
    __typeof__(loop_deinit) *deinit;
    __typeof__(loop_on_next_tick) *on_next_tick;
    __typeof__(loop_timer_start) *timer_start;
} api;

static void *find(const char *name) {
    void *function = dlsym(api.library, name);
    CHECK(function != NULL);
    return function;
}

static void load(void) {
    api.library = dlopen(LOOP_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    CHECK(api.library != NULL);
    *(void **)&api.version = find("loop_version");
    *(void **)&api.init = find("loop_init");
    *(void **)&api.run = find("loop_run");
    *(void **)&api.deinit = find("loop_deinit");
    *(void **)&api.on_next_tick = find("loop_on_next_tick");
    *(void **)&api.timer_start = find("loop_timer_start");
}

/* ---- handlers that were there before the library -------------------------------------------- */

static volatile sig_atomic_t handled[NSIG];
static sigjmp_buf            recovery;
static const volatile char  *volatile nowhere; /* NULL, unknown to the compiler */

static void handle(int signal) {
    handled[signal]++;
    if (signal == SIGSEGV) {
        siglongjmp(recovery, 1);
    }
}

static const int signals[] = {SIGSEGV, SIGPIPE, SIGUSR1, SIGALRM, SIGTERM, SIGCHLD};

static void install(int flags) {
    struct sigaction action = {.sa_handler = handle, .sa_flags = flags};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        CHECK(sigaction(signals[i], &action, NULL) == 0);
    }
}

/* Raises one signal of each kind on the calling thread; all of them must arrive. */
static void try_all(void) {
    int before[NSIG], ends[2];
    for (int signal = 0; signal < NSIG; signal++) {
        before[signal] = handled[signal];
    }
    if (sigsetjmp(recovery, 1) == 0) {
        (void)*nowhere;
        CHECK(!"a read from address 0 went through");
    }
    CHECK(pipe(ends) == 0);
    close(ends[0]);
    CHECK(write(ends[1], "x", 1) == -1 && errno == EPIPE);
    close(ends[1]);
    raise(SIGUSR1);
    raise(SIGALRM);
    raise(SIGTERM);
    raise(SIGCHLD);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        CHECK(handled[signals[i]] == before[signals[i]] + 1);
    }
}

static void on_event(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    CHECK(result == 0);
    try_all();
    ++*(int *)request->user;
}

static void run_a_loop(void) {
    int            events = 0;
    loop_request_t tick = {.user = &events}, timer = {.user = &events};
    loop_t        *loop;
    CHECK(api.init(&loop, NULL) == 0);
    CHECK(api.on_next_tick(loop, &tick, on_event) == 0);
    CHECK(api.timer_start(loop, &timer, 2000000, 0, on_event) == 0);
    CHECK(api.run(loop) == 0);
    CHECK(events == 2);
    CHECK(api.deinit(loop) == 0);
}

/* ---- the tests, each in a process of its own ------------------------------------------------ */

static void check_runtime_was_not_entered(void) {
    stack_t stack; /* a thread that was in Go has an alternate stack from it */
    CHECK(sigaltstack(NULL, &stack) == 0);
    CHECK((stack.ss_flags & SS_DISABLE) != 0);
}

static void test_version_first(void) {
    load();
    CHECK(strcmp(api.version(), LOOP_VERSION_STRING) == 0);
    check_runtime_was_not_entered();
    run_a_loop();
}

static void test_mask_stays(void) {
    sigset_t own, after;
    sigemptyset(&own);
    sigaddset(&own, SIGTERM);
    sigaddset(&own, SIGUSR2);
    CHECK(pthread_sigmask(SIG_SETMASK, &own, NULL) == 0);
    load();
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
    for (int signal = 1; signal < NSIG; signal++) {
        CHECK(sigismember(&own, signal) == sigismember(&after, signal));
    }
}

static void test_load_again(void) {
    load();
    __typeof__(loop_version) *version = api.version;
    for (int i = 0; i < 10; i++) {
        run_a_loop();
        CHECK(dlclose(api.library) == 0);
        load();
        CHECK(api.version == version);
    }
    run_a_loop();
}

static void *load_on_thread(void *ignored) {
    load();
    run_a_loop();
    return ignored;
}

/* The thread that loaded the library is gone when another one uses it. */
static void test_load_on_thread(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, load_on_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    run_a_loop();
}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"version-first", test_version_first},
    {"mask-stays", test_mask_stays},
    {"load-again", test_load_again},
    {"load-on-thread", test_load_on_thread},
};

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        if (argc > 1) {
            if (strcmp(argv[1], tests[i].name) == 0) {
                install(strcmp(argv[2], "onstack") == 0 ? SA_ONSTACK : 0);
                tests[i].run();
            }
            continue;
        }
        CHECK(guest_run_again(tests[i].name, "onstack") == 0);
        CHECK(guest_run_again(tests[i].name, "plain") == 0);
    }
    return 0;
}
