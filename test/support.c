/*
 * The leak guard, recording operations and descriptors of the conformance suites; see support.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <dirent.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

/* A test that takes longer than this hangs: SIGALRM ends the process. */
#define TEST_LIMIT_SECONDS 120

/* What a loop made is gone when loop_deinit returns, but the kernel may list a thread a moment longer. */
#define GUARD_PATIENCE (2 * SECOND)

/* The Go runtime starts threads as it needs them and keeps them. A loop may not add to them each time. */
#define MOST_OTHER_THREADS (16 + 2 * (unsigned)sysconf(_SC_NPROCESSORS_ONLN))

static inventory_t  before_test;
static bool         finished;
static atomic_uint  completions_in_test;
static atomic_uint  stack_epoch;
static atomic_size_t widest_stack;
static char         temporary_directory[64];

void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, condition);
    abort();
}

void compare_results(const char *expression, int64_t actual, int64_t expected, const char *file, int line)
{
    if (actual == expected) {
        return;
    }
    print_error("%s is %lld (%s), expected %lld (%s)\n", expression, (long long)actual,
                actual < 0 ? loop_error_name((int)actual) : "a value", (long long)expected,
                expected < 0 ? loop_error_name((int)expected) : "a value");
    _fail(file, line);
}

/* ---- the leak guard -------------------------------------------------------------------------- */

static bool is_loop_thread(const char *task)
{
    char path[300];
    char name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", task);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    char *line = fgets(name, sizeof name, file);
    fclose(file);
    return line != NULL &&
           (strcmp(name, "loop\n") == 0 || strcmp(name, "loop-blocking\n") == 0 ||
            strcmp(name, "loop-poll\n") == 0);
}

/* The C library looks at the number of processors when a thread allocates for the first time, and a thread of
 * the Go runtime may do so at any time: such a descriptor comes and goes. */
static bool is_passing(int directory, const char *number)
{
    static const char processors[] = "/sys/devices/system/cpu/online";
    char              target[sizeof processors] = "";
    return readlinkat(directory, number, target, sizeof target) < 0 ||
           strncmp(target, processors, sizeof target) == 0;
}

inventory_t take_inventory(void)
{
    inventory_t inventory = {0};
    DIR        *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        inventory.descriptors += entry->d_name[0] != '.' && !is_passing(dirfd(directory), entry->d_name);
    }
    closedir(directory);
    inventory.descriptors--; /* that of the directory */

    directory = opendir("/proc/self/task");
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (is_loop_thread(entry->d_name)) {
            inventory.loop_threads++;
        } else {
            inventory.other_threads++;
        }
    }
    closedir(directory);
    return inventory;
}

static void list_descriptors(void)
{
    for (int fd = 0; fd < 1024; fd++) {
        char    path[64];
        char    target[256];
        ssize_t length;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        length = readlink(path, target, sizeof target);
        if (length > 0) {
            print_error("    descriptor %d: %.*s\n", fd, (int)length, target);
        }
    }
}

int begin_test(void **state)
{
    (void)state;
    finished = false;
    atomic_store(&completions_in_test, 0);
    atomic_store(&widest_stack, 0);
    atomic_fetch_add(&stack_epoch, 1);
    before_test = take_inventory();
    alarm(TEST_LIMIT_SECONDS);
    return 0;
}

void test_finished(void)
{
    finished = true;
}

/* The heap scavenger of the Go runtime opens an epoll instance and an eventfd when it first sleeps, which is
 * after some garbage collections. They stay; more than these two, or a second time, is a leak. */
static bool is_first_sleep_of_go_scavenger(inventory_t now)
{
    static bool slept;
    if (slept || now.descriptors != before_test.descriptors + 2) {
        return false;
    }
    slept = true;
    return true;
}

int end_test(void **state)
{
    (void)state;
    if (!finished) {
        return 0;
    }
    inventory_t now = take_inventory();
    uint64_t    deadline = loop_now(NULL) + GUARD_PATIENCE;
    while (loop_now(NULL) < deadline && (now.descriptors != before_test.descriptors ||
                                         now.loop_threads != before_test.loop_threads)) {
        sleep_for(MILLISECOND);
        now = take_inventory();
    }
    if (now.loop_threads == before_test.loop_threads && now.other_threads <= MOST_OTHER_THREADS &&
        (now.descriptors == before_test.descriptors || is_first_sleep_of_go_scavenger(now))) {
        return 0;
    }
    print_error("leak: descriptors %u -> %u, threads of loops %u -> %u, other threads %u -> %u\n",
                before_test.descriptors, now.descriptors, before_test.loop_threads, now.loop_threads,
                before_test.other_threads, now.other_threads);
    list_descriptors();
    return -1;
}

/* The first loop of a process starts threads of the Go runtime and opens what that keeps open. */
static void warm_up(void)
{
    loop_t        *loop;
    loop_options_t options = {.size = sizeof options, .threads = 4};
    operation_t    operation = {0};
    assert_result(loop_init(&loop, &options), 0);
    assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, "/", F_OK, 0), 0);
    assert_result(loop_timer_start(loop, begin(&operation), MILLISECOND, 0, record), 0);
    assert_result(await(loop, &operation), 0);
    assert_result(loop_deinit(loop), 0);
}

int begin_suite(void **state)
{
    (void)state;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN); /* docs/limits.md: the business of the program */
    alarm(TEST_LIMIT_SECONDS);
    warm_up();
    for (uint64_t deadline = loop_now(NULL) + GUARD_PATIENCE; take_inventory().loop_threads != 0;) {
        assert_true(loop_now(NULL) < deadline);
    }
    return 0;
}

/* ---- loops ----------------------------------------------------------------------------------- */

uint32_t test_threads(void)
{
    const char *text = getenv("LOOP_TEST_THREADS");
    char       *end = NULL;
    if (text == NULL) {
        return 1;
    }
    unsigned long threads = strtoul(text, &end, 10);
    CHECK(*text != '\0' && *end == '\0' && threads >= 1 && threads <= LOOP_THREADS_MAX);
    return (uint32_t)threads;
}

static uint32_t test_backend(void)
{
    const char *name = getenv("LOOP_TEST_BACKEND");
    if (name == NULL) {
        return LOOP_BACKEND_AUTO;
    }
    if (strcmp(name, "io_uring") == 0) {
        return LOOP_BACKEND_IO_URING;
    }
    CHECK(strcmp(name, "epoll") == 0);
    return LOOP_BACKEND_EPOLL;
}

loop_options_t test_options(void)
{
    loop_options_t options = {.size = sizeof options, .threads = test_threads(), .backend = test_backend()};
    return options;
}

loop_t *new_loop_with(loop_options_t options)
{
    loop_t *loop = NULL;
    assert_result(loop_init(&loop, &options), 0);
    assert_non_null(loop);
    return loop;
}

loop_t *new_loop(void)
{
    return new_loop_with(test_options());
}

void end_loop(loop_t *loop)
{
    assert_result(loop_deinit(loop), 0);
}

void run(loop_t *loop)
{
    assert_result(loop_run(loop), 0);
    assert_result(loop_pending(loop), 0);
}

static void count_turn(loop_t *loop, loop_request_t *request, int64_t result)
{
    (void)loop;
    CHECK(result == LOOP_READABLE);
    atomic_fetch_add((atomic_uint *)request->user, 1);
}

/* Runs the loop until each of its threads has begun with what was submitted before, however late the system
 * lets it run. What waits for a descriptor is the business of the thread of its number, and goes behind what
 * that thread got before. Where the test has left no descriptors it does not. */
static void begin_everywhere(loop_t *loop)
{
    enum { THREADS_MOST = 16, NUMBERS = 800 };
    static loop_request_t turns[THREADS_MOST];
    uint32_t              threads = test_threads(), asked = 0;
    atomic_uint           taken = 0;
    int                   ready = eventfd(1, EFD_CLOEXEC), numbers[THREADS_MOST];
    for (; asked < threads; asked++) {
        numbers[asked] = fcntl(ready, F_DUPFD_CLOEXEC, NUMBERS + asked);
        if (numbers[asked] < 0) {
            break;
        }
        turns[asked].user = &taken;
        assert_result(loop_wait_until_fd_readable(loop, &turns[asked], numbers[asked], count_turn), 0);
    }
    run_until(loop, &taken, asked);
    while (asked > 0) {
        close(numbers[--asked]);
    }
    if (ready >= 0) {
        close(ready);
    }
}

void run_for(loop_t *loop, uint64_t duration_ns)
{
    operation_t timer = {0};
    assert_result(loop_timer_start(loop, begin(&timer), duration_ns, 0, record), 0);
    assert_result(await(loop, &timer), 0);
    if (test_threads() > 1) {
        begin_everywhere(loop);
    }
}

/* ---- operations ------------------------------------------------------------------------------ */

void record(loop_t *loop, loop_request_t *request, int64_t result)
{
    operation_t *operation = operation_of(request);
    (void)loop;
    CHECK(request->result == result);
    operation->result = result;
    operation->flags = request->flags;
    operation->thread = pthread_self();
    operation->order = 1 + atomic_fetch_add(&completions_in_test, 1);
    atomic_fetch_add(&operation->completions, 1);
}

loop_request_t *begin(operation_t *operation)
{
    atomic_store(&operation->completions, 0);
    operation->order = 0;
    operation->flags = 0;
    operation->result = INT64_MIN;
    return &operation->request;
}

int64_t await(loop_t *loop, operation_t *operation)
{
    while (completions_of(operation) == 0) {
        assert_true(loop_pending(loop) > 0);
        assert_true(loop_run_once(loop, -1) >= 0);
    }
    assert_int_equal(completions_of(operation), 1);
    return operation->result;
}

void run_until(loop_t *loop, const atomic_uint *counter, unsigned number)
{
    while (atomic_load(counter) < number) {
        assert_true(loop_pending(loop) > 0);
        assert_true(loop_run_once(loop, -1) >= 0);
    }
}

operation_t *scratch_operation(void)
{
    static operation_t operation;
    return &operation;
}

void note_stack_depth(void)
{
    static _Thread_local unsigned  epoch;
    static _Thread_local uintptr_t lowest, highest;
    uintptr_t                      here = (uintptr_t)__builtin_frame_address(0);
    if (epoch != atomic_load(&stack_epoch)) {
        epoch = atomic_load(&stack_epoch);
        lowest = highest = here;
    }
    lowest = here < lowest ? here : lowest;
    highest = here > highest ? here : highest;
    for (size_t widest = atomic_load(&widest_stack); highest - lowest > widest;) {
        if (atomic_compare_exchange_weak(&widest_stack, &widest, highest - lowest)) {
            break;
        }
    }
}

size_t stack_spread(void)
{
    return atomic_load(&widest_stack);
}

/* ---- threads, time, chance ------------------------------------------------------------------- */

pthread_t start_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, body, argument) == 0);
    return thread;
}

void join_thread(pthread_t thread)
{
    CHECK(pthread_join(thread, NULL) == 0);
}

void sleep_for(uint64_t duration_ns)
{
    struct timespec left = {(time_t)(duration_ns / SECOND), (long)(duration_ns % SECOND)};
    while (nanosleep(&left, &left) != 0) {
        CHECK(errno == EINTR);
    }
}

uint32_t random_below(uint64_t *state, uint32_t limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)((*state >> 32) % limit);
}

int run_again(const char *argument)
{
    char  program[] = "/proc/self/exe";
    char *arguments[] = {program, strdup(argument), NULL};
    pid_t child;
    int   status;
    assert_int_equal(posix_spawn(&child, program, NULL, NULL, arguments, environ), 0);
    free(arguments[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

void make_pipe(int ends[2])
{
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
}

void make_socketpair(int ends[2])
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
}

void make_tcp_pair(int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t          length = sizeof address;
    int                listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, length) == 0);
    CHECK(listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(ends[0] >= 0 && connect(ends[0], (struct sockaddr *)&address, length) == 0);
    ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(ends[1] >= 0);
    close(listener);
}

void close_both(const int ends[2])
{
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
}

void put(int fd, const void *bytes, size_t length)
{
    const char *next = bytes;
    while (length > 0) {
        ssize_t written = write(fd, next, length);
        CHECK(written > 0);
        next += written;
        length -= (size_t)written;
    }
}

void set_nonblocking(int fd, bool nonblocking)
{
    int flags = fcntl(fd, F_GETFL);
    CHECK(flags >= 0);
    CHECK(fcntl(fd, F_SETFL, nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) == 0);
}

/* Writes (or reads) until it would block. */
static size_t transfer_all(int fd, bool writing)
{
    static char buffer[65536];
    size_t      total = 0;
    size_t      length = sizeof buffer;
    int         flags = fcntl(fd, F_GETFL);
    set_nonblocking(fd, true);
    while (length > 0) {
        ssize_t moved = writing ? write(fd, buffer, length) : read(fd, buffer, length);
        if (moved <= 0) {
            CHECK(moved == 0 || errno == EAGAIN);
            length = writing ? length / 2 : 0; /* the last bytes of room may be few */
            continue;
        }
        total += (size_t)moved;
    }
    CHECK(fcntl(fd, F_SETFL, flags) == 0);
    return total;
}

size_t fill(int fd)
{
    return transfer_all(fd, true);
}

size_t drain(int fd)
{
    return transfer_all(fd, false);
}

bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

int closed_descriptor(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && close(fd) == 0);
    return fd;
}

int temporary_file(const void *contents, size_t length)
{
    const char *path = temporary_path("nameless");
    int         fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && unlink(path) == 0);
    put(fd, contents, length);
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void remove_temporary_directory(void)
{
    DIR *directory = opendir(temporary_directory);
    if (directory == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (unlinkat(dirfd(directory), entry->d_name, 0) != 0) {
            unlinkat(dirfd(directory), entry->d_name, AT_REMOVEDIR);
        }
    }
    closedir(directory);
    rmdir(temporary_directory);
}

const char *temporary_path(const char *name)
{
    static char     paths[8][256];
    static unsigned next;
    if (temporary_directory[0] == '\0') {
        strcpy(temporary_directory, "/tmp/libloop-test-XXXXXX");
        CHECK(mkdtemp(temporary_directory) != NULL);
        atexit(remove_temporary_directory);
    }
    char *path = paths[next++ % COUNT(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", temporary_directory, name);
    return path;
}
