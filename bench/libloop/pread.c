/*
 * Reads of 4 KiB at random offsets of a 64 MiB file that is in the page cache, or "direct": that go to the
 * device, DEPTH of them in flight. Each is submitted again in its callback, after its length and its data
 * were checked.
 *
 * pread_rate    reads per second
 * pread_cpu_ns  processor time of each, of all threads of the process
 *
 * Usage: pread WINDOW_MS DEPTH FILE [direct]
 * SPDX-License-Identifier: MIT
 */
#include "../files.h"
#include "backend.h"

#include <unistd.h>

struct slot {
    loop_request_t request;
    uint64_t block;
    uint64_t *buffer;
};

static struct slot slots[READS_MAX];
static _Alignas(BLOCK_SIZE) uint64_t buffers[READS_MAX][BLOCK_SIZE / sizeof(uint64_t)];
static uint64_t random_state = 88172645463325252u;
static struct measurement measurement;
static struct processor_time processor_time;
static int fd;

static void on_read(loop_t *loop, loop_request_t *request, int64_t result);

static void start_read(loop_t *loop, struct slot *slot) {
    slot->block = random_next(&random_state) % FILE_BLOCKS;
    const uint64_t offset = slot->block * BLOCK_SIZE;
    CHECK(loop_pread(loop, &slot->request, fd, slot->buffer, BLOCK_SIZE, offset, on_read) == 0);
}

static void on_read(loop_t *loop, loop_request_t *request, int64_t result) {
    struct slot *slot = request->user;
    CHECK(result == BLOCK_SIZE && block_is(slot->buffer, slot->block));
    if (metered_continues(&measurement, &processor_time)) start_read(loop, slot);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    const uint64_t depth = number_argument(argc, argv, 2, READS_MAX);
    fd = open_file_argument(argc, argv);
    /* Where the backend needs the pool: a thread for each read (files get at most three quarters of them). */
    const uint32_t threads = is_direct(argc, argv) ? (uint32_t)(depth * 4 / 3 + 2) : 0;
    loop_t *loop = make_loop_with((loop_options_t){.blocking_threads = threads});
    measurement_begin(&measurement, window_ms);
    for (uint64_t i = 0; i < depth; i++) {
        slots[i].buffer = buffers[i];
        slots[i].request.user = &slots[i];
        start_read(loop, &slots[i]);
    }
    CHECK(loop_run(loop) == 0);
    CHECK(loop_deinit(loop) == 0);
    close(fd);
    report_rate("pread_rate", &measurement);
    report_processor_time("pread_cpu_ns", &processor_time, &measurement);
    return 0;
}
