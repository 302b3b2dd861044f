/*
 * Conformance of loop_accept: one connection, one after another, at the limit of descriptors.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

#include <sys/resource.h>

/* Sends a byte each way. */
static void assert_connected(int one, int other)
{
    char byte = 0;
    put(one, "a", 1);
    wait_for(other, POLLIN);
    take(other, &byte, 1);
    assert_int_equal(byte, 'a');
    put(other, "b", 1);
    wait_for(one, POLLIN);
    take(one, &byte, 1);
    assert_int_equal(byte, 'b');
}

static bool same_endpoint(endpoint_t one, endpoint_t other)
{
    return one.length == other.length && memcmp(&one.any, &other.any, one.length) == 0;
}

/* ---- one connection -------------------------------------------------------------------------- */

static void accept_one(loop_t *loop, int family, bool nonblocking)
{
    operation_t accepting = {0};
    endpoint_t  address = {.length = sizeof address.local};
    int         listener = make_listener(family, 8);
    set_nonblocking(listener, nonblocking);
    assert_result(loop_accept(loop, begin(&accepting), listener, &address.any, &address.length, 0, record),
                  0);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(completions_of(&accepting), 0);
    int client = dial(name_of(listener));
    int server = (int)await(loop, &accepting);
    assert_true(server >= 0);
    assert_int_equal(accepting.flags, 0);
    assert_true(same_endpoint(address, name_of(client)));
    assert_true(fcntl(server, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(server, F_GETFD) & FD_CLOEXEC);
    assert_int_equal((fcntl(listener, F_GETFL) & O_NONBLOCK) != 0, nonblocking);
    assert_connected(client, server);
    close(client);
    close(server);
    close(listener);
}

LOOP_TEST(a_connection_is_accepted_non_blocking_and_closed_on_exec)
{
    accept_one(loop, AF_INET, false);
    accept_one(loop, AF_INET, true);
}

TEST(a_connection_of_ip6_is_accepted)
{
    if (!has_ip6_loopback()) {
        print_message("    this machine has no ::1\n");
        skip();
    }
    loop_t *loop = new_loop();
    accept_one(loop, AF_INET6, false);
    end_loop(loop);
}

LOOP_TEST(an_address_that_does_not_fit_is_cut_as_by_the_blocking_call)
{
    int listener = make_listener(AF_INET, 8);
    for (socklen_t room = 0; room <= 20; room += 4) {
        unsigned char ours[24], expected[24];
        socklen_t     our_length = room, expected_length = room;
        memset(ours, 0x5A, sizeof ours);
        memset(expected, 0x5A, sizeof expected);
        int clients[2] = {dial(name_of(listener)), dial(name_of(listener))};
        int direct = accept(listener, (struct sockaddr *)(void *)expected, &expected_length);
        assert_true(direct >= 0);
        int64_t server =
            RESULT_OF(loop, loop_accept, listener, (struct sockaddr *)(void *)ours, &our_length, 0);
        assert_true(server >= 0);
        assert_int_equal(our_length, expected_length);
        memcpy(expected + 2, ours + 2, room >= 4 ? 2 : 0); /* the ports differ */
        assert_memory_equal(ours, expected, sizeof ours);
        close_both(clients);
        close((int)server);
        close(direct);
    }
    close(listener);
}

LOOP_TEST(connections_wait_until_they_are_accepted)
{
    int listener = make_listener(AF_INET, 8), clients[4];
    for (size_t i = 0; i < COUNT(clients); i++) {
        clients[i] = dial(name_of(listener));
    }
    run_for(loop, 5 * MILLISECOND);
    for (size_t i = 0; i < COUNT(clients); i++) {
        int server = (int)RESULT_OF(loop, loop_accept, listener, NULL, NULL, 0);
        assert_true(server >= 0);
        assert_connected(clients[i], server);
        close(server);
        close(clients[i]);
    }
    close(listener);
}

LOOP_TEST(several_accepts_on_one_listener_get_a_connection_each)
{
    operation_t accepting[6];
    int         listener = make_listener(AF_INET, 8), clients[COUNT(accepting)];
    memset(accepting, 0, sizeof accepting);
    for (size_t i = 0; i < COUNT(accepting); i++) {
        assert_result(loop_accept(loop, begin(&accepting[i]), listener, NULL, NULL, 0, record), 0);
    }
    run_for(loop, 2 * MILLISECOND);
    for (size_t i = 0; i < COUNT(clients); i++) {
        clients[i] = dial(name_of(listener));
    }
    run(loop);
    for (size_t i = 0; i < COUNT(accepting); i++) {
        assert_int_equal(completions_of(&accepting[i]), 1);
        assert_true(accepting[i].result >= 0);
        close((int)accepting[i].result);
        close(clients[i]);
    }
    close(listener);
}

LOOP_TEST(what_one_loop_accepted_another_can_serve)
{
    char        bytes[8];
    operation_t receiving = {0};
    loop_t     *other = new_loop();
    int         listener = make_listener(AF_INET, 8), client = dial(name_of(listener));
    int         server = (int)RESULT_OF(loop, loop_accept, listener, NULL, NULL, 0);
    assert_result(loop_recv(other, begin(&receiving), server, bytes, sizeof bytes, 0, record), 0);
    put(client, "served", 6);
    assert_result(await(other, &receiving), 6);
    assert_memory_equal(bytes, "served", 6);
    end_loop(other);
    close(server);
    close(client);
    close(listener);
}

LOOP_TEST(listening_a_second_time_changes_nothing)
{
    operation_t accepting = {0};
    int         listener = make_listener(AF_INET, 8);
    assert_result(loop_accept(loop, begin(&accepting), listener, NULL, NULL, 0, record), 0);
    run_for(loop, MILLISECOND);
    assert_int_equal(listen(listener, 16), 0);
    int client = dial(name_of(listener));
    assert_true(await(loop, &accepting) >= 0);
    close((int)accepting.result);
    close(client);
    close(listener);
}

/* A listener at the port of the endpoint, or at any for port 0, beside others. */
static int make_shared_listener(endpoint_t endpoint)
{
    int one = 1, fd = make_socket(AF_INET, SOCK_STREAM);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one), 0);
    assert_int_equal(bind(fd, &endpoint.any, endpoint.length), 0);
    assert_int_equal(listen(fd, 64), 0);
    return fd;
}

LOOP_TEST(two_loops_share_a_port)
{
    enum { CLIENTS = 64 };
    shots_t shots[2];
    loop_t *loops[2] = {loop, new_loop()};
    int     listeners[2], clients[CLIENTS];
    memset(shots, 0, sizeof shots);
    for (size_t i = 0; i < 2; i++) {
        listeners[i] = make_shared_listener(i == 0 ? loopback(AF_INET) : name_of(listeners[0]));
        assert_result(loop_accept(loops[i], &shots[i].request, listeners[i], NULL, NULL, LOOP_MULTISHOT,
                                  record_shot),
                      0);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = dial(name_of(listeners[0]));
    }
    while (atomic_load(&shots[0].count) + atomic_load(&shots[1].count) < CLIENTS) {
        assert_true(loop_run_once(loops[0], (int64_t)MILLISECOND) >= 0);
        assert_true(loop_run_once(loops[1], (int64_t)MILLISECOND) >= 0);
    }
    for (size_t i = 0; i < 2; i++) {
        unsigned count = atomic_load(&shots[i].count);
        assert_in_range(count, 1, CLIENTS - 1); /* by chance all go to one of them, once in 2^63 times */
        assert_result(loop_cancel(loops[i], &shots[i].request), 0);
        assert_result(await_end(loops[i], &shots[i]), LOOP_ECANCELED);
        while (count > 0) {
            close((int)shots[i].results[--count]);
        }
        close(listeners[i]);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        close(clients[i]);
    }
    end_loop(loops[1]);
}

LOOP_TEST(two_loops_share_a_listener)
{
    enum { CLIENTS = 40 };
    shots_t shots[2];
    loop_t *loops[2] = {loop, new_loop()};
    int     listener = make_listener(AF_INET, CLIENTS), clients[CLIENTS];
    memset(shots, 0, sizeof shots);
    set_nonblocking(listener, true);
    for (size_t i = 0; i < 2; i++) {
        assert_result(loop_accept(loops[i], &shots[i].request, listener, NULL, NULL, LOOP_MULTISHOT,
                                  record_shot),
                      0);
        assert_true(loop_run_once(loops[i], (int64_t)MILLISECOND) >= 0);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = dial(name_of(listener));
        while (atomic_load(&shots[0].count) + atomic_load(&shots[1].count) < i + 1) {
            assert_true(loop_run_once(loops[0], (int64_t)MILLISECOND / 10) >= 0);
            assert_true(loop_run_once(loops[1], (int64_t)MILLISECOND / 10) >= 0);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(atomic_load(&shots[i].ended), 0);
        assert_result(loop_cancel(loops[i], &shots[i].request), 0);
        assert_result(await_end(loops[i], &shots[i]), LOOP_ECANCELED);
        for (unsigned count = atomic_load(&shots[i].count) - 1; count > 0; count--) {
            close((int)shots[i].results[count - 1]);
        }
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        close(clients[i]);
    }
    close(listener);
    end_loop(loops[1]);
}

LOOP_TEST(a_connection_that_was_reset_in_the_queue_is_as_with_the_blocking_call)
{
    char    byte;
    int     listener = make_listener(AF_INET, 8);
    int64_t expected[2], actual[2];
    reset_connection(dial(name_of(listener)));
    int direct = accept(listener, NULL, NULL);
    expected[0] = outcome(direct);
    expected[1] = outcome(recv(direct, &byte, 1, 0));
    reset_connection(dial(name_of(listener)));
    int server = (int)RESULT_OF(loop, loop_accept, listener, NULL, NULL, 0);
    actual[0] = server;
    actual[1] = RESULT_OF(loop, loop_recv, server, &byte, 1, 0);
    assert_int_equal(actual[0] >= 0, expected[0] >= 0);
    assert_result(actual[1], expected[1]);
    close(direct);
    close(server);
    close(listener);
}

/* ---- refused --------------------------------------------------------------------------------- */

LOOP_TEST(errors_are_those_of_the_blocking_call)
{
    int ends[2], pair[2];
    make_pipe(ends);
    make_tcp_pair(pair);
    int bound = make_bound(AF_INET, SOCK_STREAM), datagrams = make_bound(AF_INET, SOCK_DGRAM);
    int file = temporary_file("x", 1), path_only = open("/", O_PATH | O_CLOEXEC);
    const int fds[] = {-1,    INT32_MAX, closed_descriptor(), ends[0], pair[0],
                       bound, datagrams, file,                path_only};
    for (size_t i = 0; i < COUNT(fds); i++) {
        int64_t expected = outcome(accept4(fds[i], NULL, NULL, SOCK_CLOEXEC));
        assert_true(expected < 0);
        assert_result(RESULT_OF(loop, loop_accept, fds[i], NULL, NULL, 0), expected);
        assert_result(RESULT_OF(loop, loop_accept, fds[i], NULL, NULL, LOOP_MULTISHOT), expected);
        assert_int_equal(scratch_operation()->flags, 0);
    }
    close_both(ends);
    close_both(pair);
    close(bound);
    close(datagrams);
    close(file);
    close(path_only);
}

LOOP_TEST(unknown_flags_are_invalid_and_accept_nothing)
{
    int listener = make_listener(AF_INET, 8), client = dial(name_of(listener));
    const uint32_t flags[] = {1, SOCK_NONBLOCK, LOOP_SEND_ALL, LOOP_MULTISHOT | 1, UINT32_MAX};
    for (size_t i = 0; i < COUNT(flags); i++) {
        assert_result(RESULT_OF(loop, loop_accept, listener, NULL, NULL, flags[i]), LOOP_EINVAL);
    }
    int64_t server = RESULT_OF(loop, loop_accept, listener, NULL, NULL, 0);
    assert_true(server >= 0);
    close((int)server);
    close(client);
    close(listener);
}

/* ---- one after another ----------------------------------------------------------------------- */

enum { MANY_CLIENTS = 60 };

/* Wants each client to be connected to one of the accepted sockets, and closes both. */
static void close_pairs(const int *clients, const int64_t *servers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        endpoint_t name = name_of(clients[i]);
        size_t     matches = 0;
        for (size_t j = 0; j < count; j++) {
            matches += same_endpoint(peer_of((int)servers[j]), name);
        }
        assert_int_equal(matches, 1);
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(fcntl((int)servers[i], F_GETFL) & O_NONBLOCK);
        assert_true(fcntl((int)servers[i], F_GETFD) & FD_CLOEXEC);
        assert_int_equal(close(clients[i]), 0);
        assert_int_equal(close((int)servers[i]), 0);
    }
}

static void accept_many(loop_t *loop, bool nonblocking)
{
    shots_t shots = {0};
    int     listener = make_listener(AF_INET, MANY_CLIENTS), clients[MANY_CLIENTS];
    set_nonblocking(listener, nonblocking);
    assert_result(loop_accept(loop, &shots.request, listener, NULL, NULL, LOOP_MULTISHOT, record_shot), 0);
    for (unsigned i = 0; i < MANY_CLIENTS; i++) {
        clients[i] = dial(name_of(listener));
        if (i % 7 == 0) {
            run_until(loop, &shots.count, i + 1);
        }
    }
    run_until(loop, &shots.count, MANY_CLIENTS);
    assert_int_equal(atomic_load(&shots.ended), 0);
    assert_result(loop_cancel(loop, &shots.request), 0);
    assert_result(await_end(loop, &shots), LOOP_ECANCELED);
    assert_int_equal(atomic_load(&shots.count), MANY_CLIENTS + 1);
    close_pairs(clients, shots.results, MANY_CLIENTS);
    close(listener);
}

LOOP_TEST(each_connection_is_a_shot)
{
    accept_many(loop, false);
    accept_many(loop, true);
}

/* An accept of many shots that notes the address at each. */
typedef struct visits {
    shots_t    shots; /* first */
    endpoint_t address;
    endpoint_t noted[8];
} visits_t;

static void note_address(loop_t *loop, loop_request_t *request, int64_t result)
{
    visits_t *visits = (visits_t *)(void *)request;
    visits->noted[atomic_load(&visits->shots.count)] = visits->address;
    record_shot(loop, request, result);
}

/* Accepts with so much room for addresses, and wants each to be as far there as it fits. */
static void accept_with_room(loop_t *loop, socklen_t room)
{
    visits_t visits = {.address.length = room};
    int      listener = make_listener(AF_INET, 8);
    memset(&visits.address.local, 0x5A, sizeof visits.address.local);
    assert_result(loop_accept(loop, &visits.shots.request, listener, &visits.address.any,
                              &visits.address.length, LOOP_MULTISHOT, note_address),
                  0);
    visits.address.length = 1; /* it was read at once */
    for (unsigned i = 0; i < 5; i++) {
        int               client = dial(name_of(listener));
        endpoint_t        name = name_of(client);
        const endpoint_t *noted = &visits.noted[i];
        size_t            written = room < name.length ? room : name.length;
        run_until(loop, &visits.shots.count, i + 1);
        assert_int_equal(noted->length, name.length);
        assert_memory_equal(&noted->any, &name.any, written);
        assert_int_equal(((const unsigned char *)&noted->any)[written], 0x5A);
        close((int)visits.shots.results[i]);
        close(client);
    }
    assert_result(loop_cancel(loop, &visits.shots.request), 0);
    assert_result(await_end(loop, &visits.shots), LOOP_ECANCELED);
    close(listener);
}

LOOP_TEST(the_address_is_written_at_each_shot_as_far_as_it_fits)
{
    accept_with_room(loop, sizeof(struct sockaddr_un));
    accept_with_room(loop, sizeof(struct sockaddr_in));
    accept_with_room(loop, 4);
    accept_with_room(loop, 0);
}

LOOP_TEST(connections_after_a_cancel_between_shots_wait_for_the_next_accept)
{
    shots_t shots = {0};
    int     listener = make_listener(AF_INET, 8), clients[2];
    assert_result(loop_accept(loop, &shots.request, listener, NULL, NULL, LOOP_MULTISHOT, record_shot), 0);
    clients[0] = dial(name_of(listener));
    run_until(loop, &shots.count, 1);
    assert_result(loop_cancel(loop, &shots.request), 0);
    assert_result(await_end(loop, &shots), LOOP_ECANCELED);
    assert_int_equal(atomic_load(&shots.count), 2);
    clients[1] = dial(name_of(listener));
    run_for(loop, 5 * MILLISECOND);
    int64_t server = RESULT_OF(loop, loop_accept, listener, NULL, NULL, 0);
    assert_true(server >= 0);
    assert_connected(clients[1], (int)server);
    close((int)server);
    close((int)shots.results[0]);
    close_both(clients);
    close(listener);
}

static void cancel_after_three(loop_t *loop, loop_request_t *request, int64_t result)
{
    shots_t *shots = (shots_t *)(void *)request;
    record_shot(loop, request, result);
    if (atomic_load(&shots->count) == 3) {
        CHECK(loop_cancel(loop, request) == 0);
    }
}

LOOP_TEST(a_shot_can_cancel_its_own_accept_and_no_connection_is_lost)
{
    shots_t shots = {0};
    int     listener = make_listener(AF_INET, 16), clients[10];
    for (size_t i = 0; i < COUNT(clients); i++) {
        clients[i] = dial(name_of(listener));
    }
    assert_result(
        loop_accept(loop, &shots.request, listener, NULL, NULL, LOOP_MULTISHOT, cancel_after_three), 0);
    assert_result(await_end(loop, &shots), LOOP_ECANCELED);
    unsigned accepted = atomic_load(&shots.count) - 1;
    assert_in_range(accepted, 3, COUNT(clients));
    while (accepted < COUNT(clients)) {
        shots.results[accepted++] = RESULT_OF(loop, loop_accept, listener, NULL, NULL, 0);
    }
    close_pairs(clients, shots.results, COUNT(clients));
    close(listener);
}

LOOP_TEST(a_deadline_counts_from_the_last_shot)
{
    shots_t shots = {.request.timeout_ns = 40 * MILLISECOND};
    int     listener = make_listener(AF_INET, 8), clients[3];
    assert_result(loop_accept(loop, &shots.request, listener, NULL, NULL, LOOP_MULTISHOT, record_shot), 0);
    clients[0] = dial(name_of(listener));
    clients[1] = dial(name_of(listener));
    uint64_t begin_ns = loop_now(loop);
    clients[2] = dial(name_of(listener));
    assert_result(await_end(loop, &shots), LOOP_ETIMEDOUT);
    assert_true(loop_now(loop) - begin_ns >= 40 * MILLISECOND);
    assert_int_equal(atomic_load(&shots.count), COUNT(clients) + 1);
    close_pairs(clients, shots.results, COUNT(clients));
    close(listener);
}

LOOP_TEST(closing_the_listener_ends_its_accepts)
{
    operation_t accepting = {0};
    shots_t     shots = {0};
    int         listener = make_listener(AF_INET, 8), client = dial(name_of(listener));
    assert_result(loop_accept(loop, &shots.request, listener, NULL, NULL, LOOP_MULTISHOT, record_shot), 0);
    run_until(loop, &shots.count, 1);
    assert_result(loop_accept(loop, begin(&accepting), listener, NULL, NULL, 0, record), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_result(RESULT_OF(loop, loop_close, listener), 0);
    run(loop);
    assert_result(accepting.result, LOOP_ECANCELED);
    assert_int_equal(atomic_load(&shots.count), 2);
    assert_result(await_end(loop, &shots), LOOP_ECANCELED);
    assert_false(is_open(listener));
    close((int)shots.results[0]);
    close(client);
}

LOOP_TEST(a_listener_that_is_shut_down_accepts_no_more_as_by_the_blocking_call)
{
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        operation_t accepting = {0};
        shots_t     shots = {0};
        int         listener = make_listener(AF_INET, 8);
        set_nonblocking(listener, nonblocking == 1);
        assert_result(loop_accept(loop, begin(&accepting), listener, NULL, NULL, 0, record), 0);
        loop_request_t *shooting = &shots.request;
        assert_result(loop_accept(loop, shooting, listener, NULL, NULL, LOOP_MULTISHOT, record_shot), 0);
        run_for(loop, 2 * MILLISECOND);
        assert_int_equal(shutdown(listener, SHUT_RDWR), 0);
        run(loop);
        int64_t expected = outcome(accept(listener, NULL, NULL));
        assert_result(expected, LOOP_EINVAL);
        assert_result(accepting.result, expected);
        assert_result(await_end(loop, &shots), expected);
        assert_int_equal(atomic_load(&shots.count), 1);
        close(listener);
    }
}

LOOP_TEST(shots_can_be_harvested)
{
    loop_request_t  request = {0}, *done = NULL;
    int             listener = make_listener(AF_INET, 8), clients[4];
    int64_t         servers[COUNT(clients)];
    assert_result(loop_accept(loop, &request, listener, NULL, NULL, LOOP_MULTISHOT, NULL), 0);
    for (size_t i = 0; i < COUNT(clients); i++) {
        clients[i] = dial(name_of(listener));
    }
    for (size_t i = 0; i < COUNT(clients); i++) {
        assert_result(loop_wait(loop, &done, 1, -1), 1);
        assert_ptr_equal(done, &request);
        assert_true(request.flags & LOOP_MORE);
        servers[i] = request.result;
    }
    assert_result(loop_cancel(loop, &request), 0);
    assert_result(loop_wait(loop, &done, 1, -1), 1);
    assert_result(request.result, LOOP_ECANCELED);
    assert_int_equal(request.flags, 0);
    close_pairs(clients, servers, COUNT(clients));
    close(listener);
}

LOOP_TEST(a_loop_that_ends_ends_its_accepts)
{
    operation_t accepting = {0};
    shots_t     shots = {0};
    loop_t     *other = new_loop();
    int         listener = make_listener(AF_INET, 8);
    (void)loop;
    assert_result(loop_accept(other, begin(&accepting), listener, NULL, NULL, 0, record), 0);
    assert_result(loop_accept(other, &shots.request, listener, NULL, NULL, LOOP_MULTISHOT, record_shot), 0);
    assert_true(loop_run_once(other, 0) >= 0);
    end_loop(other);
    assert_int_equal(completions_of(&accepting), 1);
    assert_result(accepting.result, LOOP_ECANCELED);
    assert_int_equal(atomic_load(&shots.count), 1);
    assert_result(shots.results[0], LOOP_ECANCELED);
    close(listener);
}

/* ---- at the limit of descriptors ------------------------------------------------------------- */

/* Lowers the limit so that `spare` descriptors can be made still; returns what it was. */
static struct rlimit limit_descriptors(unsigned spare)
{
    struct rlimit before, now;
    int           taken[8];
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (unsigned i = 0; i <= spare; i++) {
        taken[i] = dup(STDERR_FILENO);
        assert_true(taken[i] >= 0);
    }
    now = before;
    now.rlim_cur = (rlim_t)taken[spare];
    for (unsigned i = 0; i <= spare; i++) {
        close(taken[i]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    return before;
}

static uint64_t turns_of(loop_t *loop)
{
    loop_statistics_t statistics = {.size = sizeof statistics};
    assert_result(loop_get_statistics(loop, &statistics), 0);
    return statistics.turns;
}

/* Runs the loop for a while and wants it to have slept most of the time, however many threads it has. */
static void assert_does_not_spin(loop_t *loop)
{
    uint64_t before = turns_of(loop);
    run_for(loop, 100 * MILLISECOND);
    assert_in_range(turns_of(loop) - before, 1, 30 * test_threads());
}

LOOP_TEST(without_descriptors_the_connection_waits_and_the_loop_sleeps)
{
    int listener = make_listener(AF_INET, 8), client = dial(name_of(listener));
    run_for(loop, MILLISECOND);
    struct rlimit before = limit_descriptors(0);
    int64_t       refused = RESULT_OF(loop, loop_accept, listener, NULL, NULL, 0);
    assert_does_not_spin(loop);
    int64_t again = RESULT_OF(loop, loop_accept, listener, NULL, NULL, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_result(refused, LOOP_EMFILE);
    assert_result(again, LOOP_EMFILE);
    int64_t server = RESULT_OF(loop, loop_accept, listener, NULL, NULL, 0);
    assert_true(server >= 0);
    assert_connected(client, (int)server);
    close((int)server);
    close(client);
    close(listener);
}

LOOP_TEST(shots_end_where_descriptors_do_and_the_rest_is_accepted_later)
{
    shots_t shots = {0};
    int     listener = make_listener(AF_INET, 8), clients[4];
    for (size_t i = 0; i < COUNT(clients); i++) {
        clients[i] = dial(name_of(listener));
    }
    run_for(loop, MILLISECOND);
    struct rlimit before = limit_descriptors(2);
    assert_result(loop_accept(loop, &shots.request, listener, NULL, NULL, LOOP_MULTISHOT, record_shot), 0);
    int64_t end = await_end(loop, &shots);
    assert_does_not_spin(loop);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_result(end, LOOP_EMFILE);
    unsigned accepted = atomic_load(&shots.count) - 1;
    assert_int_equal(accepted, 2);
    while (accepted < COUNT(clients)) {
        shots.results[accepted++] = RESULT_OF(loop, loop_accept, listener, NULL, NULL, 0);
    }
    close_pairs(clients, shots.results, COUNT(clients));
    close(listener);
}

LOOP_TEST(sockets_are_made_until_descriptors_end)
{
    struct rlimit before = limit_descriptors(1);
    int           fd = loop_socket(loop, AF_INET, SOCK_STREAM, 0);
    int           refused = loop_socket(loop, AF_INET, SOCK_STREAM, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(fd >= 0);
    assert_result(refused, LOOP_EMFILE);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_connection_is_accepted_non_blocking_and_closed_on_exec),
        GUARDED(a_connection_of_ip6_is_accepted),
        GUARDED(an_address_that_does_not_fit_is_cut_as_by_the_blocking_call),
        GUARDED(connections_wait_until_they_are_accepted),
        GUARDED(several_accepts_on_one_listener_get_a_connection_each),
        GUARDED(what_one_loop_accepted_another_can_serve),
        GUARDED(listening_a_second_time_changes_nothing),
        GUARDED(two_loops_share_a_port),
        GUARDED(two_loops_share_a_listener),
        GUARDED(a_connection_that_was_reset_in_the_queue_is_as_with_the_blocking_call),
        GUARDED(errors_are_those_of_the_blocking_call),
        GUARDED(unknown_flags_are_invalid_and_accept_nothing),
        GUARDED(each_connection_is_a_shot),
        GUARDED(the_address_is_written_at_each_shot_as_far_as_it_fits),
        GUARDED(connections_after_a_cancel_between_shots_wait_for_the_next_accept),
        GUARDED(a_shot_can_cancel_its_own_accept_and_no_connection_is_lost),
        GUARDED(a_deadline_counts_from_the_last_shot),
        GUARDED(closing_the_listener_ends_its_accepts),
        GUARDED(a_listener_that_is_shut_down_accepts_no_more_as_by_the_blocking_call),
        GUARDED(shots_can_be_harvested),
        GUARDED(a_loop_that_ends_ends_its_accepts),
        GUARDED(without_descriptors_the_connection_waits_and_the_loop_sleeps),
        GUARDED(shots_end_where_descriptors_do_and_the_rest_is_accepted_later),
        GUARDED(sockets_are_made_until_descriptors_end),
    };
    return RUN_SUITE(tests);
}
