/*
 * Posts: calls in a turn of the loop, without a request.
 *
 * The posts that wait form a list, newest first, to which any thread pushes; an internal tick takes it whole
 * and makes the calls. One tick does for any number of posts: who pushes to a list that is idle sends it, and
 * the list stays busy until the tick left nothing behind. As there is only one tick, one call runs at a time.
 *
 * The tick is counted as pending before the list turns busy, and until it is idle again. So what was pushed
 * to a busy list is sure to be called before loop_run returns and before loop_deinit ends the loop.
 */
#include "mailbox.h"
#include "state.h"

#include <stdlib.h>

/* Posts are known by their numbers, from 1 on. Two numbers say what a list without posts is. */
enum { IDLE = 0, BUSY = LOOP_POSTS_MAX + 1 };

struct post {
    void             (*function)(loop_t *loop, void *user);
    void              *user;
    _Atomic uint32_t   next; /* in the list of those that wait, or of those that are free */
};

struct posts {
    _Atomic uint64_t free; /* number of the first that is free; above it a count of changes, against ABA */
    char             pad1[56];
    _Atomic uint32_t newest; /* of those that wait; or IDLE, or BUSY: the tick is on its way or at work */
    char             pad2[60];

    /* The tick's. */
    uint32_t       oldest; /* of those that it took from the list and has not called; 0 = none */
    struct request tick;

    struct post posts[LOOP_POSTS_MAX];
};

static struct post *post_of(struct posts *posts, uint32_t number) { return &posts->posts[number - 1]; }

/* ---- posts that are free ---- */

enum { FREE_COUNT_SHIFT = 16 };

static uint64_t with_first_free(uint64_t free, uint32_t number) {
    return ((free >> FREE_COUNT_SHIFT) + 1) << FREE_COUNT_SHIFT | number;
}

static uint32_t first_free(uint64_t free) { return (uint32_t)(free & ((1 << FREE_COUNT_SHIFT) - 1)); }

/* Returns the number of a post that is the caller's now; 0 = all wait. */
static uint32_t take_free(struct posts *posts) {
    uint64_t free = atomic_load(&posts->free), rest;
    uint32_t number, next;
    do {
        number = first_free(free);
        if (number == 0) return 0;
        next = atomic_load_explicit(&post_of(posts, number)->next, memory_order_relaxed);
        rest = with_first_free(free, next);
    } while (!atomic_compare_exchange_weak(&posts->free, &free, rest));
    return number;
}

static void put_free(struct posts *posts, uint32_t number) {
    uint64_t free = atomic_load(&posts->free);
    do {
        atomic_store_explicit(&post_of(posts, number)->next, first_free(free), memory_order_relaxed);
    } while (!atomic_compare_exchange_weak(&posts->free, &free, with_first_free(free, number)));
}

/* The posts of a loop are made by the first one, and stay with the memory of the loop. */
static struct posts *posts_of(loop_t *loop) {
    struct posts *posts = atomic_load_explicit(&loop->posts, memory_order_acquire);
    if (posts != NULL) return posts;
    struct posts *made = calloc(1, sizeof *made);
    if (made == NULL) return NULL;
    for (uint32_t number = LOOP_POSTS_MAX; number > 0; number--) {
        put_free(made, number);
    }
    if (atomic_compare_exchange_strong(&loop->posts, &posts, made)) return made;
    free(made);
    return posts;
}

/* ---- calling ---- */

static void call_posts(loop_t *loop, loop_request_t *request, int64_t result);

static struct mailbox *mailbox_of_tick(loop_t *loop) { return &loop->mailboxes[0]; }

static void count_tick(loop_t *loop) { atomic_fetch_add(&mailbox_of_tick(loop)->foreign_accepted, 1); }

/* Sends the tick, which was counted: also while the loop ends, which waits for it. */
static void send_tick(loop_t *loop, struct posts *posts) {
    struct request *tick = &posts->tick;
    struct mailbox *mailbox = mailbox_of_tick(loop);
    state_accept(tick, 0);
    tick->op = OP_TICK;
    tick->callback = call_posts;
    tick->owner = loop->id;
    push(&mailbox->inbox, tick, &tick->next);
    capi_wake(loop, mailbox);
}

/* Takes the posts that wait, and returns the oldest; the list is without posts then, and busy. */
static uint32_t take_waiting(struct posts *posts) {
    uint32_t number = atomic_exchange(&posts->newest, BUSY), oldest = 0;
    while (number != IDLE && number != BUSY) {
        struct post *post = post_of(posts, number);
        uint32_t next = atomic_load_explicit(&post->next, memory_order_relaxed);
        atomic_store_explicit(&post->next, oldest, memory_order_relaxed);
        oldest = number;
        number = next;
    }
    return oldest;
}

/* Makes the oldest call. Its post is free before it runs: the function may post, though all others wait. */
static void call_oldest(loop_t *loop, struct posts *posts) {
    uint32_t number = posts->oldest;
    struct post *post = post_of(posts, number);
    void (*function)(loop_t *, void *) = post->function;
    void *user = post->user;
    posts->oldest = atomic_load_explicit(&post->next, memory_order_relaxed);
    put_free(posts, number);
    function(loop, user);
}

/* The tick. It makes the calls that waited when it began, so that endless posts leave others their turn. */
static void call_posts(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)request;
    (void)result; /* when the loop ends the calls are made all the same */
    struct posts *posts = atomic_load_explicit(&loop->posts, memory_order_relaxed);
    if (posts->oldest == 0) posts->oldest = take_waiting(posts);
    while (posts->oldest != 0 && atomic_load_explicit(&loop->shared.stop, memory_order_relaxed) == 0) {
        call_oldest(loop, posts);
    }
    uint32_t busy = BUSY;
    if (posts->oldest == 0 && atomic_compare_exchange_strong(&posts->newest, &busy, IDLE)) return;
    count_tick(loop);
    send_tick(loop, posts);
}

/* ---- posting ---- */

/* Takes back the count of a tick that was not sent. */
static void uncount_tick(loop_t *loop) {
    atomic_fetch_add(&loop->shared.withdrawn, 1);
    capi_wake_if_finished(loop);
}

/*
 * Pushes a post, and sends the tick if the list was idle. The tick is counted before the second look at the
 * loop: loop_deinit, which ends acceptance and then waits for a count of 0, cannot miss it.
 */
static int append(loop_t *loop, struct posts *posts, uint32_t number) {
    bool counted = false;
    uint32_t newest = atomic_load(&posts->newest);
    do {
        int error;
        if (newest == IDLE && !counted) {
            count_tick(loop);
            atomic_thread_fence(memory_order_seq_cst); /* before the look, which is an acquire */
            counted = true;
            if ((error = check_loop(loop)) < 0) {
                put_free(posts, number);
                uncount_tick(loop);
                return error;
            }
        }
        atomic_store_explicit(&post_of(posts, number)->next, newest, memory_order_relaxed);
    } while (!atomic_compare_exchange_weak(&posts->newest, &newest, number));
    if (newest == IDLE) {
        send_tick(loop, posts);
    } else if (counted) {
        uncount_tick(loop);
    }
    return 0;
}

int loop_post(loop_t *loop, void (*function)(loop_t *loop, void *user), void *user) {
    int error = check_loop(loop);
    if (error < 0) return error;
    if (function == NULL) return LOOP_EINVAL;
    struct posts *posts = posts_of(loop);
    if (posts == NULL) return LOOP_ENOMEM;
    uint32_t number = take_free(posts);
    if (number == 0) return LOOP_ENOBUFS;
    post_of(posts, number)->function = function;
    post_of(posts, number)->user = user;
    return append(loop, posts, number);
}
