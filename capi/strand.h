/*
 * Holding strands: the part of who delivers. loop/request/strand.go explains them, and has the other part.
 */
#ifndef CAPI_STRAND_H
#define CAPI_STRAND_H

#include "layout.h"

/*
 * Called by who holds a strand before the callback of its request: lends the strand if nothing waits in it.
 * Returns the lease; 0 = not lent, for something waits.
 */
uint64_t capi_lend_strand(struct mailbox *mailbox, struct strand *strand);

/*
 * Called after the callback, with the lease. Returns the request that is next, or NULL: the strand is held no
 * longer, and may be gone.
 */
struct request *capi_next_in_strand(struct mailbox *mailbox, struct strand *strand, uint64_t lease);

#endif
