// The same as hello.c in C++20: a coroutine that waits for a tick.
#include <iostream>
#include <loop.hpp>

libloop::task<int> hello(libloop::loop &loop) {
    const auto ticked = co_await loop.yield().as_result();
    co_return ticked.error().value();
}

int main() {
    libloop::loop loop;
    const int     result = loop.run(hello(loop));
    std::cout << "hello from libloop " << loop_version() << ", result " << result << "\n";
}
