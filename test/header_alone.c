/*
 * What a compiler must find in loop.h, in C99 to C23 and in C++11 to C++20: it stands alone, may be included
 * twice, needs no feature macro, and its types and numbers are what it says. `build.sh check` compiles this
 * file in all those modes; as a program it compares the header with the library that it runs with.
 */
#include "loop.h"
#include "loop.h" /* twice, to see the include guard */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* A static assertion for every language mode. */
#define ASSERT_THAT(name, condition) typedef char assert_##name[(condition) ? 1 : -1]

ASSERT_THAT(request_size, sizeof(loop_request_t) == 256);
ASSERT_THAT(options_size, sizeof(loop_options_t) == 20);
ASSERT_THAT(statistics_size, sizeof(loop_statistics_t) == 80);
/* Programs that were built before keep these numbers in them. */
ASSERT_THAT(request_fields, offsetof(loop_request_t, user) == 0 && offsetof(loop_request_t, result) == 8 &&
                                offsetof(loop_request_t, timeout_ns) == 16 &&
                                offsetof(loop_request_t, flags) == 24 &&
                                offsetof(loop_request_t, reserved) == 32);
ASSERT_THAT(options_fields, offsetof(loop_options_t, threads) == 4 &&
                                offsetof(loop_options_t, blocking_threads) == 8 &&
                                offsetof(loop_options_t, backend) == 12 &&
                                offsetof(loop_options_t, flags) == 16);
ASSERT_THAT(strand_size, sizeof(loop_strand_t) == 64);
ASSERT_THAT(backends, LOOP_BACKEND_AUTO == 0 && LOOP_BACKEND_EPOLL == 1 && LOOP_BACKEND_IO_URING == 2 &&
                          LOOP_BACKEND_KQUEUE == 3 && LOOP_BACKEND_IOCP == 4);
ASSERT_THAT(request_flags, LOOP_MORE == 1u && LOOP_BUFFER == 2u);
ASSERT_THAT(option_flags, LOOP_THREAD_BOUND == 1u && LOOP_THREADS_PER_CPU == 0xFFFFFFFFu);
ASSERT_THAT(event_numbers,
            LOOP_READABLE == 1u && LOOP_WRITABLE == 2u && LOOP_HANGUP == 4u && LOOP_ERROR == 8u);
ASSERT_THAT(operation_flags, LOOP_MULTISHOT == 0x01000000u && LOOP_SEND_ALL == 0x00800000u);
ASSERT_THAT(no_offset, LOOP_NO_OFFSET == UINT64_MAX);
ASSERT_THAT(name_errors, LOOP_EAI_ADDRFAMILY == -3000 && LOOP_EAI_SOCKTYPE == -3009);

ASSERT_THAT(iovec_size, sizeof(loop_iovec_t) == sizeof(struct iovec));
ASSERT_THAT(iovec_base, offsetof(loop_iovec_t, base) == offsetof(struct iovec, iov_base));
ASSERT_THAT(iovec_len, offsetof(loop_iovec_t, len) == offsetof(struct iovec, iov_len));
ASSERT_THAT(event_bits,
            (LOOP_READABLE | LOOP_WRITABLE | LOOP_HANGUP | LOOP_ERROR | LOOP_EDGE_TRIGGERED) == 31u);

/* Each number is that of the errno of the system: `name` alone is what errno.h makes of it. */
#define ASSERT_ERRNO(name, number, message) \
    ASSERT_THAT(LOOP_##name, LOOP_##name == -(number) && (number) == (name));
LOOP_ERROR_MAP(ASSERT_ERRNO)
ASSERT_THAT(would_block, LOOP_EWOULDBLOCK == -EWOULDBLOCK);
ASSERT_THAT(not_supported, LOOP_ENOTSUP == -ENOTSUP);

static void expect(const char *actual, const char *expected) {
    if (actual == NULL || strcmp(actual, expected) != 0) {
        fprintf(stderr, "header_alone: %s instead of %s\n", actual == NULL ? "NULL" : actual, expected);
        exit(1);
    }
}

#define EXPECT_ERROR(name, number, message)           \
    expect(loop_error_name(number), "LOOP_" #name);   \
    expect(loop_error_name(-(number)), "LOOP_" #name); \
    expect(loop_error_message(number), message);      \
    expect(loop_error_message(-(number)), message);

int main(void) {
    char version[32];
    snprintf(version, sizeof(version), "%d.%d.%d", LOOP_VERSION_MAJOR, LOOP_VERSION_MINOR,
             LOOP_VERSION_PATCH);
    expect(LOOP_VERSION_STRING, version);
    expect(loop_version(), version);

    LOOP_ERROR_MAP(EXPECT_ERROR)
    expect(loop_error_name(0), "LOOP_OK");
    expect(loop_error_name(41), "LOOP_EUNKNOWN");
    expect(loop_error_name(INT_MAX), "LOOP_EUNKNOWN");
    expect(loop_error_name(INT_MIN), "LOOP_EUNKNOWN");
    return loop_error_message(INT_MIN) == NULL;
}
