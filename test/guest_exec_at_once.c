/*
 * A host that replaces itself with another program in the first line of main, as wrappers do: the runtime is
 * just starting then, and nothing that it has open for a moment may stay open in the other program.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <string.h>
#include <unistd.h>

enum { ROUNDS = 300 };

/* Instead of another program: this one, when its own runtime has come to rest. */
static int count_inherited(void) {
    loop_t *loop;
    CHECK_OK(loop_init(&loop, NULL));
    CHECK_OK(loop_deinit(loop));
    return guest_next_descriptor() - 3;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "exec") == 0) {
        execl("/proc/self/exe", argv[0], "count", (char *)NULL);
        return 1;
    }
    if (argc > 1 && strcmp(argv[1], "count") == 0) {
        return count_inherited();
    }
    if (argc == 1) {
        guest_exec_fresh("test");
    }
    int leaks = 0;
    for (int i = 0; i < ROUNDS; i++) {
        leaks += guest_run_again("exec", NULL) != 0;
    }
    CHECK(leaks == 0);
    return 0;
}
