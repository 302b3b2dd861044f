/*
 * Strands: setting the one of a request, and holding them; see strand.h.
 */
#include "strand.h"

#include "mailbox.h"
#include "state.h"

/* Numbers of leases go to mailboxes in blocks, so that no two leases of the process have the same one. The
 * first of a block is not used: it says that the mailbox needs another block. */
enum { LEASES_IN_BLOCK = 1 << 20, LEASE_SHIFT = 2 };

static uint64_t word_of(uint64_t number) { return number << LEASE_SHIFT | STRAND_LENT; }

/* Returns the word of the next lease of a mailbox, which only the caller lends. */
static uint64_t next_lease(struct mailbox *mailbox) {
    static _Atomic uint64_t blocks;
    uint64_t lease = atomic_load_explicit(&mailbox->ring.lease, memory_order_relaxed);
    if ((lease >> LEASE_SHIFT) % LEASES_IN_BLOCK == 0) {
        lease = word_of((atomic_fetch_add(&blocks, 1) + 1) * LEASES_IN_BLOCK + 1);
        atomic_store(&mailbox->ring.lease, lease);
    }
    return lease;
}

uint64_t capi_lend_strand(struct mailbox *mailbox, struct strand *strand) {
    if (strand->oldest != NULL) return 0;
    uint64_t lease = next_lease(mailbox), held = STRAND_HELD;
    atomic_store_explicit(&strand->lender, &mailbox->ring.lease, memory_order_relaxed);
    return atomic_compare_exchange_strong(&strand->word, &held, lease) ? lease : 0;
}

/* Takes what waits from the word of a strand, oldest first. NULL: nothing does, and the strand is free. */
static struct request *take_waiting(struct strand *strand) {
    uint64_t word = atomic_load(&strand->word);
    while ((word & STRAND_KIND) != 0) {
        if (atomic_compare_exchange_weak(&strand->word, &word, STRAND_FREE)) return NULL;
    }
    struct request *newest = (struct request *)(uintptr_t)atomic_exchange(&strand->word, STRAND_HELD);
    struct request *oldest = NULL;
    while (newest != NULL) {
        struct request *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

struct request *capi_next_in_strand(struct mailbox *mailbox, struct strand *strand, uint64_t lease) {
    const uint64_t ended = lease + (UINT64_C(1) << LEASE_SHIFT);
    uint64_t unmarked = lease;
    if (lease != 0 && atomic_compare_exchange_strong(&mailbox->ring.lease, &unmarked, ended)) return NULL;
    struct request *next = strand->oldest;
    if (next == NULL) next = take_waiting(strand);
    if (next != NULL) strand->oldest = next->next;
    /* Ended only now that the word is another one: a lease that has ended says that the strand is free. */
    if (lease != 0) atomic_store(&mailbox->ring.lease, ended);
    return next;
}

int loop_set_strand(loop_request_t *request, loop_strand_t *strand) {
    if (capi_forked) return LOOP_ENOTSUP;
    struct request *inner = (struct request *)request;
    if (check_request(request) < 0 || (uintptr_t)strand % _Alignof(struct strand) != 0) return LOOP_EINVAL;
    uint64_t state = state_load(inner);
    if (state != 0) return (state & STATE_MAGIC_MASK) == STATE_MAGIC ? LOOP_EBUSY : LOOP_EINVAL;
    inner->strand = (struct strand *)strand;
    inner->in_strand = strand != NULL;
    return 0;
}
