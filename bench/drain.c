/*
 * The thread that reads what pipelined_writes writes; see drain.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "drain.h"

#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGES_A_READ = 4096 };

static struct message received[MESSAGES_A_READ];

/* Read until a whole number of messages is there, and return it. */
static size_t read_messages(int fd) {
    size_t length = 0;
    do {
        const ssize_t more = read(fd, (char *)received + length, sizeof received - length);
        CHECK(more > 0);
        length += (size_t)more;
    } while (length % sizeof *received != 0);
    return length / sizeof *received;
}

static void *read_all(void *argument) {
    struct drain *drain = argument;
    uint64_t left = drain->count;
    uint64_t sum = 0;
    pin_to_last_processor();
    while (left > 0) {
        const size_t count = read_messages(drain->read_fd);
        for (size_t i = 0; i < count; i++) {
            const uint64_t *words = received[i].words;
            CHECK(words[MESSAGE_WORDS - 1] == block_word(words[0], MESSAGE_WORDS - 1));
            sum += words[0];
        }
        CHECK(count <= left);
        left -= count;
    }
    drain->end_ns = now_ns();
    CHECK(sum == drain->count * (drain->count - 1) / 2);
    return NULL;
}

void drain_init(struct drain *drain, uint64_t count) {
    int sockets[2];
    drain->count = count;
    drain->messages = malloc(count * sizeof *drain->messages);
    CHECK(drain->messages != NULL);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t *words = drain->messages[i].words;
        words[0] = i;
        for (uint64_t word = 1; word < MESSAGE_WORDS; word++) words[word] = block_word(i, word);
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    drain->fd = sockets[0];
    drain->read_fd = sockets[1];
    pin_to_first_processor();
}

void drain_begin(struct drain *drain) {
    drain->begin_ns = now_ns();
    CHECK(pthread_create(&drain->thread, NULL, read_all, drain) == 0);
}

void drain_end(struct drain *drain) { CHECK(pthread_join(drain->thread, NULL) == 0); }

void drain_report(const char *name, struct drain *drain) {
    report(name, (double)drain->count * 1e9 / (double)(drain->end_ns - drain->begin_ns));
    close(drain->fd);
    close(drain->read_fd);
    free(drain->messages);
}
