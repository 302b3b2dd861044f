/*
 * threads: a loop whose callbacks run on several threads at once.
 *
 * Shown: with loop_init_thread_pool the thread that calls loop_run and others beside it all run callbacks, so
 * callbacks that compute use several processors. The price: two callbacks may run at the same moment, so
 * what they share must be atomic or locked. What belongs to one request alone needs neither.
 *
 * (A loop of one thread is the better start for most programs; see work.c for computing beside it.)
 */
#include <loop.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

enum { THREADS = 4, PARTS = 64, LIMIT = 2000000, PRIMES_BELOW_LIMIT = 148933 };

/* One part of the work: the primes in [first, end). */
typedef struct part {
    loop_request_t request;
    uint32_t       first, end;
} part_t;

static part_t      parts[PARTS];
static atomic_uint primes_total;         /* shared by all callbacks, hence atomic */
static atomic_uint callbacks_wrong;      /* callbacks that got another result than 0 */
static atomic_int  threads_seen;         /* threads that ran a callback so far */
static atomic_uint callbacks_of[THREADS];/* callbacks that each of them ran */

/* The number of the calling thread: 0 for the first that asked, 1 for the next and so on. */
static int thread_number(void) {
    static _Thread_local int number = -1;
    if (number < 0) number = atomic_fetch_add(&threads_seen, 1);
    return number;
}

static bool is_prime(uint32_t number) {
    if (number < 2) return false;
    for (uint32_t divisor = 2; divisor * divisor <= number; divisor++)
        if (number % divisor == 0) return false;
    return true;
}

static void on_tick(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    part_t  *part = request->user;
    unsigned primes = 0;
    for (uint32_t number = part->first; number < part->end; number++) primes += is_prime(number);

    atomic_fetch_add(&primes_total, primes);
    if (result != 0) atomic_fetch_add(&callbacks_wrong, 1);
    int thread = thread_number();
    if (thread < THREADS) atomic_fetch_add(&callbacks_of[thread], 1);
}

int main(void) {
    loop_t *loop;
    if (loop_init_thread_pool(&loop, THREADS) < 0) return 1;

    for (uint32_t i = 0; i < PARTS; i++) {
        part_t *part = &parts[i];
        part->request.user = part;
        part->first = LIMIT / PARTS * i;
        part->end = part->first + LIMIT / PARTS;
        if (loop_on_next_tick(loop, &part->request, on_tick) < 0) return 1;
    }
    if (loop_run(loop) < 0 || loop_deinit(loop) < 0) return 1;

    /* Nothing runs any more, so what the threads left behind may be read in peace. */
    unsigned callbacks = 0;
    int      threads = atomic_load(&threads_seen);
    for (int i = 0; i < threads && i < THREADS; i++) {
        printf("thread %d ran %u of %d callbacks\n", i, atomic_load(&callbacks_of[i]), PARTS);
        callbacks += atomic_load(&callbacks_of[i]);
    }
    printf("%u primes below %d\n", atomic_load(&primes_total), LIMIT);
    return atomic_load(&primes_total) == PRIMES_BELOW_LIMIT && callbacks == PARTS &&
                   atomic_load(&callbacks_wrong) == 0 && threads >= 2 && threads <= THREADS
               ? 0
               : 1;
}
