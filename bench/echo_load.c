/*
 * The load for the echo servers, in plain epoll: CONNECTIONS connections, each with one message of SIZE bytes
 * under way, which is checked byte by byte when it is back.
 *
 * echo_rate          round trips per second
 * echo_cpu_ns        processor time of the server for a round trip, user and system, all its threads
 * echo_cpu_user_ns   the user part of it, by samples in a second window; left out where that is not allowed
 * echo_p50_us ...    from before the send until the last byte is here, as seen by this load, which has to get
 *                    round to it: with many connections that is the time for all of them
 *
 * Usage: echo_load WINDOW_MS PORT SERVER_PID CONNECTIONS SIZE
 * SPDX-License-Identifier: MIT
 */
#include "load.h"
#include "user_share.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 1024 };

struct client {
    int fd;
    size_t start;    /* where its message is in the pattern */
    size_t received; /* of the answer */
    uint64_t sent_ns;
};

static struct pattern pattern;
static struct client *clients;
static int connections;
static size_t message_size;
static uint64_t random_state = 362436069u;
static struct histogram latencies;

/* The processor time that a process has used so far, in ns. */
static double processor_time_ns(pid_t pid) {
    clockid_t clock;
    struct timespec used;
    CHECK(clock_getcpuclockid(pid, &clock) == 0);
    CHECK(clock_gettime(clock, &used) == 0);
    return (double)used.tv_sec * 1e9 + (double)used.tv_nsec;
}

static void send_message(struct client *client) {
    client->start = (size_t)(random_next(&random_state) % PATTERN_STARTS);
    client->received = 0;
    client->sent_ns = now_ns();
    /* The socket blocks until it has taken all; the server goes on reading. */
    const ssize_t sent = send(client->fd, pattern.bytes + client->start, message_size, MSG_NOSIGNAL);
    CHECK(sent == (ssize_t)message_size);
}

/* Take what is there of an answer. True when it is complete. */
static bool receive_message(struct client *client) {
    unsigned char piece[MESSAGE_MAX];
    const ssize_t length = recv(client->fd, piece, message_size - client->received, MSG_DONTWAIT);
    CHECK(length > 0);
    CHECK(memcmp(piece, pattern.bytes + client->start + client->received, (size_t)length) == 0);
    client->received += (size_t)length;
    return client->received == message_size;
}

/* Connect, and make one round trip, so that the server has accepted before the next one connects. */
static void connect_client(struct client *client, uint16_t port, int epoll_fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    client->fd = connect_to_loopback(port);
    send_message(client);
    CHECK(recv(client->fd, &(unsigned char){0}, 1, MSG_PEEK) == 1);
    while (!receive_message(client)) CHECK(recv(client->fd, &(unsigned char){0}, 1, MSG_PEEK) == 1);
    CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->fd, &event) == 0);
}

/* Keep the server busy for a window, and return its processor time for each round trip. */
static double run(struct measurement *m, int epoll_fd, pid_t server) {
    struct epoll_event events[EVENTS];
    double marks_ns[ENDED + 1] = {0};
    int under_way = connections;
    for (int i = 0; i < connections; i++) send_message(&clients[i]);
    while (under_way > 0) {
        const int ready = epoll_wait(epoll_fd, events, EVENTS, -1);
        CHECK(ready > 0);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            const enum phase before = m->phase;
            if (!receive_message(client)) continue;
            if (before == MEASURING) histogram_add(&latencies, now_ns() - client->sent_ns);
            const bool goes_on = measurement_continues(m);
            if (m->phase != before) marks_ns[m->phase] = processor_time_ns(server);
            if (goes_on) {
                send_message(client);
            } else {
                under_way--;
            }
        }
    }
    return (marks_ns[ENDED] - marks_ns[MEASURING]) / (double)m->counted;
}

/* The same again, while the server is sampled: it is slower then, but its user part is what it always is. */
static void run_sampled(int epoll_fd, pid_t server, uint64_t window_ms) {
    struct measurement m;
    struct user_share share;
    measurement_begin(&m, window_ms);
    user_share_begin(&share, server);
    const double cpu_ns = run(&m, epoll_fd, server);
    const double user = user_share_end(&share);
    if (user >= 0) report("echo_cpu_user_ns", cpu_ns * user);
}

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    const uint16_t port = (uint16_t)number_argument(argc, argv, 2, 65535);
    const pid_t server = (pid_t)number_argument(argc, argv, 3, INT32_MAX);
    struct measurement m;
    connections = (int)number_argument(argc, argv, 4, CONNECTIONS_MAX);
    message_size = (size_t)number_argument(argc, argv, 5, MESSAGE_MAX);
    const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(epoll_fd >= 0);
    raise_descriptor_limit();
    pattern_fill(&pattern);
    clients = calloc((size_t)connections, sizeof *clients);
    CHECK(clients != NULL);
    for (int i = 0; i < connections; i++) connect_client(&clients[i], port, epoll_fd);

    measurement_begin(&m, window_ms);
    report("echo_cpu_ns", run(&m, epoll_fd, server));
    report_rate("echo_rate", &m);
    histogram_report("echo", &latencies);
    run_sampled(epoll_fd, server, window_ms / 2 + 1);
    for (int i = 0; i < connections; i++) close(clients[i].fd);
    return 0;
}
