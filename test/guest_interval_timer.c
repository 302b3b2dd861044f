/*
 * A host with an interval timer at 1 kHz whose handler does not restart system calls, as profilers and
 * schedulers in user space have: no operation of a loop ends with EINTR (or EAGAIN), and no timer fires
 * early. The load checks both.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <pthread.h>
#include <sys/time.h>
#include <unistd.h>

enum { ALARMS = 2000, SLEEPS = 200 };

static atomic_uint_fast64_t alarms;

static void count_alarm(int signal) {
    (void)signal;
    atomic_fetch_add(&alarms, 1);
}

static void set_interval_us(long interval_us) {
    struct itimerval interval = {.it_interval.tv_usec = interval_us, .it_value.tv_usec = interval_us};
    CHECK(setitimer(ITIMER_REAL, &interval, NULL) == 0);
}

/* Under load a loop never sleeps for long; here it waits for one timer at a time, and alarms wake it. */
typedef struct sleeper {
    loop_request_t timer;
    uint64_t       start_ns;
    int            left;
} sleeper_t;

enum { SLEEP_NS = 3500000 };

static void on_sleep_end(loop_t *loop, loop_request_t *request, int64_t result) {
    sleeper_t *sleeper = request->user;
    CHECK_OK(result);
    CHECK(loop_now(loop) >= sleeper->start_ns + SLEEP_NS);
    if (--sleeper->left > 0) {
        sleeper->start_ns = loop_now(loop);
        CHECK_OK(loop_timer_start(loop, request, SLEEP_NS, 0, on_sleep_end));
    }
}

static void test_sleeps(uint32_t threads) {
    loop_options_t options = {.size = sizeof(options), .threads = threads};
    sleeper_t      sleeper = {.left = SLEEPS, .timer.user = &sleeper};
    loop_t        *loop;
    CHECK_OK(loop_init(&loop, &options));
    sleeper.start_ns = loop_now(loop);
    CHECK_OK(loop_timer_start(loop, &sleeper.timer, SLEEP_NS, 0, on_sleep_end));
    CHECK_OK(loop_run(loop));
    CHECK(sleeper.left == 0);
    CHECK_OK(loop_deinit(loop));
}

static void test_load(uint32_t threads) {
    loop_options_t options = {.size = sizeof(options), .threads = threads};
    guest_load_t   load = {0};
    loop_t        *loop;
    pthread_t      thread;
    CHECK_OK(loop_init(&loop, &options));
    guest_load_start(&load, loop);
    CHECK(pthread_create(&thread, NULL, guest_run_loop, loop) == 0);
    guest_await(&alarms, atomic_load(&alarms) + ALARMS, "alarms");
    guest_load_await(&load, 1);
    guest_load_end(&load);
    CHECK(pthread_join(thread, NULL) == 0);
    guest_load_free(&load);
    CHECK_OK(loop_deinit(loop));
}

static void on_byte(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    (void)request;
    CHECK(result == 1);
}

/* A read of a pipe that stays empty for several alarms. */
static void test_waiting_read(void) {
    loop_request_t request = {0};
    loop_t        *loop;
    pthread_t      thread;
    int            ends[2];
    char           byte;
    CHECK_OK(loop_init(&loop, NULL));
    CHECK(pipe(ends) == 0);
    for (int i = 0; i < 20; i++) {
        CHECK_OK(loop_read(loop, &request, ends[0], &byte, 1, on_byte));
        CHECK(pthread_create(&thread, NULL, guest_run_loop, loop) == 0);
        guest_await(&alarms, atomic_load(&alarms) + 10, "alarms");
        CHECK(write(ends[1], "x", 1) == 1);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    close(ends[0]);
    close(ends[1]);
    CHECK_OK(loop_deinit(loop));
}

int main(void) {
    struct sigaction action = {.sa_handler = count_alarm, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    set_interval_us(1000);
    for (uint32_t threads = 1; threads <= 2; threads++) {
        test_sleeps(threads);
        test_load(threads);
    }
    test_waiting_read();
    set_interval_us(0);
    return 0;
}
