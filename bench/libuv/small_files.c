/*
 * Open, read and close small files that the system has in memory, 64 files under way; the next file is chosen
 * at random when one is closed. Lengths and contents are checked. An open file is one read of up to
 * SMALL_FILE_MAX bytes, without fstat. libuv makes each of the three calls on its thread pool, here of the
 * default size.
 *
 * small_files_rate    files per second
 * small_files_cpu_ns  processor time of each, of all threads of the process
 *
 * Usage: small_files WINDOW_MS DIRECTORY
 * SPDX-License-Identifier: MIT
 */
#include "../files.h"

#include <fcntl.h>
#include <uv.h>

struct slot {
    uv_fs_t request;
    uv_buf_t target;
    uint64_t file;
    int fd;
    uint64_t buffer[SMALL_FILE_MAX / sizeof(uint64_t)];
};

static uv_loop_t loop;
static struct slot slots[SMALL_FILES_IN_FLIGHT];
static uint64_t random_state = 88172645463325252u;
static struct measurement measurement;
static struct processor_time processor_time;

static void start_file(struct slot *slot);

static void on_close(uv_fs_t *request) {
    struct slot *slot = request->data;
    CHECK(request->result == 0);
    uv_fs_req_cleanup(request);
    if (metered_continues(&measurement, &processor_time)) start_file(slot);
}

static void on_read(uv_fs_t *request) {
    struct slot *slot = request->data;
    CHECK(small_file_is(slot->file, slot->buffer, request->result));
    uv_fs_req_cleanup(request);
    CHECK(uv_fs_close(&loop, request, slot->fd, on_close) == 0);
}

static void on_open(uv_fs_t *request) {
    struct slot *slot = request->data;
    CHECK(request->result >= 0);
    slot->fd = (int)request->result;
    uv_fs_req_cleanup(request);
    CHECK(uv_fs_read(&loop, request, slot->fd, &slot->target, 1, -1, on_read) == 0);
}

static void start_file(struct slot *slot) {
    slot->file = random_next(&random_state) % SMALL_FILES;
    const char *path = small_file_path(slot->file);
    CHECK(uv_fs_open(&loop, &slot->request, path, O_RDONLY | O_CLOEXEC, 0, on_open) == 0);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    CHECK(argc == 3);
    prepare_small_files(argv[2]);
    CHECK(uv_loop_init(&loop) == 0);
    measurement_begin(&measurement, window_ms);
    for (int i = 0; i < SMALL_FILES_IN_FLIGHT; i++) {
        slots[i].request.data = &slots[i];
        slots[i].target = uv_buf_init((char *)slots[i].buffer, sizeof slots[i].buffer);
        start_file(&slots[i]);
    }
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_loop_close(&loop) == 0);
    report_rate("small_files_rate", &measurement);
    report_processor_time("small_files_cpu_ns", &processor_time, &measurement);
    return 0;
}
