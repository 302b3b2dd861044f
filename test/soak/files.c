/*
 * Actors with files and pipes: transfers at offsets, watches of readiness, splices.
 *
 * SPDX-License-Identifier: MIT
 */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static void closed(flight_t *flight, int64_t result)
{
    (void)result;
    rest(flight->actor);
}

static void leave(actor_t *actor)
{
    close_actor(actor, closed);
}

/* ---- files ------------------------------------------------------------------------------------ */

enum { FILE_LENGTH = 64 * 1024, TRANSFER_MOST = 8 * 1024, LANES = 3, OPEN = 3 };

/* One transfer: what the bytes at its offset are, the tag of the file tells. */
typedef struct lane {
    uint64_t     offset;
    size_t       length;
    bool         is_write;
    struct iovec pieces[2];
    uint8_t      bytes[TRANSFER_MOST];
} lane_t;

typedef struct file_actor {
    actor_t  actor;
    uint64_t tag;
    size_t   filled;
    unsigned transfers;
    lane_t   lanes[LANES];
} file_actor_t;

static file_actor_t *file_of(const flight_t *flight)
{
    return (file_actor_t *)(void *)flight->actor;
}

static void transferred(flight_t *flight, int64_t result);

/* Reads or writes at an offset, by one of the calls that can. */
static void transfer(file_actor_t *file, unsigned number, bool is_write, uint64_t offset, size_t length)
{
    actor_t            *actor = &file->actor;
    lane_t             *lane = &file->lanes[number];
    flight_t           *flight = &actor->flights[number];
    loop_t             *loop = actor->program->loop;
    loop_request_t     *request = &flight->request;
    const loop_iovec_t *pieces = (const loop_iovec_t *)(const void *)lane->pieces;
    bool                is_vectored = one_in(&actor->chance, 2);
    lane->offset = offset;
    lane->length = length;
    lane->is_write = is_write;
    lane->pieces[0] = (struct iovec){lane->bytes, length / 2};
    lane->pieces[1] = (struct iovec){lane->bytes + length / 2, length - length / 2};
    prepare(flight, transferred, 1, (int64_t)length, NULL);
    if (is_write) {
        fill_tagged(lane->bytes, length, file->tag, offset);
    } else {
        memset(lane->bytes, 0, length);
    }
    if (is_write && is_vectored) {
        SUBMIT(flight, loop_pwritev(loop, request, actor->fd, pieces, 2, offset, flight->callback));
    } else if (is_write) {
        SUBMIT(flight, loop_pwrite(loop, request, actor->fd, lane->bytes, length, offset, flight->callback));
    } else if (is_vectored) {
        SUBMIT(flight, loop_preadv(loop, request, actor->fd, pieces, 2, offset, flight->callback));
    } else {
        SUBMIT(flight, loop_pread(loop, request, actor->fd, lane->bytes, length, offset, flight->callback));
    }
}

static void next_transfer(file_actor_t *file, unsigned number)
{
    uint64_t *chance = &file->actor.chance;
    size_t    length = 1 + random_number(chance, TRANSFER_MOST);
    size_t    empty = FILE_LENGTH - file->filled;
    if (empty > 0) {
        transfer(file, 0, true, file->filled, empty < TRANSFER_MOST ? empty : TRANSFER_MOST);
    } else if (file->transfers > 0 && !is_over(&file->actor)) {
        file->transfers--;
        transfer(file, number, one_in(chance, 2), random_number(chance, FILE_LENGTH - TRANSFER_MOST), length);
    } else if (is_idle(&file->actor)) {
        leave(&file->actor);
    }
}

static void transferred(flight_t *flight, int64_t result)
{
    file_actor_t *file = file_of(flight);
    unsigned      number = (unsigned)(flight - flight->actor->flights);
    lane_t       *lane = &file->lanes[number];
    bool          was_filled = file->filled == FILE_LENGTH;
    if (result > 0 && !lane->is_write) {
        EXPECT(flight->actor, flight, is_tagged(lane->bytes, (size_t)result, file->tag, lane->offset));
        atomic_fetch_add(&flight->actor->program->counts.bytes_verified, (unsigned long)result);
    }
    file->filled += result > 0 && !was_filled ? (size_t)result : 0;
    next_transfer(file, number);
    for (unsigned i = 1; i < LANES && !was_filled && file->filled == FILE_LENGTH; i++) {
        if (flight->actor->fd >= 0) {
            next_transfer(file, i);
        }
    }
}

static void opened(flight_t *flight, int64_t result)
{
    file_actor_t *file = file_of(flight);
    if (result < 0) {
        rest(flight->actor);
        return;
    }
    open_actor(flight->actor, (int)result);
    file->tag = new_tag();
    file->filled = 0;
    file->transfers = 1 + random_number(&flight->actor->chance, 30);
    next_transfer(file, 0);
}

static void access_known(flight_t *flight, int64_t result)
{
    actor_t *actor = flight->actor;
    loop_t  *loop = actor->program->loop;
    (void)result;
    prepare(flight, opened, 0, INT32_MAX, NULL);
    if (one_in(&actor->chance, 2)) {
        SUBMIT(flight, loop_open(loop, &flight->request, "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600,
                                 flight->callback));
    } else {
        SUBMIT(flight, loop_openat(loop, &flight->request, AT_FDCWD, "/tmp",
                                   O_TMPFILE | O_RDWR | O_CLOEXEC, 0600, flight->callback));
    }
}

static void file_begin(actor_t *actor)
{
    flight_t *flight = &actor->flights[OPEN];
    prepare(flight, access_known, 0, 0, NULL);
    SUBMIT(flight, loop_faccessat(actor->program->loop, &flight->request, AT_FDCWD, "/tmp", W_OK, 0,
                                  flight->callback));
}

const role_t file_role = {.name = "file", .size = sizeof(file_actor_t), .begin = file_begin};

/* ---- watched pipes ---------------------------------------------------------------------------- */

enum { PIPE_WRITE = 0, WATCH = 1, WRITE_MOST = 4000 };

/* One end is written by requests; the other is watched, and read when it is ready. */
typedef struct pipe_actor {
    actor_t  actor;
    int      write_fd;
    bool     is_leaving;
    unsigned rounds;
    uint64_t tag, written, read;
    size_t   length; /* of the write */
    uint8_t  outgoing[WRITE_MOST], incoming[WRITE_MOST];
} pipe_actor_t;

static pipe_actor_t *pipe_of(const flight_t *flight)
{
    return (pipe_actor_t *)(void *)flight->actor;
}

static void watch(pipe_actor_t *pipe);

static void pipe_closed(flight_t *flight, int64_t result)
{
    pipe_actor_t *pipe = pipe_of(flight);
    (void)result;
    if (is_closed(flight->actor)) {
        close(pipe->write_fd);
        pipe->write_fd = -1;
        rest(flight->actor);
    }
}

static void pipe_written(flight_t *flight, int64_t result);

static void write_more(pipe_actor_t *pipe)
{
    actor_t  *actor = &pipe->actor;
    flight_t *flight = &actor->flights[PIPE_WRITE];
    if (pipe->rounds == 0 || is_over(actor)) {
        return;
    }
    pipe->rounds--;
    pipe->length = 1 + random_number(&actor->chance, WRITE_MOST);
    fill_tagged(pipe->outgoing, pipe->length, pipe->tag, pipe->written);
    prepare(flight, pipe_written, 1, (int64_t)pipe->length, NULL);
    SUBMIT(flight, loop_write(actor->program->loop, &flight->request, pipe->write_fd, pipe->outgoing,
                              pipe->length, flight->callback));
}

/* Reads what there is; after an edge it must be all. */
static void read_all(pipe_actor_t *pipe, const flight_t *flight)
{
    ssize_t length;
    while ((length = read(pipe->actor.fd, pipe->incoming, sizeof pipe->incoming)) > 0) {
        EXPECT(&pipe->actor, flight, is_tagged(pipe->incoming, (size_t)length, pipe->tag, pipe->read));
        pipe->read += (uint64_t)length;
        atomic_fetch_add(&pipe->actor.program->counts.bytes_verified, (unsigned long)length);
    }
    EXPECT(&pipe->actor, flight, length < 0 && (errno == EAGAIN || errno == EINTR));
}

/* All was written and read: the watch goes, if it is one, and then the pipe. */
static void end_pipe(pipe_actor_t *pipe)
{
    actor_t  *actor = &pipe->actor;
    flight_t *flight = &actor->flights[WATCH];
    bool      is_done = (pipe->rounds == 0 || is_over(actor)) && !actor->flights[PIPE_WRITE].aloft &&
                   pipe->read == pipe->written;
    if (!is_done || pipe->is_leaving) {
        return;
    }
    pipe->is_leaving = true;
    if (flight->aloft && flight->multishot && one_in(&actor->chance, 2)) {
        flight->cancel_asked = true;
        expect_control(flight, loop_remove_fd(actor->program->loop, &flight->request));
    }
    close_actor(actor, pipe_closed);
}

static void pipe_written(flight_t *flight, int64_t result)
{
    pipe_actor_t *pipe = pipe_of(flight);
    pipe->written += result > 0 ? (uint64_t)result : 0;
    write_more(pipe);
    end_pipe(pipe);
}

static void pipe_ready(flight_t *flight, int64_t result)
{
    pipe_actor_t *pipe = pipe_of(flight);
    actor_t      *actor = flight->actor;
    if (pipe->is_leaving) {
        pipe_closed(flight, result);
        return;
    }
    if (result > 0) {
        read_all(pipe, flight);
    }
    end_pipe(pipe);
    if (!pipe->is_leaving && !flight->aloft) {
        watch(pipe);
    } else if (!pipe->is_leaving && one_in(&actor->chance, 8)) {
        expect_control(flight, loop_mod_fd(actor->program->loop, &flight->request, LOOP_READABLE));
    }
}

static void watch(pipe_actor_t *pipe)
{
    actor_t  *actor = &pipe->actor;
    flight_t *flight = &actor->flights[WATCH];
    loop_t   *loop = actor->program->loop;
    uint32_t  kind = random_number(&actor->chance, 4);
    uint32_t  events = LOOP_READABLE | (kind == 1 ? LOOP_EDGE_TRIGGERED : 0);
    flight->multishot = kind < 2;
    prepare(flight, pipe_ready, LOOP_READABLE, LOOP_READABLE, NULL);
    if (kind < 2) {
        SUBMIT(flight, loop_add_fd(loop, &flight->request, actor->fd, events, flight->callback));
    } else if (kind == 2) {
        SUBMIT(flight, loop_wait_until_fd_readable(loop, &flight->request, actor->fd, flight->callback));
    } else {
        SUBMIT(flight, loop_wait_until_fd_writable_or_readable(loop, &flight->request, actor->fd,
                                                               flight->callback));
    }
}

static void pipe_begin(actor_t *actor)
{
    pipe_actor_t *pipe = (pipe_actor_t *)(void *)actor;
    int           ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        EXPECT(actor, NULL, actor->program->options.faults);
        rest(actor);
        return;
    }
    open_actor(actor, ends[0]);
    pipe->write_fd = ends[1];
    pipe->is_leaving = false;
    pipe->rounds = 1 + random_number(&actor->chance, 20);
    pipe->tag = new_tag();
    pipe->written = pipe->read = 0;
    watch(pipe);
    write_more(pipe);
}

static void pipe_finish(actor_t *actor)
{
    const pipe_actor_t *pipe = (const pipe_actor_t *)(void *)actor;
    if (pipe->write_fd > 0) {
        close(pipe->write_fd);
    }
}

const role_t pipe_role = {
    .name = "pipe",
    .size = sizeof(pipe_actor_t),
    .begin = pipe_begin,
    .finish = pipe_finish,
};

/* ---- splices ---------------------------------------------------------------------------------- */

/* Bytes go into one pipe by a write, to another by a splice, out of that by a read: one step at a time. */
typedef struct splice_actor {
    actor_t  actor;
    int      others[3]; /* the end to write to, and the second pipe */
    unsigned rounds;
    uint64_t tag, written, moved, read;
    uint8_t  bytes[WRITE_MOST];
} splice_actor_t;

enum { WRITE_TO = 0, SECOND_OUT = 1, SECOND_IN = 2 };

static void splice_step(splice_actor_t *splice);

static splice_actor_t *splice_of(const flight_t *flight)
{
    return (splice_actor_t *)(void *)flight->actor;
}

static void close_others(splice_actor_t *splice)
{
    for (unsigned i = 0; i < 3 && splice->others[0] > 0; i++) {
        close(splice->others[i]);
    }
    splice->others[0] = -1;
}

static void splice_closed(flight_t *flight, int64_t result)
{
    (void)result;
    close_others(splice_of(flight));
    rest(flight->actor);
}

static void splice_written(flight_t *flight, int64_t result)
{
    splice_of(flight)->written += result > 0 ? (uint64_t)result : 0;
    splice_step(splice_of(flight));
}

static void splice_moved(flight_t *flight, int64_t result)
{
    splice_of(flight)->moved += result > 0 ? (uint64_t)result : 0;
    splice_step(splice_of(flight));
}

static void splice_read(flight_t *flight, int64_t result)
{
    splice_actor_t *splice = splice_of(flight);
    if (result > 0) {
        EXPECT(flight->actor, flight, is_tagged(splice->bytes, (size_t)result, splice->tag, splice->read));
        splice->read += (uint64_t)result;
        atomic_fetch_add(&flight->actor->program->counts.bytes_verified, (unsigned long)result);
    }
    splice_step(splice);
}

static void splice_step(splice_actor_t *splice)
{
    actor_t        *actor = &splice->actor;
    flight_t       *flight = &actor->flights[0];
    loop_t         *loop = actor->program->loop;
    loop_request_t *request = &flight->request;
    size_t          to_move = (size_t)(splice->written - splice->moved);
    size_t          to_read = (size_t)(splice->moved - splice->read);
    size_t          length = 1 + random_number(&actor->chance, WRITE_MOST);
    if (to_read > 0) {
        prepare(flight, splice_read, 1, (int64_t)to_read, NULL);
        SUBMIT(flight, loop_read(loop, request, splice->others[SECOND_OUT], splice->bytes, to_read,
                                 flight->callback));
    } else if (to_move > 0) {
        prepare(flight, splice_moved, 1, (int64_t)to_move, NULL);
        SUBMIT(flight, loop_splice(loop, request, actor->fd, LOOP_NO_OFFSET, splice->others[SECOND_IN],
                                   LOOP_NO_OFFSET, to_move, 0, flight->callback));
    } else if (splice->rounds-- > 0 && !is_over(actor)) {
        fill_tagged(splice->bytes, length, splice->tag, splice->written);
        prepare(flight, splice_written, 1, (int64_t)length, NULL);
        SUBMIT(flight, loop_write(loop, request, splice->others[WRITE_TO], splice->bytes, length,
                                  flight->callback));
    } else {
        close_actor(actor, splice_closed);
    }
}

static void splice_begin(actor_t *actor)
{
    splice_actor_t *splice = (splice_actor_t *)(void *)actor;
    int             first[2], second[2];
    if (pipe2(first, O_CLOEXEC) != 0) {
        EXPECT(actor, NULL, actor->program->options.faults);
        rest(actor);
        return;
    }
    if (pipe2(second, O_CLOEXEC) != 0) {
        EXPECT(actor, NULL, actor->program->options.faults);
        close(first[0]);
        close(first[1]);
        rest(actor);
        return;
    }
    open_actor(actor, first[0]);
    splice->others[WRITE_TO] = first[1];
    splice->others[SECOND_OUT] = second[0];
    splice->others[SECOND_IN] = second[1];
    splice->rounds = 1 + random_number(&actor->chance, 10);
    splice->tag = new_tag();
    splice->written = splice->moved = splice->read = 0;
    splice_step(splice);
}

static void splice_finish(actor_t *actor)
{
    close_others((splice_actor_t *)(void *)actor);
}

const role_t splice_role = {
    .name = "splice",
    .size = sizeof(splice_actor_t),
    .begin = splice_begin,
    .finish = splice_finish,
};
