/*
 * embed_poll: libloop inside a program that has an event loop of its own, and another loop inside libloop.
 *
 * Shown: loop_backend_fd is a descriptor to wait for, loop_backend_timeout how long to wait at most, and
 * loop_run_once(loop, 0) does what there is to do. That is all a loop around poll, select, epoll or the main
 * loop of a toolkit needs; embed_glib.c is the same for GLib. The other way round, a loop that has a
 * descriptor (here an epoll instance) is watched by loop_add_fd like a socket.
 *
 * A thread writes bytes into a pipe that the outer loop reads, and posts to libloop. The outer loop passes
 * each byte on to a socket that libloop receives from. A timer of libloop counts up an eventfd in the inner
 * loop.
 */
#define _GNU_SOURCE

#include <loop.h>

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define PERIOD_NS UINT64_C(2000000)

enum { BYTES = 50, SHOTS = 10 };

typedef struct program {
    loop_t        *loop;
    int            pipe_fds[2];   /* from the thread to the outer loop */
    int            socket_fds[2]; /* from the outer loop to libloop */
    int            inner_fd;      /* the inner loop */
    int            event_fd;      /* that it waits for */
    loop_request_t receive, timer, inner_watch;
    char           byte;
    unsigned       piped, received, posted, shots, inner_events; /* what came */
} program_t;

/* ---- callbacks of libloop ------------------------------------------------------------------------ */

static void on_received(loop_t *loop, loop_request_t *request, int64_t result) {
    program_t *program = request->user;
    if (result <= 0) return; /* 0: the outer loop has closed its end */
    program->received++;
    loop_recv(loop, request, program->socket_fds[1], &program->byte, 1, 0, on_received);
}

static void on_timer(loop_t *loop, loop_request_t *request, int64_t result) {
    program_t *program = request->user;
    if (result < 0) return; /* cancelled below */
    program->shots++;
    eventfd_write(program->event_fd, 1);
    if (program->shots == SHOTS) loop_cancel(loop, request);
}

static void on_posted(loop_t *loop, void *user) {
    (void)loop;
    ((program_t *)user)->posted++;
}

/* The inner loop has something to do: let it, without waiting. A real one has a call for that. */
static void on_inner_readable(loop_t *loop, loop_request_t *request, int64_t result) {
    program_t         *program = request->user;
    struct epoll_event event;
    eventfd_t          count;
    if (result < 0) return; /* removed below */
    while (epoll_wait(program->inner_fd, &event, 1, 0) == 1 && eventfd_read(event.data.fd, &count) == 0)
        program->inner_events += (unsigned)count;
    if (program->inner_events == SHOTS) loop_remove_fd(loop, request);
}

static bool start(program_t *program) {
    loop_t            *loop = program->loop;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = program->event_fd};
    program->receive.user = program->timer.user = program->inner_watch.user = program;
    return epoll_ctl(program->inner_fd, EPOLL_CTL_ADD, program->event_fd, &event) == 0 &&
           loop_add_fd(loop, &program->inner_watch, program->inner_fd, LOOP_READABLE,
                       on_inner_readable) == 0 &&
           loop_recv(loop, &program->receive, program->socket_fds[1], &program->byte, 1, 0,
                     on_received) == 0 &&
           loop_timer_start(loop, &program->timer, PERIOD_NS, PERIOD_NS, on_timer) == 0;
}

/* ---- the outer loop ------------------------------------------------------------------------------ */

/* As poll wants it: rounded up, so that it does not wait a little too short again and again. */
static int milliseconds(int64_t timeout_ns) {
    if (timeout_ns < 0) return -1;
    int64_t timeout_ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    return timeout_ms > 1000000 ? 1000000 : (int)timeout_ms;
}

/* Passes one byte on, or the end; false at the end. */
static bool on_pipe_readable(program_t *program) {
    char byte;
    if (read(program->pipe_fds[0], &byte, 1) == 1 &&
        send(program->socket_fds[0], &byte, 1, MSG_NOSIGNAL) == 1) {
        program->piped++;
        return true;
    }
    close(program->socket_fds[0]);
    return false;
}

/* Runs until the pipe has ended and nothing is pending in libloop. */
static bool run_outer_loop(program_t *program) {
    struct pollfd entries[] = {{.fd = program->pipe_fds[0], .events = POLLIN},
                               {.fd = loop_backend_fd(program->loop), .events = POLLIN}};
    while (entries[0].fd >= 0 || loop_pending(program->loop) > 0) {
        if (poll(entries, 2, milliseconds(loop_backend_timeout(program->loop))) < 0) return false;
        if (entries[0].revents != 0 && !on_pipe_readable(program)) entries[0].fd = -1; /* poll skips it */
        if (entries[1].revents == 0 && loop_backend_timeout(program->loop) != 0) continue;
        if (loop_run_once(program->loop, 0) < 0) return false;
    }
    return true;
}

/* ---- the program --------------------------------------------------------------------------------- */

static void *write_and_post(void *argument) {
    program_t *program = argument;
    bool       good = true;
    for (int i = 0; good && i < BYTES; i++) {
        usleep(500);
        good = write(program->pipe_fds[1], "x", 1) == 1 && loop_post(program->loop, on_posted, program) == 0;
    }
    close(program->pipe_fds[1]); /* the end for all */
    return NULL;
}

int main(void) {
    program_t program = {0};
    pthread_t thread;
    program.inner_fd = epoll_create1(EPOLL_CLOEXEC);
    program.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (program.inner_fd < 0 || program.event_fd < 0 || pipe(program.pipe_fds) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, program.socket_fds) < 0 || loop_init(&program.loop, NULL) < 0)
        return 1;
    if (!start(&program) || pthread_create(&thread, NULL, write_and_post, &program) != 0) return 1;

    bool good = run_outer_loop(&program);
    pthread_join(thread, NULL);
    good = loop_deinit(program.loop) == 0 && good;
    close(program.pipe_fds[0]);
    close(program.socket_fds[1]);
    close(program.event_fd);
    close(program.inner_fd);

    printf("outer loop: %u bytes; libloop: %u bytes, %u posts, %u shots; inner loop: %u events\n",
           program.piped, program.received, program.posted, program.shots, program.inner_events);
    return good && program.piped == BYTES && program.received == BYTES && program.posted == BYTES &&
                   program.shots == SHOTS && program.inner_events == SHOTS
               ? 0
               : 1;
}
