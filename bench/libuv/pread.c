/*
 * Reads of 4 KiB at random offsets of a 64 MiB file that is in the page cache, or "direct": that go to the
 * device, DEPTH of them in flight. Each is submitted again in its callback, after its length and its data
 * were checked.
 * libuv makes each read on its thread pool, which has the default size; but a thread for each read in flight
 * when they are direct: with four the device would never see more than four.
 *
 * pread_rate    reads per second
 * pread_cpu_ns  processor time of each, of all threads of the process
 *
 * Usage: pread WINDOW_MS DEPTH FILE [direct]
 * SPDX-License-Identifier: MIT
 */
#include "../files.h"

#include <unistd.h>
#include <uv.h>

struct slot {
    uv_fs_t request;
    uv_buf_t buffer;
    uint64_t block;
    uint64_t *words;
};

static uv_loop_t loop;
static struct slot slots[READS_MAX];
static _Alignas(BLOCK_SIZE) uint64_t buffers[READS_MAX][BLOCK_SIZE / sizeof(uint64_t)];
static uint64_t random_state = 88172645463325252u;
static struct measurement measurement;
static struct processor_time processor_time;
static int fd;

static void on_read(uv_fs_t *request);

static void start_read(struct slot *slot) {
    slot->block = random_next(&random_state) % FILE_BLOCKS;
    const int64_t offset = (int64_t)(slot->block * BLOCK_SIZE);
    CHECK(uv_fs_read(&loop, &slot->request, fd, &slot->buffer, 1, offset, on_read) == 0);
}

static void on_read(uv_fs_t *request) {
    struct slot *slot = request->data;
    CHECK(request->result == BLOCK_SIZE && block_is(slot->words, slot->block));
    uv_fs_req_cleanup(request);
    if (metered_continues(&measurement, &processor_time)) start_read(slot);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    const uint64_t depth = number_argument(argc, argv, 2, READS_MAX);
    fd = open_file_argument(argc, argv);
    if (is_direct(argc, argv)) CHECK(setenv("UV_THREADPOOL_SIZE", argv[2], 1) == 0);
    CHECK(uv_loop_init(&loop) == 0);
    measurement_begin(&measurement, window_ms);
    for (uint64_t i = 0; i < depth; i++) {
        slots[i].words = buffers[i];
        slots[i].buffer = uv_buf_init((char *)buffers[i], BLOCK_SIZE);
        slots[i].request.data = &slots[i];
        start_read(&slots[i]);
    }
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_loop_close(&loop) == 0);
    close(fd);
    report_rate("pread_rate", &measurement);
    report_processor_time("pread_cpu_ns", &processor_time, &measurement);
    return 0;
}
