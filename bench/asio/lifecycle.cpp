/*
 * What a loop costs that does nothing. Each has a timer, because asio makes its descriptors only with the
 * first object that does I/O or waits.
 *
 * lifecycle_ns               make a loop, run one posted function on it, end it
 * lifecycle_rss_kib          resident memory of this process with one loop that has run, libraries included
 * lifecycle_anonymous_kib    the part of it that is no file: heap, stacks
 * lifecycle_more_loop_kib    what each further loop adds to that
 *
 * Usage: lifecycle WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <asio.hpp>
#include <memory>
#include <vector>

namespace {

constexpr int MORE_LOOPS = 100;

uint64_t ticks;

struct loop {
    asio::io_context io{1};
    asio::steady_timer timer{io};
};

std::unique_ptr<loop> make_and_run() {
    auto made = std::make_unique<loop>();
    asio::post(made->io, [] { ticks++; });
    made->io.run();
    return made;
}

} // namespace

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    measurement window;
    {
        const auto first = make_and_run();
        std::vector<std::unique_ptr<loop>> more;
        report_memory("lifecycle");
        const double before_kib = anonymous_kib();
        for (int i = 0; i < MORE_LOOPS; i++) more.push_back(make_and_run());
        report("lifecycle_more_loop_kib", (anonymous_kib() - before_kib) / MORE_LOOPS);
    }
    measurement_begin(&window, window_ms);
    ticks = 0;
    do {
        make_and_run();
    } while (measurement_continues(&window));
    CHECK(ticks == window.operations);
    report_each("lifecycle_ns", &window);
    return 0;
}
