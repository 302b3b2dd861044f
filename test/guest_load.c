/* A load for the guest tests; see guest_load.h. */
#define _GNU_SOURCE
#include "guest_load.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void guest_check_ok(int64_t result, const char *expression, const char *file, int line) {
    if (result < 0) {
        fprintf(stderr, "%s:%d: %s: %s\n", file, line, expression, loop_error_name((int)result));
        abort();
    }
}

void guest_exec_fresh(const char *role) {
    loop_t *loop; /* a call that waits until the runtime has started, and closed what it read meanwhile */
    CHECK_OK(loop_init(&loop, NULL));
    CHECK_OK(loop_deinit(loop));
    CHECK(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0);
    execl("/proc/self/exe", program_invocation_name, role, (char *)NULL);
    perror("exec");
    abort();
}

enum { TIMER_DELAY_NS = 300000 };

/* Counts a completion, and tells whether to go on. */
static bool progress(guest_load_t *load, atomic_uint_fast64_t *counter) {
    atomic_fetch_add(counter, 1);
    return !atomic_load(&load->ending);
}

static void on_tick(loop_t *loop, loop_request_t *request, int64_t result) {
    guest_load_t *load = request->user;
    CHECK_OK(result);
    if (progress(load, &load->ticks)) {
        CHECK_OK(loop_on_next_tick(loop, request, on_tick));
    }
}

static void on_timer(loop_t *loop, loop_request_t *request, int64_t result) {
    guest_load_t *load = request->user;
    CHECK_OK(result);
    CHECK(loop_now(loop) >= load->timer_start_ns + TIMER_DELAY_NS);
    if (progress(load, &load->timers)) {
        load->timer_start_ns = loop_now(loop);
        CHECK_OK(loop_timer_start(loop, request, TIMER_DELAY_NS, 0, on_timer));
    }
}

/* One byte goes round: into the pipe, out of it, into it again. It is never in the pipe at the end. */
static void on_transfer(loop_t *loop, loop_request_t *request, int64_t result) {
    guest_load_t *load = request->user;
    CHECK_OK(result);
    CHECK(result == 1);
    bool more = progress(load, &load->transfers);
    load->transfer_is_read = !load->transfer_is_read;
    if (load->transfer_is_read) {
        CHECK_OK(loop_read(loop, request, load->pipe[0], &load->byte, 1, on_transfer));
    } else if (more) {
        CHECK_OK(loop_write(loop, request, load->pipe[1], &load->byte, 1, on_transfer));
    }
}

static void on_file_read(loop_t *loop, loop_request_t *request, int64_t result) {
    guest_load_t *load = request->user;
    CHECK_OK(result);
    CHECK(result == (int64_t)sizeof(load->page));
    if (progress(load, &load->file_reads)) {
        CHECK_OK(loop_pread(loop, request, load->file, load->page, sizeof(load->page), 0, on_file_read));
    }
}

static void work(loop_request_t *request) {
    guest_load_t *load = request->user;
    if (load->work != NULL) {
        load->work(request);
    }
}

static void on_work(loop_t *loop, loop_request_t *request, int64_t result) {
    guest_load_t *load = request->user;
    CHECK_OK(result);
    if (progress(load, &load->works)) {
        CHECK_OK(loop_queue_work(loop, request, work, on_work));
    }
}

void guest_load_start(guest_load_t *load, loop_t *loop) {
    load->loop = loop;
    load->tick.user = load->timer.user = load->transfer.user = load->file_read.user = load;
    CHECK(pipe2(load->pipe, O_CLOEXEC) == 0);
    load->file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK(load->file >= 0);

    CHECK_OK(loop_on_next_tick(loop, &load->tick, on_tick));
    load->timer_start_ns = loop_now(loop);
    CHECK_OK(loop_timer_start(loop, &load->timer, TIMER_DELAY_NS, 0, on_timer));
    CHECK_OK(loop_write(loop, &load->transfer, load->pipe[1], &load->byte, 1, on_transfer));
    CHECK_OK(loop_pread(loop, &load->file_read, load->file, load->page, sizeof(load->page), 0, on_file_read));
    for (int i = 0; i < GUEST_LOAD_WORKERS; i++) {
        load->workers[i].user = load;
        CHECK_OK(loop_queue_work(loop, &load->workers[i], work, on_work));
    }
}

void guest_load_await(guest_load_t *load, uint64_t rounds) {
    atomic_uint_fast64_t *counters[] = {&load->ticks, &load->timers, &load->transfers, &load->file_reads,
                                        &load->works};
    const char *const     names[] = {"ticks", "timers", "transfers", "file reads", "works"};
    uint64_t              goals[5];
    for (int i = 0; i < 5; i++) {
        goals[i] = atomic_load(counters[i]) + rounds;
    }
    for (int i = 0; i < 5; i++) {
        guest_await(counters[i], goals[i], names[i]);
    }
}

void guest_load_end(guest_load_t *load) {
    atomic_store(&load->ending, true);
}

void guest_load_free(guest_load_t *load) {
    CHECK(close(load->pipe[0]) == 0);
    CHECK(close(load->pipe[1]) == 0);
    CHECK(close(load->file) == 0);
}

void *guest_run_loop(void *loop) {
    CHECK_OK(loop_run(loop));
    return NULL;
}
