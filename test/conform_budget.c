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
        GUARDED(a_request_is_no_larger_than_promised),
    };
    return RUN_SUITE(tests);
}
