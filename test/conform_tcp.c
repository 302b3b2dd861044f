/*
 * Conformance of TCP connections: loop_socket, loop_connect, loop_recv, and what a peer can do to them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

/* ---- sockets --------------------------------------------------------------------------------- */

LOOP_TEST(a_socket_is_non_blocking_and_closed_on_exec)
{
    int fd = loop_socket(loop, AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

LOOP_TEST(a_socket_that_cannot_be_made_gives_the_error_of_the_system)
{
    const int kinds[][3] = {
        {-1, SOCK_STREAM, 0}, {AF_INET, -1, 0}, {AF_INET, 11, 0}, {AF_INET, SOCK_STREAM, IPPROTO_UDP},
        {255, SOCK_STREAM, 0},
    };
    for (size_t i = 0; i < COUNT(kinds); i++) {
        int64_t expected = outcome(socket(kinds[i][0], kinds[i][1], kinds[i][2]));
        assert_true(expected < 0);
        assert_result(loop_socket(loop, kinds[i][0], kinds[i][1], kinds[i][2]), expected);
    }
    assert_result(loop_socket(NULL, AF_INET, SOCK_STREAM, 0), LOOP_EINVAL);
}

/* ---- connecting ------------------------------------------------------------------------------ */

static void connect_and_talk(loop_t *loop, int family, bool nonblocking)
{
    char       bytes[8];
    int        listener = make_listener(family, 8), fd = make_socket(family, SOCK_STREAM);
    endpoint_t endpoint = name_of(listener);
    set_nonblocking(fd, nonblocking);
    assert_result(RESULT_OF(loop, loop_connect, fd, &endpoint.any, endpoint.length), 0);
    assert_int_equal((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0, nonblocking);
    int peer = accept(listener, NULL, NULL);
    assert_true(peer >= 0);
    assert_result(RESULT_OF(loop, loop_send, fd, "there", 5, 0), 5);
    take(peer, bytes, 5);
    assert_memory_equal(bytes, "there", 5);
    put(peer, "back", 4);
    assert_result(RESULT_OF(loop, loop_recv, fd, bytes, sizeof bytes, 0), 4);
    assert_memory_equal(bytes, "back", 4);

    int64_t expected = outcome(connect(fd, &endpoint.any, endpoint.length));
    assert_result(expected, LOOP_EISCONN);
    assert_result(RESULT_OF(loop, loop_connect, fd, &endpoint.any, endpoint.length), expected);
    close(peer);
    close(fd);
    close(listener);
}

LOOP_TEST(a_connection_is_made_once)
{
    connect_and_talk(loop, AF_INET, false);
    connect_and_talk(loop, AF_INET, true);
}

TEST(a_connection_over_ip6_is_made)
{
    if (!has_ip6_loopback()) {
        print_message("    this machine has no ::1\n");
        skip();
    }
    loop_t *loop = new_loop();
    connect_and_talk(loop, AF_INET6, false);
    connect_and_talk(loop, AF_INET6, true);
    end_loop(loop);
}

LOOP_TEST(a_port_that_nobody_listens_at_refuses)
{
    int        bound = make_bound(AF_INET, SOCK_STREAM);
    endpoint_t endpoint = name_of(bound);
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        int fd = make_socket(AF_INET, SOCK_STREAM);
        set_nonblocking(fd, nonblocking == 1);
        assert_result(RESULT_OF(loop, loop_connect, fd, &endpoint.any, endpoint.length), LOOP_ECONNREFUSED);
        assert_true(is_open(fd));
        close(fd);
    }
    close(bound);
}

LOOP_TEST(errors_of_connecting_are_those_of_the_blocking_call)
{
    int        ends[2], listener = make_listener(AF_INET, 8);
    endpoint_t good = name_of(listener), other_family = loopback(AF_INET6), no_port = loopback(AF_INET);
    make_pipe(ends);
    const struct {
        int                    fd; /* -2: a new socket */
        const struct sockaddr *address;
        socklen_t              length;
    } cases[] = {
        {-1, &good.any, good.length},       {INT32_MAX, &good.any, good.length},
        {ends[0], &good.any, good.length},  {listener, &good.any, good.length},
        {-2, &good.any, 4},                 {-2, &good.any, 0},
        {-2, &good.any, UINT32_MAX},        {-2, NULL, good.length},
        {-2, &no_port.any, no_port.length}, {-2, &other_family.any, other_family.length},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int     made[2] = {make_socket(AF_INET, SOCK_STREAM), make_socket(AF_INET, SOCK_STREAM)};
        int     direct = cases[i].fd == -2 ? made[0] : cases[i].fd;
        int     ours = cases[i].fd == -2 ? made[1] : cases[i].fd;
        int64_t expected = outcome(connect(direct, cases[i].address, cases[i].length));
        assert_true(expected < 0);
        assert_result(RESULT_OF(loop, loop_connect, ours, cases[i].address, cases[i].length), expected);
        close_both(made);
    }
    close_both(ends);
    close(listener);
}

static void end_a_connect(loop_t *loop, bool nonblocking)
{
    operation_t     connecting[2];
    full_listener_t listener = make_full_listener();
    endpoint_t      endpoint = listener.endpoint;
    int             fds[2];
    memset(connecting, 0, sizeof connecting);
    connecting[0].request.timeout_ns = 50 * MILLISECOND;
    uint64_t begin_ns = loop_now(loop);
    for (size_t i = 0; i < COUNT(fds); i++) {
        loop_request_t *request = begin(&connecting[i]);
        fds[i] = loop_socket(loop, AF_INET, SOCK_STREAM, 0);
        set_nonblocking(fds[i], nonblocking);
        assert_result(loop_connect(loop, request, fds[i], &endpoint.any, endpoint.length, record), 0);
    }
    assert_result(await(loop, &connecting[0]), LOOP_ETIMEDOUT);
    assert_true(loop_now(loop) - begin_ns >= 50 * MILLISECOND);
    assert_int_equal(completions_of(&connecting[1]), 0);
    assert_result(loop_cancel(loop, &connecting[1].request), 0);
    assert_result(await(loop, &connecting[1]), LOOP_ECANCELED);
    close_both(fds);
    close_full_listener(&listener);
}

LOOP_TEST(a_connect_that_nobody_answers_can_be_cancelled_and_times_out)
{
    end_a_connect(loop, true);
    if (strcmp(loop_backend_name(loop), "io_uring") == 0) {
        end_a_connect(loop, false); /* with epoll a blocking thread connects, see loop.h */
    }
}

LOOP_TEST(closing_a_socket_that_is_connecting_ends_the_connect)
{
    operation_t     connecting = {0};
    full_listener_t listener = make_full_listener();
    endpoint_t      endpoint = listener.endpoint;
    int             fd = loop_socket(loop, AF_INET, SOCK_STREAM, 0);
    assert_result(loop_connect(loop, begin(&connecting), fd, &endpoint.any, endpoint.length, record), 0);
    run_for(loop, 5 * MILLISECOND);
    assert_result(RESULT_OF(loop, loop_close, fd), 0);
    assert_result(await(loop, &connecting), LOOP_ECANCELED);
    assert_false(is_open(fd));
    close_full_listener(&listener);
}

LOOP_TEST(a_socket_that_is_connecting_connects_no_second_time)
{
    operation_t     connecting = {0};
    full_listener_t listener = make_full_listener();
    endpoint_t      endpoint = listener.endpoint;
    int             fd = loop_socket(loop, AF_INET, SOCK_STREAM, 0);
    assert_result(loop_connect(loop, begin(&connecting), fd, &endpoint.any, endpoint.length, record), 0);
    run_for(loop, 5 * MILLISECOND);
    assert_result(RESULT_OF(loop, loop_connect, fd, &endpoint.any, endpoint.length), LOOP_EALREADY);
    assert_int_equal(completions_of(&connecting), 0);
    assert_result(loop_cancel(loop, &connecting.request), 0);
    assert_result(await(loop, &connecting), LOOP_ECANCELED);
    close(fd);
    close_full_listener(&listener);
}

/* ---- receiving ------------------------------------------------------------------------------- */

LOOP_TEST(a_receive_waits_and_gets_what_came_up_to_its_length)
{
    char bytes[16];
    int  ends[2];
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        operation_t receiving = {0};
        make_tcp_pair(ends);
        set_nonblocking(ends[0], nonblocking == 1);
        assert_result(loop_recv(loop, begin(&receiving), ends[0], bytes, 4, 0, record), 0);
        run_for(loop, 5 * MILLISECOND);
        assert_int_equal(completions_of(&receiving), 0);
        put(ends[1], "abcdefg", 7);
        assert_result(await(loop, &receiving), 4);
        assert_memory_equal(bytes, "abcd", 4);
        assert_result(RESULT_OF(loop, loop_recv, ends[0], bytes, sizeof bytes, 0), 3);
        assert_memory_equal(bytes, "efg", 3);
        close_both(ends);
    }
}

LOOP_TEST(a_receive_of_nothing_waits_for_something_as_the_blocking_call)
{
    char        byte = 0;
    operation_t receiving = {0};
    int         ends[2];
    make_tcp_pair(ends);
    assert_result(outcome(recv(ends[0], &byte, 0, MSG_DONTWAIT)), LOOP_EAGAIN);
    assert_result(loop_recv(loop, begin(&receiving), ends[0], &byte, 0, 0, record), 0);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(completions_of(&receiving), 0);
    put(ends[1], "x", 1);
    assert_result(await(loop, &receiving), 0);
    assert_result(outcome(recv(ends[0], &byte, 0, 0)), 0);
    assert_result(RESULT_OF(loop, loop_recv, ends[0], &byte, 1, 0), 1);
    assert_int_equal(byte, 'x');
    close_both(ends);
}

LOOP_TEST(peeking_leaves_the_bytes_there)
{
    char        bytes[8] = "";
    operation_t peeking = {0};
    int         ends[2];
    make_tcp_pair(ends);
    assert_result(loop_recv(loop, begin(&peeking), ends[0], bytes, sizeof bytes, MSG_PEEK, record), 0);
    run_for(loop, 2 * MILLISECOND);
    put(ends[1], "peek", 4);
    assert_result(await(loop, &peeking), 4);
    assert_memory_equal(bytes, "peek", 4);
    assert_result(RESULT_OF(loop, loop_recv, ends[0], bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT), 4);
    assert_result(RESULT_OF(loop, loop_recv, ends[0], bytes, sizeof bytes, MSG_TRUNC), 4);
    assert_result(outcome(recv(ends[0], bytes, 1, MSG_DONTWAIT)), LOOP_EAGAIN);
    close_both(ends);
}

LOOP_TEST(a_receive_that_shall_not_wait_waits_all_the_same)
{
    char        byte;
    operation_t receiving = {0};
    int         ends[2];
    make_tcp_pair(ends);
    assert_result(loop_recv(loop, begin(&receiving), ends[0], &byte, 1, MSG_DONTWAIT, record), 0);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(completions_of(&receiving), 0);
    put(ends[1], "x", 1);
    assert_result(await(loop, &receiving), 1);
    close_both(ends);
}

LOOP_TEST(urgent_data_is_received_as_by_the_blocking_call)
{
    char byte = 0, direct = 0;
    int  ends[2], twins[2];
    make_tcp_pair(ends);
    make_tcp_pair(twins);
    int64_t expected = outcome(recv(twins[0], &direct, 1, MSG_OOB));
    assert_true(expected < 0);
    assert_result(RESULT_OF(loop, loop_recv, ends[0], &byte, 1, MSG_OOB), expected);
    assert_result(RESULT_OF(loop, loop_send, ends[1], "u", 1, MSG_OOB), 1);
    assert_int_equal(send(twins[1], "u", 1, MSG_OOB), 1);
    wait_for(ends[0], POLLPRI);
    wait_for(twins[0], POLLPRI);
    expected = outcome(recv(twins[0], &direct, 1, MSG_OOB));
    assert_result(RESULT_OF(loop, loop_recv, ends[0], &byte, 1, MSG_OOB), expected);
    assert_int_equal(byte, direct);
    assert_int_equal(byte, 'u');
    close_both(ends);
    close_both(twins);
}

LOOP_TEST(errors_of_receiving_are_those_of_the_blocking_call)
{
    char byte;
    int  ends[2], pair[2];
    make_pipe(ends);
    make_tcp_pair(pair);
    put(pair[1], "x", 1);
    wait_for(pair[0], POLLIN);
    int       lonely = make_socket(AF_INET, SOCK_STREAM), listener = make_listener(AF_INET, 1);
    const int fds[] = {-1, closed_descriptor(), ends[0], lonely, listener};
    for (size_t i = 0; i < COUNT(fds); i++) {
        int64_t expected = outcome(recv(fds[i], &byte, 1, 0));
        assert_true(expected < 0);
        assert_result(RESULT_OF(loop, loop_recv, fds[i], &byte, 1, 0), expected);
    }
    assert_result(RESULT_OF(loop, loop_recv, pair[0], NULL, 1, 0), outcome(recv(pair[0], NULL, 1, MSG_PEEK)));
    assert_result(RESULT_OF(loop, loop_recv, pair[0], &byte, 1, LOOP_MULTISHOT), LOOP_EINVAL);
    close_both(ends);
    close_both(pair);
    close(lonely);
    close(listener);
}

LOOP_TEST(receives_in_flight_together_share_the_bytes)
{
    enum { RECEIVES = 8, PIECE = 4 };
    char        bytes[RECEIVES][PIECE], sent[RECEIVES * PIECE], received[RECEIVES * PIECE] = "";
    operation_t receiving[RECEIVES];
    int         ends[2];
    make_tcp_pair(ends);
    memset(receiving, 0, sizeof receiving);
    for (size_t i = 0; i < RECEIVES; i++) {
        assert_result(loop_recv(loop, begin(&receiving[i]), ends[0], bytes[i], PIECE, 0, record), 0);
        memset(sent + i * PIECE, 'a' + (int)i, PIECE);
    }
    run_for(loop, 2 * MILLISECOND);
    put(ends[1], sent, sizeof sent);
    run(loop);
    for (size_t i = 0; i < RECEIVES; i++) {
        assert_result(receiving[i].result, PIECE);
        unsigned place = (unsigned)(bytes[i][0] - 'a');
        assert_in_range(place, 0, RECEIVES - 1);
        memcpy(received + place * PIECE, bytes[i], PIECE);
    }
    assert_memory_equal(received, sent, sizeof sent);
    close_both(ends);
}

LOOP_TEST(a_receive_past_its_deadline_took_nothing)
{
    char        bytes[4];
    operation_t receiving = {.request.timeout_ns = 5 * MILLISECOND};
    int         ends[2];
    make_tcp_pair(ends);
    for (int round = 0; round < 3; round++) {
        assert_result(loop_recv(loop, begin(&receiving), ends[0], bytes, sizeof bytes, 0, record), 0);
        assert_result(await(loop, &receiving), LOOP_ETIMEDOUT);
    }
    put(ends[1], "late", 4);
    assert_result(RESULT_OF(loop, loop_recv, ends[0], bytes, sizeof bytes, 0), 4);
    assert_memory_equal(bytes, "late", 4);
    close_both(ends);
}

/* ---- receiving all that was asked for -------------------------------------------------------- */

/* Begins a receive of 12 bytes that shall wait for all of them, and lets 5 of them come. */
static void receive_five_of_twelve(loop_t *loop, operation_t *receiving, const int ends[2], char *bytes)
{
    assert_result(loop_recv(loop, begin(receiving), ends[0], bytes, 12, MSG_WAITALL, record), 0);
    run_for(loop, 2 * MILLISECOND);
    put(ends[1], "abc", 3);
    run_for(loop, 2 * MILLISECOND);
    put(ends[1], "de", 2);
    run_for(loop, 2 * MILLISECOND);
    assert_int_equal(completions_of(receiving), 0);
}

LOOP_TEST(a_receive_of_all_waits_for_all)
{
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        char        bytes[12];
        operation_t receiving = {0};
        int         ends[2];
        make_tcp_pair(ends);
        set_nonblocking(ends[0], nonblocking == 1);
        receive_five_of_twelve(loop, &receiving, ends, bytes);
        put(ends[1], "fghijklmno", 10);
        assert_result(await(loop, &receiving), 12);
        assert_memory_equal(bytes, "abcdefghijkl", 12);
        assert_int_equal(drain(ends[0]), 3);
        close_both(ends);
    }
}

LOOP_TEST(a_receive_of_all_that_ends_early_delivers_the_bytes_it_got)
{
    enum { BY_END, BY_RESET, BY_CANCEL, BY_TIMEOUT, BY_CLOSE, WAYS };
    for (int way = 0; way < WAYS; way++) {
        char        bytes[12];
        operation_t receiving = {.request.timeout_ns = way == BY_TIMEOUT ? 60 * MILLISECOND : 0};
        int         ends[2];
        make_tcp_pair(ends);
        receive_five_of_twelve(loop, &receiving, ends, bytes);
        if (way == BY_RESET) {
            reset_connection(ends[1]);
        } else if (way == BY_END) {
            assert_int_equal(shutdown(ends[1], SHUT_WR), 0);
        } else if (way == BY_CANCEL) {
            assert_result(loop_cancel(loop, &receiving.request), 0);
        } else if (way == BY_CLOSE) {
            assert_result(RESULT_OF(loop, loop_close, ends[0]), 0);
        }
        assert_result(await(loop, &receiving), 5);
        assert_memory_equal(bytes, "abcde", 5);
        if (way != BY_CLOSE) {
            close(ends[0]);
        }
        if (way != BY_RESET) {
            close(ends[1]);
        }
    }
}

LOOP_TEST(a_large_receive_of_all_gathers_it_from_many_segments)
{
    enum { LENGTH = 1500000 };
    char       *bytes = malloc(LENGTH), *source = new_pattern(LENGTH);
    operation_t receiving = {0}, sending = {0};
    int         ends[2];
    make_narrow_pair(ends, false);
    assert_result(loop_recv(loop, begin(&receiving), ends[1], bytes, LENGTH, MSG_WAITALL, record), 0);
    assert_result(loop_send(loop, begin(&sending), ends[0], source, LENGTH, LOOP_SEND_ALL, record), 0);
    run(loop);
    assert_result(sending.result, LENGTH);
    assert_result(receiving.result, LENGTH);
    assert_true(has_pattern(bytes, LENGTH, 0));
    free(bytes);
    free(source);
    close_both(ends);
}

/* ---- what a peer does ------------------------------------------------------------------------ */

LOOP_TEST(a_peer_that_sends_no_more_can_still_be_sent_to)
{
    char        bytes[8];
    operation_t receiving = {0};
    int         ends[2];
    make_tcp_pair(ends);
    assert_result(loop_recv(loop, begin(&receiving), ends[0], bytes, sizeof bytes, 0, record), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_int_equal(shutdown(ends[1], SHUT_WR), 0);
    assert_result(await(loop, &receiving), 0);
    assert_result(RESULT_OF(loop, loop_recv, ends[0], bytes, sizeof bytes, 0), 0);
    assert_result(RESULT_OF(loop, loop_send, ends[0], "still", 5, 0), 5);
    take(ends[1], bytes, 5);
    assert_memory_equal(bytes, "still", 5);
    assert_result(RESULT_OF(loop, loop_recv, ends[0], bytes, sizeof bytes, 0), 0);
    close_both(ends);
}

LOOP_TEST(a_reset_ends_a_receive_that_waits)
{
    char        byte;
    operation_t receiving = {0};
    int         ends[2];
    make_tcp_pair(ends);
    assert_result(loop_recv(loop, begin(&receiving), ends[0], &byte, 1, 0, record), 0);
    run_for(loop, 2 * MILLISECOND);
    reset_connection(ends[1]);
    assert_result(await(loop, &receiving), LOOP_ECONNRESET);
    assert_result(RESULT_OF(loop, loop_recv, ends[0], &byte, 1, 0), 0);
    close(ends[0]);
}

LOOP_TEST(a_shutdown_by_the_program_ends_what_waits)
{
    char        byte;
    operation_t receiving = {0}, sending = {0};
    int         ends[2];
    make_full_pair(ends);
    count_sigpipe();
    assert_result(loop_recv(loop, begin(&receiving), ends[0], &byte, 1, 0, record), 0);
    assert_result(loop_send(loop, begin(&sending), ends[0], "x", 1, 0, record), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_int_equal(shutdown(ends[0], SHUT_RDWR), 0);
    assert_result(await(loop, &receiving), 0);
    assert_result(await(loop, &sending), LOOP_EPIPE);
    assert_int_equal(sigpipes(), 0);
    close_both(ends);
}

/* What a script of calls on a connection says that was reset: 'r' receives, 's' sends, 'a' sends
 * all. */
static void after_a_reset(loop_t *loop, const char *script)
{
    char byte = 'x';
    int  ends[2], twins[2];
    make_tcp_pair(ends);
    make_tcp_pair(twins);
    reset_connection(ends[1]);
    reset_connection(twins[1]);
    wait_for(ends[0], POLLERR);
    wait_for(twins[0], POLLERR);
    for (; *script != '\0'; script++) {
        if (*script == 'r') {
            int64_t expected = outcome(recv(twins[0], &byte, 1, 0));
            assert_result(RESULT_OF(loop, loop_recv, ends[0], &byte, 1, 0), expected);
        } else {
            uint32_t flags = *script == 's' ? 0 : LOOP_SEND_ALL;
            int64_t  expected = outcome(send(twins[0], &byte, 1, MSG_NOSIGNAL));
            assert_result(RESULT_OF(loop, loop_send, ends[0], &byte, 1, flags), expected);
        }
    }
    close(ends[0]);
    close(twins[0]);
}

LOOP_TEST(after_a_reset_each_call_says_what_the_blocking_one_says_and_raises_no_signal)
{
    count_sigpipe();
    after_a_reset(loop, "rsrs");
    after_a_reset(loop, "srrs");
    after_a_reset(loop, "ssar");
    after_a_reset(loop, "aasr");
    assert_int_equal(sigpipes(), 0);
}

LOOP_TEST(a_peer_that_left_data_unread_resets)
{
    char byte;
    int  ends[2];
    make_tcp_pair(ends);
    put(ends[0], "unread", 6);
    wait_for(ends[1], POLLIN);
    close(ends[1]);
    assert_result(RESULT_OF(loop, loop_recv, ends[0], &byte, 1, 0), LOOP_ECONNRESET);
    assert_result(RESULT_OF(loop, loop_send, ends[0], "x", 1, 0), LOOP_EPIPE);
    close(ends[0]);
}

LOOP_TEST(a_peer_that_vanished_is_found_out_by_sending)
{
    char byte;
    int  ends[2];
    make_tcp_pair(ends);
    close(ends[1]);
    assert_result(RESULT_OF(loop, loop_recv, ends[0], &byte, 1, 0), 0);
    assert_result(RESULT_OF(loop, loop_send, ends[0], "x", 1, 0), 1);
    wait_for(ends[0], POLLERR);
    assert_result(RESULT_OF(loop, loop_send, ends[0], "x", 1, 0), LOOP_EPIPE);
    close(ends[0]);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

LOOP_TEST(reads_and_writes_and_receives_and_sends_mix)
{
    char bytes[16], more[4];
    int  ends[2];
    make_tcp_pair(ends);
    loop_iovec_t parts[2] = {{(char[]){'e', 'f'}, 2}, {(char[]){'g'}, 1}};
    loop_iovec_t places[2] = {{bytes, 1}, {more, 4}};
    struct iovec vectors[1] = {{(char[]){'h', 'i'}, 2}};
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = 1};
    assert_result(RESULT_OF(loop, loop_write, ends[0], "ab", 2), 2);
    assert_result(RESULT_OF(loop, loop_send, ends[0], "cd", 2, 0), 2);
    assert_result(RESULT_OF(loop, loop_writev, ends[0], parts, 2), 3);
    assert_result(RESULT_OF(loop, loop_sendmsg, ends[0], &message, 0), 2);
    assert_result(RESULT_OF(loop, loop_recv, ends[1], bytes, 9, MSG_PEEK | MSG_WAITALL), 9);
    assert_memory_equal(bytes, "abcdefghi", 9);
    assert_result(RESULT_OF(loop, loop_read, ends[1], bytes, 3), 3);
    assert_memory_equal(bytes, "abc", 3);
    assert_result(RESULT_OF(loop, loop_readv, ends[1], places, 2), 5);
    assert_int_equal(bytes[0], 'd');
    assert_memory_equal(more, "efgh", 4);
    assert_result(RESULT_OF(loop, loop_recvfrom, ends[1], bytes, sizeof bytes, 0, NULL, NULL), 1);
    assert_int_equal(bytes[0], 'i');
    close_both(ends);
}

/* Does a receive on the descriptor that waits first. */
static void receive_after_a_wait(loop_t *loop, const int ends[2])
{
    char        byte = 0;
    operation_t receiving = {0};
    assert_result(loop_recv(loop, begin(&receiving), ends[0], &byte, 1, 0, record), 0);
    run_for(loop, MILLISECOND);
    assert_int_equal(completions_of(&receiving), 0);
    put(ends[1], "x", 1);
    assert_result(await(loop, &receiving), 1);
    assert_int_equal(byte, 'x');
}

static uint64_t turns_of(loop_t *loop)
{
    loop_statistics_t statistics = {.size = sizeof statistics};
    assert_result(loop_get_statistics(loop, &statistics), 0);
    return statistics.turns;
}

LOOP_TEST(a_closed_socket_that_lives_on_elsewhere_disturbs_neither_its_number_nor_the_loop)
{
    int first[2], second[2];
    make_tcp_pair(first);
    make_tcp_pair(second);
    receive_after_a_wait(loop, first);
    int number = first[0], elsewhere = fcntl(number, F_DUPFD_CLOEXEC, 0);
    assert_int_equal(close(number), 0);
    assert_int_equal(fcntl(second[0], F_DUPFD_CLOEXEC, number), number);
    close(second[0]);
    second[0] = number;
    for (int round = 0; round < 5; round++) {
        put(first[1], "stale", 5);
        receive_after_a_wait(loop, second);
    }
    uint64_t before = turns_of(loop);
    run_for(loop, 50 * MILLISECOND);
    assert_in_range(turns_of(loop) - before, 1, 30 * test_threads());
    assert_int_equal(drain(elsewhere), 25);
    close(elsewhere);
    close(first[1]);
    close_both(second);
}

LOOP_TEST(an_idle_socket_can_be_closed_behind_the_loop_and_its_number_used_again)
{
    int first[2], second[2];
    make_tcp_pair(first);
    receive_after_a_wait(loop, first);
    int number = first[0];
    for (int round = 0; round < 20; round++) {
        make_tcp_pair(second);
        put(first[1], "stale", 5);
        if (round % 2 == 0) {
            assert_int_equal(close(number), 0);
            assert_int_equal(fcntl(second[0], F_DUPFD_CLOEXEC, number), number);
        } else {
            assert_int_equal(dup3(second[0], number, O_CLOEXEC), number);
        }
        close(second[0]);
        close(first[1]);
        first[1] = second[1];
        receive_after_a_wait(loop, first);
    }
    close_both(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_socket_is_non_blocking_and_closed_on_exec),
        GUARDED(a_socket_that_cannot_be_made_gives_the_error_of_the_system),
        GUARDED(a_connection_is_made_once),
        GUARDED(a_connection_over_ip6_is_made),
        GUARDED(a_port_that_nobody_listens_at_refuses),
        GUARDED(errors_of_connecting_are_those_of_the_blocking_call),
        GUARDED(a_connect_that_nobody_answers_can_be_cancelled_and_times_out),
        GUARDED(closing_a_socket_that_is_connecting_ends_the_connect),
        GUARDED(a_socket_that_is_connecting_connects_no_second_time),
        GUARDED(a_receive_waits_and_gets_what_came_up_to_its_length),
        GUARDED(a_receive_of_nothing_waits_for_something_as_the_blocking_call),
        GUARDED(peeking_leaves_the_bytes_there),
        GUARDED(a_receive_that_shall_not_wait_waits_all_the_same),
        GUARDED(urgent_data_is_received_as_by_the_blocking_call),
        GUARDED(errors_of_receiving_are_those_of_the_blocking_call),
        GUARDED(receives_in_flight_together_share_the_bytes),
        GUARDED(a_receive_past_its_deadline_took_nothing),
        GUARDED(a_receive_of_all_waits_for_all),
        GUARDED(a_receive_of_all_that_ends_early_delivers_the_bytes_it_got),
        GUARDED(a_large_receive_of_all_gathers_it_from_many_segments),
        GUARDED(a_peer_that_sends_no_more_can_still_be_sent_to),
        GUARDED(a_reset_ends_a_receive_that_waits),
        GUARDED(a_shutdown_by_the_program_ends_what_waits),
        GUARDED(after_a_reset_each_call_says_what_the_blocking_one_says_and_raises_no_signal),
        GUARDED(a_peer_that_left_data_unread_resets),
        GUARDED(a_peer_that_vanished_is_found_out_by_sending),
        GUARDED(reads_and_writes_and_receives_and_sends_mix),
        GUARDED(a_closed_socket_that_lives_on_elsewhere_disturbs_neither_its_number_nor_the_loop),
        GUARDED(an_idle_socket_can_be_closed_behind_the_loop_and_its_number_used_again),
    };
    return RUN_SUITE(tests);
}
