/*
 * The wake-up of the loop that libloop stems from, Zig's std.event.Loop: kept to prove that the way in which
 * the other models are searched finds a wake-up that was lost in a released design.
 *
 * Models    onNextTick, dispatch and workerRun: two threads that hand over ticks, a free list with one wake
 *           slot, two loop threads that sleep until a slot fires.
 * Promises  None: a dispatcher may hold the only slot while it finds the queue empty; a second one that
 *           appends a tick meanwhile finds no slot and goes; the first puts the slot back without another
 *           look. The tick stays while all sleep. BUG_AS_RELEASED has to be caught. Without it dispatch looks
 *           at the queue again, and the model passes.
 *
 * SPDX-License-Identifier: MIT
 */
#define TICKS 3

byte queue, run_ticks;
bit slot_free = 1, slot_fired, stopped;

inline dispatch() {
    do
    :: atomic { !slot_free -> break }
    :: atomic { slot_free -> slot_free = 0 };
        if
        :: atomic { queue > 0 -> queue-- }; slot_fired = 1
        :: queue == 0 ->
            slot_free = 1;
#ifdef BUG_AS_RELEASED
            break
#else
            if
            :: queue == 0 -> break
            :: else
            fi
#endif
        fi
    od
}

/* A thread that is not one of the loop's. */
proctype dispatcher() {
    queue++;
    dispatch()
}

proctype worker() {
    do
    :: atomic { queue > 0 -> queue-- }; dispatch(); run_ticks++
    :: queue == 0 ->
        if
        :: atomic { slot_fired -> slot_fired = 0 }; slot_free = 1; run_ticks++
        :: stopped -> break
        fi
    od
}

init {
    atomic {
        byte i;
        for (i : 1 .. TICKS) { run dispatcher() };
        run worker();
        run worker()
    };
    run_ticks == TICKS;
    stopped = 1
}
