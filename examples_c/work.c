/*
 * work: what takes long runs beside the loop, not on it.
 *
 * Shown: a callback that computes for a second keeps every other callback waiting for a second. So the
 * computing goes to loop_queue_work, which calls a function of yours on a thread of its own and then the
 * callback on the loop. The function gets the request and may use what `user` points to; nobody else
 * touches that meanwhile, hence no lock. A timer ticks all the time, to show that the loop stays free.
 */
#include <loop.h>

#include <stdbool.h>
#include <stdio.h>

#define TICK_NS UINT64_C(2000000)

enum { PARTS = 8, LIMIT = 2000000, PRIMES_BELOW_LIMIT = 148933 };

/* One part of the work: the primes in [first, end). */
typedef struct part {
    loop_request_t request;
    uint32_t       first, end;
    uint32_t       primes; /* the result, set on the other thread */
} part_t;

static loop_request_t timer;
static part_t         parts[PARTS];
static int            parts_left = PARTS;
static int            ticks;
static uint64_t       last_tick_ns, longest_gap_ns;
static uint32_t       primes_total;
static bool           failed;

static bool is_prime(uint32_t number) {
    if (number < 2) return false;
    for (uint32_t divisor = 2; divisor * divisor <= number; divisor++)
        if (number % divisor == 0) return false;
    return true;
}

/* Runs on a thread of the blocking pool: it must not touch what the loop's callbacks use. */
static void count_primes(loop_request_t *request) {
    part_t *part = request->user;
    for (uint32_t number = part->first; number < part->end; number++) part->primes += is_prime(number);
}

/* Runs on the loop again, so plain variables will do for what is shared with other callbacks. */
static void on_part_done(loop_t *loop, loop_request_t *request, int64_t result) {
    part_t *part = request->user;
    if (result != 0) failed = true;
    primes_total += part->primes;
    parts_left--;
    printf("%7u primes in %7u..%7u, after %d ticks\n", part->primes, part->first, part->end - 1, ticks);
    if (parts_left == 0 && loop_cancel(loop, &timer) < 0) failed = true;
}

static void on_timer(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)request;
    if (result == LOOP_ECANCELED) return;
    ticks++;
    uint64_t now_ns = loop_now(loop);
    if (now_ns - last_tick_ns > longest_gap_ns) longest_gap_ns = now_ns - last_tick_ns;
    last_tick_ns = now_ns;
}

int main(void) {
    loop_t *loop;
    if (loop_init(&loop, NULL) < 0) return 1;

    last_tick_ns = loop_now(loop);
    if (loop_timer_start(loop, &timer, TICK_NS, TICK_NS, on_timer) < 0) return 1;
    for (uint32_t i = 0; i < PARTS; i++) {
        part_t *part = &parts[i];
        part->request.user = part;
        part->first = LIMIT / PARTS * i;
        part->end = part->first + LIMIT / PARTS;
        if (loop_queue_work(loop, &part->request, count_primes, on_part_done) < 0) return 1;
    }
    if (loop_run(loop) < 0 || loop_deinit(loop) < 0) return 1;

    printf("%u primes below %d; the timer of %.0f ms ticked %d times meanwhile, at most %.1f ms apart\n",
           primes_total, LIMIT, (double)TICK_NS / 1e6, ticks, (double)longest_gap_ns / 1e6);
    return !failed && primes_total == PRIMES_BELOW_LIMIT && ticks > 0 ? 0 : 1;
}
