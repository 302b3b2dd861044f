/*
 * The limit for pread: the same reads on bare liburing, on a registered file and without any layer above. A
 * turn submits what the completions of the one before asked for with one system call, and waits for one.
 *
 * pread_rate    reads per second
 * pread_cpu_ns  processor time of each, of all threads of the process
 *
 * Usage: pread WINDOW_MS DEPTH FILE [direct]
 * SPDX-License-Identifier: MIT
 */
#include "../files.h"
#include "ring.h"

#include <unistd.h>

struct slot {
    uint64_t block;
    uint64_t *buffer;
};

static struct io_uring ring;
static struct slot slots[READS_MAX];
static _Alignas(BLOCK_SIZE) uint64_t buffers[READS_MAX][BLOCK_SIZE / sizeof(uint64_t)];
static uint64_t random_state = 88172645463325252u;
static struct measurement measurement;
static struct processor_time processor_time;
static uint64_t in_flight;

static void start_read(struct slot *slot) {
    struct io_uring_sqe *entry = ring_entry(&ring);
    slot->block = random_next(&random_state) % FILE_BLOCKS;
    io_uring_prep_read(entry, 0, slot->buffer, BLOCK_SIZE, slot->block * BLOCK_SIZE);
    entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data(entry, slot);
    in_flight++;
}

static void on_read(void *user, int result) {
    struct slot *slot = user;
    CHECK(result == BLOCK_SIZE && block_is(slot->buffer, slot->block));
    in_flight--;
    if (metered_continues(&measurement, &processor_time)) start_read(slot);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    const uint64_t depth = number_argument(argc, argv, 2, READS_MAX);
    const int fd = open_file_argument(argc, argv);
    ring_begin(&ring, READS_MAX);
    CHECK(io_uring_register_files(&ring, &fd, 1) == 0);
    measurement_begin(&measurement, window_ms);
    for (uint64_t i = 0; i < depth; i++) {
        slots[i].buffer = buffers[i];
        start_read(&slots[i]);
    }
    while (in_flight > 0) ring_turn(&ring, on_read);
    io_uring_queue_exit(&ring);
    close(fd);
    report_rate("pread_rate", &measurement);
    report_processor_time("pread_cpu_ns", &processor_time, &measurement);
    return 0;
}
