/*
 * The files that the HTTP server gives out: opened safely below one directory, and kept open for a second, so
 * that a popular file costs no system call. Small ones are kept in memory.
 */
#ifndef HTTP_FILES_H
#define HTTP_FILES_H

#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_PATH_MAX = 1024,
    HTTP_DATE_BYTES = 30,       /* "Sun, 06 Nov 1994 08:49:37 GMT" and its end */
    HTTP_FILE_FIELDS_MAX = 256
};

/* An open file. It does not change; when the file on the disk does, another takes its place. */
typedef struct http_file http_file_t;
struct http_file {
    int      fd;       /* -1: it is in memory */
    uint64_t size;
    char    *contents; /* NULL: it is not */
    char     modified[HTTP_DATE_BYTES];
    char     fields[HTTP_FILE_FIELDS_MAX]; /* of an answer; the last one is Content-Length */
    size_t   fields_length;
    size_t   fields_without_length; /* where Content-Length begins */
};

typedef struct http_files http_files_t;

/* Returns the files below a directory, of which those up to a size are kept in memory; or NULL with errno. */
http_files_t *http_files_new(const char *root, uint64_t size_in_memory);

/* Ends it, after all files were released. */
void http_files_free(http_files_t *files);

/**
 * Find a file that was opened within the last second. `path` is relative to the root.
 *
 * Returns  The file, to be released; or NULL: then call http_files_open.
 * Threads  Any. Never waits for the disk.
 */
http_file_t *http_files_find(http_files_t *files, const char *path);

/**
 * Open a file, and keep it for http_files_find. What leads out of the root, also by a symbolic link, is
 * refused, and so is what is not a regular file.
 *
 * file_out  Set to the file, to be released; or to NULL.
 * Returns   0 or an errno, negated: -EISDIR for a directory, -EXDEV for what is outside of the root.
 * Threads   Any. May wait for the disk.
 */
int http_files_open(http_files_t *files, const char *path, http_file_t **file_out);

void http_file_release(http_file_t *file);

#endif
