/*
 * The state word of a request: flights one after the other, with cancels and withdrawals from other threads
 * at any moment, also between two flights, and while a submit is under way.
 *
 * Models    loop/request/state.go   Move, Admit, AskControl, TakeControl; capi/state.h, the same in C
 *           capi/admit.h            admit, commit; capi/mailbox.c   capi_commit_foreign
 *           capi/control.c          send_control; capi/deliver.c    deliver, give_back
 *           loop/intake.go          drain, receive, accept, acceptTick, resume, obey, cancel, withdraw
 *           loop/worker.go          takeTicks, startIncoming, finish, shoot
 * Promises  Each flight completes exactly once. A cancel that was taken ends the flight that it was asked
 *           for, also one that would never end by itself, and no later one. A request that is free is in no
 *           list.
 * Left out  Modify, which takes the way of a cancel; timeouts, which are the worker's own affair; the pool.
 *
 * SPDX-License-Identifier: MIT
 */
#define FLIGHTS 2
#define SHOTS   1

#define FREE   0
#define QUEUED 1
#define ACTIVE 2
#define SHOT   3
#define HELD   4
#define DONE   5
#define PHASE   7
#define CONTROL 8
#define CANCEL  16

byte state;
bit in_inbox, in_control, in_ticks, in_ready; /* lists that the request is in */
bit mark_cancel, mark_tick_list;
bit is_tick, endless; /* what was submitted: a tick, or a wait that ends, or one that does not */
byte shots;
bit locked; /* the worker's lock */
bit took_control, took_inbox; /* local to who holds it */
bit closing; /* the loop refuses requests */

/* What is observed. */
byte flight, completed, withdrawn, refused;
byte cancelled_flight; /* the last that a cancel was taken for */

#define LOCK   d_step { !locked -> locked = 1 }
#define UNLOCK locked = 0
#define OVER   (flight == FLIGHTS && completed + withdrawn + refused == FLIGHTS)

inline push_inbox() { d_step { assert(!in_inbox); in_inbox = 1 } }

inline clear_marks() {
    d_step { mark_cancel = 0; mark_tick_list = 0 }
}

/* The program: submits the request again as soon as it is free. */
active proctype submitter() {
    do
    :: flight == FLIGHTS -> break
    :: completed + withdrawn + refused == flight && flight < FLIGHTS ->
        atomic { /* Accept */
            assert(state == FREE);
            assert(!in_control && !in_inbox && !in_ticks && !in_ready);
            state = QUEUED;
            flight++;
            shots = 0;
        };
        atomic {
            if
            :: is_tick = 1; endless = 0
            :: is_tick = 0; endless = 0
            :: is_tick = 0; endless = 1
            fi
        };
#ifdef BUG_MARKS_CLEARED_AT_SUBMIT
        clear_marks();
#endif
        if
        :: closing = 1;
#ifdef BUG_REFUSED_DESPITE_CONTROL
            atomic { state = FREE; refused++; closing = 0 }
#else
            atomic { /* refused, unless somebody spoke to it already: then the worker has to see it */
                closing = 0;
                if
                :: (state & CONTROL) == 0 -> state = FREE; refused++
                :: else -> goto accepted
                fi
            }
#endif
        :: skip ->
accepted:
            push_inbox()
        fi
    od
}

/* loop_cancel: once for each flight, at any time, as soon as it is noticed */
active proctype canceller() {
    byte word, seen, asked;
    bit first;
    do
    :: OVER -> break
    :: flight > asked ->
again:
        atomic { word = state; seen = flight };
        if
        :: (word & PHASE) == FREE -> word = 0
#ifndef BUG_ASKED_WHEN_FINISHED
        :: (word & PHASE) == HELD || (word & PHASE) == DONE -> asked = seen; word = 0
        :: else ->
#else
        :: else ->
#endif
            atomic {
                if
                :: state == word ->
                    first = (word & CONTROL) == 0;
                    state = word | CONTROL | CANCEL;
                    cancelled_flight = flight;
                    asked = flight;
                    word = 0
                :: else -> goto again
                fi
            };
            if
            :: first -> d_step { assert(!in_control); in_control = 1; first = 0 }
            :: else
            fi
        fi
    od
}

inline finish() {
    atomic {
        assert((state & PHASE) == QUEUED || (state & PHASE) == ACTIVE || (state & PHASE) == SHOT);
        if
#ifndef BUG_FINISHED_WITHOUT_HOLD
        :: (state & CONTROL) != 0 -> state = (state & ~PHASE) | HELD
#endif
        :: else -> state = (state & ~PHASE) | DONE; in_ready = 1
        fi
    }
}

inline start() {
    d_step {
        assert((state & PHASE) == QUEUED || (state & PHASE) == SHOT);
        state = (state & ~PHASE) | ACTIVE
    }
}

inline accept() {
    if
    :: is_tick && (state & CONTROL) == 0 -> finish()
    :: is_tick && (state & CONTROL) != 0 -> d_step { mark_tick_list = 1; in_ticks = 1 }
    :: is_tick && (state & CONTROL) == 0 -> d_step { mark_tick_list = 1; in_ticks = 1 } /* no budget left */
    :: !is_tick ->
        if
        :: mark_cancel -> finish()
        :: else -> start()
        fi
    fi
}

inline resume() {
    start();
    if
    :: (state & CANCEL) != 0 -> mark_cancel = 1
    :: else
    fi;
    if
    :: mark_cancel -> finish()
    :: else
    fi
}

inline obey() {
    d_step {
        if
        :: (state & CANCEL) != 0 && (state & PHASE) != FREE -> assert(cancelled_flight == flight)
        :: else
        fi;
        state = state & PHASE
    };
#ifdef BUG_CONTROL_CLEARED_BEFORE_LIST_TAKEN
    in_control = 0;
#endif
    if
    :: (state & PHASE) == HELD -> d_step { state = DONE; in_ready = 1 }
    :: else ->
        mark_cancel = 1;
        if
        :: (state & PHASE) == ACTIVE -> finish()
        :: else
        fi
    fi
}

/* The lock is held. */
inline drain() {
#ifdef BUG_CONTROL_CLEARED_BEFORE_LIST_TAKEN
    took_control = in_control;
#else
    d_step { took_control = in_control; in_control = 0 };
#endif
    d_step { took_inbox = in_inbox; in_inbox = 0 };
    if
    :: took_inbox && (state & PHASE) == QUEUED -> accept()
    :: took_inbox && (state & PHASE) == SHOT -> resume()
    :: else -> assert(!took_inbox)
    fi;
    took_inbox = 0;
    if
    :: took_control -> obey()
    :: else
    fi;
    took_control = 0
}

/* loop_cancel_on_next_tick on another thread */
active proctype withdrawer() {
    byte turns;
    do
    :: OVER || turns == 2 -> break
    :: (state & PHASE) == QUEUED && turns < 2 ->
        turns++;
        LOCK;
        drain();
        if
        :: (state & PHASE) == QUEUED && mark_tick_list ->
            atomic { /* Withdraw */
                if
#ifndef BUG_WITHDRAWN_DESPITE_CONTROL
                :: (state & CONTROL) != 0
#endif
                :: else ->
                    assert(in_ticks);
                    in_ticks = 0;
                    clear_marks();
                    state = FREE;
                    withdrawn++
                fi
            }
        :: else
        fi;
        UNLOCK
    od
}

inline deliver() {
    assert((state & PHASE) == SHOT || state == DONE);
    in_ready = 0;
    if
    :: (state & PHASE) == SHOT -> push_inbox()
    :: else ->
        assert(!in_control);
#if defined(BUG_DELIVERED_BEFORE_FREE)
        clear_marks();
        completed++;
        state = FREE
#elif defined(BUG_MARKS_CLEARED_AT_SUBMIT)
        atomic { state = FREE; completed++ }
#else
        clear_marks();
        atomic { state = FREE; completed++ } /* one store: whoever sees it may submit again */
#endif
    fi
}

/* The worker's thread. */
active proctype worker() {
    do
    :: OVER && !in_control -> break
    :: in_inbox || in_control -> LOCK; drain(); UNLOCK
    :: in_ticks ->
        LOCK;
        if
        :: in_ticks -> in_ticks = 0; mark_tick_list = 0; finish()
        :: else
        fi;
        UNLOCK
    :: (state & PHASE) == ACTIVE && !endless && !in_ready ->
        LOCK;
        if
        :: (state & PHASE) == ACTIVE -> finish()
        :: (state & PHASE) == ACTIVE && shots < SHOTS ->
            d_step { shots++; state = (state & ~PHASE) | SHOT; in_ready = 1 }
        :: else
        fi;
        UNLOCK
    :: in_ready -> deliver()
    od;
    assert(state == FREE && !in_inbox && !in_ticks && !in_ready)
}
