/* The files of the HTTP server; see files.h. */
#define _DEFAULT_SOURCE /* syscall */

#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 256, OPEN_ATTEMPTS = 8 };

#define KEPT_NS UINT64_C(1000000000)

/* A file with what nobody but this module needs. */
typedef struct entry {
    http_file_t file; /* first, so that one is the other */
    atomic_uint references;
    uint64_t    opened_ns;
    char        path[];
} entry_t;

/* A path has one slot. Of two that share it only the last one is kept; so the memory, and the number of
 * descriptors, are bounded without a list of who was used when. */
struct http_files {
    int             root_fd;
    uint64_t        size_in_memory;
    pthread_mutex_t lock;
    entry_t        *slots[SLOTS];
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static size_t slot_of(const char *path) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *path != '\0'; path++) hash = (hash ^ (unsigned char)*path) * 16777619u;
    return hash % SLOTS;
}

http_files_t *http_files_new(const char *root, uint64_t size_in_memory) {
    http_files_t *files = calloc(1, sizeof *files);
    if (files == NULL) return NULL;
    pthread_mutex_init(&files->lock, NULL);
    files->size_in_memory = size_in_memory;
    files->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (files->root_fd >= 0) return files;
    free(files);
    return NULL;
}

/* Takes all files out of their slots, which closes those that are not being sent. */
static void forget_all(http_files_t *files) {
    pthread_mutex_lock(&files->lock);
    for (size_t i = 0; i < SLOTS; i++) {
        if (files->slots[i] != NULL) http_file_release(&files->slots[i]->file);
        files->slots[i] = NULL;
    }
    pthread_mutex_unlock(&files->lock);
}

void http_files_free(http_files_t *files) {
    forget_all(files);
    close(files->root_fd);
    pthread_mutex_destroy(&files->lock);
    free(files);
}

http_file_t *http_files_find(http_files_t *files, const char *path) {
    const uint64_t now = now_ns();
    http_file_t   *found = NULL;
    pthread_mutex_lock(&files->lock);
    entry_t *entry = files->slots[slot_of(path)];
    if (entry != NULL && strcmp(entry->path, path) == 0) {
        if (now - entry->opened_ns < KEPT_NS) {
            atomic_fetch_add_explicit(&entry->references, 1, memory_order_relaxed);
            found = &entry->file;
        } else {
            /* The caller opens it again. Until then the others go on with this one, or all would open it. */
            entry->opened_ns = now;
        }
    }
    pthread_mutex_unlock(&files->lock);
    return found;
}

void http_file_release(http_file_t *file) {
    entry_t *entry = (entry_t *)file;
    if (file == NULL || atomic_fetch_sub_explicit(&entry->references, 1, memory_order_acq_rel) > 1) return;
    if (file->fd >= 0) close(file->fd);
    free(file->contents);
    free(entry);
}

/* ---- opening --------------------------------------------------------------------------------------- */

/* Returns a descriptor or a negated errno. The kernel sees to it that no "..", no absolute path and no
 * symbolic link leads out of the root; it says EAGAIN when somebody renames directories meanwhile. */
static int open_below(int root_fd, const char *path) {
    /* Without O_NONBLOCK the open of a named pipe would wait for a writer. */
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int attempt = 1;; attempt++) {
        const long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof how);
        if (fd >= 0) return (int)fd;
        if ((errno != EAGAIN && errno != EINTR) || attempt == OPEN_ATTEMPTS) return -errno;
    }
}

static const char *content_type_of(const char *path) {
    static const struct {
        const char *extension, *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"}, {".htm", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},   {".js", "text/javascript; charset=utf-8"},
        {".txt", "text/plain; charset=utf-8"}, {".md", "text/markdown; charset=utf-8"},
        {".json", "application/json"},         {".xml", "application/xml"},
        {".svg", "image/svg+xml"},             {".png", "image/png"},
        {".jpg", "image/jpeg"},                {".jpeg", "image/jpeg"},
        {".gif", "image/gif"},                 {".webp", "image/webp"},
        {".ico", "image/x-icon"},              {".woff2", "font/woff2"},
        {".mp4", "video/mp4"},                 {".pdf", "application/pdf"},
        {".wasm", "application/wasm"},         {".gz", "application/gzip"},
    };
    const char *name = strrchr(path, '/');
    const char *extension = strrchr(name == NULL ? path : name, '.');
    for (size_t i = 0; extension != NULL && i < sizeof types / sizeof *types; i++)
        if (strcmp(extension, types[i].extension) == 0) return types[i].type;
    return "application/octet-stream";
}

/* Reads all of a small file. One that shrinks meanwhile is as long as what could be read. */
static int read_contents(http_file_t *file) {
    uint64_t length = 0;
    file->contents = malloc(file->size + 1);
    if (file->contents == NULL) return -ENOMEM;
    while (length < file->size) {
        const ssize_t got = pread(file->fd, file->contents + length, file->size - length, (off_t)length);
        if (got == 0) break;
        if (got < 0 && errno != EINTR) return -errno;
        if (got > 0) length += (uint64_t)got;
    }
    file->size = length;
    close(file->fd);
    file->fd = -1;
    return 0;
}

static void write_fields(http_file_t *file, const char *path) {
    const size_t capacity = sizeof file->fields;
    const int    length = snprintf(file->fields, capacity,
                                   "Content-Type: %s\r\nLast-Modified: %s\r\nAccept-Ranges: bytes\r\n",
                                   content_type_of(path), file->modified);
    file->fields_without_length = (size_t)length;
    file->fields_length = (size_t)(length + snprintf(file->fields + length, capacity - (size_t)length,
                                                     "Content-Length: %" PRIu64 "\r\n", file->size));
}

/* Fills in what is to be known of an open file; returns 0 or a negated errno. */
static int fill_in(http_file_t *file, const char *path, uint64_t size_in_memory) {
    struct stat status;
    struct tm   modified;
    if (fstat(file->fd, &status) < 0) return -errno;
    if (S_ISDIR(status.st_mode)) return -EISDIR;
    if (!S_ISREG(status.st_mode)) return -EACCES;
    file->size = (uint64_t)status.st_size;
    gmtime_r(&status.st_mtime, &modified);
    strftime(file->modified, sizeof file->modified, "%a, %d %b %Y %H:%M:%S GMT", &modified);
    const int error = file->size <= size_in_memory ? read_contents(file) : 0;
    write_fields(file, path);
    return error;
}

/* Keeps an entry; or, when it is NULL, keeps the former one of that path no longer: the file is gone. */
static void keep(http_files_t *files, const char *path, entry_t *entry) {
    entry_t **slot = &files->slots[slot_of(path)];
    pthread_mutex_lock(&files->lock);
    entry_t *former = *slot;
    if (entry != NULL || (former != NULL && strcmp(former->path, path) == 0))
        *slot = entry;
    else
        former = NULL;
    pthread_mutex_unlock(&files->lock);
    if (former != NULL) http_file_release(&former->file);
}

int http_files_open(http_files_t *files, const char *path, http_file_t **file_out) {
    const size_t path_bytes = strlen(path) + 1;
    entry_t     *entry = calloc(1, sizeof *entry + path_bytes);
    *file_out = NULL;
    if (entry == NULL) return -ENOMEM;
    atomic_init(&entry->references, 1);
    memcpy(entry->path, path, path_bytes);
    entry->opened_ns = now_ns();
    entry->file.fd = open_below(files->root_fd, path);
    int error = entry->file.fd;
    if (error >= 0) error = fill_in(&entry->file, path, files->size_in_memory);
    if (error < 0) {
        http_file_release(&entry->file);
        keep(files, path, NULL);
        /* Files that are only kept may be what holds the last descriptors. */
        if (error == -EMFILE || error == -ENFILE) forget_all(files);
        return error;
    }
    atomic_fetch_add_explicit(&entry->references, 1, memory_order_relaxed); /* that of the caller */
    keep(files, path, entry);
    *file_out = &entry->file;
    return 0;
}
