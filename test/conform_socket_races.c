/*
 * Conformance of sockets when two things happen at once: a cancel or a deadline and the bytes, a close and
 * the bytes, several threads that send. No byte and no connection is lost or comes twice.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

#include <sched.h>

enum { STREAM_LENGTH = 400000 };

static void spin(uint32_t turns)
{
    while (turns-- > 0) {
        atomic_signal_fence(memory_order_seq_cst);
    }
}

/* Ends a request at some moment: by its deadline, or by a cancel at once, or after some turns. The deadline
 * must be chosen before the submit. */
static uint64_t random_deadline(uint64_t *chance)
{
    return random_below(chance, 3) == 0 ? 1 + random_below(chance, 60000) : 0;
}

static void end_at_some_moment(loop_t *loop, loop_request_t *request, uint64_t *chance)
{
    if (request->timeout_ns != 0) {
        return;
    }
    for (uint32_t turns = random_below(chance, 3); turns > 0; turns--) {
        assert_true(loop_run_once(loop, 0) >= 0);
    }
    spin(random_below(chance, 10000));
    int status = loop_cancel(loop, request);
    assert_true(status == 0 || status == LOOP_ENOENT);
}

static bool ended_early(int64_t result)
{
    return result == LOOP_ECANCELED || result == LOOP_ETIMEDOUT;
}

/* ---- receives that are ended ----------------------------------------------------------------- */

typedef struct source {
    int      fd;
    uint64_t chance;
} source_t;

static void *write_stream(void *argument)
{
    source_t *source = argument;
    char      bytes[3000];
    for (size_t position = 0; position < STREAM_LENGTH;) {
        size_t length = 1 + random_below(&source->chance, sizeof bytes);
        length = length < STREAM_LENGTH - position ? length : STREAM_LENGTH - position;
        fill_with_pattern(bytes, length, position);
        put(source->fd, bytes, length);
        position += length;
        spin(random_below(&source->chance, 20000));
    }
    CHECK(shutdown(source->fd, SHUT_WR) == 0);
    return NULL;
}

enum { BY_RECV, BY_RECV_OF_ALL, BY_RECVMSG, BY_READ, BY_BUFFER, WAYS_TO_RECEIVE };

static void submit_receive(loop_t *loop, operation_t *operation, int way, int fd, struct msghdr *message,
                           loop_buffers_t *buffers)
{
    loop_request_t *request = begin(operation);
    void           *bytes = message->msg_iov[0].iov_base;
    size_t          length = message->msg_iov[0].iov_len;
    int             status;
    switch (way) {
    case BY_RECV:
        status = loop_recv(loop, request, fd, bytes, length, 0, record);
        break;
    case BY_RECV_OF_ALL:
        status = loop_recv(loop, request, fd, bytes, length, MSG_WAITALL, record);
        break;
    case BY_RECVMSG:
        status = loop_recvmsg(loop, request, fd, message, 0, record);
        break;
    case BY_READ:
        status = loop_read(loop, request, fd, bytes, length, record);
        break;
    default:
        status = loop_recv_buffer(loop, request, fd, buffers, 0, record);
        break;
    }
    assert_result(status, 0);
}

static void receive_with_interruptions(loop_t *loop, int way, bool nonblocking)
{
    char            bytes[4000];
    struct iovec    vector = {bytes, sizeof bytes};
    struct msghdr   message = {.msg_iov = &vector, .msg_iovlen = 1};
    operation_t     receiving = {0};
    int             ends[2];
    size_t          received = 0, interrupted = 0;
    uint64_t        chance = 1 + (uint64_t)way;
    loop_buffers_t *buffers = NULL;
    make_socketpair(ends);
    set_nonblocking(ends[0], nonblocking);
    assert_result(loop_buffers_init(loop, &buffers, NULL, sizeof bytes, test_threads()), 0);
    source_t  source = {ends[1], 99};
    pthread_t thread = start_thread(write_stream, &source);
    do {
        receiving.request.timeout_ns = random_deadline(&chance);
        submit_receive(loop, &receiving, way, ends[0], &message, buffers);
        end_at_some_moment(loop, &receiving.request, &chance);
        await(loop, &receiving);
        if (receiving.result > 0) {
            void *place = way == BY_BUFFER ? loop_buffer(&receiving.request) : bytes;
            assert_true(has_pattern(place, (size_t)receiving.result, received));
            received += (size_t)receiving.result;
            assert_result(way == BY_BUFFER ? loop_buffer_return(buffers, place) : 0, 0);
        } else {
            assert_true(receiving.result == 0 || ended_early(receiving.result));
            interrupted += receiving.result != 0;
        }
    } while (receiving.result != 0);
    assert_int_equal(received, STREAM_LENGTH);
    print_message("    way %d: interrupted %zu times\n", way, interrupted);
    join_thread(thread);
    assert_result(loop_buffers_deinit(buffers), 0);
    close_both(ends);
}

LOOP_TEST(receives_that_are_ended_lose_no_byte)
{
    for (int way = 0; way < WAYS_TO_RECEIVE; way++) {
        receive_with_interruptions(loop, way, true);
        receive_with_interruptions(loop, way, false);
    }
}

/* A receive of many shots, and what came by it. */
typedef struct flow {
    loop_request_t  request; /* first */
    loop_buffers_t *buffers;
    atomic_size_t   received;
    atomic_uint     ended;
    int64_t         result;
} flow_t;

static void flow_on(loop_t *loop, loop_request_t *request, int64_t result)
{
    flow_t *flow = (flow_t *)(void *)request;
    size_t  received = atomic_load(&flow->received);
    (void)loop;
    if (result > 0) {
        CHECK(has_pattern(loop_buffer(request), (size_t)result, received));
        atomic_store(&flow->received, received + (size_t)result);
        CHECK(loop_buffer_return(flow->buffers, loop_buffer(request)) == 0);
    }
    if ((request->flags & LOOP_MORE) == 0) {
        flow->result = result;
        atomic_store(&flow->ended, 1);
    }
}

LOOP_TEST(shots_that_are_ended_lose_no_byte)
{
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        flow_t   flow = {0};
        int      ends[2];
        unsigned rounds = 0;
        uint64_t chance = 7;
        make_socketpair(ends);
        set_nonblocking(ends[0], nonblocking == 1);
        assert_result(loop_buffers_init(loop, &flow.buffers, NULL, 1000, 2 * test_threads()), 0);
        source_t  source = {ends[1], 99};
        pthread_t thread = start_thread(write_stream, &source);
        do {
            loop_request_t *request = &flow.request;
            atomic_store(&flow.ended, 0);
            request->timeout_ns = random_deadline(&chance);
            assert_result(loop_recv_buffer(loop, request, ends[0], flow.buffers, LOOP_MULTISHOT, flow_on), 0);
            if (request->timeout_ns == 0) {
                end_at_some_moment(loop, request, &chance);
            }
            run_until(loop, &flow.ended, 1);
            assert_true(flow.result == 0 || ended_early(flow.result) || flow.result == LOOP_ENOBUFS);
            rounds++;
        } while (flow.result != 0);
        assert_int_equal(atomic_load(&flow.received), STREAM_LENGTH);
        print_message("    %u rounds\n", rounds);
        join_thread(thread);
        run(loop);
        assert_result(loop_buffers_deinit(flow.buffers), 0);
        close_both(ends);
    }
}

/* ---- sends that are ended -------------------------------------------------------------------- */

enum { BY_SEND, BY_SEND_OF_ALL, BY_SENDMSG_OF_ALL, BY_WRITE, BY_SENDFILE, BY_SENDFILE_OF_ALL, WAYS_TO_SEND };

static void submit_send(loop_t *loop, operation_t *operation, int way, int fd, struct msghdr *message,
                        int file, size_t position)
{
    loop_request_t *request = begin(operation);
    void           *bytes = message->msg_iov[0].iov_base;
    size_t          length = message->msg_iov[0].iov_len;
    uint32_t        flags = way == BY_SEND || way == BY_SENDFILE ? 0 : LOOP_SEND_ALL;
    int             status;
    switch (way) {
    case BY_SEND:
    case BY_SEND_OF_ALL:
        status = loop_send(loop, request, fd, bytes, length, flags, record);
        break;
    case BY_SENDMSG_OF_ALL:
        status = loop_sendmsg(loop, request, fd, message, flags, record);
        break;
    case BY_WRITE:
        status = loop_write(loop, request, fd, bytes, length, record);
        break;
    default:
        status = loop_sendfile(loop, request, fd, file, position, length, flags, record);
        break;
    }
    assert_result(status, 0);
}

static void send_with_interruptions(loop_t *loop, int way, bool nonblocking)
{
    enum { LENGTH = 3 * STREAM_LENGTH };
    char         *bytes = new_pattern(LENGTH);
    struct iovec  vectors[2];
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = 2};
    operation_t   sending = {0};
    reader_t      reader;
    int           ends[2], file = temporary_file(bytes, LENGTH);
    size_t        interrupted = 0;
    uint64_t      chance = 1 + (uint64_t)way;
    make_narrow_pair(ends, nonblocking);
    start_reader(&reader, ends[1], 40000, MILLISECOND / 20);
    for (size_t position = 0; position < LENGTH;) {
        size_t length = 2 + random_below(&chance, 150000);
        length = length < LENGTH - position ? length : LENGTH - position;
        size_t first = message.msg_iovlen == 2 && way == BY_SENDMSG_OF_ALL ? length / 2 : length;
        vectors[0] = (struct iovec){bytes + position, first};
        vectors[1] = (struct iovec){bytes + position + first, length - first};
        sending.request.timeout_ns = random_deadline(&chance);
        submit_send(loop, &sending, way, ends[0], &message, file, position);
        end_at_some_moment(loop, &sending.request, &chance);
        int64_t sent = await(loop, &sending);
        assert_true(sent > 0 || ended_early(sent));
        interrupted += sent < 0 || (size_t)sent < length;
        position += sent > 0 ? (size_t)sent : 0;
    }
    print_message("    way %d: interrupted %zu times\n", way, interrupted);
    close(ends[0]);
    assert_int_equal(finish_pattern_reader(&reader), LENGTH);
    close(ends[1]);
    close(file);
    free(bytes);
}

LOOP_TEST(sends_that_are_ended_lose_and_double_no_byte)
{
    for (int way = 0; way < WAYS_TO_SEND; way++) {
        send_with_interruptions(loop, way, true);
        send_with_interruptions(loop, way, false);
    }
}

/* ---- accepts that are ended ------------------------------------------------------------------ */

enum { DIALS = 150 };

typedef struct dialer {
    endpoint_t endpoint;
    int        fds[DIALS];
} dialer_t;

static void *dial_often(void *argument)
{
    dialer_t *dialer = argument;
    uint64_t  chance = 3;
    for (size_t i = 0; i < DIALS; i++) {
        dialer->fds[i] = dial(dialer->endpoint);
        spin(random_below(&chance, 30000));
    }
    return NULL;
}

static void accept_with_interruptions(loop_t *loop, bool multishot, bool nonblocking)
{
    static dialer_t dialer;
    int             listener = make_listener(AF_INET, DIALS), servers[DIALS];
    unsigned        accepted = 0, rounds = 0;
    uint64_t        chance = 5;
    dialer.endpoint = name_of(listener);
    set_nonblocking(listener, nonblocking);
    pthread_t thread = start_thread(dial_often, &dialer);
    while (accepted < DIALS) {
        shots_t shots = {.request.timeout_ns = random_deadline(&chance)};
        assert_result(loop_accept(loop, &shots.request, listener, NULL, NULL, multishot ? LOOP_MULTISHOT : 0,
                                  record_shot),
                      0);
        end_at_some_moment(loop, &shots.request, &chance);
        int64_t last = await_end(loop, &shots);
        assert_true(ended_early(last) || (!multishot && last >= 0));
        for (unsigned i = 0; i < atomic_load(&shots.count); i++) {
            if (shots.results[i] >= 0) {
                assert_true(accepted < DIALS);
                servers[accepted++] = (int)shots.results[i];
            }
        }
        rounds++;
    }
    print_message("    %u rounds\n", rounds);
    join_thread(thread);
    for (unsigned i = 0; i < DIALS; i++) {
        char byte;
        reset_connection(dialer.fds[i]);
        wait_for(servers[i], POLLERR);
        assert_result(outcome(recv(servers[i], &byte, 1, 0)), LOOP_ECONNRESET);
        close(servers[i]);
    }
    close(listener);
}

LOOP_TEST(accepts_that_are_ended_lose_no_connection)
{
    for (unsigned kind = 0; kind < 4; kind++) {
        accept_with_interruptions(loop, kind % 2 == 1, kind >= 2);
    }
}

/* ---- sockets that are closed ----------------------------------------------------------------- */

typedef struct victim {
    operation_t receiving, sending[4], closing;
    reader_t    reader;
    int         ends[2];
    char        byte;
} victim_t;

static void meet_the_end(loop_t *loop, victim_t *victim, const char *bytes, size_t length, bool nonblocking)
{
    memset(victim, 0, sizeof *victim);
    make_tcp_pair(victim->ends);
    int fd = victim->ends[0];
    set_nonblocking(fd, nonblocking);
    start_reader(&victim->reader, victim->ends[1], 20000, MILLISECOND / 20);
    assert_result(loop_recv(loop, begin(&victim->receiving), fd, &victim->byte, 1, 0, record), 0);
    for (size_t i = 0; i < COUNT(victim->sending); i++) {
        loop_request_t *request = begin(&victim->sending[i]);
        assert_result(loop_send(loop, request, fd, bytes + i * length, length, LOOP_SEND_ALL, record), 0);
    }
}

LOOP_TEST(a_close_amid_the_traffic_ends_each_request_and_the_bytes_add_up)
{
    enum { VICTIMS = 12, LENGTH = 2 * 65521 };
    static victim_t victims[VICTIMS];
    char           *bytes = new_pattern(4 * (size_t)LENGTH);
    uint64_t        chance = 11;
    for (size_t i = 0; i < VICTIMS; i++) {
        meet_the_end(loop, &victims[i], bytes, LENGTH, i % 2 == 0);
    }
    for (size_t i = 0; i < VICTIMS; i++) {
        for (uint32_t turns = random_below(&chance, 5); turns > 0; turns--) {
            assert_true(loop_run_once(loop, 0) >= 0);
        }
        assert_result(loop_close(loop, begin(&victims[i].closing), victims[i].ends[0], record), 0);
    }
    run(loop);
    for (size_t i = 0; i < VICTIMS; i++) {
        victim_t *victim = &victims[i];
        size_t    sent = 0;
        assert_result(victim->closing.result, 0);
        assert_result(victim->receiving.result, LOOP_ECANCELED);
        for (size_t j = 0; j < COUNT(victim->sending); j++) {
            int64_t result = victim->sending[j].result;
            assert_true(result == LOOP_ECANCELED || (result > 0 && sent % LENGTH == 0));
            sent += result > 0 ? (size_t)result : 0;
        }
        assert_int_equal(finish_pattern_reader(&victim->reader), sent);
        close(victim->ends[1]);
    }
    free(bytes);
}

/* ---- several threads that send --------------------------------------------------------------- */

enum { SENDERS = 4, MESSAGES = 60, MESSAGE = 3000 };

/* Every byte of a message tells its sender (in the high bits) and its number. */
typedef struct sender {
    loop_t     *loop;
    int         fd;
    operation_t sending[MESSAGES];
    char        bytes[MESSAGES][MESSAGE];
} sender_t;

static void *send_messages(void *argument)
{
    sender_t *sender = argument;
    for (size_t i = 0; i < MESSAGES; i++) {
        loop_request_t *request = begin(&sender->sending[i]);
        char           *bytes = sender->bytes[i];
        CHECK(loop_send(sender->loop, request, sender->fd, bytes, MESSAGE, LOOP_SEND_ALL, record) == 0);
    }
    CHECK(loop_unref(sender->loop) == 0);
    return NULL;
}

static void assert_unmixed_and_in_order(const char *stream, size_t length)
{
    unsigned next[SENDERS] = {0};
    assert_int_equal(length, SENDERS * MESSAGES * MESSAGE);
    for (; length > 0; stream += MESSAGE, length -= MESSAGE) {
        unsigned sender = (unsigned char)*stream / MESSAGES;
        assert_in_range(sender, 0, SENDERS - 1);
        assert_int_equal((unsigned char)*stream % MESSAGES, next[sender]++);
        for (size_t i = 1; i < MESSAGE; i++) {
            assert_int_equal(stream[i], stream[0]);
        }
    }
}

LOOP_TEST(what_each_of_several_threads_sends_arrives_in_its_order_and_unmixed)
{
    static sender_t senders[SENDERS];
    pthread_t       threads[SENDERS];
    reader_t        reader;
    int             ends[2];
    memset(senders, 0, sizeof senders);
    make_narrow_pair(ends, true);
    start_reader(&reader, ends[1], 50000, MILLISECOND / 10);
    for (size_t i = 0; i < SENDERS; i++) {
        senders[i].loop = loop;
        senders[i].fd = ends[0];
        for (size_t j = 0; j < MESSAGES; j++) {
            memset(senders[i].bytes[j], (int)(i * MESSAGES + j), MESSAGE);
        }
        assert_result(loop_ref(loop), 0);
    }
    for (size_t i = 0; i < SENDERS; i++) {
        threads[i] = start_thread(send_messages, &senders[i]);
    }
    run(loop);
    for (size_t i = 0; i < SENDERS; i++) {
        join_thread(threads[i]);
    }
    close(ends[0]);
    finish_reader(&reader);
    assert_unmixed_and_in_order(reader.bytes, reader.length);
    free(reader.bytes);
    close(ends[1]);
}

/* ---- one after the other on two threads, one of which is in a callback -------------------------- */

/* A callback and a thread of the program submit in turns. The callback stays for long after its last submit:
 * an idle thread of the loop then takes what was submitted to the one that runs the callback. */
typedef struct relay {
    loop_t         *loop;
    int             ends[2];
    operation_t     start, ours, theirs, last;
    atomic_uint     step; /* even: the callback's turn */
    char            byte;
} relay_t;

static void await_step(relay_t *relay, unsigned step)
{
    while (atomic_load(&relay->step) < step) {
        sched_yield();
    }
}

static void next_step(relay_t *relay)
{
    atomic_fetch_add(&relay->step, 1);
}

static void run_relay(relay_t *relay, loop_t *loop, loop_callback_t callback, void *(*other)(void *))
{
    memset(relay, 0, sizeof *relay);
    relay->loop = loop;
    relay->start.request.user = relay;
    make_socketpair(relay->ends);
    put(relay->ends[1], "x", 1);
    pthread_t thread = start_thread(other, relay);
    assert_result(loop_wait_until_fd_readable(loop, begin(&relay->start), relay->ends[0], callback), 0);
    assert_result(loop_ref(loop), 0);
    run(loop);
    join_thread(thread);
}

static void send_first_and_last(loop_t *loop, loop_request_t *request, int64_t result)
{
    relay_t *relay = request->user;
    CHECK(result == LOOP_READABLE);
    CHECK(loop_send(loop, begin(&relay->ours), relay->ends[0], "1", 1, 0, record) == 0);
    next_step(relay);
    await_step(relay, 2);
    CHECK(loop_send(loop, begin(&relay->last), relay->ends[0], "3", 1, 0, record) == 0);
    sleep_for(5 * MILLISECOND);
}

static void *send_in_between(void *argument)
{
    relay_t *relay = argument;
    await_step(relay, 1);
    CHECK(loop_send(relay->loop, begin(&relay->theirs), relay->ends[0], "2", 1, 0, record) == 0);
    CHECK(loop_unref(relay->loop) == 0);
    next_step(relay);
    return NULL;
}

LOOP_TEST(sends_of_two_threads_are_done_in_the_order_in_which_they_submit)
{
    for (unsigned round = 0; round < 8; round++) {
        relay_t relay;
        char    bytes[4] = "";
        run_relay(&relay, loop, send_first_and_last, send_in_between);
        assert_int_equal(recv(relay.ends[1], bytes, sizeof bytes, 0), 3);
        assert_string_equal(bytes, "123");
        close_both(relay.ends);
    }
}

static void receive_and_stay(loop_t *loop, loop_request_t *request, int64_t result)
{
    relay_t *relay = request->user;
    CHECK(result == LOOP_READABLE);
    CHECK(recv(relay->ends[0], &relay->byte, 1, 0) == 1);
    CHECK(loop_recv(loop, begin(&relay->ours), relay->ends[0], &relay->byte, 1, 0, record) == 0);
    next_step(relay);
    await_step(relay, 2);
    sleep_for(5 * MILLISECOND);
}

static void *close_meanwhile(void *argument)
{
    relay_t *relay = argument;
    await_step(relay, 1);
    CHECK(loop_close(relay->loop, begin(&relay->theirs), relay->ends[0], record) == 0);
    CHECK(loop_unref(relay->loop) == 0);
    next_step(relay);
    return NULL;
}

LOOP_TEST(a_close_does_not_overtake_what_a_callback_that_still_runs_submitted_before)
{
    for (unsigned round = 0; round < 8; round++) {
        relay_t relay;
        run_relay(&relay, loop, receive_and_stay, close_meanwhile);
        assert_result(relay.ours.result, LOOP_ECANCELED);
        assert_result(relay.theirs.result, 0);
        close(relay.ends[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(receives_that_are_ended_lose_no_byte),
        GUARDED(shots_that_are_ended_lose_no_byte),
        GUARDED(sends_that_are_ended_lose_and_double_no_byte),
        GUARDED(accepts_that_are_ended_lose_no_connection),
        GUARDED(a_close_amid_the_traffic_ends_each_request_and_the_bytes_add_up),
        GUARDED(what_each_of_several_threads_sends_arrives_in_its_order_and_unmixed),
        GUARDED(sends_of_two_threads_are_done_in_the_order_in_which_they_submit),
        GUARDED(a_close_does_not_overtake_what_a_callback_that_still_runs_submitted_before),
    };
    return RUN_SUITE(tests);
}
