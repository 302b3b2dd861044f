/*
 * Conformance of waits for readiness (one shot) and of watches (many shots): what completes them, with which
 * events, on every kind of descriptor, and what closing a descriptor does to them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define HAS(result, events) (((result) & (int64_t)(events)) == (int64_t)(events))

typedef int (*wait_function_t)(loop_t *loop, loop_request_t *request, loop_fd_t fd, loop_callback_t callback);
static const wait_function_t wait_functions[] = {
    loop_wait_until_fd_readable,
    loop_wait_until_fd_writable,
    loop_wait_until_fd_writable_or_readable,
};

/* Lets the loop run for a moment and wants the operations still to wait. */
static void assert_still_waiting(loop_t *loop, operation_t *const *operations, size_t count)
{
    run_for(loop, 5 * MILLISECOND);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(completions_of(operations[i]), 0);
    }
}

/* ---- one shot -------------------------------------------------------------------------------- */

LOOP_TEST(a_wait_completes_with_what_is_ready)
{
    int pipe_ends[2], sockets[2];
    make_pipe(pipe_ends);
    make_socketpair(sockets);
    assert_result(RESULT_OF(loop, loop_wait_until_fd_writable, pipe_ends[1]), LOOP_WRITABLE);
    assert_result(RESULT_OF(loop, loop_wait_until_fd_writable_or_readable, pipe_ends[1]), LOOP_WRITABLE);
    assert_result(RESULT_OF(loop, loop_wait_until_fd_writable, sockets[0]), LOOP_WRITABLE);
    put(pipe_ends[1], "x", 1);
    put(sockets[1], "x", 1);
    for (unsigned i = 0; i < 3; i++) { /* nobody reads: it stays ready */
        assert_result(RESULT_OF(loop, loop_wait_until_fd_readable, pipe_ends[0]), LOOP_READABLE);
        assert_result(RESULT_OF(loop, loop_wait_until_fd_readable, sockets[0]), LOOP_READABLE);
    }
    assert_result(RESULT_OF(loop, loop_wait_until_fd_writable_or_readable, pipe_ends[0]), LOOP_READABLE);
    assert_result(RESULT_OF(loop, loop_wait_until_fd_writable_or_readable, sockets[0]),
                  LOOP_READABLE | LOOP_WRITABLE);
    close_both(pipe_ends);
    close_both(sockets);
}

LOOP_TEST(a_wait_waits_until_the_descriptor_is_ready)
{
    int         pipe_ends[2];
    operation_t readable = {0}, writable = {0};
    make_pipe(pipe_ends);
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), pipe_ends[0], record), 0);
    assert_still_waiting(loop, (operation_t *[]){&readable}, 1);
    size_t written = fill(pipe_ends[1]);
    assert_true(written > 0);
    assert_result(await(loop, &readable), LOOP_READABLE);
    assert_result(loop_wait_until_fd_writable(loop, begin(&writable), pipe_ends[1], record), 0);
    assert_still_waiting(loop, (operation_t *[]){&writable}, 1);
    assert_int_equal(drain(pipe_ends[0]), written);
    assert_result(await(loop, &writable), LOOP_WRITABLE);
    close_both(pipe_ends);
}

LOOP_TEST(writable_or_readable_is_whichever_comes_first)
{
    int         sockets[2];
    operation_t either = {0};
    make_socketpair(sockets);
    fill(sockets[0]);
    assert_result(loop_wait_until_fd_writable_or_readable(loop, begin(&either), sockets[0], record), 0);
    assert_still_waiting(loop, (operation_t *[]){&either}, 1);
    put(sockets[1], "x", 1);
    assert_result(await(loop, &either), LOOP_READABLE);
    assert_int_equal(drain(sockets[0]), 1);
    assert_result(loop_wait_until_fd_writable_or_readable(loop, begin(&either), sockets[0], record), 0);
    assert_still_waiting(loop, (operation_t *[]){&either}, 1);
    assert_true(drain(sockets[1]) > 0);
    assert_result(await(loop, &either), LOOP_WRITABLE);
    close_both(sockets);
}

enum { CROWD = 100 };

LOOP_TEST(a_hundred_readers_of_one_descriptor_all_complete)
{
    static operation_t crowd[CROWD];
    int                ends[2];
    make_pipe(ends);
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < CROWD; i++) {
            assert_result(loop_wait_until_fd_readable(loop, begin(&crowd[i]), ends[0], record), 0);
        }
        if (round % 2 == 0) {
            run_for(loop, MILLISECOND);
        }
        put(ends[1], "x", 1);
        run(loop);
        for (size_t i = 0; i < CROWD; i++) {
            assert_int_equal(completions_of(&crowd[i]), 1);
            assert_result(crowd[i].result, LOOP_READABLE);
        }
        drain(ends[0]);
    }
    close_both(ends);
}

LOOP_TEST(cancelled_readers_leave_the_others_waiting)
{
    static operation_t crowd[CROWD];
    int                ends[2];
    make_pipe(ends);
    for (size_t i = 0; i < CROWD; i++) {
        assert_result(loop_wait_until_fd_readable(loop, begin(&crowd[i]), ends[0], record), 0);
    }
    run_for(loop, MILLISECOND);
    for (size_t i = 0; i < CROWD; i += 2) {
        assert_result(loop_cancel(loop, &crowd[i].request), 0);
    }
    for (size_t i = 0; i < CROWD; i += 2) {
        assert_result(await(loop, &crowd[i]), LOOP_ECANCELED);
    }
    run_for(loop, MILLISECOND);
    for (size_t i = 1; i < CROWD; i += 2) {
        assert_int_equal(completions_of(&crowd[i]), 0);
    }
    put(ends[1], "x", 1);
    run(loop);
    for (size_t i = 0; i < CROWD; i++) {
        assert_int_equal(completions_of(&crowd[i]), 1);
        assert_result(crowd[i].result, i % 2 == 0 ? LOOP_ECANCELED : (int)LOOP_READABLE);
    }
    close_both(ends);
}

LOOP_TEST(reader_and_writer_of_one_socket_complete_apart)
{
    int         sockets[2];
    operation_t readable = {0}, writable = {0};
    make_socketpair(sockets);
    for (unsigned round = 0; round < 20; round++) {
        fill(sockets[0]);
        assert_result(loop_wait_until_fd_readable(loop, begin(&readable), sockets[0], record), 0);
        assert_result(loop_wait_until_fd_writable(loop, begin(&writable), sockets[0], record), 0);
        assert_still_waiting(loop, (operation_t *[]){&readable, &writable}, 2);
        if (round % 2 == 0) {
            put(sockets[1], "x", 1);
            assert_result(await(loop, &readable), LOOP_READABLE);
            assert_still_waiting(loop, (operation_t *[]){&writable}, 1);
            drain(sockets[1]);
        } else {
            drain(sockets[1]);
            assert_result(await(loop, &writable), LOOP_WRITABLE);
            assert_still_waiting(loop, (operation_t *[]){&readable}, 1);
            put(sockets[1], "x", 1);
        }
        run(loop);
        assert_result(readable.result, LOOP_READABLE);
        assert_result(writable.result, LOOP_WRITABLE);
        drain(sockets[0]);
    }
    close_both(sockets);
}

static void wait_again(loop_t *loop, loop_request_t *request, int64_t result)
{
    operation_t *operation = operation_of(request);
    int         *ends = request->user;
    char         byte;
    CHECK(result == LOOP_READABLE);
    CHECK(read(ends[0], &byte, 1) == 1);
    put(ends[1], "x", 1);
    if (operation->order++ < 1000) {
        CHECK(loop_wait_until_fd_readable(loop, request, ends[0], wait_again) == 0);
    }
}

LOOP_TEST(a_wait_can_be_submitted_again_in_its_callback)
{
    int         ends[2];
    operation_t readable = {.request.user = ends};
    make_pipe(ends);
    put(ends[1], "x", 1);
    assert_result(loop_wait_until_fd_readable(loop, &readable.request, ends[0], wait_again), 0);
    run(loop);
    assert_int_equal(readable.order, 1001);
    close_both(ends);
}

/* ---- kinds of descriptors -------------------------------------------------------------------- */

LOOP_TEST(regular_files_and_directories_are_always_ready)
{
    int file = temporary_file("contents", 8);
    int directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(directory >= 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(HAS(RESULT_OF(loop, loop_wait_until_fd_readable, file), LOOP_READABLE));
        assert_true(HAS(RESULT_OF(loop, loop_wait_until_fd_writable, file), LOOP_WRITABLE));
        assert_true(RESULT_OF(loop, loop_wait_until_fd_writable_or_readable, file) > 0);
        assert_true(HAS(RESULT_OF(loop, loop_wait_until_fd_readable, directory), LOOP_READABLE));
    }
    close(file);
    close(directory);
}

LOOP_TEST(devices_without_readiness_are_always_ready)
{
    static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/full"};
    for (size_t i = 0; i < COUNT(devices); i++) {
        int fd = open(devices[i], O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_true(HAS(RESULT_OF(loop, loop_wait_until_fd_readable, fd), LOOP_READABLE));
        assert_true(HAS(RESULT_OF(loop, loop_wait_until_fd_writable, fd), LOOP_WRITABLE));
        close(fd);
    }
}

LOOP_TEST(what_is_no_open_descriptor_is_a_bad_one)
{
    const int bad[] = {-1, INT32_MIN, closed_descriptor(), 1 << 20, 1 << 30, INT32_MAX};
    for (size_t i = 0; i < COUNT(bad); i++) {
        for (size_t j = 0; j < COUNT(wait_functions); j++) {
            assert_result(RESULT_OF(loop, wait_functions[j], bad[i]), LOOP_EBADF);
        }
        assert_result(RESULT_OF(loop, loop_add_fd, bad[i], LOOP_READABLE), LOOP_EBADF);
        assert_int_equal(scratch_operation()->flags, 0);
    }
}

LOOP_TEST(a_descriptor_that_only_names_a_path_is_a_bad_one)
{
    int fd = open("/", O_PATH | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_result(RESULT_OF(loop, loop_wait_until_fd_readable, fd), LOOP_EBADF);
    assert_true(is_open(fd));
    close(fd);
}

LOOP_TEST(an_event_descriptor_is_ready_when_it_counts)
{
    int         fd = eventfd(0, EFD_CLOEXEC);
    uint64_t    one = 1, most = UINT64_MAX - 1;
    operation_t readable = {0}, writable = {0};
    assert_result(RESULT_OF(loop, loop_wait_until_fd_writable, fd), LOOP_WRITABLE);
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), fd, record), 0);
    assert_still_waiting(loop, (operation_t *[]){&readable}, 1);
    put(fd, &one, sizeof one);
    assert_result(await(loop, &readable), LOOP_READABLE);
    assert_int_equal(read(fd, &one, sizeof one), sizeof one);
    put(fd, &most, sizeof most);
    assert_result(loop_wait_until_fd_writable(loop, begin(&writable), fd, record), 0);
    assert_still_waiting(loop, (operation_t *[]){&writable}, 1);
    assert_int_equal(read(fd, &most, sizeof most), sizeof most);
    assert_result(await(loop, &writable), LOOP_WRITABLE);
    close(fd);
}

LOOP_TEST(an_epoll_descriptor_is_readable_when_it_has_events)
{
    int                ends[2];
    int                epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    operation_t        readable = {0};
    make_pipe(ends);
    assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event), 0);
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), epoll, record), 0);
    assert_still_waiting(loop, (operation_t *[]){&readable}, 1);
    put(ends[1], "x", 1);
    assert_result(await(loop, &readable), LOOP_READABLE);
    close(epoll);
    close_both(ends);
}

/* ---- hang-ups and errors --------------------------------------------------------------------- */

/* What poll(2) says of a descriptor, in the events of the library. */
static int64_t polled(int fd, uint32_t asked)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    int64_t       events = 0;
    assert_true(poll(&entry, 1, 0) >= 0);
    events |= entry.revents & POLLIN ? LOOP_READABLE : 0;
    events |= entry.revents & POLLOUT ? LOOP_WRITABLE : 0;
    events |= entry.revents & (POLLHUP | POLLRDHUP) ? LOOP_HANGUP : 0;
    events |= entry.revents & POLLERR ? LOOP_ERROR : 0;
    return events & (asked | LOOP_HANGUP | LOOP_ERROR);
}

/* Each way to wait reports what poll(2) does; beyond that, the end of file of a pipe counts as readable. */
static void assert_reports_as_poll(loop_t *loop, int fd)
{
    static const uint32_t asked[] = {LOOP_READABLE, LOOP_WRITABLE, LOOP_READABLE | LOOP_WRITABLE};
    for (size_t i = 0; i < COUNT(asked); i++) {
        if (polled(fd, asked[i]) != 0) {
            int64_t result = RESULT_OF(loop, wait_functions[i], fd);
            assert_result(result & ~(int64_t)LOOP_READABLE, polled(fd, asked[i]) & ~(int64_t)LOOP_READABLE);
            assert_true(HAS(result, polled(fd, asked[i])));
        }
    }
}

LOOP_TEST(a_half_closed_socket_is_readable_and_hung_up)
{
    int sockets[2];
    for (unsigned kind = 0; kind < 2; kind++) {
        (kind == 0 ? make_socketpair : make_tcp_pair)(sockets);
        assert_int_equal(shutdown(sockets[1], SHUT_WR), 0);
        assert_result(RESULT_OF(loop, loop_wait_until_fd_readable, sockets[0]), LOOP_READABLE | LOOP_HANGUP);
        assert_reports_as_poll(loop, sockets[0]);
        assert_reports_as_poll(loop, sockets[1]);
        assert_int_equal(shutdown(sockets[0], SHUT_WR), 0);
        assert_reports_as_poll(loop, sockets[0]);
        assert_reports_as_poll(loop, sockets[1]);
        close_both(sockets);
    }
}

LOOP_TEST(a_half_close_wakes_a_reader_that_waits)
{
    int         sockets[2];
    operation_t readable = {0};
    make_socketpair(sockets);
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), sockets[0], record), 0);
    assert_still_waiting(loop, (operation_t *[]){&readable}, 1);
    assert_int_equal(shutdown(sockets[1], SHUT_WR), 0);
    assert_result(await(loop, &readable), LOOP_READABLE | LOOP_HANGUP);
    close_both(sockets);
}

LOOP_TEST(a_reset_connection_is_an_error_and_a_hang_up)
{
    int           sockets[2];
    struct linger abort_at_close = {.l_onoff = 1, .l_linger = 0};
    operation_t   readable = {0};
    make_tcp_pair(sockets);
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), sockets[0], record), 0);
    assert_still_waiting(loop, (operation_t *[]){&readable}, 1);
    assert_int_equal(setsockopt(sockets[1], SOL_SOCKET, SO_LINGER, &abort_at_close, sizeof abort_at_close),
                     0);
    close(sockets[1]);
    assert_result(await(loop, &readable), LOOP_READABLE | LOOP_HANGUP | LOOP_ERROR);
    assert_reports_as_poll(loop, sockets[0]);
    close(sockets[0]);
}

LOOP_TEST(a_pipe_whose_writer_closed_is_hung_up_and_readable)
{
    int         ends[2];
    operation_t readable = {0};
    char        byte;
    make_pipe(ends);
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), ends[0], record), 0);
    assert_still_waiting(loop, (operation_t *[]){&readable}, 1);
    put(ends[1], "x", 1);
    close(ends[1]);
    int64_t result = await(loop, &readable);
    assert_true(HAS(result, LOOP_READABLE));
    assert_int_equal(read(ends[0], &byte, 1), 1);
    result = RESULT_OF(loop, loop_wait_until_fd_readable, ends[0]);
    assert_result(result, LOOP_READABLE | LOOP_HANGUP); /* a read would not block: end of file counts */
    close(ends[0]);
}

LOOP_TEST(a_pipe_whose_reader_closed_is_an_error_to_the_writer)
{
    int         ends[2];
    operation_t writable = {0};
    make_pipe(ends);
    fill(ends[1]);
    assert_result(loop_wait_until_fd_writable(loop, begin(&writable), ends[1], record), 0);
    assert_still_waiting(loop, (operation_t *[]){&writable}, 1);
    close(ends[0]);
    assert_true(HAS(await(loop, &writable), LOOP_ERROR));
    close(ends[1]);
}

LOOP_TEST(a_closed_peer_wakes_every_kind_of_wait)
{
    int         sockets[2];
    operation_t operations[4];
    make_socketpair(sockets);
    fill(sockets[0]);
    memset(operations, 0, sizeof operations);
    for (size_t i = 0; i < COUNT(wait_functions); i++) {
        assert_result(wait_functions[i](loop, begin(&operations[i]), sockets[0], record), 0);
    }
    assert_result(loop_add_fd(loop, begin(&operations[3]), sockets[0], 0, record), 0);
    run_for(loop, 5 * MILLISECOND);
    close(sockets[1]);
    for (size_t i = 0; i < COUNT(operations); i++) {
        run_until(loop, &operations[i].completions, 1);
        assert_true(HAS(operations[i].result, LOOP_HANGUP));
    }
    assert_result(loop_remove_fd(loop, &operations[3].request), 0);
    run(loop);
    close(sockets[0]);
}

/* ---- watches --------------------------------------------------------------------------------- */

/* A watch, and what its callback does. */
typedef struct watch {
    operation_t operation;
    int         fd;
    unsigned    shots_before_end; /* removes itself at this shot; 0 = never */
    bool        consume;          /* reads all there is at each shot */
    atomic_uint shots;
    atomic_uint inside; /* callbacks of this watch that run now */
} watch_t;

static void on_watch(loop_t *loop, loop_request_t *request, int64_t result)
{
    watch_t *watch = (watch_t *)(void *)request;
    CHECK(atomic_fetch_add(&watch->inside, 1) == 0);
    if (result >= 0) {
        unsigned shots = atomic_fetch_add(&watch->shots, 1) + 1;
        CHECK(request->flags == LOOP_MORE);
        if (watch->consume) {
            drain(watch->fd);
        }
        if (shots == watch->shots_before_end) {
            CHECK(loop_remove_fd(loop, request) == 0);
        }
    }
    atomic_fetch_sub(&watch->inside, 1);
    record(loop, request, result);
}

static void start_watch(loop_t *loop, watch_t *watch, int fd, uint32_t events)
{
    watch->fd = fd;
    assert_result(loop_add_fd(loop, begin(&watch->operation), fd, events, on_watch), 0);
}

static void assert_watch_ends(loop_t *loop, watch_t *watch, unsigned shots)
{
    assert_int_equal(atomic_load(&watch->shots), shots);
    assert_result(loop_remove_fd(loop, &watch->operation.request), 0);
    run(loop);
    assert_int_equal(atomic_load(&watch->shots), shots);
    assert_int_equal(completions_of(&watch->operation), shots + 1);
    assert_result(watch->operation.result, LOOP_ECANCELED);
    assert_int_equal(watch->operation.flags, 0);
    assert_result(loop_remove_fd(loop, &watch->operation.request), LOOP_ENOENT);
}

LOOP_TEST(a_watch_shoots_for_as_long_as_the_state_lasts)
{
    int     ends[2];
    watch_t watch = {0};
    make_pipe(ends);
    start_watch(loop, &watch, ends[0], LOOP_READABLE);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(atomic_load(&watch.shots), 0);
    put(ends[1], "x", 1);
    run_until(loop, &watch.shots, 100); /* nobody reads */
    assert_result(watch.operation.result, LOOP_READABLE);
    drain(ends[0]);
    run_for(loop, 5 * MILLISECOND);
    unsigned shots = atomic_load(&watch.shots);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(atomic_load(&watch.shots), shots);
    put(ends[1], "x", 1);
    run_until(loop, &watch.shots, shots + 1);
    drain(ends[0]);
    run_for(loop, 5 * MILLISECOND);
    assert_watch_ends(loop, &watch, atomic_load(&watch.shots));
    close_both(ends);
}

static void shoot_slowly(loop_t *loop, loop_request_t *request, int64_t result)
{
    watch_t *watch = (watch_t *)(void *)request;
    CHECK(atomic_fetch_add(&watch->inside, 1) == 0);
    sleep_for(MILLISECOND / 2);
    if (result >= 0 && atomic_fetch_add(&watch->shots, 1) + 1 == 20) {
        CHECK(loop_remove_fd(loop, request) == 0);
    }
    CHECK(atomic_fetch_sub(&watch->inside, 1) == 1);
    record(loop, request, result);
}

LOOP_TEST(a_shot_waits_until_the_callback_of_the_one_before_returned)
{
    static watch_t watches[8];
    int            ends[2];
    make_pipe(ends);
    put(ends[1], "x", 1);
    memset(watches, 0, sizeof watches);
    for (size_t i = 0; i < COUNT(watches); i++) {
        loop_request_t *request = begin(&watches[i].operation);
        assert_result(loop_add_fd(loop, request, ends[0], LOOP_READABLE, shoot_slowly), 0);
    }
    run(loop);
    for (size_t i = 0; i < COUNT(watches); i++) {
        assert_int_equal(completions_of(&watches[i].operation), atomic_load(&watches[i].shots) + 1);
        assert_result(watches[i].operation.result, LOOP_ECANCELED);
    }
    close_both(ends);
}

LOOP_TEST(a_watch_of_consumed_bytes_shoots_once_for_each)
{
    int     ends[2];
    watch_t watch = {.consume = true};
    make_pipe(ends);
    start_watch(loop, &watch, ends[0], LOOP_READABLE);
    for (unsigned i = 1; i <= 200; i++) {
        put(ends[1], "x", 1);
        run_until(loop, &watch.shots, i);
        assert_int_equal(atomic_load(&watch.shots), i);
    }
    run_for(loop, 5 * MILLISECOND);
    assert_watch_ends(loop, &watch, 200);
    close_both(ends);
}

LOOP_TEST(a_watch_of_both_directions_reports_each)
{
    int     sockets[2];
    watch_t watch = {0};
    make_socketpair(sockets);
    start_watch(loop, &watch, sockets[0], LOOP_READABLE | LOOP_WRITABLE);
    run_until(loop, &watch.shots, 1);
    assert_result(watch.operation.result, LOOP_WRITABLE);
    put(sockets[1], "x", 1);
    while (watch.operation.result == LOOP_WRITABLE) {
        assert_true(loop_run_once(loop, -1) >= 0);
    }
    assert_result(watch.operation.result, LOOP_READABLE | LOOP_WRITABLE);
    assert_result(loop_remove_fd(loop, &watch.operation.request), 0);
    run(loop);
    assert_result(watch.operation.result, LOOP_ECANCELED);
    close_both(sockets);
}

LOOP_TEST(an_edge_triggered_watch_shoots_once_for_each_change)
{
    int     ends[2];
    watch_t watch = {0};
    make_pipe(ends);
    put(ends[1], "x", 1);
    start_watch(loop, &watch, ends[0], LOOP_READABLE | LOOP_EDGE_TRIGGERED);
    for (unsigned i = 1; i <= 50; i++) {
        run_until(loop, &watch.shots, i);
        assert_result(watch.operation.result, LOOP_READABLE);
        run_for(loop, i <= 3 ? 5 * MILLISECOND : 0); /* not consumed yet, but no change either */
        assert_int_equal(atomic_load(&watch.shots), i);
        drain(ends[0]);
        if (i < 50) {
            put(ends[1], "x", 1);
        }
    }
    run_for(loop, 5 * MILLISECOND);
    assert_watch_ends(loop, &watch, 50);
    close_both(ends);
}

enum { EDGES = 200 };
typedef struct edge_maker {
    watch_t watch;
    int     ends[2];
} edge_maker_t;

/* Makes the next edge while the shot for the last one is still out, at first for so long that another loop
 * thread may notice it. */
static void make_an_edge(loop_t *loop, loop_request_t *request, int64_t result)
{
    edge_maker_t *maker = (edge_maker_t *)(void *)request;
    if (result >= 0) {
        unsigned shots = atomic_fetch_add(&maker->watch.shots, 1) + 1;
        drain(maker->ends[0]);
        if (shots < EDGES) {
            put(maker->ends[1], "x", 1);
            sleep_for(shots <= 20 ? 4 * MILLISECOND : 0);
        } else {
            CHECK(loop_remove_fd(loop, request) == 0);
        }
    }
    record(loop, request, result);
}

LOOP_TEST(an_edge_in_the_callback_is_not_lost)
{
    edge_maker_t    maker = {0};
    loop_request_t *request = begin(&maker.watch.operation);
    make_pipe(maker.ends);
    const uint32_t  events = LOOP_READABLE | LOOP_EDGE_TRIGGERED;
    assert_result(loop_add_fd(loop, request, maker.ends[0], events, make_an_edge), 0);
    put(maker.ends[1], "x", 1);
    run(loop);
    assert_int_equal(atomic_load(&maker.watch.shots), EDGES);
    assert_result(maker.watch.operation.result, LOOP_ECANCELED);
    close_both(maker.ends);
}

LOOP_TEST(several_watches_and_waits_share_a_descriptor)
{
    int         ends[2];
    watch_t     level = {0}, edge = {0}, other_edge = {0};
    operation_t wait = {0};
    make_pipe(ends);
    start_watch(loop, &level, ends[0], LOOP_READABLE);
    start_watch(loop, &edge, ends[0], LOOP_READABLE | LOOP_EDGE_TRIGGERED);
    start_watch(loop, &other_edge, ends[0], LOOP_READABLE | LOOP_EDGE_TRIGGERED);
    for (unsigned i = 1; i <= 20; i++) {
        unsigned shots[] = {atomic_load(&level.shots), atomic_load(&edge.shots),
                            atomic_load(&other_edge.shots)};
        assert_result(loop_wait_until_fd_readable(loop, begin(&wait), ends[0], record), 0);
        put(ends[1], "x", 1);
        assert_result(await(loop, &wait), LOOP_READABLE);
        run_until(loop, &level.shots, shots[0] + 2);
        run_until(loop, &edge.shots, shots[1] + 1);
        run_until(loop, &other_edge.shots, shots[2] + 1);
        drain(ends[0]);
        run_for(loop, MILLISECOND);
    }
    watch_t *const all[] = {&level, &edge, &other_edge};
    for (size_t i = 0; i < COUNT(all); i++) {
        assert_result(loop_remove_fd(loop, &all[i]->operation.request), 0);
    }
    run(loop);
    for (size_t i = 0; i < COUNT(all); i++) {
        assert_result(all[i]->operation.result, LOOP_ECANCELED);
    }
    close_both(ends);
}

LOOP_TEST(the_events_of_a_watch_can_be_changed)
{
    int     sockets[2];
    watch_t watch = {0};
    make_socketpair(sockets);
    start_watch(loop, &watch, sockets[0], LOOP_READABLE);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(atomic_load(&watch.shots), 0);
    assert_result(loop_mod_fd(loop, &watch.operation.request, LOOP_WRITABLE), 0);
    run_until(loop, &watch.shots, 10);
    assert_result(watch.operation.result, LOOP_WRITABLE);
    put(sockets[1], "x", 1);
    assert_result(loop_mod_fd(loop, &watch.operation.request, LOOP_READABLE | LOOP_WRITABLE), 0);
    while (watch.operation.result != (LOOP_READABLE | LOOP_WRITABLE)) {
        assert_true(loop_run_once(loop, -1) >= 0);
    }
    assert_result(loop_mod_fd(loop, &watch.operation.request, 0), 0);
    run_for(loop, 5 * MILLISECOND);
    unsigned shots = atomic_load(&watch.shots);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(atomic_load(&watch.shots), shots);
    close(sockets[1]);
    run_until(loop, &watch.shots, shots + 1);
    assert_true(HAS(watch.operation.result, LOOP_HANGUP));
    assert_result(loop_remove_fd(loop, &watch.operation.request), 0);
    run(loop);
    close(sockets[0]);
}

static void change_to_readable(loop_t *loop, loop_request_t *request, int64_t result)
{
    if (result == LOOP_WRITABLE) {
        CHECK(loop_mod_fd(loop, request, LOOP_READABLE) == 0);
    } else if (result >= 0) {
        CHECK(result == LOOP_READABLE);
        CHECK(loop_remove_fd(loop, request) == 0);
    }
    record(loop, request, result);
}

LOOP_TEST(a_watch_can_be_changed_in_its_callback)
{
    int         sockets[2];
    operation_t watch = {0};
    make_socketpair(sockets);
    assert_result(loop_add_fd(loop, begin(&watch), sockets[0], LOOP_WRITABLE, change_to_readable), 0);
    run_until(loop, &watch.completions, 1);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(completions_of(&watch), 1);
    put(sockets[1], "x", 1);
    run(loop);
    assert_int_equal(completions_of(&watch), 3);
    assert_result(watch.result, LOOP_ECANCELED);
    close_both(sockets);
}

LOOP_TEST(only_a_watch_in_flight_can_be_changed_or_removed)
{
    operation_t idle = {0}, timer = {0};
    watch_t     watch = {0};
    int         ends[2];
    make_pipe(ends);
    assert_result(loop_mod_fd(loop, &idle.request, LOOP_READABLE), LOOP_ENOENT);
    assert_result(loop_remove_fd(loop, &idle.request), LOOP_ENOENT);
    assert_result(loop_timer_start(loop, begin(&timer), 0, 0, record), 0);
    assert_result(loop_mod_fd(loop, &timer.request, LOOP_READABLE), LOOP_EINVAL);
    assert_result(loop_remove_fd(loop, &timer.request), LOOP_EINVAL);
    run(loop);
    assert_result(timer.result, 0);
    start_watch(loop, &watch, ends[0], LOOP_READABLE);
    assert_result(loop_mod_fd(loop, &watch.operation.request, LOOP_HANGUP), LOOP_EINVAL);
    assert_result(loop_mod_fd(loop, &watch.operation.request, 32), LOOP_EINVAL);
    assert_result(loop_mod_fd(loop, &watch.operation.request, UINT32_MAX), LOOP_EINVAL);
    assert_watch_ends(loop, &watch, 0);
    assert_result(loop_mod_fd(loop, &watch.operation.request, LOOP_READABLE), LOOP_ENOENT);
    close_both(ends);
}

LOOP_TEST(unknown_events_are_the_result_of_a_watch)
{
    static const uint32_t unknown[] = {LOOP_HANGUP, LOOP_ERROR, 32, UINT32_MAX, LOOP_READABLE | 64};
    int                   ends[2];
    make_pipe(ends);
    put(ends[1], "x", 1);
    for (size_t i = 0; i < COUNT(unknown); i++) {
        assert_result(RESULT_OF(loop, loop_add_fd, ends[0], unknown[i]), LOOP_EINVAL);
        assert_int_equal(scratch_operation()->flags, 0);
    }
    close_both(ends);
}

LOOP_TEST(a_watch_of_a_regular_file_shoots_until_removed)
{
    int     fd = temporary_file("contents", 8);
    watch_t watch = {.shots_before_end = 20};
    start_watch(loop, &watch, fd, LOOP_READABLE | LOOP_WRITABLE);
    run(loop);
    assert_int_equal(atomic_load(&watch.shots), 20);
    assert_result(watch.operation.result, LOOP_ECANCELED);
    close(fd);
}

typedef struct remover {
    loop_t  *loop;
    watch_t *watch;
    uint64_t pause_ns;
} remover_t;

static void *remove_the_watch(void *argument)
{
    remover_t *remover = argument;
    sleep_for(remover->pause_ns);
    CHECK(loop_remove_fd(remover->loop, &remover->watch->operation.request) == 0);
    return NULL;
}

LOOP_TEST(a_watch_can_be_removed_by_another_thread)
{
    for (unsigned i = 0; i < 200; i++) {
        int       ends[2];
        watch_t   watch = {0};
        remover_t remover = {.loop = loop, .watch = &watch, .pause_ns = i * 2000};
        make_pipe(ends);
        if (i % 2 == 0) {
            put(ends[1], "x", 1);
        }
        start_watch(loop, &watch, ends[0], LOOP_READABLE | (i % 4 < 2 ? 0 : LOOP_EDGE_TRIGGERED));
        pthread_t thread = start_thread(remove_the_watch, &remover);
        run(loop);
        join_thread(thread);
        assert_int_equal(completions_of(&watch.operation), atomic_load(&watch.shots) + 1);
        assert_result(watch.operation.result, LOOP_ECANCELED);
        assert_int_equal(watch.operation.flags, 0);
        close_both(ends);
    }
}

/* ---- timeouts -------------------------------------------------------------------------------- */

LOOP_TEST(a_wait_times_out_and_the_descriptor_stays_usable)
{
    int         ends[2];
    operation_t timed = {.request.timeout_ns = 2 * MILLISECOND}, untimed = {0};
    make_pipe(ends);
    assert_result(loop_wait_until_fd_readable(loop, begin(&untimed), ends[0], record), 0);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t start = loop_now(loop);
        assert_result(loop_wait_until_fd_readable(loop, begin(&timed), ends[0], record), 0);
        assert_result(await(loop, &timed), LOOP_ETIMEDOUT);
        assert_true(loop_now(loop) - start >= 2 * MILLISECOND);
    }
    assert_int_equal(completions_of(&untimed), 0);
    put(ends[1], "x", 1);
    assert_result(await(loop, &untimed), LOOP_READABLE);
    timed.request.timeout_ns = HOUR;
    assert_result(loop_wait_until_fd_readable(loop, begin(&timed), ends[0], record), 0);
    assert_result(await(loop, &timed), LOOP_READABLE);
    close_both(ends);
}

LOOP_TEST(the_timeout_of_a_watch_counts_from_the_last_shot)
{
    int         ends[2];
    watch_t     watch = {.operation.request.timeout_ns = 50 * MILLISECOND, .consume = true};
    make_pipe(ends);
    uint64_t start = loop_now(loop);
    start_watch(loop, &watch, ends[0], LOOP_READABLE);
    put(ends[1], "x", 1);
    run_until(loop, &watch.shots, 1);
    sleep_for(60 * MILLISECOND); /* while nobody runs the loop: the timeout is over, but a byte is there */
    put(ends[1], "x", 1);
    run(loop);
    assert_true(loop_now(loop) - start >= 60 * MILLISECOND);
    assert_int_equal(completions_of(&watch.operation), atomic_load(&watch.shots) + 1);
    assert_result(watch.operation.result, LOOP_ETIMEDOUT);
    assert_int_equal(watch.operation.flags, 0);
    close_both(ends);
}

/* ---- closing --------------------------------------------------------------------------------- */

static void start_waiters(loop_t *loop, operation_t waiters[6], int fd, char *byte)
{
    for (size_t i = 0; i < COUNT(wait_functions); i++) {
        assert_result(wait_functions[i](loop, begin(&waiters[i]), fd, record), 0);
    }
    assert_result(loop_add_fd(loop, begin(&waiters[3]), fd, LOOP_READABLE, record), 0);
    assert_result(loop_add_fd(loop, begin(&waiters[4]), fd, LOOP_READABLE | LOOP_EDGE_TRIGGERED, record), 0);
    assert_result(loop_read(loop, begin(&waiters[5]), fd, byte, 1, record), 0);
}

LOOP_TEST(loop_close_ends_what_waits_on_the_descriptor)
{
    for (unsigned round = 0; round < 20; round++) {
        int         sockets[2];
        char        byte;
        operation_t waiters[6];
        memset(waiters, 0, sizeof waiters);
        make_socketpair(sockets);
        fill(sockets[0]);
        start_waiters(loop, waiters, sockets[0], &byte);
        run_for(loop, round % 2 * MILLISECOND);
        for (size_t i = 0; i < COUNT(waiters); i++) {
            assert_int_equal(completions_of(&waiters[i]), 0);
        }
        assert_result(RESULT_OF(loop, loop_close, sockets[0]), 0);
        run(loop);
        for (size_t i = 0; i < COUNT(waiters); i++) {
            assert_int_equal(completions_of(&waiters[i]), 1);
            assert_result(waiters[i].result, LOOP_ECANCELED);
            assert_int_equal(waiters[i].flags, 0);
        }
        assert_false(is_open(sockets[0]));
        close(sockets[1]);
    }
}

typedef struct spread {
    operation_t operation; /* a tick that starts a wait on whatever thread it runs */
    operation_t wait;
    int         fd;
    atomic_uint *started;
} spread_t;

static void start_a_wait(loop_t *loop, loop_request_t *request, int64_t result)
{
    spread_t *spread = (spread_t *)(void *)request;
    CHECK(loop_wait_until_fd_readable(loop, begin(&spread->wait), spread->fd, record) == 0);
    atomic_fetch_add(spread->started, 1);
    sleep_for(MILLISECOND / 10); /* so that other threads take the next ticks */
    record(loop, request, result);
}

LOOP_TEST(loop_close_ends_the_waits_of_every_loop_thread)
{
    for (unsigned round = 0; round < 10; round++) {
        static spread_t all[64];
        int             ends[2];
        atomic_uint     started = 0;
        make_pipe(ends);
        memset(all, 0, sizeof all);
        for (size_t i = 0; i < COUNT(all); i++) {
            all[i].fd = ends[0];
            all[i].started = &started;
            assert_result(loop_on_next_tick(loop, begin(&all[i].operation), start_a_wait), 0);
        }
        run_until(loop, &started, COUNT(all));
        run_for(loop, MILLISECOND);
        assert_result(RESULT_OF(loop, loop_close, ends[0]), 0);
        run(loop);
        for (size_t i = 0; i < COUNT(all); i++) {
            assert_int_equal(completions_of(&all[i].wait), 1);
            assert_result(all[i].wait.result, LOOP_ECANCELED);
        }
        close(ends[1]);
    }
}

typedef struct closer {
    loop_t     *loop;
    operation_t close;
    int         fd;
} closer_t;

static void *close_after_a_moment(void *argument)
{
    closer_t *closer = argument;
    sleep_for(MILLISECOND);
    CHECK(loop_close(closer->loop, begin(&closer->close), closer->fd, record) == 0);
    return NULL;
}

LOOP_TEST(loop_close_by_another_thread_ends_a_sleep)
{
    for (unsigned round = 0; round < 50; round++) {
        int         ends[2];
        operation_t readable = {0};
        make_pipe(ends);
        closer_t closer = {.loop = loop, .fd = ends[0]};
        assert_result(loop_wait_until_fd_readable(loop, begin(&readable), ends[0], record), 0);
        pthread_t thread = start_thread(close_after_a_moment, &closer);
        assert_result(await(loop, &readable), LOOP_ECANCELED);
        join_thread(thread);
        assert_result(await(loop, &closer.close), 0);
        close(ends[1]);
    }
}

/* Uses a descriptor in one of several ways, so that the loop has no request on it in the end. */
static void use(loop_t *loop, const int ends[2], unsigned way)
{
    const uint32_t edge = LOOP_READABLE | LOOP_EDGE_TRIGGERED;
    operation_t    operation = {0};
    char           byte;
    switch (way % 4) {
    case 0: /* a wait that completed */
        put(ends[1], "x", 1);
        assert_result(RESULT_OF(loop, loop_wait_until_fd_readable, ends[0]), LOOP_READABLE);
        break;
    case 1: /* a wait that was cancelled */
        assert_result(loop_wait_until_fd_readable(loop, begin(&operation), ends[0], record), 0);
        run_for(loop, 0);
        assert_result(loop_cancel(loop, &operation.request), 0);
        assert_result(await(loop, &operation), LOOP_ECANCELED);
        break;
    case 2: /* a read that waited */
        assert_result(loop_read(loop, begin(&operation), ends[0], &byte, 1, record), 0);
        run_for(loop, 0);
        put(ends[1], "xy", 2);
        assert_result(await(loop, &operation), 1);
        break;
    default: /* an edge-triggered watch that was removed */
        assert_result(loop_add_fd(loop, begin(&operation), ends[0], edge, record), 0);
        put(ends[1], "x", 1);
        run_until(loop, &operation.completions, 1);
        assert_result(loop_remove_fd(loop, &operation.request), 0);
        run(loop);
        assert_result(operation.result, LOOP_ECANCELED);
        break;
    }
}

/* The descriptor's number is used, closed with close(2) and used again for another pipe, while a duplicate of
 * the old one may live on elsewhere, with bytes in it and more to come. */
static void reuse_number(loop_t *loop, unsigned round, bool with_duplicate)
{
    int         old[2], new[2], duplicate = -1;
    operation_t readable = {0};
    make_pipe(old);
    use(loop, old, round);
    if (with_duplicate) {
        duplicate = fcntl(old[0], F_DUPFD_CLOEXEC, 0);
        assert_true(duplicate >= 0);
    }
    int number = old[0];
    close(old[0]);
    make_pipe(new);
    assert_int_equal(new[0], number);
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable), new[0], record), 0);
    if (with_duplicate) {
        put(old[1], "stale", 5);
    }
    run_for(loop, round % 8 == 0 ? MILLISECOND : 0);
    assert_int_equal(completions_of(&readable), 0);
    put(new[1], "x", 1);
    assert_result(await(loop, &readable), LOOP_READABLE);
    if (with_duplicate) {
        close(duplicate);
    }
    close(old[1]);
    close_both(new);
}

LOOP_TEST(close_of_an_idle_descriptor_and_reuse_of_its_number_are_safe)
{
    for (unsigned round = 0; round < 2000; round++) {
        reuse_number(loop, round, false);
    }
}

LOOP_TEST(a_duplicate_of_a_closed_descriptor_sends_no_stale_events)
{
    for (unsigned round = 0; round < 2000; round++) {
        reuse_number(loop, round, true);
    }
}

LOOP_TEST(a_number_may_come_back_as_another_kind_of_descriptor)
{
    for (unsigned round = 0; round < 300; round++) {
        int ends[2], sockets[2];
        make_pipe(ends);
        use(loop, ends, round);
        int number = ends[0];
        close_both(ends);
        int file = temporary_file("x", 1);
        assert_int_equal(file, number);
        assert_true(HAS(RESULT_OF(loop, loop_wait_until_fd_readable, file), LOOP_READABLE));
        close(file);
        make_socketpair(sockets);
        assert_int_equal(sockets[0], number);
        use(loop, sockets, round + 1);
        assert_result(RESULT_OF(loop, loop_close, sockets[0]), 0);
        close(sockets[1]);
        make_pipe(ends);
        assert_int_equal(ends[0], number);
        use(loop, ends, round + 2);
        close_both(ends);
    }
}

/* ---- out of watches -------------------------------------------------------------------------- */

/* From here on, no epoll instance of this process takes a descriptor of this number or above; epoll_ctl says
 * ENOSPC, as when /proc/sys/fs/epoll/max_user_watches is reached. That limit itself is one of the whole
 * machine: to lower it would break whatever else runs. */
enum { FIRST_WITHOUT_ROOM = 500 };

static void take_the_room_in_epoll(void)
{
    struct sock_filter instructions[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_ctl, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, EPOLL_CTL_ADD, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST_WITHOUT_ROOM, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSPC),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT(instructions), .filter = instructions};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0);
}

/* A pipe that epoll has no room for. */
static void make_pipe_without_room(int ends[2])
{
    int low[2];
    make_pipe(low);
    for (size_t i = 0; i < 2; i++) {
        ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, FIRST_WITHOUT_ROOM);
        CHECK(ends[i] >= FIRST_WITHOUT_ROOM);
    }
    close_both(low);
}

LOOP_TEST(waits_that_epoll_has_no_room_for_complete)
{
    int               ends[2];
    operation_t       readable = {0}, writable = {0}, read_one = {0};
    char              byte = 0;
    loop_statistics_t statistics = {.size = sizeof statistics};
    make_pipe_without_room(ends);
    assert_result(RESULT_OF(loop, loop_wait_until_fd_writable, ends[1]), LOOP_WRITABLE);
    for (unsigned round = 0; round < 50; round++) {
        fill(ends[1]);
        assert_result(loop_wait_until_fd_writable(loop, begin(&writable), ends[1], record), 0);
        assert_still_waiting(loop, (operation_t *[]){&writable}, 1);
        drain(ends[0]);
        assert_result(await(loop, &writable), LOOP_WRITABLE);
        assert_result(loop_wait_until_fd_readable(loop, begin(&readable), ends[0], record), 0);
        assert_result(loop_read(loop, begin(&read_one), ends[0], &byte, 1, record), 0);
        assert_still_waiting(loop, (operation_t *[]){&readable, &read_one}, 2);
        put(ends[1], "xy", 2);
        assert_result(await(loop, &readable), LOOP_READABLE);
        assert_result(await(loop, &read_one), 1);
        assert_int_equal(byte, 'x');
    }
    assert_result(loop_get_statistics(loop, &statistics), 0);
    assert_true(statistics.poll_fallbacks > 0);
    close_both(ends);
}

LOOP_TEST(watches_that_epoll_has_no_room_for_shoot)
{
    int     ends[2];
    watch_t watch = {0};
    make_pipe_without_room(ends);
    start_watch(loop, &watch, ends[0], LOOP_READABLE);
    put(ends[1], "x", 1);
    run_until(loop, &watch.shots, 10);
    drain(ends[0]);
    run_for(loop, 5 * MILLISECOND);
    unsigned shots = atomic_load(&watch.shots);
    run_for(loop, 5 * MILLISECOND);
    assert_watch_ends(loop, &watch, shots);
    close_both(ends);
}

LOOP_TEST(waits_that_epoll_has_no_room_for_can_be_cancelled_and_closed)
{
    for (unsigned round = 0; round < 300; round++) {
        int         ends[2];
        operation_t first = {0}, second = {0}, timed = {.request.timeout_ns = MILLISECOND};
        make_pipe_without_room(ends);
        assert_result(loop_wait_until_fd_readable(loop, begin(&first), ends[0], record), 0);
        assert_result(loop_wait_until_fd_readable(loop, begin(&second), ends[0], record), 0);
        assert_result(loop_wait_until_fd_readable(loop, begin(&timed), ends[0], record), 0);
        assert_result(await(loop, &timed), LOOP_ETIMEDOUT);
        assert_result(loop_cancel(loop, &first.request), 0);
        assert_result(await(loop, &first), LOOP_ECANCELED);
        assert_int_equal(completions_of(&second), 0);
        if (round % 2 == 0) {
            put(ends[1], "x", 1);
            assert_result(await(loop, &second), LOOP_READABLE);
            assert_result(loop_wait_until_fd_writable(loop, begin(&second), ends[0], record), 0);
        }
        assert_result(RESULT_OF(loop, loop_close, ends[0]), 0);
        run(loop);
        assert_result(second.result, LOOP_ECANCELED);
        close(ends[1]);
    }
}

static void *stop_after_a_moment(void *argument)
{
    sleep_for(2 * MILLISECOND);
    CHECK(loop_stop(argument) == 0);
    return NULL;
}

LOOP_TEST(stop_and_end_work_when_epoll_has_no_room)
{
    int                ends[2];
    static operation_t readable[2];
    make_pipe_without_room(ends);
    loop_t *other = new_loop();
    assert_result(loop_wait_until_fd_readable(loop, begin(&readable[0]), ends[0], record), 0);
    assert_result(loop_wait_until_fd_readable(other, begin(&readable[1]), ends[0], record), 0);
    pthread_t thread = start_thread(stop_after_a_moment, loop);
    assert_result(loop_run(loop), 0);
    join_thread(thread);
    assert_result(loop_pending(loop), 1);
    assert_result(loop_cancel(loop, &readable[0].request), 0);
    run(loop);
    assert_result(readable[0].result, LOOP_ECANCELED);
    run_for(other, MILLISECOND);
    end_loop(other);
    assert_int_equal(completions_of(&readable[1]), 1);
    assert_result(readable[1].result, LOOP_ECANCELED);
    close_both(ends);
}

#define WITHOUT_ROOM "--epoll-without-room"

static int run_without_room(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(waits_that_epoll_has_no_room_for_complete),
        GUARDED(watches_that_epoll_has_no_room_for_shoot),
        GUARDED(waits_that_epoll_has_no_room_for_can_be_cancelled_and_closed),
        GUARDED(stop_and_end_work_when_epoll_has_no_room),
    };
    take_the_room_in_epoll();
    return RUN_SUITE(tests);
}

LOOP_TEST(a_loop_whose_epoll_is_full_falls_back_to_poll)
{
    if (strcmp(loop_backend_name(loop), "epoll") == 0) {
        assert_int_equal(run_again(WITHOUT_ROOM), 0);
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], WITHOUT_ROOM) == 0) {
        return run_without_room();
    }
    const struct CMUnitTest tests[] = {
        GUARDED(a_wait_completes_with_what_is_ready),
        GUARDED(a_wait_waits_until_the_descriptor_is_ready),
        GUARDED(writable_or_readable_is_whichever_comes_first),
        GUARDED(a_hundred_readers_of_one_descriptor_all_complete),
        GUARDED(cancelled_readers_leave_the_others_waiting),
        GUARDED(reader_and_writer_of_one_socket_complete_apart),
        GUARDED(a_wait_can_be_submitted_again_in_its_callback),
        GUARDED(regular_files_and_directories_are_always_ready),
        GUARDED(devices_without_readiness_are_always_ready),
        GUARDED(what_is_no_open_descriptor_is_a_bad_one),
        GUARDED(a_descriptor_that_only_names_a_path_is_a_bad_one),
        GUARDED(an_event_descriptor_is_ready_when_it_counts),
        GUARDED(an_epoll_descriptor_is_readable_when_it_has_events),
        GUARDED(a_half_closed_socket_is_readable_and_hung_up),
        GUARDED(a_half_close_wakes_a_reader_that_waits),
        GUARDED(a_reset_connection_is_an_error_and_a_hang_up),
        GUARDED(a_pipe_whose_writer_closed_is_hung_up_and_readable),
        GUARDED(a_pipe_whose_reader_closed_is_an_error_to_the_writer),
        GUARDED(a_closed_peer_wakes_every_kind_of_wait),
        GUARDED(a_watch_shoots_for_as_long_as_the_state_lasts),
        GUARDED(a_shot_waits_until_the_callback_of_the_one_before_returned),
        GUARDED(a_watch_of_consumed_bytes_shoots_once_for_each),
        GUARDED(a_watch_of_both_directions_reports_each),
        GUARDED(an_edge_triggered_watch_shoots_once_for_each_change),
        GUARDED(an_edge_in_the_callback_is_not_lost),
        GUARDED(several_watches_and_waits_share_a_descriptor),
        GUARDED(the_events_of_a_watch_can_be_changed),
        GUARDED(a_watch_can_be_changed_in_its_callback),
        GUARDED(only_a_watch_in_flight_can_be_changed_or_removed),
        GUARDED(unknown_events_are_the_result_of_a_watch),
        GUARDED(a_watch_of_a_regular_file_shoots_until_removed),
        GUARDED(a_watch_can_be_removed_by_another_thread),
        GUARDED(a_wait_times_out_and_the_descriptor_stays_usable),
        GUARDED(the_timeout_of_a_watch_counts_from_the_last_shot),
        GUARDED(loop_close_ends_what_waits_on_the_descriptor),
        GUARDED(loop_close_ends_the_waits_of_every_loop_thread),
        GUARDED(loop_close_by_another_thread_ends_a_sleep),
        GUARDED(close_of_an_idle_descriptor_and_reuse_of_its_number_are_safe),
        GUARDED(a_duplicate_of_a_closed_descriptor_sends_no_stale_events),
        GUARDED(a_number_may_come_back_as_another_kind_of_descriptor),
        GUARDED(a_loop_whose_epoll_is_full_falls_back_to_poll),
    };
    return RUN_SUITE(tests);
}
