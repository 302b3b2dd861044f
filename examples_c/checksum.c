/*
 * checksum: the POSIX checksum of every file below a directory, as `cksum FILE` of coreutils prints it.
 *
 *     checksum [-j DEPTH] DIR
 *
 * Shown: a whole job on the loop. DEPTH readers, 64 unless told otherwise, each take the next file of a list,
 * open it, read it to its end, close it and take the next one; every step is submitted by the callback of the
 * step before. So DEPTH files are in flight at any time, in memory that is allocated once.
 *
 * The lines come in the byte order of the paths, whatever the order in which the files were finished:
 *
 *     checksum DIR | cmp - <(find DIR -type f -print0 | LC_ALL=C sort -z | xargs -0 cksum)
 *
 * Exit status: 0; 1 when something could not be read or written (the rest is still done); 2 for wrong use.
 */
#define _DEFAULT_SOURCE /* the d_type of directory entries */

#include <loop.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROGRESS_PERIOD_NS UINT64_C(100000000)

enum { DEPTH_DEFAULT = 64, DEPTH_MAX = 4096, BUFFER_BYTES = 64 * 1024 };

/* ---- the checksum ------------------------------------------------------------------------------ */

/* crc_table[k][i] is the CRC of byte i followed by k zero bytes, so that one step takes many bytes. */
static uint32_t crc_table[16][256];

static void crc_prepare(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte << 24;
        for (int bit = 0; bit < 8; bit++) crc = (crc << 1) ^ ((crc >> 31) != 0 ? UINT32_C(0x04C11DB7) : 0);
        crc_table[0][byte] = crc;
    }
    for (int k = 1; k < 16; k++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t crc = crc_table[k - 1][byte];
            crc_table[k][byte] = (crc << 8) ^ crc_table[0][crc >> 24];
        }
}

static uint32_t word_at(const unsigned char *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* The CRC of the four bytes of a word followed by k zero bytes. */
static uint32_t crc_of_word(int k, uint32_t word) {
    return crc_table[k + 3][word >> 24] ^ crc_table[k + 2][word >> 16 & 0xFF] ^
           crc_table[k + 1][word >> 8 & 0xFF] ^ crc_table[k][word & 0xFF];
}

static uint32_t crc_update(uint32_t crc, const unsigned char *bytes, size_t count) {
    for (; count >= 16; bytes += 16, count -= 16)
        crc = crc_of_word(12, word_at(bytes) ^ crc) ^ crc_of_word(8, word_at(bytes + 4)) ^
              crc_of_word(4, word_at(bytes + 8)) ^ crc_of_word(0, word_at(bytes + 12));
    for (; count > 0; bytes++, count--) crc = (crc << 8) ^ crc_table[0][*bytes ^ (crc >> 24)];
    return crc;
}

/* POSIX has the size of the file follow its bytes, lowest byte first, and then inverts all bits. */
static uint32_t crc_finish(uint32_t crc, uint64_t size) {
    for (; size > 0; size >>= 8) {
        unsigned char byte = (unsigned char)(size & 0xFF);
        crc = crc_update(crc, &byte, 1);
    }
    return ~crc;
}

/* ---- the job ----------------------------------------------------------------------------------- */

typedef struct file {
    char    *path;
    uint64_t size_bytes;
    uint32_t crc;
    bool     done;
    int64_t  error; /* 0, or the LOOP_E* that ended it */
} file_t;

/* All that the callbacks share. The loop has one thread, so none of it needs a lock. */
typedef struct job {
    file_t        *files;
    size_t         files_count, files_capacity;
    size_t         files_begun, files_printed;
    uint64_t       bytes_read;
    int            readers_active;
    bool           failed;
    loop_request_t progress_timer;
} job_t;

/* One file in flight: the request for whichever step it is in, and its buffer. */
typedef struct reader {
    loop_request_t request;
    job_t         *job;
    file_t        *file;
    int            fd;
    unsigned char  buffer[BUFFER_BYTES];
} reader_t;

static void *out_of_memory_if_null(void *memory) {
    if (memory != NULL) return memory;
    fputs("checksum: out of memory\n", stderr);
    exit(1);
}

/* Says what is wrong with a path; `error` is an errno or a LOOP_E*, which are the same numbers negated. */
static void complain(job_t *job, const char *path, int64_t error) {
    fprintf(stderr, "checksum: %s: %s\n", path, loop_error_message((int)error));
    job->failed = true;
}

/* ---- finding the files ------------------------------------------------------------------------- */

/* A stack of the directories that are still to be read: only one is open at a time, however deep they go. */
typedef struct path_stack {
    char **paths;
    size_t count, capacity;
} path_stack_t;

static void push_path(path_stack_t *stack, char *path) {
    if (stack->count == stack->capacity) {
        stack->capacity = stack->capacity * 2 + 64;
        stack->paths = out_of_memory_if_null(realloc(stack->paths, stack->capacity * sizeof *stack->paths));
    }
    stack->paths[stack->count++] = path;
}

static void add_file(job_t *job, char *path) {
    if (job->files_count == job->files_capacity) {
        job->files_capacity = job->files_capacity * 2 + 1024;
        job->files = out_of_memory_if_null(realloc(job->files, job->files_capacity * sizeof *job->files));
    }
    job->files[job->files_count++] = (file_t){.path = path};
}

static char *join(const char *directory, const char *name) {
    size_t directory_len = strlen(directory), name_size = strlen(name) + 1;
    char  *path = out_of_memory_if_null(malloc(directory_len + 1 + name_size));
    memcpy(path, directory, directory_len);
    if (directory_len > 0 && path[directory_len - 1] != '/') path[directory_len++] = '/';
    memcpy(path + directory_len, name, name_size);
    return path;
}

/* Returns a DT_* as in readdir, asking lstat where the file system does not tell. */
static int type_of(job_t *job, const char *path, const struct dirent *entry) {
    if (entry->d_type != DT_UNKNOWN) return entry->d_type;
    struct stat status;
    if (lstat(path, &status) < 0) {
        complain(job, path, errno);
        return DT_UNKNOWN;
    }
    return S_ISREG(status.st_mode) ? DT_REG : S_ISDIR(status.st_mode) ? DT_DIR : DT_UNKNOWN;
}

/* Adds the regular files of one directory to the job, and its directories to the stack. */
static void read_directory(job_t *job, path_stack_t *stack, const char *directory) {
    DIR *stream = opendir(directory);
    if (stream == NULL) {
        complain(job, directory, errno);
        return;
    }
    struct dirent *entry;
    while (errno = 0, (entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        char *path = join(directory, entry->d_name);
        int   type = type_of(job, path, entry);
        if (type == DT_REG)
            add_file(job, path);
        else if (type == DT_DIR)
            push_path(stack, path);
        else
            free(path); /* Symbolic links are not followed, devices and pipes have no end. */
    }
    if (errno != 0) complain(job, directory, errno);
    closedir(stream);
}

static int compare_files(const void *left, const void *right) {
    return strcmp(((const file_t *)left)->path, ((const file_t *)right)->path);
}

/* Lists what there is to do. The loop has no readdir; reading directories is a small part of the job. */
static void find_files(job_t *job, const char *root) {
    path_stack_t stack = {0};
    push_path(&stack, out_of_memory_if_null(strdup(root)));
    while (stack.count > 0) {
        char *directory = stack.paths[--stack.count];
        read_directory(job, &stack, directory);
        free(directory);
    }
    free(stack.paths);
    if (job->files_count > 0) qsort(job->files, job->files_count, sizeof *job->files, compare_files);
}

/* ---- reading the files ------------------------------------------------------------------------- */

static void begin_next_file(loop_t *loop, reader_t *reader);
static void on_opened(loop_t *loop, loop_request_t *request, int64_t result);
static void on_read(loop_t *loop, loop_request_t *request, int64_t result);
static void on_closed(loop_t *loop, loop_request_t *request, int64_t result);

/* Prints, in order, what has become printable now that one more file is done. */
static void print_finished(job_t *job) {
    while (job->files_printed < job->files_count && job->files[job->files_printed].done) {
        const file_t *file = &job->files[job->files_printed++];
        if (file->error == 0) printf("%" PRIu32 " %" PRIu64 " %s\n", file->crc, file->size_bytes, file->path);
    }
}

static void finish_file(loop_t *loop, reader_t *reader, int64_t error) {
    file_t *file = reader->file;
    if (file->error == 0) file->error = error;
    file->crc = crc_finish(file->crc, file->size_bytes);
    file->done = true;
    if (file->error != 0) complain(reader->job, file->path, file->error);
    print_finished(reader->job);
    begin_next_file(loop, reader);
}

/* A submit is refused only for what is wrong with the loop or the request, which here would be a bug. */
static void go_on(int refusal) {
    if (refusal == 0) return;
    fprintf(stderr, "checksum: refused: %s\n", loop_error_name(refusal));
    abort();
}

static void begin_next_file(loop_t *loop, reader_t *reader) {
    job_t *job = reader->job;
    if (job->files_begun == job->files_count) {
        /* A periodic timer would keep loop_run from returning, so the last reader ends it. */
        if (--job->readers_active == 0) loop_cancel(loop, &job->progress_timer);
        return;
    }
    reader->file = &job->files[job->files_begun++];
    /* O_NOFOLLOW: it may have become a symbolic link since the directory was read. */
    const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW;
    go_on(loop_open(loop, &reader->request, reader->file->path, flags, 0, on_opened));
}

static void read_more(loop_t *loop, reader_t *reader) {
    go_on(loop_read(loop, &reader->request, reader->fd, reader->buffer, sizeof reader->buffer, on_read));
}

static void on_opened(loop_t *loop, loop_request_t *request, int64_t result) {
    reader_t *reader = request->user;
    if (result < 0) {
        finish_file(loop, reader, result);
        return;
    }
    reader->fd = (int)result;
    read_more(loop, reader);
}

/* A read may be short anywhere; only 0 means the end of the file. */
static void on_read(loop_t *loop, loop_request_t *request, int64_t result) {
    reader_t *reader = request->user;
    file_t   *file = reader->file;
    if (result > 0) {
        file->crc = crc_update(file->crc, reader->buffer, (size_t)result);
        file->size_bytes += (uint64_t)result;
        reader->job->bytes_read += (uint64_t)result;
        read_more(loop, reader);
        return;
    }
    file->error = result;
    go_on(loop_close(loop, request, reader->fd, on_closed));
}

static void on_closed(loop_t *loop, loop_request_t *request, int64_t result) {
    finish_file(loop, request->user, result);
}

static void on_progress(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    const job_t *job = request->user;
    if (result < 0)
        fputs("\r\033[K", stderr); /* The timer was cancelled: wipe the line away. */
    else
        fprintf(stderr, "\r%zu of %zu files, %" PRIu64 " MB", job->files_printed, job->files_count,
                job->bytes_read / 1000000);
}

/* ---- the program ------------------------------------------------------------------------------- */

/* Each reader has a file open: take at most half of the descriptors that this process may have. */
static size_t depth_within_limits(size_t depth) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY) return depth;
    size_t most = limit.rlim_cur / 2 > 0 ? (size_t)(limit.rlim_cur / 2) : 1;
    return depth < most ? depth : most;
}

/* Reads all files of the job; returns 0 or the error of a loop that could not be had. */
static int read_files(job_t *job, size_t depth) {
    loop_t *loop;
    int     error = loop_init(&loop, NULL);
    if (error < 0) return error;

    /* With its lines on the same terminal, the job shows its progress anyway. */
    job->progress_timer.user = job;
    if (isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO))
        go_on(loop_timer_start(loop, &job->progress_timer, PROGRESS_PERIOD_NS, PROGRESS_PERIOD_NS,
                               on_progress));

    if (depth > job->files_count) depth = job->files_count > 0 ? job->files_count : 1;
    reader_t *readers = out_of_memory_if_null(calloc(depth, sizeof *readers));
    job->readers_active = (int)depth;
    for (size_t i = 0; i < depth; i++) {
        readers[i].job = job;
        readers[i].request.user = &readers[i];
        begin_next_file(loop, &readers[i]);
    }
    error = loop_run(loop);
    int deinit_error = loop_deinit(loop);
    free(readers);
    return error < 0 ? error : deinit_error;
}

/* Returns the depth that `text` says, or 0 when it says none. */
static size_t parse_depth(const char *text) {
    char *end;
    if (*text < '0' || *text > '9') return 0; /* strtoul would take signs and spaces */
    unsigned long depth = strtoul(text, &end, 10);
    return *end == '\0' && depth <= DEPTH_MAX ? depth : 0;
}

/* Reads the arguments; false when they are wrong. */
static bool parse_arguments(int argc, char **argv, size_t *depth_out, const char **root_out) {
    int option;
    *depth_out = DEPTH_DEFAULT;
    while ((option = getopt(argc, argv, "j:")) != -1) {
        if (option != 'j') return false;
        *depth_out = parse_depth(optarg);
        if (*depth_out == 0) return false;
    }
    if (optind != argc - 1) return false;
    *root_out = argv[optind];
    return true;
}

static void free_files(job_t *job) {
    for (size_t i = 0; i < job->files_count; i++) free(job->files[i].path);
    free(job->files);
}

int main(int argc, char **argv) {
    job_t       job = {0};
    size_t      depth;
    const char *root;
    if (!parse_arguments(argc, argv, &depth, &root)) {
        fprintf(stderr, "usage: checksum [-j DEPTH] DIR\n  DEPTH  files in flight, 1 to %d; %d by default\n",
                DEPTH_MAX, DEPTH_DEFAULT);
        return 2;
    }
    crc_prepare();

    uint64_t begin_ns = loop_now(NULL);
    find_files(&job, root);
    int error = read_files(&job, depth_within_limits(depth));
    if (error < 0) complain(&job, "the loop", error);
    if (fflush(stdout) != 0)
        complain(&job, "standard output", errno);
    else if (ferror(stdout))
        complain(&job, "standard output", EIO); /* An earlier line failed; its errno is gone. */
    double seconds = (double)(loop_now(NULL) - begin_ns) / 1e9;

    if (job.files_printed != job.files_count) job.failed = true;
    fprintf(stderr, "checksum: %zu files, %" PRIu64 " bytes, %.3f s, %.0f MB/s\n", job.files_printed,
            job.bytes_read, seconds, (double)job.bytes_read / 1e6 / seconds);
    free_files(&job);
    return job.failed ? 1 : 0;
}
