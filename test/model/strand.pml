/*
 * Strands: requests that become ready on several threads at once, and whose callbacks must not overlap.
 *
 * Models    loop/request/strand.go   join, extend
 *           capi/strand.c            capi_lend_strand, capi_next_in_strand, take_waiting
 *           capi/deliver.c           deliver_strand
 * Promises  Never two callbacks at once; nothing is left behind; nobody looks at a strand after the callback
 *           of its last request, which may have ended it; they are called in the order in which they joined.
 * Left out  Numbers of leases come from blocks, and end after 2^62. The list `oldest` and the links are plain
 *           memory: only the holder touches them, and holders follow each other through seq_cst operations on
 *           the word or the ring. `lender` is stored relaxed, but before a seq_cst swap of the word, and is
 *           looked at only after a look at the word; so it is at least as new as the word.
 *
 * SPDX-License-Identifier: MIT
 */
#define REQUESTS 3
#define THREADS  2

#define FREE   0
#define HELD   1
#define LENT   2
#define JOINED 3
#define KIND   3

#define ADDRESS(id) (128 + 4 * (id))
#define ID(address) ((address - 128) / 4)
#define NONE 255

#ifdef BUG_LEASES_HAVE_ONE_NUMBER
#define STEP 0
#else
#define STEP 4 /* from the word of a lease to that of the next */
#endif

/* The strand. */
byte word, lender, oldest = NONE;
bit alive = 1;

byte lease[THREADS]; /* of each mailbox: the word of its next lease, or of the one that runs */
byte next[REQUESTS];
bit in_ring[REQUESTS];

/* What is observed. */
byte joining, joined, delivered;
byte ticket[REQUESTS]; /* the order in which they joined */
bit running;

#define STRAND assert(alive)

#define SWAP(ok, place, from, to) \
    d_step { if :: place == from -> place = to; ok = 1 :: else -> ok = 0 fi }

inline join(r) {
    do
    :: atomic { STRAND; seen = word };
        waits = seen != FREE;
        if
        :: (seen & KIND) == LENT -> /* extend */
            atomic { STRAND; from = lender };
            SWAP(waits, lease[from], seen, seen | JOINED);
#ifndef BUG_SECOND_TO_JOIN_LOOKS_ONCE
            if
            :: !waits -> waits = lease[from] == (seen | JOINED)
            :: else
            fi;
#endif
            from = 0
        :: else
        fi;
#ifdef BUG_LEASE_TAKEN_FOR_A_HOLD
        waits = seen != FREE;
#endif
        d_step {
            if
            :: waits && (seen & KIND) == 0 -> next[r] = ID(seen)
            :: waits && (seen & KIND) != 0 -> next[r] = NONE
            :: else
            fi
        };
        atomic {
            STRAND;
            if
            :: word != seen -> seen = 0; waits = 0
            :: word == seen && waits -> word = ADDRESS(r); ticket[r] = joined; joined++; break
            :: word == seen && !waits -> word = HELD; in_ring[r] = 1; ticket[r] = joined; joined++; break
            fi
        }
    od;
    seen = 0;
    waits = 0
}

/* Threads that find requests ready, and fill rings with them. */
proctype gatherer() {
    byte seen, from, r;
    bit waits;
    do
    :: joining == REQUESTS -> break
    :: atomic { joining < REQUESTS -> r = joining; joining++ };
        join(r);
        r = 0
    od
}

inline lend() {
    atomic { STRAND; had = 0; may_lend = oldest == NONE };
    if
    :: may_lend ->
        atomic { STRAND; lender = self };
        atomic {
            STRAND;
            if
            :: word == HELD -> word = lease[self]; had = lease[self]
            :: else
            fi
        }
    :: else
    fi
}

/* The list is reversed here, so that it is oldest first. */
inline take_waiting() {
    do
    :: atomic { STRAND; seen = word };
        if
        :: (seen & KIND) == 0 -> break
        :: else ->
#ifdef BUG_FREED_WITHOUT_COMPARE
            word = FREE; goto nothing
#else
            atomic {
                STRAND;
                if
                :: word == seen -> word = FREE; seen = 0; goto nothing
                :: else
                fi
            }
#endif
        fi
    od;
    atomic { STRAND; seen = word; word = HELD };
    d_step {
        do
        :: seen == 0 -> break
        :: else ->
            from = next[ID(seen)];
            next[ID(seen)] = found;
            found = ID(seen);
            if
            :: from == NONE -> seen = 0
            :: else -> seen = ADDRESS(from)
            fi
        od;
        from = 0
    }
}

inline next_in_strand() {
    found = NONE;
    if
    :: had != 0 ->
#ifndef BUG_STRAND_LOOKED_AT_AFTER_CALLBACK
        d_step {
            if
            :: lease[self] == had -> lease[self] = had + STEP; ended = 1
            :: else -> ended = 0
            fi
        };
        if
        :: ended -> ended = 0; goto done
        :: else
        fi
#else
        skip
#endif
    :: else
    fi;
#ifdef BUG_LEASE_ENDED_BEFORE_THE_WORD
    if
    :: had != 0 -> lease[self] = had + STEP
    :: else
    fi;
#endif
    atomic { STRAND; found = oldest };
    if
    :: found == NONE -> take_waiting()
    :: else
    fi;
    atomic { STRAND; oldest = next[found] };
nothing:
    seen = 0;
    if
    :: had != 0 -> lease[self] = had + STEP
    :: else
    fi;
done:
    had = 0
}

inline callback() {
    atomic {
        assert(!running && ticket[r] == delivered);
        running = 1;
        if
        :: delivered == REQUESTS - 1 -> alive = 0 /* the program ends the strand */
        :: else
        fi
    };
    atomic { running = 0; delivered++ }
}

/* Threads that deliver. */
proctype deliverer(byte self) {
    byte seen, from, found, had, r;
    bit may_lend, ended;
    do
    :: delivered == REQUESTS -> break
    :: atomic {
            if
            :: in_ring[0] -> r = 0
            :: in_ring[1] -> r = 1
            :: in_ring[2] -> r = 2
            fi;
            in_ring[r] = 0
        };
        do
        :: lend();
            callback();
            next_in_strand();
            if
            :: found == NONE -> r = 0; found = 0; break
            :: found != NONE -> r = found; found = 0
            :: found != NONE -> in_ring[found] = 1; r = 0; found = 0; break /* left to another turn */
            fi
        od
    od
}

init {
    atomic {
        lease[0] = 4 * 1 + LENT;
        lease[1] = 4 * 12 + LENT;
        run gatherer();
        run gatherer();
        run deliverer(0);
        run deliverer(1)
    };
    _nr_pr == 1;
    assert(delivered == REQUESTS)
}
