/*
 * A strict and incremental parser of HTTP/1.1 requests (RFC 9112). It does no I/O and copies nothing: what it
 * finds are places in the memory of the caller. Everything that two servers could read in two ways is
 * refused, because that is how requests are smuggled past one of them.
 */
#ifndef HTTP_PARSER_H
#define HTTP_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_REQUEST_LINE_MAX = 4096, /* longer: 414 */
    HTTP_HEAD_MAX = 8192,         /* request line and all fields; longer: 431 */
    HTTP_FIELDS_MAX = 64,         /* more: 431 */
    HTTP_BODY_OVERHEAD_MAX = 8192 /* chunk extensions and trailers, which nobody reads; more: 400 */
};

/* What the functions below return; anything else is the status of the answer that refuses the request. */
enum { HTTP_MORE = 0, HTTP_DONE = 1, HTTP_PIECE = 2 };

typedef enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_OTHER } http_method_t;

typedef struct http_text {
    const char *start; /* not terminated; NULL: not there */
    size_t      length;
} http_text_t;

/* A request. Zero it before its first byte comes. */
typedef struct http_request {
    http_method_t method;
    unsigned      version_minor; /* HTTP/1.0 or HTTP/1.1 */
    bool          keep_alive;    /* the connection may be used for the next request */
    bool          expects_continue;
    bool          chunked;
    uint64_t      content_length;
    http_text_t   path; /* without query, still with percent escapes */
    http_text_t   range, if_range, if_modified_since;

    size_t   parsed; /* bytes of the head that were understood so far; at the end its length */
    unsigned fields_seen;
    unsigned field_count;
    bool     asked_to_close, asked_to_keep_alive;
} http_request_t;

/* Where the parser of a body is. */
typedef struct http_body {
    unsigned state;
    unsigned digits;   /* of the size of a chunk */
    uint64_t remaining; /* of the chunk, or of the whole body when there are none */
    uint64_t length;    /* of all chunks so far */
    uint64_t limit;
    size_t   overhead;
} http_body_t;

/**
 * Parse the head of a request as far as it is there. Call it again when more came, with the same `data`.
 *
 * Returns  HTTP_MORE; HTTP_DONE: request->parsed bytes are the head; or the status that refuses it.
 */
int http_parse_head(http_request_t *request, const char *data, size_t length);

/**
 * Begin with the body that follows a head.
 *
 * Returns  HTTP_DONE: there is none; HTTP_MORE: go on with http_parse_body; or the status that refuses it.
 */
int http_body_begin(http_body_t *body, const http_request_t *request, uint64_t limit);

/**
 * Parse the next part of a body.
 *
 * used_out   Set to the number of bytes that are done with.
 * piece_out  Set to a piece of the content within data, for HTTP_PIECE: then call again with what follows.
 * Returns    HTTP_PIECE; HTTP_MORE: all of data was used; HTTP_DONE; or the status that refuses it.
 */
int http_parse_body(http_body_t *body, const char *data, size_t length, size_t *used_out,
                    http_text_t *piece_out);

/**
 * Undo the percent escapes of a path, and terminate it by a 0 byte.
 *
 * Returns  HTTP_DONE; 400: a bad escape, or one of a 0 byte; 414: longer than capacity.
 */
int http_decode_path(http_text_t path, char *decoded, size_t capacity);

typedef enum http_range { HTTP_RANGE_NONE, HTTP_RANGE_PART, HTTP_RANGE_UNSATISFIABLE } http_range_t;

/**
 * Parse a Range field for a body of `size` bytes. Several ranges, and what is no range of bytes, are to be
 * answered as if there were none.
 */
http_range_t http_parse_range(http_text_t range, uint64_t size, uint64_t *first_out, uint64_t *length_out);

/* Whether a text is the same as another, or as a literal in lower case where the case does not matter. */
bool http_text_equals(http_text_t text, http_text_t other);
bool http_text_is(http_text_t text, const char *lower_case);

#endif
