/*
 * count_calls BACKEND reads|echo|shots WIDTH ROUNDS: a known number of operations between two marks that a
 * tracer sees, for test/count_calls.py. All happens on one thread, the other end of the echo included, so
 * that no scheduling has a part in it. Exits with 77 when the backend cannot be had.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

enum { SKIPPED = 77, WARM_UP_ROUNDS = 3, WIDTH_MAX = 64, SIZE = 4096, MESSAGE = 64 };
enum { PAUSE_NS = 10000000 }; /* long enough for the loop to go to sleep before it is over, tracer and all */

typedef struct lane {
    loop_request_t request;
    int            ours, peers; /* the two ends of the echo */
    char           buffer[SIZE];
} lane_t;

static lane_t         lanes[WIDTH_MAX];
static unsigned       width, rounds, round_now, done_in_round;
static int            file;
static loop_request_t timer;

/* A write that fails, which is all that a tracer needs. */
static void mark(const char *name)
{
    CHECK(write(-1, name, strlen(name)) == -1);
}

/* True once a round, when the last lane has done its part; marks where the counting begins and ends. */
static int round_is_over(void)
{
    if (++done_in_round < width) {
        return 0;
    }
    done_in_round = 0;
    round_now++;
    if (round_now == WARM_UP_ROUNDS) {
        mark("begin");
    } else if (round_now == WARM_UP_ROUNDS + rounds) {
        mark("end");
    }
    return 1;
}

/* ---- reads of a file in the page cache: each lane reads again in its callback -------------------------- */

static void read_again(loop_t *loop, loop_request_t *request, int64_t result)
{
    lane_t *lane = (lane_t *)request;
    CHECK(result == SIZE);
    round_is_over();
    if (round_now < WARM_UP_ROUNDS + rounds) {
        CHECK(loop_pread(loop, request, file, lane->buffer, SIZE, 0, read_again) == 0);
    }
}

static void start_reads(loop_t *loop)
{
    static const char contents[SIZE];
    file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    CHECK(file >= 0 && write(file, contents, SIZE) == SIZE);
    for (unsigned i = 0; i < width; i++) {
        CHECK(loop_pread(loop, &lanes[i].request, file, lanes[i].buffer, SIZE, 0, read_again) == 0);
    }
}

/* ---- echo, shots: a timer has all peers send, while all reads or receives wait ----------------------- */

static loop_buffers_t *buffers; /* shots: where receives take theirs from */

static void on_read(loop_t *loop, loop_request_t *request, int64_t result);
static void on_timer(loop_t *loop, loop_request_t *request, int64_t result);

static void on_written(loop_t *loop, loop_request_t *request, int64_t result)
{
    lane_t *lane = (lane_t *)request;
    char    answer[MESSAGE];
    CHECK(result == MESSAGE);
    CHECK(read(lane->peers, answer, sizeof answer) == MESSAGE);
    if (round_is_over()) {
        if (round_now == WARM_UP_ROUNDS + rounds) {
            exit(0);
        }
        CHECK(loop_timer_start(loop, &timer, PAUSE_NS, 0, on_timer) == 0);
    }
    if (buffers == NULL) {
        CHECK(loop_read(loop, request, lane->ours, lane->buffer, SIZE, on_read) == 0);
    }
}

static void on_shot(loop_t *loop, loop_request_t *request, int64_t result)
{
    lane_t *lane = request->user;
    CHECK(result == MESSAGE && loop_buffer_return(buffers, loop_buffer(request)) == 0);
    CHECK(loop_send(loop, &lane->request, lane->ours, lane->buffer, MESSAGE, 0, on_written) == 0);
}

static void on_read(loop_t *loop, loop_request_t *request, int64_t result)
{
    lane_t *lane = (lane_t *)request;
    CHECK(result == MESSAGE);
    CHECK(loop_write(loop, request, lane->ours, lane->buffer, MESSAGE, on_written) == 0);
}

static void on_timer(loop_t *loop, loop_request_t *request, int64_t result)
{
    static const char message[MESSAGE];
    (void)loop;
    (void)request;
    CHECK(result == 0);
    for (unsigned i = 0; i < width; i++) {
        CHECK(write(lanes[i].peers, message, MESSAGE) == MESSAGE);
    }
}

static void start_echo(loop_t *loop)
{
    static loop_request_t receives[WIDTH_MAX];
    for (unsigned i = 0; i < width; i++) {
        int ends[2];
        make_tcp_pair(ends); /* only there does the length of what came tell that nothing is left */
        lanes[i].ours = ends[0];
        lanes[i].peers = ends[1];
        if (buffers == NULL) {
            CHECK(loop_read(loop, &lanes[i].request, ends[0], lanes[i].buffer, SIZE, on_read) == 0);
            continue;
        }
        receives[i].user = &lanes[i];
        CHECK(loop_recv_buffer(loop, &receives[i], ends[0], buffers, LOOP_MULTISHOT, on_shot) == 0);
    }
    CHECK(loop_timer_start(loop, &timer, PAUSE_NS, 0, on_timer) == 0);
}

int main(int argc, char **argv)
{
    loop_t        *loop;
    loop_options_t options = {.size = sizeof options, .threads = 1};
    CHECK(argc == 5);
    options.backend = strcmp(argv[1], "epoll") == 0 ? LOOP_BACKEND_EPOLL : LOOP_BACKEND_IO_URING;
    width = (unsigned)atoi(argv[3]);
    rounds = (unsigned)atoi(argv[4]);
    CHECK(width >= 1 && width <= WIDTH_MAX && rounds >= 1);
    int error = loop_init(&loop, &options);
    if (error == LOOP_ENOTSUP) {
        return SKIPPED;
    }
    CHECK(error == 0 && strcmp(loop_backend_name(loop), argv[1]) == 0);
    if (strcmp(argv[2], "reads") == 0) {
        start_reads(loop);
    } else {
        if (strcmp(argv[2], "shots") == 0) {
            CHECK(loop_buffers_init(loop, &buffers, NULL, SIZE, 2 * WIDTH_MAX) == 0);
        }
        start_echo(loop);
    }
    CHECK(loop_run(loop) == 0);
    return 0;
}
