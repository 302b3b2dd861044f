/*
 * Conformance of the functions on sockets under misuse: a loop or request that is wrong is refused by each,
 * and memory that is not there is the result. (Other functions: conform_misuse.c.)
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

#include <sys/wait.h>

/* ---- every function -------------------------------------------------------------------------- */

typedef struct call {
    const char *function;
    int64_t     answer;
} call_t;

enum { MOST_CALLS = 16 };
typedef struct calls {
    call_t   calls[MOST_CALLS];
    unsigned count;
} calls_t;

#define CALL(function, ...)                                                        \
    do {                                                                           \
        CHECK(calls->count < MOST_CALLS);                                          \
        calls->calls[calls->count++] = (call_t){#function, function(__VA_ARGS__)}; \
    } while (0)

enum { SUBMITS = 12 };

/* Submits the request by every function on sockets, and into a pool if there is one. Nothing but loop and
 * request is wrong with it. */
static void call_every_submit(calls_t *calls, loop_t *loop, loop_request_t *request, loop_buffers_t *buffers)
{
    static char          byte;
    static struct iovec  vector = {&byte, 1};
    static struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    static endpoint_t    endpoint;
    endpoint = loopback(AF_INET);
    CALL(loop_accept, loop, request, -1, NULL, NULL, 0, loop_ignore);
    CALL(loop_connect, loop, request, -1, &endpoint.any, endpoint.length, loop_ignore);
    CALL(loop_recv, loop, request, -1, &byte, 1, 0, loop_ignore);
    CALL(loop_recvfrom, loop, request, -1, &byte, 1, 0, &endpoint.any, &endpoint.length, loop_ignore);
    CALL(loop_recvmsg, loop, request, -1, &message, 0, loop_ignore);
    CALL(loop_send, loop, request, -1, &byte, 1, 0, loop_ignore);
    CALL(loop_sendto, loop, request, -1, &byte, 1, 0, &endpoint.any, endpoint.length, loop_ignore);
    CALL(loop_sendmsg, loop, request, -1, &message, 0, loop_ignore);
    CALL(loop_shutdown, loop, request, -1, SHUT_RDWR, loop_ignore);
    CALL(loop_sendfile, loop, request, -1, -1, 0, 1, 0, loop_ignore);
    CALL(loop_splice, loop, request, -1, LOOP_NO_OFFSET, -1, LOOP_NO_OFFSET, 1, 0, loop_ignore);
    CALL(loop_cancel_fd, loop, request, -1, loop_ignore);
    if (buffers != NULL) {
        CALL(loop_recv_buffer, loop, request, -1, buffers, 0, loop_ignore);
    }
}

static void assert_all(const calls_t *calls, int64_t expected)
{
    for (unsigned i = 0; i < calls->count; i++) {
        if (calls->calls[i].answer != expected) {
            print_error("%s:\n", calls->calls[i].function);
        }
        assert_result(calls->calls[i].answer, expected);
    }
    assert_in_range(calls->count, SUBMITS, SUBMITS + 1);
}

static loop_buffers_t *new_pool(loop_t *loop)
{
    loop_buffers_t *buffers = NULL;
    assert_result(loop_buffers_init(loop, &buffers, NULL, 64, test_threads()), 0);
    return buffers;
}

LOOP_TEST(a_loop_or_a_request_that_is_not_there_is_refused)
{
    calls_t         no_loop = {0}, no_request = {0}, misaligned = {0};
    loop_request_t  requests[2] = {{0}, {0}};
    loop_buffers_t *buffers = new_pool(loop);
    call_every_submit(&no_loop, NULL, &requests[0], buffers);
    assert_all(&no_loop, LOOP_EINVAL);
    call_every_submit(&no_request, loop, NULL, buffers);
    assert_all(&no_request, LOOP_EINVAL);
    call_every_submit(&misaligned, loop, (void *)((char *)requests + 1), buffers);
    assert_all(&misaligned, LOOP_EINVAL);
    assert_result(loop_pending(loop), 0);
    assert_result(loop_buffers_deinit(buffers), 0);
}

LOOP_TEST(a_request_of_random_bytes_is_refused)
{
    calls_t         calls = {0};
    loop_request_t  request;
    loop_buffers_t *buffers = new_pool(loop);
    memset(&request, 0xA5, sizeof request);
    call_every_submit(&calls, loop, &request, buffers);
    assert_all(&calls, LOOP_EINVAL);
    assert_result(loop_pending(loop), 0);
    assert_result(loop_buffers_deinit(buffers), 0);
}

LOOP_TEST(a_request_in_flight_is_busy_and_its_flight_unharmed)
{
    char            bytes[8];
    operation_t     receiving = {0};
    loop_buffers_t *buffers = new_pool(loop);
    int             ends[2];
    make_tcp_pair(ends);
    for (int turns = 0; turns < 2; turns++) {
        calls_t calls = {0};
        assert_result(loop_recv(loop, begin(&receiving), ends[0], bytes, sizeof bytes, 0, record), 0);
        if (turns == 1) {
            run_for(loop, 2 * MILLISECOND);
        }
        call_every_submit(&calls, loop, &receiving.request, buffers);
        assert_all(&calls, LOOP_EBUSY);
        put(ends[1], "safe", 4);
        assert_result(await(loop, &receiving), 4);
        assert_memory_equal(bytes, "safe", 4);
    }
    assert_result(loop_buffers_deinit(buffers), 0); /* no receive was counted that was refused */
    close_both(ends);
}

LOOP_TEST(a_loop_that_has_ended_is_refused)
{
    calls_t         calls = {0};
    loop_request_t  request = {0};
    loop_t         *other = new_loop();
    loop_buffers_t *none = (loop_buffers_t *)(void *)&calls;
    loop_buffers_t *buffers = new_pool(other);
    assert_result(loop_buffers_deinit(buffers), 0);
    (void)loop;
    end_loop(other);
    assert_result(loop_socket(other, AF_INET, SOCK_STREAM, 0), LOOP_ESHUTDOWN);
    assert_result(loop_buffers_init(other, &none, NULL, 64, test_threads()), LOOP_ESHUTDOWN);
    assert_null(none);
    call_every_submit(&calls, other, &request, NULL);
    assert_all(&calls, LOOP_ESHUTDOWN);
}

static int refused_in_child(loop_t *loop, loop_request_t *request, loop_buffers_t *buffers)
{
    calls_t         calls = {0};
    loop_buffers_t *none = NULL;
    int             wrong = 0;
    call_every_submit(&calls, loop, request, buffers);
    for (unsigned i = 0; i < calls.count; i++) {
        wrong += calls.calls[i].answer != LOOP_ENOTSUP;
    }
    wrong += loop_socket(loop, AF_INET, SOCK_STREAM, 0) != LOOP_ENOTSUP;
    wrong += loop_buffers_init(loop, &none, NULL, 64, 4) != LOOP_ENOTSUP;
    wrong += loop_buffer_return(buffers, request) != LOOP_ENOTSUP;
    wrong += loop_buffers_deinit(buffers) != LOOP_ENOTSUP;
    return wrong;
}

LOOP_TEST(every_function_refuses_in_a_forked_child)
{
    int             status = -1;
    loop_request_t  request = {0};
    loop_buffers_t *buffers = new_pool(loop);
    pid_t           child = fork();
    if (child == 0) {
        _exit(refused_in_child(loop, &request, buffers));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_result(loop_buffers_deinit(buffers), 0);
}

/* ---- memory that is not there ---------------------------------------------------------------- */

LOOP_TEST(memory_that_is_not_there_is_the_result_and_the_socket_works_on)
{
    char       *nowhere = (char *)8;
    char        bytes[8];
    int         ends[2];
    const void *gone = nowhere;
    struct iovec  vector = {nowhere, 8};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    make_tcp_pair(ends);
    put(ends[1], "here", 4);
    wait_for(ends[0], POLLIN);
    int fd = ends[0];
    assert_result(RESULT_OF(loop, loop_send, fd, nowhere, 8, 0), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_send, fd, nowhere, 8, LOOP_SEND_ALL), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_sendmsg, fd, &message, LOOP_SEND_ALL), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_sendmsg, fd, gone, 0), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_recv, fd, nowhere, 8, MSG_PEEK), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_recvmsg, fd, &message, MSG_PEEK), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_recvmsg, fd, (struct msghdr *)(void *)nowhere, 0), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_recv, fd, bytes, sizeof bytes, 0), 4);
    assert_memory_equal(bytes, "here", 4);
    assert_result(RESULT_OF(loop, loop_send, fd, "ok", 2, 0), 2);
    take(ends[1], bytes, 2);
    close_both(ends);
}

LOOP_TEST(an_address_that_is_not_there_is_the_result)
{
    struct sockaddr *nowhere = (struct sockaddr *)(void *)8;
    int              fd = make_socket(AF_INET, SOCK_DGRAM), stream = make_socket(AF_INET, SOCK_STREAM);
    assert_result(RESULT_OF(loop, loop_connect, fd, nowhere, 16), outcome(connect(fd, nowhere, 16)));
    assert_result(RESULT_OF(loop, loop_connect, stream, nowhere, 16), outcome(connect(stream, nowhere, 16)));
    assert_result(RESULT_OF(loop, loop_sendto, fd, "x", 1, 0, nowhere, 16),
                  outcome(sendto(fd, "x", 1, 0, nowhere, 16)));
    close(fd);
    close(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_loop_or_a_request_that_is_not_there_is_refused),
        GUARDED(a_request_of_random_bytes_is_refused),
        GUARDED(a_request_in_flight_is_busy_and_its_flight_unharmed),
        GUARDED(a_loop_that_has_ended_is_refused),
        GUARDED(every_function_refuses_in_a_forked_child),
        GUARDED(memory_that_is_not_there_is_the_result_and_the_socket_works_on),
        GUARDED(an_address_that_is_not_there_is_the_result),
    };
    return RUN_SUITE(tests);
}
