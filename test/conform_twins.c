/*
 * Behaviour that the tests of libuv show and no other suite of ours does. docs/libuv-tests.md has the whole
 * list, and says for each of libuv's tests where its twin is.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

#include <netdb.h>
#include <termios.h>

/* ---- the life of a loop (loop_alive, unref_in_prepare_cb, threadpool_multiple_event_loops) ------- */

static void do_nothing(loop_request_t *request)
{
    (void)request;
}

LOOP_TEST(a_loop_is_alive_while_something_is_pending)
{
    operation_t timer = {0}, work = {0};
    assert_result(loop_pending(loop), 0);
    assert_result(loop_timer_start(loop, begin(&timer), MILLISECOND, 0, record), 0);
    assert_result(loop_pending(loop), 1);
    assert_result(await(loop, &timer), 0);
    assert_result(loop_pending(loop), 0);
    assert_result(loop_queue_work(loop, begin(&work), do_nothing, record), 0);
    assert_result(loop_pending(loop), 1);
    assert_result(await(loop, &work), 0);
    assert_result(loop_pending(loop), 0);
}

static void drop_reference(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(loop_unref(loop) == 0);
    record(loop, request, result);
}

LOOP_TEST(dropping_the_last_reference_in_a_callback_ends_the_run)
{
    operation_t tick = {0};
    assert_result(loop_ref(loop), 0);
    assert_result(loop_on_next_tick(loop, begin(&tick), drop_reference), 0);
    run(loop);
    assert_int_equal(completions_of(&tick), 1);
}

/* A thread with a loop of its own, in which it does a bit of all that needs a blocking thread. */
static void *run_own_loop(void *argument)
{
    loop_t          *loop = NULL;
    loop_options_t   options = test_options();
    operation_t      operations[3] = {0};
    struct addrinfo *list = NULL;
    struct addrinfo  hints = {.ai_flags = AI_NUMERICHOST};
    (void)argument;
    CHECK(loop_init(&loop, &options) == 0);
    for (unsigned round = 0; round < 20; round++) {
        CHECK(loop_queue_work(loop, begin(&operations[0]), do_nothing, record) == 0);
        CHECK(loop_faccessat(loop, begin(&operations[1]), AT_FDCWD, "/", F_OK, 0, record) == 0);
        CHECK(loop_getaddrinfo(loop, begin(&operations[2]), "127.0.0.1", NULL, &hints, &list, record) == 0);
        CHECK(loop_run(loop) == 0);
        for (size_t i = 0; i < COUNT(operations); i++) {
            CHECK(completions_of(&operations[i]) == 1 && operations[i].result == 0);
        }
        freeaddrinfo(list);
    }
    CHECK(loop_deinit(loop) == 0);
    return NULL;
}

TEST(loops_of_several_threads_do_work_files_and_look_ups_at_once)
{
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++) {
        threads[i] = start_thread(run_own_loop, NULL);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        join_thread(threads[i]);
    }
}

/* ---- callback_stack ------------------------------------------------------------------------------ */

static _Thread_local bool submitting;

static void record_outside(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(!submitting);
    record(loop, request, result);
}

/* Operations that could all complete at once: each has what it needs. */
enum { KINDS = 13 };
typedef struct ready {
    operation_t operations[KINDS], waiting;
    int         pair[2], file, to_close, to_connect, listener;
    endpoint_t  nobody;
    char        byte;
} ready_t;

static int submit_kind(loop_t *loop, ready_t *ready, unsigned kind)
{
    loop_request_t *request = begin(&ready->operations[kind]);
    loop_callback_t done = record_outside;
    switch (kind) {
    case 0: return loop_on_next_tick(loop, request, done);
    case 1: return loop_timer_start(loop, request, 0, 0, done);
    case 2: return loop_wait_until_fd_readable(loop, request, ready->pair[0], done);
    case 3: return loop_wait_until_fd_writable(loop, request, ready->pair[0], done);
    case 4: return loop_pread(loop, request, ready->file, &ready->byte, 1, 0, done);
    case 5: return loop_faccessat(loop, request, AT_FDCWD, "/", F_OK, 0, done);
    case 6: return loop_close(loop, request, ready->to_close, done);
    case 7: return loop_recv(loop, request, ready->pair[0], &ready->byte, 1, MSG_PEEK, done);
    case 8: return loop_send(loop, request, ready->pair[0], "x", 1, 0, done);
    case 9: return loop_shutdown(loop, request, ready->pair[0], SHUT_WR, done);
    case 10: return loop_accept(loop, request, ready->listener, NULL, NULL, 0, done);
    case 11: return loop_queue_work(loop, request, do_nothing, done);
    default:
        return loop_connect(loop, request, ready->to_connect, &ready->nobody.any, ready->nobody.length, done);
    }
}

static void submit_all_kinds(loop_t *loop, ready_t *ready)
{
    submitting = true;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        CHECK(submit_kind(loop, ready, kind) == 0);
    }
    CHECK(loop_cancel(loop, &ready->waiting.request) == 0);
    submitting = false;
}

static void submit_in_a_callback(loop_t *loop, loop_request_t *request, int64_t result)
{
    (void)result;
    submit_all_kinds(loop, request->user);
}

static void assert_kinds_completed(loop_t *loop, ready_t *ready)
{
    run(loop);
    for (unsigned kind = 0; kind < KINDS - 1; kind++) {
        assert_int_equal(completions_of(&ready->operations[kind]), 1);
        assert_true(ready->operations[kind].result >= 0);
    }
    assert_result(ready->operations[KINDS - 1].result, LOOP_ECONNREFUSED);
    assert_result(ready->waiting.result, LOOP_ECANCELED);
    close((int)ready->operations[10].result);
}

LOOP_TEST(no_callback_runs_inside_a_submitting_call)
{
    static ready_t ready;
    for (unsigned round = 0; round < 2; round++) {
        loop_request_t tick = {.user = &ready};
        int            refusing = make_bound(AF_INET, SOCK_STREAM);
        memset(&ready, 0, sizeof ready);
        make_socketpair(ready.pair);
        put(ready.pair[1], "x", 1);
        ready.file = temporary_file("x", 1);
        ready.to_close = dup(ready.file);
        ready.listener = make_listener(AF_INET, 1);
        ready.to_connect = make_socket(AF_INET, SOCK_STREAM);
        ready.nobody = name_of(refusing);
        int client = dial(name_of(ready.listener));
        assert_result(loop_timer_start(loop, begin(&ready.waiting), HOUR, 0, record_outside), 0);
        if (round == 0) {
            submit_all_kinds(loop, &ready);
        } else {
            assert_result(loop_on_next_tick(loop, &tick, submit_in_a_callback), 0);
        }
        assert_kinds_completed(loop, &ready);
        close_both(ready.pair);
        close(ready.file);
        close(ready.listener);
        close(ready.to_connect);
        close(client);
        close(refusing);
    }
}

/* ---- watches (watcher_cross_stop, poll_duplex, poll_unidirectional, poll_close) ------------------ */

enum { WATCHES = 64 };
typedef struct watch {
    shots_t       shots; /* first: the request */
    struct watch *all;
    atomic_bool   removed;
    atomic_uint   late_shots; /* those that began after the watch was removed */
    int           ends[2];
} watch_t;

static void remove_all_watches(loop_t *loop, loop_request_t *request, int64_t result)
{
    watch_t *watch = (watch_t *)(void *)request;
    if (atomic_load(&watch->removed) && (request->flags & LOOP_MORE)) {
        atomic_fetch_add(&watch->late_shots, 1);
    }
    for (size_t i = 0; result > 0 && i < WATCHES; i++) {
        watch_t *other = &watch->all[i];
        int      status = loop_remove_fd(loop, &other->shots.request);
        CHECK(status == 0 || status == LOOP_ENOENT);
        atomic_store(&other->removed, true);
    }
    record_shot(loop, request, result);
}

LOOP_TEST(watches_that_the_callback_of_another_removed_end)
{
    static watch_t watches[WATCHES];
    memset(watches, 0, sizeof watches);
    for (size_t i = 0; i < WATCHES; i++) {
        loop_request_t *request = &watches[i].shots.request;
        watches[i].all = watches;
        make_pipe(watches[i].ends);
        put(watches[i].ends[1], "x", 1);
        assert_result(loop_add_fd(loop, request, watches[i].ends[0], LOOP_READABLE, remove_all_watches), 0);
    }
    run(loop);
    for (size_t i = 0; i < WATCHES; i++) {
        unsigned last = atomic_load(&watches[i].shots.count) - 1;
        assert_int_equal(atomic_load(&watches[i].shots.ended), 1);
        assert_result(watches[i].shots.results[last], LOOP_ECANCELED);
        assert_true(atomic_load(&watches[i].late_shots) <= 1); /* one that was ready already */
        close_both(watches[i].ends);
    }
}

enum { DUPLEX_BYTES = 300000 };

/* One end of a connection that sends and receives as its watch tells it to. */
typedef struct end {
    loop_request_t watch; /* first, so that a callback can get at the rest */
    int            fd;
    const char    *outgoing;
    size_t         sent, received;
    bool           saw_end;
    uint64_t       chance;
    int64_t        last_result;
} end_t;

static void send_some(end_t *end)
{
    size_t left = DUPLEX_BYTES - end->sent;
    size_t length = 1 + random_below(&end->chance, 20000);
    if (left == 0) {
        return;
    }
    ssize_t sent = send(end->fd, end->outgoing + end->sent, length < left ? length : left,
                        MSG_DONTWAIT | MSG_NOSIGNAL);
    CHECK(sent > 0 || errno == EAGAIN);
    end->sent += sent > 0 ? (size_t)sent : 0;
    if (end->sent == DUPLEX_BYTES) {
        CHECK(shutdown(end->fd, SHUT_WR) == 0);
    }
}

static void receive_some(end_t *end)
{
    char    bytes[20000];
    ssize_t count = recv(end->fd, bytes, 1 + random_below(&end->chance, sizeof bytes), MSG_DONTWAIT);
    CHECK(count >= 0 || errno == EAGAIN);
    if (count >= 0) {
        CHECK(has_pattern(bytes, (size_t)count, end->received));
        end->received += (size_t)count;
        end->saw_end = count == 0;
    }
}

static void transfer_some(loop_t *loop, loop_request_t *request, int64_t result)
{
    end_t *end = (end_t *)(void *)request;
    end->last_result = result;
    if ((request->flags & LOOP_MORE) == 0) {
        return;
    }
    if (result & LOOP_WRITABLE) {
        send_some(end);
    }
    if (result & (LOOP_READABLE | LOOP_HANGUP)) {
        receive_some(end);
    }
    if (end->saw_end && end->sent == DUPLEX_BYTES) {
        CHECK(loop_remove_fd(loop, request) == 0);
    } else {
        uint32_t events = (end->saw_end ? 0 : LOOP_READABLE) | (end->sent < DUPLEX_BYTES ? LOOP_WRITABLE : 0);
        CHECK(loop_mod_fd(loop, request, events) == 0);
    }
}

static void transfer_both_ways(loop_t *loop, const int sockets[2])
{
    char *bytes = new_pattern(DUPLEX_BYTES);
    end_t ends[2] = {{.fd = sockets[0], .outgoing = bytes, .chance = 7},
                     {.fd = sockets[1], .outgoing = bytes, .chance = 11}};
    for (size_t i = 0; i < COUNT(ends); i++) {
        assert_result(loop_add_fd(loop, &ends[i].watch, ends[i].fd, LOOP_READABLE | LOOP_WRITABLE,
                                  transfer_some), 0);
    }
    run(loop);
    for (size_t i = 0; i < COUNT(ends); i++) {
        assert_int_equal(ends[i].sent, DUPLEX_BYTES);
        assert_int_equal(ends[i].received, DUPLEX_BYTES);
        assert_true(ends[i].saw_end);
        assert_result(ends[i].last_result, LOOP_ECANCELED);
    }
    free(bytes);
    close_both(sockets);
}

LOOP_TEST(random_parts_of_a_duplex_are_seen_by_watches_to_the_end)
{
    int sockets[2];
    make_tcp_pair(sockets);
    transfer_both_ways(loop, sockets);
    make_socketpair(sockets);
    transfer_both_ways(loop, sockets);
}

typedef struct closer {
    shots_t     shots; /* first: the request */
    operation_t closing;
    int         fd;
} closer_t;

static void close_at_first_shot(loop_t *loop, loop_request_t *request, int64_t result)
{
    closer_t *closer = (closer_t *)(void *)request;
    if (atomic_load(&closer->shots.count) == 0) {
        CHECK(loop_close(loop, begin(&closer->closing), closer->fd, record) == 0);
    }
    record_shot(loop, request, result);
}

LOOP_TEST(a_watch_whose_callback_closes_the_descriptor_ends)
{
    for (unsigned i = 0; i < 50; i++) {
        int      ends[2];
        closer_t closer = {0};
        make_socketpair(ends);
        put(ends[1], "x", 1);
        closer.fd = ends[0];
        loop_request_t *request = &closer.shots.request;
        assert_result(loop_add_fd(loop, request, ends[0], LOOP_READABLE, close_at_first_shot), 0);
        assert_result(await_end(loop, &closer.shots), LOOP_ECANCELED);
        run(loop);
        assert_result(closer.shots.results[0], LOOP_READABLE);
        assert_result(closer.closing.result, 0);
        assert_false(is_open(ends[0]));
        close(ends[1]);
    }
}

/* ---- timer_again --------------------------------------------------------------------------------- */

enum { PUSHES = 15 };
#define WATCHDOG_DELAY (50 * MILLISECOND) /* far more than what lies between two pushes */

typedef struct watchdog {
    loop_request_t timer, pushing;
    uint64_t       started; /* touched by the callback of the timer alone */
    atomic_uint    pushes, pushed_back, fired;
} watchdog_t;

static void on_watchdog(loop_t *loop, loop_request_t *request, int64_t result)
{
    watchdog_t *watchdog = request->user;
    if (result == 0) {
        CHECK(loop_now(loop) - watchdog->started >= WATCHDOG_DELAY);
        atomic_fetch_add(&watchdog->fired, 1);
        return;
    }
    CHECK(result == LOOP_ECANCELED);
    atomic_fetch_add(&watchdog->pushed_back, 1);
    watchdog->started = loop_now(loop);
    CHECK(loop_timer_start(loop, request, WATCHDOG_DELAY, 0, on_watchdog) == 0);
}

static void push_back(loop_t *loop, loop_request_t *request, int64_t result)
{
    watchdog_t *watchdog = request->user;
    if (result == LOOP_ECANCELED) {
        return;
    }
    int status = loop_cancel(loop, &watchdog->timer);
    CHECK(status == 0 || status == LOOP_ENOENT);
    if (atomic_fetch_add(&watchdog->pushes, 1) + 1 == PUSHES) {
        CHECK(loop_cancel(loop, request) == 0);
    }
}

LOOP_TEST(a_timer_that_is_pushed_back_fires_its_delay_after_the_last_push)
{
    watchdog_t watchdog = {.started = loop_now(loop)};
    watchdog.timer.user = watchdog.pushing.user = &watchdog;
    assert_result(loop_timer_start(loop, &watchdog.timer, WATCHDOG_DELAY, 0, on_watchdog), 0);
    assert_result(loop_timer_start(loop, &watchdog.pushing, MILLISECOND, MILLISECOND, push_back), 0);
    run(loop);
    assert_int_equal(atomic_load(&watchdog.pushes), PUSHES);
    assert_int_equal(atomic_load(&watchdog.fired), 1);
    assert_true(atomic_load(&watchdog.pushed_back) >= 1);
}

/* ---- streams (tcp_ping_pong, tcp_ping_pong_vec, tcp_connect_error_after_write) ------------------- */

enum { ROUNDS = 200 };
static const char ping[] = "PING\n";
enum { PING_BYTES = sizeof ping - 1 };

/* The client sends in two parts and receives in small ones; the server sends back whatever came. */
typedef struct ping_pong {
    loop_request_t client, server;
    int            client_fd, server_fd;
    struct iovec   parts[2];
    struct msghdr  message;
    char           echo[64], received[PING_BYTES];
    size_t         received_bytes;
    unsigned       rounds;
    bool           server_saw_end;
} ping_pong_t;

static void on_server_received(loop_t *loop, loop_request_t *request, int64_t result);

static void on_server_sent(loop_t *loop, loop_request_t *request, int64_t result)
{
    ping_pong_t *game = request->user;
    CHECK(result > 0);
    CHECK(loop_recv(loop, request, game->server_fd, game->echo, sizeof game->echo, 0,
                    on_server_received) == 0);
}

static void on_server_received(loop_t *loop, loop_request_t *request, int64_t result)
{
    ping_pong_t *game = request->user;
    CHECK(result >= 0);
    game->server_saw_end = result == 0;
    if (result > 0) {
        CHECK(loop_send(loop, request, game->server_fd, game->echo, (size_t)result, LOOP_SEND_ALL,
                        on_server_sent) == 0);
    }
}

static void on_pong(loop_t *loop, loop_request_t *request, int64_t result);

static void receive_pong(loop_t *loop, ping_pong_t *game)
{
    size_t most = 1 + game->rounds % PING_BYTES, left = PING_BYTES - game->received_bytes;
    CHECK(loop_recv(loop, &game->client, game->client_fd, game->received + game->received_bytes,
                    most < left ? most : left, 0, on_pong) == 0);
}

static void on_ping_sent(loop_t *loop, loop_request_t *request, int64_t result)
{
    ping_pong_t *game = request->user;
    CHECK(result == PING_BYTES);
    game->received_bytes = 0;
    receive_pong(loop, game);
}

static void send_ping(loop_t *loop, ping_pong_t *game)
{
    size_t split = game->rounds % (PING_BYTES + 1);
    char  *bytes = (char *)(uintptr_t)ping; /* iovec has no const; a send does not write */
    game->parts[0] = (struct iovec){bytes, split};
    game->parts[1] = (struct iovec){bytes + split, PING_BYTES - split};
    game->message = (struct msghdr){.msg_iov = game->parts, .msg_iovlen = 2};
    CHECK(loop_sendmsg(loop, &game->client, game->client_fd, &game->message, LOOP_SEND_ALL,
                       on_ping_sent) == 0);
}

static void on_pong(loop_t *loop, loop_request_t *request, int64_t result)
{
    ping_pong_t *game = request->user;
    CHECK(result > 0);
    game->received_bytes += (size_t)result;
    if (game->received_bytes < PING_BYTES) {
        receive_pong(loop, game);
        return;
    }
    CHECK(memcmp(game->received, ping, PING_BYTES) == 0);
    if (++game->rounds < ROUNDS) {
        send_ping(loop, game);
    } else {
        CHECK(shutdown(game->client_fd, SHUT_WR) == 0);
    }
}

static void play(loop_t *loop, int listener)
{
    ping_pong_t game = {0};
    operation_t accepting = {0};
    endpoint_t  endpoint = name_of(listener);
    int         fd = loop_socket(loop, endpoint.any.sa_family, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    game.client.user = game.server.user = &game;
    game.client_fd = fd;
    assert_result(loop_accept(loop, begin(&accepting), listener, NULL, NULL, 0, record), 0);
    assert_result(RESULT_OF(loop, loop_connect, fd, &endpoint.any, endpoint.length), 0);
    game.server_fd = (int)await(loop, &accepting);
    assert_true(game.server_fd >= 0);
    send_ping(loop, &game);
    assert_result(loop_recv(loop, &game.server, game.server_fd, game.echo, sizeof game.echo, 0,
                            on_server_received), 0);
    run(loop);
    assert_int_equal(game.rounds, ROUNDS);
    assert_true(game.server_saw_end);
    close(game.client_fd);
    close(game.server_fd);
    close(listener);
}

LOOP_TEST(pings_come_back_over_every_kind_of_stream)
{
    play(loop, make_listener(AF_INET, 1));
    if (has_ip6_loopback()) {
        play(loop, make_listener(AF_INET6, 1));
    }
    endpoint_t endpoint = local_endpoint(temporary_path("pings"));
    int        local = make_socket(AF_UNIX, SOCK_STREAM);
    assert_int_equal(bind(local, &endpoint.any, endpoint.length), 0);
    assert_int_equal(listen(local, 1), 0);
    play(loop, local);
}

LOOP_TEST(a_send_behind_a_connect_that_fails_reports_an_error_too)
{
    int        refusing = make_bound(AF_INET, SOCK_STREAM);
    endpoint_t nobody = name_of(refusing);
    for (unsigned i = 0; i < 50; i++) {
        operation_t connecting = {0}, sending = {0};
        int         fd = loop_socket(loop, AF_INET, SOCK_STREAM, 0);
        assert_true(fd >= 0);
        assert_result(loop_connect(loop, begin(&connecting), fd, &nobody.any, nobody.length, record), 0);
        assert_result(loop_send(loop, begin(&sending), fd, "x", 1, 0, record), 0);
        run(loop);
        assert_int_equal(completions_of(&connecting), 1);
        assert_int_equal(completions_of(&sending), 1);
        assert_result(connecting.result, LOOP_ECONNREFUSED);
        if (sending.result != LOOP_ECONNREFUSED) { /* it waited with the connect, or came after it */
            assert_result(sending.result, LOOP_EPIPE);
        }
        close(fd);
    }
    close(refusing);
}

/* ---- pipe_server_close --------------------------------------------------------------------------- */

LOOP_TEST(a_connect_that_waits_for_a_listener_is_refused_when_that_is_closed)
{
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        operation_t connecting = {0};
        endpoint_t  endpoint = local_endpoint(temporary_path("closed"));
        int         listener = make_socket(AF_UNIX, SOCK_STREAM);
        int         client = make_socket(AF_UNIX, SOCK_STREAM);
        assert_int_equal(bind(listener, &endpoint.any, endpoint.length), 0);
        assert_int_equal(listen(listener, 0), 0);
        int filler = dial(endpoint); /* the only place in the queue */
        set_nonblocking(client, nonblocking == 1);
        assert_result(
            loop_connect(loop, begin(&connecting), client, &endpoint.any, endpoint.length, record), 0);
        run_for(loop, 5 * MILLISECOND);
        assert_int_equal(completions_of(&connecting), 0);
        close(listener);
        assert_result(await(loop, &connecting), LOOP_ECONNREFUSED);
        close(client);
        close(filler);
        unlink(endpoint.local.sun_path);
    }
}

/* ---- tty_pty ------------------------------------------------------------------------------------- */

LOOP_TEST(both_sides_of_a_terminal_transfer)
{
    struct termios settings;
    operation_t    reading = {0};
    char           bytes[16] = "";
    int            master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal >= 0 && tcgetattr(terminal, &settings) == 0);
    cfmakeraw(&settings);
    assert_int_equal(tcsetattr(terminal, TCSANOW, &settings), 0);
    assert_result(loop_read(loop, begin(&reading), terminal, bytes, sizeof bytes, record), 0);
    run_for(loop, MILLISECOND);
    assert_int_equal(completions_of(&reading), 0);
    assert_result(RESULT_OF(loop, loop_write, master, "typed", 5), 5);
    assert_result(await(loop, &reading), 5);
    assert_memory_equal(bytes, "typed", 5);
    assert_result(RESULT_OF(loop, loop_write, terminal, "shown", 5), 5);
    assert_result(RESULT_OF(loop, loop_read, master, bytes, sizeof bytes), 5);
    assert_memory_equal(bytes, "shown", 5);
    assert_result(RESULT_OF(loop, loop_close, terminal), 0);
    close(master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_loop_is_alive_while_something_is_pending),
        GUARDED(dropping_the_last_reference_in_a_callback_ends_the_run),
        GUARDED(loops_of_several_threads_do_work_files_and_look_ups_at_once),
        GUARDED(no_callback_runs_inside_a_submitting_call),
        GUARDED(watches_that_the_callback_of_another_removed_end),
        GUARDED(random_parts_of_a_duplex_are_seen_by_watches_to_the_end),
        GUARDED(a_watch_whose_callback_closes_the_descriptor_ends),
        GUARDED(a_timer_that_is_pushed_back_fires_its_delay_after_the_last_push),
        GUARDED(pings_come_back_over_every_kind_of_stream),
        GUARDED(a_send_behind_a_connect_that_fails_reports_an_error_too),
        GUARDED(a_connect_that_waits_for_a_listener_is_refused_when_that_is_closed),
        GUARDED(both_sides_of_a_terminal_transfer),
    };
    return RUN_SUITE(tests);
}
