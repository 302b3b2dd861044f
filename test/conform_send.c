/*
 * Conformance of sending on TCP: how much, in which order, and how it ends; loop_shutdown.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

/* ---- how much -------------------------------------------------------------------------------- */

enum { LARGE = 4000000 };

LOOP_TEST(a_send_without_more_reports_what_the_system_took)
{
    char    *bytes = new_pattern(LARGE);
    reader_t reader;
    int      ends[2];
    make_narrow_pair(ends, true);
    int64_t sent = RESULT_OF(loop, loop_send, ends[0], bytes, LARGE, 0);
    assert_in_range(sent, 1, LARGE - 1);
    close(ends[0]);
    start_reader(&reader, ends[1], 65536, 0);
    assert_int_equal(finish_pattern_reader(&reader), sent);
    close(ends[1]);
    free(bytes);
}

LOOP_TEST(a_send_waits_for_room)
{
    operation_t sending = {0};
    int         ends[2];
    size_t filled = make_full_pair(ends);
    assert_result(loop_send(loop, begin(&sending), ends[0], "room", 4, 0, record), 0);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(completions_of(&sending), 0);
    discard(ends[1], filled);
    assert_result(await(loop, &sending), 4);
    close(ends[0]);
    assert_int_equal(discard_all(ends[1]), 4);
    close(ends[1]);
}

static void send_all_to_a_slow_reader(loop_t *loop, bool nonblocking)
{
    char    *bytes = new_pattern(LARGE);
    reader_t reader;
    int      ends[2];
    make_narrow_pair(ends, nonblocking);
    start_reader(&reader, ends[1], 100000, MILLISECOND);
    assert_result(RESULT_OF(loop, loop_send, ends[0], bytes, LARGE, LOOP_SEND_ALL), LARGE);
    assert_int_equal((fcntl(ends[0], F_GETFL) & O_NONBLOCK) != 0, nonblocking);
    close(ends[0]);
    assert_int_equal(finish_pattern_reader(&reader), LARGE);
    close(ends[1]);
    free(bytes);
}

LOOP_TEST(a_send_of_all_sends_all_to_a_slow_reader)
{
    send_all_to_a_slow_reader(loop, true);
    send_all_to_a_slow_reader(loop, false);
}

/* Sends much to a peer that does not read, ends that in the middle, and wants the peer to get what was
 * reported: the rest, sent after it, completes the pattern. */
static void end_in_the_middle(loop_t *loop, bool nonblocking, bool by_timeout)
{
    operation_t sending = {.request.timeout_ns = by_timeout ? 20 * MILLISECOND : 0};
    char       *bytes = new_pattern(LARGE);
    reader_t    reader;
    int         ends[2];
    make_narrow_pair(ends, nonblocking);
    assert_result(loop_send(loop, begin(&sending), ends[0], bytes, LARGE, LOOP_SEND_ALL, record), 0);
    if (!by_timeout) {
        run_for(loop, 10 * MILLISECOND);
        assert_int_equal(completions_of(&sending), 0);
        assert_result(loop_cancel(loop, &sending.request), 0);
    }
    int64_t sent = await(loop, &sending);
    assert_in_range(sent, 1, LARGE - 1);

    size_t more = LARGE - (size_t)sent;
    start_reader(&reader, ends[1], 65536, 0);
    assert_result(RESULT_OF(loop, loop_send, ends[0], bytes + sent, more, LOOP_SEND_ALL), (int64_t)more);
    close(ends[0]);
    assert_int_equal(finish_pattern_reader(&reader), LARGE);
    close(ends[1]);
    free(bytes);
}

LOOP_TEST(a_send_of_all_that_is_cancelled_reports_the_bytes_that_went)
{
    end_in_the_middle(loop, true, false);
    end_in_the_middle(loop, false, false);
}

LOOP_TEST(a_send_of_all_past_its_deadline_reports_the_bytes_that_went)
{
    end_in_the_middle(loop, true, true);
    end_in_the_middle(loop, false, true);
}

LOOP_TEST(a_send_that_ended_before_it_sent_says_why)
{
    operation_t cancelled = {0}, late = {.request.timeout_ns = 5 * MILLISECOND};
    int         ends[2];
    size_t filled = make_full_pair(ends);
    assert_result(loop_send(loop, begin(&late), ends[0], "late", 4, LOOP_SEND_ALL, record), 0);
    assert_result(loop_send(loop, begin(&cancelled), ends[0], "cancelled", 9, LOOP_SEND_ALL, record), 0);
    assert_result(await(loop, &late), LOOP_ETIMEDOUT);
    assert_result(loop_cancel(loop, &cancelled.request), 0);
    assert_result(await(loop, &cancelled), LOOP_ECANCELED);
    close(ends[0]);
    assert_int_equal(discard_all(ends[1]), filled);
    close(ends[1]);
}

LOOP_TEST(a_send_of_all_to_a_peer_that_resets_reports_the_bytes_and_the_next_one_the_error)
{
    operation_t sending = {0};
    char       *bytes = new_pattern(LARGE);
    int         ends[2];
    make_narrow_pair(ends, true);
    count_sigpipe();
    assert_result(loop_send(loop, begin(&sending), ends[0], bytes, LARGE, LOOP_SEND_ALL, record), 0);
    run_for(loop, 10 * MILLISECOND);
    reset_connection(ends[1]);
    assert_in_range(await(loop, &sending), 1, LARGE - 1);
    int64_t error = RESULT_OF(loop, loop_send, ends[0], bytes, LARGE, LOOP_SEND_ALL);
    assert_true(error == LOOP_ECONNRESET || error == LOOP_EPIPE);
    assert_result(RESULT_OF(loop, loop_send, ends[0], bytes, 1, 0), LOOP_EPIPE);
    assert_int_equal(sigpipes(), 0);
    close(ends[0]);
    free(bytes);
}

LOOP_TEST(nothing_to_send_is_sent_at_once)
{
    int ends[2];
    make_full_pair(ends);
    assert_result(outcome(send(ends[0], "", 0, MSG_DONTWAIT)), 0);
    assert_result(RESULT_OF(loop, loop_send, ends[0], "", 0, 0), 0);
    assert_result(RESULT_OF(loop, loop_send, ends[0], "", 0, LOOP_SEND_ALL), 0);
    close_both(ends);
}

LOOP_TEST(errors_of_sending_are_those_of_the_blocking_call)
{
    int ends[2], pair[2];
    make_pipe(ends);
    make_tcp_pair(pair);
    int       lonely = make_socket(AF_INET, SOCK_STREAM), listener = make_listener(AF_INET, 1);
    const int fds[] = {-1, closed_descriptor(), ends[1], lonely, listener};
    count_sigpipe();
    for (size_t i = 0; i < COUNT(fds); i++) {
        int64_t expected = outcome(send(fds[i], "x", 1, MSG_NOSIGNAL));
        assert_true(expected < 0);
        assert_result(RESULT_OF(loop, loop_send, fds[i], "x", 1, 0), expected);
        assert_result(RESULT_OF(loop, loop_send, fds[i], "x", 1, LOOP_SEND_ALL), expected);
        assert_result(RESULT_OF(loop, loop_sendto, fds[i], "x", 1, 0, NULL, 0), expected);
    }
    assert_result(RESULT_OF(loop, loop_send, pair[0], NULL, 1, 0), outcome(send(pair[0], NULL, 1, 0)));
    assert_result(RESULT_OF(loop, loop_send, pair[0], NULL, 1, LOOP_SEND_ALL), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_send, pair[0], "x", 1, LOOP_MULTISHOT), LOOP_EINVAL);
    assert_result(outcome(recv(pair[1], pair, 1, MSG_DONTWAIT)), LOOP_EAGAIN);
    assert_int_equal(sigpipes(), 0);
    close_both(ends);
    close_both(pair);
    close(lonely);
    close(listener);
}

/* ---- in which order -------------------------------------------------------------------------- */

enum { MESSAGES = 200, LONGEST = 20000 };

typedef struct queue {
    operation_t  sending[MESSAGES];
    struct iovec vectors[MESSAGES][2];
    struct msghdr headers[MESSAGES];
    size_t       lengths[MESSAGES];
    char         bytes[MESSAGES][LONGEST]; /* the tag of a message, all over */
} queue_t;

/* Submits message number i by the function that its number picks. */
static void submit_message(loop_t *loop, queue_t *queue, size_t i, int fd, uint32_t flags)
{
    loop_request_t *request = begin(&queue->sending[i]);
    char           *bytes = queue->bytes[i];
    size_t          length = queue->lengths[i];
    struct iovec   *vectors = queue->vectors[i];
    vectors[0] = (struct iovec){bytes, length / 3};
    vectors[1] = (struct iovec){bytes + length / 3, length - length / 3};
    queue->headers[i] = (struct msghdr){.msg_iov = vectors, .msg_iovlen = 2};
    unsigned way = flags == LOOP_SEND_ALL ? 2 * (unsigned)(i % 2) : (unsigned)(i % 4);
    int      status;
    switch (way) {
    case 0:
        status = loop_send(loop, request, fd, bytes, length, flags, record);
        break;
    case 1:
        status = loop_write(loop, request, fd, bytes, length, record);
        break;
    case 2:
        status = loop_sendmsg(loop, request, fd, &queue->headers[i], flags, record);
        break;
    default:
        status = loop_writev(loop, request, fd, (const loop_iovec_t *)(const void *)vectors, 2, record);
        break;
    }
    assert_result(status, 0);
}

/* Wants the stream to be the messages in order, each as far as it was reported to be sent. */
static void assert_in_order(const queue_t *queue, const reader_t *reader)
{
    size_t place = 0;
    for (size_t i = 0; i < MESSAGES; i++) {
        assert_int_equal(completions_of(&queue->sending[i]), 1);
        assert_in_range(queue->sending[i].result, 1, queue->lengths[i]);
        size_t length = (size_t)queue->sending[i].result;
        assert_true(place + length <= reader->length);
        assert_memory_equal(reader->bytes + place, queue->bytes[i], length);
        place += length;
    }
    assert_int_equal(place, reader->length);
}

static void send_in_order(loop_t *loop, bool nonblocking, uint32_t flags)
{
    queue_t    *queue = calloc(1, sizeof *queue);
    operation_t shutting = {0};
    reader_t    reader;
    uint64_t    chance = 99;
    int         ends[2];
    assert_non_null(queue);
    make_narrow_pair(ends, nonblocking);
    for (size_t i = 0; i < MESSAGES; i++) {
        queue->lengths[i] = 1 + random_below(&chance, LONGEST);
        memset(queue->bytes[i], (int)i, LONGEST);
        submit_message(loop, queue, i, ends[0], flags);
        if (i == MESSAGES / 2) {
            run_for(loop, MILLISECOND);
        }
    }
    assert_result(loop_shutdown(loop, begin(&shutting), ends[0], SHUT_WR, record), 0);
    start_reader(&reader, ends[1], 50000, MILLISECOND / 5);
    run(loop);
    assert_result(shutting.result, 0);
    finish_reader(&reader);
    for (size_t i = 0; i < MESSAGES && flags == LOOP_SEND_ALL; i++) {
        assert_result(queue->sending[i].result, (int64_t)queue->lengths[i]);
    }
    assert_in_order(queue, &reader);
    close_both(ends);
    free(reader.bytes);
    free(queue);
}

LOOP_TEST(queued_sends_of_all_arrive_in_order_and_unmixed)
{
    send_in_order(loop, true, LOOP_SEND_ALL);
    send_in_order(loop, false, LOOP_SEND_ALL);
}

LOOP_TEST(queued_sends_and_writes_arrive_in_order_however_much_of_each_was_sent)
{
    send_in_order(loop, true, 0);
    send_in_order(loop, false, 0);
}

LOOP_TEST(a_hundred_megabytes_queued_at_once_drain)
{
    enum { PIECES = 100, PIECE = 16 * 65521 }; /* whole periods of the pattern */
    static operation_t sending[PIECES];
    char              *bytes = new_pattern(PIECE), *received = malloc(PIECE);
    int                ends[2];
    make_tcp_pair(ends);
    memset(sending, 0, sizeof sending);
    for (size_t i = 0; i < PIECES; i++) {
        assert_result(loop_send(loop, begin(&sending[i]), ends[0], bytes, PIECE, LOOP_SEND_ALL, record), 0);
    }
    for (size_t i = 0; i < PIECES; i++) {
        assert_result(RESULT_OF(loop, loop_recv, ends[1], received, PIECE, MSG_WAITALL), PIECE);
        assert_memory_equal(received, bytes, PIECE);
    }
    run(loop);
    for (size_t i = 0; i < PIECES; i++) {
        assert_result(sending[i].result, PIECE);
    }
    close_both(ends);
    free(received);
    free(bytes);
}

LOOP_TEST(a_queued_send_that_is_cancelled_leaves_no_trace)
{
    operation_t sending[3];
    char        bytes[8];
    int         ends[2];
    size_t filled = make_full_pair(ends);
    memset(sending, 0, sizeof sending);
    assert_result(loop_send(loop, begin(&sending[0]), ends[0], "one", 3, LOOP_SEND_ALL, record), 0);
    assert_result(loop_send(loop, begin(&sending[1]), ends[0], "two", 3, LOOP_SEND_ALL, record), 0);
    assert_result(loop_send(loop, begin(&sending[2]), ends[0], "three", 5, LOOP_SEND_ALL, record), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_result(loop_cancel(loop, &sending[1].request), 0);
    assert_result(await(loop, &sending[1]), LOOP_ECANCELED);
    discard(ends[1], filled);
    assert_result(await(loop, &sending[0]), 3);
    assert_result(await(loop, &sending[2]), 5);
    take(ends[1], bytes, 8);
    assert_memory_equal(bytes, "onethree", 8);
    close_both(ends);
}

LOOP_TEST(a_send_that_fails_does_not_hold_up_those_behind_it)
{
    operation_t sending[3];
    char        bytes[2];
    int         ends[2];
    make_tcp_pair(ends);
    memset(sending, 0, sizeof sending);
    assert_result(loop_send(loop, begin(&sending[0]), ends[0], "a", 1, 0, record), 0);
    assert_result(loop_send(loop, begin(&sending[1]), ends[0], NULL, 10, 0, record), 0);
    assert_result(loop_send(loop, begin(&sending[2]), ends[0], "b", 1, 0, record), 0);
    run(loop);
    assert_result(sending[0].result, 1);
    assert_result(sending[1].result, LOOP_EFAULT);
    assert_result(sending[2].result, 1);
    take(ends[1], bytes, 2);
    assert_memory_equal(bytes, "ab", 2);
    close_both(ends);
}

/* ---- the end --------------------------------------------------------------------------------- */

LOOP_TEST(a_shutdown_waits_for_the_sends_before_it_and_the_peer_sees_all_then_the_end)
{
    operation_t sending = {0}, shutting = {0};
    char       *bytes = new_pattern(LARGE);
    reader_t    reader;
    int         ends[2];
    make_narrow_pair(ends, true);
    assert_result(loop_send(loop, begin(&sending), ends[0], bytes, LARGE, LOOP_SEND_ALL, record), 0);
    assert_result(loop_shutdown(loop, begin(&shutting), ends[0], SHUT_WR, record), 0);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(completions_of(&shutting), 0);
    start_reader(&reader, ends[1], 100000, 0);
    run(loop);
    assert_result(sending.result, LARGE);
    assert_result(shutting.result, 0);
    assert_int_equal(finish_pattern_reader(&reader), LARGE);
    assert_result(RESULT_OF(loop, loop_send, ends[0], "x", 1, 0), LOOP_EPIPE);
    put(ends[1], "back", 4);
    assert_result(RESULT_OF(loop, loop_recv, ends[0], bytes, 4, 0), 4);
    close_both(ends);
    free(bytes);
}

LOOP_TEST(a_shutdown_that_is_cancelled_while_it_waits_shuts_nothing_down)
{
    operation_t sending = {0}, shutting = {0};
    int         ends[2];
    size_t filled = make_full_pair(ends);
    assert_result(loop_send(loop, begin(&sending), ends[0], "x", 1, 0, record), 0);
    assert_result(loop_shutdown(loop, begin(&shutting), ends[0], SHUT_WR, record), 0);
    run_for(loop, 5 * MILLISECOND);
    assert_result(loop_cancel(loop, &shutting.request), 0);
    assert_result(await(loop, &shutting), LOOP_ECANCELED);
    discard(ends[1], filled);
    assert_result(await(loop, &sending), 1);
    assert_result(RESULT_OF(loop, loop_send, ends[0], "y", 1, 0), 1);
    discard(ends[1], 2);
    close_both(ends);
}

LOOP_TEST(shutdowns_say_what_the_blocking_call_says)
{
    const int scripts[][3] = {
        {SHUT_WR, SHUT_WR, SHUT_RDWR}, {SHUT_RD, SHUT_RD, SHUT_WR},     {SHUT_RDWR, SHUT_WR, SHUT_RD},
        {-1, 3, 12345},                {SHUT_WR, SHUT_RD, SHUT_RDWR},
    };
    for (size_t i = 0; i < COUNT(scripts); i++) {
        int ours[2], twins[2];
        make_tcp_pair(ours);
        make_tcp_pair(twins);
        for (size_t j = 0; j < COUNT(scripts[i]); j++) {
            int64_t expected = outcome(shutdown(twins[0], scripts[i][j]));
            assert_result(RESULT_OF(loop, loop_shutdown, ours[0], scripts[i][j]), expected);
        }
        close_both(ours);
        close_both(twins);
    }
}

LOOP_TEST(errors_of_shutdown_are_those_of_the_blocking_call)
{
    int ends[2];
    make_pipe(ends);
    int       lonely = make_socket(AF_INET, SOCK_STREAM);
    const int fds[] = {-1, closed_descriptor(), ends[0], lonely};
    for (size_t i = 0; i < COUNT(fds); i++) {
        for (int how = SHUT_RD; how <= SHUT_RDWR; how++) {
            int64_t expected = outcome(shutdown(fds[i], how));
            assert_true(expected < 0);
            assert_result(RESULT_OF(loop, loop_shutdown, fds[i], how), expected);
        }
    }
    close_both(ends);
    close(lonely);
}

LOOP_TEST(shutting_down_the_receiving_side_ends_a_receive_and_does_not_wait_for_sends)
{
    char        byte;
    operation_t receiving = {0}, sending = {0};
    int         ends[2];
    make_full_pair(ends);
    assert_result(loop_recv(loop, begin(&receiving), ends[0], &byte, 1, 0, record), 0);
    assert_result(loop_send(loop, begin(&sending), ends[0], "x", 1, 0, record), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_result(RESULT_OF(loop, loop_shutdown, ends[0], SHUT_RD), 0);
    assert_result(await(loop, &receiving), 0);
    assert_int_equal(completions_of(&sending), 0);
    assert_result(loop_cancel(loop, &sending.request), 0);
    assert_result(await(loop, &sending), LOOP_ECANCELED);
    close_both(ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_send_without_more_reports_what_the_system_took),
        GUARDED(a_send_waits_for_room),
        GUARDED(a_send_of_all_sends_all_to_a_slow_reader),
        GUARDED(a_send_of_all_that_is_cancelled_reports_the_bytes_that_went),
        GUARDED(a_send_of_all_past_its_deadline_reports_the_bytes_that_went),
        GUARDED(a_send_that_ended_before_it_sent_says_why),
        GUARDED(a_send_of_all_to_a_peer_that_resets_reports_the_bytes_and_the_next_one_the_error),
        GUARDED(nothing_to_send_is_sent_at_once),
        GUARDED(errors_of_sending_are_those_of_the_blocking_call),
        GUARDED(queued_sends_of_all_arrive_in_order_and_unmixed),
        GUARDED(queued_sends_and_writes_arrive_in_order_however_much_of_each_was_sent),
        GUARDED(a_hundred_megabytes_queued_at_once_drain),
        GUARDED(a_queued_send_that_is_cancelled_leaves_no_trace),
        GUARDED(a_send_that_fails_does_not_hold_up_those_behind_it),
        GUARDED(a_shutdown_waits_for_the_sends_before_it_and_the_peer_sees_all_then_the_end),
        GUARDED(a_shutdown_that_is_cancelled_while_it_waits_shuts_nothing_down),
        GUARDED(shutdowns_say_what_the_blocking_call_says),
        GUARDED(errors_of_shutdown_are_those_of_the_blocking_call),
        GUARDED(shutting_down_the_receiving_side_ends_a_receive_and_does_not_wait_for_sends),
    };
    return RUN_SUITE(tests);
}
