/*
 * Conformance of loop_sendmsg and loop_recvmsg: several buffers, control data, groups.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sockets.h"

#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/udp.h>

/* A message with room for control data; the members point to each other. */
typedef struct envelope {
    struct msghdr header;
    struct iovec  vectors[3];
    endpoint_t    address;
    char          bytes[3][4096];
    _Alignas(struct cmsghdr) char control[256];
} envelope_t;

/* Prepares to receive into three buffers of the given length each. */
static struct msghdr *empty_envelope(envelope_t *envelope, size_t length)
{
    memset(envelope, 0, sizeof *envelope);
    for (size_t i = 0; i < COUNT(envelope->vectors); i++) {
        envelope->vectors[i] = (struct iovec){envelope->bytes[i], length};
    }
    envelope->header = (struct msghdr){
        .msg_name = &envelope->address.any,
        .msg_namelen = sizeof envelope->address.local,
        .msg_iov = envelope->vectors,
        .msg_iovlen = COUNT(envelope->vectors),
        .msg_control = envelope->control,
        .msg_controllen = sizeof envelope->control,
    };
    return &envelope->header;
}

/* The data of the first control message, which must be of that kind. */
static const void *control_of(struct msghdr *message, int level, int type)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    assert_non_null(control);
    assert_int_equal(control->cmsg_level, level);
    assert_int_equal(control->cmsg_type, type);
    return CMSG_DATA(control);
}

/* ---- several buffers ------------------------------------------------------------------------- */

LOOP_TEST(a_message_is_gathered_from_buffers_and_scattered_into_others)
{
    static envelope_t envelope;
    int               fds[2] = {make_bound(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t        to = name_of(fds[1]), from = name_of(fds[0]);
    struct iovec      vectors[] = {{(char[]){"ab"}, 2}, {NULL, 0}, {(char[]){"cdefgh"}, 6}};
    struct iovec      vectors_before[] = {vectors[0], vectors[1], vectors[2]};
    struct msghdr     message = {.msg_iov = vectors, .msg_iovlen = COUNT(vectors)}, message_before;
    message.msg_name = &to.any;
    message.msg_namelen = to.length;
    memcpy(&message_before, &message, sizeof message);
    assert_result(RESULT_OF(loop, loop_sendmsg, fds[0], &message, 0), 8);
    assert_memory_equal(&message, &message_before, sizeof message);
    assert_memory_equal(vectors, vectors_before, sizeof vectors);

    struct msghdr *received = empty_envelope(&envelope, 3);
    assert_result(RESULT_OF(loop, loop_recvmsg, fds[1], received, 0), 8);
    assert_memory_equal(envelope.bytes[0], "abc\0", 4);
    assert_memory_equal(envelope.bytes[1], "def\0", 4);
    assert_memory_equal(envelope.bytes[2], "gh\0", 3);
    assert_int_equal(received->msg_namelen, from.length);
    assert_memory_equal(&envelope.address.any, &from.any, from.length);
    assert_int_equal(received->msg_controllen, 0);
    assert_int_equal(received->msg_flags, 0);
    close_both(fds);
}

LOOP_TEST(what_does_not_fit_is_told_by_the_flags_of_the_message)
{
    static envelope_t ours, expected;
    int               fds[2] = {make_socket(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t        to = name_of(fds[1]);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sendto(fds[0], "0123456789", 10, 0, &to.any, to.length), 10);
    }
    struct msghdr *direct = empty_envelope(&expected, 2), *message = empty_envelope(&ours, 2);
    direct->msg_namelen = message->msg_namelen = 6;
    assert_int_equal(recvmsg(fds[1], direct, MSG_TRUNC), 10);
    assert_result(RESULT_OF(loop, loop_recvmsg, fds[1], message, MSG_TRUNC), 10);
    assert_true(message->msg_flags & MSG_TRUNC);
    assert_int_equal(message->msg_flags, direct->msg_flags);
    assert_int_equal(message->msg_namelen, direct->msg_namelen);
    assert_memory_equal(ours.bytes, expected.bytes, sizeof ours.bytes);
    close_both(fds);
}

LOOP_TEST(a_message_can_be_received_again_and_again_with_one_request)
{
    static envelope_t envelope;
    int               fds[2] = {make_socket(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t        to = name_of(fds[1]);
    for (char i = 'a'; i < 'f'; i++) {
        struct msghdr *message = empty_envelope(&envelope, 1);
        operation_t    receiving = {0};
        assert_result(loop_recvmsg(loop, begin(&receiving), fds[1], message, 0, record), 0);
        run_for(loop, MILLISECOND);
        assert_int_equal(completions_of(&receiving), 0);
        assert_int_equal(sendto(fds[0], &i, 1, 0, &to.any, to.length), 1);
        assert_result(await(loop, &receiving), 1);
        assert_int_equal(envelope.bytes[0][0], i);
        assert_int_equal(message->msg_namelen, sizeof(struct sockaddr_in));
    }
    close_both(fds);
}

LOOP_TEST(a_message_of_all_is_gathered_from_segments_over_the_bounds_of_buffers)
{
    static envelope_t envelope;
    operation_t       receiving = {0};
    int               ends[2];
    char              bytes[3000];
    struct iovec      before[COUNT(envelope.vectors)];
    make_tcp_pair(ends);
    struct msghdr *message = empty_envelope(&envelope, 1000);
    memcpy(before, envelope.vectors, sizeof before);
    fill_with_pattern(bytes, sizeof bytes, 0);
    assert_result(loop_recvmsg(loop, begin(&receiving), ends[0], message, MSG_WAITALL, record), 0);
    for (size_t i = 0; i < sizeof bytes; i += 300) {
        assert_int_equal(completions_of(&receiving), 0);
        put(ends[1], bytes + i, 300);
        run_for(loop, MILLISECOND);
    }
    assert_result(await(loop, &receiving), 3000);
    for (size_t i = 0; i < COUNT(envelope.vectors); i++) {
        assert_true(has_pattern(envelope.bytes[i], 1000, i * 1000));
    }
    assert_memory_equal(envelope.vectors, before, sizeof before);
    assert_int_equal(message->msg_namelen, 0);
    assert_int_equal(message->msg_controllen, 0);
    close_both(ends);
}

LOOP_TEST(errors_of_messages_are_those_of_the_blocking_call)
{
    enum { TOO_MANY = 1025 };
    static struct iovec vectors[TOO_MANY];
    struct iovec        unmapped = {NULL, 5};
    int                 ends[2];
    endpoint_t          address = loopback(AF_INET);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
    const struct msghdr messages[] = {
        {.msg_iov = vectors, .msg_iovlen = TOO_MANY},
        {.msg_iov = NULL, .msg_iovlen = 2},
        {.msg_iov = &unmapped, .msg_iovlen = 1},
        {.msg_name = &address.any, .msg_namelen = address.length},
        {.msg_control = NULL, .msg_controllen = 64},
        {.msg_control = &unmapped, .msg_controllen = SIZE_MAX / 2},
    };
    for (size_t i = 0; i < COUNT(messages); i++) {
        int64_t expected = outcome(sendmsg(ends[0], &messages[i], MSG_NOSIGNAL));
        assert_result(RESULT_OF(loop, loop_sendmsg, ends[0], &messages[i], 0), expected);
    }
    drain(ends[1]);
    for (size_t i = 0; i < 3; i++) {
        struct msghdr ours = messages[i], twin = messages[i];
        assert_int_equal(send(ends[0], "peek", 4, 0), 4);
        int64_t expected = outcome(recvmsg(ends[1], &twin, MSG_PEEK));
        assert_true(expected < 0);
        assert_result(RESULT_OF(loop, loop_recvmsg, ends[1], &ours, MSG_PEEK), expected);
    }
    assert_result(RESULT_OF(loop, loop_sendmsg, ends[0], NULL, 0), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_recvmsg, ends[1], NULL, 0), LOOP_EFAULT);
    close_both(ends);
}

/* ---- control data of UDP --------------------------------------------------------------------- */

LOOP_TEST(packet_information_says_where_a_datagram_came_in)
{
    static envelope_t envelope;
    int               one = 1, fds[2] = {make_socket(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t        to = name_of(fds[1]);
    struct in_pktinfo information;
    assert_int_equal(setsockopt(fds[1], IPPROTO_IP, IP_PKTINFO, &one, sizeof one), 0);
    struct msghdr *message = empty_envelope(&envelope, 16);
    assert_result(RESULT_OF(loop, loop_sendto, fds[0], "where", 5, 0, &to.any, to.length), 5);
    assert_result(RESULT_OF(loop, loop_recvmsg, fds[1], message, 0), 5);
    memcpy(&information, control_of(message, IPPROTO_IP, IP_PKTINFO), sizeof information);
    assert_int_equal(information.ipi_addr.s_addr, htonl(INADDR_LOOPBACK));
    assert_int_equal(information.ipi_ifindex, if_nametoindex("lo"));
    assert_null(CMSG_NXTHDR(message, CMSG_FIRSTHDR(message)));
    close_both(fds);
}

LOOP_TEST(an_error_is_received_from_the_queue_of_errors_when_there_is_one)
{
    static envelope_t envelope;
    operation_t       receiving = {0};
    int               one = 1, peer = make_bound(AF_INET, SOCK_DGRAM), fd = make_socket(AF_INET, SOCK_DGRAM);
    endpoint_t        name = name_of(peer);
    assert_int_equal(connect(fd, &name.any, name.length), 0);
    assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof one), 0);
    close(peer);
    struct msghdr *message = empty_envelope(&envelope, 64);
    assert_result(loop_recvmsg(loop, begin(&receiving), fd, message, MSG_ERRQUEUE, record), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_int_equal(completions_of(&receiving), 0);
    assert_int_equal(send(fd, "lost", 4, 0), 4);
    assert_result(await(loop, &receiving), 4);
    assert_memory_equal(envelope.bytes[0], "lost", 4);
    assert_true(message->msg_flags & MSG_ERRQUEUE);
    struct sock_extended_err error;
    memcpy(&error, control_of(message, IPPROTO_IP, IP_RECVERR), sizeof error);
    assert_int_equal(error.ee_errno, ECONNREFUSED);
    close(fd);
}

enum { SEGMENT = 1000, SEGMENTED = 3 * SEGMENT + 500 };

/* Prepares to send the pattern in segments of one size. */
static struct msghdr *segmented_envelope(envelope_t *envelope, const endpoint_t *to)
{
    uint16_t       size = SEGMENT;
    struct msghdr *message = empty_envelope(envelope, 0);
    fill_with_pattern(envelope->bytes[0], SEGMENTED, 0);
    envelope->vectors[0].iov_len = SEGMENTED;
    envelope->address = *to;
    message->msg_namelen = to->length;
    message->msg_controllen = CMSG_SPACE(sizeof size);
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    control->cmsg_level = SOL_UDP;
    control->cmsg_type = UDP_SEGMENT;
    control->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(control), &size, sizeof size);
    return message;
}

LOOP_TEST(one_send_makes_many_datagrams_with_a_segment_size)
{
    static envelope_t envelope;
    char              bytes[SEGMENTED];
    int               fds[2] = {make_socket(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t        to = name_of(fds[1]);
    struct msghdr    *message = segmented_envelope(&envelope, &to);
    assert_result(RESULT_OF(loop, loop_sendmsg, fds[0], message, 0), SEGMENTED);
    for (size_t place = 0; place < SEGMENTED; place += SEGMENT) {
        int64_t expected = place + SEGMENT <= SEGMENTED ? SEGMENT : SEGMENTED - (int64_t)place;
        assert_result(RESULT_OF(loop, loop_recv, fds[1], bytes, sizeof bytes, 0), expected);
        assert_true(has_pattern(bytes, (size_t)expected, place));
    }
    assert_result(outcome(recv(fds[1], bytes, 1, MSG_DONTWAIT)), LOOP_EAGAIN);
    close_both(fds);
}

LOOP_TEST(one_receive_gets_many_datagrams_and_their_segment_size)
{
    static envelope_t sent, received;
    int               one = 1, size;
    int               fds[2] = {make_socket(AF_INET, SOCK_DGRAM), make_bound(AF_INET, SOCK_DGRAM)};
    endpoint_t        to = name_of(fds[1]);
    assert_int_equal(setsockopt(fds[1], SOL_UDP, UDP_GRO, &one, sizeof one), 0);
    assert_result(RESULT_OF(loop, loop_sendmsg, fds[0], segmented_envelope(&sent, &to), 0), SEGMENTED);
    struct msghdr *message = empty_envelope(&received, sizeof received.bytes[0]);
    assert_result(RESULT_OF(loop, loop_recvmsg, fds[1], message, 0), SEGMENTED);
    assert_true(has_pattern(received.bytes[0], SEGMENTED, 0));
    memcpy(&size, control_of(message, SOL_UDP, UDP_GRO), sizeof size);
    assert_int_equal(size, SEGMENT);
    close_both(fds);
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* A socket that is a member of the group, at its port. Port 0: any; it is set. */
static int make_member(endpoint_t *group)
{
    int            one = 1, fd = make_socket(AF_INET, SOCK_DGRAM);
    struct ip_mreq membership = {group->ip4.sin_addr, {htonl(INADDR_LOOPBACK)}};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), 0);
    assert_int_equal(bind(fd, &group->any, group->length), 0);
    group->ip4.sin_port = name_of(fd).ip4.sin_port;
    assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership), 0);
    return fd;
}

static void leave_group(int fd, const endpoint_t *group)
{
    int            none = 0;
    struct ip_mreq membership = {group->ip4.sin_addr, {htonl(INADDR_LOOPBACK)}};
    assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &membership, sizeof membership), 0);
    assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &none, sizeof none), 0);
}

LOOP_TEST(a_datagram_to_a_group_reaches_each_member)
{
    char           bytes[2][8];
    operation_t    receiving[2];
    endpoint_t     group = loopback(AF_INET);
    struct in_addr device = {htonl(INADDR_LOOPBACK)};
    int            sender = make_socket(AF_INET, SOCK_DGRAM), members[2];
    group.ip4.sin_addr.s_addr = htonl(0xEFFF4C4C); /* 239.255.76.76 */
    memset(receiving, 0, sizeof receiving);
    for (size_t i = 0; i < COUNT(members); i++) {
        members[i] = make_member(&group);
        assert_result(loop_recv(loop, begin(&receiving[i]), members[i], bytes[i], 8, 0, record), 0);
    }
    assert_int_equal(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &device, sizeof device), 0);
    assert_result(RESULT_OF(loop, loop_sendto, sender, "all", 3, 0, &group.any, group.length), 3);
    for (size_t i = 0; i < COUNT(members); i++) {
        assert_result(await(loop, &receiving[i]), 3);
        assert_memory_equal(bytes[i], "all", 3);
    }
    leave_group(members[1], &group);
    assert_result(RESULT_OF(loop, loop_sendto, sender, "fewer", 5, 0, &group.any, group.length), 5);
    assert_result(RESULT_OF(loop, loop_recv, members[0], bytes[0], 8, 0), 5);
    assert_result(outcome(recv(members[1], bytes[1], 8, MSG_DONTWAIT)), LOOP_EAGAIN);
    close_both(members);
    close(sender);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_message_is_gathered_from_buffers_and_scattered_into_others),
        GUARDED(what_does_not_fit_is_told_by_the_flags_of_the_message),
        GUARDED(a_message_can_be_received_again_and_again_with_one_request),
        GUARDED(a_message_of_all_is_gathered_from_segments_over_the_bounds_of_buffers),
        GUARDED(errors_of_messages_are_those_of_the_blocking_call),
        GUARDED(packet_information_says_where_a_datagram_came_in),
        GUARDED(an_error_is_received_from_the_queue_of_errors_when_there_is_one),
        GUARDED(one_send_makes_many_datagrams_with_a_segment_size),
        GUARDED(one_receive_gets_many_datagrams_and_their_segment_size),
        GUARDED(a_datagram_to_a_group_reaches_each_member),
    };
    return RUN_SUITE(tests);
}
