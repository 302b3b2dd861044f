/*
 * A C++ exception leaves a callback, or a work function: loop.h forbids it, and there are frames of C and Go
 * below that it cannot pass. What happens is the same each time: std::terminate, at once, in the thread that
 * threw, and the handlers around loop_run are not reached. An exception that is caught in the callback does
 * no harm.
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

#include "loop.h"

extern "C" {
int  guest_run_again(const char *role, const char *detail);
void guest_check(bool holds, const char *condition, const char *file, int line);
}

#define CHECK(condition) guest_check((condition), #condition, __FILE__, __LINE__)

namespace {

constexpr int terminated = 7; /* the status of a process that came to std::terminate */

[[noreturn]] void on_terminate() {
    std::exception_ptr cause = std::current_exception();
    try {
        if (cause) std::rethrow_exception(cause);
    } catch (const std::runtime_error &error) {
        _exit(std::strcmp(error.what(), "thrown") == 0 ? terminated : 1);
    } catch (...) {
    }
    _exit(1);
}

void throw_it(loop_t *, loop_request_t *, std::int64_t) {
    throw std::runtime_error("thrown");
}

void throw_in_work(loop_request_t *) {
    throw std::runtime_error("thrown");
}

void catch_it(loop_t *, loop_request_t *request, std::int64_t) {
    try {
        throw std::runtime_error("caught");
    } catch (const std::runtime_error &) {
        ++*static_cast<int *>(request->user);
    }
}

void test_caught() {
    int            caught = 0;
    loop_request_t request = {};
    loop_t        *loop = nullptr;
    request.user = &caught;
    CHECK(loop_init(&loop, nullptr) == 0);
    for (int i = 0; i < 100; i++) {
        CHECK(loop_on_next_tick(loop, &request, catch_it) == 0);
        CHECK(loop_run(loop) == 0);
    }
    CHECK(loop_deinit(loop) == 0);
    CHECK(caught == 100);
}

int run_and_throw(const char *role) {
    loop_t        *loop = nullptr;
    loop_request_t request = {};
    CHECK(loop_init_thread_pool(&loop, std::strcmp(role, "threads") == 0 ? 2 : 1) == 0);
    if (std::strcmp(role, "work") == 0) {
        CHECK(loop_queue_work(loop, &request, throw_in_work, loop_ignore) == 0);
    } else {
        CHECK(loop_on_next_tick(loop, &request, throw_it) == 0);
    }
    std::set_terminate(on_terminate);
    try {
        int result = std::strcmp(role, "deinit") == 0 ? loop_deinit(loop) : loop_run(loop);
        std::fprintf(stderr, "the exception vanished: %d\n", result);
    } catch (...) {
        std::fprintf(stderr, "the exception passed through the library\n");
    }
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    if (argc > 1) {
        return run_and_throw(argv[1]);
    }
    test_caught();
    for (const char *role : {"callback", "threads", "work", "deinit"}) {
        int status = guest_run_again(role, nullptr);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == terminated);
    }
    return 0;
}
