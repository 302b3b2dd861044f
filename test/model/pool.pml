/*
 * The blocking pool: requests that two loop threads submit without a lock, and threads that look for them,
 * sleep, and leave.
 *
 * Models    loop/backend/pool/pool.go     Submit, Cancel, take, startable, room, Close
 *           loop/backend/pool/thread.go   summon, reinforce, announce, run, rest, look, sleep
 * Promises  No request waits while a thread sleeps that may run it: every request is run or cancelled, once,
 *           although file operations take until the program's work is done, and although a cancel comes at
 *           any time. Close ends all threads. No more threads than the limit, and none of them twice.
 * Left out  Closes that wait for transfers (held, unhold): under the lock, and without a look at an inbox.
 *           The third class. The order of a class. That a thread which slept for 5 s leaves is in here, but
 *           at most once, and not in all runs: or it would hide that nobody woke it.
 *
 * SPDX-License-Identifier: MIT
 */
#define CLASSES  2
#define SLOTS    3 /* for threads */
#define RESERVE  1
#define REQUESTS 3
#define NOBODY   255

#define FILES 0
#define WORK  1
#define BIT(r) (1 << (r))

byte inbox[CLASSES], queued[CLASSES]; /* bit sets of requests */
bit covered[CLASSES];
byte running[CLASSES];
byte limit, threads, searcher = NOBODY;
bit locked, closing;

bit exists[SLOTS], idle[SLOTS], signal[SLOTS], asleep[SLOTS];

/* What is observed. */
byte finished; /* a bit set */
byte awaited;    /* the request that the others wait for while they run */
bit musters;    /* the loop thread calls Muster */
byte leaves;   /* how many threads may still leave because they slept for long */

#define LOCK   atomic { !locked -> locked = 1 }
#define UNLOCK locked = 0

#define MOST(a, b) (a > b -> a : b)
#define FREE_THREADS (limit - MOST(running[FILES], RESERVE) - MOST(running[WORK], RESERVE))
#ifdef BUG_NOTHING_RESERVED
#define ROOM(class) (limit - running[FILES] - running[WORK])
#else
#define ROOM(class) (FREE_THREADS + MOST(RESERVE, running[class]) - running[class])
#endif

#define COMING (threads - idle[0] - idle[1] - idle[2] - running[FILES] - running[WORK])
#define ALL_BUSY (!idle[0] && !idle[1] && !idle[2] && threads == limit)

/* Stores for submitters, under the lock: one class after the other. */
inline announce() {
    covered[FILES] = searcher != NOBODY || ALL_BUSY || ROOM(FILES) == 0;
    covered[WORK] = searcher != NOBODY || ALL_BUSY || ROOM(WORK) == 0
}

#define WAITING(class) (ROOM(class) > 0 && (queued[class] | inbox[class]) != 0)

/* Sets sleeper to the thread that has to be woken, or makes one. */
inline pick(searches) {
    atomic {
        if
        :: idle[0] -> sleeper = 0
        :: !idle[0] && idle[1] -> sleeper = 1
        :: !idle[0] && !idle[1] && idle[2] -> sleeper = 2
        :: else
        fi;
        if
        :: sleeper != NOBODY ->
            idle[sleeper] = 0;
            signal[sleeper] = 1;
            searcher = (searches -> sleeper : searcher)
        :: sleeper == NOBODY && threads < limit ->
            spawned = (!exists[0] -> 0 : (!exists[1] -> 1 : 2));
            assert(!exists[spawned]);
            exists[spawned] = 1;
            threads++;
            searcher = (searches -> spawned : searcher);
            run thread(spawned);
            spawned = 0
        :: else
        fi
    };
    announce()
}

inline summon() {
    if
    :: searcher != NOBODY -> found = 0
    :: else ->
        found = WAITING(FILES);
        if
        :: found
        :: else -> found = WAITING(WORK)
        fi
    fi;
    if
    :: found -> pick(1)
    :: else
    fi;
    found = 0
}

/* Gives the lock free, and then wakes the sleeper, if there is one, by FutexWake. */
inline unlock_and_wake() {
    if
    :: atomic { sleeper == NOBODY -> UNLOCK }
    :: atomic { sleeper != NOBODY -> UNLOCK };
        d_step { asleep[sleeper] = 0; sleeper = NOBODY }
    fi
}

inline submit(r, class) {
#ifdef BUG_COVERED_LOOKED_AT_BEFORE_PUSH
    was_covered = covered[class];
    inbox[class] = inbox[class] | BIT(r);
#else
    inbox[class] = inbox[class] | BIT(r);
    was_covered = covered[class];
#endif
    if
    :: was_covered
    :: else -> LOCK; summon(); unlock_and_wake()
    fi;
    was_covered = 0
}

/* Muster and reinforce, for the one class that has several requests. */
inline muster() {
    if
    :: inbox[FILES] == 0 && inbox[WORK] == 0
    :: else ->
        LOCK;
        d_step { queued[FILES] = queued[FILES] | inbox[FILES]; inbox[FILES] = 0 };
        if
        :: queued[FILES] == (BIT(0) | BIT(1)) && ROOM(FILES) > COMING -> pick(0)
        :: else
        fi;
        unlock_and_wake()
    fi
}

/* A loop thread that submits two file operations, and then sleeps. */
proctype files() {
    byte sleeper = NOBODY, spawned;
    bit found, was_covered;
    submit(0, FILES);
    submit(1, FILES);
    if
    :: musters -> muster()
    :: else
    fi
}

/* Another one that submits the program's work. */
proctype work() {
    byte sleeper = NOBODY, spawned;
    bit found, was_covered;
    submit(2, WORK)
}

/* Cancel of the second file operation, at any time. */
proctype cancel() {
    LOCK;
    d_step { queued[FILES] = queued[FILES] | inbox[FILES]; inbox[FILES] = 0 };
    if
    :: (queued[FILES] & BIT(1)) != 0 ->
        d_step { queued[FILES] = queued[FILES] & ~BIT(1); finished = finished | BIT(1) }
    :: else
    fi;
    UNLOCK
}

/* Looks at one class. */
inline take_of(c) {
    if
    :: atomic { r == NOBODY && ROOM(c) > 0 ->
            if
            :: queued[c] == 0 -> queued[c] = inbox[c]; inbox[c] = 0
            :: else
            fi;
            if
            :: (queued[c] & BIT(0)) != 0 -> r = 0
            :: (queued[c] & BIT(1)) != 0 -> r = 1
            :: (queued[c] & BIT(2)) != 0 -> r = 2
            :: queued[c] == 0
            fi;
            if
            :: r != NOBODY -> queued[c] = queued[c] & ~BIT(r); running[c]++; class = c
            :: else
            fi
        }
    :: else
    fi
}

inline take() {
    take_of(FILES);
    take_of(WORK)
}

/* rest and look: goes on at search when it may have found something, and at sleep otherwise. */
inline rest() {
    if
    :: searcher == NOBODY || searcher == t ->
        if
        :: searcher = t;
            announce();
            UNLOCK;
            if
            :: inbox[FILES] != 0 && ROOM(FILES) > 0 -> found = 1
            :: inbox[WORK] != 0 && ROOM(WORK) > 0 -> found = 1
            :: closing -> found = 1
            :: found = 0 /* the moment is over */
            fi;
            LOCK;
            if
            :: found || closing -> found = 0; goto search
            :: else
            fi
        :: skip /* not due */
        fi;
        searcher = NOBODY
    :: else
    fi
}

proctype thread(byte t) {
    byte sleeper = NOBODY, spawned, r = NOBODY, class;
    bit found;
    LOCK;
search:
    take();
    if
    :: r != NOBODY ->
#ifndef BUG_SEARCHER_STAYS_SO
        searcher = (searcher == t -> NOBODY : searcher);
#endif
        announce();
#ifndef BUG_REST_LEFT_TO_NOBODY
        summon();
#endif
        unlock_and_wake();
        if
        :: r != awaited -> (finished & BIT(awaited)) != 0
        :: else
        fi;
        d_step { assert((finished & BIT(r)) == 0); finished = finished | BIT(r) };
        atomic { !locked -> locked = 1; running[class]--; r = NOBODY; class = 0 };
        goto search
    :: else
    fi;
    if
    :: closing -> goto leave
    :: else
    fi;
    rest();
    /* sleep */
    d_step { signal[t] = 0; idle[t] = 1 };
#if defined(BUG_LOOKED_BEFORE_ANNOUNCED)
    summon();
    announce();
#elif defined(BUG_SLEEP_WITHOUT_LOOK)
    announce();
#else
    announce();
    summon();
#endif
again:
    unlock_and_wake();
    atomic {
        if
        :: signal[t] == 0 -> asleep[t] = 1
        :: else
        fi
    };
    if
    :: !asleep[t]
    :: leaves > 0 -> leaves--; asleep[t] = 0; found = 1 /* the time is over */
    fi;
    LOCK;
    if
    :: signal[t] != 0 -> found = 0; goto search
    :: signal[t] == 0 && !found -> goto again
    :: signal[t] == 0 && found -> idle[t] = 0; found = 0
    fi;
leave:
    atomic { threads--; exists[t] = 0 };
    announce();
    summon();
    unlock_and_wake()
}

/* Close, after everything is finished. */
proctype close() {
    bit sleepers[SLOTS];
    finished == BIT(REQUESTS) - 1;
    LOCK;
    closing = 1;
    d_step {
        sleepers[0] = idle[0];
        sleepers[1] = idle[1];
        signal[0] = signal[0] | idle[0];
        signal[1] = signal[1] | idle[1];
        sleepers[2] = idle[2];
        signal[2] = signal[2] | idle[2];
        idle[0] = 0;
        idle[1] = 0;
        idle[2] = 0
    };
    UNLOCK;
    if
    :: sleepers[0] -> asleep[0] = 0
    :: else
    fi;
    if
    :: sleepers[1] -> asleep[1] = 0
    :: else
    fi;
    if
    :: sleepers[2] -> asleep[2] = 0
    :: else
    fi
}

init {
    atomic {
        if
        :: limit = 2; awaited = 2; run work(); run cancel()
        :: limit = 2; awaited = 2; run work(); leaves = 1
        :: limit = 3; awaited = 1; finished = BIT(2); musters = 1
        fi;
        run files();
        run close()
    };
    _nr_pr == 1;
    assert(finished == BIT(REQUESTS) - 1 && threads == 0)
}
