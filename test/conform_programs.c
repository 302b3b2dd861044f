/*
 * Programs of some 2,000 calls over the whole API, which a seed decides, on the real kernel: each request
 * completes exactly once with a result that it may have, no byte gets to the wrong place, and nothing is
 * left behind. test/soak/program.h tells how they are made and checked.
 *
 * Environment: LOOP_TEST_SEED=N runs the program of this seed only.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <signal.h>

#include "soak/program.h"

enum { SEEDS = 20, CALLS = 2000 };

static volatile sig_atomic_t seed_now;

static program_counts_t totals;

static void run_seed(uint64_t seed)
{
    loop_options_t    loop_options = test_options();
    program_options_t options = {
        .seed = seed,
        .threads = loop_options.threads,
        .backend = loop_options.backend,
        .calls = CALLS,
    };
    program_t *program = program_new(&options);
    program_run(program);
    program_end(program, &totals);
}

/* The leak guard looks after each seed. A failure, and a hang, names the seed. */
static void programs_complete_each_request_once_and_leave_nothing(void **state)
{
    const char *only = getenv("LOOP_TEST_SEED");
    uint64_t    first = only != NULL ? strtoull(only, NULL, 10) : 1;
    uint64_t    last = only != NULL ? first : SEEDS;
    for (uint64_t seed = first; seed <= last; seed++) {
        seed_now = (sig_atomic_t)seed;
        assert_int_equal(begin_test(state), 0);
        run_seed(seed);
        test_finished();
        if (end_test(state) != 0) {
            fail_msg("LOOP_TEST_SEED=%llu left something behind", (unsigned long long)seed);
        }
    }
}

/* A generator that does little would prove little. */
static void programs_have_exercised_what_they_are_to(void **state)
{
    (void)state;
    if (getenv("LOOP_TEST_SEED") == NULL) {
        assert_true(atomic_load(&totals.calls) >= SEEDS * CALLS);
        assert_true(atomic_load(&totals.landings) >= SEEDS * CALLS / 4);
        assert_true(atomic_load(&totals.bytes_verified) > 1 << 20);
        assert_true(atomic_load(&totals.cancels) > SEEDS);
        assert_true(atomic_load(&totals.harvested) > SEEDS);
        assert_true(atomic_load(&totals.posts) > SEEDS);
    }
}

static void say_seed(int signal_number)
{
    char message[64];
    int  length = snprintf(message, sizeof message, "LOOP_TEST_SEED=%d hangs\n", (int)seed_now);
    (void)!write(STDERR_FILENO, message, (size_t)length);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_complete_each_request_once_and_leave_nothing),
        cmocka_unit_test(programs_have_exercised_what_they_are_to),
    };
    signal(SIGALRM, say_seed);
    return RUN_SUITE(tests);
}
