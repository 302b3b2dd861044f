/*
 * The soak: everything mixed in one process for as long as is asked for, with faults; then idleness.
 *
 *   soak [--minutes N] [--seed S] [--threads N] [--backend epoll|io_uring] [--idle-seconds N]
 *
 * One program (program.h) runs for all of the time on a loop of its own. Beside it short programs, each
 * with the next seed and a loop of its own, begin and end. In one second of five the process may open
 * hardly any further descriptor for a while. Each second one line of JSON goes to the standard output, with
 * what the process has and the latency of probes: a tick and a timer of 1 ms on the long loop, submitted by
 * the main thread each millisecond. At the end all must be given back, and memory, descriptors, threads and
 * latency must be flat over the second half: not have grown by more than the allowance of `rows` even when
 * chance is given three standard errors. The last line is the summary. Fractions of minutes serve tests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "program.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "idle.h"
#include "measure.h"

enum { SHORT_PROGRAM_CALLS = 2000, PROBES_MOST = 2000, END_PATIENCE_SECONDS = 60, STALL_SECONDS = 30 };

static void sleep_for(uint64_t duration_ns)
{
    struct timespec left = {(time_t)(duration_ns / SECONDS), (long)(duration_ns % SECONDS)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

/* ---- the programs ------------------------------------------------------------------------------ */

static program_options_t short_options;
static program_counts_t  short_counts;
static atomic_ulong      short_programs;
static atomic_bool       finish;

static void *run_long_program(void *program)
{
    program_run(program);
    return NULL;
}

static void *run_short_programs(void *unused)
{
    program_options_t options = short_options;
    while (!atomic_load(&finish)) {
        options.seed++;
        program_t *program = program_new(&options);
        if (program == NULL) { /* no descriptors */
            sleep_for(MILLISECONDS);
            continue;
        }
        program_run(program);
        program_end(program, &short_counts);
        atomic_fetch_add(&short_programs, 1);
    }
    return unused;
}

/* ---- probes ------------------------------------------------------------------------------------ */

/* A request that the main thread submits again and again, and how late it was called. */
typedef struct probe {
    loop_request_t  request; /* first, so that the callback can get at the rest */
    uint64_t        delay_ns;
    uint64_t        due_ns;
    bool            aloft;
    double          lateness_us[PROBES_MOST];
    size_t          count;
    pthread_mutex_t lock;
} probe_t;

static probe_t tick_probe = {.lock = PTHREAD_MUTEX_INITIALIZER};
static probe_t timer_probe = {.delay_ns = MILLISECONDS, .lock = PTHREAD_MUTEX_INITIALIZER};

static void probed(loop_t *loop, loop_request_t *request, int64_t result)
{
    probe_t *probe = (probe_t *)(void *)request;
    (void)result;
    pthread_mutex_lock(&probe->lock);
    if (probe->count < PROBES_MOST) {
        probe->lateness_us[probe->count++] = ((double)loop_now(loop) - (double)probe->due_ns) / 1000;
    }
    probe->aloft = false;
    pthread_mutex_unlock(&probe->lock);
}

static void send_probe(loop_t *loop, probe_t *probe)
{
    pthread_mutex_lock(&probe->lock);
    if (!probe->aloft) {
        probe->aloft = true;
        probe->due_ns = loop_now(loop) + probe->delay_ns;
        if (probe->delay_ns == 0) {
            loop_on_next_tick(loop, &probe->request, probed);
        } else {
            loop_timer_start(loop, &probe->request, probe->delay_ns, 0, probed);
        }
    }
    pthread_mutex_unlock(&probe->lock);
}

static void take_latencies(probe_t *probe, double *median_us, double *p99_us)
{
    pthread_mutex_lock(&probe->lock);
    *median_us = percentile(probe->lateness_us, probe->count, 50);
    *p99_us = percentile(probe->lateness_us, probe->count, 99);
    probe->count = 0;
    pthread_mutex_unlock(&probe->lock);
}

/* ---- measurements ------------------------------------------------------------------------------ */

/* What must be flat, and by how much it may grow over the second half: an absolute part for what comes and
 * goes between two measurements (a cast more or less has some 40 descriptors and 8 threads, an allocator
 * keeps some memory, a busy machine makes a thread wait for some time slices), and a part of the mean. It
 * does not depend on the length of the run: a leak that is too slow for a short run shows in a long one. */
enum { RSS, DESCRIPTORS, THREADS, TICK_P99, TIMER_P99, ROWS };
static const struct {
    const char *name;
    double      absolute, relative;
} rows[ROWS] = {
    [RSS] = {"rss_kb", 8192, 0.05},           [DESCRIPTORS] = {"descriptors", 40, 0.1},
    [THREADS] = {"threads", 8, 0.1},          [TICK_P99] = {"tick_p99_us", 20000, 1},
    [TIMER_P99] = {"timer_p99_us", 20000, 1},
};

static double *measured[ROWS];
static size_t  measurements;

static unsigned long sum(const atomic_ulong *one, const atomic_ulong *other)
{
    return atomic_load(one) + atomic_load(other);
}

static void note(int row, double value)
{
    measured[row] = realloc(measured[row], (measurements + 1) * sizeof(double));
    measured[row][measurements] = value;
}

static void measure(const program_t *program, uint64_t began_ns)
{
    const program_counts_t *counts = &program->counts;
    inventory_t             inventory = take_inventory();
    loop_statistics_t       statistics = {.size = sizeof statistics};
    double                  tick_p50, tick_p99, timer_p50, timer_p99;
    loop_get_statistics(program->loop, &statistics);
    take_latencies(&tick_probe, &tick_p50, &tick_p99);
    take_latencies(&timer_probe, &timer_p50, &timer_p99);
    note(RSS, inventory.rss_kb);
    note(DESCRIPTORS, inventory.descriptors);
    note(THREADS, inventory.threads);
    note(TICK_P99, tick_p99);
    note(TIMER_P99, timer_p99);
    measurements++;
    printf("{\"seconds\":%.1f,\"operations\":%lu,\"completions\":%lu,\"bytes_verified\":%lu,\"programs\":%lu,"
           "\"rss_kb\":%.0f,\"heap_objects\":%llu,\"descriptors\":%u,\"threads\":%u,\"pending\":%lld,"
           "\"tick_p50_us\":%.1f,\"tick_p99_us\":%.1f,\"timer_p50_us\":%.1f,\"timer_p99_us\":%.1f}\n",
           (double)(loop_now(NULL) - began_ns) / (double)SECONDS, sum(&counts->calls, &short_counts.calls),
           sum(&counts->landings, &short_counts.landings),
           sum(&counts->bytes_verified, &short_counts.bytes_verified), atomic_load(&short_programs),
           inventory.rss_kb, (unsigned long long)statistics.heap_objects, inventory.descriptors,
           inventory.threads, (long long)loop_pending(program->loop), tick_p50, tick_p99, timer_p50,
           timer_p99);
    fflush(stdout);
}

/* Whether all rows are flat; adds their growth to the summary. */
static bool judge(void)
{
    bool is_flat = true;
    for (int row = 0; row < ROWS; row++) {
        size_t  half = measurements / 2;
        trend_t trend = fit(measured[row] + half, measurements - half);
        double  allowance = rows[row].absolute + rows[row].relative * trend.mean;
        bool    is_row_flat = trend.growth - 3 * trend.error <= allowance;
        is_flat = is_flat && is_row_flat;
        printf(",\"%s\":{\"mean\":%.1f,\"growth\":%.1f,\"error\":%.1f,\"allowance\":%.1f,\"flat\":%s}",
               rows[row].name, trend.mean, trend.growth, trend.error, allowance,
               is_row_flat ? "true" : "false");
        free(measured[row]);
    }
    return is_flat;
}

/* ---- the soak ---------------------------------------------------------------------------------- */

/* Lets descriptors be scarce for a fifth of every fifth second, and otherwise be as many as may be. */
static void ration_descriptors(uint64_t elapsed_ns)
{
    static bool   is_scarce;
    struct rlimit limit;
    bool          shall_be_scarce = elapsed_ns % (5 * SECONDS) > 4800 * MILLISECONDS;
    if (shall_be_scarce != is_scarce) {
        is_scarce = shall_be_scarce;
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = is_scarce ? take_inventory().descriptors : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* A request that never completes shows as a program that stands still, in the end or before. */
static void watch_progress(const program_t *program, uint64_t elapsed_ns)
{
    static unsigned long landings;
    static uint64_t      progress_ns;
    unsigned long        now = atomic_load(&program->counts.landings);
    if (now != landings) {
        landings = now;
        progress_ns = elapsed_ns;
    }
    EXPECT(program->conductor, NULL, elapsed_ns - progress_ns < STALL_SECONDS * SECONDS);
}

static void run_soak(program_t *program, uint64_t duration_ns)
{
    pthread_t threads[2];
    uint64_t  began_ns = loop_now(NULL);
    uint64_t  next_ns = SECONDS;
    pthread_create(&threads[0], NULL, run_long_program, program);
    pthread_create(&threads[1], NULL, run_short_programs, NULL);
    for (uint64_t elapsed_ns; (elapsed_ns = loop_now(NULL) - began_ns) < duration_ns;) {
        send_probe(program->loop, &tick_probe);
        send_probe(program->loop, &timer_probe);
        ration_descriptors(elapsed_ns);
        if (elapsed_ns >= next_ns) {
            measure(program, began_ns);
            watch_progress(program, elapsed_ns);
            next_ns += SECONDS;
        }
        sleep_for(MILLISECONDS);
    }
    ration_descriptors(0);
    alarm(END_PATIENCE_SECONDS); /* what never completes keeps the programs from their end */
    atomic_store(&finish, true);
    program_stop(program);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

/* Whether descriptors and threads of loops are as many as before; their ends take a moment. */
static bool is_all_returned(inventory_t before)
{
    inventory_t now = take_inventory();
    for (unsigned i = 0; i < 5000 && (now.loop_threads > 0 || now.descriptors > before.descriptors); i++) {
        sleep_for(MILLISECONDS);
        now = take_inventory();
    }
    printf(",\"descriptors_left\":%d,\"threads_left\":%u", (int)now.descriptors - (int)before.descriptors,
           now.loop_threads);
    return now.descriptors <= before.descriptors && now.loop_threads == 0;
}

/* What the first loops of a process leave in it (threads of the Go runtime) is there before anything
 * counts. */
static void warm_up(void)
{
    program_t *program = program_new(&short_options);
    program_run(program);
    program_end(program, &(program_counts_t){0});
}

static bool soak(uint64_t duration_ns)
{
    program_options_t long_options = short_options;
    program_counts_t  total = {0};
    warm_up();
    inventory_t before = take_inventory();
    long_options.calls = 0;
    long_options.all_features = true;
    program_t *program = program_new(&long_options);
    run_soak(program, duration_ns);
    program_end(program, &total);
    alarm(0);
    printf("{\"summary\":\"soak\",\"seed\":%llu,\"threads\":%u,\"operations\":%lu,\"completions\":%lu,"
           "\"bytes_verified\":%lu,\"programs\":%lu",
           (unsigned long long)long_options.seed, long_options.threads,
           sum(&total.calls, &short_counts.calls), sum(&total.landings, &short_counts.landings),
           sum(&total.bytes_verified, &short_counts.bytes_verified), atomic_load(&short_programs));
    bool is_flat = judge();
    bool is_returned = is_all_returned(before);
    printf(",\"ok\":%s}\n", is_flat && is_returned ? "true" : "false");
    return is_flat && is_returned;
}

/* ---- main -------------------------------------------------------------------------------------- */

static uint32_t backend_named(const char *name)
{
    if (strcmp(name, "epoll") == 0) {
        return LOOP_BACKEND_EPOLL;
    }
    if (strcmp(name, "io_uring") == 0) {
        return LOOP_BACKEND_IO_URING;
    }
    fprintf(stderr, "soak: the backend is epoll or io_uring, not %s\n", name);
    exit(2);
}

/* Whether io_uring is what this system has; the exit status of a test that cannot be made is 77. */
static void want_backend(uint32_t backend)
{
    loop_t        *loop;
    loop_options_t options = {.size = sizeof options, .backend = backend};
    int            result = loop_init(&loop, &options);
    if (result != 0) {
        printf("{\"summary\":\"soak\",\"skipped\":\"%s\"}\n", loop_error_name(result));
        exit(77);
    }
    loop_deinit(loop);
}

int main(int argument_count, char **arguments)
{
    static const struct option known[] = {
        {"minutes", required_argument, NULL, 'm'}, {"seed", required_argument, NULL, 's'},
        {"threads", required_argument, NULL, 't'}, {"backend", required_argument, NULL, 'b'},
        {"idle-seconds", required_argument, NULL, 'i'}, {0},
    };
    double minutes = 1, idle_seconds = 0;
    short_options = (program_options_t){
        .seed = 1, .threads = 1, .calls = SHORT_PROGRAM_CALLS, .faults = true};
    for (int letter; (letter = getopt_long(argument_count, arguments, "", known, NULL)) != -1;) {
        switch (letter) {
        case 'm': minutes = strtod(optarg, NULL); break;
        case 's': short_options.seed = strtoull(optarg, NULL, 10); break;
        case 't': short_options.threads = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'b': short_options.backend = backend_named(optarg); break;
        case 'i': idle_seconds = strtod(optarg, NULL); break;
        default: return 2;
        }
    }
    signal(SIGPIPE, SIG_IGN); /* docs/limits.md: the business of the program */
    want_backend(short_options.backend);
    bool ok = minutes <= 0 || soak((uint64_t)(minutes * 60 * (double)SECONDS));
    ok = (idle_seconds <= 0 || prove_idle(&short_options, idle_seconds)) && ok;
    return ok ? 0 : 1;
}
