/* The parser of HTTP/1.1 requests; see parser.h. */
#include "parser.h"

#include <string.h>

/* What may come once only, as bits of fields_seen. */
enum {
    SEEN_REQUEST_LINE = 1,
    SEEN_HOST = 2,
    SEEN_CONTENT_LENGTH = 4,
    SEEN_TRANSFER_ENCODING = 8,
    SEEN_RANGE = 16
};

/* ---- characters and texts ------------------------------------------------------------------------ */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static char to_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

static bool is_token_character(char c) {
    const char lower = to_lower(c);
    return (lower >= 'a' && lower <= 'z') || is_digit(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

/* What may be in the value of a field: no control characters, above all no line ends. */
static bool is_value_character(char c) { return c == '\t' || ((unsigned char)c >= ' ' && c != 0x7f); }

/* The value of a hexadecimal digit, -1 if it is none. */
static int hex_value(char c) {
    const char lower = to_lower(c);
    if (is_digit(c)) return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool consists_of(http_text_t text, bool (*is_allowed)(char)) {
    for (size_t i = 0; i < text.length; i++)
        if (!is_allowed(text.start[i])) return false;
    return true;
}

bool http_text_equals(http_text_t text, http_text_t other) {
    return text.length == other.length && memcmp(text.start, other.start, text.length) == 0;
}

bool http_text_is(http_text_t text, const char *lower_case) {
    for (size_t i = 0; i < text.length; i++)
        if (lower_case[i] == '\0' || to_lower(text.start[i]) != lower_case[i]) return false;
    return lower_case[text.length] == '\0';
}

static http_text_t trim(const char *start, const char *end) {
    while (start < end && (*start == ' ' || *start == '\t')) start++;
    while (end > start && (end[-1] == ' ' || end[-1] == '\t')) end--;
    return (http_text_t){start, (size_t)(end - start)};
}

/* Cuts off what is before a separator, and the separator; all of it when there is none. */
static http_text_t cut(http_text_t *rest, char separator) {
    const char *end = memchr(rest->start, separator, rest->length);
    http_text_t first = {rest->start, end == NULL ? rest->length : (size_t)(end - rest->start)};
    const size_t used = first.length + (end != NULL);
    rest->start += used;
    rest->length -= used;
    return first;
}

/* Reads a decimal number; false when it is none. One that is too large becomes UINT64_MAX. */
static bool parse_number(http_text_t text, uint64_t *number_out) {
    uint64_t number = 0;
    if (text.length == 0 || !consists_of(text, is_digit)) return false;
    for (size_t i = 0; i < text.length; i++) {
        const uint64_t digit = (uint64_t)(text.start[i] - '0');
        number = number > (UINT64_MAX - digit) / 10 ? UINT64_MAX : number * 10 + digit;
    }
    *number_out = number;
    return true;
}

/* ---- the request line ---------------------------------------------------------------------------- */

static bool is_target_character(char c) { return c > ' ' && c < 0x7f && c != '#'; }

static int parse_method(http_request_t *request, http_text_t method) {
    static const struct {
        const char   *name;
        http_method_t method;
    } methods[] = {{"GET", HTTP_GET},       {"HEAD", HTTP_HEAD},     {"POST", HTTP_POST},
                   {"PUT", HTTP_OTHER},     {"DELETE", HTTP_OTHER},  {"OPTIONS", HTTP_OTHER},
                   {"CONNECT", HTTP_OTHER}, {"TRACE", HTTP_OTHER},   {"PATCH", HTTP_OTHER}};
    if (method.length == 0 || !consists_of(method, is_token_character)) return 400;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (http_text_equals(method, (http_text_t){methods[i].name, strlen(methods[i].name)})) {
            request->method = methods[i].method;
            return HTTP_MORE;
        }
    }
    return 501;
}

/* /path, http://host/path; and *, host:port of the methods that are served nowhere. */
static int parse_target(http_request_t *request, http_text_t target) {
    static const char scheme[] = "http://";
    const size_t      scheme_length = sizeof scheme - 1;
    if (target.length == 0 || !consists_of(target, is_target_character)) return 400;
    if (target.length > scheme_length && http_text_is((http_text_t){target.start, scheme_length}, scheme)) {
        const char *authority = target.start + scheme_length;
        const char *end = target.start + target.length;
        const char *path = authority;
        while (path < end && *path != '/' && *path != '?') path++;
        if (path == authority) return 400;
        target = (http_text_t){path, (size_t)(end - path)};
        if (path == end || *path == '?') target = (http_text_t){"/", 1};
    } else if (*target.start != '/' && request->method != HTTP_OTHER) {
        return 400;
    }
    request->path = cut(&target, '?');
    return HTTP_MORE;
}

static int parse_version(http_request_t *request, http_text_t version) {
    const char *text = version.start;
    if (version.length != 8 || memcmp(text, "HTTP/", 5) != 0 || !is_digit(text[5]) || text[6] != '.' ||
        !is_digit(text[7]))
        return 400;
    if (text[5] != '1' || text[7] > '1') return 505;
    request->version_minor = (unsigned)(text[7] - '0');
    return HTTP_MORE;
}

static int parse_request_line(http_request_t *request, http_text_t line) {
    if (line.length > HTTP_REQUEST_LINE_MAX) return 414;
    const http_text_t method = cut(&line, ' ');
    const http_text_t target = cut(&line, ' ');
    int               status = parse_version(request, line);
    if (status == HTTP_MORE) status = parse_method(request, method);
    if (status == HTTP_MORE) status = parse_target(request, target);
    return status;
}

/* ---- fields -------------------------------------------------------------------------------------- */

/* Notes a field of which there may be one only. */
static bool is_first(http_request_t *request, unsigned field) {
    const bool first = (request->fields_seen & field) == 0;
    request->fields_seen |= field;
    return first;
}

static bool is_host_character(char c) {
    return is_token_character(c) || (c != '\0' && strchr(":[]()=;,", c) != NULL);
}

static int parse_host(http_request_t *request, http_text_t value) {
    return is_first(request, SEEN_HOST) && consists_of(value, is_host_character) ? HTTP_MORE : 400;
}

static int parse_content_length(http_request_t *request, http_text_t value) {
    if (!is_first(request, SEEN_CONTENT_LENGTH)) return 400;
    return parse_number(value, &request->content_length) ? HTTP_MORE : 400;
}

static int parse_transfer_encoding(http_request_t *request, http_text_t value) {
    if (!is_first(request, SEEN_TRANSFER_ENCODING)) return 400;
    request->chunked = true;
    return http_text_is(value, "chunked") ? HTTP_MORE : 501;
}

static int parse_connection(http_request_t *request, http_text_t value) {
    while (value.length > 0) {
        const http_text_t part = cut(&value, ',');
        const http_text_t option = trim(part.start, part.start + part.length);
        if (http_text_is(option, "close")) request->asked_to_close = true;
        if (http_text_is(option, "keep-alive")) request->asked_to_keep_alive = true;
    }
    return HTTP_MORE;
}

static int parse_expect(http_request_t *request, http_text_t value) {
    request->expects_continue = http_text_is(value, "100-continue");
    return request->expects_continue || request->version_minor == 0 ? HTTP_MORE : 417;
}

/* The fields that matter here differ in length, but for two. */
static int parse_known_field(http_request_t *request, http_text_t name, http_text_t value) {
    switch (name.length) {
    case 4:
        if (http_text_is(name, "host")) return parse_host(request, value);
        break;
    case 5:
        if (!http_text_is(name, "range")) break;
        /* Several are several ranges, which are answered with the whole. */
        request->range = is_first(request, SEEN_RANGE) ? value : (http_text_t){NULL, 0};
        break;
    case 6:
        if (http_text_is(name, "expect")) return parse_expect(request, value);
        break;
    case 8:
        if (http_text_is(name, "if-range")) request->if_range = value;
        break;
    case 10:
        if (http_text_is(name, "connection")) return parse_connection(request, value);
        break;
    case 14:
        if (http_text_is(name, "content-length")) return parse_content_length(request, value);
        break;
    case 17:
        if (http_text_is(name, "transfer-encoding")) return parse_transfer_encoding(request, value);
        if (http_text_is(name, "if-modified-since")) request->if_modified_since = value;
        break;
    default:
        break;
    }
    return HTTP_MORE;
}

/* A space before the colon is refused with the name, and so is one at the start of the line (obs-fold). */
static int parse_field(http_request_t *request, http_text_t line) {
    const char *end = line.start + line.length;
    const char *colon = memchr(line.start, ':', line.length);
    if (colon == NULL || colon == line.start) return 400;
    const http_text_t name = {line.start, (size_t)(colon - line.start)};
    const http_text_t value = trim(colon + 1, end);
    if (!consists_of(name, is_token_character) || !consists_of(value, is_value_character)) return 400;
    if (++request->field_count > HTTP_FIELDS_MAX) return 431;
    return parse_known_field(request, name, value);
}

/* Judges the head as a whole, once all of it is there. */
static int finish_head(http_request_t *request) {
    const bool has_length = (request->fields_seen & SEEN_CONTENT_LENGTH) != 0;
    if (request->version_minor == 1 && (request->fields_seen & SEEN_HOST) == 0) return 400;
    if (request->chunked && (has_length || request->version_minor == 0)) return 400;
    if (request->version_minor == 0) request->expects_continue = false;
    request->keep_alive =
        !request->asked_to_close && (request->version_minor == 1 || request->asked_to_keep_alive);
    return HTTP_DONE;
}

/* ---- the head ------------------------------------------------------------------------------------ */

static int parse_line(http_request_t *request, http_text_t line) {
    if (request->fields_seen & SEEN_REQUEST_LINE)
        return line.length == 0 ? finish_head(request) : parse_field(request, line);
    if (line.length == 0) return HTTP_MORE; /* empty lines before a request are to be ignored */
    request->fields_seen |= SEEN_REQUEST_LINE;
    return parse_request_line(request, line);
}

int http_parse_head(http_request_t *request, const char *data, size_t length) {
    const size_t usable = length < HTTP_HEAD_MAX ? length : HTTP_HEAD_MAX;
    for (;;) {
        const char *start = data + request->parsed;
        const char *end = memchr(start, '\n', usable - request->parsed);
        if (end == NULL) break;
        if (end == start || end[-1] != '\r') return 400;
        request->parsed += (size_t)(end - start) + 1;
        const int status = parse_line(request, (http_text_t){start, (size_t)(end - start) - 1});
        if (status != HTTP_MORE) return status;
    }
    const bool in_request_line = (request->fields_seen & SEEN_REQUEST_LINE) == 0;
    if (in_request_line && usable - request->parsed > HTTP_REQUEST_LINE_MAX + 1) return 414;
    return usable == HTTP_HEAD_MAX ? 431 : HTTP_MORE;
}

/* ---- the body ------------------------------------------------------------------------------------ */

enum body_state {
    WHOLE,          /* content, of a known length */
    SIZE,           /* a digit of the size of a chunk, or what follows the digits */
    EXTENSION,      /* what follows the size, which is ignored */
    SIZE_END,       /* the LF after it */
    CHUNK,          /* content of a chunk */
    CHUNK_CR,       /* the CR and LF after it */
    CHUNK_LF,
    TRAILER_START,  /* a field after the last chunk, which is ignored, or the end */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_END,    /* the LF after it */
    BODY_END        /* the LF at the end of all */
};

int http_body_begin(http_body_t *body, const http_request_t *request, uint64_t limit) {
    *body = (http_body_t){.limit = limit, .state = request->chunked ? SIZE : WHOLE};
    if (request->chunked) return HTTP_MORE;
    if (request->content_length > limit) return 413;
    body->remaining = request->content_length;
    return body->remaining > 0 ? HTTP_MORE : HTTP_DONE;
}

static int go_to(http_body_t *body, enum body_state state) {
    body->state = state;
    return HTTP_MORE;
}

static int take_size(http_body_t *body, char c) {
    const int digit = hex_value(c);
    if (digit >= 0) {
        body->remaining = body->remaining * 16 + (uint64_t)digit;
        return ++body->digits > 15 ? 400 : HTTP_MORE;
    }
    if (body->digits == 0) return 400;
    body->length += body->remaining;
    if (body->length > body->limit) return 413;
    if (c == ';') return go_to(body, EXTENSION);
    return c == '\r' ? go_to(body, SIZE_END) : 400;
}

/* Of what is ignored there may not be too much, or it would never end. */
static int take_ignored(http_body_t *body, char c, enum body_state at_line_end) {
    if (c == '\r') return go_to(body, at_line_end);
    return is_value_character(c) && ++body->overhead <= HTTP_BODY_OVERHEAD_MAX ? HTTP_MORE : 400;
}

static int take_trailer_name(http_body_t *body, char c) {
    if (c == ':' && body->state == TRAILER_NAME) return go_to(body, TRAILER_VALUE);
    if (c == '\r' && body->state == TRAILER_START) return go_to(body, BODY_END);
    body->state = TRAILER_NAME;
    return is_token_character(c) && ++body->overhead <= HTTP_BODY_OVERHEAD_MAX ? HTTP_MORE : 400;
}

/* Takes one character of what is around the chunks. */
static int take_framing(http_body_t *body, char c) {
    switch ((enum body_state)body->state) {
    case SIZE: return take_size(body, c);
    case EXTENSION: return take_ignored(body, c, SIZE_END);
    case SIZE_END: return c == '\n' ? go_to(body, body->remaining > 0 ? CHUNK : TRAILER_START) : 400;
    case CHUNK_CR: return c == '\r' ? go_to(body, CHUNK_LF) : 400;
    case CHUNK_LF:
        body->digits = 0;
        return c == '\n' ? go_to(body, SIZE) : 400;
    case TRAILER_START:
    case TRAILER_NAME: return take_trailer_name(body, c);
    case TRAILER_VALUE: return take_ignored(body, c, TRAILER_END);
    case TRAILER_END: return c == '\n' ? go_to(body, TRAILER_START) : 400;
    case BODY_END: return c == '\n' ? HTTP_DONE : 400;
    case WHOLE:
    case CHUNK: break;
    }
    return 400;
}

int http_parse_body(http_body_t *body, const char *data, size_t length, size_t *used_out,
                    http_text_t *piece_out) {
    size_t used = 0;
    int    status = HTTP_MORE;
    if (body->state == WHOLE && body->remaining == 0) status = HTTP_DONE;
    while (status == HTTP_MORE && used < length) {
        if (body->state != WHOLE && body->state != CHUNK) {
            status = take_framing(body, data[used++]);
            continue;
        }
        const size_t rest = length - used;
        const size_t piece = body->remaining < rest ? (size_t)body->remaining : rest;
        *piece_out = (http_text_t){data + used, piece};
        used += piece;
        body->remaining -= piece;
        if (body->remaining == 0 && body->state == CHUNK) body->state = CHUNK_CR;
        status = HTTP_PIECE;
    }
    *used_out = used;
    return status;
}

/* ---- paths and ranges ---------------------------------------------------------------------------- */

int http_decode_path(http_text_t path, char *decoded, size_t capacity) {
    size_t length = 0;
    for (size_t i = 0; i < path.length; i++) {
        char c = path.start[i];
        if (c == '%') {
            const int high = i + 2 < path.length ? hex_value(path.start[i + 1]) : -1;
            const int low = i + 2 < path.length ? hex_value(path.start[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0) return 400;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (length + 1 >= capacity) return 414;
        decoded[length++] = c;
    }
    decoded[length] = '\0';
    return HTTP_DONE;
}

http_range_t http_parse_range(http_text_t range, uint64_t size, uint64_t *first_out, uint64_t *length_out) {
    uint64_t    first = 0, last = UINT64_MAX;
    http_text_t rest = range;
    if (range.start == NULL || !http_text_is(cut(&rest, '='), "bytes")) return HTTP_RANGE_NONE;
    const http_text_t from = cut(&rest, '-');
    if (rest.start == from.start + from.length) return HTTP_RANGE_NONE; /* no '-' */
    const bool has_first = from.length > 0, has_last = rest.length > 0;
    if ((!has_first && !has_last) || (has_first && !parse_number(from, &first)) ||
        (has_last && !parse_number(rest, &last)) || (has_first && first > last))
        return HTTP_RANGE_NONE;
    if (!has_first) { /* the last bytes */
        if (last == 0 || size == 0) return HTTP_RANGE_UNSATISFIABLE;
        first = last < size ? size - last : 0;
        last = size - 1;
    }
    if (first >= size) return HTTP_RANGE_UNSATISFIABLE;
    if (last >= size) last = size - 1;
    *first_out = first;
    *length_out = last - first + 1;
    return HTTP_RANGE_PART;
}
