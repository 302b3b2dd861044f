/*
 * Conformance of receives that go on: loop_recv_buffer with LOOP_MULTISHOT, on streams and datagrams.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

enum { SIZE = 512 };

/* A receive of many shots that checks the bytes of a stream, and gives each buffer back. */
typedef struct stream {
    loop_request_t  request; /* first, so that a callback can get at the rest */
    loop_buffers_t *buffers;
    int             ends[2]; /* received from, sent to */
    atomic_size_t   received;
    atomic_uint     shots;
    atomic_uint     ended;
    atomic_uint     missed; /* times that there was no buffer */
    int64_t         result; /* of the last shot */
    bool            again;  /* whether to go on after LOOP_ENOBUFS */
} stream_t;

static void receive_shot(loop_t *loop, loop_request_t *request, int64_t result)
{
    stream_t *stream = (stream_t *)(void *)request;
    size_t    received = atomic_load(&stream->received);
    CHECK(atomic_load(&stream->ended) == 0 && request->result == result);
    CHECK((result > 0) == ((request->flags & LOOP_BUFFER) != 0));
    CHECK((loop_buffer(request) != NULL) == (result > 0));
    if (result > 0) {
        CHECK(result <= SIZE && has_pattern(loop_buffer(request), (size_t)result, received));
        atomic_store(&stream->received, received + (size_t)result);
        atomic_fetch_add(&stream->shots, 1);
        CHECK(loop_buffer_return(stream->buffers, loop_buffer(request)) == 0);
    }
    if (request->flags & LOOP_MORE) {
        CHECK(result > 0);
    } else if (result == LOOP_ENOBUFS && stream->again) {
        int fd = stream->ends[0];
        atomic_fetch_add(&stream->missed, 1);
        CHECK(loop_recv_buffer(loop, request, fd, stream->buffers, LOOP_MULTISHOT, receive_shot) == 0);
    } else {
        stream->result = result;
        atomic_store(&stream->ended, 1);
    }
}

/* Begins to receive on a new connection. */
static void open_stream(loop_t *loop, stream_t *stream, loop_buffers_t *buffers)
{
    memset(stream, 0, sizeof *stream);
    stream->buffers = buffers;
    make_tcp_pair(stream->ends);
    assert_result(
        loop_recv_buffer(loop, &stream->request, stream->ends[0], buffers, LOOP_MULTISHOT, receive_shot), 0);
}

static loop_buffers_t *new_pool(loop_t *loop, uint32_t count)
{
    loop_buffers_t *buffers = NULL;
    assert_result(loop_buffers_init(loop, &buffers, NULL, SIZE, count), 0);
    return buffers;
}

/* Sends the next part of the pattern. */
static void send_part(const stream_t *stream, size_t position, size_t length)
{
    char bytes[8192];
    CHECK(length <= sizeof bytes);
    fill_with_pattern(bytes, length, position);
    put(stream->ends[1], bytes, length);
}

/* ---- one stream ------------------------------------------------------------------------------ */

LOOP_TEST(each_part_of_a_stream_is_a_shot_and_the_end_is_the_last)
{
    stream_t        stream;
    loop_buffers_t *buffers = new_pool(loop, 8);
    size_t          position = 0;
    open_stream(loop, &stream, buffers);
    for (unsigned i = 0; i < 50; i++) {
        size_t length = 1 + i * 7 % SIZE;
        send_part(&stream, position, length);
        position += length;
        run_until(loop, &stream.shots, i + 1);
        assert_int_equal(atomic_load(&stream.received), position);
    }
    assert_int_equal(shutdown(stream.ends[1], SHUT_WR), 0);
    run(loop);
    assert_int_equal(atomic_load(&stream.ended), 1);
    assert_result(stream.result, 0);
    assert_int_equal(atomic_load(&stream.shots), 50);
    assert_result(loop_buffers_deinit(buffers), 0);
    close_both(stream.ends);
}

LOOP_TEST(a_long_stream_comes_in_order_through_few_buffers)
{
    enum { LENGTH = 4000000 };
    char           *bytes = new_pattern(LENGTH);
    operation_t     sending = {0};
    stream_t        stream;
    loop_buffers_t *buffers = new_pool(loop, 2 * test_threads());
    open_stream(loop, &stream, buffers);
    stream.again = true;
    assert_result(loop_send(loop, begin(&sending), stream.ends[1], bytes, LENGTH, LOOP_SEND_ALL, record), 0);
    assert_result(await(loop, &sending), LENGTH);
    assert_int_equal(shutdown(stream.ends[1], SHUT_WR), 0);
    run(loop);
    assert_result(stream.result, 0);
    assert_int_equal(atomic_load(&stream.received), LENGTH);
    assert_result(loop_buffers_deinit(buffers), 0);
    close_both(stream.ends);
    free(bytes);
}

LOOP_TEST(the_end_that_came_with_the_bytes_is_not_lost)
{
    for (unsigned round = 0; round < 20; round++) {
        stream_t        stream;
        loop_buffers_t *buffers = new_pool(loop, 8);
        open_stream(loop, &stream, buffers);
        if (round % 2 == 0) {
            run_for(loop, MILLISECOND / 4);
        }
        send_part(&stream, 0, 3 * SIZE + 5);
        close(stream.ends[1]);
        run(loop);
        assert_result(stream.result, 0);
        assert_int_equal(atomic_load(&stream.received), 3 * SIZE + 5);
        assert_result(loop_buffers_deinit(buffers), 0);
        close(stream.ends[0]);
    }
}

LOOP_TEST(a_reset_is_the_last_shot)
{
    stream_t        stream;
    loop_buffers_t *buffers = new_pool(loop, 8);
    open_stream(loop, &stream, buffers);
    send_part(&stream, 0, 10);
    run_until(loop, &stream.shots, 1);
    reset_connection(stream.ends[1]);
    run(loop);
    assert_result(stream.result, LOOP_ECONNRESET);
    assert_int_equal(atomic_load(&stream.received), 10);
    assert_result(loop_buffers_deinit(buffers), 0);
    close(stream.ends[0]);
}

LOOP_TEST(a_cancel_or_a_close_between_shots_is_the_last_and_loses_no_byte)
{
    for (int close_it = 0; close_it < 2; close_it++) {
        char            bytes[8];
        stream_t        stream;
        loop_buffers_t *buffers = new_pool(loop, 8);
        open_stream(loop, &stream, buffers);
        send_part(&stream, 0, 10);
        run_until(loop, &stream.shots, 1);
        if (close_it == 1) {
            assert_result(RESULT_OF(loop, loop_close, stream.ends[0]), 0);
        } else {
            assert_result(loop_cancel(loop, &stream.request), 0);
        }
        run(loop);
        assert_result(stream.result, LOOP_ECANCELED);
        if (close_it == 0) {
            send_part(&stream, 10, 5);
            assert_result(RESULT_OF(loop, loop_recv, stream.ends[0], bytes, sizeof bytes, 0), 5);
            assert_true(has_pattern(bytes, 5, 10));
            close(stream.ends[0]);
        }
        assert_result(loop_buffers_deinit(buffers), 0);
        close(stream.ends[1]);
    }
}

LOOP_TEST(a_deadline_counts_from_the_last_shot)
{
    stream_t        stream = {.request.timeout_ns = 30 * MILLISECOND};
    loop_buffers_t *buffers = new_pool(loop, 8);
    stream.buffers = buffers;
    make_tcp_pair(stream.ends);
    assert_result(
        loop_recv_buffer(loop, &stream.request, stream.ends[0], buffers, LOOP_MULTISHOT, receive_shot), 0);
    run_for(loop, 10 * MILLISECOND);
    uint64_t begin_ns = loop_now(loop);
    send_part(&stream, 0, 10);
    run(loop);
    assert_result(stream.result, LOOP_ETIMEDOUT);
    assert_true(loop_now(loop) - begin_ns >= 30 * MILLISECOND);
    assert_int_equal(atomic_load(&stream.received), 10);
    assert_result(loop_buffers_deinit(buffers), 0);
    close_both(stream.ends);
}

/* ---- many streams ---------------------------------------------------------------------------- */

enum { STREAMS = 60, STEPS = 40 };

LOOP_TEST(idle_streams_hold_no_buffer_and_many_work_with_few)
{
    static stream_t streams[STREAMS];
    loop_buffers_t *buffers = new_pool(loop, test_threads()); /* one for each thread */
    for (size_t i = 0; i < STREAMS; i++) {
        open_stream(loop, &streams[i], buffers);
    }
    run_for(loop, 2 * MILLISECOND);
    for (size_t i = 0; i < 3 * STREAMS; i++) {
        stream_t *stream = &streams[i * 7 % STREAMS];
        unsigned  shots = atomic_load(&stream->shots);
        send_part(stream, atomic_load(&stream->received), 100);
        run_until(loop, &stream->shots, shots + 1);
    }
    for (size_t i = 0; i < STREAMS; i++) {
        assert_int_equal(atomic_load(&streams[i].received), 300);
        assert_int_equal(atomic_load(&streams[i].ended), 0);
        close(streams[i].ends[1]);
    }
    run(loop);
    for (size_t i = 0; i < STREAMS; i++) {
        assert_result(streams[i].result, 0);
        close(streams[i].ends[0]);
    }
    assert_result(loop_buffers_deinit(buffers), 0);
}

static void *feed(void *argument)
{
    stream_t *streams = argument;
    size_t    positions[STREAMS] = {0};
    uint64_t  chance = 5;
    for (unsigned step = 0; step < STEPS; step++) {
        for (size_t i = 0; i < STREAMS; i++) {
            size_t length = 1 + random_below(&chance, 1500);
            send_part(&streams[i], positions[i], length);
            positions[i] += length;
        }
    }
    for (size_t i = 0; i < STREAMS; i++) {
        CHECK(shutdown(streams[i].ends[1], SHUT_WR) == 0);
        streams[i].request.user = (void *)positions[i];
    }
    return NULL;
}

LOOP_TEST(many_busy_streams_share_few_buffers)
{
    static stream_t streams[STREAMS];
    size_t          received = 0, missed = 0;
    loop_buffers_t *buffers = new_pool(loop, 4 * test_threads());
    for (size_t i = 0; i < STREAMS; i++) {
        open_stream(loop, &streams[i], buffers);
        streams[i].again = true;
    }
    pthread_t thread = start_thread(feed, streams);
    run(loop);
    join_thread(thread);
    for (size_t i = 0; i < STREAMS; i++) {
        assert_int_equal(atomic_load(&streams[i].ended), 1);
        assert_result(streams[i].result, 0);
        assert_int_equal(atomic_load(&streams[i].received), (size_t)streams[i].request.user);
        received += atomic_load(&streams[i].received);
        missed += atomic_load(&streams[i].missed);
        close_both(streams[i].ends);
    }
    print_message("    %zu bytes, %zu times without a buffer\n", received, missed);
    assert_result(loop_buffers_deinit(buffers), 0);
}

/* ---- buffers that are kept for a while ------------------------------------------------------- */

/* Buffers on their way from callbacks to a thread that gives them back. */
typedef struct parcels {
    loop_buffers_t *buffers;
    pthread_mutex_t lock;
    pthread_cond_t  changed;
    void           *waiting[64];
    size_t          count;
    bool            closed;
} parcels_t;

typedef struct keeper {
    loop_request_t request; /* first */
    parcels_t     *parcels;
    int            fd;
    atomic_size_t  received;
    atomic_uint    ended;
    atomic_uint    missed;
} keeper_t;

static void *give_back(void *argument)
{
    parcels_t *parcels = argument;
    for (;;) {
        pthread_mutex_lock(&parcels->lock);
        while (parcels->count == 0 && !parcels->closed) {
            pthread_cond_wait(&parcels->changed, &parcels->lock);
        }
        void *buffer = parcels->count > 0 ? parcels->waiting[--parcels->count] : NULL;
        pthread_mutex_unlock(&parcels->lock);
        if (buffer == NULL) {
            return NULL;
        }
        CHECK(loop_buffer_return(parcels->buffers, buffer) == 0);
    }
}

static void keep_shot(loop_t *loop, loop_request_t *request, int64_t result)
{
    keeper_t  *keeper = (keeper_t *)(void *)request;
    parcels_t *parcels = keeper->parcels;
    if (result > 0) {
        size_t received = atomic_fetch_add(&keeper->received, (size_t)result);
        CHECK(has_pattern(loop_buffer(request), (size_t)result, received));
        pthread_mutex_lock(&parcels->lock);
        CHECK(parcels->count < COUNT(parcels->waiting));
        parcels->waiting[parcels->count++] = loop_buffer(request);
        pthread_cond_signal(&parcels->changed);
        pthread_mutex_unlock(&parcels->lock);
    }
    if (request->flags & LOOP_MORE) {
        return;
    }
    if (result > 0 || result == LOOP_ENOBUFS) {
        atomic_fetch_add(&keeper->missed, result == LOOP_ENOBUFS);
        CHECK(loop_recv_buffer(loop, request, keeper->fd, parcels->buffers, LOOP_MULTISHOT, keep_shot) == 0);
        return;
    }
    CHECK(result == 0);
    atomic_store(&keeper->ended, 1);
}

LOOP_TEST(buffers_are_given_back_from_another_thread)
{
    enum { LENGTH = 1000000 };
    parcels_t   parcels = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    keeper_t    keeper = {.parcels = &parcels};
    operation_t sending = {0}, shutting = {0};
    char       *bytes = new_pattern(LENGTH);
    int         ends[2];
    make_tcp_pair(ends);
    keeper.fd = ends[0];
    parcels.buffers = new_pool(loop, 16);
    pthread_t thread = start_thread(give_back, &parcels);
    assert_result(
        loop_recv_buffer(loop, &keeper.request, ends[0], parcels.buffers, LOOP_MULTISHOT, keep_shot), 0);
    assert_result(loop_send(loop, begin(&sending), ends[1], bytes, LENGTH, LOOP_SEND_ALL, record), 0);
    assert_result(loop_shutdown(loop, begin(&shutting), ends[1], SHUT_WR, record), 0);
    run(loop);
    assert_int_equal(atomic_load(&keeper.ended), 1);
    assert_int_equal(atomic_load(&keeper.received), LENGTH);
    pthread_mutex_lock(&parcels.lock);
    parcels.closed = true;
    pthread_cond_signal(&parcels.changed);
    pthread_mutex_unlock(&parcels.lock);
    join_thread(thread);
    assert_result(loop_buffers_deinit(parcels.buffers), 0);
    close_both(ends);
    free(bytes);
}

LOOP_TEST(shots_can_be_harvested_with_their_buffers)
{
    loop_request_t  request = {0}, *done = NULL;
    int             ends[2];
    size_t          received = 0;
    loop_buffers_t *buffers = new_pool(loop, 4 * test_threads());
    char            bytes[100];
    make_tcp_pair(ends);
    assert_result(loop_recv_buffer(loop, &request, ends[0], buffers, LOOP_MULTISHOT, NULL), 0);
    for (unsigned i = 0; i < 20; i++) {
        fill_with_pattern(bytes, sizeof bytes, i * sizeof bytes);
        put(ends[1], bytes, sizeof bytes);
        if (i % 3 != 0) {
            continue; /* two more come before the first is fetched */
        }
        while (received < i * sizeof bytes) {
            assert_result(loop_wait(loop, &done, 1, -1), 1);
            assert_ptr_equal(done, &request);
            assert_true(request.result > 0);
            assert_int_equal(request.flags, LOOP_MORE | LOOP_BUFFER);
            assert_true(has_pattern(loop_buffer(&request), (size_t)request.result, received));
            received += (size_t)request.result;
            assert_result(loop_buffer_return(buffers, loop_buffer(&request)), 0);
        }
    }
    close(ends[1]);
    do {
        assert_result(loop_wait(loop, &done, 1, -1), 1);
        if (request.flags & LOOP_BUFFER) {
            received += (size_t)request.result;
            assert_result(loop_buffer_return(buffers, loop_buffer(&request)), 0);
        }
    } while (request.flags & LOOP_MORE);
    assert_result(request.result, 0);
    assert_int_equal(received, 20 * sizeof bytes);
    run(loop);
    assert_result(loop_buffers_deinit(buffers), 0);
    close(ends[0]);
}

LOOP_TEST(a_pool_ends_when_its_receives_have_and_before_its_loop)
{
    stream_t        streams[4];
    loop_t         *other = new_loop();
    loop_buffers_t *buffers = new_pool(other, 8);
    (void)loop;
    for (size_t i = 0; i < COUNT(streams); i++) {
        open_stream(other, &streams[i], buffers);
        send_part(&streams[i], 0, 100);
    }
    run_until(other, &streams[0].shots, 1);
    assert_result(loop_buffers_deinit(buffers), LOOP_EBUSY);
    for (size_t i = 0; i < COUNT(streams); i++) {
        assert_result(loop_cancel(other, &streams[i].request), 0);
    }
    run(other);
    for (size_t i = 0; i < COUNT(streams); i++) {
        assert_result(streams[i].result, LOOP_ECANCELED);
        close_both(streams[i].ends);
    }
    assert_result(loop_buffers_deinit(buffers), 0);
    end_loop(other);
}

/* ---- datagrams ------------------------------------------------------------------------------- */

/* Notes the length of each datagram, whose bytes must be those of its number. */
static void receive_datagram(loop_t *loop, loop_request_t *request, int64_t result)
{
    if (result > 0) {
        shots_t *shots = (shots_t *)(void *)request;
        char    *buffer = loop_buffer(request);
        for (int64_t i = 0; i < result; i++) {
            CHECK(buffer[i] == (char)atomic_load(&shots->count));
        }
        CHECK(loop_buffer_return(request->user, buffer) == 0);
    }
    record_shot(loop, request, result);
}

LOOP_TEST(each_datagram_is_a_shot)
{
    enum { DATAGRAMS = 100 };
    char            bytes[SIZE + 50];
    loop_buffers_t *buffers = new_pool(loop, 8 * test_threads());
    shots_t         shots = {.request.user = buffers};
    int             fds[2] = {make_socket(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t      to = name_of(fds[1]);
    assert_result(
        loop_recv_buffer(loop, &shots.request, fds[1], buffers, LOOP_MULTISHOT, receive_datagram), 0);
    for (unsigned i = 0; i < DATAGRAMS; i++) {
        size_t length = 1 + i * 6; /* the last are longer than a buffer */
        memset(bytes, (int)i, sizeof bytes);
        length = length < sizeof bytes ? length : sizeof bytes;
        assert_int_equal(sendto(fds[0], bytes, length, 0, &to.any, to.length), length);
        if (i % 5 == 4) {
            run_until(loop, &shots.count, i + 1);
        }
    }
    assert_result(loop_cancel(loop, &shots.request), 0);
    assert_result(await_end(loop, &shots), LOOP_ECANCELED);
    for (unsigned i = 0; i < DATAGRAMS; i++) {
        assert_int_equal(shots.results[i], 1 + i * 6 < SIZE ? 1 + i * 6 : SIZE);
    }
    run(loop);
    assert_result(loop_buffers_deinit(buffers), 0);
    close_both(fds);
}

LOOP_TEST(an_empty_datagram_is_received)
{
    loop_buffers_t *buffers = new_pool(loop, 8 * test_threads());
    int             fds[2] = {make_socket(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t      to = name_of(fds[1]);
    assert_int_equal(sendto(fds[0], "", 0, 0, &to.any, to.length), 0);
    assert_result(RESULT_OF(loop, loop_recv_buffer, fds[1], buffers, 0), 0);
    assert_int_equal(sendto(fds[0], "x", 1, 0, &to.any, to.length), 1);
    assert_result(RESULT_OF(loop, loop_recv_buffer, fds[1], buffers, 0), 1);
    assert_result(loop_buffers_deinit(buffers), 0);
    close_both(fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(each_part_of_a_stream_is_a_shot_and_the_end_is_the_last),
        GUARDED(a_long_stream_comes_in_order_through_few_buffers),
        GUARDED(the_end_that_came_with_the_bytes_is_not_lost),
        GUARDED(a_reset_is_the_last_shot),
        GUARDED(a_cancel_or_a_close_between_shots_is_the_last_and_loses_no_byte),
        GUARDED(a_deadline_counts_from_the_last_shot),
        GUARDED(idle_streams_hold_no_buffer_and_many_work_with_few),
        GUARDED(many_busy_streams_share_few_buffers),
        GUARDED(buffers_are_given_back_from_another_thread),
        GUARDED(shots_can_be_harvested_with_their_buffers),
        GUARDED(a_pool_ends_when_its_receives_have_and_before_its_loop),
        GUARDED(each_datagram_is_a_shot),
        GUARDED(an_empty_datagram_is_received),
    };
    return RUN_SUITE(tests);
}
