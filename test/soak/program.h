/*
 * Programs of API calls that a seed decides, run on the real kernel, and the checker that watches them.
 *
 * A program is one loop and a cast of actors around it: clients and servers of streams and datagrams,
 * files, pipes, timers, ticks, work and names. Each actor is a small state machine with a chance of its
 * own, so that what it does depends on the seed and on what it met, not on how threads interleave. Meddlers
 * (the thread that runs the loop, and foreign ones) cancel what they come across, and post. What each
 * request, a flight, may deliver is known when it is submitted; a flight that lands twice, or with another
 * result, ends the process with a message that has the seed in it. Every stream has a tag, and every byte
 * of it tells tag and position.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_SOAK_PROGRAM_H
#define LOOP_SOAK_PROGRAM_H

#define _GNU_SOURCE 1

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "loop.h"

#define MICROSECONDS ((uint64_t)1000) /* in nanoseconds, the unit of the library */
#define MILLISECONDS (1000 * MICROSECONDS)
#define SECONDS      (1000 * MILLISECONDS)

/* ---- what a program is ------------------------------------------------------------------------ */

typedef struct program program_t;

typedef struct program_options {
    uint64_t seed;
    uint32_t threads;
    uint32_t backend;
    uint64_t calls;        /* after so many calls the program comes to its end, 0 = never */
    bool     all_features; /* rather than those that the seed chooses */
    bool     faults;       /* descriptors may run out at any time: LOOP_EMFILE is a result like others */
} program_options_t;

/* What happened in a program; counters only grow. */
typedef struct program_counts {
    atomic_ulong calls, landings, bytes_verified, cancels, harvested, posts, broken_streams, turned_away;
} program_counts_t;

/* Makes a loop and its cast. NULL when descriptors ran out, which only a program with faults may meet. */
program_t *program_new(const program_options_t *options);

/* Runs a program to its end, on this thread and those that it starts. */
void program_run(program_t *program);

/* Makes a running program come to its end. Any thread. */
void program_stop(program_t *program);

/* Wants everything to be over, frees it, and adds up what was counted. */
void program_end(program_t *program, program_counts_t *total);

/* ---- the checker ------------------------------------------------------------------------------ */

typedef struct actor  actor_t;
typedef struct flight flight_t;
typedef void (*flight_end_t)(flight_t *flight, int64_t result);

/* A request with what it may deliver. All of it is guarded by the lock of its actor. */
struct flight {
    loop_request_t  request; /* first, so that a callback can get at the rest */
    actor_t        *actor;
    flight_end_t    then;
    loop_callback_t callback; /* NULL when it is to be harvested */
    const char     *call;     /* for messages */
    int64_t         least, most;
    const int      *errors; /* ends with 0; NULL = none */
    bool            aloft;
    bool            cancel_asked;
    bool            steady;     /* must not be cancelled, nor get a deadline */
    bool            harvestable;
    bool            multishot;
};

/* Errors of an operation on a stream whose peer may go away, and of what makes descriptors. */
extern const int stream_errors[], scarcity_errors[];

#define EXPECT(actor, flight, condition) \
    ((condition) ? (void)0 : program_failed((actor), (flight), #condition, __FILE__, __LINE__))
_Noreturn void program_failed(const actor_t *actor, const flight_t *flight, const char *condition,
                              const char *file, int line);

/* Says what a flight may deliver; SUBMIT follows. */
void prepare(flight_t *flight, flight_end_t then, int64_t least, int64_t most, const int *errors);

/* Submits a prepared flight. While the loop is being ended it may be refused, and nothing follows. */
#define SUBMIT(flight, submission) submitted((flight), #submission, (submission))
void submitted(flight_t *flight, const char *call, int result);

/* What a cancel or another call about a flight may say. */
void expect_control(const flight_t *flight, int result);

/* Asks that a flight end, unless it is steady. */
void cancel_flight(flight_t *flight);

/* Whether a flight ended without having done anything, because of a cancel or a deadline. */
static inline bool interrupted(int64_t result)
{
    return result == LOOP_ECANCELED || result == LOOP_ETIMEDOUT;
}

/* ---- actors ----------------------------------------------------------------------------------- */

enum { FLIGHTS = 6, CLOSE = FLIGHTS - 1 };

typedef struct role {
    const char *name;
    size_t      size;      /* of the struct that begins with an actor_t */
    bool        is_server; /* goes on until all others have come to rest */
    void (*begin)(actor_t *actor);  /* starts another act; nothing is in flight */
    void (*stop)(actor_t *actor);   /* servers only: nobody needs this one any more; may be NULL */
    void (*finish)(actor_t *actor); /* the loop is gone: gives back what is left; may be NULL */
} role_t;

extern const role_t client_role, servant_role, acceptor_role;
extern const role_t datagram_client_role, datagram_server_role;
extern const role_t file_role, pipe_role, splice_role;
extern const role_t tick_role, timer_role, metronome_role, work_role, name_role;

struct actor {
    program_t      *program;
    const role_t   *role;
    unsigned        number;
    pthread_mutex_t lock; /* held while anything is done with the actor */
    uint64_t        chance;
    loop_strand_t   strand;
    bool            is_stranded;
    atomic_bool     in_strand;
    bool            resting; /* at the end of the program */
    bool            untouchable; /* no cancel of its descriptor now */
    int             fd;          /* the one that meddlers may cancel, or -1 */
    flight_t        flights[FLIGHTS];
    flight_t        pause;  /* between two acts, and while waiting for means */
    flight_t        meddling; /* what others submit in its name */
    bool            has_close; /* that waits for `meddling` to be over */
    int             orphan;   /* a descriptor whose close was cancelled by the end of the loop, or -1 */
};

/* Ends an act: the next one begins soon, or the actor comes to rest. Nothing may be in flight. */
void rest(actor_t *actor);

/* Lets `then` be called after a time below the given one. */
void pause_for(actor_t *actor, uint64_t most_ns, flight_end_t then);

bool is_idle(const actor_t *actor);

/* Gives the actor a descriptor that meddlers may cancel. */
void open_actor(actor_t *actor, int fd);

/* Closes the actor's descriptor by way of the loop, which ends what waits on it. */
void close_actor(actor_t *actor, flight_end_t then);

/* Whether the descriptor is gone, and nothing is in flight any more. */
bool is_closed(const actor_t *actor);

/* ---- chance and data -------------------------------------------------------------------------- */

static inline uint32_t random_number(uint64_t *chance, uint32_t limit)
{
    *chance ^= *chance << 13;
    *chance ^= *chance >> 7;
    *chance ^= *chance << 17;
    return (uint32_t)((*chance >> 32) % limit);
}

static inline bool one_in(uint64_t *chance, uint32_t limit)
{
    return random_number(chance, limit) == 0;
}

/* The byte at a position of the stream with a tag. */
static inline uint8_t tagged_byte(uint64_t tag, uint64_t position)
{
    uint64_t mixed = (tag + position / 8) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint8_t)(mixed >> (8 * (position % 8)));
}

void fill_tagged(void *bytes, size_t length, uint64_t tag, uint64_t position);
bool is_tagged(const void *bytes, size_t length, uint64_t tag, uint64_t position);

/* A tag that no other stream of the process has. */
uint64_t new_tag(void);

/* ---- what the actors of a program share --------------------------------------------------------- */

enum { CLIENTS = 8, SERVANTS = 2 * CLIENTS, FOREIGNERS = 2, POOL_BUFFERS_MOST = 64 };

typedef struct endpoint {
    union {
        struct sockaddr     any;
        struct sockaddr_in  ip4;
        struct sockaddr_un  local;
    };
    socklen_t length;
} endpoint_t;

enum { TAGGED_FILE_LENGTH = 1 << 18 };

/* A thread that posts, and what checks that its posts come once and in order: each is known by its place. */
enum { POST_PLACES = 2 * LOOP_POSTS_MAX };
typedef struct poster poster_t;
typedef struct post_place {
    poster_t *poster;
} post_place_t;
struct poster {
    program_t   *program;
    uint64_t     chance;
    unsigned     sent;
    atomic_uint  called;
    post_place_t places[POST_PLACES];
};

struct program {
    program_options_t options;
    loop_t           *loop;
    program_counts_t  counts;
    uint64_t          chance;

    /* Swarm testing: each program has some of the features, so that none hides another. */
    bool     has_cancels, has_deadlines, has_resets, has_strands, has_foreigners, ends_gently;
    uint32_t longest_pause_us;

    actor_t  **actors;
    unsigned   actor_count;
    atomic_int acting; /* actors that are no servers, and not at rest */
    actor_t   *servants[SERVANTS];
    actor_t   *conductor;

    int              listeners[2]; /* TCP, Unix */
    endpoint_t       addresses[2];
    int              datagram_server;
    endpoint_t       datagram_address;
    int              file; /* with tagged bytes */
    uint64_t         file_tag;
    loop_buffers_t  *pool;
    uint8_t         *pool_memory;
    uint32_t         pool_buffer_size;

    pthread_t   foreigners[FOREIGNERS];
    poster_t    posters[1 + FOREIGNERS]; /* the first is that of the thread that runs the loop */
    atomic_bool foreigners_finish;
    atomic_bool stop_asked, draining, ending;
    atomic_int  callbacks_running;
};

/* Whether an actor shall begin nothing new. */
static inline bool is_over(const actor_t *actor)
{
    return atomic_load(&actor->program->draining) || atomic_load(&actor->program->ending);
}

/* Hands a new connection to a servant that is free; otherwise closes it. */
void hand_over(program_t *program, int fd);

#endif /* LOOP_SOAK_PROGRAM_H */
