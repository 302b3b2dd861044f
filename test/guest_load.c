/* A load for the guest tests; see guest_load.h. */
#define _GNU_SOURCE
#include "guest_load.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
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

/* The same through a TCP connection. */
static void on_message(loop_t *loop, loop_request_t *request, int64_t result) {
    guest_load_t *load = request->user;
    CHECK_OK(result);
    CHECK(result == 1);
    bool more = progress(load, &load->messages);
    load->message_is_received = !load->message_is_received;
    if (load->message_is_received) {
        CHECK_OK(loop_recv(loop, request, load->socket[0], &load->message_byte, 1, 0, on_message));
    } else if (more) {
        CHECK_OK(loop_send(loop, request, load->socket[1], &load->message_byte, 1, 0, on_message));
    }
}

static void look_up(guest_load_t *load, loop_callback_t callback) {
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    CHECK_OK(loop_getaddrinfo(load->loop, &load->look_up, "127.0.0.1", NULL, &hints, &load->addresses,
                              callback));
}

static void on_look_up(loop_t *loop, loop_request_t *request, int64_t result) {
    guest_load_t *load = request->user;
    (void)loop;
    CHECK_OK(result);
    CHECK(load->addresses->ai_family == AF_INET);
    freeaddrinfo(load->addresses);
    if (progress(load, &load->look_ups)) {
        look_up(load, on_look_up);
    }
}

static void on_post(loop_t *loop, void *user) {
    guest_load_t *load = user;
    if (progress(load, &load->posts)) {
        CHECK_OK(loop_post(loop, on_post, load));
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

void guest_connect(int ends[2]) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t          length = sizeof(address);
    int                listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(listener >= 0);
    CHECK(bind(listener, (struct sockaddr *)&address, length) == 0);
    CHECK(listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(ends[0] >= 0);
    int error = connect(ends[0], (struct sockaddr *)&address, length); /* which a signal may interrupt */
    CHECK(error == 0 || errno == EINTR);
    do {
        ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    } while (ends[1] < 0 && errno == EINTR);
    CHECK(ends[1] >= 0);
    CHECK(close(listener) == 0);
}

void guest_load_start(guest_load_t *load, loop_t *loop) {
    load->loop = loop;
    load->tick.user = load->timer.user = load->transfer.user = load->file_read.user = load;
    load->message.user = load->look_up.user = load;
    CHECK(pipe2(load->pipe, O_CLOEXEC) == 0);
    guest_connect(load->socket);
    load->file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK(load->file >= 0);

    CHECK_OK(loop_on_next_tick(loop, &load->tick, on_tick));
    load->timer_start_ns = loop_now(loop);
    CHECK_OK(loop_timer_start(loop, &load->timer, TIMER_DELAY_NS, 0, on_timer));
    CHECK_OK(loop_write(loop, &load->transfer, load->pipe[1], &load->byte, 1, on_transfer));
    CHECK_OK(loop_pread(loop, &load->file_read, load->file, load->page, sizeof(load->page), 0, on_file_read));
    CHECK_OK(loop_send(loop, &load->message, load->socket[1], &load->message_byte, 1, 0, on_message));
    look_up(load, on_look_up);
    CHECK_OK(loop_post(loop, on_post, load));
    for (int i = 0; i < GUEST_LOAD_WORKERS; i++) {
        load->workers[i].user = load;
        CHECK_OK(loop_queue_work(loop, &load->workers[i], work, on_work));
    }
}

void guest_load_await(guest_load_t *load, uint64_t rounds) {
    atomic_uint_fast64_t *counters[] = {&load->ticks, &load->timers,   &load->transfers, &load->file_reads,
                                        &load->works, &load->messages, &load->look_ups,  &load->posts};
    const char *const     names[] = {"ticks", "timers",   "transfers", "file reads",
                                     "works", "messages", "look-ups",  "posts"};
    enum { COUNTERS = sizeof(names) / sizeof(names[0]) };
    uint64_t goals[COUNTERS];
    for (int i = 0; i < COUNTERS; i++) {
        goals[i] = atomic_load(counters[i]) + rounds;
    }
    for (int i = 0; i < COUNTERS; i++) {
        guest_await(counters[i], goals[i], names[i]);
    }
}

void guest_load_end(guest_load_t *load) {
    atomic_store(&load->ending, true);
}

void guest_load_free(guest_load_t *load) {
    CHECK(close(load->pipe[0]) == 0);
    CHECK(close(load->pipe[1]) == 0);
    CHECK(close(load->socket[0]) == 0);
    CHECK(close(load->socket[1]) == 0);
    CHECK(close(load->file) == 0);
}

void *guest_run_loop(void *loop) {
    CHECK_OK(loop_run(loop));
    return NULL;
}
