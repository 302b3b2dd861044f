/*
 * Ping-pong between two loops in two threads, each on a processor of its own: asio::post to the other
 * io_context, whose function posts one back. Both sleep in the kernel in between. wakeup_rate is round trips
 * per second.
 *
 * An io_context without any descriptor waits on a condition variable instead of epoll; with its reactor
 * started, as in every program that does I/O, it sleeps in epoll and is woken as the other libraries are.
 *
 * Usage: wakeup WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../support.h"

#include <asio.hpp>
#include <thread>

namespace {

struct side {
    asio::io_context io{1};
    asio::steady_timer reactor{io};
    asio::executor_work_guard<asio::io_context::executor_type> guard{io.get_executor()};
};

side near_side;
side far_side;
bool last; // written before the last ping is posted
uint64_t answers;
measurement window;

void on_pong();

void on_ping() {
    if (last) {
        far_side.guard.reset();
        return;
    }
    answers++;
    asio::post(near_side.io, on_pong);
}

void on_pong() {
    if (!measurement_continues(&window)) {
        last = true;
        near_side.guard.reset();
    }
    asio::post(far_side.io, on_ping);
}

} // namespace

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    std::thread thread([] {
        pin_to_last_processor();
        far_side.io.run();
    });
    pin_to_first_processor();
    measurement_begin(&window, window_ms);
    asio::post(far_side.io, on_ping);
    near_side.io.run();
    thread.join();
    CHECK(answers == window.operations);
    report_rate("wakeup_rate", &window);
    return 0;
}
