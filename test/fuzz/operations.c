/*
 * The submitting functions of the library as operations of the fuzz harness: how operands follow from the
 * bytes of an instruction, and what is to be checked and given back when they complete.
 *
 * Whatever the contract allows is made, bad pointers and absurd numbers included. What it forbids is not:
 * lengths beyond the memory behind a pointer that is good, names that a server would be asked for, and
 * blocking descriptors where the library says that it blocks.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- operands -------------------------------------------------------------------------------- */

#define CHOOSE(table, byte) ((table)[(byte) % COUNT(table)])

static const uint64_t times_ns[] = {
    0, 1, 1000, 100000, 1000000, 1000000000, UINT64_C(3600000000000), INT64_MAX, UINT64_MAX - 1, UINT64_MAX,
};
static const size_t   lengths[] = {0, 1, 2, 7, 64, 255, 256};
static const size_t   absurd_lengths[] = {(size_t)SSIZE_MAX + 1, SIZE_MAX - 1, SIZE_MAX};
static const uint64_t offsets[] = {
    0, 1, 5, 255, 4096, 65536, INT64_MAX - 1, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX,
};

/* A page that cannot be touched, behind one that can. */
static char *edge_of_memory(void)
{
    static char *edge;
    if (edge == NULL) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        char  *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        MUST(memory != MAP_FAILED && mprotect(memory + page, page, PROT_NONE) == 0);
        edge = memory + page;
    }
    return edge;
}

typedef struct span {
    void  *base;
    size_t length;
} span_t;

/* Most spans are the entry's buffer, or part of it; the others are not there, or end too early. */
static span_t span(call_t *call)
{
    span_t memory = {call->entry->buffer, CHOOSE(lengths, call->i->b)};
    switch (call->i->a % 16) {
    case 12: memory.base = NULL; break;
    case 13: memory.base = (void *)8; break;
    case 14: memory.base = edge_of_memory() - 4; break;
    case 15: memory.base = (void *)(UINTPTR_MAX - 100); break;
    default: break;
    }
    call->entry->length = memory.length;
    return memory;
}

/* A span for read(2) and write(2), which refuse lengths that are absurd. */
static span_t span_or_absurd(call_t *call)
{
    span_t memory = span(call);
    if (call->i->b > 250) {
        memory.length = CHOOSE(absurd_lengths, call->i->b);
    }
    return memory;
}

/* A vector of the entry's buffer in two parts; or one that is not there, or a count that is refused. */
static const loop_iovec_t *vector(call_t *call, uint32_t *count)
{
    span_t        memory = span(call);
    loop_iovec_t *both = call->entry->vector;
    size_t        first = memory.length / 2;
    both[0] = (loop_iovec_t){memory.base, first};
    both[1] = (loop_iovec_t){(void *)((uintptr_t)memory.base + first), memory.length - first};
    static const uint32_t counts[] = {2, 2, 2, 2, 1, 1, 0, 1025, UINT32_MAX};
    *count = CHOOSE(counts, call->i->c >> 4);
    return call->i->a % 64 == 63 ? (const loop_iovec_t *)(uintptr_t)8 : both;
}

static uint64_t offset(const call_t *call)
{
    return CHOOSE(offsets, call->i->c);
}

/* Uses a descriptor that the instruction names, or the number of one that is closed. `usable` says whether
 * the operation may have it at all. */
static int use(call_t *call, unsigned which, bool second, bool usable)
{
    use_t *use = &call->entry->uses[second];
    *use = (use_t){-1, 0, second};
    if (which >= DESCRIPTORS) {
        static const int closed[] = {-1, NO_DESCRIPTOR, INT_MAX, INT_MIN};
        return CHOOSE(closed, which - DESCRIPTORS);
    }
    descriptor_t *descriptor = &descriptors[which];
    if (!descriptor->open || descriptor->closing || !usable || call->slot == NULL) {
        return NO_DESCRIPTOR;
    }
    *use = (use_t){(int)which, descriptor->incarnation, second};
    if (second) {
        descriptor->lent++;
    } else {
        descriptor->uses[call->slot - slots]++;
    }
    return number_of(which);
}

static int fd(call_t *call)
{
    return use(call, call->i->fd & 15, false, true);
}

static bool is_nonblocking(unsigned which)
{
    return which >= DESCRIPTORS || descriptors[which].nonblocking || !descriptors[which].socket;
}

/* ---- ticks, timers, work, readiness ---------------------------------------------------------- */

static int tick(call_t *call)
{
    return loop_on_next_tick(call->loop, call->request, call->callback);
}

static int timer(call_t *call)
{
    uint64_t delay = CHOOSE(times_ns, call->i->a), period = CHOOSE(times_ns, call->i->b);
    return loop_timer_start(call->loop, call->request, delay, period, call->callback);
}

static void work_once(loop_request_t *request)
{
    entry_t *entry = request->user;
    atomic_fetch_add(&entry->worked, 1);
}

static int work(call_t *call)
{
    call->wrong = call->i->a > 250;
    atomic_store(&call->entry->worked, 0);
    return loop_queue_work(call->loop, call->request, call->wrong ? NULL : work_once, call->callback);
}

static int wait_readable(call_t *call)
{
    return loop_wait_until_fd_readable(call->loop, call->request, fd(call), call->callback);
}

static int wait_writable(call_t *call)
{
    return loop_wait_until_fd_writable(call->loop, call->request, fd(call), call->callback);
}

static int wait_either(call_t *call)
{
    return loop_wait_until_fd_writable_or_readable(call->loop, call->request, fd(call), call->callback);
}

static int watch(call_t *call)
{
    static const uint32_t events[] = {1, 2, 3, 0, 17, 18, 19, 16, 4, 32, UINT32_MAX};
    return loop_add_fd(call->loop, call->request, fd(call), CHOOSE(events, call->i->a), call->callback);
}

/* ---- files ----------------------------------------------------------------------------------- */

static const char *path(const call_t *call)
{
    static const char *const paths[] = {
        "/dev/null", "/", ".", "", "/nowhere/at/all", "/dev/zero", "/proc/self/maps", "fuzz.h", NULL,
    };
    if (call->i->a > 250) {
        memcpy(edge_of_memory() - 3, "/de", 3); /* it has no end */
        return edge_of_memory() - 3;
    }
    return CHOOSE(paths, call->i->a);
}

static int open_flags(const call_t *call)
{
    static const int flags[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_DIRECTORY, O_PATH, -1};
    return CHOOSE(flags, call->i->b) | O_CLOEXEC;
}

static int open_path(call_t *call)
{
    return loop_open(call->loop, call->request, path(call), open_flags(call), 0600, call->callback);
}

static int open_at(call_t *call)
{
    int directory = call->i->c % 2 == 0 ? AT_FDCWD : fd(call);
    return loop_openat(call->loop, call->request, directory, path(call), open_flags(call), 0600,
                       call->callback);
}

static int access_path(call_t *call)
{
    int directory = call->i->c % 2 == 0 ? AT_FDCWD : fd(call);
    static const uint32_t modes[] = {F_OK, R_OK, W_OK | X_OK, 8, UINT32_MAX};
    static const uint32_t flags[] = {0, AT_EACCESS, AT_SYMLINK_NOFOLLOW, UINT32_MAX};
    return loop_faccessat(call->loop, call->request, directory, path(call), CHOOSE(modes, call->i->b),
                          CHOOSE(flags, call->i->c >> 1), call->callback);
}

/* A descriptor that is in use in another loop, or as a second one, must not be closed by this one. */
static int close_fd(call_t *call)
{
    unsigned which = call->i->fd & 15;
    bool     usable = true;
    if (which < DESCRIPTORS && call->slot != NULL) {
        usable = descriptors[which].lent == 0;
        for (size_t i = 0; i < LOOPS; i++) {
            usable = usable && (&slots[i] == call->slot || descriptors[which].uses[i] == 0);
        }
    }
    int number = use(call, which, false, usable);
    if (call->entry->uses[0].number >= 0) {
        descriptors[which].closing = true;
    }
    return loop_close(call->loop, call->request, number, call->callback);
}

static int read_some(call_t *call)
{
    span_t memory = span_or_absurd(call);
    return loop_read(call->loop, call->request, fd(call), memory.base, memory.length, call->callback);
}

static int write_some(call_t *call)
{
    span_t memory = span_or_absurd(call);
    return loop_write(call->loop, call->request, fd(call), memory.base, memory.length, call->callback);
}

static int read_at(call_t *call)
{
    span_t memory = span_or_absurd(call);
    return loop_pread(call->loop, call->request, fd(call), memory.base, memory.length, offset(call),
                      call->callback);
}

static int write_at(call_t *call)
{
    span_t memory = span_or_absurd(call);
    return loop_pwrite(call->loop, call->request, fd(call), memory.base, memory.length, offset(call),
                       call->callback);
}

static int read_vector(call_t *call)
{
    uint32_t            count;
    const loop_iovec_t *both = vector(call, &count);
    return loop_readv(call->loop, call->request, fd(call), both, count, call->callback);
}

static int write_vector(call_t *call)
{
    uint32_t            count;
    const loop_iovec_t *both = vector(call, &count);
    return loop_writev(call->loop, call->request, fd(call), both, count, call->callback);
}

static int read_vector_at(call_t *call)
{
    uint32_t            count;
    const loop_iovec_t *both = vector(call, &count);
    return loop_preadv(call->loop, call->request, fd(call), both, count, offset(call), call->callback);
}

static int write_vector_at(call_t *call)
{
    uint32_t            count;
    const loop_iovec_t *both = vector(call, &count);
    return loop_pwritev(call->loop, call->request, fd(call), both, count, offset(call), call->callback);
}

/* ---- sockets --------------------------------------------------------------------------------- */

static const uint32_t receive_flags[] = {
    0, 0, MSG_PEEK, MSG_WAITALL, MSG_TRUNC, MSG_DONTWAIT, MSG_OOB, MSG_PEEK | MSG_WAITALL,
    LOOP_MULTISHOT, LOOP_SEND_ALL,
};
static const uint32_t send_flags[] = {
    0, 0, LOOP_SEND_ALL, MSG_DONTWAIT, MSG_MORE, MSG_OOB, MSG_NOSIGNAL, LOOP_SEND_ALL | MSG_MORE,
    LOOP_MULTISHOT,
};

/* Room for an address; or none, or less than is needed, or none that is there. */
static struct sockaddr *address_room(call_t *call, uint8_t choice, loop_socklen_t **length)
{
    static const loop_socklen_t rooms[] = {sizeof(struct sockaddr_storage), 16, 3, 0};
    call->entry->address_length = CHOOSE(rooms, choice);
    *length = choice % 16 == 7 ? NULL : &call->entry->address_length;
    if (choice % 16 == 8) {
        *length = NULL;
        return NULL;
    }
    return (struct sockaddr *)&call->entry->address;
}

static int accept_one(call_t *call)
{
    static const uint32_t flags[] = {0, 0, LOOP_MULTISHOT, LOOP_MULTISHOT, 1, LOOP_SEND_ALL};
    loop_socklen_t       *length;
    struct sockaddr      *room = address_room(call, call->i->b, &length);
    return loop_accept(call->loop, call->request, fd(call), room, length, CHOOSE(flags, call->i->a),
                       call->callback);
}

static int connect_to(call_t *call)
{
    unsigned  which = call->i->fd & 15;
    socklen_t length = address_of(call->i->a, &call->entry->address);
    return loop_connect(call->loop, call->request, use(call, which, false, is_nonblocking(which)),
                        (struct sockaddr *)&call->entry->address, length, call->callback);
}

/* MSG_TRUNC tells the length of a datagram that did not fit. */
static uint32_t receiving(call_t *call, uint8_t choice)
{
    uint32_t flags = CHOOSE(receive_flags, choice);
    if ((flags & MSG_TRUNC) != 0) {
        call->entry->length = SIZE_MAX;
    }
    return flags;
}

static int receive(call_t *call)
{
    span_t memory = span(call);
    return loop_recv(call->loop, call->request, fd(call), memory.base, memory.length,
                     receiving(call, call->i->c), call->callback);
}

static int receive_from(call_t *call)
{
    span_t           memory = span(call);
    loop_socklen_t  *length;
    struct sockaddr *room = address_room(call, call->i->c >> 4, &length);
    return loop_recvfrom(call->loop, call->request, fd(call), memory.base, memory.length,
                         receiving(call, call->i->c & 15), room, length, call->callback);
}

static int send_bytes(call_t *call)
{
    span_t memory = span(call);
    return loop_send(call->loop, call->request, fd(call), memory.base, memory.length,
                     CHOOSE(send_flags, call->i->c), call->callback);
}

static int send_to(call_t *call)
{
    span_t    memory = span(call);
    socklen_t length = address_of(call->i->c >> 4, &call->entry->address);
    return loop_sendto(call->loop, call->request, fd(call), memory.base, memory.length,
                       CHOOSE(send_flags, call->i->c & 15), (struct sockaddr *)&call->entry->address, length,
                       call->callback);
}

/* A message of the entry's buffer in two parts, with a name and room for control data; or one that is not
 * there, in whole or in part. */
static struct msghdr *message(call_t *call)
{
    uint32_t       count;
    entry_t       *entry = call->entry;
    struct msghdr *message = &entry->message;
    *message = (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)vector(call, &count)};
    message->msg_iovlen = count <= 2 ? count : SIZE_MAX;
    if (call->i->a & 64) {
        message->msg_name = &entry->address;
        message->msg_namelen = sizeof entry->address;
    }
    if (call->i->a & 128) {
        message->msg_control = entry->control;
        message->msg_controllen = sizeof entry->control;
    }
    return call->i->a % 64 == 62 ? (struct msghdr *)(uintptr_t)8 : message;
}

static int receive_message(call_t *call)
{
    struct msghdr *whole = message(call);
    return loop_recvmsg(call->loop, call->request, fd(call), whole,
                        receiving(call, call->i->c & 15) | MSG_CMSG_CLOEXEC, call->callback);
}

/* Some messages take a descriptor along. */
static int send_message(call_t *call)
{
    entry_t       *entry = call->entry;
    struct msghdr *whole = message(call);
    if (entry->message.msg_name != NULL) {
        entry->message.msg_namelen = address_of(call->i->b >> 4, &entry->address);
    }
    if (entry->message.msg_control != NULL) {
        struct cmsghdr *head = (struct cmsghdr *)(void *)entry->control;
        memset(entry->control, 0, sizeof entry->control);
        *head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(head), &(int){STDIN_FILENO}, sizeof(int));
        entry->message.msg_controllen = call->i->b & 8 ? CMSG_SPACE(sizeof(int)) : 1;
    }
    return loop_sendmsg(call->loop, call->request, fd(call), whole, CHOOSE(send_flags, call->i->c & 15),
                        call->callback);
}

static int shut_down(call_t *call)
{
    static const int ways[] = {SHUT_RD, SHUT_WR, SHUT_RDWR, 3, -1, INT_MAX};
    return loop_shutdown(call->loop, call->request, fd(call), CHOOSE(ways, call->i->a), call->callback);
}

static int send_file(call_t *call)
{
    static const size_t counts[] = {0, 1, 64, 4096, 65536, SIZE_MAX};
    unsigned            out = call->i->fd & 15, in = call->i->fd >> 4;
    int                 out_fd = use(call, out, false, is_nonblocking(out));
    call->entry->length = CHOOSE(counts, call->i->b);
    return loop_sendfile(call->loop, call->request, out_fd, use(call, in, true, is_nonblocking(in)),
                         offset(call), call->entry->length, call->i->a % 4 == 3 ? LOOP_SEND_ALL : 0,
                         call->callback);
}

static int splice_some(call_t *call)
{
    static const size_t   counts[] = {0, 1, 64, 4096, 65536, SIZE_MAX};
    static const uint32_t flags[] = {0, 1 /* SPLICE_F_MOVE */, 2 /* SPLICE_F_NONBLOCK */, UINT32_MAX};
    unsigned              in = call->i->fd & 15, out = call->i->fd >> 4;
    bool                  usable = is_nonblocking(in) && is_nonblocking(out);
    int                   in_fd = use(call, in, false, usable), out_fd = use(call, out, true, usable);
    call->entry->length = CHOOSE(counts, call->i->b);
    return loop_splice(call->loop, call->request, in_fd, call->i->c & 1 ? LOOP_NO_OFFSET : offset(call),
                       out_fd, call->i->c & 2 ? LOOP_NO_OFFSET : offset(call), call->entry->length,
                       CHOOSE(flags, call->i->a), call->callback);
}

static int cancel_descriptor(call_t *call)
{
    call->entry->length = ENTRIES;
    return loop_cancel_fd(call->loop, call->request, fd(call), call->callback);
}

static int receive_into_pool(call_t *call)
{
    static const uint32_t flags[] = {0, LOOP_MULTISHOT, LOOP_MULTISHOT, 1, LOOP_SEND_ALL};
    pool_t               *pool = &pools[call->i->b % POOLS];
    call->wrong = pool->buffers == NULL || pool->slot != call->slot;
    call->entry->pool = call->wrong ? NULL : pool;
    call->entry->length = pool->size;
    return loop_recv_buffer(call->loop, call->request, fd(call), pool->buffers, CHOOSE(flags, call->i->a),
                            call->callback);
}

/* ---- names ----------------------------------------------------------------------------------- */

static int look_up_name(call_t *call)
{
    static const char *const nodes[] = {"127.0.0.1", "::1", "256.1.1.1", "", NULL};
    static const char *const services[] = {"80", NULL, "-1", "99999", ""};
    static const int         families[] = {AF_UNSPEC, AF_INET, AF_INET6, 9999};
    static const int         types[] = {0, SOCK_STREAM, SOCK_DGRAM, 9999};
    struct addrinfo          hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                      .ai_family = CHOOSE(families, call->i->c),
                                      .ai_socktype = CHOOSE(types, call->i->c >> 2)};
    call->wrong = call->i->c > 250;
    if (call->i->c > 240) {
        hints.ai_flags |= 0x40000000;
    }
    return loop_getaddrinfo(call->loop, call->request, CHOOSE(nodes, call->i->a),
                            CHOOSE(services, call->i->b), &hints, call->wrong ? NULL : &call->entry->list,
                            call->callback);
}

static int look_up_address(call_t *call)
{
    static const size_t rooms[] = {sizeof call->entry->host, 4, 1, 0};
    socklen_t           length = address_of(call->i->a, &call->entry->address);
    size_t              host_room = CHOOSE(rooms, call->i->b), service_room = call->i->c % 33;
    bool                unnamed = call->i->a > 250;
    return loop_getnameinfo(call->loop, call->request,
                            unnamed ? NULL : (struct sockaddr *)&call->entry->address, length,
                            host_room == 0 ? NULL : call->entry->host, host_room,
                            service_room == 0 ? NULL : call->entry->service, service_room,
                            NI_NUMERICHOST | NI_NUMERICSERV | (call->i->b > 250 ? 0x40000000 : 0),
                            call->callback);
}

/* ---- the table ------------------------------------------------------------------------------- */

#define SUBMITTING(XX)                                              \
    XX(loop_on_next_tick, tick)                                     \
    XX(loop_timer_start, timer)                                     \
    XX(loop_queue_work, work)                                       \
    XX(loop_wait_until_fd_readable, wait_readable)                  \
    XX(loop_wait_until_fd_writable, wait_writable)                  \
    XX(loop_wait_until_fd_writable_or_readable, wait_either)        \
    XX(loop_add_fd, watch)                                          \
    XX(loop_open, open_path)                                        \
    XX(loop_openat, open_at)                                        \
    XX(loop_faccessat, access_path)                                 \
    XX(loop_close, close_fd)                                        \
    XX(loop_read, read_some)                                        \
    XX(loop_write, write_some)                                      \
    XX(loop_pread, read_at)                                         \
    XX(loop_pwrite, write_at)                                       \
    XX(loop_readv, read_vector)                                     \
    XX(loop_writev, write_vector)                                   \
    XX(loop_preadv, read_vector_at)                                 \
    XX(loop_pwritev, write_vector_at)                               \
    XX(loop_accept, accept_one)                                     \
    XX(loop_connect, connect_to)                                    \
    XX(loop_recv, receive)                                          \
    XX(loop_recvfrom, receive_from)                                 \
    XX(loop_recvmsg, receive_message)                               \
    XX(loop_send, send_bytes)                                       \
    XX(loop_sendto, send_to)                                        \
    XX(loop_sendmsg, send_message)                                  \
    XX(loop_shutdown, shut_down)                                    \
    XX(loop_sendfile, send_file)                                    \
    XX(loop_splice, splice_some)                                    \
    XX(loop_cancel_fd, cancel_descriptor)                           \
    XX(loop_recv_buffer, receive_into_pool)                         \
    XX(loop_getaddrinfo, look_up_name)                              \
    XX(loop_getnameinfo, look_up_address)

#define NAME(name, function) #name,
const char *const submitting_names[] = {SUBMITTING(NAME)};

#define FUNCTION(name, function) function,
static submit_t *const functions[] = {SUBMITTING(FUNCTION)};

unsigned submitting_count(void)
{
    return COUNT(functions);
}

submit_t *submitting(unsigned operation)
{
    return operation < COUNT(functions) ? functions[operation] : NULL;
}

/* ---- completions ----------------------------------------------------------------------------- */

bool closes(const instruction_t *instruction)
{
    return submitting(instruction->operation) == close_fd;
}

bool may_repeat(const instruction_t *instruction)
{
    submit_t *function = submitting(instruction->operation);
    return function == timer || function == watch || function == accept_one || function == receive_into_pool;
}

/* The descriptors that came with a message are the program's. */
static void close_passed(entry_t *entry)
{
    struct msghdr *message = &entry->message;
    if (message->msg_control == NULL || entry->instruction.a % 64 == 62) {
        return;
    }
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head != NULL; head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t at = 0; at + CMSG_LEN(sizeof(int)) <= head->cmsg_len; at += sizeof(int)) {
            int passed;
            memcpy(&passed, CMSG_DATA(head) + at, sizeof passed);
            MUST(close(passed) == 0);
        }
    }
}

/* A buffer of a pool is written to, and given back or kept, as the instruction says. */
static void consume_buffer(entry_t *entry, int64_t result)
{
    void *buffer = loop_buffer(entry->request);
    MUST((buffer != NULL) == ((entry->request->flags & LOOP_BUFFER) != 0));
    if (buffer == NULL) {
        MUST(result <= 0);
        return;
    }
    MUST(entry->pool != NULL && result >= 0 && result <= (int64_t)entry->pool->size);
    memset(buffer, SCRIBBLE, entry->pool->size);
    if (entry->instruction.c % 4 != 3) {
        MUST(loop_buffer_return(entry->pool->buffers, buffer) == 0);
        if (entry->slot->threads == 1) { /* nobody else can have got it */
            MUST(loop_buffer_return(entry->pool->buffers, buffer) == LOOP_EINVAL);
        }
    }
}

static void consume_close(const entry_t *entry, int64_t result)
{
    if (entry->uses[0].number < 0) {
        MUST(result == LOOP_EBADF || result == LOOP_ECANCELED || result == LOOP_ETIMEDOUT);
        return;
    }
    descriptor_t *descriptor = &descriptors[entry->uses[0].number];
    bool          open = fcntl(number_of((unsigned)entry->uses[0].number), F_GETFD) >= 0;
    MUST(open == (result == LOOP_ECANCELED || result == LOOP_ETIMEDOUT));
    descriptor->closing = false;
    descriptor->open = open;
}

void consume(entry_t *entry, int64_t result, bool more)
{
    submit_t *function = submitting(entry->instruction.operation);
    if (function == accept_one || function == open_path || function == open_at) {
        MUST(result < 0 || close((int)result) == 0);
    } else if (function == receive_into_pool) {
        consume_buffer(entry, result);
    } else if (function == close_fd) {
        consume_close(entry, result);
    } else if (function == receive_message && result >= 0) {
        close_passed(entry);
    } else if (function == work) {
        MUST(atomic_load(&entry->worked) == (result == 0 ? 1U : 0U));
    } else if (function == look_up_name) {
        MUST((entry->list != NULL) == (result == 0));
        if (entry->list != NULL) {
            freeaddrinfo(entry->list);
        }
        entry->list = NULL;
    } else {
        MUST(result < 0 || (uint64_t)result <= entry->length);
    }
    MUST(!more || result >= 0);
}
