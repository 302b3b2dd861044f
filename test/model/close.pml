/*
 * The end of a loop: loop_deinit against threads that submit, drop references and ask for the descriptor at
 * the same moment.
 *
 * Models    capi/lifecycle.c   loop_deinit, check_loop
 *           capi/mailbox.c     capi_commit_foreign, wake_sleeper, capi_wake_if_finished, capi_pending
 *           loop/engine.go     Close, release, BackendDescriptor, finished
 *           loop/request/      Mailbox.EndSleep, Shared.InFlight
 * Promises  Nobody writes to the wake descriptor after it was closed. What was accepted is delivered, what
 *           was refused is not, and loop_deinit comes to its end in every case.
 * Left out  Several loop threads: the helpers are joined before EndSleep, so that only one is left here.
 *
 * SPDX-License-Identifier: MIT
 */
#define SUBMITTERS 2

mtype = { OPENED, CLOSING, CLOSED };
mtype lifecycle = OPENED;

byte inbox, accepted, withdrawn, delivered, referenced, dereferenced;
bit sleeping, eventfd, descriptor_open = 1;
byte wakers, guests;
byte promised; /* submits that returned 0, or will */

inline wake_sleeper() {
    if
    :: sleeping == 0
    :: else ->
#ifndef BUG_WAKERS_NOT_COUNTED
        wakers++;
#endif
        d_step { asleep = sleeping; sleeping = 0 };
#ifdef BUG_WAKERS_DECREMENTED_BEFORE_WRITE
        wakers--;
#endif
        if
        :: asleep -> d_step { assert(descriptor_open); eventfd = 1; asleep = 0 }
        :: else
        fi;
#if !defined(BUG_WAKERS_NOT_COUNTED) && !defined(BUG_WAKERS_DECREMENTED_BEFORE_WRITE)
        wakers--
#else
        skip
#endif
    fi
}

/* Ends are read before beginnings; references count while the loop is open. */
inline count_in_flight() {
    pending = pending - withdrawn;
    pending = pending - delivered;
    pending = pending + accepted
}

inline count_pending() {
#ifndef BUG_REFERENCES_COUNT_WHEN_CLOSING
    if
    :: lifecycle != OPENED -> count_in_flight()
    :: else ->
#endif
        pending = pending - dereferenced;
        count_in_flight();
        pending = pending + referenced
#ifndef BUG_REFERENCES_COUNT_WHEN_CLOSING
    fi
#endif
}

inline wake_if_finished() {
    count_pending();
    if
    :: pending == 0 -> wake_sleeper()
    :: else -> pending = 0
    fi
}

/* capi_commit_foreign */
proctype submitter() {
    short pending;
    bit asleep;
    if
    :: lifecycle != OPENED -> goto refused
    :: else
    fi;
#ifdef BUG_ACCEPTED_COUNTED_AFTER_LOOK
    if
    :: lifecycle != OPENED -> goto refused
    :: else
    fi;
    accepted++;
#else
    accepted++;
    if
    :: lifecycle != OPENED ->
        withdrawn++;
#ifndef BUG_REFUSED_WITHOUT_WAKE
        wake_if_finished();
#endif
        goto refused
    :: else
    fi;
#endif
    atomic { inbox++; promised++ };
    wake_sleeper();
refused:
    skip
}

/* loop_unref */
proctype dropper() {
    short pending;
    bit asleep;
    if
    :: lifecycle == OPENED -> dereferenced++; wake_if_finished()
    :: else
    fi
}

/* loop_backend_fd on a thread that does not run the loop */
proctype guest() {
    bit asleep;
    if
    :: lifecycle != OPENED -> goto refused
    :: else
    fi;
#ifndef BUG_GUESTS_NOT_COUNTED
    guests++;
    if
    :: lifecycle != OPENED -> guests--; goto refused
    :: else
    fi;
#endif
    sleeping = 1;
    wake_sleeper();
#ifndef BUG_GUESTS_NOT_COUNTED
    guests--;
#endif
refused:
    skip
}

inline drain() {
    d_step { taken = inbox; inbox = 0 };
    d_step { delivered = delivered + taken; taken = 0 }
}

/* loop_deinit: the life of the loop's thread from there on */
proctype deinit() {
    short pending;
    byte taken;
    lifecycle = CLOSING;
    do
    :: count_in_flight();
        if
        :: pending == 0 -> break
        :: else -> pending = 0
        fi;
        drain();
        if
        :: inbox > 0 -> skip
        :: else ->
            sleeping = 1;
            if
            :: inbox > 0 -> skip
            :: else ->
                count_pending();
                if
                :: pending == 0 -> skip
                :: else -> pending = 0; eventfd == 1
                fi
            fi;
            sleeping = 0;
            eventfd = 0;
            drain()
        fi
    od;
#ifndef BUG_GUESTS_NOT_COUNTED
    guests == 0;
#endif
#ifndef BUG_SLEEP_NOT_ENDED
    sleeping = 0;
#endif
    wakers == 0;
    descriptor_open = 0;
    lifecycle = CLOSED
}

init {
    atomic {
        if
        :: run guest()
        :: sleeping = 1 /* another loop watches the descriptor of this one */
        :: referenced = 1
        :: referenced = 1; run dropper()
        fi;
        byte i;
        for (i : 1 .. SUBMITTERS) {
            run submitter()
        };
        run deinit()
    };
    _nr_pr == 1;
    assert(delivered == promised && accepted == delivered + withdrawn);
    assert(wakers == 0 && inbox == 0)
}
