/*
 * embed_glib: libloop inside the main loop of GLib (and so of GTK).
 *
 * Shown: a GSource that waits for loop_backend_fd, and for loop_backend_timeout at most, and lets libloop do
 * what there is to do. Callbacks of both loops then run on the main thread, one at a time. embed_poll.c has
 * the same for a loop around poll(2).
 *
 * A timeout of GLib sends bytes to a socket from which libloop receives and to which it sends them back; a
 * timer of libloop runs beside it, and a thread posts.
 */
#define _GNU_SOURCE

#include <loop.h>

#include <glib-unix.h>
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define PERIOD_NS UINT64_C(2000000)

enum { BYTES = 25, POSTS = 100, SHOTS = 15, LIMIT_SECONDS = 20 };

/* ---- the source: all that embedding takes --------------------------------------------------------- */

typedef struct loop_source {
    GSource  source; /* first: GLib allocates it with what follows */
    loop_t  *loop;
    gpointer fd_tag;
} loop_source_t;

/* Before GLib waits: says how long it may, or that there is something to do already. */
static gboolean prepare(GSource *source, gint *timeout_ms_out) {
    int64_t timeout_ns = loop_backend_timeout(((loop_source_t *)source)->loop);
    int64_t timeout_ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0); /* rounded up */
    *timeout_ms_out = timeout_ns < 0 ? -1 : (gint)MIN(timeout_ms, G_MAXINT);
    return timeout_ns == 0;
}

/* After it waited: says whether there is something to do. */
static gboolean check(GSource *source) {
    loop_source_t *loop_source = (loop_source_t *)source;
    return g_source_query_unix_fd(source, loop_source->fd_tag) != 0 ||
           loop_backend_timeout(loop_source->loop) == 0;
}

static gboolean dispatch(GSource *source, GSourceFunc function, gpointer user) {
    (void)function; /* the callbacks of the requests are called instead */
    (void)user;
    return loop_run_once(((loop_source_t *)source)->loop, 0) < 0 ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

/* Returns a source for a loop of one thread. The caller attaches it, and destroys it before the loop ends. */
static GSource *loop_source_new(loop_t *loop) {
    static GSourceFuncs functions = {.prepare = prepare, .check = check, .dispatch = dispatch};
    GSource            *source = g_source_new(&functions, sizeof(loop_source_t));
    loop_source_t      *loop_source = (loop_source_t *)source;
    loop_source->loop = loop;
    loop_source->fd_tag = g_source_add_unix_fd(source, loop_backend_fd(loop), G_IO_IN);
    return source;
}

/* ---- what runs in it ------------------------------------------------------------------------------- */

typedef struct program {
    GMainLoop     *main_loop;
    loop_t        *loop;
    int            socket_fds[2]; /* [0] is GLib's, [1] libloop's */
    loop_request_t echo, timer;
    char           byte;
    int            sent, came_back, posts, shots;
    bool           failed;
} program_t;

static bool is_done(const program_t *program) {
    return program->came_back == BYTES && program->posts == POSTS && program->shots == SHOTS;
}

static void quit_when_done(program_t *program) {
    if (program->failed || is_done(program)) g_main_loop_quit(program->main_loop);
}

static void on_received(loop_t *loop, loop_request_t *request, int64_t result);

static int receive_byte(program_t *program) {
    return loop_recv(program->loop, &program->echo, program->socket_fds[1], &program->byte, 1, 0,
                     on_received);
}

static void on_sent(loop_t *loop, loop_request_t *request, int64_t result) {
    program_t *program = request->user;
    (void)loop;
    if (result < 0 || receive_byte(program) < 0) program->failed = true;
}

static void on_received(loop_t *loop, loop_request_t *request, int64_t result) {
    program_t *program = request->user;
    if (result == LOOP_ECANCELED) return; /* by loop_deinit */
    if (result <= 0 || loop_send(loop, request, program->socket_fds[1], &program->byte, 1, 0, on_sent) < 0)
        program->failed = true;
}

static void on_timer(loop_t *loop, loop_request_t *request, int64_t result) {
    program_t *program = request->user;
    if (result < 0) return; /* cancelled below */
    program->shots++;
    if (program->shots == SHOTS) loop_cancel(loop, request);
    quit_when_done(program);
}

static void on_posted(loop_t *loop, void *user) {
    program_t *program = user;
    (void)loop;
    program->posts++;
    quit_when_done(program);
}

static gpointer post_from_a_thread(gpointer user) {
    program_t *program = user;
    for (int i = 0; i < POSTS; i++) {
        g_usleep(200);
        if (loop_post(program->loop, on_posted, program) < 0) g_printerr("embed_glib: a post was refused\n");
    }
    return NULL;
}

static gboolean on_glib_timeout(gpointer user) {
    program_t *program = user;
    if (send(program->socket_fds[0], "x", 1, MSG_NOSIGNAL) != 1) program->failed = true;
    program->sent++;
    return program->sent < BYTES && !program->failed ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static gboolean on_glib_readable(gint fd, GIOCondition condition, gpointer user) {
    program_t *program = user;
    char       bytes[BYTES];
    ssize_t    count = read(fd, bytes, sizeof bytes);
    (void)condition;
    if (count > 0) program->came_back += (int)count;
    quit_when_done(program);
    return count > 0 ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static gboolean on_limit(gpointer user) {
    program_t *program = user;
    g_printerr("embed_glib: not done after %d seconds\n", LIMIT_SECONDS);
    program->failed = true;
    quit_when_done(program);
    return G_SOURCE_REMOVE;
}

/* ---- the program ----------------------------------------------------------------------------------- */

static bool start(program_t *program) {
    program->echo.user = program->timer.user = program;
    g_timeout_add(1, on_glib_timeout, program);
    g_timeout_add_seconds(LIMIT_SECONDS, on_limit, program);
    g_unix_fd_add(program->socket_fds[0], G_IO_IN, on_glib_readable, program);
    return receive_byte(program) == 0 &&
           loop_timer_start(program->loop, &program->timer, PERIOD_NS, PERIOD_NS, on_timer) == 0;
}

int main(void) {
    program_t program = {0};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, program.socket_fds) < 0) return 1;
    if (loop_init(&program.loop, NULL) < 0) return 1;
    program.main_loop = g_main_loop_new(NULL, FALSE);
    GSource *source = loop_source_new(program.loop);
    g_source_attach(source, NULL);
    if (!start(&program)) return 1;

    GThread *thread = g_thread_new("poster", post_from_a_thread, &program);
    g_main_loop_run(program.main_loop);
    g_thread_join(thread);

    g_source_destroy(source);
    g_source_unref(source);
    g_main_loop_unref(program.main_loop);
    if (loop_deinit(program.loop) < 0) return 1;
    close(program.socket_fds[0]);
    close(program.socket_fds[1]);
    printf("%d bytes there and back, %d posts, %d shots of a timer\n", program.came_back, program.posts,
           program.shots);
    return is_done(&program) && !program.failed ? 0 : 1;
}
