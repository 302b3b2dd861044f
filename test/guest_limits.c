/*
 * A host that has run into a limit: of descriptors, of the size of files, of disk space, of address space, of
 * threads. What lacks something answers with an error, nothing hangs, and all works again once the limit is
 * gone. Where the Go runtime itself lacks memory, or wants a thread of its own, it ends the process with a
 * message and SIGABRT (docs/limits.md). Each case is a process of its own.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534, NOT_TESTED = 77, FILE_LIMIT = 4096 };

static void set_limit(__rlimit_resource_t resource, rlim_t limit) {
    struct rlimit both;
    CHECK(getrlimit(resource, &both) == 0);
    both.rlim_cur = limit;
    CHECK(setrlimit(resource, &both) == 0);
}

static void note(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    *(int64_t *)request->user = result;
}

/* Runs a request whose submit returned `accepted`, and returns its result. */
static int64_t run(loop_t *loop, int accepted, const int64_t *result) {
    CHECK_OK(accepted);
    CHECK_OK(loop_run(loop));
    return *result;
}

static int try_init(loop_t **loop, uint32_t backend, uint32_t threads) {
    loop_options_t options = {.size = sizeof(options), .backend = backend, .threads = threads};
    int            error = loop_init(loop, &options);
    CHECK((error == 0) == (*loop != NULL));
    return error;
}

static bool has_backend(uint32_t backend) {
    loop_t *loop;
    int     error = try_init(&loop, backend, 1);
    CHECK(error == 0 || (error == LOOP_ENOTSUP && backend == LOOP_BACKEND_IO_URING));
    return error == 0 && loop_deinit(loop) == 0;
}

/* ---- descriptors ---------------------------------------------------------------------------- */

/* With ever more descriptors the loop can be made at last. */
static void make_with_few_descriptors(uint32_t backend, uint32_t threads) {
    rlim_t  first = (rlim_t)guest_next_descriptor(), limit = first;
    loop_t *loop;
    int     error;
    do {
        set_limit(RLIMIT_NOFILE, limit++);
        error = try_init(&loop, backend, threads);
        CHECK(error == 0 || error == LOOP_EMFILE);
        set_limit(RLIMIT_NOFILE, 1024);
        CHECK(error == 0 || (rlim_t)guest_next_descriptor() == first);
    } while (error != 0);
    CHECK(limit - first > 1);
    CHECK_OK(loop_deinit(loop));
}

static void use_without_descriptors(uint32_t backend) {
    int64_t            result = 1;
    loop_request_t     request = {.user = &result};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t          length = sizeof(address);
    loop_t            *loop;
    CHECK_OK(try_init(&loop, backend, 1));
    int listener = loop_socket(loop, AF_INET, SOCK_STREAM, 0);
    int client = loop_socket(loop, AF_INET, SOCK_STREAM, 0);
    CHECK_OK(listener);
    CHECK(listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    const struct sockaddr *to = (const struct sockaddr *)&address;
    CHECK(run(loop, loop_connect(loop, &request, client, to, length, note), &result) == 0);

    rlim_t full = (rlim_t)guest_next_descriptor();
    set_limit(RLIMIT_NOFILE, full);
    CHECK(loop_socket(loop, AF_INET, SOCK_STREAM, 0) == LOOP_EMFILE);
    CHECK(run(loop, loop_open(loop, &request, "/dev/null", O_RDONLY, 0, note), &result) == LOOP_EMFILE);
    CHECK(run(loop, loop_accept(loop, &request, listener, NULL, NULL, 0, note), &result) == LOOP_EMFILE);
    CHECK(run(loop, loop_timer_start(loop, &request, 1, 0, note), &result) == 0);
    CHECK(run(loop, loop_send(loop, &request, client, "waits", 5, 0, note), &result) == 5);

    set_limit(RLIMIT_NOFILE, full + 1);
    int64_t accepted = run(loop, loop_accept(loop, &request, listener, NULL, NULL, 0, note), &result);
    CHECK_OK(accepted); /* the connection has waited */
    CHECK(close((int)accepted) == 0 && close(listener) == 0 && close(client) == 0);
    CHECK_OK(loop_deinit(loop));
}

static void lack_descriptors(uint32_t backend) {
    make_with_few_descriptors(backend, 1);
    make_with_few_descriptors(backend, 3);
    use_without_descriptors(backend);
}

/* ---- files and disks ------------------------------------------------------------------------ */

static int64_t write_at(loop_t *loop, int fd, size_t length, uint64_t offset) {
    static char    bytes[64 * 1024];
    int64_t        result = 1;
    loop_request_t request = {.user = &result};
    return run(loop, loop_pwrite(loop, &request, fd, bytes, length, offset, note), &result);
}

static int64_t write_on(loop_t *loop, int fd, size_t length) {
    static char    bytes[64 * 1024];
    int64_t        result = 1;
    loop_request_t request = {.user = &result};
    return run(loop, loop_write(loop, &request, fd, bytes, length, note), &result);
}

static void lack_file_size(uint32_t backend) {
    loop_t *loop;
    int     fd = memfd_create("limited", MFD_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    set_limit(RLIMIT_FSIZE, FILE_LIMIT);
    CHECK_OK(try_init(&loop, backend, 1));
    CHECK(write_at(loop, fd, 100, 0) == 100);
    CHECK(write_at(loop, fd, 200, FILE_LIMIT - 50) == 50);
    CHECK(write_at(loop, fd, 1, FILE_LIMIT) == LOOP_EFBIG);
    CHECK(write_on(loop, fd, 2 * FILE_LIMIT) == FILE_LIMIT);
    CHECK(write_on(loop, fd, 1) == LOOP_EFBIG);
    set_limit(RLIMIT_FSIZE, RLIM_INFINITY);
    CHECK(write_on(loop, fd, 1) == 1);
    CHECK(close(fd) == 0);
    CHECK_OK(loop_deinit(loop));
}

/* A host that leaves SIGXFSZ alone is ended by it, as it would be by its own write. */
static void lack_file_size_by_default(uint32_t backend) {
    loop_t *loop;
    int     fd = memfd_create("limited", MFD_CLOEXEC);
    CHECK(fd >= 0);
    set_limit(RLIMIT_FSIZE, FILE_LIMIT);
    set_limit(RLIMIT_CORE, 0);
    CHECK_OK(try_init(&loop, backend, 1));
    CHECK(write_at(loop, fd, 1, FILE_LIMIT) == LOOP_EFBIG);
    CHECK_OK(loop_deinit(loop));
}

static void fill_device(loop_t *loop) {
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(write_on(loop, fd, 1) == LOOP_ENOSPC);
    CHECK(write_at(loop, fd, 1, 0) == LOOP_ENOSPC);
    CHECK(close(fd) == 0);
}

/* A disk of our own, if we may have one: it gets full, and is emptied again. */
static void fill_disk(loop_t *loop) {
    char directory[] = "/tmp/guest_limits.XXXXXX";
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        puts("NOT TESTED: a full disk, for want of a mount name space");
        return;
    }
    CHECK(mkdtemp(directory) != NULL);
    CHECK(mount("tmpfs", directory, "tmpfs", 0, "size=256k") == 0);
    CHECK(chdir(directory) == 0);
    int fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    int64_t written, total = 0;
    while ((written = write_on(loop, fd, 60000)) > 0) {
        total += written;
    }
    CHECK(written == LOOP_ENOSPC && total == 256 * 1024);
    CHECK(ftruncate(fd, 0) == 0);
    CHECK(write_at(loop, fd, 60000, 0) == 60000);
    CHECK(close(fd) == 0 && chdir("/") == 0);
    CHECK(umount(directory) == 0 && rmdir(directory) == 0);
}

static void lack_space(uint32_t backend) {
    loop_t *loop;
    CHECK_OK(try_init(&loop, backend, 1));
    fill_device(loop);
    fill_disk(loop);
    CHECK_OK(loop_deinit(loop));
}

/* ---- memory and threads --------------------------------------------------------------------- */

static void work(loop_request_t *request) {
    (void)request;
    guest_sleep_ms(1);
}

/* Loops until there is no memory for another one, which the process may not survive; see above. */
static void lack_memory(uint32_t backend) {
    enum { MOST = 5000 };
    static loop_t *loops[MOST];
    const rlim_t   room = 100 << 20;
    unsigned long  pages;
    FILE          *sizes = fopen("/proc/self/statm", "re");
    CHECK(sizes != NULL && fscanf(sizes, "%lu", &pages) == 1 && fclose(sizes) == 0);
    set_limit(RLIMIT_CORE, 0);
    set_limit(RLIMIT_AS, pages * (rlim_t)sysconf(_SC_PAGESIZE) + room);
    set_limit(RLIMIT_NOFILE, 2000);
    int made = 0, error = 0;
    while (made < MOST && (error = try_init(&loops[made], backend, 1)) == 0) {
        made++;
    }
    CHECK(made == MOST || error == LOOP_ENOMEM || error == LOOP_EMFILE);
    for (int i = 0; i < made; i++) {
        int64_t        result = 1;
        loop_request_t tick = {.user = &result};
        CHECK(run(loops[i], loop_on_next_tick(loops[i], &tick, note), &result) == 0);
        CHECK_OK(loop_deinit(loops[i]));
    }
}

/* Becomes a user who may not start threads. */
static void give_up_threads(void) {
    if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0) {
        puts("NOT TESTED: a limit of threads, for want of another user");
        exit(NOT_TESTED);
    }
    set_limit(RLIMIT_NPROC, 0);
    set_limit(RLIMIT_CORE, 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, guest_run_loop, NULL) == EAGAIN);
}

/* One thread runs its loop without another one: ticks, timers, pipes, sockets, files. */
static void lack_threads(uint32_t backend) {
    int            ends[2];
    char           byte = 'x';
    int64_t        result = 1;
    loop_request_t request = {.user = &result};
    loop_t        *loop;
    give_up_threads();
    CHECK_OK(try_init(&loop, backend, 1));
    guest_connect(ends);
    CHECK(run(loop, loop_on_next_tick(loop, &request, note), &result) == 0);
    CHECK(run(loop, loop_timer_start(loop, &request, 1000000, 0, note), &result) == 0);
    CHECK(run(loop, loop_send(loop, &request, ends[0], &byte, 1, 0, note), &result) == 1);
    CHECK(run(loop, loop_recv(loop, &request, ends[1], &byte, 1, 0, note), &result) == 1);
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
    CHECK_OK(loop_deinit(loop));
}

/* Blocking work needs a thread that cannot be had. */
static void lack_threads_for_work(uint32_t backend) {
    int64_t        result = 1;
    loop_request_t request = {.user = &result};
    loop_t        *loop;
    give_up_threads();
    CHECK_OK(try_init(&loop, backend, 1));
    CHECK(run(loop, loop_queue_work(loop, &request, work, note), &result) == LOOP_ENOMEM);
    int access = loop_faccessat(loop, &request, AT_FDCWD, "/", F_OK, 0, note);
    CHECK(run(loop, access, &result) == LOOP_ENOMEM);
    CHECK(run(loop, loop_on_next_tick(loop, &request, note), &result) == 0);
    CHECK_OK(loop_deinit(loop));
}

static void lack_threads_for_callbacks(uint32_t backend) {
    int64_t        result = 1;
    loop_request_t request = {.user = &result};
    loop_t        *loop;
    give_up_threads();
    CHECK_OK(try_init(&loop, backend, 2));
    CHECK_OK(loop_on_next_tick(loop, &request, note));
    CHECK(loop_run(loop) == LOOP_ENOMEM && result == 1);
    CHECK_OK(loop_deinit(loop));
    CHECK(result == LOOP_ECANCELED);
}

/* ---- the cases ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    void (*body)(uint32_t backend);
    int signal; /* that may end the process instead; 0 = none */
} cases[] = {
    {"descriptors", lack_descriptors, 0},
    {"size of files", lack_file_size, 0},
    {"size of files, by default", lack_file_size_by_default, SIGXFSZ},
    {"space on disk", lack_space, 0},
    {"memory", lack_memory, SIGABRT},
    {"threads", lack_threads, SIGABRT},
    {"threads for work", lack_threads_for_work, SIGABRT},
    {"threads for callbacks", lack_threads_for_callbacks, SIGABRT},
};
enum { CASES = sizeof(cases) / sizeof(cases[0]) };

static int run_case(const char *name, uint32_t backend) {
    CHECK(has_backend(LOOP_BACKEND_EPOLL)); /* afterwards the runtime is done with its start */
    for (int i = 0; i < CASES; i++) {
        if (strcmp(cases[i].name, name) == 0) {
            cases[i].body(backend);
            return 0;
        }
    }
    return 1;
}

int main(int argc, char **argv) {
    const char *backends[] = {"epoll", "io_uring"};
    if (argc == 3) {
        return run_case(argv[1], argv[2][0] == 'e' ? LOOP_BACKEND_EPOLL : LOOP_BACKEND_IO_URING);
    }
    for (int b = 0; b < 2; b++) {
        if (!has_backend(b == 0 ? LOOP_BACKEND_EPOLL : LOOP_BACKEND_IO_URING)) {
            puts("NOT TESTED: io_uring cannot be had here");
            continue;
        }
        for (int i = 0; i < CASES; i++) {
            int status = guest_run_again(cases[i].name, backends[b]);
            if (WIFSIGNALED(status) && cases[i].signal != 0 && WTERMSIG(status) == cases[i].signal) {
                printf("%s, %s: %s\n", backends[b], cases[i].name, strsignal(WTERMSIG(status)));
                continue;
            }
            if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != NOT_TESTED)) {
                fprintf(stderr, "%s, %s: wait status %#x\n", backends[b], cases[i].name,
                        (unsigned)status);
                return 1;
            }
            printf("%s, %s: well\n", backends[b], cases[i].name);
        }
    }
    return 0;
}
