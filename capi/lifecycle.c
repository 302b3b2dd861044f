/*
 * Making, running and ending loops.
 *
 * The memory of a loop is never given back, but serves the next loop with as many threads: so a call with a
 * loop that was deinitialised reads "closed" rather than somebody else's memory.
 */
#define _GNU_SOURCE 1 /* sched_getaffinity */

#include "_cgo_export.h"
#include "mailbox.h"
#include "state.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static struct loop    *free_loops;

static struct loop *take_free(uint32_t threads) {
    pthread_mutex_lock(&free_lock);
    struct loop **link = &free_loops;
    while (*link != NULL && (*link)->capacity != threads) {
        link = &(*link)->next_free;
    }
    struct loop *loop = *link;
    if (loop != NULL) *link = loop->next_free;
    pthread_mutex_unlock(&free_lock);
    return loop;
}

/* Last in, last out: the address of a loop that just ended comes back as late as possible. */
static void put_free(struct loop *loop) {
    loop->next_free = NULL;
    pthread_mutex_lock(&free_lock);
    struct loop **link = &free_loops;
    while (*link != NULL) {
        link = &(*link)->next_free;
    }
    *link = loop;
    pthread_mutex_unlock(&free_lock);
}

static struct loop *allocate(uint32_t threads) {
    enum { cache_line = 64 };
    size_t size = sizeof(struct loop) + threads * sizeof(struct mailbox);
    struct loop *loop = take_free(threads);
    if (loop == NULL) {
        void *memory;
        if (posix_memalign(&memory, cache_line, size) != 0) return NULL;
        static _Atomic uint32_t last_id;
        loop = memory;
        memset(loop, 0, size);
        loop->id = atomic_fetch_add(&last_id, 1) + 1;
    }
    loop->capacity = threads;
    return loop;
}

/* Makes the memory of a loop as good as new, but for the count of threads that are about to look at it, and
 * the memory of its posts, none of which waits. */
static void clear(struct loop *loop) {
    uint32_t threads = loop->capacity, id = loop->id;
    struct posts *posts = atomic_load(&loop->posts);
    memset(loop, 0, sizeof *loop);
    atomic_store(&loop->posts, posts);
    loop->capacity = threads;
    loop->id = id;
    for (uint32_t i = 0; i < threads; i++) {
        char *mailbox = (char *)&loop->mailboxes[i];
        const size_t before = offsetof(struct mailbox, wakers);
        const size_t after = before + sizeof loop->mailboxes[i].wakers;
        memset(mailbox, 0, before);
        memset(mailbox + after, 0, sizeof(struct mailbox) - after);
    }
}

/* The processors that this process may run on. */
static uint32_t processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1; /* more processors than the set has bits */
    uint32_t count = (uint32_t)CPU_COUNT(&set);
    return count > LOOP_THREADS_MAX ? LOOP_THREADS_MAX : count;
}

/* Copies the caller's options, whose struct may be older or newer than ours, and fills in the defaults. */
static int read_options(const loop_options_t *given, loop_options_t *options) {
    memset(options, 0, sizeof *options);
    if (given != NULL) {
        /* A newer, larger struct might ask for what we do not know. */
        if (given->size != 0 && given->size != sizeof *options) return LOOP_EINVAL;
        *options = *given;
    }
    if (options->threads == LOOP_THREADS_PER_CPU) options->threads = processors();
    if (options->threads == 0) options->threads = 1;
    if (options->blocking_threads == 0) {
        uint32_t wanted = processors() * 4;
        options->blocking_threads = wanted < 8 ? 8 : wanted > LOOP_THREADS_MAX ? LOOP_THREADS_MAX : wanted;
    }
    if (options->threads > LOOP_THREADS_MAX) return LOOP_EINVAL;
    if (options->blocking_threads > LOOP_THREADS_MAX) return LOOP_EINVAL;
    if ((options->flags & ~LOOP_THREAD_BOUND) != 0) return LOOP_EINVAL;
    if (options->backend > LOOP_BACKEND_IOCP) return LOOP_EINVAL;
    if ((options->flags & LOOP_THREAD_BOUND) != 0 && options->threads > 1) return LOOP_EINVAL;
    if (options->backend > LOOP_BACKEND_IO_URING) return LOOP_ENOTSUP; /* other systems have them */
    return 0;
}

int loop_init(loop_t **loop_out, const loop_options_t *options) {
    if (loop_out == NULL) return capi_forked ? LOOP_ENOTSUP : LOOP_EINVAL;
    *loop_out = NULL;
    if (capi_forked) return LOOP_ENOTSUP;
    loop_options_t chosen;
    int error = read_options(options, &chosen);
    if (error < 0) return error;
    struct loop *loop = allocate(chosen.threads);
    if (loop == NULL) return LOOP_ENOMEM;
    clear(loop);
    loop->bound = (chosen.flags & LOOP_THREAD_BOUND) != 0;
    error = engineOpen(loop, &chosen);
    if (error < 0) {
        put_free(loop);
        return error;
    }
    *loop_out = loop;
    return 0;
}

int loop_init_single_threaded(loop_t **loop_out) {
    loop_options_t options = {.size = sizeof options, .threads = 1};
    return loop_init(loop_out, &options);
}

int loop_init_multi_threaded(loop_t **loop_out) {
    loop_options_t options = {.size = sizeof options, .threads = LOOP_THREADS_PER_CPU};
    return loop_init(loop_out, &options);
}

int loop_init_thread_pool(loop_t **loop_out, uint32_t thread_count) {
    if (thread_count == 0 || thread_count > LOOP_THREADS_MAX) {
        if (loop_out != NULL) *loop_out = NULL;
        return capi_forked ? LOOP_ENOTSUP : LOOP_EINVAL;
    }
    loop_options_t options = {.size = sizeof options, .threads = thread_count};
    return loop_init(loop_out, &options);
}

/* ---- running ---- */

/* Sends the shots that loop_wait returned back to their loop threads, for the next ones. */
static void send_back_shown(loop_t *loop) {
    while (loop->shown_head != NULL) {
        struct request *request = loop->shown_head;
        loop->shown_head = request->next;
        struct mailbox *mailbox = &loop->mailboxes[state_worker(state_load(request))];
        push(&mailbox->inbox, request, &request->next);
    }
}

/* Returns 0 if the calling thread may run the loop. The first to ask is the one of a bound loop. */
static int check_thread(loop_t *loop) {
    uintptr_t self = (uintptr_t)&capi_here, runner = 0;
    if (!loop->bound || atomic_compare_exchange_strong(&loop->runner, &runner, self)) return 0;
    return runner == self ? 0 : LOOP_EPERM;
}

/* Makes the calling thread the one that runs the loop. */
static int claim(loop_t *loop) {
    int error = check_loop(loop);
    if (error < 0 || (error = check_thread(loop)) < 0) return error;
    uint32_t free = 0;
    if (!atomic_compare_exchange_strong(&loop->shared.running, &free, 1)) return LOOP_EBUSY;
    send_back_shown(loop);
    atomic_fetch_add_explicit(&loop->entries, 1, memory_order_relaxed);
    return 0;
}

static void unclaim(loop_t *loop) { atomic_store(&loop->shared.running, 0); }

int loop_run(loop_t *loop) {
    int error = claim(loop);
    if (error < 0) return error;
    error = engineRun(loop->engine);
    unclaim(loop);
    return error;
}

int loop_run_once(loop_t *loop, int64_t timeout_ns) {
    int result = claim(loop);
    if (result < 0) return result;
    result = engineRunOnce(loop->engine, timeout_ns);
    unclaim(loop);
    return result;
}

/* Refills the harvested list, which is empty, with what the loop threads completed since, oldest first. */
static void gather_harvest(loop_t *loop) {
    struct request *newest = atomic_exchange(&loop->shared.harvest, NULL);
    struct request *oldest = NULL;
    while (newest != NULL) {
        struct request *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    loop->harvested_head = oldest;
}

/* Gives one harvested request to the program: to keep, or, with more shots to come, to look at. */
static void release_harvested(loop_t *loop, struct request *request) {
    if ((request->flags & LOOP_MORE) == 0) {
        leave_pool(request);
        state_free(request);
    } else {
        request->next = loop->shown_head;
        loop->shown_head = request;
    }
}

static int fetch(loop_t *loop, loop_request_t **done_out, uint32_t capacity) {
    if (loop->harvested_head == NULL) gather_harvest(loop);
    uint32_t count = 0;
    while (count < capacity && loop->harvested_head != NULL) {
        struct request *request = loop->harvested_head;
        loop->harvested_head = request->next;
        release_harvested(loop, request);
        done_out[count++] = (loop_request_t *)request;
    }
    return (int)count;
}

int loop_wait(loop_t *loop, loop_request_t **done_out, uint32_t capacity, int64_t timeout_ns) {
    int result = check_loop(loop);
    if (result < 0) return result;
    if (done_out == NULL || capacity == 0) return LOOP_EINVAL;
    if ((result = claim(loop)) < 0) return result;
    result = fetch(loop, done_out, capacity);
    if (result == 0) {
        result = engineWait(loop->engine, timeout_ns);
        if (result == 0) result = fetch(loop, done_out, capacity);
    }
    unclaim(loop);
    return result;
}

int loop_stop(loop_t *loop) {
    int error = check_loop(loop);
    if (error < 0) return error;
    atomic_store(&loop->shared.stop, 1);
    capi_wake(loop, &loop->mailboxes[0]);
    return 0;
}

/* ---- ending ---- */

static _Atomic(loop_t *) default_loop;

int loop_deinit(loop_t *loop) {
    int error = claim(loop);
    if (error < 0) return error;
    uint32_t opened = LIFECYCLE_OPENED;
    if (!atomic_compare_exchange_strong(&loop->shared.lifecycle, &opened, LIFECYCLE_CLOSING)) {
        unclaim(loop);
        return LOOP_ESHUTDOWN;
    }
    while (loop->harvested_head != NULL) {
        struct request *request = loop->harvested_head;
        loop->harvested_head = request->next;
        push(&loop->shared.harvest, request, &request->next);
    }
    error = engineClose(loop->engine);
    if (error < 0) return error;
    loop_t *self = loop;
    atomic_compare_exchange_strong(&default_loop, &self, NULL);
    atomic_store(&loop->shared.lifecycle, LIFECYCLE_CLOSED);
    put_free(loop);
    return 0;
}

loop_t *loop_default(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (capi_forked) return NULL;
    pthread_mutex_lock(&lock);
    loop_t *loop = atomic_load(&default_loop);
    if (loop == NULL && loop_init(&loop, NULL) == 0) atomic_store(&default_loop, loop);
    pthread_mutex_unlock(&lock);
    return loop;
}

/* ---- asking ---- */

int loop_ref(loop_t *loop) {
    int error = check_loop(loop);
    if (error < 0) return error;
    atomic_fetch_add(&loop->shared.referenced, 1);
    return 0;
}

int loop_unref(loop_t *loop) {
    int error = check_loop(loop);
    if (error < 0) return error;
    uint64_t dropped = atomic_load(&loop->shared.dereferenced);
    do {
        if (dropped >= atomic_load(&loop->shared.referenced)) return LOOP_EINVAL;
    } while (!atomic_compare_exchange_weak(&loop->shared.dereferenced, &dropped, dropped + 1));
    capi_wake_if_finished(loop);
    return 0;
}

int64_t loop_pending(loop_t *loop) {
    int error = check_loop(loop);
    return error < 0 ? error : capi_pending(loop);
}

uint64_t loop_now(loop_t *loop) {
    (void)loop;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

const char *loop_backend_name(loop_t *loop) {
    if (check_loop(loop) < 0) return NULL;
    return loop->uses_ring ? "io_uring" : "epoll";
}

/* Counts an entry into the engine that runs no callbacks. */
static int enter(loop_t *loop) {
    int error = check_loop(loop);
    if (error < 0) return error;
    atomic_fetch_add_explicit(&loop->entries, 1, memory_order_relaxed);
    return 0;
}

int loop_backend_fd(loop_t *loop) {
    int error = enter(loop);
    if (error < 0 || (error = check_thread(loop)) < 0) return error;
    return engineBackendDescriptor(loop->engine);
}

int64_t loop_backend_timeout(loop_t *loop) {
    int error = enter(loop);
    if (error < 0) return error;
    int64_t timeout_ns = engineBackendTimeout(loop->engine);
    if (timeout_ns >= -1 && loop->shown_head != NULL) return 0; /* the next call makes them wait again */
    return timeout_ns;
}

int loop_get_statistics(loop_t *loop, loop_statistics_t *statistics_out) {
    int error = check_loop(loop);
    if (error < 0) return error;
    const uint32_t smallest = (uint32_t)(offsetof(loop_statistics_t, completions) + sizeof(uint64_t));
    if (statistics_out == NULL || statistics_out->size < smallest) return LOOP_EINVAL;
    loop_statistics_t statistics = {.size = statistics_out->size};
    if ((error = enter(loop)) < 0) return error;
    if ((error = engineStatistics(loop->engine, &statistics)) < 0) return error;
    statistics.entries = atomic_load_explicit(&loop->entries, memory_order_relaxed);
    uint32_t known = statistics.size < sizeof statistics ? statistics.size : (uint32_t)sizeof statistics;
    memcpy(statistics_out, &statistics, known);
    return 0;
}
