/*
 * The answers of the HTTP server: what it says to a request, as bytes to be sent. It does no I/O. Answers to
 * several requests may be put one after the other, to be sent at once; only the last one may have a rest.
 */
#ifndef HTTP_ANSWER_H
#define HTTP_ANSWER_H

#include "files.h"
#include "parser.h"

enum {
    HTTP_ANSWER_HEAD_MAX = 1024 + HTTP_REQUEST_LINE_MAX, /* a redirection repeats the path */
    HTTP_COPIED_MAX = 8192, /* bytes of the longest body that is put behind its head */
    HTTP_ANSWERS_BYTES = 32 * 1024
};

/* What is to be sent: first the bytes, then the rest, which is in memory or in a file. */
typedef struct http_answers {
    size_t       length; /* of the bytes */
    uint64_t     rest_length;
    const char  *rest; /* NULL: it is in the descriptor of the file, at rest_offset */
    uint64_t     rest_offset;
    http_file_t *file; /* to be released when the rest has been sent */
    char         bytes[HTTP_ANSWERS_BYTES];
} http_answers_t;

/* Whether another answer may be put behind those that are there. */
static inline bool http_answers_have_room(const http_answers_t *answers) {
    return answers->rest_length == 0 &&
           HTTP_ANSWERS_BYTES - answers->length >= HTTP_ANSWER_HEAD_MAX + HTTP_COPIED_MAX;
}

/* Empties it, after all has been sent. */
void http_answers_clear(http_answers_t *answers);

/* "100 Continue": the client may send the body. */
void http_answer_continue(http_answers_t *answers);

/* An answer of a few words: what went wrong, or where else to look. */
void http_answer_status(http_answers_t *answers, const http_request_t *request, int status);

/* The same, with more fields, each with its line end. */
void http_answer_status_with(http_answers_t *answers, const http_request_t *request, int status,
                             const char *fields);

/* A body in memory, which must stay until all has been sent if it is longer than HTTP_COPIED_MAX. */
void http_answer_body(http_answers_t *answers, const http_request_t *request, const char *content_type,
                      const char *body, size_t length);

/* A file, or the range of it that was asked for. Takes over the reference to the file. */
void http_answer_file(http_answers_t *answers, const http_request_t *request, http_file_t *file);

/* What http_files_open said instead of giving a file: a redirection for a directory. */
void http_answer_file_error(http_answers_t *answers, const http_request_t *request, int error);

#endif
