/*
 * The wake-up of loop threads: two of them that fall asleep, two threads that submit, one that stops the
 * loop, one that cancels a request, and one that drains a mailbox that is not its own.
 *
 * Models    loop/request/mailbox.go   Wake, SetSleeping, ClearSleeping; capi/mailbox.c   wake_sleeper
 *           loop/worker.go            turn, wait
 *           loop/threads.go           rest, leave, work, interrupted, finished
 *           loop/engine.go            Run, Stop; loop/intake.go   drain, disturb
 * Promises  No request is left in a mailbox while its thread sleeps. loop_run returns when it is stopped, and
 *           when nothing is pending, wherever the last callback ran; no callback runs after it returned.
 * Left out  What is pending is one variable here; count.pml has the counters. What threads do for each other
 *           while callbacks run: see README.md. Spinning before a sleep is a look that changes nothing. The
 *           eventfd is level-triggered; epoll and io_uring look at it alike. The helper's parking place is a
 *           mutex and a condition; here, a condition that it waits for. It does not matter when the eventfd
 *           is read and the flag cleared after a sleep: the look that follows the next announcement makes up
 *           for it.
 *
 * SPDX-License-Identifier: MIT
 */
#define THREADS 2

/* 1: all but the drainer. 2: the cancel comes after a stop has worked, so that nothing else ends the sleep.
 * 3: the drainer instead of the stop. 4: as 1, but one thread submits; enough to find most planted errors. */
#ifndef CASE
#if defined(BUG_DRAINED_WITHOUT_DISTURBING)
#define CASE 3
#elif defined(PLANTED)
#define CASE 4
#else
#define CASE 1
#endif
#endif

byte inbox[THREADS], lists[THREADS]; /* requests: pushed, and drained */
bit control[THREADS];
bit sleeping[THREADS], eventfd[THREADS], disturbed[THREADS], locked[THREADS];
byte pending = 1; /* a wait, begun on the second thread, that only a cancel ends */
bit stop, leaving, working;

/* What is observed. */
byte delivered;
bit stop_returned, running, over;

#define REQUESTS (CASE == 4 -> 2 : 3)

/* The lock of a worker, and the flag of who drained in its place: not a step where nobody does. */
#if CASE == 3
#define LOCK(w)        d_step { !locked[w] -> locked[w] = 1 };
#define UNLOCK(w)      ; locked[w] = 0
#define UNDISTURBED(w) disturbed[w] = 0;
#else
#define LOCK(w)
#define UNLOCK(w)
#define UNDISTURBED(w)
#endif

inline wake_sleeper(w) {
    if
    :: sleeping[w] == 0
    :: else ->
#ifdef BUG_WOKEN_WITHOUT_SIGNAL
        sleeping[w] = 0;
#else
        d_step { woken = sleeping[w]; sleeping[w] = 0 };
        if
        :: woken -> d_step { eventfd[w] = 1; woken = 0 }
        :: else
        fi
#endif
    fi
}

/* ---- threads of the program ---- */

proctype submitter(byte to) {
    bit woken;
#ifdef BUG_SLEEPER_LOOKED_FOR_BEFORE_PUSH
    wake_sleeper(to);
    d_step { pending++; inbox[to]++ }
#else
    d_step { pending++; inbox[to]++ };
    wake_sleeper(to)
#endif
}

proctype stopper() {
    bit woken;
#ifdef BUG_STOP_WAKES_BEFORE_IT_IS_SAID
    wake_sleeper(0);
    stop = 1
#else
    stop = 1;
    wake_sleeper(0)
#endif
}

/* loop_cancel of the wait; late: after a stop, so that nothing but the stop ends the sleep. */
proctype canceller(bit late) {
    bit woken;
    if
    :: late -> stop_returned
    :: else
    fi;
    control[1] = 1;
    wake_sleeper(1)
}

/* loop_cancel_on_next_tick: drains the mailbox of a thread on another one. */
proctype drainer(byte whose) {
    bit woken;
    LOCK(whose)
    d_step { lists[whose] = lists[whose] + inbox[whose]; inbox[whose] = 0 }
    UNLOCK(whose);
#ifndef BUG_DRAINED_WITHOUT_DISTURBING
    disturbed[whose] = 1;
    wake_sleeper(whose)
#endif
}

/* ---- the loop ---- */

inline drain() {
    if
    :: control[self] -> d_step { control[self] = 0; lists[self]++ }
    :: else
    fi;
    d_step { lists[self] = lists[self] + inbox[self]; inbox[self] = 0 }
}

/* Whether the worker must not sleep. */
inline interrupted() {
    do
    :: inbox[self] > 0 || control[self] -> awake = 1; break
    :: else ->
#if CASE == 3
        if
        :: disturbed[self] -> awake = 1; break
        :: else
        fi;
#endif
#ifndef BUG_STOP_NOT_LOOKED_AT
        if
        :: stop -> awake = 1; break
        :: else
        fi;
#endif
#ifndef BUG_END_NOT_LOOKED_AT
        if
        :: self == 0 && pending == 0 -> awake = 1
        :: self == 1 && leaving -> awake = 1
        :: else
        fi;
#endif
        break
    od
}

inline wait() {
#ifdef BUG_LOOKED_BEFORE_ANNOUNCED
    interrupted();
    sleeping[self] = 1;
#else
    sleeping[self] = 1;
    interrupted();
#endif
    if
    :: d_step { awake -> awake = 0 }
#ifdef BUG_EVENTFD_READ_BEFORE_THE_SLEEP
    :: else -> eventfd[self] = 0; eventfd[self]
#else
    :: else -> eventfd[self]
#endif
    fi;
    sleeping[self] = 0;
    eventfd[self] = 0;
    LOCK(self)
    drain()
}

inline turn() {
    LOCK(self)
    UNDISTURBED(self)
    drain();
    if
    :: lists[self] > 0
    :: lists[self] == 0 UNLOCK(self); wait()
    fi;
    d_step { /* nobody else delivers: how long that takes does not matter */
        assert(running || lists[self] == 0);
        delivered = delivered + lists[self];
        pending = pending - lists[self];
        lists[self] = 0;
        locked[self] = 0
    }
}

/* loop_run, again and again until everything was delivered */
proctype runner() {
    byte self;
    bit woken, awake;
    do
    :: delivered == REQUESTS -> break
    :: else ->
        pending > 0 || stop;
        d_step { running = 1; leaving = 0 };
        do
        :: stop || pending == 0 -> break
        :: else -> turn()
        od;
        leaving = 1; /* rest */
#ifndef BUG_HELPER_NOT_WOKEN_TO_LEAVE
        wake_sleeper(1);
#endif
        !working;
        d_step {
            running = 0;
            if
            :: stop -> stop = 0; stop_returned = 1
            :: else
            fi
        }
    od;
    over = 1
}

proctype helper() {
    byte self = 1;
    bit woken, awake;
    do
    :: over -> break
    :: atomic { running && !leaving && !stop -> working = 1 };
        do
        :: leaving || stop -> break
        :: else ->
            turn();
#ifndef BUG_LAST_ONE_NOT_REPORTED
            if
            :: pending == 0 -> wake_sleeper(0)
            :: else
            fi
#endif
        od;
        working = 0
    od
}

init {
    atomic {
#if CASE == 1
        run submitter(0);
        run submitter(1);
        run stopper();
        run canceller(0);
#elif CASE == 2
        run submitter(0);
        run submitter(1);
        run stopper();
        run canceller(1);
#elif CASE == 3
        run submitter(1);
        run submitter(1);
        run drainer(1);
        run canceller(0);
#elif CASE == 4
        run submitter(1);
        run stopper();
        run canceller(0);
#endif
        run runner();
        run helper()
    };
    _nr_pr == 1;
    assert(delivered == REQUESTS && pending == 0)
}
