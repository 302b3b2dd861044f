/*
 * The load for the echo servers, in plain epoll: CONNECTIONS connections, each with one message of
 * MESSAGE_SIZE bytes under way, which is checked byte by byte when it is back.
 *
 * echo_rate          round trips per second
 * echo_cpu_ns        processor time of the server for a round trip, user and system
 * echo_cpu_user_ns   the user part of it (the kernel samples the proportion, so it is less exact)
 *
 * Usage: echo_load WINDOW_MS PORT SERVER_PID
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
    int fd;
    uint64_t sequence;
    unsigned char message[MESSAGE_SIZE];
};

/* Processor time that the server has used so far. */
struct usage {
    double total_ns;
    double user_ticks;
    double system_ticks;
};

static struct client clients[CONNECTIONS];

static struct usage usage_of(pid_t pid) {
    char path[64];
    char text[1024];
    clockid_t clock;
    struct timespec used;
    struct usage usage;
    CHECK(clock_getcpuclockid(pid, &clock) == 0);
    CHECK(clock_gettime(clock, &used) == 0);
    usage.total_ns = (double)used.tv_sec * 1e9 + (double)used.tv_nsec;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    const size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    /* The name of the program is in parentheses and may hold anything; field 3 comes after it. */
    const char *fields = strrchr(text, ')');
    CHECK(fields != NULL);
    CHECK(sscanf(fields, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lf %lf", &usage.user_ticks,
                 &usage.system_ticks) == 2);
    return usage;
}

static void send_message(struct client *client) {
    client->sequence++;
    memset(client->message, (int)(client->sequence & 0xff), sizeof client->message);
    memcpy(client->message, &client->sequence, sizeof client->sequence);
    memcpy(client->message + sizeof client->sequence, &client->fd, sizeof client->fd);
    CHECK(send(client->fd, client->message, MESSAGE_SIZE, MSG_NOSIGNAL) == MESSAGE_SIZE);
}

static void receive_message(const struct client *client) {
    unsigned char answer[MESSAGE_SIZE];
    CHECK(recv(client->fd, answer, sizeof answer, 0) == MESSAGE_SIZE);
    CHECK(memcmp(answer, client->message, MESSAGE_SIZE) == 0);
}

static void connect_client(struct client *client, uint16_t port, int epoll_fd) {
    const int on = 1;
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(client->fd >= 0);
    CHECK(connect(client->fd, (const struct sockaddr *)&address, sizeof address) == 0);
    CHECK(setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->fd, &event) == 0);
}

/* Keep the server busy for the window, and note its processor time when the window begins and ends. */
static void run(struct measurement *m, int epoll_fd, pid_t server, struct usage marks[ENDED + 1]) {
    struct epoll_event events[CONNECTIONS];
    int under_way = CONNECTIONS;
    for (int i = 0; i < CONNECTIONS; i++) send_message(&clients[i]);
    while (under_way > 0) {
        const int ready = epoll_wait(epoll_fd, events, CONNECTIONS, -1);
        CHECK(ready > 0);
        for (int i = 0; i < ready; i++) {
            const enum phase before = m->phase;
            receive_message(events[i].data.ptr);
            const bool goes_on = measurement_continues(m);
            if (m->phase != before) marks[m->phase] = usage_of(server);
            if (goes_on) {
                send_message(events[i].data.ptr);
            } else {
                under_way--;
            }
        }
    }
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    const uint16_t port = (uint16_t)number_argument(argc, argv, 2, 65535);
    const pid_t server = (pid_t)number_argument(argc, argv, 3, INT32_MAX);
    struct measurement m;
    struct usage marks[ENDED + 1];
    const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(epoll_fd >= 0);
    for (int i = 0; i < CONNECTIONS; i++) connect_client(&clients[i], port, epoll_fd);
    measurement_begin(&m, window_ms);
    run(&m, epoll_fd, server, marks);
    for (int i = 0; i < CONNECTIONS; i++) close(clients[i].fd);

    const double cpu_ns = (marks[ENDED].total_ns - marks[MEASURING].total_ns) / (double)m.counted;
    const double user = marks[ENDED].user_ticks - marks[MEASURING].user_ticks;
    const double system = marks[ENDED].system_ticks - marks[MEASURING].system_ticks;
    report_rate("echo_rate", &m);
    report("echo_cpu_ns", cpu_ns);
    CHECK(user + system > 0);
    report("echo_cpu_user_ns", cpu_ns * user / (user + system));
    return 0;
}
