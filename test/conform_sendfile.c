/*
 * Conformance of loop_sendfile: how much, from where, in which order, and how it ends.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

#include <sys/sendfile.h>

enum { LARGE = 4000000 };

/* An open file with the pattern from position 0 on. */
static int pattern_file(size_t length)
{
    char *bytes = new_pattern(length);
    int   fd = temporary_file(bytes, length);
    free(bytes);
    return fd;
}

/* ---- how much -------------------------------------------------------------------------------- */

LOOP_TEST(a_part_of_a_file_is_sent_up_to_its_end_and_its_position_stays)
{
    const size_t parts[][3] = { /* offset, length, bytes sent */
        {0, 1000, 1000}, {0, 1, 1},      {999, 1, 1},    {100, 200, 200}, {900, 200, 100},
        {0, 5000, 1000}, {1000, 100, 0}, {5000, 100, 0}, {10, 0, 0},
    };
    char bytes[1000];
    int  file = pattern_file(1000), ends[2];
    make_tcp_pair(ends);
    assert_int_equal(lseek(file, 17, SEEK_SET), 17);
    for (size_t i = 0; i < COUNT(parts); i++) {
        size_t offset = parts[i][0], length = parts[i][1], sent = parts[i][2];
        for (int all = 0; all < 2; all++) {
            uint32_t flags = all == 1 ? LOOP_SEND_ALL : 0;
            set_nonblocking(ends[0], i % 2 == 0);
            int64_t  result = RESULT_OF(loop, loop_sendfile, ends[0], file, offset, length, flags);
            assert_result(result, (int64_t)sent);
            take(ends[1], bytes, sent);
            assert_true(has_pattern(bytes, sent, offset));
        }
    }
    assert_int_equal(lseek(file, 0, SEEK_CUR), 17);
    close(file);
    close_both(ends);
}

LOOP_TEST(without_more_a_file_is_sent_as_far_as_the_system_takes_it)
{
    reader_t reader;
    int      file = pattern_file(LARGE), ends[2];
    make_narrow_pair(ends, true);
    int64_t sent = RESULT_OF(loop, loop_sendfile, ends[0], file, 0, LARGE, 0);
    assert_in_range(sent, 1, LARGE - 1);
    close(ends[0]);
    start_reader(&reader, ends[1], 65536, 0);
    assert_int_equal(finish_pattern_reader(&reader), sent);
    close(ends[1]);
    close(file);
}

static void send_all_to_a_slow_reader(loop_t *loop, bool nonblocking, bool cold, size_t asked)
{
    reader_t reader;
    int      file = pattern_file(LARGE), ends[2];
    if (cold) {
        assert_int_equal(fsync(file), 0);
        assert_int_equal(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
    }
    make_narrow_pair(ends, nonblocking);
    start_reader(&reader, ends[1], 100000, MILLISECOND);
    assert_result(RESULT_OF(loop, loop_sendfile, ends[0], file, 0, asked, LOOP_SEND_ALL), LARGE);
    assert_int_equal((fcntl(ends[0], F_GETFL) & O_NONBLOCK) != 0, nonblocking);
    close(ends[0]);
    assert_int_equal(finish_pattern_reader(&reader), LARGE);
    close(ends[1]);
    close(file);
}

LOOP_TEST(all_of_a_file_goes_to_a_slow_reader)
{
    send_all_to_a_slow_reader(loop, true, false, LARGE);
    send_all_to_a_slow_reader(loop, false, false, LARGE);
}

LOOP_TEST(a_file_that_is_not_in_memory_is_sent)
{
    send_all_to_a_slow_reader(loop, true, true, LARGE);
    send_all_to_a_slow_reader(loop, false, true, LARGE);
}

LOOP_TEST(the_end_of_the_file_ends_a_send_of_more)
{
    send_all_to_a_slow_reader(loop, true, false, LARGE + 5000000);
    send_all_to_a_slow_reader(loop, false, true, LARGE + 1);
}

LOOP_TEST(a_file_whose_size_is_not_known_is_sent_as_by_the_blocking_call)
{
    char direct[512], ours[512];
    int  file = open("/proc/version", O_RDONLY | O_CLOEXEC), pair[2], twins[2];
    assert_true(file >= 0);
    make_tcp_pair(pair);
    make_tcp_pair(twins);
    off_t   offset = 3;
    int64_t expected = outcome(sendfile(twins[0], file, &offset, sizeof direct));
    assert_in_range(expected, 1, sizeof direct);
    assert_result(RESULT_OF(loop, loop_sendfile, pair[0], file, 3, sizeof ours, 0), expected);
    take(twins[1], direct, (size_t)expected);
    take(pair[1], ours, (size_t)expected);
    assert_memory_equal(ours, direct, (size_t)expected);
    close(file);
    close_both(pair);
    close_both(twins);
}

LOOP_TEST(one_file_goes_to_many_sockets_at_once)
{
    enum { SOCKETS = 10, LENGTH = 300000 };
    operation_t sending[SOCKETS];
    reader_t    readers[SOCKETS];
    int         file = pattern_file(LENGTH), ends[SOCKETS][2];
    memset(sending, 0, sizeof sending);
    for (size_t i = 0; i < SOCKETS; i++) {
        make_socketpair(ends[i]);
        set_nonblocking(ends[i][0], i % 2 == 0);
        start_reader(&readers[i], ends[i][1], 10000, 0);
        loop_request_t *request = begin(&sending[i]);
        assert_result(loop_sendfile(loop, request, ends[i][0], file, 0, LENGTH, LOOP_SEND_ALL, record), 0);
    }
    run(loop);
    for (size_t i = 0; i < SOCKETS; i++) {
        assert_result(sending[i].result, LENGTH);
        close(ends[i][0]);
        assert_int_equal(finish_pattern_reader(&readers[i]), LENGTH);
        close(ends[i][1]);
    }
    close(file);
}

/* ---- the order ------------------------------------------------------------------------------- */

static void send_head_file_and_tail(loop_t *loop, bool nonblocking, bool cold)
{
    enum { HEAD = 30000, MIDDLE = 900000, TAIL = 70000, ALL = HEAD + MIDDLE + 100 + TAIL };
    char       *bytes = new_pattern(ALL);
    operation_t sending[4], shutting = {0};
    reader_t    reader;
    int         file = temporary_file(bytes, ALL), ends[2];
    if (cold) {
        assert_int_equal(fsync(file), 0);
        assert_int_equal(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
    }
    memset(sending, 0, sizeof sending);
    make_narrow_pair(ends, nonblocking);
    const int      fd = ends[0];
    const uint32_t all = LOOP_SEND_ALL;
    assert_result(loop_send(loop, begin(&sending[0]), fd, bytes, HEAD, all, record), 0);
    assert_result(loop_sendfile(loop, begin(&sending[1]), fd, file, HEAD, MIDDLE, all, record), 0);
    assert_result(loop_sendfile(loop, begin(&sending[2]), fd, file, HEAD + MIDDLE, 100, all, record), 0);
    assert_result(loop_send(loop, begin(&sending[3]), fd, bytes + ALL - TAIL, TAIL, all, record), 0);
    assert_result(loop_shutdown(loop, begin(&shutting), fd, SHUT_WR, record), 0);
    start_reader(&reader, ends[1], 50000, MILLISECOND / 5);
    run(loop);
    assert_result(sending[0].result, HEAD);
    assert_result(sending[1].result, MIDDLE);
    assert_result(sending[2].result, 100);
    assert_result(sending[3].result, TAIL);
    assert_result(shutting.result, 0);
    assert_int_equal(finish_pattern_reader(&reader), ALL);
    close_both(ends);
    close(file);
    free(bytes);
}

LOOP_TEST(a_file_goes_between_what_was_submitted_before_and_after_it)
{
    send_head_file_and_tail(loop, true, false);
    send_head_file_and_tail(loop, false, false);
    send_head_file_and_tail(loop, true, true);
    send_head_file_and_tail(loop, false, true);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Ends a send in the middle; the rest, sent after it, completes the pattern. */
static void end_in_the_middle(loop_t *loop, bool nonblocking, bool by_timeout)
{
    operation_t sending = {.request.timeout_ns = by_timeout ? 20 * MILLISECOND : 0};
    reader_t    reader;
    int         file = pattern_file(LARGE), ends[2];
    make_narrow_pair(ends, nonblocking);
    assert_result(loop_sendfile(loop, begin(&sending), ends[0], file, 0, LARGE, LOOP_SEND_ALL, record), 0);
    if (!by_timeout) {
        run_for(loop, 10 * MILLISECOND);
        assert_int_equal(completions_of(&sending), 0);
        assert_result(loop_cancel(loop, &sending.request), 0);
    }
    int64_t sent = await(loop, &sending);
    assert_in_range(sent, 1, LARGE - 1);
    start_reader(&reader, ends[1], 65536, 0);
    assert_result(RESULT_OF(loop, loop_sendfile, ends[0], file, (uint64_t)sent, LARGE, LOOP_SEND_ALL),
                  LARGE - sent);
    close(ends[0]);
    assert_int_equal(finish_pattern_reader(&reader), LARGE);
    close(ends[1]);
    close(file);
}

LOOP_TEST(a_send_that_is_cut_short_reports_the_bytes_that_went)
{
    for (int by_timeout = 0; by_timeout < 2; by_timeout++) {
        end_in_the_middle(loop, true, by_timeout == 1);
        end_in_the_middle(loop, false, by_timeout == 1);
    }
}

LOOP_TEST(a_send_that_waited_in_vain_says_why)
{
    operation_t late = {.request.timeout_ns = 5 * MILLISECOND}, cancelled = {0}, closed = {0};
    int         file = pattern_file(100), ends[2];
    size_t filled = make_full_pair(ends);
    assert_result(loop_sendfile(loop, begin(&late), ends[0], file, 0, 100, 0, record), 0);
    assert_result(loop_sendfile(loop, begin(&cancelled), ends[0], file, 0, 100, LOOP_SEND_ALL, record), 0);
    assert_result(loop_sendfile(loop, begin(&closed), ends[0], file, 0, 100, 0, record), 0);
    assert_result(await(loop, &late), LOOP_ETIMEDOUT);
    assert_result(loop_cancel(loop, &cancelled.request), 0);
    assert_result(await(loop, &cancelled), LOOP_ECANCELED);
    assert_result(RESULT_OF(loop, loop_close, ends[0]), 0);
    assert_result(await(loop, &closed), LOOP_ECANCELED);
    assert_int_equal(discard_all(ends[1]), filled);
    close(ends[1]);
    close(file);
}

LOOP_TEST(a_peer_that_resets_ends_it_without_a_signal)
{
    operation_t sending = {0};
    int         file = pattern_file(LARGE), ends[2];
    count_sigpipe();
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        make_narrow_pair(ends, nonblocking == 1);
        loop_request_t *request = begin(&sending);
        assert_result(loop_sendfile(loop, request, ends[0], file, 0, LARGE, LOOP_SEND_ALL, record), 0);
        run_for(loop, 10 * MILLISECOND);
        reset_connection(ends[1]);
        assert_in_range(await(loop, &sending), 1, LARGE - 1);
        int64_t error = RESULT_OF(loop, loop_sendfile, ends[0], file, 0, LARGE, LOOP_SEND_ALL);
        assert_true(error == LOOP_ECONNRESET || error == LOOP_EPIPE);
        assert_result(RESULT_OF(loop, loop_sendfile, ends[0], file, 0, LARGE, 0), LOOP_EPIPE);
        assert_result(RESULT_OF(loop, loop_sendfile, ends[0], file, 0, 10, 0), LOOP_EPIPE);
        close(ends[0]);
    }
    assert_int_equal(sigpipes(), 0);
    close(file);
}

LOOP_TEST(errors_are_those_of_reading_the_file_or_of_sending)
{
    char byte = 0;
    int  ends[2], pair[2];
    make_pipe(ends);
    make_tcp_pair(pair);
    int file = pattern_file(1000), directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int lonely = make_socket(AF_INET, SOCK_STREAM), path_only = open("/", O_PATH | O_CLOEXEC);
    int write_only = open("/dev/null", O_WRONLY | O_CLOEXEC);
    const int cases[][2] = {{-1, file},           {pair[0], -1},  {pair[0], INT32_MAX}, {pair[0], ends[0]},
                            {pair[0], pair[1]},   {lonely, file}, {pair[0], directory}, {pair[0], write_only},
                            {pair[0], path_only}, {path_only, file}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        int     out = cases[i][0], in = cases[i][1];
        int64_t expected = outcome(pread(in, &byte, 1, 0));
        if (expected >= 0) {
            expected = outcome(send(out, &byte, 1, MSG_NOSIGNAL));
        }
        assert_true(expected < 0);
        assert_result(RESULT_OF(loop, loop_sendfile, out, in, 0, 100, 0), expected);
        assert_result(RESULT_OF(loop, loop_sendfile, out, in, 0, 100000, LOOP_SEND_ALL), expected);
        set_nonblocking(pair[0], i % 2 == 0);
    }
    assert_result(RESULT_OF(loop, loop_sendfile, pair[0], file, (uint64_t)INT64_MAX + 1, 1, 0), LOOP_EINVAL);
    assert_result(RESULT_OF(loop, loop_sendfile, pair[0], file, 0, SIZE_MAX, 0), LOOP_EINVAL);
    assert_result(RESULT_OF(loop, loop_sendfile, pair[0], file, 0, 1, MSG_MORE), LOOP_EINVAL);
    assert_result(RESULT_OF(loop, loop_sendfile, pair[0], file, 0, 1, LOOP_MULTISHOT), LOOP_EINVAL);
    const int opened[] = {file, directory, lonely, path_only, write_only};
    for (size_t i = 0; i < COUNT(opened); i++) {
        close(opened[i]);
    }
    close_both(ends);
    close_both(pair);
}

LOOP_TEST(to_what_is_no_socket_it_works_or_says_that_it_does_not)
{
    char bytes[100];
    int  file = pattern_file(100), other = temporary_file("", 0), ends[2];
    make_pipe(ends);
    const int outs[] = {ends[1], other}, ins[] = {ends[0], other};
    for (size_t i = 0; i < COUNT(outs); i++) {
        int64_t result = RESULT_OF(loop, loop_sendfile, outs[i], file, 0, 100, LOOP_SEND_ALL);
        if (result < 0) {
            assert_true(result == LOOP_ENOTSOCK || result == LOOP_EINVAL);
            continue;
        }
        assert_result(result, 100);
        lseek(ins[i], 0, SEEK_SET);
        take(ins[i], bytes, 100);
        assert_true(has_pattern(bytes, 100, 0));
    }
    close(file);
    close(other);
    close_both(ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_part_of_a_file_is_sent_up_to_its_end_and_its_position_stays),
        GUARDED(without_more_a_file_is_sent_as_far_as_the_system_takes_it),
        GUARDED(all_of_a_file_goes_to_a_slow_reader),
        GUARDED(a_file_that_is_not_in_memory_is_sent),
        GUARDED(the_end_of_the_file_ends_a_send_of_more),
        GUARDED(a_file_whose_size_is_not_known_is_sent_as_by_the_blocking_call),
        GUARDED(one_file_goes_to_many_sockets_at_once),
        GUARDED(a_file_goes_between_what_was_submitted_before_and_after_it),
        GUARDED(a_send_that_is_cut_short_reports_the_bytes_that_went),
        GUARDED(a_send_that_waited_in_vain_says_why),
        GUARDED(a_peer_that_resets_ends_it_without_a_signal),
        GUARDED(errors_are_those_of_reading_the_file_or_of_sending),
        GUARDED(to_what_is_no_socket_it_works_or_says_that_it_does_not),
    };
    return RUN_SUITE(tests);
}
