/*
 * The counters of what is pending: written by their threads without a locked instruction, so that a store may
 * become visible long after the loads that follow it.
 *
 * Models    capi/mailbox.h   count; capi/deliver.c   deliver, the fence of capi_deliver_ring
 *           capi/mailbox.c   capi_pending; loop/request/shared.go   Pending
 *           loop/threads.go  work, finished, interrupted: the helper that delivers the last one wakes the
 *           runner
 * Promises  Who counts 0 is right: nothing is in flight. When nothing is in flight, the runner does not
 *           sleep.
 * Memory    A release store goes to a buffer, which empties in order at any time (x86, and what C11 and arm64
 *           allow for release stores); a relaxed one might overtake it. A seq_cst fence empties the buffer.
 *           The other accesses that one thread orders against another's look are seq_cst in the code. Data
 *           that goes from hand to hand follows one of them. state_free hides no look that its thread makes
 *           at something else, and who submits again sees it or is refused with LOOP_EBUSY.
 *
 * SPDX-License-Identifier: MIT
 */
mtype = { LOCAL_ACCEPTED, DELIVERED };

byte foreign_accepted = 1, local_accepted, delivered;
chan buffer = [4] of { mtype, byte };
bit sleeping, eventfd;

/* What is observed. */
byte in_flight = 1;
bit over;

inline count_pending() {
    pending = 0;
#ifdef BUG_BEGINNINGS_READ_FIRST
    pending = pending + foreign_accepted;
    pending = pending + local_accepted;
    pending = pending - delivered;
#else
    pending = pending - delivered;
    pending = pending + foreign_accepted;
    pending = pending + local_accepted;
#endif
    assert(pending != 0 || in_flight == 0)
}

/* What the helper stored becomes visible. */
proctype store_buffer() {
    byte value;
    do
    :: over && empty(buffer) -> break
    :: atomic { buffer?LOCAL_ACCEPTED(value) -> local_accepted = value }
    :: atomic { buffer?DELIVERED(value) -> delivered = value }
#ifdef BUG_STORED_RELAXED
    :: atomic { buffer??DELIVERED(value) -> delivered = value }
#endif
    od
}

/* Delivers a request, whose callback submits another one to its own thread, and then delivers that, too. */
proctype helper() {
    short pending;
#ifdef BUG_DELIVERED_COUNTED_BEFORE_THE_CALLBACK
    buffer!DELIVERED(1);
    atomic { in_flight++; buffer!LOCAL_ACCEPTED(1) };
    in_flight--;
#else
    atomic { in_flight++; buffer!LOCAL_ACCEPTED(1) };
    atomic { in_flight--; buffer!DELIVERED(1) };
#endif
    atomic { in_flight--; buffer!DELIVERED(2) };
#ifndef BUG_NO_FENCE
    empty(buffer);
#endif
    /* Its own counters it sees as it stored them. */
    pending = foreign_accepted + 1 - 2;
    if
    :: pending == 0 && sleeping -> sleeping = 0; eventfd = 1
    :: else
    fi
}

/* loop_run */
proctype runner() {
    short pending;
    do
    :: count_pending();
        if
        :: pending == 0 -> break
        :: else
        fi;
        sleeping = 1;
        count_pending();
        if
        :: pending == 0
        :: else -> eventfd
        fi;
        sleeping = 0;
        eventfd = 0
    od;
    over = 1
}

/* loop_pending on another thread */
proctype asker() {
    short pending;
    count_pending()
}

init {
    atomic { run store_buffer(); run helper(); run runner(); run asker() };
    _nr_pr == 1;
    assert(foreign_accepted + local_accepted == delivered)
}
