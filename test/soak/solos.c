/*
 * Actors without descriptors: ticks, timers, work and names. Some of their requests are harvested.
 *
 * SPDX-License-Identifier: MIT
 */
#include "program.h"

#include <netdb.h>
#include <string.h>

/* One in so many flights has no callback. */
static void choose_harvest(flight_t *flight, loop_callback_t callback)
{
    flight->callback = one_in(&flight->actor->chance, 4) ? NULL : callback;
}

static void rest_when_idle(flight_t *flight, int64_t result)
{
    (void)result;
    if (is_idle(flight->actor)) {
        rest(flight->actor);
    }
}

/* The callback of a flight stays known while it has none, by another one of its actor. */
static loop_callback_t callback_of(const actor_t *actor)
{
    return actor->meddling.callback;
}

/* ---- ticks ------------------------------------------------------------------------------------ */

typedef struct tick_actor {
    actor_t  actor;
    unsigned last; /* of those that were called, in the order of their submits */
} tick_actor_t;

static void ticked(flight_t *flight, int64_t result)
{
    tick_actor_t *tick = (tick_actor_t *)(void *)flight->actor;
    unsigned      number = 1 + (unsigned)(flight - flight->actor->flights);
    bool          is_ordered = flight->callback != NULL && flight->actor->program->options.threads == 1;
    if (result == 0 && is_ordered) {
        EXPECT(flight->actor, flight, number > tick->last);
        tick->last = number;
    }
    rest_when_idle(flight, result);
}

static void take_back(flight_t *flight)
{
    int result = loop_cancel_on_next_tick(flight->actor->program->loop, &flight->request);
    expect_control(flight, result);
    flight->aloft = flight->aloft && result != 0;
}

static void tick_begin(actor_t *actor)
{
    ((tick_actor_t *)(void *)actor)->last = 0;
    for (unsigned i = 0; i < FLIGHTS; i++) {
        flight_t *flight = &actor->flights[i];
        choose_harvest(flight, callback_of(actor));
        prepare(flight, ticked, 0, 0, NULL);
        SUBMIT(flight, loop_on_next_tick(actor->program->loop, &flight->request, flight->callback));
    }
    if (one_in(&actor->chance, 2)) {
        take_back(&actor->flights[1 + random_number(&actor->chance, FLIGHTS - 1)]);
    }
}

const role_t tick_role = {.name = "tick", .size = sizeof(tick_actor_t), .begin = tick_begin};

/* ---- timers ----------------------------------------------------------------------------------- */

typedef struct timer_actor {
    actor_t  actor;
    uint64_t due_ns[FLIGHTS];
    unsigned shots;
} timer_actor_t;

static void fired(flight_t *flight, int64_t result)
{
    const timer_actor_t *timer = (const timer_actor_t *)(const void *)flight->actor;
    uint64_t             due_ns = timer->due_ns[flight - flight->actor->flights];
    EXPECT(flight->actor, flight, result != 0 || loop_now(NULL) >= due_ns);
    rest_when_idle(flight, result);
}

static void timer_begin(actor_t *actor)
{
    timer_actor_t *timer = (timer_actor_t *)(void *)actor;
    for (unsigned i = 0; i < FLIGHTS; i++) {
        flight_t *flight = &actor->flights[i];
        uint64_t  delay_ns = random_number(&actor->chance, 3 * MILLISECONDS);
        timer->due_ns[i] = loop_now(NULL) + delay_ns;
        choose_harvest(flight, callback_of(actor));
        prepare(flight, fired, 0, 0, NULL);
        SUBMIT(flight, loop_timer_start(actor->program->loop, &flight->request, delay_ns, 0,
                                        flight->callback));
    }
}

const role_t timer_role = {.name = "timer", .size = sizeof(timer_actor_t), .begin = timer_begin};

static void beaten(flight_t *flight, int64_t result)
{
    timer_actor_t *timer = (timer_actor_t *)(void *)flight->actor;
    EXPECT(flight->actor, flight, result != 0 || loop_now(NULL) >= timer->due_ns[0]);
    if (!flight->aloft) {
        rest_when_idle(flight, result);
    } else if (timer->shots == 0 || --timer->shots == 0 || is_over(flight->actor)) {
        cancel_flight(flight);
    }
}

static void metronome_begin(actor_t *actor)
{
    timer_actor_t *timer = (timer_actor_t *)(void *)actor;
    flight_t      *flight = &actor->flights[0];
    uint64_t       period_ns = 1 + random_number(&actor->chance, MILLISECONDS);
    timer->shots = 1 + random_number(&actor->chance, 10);
    timer->due_ns[0] = loop_now(NULL) + period_ns;
    flight->multishot = true;
    prepare(flight, beaten, 0, 0, NULL);
    SUBMIT(flight, loop_timer_start(actor->program->loop, &flight->request, period_ns, period_ns,
                                    flight->callback));
}

const role_t metronome_role = {.name = "metronome", .size = sizeof(timer_actor_t), .begin = metronome_begin};

/* ---- work ------------------------------------------------------------------------------------- */

typedef struct work_actor {
    actor_t     actor;
    atomic_uint worked[FLIGHTS];
} work_actor_t;

static void work_a_little(loop_request_t *request)
{
    flight_t     *flight = (flight_t *)(void *)request;
    work_actor_t *work = (work_actor_t *)(void *)flight->actor;
    atomic_fetch_add(&work->worked[flight - flight->actor->flights], 1);
}

static void worked(flight_t *flight, int64_t result)
{
    work_actor_t *work = (work_actor_t *)(void *)flight->actor;
    unsigned      times = atomic_load(&work->worked[flight - flight->actor->flights]);
    EXPECT(flight->actor, flight, times == (result == 0));
    rest_when_idle(flight, result);
}

static void work_begin(actor_t *actor)
{
    work_actor_t *work = (work_actor_t *)(void *)actor;
    for (unsigned i = 0; i < FLIGHTS / 2; i++) {
        flight_t *flight = &actor->flights[i];
        atomic_store(&work->worked[i], 0);
        choose_harvest(flight, callback_of(actor));
        prepare(flight, worked, 0, 0, NULL);
        SUBMIT(flight, loop_queue_work(actor->program->loop, &flight->request, work_a_little,
                                       flight->callback));
    }
}

const role_t work_role = {.name = "work", .size = sizeof(work_actor_t), .begin = work_begin};

/* ---- names ------------------------------------------------------------------------------------ */

enum { PORT = 4711 };

typedef struct name_actor {
    actor_t          actor;
    struct addrinfo *found;
    char             host[64], service[16];
} name_actor_t;

static const struct sockaddr_in *address_in(const struct addrinfo *found)
{
    return (const struct sockaddr_in *)(const void *)found->ai_addr;
}

static void named(flight_t *flight, int64_t result)
{
    const name_actor_t *name = (const name_actor_t *)(const void *)flight->actor;
    if (result == 0) {
        EXPECT(flight->actor, flight, strcmp(name->host, "127.1.2.3") == 0);
        EXPECT(flight->actor, flight, strcmp(name->service, "4711") == 0);
    }
    rest_when_idle(flight, result);
}

static void found(flight_t *flight, int64_t result)
{
    name_actor_t      *name = (name_actor_t *)(void *)flight->actor;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(0x7F010203)};
    EXPECT(flight->actor, flight, (result == 0) == (name->found != NULL));
    if (result == 0) {
        EXPECT(flight->actor, flight,
               address_in(name->found)->sin_addr.s_addr == address.sin_addr.s_addr &&
                   address_in(name->found)->sin_port == address.sin_port);
        freeaddrinfo(name->found);
        name->found = NULL;
    }
    prepare(flight, named, 0, 0, NULL);
    SUBMIT(flight, loop_getnameinfo(flight->actor->program->loop, &flight->request,
                                    (const struct sockaddr *)&address, sizeof address, name->host,
                                    sizeof name->host, name->service, sizeof name->service,
                                    NI_NUMERICHOST | NI_NUMERICSERV, flight->callback));
}

static void name_begin(actor_t *actor)
{
    static const struct addrinfo hints = {
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    name_actor_t *name = (name_actor_t *)(void *)actor;
    flight_t     *flight = &actor->flights[0];
    name->found = NULL;
    prepare(flight, found, 0, 0, NULL);
    SUBMIT(flight, loop_getaddrinfo(actor->program->loop, &flight->request, "127.1.2.3", "4711", &hints,
                                    &name->found, flight->callback));
}

const role_t name_role = {.name = "name", .size = sizeof(name_actor_t), .begin = name_begin};
