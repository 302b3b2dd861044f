// The same as hello.c in C++: the C interface from a program that is linked by a C++ compiler.
#include <iostream>
#include <loop.h>

int main() {
    loop_t        *loop;
    loop_request_t tick{};
    if (loop_init(&loop, nullptr) < 0) return 1;
    const auto hello = [](loop_t *, loop_request_t *, int64_t result) {
        std::cout << "hello from libloop " << loop_version() << ", result " << result << "\n";
    };
    if (loop_on_next_tick(loop, &tick, hello) < 0) return 1;
    if (loop_run(loop) < 0) return 1;
    return loop_deinit(loop) < 0;
}
