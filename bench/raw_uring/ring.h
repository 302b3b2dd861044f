/*
 * The ring of the programs on bare liburing: one issuer and deferred task work, which is the fastest set-up
 * for a thread that both submits and reaps.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include "../support.h"

#include <liburing.h>

#undef BLOCK_SIZE /* of <linux/fs.h>, which hides the one of support.h */

static inline void ring_begin(struct io_uring *ring, unsigned entries) {
    CHECK(io_uring_queue_init(entries, ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) == 0);
}

/* A free submission entry, of which the program knows that there is one. */
static inline struct io_uring_sqe *ring_entry(struct io_uring *ring) {
    struct io_uring_sqe *entry = io_uring_get_sqe(ring);
    CHECK(entry != NULL);
    return entry;
}

/*
 * Submit, wait for one completion at least, and give all that there are to `complete`, which may prepare
 * new entries. Returns how many there were.
 */
static inline unsigned ring_turn(struct io_uring *ring, void (*complete)(void *user, int result)) {
    struct io_uring_cqe *completion;
    unsigned head;
    unsigned count = 0;
    CHECK(io_uring_submit_and_wait(ring, 1) >= 0);
    io_uring_for_each_cqe(ring, head, completion) {
        complete(io_uring_cqe_get_data(completion), completion->res);
        count++;
    }
    io_uring_cq_advance(ring, count);
    return count;
}

#endif
