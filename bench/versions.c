/*
 * Prints which version of each library the benchmark programs run with, a line "NAME VERSION" each. Ends with
 * the status BACKEND_MISSING when the backend that LOOP_BENCH_BACKEND names does not exist here.
 *
 * Usage: versions
 * SPDX-License-Identifier: MIT
 */
#include "libloop/backend.h"

#include <asio/version.hpp> /* has nothing but macros */
#include <ev.h>
#include <gnu/libc-version.h>
#include <uv.h>

int main(void) {
    loop_t *loop = make_loop();
    printf("libloop %s\n", loop_version());
    printf("libuv %s\n", uv_version_string());
    printf("libev %d.%d\n", ev_version_major(), ev_version_minor());
    printf("asio %d.%d.%d\n", ASIO_VERSION / 100000, ASIO_VERSION / 100 % 1000, ASIO_VERSION % 100);
    printf("glibc %s\n", gnu_get_libc_version());
    CHECK(loop_deinit(loop) == 0);
    return 0;
}
