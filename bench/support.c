/*
 * The parts of the benchmark programs that know no event loop; see support.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void measurement_begin(struct measurement *m, uint64_t window_ms) {
    *m = (struct measurement){.phase = WARMING_UP, .length_ns = window_ms * 1000000u};
    m->next_ns = now_ns() + m->length_ns / 4;
}

bool measurement_look(struct measurement *m) {
    const uint64_t now = now_ns();
    if (now < m->next_ns || m->phase == ENDED) return m->phase != ENDED;
    if (m->phase == WARMING_UP) {
        m->phase = MEASURING;
        m->first_ns = now;
        m->first = m->operations;
        m->next_ns = now + m->length_ns;
        return true;
    }
    m->phase = ENDED;
    m->counted = m->operations - m->first;
    m->length_ns = now - m->first_ns;
    return false;
}

void report(const char *name, double value) {
    printf("%s %.4f\n", name, value);
    fflush(stdout);
}

void report_rate(const char *name, const struct measurement *m) {
    CHECK(m->phase == ENDED && m->counted > 0);
    report(name, (double)m->counted * 1e9 / (double)m->length_ns);
}

void report_each(const char *name, const struct measurement *m) {
    CHECK(m->phase == ENDED && m->counted > 0);
    report(name, (double)m->length_ns / (double)m->counted);
}

uint64_t number_argument(int argc, char **argv, int index, uint64_t max) {
    const unsigned long long number = index < argc ? strtoull(argv[index], NULL, 10) : 0;
    if (number == 0 || number > max) {
        fprintf(stderr, "%s: argument %d must be a number from 1 to %llu\n", argv[0], index,
                (unsigned long long)max);
        exit(2);
    }
    return number;
}

static void pin_to(bool last) {
    cpu_set_t allowed;
    cpu_set_t one;
    int chosen = -1;
    CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    for (int processor = 0; processor < CPU_SETSIZE; processor++) {
        if (CPU_ISSET((size_t)processor, &allowed) && (chosen < 0 || last)) chosen = processor;
    }
    CHECK(chosen >= 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)chosen, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
}

void pin_to_first_processor(void) { pin_to(false); }

void pin_to_last_processor(void) { pin_to(true); }

static void write_file(int fd) {
    uint64_t buffer[BLOCK_SIZE / sizeof(uint64_t)];
    for (uint64_t block = 0; block < FILE_BLOCKS; block++) {
        for (uint64_t i = 0; i < BLOCK_SIZE / sizeof(uint64_t); i++) buffer[i] = block_word(block, i);
        CHECK(pwrite(fd, buffer, BLOCK_SIZE, (off_t)(block * BLOCK_SIZE)) == BLOCK_SIZE);
    }
    CHECK(fsync(fd) == 0);
}

static void read_file(int fd) {
    uint64_t buffer[BLOCK_SIZE / sizeof(uint64_t)];
    for (uint64_t block = 0; block < FILE_BLOCKS; block++) {
        CHECK(pread(fd, buffer, BLOCK_SIZE, (off_t)(block * BLOCK_SIZE)) == BLOCK_SIZE);
        CHECK(block_is(buffer, block));
    }
}

int open_cached_file(const char *path) {
    struct stat status;
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(fstat(fd, &status) == 0);
    if (status.st_size != (off_t)FILE_BLOCKS * BLOCK_SIZE) write_file(fd);
    read_file(fd);
    return fd;
}

/* Read one of the fields in KiB of /proc/PID/status. */
static double status_kib(pid_t pid, const char *field) {
    char text[256];
    double kib = -1;
    snprintf(text, sizeof text, "/proc/%ld/status", (long)pid);
    FILE *status = fopen(text, "r");
    CHECK(status != NULL);
    while (kib < 0 && fgets(text, sizeof text, status) != NULL) {
        if (strncmp(text, field, strlen(field)) == 0) kib = strtod(text + strlen(field), NULL);
    }
    fclose(status);
    CHECK(kib >= 0);
    return kib;
}

double anonymous_kib_of(pid_t pid) { return status_kib(pid, "RssAnon:"); }

double anonymous_kib(void) { return anonymous_kib_of(getpid()); }

void report_memory(const char *name) {
    printf("%s_rss_kib %.0f\n", name, status_kib(getpid(), "VmRSS:"));
    printf("%s_anonymous_kib %.0f\n", name, anonymous_kib());
}

void raise_descriptor_limit(void) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

void set_no_delay(int fd) {
    const int on = 1;
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
}

int listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(bind(fd, (struct sockaddr *)&address, length) == 0);
    CHECK(listen(fd, SOMAXCONN) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int connect_to_loopback(uint16_t port) {
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(connect(fd, (const struct sockaddr *)&address, sizeof address) == 0);
    set_no_delay(fd);
    return fd;
}

int accept_connection(int listener_fd) {
    const int fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK(fd >= 0 || errno == EAGAIN);
    if (fd >= 0) set_no_delay(fd);
    return fd;
}
