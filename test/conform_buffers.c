/*
 * Conformance of buffers on arrival: loop_buffers_init and its siblings, and loop_recv_buffer.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

enum { SIZE = 64, BUFFERS = 8 };

static loop_buffers_t *new_pool(loop_t *loop, void *memory, uint32_t count)
{
    loop_buffers_t *buffers = NULL;
    assert_result(loop_buffers_init(loop, &buffers, memory, SIZE, count), 0);
    assert_non_null(buffers);
    return buffers;
}

static void end_pool(loop_buffers_t *buffers)
{
    assert_result(loop_buffers_deinit(buffers), 0);
}

/* ---- the pool -------------------------------------------------------------------------------- */

LOOP_TEST(a_pool_is_refused_with_odd_arguments)
{
    loop_buffers_t *buffers = (loop_buffers_t *)(void *)&buffers;
    uint32_t        threads = test_threads();
    assert_result(loop_buffers_init(loop, NULL, NULL, SIZE, threads), LOOP_EINVAL);
    assert_result(loop_buffers_init(loop, &buffers, NULL, 0, threads), LOOP_EINVAL);
    assert_null(buffers);
    assert_result(loop_buffers_init(loop, &buffers, NULL, SIZE, 0), LOOP_EINVAL);
    assert_result(loop_buffers_init(loop, &buffers, NULL, SIZE, threads - 1), LOOP_EINVAL);
    assert_result(loop_buffers_init(loop, &buffers, NULL, SIZE, LOOP_BUFFERS_MAX + 1), LOOP_EINVAL);
    assert_result(loop_buffers_init(NULL, &buffers, NULL, SIZE, threads), LOOP_EINVAL);
    assert_null(buffers);
    assert_result(loop_buffers_deinit(NULL), LOOP_EINVAL);
    assert_result(loop_buffer_return(NULL, &buffers), LOOP_EINVAL);
    assert_null(loop_buffer(NULL));
    buffers = new_pool(loop, NULL, LOOP_BUFFERS_MAX);
    end_pool(buffers);
}

LOOP_TEST(a_receive_is_refused_without_a_pool_and_with_that_of_another_loop)
{
    loop_request_t  request = {0};
    loop_t         *other = new_loop();
    loop_buffers_t *buffers = new_pool(other, NULL, test_threads());
    int             ends[2];
    make_tcp_pair(ends);
    assert_result(loop_recv_buffer(loop, &request, ends[0], NULL, 0, loop_ignore), LOOP_EINVAL);
    assert_result(loop_recv_buffer(loop, &request, ends[0], buffers, 0, loop_ignore), LOOP_EINVAL);
    assert_result(loop_recv_buffer(loop, NULL, ends[0], buffers, 0, loop_ignore), LOOP_EINVAL);
    assert_result(loop_pending(loop), 0);
    end_pool(buffers);
    end_loop(other);
    close_both(ends);
}

/* Sends bytes, receives them into a buffer, and wants them to be there. Returns the buffer. */
static char *receive_into(loop_t *loop, const int ends[2], loop_buffers_t *buffers, const char *text)
{
    put(ends[1], text, strlen(text));
    int64_t length = RESULT_OF(loop, loop_recv_buffer, ends[0], buffers, 0);
    assert_result(length, (int64_t)strlen(text));
    assert_int_equal(scratch_operation()->flags, LOOP_BUFFER);
    char *buffer = loop_buffer(&scratch_operation()->request);
    assert_non_null(buffer);
    assert_memory_equal(buffer, text, strlen(text));
    return buffer;
}

LOOP_TEST(the_memory_of_a_pool_is_the_callers_or_the_librarys)
{
    static char memory[BUFFERS][SIZE];
    int         ends[2];
    make_tcp_pair(ends);
    loop_buffers_t *ours = new_pool(loop, memory, BUFFERS);
    loop_buffers_t *theirs = new_pool(loop, NULL, BUFFERS);
    for (int round = 0; round < 3 * BUFFERS; round++) {
        char *buffer = receive_into(loop, ends, ours, "ours");
        assert_true(buffer >= memory[0] && buffer < memory[BUFFERS]);
        assert_int_equal((buffer - memory[0]) % SIZE, 0);
        char *other = receive_into(loop, ends, theirs, "theirs");
        assert_true(other + SIZE <= memory[0] || other >= memory[BUFFERS]);
        assert_result(loop_buffer_return(ours, other), LOOP_EINVAL);
        assert_result(loop_buffer_return(theirs, buffer), LOOP_EINVAL);
        assert_result(loop_buffer_return(ours, buffer), 0);
        assert_result(loop_buffer_return(theirs, other + SIZE - 1), 0);
    }
    end_pool(ours);
    end_pool(theirs);
    close_both(ends);
}

LOOP_TEST(a_buffer_is_given_back_once)
{
    static char memory[BUFFERS][SIZE];
    int         ends[2];
    make_tcp_pair(ends);
    loop_buffers_t *buffers = new_pool(loop, memory, BUFFERS);
    for (size_t i = 0; i < BUFFERS; i++) {
        assert_result(loop_buffer_return(buffers, memory[i]), LOOP_EINVAL); /* it is not out */
    }
    assert_result(loop_buffer_return(buffers, NULL), LOOP_EINVAL);
    assert_result(loop_buffer_return(buffers, (void *)((uintptr_t)memory - 1)), LOOP_EINVAL);
    assert_result(loop_buffer_return(buffers, (void *)((uintptr_t)memory + sizeof memory)), LOOP_EINVAL);
    char *buffer = receive_into(loop, ends, buffers, "once");
    assert_result(loop_buffer_return(buffers, buffer + 3), 0);
    assert_result(loop_buffer_return(buffers, buffer), LOOP_EINVAL);
    end_pool(buffers);
    close_both(ends);
}

LOOP_TEST(a_pool_ends_with_buffers_out_but_not_with_receives_in_flight)
{
    operation_t receiving = {0};
    int         ends[2];
    make_tcp_pair(ends);
    loop_buffers_t *buffers = new_pool(loop, NULL, BUFFERS);
    receive_into(loop, ends, buffers, "out");
    assert_result(loop_recv_buffer(loop, begin(&receiving), ends[0], buffers, 0, record), 0);
    assert_result(loop_buffers_deinit(buffers), LOOP_EBUSY);
    run_for(loop, MILLISECOND);
    assert_result(loop_buffers_deinit(buffers), LOOP_EBUSY);
    assert_result(loop_cancel(loop, &receiving.request), 0);
    assert_result(await(loop, &receiving), LOOP_ECANCELED);
    run(loop);
    end_pool(buffers);
    close_both(ends);
}

LOOP_TEST(pools_come_and_go_in_one_loop)
{
    int ends[2];
    make_tcp_pair(ends);
    for (int round = 0; round < 200; round++) {
        loop_buffers_t *buffers = new_pool(loop, NULL, 4);
        char           *buffer = receive_into(loop, ends, buffers, "round");
        if (round % 2 == 0) {
            assert_result(loop_buffer_return(buffers, buffer), 0);
        }
        run(loop);
        end_pool(buffers);
    }
    close_both(ends);
}

/* ---- one receive ----------------------------------------------------------------------------- */

LOOP_TEST(a_receive_gets_what_fits_into_a_buffer_and_the_rest_with_the_next)
{
    char            bytes[SIZE + 10];
    int             ends[2];
    loop_buffers_t *buffers = new_pool(loop, NULL, BUFFERS);
    fill_with_pattern(bytes, sizeof bytes, 0);
    make_tcp_pair(ends);
    put(ends[1], bytes, sizeof bytes);
    assert_result(RESULT_OF(loop, loop_recv_buffer, ends[0], buffers, 0), SIZE);
    assert_true(has_pattern(loop_buffer(&scratch_operation()->request), SIZE, 0));
    assert_result(RESULT_OF(loop, loop_recv_buffer, ends[0], buffers, 0), 10);
    assert_true(has_pattern(loop_buffer(&scratch_operation()->request), 10, SIZE));
    end_pool(buffers);
    close_both(ends);
}

LOOP_TEST(what_is_not_received_holds_no_buffer)
{
    int             ends[2];
    loop_buffers_t *buffers = new_pool(loop, NULL, test_threads());
    for (int round = 0; round < 10; round++) { /* more often than there are buffers */
        operation_t receiving = {.request.timeout_ns = MILLISECOND};
        make_tcp_pair(ends);
        set_nonblocking(ends[0], round % 2 == 0);
        assert_result(loop_recv_buffer(loop, begin(&receiving), ends[0], buffers, 0, record), 0);
        assert_result(await(loop, &receiving), LOOP_ETIMEDOUT);
        assert_int_equal(receiving.flags, 0);
        assert_null(loop_buffer(&receiving.request));
        receiving.request.timeout_ns = 0;
        assert_result(loop_recv_buffer(loop, begin(&receiving), ends[0], buffers, 0, record), 0);
        run_for(loop, MILLISECOND);
        if (round % 3 == 0) {
            assert_result(loop_cancel(loop, &receiving.request), 0);
            assert_result(await(loop, &receiving), LOOP_ECANCELED);
            close(ends[1]);
        } else if (round % 3 == 1) {
            reset_connection(ends[1]);
            assert_result(await(loop, &receiving), LOOP_ECONNRESET);
        } else {
            close(ends[1]);
            assert_result(await(loop, &receiving), 0);
        }
        assert_int_equal(receiving.flags, 0);
        assert_null(loop_buffer(&receiving.request));
        close(ends[0]);
    }
    make_tcp_pair(ends);
    assert_result(loop_buffer_return(buffers, receive_into(loop, ends, buffers, "works")), 0);
    end_pool(buffers);
    close_both(ends);
}

LOOP_TEST(errors_are_those_of_the_blocking_call)
{
    char            byte;
    int             ends[2];
    loop_buffers_t *buffers = new_pool(loop, NULL, BUFFERS);
    make_pipe(ends);
    int       lonely = make_socket(AF_INET, SOCK_STREAM);
    const int fds[] = {-1, INT32_MAX, closed_descriptor(), ends[0], lonely};
    for (size_t i = 0; i < COUNT(fds); i++) {
        int64_t expected = outcome(recv(fds[i], &byte, 1, 0));
        assert_true(expected < 0);
        assert_result(RESULT_OF(loop, loop_recv_buffer, fds[i], buffers, 0), expected);
        assert_result(RESULT_OF(loop, loop_recv_buffer, fds[i], buffers, LOOP_MULTISHOT), expected);
        assert_int_equal(scratch_operation()->flags, 0);
    }
    assert_result(RESULT_OF(loop, loop_recv_buffer, lonely, buffers, MSG_PEEK), LOOP_EINVAL);
    assert_result(RESULT_OF(loop, loop_recv_buffer, lonely, buffers, MSG_WAITALL), LOOP_EINVAL);
    end_pool(buffers);
    close(lonely);
    close_both(ends);
}

/* Takes buffers until all that one thread of the loop can get are out; returns their number. */
static unsigned take_all(loop_t *loop, const int ends[2], loop_buffers_t *buffers, void *taken[BUFFERS])
{
    for (unsigned count = 0;; count++) {
        put(ends[1], "x", 1);
        int64_t result = RESULT_OF(loop, loop_recv_buffer, ends[0], buffers, 0);
        if (result != 1) {
            assert_result(result, LOOP_ENOBUFS);
            assert_int_equal(scratch_operation()->flags, 0);
            return count;
        }
        assert_true(count < BUFFERS);
        taken[count] = loop_buffer(&scratch_operation()->request);
        for (unsigned i = 0; i < count; i++) {
            assert_ptr_not_equal(taken[i], taken[count]);
        }
    }
}

LOOP_TEST(when_all_buffers_are_out_a_receive_says_so_and_works_again_after_a_return)
{
    void           *taken[BUFFERS];
    int             ends[2];
    loop_buffers_t *buffers = new_pool(loop, NULL, BUFFERS);
    make_tcp_pair(ends);
    unsigned count = take_all(loop, ends, buffers, taken);
    assert_in_range(count, BUFFERS / test_threads(), BUFFERS);
    assert_result(RESULT_OF(loop, loop_recv_buffer, ends[0], buffers, 0), LOOP_ENOBUFS);
    assert_result(RESULT_OF(loop, loop_recv_buffer, ends[0], buffers, LOOP_MULTISHOT), LOOP_ENOBUFS);
    for (unsigned i = 0; i < count; i++) {
        assert_result(loop_buffer_return(buffers, taken[i]), 0);
    }
    assert_result(RESULT_OF(loop, loop_recv_buffer, ends[0], buffers, 0), 1); /* what waited is still there */
    assert_int_equal(*(char *)loop_buffer(&scratch_operation()->request), 'x');
    end_pool(buffers);
    close_both(ends);
}

LOOP_TEST(without_a_buffer_a_receive_waits_for_something_to_receive)
{
    void           *taken[BUFFERS];
    operation_t     receiving = {0}, ending = {0};
    int             ends[2], idle[2], other[2];
    loop_buffers_t *buffers = new_pool(loop, NULL, BUFFERS);
    make_tcp_pair(ends);
    make_tcp_pair(idle);
    make_tcp_pair(other);
    unsigned count = take_all(loop, ends, buffers, taken);
    assert_result(loop_recv_buffer(loop, begin(&receiving), idle[0], buffers, 0, record), 0);
    assert_result(loop_recv_buffer(loop, begin(&ending), other[0], buffers, 0, record), 0);
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(completions_of(&receiving), 0);
    assert_int_equal(completions_of(&ending), 0);
    for (unsigned i = 0; i < count; i++) {
        assert_result(loop_buffer_return(buffers, taken[i]), 0);
    }
    put(idle[1], "now", 3);
    close(other[1]);
    assert_result(await(loop, &receiving), 3);
    assert_memory_equal(loop_buffer(&receiving.request), "now", 3);
    assert_result(await(loop, &ending), 0);
    end_pool(buffers);
    close(other[0]);
    close_both(idle);
    close_both(ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_pool_is_refused_with_odd_arguments),
        GUARDED(a_receive_is_refused_without_a_pool_and_with_that_of_another_loop),
        GUARDED(the_memory_of_a_pool_is_the_callers_or_the_librarys),
        GUARDED(a_buffer_is_given_back_once),
        GUARDED(a_pool_ends_with_buffers_out_but_not_with_receives_in_flight),
        GUARDED(pools_come_and_go_in_one_loop),
        GUARDED(a_receive_gets_what_fits_into_a_buffer_and_the_rest_with_the_next),
        GUARDED(what_is_not_received_holds_no_buffer),
        GUARDED(errors_are_those_of_the_blocking_call),
        GUARDED(when_all_buffers_are_out_a_receive_says_so_and_works_again_after_a_return),
        GUARDED(without_a_buffer_a_receive_waits_for_something_to_receive),
    };
    return RUN_SUITE(tests);
}
