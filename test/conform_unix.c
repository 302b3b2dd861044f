/*
 * Conformance of Unix sockets: names, queues that are full, datagrams, packets in sequence.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

/* A name in the abstract space that no other process uses. */
static endpoint_t abstract_name(const char *suffix)
{
    char name[64];
    snprintf(name, sizeof name, "@libloop-test-%d-%s", (int)getpid(), suffix);
    return local_endpoint(name);
}

static int make_local_bound(int type, const endpoint_t *endpoint)
{
    int fd = make_socket(AF_UNIX, type);
    CHECK(bind(fd, &endpoint->any, endpoint->length) == 0);
    return fd;
}

static int make_local_listener(int type, const endpoint_t *endpoint, int backlog)
{
    int fd = make_local_bound(type, endpoint);
    CHECK(listen(fd, backlog) == 0);
    return fd;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Connects, accepts and talks, all by the loop. */
static void meet(loop_t *loop, const endpoint_t *endpoint, bool nonblocking)
{
    char        bytes[8];
    operation_t accepting = {0};
    int         listener = make_local_listener(SOCK_STREAM, endpoint, 4);
    int         client = make_socket(AF_UNIX, SOCK_STREAM);
    endpoint_t  from = {.length = sizeof from.local};
    set_nonblocking(listener, nonblocking);
    set_nonblocking(client, nonblocking);
    assert_result(loop_accept(loop, begin(&accepting), listener, &from.any, &from.length, 0, record), 0);
    assert_result(RESULT_OF(loop, loop_connect, client, &endpoint->any, endpoint->length), 0);
    int server = (int)await(loop, &accepting);
    assert_true(server >= 0);
    assert_true(fcntl(server, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(server, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(from.length, sizeof(sa_family_t)); /* the client has no name */
    assert_int_equal(from.any.sa_family, AF_UNIX);
    assert_result(RESULT_OF(loop, loop_send, client, "ping", 4, 0), 4);
    assert_result(RESULT_OF(loop, loop_recv, server, bytes, sizeof bytes, 0), 4);
    assert_memory_equal(bytes, "ping", 4);
    assert_result(RESULT_OF(loop, loop_shutdown, server, SHUT_WR), 0);
    assert_result(RESULT_OF(loop, loop_recv, client, bytes, sizeof bytes, 0), 0);
    close(server);
    assert_result(RESULT_OF(loop, loop_send, client, "x", 1, 0), LOOP_EPIPE);
    close(client);
    close(listener);
}

LOOP_TEST(peers_meet_at_a_path_and_at_an_abstract_name)
{
    endpoint_t path = local_endpoint(temporary_path("meet")), name = abstract_name("meet");
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        meet(loop, &path, nonblocking == 1);
        assert_int_equal(unlink(path.local.sun_path), 0);
        meet(loop, &name, nonblocking == 1);
    }
}

LOOP_TEST(errors_of_connecting_are_those_of_the_blocking_call)
{
    endpoint_t missing = local_endpoint(temporary_path("missing"));
    endpoint_t nameless = abstract_name("nobody"), stale = local_endpoint(temporary_path("stale"));
    endpoint_t file = local_endpoint(temporary_path("file")), other = abstract_name("datagrams");
    endpoint_t too_long = local_endpoint("x"), family_only = local_endpoint("x");
    too_long.length = sizeof too_long.local + 1;
    family_only.length = sizeof(sa_family_t);
    close(make_local_bound(SOCK_STREAM, &stale));
    close(open(file.local.sun_path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    int               datagrams = make_local_bound(SOCK_DGRAM, &other);
    const endpoint_t *endpoints[] = {&missing, &nameless, &stale, &file, &other, &too_long, &family_only};
    for (size_t i = 0; i < COUNT(endpoints); i++) {
        int     fds[2] = {make_socket(AF_UNIX, SOCK_STREAM), make_socket(AF_UNIX, SOCK_STREAM)};
        const struct sockaddr *address = &endpoints[i]->any;
        int64_t expected = outcome(connect(fds[0], address, endpoints[i]->length));
        assert_true(expected < 0);
        assert_result(RESULT_OF(loop, loop_connect, fds[1], address, endpoints[i]->length), expected);
        set_nonblocking(fds[1], true);
        assert_result(RESULT_OF(loop, loop_connect, fds[1], address, endpoints[i]->length), expected);
        close_both(fds);
    }
    unlink(stale.local.sun_path);
    unlink(file.local.sun_path);
    close(datagrams);
}

/* ---- a queue that is full -------------------------------------------------------------------- */

/* A listener with one connection in its queue, which is full then. */
static int make_local_full(const endpoint_t *endpoint, int *filler)
{
    int listener = make_local_listener(SOCK_STREAM, endpoint, 0);
    *filler = dial(*endpoint);
    int     probe = make_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK);
    int64_t refused = outcome(connect(probe, &endpoint->any, endpoint->length));
    assert_result(refused, LOOP_EAGAIN);
    close(probe);
    return listener;
}

LOOP_TEST(a_connect_to_a_full_queue_waits_until_there_is_room)
{
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        char        bytes[8];
        operation_t connecting = {0};
        endpoint_t  endpoint = abstract_name("full");
        int         filler, listener = make_local_full(&endpoint, &filler);
        int         client = make_socket(AF_UNIX, SOCK_STREAM);
        set_nonblocking(client, nonblocking == 1);
        assert_result(
            loop_connect(loop, begin(&connecting), client, &endpoint.any, endpoint.length, record), 0);
        run_for(loop, 10 * MILLISECOND);
        assert_int_equal(completions_of(&connecting), 0);
        int first = accept(listener, NULL, NULL);
        assert_result(await(loop, &connecting), 0);
        assert_int_equal((fcntl(client, F_GETFL) & O_NONBLOCK) != 0, nonblocking);
        int second = accept(listener, NULL, NULL);
        assert_result(RESULT_OF(loop, loop_send, client, "in", 2, 0), 2);
        take(second, bytes, 2);
        close(first);
        close(second);
        close(client);
        close(filler);
        close(listener);
    }
}

LOOP_TEST(a_connect_to_a_full_queue_can_be_cancelled_and_times_out)
{
    operation_t cancelled = {0}, late = {.request.timeout_ns = 10 * MILLISECOND}, closed = {0};
    endpoint_t  endpoint = abstract_name("full");
    int         filler, listener = make_local_full(&endpoint, &filler);
    int         fds[3];
    for (size_t i = 0; i < COUNT(fds); i++) {
        loop_request_t *request = begin(i == 0 ? &cancelled : i == 1 ? &late : &closed);
        fds[i] = loop_socket(loop, AF_UNIX, SOCK_STREAM, 0);
        assert_result(loop_connect(loop, request, fds[i], &endpoint.any, endpoint.length, record), 0);
    }
    assert_result(await(loop, &late), LOOP_ETIMEDOUT);
    assert_result(loop_cancel(loop, &cancelled.request), 0);
    assert_result(await(loop, &cancelled), LOOP_ECANCELED);
    assert_result(RESULT_OF(loop, loop_close, fds[2]), 0);
    assert_result(await(loop, &closed), LOOP_ECANCELED);
    close(fds[0]);
    close(fds[1]);
    close(filler);
    close(listener);
}

/* ---- datagrams ------------------------------------------------------------------------------- */

LOOP_TEST(datagrams_keep_their_order_and_tell_their_sender)
{
    char       byte;
    endpoint_t names[2] = {abstract_name("one"), local_endpoint(temporary_path("two"))};
    int        fds[2] = {make_local_bound(SOCK_DGRAM, &names[0]), make_local_bound(SOCK_DGRAM, &names[1])};
    for (char i = 'a'; i < 'i'; i++) {
        assert_result(RESULT_OF(loop, loop_sendto, fds[0], &i, 1, 0, &names[1].any, names[1].length), 1);
    }
    for (char i = 'a'; i < 'i'; i++) {
        endpoint_t from = {.length = sizeof from.local};
        assert_result(RESULT_OF(loop, loop_recvfrom, fds[1], &byte, 1, 0, &from.any, &from.length), 1);
        assert_int_equal(byte, i);
        assert_int_equal(from.length, names[0].length);
        assert_memory_equal(&from.any, &names[0].any, from.length);
    }
    close_both(fds);
    unlink(names[1].local.sun_path);
}

LOOP_TEST(errors_of_datagrams_are_those_of_the_blocking_call)
{
    endpoint_t missing = local_endpoint(temporary_path("missing")), stale = abstract_name("stale");
    endpoint_t streams = abstract_name("streams");
    int        fd = make_socket(AF_UNIX, SOCK_DGRAM), pair[2];
    int        listener = make_local_listener(SOCK_STREAM, &streams, 1);
    close(make_local_bound(SOCK_DGRAM, &stale));
    const endpoint_t *endpoints[] = {&missing, &stale, &streams};
    for (size_t i = 0; i < COUNT(endpoints); i++) {
        int64_t expected = outcome(sendto(fd, "x", 1, 0, &endpoints[i]->any, endpoints[i]->length));
        assert_true(expected < 0);
        assert_result(RESULT_OF(loop, loop_sendto, fd, "x", 1, 0, &endpoints[i]->any, endpoints[i]->length),
                      expected);
    }
    assert_result(RESULT_OF(loop, loop_send, fd, "x", 1, 0), outcome(send(fd, "x", 1, 0)));
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[1]);
    assert_result(RESULT_OF(loop, loop_send, pair[0], "x", 1, 0), LOOP_ECONNREFUSED);
    close(pair[0]);
    close(fd);
    close(listener);
}

/* Sends datagrams, connected or not, until the receiver's queue is full; returns their number. */
static unsigned fill_queue(int fd, const endpoint_t *to)
{
    unsigned count = 0;
    while (sendto(fd, "f", 1, MSG_DONTWAIT, to == NULL ? NULL : &to->any, to == NULL ? 0 : to->length) == 1) {
        count++;
    }
    assert_int_equal(errno, EAGAIN);
    return count;
}

static uint64_t turns_of(loop_t *loop)
{
    loop_statistics_t statistics = {.size = sizeof statistics};
    assert_result(loop_get_statistics(loop, &statistics), 0);
    return statistics.turns;
}

/* A datagram to a full queue waits for room, without the loop turning all the time. */
static void wait_for_room(loop_t *loop, bool connected, bool nonblocking)
{
    char        bytes[8];
    operation_t sending = {0};
    endpoint_t  name = abstract_name(connected ? nonblocking ? "c-n" : "c-b" : nonblocking ? "u-n" : "u-b");
    int         fds[2] = {make_socket(AF_UNIX, SOCK_DGRAM), make_local_bound(SOCK_DGRAM, &name)};
    if (connected) {
        assert_int_equal(connect(fds[0], &name.any, name.length), 0);
    }
    set_nonblocking(fds[0], nonblocking);
    unsigned count = fill_queue(fds[0], connected ? NULL : &name);
    if (connected) {
        assert_result(loop_send(loop, begin(&sending), fds[0], "last", 4, 0, record), 0);
    } else {
        assert_result(
            loop_sendto(loop, begin(&sending), fds[0], "last", 4, 0, &name.any, name.length, record), 0);
    }
    uint64_t before = turns_of(loop);
    run_for(loop, 50 * MILLISECOND);
    assert_in_range(turns_of(loop) - before, 1, 200 * test_threads());
    assert_int_equal(completions_of(&sending), 0);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(recv(fds[1], bytes, sizeof bytes, 0), 1);
    }
    assert_result(await(loop, &sending), 4);
    assert_int_equal(recv(fds[1], bytes, sizeof bytes, 0), 4);
    assert_memory_equal(bytes, "last", 4);
    close_both(fds);
}

LOOP_TEST(a_datagram_from_a_connected_socket_to_a_full_queue_waits_for_room)
{
    wait_for_room(loop, true, true);
    wait_for_room(loop, true, false);
}

LOOP_TEST(a_datagram_to_an_address_whose_queue_is_full_waits_for_room)
{
    wait_for_room(loop, false, true);
    wait_for_room(loop, false, false);
}

/* ---- packets in sequence --------------------------------------------------------------------- */

LOOP_TEST(packets_keep_their_boundaries_and_end)
{
    char       bytes[8];
    endpoint_t name = abstract_name("packets");
    int        listener = make_local_listener(SOCK_SEQPACKET, &name, 4);
    int        client = make_socket(AF_UNIX, SOCK_SEQPACKET);
    assert_result(RESULT_OF(loop, loop_connect, client, &name.any, name.length), 0);
    int server = (int)RESULT_OF(loop, loop_accept, listener, NULL, NULL, 0);
    assert_true(server >= 0);
    assert_result(RESULT_OF(loop, loop_send, client, "one", 3, 0), 3);
    assert_result(RESULT_OF(loop, loop_send, client, "second", 6, LOOP_SEND_ALL), 6);
    assert_result(RESULT_OF(loop, loop_write, client, "third", 5), 5);
    assert_result(RESULT_OF(loop, loop_recv, server, bytes, sizeof bytes, 0), 3);
    assert_result(RESULT_OF(loop, loop_recv, server, bytes, 2, MSG_TRUNC), 6);
    assert_memory_equal(bytes, "se", 2);
    assert_result(RESULT_OF(loop, loop_recv, server, bytes, sizeof bytes, MSG_WAITALL), 5);
    assert_memory_equal(bytes, "third", 5);
    assert_result(RESULT_OF(loop, loop_shutdown, client, SHUT_WR), 0);
    assert_result(RESULT_OF(loop, loop_recv, server, bytes, sizeof bytes, 0), 0);
    close(client);
    close(server);
    close(listener);
}

LOOP_TEST(a_packet_that_is_too_large_is_refused_as_by_the_blocking_call)
{
    enum { LARGE = 4 << 20 };
    char *bytes = new_pattern(LARGE);
    int   ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    int64_t expected = outcome(send(ends[0], bytes, LARGE, MSG_NOSIGNAL));
    assert_true(expected < 0);
    assert_result(RESULT_OF(loop, loop_send, ends[0], bytes, LARGE, 0), expected);
    assert_result(RESULT_OF(loop, loop_send, ends[0], bytes, LARGE, LOOP_SEND_ALL), expected);
    close_both(ends);
    free(bytes);
}

/* ---- streams --------------------------------------------------------------------------------- */

LOOP_TEST(a_large_send_crosses_a_stream)
{
    enum { LARGE = 3000000 };
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        char    *bytes = new_pattern(LARGE);
        reader_t reader;
        int      ends[2];
        make_socketpair(ends);
        set_nonblocking(ends[0], nonblocking == 1);
        start_reader(&reader, ends[1], 50000, MILLISECOND / 10);
        assert_result(RESULT_OF(loop, loop_send, ends[0], bytes, LARGE, LOOP_SEND_ALL), LARGE);
        assert_result(RESULT_OF(loop, loop_shutdown, ends[0], SHUT_RDWR), 0);
        assert_int_equal(finish_pattern_reader(&reader), LARGE);
        close_both(ends);
        free(bytes);
    }
}

LOOP_TEST(a_peer_that_left_data_unread_resets_as_with_the_blocking_call)
{
    char byte;
    int  ours[2], twins[2];
    make_socketpair(ours);
    make_socketpair(twins);
    put(ours[0], "unread", 6);
    put(twins[0], "unread", 6);
    close(ours[1]);
    close(twins[1]);
    for (int i = 0; i < 2; i++) {
        int64_t expected = outcome(recv(twins[0], &byte, 1, 0));
        assert_result(RESULT_OF(loop, loop_recv, ours[0], &byte, 1, 0), expected);
        expected = outcome(send(twins[0], &byte, 1, MSG_NOSIGNAL));
        assert_result(RESULT_OF(loop, loop_send, ours[0], &byte, 1, 0), expected);
    }
    close(ours[0]);
    close(twins[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(peers_meet_at_a_path_and_at_an_abstract_name),
        GUARDED(errors_of_connecting_are_those_of_the_blocking_call),
        GUARDED(a_connect_to_a_full_queue_waits_until_there_is_room),
        GUARDED(a_connect_to_a_full_queue_can_be_cancelled_and_times_out),
        GUARDED(datagrams_keep_their_order_and_tell_their_sender),
        GUARDED(errors_of_datagrams_are_those_of_the_blocking_call),
        GUARDED(a_datagram_from_a_connected_socket_to_a_full_queue_waits_for_room),
        GUARDED(a_datagram_to_an_address_whose_queue_is_full_waits_for_room),
        GUARDED(packets_keep_their_boundaries_and_end),
        GUARDED(a_packet_that_is_too_large_is_refused_as_by_the_blocking_call),
        GUARDED(a_large_send_crosses_a_stream),
        GUARDED(a_peer_that_left_data_unread_resets_as_with_the_blocking_call),
    };
    return RUN_SUITE(tests);
}
