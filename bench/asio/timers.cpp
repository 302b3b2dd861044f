/*
 * COUNT timers with random delays, one shot each: a steady_timer without type-erased executor, whose handler
 * is stored beside it.
 *
 * timers_start_ns   start one
 * timers_cancel_ns  cancel one long before it is due, delivery of its operation_aborted included
 * timers_fire_ns    deliver one, when all are due already: the loop's work without the waiting
 *
 * Usage: timers COUNT
 * SPDX-License-Identifier: MIT
 */
#include "../timers.h"
#include "slot.h"

#include <asio.hpp>
#include <deque>

namespace {

using clock_type = std::chrono::steady_clock;
using timer_type = asio::basic_waitable_timer<clock_type, asio::wait_traits<clock_type>,
                                              asio::io_context::executor_type>;

struct timer {
    explicit timer(asio::io_context &io) : timer_(io) {}
    timer_type timer_;
    slot slot_;
};

uint64_t random_state = 88172645463325252u;
uint64_t fired;
uint64_t cancelled;

void on_timer(const asio::error_code &error) {
    if (!error) {
        fired++;
    } else {
        CHECK(error == asio::error::operation_aborted);
        cancelled++;
    }
}

// The deadlines are from one look at the clock, as libuv and libev do it; expires_after would look each time.
void start_all(std::deque<timer> &timers, uint64_t shortest_ms) {
    const auto now = clock_type::now();
    for (timer &each : timers) {
        each.timer_.expires_at(now + std::chrono::milliseconds(random_delay_ms(&random_state, shortest_ms)));
        each.timer_.async_wait(asio::bind_allocator(slot_allocator<char>(&each.slot_), on_timer));
    }
}

void cancel_all(asio::io_context &io, std::deque<timer> &timers) {
    cancelled = 0;
    for (timer &each : timers) CHECK(each.timer_.cancel() == 1);
    io.run();
    io.restart();
    CHECK(fired == 0 && cancelled == timers.size());
}

void start_and_cancel(asio::io_context &io, std::deque<timer> &timers) {
    const uint64_t begin_ns = now_ns();
    start_all(timers, TIMER_FAR_MS);
    const uint64_t started_ns = now_ns();
    cancel_all(io, timers);
    const uint64_t cancelled_ns = now_ns();
    report_share("timers_start_ns", started_ns - begin_ns, timers.size());
    report_share("timers_cancel_ns", cancelled_ns - started_ns, timers.size());
}

void start_and_fire(asio::io_context &io, std::deque<timer> &timers) {
    start_all(timers, near_ms(timers.size()));
    wait_until_due(now_ns(), timers.size());
    const uint64_t begin_ns = now_ns();
    io.run();
    report_share("timers_fire_ns", now_ns() - begin_ns, timers.size());
    CHECK(fired == timers.size());
}

} // namespace

int main(int argc, char **argv) {
    const uint64_t count = number_argument(argc, argv, 1, TIMERS_MAX);
    asio::io_context io(1);
    std::deque<timer> timers;
    for (uint64_t i = 0; i < count; i++) timers.emplace_back(io);
    start_all(timers, TIMER_FAR_MS); // a warm-up
    cancel_all(io, timers);
    start_and_cancel(io, timers);
    start_and_fire(io, timers);
    return 0;
}
