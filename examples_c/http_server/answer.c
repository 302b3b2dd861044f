/* The answers of the HTTP server; see answer.h. */
#define _POSIX_C_SOURCE 200809L /* gmtime_r */

#include "answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- the head ------------------------------------------------------------------------------------ */

static const char *reason_of(int status) {
    switch (status) {
    case 200: return "OK";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 431: return "Request Header Fields Too Large";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Internal Server Error";
    }
}

static void append(http_answers_t *answers, const char *text, size_t length) {
    memcpy(answers->bytes + answers->length, text, length);
    answers->length += length;
}

static void append_text(http_answers_t *answers, const char *text) { append(answers, text, strlen(text)); }

__attribute__((format(printf, 2, 3)))
static void append_format(http_answers_t *answers, const char *format, ...) {
    va_list values;
    va_start(values, format);
    answers->length += (size_t)vsnprintf(answers->bytes + answers->length,
                                         sizeof answers->bytes - answers->length, format, values);
    va_end(values);
}

/* The Date field, which is the same for a second. Each thread has its own, so that none has to wait. */
static void append_date(http_answers_t *answers) {
    static _Thread_local time_t second;
    static _Thread_local char   field[sizeof "Date: \r\n" + HTTP_DATE_BYTES];
    static _Thread_local size_t length;
    struct tm                   parts;
    const time_t                now = time(NULL);
    if (length == 0 || now != second) {
        second = now;
        gmtime_r(&now, &parts);
        length = strftime(field, sizeof field, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
    }
    append(answers, field, length);
}

/* Appends the first lines of a head, the connection's part of it included. */
static void begin(http_answers_t *answers, const http_request_t *request, int status) {
    if (status == 200) {
        append_text(answers, "HTTP/1.1 200 OK\r\n");
    } else {
        append_format(answers, "HTTP/1.1 %d %s\r\n", status, reason_of(status));
    }
    append_date(answers);
    if (!request->keep_alive)
        append_text(answers, "Connection: close\r\n");
    else if (request->version_minor == 0)
        append_text(answers, "Connection: keep-alive\r\n");
}

static void append_content_length(http_answers_t *answers, uint64_t length) {
    append_format(answers, "Content-Length: %" PRIu64 "\r\n", length);
}

/* ---- answers ------------------------------------------------------------------------------------- */

void http_answers_clear(http_answers_t *answers) {
    http_file_release(answers->file);
    answers->file = NULL;
    answers->rest = NULL;
    answers->length = 0;
    answers->rest_length = 0;
}

void http_answer_continue(http_answers_t *answers) { append_text(answers, "HTTP/1.1 100 Continue\r\n\r\n"); }

void http_answer_status_with(http_answers_t *answers, const http_request_t *request, int status,
                             const char *fields) {
    char      body[64];
    const int length = snprintf(body, sizeof body, "%d %s\n", status, reason_of(status));
    begin(answers, request, status);
    append_text(answers, fields);
    append_text(answers, "Content-Type: text/plain\r\n");
    append_content_length(answers, (uint64_t)length);
    append_text(answers, "\r\n");
    if (request->method != HTTP_HEAD) append(answers, body, (size_t)length);
}

void http_answer_status(http_answers_t *answers, const http_request_t *request, int status) {
    http_answer_status_with(answers, request, status, "");
}

void http_answer_body(http_answers_t *answers, const http_request_t *request, const char *content_type,
                      const char *body, size_t length) {
    begin(answers, request, 200);
    append_text(answers, "Content-Type: ");
    append_text(answers, content_type);
    append_text(answers, "\r\n");
    append_content_length(answers, length);
    append_text(answers, "\r\n");
    if (request->method == HTTP_HEAD || length == 0) return;
    if (length <= HTTP_COPIED_MAX) {
        append(answers, body, length);
    } else {
        answers->rest = body;
        answers->rest_length = length;
    }
}

/* A part of a file: copied when it is small and in memory, otherwise the rest of the answers. */
static void append_part(http_answers_t *answers, http_file_t *file, uint64_t offset, uint64_t length) {
    if (length > 0 && (file->contents == NULL || length > HTTP_COPIED_MAX)) {
        answers->file = file;
        answers->rest = file->contents == NULL ? NULL : file->contents + offset;
        answers->rest_offset = offset;
        answers->rest_length = length;
        return;
    }
    if (length > 0) append(answers, file->contents + offset, length);
    http_file_release(file);
}

/* The range that is to be sent. A client that has another version of the file gets all of it. */
static http_range_t range_of(const http_request_t *request, const http_file_t *file, uint64_t *first,
                             uint64_t *length) {
    const http_text_t modified = {file->modified, strlen(file->modified)};
    if (request->range.start == NULL || request->method != HTTP_GET ||
        (request->if_range.start != NULL && !http_text_equals(request->if_range, modified)))
        return HTTP_RANGE_NONE;
    return http_parse_range(request->range, file->size, first, length);
}

static bool is_not_modified(const http_request_t *request, const http_file_t *file) {
    return request->if_modified_since.start != NULL &&
           http_text_equals(request->if_modified_since,
                            (http_text_t){file->modified, strlen(file->modified)});
}

static void answer_range(http_answers_t *answers, const http_request_t *request, http_file_t *file,
                         uint64_t first, uint64_t length) {
    begin(answers, request, 206);
    append(answers, file->fields, file->fields_without_length);
    append_format(answers, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n", first,
                  first + length - 1, file->size);
    append_content_length(answers, length);
    append_text(answers, "\r\n");
    append_part(answers, file, first, length);
}

static void answer_whole(http_answers_t *answers, const http_request_t *request, http_file_t *file) {
    begin(answers, request, 200);
    append(answers, file->fields, file->fields_length);
    append_text(answers, "\r\n");
    append_part(answers, file, 0, request->method == HTTP_HEAD ? 0 : file->size);
}

void http_answer_file(http_answers_t *answers, const http_request_t *request, http_file_t *file) {
    uint64_t first, length;
    char     content_range[64];
    if (is_not_modified(request, file)) {
        begin(answers, request, 304);
        append(answers, file->fields, file->fields_without_length);
        append_text(answers, "\r\n");
        http_file_release(file);
        return;
    }
    switch (range_of(request, file, &first, &length)) {
    case HTTP_RANGE_NONE:
        answer_whole(answers, request, file);
        break;
    case HTTP_RANGE_PART:
        answer_range(answers, request, file, first, length);
        break;
    case HTTP_RANGE_UNSATISFIABLE:
        snprintf(content_range, sizeof content_range, "Content-Range: bytes */%" PRIu64 "\r\n", file->size);
        http_file_release(file);
        http_answer_status_with(answers, request, 416, content_range);
        break;
    }
}

void http_answer_file_error(http_answers_t *answers, const http_request_t *request, int error) {
    char location[sizeof "Location: /\r\n" + HTTP_REQUEST_LINE_MAX];
    switch (-error) {
    case EISDIR: /* relative links in its index.html need the slash */
        snprintf(location, sizeof location, "Location: %.*s/\r\n", (int)request->path.length,
                 request->path.start);
        http_answer_status_with(answers, request, 301, location);
        break;
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
        http_answer_status(answers, request, 404);
        break;
    case EACCES:
    case EPERM:
    case ELOOP:
    case ENXIO:
    case EXDEV: /* out of the root */
        http_answer_status(answers, request, 403);
        break;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        http_answer_status_with(answers, request, 503, "Retry-After: 1\r\n");
        break;
    default:
        http_answer_status(answers, request, 500);
        break;
    }
}
