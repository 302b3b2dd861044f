/*
 * Posts: the list that any thread pushes to, the one tick that empties it, and the end of the loop.
 *
 * Models    capi/post.c        append, send_tick, take_waiting, call_posts, uncount_tick
 *           capi/lifecycle.c   loop_deinit, as far as it waits until nothing is in flight
 * Promises  Every post that was accepted is called once, and those of one thread in order, also while the
 *           loop is stopped or ends; nobody sends the tick while it is under way; nothing is pending at the
 *           end.
 * Left out  The free list of posts: a post here has one life, so that the list has no ABA. (In the code it
 *           has none that matters either: `newest` is compared with what was linked to.) The wake-up is
 *           that of every request, in wake.pml; here the loop is awake.
 *
 * SPDX-License-Identifier: MIT
 */
#define POSTS 3
#define IDLE  0
#define BUSY  4 /* posts are 1 .. 3 */

byte newest = IDLE, oldest, next[BUSY];
byte accepted, withdrawn, delivered;
bit open = 1, tick_in_flight, stop;

/* What is observed. */
byte promised, refused, called;
bit was_called[BUSY];

inline send_tick() { d_step { assert(!tick_in_flight); tick_in_flight = 1 } }

inline post(number) {
    if
    :: !open -> refused++; goto over
    :: else
    fi;
    seen = newest;
    do
    :: if
        :: seen == IDLE && !counted ->
#ifdef BUG_TICK_COUNTED_AFTER_LOOK
            if
            :: !open -> refused++; goto over
            :: else
            fi;
            accepted++;
            counted = 1
#else
            accepted++;
            counted = 1;
            if
            :: !open -> refused++; withdrawn++; goto over
            :: else
            fi
#endif
        :: else
        fi;
        atomic {
            if
            :: newest == seen -> next[number] = seen; newest = number; promised++; break
            :: else -> seen = newest
            fi
        }
    od;
#ifdef BUG_TICK_SENT_BY_WHO_COUNTED
    if
    :: counted -> send_tick()
    :: else
    fi;
#else
    if
    :: seen == IDLE -> send_tick()
    :: seen != IDLE && counted ->
#ifndef BUG_COUNT_NOT_TAKEN_BACK
        withdrawn++
#else
        skip
#endif
    :: else
    fi;
#endif
    d_step { seen = 0; counted = 0 }
}

proctype poster_of_two() {
    byte seen;
    bit counted;
    post(1);
    post(2);
over:
    skip
}

proctype poster_of_one() {
    byte seen;
    bit counted;
    post(3);
over:
    skip
}

inline take_waiting() {
    atomic {
        number = newest;
        newest = BUSY;
        do
        :: number == IDLE || number == BUSY -> break
        :: else -> link = next[number]; next[number] = oldest; oldest = number; number = link
        od;
        number = 0;
        link = 0
    }
}

/* call_posts; what the calls take is nobody else's. */
inline call_posts() {
    if
    :: oldest == 0 -> take_waiting()
    :: else
    fi;
    do
    :: oldest == 0 || stop -> break
    :: d_step { oldest != 0 && !stop ->
            assert(!was_called[oldest] && (oldest != 2 || was_called[1]));
            was_called[oldest] = 1;
            called++;
            oldest = next[oldest]
        }
    od;
#ifdef BUG_IDLE_WITHOUT_COMPARE
    if
    :: oldest == 0 -> newest = IDLE; idle = 1
    :: else
    fi;
#else
    atomic {
        if
        :: oldest == 0 && newest == BUSY -> newest = IDLE; idle = 1
        :: else
        fi
    };
#endif
    if
    :: idle -> idle = 0
    :: else ->
#ifndef BUG_TICK_SENT_AGAIN_UNCOUNTED
        accepted++;
#endif
        send_tick()
    fi
}

/* The loop's thread, which runs the loop until it is ended. */
proctype loop() {
    byte number, link;
    bit idle;
    short in_flight;
    do
    :: tick_in_flight ->
#ifdef BUG_TICK_FREED_AFTER_ITS_CALL
        call_posts();
        tick_in_flight = 0;
#else
        tick_in_flight = 0;
        call_posts();
#endif
        delivered++;
        stop = 0 /* loop_run is called again, or loop_deinit takes the stop */
    :: !tick_in_flight ->
        open = 0;
        in_flight = in_flight - withdrawn;
        in_flight = in_flight - delivered;
        in_flight = in_flight + accepted;
        if
        :: in_flight == 0 -> break
        :: else -> in_flight = 0; tick_in_flight || accepted == withdrawn + delivered
        fi
    od
}

proctype stopper() { stop = 1 }

init {
    atomic {
        run poster_of_two();
        run poster_of_one();
        run stopper();
        run loop()
    };
    _nr_pr == 1;
    assert(called == promised && newest == IDLE && oldest == 0 && !tick_in_flight);
    assert(accepted == delivered + withdrawn)
}
