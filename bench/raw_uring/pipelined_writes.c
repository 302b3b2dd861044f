/*
 * The limit for pipelined_writes: COUNT sends of 64 bytes on bare liburing, each with an entry of its
 * own. A batch of them is submitted at once and awaited before the next; there is no order within a batch.
 * (Linked entries, which keep the order, took twice as long; so did batches of 1,000.)
 * pipelined_writes_rate is writes per second, from the first submit until the last message was read.
 *
 * Usage: pipelined_writes COUNT
 * SPDX-License-Identifier: MIT
 */
#include "../drain.h"
#include "ring.h"

enum { BATCH = 64 }; /* COUNT must be a multiple of it */

static struct io_uring ring;
static struct drain drain;
static uint64_t written;

static void on_write(void *unused, int result) {
    (void)unused;
    CHECK(result == WRITE_SIZE);
    written++;
}

static void prepare_batch(struct message *messages) {
    for (int i = 0; i < BATCH; i++) {
        struct io_uring_sqe *entry = ring_entry(&ring);
        io_uring_prep_send(entry, 0, &messages[i], WRITE_SIZE, 0);
        entry->flags |= IOSQE_FIXED_FILE;
    }
}

static void run(void) {
    written = 0;
    drain_begin(&drain);
    for (uint64_t i = 0; i < drain.count; i += BATCH) {
        prepare_batch(&drain.messages[i]);
        while (written < i + BATCH) ring_turn(&ring, on_write);
    }
    drain_end(&drain);
    CHECK(written == drain.count);
}

int main(int argc, char **argv) {
    const uint64_t count = number_argument(argc, argv, 1, WRITES_MAX);
    CHECK(count % BATCH == 0);
    drain_init(&drain, count);
    ring_begin(&ring, BATCH);
    CHECK(io_uring_register_files(&ring, &drain.fd, 1) == 0);
    run();
    io_uring_queue_exit(&ring);
    drain_report("pipelined_writes_rate", &drain);
    return 0;
}
