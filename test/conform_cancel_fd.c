/*
 * Conformance of ending all that waits on a socket at once: loop_cancel_fd, and loop_close.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

/* ---- a socket that several requests wait on -------------------------------------------------- */

enum { RECEIVES = 4, SENDS = 3, WATCHES = 2, WAITING = RECEIVES + SENDS + WATCHES };

typedef struct crowd {
    int         ends[2];
    size_t      filled; /* bytes on the way to ends[1] that no request sent */
    char        bytes[RECEIVES];
    operation_t operations[WAITING];
} crowd_t;

/* Makes a pair, fills the way out of its first end, and submits requests to that which all wait. */
static void gather(loop_t *loop, crowd_t *crowd)
{
    static char large[1 << 16];
    operation_t *operation = crowd->operations;
    memset(crowd, 0, sizeof *crowd);
    crowd->filled = make_full_pair(crowd->ends);
    int fd = crowd->ends[0];
    for (size_t i = 0; i < RECEIVES; i++) {
        assert_result(loop_recv(loop, begin(operation++), fd, &crowd->bytes[i], 1, 0, record), 0);
    }
    for (size_t i = 0; i < SENDS; i++) {
        assert_result(loop_send(loop, begin(operation++), fd, large, sizeof large, LOOP_SEND_ALL, record), 0);
    }
    assert_result(loop_wait_until_fd_readable(loop, begin(operation++), fd, record), 0);
    assert_result(loop_add_fd(loop, begin(operation++), fd, LOOP_READABLE, record), 0);
}

static void assert_all_cancelled(crowd_t *crowd)
{
    for (size_t i = 0; i < WAITING; i++) {
        assert_int_equal(completions_of(&crowd->operations[i]), 1);
        assert_result(crowd->operations[i].result, LOOP_ECANCELED);
        assert_int_equal(crowd->operations[i].flags, 0);
    }
}

LOOP_TEST(all_that_waits_on_a_descriptor_is_cancelled_and_the_descriptor_works_on)
{
    char    byte = 0;
    crowd_t crowd;
    for (int waited = 0; waited < 2; waited++) {
        gather(loop, &crowd);
        if (waited == 1) {
            run_for(loop, 5 * MILLISECOND);
        }
        assert_result(RESULT_OF(loop, loop_cancel_fd, crowd.ends[0]), WAITING);
        run(loop);
        assert_all_cancelled(&crowd);
        assert_result(RESULT_OF(loop, loop_cancel_fd, crowd.ends[0]), 0);

        discard(crowd.ends[1], crowd.filled);
        assert_result(RESULT_OF(loop, loop_send, crowd.ends[0], "o", 1, 0), 1);
        take(crowd.ends[1], &byte, 1);
        assert_int_equal(byte, 'o');
        put(crowd.ends[1], "i", 1);
        assert_result(RESULT_OF(loop, loop_recv, crowd.ends[0], &byte, 1, 0), 1);
        assert_int_equal(byte, 'i');
        close_both(crowd.ends);
    }
}

LOOP_TEST(what_waits_on_other_descriptors_is_not_cancelled)
{
    char        bytes[2] = "";
    operation_t receiving[2];
    int         one[2], other[2];
    memset(receiving, 0, sizeof receiving);
    make_tcp_pair(one);
    make_tcp_pair(other);
    assert_result(loop_recv(loop, begin(&receiving[0]), one[0], &bytes[0], 1, 0, record), 0);
    assert_result(loop_recv(loop, begin(&receiving[1]), other[0], &bytes[1], 1, 0, record), 0);
    assert_result(RESULT_OF(loop, loop_cancel_fd, one[0]), 1);
    assert_result(await(loop, &receiving[0]), LOOP_ECANCELED);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(completions_of(&receiving[1]), 0);
    put(other[1], "x", 1);
    assert_result(await(loop, &receiving[1]), 1);
    assert_int_equal(bytes[1], 'x');
    close_both(one);
    close_both(other);
}

LOOP_TEST(what_is_submitted_after_a_cancel_of_all_is_not_cancelled)
{
    char        bytes[2];
    operation_t before = {0}, after = {0}, cancelling = {0};
    int         ends[2];
    make_tcp_pair(ends);
    assert_result(loop_recv(loop, begin(&before), ends[0], &bytes[0], 1, 0, record), 0);
    assert_result(loop_cancel_fd(loop, begin(&cancelling), ends[0], record), 0);
    assert_result(loop_recv(loop, begin(&after), ends[0], &bytes[1], 1, 0, record), 0);
    assert_result(await(loop, &before), LOOP_ECANCELED);
    assert_result(await(loop, &cancelling), 1);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(completions_of(&after), 0);
    put(ends[1], "x", 1);
    assert_result(await(loop, &after), 1);
    close_both(ends);
}

LOOP_TEST(all_accepts_of_a_listener_are_cancelled)
{
    operation_t accepting[3];
    shots_t     shots = {0};
    int         listener = make_listener(AF_INET, 8), client = dial(name_of(listener));
    memset(accepting, 0, sizeof accepting);
    assert_result(loop_accept(loop, &shots.request, listener, NULL, NULL, LOOP_MULTISHOT, record_shot), 0);
    run_until(loop, &shots.count, 1);
    for (size_t i = 0; i < COUNT(accepting); i++) {
        assert_result(loop_accept(loop, begin(&accepting[i]), listener, NULL, NULL, 0, record), 0);
    }
    run_for(loop, 2 * MILLISECOND);
    assert_result(RESULT_OF(loop, loop_cancel_fd, listener), COUNT(accepting) + 1);
    run(loop);
    assert_result(await_end(loop, &shots), LOOP_ECANCELED);
    for (size_t i = 0; i < COUNT(accepting); i++) {
        assert_result(accepting[i].result, LOOP_ECANCELED);
    }
    int second = dial(name_of(listener));
    int server = (int)RESULT_OF(loop, loop_accept, listener, NULL, NULL, 0);
    assert_true(server >= 0);
    close((int)shots.results[0]);
    close(server);
    close(second);
    close(client);
    close(listener);
}

LOOP_TEST(a_connect_is_cancelled_with_the_rest)
{
    operation_t     connecting = {0};
    full_listener_t listener = make_full_listener();
    int             fd = loop_socket(loop, AF_INET, SOCK_STREAM, 0);
    assert_result(loop_connect(loop, begin(&connecting), fd, &listener.endpoint.any, listener.endpoint.length,
                               record),
                  0);
    run_for(loop, 5 * MILLISECOND);
    assert_result(RESULT_OF(loop, loop_cancel_fd, fd), 1);
    assert_result(await(loop, &connecting), LOOP_ECANCELED);
    close(fd);
    close_full_listener(&listener);
}

LOOP_TEST(a_cancel_of_all_needs_no_callback)
{
    char           byte;
    operation_t    receiving = {0};
    loop_request_t cancelling = {0}, *done = NULL;
    int            ends[2];
    make_tcp_pair(ends);
    assert_result(loop_recv(loop, begin(&receiving), ends[0], &byte, 1, 0, record), 0);
    assert_result(loop_cancel_fd(loop, &cancelling, ends[0], NULL), 0);
    assert_result(loop_wait(loop, &done, 1, -1), 1);
    assert_ptr_equal(done, &cancelling);
    assert_result(cancelling.result, 1);
    run(loop);
    assert_result(receiving.result, LOOP_ECANCELED);
    close_both(ends);
}

typedef struct distant {
    loop_t     *loop;
    crowd_t    *crowd;
    operation_t cancelling;
} distant_t;

static void *cancel_from_afar(void *argument)
{
    distant_t *distant = argument;
    CHECK(loop_cancel_fd(distant->loop, begin(&distant->cancelling), distant->crowd->ends[0], record) == 0);
    return NULL;
}

LOOP_TEST(another_thread_can_cancel_what_the_loop_has_taken_in)
{
    crowd_t crowd;
    gather(loop, &crowd);
    run_for(loop, 5 * MILLISECOND);
    distant_t distant = {.loop = loop, .crowd = &crowd};
    pthread_t thread = start_thread(cancel_from_afar, &distant);
    run(loop);
    join_thread(thread);
    run(loop);
    assert_result(distant.cancelling.result, WAITING);
    assert_all_cancelled(&crowd);
    close_both(crowd.ends);
}

/* ---- closing --------------------------------------------------------------------------------- */

LOOP_TEST(closing_a_socket_ends_all_that_waits_on_it)
{
    crowd_t crowd;
    for (int waited = 0; waited < 2; waited++) {
        gather(loop, &crowd);
        if (waited == 1) {
            run_for(loop, 5 * MILLISECOND);
        }
        assert_result(RESULT_OF(loop, loop_close, crowd.ends[0]), 0);
        run(loop);
        assert_all_cancelled(&crowd);
        assert_false(is_open(crowd.ends[0]));
        assert_int_equal(discard_all(crowd.ends[1]), crowd.filled);
        close(crowd.ends[1]);
    }
}

TEST(a_loop_that_ends_ends_all_that_waits)
{
    crowd_t crowd;
    for (int waited = 0; waited < 2; waited++) {
        loop_t *loop = new_loop();
        gather(loop, &crowd);
        if (waited == 1) {
            run_for(loop, 5 * MILLISECOND);
        }
        end_loop(loop);
        assert_all_cancelled(&crowd);
        close(crowd.ends[0]);
        assert_int_equal(discard_all(crowd.ends[1]), crowd.filled);
        close(crowd.ends[1]);
    }
}

enum { QUEUED = 60, PIECE = 30000 };

/* Wants the first of the queue to be sent, the rest cancelled, and at most one in between cut. Returns how
 * many bytes they claim to have sent. */
static size_t bytes_of_queue(const operation_t *sending)
{
    size_t total = 0, i = 0;
    while (i < QUEUED && sending[i].result == PIECE) {
        i++;
        total += PIECE;
    }
    if (i < QUEUED && sending[i].result > 0) {
        total += (size_t)sending[i++].result;
    }
    assert_in_range(i, 1, QUEUED - 1);
    for (; i < QUEUED; i++) {
        assert_result(sending[i].result, LOOP_ECANCELED);
    }
    return total;
}

/* Queues sends, ends them in the middle by a close or by the end of the loop, and wants their results to say
 * what the peer got. */
static void end_with_queued_sends(bool nonblocking, bool by_close)
{
    loop_t            *loop = new_loop();
    static operation_t sending[QUEUED];
    char              *bytes = new_pattern((size_t)QUEUED * PIECE);
    reader_t           reader;
    int                ends[2];
    make_narrow_pair(ends, nonblocking);
    memset(sending, 0, sizeof sending);
    for (size_t i = 0; i < QUEUED; i++) {
        loop_request_t *request = begin(&sending[i]);
        assert_result(loop_send(loop, request, ends[0], bytes + i * PIECE, PIECE, LOOP_SEND_ALL, record), 0);
    }
    run_until(loop, &sending[0].completions, 1);
    run_for(loop, 5 * MILLISECOND);
    if (by_close) {
        assert_result(RESULT_OF(loop, loop_close, ends[0]), 0);
        run(loop);
    }
    end_loop(loop);
    if (!by_close) {
        close(ends[0]);
    }
    size_t claimed = bytes_of_queue(sending);
    for (size_t i = 1; i < QUEUED && test_threads() == 1; i++) {
        assert_true(sending[i - 1].result != PIECE || sending[i].order > sending[i - 1].order);
    }
    start_reader(&reader, ends[1], 65536, 0);
    assert_int_equal(finish_pattern_reader(&reader), claimed);
    close(ends[1]);
    free(bytes);
}

TEST(closing_a_socket_with_queued_sends_cancels_those_not_done_and_the_bytes_add_up)
{
    end_with_queued_sends(true, true);
    end_with_queued_sends(false, true);
}

TEST(a_loop_that_ends_with_queued_sends_cancels_those_not_done_and_the_bytes_add_up)
{
    end_with_queued_sends(true, false);
    end_with_queued_sends(false, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(all_that_waits_on_a_descriptor_is_cancelled_and_the_descriptor_works_on),
        GUARDED(what_waits_on_other_descriptors_is_not_cancelled),
        GUARDED(what_is_submitted_after_a_cancel_of_all_is_not_cancelled),
        GUARDED(all_accepts_of_a_listener_are_cancelled),
        GUARDED(a_connect_is_cancelled_with_the_rest),
        GUARDED(a_cancel_of_all_needs_no_callback),
        GUARDED(another_thread_can_cancel_what_the_loop_has_taken_in),
        GUARDED(closing_a_socket_ends_all_that_waits_on_it),
        GUARDED(a_loop_that_ends_ends_all_that_waits),
        GUARDED(closing_a_socket_with_queued_sends_cancels_those_not_done_and_the_bytes_add_up),
        GUARDED(a_loop_that_ends_with_queued_sends_cancels_those_not_done_and_the_bytes_add_up),
    };
    return RUN_SUITE(tests);
}
