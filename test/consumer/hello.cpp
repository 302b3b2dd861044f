// The same as hello.c in C++17: a tick with a callable.
#include <iostream>
#include <loop.hpp>

int main() {
    libloop::loop      loop;
    libloop::operation tick{[](libloop::result<void> ticked) {
        std::cout << "hello from libloop " << loop_version() << ", result " << ticked.error().value() << "\n";
    }};
    tick.submit(loop.yield());
    loop.run();
}
