/*
 * An HTTP server: what examples_c/http_server.c does with a request for a file or for /hello, in libuv.
 * Prints its port, and serves until SIGTERM. wrk measures it.
 *
 * Parser, files and answers are those of the example, so what is compared is the way of the bytes. Each
 * connection reads into a buffer of its own; requests that came together are answered together, with
 * uv_try_write, the shortest way that libuv has. What that could not take goes with uv_write, and meanwhile
 * nothing is read. Files that are not in the cache are opened on the thread pool. A connection has one timer,
 * which looks at the deadline when it is due and is not touched by requests.
 *
 * Long files have two ways:
 *   memory    they are kept in memory, and go with their heads
 *   sendfile  the head goes first, then uv_fs_sendfile without a callback, which is the system call; what the
 *             socket does not take is read and goes with uv_write
 *
 * Usage: http_server ROOT memory|sendfile
 * SPDX-License-Identifier: MIT
 */
#include "../../examples_c/http_server/answer.h"
#include "../support.h"
#include "listener.h"

#include <signal.h>
#include <string.h>
#include <uv.h>

enum { IN_MEMORY_MAX = 1 << 20, TIMEOUT_MS = 60000 };

struct connection {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    uv_work_t open;
    int handles_open;
    bool closing;
    bool closes_after_answer;
    bool opening;
    bool writing;
    uint64_t deadline_ms;
    size_t begin, end; /* what was received and not yet used */
    http_request_t request;
    http_file_t *file;
    int open_error;
    char *piece; /* of a file, on its way with uv_write */
    char path[HTTP_PATH_MAX];
    http_answers_t answers;
    char input[HTTP_HEAD_MAX];
};

static uv_loop_t loop;
static uv_tcp_t listener;
static uv_signal_t stop_signal;
static http_files_t *files;

static void serve(struct connection *connection);

/* ---- the end of a connection ---- */

static void on_closed(uv_handle_t *handle) {
    struct connection *connection = handle->data;
    if (--connection->handles_open > 0) return;
    http_answers_clear(&connection->answers);
    free(connection->piece);
    free(connection);
}

static void end_connection(struct connection *connection) {
    if (connection->closing || connection->opening) return; /* on_opened comes back here */
    connection->closing = true;
    uv_close((uv_handle_t *)&connection->tcp, on_closed);
    uv_close((uv_handle_t *)&connection->timer, on_closed);
}

static void on_timer(uv_timer_t *timer) {
    struct connection *connection = timer->data;
    const uint64_t now = uv_now(&loop);
    if (now < connection->deadline_ms)
        uv_timer_start(timer, on_timer, connection->deadline_ms - now, 0);
    else
        end_connection(connection);
}

/* ---- sending ---- */

static void finish_answers(struct connection *connection) {
    http_answers_clear(&connection->answers);
    free(connection->piece);
    connection->piece = NULL;
    connection->writing = false;
}

static void on_written(uv_write_t *write, int status) {
    struct connection *connection = write->data;
    if (status < 0 || connection->closing) {
        end_connection(connection);
        return;
    }
    finish_answers(connection);
    serve(connection);
}

/* What could not be sent at once follows when there is room; until then nothing is read. */
static void write_later(struct connection *connection, const uv_buf_t *buffers, unsigned count) {
    connection->writing = true;
    uv_read_stop((uv_stream_t *)&connection->tcp);
    CHECK(uv_write(&connection->write, (uv_stream_t *)&connection->tcp, buffers, count, on_written) == 0);
}

/* Cut off what was sent. */
static void skip(uv_buf_t *buffers, unsigned count, size_t sent) {
    for (unsigned i = 0; i < count; i++) {
        const size_t part = sent < buffers[i].len ? sent : buffers[i].len;
        buffers[i] = uv_buf_init(buffers[i].base + part, (unsigned)(buffers[i].len - part));
        sent -= part;
    }
}

static void send_file(struct connection *connection) {
    http_answers_t *answers = &connection->answers;
    uv_os_fd_t fd;
    uv_fs_t request;
    CHECK(uv_fileno((uv_handle_t *)&connection->tcp, &fd) == 0);
    while (answers->rest_length > 0) {
        const ssize_t sent = uv_fs_sendfile(&loop, &request, fd, answers->file->fd,
                                            (int64_t)answers->rest_offset, answers->rest_length, NULL);
        uv_fs_req_cleanup(&request);
        if (sent <= 0) break;
        answers->rest_offset += (uint64_t)sent;
        answers->rest_length -= (uint64_t)sent;
    }
    if (answers->rest_length == 0) {
        finish_answers(connection);
        return;
    }
    connection->piece = malloc(answers->rest_length);
    CHECK(connection->piece != NULL);
    uv_buf_t rest = uv_buf_init(connection->piece, (unsigned)answers->rest_length);
    CHECK(uv_fs_read(&loop, &request, answers->file->fd, &rest, 1, (int64_t)answers->rest_offset, NULL) ==
          (ssize_t)answers->rest_length);
    uv_fs_req_cleanup(&request);
    write_later(connection, &rest, 1);
}

static void send_answers(struct connection *connection) {
    http_answers_t *answers = &connection->answers;
    const bool has_memory = answers->rest != NULL;
    const unsigned count = has_memory ? 2 : 1;
    char *rest = (char *)(uintptr_t)answers->rest; /* libuv has no buffers of const */
    uv_buf_t buffers[2] = {uv_buf_init(answers->bytes, (unsigned)answers->length),
                           uv_buf_init(rest, (unsigned)answers->rest_length)};
    const size_t length = buffers[0].len + (has_memory ? buffers[1].len : 0);
    const int written = uv_try_write((uv_stream_t *)&connection->tcp, buffers, count);
    if (written < 0 && written != UV_EAGAIN) {
        end_connection(connection);
        return;
    }
    const size_t sent = written < 0 ? 0 : (size_t)written;
    if (sent < length) {
        CHECK(has_memory || answers->rest_length == 0); /* a head alone always finds room */
        skip(buffers, count, sent);
        write_later(connection, buffers, count);
    } else if (answers->rest_length > 0 && !has_memory) {
        send_file(connection);
    } else {
        finish_answers(connection);
    }
}

/* ---- requests ---- */

static void finish_request(struct connection *connection) {
    connection->closes_after_answer = !connection->request.keep_alive;
    connection->request = (http_request_t){0};
}

static void refuse(struct connection *connection, int status) {
    connection->request.keep_alive = false;
    http_answer_status(&connection->answers, &connection->request, status);
    finish_request(connection);
}

static void answer_with_file(struct connection *connection) {
    if (connection->file != NULL)
        http_answer_file(&connection->answers, &connection->request, connection->file);
    else
        http_answer_file_error(&connection->answers, &connection->request, connection->open_error);
    connection->file = NULL;
    finish_request(connection);
}

static void open_file(uv_work_t *work) {
    struct connection *connection = work->data;
    connection->open_error = http_files_open(files, connection->path, &connection->file);
}

static void on_opened(uv_work_t *work, int status) {
    struct connection *connection = work->data;
    CHECK(status == 0);
    connection->opening = false;
    answer_with_file(connection);
    serve(connection);
}

static void find_file(struct connection *connection) {
    const int status = http_decode_path(connection->request.path, connection->path, sizeof connection->path);
    if (status != HTTP_DONE) {
        refuse(connection, status);
        return;
    }
    memmove(connection->path, connection->path + 1, strlen(connection->path));
    connection->file = http_files_find(files, connection->path);
    if (connection->file != NULL) {
        answer_with_file(connection);
        return;
    }
    connection->opening = true;
    CHECK(uv_queue_work(&loop, &connection->open, open_file, on_opened) == 0);
}

static void answer(struct connection *connection) {
    static const char hello[] = "Hello, world!\n";
    http_body_t body;
    const http_request_t *request = &connection->request;
    connection->begin += request->parsed;
    if (http_body_begin(&body, request, 0) != HTTP_DONE) {
        refuse(connection, 413);
    } else if (request->method != HTTP_GET && request->method != HTTP_HEAD) {
        refuse(connection, 405);
    } else if (http_text_is(request->path, "/hello")) {
        http_answer_body(&connection->answers, request, "text/plain", hello, sizeof hello - 1);
        finish_request(connection);
    } else {
        find_file(connection);
    }
}

static void on_allocate(uv_handle_t *handle, size_t suggested_size, uv_buf_t *buffer) {
    struct connection *connection = handle->data;
    (void)suggested_size;
    if (connection->begin == connection->end) {
        connection->begin = connection->end = 0;
    } else if (connection->end == sizeof connection->input) {
        connection->end -= connection->begin;
        memmove(connection->input, connection->input + connection->begin, connection->end);
        connection->begin = 0;
        connection->request = (http_request_t){0};
    }
    *buffer = uv_buf_init(connection->input + connection->end,
                          (unsigned)(sizeof connection->input - connection->end));
}

static void on_read(uv_stream_t *stream, ssize_t received, const uv_buf_t *buffer) {
    struct connection *connection = stream->data;
    (void)buffer;
    if (received < 0) {
        end_connection(connection);
        return;
    }
    connection->end += (size_t)received;
    serve(connection);
}

/* Answer what is there, and send the answers; true when there was anything. */
static bool answer_batch(struct connection *connection) {
    while (connection->begin < connection->end && !connection->opening && !connection->closes_after_answer &&
           http_answers_have_room(&connection->answers)) {
        const int status = http_parse_head(&connection->request, connection->input + connection->begin,
                                           connection->end - connection->begin);
        if (status == HTTP_MORE) break;
        if (status == HTTP_DONE)
            answer(connection);
        else
            refuse(connection, status);
    }
    if (connection->opening || connection->answers.length == 0) return false;
    send_answers(connection);
    return true;
}

static void serve(struct connection *connection) {
    connection->deadline_ms = uv_now(&loop) + TIMEOUT_MS;
    while (!connection->writing && !connection->closing && answer_batch(connection)) {}
    if (connection->closing || connection->writing) return;
    if (connection->opening) {
        uv_read_stop((uv_stream_t *)&connection->tcp);
    } else if (connection->closes_after_answer) {
        end_connection(connection);
    } else if (!uv_is_active((uv_handle_t *)&connection->tcp)) {
        CHECK(uv_read_start((uv_stream_t *)&connection->tcp, on_allocate, on_read) == 0);
    }
}

/* ---- the server ---- */

static void on_connection(uv_stream_t *server, int status) {
    struct connection *connection = malloc(sizeof *connection);
    CHECK(status == 0 && connection != NULL);
    memset(connection, 0, offsetof(struct connection, answers.bytes));
    CHECK(uv_tcp_init(&loop, &connection->tcp) == 0);
    CHECK(uv_timer_init(&loop, &connection->timer) == 0);
    connection->handles_open = 2;
    connection->tcp.data = connection->timer.data = connection;
    connection->write.data = connection->open.data = connection;
    CHECK(uv_accept(server, (uv_stream_t *)&connection->tcp) == 0);
    CHECK(uv_tcp_nodelay(&connection->tcp, 1) == 0);
    CHECK(uv_timer_start(&connection->timer, on_timer, TIMEOUT_MS, 0) == 0);
    serve(connection);
}

static void on_signal(uv_signal_t *signal, int number) {
    (void)signal;
    (void)number;
    uv_stop(&loop);
}

int main(int argc, char **argv) {
    CHECK(argc == 3 && (strcmp(argv[2], "memory") == 0 || strcmp(argv[2], "sendfile") == 0));
    files = http_files_new(argv[1], strcmp(argv[2], "memory") == 0 ? IN_MEMORY_MAX : HTTP_COPIED_MAX);
    CHECK(files != NULL);
    raise_descriptor_limit();
    signal(SIGPIPE, SIG_IGN); /* which uv_fs_sendfile would raise */
    CHECK(uv_loop_init(&loop) == 0);
    CHECK(uv_signal_init(&loop, &stop_signal) == 0);
    CHECK(uv_signal_start(&stop_signal, on_signal, SIGTERM) == 0);
    start_listener(&loop, &listener, on_connection);
    uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}
