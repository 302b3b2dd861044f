/* A program in C that uses an installed libloop: a tick says hello. */
#include <loop.h>
#include <stdio.h>

static void hello(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    (void)request;
    printf("hello from libloop %s, result %d\n", loop_version(), (int)result);
}

int main(void) {
    loop_t        *loop;
    loop_request_t tick = {0};
    if (loop_init(&loop, NULL) < 0) return 1;
    if (loop_on_next_tick(loop, &tick, hello) < 0) return 1;
    if (loop_run(loop) < 0) return 1;
    return loop_deinit(loop) < 0;
}
