/*
 * The descriptors of the fuzz harness: what kinds there are, who uses them, and that none is left behind.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_NUMBER = 800 };

descriptor_t descriptors[DESCRIPTORS];

int number_of(unsigned descriptor)
{
    return FIRST_NUMBER + (int)descriptor;
}

/* ---- addresses ------------------------------------------------------------------------------- */

static struct sockaddr_in loopback(void)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

socklen_t address_of(uint8_t choice, struct sockaddr_storage *address)
{
    socklen_t          length = sizeof *address;
    struct sockaddr_in internet = loopback();
    memset(address, 0, sizeof *address);
    if (choice % 16 < DESCRIPTORS) { /* that of a descriptor, if it has one */
        int number = number_of(choice % 16);
        return getsockname(number, (struct sockaddr *)address, &length) == 0 ? length : 0;
    }
    switch (choice % 16) {
    case 12: internet.sin_port = htons(1); break; /* nobody is there */
    case 13: internet.sin_family = 9999; break;
    case 14: internet.sin_family = AF_UNSPEC; break;
    default: return sizeof *address + 1;
    }
    memcpy(address, &internet, sizeof internet);
    return sizeof internet;
}

/* ---- making ---------------------------------------------------------------------------------- */

/* Gives a descriptor its number; returns false if that is taken. */
static bool keep(unsigned which, int fd, bool nonblocking, bool socket)
{
    descriptor_t *descriptor = &descriptors[which % DESCRIPTORS];
    if (fd < 0) {
        return false;
    }
    bool free = !descriptor->open && !descriptor->closing;
    if (free) {
        MUST(dup3(fd, number_of(which % DESCRIPTORS), O_CLOEXEC) >= 0);
        *descriptor = (descriptor_t){.open = true,
                                     .nonblocking = nonblocking,
                                     .socket = socket,
                                     .incarnation = descriptor->incarnation + 1};
    }
    MUST(close(fd) == 0);
    return free;
}

static void keep_both(unsigned first, const int fds[2], bool nonblocking, bool sockets)
{
    keep(first, fds[0], nonblocking, sockets);
    keep(first + 1, fds[1], nonblocking, sockets);
}

static void make_pipe(unsigned first, bool nonblocking)
{
    int fds[2];
    MUST(pipe2(fds, O_CLOEXEC | (nonblocking ? O_NONBLOCK : 0)) == 0);
    MUST(fcntl(fds[0], F_SETPIPE_SZ, 4096) > 0);
    keep_both(first, fds, nonblocking, false);
}

static void make_socket_pair(unsigned first, int type, bool nonblocking)
{
    int fds[2], room = 4096;
    MUST(socketpair(AF_UNIX, type | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0, fds) == 0);
    MUST(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
    keep_both(first, fds, nonblocking, true);
}

/* A socket that is bound: to a port of the loopback interface, or to an abstract name. */
static int bound_socket(int family, int type)
{
    struct sockaddr_in internet = loopback();
    sa_family_t        local = AF_UNIX;
    int                fd = socket(family, type | SOCK_CLOEXEC, 0);
    int                error = family == AF_INET ? bind(fd, (struct sockaddr *)&internet, sizeof internet)
                                                 : bind(fd, (struct sockaddr *)&local, sizeof local);
    MUST(fd >= 0 && error == 0);
    return fd;
}

static void make_listener(unsigned first, int family, bool nonblocking)
{
    int fd = bound_socket(family, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0));
    MUST(listen(fd, 2) == 0);
    keep(first, fd, nonblocking, true);
}

static int make_file(void)
{
    static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    int               fd = memfd_create("fuzz", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1);
    MUST(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static int make_interval_timer(bool nonblocking)
{
    struct itimerspec soon = {.it_value = {.tv_nsec = 10000}};
    int               fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | (nonblocking ? TFD_NONBLOCK : 0));
    MUST(fd >= 0 && timerfd_settime(fd, 0, &soon, NULL) == 0);
    return fd;
}

/* A socket that the library makes, or says that there is no such. */
static int loop_made_socket(uint8_t how)
{
    static const int families[] = {AF_INET, AF_UNIX, AF_INET6, 9999};
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, 9999};
    for (size_t i = 0; i < LOOPS; i++) {
        if (slots[i].loop != NULL) {
            return loop_socket(slots[i].loop, families[how % 4], types[how / 4 % 4], how > 250 ? 9999 : 0);
        }
    }
    MUST(loop_socket(NULL, AF_INET, SOCK_STREAM, 0) == LOOP_EINVAL);
    return -1;
}

void make_descriptors(unsigned first, uint8_t kind, uint8_t how)
{
    bool nonblocking = (how & 1) != 0;
    switch (kind % 16) {
    case 0: make_pipe(first, nonblocking); break;
    case 1: make_socket_pair(first, SOCK_STREAM, nonblocking); break;
    case 2: make_socket_pair(first, SOCK_DGRAM, nonblocking); break;
    case 3: make_socket_pair(first, SOCK_SEQPACKET, nonblocking); break;
    case 4: make_listener(first, AF_INET, nonblocking); break;
    case 5: make_listener(first, AF_UNIX, nonblocking); break;
    case 6: keep(first, bound_socket(AF_INET, SOCK_DGRAM), false, true); break;
    case 7: keep(first, bound_socket(AF_UNIX, SOCK_DGRAM), false, true); break;
    case 8: keep(first, make_file(), nonblocking, false); break;
    case 9: keep(first, eventfd(how & 2, EFD_CLOEXEC | (nonblocking ? EFD_NONBLOCK : 0)), nonblocking, false);
        break;
    case 10: keep(first, make_interval_timer(nonblocking), nonblocking, false); break;
    case 11: keep(first, epoll_create1(EPOLL_CLOEXEC), false, false); break;
    case 12: keep(first, open("/dev/full", O_RDWR | O_CLOEXEC), false, false); break;
    case 13: keep(first, open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), false, false); break;
    default: keep(first, loop_made_socket(how), true, true); break;
    }
}

/* ---- using and closing ----------------------------------------------------------------------- */

/* Moves bytes past the library, without waiting. Memory and length are good. */
void move_bytes(unsigned which, bool write, uint8_t count)
{
    static char  bytes[256];
    struct iovec vector = {bytes, count};
    if (which >= DESCRIPTORS || !descriptors[which].open || descriptors[which].closing) {
        return;
    }
    int fd = number_of(which);
    if (descriptors[which].socket) {
        ssize_t moved = write ? send(fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL)
                              : recv(fd, bytes, count, MSG_DONTWAIT);
        (void)moved;
    } else {
        ssize_t moved = write ? pwritev2(fd, &vector, 1, -1, RWF_NOWAIT)
                              : preadv2(fd, &vector, 1, -1, RWF_NOWAIT);
        (void)moved;
    }
}

static bool is_unused(const descriptor_t *descriptor)
{
    bool unused = descriptor->lent == 0;
    for (size_t i = 0; i < LOOPS; i++) {
        unused = unused && descriptor->uses[i] == 0;
    }
    return unused;
}

void close_descriptor(unsigned which)
{
    if (which < DESCRIPTORS && descriptors[which].open && !descriptors[which].closing &&
        is_unused(&descriptors[which])) {
        MUST(close(number_of(which)) == 0);
        descriptors[which].open = false;
    }
}

void close_all_descriptors(void)
{
    for (unsigned which = 0; which < DESCRIPTORS; which++) {
        close_descriptor(which);
        MUST(!descriptors[which].open && !descriptors[which].closing);
    }
}

unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR     *directory = opendir("/proc/self/fd");
    MUST(directory != NULL);
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}
