/*
 * The limit for small_files: the same three operations on bare liburing, each with an entry of its own and on
 * ordinary descriptors, because a library has to hand those out. (Linked entries on direct descriptors would
 * need one turn instead of three; no library that gives its user a descriptor can do that.)
 *
 * small_files_rate    files per second
 * small_files_cpu_ns  processor time of each, of all threads of the process
 *
 * Usage: small_files WINDOW_MS DIRECTORY
 * SPDX-License-Identifier: MIT
 */
#include "../files.h"
#include "ring.h"

#include <fcntl.h>

enum step { OPENING, READING, CLOSING };

struct slot {
    enum step step;
    uint64_t file;
    int fd;
    uint64_t buffer[SMALL_FILE_MAX / sizeof(uint64_t)];
};

static struct io_uring ring;
static struct slot slots[SMALL_FILES_IN_FLIGHT];
static uint64_t random_state = 88172645463325252u;
static struct measurement measurement;
static struct processor_time processor_time;
static uint64_t in_flight;

static void start_file(struct slot *slot) {
    struct io_uring_sqe *entry = ring_entry(&ring);
    slot->file = random_next(&random_state) % SMALL_FILES;
    slot->step = OPENING;
    io_uring_prep_openat(entry, AT_FDCWD, small_file_path(slot->file), O_RDONLY | O_CLOEXEC, 0);
    io_uring_sqe_set_data(entry, slot);
    in_flight++;
}

static void start_read(struct slot *slot, int fd) {
    struct io_uring_sqe *entry = ring_entry(&ring);
    CHECK(fd >= 0);
    slot->fd = fd;
    slot->step = READING;
    io_uring_prep_read(entry, fd, slot->buffer, sizeof slot->buffer, UINT64_MAX);
    io_uring_sqe_set_data(entry, slot);
}

static void start_close(struct slot *slot, int length) {
    struct io_uring_sqe *entry = ring_entry(&ring);
    CHECK(small_file_is(slot->file, slot->buffer, length));
    slot->step = CLOSING;
    io_uring_prep_close(entry, slot->fd);
    io_uring_sqe_set_data(entry, slot);
}

static void on_completion(void *user, int result) {
    struct slot *slot = user;
    switch (slot->step) {
    case OPENING: start_read(slot, result); break;
    case READING: start_close(slot, result); break;
    case CLOSING:
        CHECK(result == 0);
        in_flight--;
        if (metered_continues(&measurement, &processor_time)) start_file(slot);
        break;
    }
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    CHECK(argc == 3);
    prepare_small_files(argv[2]);
    ring_begin(&ring, 2 * SMALL_FILES_IN_FLIGHT);
    measurement_begin(&measurement, window_ms);
    for (int i = 0; i < SMALL_FILES_IN_FLIGHT; i++) start_file(&slots[i]);
    while (in_flight > 0) ring_turn(&ring, on_completion);
    io_uring_queue_exit(&ring);
    report_rate("small_files_rate", &measurement);
    report_processor_time("small_files_cpu_ns", &processor_time, &measurement);
    return 0;
}
