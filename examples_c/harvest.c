/*
 * harvest: completions without callbacks.
 *
 * Shown: a request that is submitted with NULL for its callback waits, once complete, until loop_wait fetches
 * it. One call fetches many, which suits languages where a callback from C is costly, and programs that
 * would rather have their own plain loop: submit, fetch, look, submit again.
 *
 * The program writes numbers into a temporary file, reads them back in blocks with several reads in flight,
 * and adds them up; a timer takes part, to show that all kinds of requests arrive in the same way.
 */
#define _POSIX_C_SOURCE 200809L

#include <loop.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { NUMBERS_PER_BLOCK = 1024, BLOCKS = 256, DEPTH = 16 };

/* One of the reads in flight, with the memory that it reads into. */
typedef struct block {
    loop_request_t request;
    uint32_t       numbers[NUMBERS_PER_BLOCK];
} block_t;

static block_t blocks[DEPTH];

/* Returns a descriptor of a file that has no name any more and holds the numbers 0, 1, 2, ... */
static int file_of_numbers(void) {
    FILE *file = tmpfile();
    if (file == NULL) return -1;
    for (uint32_t number = 0; number < NUMBERS_PER_BLOCK * BLOCKS; number++)
        if (fwrite(&number, sizeof number, 1, file) != 1) return -1;
    if (fflush(file) != 0) return -1;
    int fd = dup(fileno(file));
    fclose(file);
    return fd;
}

static int read_block(loop_t *loop, block_t *block, int fd, uint64_t index) {
    uint64_t offset = index * sizeof block->numbers;
    return loop_pread(loop, &block->request, fd, block->numbers, sizeof block->numbers, offset, NULL);
}

/* Adds up the numbers of the file; false when a read failed. */
static bool add_up(loop_t *loop, int fd, loop_request_t *timer, uint64_t *sum_out, int *timer_shots_out) {
    uint64_t        next = 0;
    int             calls = 0, fetched = 0;
    loop_request_t *done[DEPTH + 1];

    for (; next < DEPTH; next++)
        if (read_block(loop, &blocks[next], fd, next) < 0) return false;

    /* 0 means here that nothing is pending any more: all has been fetched. */
    int count;
    while ((count = loop_wait(loop, done, DEPTH + 1, -1)) > 0) {
        calls++;
        fetched += count;
        for (int i = 0; i < count; i++) {
            if (done[i] == timer) {
                ++*timer_shots_out;
                continue;
            }
            block_t *block = done[i]->user;
            if (done[i]->result != (int64_t)sizeof block->numbers) return false;
            for (size_t n = 0; n < NUMBERS_PER_BLOCK; n++) *sum_out += block->numbers[n];
            if (next < BLOCKS && read_block(loop, block, fd, next++) < 0) return false;
        }
    }
    printf("%d completions in %d calls of loop_wait\n", fetched, calls);
    return count == 0 && fetched == BLOCKS + 1;
}

int main(void) {
    loop_t        *loop;
    loop_request_t timer = {0};
    uint64_t       sum = 0;
    int            timer_shots = 0;
    int            fd = file_of_numbers();
    if (fd < 0 || loop_init(&loop, NULL) < 0) return 1;

    for (size_t i = 0; i < DEPTH; i++) blocks[i].request.user = &blocks[i];
    bool good = loop_timer_start(loop, &timer, 1000000, 0, NULL) == 0;
    good = good && add_up(loop, fd, &timer, &sum, &timer_shots);
    good = loop_deinit(loop) == 0 && good;
    close(fd);

    uint64_t count = (uint64_t)NUMBERS_PER_BLOCK * BLOCKS;
    uint64_t expected = count * (count - 1) / 2;
    printf("the sum of %llu numbers is %llu, expected %llu; the timer fired %d time(s)\n",
           (unsigned long long)count, (unsigned long long)sum, (unsigned long long)expected, timer_shots);
    return good && sum == expected && timer_shots == 1 ? 0 : 1;
}
