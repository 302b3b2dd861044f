/*
 * Conformance of datagrams: UDP and Unix, with addresses, connected, in groups.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

static bool same_endpoint(const endpoint_t *one, const endpoint_t *other)
{
    return one->length == other->length && memcmp(&one->any, &other->any, one->length) == 0;
}

/* ---- addresses ------------------------------------------------------------------------------- */

static void send_and_receive(loop_t *loop, int family, bool nonblocking)
{
    char        bytes[16];
    operation_t receiving = {0};
    endpoint_t  from = {.length = sizeof from.local};
    int         fds[2] = {make_bound(family, SOCK_DGRAM), make_bound(family, SOCK_DGRAM)};
    endpoint_t  to = name_of(fds[1]), sender = name_of(fds[0]);
    set_nonblocking(fds[0], nonblocking);
    set_nonblocking(fds[1], nonblocking);
    assert_result(loop_recvfrom(loop, begin(&receiving), fds[1], bytes, sizeof bytes, 0, &from.any,
                                &from.length, record),
                  0);
    run_for(loop, 2 * MILLISECOND);
    assert_int_equal(completions_of(&receiving), 0);
    assert_result(RESULT_OF(loop, loop_sendto, fds[0], "hello", 5, 0, &to.any, to.length), 5);
    assert_result(await(loop, &receiving), 5);
    assert_memory_equal(bytes, "hello", 5);
    assert_true(same_endpoint(&from, &sender));

    assert_result(RESULT_OF(loop, loop_sendto, fds[1], "back", 4, LOOP_SEND_ALL, &from.any, from.length), 4);
    assert_result(RESULT_OF(loop, loop_recvfrom, fds[0], bytes, sizeof bytes, 0, NULL, NULL), 4);
    assert_memory_equal(bytes, "back", 4);
    close_both(fds);
}

LOOP_TEST(a_datagram_goes_to_an_address_and_tells_where_it_is_from)
{
    send_and_receive(loop, AF_INET, false);
    send_and_receive(loop, AF_INET, true);
}

TEST(a_datagram_goes_over_ip6)
{
    if (!has_ip6_loopback()) {
        print_message("    this machine has no ::1\n");
        skip();
    }
    loop_t *loop = new_loop();
    send_and_receive(loop, AF_INET6, false);
    send_and_receive(loop, AF_INET6, true);
    end_loop(loop);
}

LOOP_TEST(an_address_that_does_not_fit_is_cut_as_by_the_blocking_call)
{
    char       byte;
    int        fds[2] = {make_bound(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t to = name_of(fds[1]);
    for (socklen_t room = 0; room <= 20; room += 4) {
        unsigned char ours[24], expected[24];
        socklen_t     our_length = room, expected_length = room;
        memset(ours, 0x5A, sizeof ours);
        memset(expected, 0x5A, sizeof expected);
        assert_int_equal(sendto(fds[0], "1", 1, 0, &to.any, to.length), 1);
        assert_int_equal(sendto(fds[0], "2", 1, 0, &to.any, to.length), 1);
        assert_int_equal(
            recvfrom(fds[1], &byte, 1, 0, (struct sockaddr *)(void *)expected, &expected_length), 1);
        assert_result(RESULT_OF(loop, loop_recvfrom, fds[1], &byte, 1, 0, (struct sockaddr *)(void *)ours,
                                &our_length),
                      1);
        assert_int_equal(our_length, expected_length);
        assert_memory_equal(ours, expected, sizeof ours);
    }
    close_both(fds);
}

LOOP_TEST(the_room_for_an_address_is_read_at_once)
{
    char        byte;
    operation_t receiving = {0};
    endpoint_t  from = {.length = sizeof from.local};
    int         fds[2] = {make_bound(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t  to = name_of(fds[1]), sender = name_of(fds[0]);
    assert_result(
        loop_recvfrom(loop, begin(&receiving), fds[1], &byte, 1, 0, &from.any, &from.length, record), 0);
    from.length = 1;
    assert_int_equal(sendto(fds[0], "x", 1, 0, &to.any, to.length), 1);
    assert_result(await(loop, &receiving), 1);
    assert_true(same_endpoint(&from, &sender));
    close_both(fds);
}

LOOP_TEST(errors_of_sending_to_an_address_are_those_of_the_blocking_call)
{
    char       roomy[256] = {0};
    int        fd = make_bound(AF_INET, SOCK_DGRAM), stream = make_socket(AF_INET, SOCK_STREAM);
    endpoint_t good = name_of(fd), other_family = loopback(AF_INET6), no_port = loopback(AF_INET);
    memcpy(roomy, &good.any, good.length);
    const struct {
        int                    fd;
        const struct sockaddr *address;
        socklen_t              length;
    } cases[] = {
        {fd, NULL, 0},                      {fd, &good.any, 4},
        {fd, &good.any, 0},                 {fd, &good.any, UINT32_MAX},
        {fd, &no_port.any, no_port.length}, {fd, &other_family.any, other_family.length},
        {-1, &good.any, good.length},       {stream, &good.any, good.length},
        {fd, (const struct sockaddr *)(const void *)roomy, sizeof roomy},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct sockaddr *address = cases[i].address;
        socklen_t              length = cases[i].length;
        int64_t expected = outcome(sendto(cases[i].fd, "x", 1, MSG_NOSIGNAL, address, length));
        assert_true(expected < 0);
        assert_result(RESULT_OF(loop, loop_sendto, cases[i].fd, "x", 1, 0, address, length), expected);
    }
    assert_result(RESULT_OF(loop, loop_send, fd, "x", 1, 0), LOOP_EDESTADDRREQ);
    close(fd);
    close(stream);
}

/* ---- boundaries ------------------------------------------------------------------------------ */

LOOP_TEST(each_receive_gets_one_datagram_and_what_does_not_fit_is_lost)
{
    char       bytes[8] = "";
    int        fds[2] = {make_socket(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t to = name_of(fds[1]);
    const char *datagrams[] = {"one", "twotwo", "three", "", "four", "fivefive"};
    for (size_t i = 0; i < COUNT(datagrams); i++) {
        size_t length = strlen(datagrams[i]);
        assert_result(RESULT_OF(loop, loop_sendto, fds[0], datagrams[i], length, 0, &to.any, to.length),
                      (int64_t)length);
    }
    assert_result(RESULT_OF(loop, loop_recv, fds[1], bytes, sizeof bytes, 0), 3);
    assert_result(RESULT_OF(loop, loop_recv, fds[1], bytes, 2, MSG_PEEK | MSG_TRUNC), 6);
    assert_result(RESULT_OF(loop, loop_recv, fds[1], bytes, 2, 0), 2);
    assert_memory_equal(bytes, "tw", 2);
    assert_result(RESULT_OF(loop, loop_recv, fds[1], bytes, 1, MSG_TRUNC), 5);
    assert_result(RESULT_OF(loop, loop_recv, fds[1], bytes, sizeof bytes, 0), 0);
    assert_result(RESULT_OF(loop, loop_recv, fds[1], bytes, sizeof bytes, MSG_WAITALL), 4);
    assert_memory_equal(bytes, "four", 4);
    assert_result(RESULT_OF(loop, loop_recv, fds[1], bytes, 0, 0), 0);
    assert_result(outcome(recv(fds[1], bytes, 1, MSG_DONTWAIT)), LOOP_EAGAIN);
    close_both(fds);
}

LOOP_TEST(a_datagram_that_is_too_big_is_refused)
{
    enum { TOO_BIG = 70000 };
    char      *bytes = new_pattern(TOO_BIG);
    int        fds[2] = {make_socket(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t to = name_of(fds[1]);
    assert_result(RESULT_OF(loop, loop_sendto, fds[0], bytes, TOO_BIG, 0, &to.any, to.length), LOOP_EMSGSIZE);
    assert_result(RESULT_OF(loop, loop_sendto, fds[0], bytes, TOO_BIG, LOOP_SEND_ALL, &to.any, to.length),
                  LOOP_EMSGSIZE);
    assert_result(RESULT_OF(loop, loop_sendto, fds[0], bytes, 65507, 0, &to.any, to.length), 65507);
    assert_result(RESULT_OF(loop, loop_recv, fds[1], bytes, TOO_BIG, 0), 65507);
    assert_true(has_pattern(bytes, 65507, 0));
    close_both(fds);
    free(bytes);
}

enum { ROW = 100, ROUNDS = 5 };
typedef struct row {
    operation_t sending[ROW];
    char        sent[ROW][64];
    atomic_uint received;
    int         fd;
    char        bytes[64];
    char        order[ROW * ROUNDS];
} row_t;

static void receive_the_next(loop_t *loop, loop_request_t *request, int64_t result)
{
    row_t   *row = request->user;
    unsigned number = atomic_load(&row->received);
    CHECK(result == 1 + number % ROW % 50);
    row->order[number] = row->bytes[0];
    atomic_store(&row->received, number + 1);
    if (number + 1 < ROW * ROUNDS) {
        CHECK(loop_recv(loop, request, row->fd, row->bytes, sizeof row->bytes, 0, receive_the_next) == 0);
    }
}

LOOP_TEST(many_datagrams_in_a_row_keep_their_order)
{
    static row_t   row;
    loop_request_t receiving = {.user = &row};
    int            sender = make_socket(AF_INET, SOCK_DGRAM);
    memset(&row, 0, sizeof row);
    row.fd = make_bound(AF_INET, SOCK_DGRAM);
    endpoint_t to = name_of(row.fd);
    assert_result(loop_recv(loop, &receiving, row.fd, row.bytes, sizeof row.bytes, 0, receive_the_next), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < ROW; i++) {
            memset(row.sent[i], (int)i, sizeof row.sent[i]);
            loop_request_t *request = begin(&row.sending[i]);
            assert_result(loop_sendto(loop, request, sender, row.sent[i], 1 + i % 50, 0, &to.any, to.length,
                                      record),
                          0);
        }
        run_until(loop, &row.received, (round + 1) * ROW);
        for (unsigned i = 0; i < ROW; i++) {
            assert_result(await(loop, &row.sending[i]), 1 + i % 50);
        }
    }
    for (unsigned i = 0; i < ROW * ROUNDS; i++) {
        assert_int_equal(row.order[i], i % ROW);
    }
    close(row.fd);
    close(sender);
}

LOOP_TEST(a_receive_that_is_cancelled_or_late_loses_no_datagram)
{
    char        bytes[8];
    operation_t cancelled = {0}, late = {.request.timeout_ns = 5 * MILLISECOND};
    int         fds[2] = {make_socket(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t  to = name_of(fds[1]);
    assert_result(loop_recv(loop, begin(&cancelled), fds[1], bytes, sizeof bytes, 0, record), 0);
    assert_result(loop_recv(loop, begin(&late), fds[1], bytes, sizeof bytes, 0, record), 0);
    assert_result(await(loop, &late), LOOP_ETIMEDOUT);
    assert_result(loop_cancel(loop, &cancelled.request), 0);
    assert_result(await(loop, &cancelled), LOOP_ECANCELED);
    assert_int_equal(sendto(fds[0], "kept", 4, 0, &to.any, to.length), 4);
    assert_result(RESULT_OF(loop, loop_recv, fds[1], bytes, sizeof bytes, 0), 4);
    close_both(fds);
}

/* ---- connected ------------------------------------------------------------------------------- */

LOOP_TEST(a_connected_socket_sends_to_its_peer_and_hears_no_other)
{
    char       bytes[8];
    int        fds[2] = {make_bound(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    int        stranger = make_socket(AF_INET, SOCK_DGRAM);
    endpoint_t names[2] = {name_of(fds[0]), name_of(fds[1])};
    assert_result(RESULT_OF(loop, loop_connect, fds[0], &names[1].any, names[1].length), 0);
    assert_result(RESULT_OF(loop, loop_send, fds[0], "peer", 4, 0), 4);
    assert_result(RESULT_OF(loop, loop_recv, fds[1], bytes, sizeof bytes, 0), 4);
    assert_int_equal(sendto(stranger, "who", 3, 0, &names[0].any, names[0].length), 3);
    assert_int_equal(sendto(fds[1], "known", 5, 0, &names[0].any, names[0].length), 5);
    assert_result(RESULT_OF(loop, loop_recv, fds[0], bytes, sizeof bytes, 0), 5);
    assert_memory_equal(bytes, "known", 5);

    struct sockaddr none = {.sa_family = AF_UNSPEC};
    assert_result(RESULT_OF(loop, loop_connect, fds[0], &none, sizeof none), 0);
    assert_result(RESULT_OF(loop, loop_send, fds[0], "x", 1, 0), LOOP_EDESTADDRREQ);
    close_both(fds);
    close(stranger);
}

LOOP_TEST(a_connected_socket_takes_another_address_as_the_blocking_call_does)
{
    int        fds[2] = {make_socket(AF_INET, SOCK_DGRAM), make_socket(AF_INET, SOCK_DGRAM)};
    int        peer = make_bound(AF_INET, SOCK_DGRAM), other = make_bound(AF_INET, SOCK_DGRAM);
    endpoint_t name = name_of(peer), address = name_of(other);
    for (size_t i = 0; i < COUNT(fds); i++) {
        assert_int_equal(connect(fds[i], &name.any, name.length), 0);
    }
    int64_t expected = outcome(sendto(fds[0], "x", 1, 0, &address.any, address.length));
    assert_result(RESULT_OF(loop, loop_sendto, fds[1], "x", 1, 0, &address.any, address.length), expected);
    expected = outcome(connect(fds[0], &address.any, address.length));
    assert_result(RESULT_OF(loop, loop_connect, fds[1], &address.any, address.length), expected);
    assert_int_equal(peer_of(fds[1]).ip4.sin_port, peer_of(fds[0]).ip4.sin_port);
    close_both(fds);
    close(peer);
    close(other);
}

/* A socket that is connected to a port which nobody has. */
static int make_orphan(void)
{
    int        peer = make_bound(AF_INET, SOCK_DGRAM), fd = make_socket(AF_INET, SOCK_DGRAM);
    endpoint_t name = name_of(peer);
    assert_int_equal(connect(fd, &name.any, name.length), 0);
    close(peer);
    return fd;
}

LOOP_TEST(a_peer_that_is_not_there_shows_at_the_next_call)
{
    char byte;
    int  ours = make_orphan(), twin = make_orphan();
    for (unsigned i = 0; i < 5; i++) {
        int64_t expected = outcome(send(twin, "x", 1, 0));
        assert_result(expected, i % 2 == 0 ? 1 : LOOP_ECONNREFUSED);
        assert_result(RESULT_OF(loop, loop_send, ours, "x", 1, 0), expected);
    }
    assert_result(outcome(recv(twin, &byte, 1, MSG_DONTWAIT)), LOOP_ECONNREFUSED);
    assert_result(RESULT_OF(loop, loop_recv, ours, &byte, 1, 0), LOOP_ECONNREFUSED);
    close(ours);
    close(twin);
}

LOOP_TEST(a_receive_that_waits_is_told_that_the_peer_is_not_there)
{
    char        byte;
    operation_t receiving = {0};
    int         fd = make_orphan();
    assert_result(loop_recv(loop, begin(&receiving), fd, &byte, 1, 0, record), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_int_equal(completions_of(&receiving), 0);
    assert_int_equal(send(fd, "x", 1, 0), 1);
    assert_result(await(loop, &receiving), LOOP_ECONNREFUSED);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_datagram_goes_to_an_address_and_tells_where_it_is_from),
        GUARDED(a_datagram_goes_over_ip6),
        GUARDED(an_address_that_does_not_fit_is_cut_as_by_the_blocking_call),
        GUARDED(the_room_for_an_address_is_read_at_once),
        GUARDED(errors_of_sending_to_an_address_are_those_of_the_blocking_call),
        GUARDED(each_receive_gets_one_datagram_and_what_does_not_fit_is_lost),
        GUARDED(a_datagram_that_is_too_big_is_refused),
        GUARDED(many_datagrams_in_a_row_keep_their_order),
        GUARDED(a_receive_that_is_cancelled_or_late_loses_no_datagram),
        GUARDED(a_connected_socket_sends_to_its_peer_and_hears_no_other),
        GUARDED(a_connected_socket_takes_another_address_as_the_blocking_call_does),
        GUARDED(a_peer_that_is_not_there_shows_at_the_next_call),
        GUARDED(a_receive_that_waits_is_told_that_the_peer_is_not_there),
    };
    return RUN_SUITE(tests);
}
