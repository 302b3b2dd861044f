/*
 * The other end of the writes of pipelined_writes: messages of WRITE_SIZE bytes, and a thread on the last
 * processor that reads them from a socket and checks each. Nothing here knows an event loop.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_DRAIN_H
#define BENCH_DRAIN_H

#include "support.h"

#include <pthread.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { WRITES_MAX = 1000000, WRITE_SIZE = 64, MESSAGE_WORDS = WRITE_SIZE / 8 };

struct message {
    uint64_t words[MESSAGE_WORDS];
};

struct drain {
    uint64_t count;           /* of messages */
    struct message *messages; /* to be written, in any order */
    int fd;                   /* to write to: a stream socket that blocks */
    int read_fd;
    pthread_t thread;
    uint64_t begin_ns; /* when drain_begin was called */
    uint64_t end_ns;   /* when the last message was read */
};

/* Make `count` messages and sockets; the caller stays on the first processor from now on. */
void drain_init(struct drain *drain, uint64_t count);

/* Start to read the messages. */
void drain_begin(struct drain *drain);

/* Wait until every message was read once. */
void drain_end(struct drain *drain);

/* Print the messages per second, and end what drain_init made. */
void drain_report(const char *name, struct drain *drain);

#ifdef __cplusplus
}
#endif

#endif
