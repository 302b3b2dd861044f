/*
 * next_tick: the smallest thing that a loop does - call a function a little later.
 *
 * Shown: a request is a struct of yours that you zero once; it may be submitted again in its own callback;
 * ticks run in the order of their submission; and a tick that is submitted by a tick waits for the turn
 * after, which is why a tick that repeats itself for ever holds up nothing else.
 */
#include <loop.h>

#include <stdio.h>
#include <string.h>

/*
 * A tick with what its callback needs. Nothing is allocated for a request: it lives wherever you put it,
 * and `request.user` leads the callback back to what is around it.
 */
typedef struct tick {
    loop_request_t request;
    char           name;
    int            runs_left;
} tick_t;

static char order[16]; /* the names of the ticks as they ran */

static void on_tick(loop_t *loop, loop_request_t *request, int64_t result) {
    tick_t *tick = request->user;
    order[strlen(order)] = tick->name;
    printf("tick %c runs, result %lld\n", tick->name, (long long)result);

    /* The request is ours again as soon as its callback begins, so it may be used at once. */
    tick->runs_left--;
    if (tick->runs_left > 0 && loop_on_next_tick(loop, request, on_tick) < 0) order[0] = '!';
}

int main(void) {
    loop_t *loop;
    int     error = loop_init(&loop, NULL);
    if (error < 0) {
        fprintf(stderr, "next_tick: loop_init: %s\n", loop_error_message(error));
        return 1;
    }

    tick_t first = {.name = 'a', .runs_left = 3};
    tick_t second = {.name = 'b', .runs_left = 2};
    first.request.user = &first;
    second.request.user = &second;
    if (loop_on_next_tick(loop, &first.request, on_tick) < 0) return 1;
    if (loop_on_next_tick(loop, &second.request, on_tick) < 0) return 1;

    puts("submitted; no callback has run yet, because none ever runs inside a submit");
    if (order[0] != '\0') return 1;

    /* Returns when nothing is pending any more: here, after the last tick. */
    if (loop_run(loop) < 0) return 1;
    if (loop_deinit(loop) < 0) return 1;

    /* a and b in the first turn, a and b in the second, and a alone in the third. */
    printf("order: %s\n", order);
    return strcmp(order, "ababa") == 0 ? 0 : 1;
}
