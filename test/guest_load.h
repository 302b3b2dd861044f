/*
 * A load for the guest tests: requests of all kinds that keep every part of a loop busy while a test does
 * something to the process.
 */
#ifndef GUEST_LOAD_H
#define GUEST_LOAD_H

#include "guest_support.h"
#include "loop.h"

/* As CHECK, for what is 0 or more, or an error of this library. */
#define CHECK_OK(result) guest_check_ok((result), #result, __FILE__, __LINE__)
void guest_check_ok(int64_t result, const char *expression, const char *file, int line);

/*
 * Starts this program over in this process, with the argument `role`, and without open files but 0, 1 and 2:
 * what the parent process left open is then not taken for the library's.
 */
_Noreturn void guest_exec_fresh(const char *role);

enum { GUEST_LOAD_WORKERS = 4 };

/*
 * Ticks, timers, pipe and TCP traffic, file reads, blocking work, look-ups of names and posts, each submitted
 * again from its own callback until guest_load_end. A wrong result, and a timer that fires early, ends the
 * test.
 */
typedef struct guest_load {
    loop_t              *loop;
    atomic_bool          ending;
    atomic_uint_fast64_t ticks, timers, transfers, file_reads, works, messages, look_ups, posts;
    void (*work)(loop_request_t *request); /* extra work of the test, or NULL */

    loop_request_t tick, timer, transfer, file_read, message, look_up, workers[GUEST_LOAD_WORKERS];
    uint64_t       timer_start_ns;
    bool           transfer_is_read, message_is_received;
    char           byte, message_byte;
    int            pipe[2], socket[2], file;
    char           page[4096];

    struct addrinfo *addresses;
} guest_load_t;

/* Submits the load to a loop that need not run yet. The memory must be zero and stay until the loop ended. */
void guest_load_start(guest_load_t *load, loop_t *loop);

/* Waits until every kind of request completed `rounds` times more. */
void guest_load_await(guest_load_t *load, uint64_t rounds);

/* Lets the load run dry: loop_run then returns. */
void guest_load_end(guest_load_t *load);

/* Closes what the load opened, after loop_run returned. */
void guest_load_free(guest_load_t *load);

/* Makes a TCP connection of this host with itself; the two ends are closed on exec. */
void guest_connect(int ends[2]);

/* The function of a thread that calls loop_run. */
void *guest_run_loop(void *loop);

#endif
