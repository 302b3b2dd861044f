/*
 * What the guest tests share: checks that end the process, and children that are this program again.
 *
 * A guest test is a program of its own, because what it tests is the process: signals, descriptors, fork,
 * exit. It exits with 0 when the library behaved, and aborts with the place of the failure when not.
 */
#ifndef GUEST_SUPPORT_H
#define GUEST_SUPPORT_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Aborts unless the condition holds. Usable in callbacks, threads and children. */
#define CHECK(condition) guest_check((condition), #condition, __FILE__, __LINE__)

void guest_check(bool holds, const char *condition, const char *file, int line);

/* Milliseconds are for waiting only; no test depends on how long something took. */
void guest_sleep_ms(unsigned milliseconds);

/* Waits until *counter is at least `value`, and aborts when that takes unreasonably long. */
void guest_await(const atomic_uint_fast64_t *counter, uint64_t value, const char *what);

/*
 * Runs this program again with the arguments `role` and `detail` (NULL = none) and returns its wait status.
 * A child that does not end is killed, which its status then tells.
 */
int guest_run_again(const char *role, const char *detail);

/* Waits for a child as guest_run_again does. */
int guest_wait_for(pid_t child);

/* The lowest descriptor that is free. */
int guest_next_descriptor(void);

/* The signals that the thread `tid` of this process has blocked, signal n as bit n - 1. */
uint64_t guest_blocked_signals(pid_t tid);

/* Calls `visit` for each thread of this process. */
void guest_each_thread(void (*visit)(pid_t tid, void *user), void *user);

#endif
