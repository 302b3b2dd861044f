/*
 * denied ERRNO, under `deny ERRNO`: a loop with the default options falls back to epoll by itself, says so,
 * and works; one that insists on io_uring is refused as the header promises; nothing is left.
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE 1 /* pipe2 */

#include <fcntl.h>
#define _GNU_SOURCE 1 /* pipe2 */

#include <stdio.h>
#define _GNU_SOURCE 1 /* pipe2 */

#include <stdlib.h>
#define _GNU_SOURCE 1 /* pipe2 */

#include <string.h>
#define _GNU_SOURCE 1 /* pipe2 */

#include <unistd.h>

#define _GNU_SOURCE 1 /* pipe2 */

#include "loop.h"

#define CHECK(condition) ((condition) ? (void)0 : fail(#condition, __LINE__))

static _Noreturn void fail(const char *condition, int line)
{
    fprintf(stderr, "%s:%d: %s\n", __FILE__, line, condition);
    exit(1);
}

static int expected_refusal(const char *name)
{
    if (strcmp(name, "EMFILE") == 0) {
        return LOOP_EMFILE;
    }
    return strcmp(name, "ENOMEM") == 0 ? LOOP_ENOMEM : LOOP_ENOTSUP;
}

static void keep(loop_t *loop, loop_request_t *request, int64_t result)
{
    (void)loop;
    *(int64_t *)request->user = result;
}

static int next_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && close(fd) == 0);
    return fd;
}

static void check_that_it_works(loop_t *loop)
{
    int            ends[2];
    char           bytes[4];
    int64_t        results[3] = {-1, -1, -1};
    loop_request_t read_it = {.user = &results[0]};
    loop_request_t write_it = {.user = &results[1]};
    loop_request_t ask = {.user = &results[2]};
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    CHECK(strcmp(loop_backend_name(loop), "epoll") == 0);
    CHECK(loop_read(loop, &read_it, ends[0], bytes, sizeof bytes, keep) == 0);
    CHECK(loop_write(loop, &write_it, ends[1], "abc", 3, keep) == 0);
    CHECK(loop_faccessat(loop, &ask, AT_FDCWD, "/", F_OK, 0, keep) == 0);
    CHECK(loop_run(loop) == 0);
    CHECK(results[0] == 3 && results[1] == 3 && results[2] == 0);
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    int free_before = next_descriptor();
    for (uint32_t threads = 1; threads <= 4; threads++) {
        loop_t        *loop = NULL;
        loop_options_t options = {.size = sizeof options, .threads = threads};
        CHECK(loop_init(&loop, &options) == 0);
        check_that_it_works(loop);
        CHECK(loop_deinit(loop) == 0);

        options.backend = LOOP_BACKEND_IO_URING;
        CHECK(loop_init(&loop, &options) == expected_refusal(argv[1]));
        CHECK(loop == NULL);
    }
    loop_t *loop = loop_default();
    CHECK(loop != NULL);
    check_that_it_works(loop);
    CHECK(loop_deinit(loop) == 0);
    CHECK(next_descriptor() == free_before);
    return 0;
}
