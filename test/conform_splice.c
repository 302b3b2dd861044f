/*
 * Conformance of loop_splice: between pipes, files and sockets, waiting on either side.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

/* The arguments of a splice between two descriptors without offsets. */
#define FROM(fd) (fd), LOOP_NO_OFFSET
#define TO(fd)   (fd), LOOP_NO_OFFSET

/* ---- what it moves --------------------------------------------------------------------------- */

LOOP_TEST(bytes_move_between_pipes_as_far_as_they_are_there)
{
    char bytes[8];
    int  from[2], to[2];
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        make_pipe(from);
        make_pipe(to);
        set_nonblocking(from[0], nonblocking == 1);
        set_nonblocking(to[1], nonblocking == 1);
        put(from[1], "abcdef", 6);
        assert_result(RESULT_OF(loop, loop_splice, FROM(from[0]), TO(to[1]), 2, 0), 2);
        assert_result(RESULT_OF(loop, loop_splice, FROM(from[0]), TO(to[1]), 100, SPLICE_F_MOVE), 4);
        take(to[0], bytes, 6);
        assert_memory_equal(bytes, "abcdef", 6);
        assert_int_equal((fcntl(to[1], F_GETFL) & O_NONBLOCK) != 0, nonblocking);
        close(from[1]);
        assert_result(RESULT_OF(loop, loop_splice, FROM(from[0]), TO(to[1]), 100, 0), 0);
        close(from[0]);
        close_both(to);
    }
}

LOOP_TEST(a_file_moves_into_a_pipe_from_an_offset_or_its_position)
{
    char bytes[16];
    int  file = temporary_file("0123456789", 10), ends[2];
    make_pipe(ends);
    assert_int_equal(lseek(file, 2, SEEK_SET), 2);
    assert_result(RESULT_OF(loop, loop_splice, file, 7, TO(ends[1]), 100, 0), 3);
    assert_int_equal(lseek(file, 0, SEEK_CUR), 2);
    assert_result(RESULT_OF(loop, loop_splice, FROM(file), TO(ends[1]), 4, 0), 4);
    assert_int_equal(lseek(file, 0, SEEK_CUR), 6);
    take(ends[0], bytes, 7);
    assert_memory_equal(bytes, "7892345", 7);
    assert_result(RESULT_OF(loop, loop_splice, file, 10, TO(ends[1]), 4, 0), 0);
    assert_result(RESULT_OF(loop, loop_splice, file, 5000, TO(ends[1]), 4, 0), 0);
    assert_result(RESULT_OF(loop, loop_splice, file, 0, TO(ends[1]), 0, 0), 0);
    close(file);
    close_both(ends);
}

LOOP_TEST(a_pipe_moves_into_a_file_at_an_offset_or_its_position)
{
    char bytes[16];
    int  file = temporary_file("..........", 10), ends[2];
    make_pipe(ends);
    put(ends[1], "abcd", 4);
    assert_int_equal(lseek(file, 1, SEEK_SET), 1);
    assert_result(RESULT_OF(loop, loop_splice, FROM(ends[0]), file, 5, 2, 0), 2);
    assert_int_equal(lseek(file, 0, SEEK_CUR), 1);
    assert_result(RESULT_OF(loop, loop_splice, FROM(ends[0]), TO(file), 2, 0), 2);
    assert_int_equal(lseek(file, 0, SEEK_CUR), 3);
    assert_int_equal(pread(file, bytes, sizeof bytes, 0), 10);
    assert_memory_equal(bytes, ".cd..ab...", 10);
    close(file);
    close_both(ends);
}

LOOP_TEST(bytes_move_between_sockets_and_pipes)
{
    char bytes[8];
    int  ends[2], sockets[2];
    make_pipe(ends);
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        make_tcp_pair(sockets);
        set_nonblocking(sockets[0], nonblocking == 1);
        put(sockets[1], "in", 2);
        assert_result(RESULT_OF(loop, loop_splice, FROM(sockets[0]), TO(ends[1]), 100, 0), 2);
        put(ends[1], "+out", 4);
        assert_result(RESULT_OF(loop, loop_splice, FROM(ends[0]), TO(sockets[0]), 6, SPLICE_F_MORE), 6);
        assert_result(RESULT_OF(loop, loop_send, sockets[0], "!", 1, 0), 1);
        take(sockets[1], bytes, 7);
        assert_memory_equal(bytes, "in+out!", 7);
        close(sockets[1]);
        assert_result(RESULT_OF(loop, loop_splice, FROM(sockets[0]), TO(ends[1]), 100, 0), 0);
        close(sockets[0]);
    }
    close_both(ends);
}

LOOP_TEST(a_file_is_pumped_through_a_pipe_to_a_slow_reader)
{
    enum { LENGTH = 1000000, PIECE = 50000 };
    char    *source = new_pattern(LENGTH);
    reader_t reader;
    int      file = temporary_file(source, LENGTH), ends[2], sockets[2];
    make_pipe(ends);
    make_narrow_pair(sockets, true);
    start_reader(&reader, sockets[1], 65536, MILLISECOND / 2);
    for (int64_t moved = 0; moved < LENGTH;) {
        int64_t in = RESULT_OF(loop, loop_splice, file, (uint64_t)moved, TO(ends[1]), PIECE, 0);
        assert_in_range(in, 1, PIECE);
        moved += in;
        while (in > 0) {
            int64_t out = RESULT_OF(loop, loop_splice, FROM(ends[0]), TO(sockets[0]), (size_t)in, 0);
            assert_in_range(out, 1, in);
            in -= out;
        }
    }
    close(sockets[0]);
    assert_int_equal(finish_pattern_reader(&reader), LENGTH);
    close(sockets[1]);
    close_both(ends);
    close(file);
    free(source);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Four descriptors: a way in, of which the first end is spliced from, and a way out, of which the second is
 * spliced to. Either may be a socket. */
typedef struct ways {
    int in[2], out[2];
} ways_t;

static ways_t open_ways(bool in_is_socket, bool out_is_socket, bool nonblocking)
{
    ways_t ways;
    if (in_is_socket) {
        make_socketpair(ways.in);
    } else {
        make_pipe(ways.in);
    }
    if (out_is_socket) {
        make_socketpair(ways.out);
    } else {
        make_pipe(ways.out);
    }
    set_nonblocking(ways.in[0], nonblocking);
    set_nonblocking(ways.out[1], nonblocking);
    return ways;
}

static void close_ways(const ways_t *ways)
{
    close_both(ways->in);
    close_both(ways->out);
}

static void splice_ways(loop_t *loop, operation_t *operation, const ways_t *ways)
{
    assert_result(
        loop_splice(loop, begin(operation), FROM(ways->in[0]), TO(ways->out[1]), 100, 0, record), 0);
}

/* Runs a function for each kind of ways. */
static void for_all_ways(loop_t *loop, void (*function)(loop_t *loop, const ways_t *ways))
{
    for (unsigned kind = 0; kind < 6; kind++) {
        ways_t ways = open_ways(kind % 3 == 1, kind % 3 == 2, kind >= 3);
        function(loop, &ways);
        close_ways(&ways);
    }
}

static void wait_for_bytes(loop_t *loop, const ways_t *ways)
{
    char        bytes[4];
    operation_t splicing = {0};
    splice_ways(loop, &splicing, ways);
    run_for(loop, 3 * MILLISECOND);
    assert_int_equal(completions_of(&splicing), 0);
    put(ways->in[1], "come", 4);
    assert_result(await(loop, &splicing), 4);
    take(ways->out[0], bytes, 4);
    assert_memory_equal(bytes, "come", 4);
}

LOOP_TEST(it_waits_for_bytes)
{
    for_all_ways(loop, wait_for_bytes);
}

static void wait_for_room(loop_t *loop, const ways_t *ways)
{
    char        bytes[4];
    operation_t splicing = {0};
    size_t      filled = fill(ways->out[1]);
    put(ways->in[1], "room", 4);
    splice_ways(loop, &splicing, ways);
    run_for(loop, 3 * MILLISECOND);
    assert_int_equal(completions_of(&splicing), 0);
    discard(ways->out[0], filled);
    assert_result(await(loop, &splicing), 4);
    take(ways->out[0], bytes, 4);
    assert_memory_equal(bytes, "room", 4);
}

LOOP_TEST(it_waits_for_room)
{
    for_all_ways(loop, wait_for_room);
}

static void wait_for_both(loop_t *loop, const ways_t *ways)
{
    operation_t splicing = {0};
    size_t      filled = fill(ways->out[1]);
    splice_ways(loop, &splicing, ways);
    run_for(loop, 2 * MILLISECOND);
    put(ways->in[1], "both", 4);
    run_for(loop, 2 * MILLISECOND);
    assert_int_equal(completions_of(&splicing), 0);
    discard(ways->out[0], filled);
    assert_result(await(loop, &splicing), 4);
}

LOOP_TEST(it_waits_for_bytes_and_then_for_room)
{
    for_all_ways(loop, wait_for_both);
}

static void end_while_it_waits(loop_t *loop, const ways_t *ways)
{
    char        bytes[4];
    operation_t cancelled = {0}, late = {.request.timeout_ns = 3 * MILLISECOND}, swept = {0};
    for (int full = 0; full < 2; full++) {
        size_t filled = full == 1 ? fill(ways->out[1]) : 0;
        if (full == 1) {
            put(ways->in[1], "kept", 4);
        }
        splice_ways(loop, &late, ways);
        assert_result(await(loop, &late), LOOP_ETIMEDOUT);
        splice_ways(loop, &cancelled, ways);
        run_for(loop, MILLISECOND);
        assert_result(loop_cancel(loop, &cancelled.request), 0);
        assert_result(await(loop, &cancelled), LOOP_ECANCELED);
        splice_ways(loop, &swept, ways);
        run_for(loop, MILLISECOND);
        assert_result(RESULT_OF(loop, loop_cancel_fd, ways->in[0]), 1);
        assert_result(await(loop, &swept), LOOP_ECANCELED);
        discard(ways->out[0], filled);
    }
    take(ways->in[0], bytes, 4);
    assert_memory_equal(bytes, "kept", 4);
}

LOOP_TEST(a_splice_that_waits_can_be_cancelled_and_times_out_and_takes_nothing)
{
    for_all_ways(loop, end_while_it_waits);
}

/* By the far end too where there is one loop thread: with several, that may be another's. */
LOOP_TEST(closing_a_descriptor_ends_it)
{
    for (int full = 0; full < 2; full++) {
        bool far_end = full == 1 && test_threads() == 1;
        operation_t splicing = {0};
        ways_t      ways = open_ways(false, false, true);
        if (full == 1) {
            fill(ways.out[1]);
            put(ways.in[1], "x", 1);
        }
        splice_ways(loop, &splicing, &ways);
        run_for(loop, 2 * MILLISECOND);
        assert_result(RESULT_OF(loop, loop_close, far_end ? ways.out[1] : ways.in[0]), 0);
        assert_result(await(loop, &splicing), LOOP_ECANCELED);
        close(far_end ? ways.in[0] : ways.out[1]);
        close(ways.in[1]);
        close(ways.out[0]);
    }
}

static void *fill_slowly(void *argument)
{
    int  fd = *(int *)argument;
    char bytes[1000];
    for (size_t i = 0; i < 200; i++) {
        fill_with_pattern(bytes, sizeof bytes, i * sizeof bytes);
        put(fd, bytes, sizeof bytes);
    }
    CHECK(close(fd) == 0);
    return NULL;
}

LOOP_TEST(a_stream_is_spliced_from_a_slow_writer_to_a_slow_reader_to_its_end)
{
    reader_t reader;
    int64_t  total = 0, moved;
    ways_t   ways = open_ways(false, true, true);
    start_reader(&reader, ways.out[0], 7000, MILLISECOND / 5);
    pthread_t thread = start_thread(fill_slowly, &ways.in[1]);
    while ((moved = RESULT_OF(loop, loop_splice, FROM(ways.in[0]), TO(ways.out[1]), 5000, 0)) > 0) {
        total += moved;
    }
    assert_result(moved, 0);
    assert_int_equal(total, 200000);
    join_thread(thread);
    close(ways.out[1]);
    assert_int_equal(finish_pattern_reader(&reader), 200000);
    close(ways.in[0]);
    close(ways.out[0]);
}

/* ---- errors ---------------------------------------------------------------------------------- */

LOOP_TEST(nobody_at_the_other_end_is_a_broken_pipe_without_a_signal)
{
    count_sigpipe();
    for (unsigned kind = 0; kind < 4; kind++) {
        ways_t ways = open_ways(false, kind % 2 == 1, kind >= 2);
        put(ways.in[1], "x", 1);
        close(ways.out[0]);
        assert_result(RESULT_OF(loop, loop_splice, FROM(ways.in[0]), TO(ways.out[1]), 1, 0), LOOP_EPIPE);
        close(ways.out[1]);
        close_both(ways.in);
    }
    assert_int_equal(sigpipes(), 0);
}

LOOP_TEST(a_splice_that_waits_for_room_is_told_when_nobody_is_left)
{
    count_sigpipe();
    for (unsigned kind = 0; kind < 4; kind++) {
        operation_t splicing = {0};
        ways_t      ways = open_ways(false, kind % 2 == 1, kind >= 2);
        fill(ways.out[1]);
        put(ways.in[1], "x", 1);
        splice_ways(loop, &splicing, &ways);
        run_for(loop, 2 * MILLISECOND);
        close(ways.out[0]);
        int64_t result = await(loop, &splicing);
        assert_true(result == LOOP_EPIPE || (kind % 2 == 1 && result == LOOP_ECONNRESET));
        close(ways.out[1]);
        close_both(ways.in);
    }
    assert_int_equal(sigpipes(), 0);
}

LOOP_TEST(errors_are_those_of_the_blocking_call)
{
    int one[2], other[2], sockets[2];
    make_pipe(one);
    make_pipe(other);
    make_socketpair(sockets);
    put(one[1], "x", 1);
    int file = temporary_file("file", 4), directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int appending = open(temporary_path("appending"), O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
    const struct {
        int      in, in_offset, out, out_offset; /* -1: none */
        uint32_t flags;
    } cases[] = {
        {-1, -1, one[1], -1, 0},       {one[0], -1, -1, -1, 0},         {INT32_MAX, -1, one[1], -1, 0},
        {file, -1, file, -1, 0},       {file, 0, sockets[0], -1, 0},    {sockets[0], -1, sockets[1], -1, 0},
        {one[0], 0, other[1], -1, 0},  {one[0], -1, other[1], 0, 0},    {one[0], -1, one[1], -1, 0},
        {one[1], -1, other[1], -1, 0}, {one[0], -1, other[0], -1, 0},   {directory, -1, one[1], -1, 0},
        {one[0], -1, directory, -1, 0}, {one[0], -1, appending, -1, 0}, {one[0], -1, other[1], -1, 0x80},
        {sockets[0], 0, one[1], -1, 0}, {one[0], -1, sockets[0], 0, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        loff_t   from = cases[i].in_offset, to = cases[i].out_offset;
        uint64_t our_from = from < 0 ? LOOP_NO_OFFSET : (uint64_t)from;
        uint64_t our_to = to < 0 ? LOOP_NO_OFFSET : (uint64_t)to;
        int      in = cases[i].in, out = cases[i].out;
        uint32_t flags = cases[i].flags;
        int64_t  expected = outcome(splice(in, from < 0 ? NULL : &from, out, to < 0 ? NULL : &to, 1, flags));
        assert_true(expected < 0);
        assert_result(RESULT_OF(loop, loop_splice, in, our_from, out, our_to, 1, flags), expected);
    }
    assert_int_equal(drain(one[0]), 1); /* nothing was moved */
    close(file);
    close(directory);
    close(appending);
    close_both(one);
    close_both(other);
    close_both(sockets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(bytes_move_between_pipes_as_far_as_they_are_there),
        GUARDED(a_file_moves_into_a_pipe_from_an_offset_or_its_position),
        GUARDED(a_pipe_moves_into_a_file_at_an_offset_or_its_position),
        GUARDED(bytes_move_between_sockets_and_pipes),
        GUARDED(a_file_is_pumped_through_a_pipe_to_a_slow_reader),
        GUARDED(it_waits_for_bytes),
        GUARDED(it_waits_for_room),
        GUARDED(it_waits_for_bytes_and_then_for_room),
        GUARDED(a_splice_that_waits_can_be_cancelled_and_times_out_and_takes_nothing),
        GUARDED(closing_a_descriptor_ends_it),
        GUARDED(a_stream_is_spliced_from_a_slow_writer_to_a_slow_reader_to_its_end),
        GUARDED(nobody_at_the_other_end_is_a_broken_pipe_without_a_signal),
        GUARDED(a_splice_that_waits_for_room_is_told_when_nobody_is_left),
        GUARDED(errors_are_those_of_the_blocking_call),
    };
    return RUN_SUITE(tests);
}
