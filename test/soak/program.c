/*
 * The life of a program: its cast, the thread that runs it, the meddlers, and the checker.
 *
 * SPDX-License-Identifier: MIT
 */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const int stream_errors[] = {LOOP_ECONNRESET, LOOP_EPIPE, 0};
const int scarcity_errors[] = {LOOP_EMFILE, LOOP_ENFILE, 0};

/* ---- the checker ------------------------------------------------------------------------------ */

_Noreturn void program_failed(const actor_t *actor, const flight_t *flight, const char *condition,
                              const char *file, int line)
{
    const program_options_t *options = &actor->program->options;
    fprintf(stderr, "%s:%d: seed %llu, %u threads, %s: %s %u: %s\n", file, line,
            (unsigned long long)options->seed, options->threads, loop_backend_name(actor->program->loop),
            actor->role->name, actor->number, condition);
    if (flight != NULL) {
        fprintf(stderr, "    %s: result %lld (%s), flags %u, aloft %d, cancel asked %d, timeout %llu ns\n",
                flight->call, (long long)flight->request.result,
                flight->request.result < 0 ? loop_error_name((int)flight->request.result) : "a value",
                flight->request.flags, flight->aloft, flight->cancel_asked,
                (unsigned long long)flight->request.timeout_ns);
    }
    abort();
}

void prepare(flight_t *flight, flight_end_t then, int64_t least, int64_t most, const int *errors)
{
    actor_t         *actor = flight->actor;
    const program_t *program = actor->program;
    EXPECT(actor, flight, !flight->aloft);
    flight->then = then;
    flight->least = least;
    flight->most = most;
    flight->errors = errors;
    flight->cancel_asked = actor->meddling.aloft; /* it may be a cancel that comes in later than this */
    flight->aloft = true;
    flight->request.result = INT64_MIN;
    flight->request.timeout_ns = 0;
    if (program->has_deadlines && !flight->steady && one_in(&actor->chance, 12)) {
        flight->request.timeout_ns = 1 + random_number(&actor->chance, 2 * MILLISECONDS);
    }
}

static void landed(loop_t *loop, loop_request_t *request, int64_t result);

void submitted(flight_t *flight, const char *call, int result)
{
    program_t *program = flight->actor->program;
    atomic_fetch_add(&program->counts.calls, 1);
    flight->call = call;
    if (result < 0) {
        EXPECT(flight->actor, flight, result == LOOP_ESHUTDOWN && atomic_load(&program->ending));
        flight->aloft = false;
    }
}

static bool is_among(const int *errors, int64_t result)
{
    for (; errors != NULL && *errors != 0; errors++) {
        if (*errors == result) {
            return true;
        }
    }
    return false;
}

static bool may_deliver(const flight_t *flight, int64_t result)
{
    const program_t *program = flight->actor->program;
    return (result >= flight->least && result <= flight->most) || is_among(flight->errors, result) ||
           (result == LOOP_ECANCELED && (flight->cancel_asked || atomic_load(&program->ending))) ||
           (result == LOOP_ETIMEDOUT && flight->request.timeout_ns != 0) ||
           (program->options.faults && is_among(scarcity_errors, result));
}

/* Checks one result, and lets the actor go on. Its lock is held. */
static void land(flight_t *flight)
{
    int64_t result = flight->request.result;
    bool    has_more = (flight->request.flags & LOOP_MORE) != 0;
    EXPECT(flight->actor, flight, flight->aloft);
    EXPECT(flight->actor, flight, may_deliver(flight, result));
    EXPECT(flight->actor, flight, !has_more || (flight->multishot && result >= 0));
    flight->aloft = has_more;
    if (flight == &flight->actor->flights[CLOSE] && result == 0) {
        flight->actor->orphan = -1;
    }
    atomic_fetch_add(&flight->actor->program->counts.landings, 1);
    flight->then(flight, result);
}

static void landed(loop_t *loop, loop_request_t *request, int64_t result)
{
    flight_t  *flight = (flight_t *)(void *)request;
    actor_t   *actor = flight->actor;
    program_t *program = actor->program;
    int        others = atomic_fetch_add(&program->callbacks_running, 1);
    EXPECT(actor, flight, loop == program->loop && result == request->result);
    EXPECT(actor, flight, others < (int)program->options.threads);
    EXPECT(actor, flight, !actor->is_stranded || !atomic_exchange(&actor->in_strand, true));
    pthread_mutex_lock(&actor->lock);
    land(flight);
    pthread_mutex_unlock(&actor->lock);
    atomic_store(&actor->in_strand, false);
    atomic_fetch_sub(&program->callbacks_running, 1);
}

void expect_control(const flight_t *flight, int result)
{
    EXPECT(flight->actor, flight,
           result == 0 || result == LOOP_ENOENT ||
               (result == LOOP_ESHUTDOWN && atomic_load(&flight->actor->program->ending)));
}

void cancel_flight(flight_t *flight)
{
    actor_t *actor = flight->actor;
    if (!flight->aloft || flight->steady) {
        return;
    }
    flight->cancel_asked = true;
    expect_control(flight, loop_cancel(actor->program->loop, &flight->request));
    atomic_fetch_add(&actor->program->counts.calls, 1);
    atomic_fetch_add(&actor->program->counts.cancels, 1);
}

/* ---- actors ----------------------------------------------------------------------------------- */

/* Begins an act, or finds that there will be no more. */
static void begin_act(flight_t *flight, int64_t result)
{
    actor_t *actor = flight->actor;
    (void)result;
    if (!is_over(actor)) {
        actor->role->begin(actor);
    } else {
        rest(actor);
    }
}

void pause_for(actor_t *actor, uint64_t most_ns, flight_end_t then)
{
    flight_t *pause = &actor->pause;
    uint64_t  delay_ns = random_number(&actor->chance, (uint32_t)most_ns);
    prepare(pause, then, 0, 0, NULL);
    if (one_in(&actor->chance, 2)) {
        SUBMIT(pause, loop_on_next_tick(actor->program->loop, &pause->request, pause->callback));
    } else {
        SUBMIT(pause,
               loop_timer_start(actor->program->loop, &pause->request, delay_ns, 0, pause->callback));
    }
}

bool is_idle(const actor_t *actor)
{
    for (unsigned i = 0; i < FLIGHTS; i++) {
        if (actor->flights[i].aloft) {
            return false;
        }
    }
    return !actor->pause.aloft;
}

void rest(actor_t *actor)
{
    program_t *program = actor->program;
    EXPECT(actor, NULL, is_idle(actor));
    if (!is_over(actor)) {
        pause_for(actor, program->longest_pause_us * MICROSECONDS, begin_act);
    } else if (!actor->resting) {
        actor->resting = true;
        atomic_fetch_sub(&program->acting, !actor->role->is_server);
    }
}

/* The number of the descriptor is kept as that of an orphan until it is known to be closed. */
static void submit_close(actor_t *actor)
{
    flight_t *flight = &actor->flights[CLOSE];
    actor->orphan = actor->fd;
    actor->fd = -1;
    SUBMIT(flight, loop_close(actor->program->loop, &flight->request, actor->orphan, flight->callback));
}

void open_actor(actor_t *actor, int fd)
{
    actor->fd = fd;
    actor->untouchable = false;
}

bool is_closed(const actor_t *actor)
{
    return actor->fd < 0 && is_idle(actor);
}

void close_actor(actor_t *actor, flight_end_t then)
{
    flight_t *flight = &actor->flights[CLOSE];
    flight->steady = true;
    prepare(flight, then, 0, 0, NULL);
    actor->untouchable = true;
    for (unsigned i = 0; i < FLIGHTS; i++) {
        actor->flights[i].cancel_asked |= &actor->flights[i] != flight;
    }
    if (actor->meddling.aloft) {
        actor->has_close = true;
    } else {
        submit_close(actor);
    }
}

static void meddled(flight_t *flight, int64_t result)
{
    actor_t *actor = flight->actor;
    (void)result;
    if (actor->has_close) {
        actor->has_close = false;
        submit_close(actor);
    }
}

static void join_flight(actor_t *actor, flight_t *flight)
{
    flight->actor = actor;
    flight->callback = landed;
    if (actor->is_stranded) {
        EXPECT(actor, flight, loop_set_strand(&flight->request, &actor->strand) == 0);
    }
}

static actor_t *new_actor(program_t *program, const role_t *role, unsigned number)
{
    actor_t *actor = calloc(1, role->size);
    actor->program = program;
    actor->role = role;
    actor->number = number;
    actor->fd = actor->orphan = -1;
    actor->chance = (program->options.seed + 1) * UINT64_C(0x9E3779B97F4A7C15) +
                    (program->actor_count + 1) * UINT64_C(0xBF58476D1CE4E5B9);
    actor->chance += actor->chance == 0;
    actor->is_stranded = program->has_strands && one_in(&actor->chance, 2);
    pthread_mutex_init(&actor->lock, NULL);
    for (unsigned i = 0; i < FLIGHTS; i++) {
        join_flight(actor, &actor->flights[i]);
    }
    join_flight(actor, &actor->pause);
    join_flight(actor, &actor->meddling);
    actor->meddling.steady = true;
    program->actors[program->actor_count++] = actor;
    atomic_fetch_add(&program->acting, !role->is_server);
    return actor;
}

/* ---- meddlers --------------------------------------------------------------------------------- */

static void called(loop_t *loop, void *user)
{
    const post_place_t *place = user;
    poster_t           *poster = place->poster;
    program_t          *program = poster->program;
    unsigned            number = atomic_fetch_add(&poster->called, 1);
    EXPECT(program->conductor, NULL, loop == program->loop);
    EXPECT(program->conductor, NULL, place == &poster->places[number % POST_PLACES]);
    atomic_fetch_add(&program->counts.posts, 1);
}

static void post(poster_t *poster)
{
    program_t *program = poster->program;
    int        result = loop_post(program->loop, called, &poster->places[poster->sent % POST_PLACES]);
    EXPECT(program->conductor, NULL, result == 0 || result == LOOP_ENOBUFS);
    poster->sent += result == 0;
    atomic_fetch_add(&program->counts.calls, 1);
}

/* Submits something in the name of another: the cancel of a descriptor, a tick or a timer. */
static void submit_for(actor_t *actor, uint64_t *chance)
{
    flight_t *flight = &actor->meddling;
    loop_t   *loop = actor->program->loop;
    bool      may_cancel = actor->program->has_cancels && actor->fd >= 0 && !actor->untouchable;
    if (flight->aloft) {
        return;
    }
    for (unsigned i = 0; i < FLIGHTS; i++) {
        may_cancel = may_cancel && !(actor->flights[i].aloft && actor->flights[i].steady);
    }
    prepare(flight, meddled, 0, may_cancel ? 2 * FLIGHTS : 0, NULL);
    if (may_cancel) {
        for (unsigned i = 0; i < FLIGHTS; i++) {
            actor->flights[i].cancel_asked = true;
        }
        SUBMIT(flight, loop_cancel_fd(loop, &flight->request, actor->fd, flight->callback));
    } else if (one_in(chance, 2)) {
        SUBMIT(flight, loop_on_next_tick(loop, &flight->request, flight->callback));
    } else {
        SUBMIT(flight, loop_timer_start(loop, &flight->request, random_number(chance, MILLISECONDS), 0,
                                        flight->callback));
    }
}

static void meddle(poster_t *poster)
{
    program_t *program = poster->program;
    uint64_t  *chance = &poster->chance;
    actor_t   *actor = program->actors[random_number(chance, program->actor_count)];
    if (actor == program->conductor || one_in(chance, 3)) {
        post(poster);
        return;
    }
    pthread_mutex_lock(&actor->lock);
    if (program->has_cancels && one_in(chance, 2)) {
        unsigned index = random_number(chance, FLIGHTS + 1);
        cancel_flight(index < FLIGHTS ? &actor->flights[index] : &actor->pause);
    } else {
        submit_for(actor, chance);
    }
    pthread_mutex_unlock(&actor->lock);
}

static void sleep_a_little(uint64_t duration_ns)
{
    struct timespec duration = {0, (long)duration_ns};
    nanosleep(&duration, NULL);
}

static void *be_foreign(void *argument)
{
    poster_t *poster = argument;
    while (!atomic_load(&poster->program->foreigners_finish)) {
        meddle(poster);
        sleep_a_little(random_number(&poster->chance, 100) * MICROSECONDS);
    }
    return NULL;
}

/* ---- the conductor: the thread that runs the loop ---------------------------------------------- */

static const role_t conductor_role = {.name = "conductor", .size = sizeof(actor_t), .is_server = true};

static void stop_loop(flight_t *flight, int64_t result)
{
    (void)result;
    expect_control(flight, loop_stop(flight->actor->program->loop));
}

static void run_until_stopped(program_t *program)
{
    actor_t *conductor = program->conductor;
    pthread_mutex_lock(&conductor->lock);
    pause_for(conductor, MILLISECONDS, stop_loop);
    pthread_mutex_unlock(&conductor->lock);
    EXPECT(conductor, NULL, loop_run(program->loop) == 0);
}

static int harvest(program_t *program, int64_t timeout_ns)
{
    loop_request_t *done[8];
    int             count = loop_wait(program->loop, done, COUNT(done), timeout_ns);
    EXPECT(program->conductor, NULL, count >= 0 && count <= (int)COUNT(done));
    for (int i = 0; i < count; i++) {
        flight_t *flight = (flight_t *)(void *)done[i];
        pthread_mutex_lock(&flight->actor->lock);
        EXPECT(flight->actor, flight, flight->callback == NULL);
        land(flight);
        pthread_mutex_unlock(&flight->actor->lock);
    }
    atomic_fetch_add(&program->counts.harvested, (unsigned long)count);
    return count;
}

static void ask_about(program_t *program)
{
    loop_statistics_t statistics = {.size = sizeof statistics};
    EXPECT(program->conductor, NULL, loop_get_statistics(program->loop, &statistics) == 0);
    EXPECT(program->conductor, NULL, loop_pending(program->loop) >= 0);
    int64_t timeout_ns = loop_backend_timeout(program->loop);
    EXPECT(program->conductor, NULL, timeout_ns >= -1 || program->options.threads > 1);
    EXPECT(program->conductor, NULL, loop_ref(program->loop) == 0);
    EXPECT(program->conductor, NULL, loop_unref(program->loop) == 0);
    atomic_fetch_add(&program->counts.calls, 5);
}

static void turn(program_t *program)
{
    uint64_t *chance = &program->chance;
    int64_t   timeout_ns = random_number(chance, MILLISECONDS);
    atomic_fetch_add(&program->counts.calls, 1);
    switch (random_number(chance, 8)) {
    case 0: run_until_stopped(program); break;
    case 1: EXPECT(program->conductor, NULL, loop_run_once(program->loop, 0) >= 0); break;
    case 2:
    case 3: EXPECT(program->conductor, NULL, loop_run_once(program->loop, timeout_ns) >= 0); break;
    default: harvest(program, timeout_ns); break;
    }
    if (one_in(chance, 4) && !atomic_load(&program->foreigners_finish)) {
        meddle(&program->posters[0]);
    }
    if (one_in(chance, 256)) {
        ask_about(program);
    }
}

static bool has_more_to_do(const program_t *program)
{
    const program_options_t *options = &program->options;
    return !atomic_load(&program->stop_asked) &&
           (options->calls == 0 || atomic_load(&program->counts.calls) < options->calls);
}

/* Lets every actor come to rest, the servers last. */
static void drain(program_t *program)
{
    atomic_store(&program->draining, true);
    while (atomic_load(&program->acting) > 0) {
        turn(program);
    }
    for (unsigned i = 0; i < program->actor_count; i++) {
        actor_t *actor = program->actors[i];
        if (actor->role->stop != NULL) {
            pthread_mutex_lock(&actor->lock);
            actor->role->stop(actor);
            pthread_mutex_unlock(&actor->lock);
        }
    }
}

static void join_foreigners(program_t *program)
{
    atomic_store(&program->foreigners_finish, true);
    for (unsigned i = 0; i < FOREIGNERS && program->has_foreigners; i++) {
        pthread_join(program->foreigners[i], NULL);
    }
}

void program_run(program_t *program)
{
    for (unsigned i = 0; i < program->actor_count; i++) {
        actor_t *actor = program->actors[i];
        pthread_mutex_lock(&actor->lock);
        if (actor != program->conductor) {
            actor->role->begin(actor);
        }
        pthread_mutex_unlock(&actor->lock);
    }
    for (unsigned i = 0; i < FOREIGNERS && program->has_foreigners; i++) {
        EXPECT(program->conductor, NULL, pthread_create(&program->foreigners[i], NULL, be_foreign,
                                                        &program->posters[1 + i]) == 0);
    }
    while (has_more_to_do(program)) {
        turn(program);
    }
    if (program->ends_gently) {
        drain(program);
    }
    join_foreigners(program);
    while (program->ends_gently && (loop_pending(program->loop) > 0 || harvest(program, 0) > 0)) {
        harvest(program, (int64_t)MILLISECONDS);
    }
}

void program_stop(program_t *program)
{
    atomic_store(&program->stop_asked, true);
}

/* ---- beginning --------------------------------------------------------------------------------- */

void fill_tagged(void *bytes, size_t length, uint64_t tag, uint64_t position)
{
    for (size_t i = 0; i < length; i++) {
        ((uint8_t *)bytes)[i] = tagged_byte(tag, position + i);
    }
}

bool is_tagged(const void *bytes, size_t length, uint64_t tag, uint64_t position)
{
    for (size_t i = 0; i < length; i++) {
        if (((const uint8_t *)bytes)[i] != tagged_byte(tag, position + i)) {
            return false;
        }
    }
    return true;
}

uint64_t new_tag(void)
{
    static atomic_ullong tags;
    return (atomic_fetch_add(&tags, 1) + 1) * UINT64_C(0xD1342543DE82EF95);
}

/* A socket of the loopback device (or with a Unix name that the system chose), with its address. */
static int bound_socket(int family, int type, endpoint_t *endpoint)
{
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memset(endpoint, 0, sizeof *endpoint);
    endpoint->any.sa_family = (sa_family_t)family;
    endpoint->length = sizeof(sa_family_t);
    if (family == AF_INET) {
        endpoint->ip4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        endpoint->length = sizeof endpoint->ip4;
    }
    if (fd < 0 || bind(fd, &endpoint->any, endpoint->length) != 0) {
        close(fd);
        return -1;
    }
    endpoint->length = sizeof *endpoint;
    getsockname(fd, &endpoint->any, &endpoint->length);
    if (type == SOCK_STREAM) {
        listen(fd, 4 * CLIENTS);
    }
    return fd;
}

static int tagged_file(uint64_t tag)
{
    int      fd = memfd_create("tagged", MFD_CLOEXEC);
    uint8_t *bytes = malloc(TAGGED_FILE_LENGTH);
    fill_tagged(bytes, TAGGED_FILE_LENGTH, tag, 0);
    if (fd >= 0 && write(fd, bytes, TAGGED_FILE_LENGTH) != TAGGED_FILE_LENGTH) {
        close(fd);
        fd = -1;
    }
    free(bytes);
    return fd;
}

static void choose_features(program_t *program)
{
    uint64_t *chance = &program->chance;
    program->has_cancels = !one_in(chance, 4);
    program->has_deadlines = one_in(chance, 2);
    program->has_resets = one_in(chance, 2);
    program->has_strands = one_in(chance, 2);
    program->has_foreigners = one_in(chance, 2);
    program->ends_gently = one_in(chance, 2);
    program->longest_pause_us = one_in(chance, 2) ? 1 : 1000;
    if (program->options.all_features) {
        program->has_cancels = program->has_deadlines = program->has_resets = program->has_strands = true;
        program->has_foreigners = program->ends_gently = true;
        program->longest_pause_us = 1000;
    }
}

/* Short pools have a buffer for each thread, and a few more. */
static void make_pool(program_t *program)
{
    uint64_t *chance = &program->chance;
    bool      is_short = one_in(chance, 2);
    uint32_t  count = is_short ? program->options.threads + random_number(chance, 4) : POOL_BUFFERS_MOST;
    program->pool_buffer_size = is_short ? 1 + random_number(chance, 512) : 2048;
    program->pool_memory = malloc((size_t)count * program->pool_buffer_size);
    bool owned_by_library = program->ends_gently && one_in(chance, 2);
    int  result = loop_buffers_init(program->loop, &program->pool,
                                    owned_by_library ? NULL : program->pool_memory,
                                    program->pool_buffer_size, count);
    EXPECT(program->conductor, NULL, result == 0);
}

static bool make_means(program_t *program)
{
    loop_options_t options = {.size = sizeof options,
                              .threads = program->options.threads,
                              .backend = program->options.backend};
    program->file_tag = new_tag();
    program->listeners[0] = bound_socket(AF_INET, SOCK_STREAM, &program->addresses[0]);
    program->listeners[1] = bound_socket(AF_UNIX, SOCK_STREAM, &program->addresses[1]);
    program->datagram_server = bound_socket(AF_INET, SOCK_DGRAM, &program->datagram_address);
    program->file = tagged_file(program->file_tag);
    return program->listeners[0] >= 0 && program->listeners[1] >= 0 && program->datagram_server >= 0 &&
           program->file >= 0 && loop_init(&program->loop, &options) == 0;
}

static void close_means(program_t *program)
{
    int descriptors[] = {program->listeners[0], program->listeners[1], program->datagram_server,
                         program->file};
    for (unsigned i = 0; i < COUNT(descriptors); i++) {
        if (descriptors[i] >= 0) {
            close(descriptors[i]);
        }
    }
}

static void gather_cast(program_t *program)
{
    static const struct {
        const role_t *role;
        unsigned      count;
    } cast[] = {
        {&conductor_role, 1},       {&acceptor_role, 2},        {&servant_role, SERVANTS},
        {&datagram_server_role, 1}, {&client_role, CLIENTS},    {&datagram_client_role, 2},
        {&file_role, 2},            {&pipe_role, 2},            {&splice_role, 1},
        {&tick_role, 3},            {&timer_role, 3},           {&metronome_role, 2},
        {&work_role, 2},            {&name_role, 1},
    };
    unsigned size = 0;
    for (unsigned i = 0; i < COUNT(cast); i++) {
        size += cast[i].count;
    }
    program->actors = calloc(size, sizeof(actor_t *));
    for (unsigned i = 0; i < COUNT(cast); i++) {
        for (unsigned number = 0; number < cast[i].count; number++) {
            actor_t *actor = new_actor(program, cast[i].role, number);
            if (cast[i].role == &servant_role) {
                program->servants[number] = actor;
            }
        }
    }
    program->conductor = program->actors[0];
}

program_t *program_new(const program_options_t *options)
{
    program_t *program = calloc(1, sizeof *program);
    program->options = *options;
    program->chance = (options->seed + 1) * UINT64_C(0xD1B54A32D192ED03);
    choose_features(program);
    if (!make_means(program)) {
        if (!options->faults) {
            perror("the means of a program");
            abort();
        }
        close_means(program);
        free(program);
        return NULL;
    }
    for (unsigned i = 0; i < COUNT(program->posters); i++) {
        poster_t *poster = &program->posters[i];
        poster->program = program;
        poster->chance = (options->seed + 2 + i) * UINT64_C(0x94D049BB133111EB) | 1;
        for (unsigned place = 0; place < POST_PLACES; place++) {
            poster->places[place].poster = poster;
        }
    }
    gather_cast(program);
    make_pool(program);
    return program;
}

/* ---- end --------------------------------------------------------------------------------------- */

/* A pool ends before its loop; so the receives that use it end before. */
static void end_pool(program_t *program)
{
    int result;
    while ((result = loop_buffers_deinit(program->pool)) == LOOP_EBUSY) {
        for (unsigned i = 0; i < SERVANTS; i++) {
            actor_t *servant = program->servants[i];
            pthread_mutex_lock(&servant->lock);
            servant->role->stop(servant);
            pthread_mutex_unlock(&servant->lock);
        }
        harvest(program, (int64_t)MILLISECONDS);
    }
    EXPECT(program->conductor, NULL, result == 0);
    program->pool = NULL;
}

/* What was not harvested has its result, too. */
static void settle(actor_t *actor, flight_t *flight)
{
    if (flight->aloft && flight->callback == NULL) {
        EXPECT(actor, flight, may_deliver(flight, flight->request.result));
        flight->aloft = false;
        flight->then(flight, flight->request.result);
    }
    EXPECT(actor, flight, !flight->aloft || actor->has_close);
}

static void end_actor(actor_t *actor)
{
    for (unsigned i = 0; i < FLIGHTS; i++) {
        settle(actor, &actor->flights[i]);
    }
    settle(actor, &actor->pause);
    settle(actor, &actor->meddling);
    if (actor->role->finish != NULL) {
        actor->role->finish(actor);
    }
    EXPECT(actor, NULL, actor->fd < 0 || close(actor->fd) == 0);
    EXPECT(actor, NULL, actor->orphan < 0 || close(actor->orphan) == 0);
    pthread_mutex_destroy(&actor->lock);
    free(actor);
}

static void add_up(program_counts_t *total, const program_counts_t *counts)
{
    const atomic_ulong *from = &counts->calls;
    atomic_ulong       *to = &total->calls;
    for (size_t i = 0; i < sizeof *counts / sizeof *from; i++) {
        atomic_fetch_add(&to[i], atomic_load(&from[i]));
    }
}

void program_end(program_t *program, program_counts_t *total)
{
    atomic_store(&program->ending, true);
    if (program->ends_gently) {
        EXPECT(program->conductor, NULL, loop_pending(program->loop) == 0);
        EXPECT(program->conductor, NULL, program->has_resets || program->options.faults ||
               program->counts.broken_streams <= program->counts.turned_away);
    }
    end_pool(program);
    EXPECT(program->conductor, NULL, loop_deinit(program->loop) == 0);
    for (unsigned i = 0; i < COUNT(program->posters); i++) {
        EXPECT(program->conductor, NULL,
               program->posters[i].sent == atomic_load(&program->posters[i].called));
    }
    for (unsigned i = program->actor_count; i-- > 0;) { /* the conductor last */
        end_actor(program->actors[i]);
    }
    close_means(program);
    add_up(total, &program->counts);
    free(program->pool_memory);
    free(program->actors);
    free(program);
}
