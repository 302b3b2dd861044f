/*
 * Open, read and close small files that the system has in memory, 64 files under way; the next file is chosen
 * at random when one is closed. Lengths and contents are checked. An open file is one read of up to
 * SMALL_FILE_MAX bytes, without fstat.
 *
 * small_files_rate    files per second
 * small_files_cpu_ns  processor time of each, of all threads of the process
 *
 * Usage: small_files WINDOW_MS DIRECTORY
 * SPDX-License-Identifier: MIT
 */
#include "../files.h"
#include "backend.h"

#include <fcntl.h>

struct slot {
    loop_request_t request;
    uint64_t file;
    int fd;
    uint64_t buffer[SMALL_FILE_MAX / sizeof(uint64_t)];
};

static struct slot slots[SMALL_FILES_IN_FLIGHT];
static uint64_t random_state = 88172645463325252u;
static struct measurement measurement;
static struct processor_time processor_time;

static void start_file(loop_t *loop, struct slot *slot);

static void on_close(loop_t *loop, loop_request_t *request, int64_t result) {
    struct slot *slot = request->user;
    CHECK(result == 0);
    if (metered_continues(&measurement, &processor_time)) start_file(loop, slot);
}

static void on_read(loop_t *loop, loop_request_t *request, int64_t result) {
    struct slot *slot = request->user;
    CHECK(small_file_is(slot->file, slot->buffer, result));
    CHECK(loop_close(loop, request, slot->fd, on_close) == 0);
}

static void on_open(loop_t *loop, loop_request_t *request, int64_t result) {
    struct slot *slot = request->user;
    CHECK(result >= 0);
    slot->fd = (int)result;
    CHECK(loop_read(loop, request, slot->fd, slot->buffer, sizeof slot->buffer, on_read) == 0);
}

static void start_file(loop_t *loop, struct slot *slot) {
    slot->file = random_next(&random_state) % SMALL_FILES;
    const char *path = small_file_path(slot->file);
    CHECK(loop_open(loop, &slot->request, path, O_RDONLY | O_CLOEXEC, 0, on_open) == 0);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    CHECK(argc == 3);
    prepare_small_files(argv[2]);
    loop_t *loop = make_loop();
    measurement_begin(&measurement, window_ms);
    for (int i = 0; i < SMALL_FILES_IN_FLIGHT; i++) {
        slots[i].request.user = &slots[i];
        start_file(loop, &slots[i]);
    }
    CHECK(loop_run(loop) == 0);
    CHECK(loop_deinit(loop) == 0);
    report_rate("small_files_rate", &measurement);
    report_processor_time("small_files_cpu_ns", &processor_time, &measurement);
    return 0;
}
