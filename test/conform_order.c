/*
 * Conformance of the order of callbacks, as "Order" at the top of loop.h promises it to loops of one thread:
 * timers due, then ticks, then other completions; and what a callback submits is for later turns.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <sched.h>

static loop_t *loop_of_one_thread(void)
{
    loop_options_t options = test_options();
    options.threads = 1;
    return new_loop_with(options);
}

/* ---- one turn with everything in it ------------------------------------------------------------ */

/* A tick, the gate, makes everything else ready at once: what waited already, and what it submits itself,
 * which it does in the reverse of the order that is promised. */
typedef struct crowd {
    operation_t gate;
    operation_t timer, tick, reading, closing; /* submitted by the gate */
    operation_t readable, work;                /* waiting since before */
    atomic_bool open;                          /* lets the work function return */
    atomic_bool work_done;
    int         waited_for[2], to_close[2], file;
    char        byte;
    loop_callback_t callback; /* of all but the gate */
} crowd_t;

static void wait_for_the_gate(loop_request_t *request)
{
    crowd_t *crowd = request->user;
    while (!atomic_load(&crowd->open)) {
        sched_yield();
    }
    atomic_store(&crowd->work_done, true);
}

static void open_the_gate(loop_t *loop, loop_request_t *request, int64_t result)
{
    crowd_t *crowd = request->user;
    atomic_store(&crowd->open, true);
    put(crowd->waited_for[1], "x", 1);
    CHECK(loop_close(loop, begin(&crowd->closing), crowd->to_close[0], crowd->callback) == 0);
    CHECK(loop_pread(loop, begin(&crowd->reading), crowd->file, &crowd->byte, 1, 0, crowd->callback) == 0);
    CHECK(loop_on_next_tick(loop, begin(&crowd->tick), crowd->callback) == 0);
    CHECK(loop_timer_start(loop, begin(&crowd->timer), 0, 0, crowd->callback) == 0);
    while (!atomic_load(&crowd->work_done)) {
        sched_yield();
    }
    record(loop, request, result);
}

static void gather(loop_t *loop, crowd_t *crowd, loop_callback_t callback)
{
    memset(crowd, 0, sizeof *crowd);
    crowd->callback = callback;
    crowd->gate.request.user = crowd->work.request.user = crowd;
    make_pipe(crowd->waited_for);
    make_pipe(crowd->to_close);
    crowd->file = temporary_file("x", 1);
    int fd = crowd->waited_for[0];
    assert_result(loop_wait_until_fd_readable(loop, begin(&crowd->readable), fd, callback), 0);
    assert_result(loop_queue_work(loop, begin(&crowd->work), wait_for_the_gate, callback), 0);
    assert_result(loop_on_next_tick(loop, begin(&crowd->gate), open_the_gate), 0);
}

static void part(const crowd_t *crowd)
{
    close_both(crowd->waited_for);
    close(crowd->to_close[1]);
    close(crowd->file);
}

TEST(timers_due_come_first_then_ticks_then_other_completions)
{
    static crowd_t crowd;
    unsigned       before = 0;
    loop_t        *loop = loop_of_one_thread();
    for (unsigned round = 0; round < 50; round++) {
        gather(loop, &crowd, record);
        run(loop);
        assert_int_equal(crowd.gate.order, before + 1);
        assert_int_equal(crowd.timer.order, before + 2);
        assert_int_equal(crowd.tick.order, before + 3);
        operation_t *others[] = {&crowd.reading, &crowd.closing, &crowd.readable, &crowd.work};
        for (size_t i = 0; i < COUNT(others); i++) {
            assert_int_equal(completions_of(others[i]), 1);
            assert_true(others[i]->result >= 0);
            assert_in_range(others[i]->order, before + 4, before + 7);
        }
        before += 7;
        part(&crowd);
    }
    end_loop(loop);
}

TEST(what_is_harvested_comes_in_the_same_order)
{
    static crowd_t  crowd;
    enum { HARVEST = 6 };
    loop_request_t *done[HARVEST];
    loop_t         *loop = loop_of_one_thread();
    for (unsigned round = 0; round < 50; round++) {
        gather(loop, &crowd, NULL);
        for (uint32_t fetched = 0; fetched < HARVEST;) {
            int count = loop_wait(loop, done + fetched, HARVEST - fetched, -1);
            assert_true(count > 0);
            fetched += (uint32_t)count;
        }
        assert_result(loop_pending(loop), 0);
        assert_ptr_equal(done[0], &crowd.timer.request);
        assert_ptr_equal(done[1], &crowd.tick.request);
        part(&crowd);
    }
    end_loop(loop);
}

/* ---- what callbacks submit --------------------------------------------------------------------- */

/* A callback or a post, and what it submits: one of each group, all of them ready at once. */
typedef struct parent {
    operation_t operation;
    operation_t timer, tick, reading;
    int         file;
    char        byte;
} parent_t;

static void submit_children(loop_t *loop, parent_t *parent)
{
    CHECK(loop_timer_start(loop, begin(&parent->timer), 0, 0, record) == 0);
    CHECK(loop_on_next_tick(loop, begin(&parent->tick), record) == 0);
    CHECK(loop_pread(loop, begin(&parent->reading), parent->file, &parent->byte, 1, 0, record) == 0);
}

static void submit_from_callback(loop_t *loop, loop_request_t *request, int64_t result)
{
    submit_children(loop, request->user);
    record(loop, request, result);
}

static void submit_from_post(loop_t *loop, void *user)
{
    parent_t *parent = user;
    submit_children(loop, parent);
    atomic_fetch_add(&parent->operation.completions, 1);
}

static void assert_children_come_later(loop_t *loop, parent_t *parent)
{
    const operation_t *children[] = {&parent->timer, &parent->tick, &parent->reading};
    while (completions_of(&parent->operation) == 0) {
        assert_true(loop_run_once(loop, -1) >= 0);
    }
    for (size_t i = 0; i < COUNT(children); i++) {
        assert_int_equal(completions_of(children[i]), 0);
    }
    run(loop);
    for (size_t i = 0; i < COUNT(children); i++) {
        assert_int_equal(completions_of(children[i]), 1);
    }
    assert_true(parent->timer.order < parent->tick.order);
    assert_true(parent->tick.order < parent->reading.order);
}

TEST(what_a_callback_submits_completes_in_later_turns)
{
    loop_t         *loop = loop_of_one_thread();
    parent_t        parent = {.file = temporary_file("x", 1)};
    loop_request_t *request = &parent.operation.request;
    request->user = &parent;
    for (unsigned round = 0; round < 50; round++) {
        begin(&parent.operation);
        assert_result(loop_on_next_tick(loop, request, submit_from_callback), 0);
        assert_children_come_later(loop, &parent);
        begin(&parent.operation);
        assert_result(loop_timer_start(loop, request, 0, 0, submit_from_callback), 0);
        assert_children_come_later(loop, &parent);
        begin(&parent.operation);
        assert_result(loop_wait_until_fd_readable(loop, request, parent.file, submit_from_callback), 0);
        assert_children_come_later(loop, &parent);
        begin(&parent.operation);
        assert_result(loop_pread(loop, request, parent.file, &parent.byte, 1, 0, submit_from_callback), 0);
        assert_children_come_later(loop, &parent);
        begin(&parent.operation);
        assert_result(loop_post(loop, submit_from_post, &parent), 0);
        assert_children_come_later(loop, &parent);
    }
    close(parent.file);
    end_loop(loop);
}

enum { GENERATIONS = 5 };
typedef struct chain {
    operation_t ticks[GENERATIONS];
    unsigned    generation;
} chain_t;

static void submit_next_generation(loop_t *loop, loop_request_t *request, int64_t result)
{
    chain_t *chain = request->user;
    record(loop, request, result);
    chain->generation++;
    if (chain->generation < GENERATIONS) {
        operation_t *next = &chain->ticks[chain->generation];
        next->request.user = chain;
        CHECK(loop_on_next_tick(loop, begin(next), submit_next_generation) == 0);
    }
}

TEST(each_generation_of_ticks_has_a_turn_of_its_own)
{
    loop_t *loop = loop_of_one_thread();
    chain_t first = {0}, second = {0};
    first.ticks[0].request.user = &first;
    second.ticks[0].request.user = &second;
    assert_result(loop_on_next_tick(loop, begin(&first.ticks[0]), submit_next_generation), 0);
    assert_result(loop_on_next_tick(loop, begin(&second.ticks[0]), submit_next_generation), 0);
    for (unsigned i = 0; i < GENERATIONS; i++) {
        assert_result(loop_run_once(loop, -1), 2);
        assert_int_equal(first.ticks[i].order, 2 * i + 1);
        assert_int_equal(second.ticks[i].order, 2 * i + 2);
    }
    assert_result(loop_pending(loop), 0);
    end_loop(loop);
}

/* ---- stopping ---------------------------------------------------------------------------------- */

static void stop_and_submit(loop_t *loop, loop_request_t *request, int64_t result)
{
    CHECK(loop_stop(loop) == 0);
    CHECK(loop_on_next_tick(loop, begin(request->user), record) == 0);
    record(loop, request, result);
}

TEST(what_a_stop_left_over_goes_before_what_was_submitted_since)
{
    loop_t     *loop = loop_of_one_thread();
    operation_t ticks[6] = {0}, since = {0};
    ticks[2].request.user = &since;
    for (size_t i = 0; i < COUNT(ticks); i++) {
        assert_result(loop_on_next_tick(loop, begin(&ticks[i]), i == 2 ? stop_and_submit : record), 0);
    }
    assert_result(loop_run(loop), 0);
    assert_int_equal(completions_of(&ticks[2]), 1);
    assert_int_equal(completions_of(&ticks[3]), 0);
    run(loop);
    for (size_t i = 0; i < COUNT(ticks); i++) {
        assert_int_equal(ticks[i].order, i + 1);
    }
    assert_int_equal(since.order, COUNT(ticks) + 1);
    end_loop(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(timers_due_come_first_then_ticks_then_other_completions),
        GUARDED(what_is_harvested_comes_in_the_same_order),
        GUARDED(what_a_callback_submits_completes_in_later_turns),
        GUARDED(each_generation_of_ticks_has_a_turn_of_its_own),
        GUARDED(what_a_stop_left_over_goes_before_what_was_submitted_since),
    };
    return RUN_SUITE(tests);
}
