/*
 * copy_file: copies a file with several blocks in flight at once.
 *
 *     copy_file SOURCE TARGET     TARGET is made or overwritten
 *     copy_file                   tests itself: copies a temporary file and compares
 *
 * Shown: reads and writes that are in flight together have no order, so each says where in the file it
 * belongs (loop_pread, loop_pwrite). Any of them may move less than it was asked for, and then goes on with
 * the rest. The end of the file is where a read delivers 0, not where the size once said it would be.
 */
#define _XOPEN_SOURCE 700

#include <loop.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK_BYTES = 256 * 1024, DEPTH = 8, SELF_TEST_BYTES = 20 * 1000 * 1000 + 1 };

typedef struct copy {
    const char *source_path, *target_path;
    int         source_fd, target_fd;
    uint64_t    next_offset; /* where the next block begins */
    uint64_t    bytes_written;
    bool        failed;
} copy_t;

/* One block on its way: first it is filled from the source, then emptied into the target. */
typedef struct block {
    loop_request_t request;
    copy_t        *copy;
    uint64_t       offset;
    size_t         filled, written;
    char           data[BLOCK_BYTES];
} block_t;

static void on_read(loop_t *loop, loop_request_t *request, int64_t result);
static void on_written(loop_t *loop, loop_request_t *request, int64_t result);

/* Says what is wrong with a path; `error` is an errno or a LOOP_E*, which are the same numbers negated. */
static bool complain(const char *path, int64_t error) {
    fprintf(stderr, "copy_file: %s: %s\n", path, loop_error_message((int)error));
    return false;
}

/* Ends the copy if there is an error: then no block begins anything new, and loop_run returns soon. */
static void note(copy_t *copy, const char *path, int64_t error) {
    if (error < 0 && !copy->failed) copy->failed = !complain(path, error);
}

static void read_more(loop_t *loop, block_t *block) {
    copy_t *copy = block->copy;
    if (copy->failed) return;
    note(copy, "the loop",
         loop_pread(loop, &block->request, copy->source_fd, block->data + block->filled,
                    BLOCK_BYTES - block->filled, block->offset + block->filled, on_read));
}

static void write_more(loop_t *loop, block_t *block) {
    copy_t *copy = block->copy;
    if (copy->failed) return;
    note(copy, "the loop",
         loop_pwrite(loop, &block->request, copy->target_fd, block->data + block->written,
                     block->filled - block->written, block->offset + block->written, on_written));
}

static void begin_next_block(loop_t *loop, block_t *block) {
    block->offset = block->copy->next_offset;
    block->copy->next_offset += BLOCK_BYTES;
    block->filled = 0;
    block->written = 0;
    read_more(loop, block);
}

static void on_read(loop_t *loop, loop_request_t *request, int64_t result) {
    block_t *block = request->user;
    if (result < 0) {
        note(block->copy, block->copy->source_path, result);
        return;
    }
    block->filled += (size_t)result;
    if (result > 0 && block->filled < BLOCK_BYTES)
        read_more(loop, block);
    else if (block->filled > 0)
        write_more(loop, block);
    /* Otherwise the block lies behind the end of the file: it has nothing to do any more. */
}

static void on_written(loop_t *loop, loop_request_t *request, int64_t result) {
    block_t *block = request->user;
    if (result <= 0) { /* 0 would be repeated for ever */
        note(block->copy, block->copy->target_path, result < 0 ? result : LOOP_EIO);
        return;
    }
    block->written += (size_t)result;
    block->copy->bytes_written += (uint64_t)result;
    if (block->written < block->filled)
        write_more(loop, block);
    else if (block->filled == BLOCK_BYTES)
        begin_next_block(loop, block);
}

/* Copies all bytes; false when anything went wrong, which has been said then. */
static bool copy_bytes(copy_t *copy) {
    loop_t  *loop;
    block_t *blocks = calloc(DEPTH, sizeof *blocks);
    int      error = blocks == NULL ? LOOP_ENOMEM : loop_init(&loop, NULL);
    note(copy, "the loop", error);
    if (error == 0) {
        for (int i = 0; i < DEPTH; i++) {
            blocks[i].copy = copy;
            blocks[i].request.user = &blocks[i];
            begin_next_block(loop, &blocks[i]);
        }
        note(copy, "the loop", loop_run(loop));
        note(copy, "the loop", loop_deinit(loop));
    }
    free(blocks);
    return !copy->failed;
}

/* Copies, and looks whether the target has the size that it must have. */
static bool copy_contents(copy_t *copy) {
    struct stat status;
    uint64_t    begin_ns = loop_now(NULL);
    if (!copy_bytes(copy)) return false;
    double seconds = (double)(loop_now(NULL) - begin_ns) / 1e9;

    /* What an older, longer target had behind its new end goes away. */
    if (ftruncate(copy->target_fd, (off_t)copy->bytes_written) < 0 || fstat(copy->target_fd, &status) < 0)
        return complain(copy->target_path, errno);
    if ((uint64_t)status.st_size != copy->bytes_written) return complain(copy->target_path, EIO);
    printf("%llu bytes in %.3f s, %.0f MB/s\n", (unsigned long long)copy->bytes_written, seconds,
           (double)copy->bytes_written / 1e6 / seconds);
    return true;
}

/* Opens the target, unless it is the source: that would be destroyed. Returns a descriptor or -1. */
static int open_target(const char *path, int source_fd) {
    struct stat source, target;
    if (fstat(source_fd, &source) < 0) return -1;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, source.st_mode & 0777);
    if (fd < 0 || fstat(fd, &target) < 0) return -1;
    if (source.st_dev == target.st_dev && source.st_ino == target.st_ino) {
        close(fd);
        errno = EEXIST;
        return -1;
    }
    return fd;
}

static bool copy_file(const char *source_path, const char *target_path) {
    copy_t copy = {.source_path = source_path, .target_path = target_path};
    copy.source_fd = open(source_path, O_RDONLY | O_CLOEXEC);
    if (copy.source_fd < 0) return complain(source_path, errno);
    copy.target_fd = open_target(target_path, copy.source_fd);
    if (copy.target_fd < 0) {
        complain(target_path, errno);
        close(copy.source_fd);
        return false;
    }
    bool good = copy_contents(&copy);
    close(copy.source_fd);
    /* Some file systems report only here that a write failed. */
    if (close(copy.target_fd) < 0) good = complain(target_path, errno);
    return good;
}

/* Whether two streams have the same bytes. */
static bool same_contents(FILE *left, FILE *right) {
    int left_byte, right_byte;
    do {
        left_byte = getc(left);
        right_byte = getc(right);
    } while (left_byte == right_byte && left_byte != EOF);
    return left_byte == right_byte && !ferror(left) && !ferror(right);
}

/* Copies a file of which no two blocks are alike, so that a block in a wrong place would be seen. */
static bool test_itself(void) {
    FILE    *source = tmpfile(), *target = tmpfile();
    uint32_t random = 1;
    if (source == NULL || target == NULL) return complain("a temporary file", errno);
    for (int i = 0; i < SELF_TEST_BYTES; i++) {
        random = random * 1664525 + 1013904223;
        putc((int)(random >> 24), source);
    }
    copy_t copy = {.source_path = "the temporary source", .target_path = "the temporary target"};
    copy.source_fd = fileno(source);
    copy.target_fd = fileno(target);
    bool good = fflush(source) == 0 && copy_contents(&copy);
    rewind(source);
    rewind(target);
    good = good && same_contents(source, target);
    puts(good ? "source and target are the same" : "source and target differ");
    fclose(source);
    fclose(target);
    return good;
}

int main(int argc, char **argv) {
    if (argc == 1) return test_itself() ? 0 : 1;
    if (argc != 3) {
        fputs("usage: copy_file [SOURCE TARGET]\n", stderr);
        return 2;
    }
    return copy_file(argv[1], argv[2]) ? 0 : 1;
}
