/*
 * What every conformance suite needs: a loop as the environment asks for it, the leak guard around each
 * test, operations that record their completion, and descriptors to try them on.
 *
 * Environment: LOOP_TEST_THREADS (1 if unset) and LOOP_TEST_BACKEND ("epoll", "io_uring"; any if unset).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_TEST_SUPPORT_H
#define LOOP_TEST_SUPPORT_H

#define _GNU_SOURCE 1

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "loop.h"

#define MILLISECOND ((uint64_t)1000000) /* in nanoseconds, the unit of the library */
#define SECOND      (1000 * MILLISECOND)
#define HOUR        (3600 * SECOND)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* An assertion for callbacks and for threads that the test started, where cmocka's, which longjmp, must not
 * be used: says what failed and ends the process. */
#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))
_Noreturn void check_failed(const char *condition, const char *file, int line);

/* Compares results and return values of the library, and names them when they differ. */
#define assert_result(actual, expected) compare_results(#actual, (actual), (expected), __FILE__, __LINE__)
void compare_results(const char *expression, int64_t actual, int64_t expected, const char *file, int line);

/* ---- tests and suites ------------------------------------------------------------------------ */

/* A test with the leak guard around it: begin_test counts descriptors and threads, end_test wants the same
 * numbers again. LOOP_TEST gets a loop, which is deinitialised before the guard looks. A test that failed is
 * not looked at again: its loop is left alone, for its requests are gone. */
#define TEST(name)                 \
    static void name##_body(void); \
    static void name(void **state) \
    {                              \
        (void)state;               \
        name##_body();             \
        test_finished();           \
    }                              \
    static void name##_body(void)

#define LOOP_TEST(name)                    \
    static void name##_on(loop_t *loop);   \
    TEST(name)                             \
    {                                      \
        loop_t *loop = new_loop();         \
        name##_on(loop);                   \
        end_loop(loop);                    \
    }                                      \
    static void name##_on(loop_t *loop)

#define GUARDED(name) cmocka_unit_test_setup_teardown(name, begin_test, end_test)

/* Runs an array of GUARDED tests; the value is the exit status. */
#define RUN_SUITE(tests) cmocka_run_group_tests(tests, begin_suite, NULL)

int  begin_suite(void **state);
int  begin_test(void **state);
int  end_test(void **state);
void test_finished(void);

/* The number of descriptors and of threads of loops that the process has now. */
typedef struct inventory {
    unsigned descriptors;
    unsigned loop_threads;
    unsigned other_threads; /* the test's and those of the Go runtime */
} inventory_t;
inventory_t take_inventory(void);

/* ---- loops ----------------------------------------------------------------------------------- */

uint32_t       test_threads(void);
loop_options_t test_options(void); /* what the environment asks for */
loop_t        *new_loop(void);
loop_t        *new_loop_with(loop_options_t options);
void           end_loop(loop_t *loop);

/* Runs the loop until nothing is pending. */
void run(loop_t *loop);

/* Runs the loop for at least so long, and until each of its threads has begun with what was submitted before,
 * so that what must not happen has its chance. */
void run_for(loop_t *loop, uint64_t duration_ns);

/* ---- operations that record their completion ------------------------------------------------- */

typedef struct operation {
    loop_request_t request; /* first, so that a callback can get at the rest */
    atomic_uint    completions;
    unsigned       order; /* of the last completion among all of this test, from 1 */
    uint32_t       flags;
    int64_t        result;
    pthread_t      thread; /* that the callback ran on */
} operation_t;

static inline operation_t *operation_of(loop_request_t *request)
{
    return (operation_t *)(void *)request;
}

/* The callback that records. */
void record(loop_t *loop, loop_request_t *request, int64_t result);

/* Forgets what was recorded and returns the request, to be submitted. */
loop_request_t *begin(operation_t *operation);

static inline unsigned completions_of(const operation_t *operation)
{
    return atomic_load(&operation->completions);
}

/* Runs the loop until the operation has completed, wants that to be once, and returns the result. */
int64_t await(loop_t *loop, operation_t *operation);

/* Runs the loop until the counter has reached the number. */
void run_until(loop_t *loop, const atomic_uint *counter, unsigned number);

/* Submits one operation and awaits its result. The arguments of the function are those between the request
 * and the callback. */
#define RESULT_OF(loop, function, ...)                                                              \
    (compare_results(#function, function(loop, begin(scratch_operation()), __VA_ARGS__, record), 0, \
                     __FILE__, __LINE__),                                                           \
     await(loop, scratch_operation()))
operation_t *scratch_operation(void);

/* Callbacks note how deep the stack of their thread is; the spread is the largest difference, in bytes,
 * between two notes of one thread since the test began. */
void   note_stack_depth(void);
size_t stack_spread(void);

/* ---- threads, time, chance ------------------------------------------------------------------- */

pthread_t start_thread(void *(*body)(void *), void *argument);
void      join_thread(pthread_t thread);
void      sleep_for(uint64_t duration_ns);

/* A reproducible random number below the limit; the state is the caller's, and not 0. */
uint32_t random_below(uint64_t *state, uint32_t limit);

/* Runs this program again with one argument; returns its exit status, or -1 when it did not exit. */
int run_again(const char *argument);

/* ---- descriptors ----------------------------------------------------------------------------- */

void make_pipe(int ends[2]);       /* [0] to read from, [1] to write to; blocking */
void make_socketpair(int ends[2]); /* a connected stream, blocking */
void make_tcp_pair(int ends[2]);
void close_both(const int ends[2]);

/* Writes all the bytes, blocking. */
void put(int fd, const void *bytes, size_t length);

/* Writes until the descriptor takes no more, or reads until it has no more, and returns the number of bytes.
 * The flags of the descriptor are as before afterwards. */
size_t fill(int fd);
size_t drain(int fd);

void set_nonblocking(int fd, bool nonblocking);
bool is_open(int fd);

/* A number that was an open descriptor a moment ago. */
int closed_descriptor(void);

/* An open file without a name, with the given contents, at position 0. */
int temporary_file(const void *contents, size_t length);

/* A directory for this process, removed with all in it when the suite exits, and a name in it. The name
 * lives until the next call but 8. */
const char *temporary_path(const char *name);

#endif /* LOOP_TEST_SUPPORT_H */
