/*
 * Conformance under misuse: whatever is wrong with a call gets the error code that loop.h names, and harms
 * nothing. (Options of loop_init: see conform_lifecycle.c. Descriptors: also conform_readiness.c.)
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <arpa/inet.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* ---- every function -------------------------------------------------------------------------- */

typedef struct call {
    const char *function;
    int64_t     answer;
} call_t;

enum { CALLS = 64 };
typedef struct calls {
    call_t   calls[CALLS];
    unsigned count;
} calls_t;

#define CALL(function, ...)                                                                  \
    do {                                                                                     \
        CHECK(calls->count < CALLS);                                                         \
        calls->calls[calls->count++] = (call_t){#function, function(__VA_ARGS__)};           \
    } while (0)

static void do_nothing(loop_request_t *request)
{
    (void)request;
}

/* Submits the request in every way there is. Nothing but loop and request can be wrong with it. */
static void call_every_submit(calls_t *calls, loop_t *loop, loop_request_t *request)
{
    static char               byte;
    static const loop_iovec_t vector = {&byte, 1};
    CALL(loop_on_next_tick, loop, request, loop_ignore);
    CALL(loop_wait_until_fd_readable, loop, request, -1, loop_ignore);
    CALL(loop_wait_until_fd_writable, loop, request, -1, loop_ignore);
    CALL(loop_wait_until_fd_writable_or_readable, loop, request, -1, loop_ignore);
    CALL(loop_add_fd, loop, request, -1, LOOP_READABLE, loop_ignore);
    CALL(loop_open, loop, request, "/", O_RDONLY, 0, loop_ignore);
    CALL(loop_openat, loop, request, AT_FDCWD, "/", O_RDONLY, 0, loop_ignore);
    CALL(loop_close, loop, request, -1, loop_ignore);
    CALL(loop_read, loop, request, -1, &byte, 1, loop_ignore);
    CALL(loop_readv, loop, request, -1, &vector, 1, loop_ignore);
    CALL(loop_pread, loop, request, -1, &byte, 1, 0, loop_ignore);
    CALL(loop_preadv, loop, request, -1, &vector, 1, 0, loop_ignore);
    CALL(loop_write, loop, request, -1, &byte, 1, loop_ignore);
    CALL(loop_writev, loop, request, -1, &vector, 1, loop_ignore);
    CALL(loop_pwrite, loop, request, -1, &byte, 1, 0, loop_ignore);
    CALL(loop_pwritev, loop, request, -1, &vector, 1, 0, loop_ignore);
    CALL(loop_faccessat, loop, request, AT_FDCWD, "/", F_OK, 0, loop_ignore);
    CALL(loop_timer_start, loop, request, 0, 0, loop_ignore);
    CALL(loop_queue_work, loop, request, do_nothing, loop_ignore);
}

/* Speaks of the request in every way there is. */
static void call_every_control(calls_t *calls, loop_t *loop, loop_request_t *request)
{
    CALL(loop_cancel, loop, request);
    CALL(loop_cancel_on_next_tick, loop, request);
    CALL(loop_mod_fd, loop, request, LOOP_READABLE);
    CALL(loop_remove_fd, loop, request);
}

static void call_every_run(calls_t *calls, loop_t *loop)
{
    loop_request_t *done;
    CALL(loop_run, loop);
    CALL(loop_run_once, loop, 0);
    CALL(loop_wait, loop, &done, 1, 0);
    CALL(loop_deinit, loop);
}

static void call_the_rest(calls_t *calls, loop_t *loop)
{
    loop_statistics_t statistics = {.size = sizeof statistics};
    CALL(loop_stop, loop);
    CALL(loop_ref, loop);
    CALL(loop_unref, loop);
    CALL(loop_pending, loop);
    CALL(loop_backend_fd, loop);
    CALL(loop_backend_timeout, loop);
    CALL(loop_get_statistics, loop, &statistics);
}

static void assert_all(const calls_t *calls, int64_t expected)
{
    for (unsigned i = 0; i < calls->count; i++) {
        if (calls->calls[i].answer != expected) {
            print_error("%s: ", calls->calls[i].function);
            assert_result(calls->calls[i].answer, expected);
        }
    }
    assert_true(calls->count > 0);
}

/* ---- loops ----------------------------------------------------------------------------------- */

TEST(a_null_loop_is_refused_by_every_function)
{
    calls_t        calls = {0};
    loop_request_t request = {0};
    call_every_submit(&calls, NULL, &request);
    call_every_control(&calls, NULL, &request);
    call_every_run(&calls, NULL);
    call_the_rest(&calls, NULL);
    assert_all(&calls, LOOP_EINVAL);
    assert_int_equal(calls.count, 34);
    assert_result(loop_init(NULL, NULL), LOOP_EINVAL);
    assert_result(loop_init_single_threaded(NULL), LOOP_EINVAL);
    assert_result(loop_init_multi_threaded(NULL), LOOP_EINVAL);
    assert_result(loop_init_thread_pool(NULL, 1), LOOP_EINVAL);
    assert_null(loop_backend_name(NULL));
}

TEST(a_deinitialised_loop_is_refused_by_every_function)
{
    for (unsigned with_use = 0; with_use < 2; with_use++) {
        calls_t        calls = {0};
        loop_request_t request = {0};
        loop_t        *loop = new_loop();
        if (with_use) {
            run_for(loop, MILLISECOND);
        }
        end_loop(loop);
        call_every_submit(&calls, loop, &request);
        call_every_control(&calls, loop, &request);
        call_every_run(&calls, loop);
        call_the_rest(&calls, loop);
        assert_all(&calls, LOOP_ESHUTDOWN);
        assert_null(loop_backend_name(loop));
        assert_true(loop_now(loop) > 0);
    }
}

/* ---- requests -------------------------------------------------------------------------------- */

static void assert_request_refused(loop_t *loop, loop_request_t *request, int64_t expected)
{
    calls_t calls = {0};
    int64_t pending = loop_pending(loop);
    call_every_submit(&calls, loop, request);
    assert_all(&calls, expected);
    assert_int_equal(calls.count, 19);
    assert_result(loop_pending(loop), pending);
}

LOOP_TEST(a_null_request_is_refused)
{
    calls_t calls = {0};
    assert_request_refused(loop, NULL, LOOP_EINVAL);
    call_every_control(&calls, loop, NULL);
    assert_all(&calls, LOOP_EINVAL);
}

LOOP_TEST(a_misaligned_request_is_refused)
{
    static _Alignas(loop_request_t) char memory[sizeof(loop_request_t) + 16];
    for (size_t shift = 1; shift < _Alignof(loop_request_t); shift++) {
        calls_t         calls = {0};
        loop_request_t *request = (loop_request_t *)(uintptr_t)(memory + shift);
        assert_request_refused(loop, request, LOOP_EINVAL);
        call_every_control(&calls, loop, request);
        assert_all(&calls, LOOP_EINVAL);
    }
    for (size_t i = 0; i < sizeof memory; i++) {
        assert_int_equal(memory[i], 0);
    }
}

LOOP_TEST(a_request_of_random_bytes_is_refused)
{
    uint64_t chance = 4711;
    for (unsigned round = 0; round < 1000; round++) {
        calls_t        calls = {0};
        loop_request_t request, copy;
        unsigned char *bytes = (unsigned char *)&request;
        for (size_t i = 0; i < sizeof request; i++) {
            bytes[i] = (unsigned char)(1 + random_below(&chance, 255));
        }
        copy = request;
        assert_request_refused(loop, &request, LOOP_EINVAL);
        call_every_control(&calls, loop, &request);
        assert_all(&calls, LOOP_EINVAL);
        assert_memory_equal(&request, &copy, sizeof request);
    }
    run(loop);
}

LOOP_TEST(a_request_in_flight_is_busy_for_its_loop_and_for_others)
{
    loop_t     *other = new_loop();
    int         ends[2];
    char        byte = 0;
    operation_t read_one = {0};
    make_pipe(ends);
    for (unsigned round = 0; round < 3; round++) {
        assert_result(loop_read(loop, begin(&read_one), ends[0], &byte, 1, record), 0);
        run_for(loop, round * MILLISECOND);
        assert_request_refused(loop, &read_one.request, LOOP_EBUSY);
        assert_request_refused(other, &read_one.request, LOOP_EBUSY);
        put(ends[1], "x", 1);
        assert_result(await(loop, &read_one), 1); /* its flight was not harmed */
        assert_int_equal(byte, 'x');
    }
    end_loop(other);
    close_both(ends);
}

LOOP_TEST(a_request_that_is_not_in_flight_is_not_found)
{
    calls_t        calls = {0};
    loop_request_t request = {0};
    call_every_control(&calls, loop, &request);
    assert_result(loop_on_next_tick(loop, &request, loop_ignore), 0);
    run(loop);
    call_every_control(&calls, loop, &request);
    assert_all(&calls, LOOP_ENOENT);
}

/* ---- arguments ------------------------------------------------------------------------------- */

LOOP_TEST(arguments_that_a_function_names_are_refused)
{
    loop_request_t  request = {0};
    loop_request_t *done;
    assert_result(loop_wait(loop, NULL, 1, 0), LOOP_EINVAL);
    assert_result(loop_wait(loop, &done, 0, 0), LOOP_EINVAL);
    assert_result(loop_wait(loop, NULL, 0, -1), LOOP_EINVAL);
    assert_result(loop_wait(loop, &done, UINT32_MAX, -1), 0);
    assert_result(loop_get_statistics(loop, NULL), LOOP_EINVAL);
    assert_result(loop_queue_work(loop, &request, NULL, loop_ignore), LOOP_EINVAL);
    assert_result(loop_unref(loop), LOOP_EINVAL);
    assert_result(loop_pending(loop), 0);
    assert_result(loop_on_next_tick(loop, &request, loop_ignore), 0); /* the request is as good as before */
    run(loop);
}

/* A page that cannot be read or written, behind one that can. */
static char *page_before_nothing(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char  *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(mprotect(memory + page, page, PROT_NONE) == 0);
    return memory;
}

static void assert_buffer_faults(loop_t *loop, void *buffer, int file, const int ends[2], bool for_writing)
{
    loop_iovec_t vector[] = {{buffer, 2}};
    assert_result(RESULT_OF(loop, loop_read, file, buffer, 2), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_pread, file, buffer, 2, 0), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_readv, file, vector, 1), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_preadv, file, vector, 1, 0), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_read, ends[0], buffer, 2), LOOP_EFAULT);
    assert_result(RESULT_OF(loop, loop_readv, ends[0], vector, 1), LOOP_EFAULT);
    if (for_writing) {
        assert_result(RESULT_OF(loop, loop_write, file, buffer, 2), LOOP_EFAULT);
        assert_result(RESULT_OF(loop, loop_pwrite, file, buffer, 2, 0), LOOP_EFAULT);
        assert_result(RESULT_OF(loop, loop_writev, file, vector, 1), LOOP_EFAULT);
        assert_result(RESULT_OF(loop, loop_pwritev, file, vector, 1, 0), LOOP_EFAULT);
        assert_result(RESULT_OF(loop, loop_write, ends[1], buffer, 2), LOOP_EFAULT);
        assert_result(RESULT_OF(loop, loop_writev, ends[1], vector, 1), LOOP_EFAULT);
    }
}

LOOP_TEST(a_buffer_that_is_not_there_is_the_result)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char  *memory = page_before_nothing();
    int    file = temporary_file("0123456789", 10);
    int    ends[2];
    make_pipe(ends);
    put(ends[1], "kept", 4);
    assert_buffer_faults(loop, NULL, file, ends, true);
    assert_buffer_faults(loop, memory + page, file, ends, true);
    assert_buffer_faults(loop, (void *)(UINTPTR_MAX - 100), file, ends, true);
    assert_int_equal(mprotect(memory, page, PROT_READ), 0);
    assert_buffer_faults(loop, memory, file, ends, false);
    assert_int_equal(lseek(file, 0, SEEK_CUR), 0);
    assert_int_equal(drain(ends[0]), 4); /* nothing was lost */
    close(file);
    close_both(ends);
    munmap(memory, 2 * page);
}

LOOP_TEST(a_buffer_that_is_partly_there_is_used_as_far_as_it_is)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char  *memory = page_before_nothing(), *last_bytes = memory + page - 4;
    int    by_loop = temporary_file("0123456789", 10), by_system = temporary_file("0123456789", 10);
    assert_result(RESULT_OF(loop, loop_pread, by_loop, last_bytes, 8, 0), pread(by_system, last_bytes, 8, 0));
    assert_memory_equal(last_bytes, "0123", 4);
    assert_result(RESULT_OF(loop, loop_read, by_loop, last_bytes, 8), read(by_system, last_bytes, 8));
    assert_result(RESULT_OF(loop, loop_pwrite, by_loop, last_bytes, 8, 2),
                  pwrite(by_system, last_bytes, 8, 2));
    if (strcmp(loop_backend_name(loop), "io_uring") != 0) { /* docs/limits.md: it leaves the position alone */
        assert_int_equal(lseek(by_loop, 0, SEEK_CUR), lseek(by_system, 0, SEEK_CUR));
    }
    close(by_loop);
    close(by_system);
    munmap(memory, 2 * page);
}

LOOP_TEST(no_buffer_is_needed_for_no_bytes)
{
    int file = temporary_file("0123456789", 10);
    assert_result(RESULT_OF(loop, loop_read, file, NULL, 0), 0);
    assert_result(RESULT_OF(loop, loop_write, file, NULL, 0), 0);
    assert_result(RESULT_OF(loop, loop_pread, file, NULL, 0, 5), 0);
    assert_result(RESULT_OF(loop, loop_pwrite, file, NULL, 0, 5), 0);
    assert_result(RESULT_OF(loop, loop_readv, file, NULL, 0), 0);
    assert_result(RESULT_OF(loop, loop_writev, file, NULL, 0), 0);
    assert_result(RESULT_OF(loop, loop_preadv, file, NULL, 0, 5), 0);
    assert_result(RESULT_OF(loop, loop_pwritev, file, NULL, 0, 5), 0);
    close(file);
}

LOOP_TEST(a_vector_that_is_not_there_is_the_result)
{
    size_t              page = (size_t)sysconf(_SC_PAGESIZE);
    char               *memory = page_before_nothing();
    const loop_iovec_t *absent[] = {NULL, (const loop_iovec_t *)(void *)(memory + page)};
    int                 file = temporary_file("0123456789", 10);
    for (size_t i = 0; i < COUNT(absent); i++) {
        assert_result(RESULT_OF(loop, loop_readv, file, absent[i], 1), LOOP_EFAULT);
        assert_result(RESULT_OF(loop, loop_writev, file, absent[i], 1), LOOP_EFAULT);
        assert_result(RESULT_OF(loop, loop_preadv, file, absent[i], 1, 0), LOOP_EFAULT);
        assert_result(RESULT_OF(loop, loop_pwritev, file, absent[i], 1, 0), LOOP_EFAULT);
        assert_result(RESULT_OF(loop, loop_readv, file, absent[i], 1025), LOOP_EINVAL);
        assert_result(RESULT_OF(loop, loop_pwritev, file, absent[i], UINT32_MAX, 0), LOOP_EINVAL);
    }
    close(file);
    munmap(memory, 2 * page);
}

LOOP_TEST(a_path_that_is_not_there_is_the_result)
{
    size_t      page = (size_t)sysconf(_SC_PAGESIZE);
    char       *memory = page_before_nothing();
    const char *absent[] = {NULL, memory + page, memory + page - 1};
    memory[page - 1] = '/'; /* the last one has no end */
    for (size_t i = 0; i < COUNT(absent); i++) {
        assert_result(RESULT_OF(loop, loop_open, absent[i], O_RDONLY, 0), LOOP_EFAULT);
        assert_result(RESULT_OF(loop, loop_openat, AT_FDCWD, absent[i], O_RDONLY, 0), LOOP_EFAULT);
        assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, absent[i], F_OK, 0), LOOP_EFAULT);
    }
    munmap(memory, 2 * page);
}

LOOP_TEST(a_length_above_ssize_max_is_the_result)
{
    static const size_t absurd[] = {(size_t)SSIZE_MAX + 1, SIZE_MAX - 1, SIZE_MAX};
    int                 file = temporary_file("0123456789", 10);
    char                bytes[16];
    for (size_t i = 0; i < COUNT(absurd); i++) {
        loop_iovec_t vector[] = {{bytes, 1}, {bytes, absurd[i]}};
        assert_result(RESULT_OF(loop, loop_read, file, bytes, absurd[i]), LOOP_EINVAL);
        assert_result(RESULT_OF(loop, loop_write, file, bytes, absurd[i]), LOOP_EINVAL);
        assert_result(RESULT_OF(loop, loop_pread, file, bytes, absurd[i], 0), LOOP_EINVAL);
        assert_result(RESULT_OF(loop, loop_pwrite, file, bytes, absurd[i], 0), LOOP_EINVAL);
        assert_result(RESULT_OF(loop, loop_readv, file, vector, 2), LOOP_EINVAL);
        assert_result(RESULT_OF(loop, loop_pwritev, file, vector, 2, 0), LOOP_EINVAL);
    }
    close(file);
}

LOOP_TEST(a_length_beyond_32_bits_is_cut_not_wrapped)
{
    static const size_t lengths[] = {(size_t)INT32_MAX, (size_t)INT32_MAX + 1, UINT32_MAX,
                                     (size_t)UINT32_MAX + 1, (size_t)UINT32_MAX + 6};
    const size_t        room = (size_t)5 << 30;
    char               *memory = mmap(NULL, room, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int                 file = temporary_file("0123456789", 10);
    int                 ends[2];
    assert_true(memory != MAP_FAILED);
    make_pipe(ends);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        loop_iovec_t vector[] = {{memory, 5}, {memory + 5, lengths[i]}};
        assert_result(RESULT_OF(loop, loop_pread, file, memory, lengths[i], 0), 10);
        assert_result(RESULT_OF(loop, loop_preadv, file, vector, 2, 0), 10);
        assert_memory_equal(memory, "0123456789", 10);
        put(ends[1], "pipe", 4);
        assert_result(RESULT_OF(loop, loop_read, ends[0], memory, lengths[i]), 4);
        assert_memory_equal(memory, "pipe", 4);
    }
    close(file);
    close_both(ends);
    munmap(memory, room);
}

LOOP_TEST(an_offset_beyond_int64_max_is_the_result)
{
    static const uint64_t absurd[] = {(uint64_t)INT64_MAX + 1, UINT64_MAX - 1, UINT64_MAX};
    int                   file = temporary_file("0123456789", 10);
    char                  bytes[4] = "abcd";
    loop_iovec_t          vector = {bytes, 4};
    for (size_t i = 0; i < COUNT(absurd); i++) {
        assert_result(RESULT_OF(loop, loop_pread, file, bytes, 4, absurd[i]), LOOP_EINVAL);
        assert_result(RESULT_OF(loop, loop_pwrite, file, bytes, 4, absurd[i]), LOOP_EINVAL);
        assert_result(RESULT_OF(loop, loop_preadv, file, &vector, 1, absurd[i]), LOOP_EINVAL);
        assert_result(RESULT_OF(loop, loop_pwritev, file, &vector, 1, absurd[i]), LOOP_EINVAL);
    }
    assert_int_equal(lseek(file, 0, SEEK_CUR), 0);
    assert_int_equal(lseek(file, 0, SEEK_END), 10);
    int64_t by_loop = RESULT_OF(loop, loop_pwrite, file, bytes, 4, INT64_MAX);
    ssize_t by_system = pwrite(file, bytes, 4, INT64_MAX);
    assert_result(by_loop, by_system < 0 ? -errno : by_system);
    close(file);
}

/* ---- descriptors of the wrong kind ----------------------------------------------------------- */

static int listening_socket(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0);
    return fd;
}

/* The transfers of one byte that the system call refuses at once must get the same answer from the loop. */
static void compare_with_system(loop_t *loop, int fd)
{
    char byte = 'x';
    set_nonblocking(fd, true);
    ssize_t moved = read(fd, &byte, 1);
    if (moved < 0 && errno != EAGAIN) {
        assert_result(RESULT_OF(loop, loop_read, fd, &byte, 1), -errno);
    }
    moved = write(fd, &byte, 1);
    if (moved < 0 && errno != EAGAIN) {
        assert_result(RESULT_OF(loop, loop_write, fd, &byte, 1), -errno);
    }
    moved = pread(fd, &byte, 1, 0);
    if (moved < 0 && errno != EAGAIN) {
        assert_result(RESULT_OF(loop, loop_pread, fd, &byte, 1, 0), -errno);
    }
    moved = pwrite(fd, &byte, 1, 0);
    if (moved < 0 && errno != EAGAIN) {
        assert_result(RESULT_OF(loop, loop_pwrite, fd, &byte, 1, 0), -errno);
    }
}

LOOP_TEST(transfers_on_descriptors_of_the_wrong_kind_fail_as_the_system_calls_do)
{
    int fds[] = {
        open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), epoll_create1(EPOLL_CLOEXEC),
        listening_socket(),                            socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
        socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
        eventfd(0, EFD_CLOEXEC),                       timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC),
        open("/dev/null", O_RDONLY | O_CLOEXEC),       open("/dev/null", O_WRONLY | O_CLOEXEC),
        open("/proc/self/status", O_RDONLY | O_CLOEXEC),
    };
    for (size_t i = 0; i < COUNT(fds); i++) {
        assert_true(fds[i] >= 0);
        compare_with_system(loop, fds[i]);
        close(fds[i]);
    }
}

/* ---- running twice --------------------------------------------------------------------------- */

static calls_t calls_in_callback;

static void call_every_run_in_callback(loop_t *loop, loop_request_t *request, int64_t result)
{
    call_every_run(&calls_in_callback, loop);
    record(loop, request, result);
}

LOOP_TEST(a_loop_cannot_be_run_or_ended_in_its_callbacks)
{
    loop_request_t *done;
    operation_t     tick = {0}, timer = {0}, access_root = {0};
    memset(&calls_in_callback, 0, sizeof calls_in_callback);
    assert_result(loop_on_next_tick(loop, begin(&tick), call_every_run_in_callback), 0);
    run(loop);
    assert_result(loop_timer_start(loop, begin(&timer), 0, 0, call_every_run_in_callback), 0);
    assert_result(await(loop, &timer), 0);
    loop_request_t *request = begin(&access_root);
    assert_result(loop_faccessat(loop, request, AT_FDCWD, "/", F_OK, 0, call_every_run_in_callback), 0);
    assert_result(loop_wait(loop, &done, 1, -1), 0);
    assert_int_equal(completions_of(&access_root), 1);
    assert_int_equal(calls_in_callback.count, 12);
    assert_all(&calls_in_callback, LOOP_EBUSY);
}

TEST(a_loop_cannot_be_run_or_ended_in_the_callbacks_of_its_end)
{
    operation_t timer = {0};
    loop_t     *loop = new_loop();
    memset(&calls_in_callback, 0, sizeof calls_in_callback);
    assert_result(loop_timer_start(loop, begin(&timer), HOUR, 0, call_every_run_in_callback), 0);
    end_loop(loop);
    assert_int_equal(completions_of(&timer), 1);
    for (unsigned i = 0; i < calls_in_callback.count; i++) {
        int64_t answer = calls_in_callback.calls[i].answer;
        assert_true(answer == LOOP_EBUSY || answer == LOOP_ESHUTDOWN);
    }
}

static void call_every_run_in_work(loop_request_t *request)
{
    call_every_run(&calls_in_callback, request->user);
}

LOOP_TEST(a_loop_cannot_be_run_or_ended_by_its_work)
{
    operation_t work = {.request.user = loop};
    memset(&calls_in_callback, 0, sizeof calls_in_callback);
    assert_result(loop_queue_work(loop, begin(&work), call_every_run_in_work, record), 0);
    run(loop);
    assert_result(work.result, 0);
    assert_all(&calls_in_callback, LOOP_EBUSY);
}

static void *run_until_stopped(void *argument)
{
    CHECK(loop_run(argument) == 0);
    return NULL;
}

LOOP_TEST(a_loop_that_runs_cannot_be_run_or_ended_by_another_thread)
{
    operation_t timer = {0}, tick = {0};
    assert_result(loop_timer_start(loop, begin(&timer), HOUR, 0, record), 0);
    assert_result(loop_on_next_tick(loop, begin(&tick), record), 0);
    pthread_t thread = start_thread(run_until_stopped, loop);
    while (completions_of(&tick) == 0) {
        sleep_for(MILLISECOND / 10);
    }
    for (unsigned i = 0; i < 100; i++) {
        calls_t calls = {0};
        call_every_run(&calls, loop);
        assert_all(&calls, LOOP_EBUSY);
    }
    assert_result(loop_stop(loop), 0);
    join_thread(thread);
    assert_int_equal(completions_of(&timer), 0);
    assert_result(loop_cancel(loop, &timer.request), 0);
    run(loop);
}

/* ---- forked children ------------------------------------------------------------------------- */

/* What every function says in a forked child; the number of those that do not say LOOP_ENOTSUP. */
static int count_wrong_answers(loop_t *loop, loop_request_t *in_flight)
{
    static calls_t calls;
    loop_request_t request = {0};
    loop_t        *made = loop;
    loop_options_t options = test_options();
    int            wrong = 0;
    call_every_submit(&calls, loop, &request);
    call_every_control(&calls, loop, in_flight);
    call_every_run(&calls, loop);
    call_the_rest(&calls, loop);
    for (unsigned i = 0; i < calls.count; i++) {
        wrong += calls.calls[i].answer != LOOP_ENOTSUP;
    }
    wrong += loop_init(&made, &options) != LOOP_ENOTSUP || made != NULL;
    wrong += loop_init_single_threaded(&made) != LOOP_ENOTSUP;
    wrong += loop_init_multi_threaded(&made) != LOOP_ENOTSUP;
    wrong += loop_init_thread_pool(&made, 2) != LOOP_ENOTSUP;
    wrong += loop_default() != NULL;
    wrong += strcmp(loop_version(), LOOP_VERSION_STRING) != 0;
    wrong += strcmp(loop_error_name(LOOP_ENOTSUP), "LOOP_EOPNOTSUPP") != 0;
    wrong += loop_error_message(LOOP_ENOENT) == NULL;
    wrong += loop_now(loop) == 0 || loop_now(NULL) == 0;
    loop_backend_name(loop);
    loop_ignore(loop, &request, 0);
    return wrong;
}

/* Forks a child that calls every function and exits, and wants all its answers right, without a hang. */
static void fork_and_check(loop_t *loop, loop_request_t *in_flight)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(20);
        _exit(count_wrong_answers(loop, in_flight));
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0) {
        print_error("%d wrong answers in the forked child\n", WEXITSTATUS(status));
    }
    CHECK(WEXITSTATUS(status) == 0);
}

static void fork_in_callback(loop_t *loop, loop_request_t *request, int64_t result)
{
    fork_and_check(loop, request->user);
    record(loop, request, result);
}

LOOP_TEST(every_function_refuses_in_a_forked_child_at_once)
{
    operation_t timer = {0}, tick = {.request.user = &timer.request};
    fork_and_check(loop, &timer.request);
    assert_result(loop_timer_start(loop, begin(&timer), HOUR, 0, record), 0);
    fork_and_check(loop, &timer.request);
    run_for(loop, MILLISECOND);
    fork_and_check(loop, &timer.request);
    assert_result(loop_on_next_tick(loop, begin(&tick), fork_in_callback), 0);
    assert_result(await(loop, &tick), 0);
    assert_int_equal(completions_of(&timer), 0); /* the children changed nothing here */
    assert_result(loop_cancel(loop, &timer.request), 0);
    run(loop);
    assert_result(timer.result, LOOP_ECANCELED);
}

LOOP_TEST(a_child_forked_while_another_thread_runs_the_loop_is_refused_too)
{
    operation_t timer = {0};
    assert_result(loop_timer_start(loop, begin(&timer), 0, MILLISECOND / 10, record), 0);
    pthread_t thread = start_thread(run_until_stopped, loop);
    for (unsigned i = 0; i < 50; i++) {
        fork_and_check(loop, &timer.request);
    }
    assert_result(loop_cancel(loop, &timer.request), 0);
    join_thread(thread);
    assert_result(timer.result, LOOP_ECANCELED);
}

LOOP_TEST(a_forked_child_may_execute_another_program)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exit 42", (char *)NULL);
        _exit(1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    run_for(loop, MILLISECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_null_loop_is_refused_by_every_function),
        GUARDED(a_deinitialised_loop_is_refused_by_every_function),
        GUARDED(a_null_request_is_refused),
        GUARDED(a_misaligned_request_is_refused),
        GUARDED(a_request_of_random_bytes_is_refused),
        GUARDED(a_request_in_flight_is_busy_for_its_loop_and_for_others),
        GUARDED(a_request_that_is_not_in_flight_is_not_found),
        GUARDED(arguments_that_a_function_names_are_refused),
        GUARDED(a_buffer_that_is_not_there_is_the_result),
        GUARDED(a_buffer_that_is_partly_there_is_used_as_far_as_it_is),
        GUARDED(no_buffer_is_needed_for_no_bytes),
        GUARDED(a_vector_that_is_not_there_is_the_result),
        GUARDED(a_path_that_is_not_there_is_the_result),
        GUARDED(a_length_above_ssize_max_is_the_result),
        GUARDED(a_length_beyond_32_bits_is_cut_not_wrapped),
        GUARDED(an_offset_beyond_int64_max_is_the_result),
        GUARDED(transfers_on_descriptors_of_the_wrong_kind_fail_as_the_system_calls_do),
        GUARDED(a_loop_cannot_be_run_or_ended_in_its_callbacks),
        GUARDED(a_loop_cannot_be_run_or_ended_in_the_callbacks_of_its_end),
        GUARDED(a_loop_cannot_be_run_or_ended_by_its_work),
        GUARDED(a_loop_that_runs_cannot_be_run_or_ended_by_another_thread),
        GUARDED(every_function_refuses_in_a_forked_child_at_once),
        GUARDED(a_child_forked_while_another_thread_runs_the_loop_is_refused_too),
        GUARDED(a_forked_child_may_execute_another_program),
    };
    return RUN_SUITE(tests);
}
