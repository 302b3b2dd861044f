/*
 * Conformance of what travels beside the bytes of a Unix socket: descriptors and credentials.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

enum { MOST_PASSED = 4 };

/* A message of one buffer with room for descriptors; the members point to each other. */
typedef struct parcel {
    struct msghdr header;
    struct iovec  vector;
    char          bytes[64];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(MOST_PASSED * sizeof(int))];
} parcel_t;

/* Makes a parcel of a text and some descriptors. */
static struct msghdr *pack(parcel_t *parcel, const char *text, const int *fds, size_t count)
{
    memset(parcel, 0, sizeof *parcel);
    strcpy(parcel->bytes, text);
    parcel->vector = (struct iovec){parcel->bytes, strlen(text)};
    parcel->header = (struct msghdr){.msg_iov = &parcel->vector, .msg_iovlen = 1};
    if (count > 0) {
        parcel->header.msg_control = parcel->control;
        parcel->header.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *control = CMSG_FIRSTHDR(&parcel->header);
        control->cmsg_level = SOL_SOCKET;
        control->cmsg_type = SCM_RIGHTS;
        control->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(control), fds, count * sizeof(int));
    }
    return &parcel->header;
}

/* Makes an empty one, with room for some descriptors. */
static struct msghdr *empty_parcel(parcel_t *parcel, size_t count)
{
    memset(parcel, 0, sizeof *parcel);
    parcel->vector = (struct iovec){parcel->bytes, sizeof parcel->bytes};
    parcel->header = (struct msghdr){.msg_iov = &parcel->vector,
                                     .msg_iovlen = 1,
                                     .msg_control = parcel->control,
                                     .msg_controllen = count == 0 ? 0 : CMSG_SPACE(count * sizeof(int))};
    return &parcel->header;
}

/* Takes the descriptors out of a parcel, and returns their number. */
static size_t unpack(parcel_t *parcel, int fds[MOST_PASSED])
{
    struct cmsghdr *control = CMSG_FIRSTHDR(&parcel->header);
    if (control == NULL) {
        return 0;
    }
    size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    CHECK(control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS && count <= MOST_PASSED);
    memcpy(fds, CMSG_DATA(control), count * sizeof(int));
    return count;
}

static void pass_one(loop_t *loop, int type, uint32_t flags)
{
    parcel_t    sent, received;
    operation_t receiving = {0};
    char        byte = 0;
    int         ends[2], pipe_ends[2], passed[MOST_PASSED];
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0);
    make_pipe(pipe_ends);
    struct msghdr *parcel = empty_parcel(&received, 1);
    assert_result(loop_recvmsg(loop, begin(&receiving), ends[1], parcel, flags, record), 0);
    run_for(loop, MILLISECOND);
    assert_int_equal(completions_of(&receiving), 0);
    assert_result(RESULT_OF(loop, loop_sendmsg, ends[0], pack(&sent, "take this", &pipe_ends[0], 1), 0), 9);
    assert_result(await(loop, &receiving), 9);
    assert_memory_equal(received.bytes, "take this", 9);
    assert_int_equal(unpack(&received, passed), 1);
    bool closed_on_exec = (fcntl(passed[0], F_GETFD) & FD_CLOEXEC) != 0;
    assert_int_equal(closed_on_exec, (flags & MSG_CMSG_CLOEXEC) != 0);
    put(pipe_ends[1], "y", 1);
    take(passed[0], &byte, 1);
    assert_int_equal(byte, 'y');
    close(passed[0]);
    close_both(pipe_ends);
    close_both(ends);
}

LOOP_TEST(a_descriptor_is_passed_and_closed_on_exec_if_asked)
{
    const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    for (size_t i = 0; i < COUNT(types); i++) {
        pass_one(loop, types[i], MSG_CMSG_CLOEXEC);
        pass_one(loop, types[i], 0);
    }
}

LOOP_TEST(several_descriptors_travel_together)
{
    parcel_t sent, received;
    int      ends[2], fds[MOST_PASSED], passed[MOST_PASSED];
    make_socketpair(ends);
    make_pipe(fds);
    make_pipe(fds + 2);
    assert_result(RESULT_OF(loop, loop_sendmsg, ends[0], pack(&sent, "four", fds, 4), 0), 4);
    assert_result(RESULT_OF(loop, loop_recvmsg, ends[1], empty_parcel(&received, 4), MSG_CMSG_CLOEXEC), 4);
    assert_int_equal(unpack(&received, passed), 4);
    for (size_t i = 0; i < COUNT(passed); i++) {
        close(passed[i]);
        close(fds[i]);
    }
    close_both(ends);
}

LOOP_TEST(a_receive_of_all_with_room_for_descriptors_ends_with_the_first_bytes)
{
    parcel_t      parcel, received;
    int           ends[2], passed[MOST_PASSED];
    const int     fd = STDERR_FILENO;
    struct msghdr plain = {.msg_iov = &received.vector, .msg_iovlen = 1};
    make_socketpair(ends);
    put(ends[0], "without", 7);
    assert_result(RESULT_OF(loop, loop_recvmsg, ends[1], empty_parcel(&received, 2), MSG_WAITALL), 7);
    assert_int_equal(unpack(&received, passed), 0);
    assert_result(RESULT_OF(loop, loop_sendmsg, ends[0], pack(&parcel, "with", &fd, 1), 0), 4);
    assert_result(RESULT_OF(loop, loop_recvmsg, ends[1], empty_parcel(&received, 2), MSG_WAITALL), 4);
    assert_int_equal(unpack(&received, passed), 1);
    close(passed[0]);

    operation_t receiving = {0}; /* without room it waits for all */
    received.vector.iov_len = 7;
    assert_result(loop_recvmsg(loop, begin(&receiving), ends[1], &plain, MSG_WAITALL, record), 0);
    put(ends[0], "thre", 4);
    run_for(loop, 2 * MILLISECOND);
    assert_int_equal(completions_of(&receiving), 0);
    put(ends[0], "ads", 3);
    assert_result(await(loop, &receiving), 7);
    assert_memory_equal(received.bytes, "threads", 7);
    close_both(ends);
}

LOOP_TEST(descriptors_that_do_not_fit_are_dropped_as_by_the_blocking_call)
{
    for (size_t room = 0; room <= 2; room += 2) {
        parcel_t sent, direct, ours;
        int      ends[2], fds[MOST_PASSED], passed[2][MOST_PASSED];
        make_socketpair(ends);
        make_pipe(fds);
        make_pipe(fds + 2);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(sendmsg(ends[0], pack(&sent, "four", fds, 4), 0), 4);
        }
        assert_int_equal(recvmsg(ends[1], empty_parcel(&direct, room), MSG_CMSG_CLOEXEC), 4);
        assert_result(RESULT_OF(loop, loop_recvmsg, ends[1], empty_parcel(&ours, room), MSG_CMSG_CLOEXEC), 4);
        assert_true(ours.header.msg_flags & MSG_CTRUNC);
        assert_int_equal(ours.header.msg_flags, direct.header.msg_flags);
        size_t expected = unpack(&direct, passed[0]);
        assert_int_equal(unpack(&ours, passed[1]), expected);
        for (size_t i = 0; i < expected; i++) {
            close(passed[0][i]);
            close(passed[1][i]);
        }
        close_both(fds);
        close_both(fds + 2);
        close_both(ends);
    }
}

LOOP_TEST(a_bad_descriptor_is_refused_and_nothing_is_sent)
{
    parcel_t parcel;
    char     byte;
    int      ends[2], bad = -1;
    make_socketpair(ends);
    struct msghdr *message = pack(&parcel, "bad", &bad, 1);
    int64_t        expected = outcome(sendmsg(ends[0], message, 0));
    assert_true(expected < 0);
    assert_result(RESULT_OF(loop, loop_sendmsg, ends[0], message, 0), expected);
    assert_result(RESULT_OF(loop, loop_sendmsg, ends[0], message, LOOP_SEND_ALL), expected);
    assert_result(outcome(recv(ends[1], &byte, 1, MSG_DONTWAIT)), LOOP_EAGAIN);
    close_both(ends);
}

LOOP_TEST(credentials_tell_who_sent)
{
    parcel_t     sent;
    struct ucred credentials = {0};
    int          ends[2], one = 1;
    char         bytes[8];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof credentials)];
    struct iovec  vector = {bytes, sizeof bytes};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    make_socketpair(ends);
    assert_int_equal(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one), 0);
    assert_result(RESULT_OF(loop, loop_sendmsg, ends[0], pack(&sent, "me", NULL, 0), 0), 2);
    assert_result(RESULT_OF(loop, loop_recvmsg, ends[1], &message, 0), 2);
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    assert_non_null(first);
    assert_int_equal(first->cmsg_level, SOL_SOCKET);
    assert_int_equal(first->cmsg_type, SCM_CREDENTIALS);
    memcpy(&credentials, CMSG_DATA(first), sizeof credentials);
    assert_int_equal(credentials.pid, getpid());
    assert_int_equal(credentials.uid, getuid());
    assert_int_equal(credentials.gid, getgid());
    close_both(ends);
}

/* ---- with all that is to be sent ------------------------------------------------------------- */

enum { PART = 200000, PARTS = 3 };

/* Receives to the end, and notes with which bytes descriptors came, and how often. */
typedef struct receiver {
    int    fd;
    size_t length, begin, end, passed;
    char  *bytes;
} receiver_t;

static void *receive_to_the_end(void *argument)
{
    receiver_t *receiver = argument;
    for (;;) {
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(MOST_PASSED * sizeof(int))];
        struct iovec  vector = {receiver->bytes + receiver->length, 20000};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        ssize_t received = recvmsg(receiver->fd, &message, MSG_CMSG_CLOEXEC);
        CHECK(received >= 0);
        if (received == 0) {
            return NULL;
        }
        struct cmsghdr *first = CMSG_FIRSTHDR(&message);
        if (first != NULL) {
            int fd;
            CHECK(first->cmsg_len == CMSG_LEN(sizeof fd));
            memcpy(&fd, CMSG_DATA(first), sizeof fd);
            close(fd);
            receiver->passed++;
            receiver->begin = receiver->length;
            receiver->end = receiver->length + (size_t)received;
        }
        receiver->length += (size_t)received;
        sleep_for(MILLISECOND / 5);
    }
}

static void send_all_with_a_descriptor(loop_t *loop, bool nonblocking)
{
    parcel_t     parcel;
    operation_t  sending = {0};
    char        *bytes = new_pattern(PARTS * PART);
    struct iovec vectors[PARTS], before[PARTS];
    int          ends[2], fd = STDERR_FILENO;
    make_socketpair(ends);
    set_nonblocking(ends[0], nonblocking);
    struct msghdr *message = pack(&parcel, "", &fd, 1);
    for (size_t i = 0; i < PARTS; i++) {
        vectors[i] = (struct iovec){bytes + i * PART, PART};
    }
    message->msg_iov = vectors;
    message->msg_iovlen = PARTS;
    memcpy(before, vectors, sizeof before);
    const struct msghdr header_before = *message;
    size_t              filled = fill(ends[0]);
    receiver_t          receiver = {.fd = ends[1], .bytes = malloc(filled + PARTS * PART + 20000)};
    assert_result(loop_sendmsg(loop, begin(&sending), ends[0], message, LOOP_SEND_ALL, record), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_int_equal(completions_of(&sending), 0);
    pthread_t thread = start_thread(receive_to_the_end, &receiver);
    assert_result(await(loop, &sending), PARTS * PART);
    assert_memory_equal(vectors, before, sizeof before);
    assert_memory_equal(message, &header_before, sizeof header_before);
    close(ends[0]);
    join_thread(thread);
    assert_int_equal(receiver.passed, 1);
    assert_true(receiver.begin <= filled && filled < receiver.end);
    assert_int_equal(receiver.length, filled + PARTS * PART);
    assert_true(has_pattern(receiver.bytes + filled, PARTS * PART, 0));
    close(ends[1]);
    free(receiver.bytes);
    free(bytes);
}

LOOP_TEST(a_descriptor_goes_once_with_the_first_bytes_and_the_buffers_stay_as_they_are)
{
    send_all_with_a_descriptor(loop, true);
    send_all_with_a_descriptor(loop, false);
}

LOOP_TEST(a_message_that_is_cut_short_can_be_gone_on_with)
{
    operation_t   sending = {0};
    char         *bytes = new_pattern(PARTS * PART);
    reader_t      reader;
    struct iovec  vectors[PARTS];
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = PARTS};
    int           ends[2];
    make_socketpair(ends);
    set_nonblocking(ends[0], true);
    for (size_t i = 0; i < PARTS; i++) {
        vectors[i] = (struct iovec){bytes + i * PART, PART};
    }
    assert_result(loop_sendmsg(loop, begin(&sending), ends[0], &message, LOOP_SEND_ALL, record), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_result(loop_cancel(loop, &sending.request), 0);
    size_t sent = (size_t)await(loop, &sending);
    assert_in_range(sent, PART, PARTS * PART - 1);
    start_reader(&reader, ends[1], 20000, 0);
    assert_result(RESULT_OF(loop, loop_send, ends[0], bytes + sent, PARTS * PART - sent, LOOP_SEND_ALL),
                  (int64_t)(PARTS * PART - sent));
    close(ends[0]);
    assert_int_equal(finish_pattern_reader(&reader), PARTS * PART);
    close(ends[1]);
    free(bytes);
}

LOOP_TEST(a_message_that_never_went_passes_nothing)
{
    parcel_t    parcel;
    operation_t sending = {0};
    int         ends[2], fd = STDERR_FILENO;
    make_socketpair(ends);
    size_t filled = fill(ends[0]);
    struct msghdr *message = pack(&parcel, "never", &fd, 1);
    assert_result(loop_sendmsg(loop, begin(&sending), ends[0], message, LOOP_SEND_ALL, record), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_result(loop_cancel(loop, &sending.request), 0);
    assert_result(await(loop, &sending), LOOP_ECANCELED);
    receiver_t receiver = {.fd = ends[1], .bytes = malloc(filled + 20000)};
    close(ends[0]);
    receive_to_the_end(&receiver);
    assert_int_equal(receiver.length, filled);
    assert_int_equal(receiver.passed, 0);
    close(ends[1]);
    free(receiver.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_descriptor_is_passed_and_closed_on_exec_if_asked),
        GUARDED(several_descriptors_travel_together),
        GUARDED(a_receive_of_all_with_room_for_descriptors_ends_with_the_first_bytes),
        GUARDED(descriptors_that_do_not_fit_are_dropped_as_by_the_blocking_call),
        GUARDED(a_bad_descriptor_is_refused_and_nothing_is_sent),
        GUARDED(credentials_tell_who_sent),
        GUARDED(a_descriptor_goes_once_with_the_first_bytes_and_the_buffers_stay_as_they_are),
        GUARDED(a_message_that_is_cut_short_can_be_gone_on_with),
        GUARDED(a_message_that_never_went_passes_nothing),
    };
    return RUN_SUITE(tests);
}
