/*
 * The budget of the hot path, counted rather than timed: crossings between C and Go, Go allocations, and
 * where a request's memory lies.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#define BATCH 64

static loop_statistics_t statistics_of(loop_t *loop)
{
    loop_statistics_t statistics = {.size = sizeof statistics};
    assert_result(loop_get_statistics(loop, &statistics), 0);
    return statistics;
}

typedef struct stream {
    loop_request_t requests[BATCH];
    atomic_long    left; /* submits to go */
    int            fd;
    char           bytes[BATCH][64];
} stream_t;

static void next_tick(loop_t *loop, loop_request_t *request, int64_t result)
{
    stream_t *stream = request->user;
    CHECK(result == 0);
    if (atomic_fetch_sub(&stream->left, 1) > 0) CHECK(loop_on_next_tick(loop, request, next_tick) == 0);
}

static void next_read(loop_t *loop, loop_request_t *request, int64_t result)
{
    stream_t *stream = request->user;
    char     *bytes = stream->bytes[request - stream->requests];
    CHECK(result == (int64_t)sizeof stream->bytes[0]);
    if (atomic_fetch_sub(&stream->left, 1) > 0) {
        CHECK(loop_pread(loop, request, stream->fd, bytes, sizeof stream->bytes[0], 0, next_read) == 0);
    }
}

static void start(loop_t *loop, stream_t *stream, long operations)
{
    atomic_store(&stream->left, operations - BATCH);
    for (size_t i = 0; i < BATCH; i++) {
        loop_request_t *request = &stream->requests[i];
        request->user = stream;
        if (stream->fd < 0) {
            assert_result(loop_on_next_tick(loop, request, next_tick), 0);
        } else {
            assert_result(loop_pread(loop, request, stream->fd, stream->bytes[i], sizeof stream->bytes[0], 0,
                                     next_read),
                          0);
        }
    }
}

/* Runs the stream and wants no Go object to have been allocated but for a few of the runtime's own, and the
 * engine to have called the program at most once for each turn, and the program the engine once in all. */
static void run_within_budget(loop_t *loop, stream_t *stream, long operations)
{
    start(loop, stream, operations / 10);
    run(loop); /* tables grow, threads start */
    loop_statistics_t before = statistics_of(loop);
    start(loop, stream, operations);
    assert_result(loop_run(loop), 0);
    loop_statistics_t after = statistics_of(loop);

    assert_int_equal(after.completions - before.completions, operations);
    assert_in_range(after.heap_objects - before.heap_objects, 0, 100);
    assert_in_range(after.deliveries - before.deliveries, 1, after.turns - before.turns);
    assert_int_equal(after.entries - before.entries, 2); /* loop_run, and the second look at the counters */
    if (test_threads() == 1) {
        assert_in_range(after.turns - before.turns, 1, operations / BATCH + 2);
    }
}

LOOP_TEST(ticks_cost_no_allocation_and_one_crossing_a_turn)
{
    stream_t stream = {.fd = -1};
    run_within_budget(loop, &stream, 1000000);
}

LOOP_TEST(cached_reads_cost_no_allocation_and_one_crossing_a_turn)
{
    char contents[64];
    memset(contents, 'x', sizeof contents);
    stream_t stream = {.fd = temporary_file(contents, sizeof contents)};
    run_within_budget(loop, &stream, 300000);
    close(stream.fd);
}

/* One message goes to and fro between the ends of each pair. */
typedef struct link {
    struct circle *circle;
    loop_request_t receive, send;
    int            fd;
} link_t;

typedef struct circle {
    loop_buffers_t *buffers;
    long            left;  /* messages to go */
    unsigned        ended; /* pairs whose message was not passed on */
    link_t          links[2 * BATCH];
} circle_t;

static void pass_on(loop_t *loop, loop_request_t *request, int64_t result)
{
    link_t *link = request->user;
    if (result == LOOP_ECANCELED) return;
    CHECK(result == 1 && (request->flags & LOOP_MORE) != 0);
    CHECK(loop_buffer_return(link->circle->buffers, loop_buffer(request)) == 0);
    if (--link->circle->left > 0) {
        CHECK(loop_send(loop, &link->send, link->fd, "x", 1, LOOP_SEND_ALL, loop_ignore) == 0);
    } else if (++link->circle->ended == BATCH) {
        CHECK(loop_stop(loop) == 0);
    }
}

static void open_circle(loop_t *loop, circle_t *circle)
{
    assert_result(loop_buffers_init(loop, &circle->buffers, NULL, 64, 4 * BATCH), 0);
    for (unsigned i = 0; i < 2 * BATCH; i++) {
        link_t *link = &circle->links[i];
        int     ends[2];
        if (i % 2 == 0) {
            make_socketpair(ends);
        }
        *link = (link_t){.circle = circle, .fd = ends[i % 2], .receive.user = link};
        assert_result(loop_recv_buffer(loop, &link->receive, link->fd, circle->buffers, LOOP_MULTISHOT,
                                       pass_on),
                      0);
    }
}

static void go_round(loop_t *loop, circle_t *circle, long messages)
{
    circle->left = messages;
    circle->ended = 0;
    for (unsigned i = 0; i < 2 * BATCH; i += 2) {
        link_t *link = &circle->links[i];
        assert_result(loop_send(loop, &link->send, link->fd, "x", 1, 0, loop_ignore), 0);
    }
    assert_result(loop_run(loop), 0);
}

static void close_circle(loop_t *loop, circle_t *circle)
{
    for (unsigned i = 0; i < 2 * BATCH; i++) {
        assert_result(loop_cancel(loop, &circle->links[i].receive), 0);
    }
    run(loop);
    assert_result(loop_buffers_deinit(circle->buffers), 0);
    for (unsigned i = 0; i < 2 * BATCH; i++) {
        close(circle->links[i].fd);
    }
}

TEST(messages_cost_no_allocation_and_at_most_one_crossing_a_turn)
{
    enum { MESSAGES = 100000 };
    static circle_t circle;
    loop_options_t  options = test_options();
    options.threads = 1;
    loop_t *loop = new_loop_with(options);
    circle = (circle_t){0};
    open_circle(loop, &circle);
    go_round(loop, &circle, MESSAGES / 10);
    loop_statistics_t before = statistics_of(loop);
    go_round(loop, &circle, MESSAGES);
    loop_statistics_t after = statistics_of(loop);
    assert_in_range(after.heap_objects - before.heap_objects, 0, 100);
    assert_in_range(after.deliveries - before.deliveries, 1, after.turns - before.turns);
    assert_in_range(after.turns - before.turns, 1, 3 * MESSAGES / BATCH);
    close_circle(loop, &circle);
    end_loop(loop);
}

TEST(a_request_is_no_larger_than_promised)
{
    assert_in_range(sizeof(loop_request_t), 1, 256);
    assert_int_equal(sizeof(loop_request_t) % _Alignof(loop_request_t), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(ticks_cost_no_allocation_and_one_crossing_a_turn),
        GUARDED(cached_reads_cost_no_allocation_and_one_crossing_a_turn),
        GUARDED(messages_cost_no_allocation_and_at_most_one_crossing_a_turn),
        GUARDED(a_request_is_no_larger_than_promised),
    };
    return RUN_SUITE(tests);
}
