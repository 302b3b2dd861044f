/*
 * One connection of the HTTP server, from its first byte to its close; see connection.h.
 *
 * Everything it waits for is a request of its own, and every completion ends in proceed(), which looks at
 * what there is and takes the next steps. Nothing here waits, and nothing is allocated for a request.
 */
#define _DEFAULT_SOURCE /* MSG_MORE */

#include "connection.h"
#include "answer.h"
#include "parser.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a connection is about to do when what is in flight has completed. */
typedef enum phase {
    RECEIVING_HEAD,
    RECEIVING_BODY,
    OPENING_FILE, /* on a blocking thread */
    DRAINING      /* all answers are given: send them, then wait until the client closes */
} phase_t;

/* Bytes whose number is not known beforehand. */
typedef struct bytes {
    char  *start;
    size_t length, capacity;
} bytes_t;

/*
 * A client. Its callbacks run in its strand, so nothing below needs a lock, except for the links. It has one
 * receive that goes on for as long as it lives, and takes a buffer only when something arrives; so one that
 * is idle costs little. What arrives while answers are being sent is looked at when they are gone: a client
 * that reads no answers is served no further.
 */
struct http_connection {
    loop_request_t wake, receive, send, send_rest, open, timer;
    loop_strand_t  strand;

    bool                wake_in_flight; /* under the lock of all connections, and so are the links */
    http_connection_t  *previous, *next;
    http_connections_t *all;

    int            fd;
    unsigned       in_flight; /* of the requests above, but for wake */
    unsigned       sending;   /* send and send_rest */
    bool           receiving;
    bool           client_ended; /* the client sends no more */
    bool           ended;        /* nothing is received or sent any more */
    phase_t        phase;
    bool           request_begun;
    uint64_t       deadline_ns;  /* of the phase */
    uint64_t       timer_due_ns; /* 0: the timer is not in flight */
    size_t         begin, end;   /* in the input: what was received and not yet used */
    bytes_t        backlog;      /* what was received and found no place in the input */
    http_request_t request;
    http_body_t    body_parser;
    bytes_t        body;
    char           path[HTTP_PATH_MAX]; /* of a file that is being opened; then the file, or the error */
    http_file_t   *file;
    int            open_error;

    /* The buffers are not zeroed: of a connection that has not used them these pages need not even exist. */
    http_answers_t answers;
    char           input[HTTP_HEAD_MAX];
};

static void proceed(http_connection_t *connection);
static void set_deadline(http_connection_t *connection, uint64_t limit_ns);

/* ---- bytes ----------------------------------------------------------------------------------------- */

/* Returns false when there is no memory. */
static bool append(bytes_t *bytes, const char *data, size_t length) {
    const size_t needed = bytes->length + length;
    if (needed > bytes->capacity) {
        size_t capacity = bytes->capacity > 0 ? bytes->capacity : HTTP_RECEIVE_BYTES;
        while (capacity < needed) capacity *= 2;
        char *start = realloc(bytes->start, capacity);
        if (start == NULL) return false;
        bytes->start = start;
        bytes->capacity = capacity;
    }
    memcpy(bytes->start + bytes->length, data, length);
    bytes->length = needed;
    return true;
}

/* Moves bytes from the front to `out`; returns their number, which is at most `room`. */
static size_t take(bytes_t *bytes, char *out, size_t room) {
    const size_t length = bytes->length < room ? bytes->length : room;
    if (length == 0) return 0;
    memcpy(out, bytes->start, length);
    bytes->length -= length;
    memmove(bytes->start, bytes->start + length, bytes->length);
    return length;
}

/* ---- the end of a connection ----------------------------------------------------------------------- */

/* With nothing in flight a plain close is safe, and so is free. */
static void destroy(http_connection_t *connection) {
    close(connection->fd);
    http_answers_clear(&connection->answers);
    free(connection->body.start);
    free(connection->backlog.start);
    free(connection);
}

/* A wake that is in flight refers to the connection; its callback comes back here. */
static void end_connection(http_connection_t *connection) {
    http_connections_t *all = connection->all;
    pthread_mutex_lock(&all->lock);
    if (connection->wake_in_flight) {
        pthread_mutex_unlock(&all->lock);
        return;
    }
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        all->first = connection->next;
    if (connection->next != NULL) connection->next->previous = connection->previous;
    pthread_mutex_unlock(&all->lock);
    destroy(connection);
    all->on_end(all);
}

/* Nothing is worth to be sent or received any more. What is in flight ends with LOOP_ECANCELED. */
static void give_up(http_connection_t *connection) {
    http_connections_t *all = connection->all;
    if (connection->ended) return;
    connection->ended = true;
    if (connection->receiving) loop_cancel(all->loop, &connection->receive);
    if (connection->timer_due_ns != 0) loop_cancel(all->loop, &connection->timer);
    if (connection->sending > 0) {
        loop_cancel(all->loop, &connection->send); /* LOOP_ENOENT when it is done */
        loop_cancel(all->loop, &connection->send_rest);
    }
}

/* Counts a request that was submitted. A refusal means that the loop is at its end. */
static bool is_accepted(http_connection_t *connection, int error) {
    if (error == 0)
        connection->in_flight++;
    else
        give_up(connection);
    return error == 0;
}

/* ---- deadlines ------------------------------------------------------------------------------------- */

/* The time for a phase is over. A client whose request has begun is told so. */
static void time_out(http_connection_t *connection) {
    if (connection->sending > 0 || connection->phase == OPENING_FILE) {
        /* It is not the client's turn; and sends have a limit of their own. */
        set_deadline(connection, connection->all->limits.idle_ns);
    } else if (connection->phase == DRAINING || !connection->request_begun) {
        give_up(connection);
    } else {
        connection->request.keep_alive = false;
        http_answer_status(&connection->answers, &connection->request, 408);
        connection->phase = DRAINING;
    }
}

static void on_timer(loop_t *loop, loop_request_t *request, int64_t result);

static void start_timer(http_connection_t *connection) {
    loop_t        *loop = connection->all->loop;
    const uint64_t now = loop_now(loop);
    const uint64_t delay_ns = connection->deadline_ns > now ? connection->deadline_ns - now : 0;
    if (is_accepted(connection, loop_timer_start(loop, &connection->timer, delay_ns, 0, on_timer)))
        connection->timer_due_ns = connection->deadline_ns;
}

/* Most deadlines are moved back long before they are due. The timer does not care until it fires. */
static void on_timer(loop_t *loop, loop_request_t *request, int64_t result) {
    http_connection_t *connection = request->user;
    (void)result; /* LOOP_ECANCELED: there is an earlier deadline, or an end */
    connection->in_flight--;
    connection->timer_due_ns = 0;
    if (!connection->ended) {
        if (connection->deadline_ns > loop_now(loop))
            start_timer(connection);
        else
            time_out(connection);
    }
    proceed(connection);
}

static void set_deadline(http_connection_t *connection, uint64_t limit_ns) {
    loop_t *loop = connection->all->loop;
    if (connection->ended) return;
    connection->deadline_ns = loop_now(loop) + limit_ns;
    if (connection->timer_due_ns == 0)
        start_timer(connection);
    else if (connection->deadline_ns < connection->timer_due_ns)
        loop_cancel(loop, &connection->timer); /* on_timer starts it again */
}

/* ---- receiving ------------------------------------------------------------------------------------- */

static void on_received(loop_t *loop, loop_request_t *request, int64_t result);

static void receive(http_connection_t *connection) {
    http_connections_t *all = connection->all;
    if (connection->receiving || connection->client_ended || connection->ended) return;
    connection->receiving = is_accepted(
        connection, loop_recv_buffer(all->loop, &connection->receive, connection->fd, all->buffers,
                                     LOOP_MULTISHOT, on_received));
}

/* Keeps what has arrived. When that is more than finds a place, the receive stops until it has been used. */
static void keep(http_connection_t *connection, const char *data, size_t length) {
    const size_t room = connection->backlog.length > 0 ? 0 : sizeof connection->input - connection->end;
    const size_t kept = length < room ? length : room;
    if (connection->phase == DRAINING) return; /* whatever the client still says */
    memcpy(connection->input + connection->end, data, kept);
    connection->end += kept;
    if (kept == length) return;
    loop_cancel(connection->all->loop, &connection->receive);
    if (!append(&connection->backlog, data + kept, length - kept)) give_up(connection);
}

/*
 * Makes room in the input, and fills it from the backlog; false when there was nothing to fill it with. A
 * head is parsed in place; when it has to move it is parsed afresh.
 */
static bool refill(http_connection_t *connection) {
    if (connection->begin == connection->end) {
        connection->begin = connection->end = 0;
    } else if (connection->begin > 0 && sizeof connection->input - connection->end < HTTP_RECEIVE_BYTES) {
        connection->end -= connection->begin;
        memmove(connection->input, connection->input + connection->begin, connection->end);
        connection->begin = 0;
        connection->request = (http_request_t){0};
    }
    const size_t taken = take(&connection->backlog, connection->input + connection->end,
                              sizeof connection->input - connection->end);
    connection->end += taken;
    return taken > 0;
}

static void on_received(loop_t *loop, loop_request_t *request, int64_t result) {
    http_connection_t *connection = request->user;
    (void)loop;
    if (!(request->flags & LOOP_MORE)) {
        connection->receiving = false;
        connection->in_flight--;
    }
    if (result > 0) {
        char *buffer = loop_buffer(request);
        keep(connection, buffer, (size_t)result);
        loop_buffer_return(connection->all->buffers, buffer);
    } else if (result == 0) {
        connection->client_ended = true;
    } else if (result != LOOP_ECANCELED && result != LOOP_ENOBUFS) {
        /* LOOP_ECANCELED: the backlog was in the way. LOOP_ENOBUFS: others return buffers in this turn. */
        give_up(connection);
    }
    proceed(connection);
}

/* ---- sending --------------------------------------------------------------------------------------- */

static void on_sent(loop_t *loop, loop_request_t *request, int64_t result);
static void on_rest_sent(loop_t *loop, loop_request_t *request, int64_t result);

static void count_send(http_connection_t *connection, int error) {
    if (is_accepted(connection, error)) connection->sending++;
}

static void send_rest(http_connection_t *connection) {
    loop_t         *loop = connection->all->loop;
    http_answers_t *answers = &connection->answers;
    connection->send_rest.timeout_ns = connection->all->limits.send_ns;
    if (answers->rest != NULL)
        count_send(connection, loop_send(loop, &connection->send_rest, connection->fd, answers->rest,
                                         answers->rest_length, LOOP_SEND_ALL, on_rest_sent));
    else
        count_send(connection,
                   loop_sendfile(loop, &connection->send_rest, connection->fd, answers->file->fd,
                                 answers->rest_offset, answers->rest_length, LOOP_SEND_ALL, on_rest_sent));
}

/*
 * Sends all answers. The rest is submitted at once with what is before it: the library keeps the order of
 * sends on a socket, and MSG_MORE makes the kernel put both into the same packets. Only the last one has a
 * time limit. If the first one had, the rest could still go out behind half of it.
 */
static void send_answers(http_connection_t *connection) {
    http_answers_t *answers = &connection->answers;
    const bool      has_rest = answers->rest_length > 0;
    if (answers->length == 0 || connection->sending > 0 || connection->ended) return;
    connection->send.timeout_ns = has_rest ? 0 : connection->all->limits.send_ns;
    count_send(connection, loop_send(connection->all->loop, &connection->send, connection->fd,
                                     answers->bytes, answers->length,
                                     LOOP_SEND_ALL | (has_rest ? MSG_MORE : 0), on_sent));
    if (has_rest && !connection->ended) send_rest(connection);
}

/* Goes on when all answers are gone. */
static void finish_send(http_connection_t *connection) {
    const http_limits_t *limits = &connection->all->limits;
    if (connection->sending == 0) {
        http_answers_clear(&connection->answers);
        if (connection->phase == DRAINING) {
            /* A close while the client still sends would be a reset, which may overtake the answer. */
            shutdown(connection->fd, SHUT_WR);
            set_deadline(connection, limits->drain_ns);
        } else if (!connection->request_begun) {
            set_deadline(connection, limits->idle_ns);
        }
    }
    proceed(connection);
}

static void on_sent(loop_t *loop, loop_request_t *request, int64_t result) {
    http_connection_t *connection = request->user;
    (void)loop;
    connection->sending--;
    connection->in_flight--;
    if (result != (int64_t)connection->answers.length) give_up(connection);
    finish_send(connection);
}

/* A long file may take longer than the limit, as long as the client takes some of it each time. */
static void on_rest_sent(loop_t *loop, loop_request_t *request, int64_t result) {
    http_connection_t *connection = request->user;
    http_answers_t    *answers = &connection->answers;
    (void)loop;
    connection->sending--;
    connection->in_flight--;
    if (result <= 0 || connection->ended) {
        give_up(connection); /* 0: the file has become shorter than we promised */
    } else if ((uint64_t)result < answers->rest_length) {
        answers->rest_length -= (uint64_t)result;
        answers->rest_offset += (uint64_t)result;
        if (answers->rest != NULL) answers->rest += result;
        send_rest(connection);
    }
    finish_send(connection);
}

/* ---- requests -------------------------------------------------------------------------------------- */

/* The next request may come; or the connection ends after this one. */
static void finish_request(http_connection_t *connection) {
    connection->phase = connection->request.keep_alive ? RECEIVING_HEAD : DRAINING;
    connection->request = (http_request_t){0};
    connection->request_begun = false;
    connection->body.length = 0;
}

/* Begins with an answer: it is the last one of the connection if the server is about to stop. */
static http_answers_t *begin_answer(http_connection_t *connection) {
    if (atomic_load(&connection->all->stop) != HTTP_SERVING) connection->request.keep_alive = false;
    return &connection->answers;
}

static void refuse(http_connection_t *connection, int status) {
    connection->request.keep_alive = false;
    http_answer_status(&connection->answers, &connection->request, status);
    finish_request(connection);
}

static void answer_with_file(http_connection_t *connection) {
    if (connection->file != NULL)
        http_answer_file(begin_answer(connection), &connection->request, connection->file);
    else
        http_answer_file_error(begin_answer(connection), &connection->request, connection->open_error);
    connection->file = NULL;
    finish_request(connection);
}

/* Runs on a blocking thread, because a disk, or a file system from the network, may take its time. */
static void open_file(loop_request_t *request) {
    http_connection_t *connection = request->user;
    connection->open_error = http_files_open(connection->all->files, connection->path, &connection->file);
}

static void on_opened(loop_t *loop, loop_request_t *request, int64_t result) {
    http_connection_t *connection = request->user;
    (void)loop;
    connection->in_flight--;
    if (result < 0) connection->open_error = (int)result; /* it never began: the loop is at its end */
    answer_with_file(connection);
    proceed(connection);
}

static void find_file(http_connection_t *connection) {
    static const char index_file[] = "index.html";
    char             *path = connection->path;
    const size_t      capacity = sizeof connection->path - sizeof index_file;
    const int         status = http_decode_path(connection->request.path, path, capacity);
    if (status != HTTP_DONE) {
        refuse(connection, status);
        return;
    }
    const size_t length = strlen(path);
    memmove(path, path + 1, length); /* without the leading slash it is relative to the root */
    if (length == 1 || path[length - 2] == '/') memcpy(path + length - 1, index_file, sizeof index_file);
    connection->file = http_files_find(connection->all->files, path);
    if (connection->file != NULL) {
        answer_with_file(connection);
        return;
    }
    connection->phase = OPENING_FILE;
    is_accepted(connection, loop_queue_work(connection->all->loop, &connection->open, open_file, on_opened));
}

static void answer_method_not_allowed(http_connection_t *connection, const char *allow_field) {
    http_answer_status_with(begin_answer(connection), &connection->request, 405, allow_field);
    finish_request(connection);
}

static void answer_hello(http_connection_t *connection) {
    static const char hello[] = "Hello, world!\n";
    http_answer_body(begin_answer(connection), &connection->request, "text/plain", hello, sizeof hello - 1);
    finish_request(connection);
}

static void answer_echo(http_connection_t *connection) {
    http_answer_body(begin_answer(connection), &connection->request, "application/octet-stream",
                     connection->body.start, connection->body.length);
    finish_request(connection);
}

/* Answers a request without a body, here or, if its file has to be opened, in on_opened. */
static void answer(http_connection_t *connection) {
    const http_request_t *request = &connection->request;
    const bool            is_echo = http_text_is(request->path, "/echo");
    if (is_echo && request->method == HTTP_POST)
        answer_echo(connection);
    else if (is_echo)
        answer_method_not_allowed(connection, "Allow: POST\r\n");
    else if (request->method != HTTP_GET && request->method != HTTP_HEAD)
        answer_method_not_allowed(connection, "Allow: GET, HEAD\r\n");
    else if (http_text_is(request->path, "/hello"))
        answer_hello(connection);
    else
        find_file(connection);
}

/*
 * A body follows. Only /echo has a use for it; elsewhere it is refused unread, and the connection ends. So
 * what the request says is not needed any more when the body takes its place in the buffer. A client that
 * asks first is told to send the body.
 */
static void begin_body(http_connection_t *connection) {
    http_request_t *request = &connection->request;
    if (!http_text_is(request->path, "/echo") || request->method != HTTP_POST) {
        request->keep_alive = false;
        if (request->method == HTTP_GET || request->method == HTTP_HEAD)
            refuse(connection, 400);
        else
            answer(connection); /* that the method is not allowed */
        return;
    }
    connection->phase = RECEIVING_BODY;
    connection->request_begun = true;
    set_deadline(connection, connection->all->limits.body_ns);
    if (request->expects_continue && connection->begin == connection->end)
        http_answer_continue(&connection->answers);
}

static void finish_head(http_connection_t *connection) {
    http_request_t *request = &connection->request;
    const int       status = http_body_begin(&connection->body_parser, request, HTTP_BODY_MAX);
    connection->begin += request->parsed;
    if (status == HTTP_DONE)
        answer(connection);
    else if (status == HTTP_MORE)
        begin_body(connection);
    else
        refuse(connection, status);
}

/* Takes what is there of a head; false when more is needed. */
static bool take_head(http_connection_t *connection) {
    const size_t length = connection->end - connection->begin;
    if (length == 0) return false;
    const int status = http_parse_head(&connection->request, connection->input + connection->begin, length);
    if (status == HTTP_MORE) {
        if (!connection->request_begun) set_deadline(connection, connection->all->limits.head_ns);
        connection->request_begun = true;
        return false;
    }
    if (status == HTTP_DONE)
        finish_head(connection);
    else
        refuse(connection, status);
    return true;
}

/* Takes what is there of a body; false when more is needed. */
static bool take_body(http_connection_t *connection) {
    http_text_t piece;
    size_t      used;
    for (;;) {
        const int status = http_parse_body(&connection->body_parser, connection->input + connection->begin,
                                           connection->end - connection->begin, &used, &piece);
        connection->begin += used;
        if (status == HTTP_MORE) return false;
        if (status == HTTP_PIECE && append(&connection->body, piece.start, piece.length)) continue;
        if (status == HTTP_DONE)
            answer_echo(connection);
        else
            refuse(connection, status == HTTP_PIECE ? 503 : status); /* 503: no memory */
        return true;
    }
}

/* Answers all requests that are there; true when there is nothing to do before more is received. */
static bool take_requests(http_connection_t *connection) {
    while (http_answers_have_room(&connection->answers)) {
        switch (connection->phase) {
        case RECEIVING_HEAD:
            if (!take_head(connection) && !refill(connection)) return true;
            break;
        case RECEIVING_BODY:
            if (!take_body(connection) && !refill(connection)) return true;
            break;
        case OPENING_FILE:
            return false;
        case DRAINING:
            return true;
        }
    }
    return false;
}

/* Nothing more will come of a client that has ended; and during a stop, of one that is idle. */
static bool is_over(const http_connection_t *connection) {
    if (connection->answers.length > 0) return false;
    return connection->client_ended ||
           (connection->phase == RECEIVING_HEAD && !connection->request_begun &&
            atomic_load(&connection->all->stop) != HTTP_SERVING);
}

/* Takes the next steps: called at the end of every callback of a connection. */
static void proceed(http_connection_t *connection) {
    if (atomic_load(&connection->all->stop) == HTTP_BREAKING) give_up(connection);
    if (!connection->ended && connection->sending == 0) {
        const bool needs_more = take_requests(connection);
        if (needs_more && is_over(connection)) {
            give_up(connection);
        } else if (connection->phase != OPENING_FILE) {
            send_answers(connection);
            if (needs_more) receive(connection);
        }
    }
    if (connection->ended && connection->in_flight == 0) end_connection(connection);
}

/* Runs at the beginning of a connection, and when the server is to stop. */
static void on_wake(loop_t *loop, loop_request_t *request, int64_t result) {
    http_connection_t *connection = request->user;
    (void)loop;
    (void)result;
    pthread_mutex_lock(&connection->all->lock);
    connection->wake_in_flight = false;
    pthread_mutex_unlock(&connection->all->lock);
    if (connection->deadline_ns == 0) set_deadline(connection, connection->all->limits.idle_ns);
    proceed(connection);
}

/* Has a connection proceed, in its strand. Called under the lock; false when the loop is at its end. */
static bool wake(http_connection_t *connection) {
    if (connection->wake_in_flight) return true;
    connection->wake_in_flight =
        loop_on_next_tick(connection->all->loop, &connection->wake, on_wake) == 0;
    return connection->wake_in_flight;
}

/* ---- all connections ------------------------------------------------------------------------------- */

void http_connection_begin(http_connections_t *all, int fd) {
    http_connection_t *connection = malloc(sizeof *connection);
    if (connection == NULL) {
        close(fd);
        return;
    }
    memset(connection, 0, offsetof(http_connection_t, answers.bytes));
    connection->all = all;
    connection->fd = fd;
    loop_request_t *requests[] = {&connection->wake, &connection->receive, &connection->send,
                                  &connection->send_rest, &connection->open, &connection->timer};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        requests[i]->user = connection;
        loop_set_strand(requests[i], &connection->strand);
    }
    pthread_mutex_lock(&all->lock);
    const bool begun = wake(connection);
    if (begun) {
        connection->next = all->first;
        if (connection->next != NULL) connection->next->previous = connection;
        all->first = connection;
    }
    pthread_mutex_unlock(&all->lock);
    if (!begun) destroy(connection);
}

void http_connections_stop(http_connections_t *all, http_stop_t stop) {
    pthread_mutex_lock(&all->lock);
    atomic_store(&all->stop, stop);
    for (http_connection_t *each = all->first; each != NULL; each = each->next) wake(each);
    pthread_mutex_unlock(&all->lock);
}

bool http_connections_are_over(http_connections_t *all) {
    pthread_mutex_lock(&all->lock);
    const bool over = all->first == NULL;
    pthread_mutex_unlock(&all->lock);
    return over;
}
