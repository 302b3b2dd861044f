/*
 * How exactly timers of 1 ms fire while the loop is busy: up to 32 of them, started at random when one of 16
 * bytes arrives that bounce between socket pairs of the same loop.
 *
 * timer_p50_us ...      how far from the time that was asked for (1 ms after the start), early or late
 * timer_early_percent   how many were early
 *
 * Usage: timer_latency WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "../latency.h"

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <deque>

namespace {

struct latency results;

class Timer {
public:
    Timer(asio::io_context &context, int index) : context_(context), timer_(context), index_(index) {}

    void start() {
        due_ns_ = now_ns() + LATENCY_DELAY_NS;
        timer_.expires_after(std::chrono::nanoseconds(LATENCY_DELAY_NS));
        timer_.async_wait([this](const asio::error_code &error) {
            CHECK(!error);
            if (!latency_fired(&results, index_, due_ns_)) context_.stop();
        });
    }

private:
    asio::io_context &context_;
    asio::steady_timer timer_;
    int index_;
    uint64_t due_ns_ = 0;
};

class End {
public:
    End(asio::io_context &context, int fd, std::deque<Timer> &timers)
        : descriptor_(context, fd), timers_(timers) {}

    void wait() {
        using asio::posix::stream_descriptor;
        descriptor_.async_wait(stream_descriptor::wait_read, [this](const asio::error_code &error) {
            CHECK(!error);
            load_bounce(descriptor_.native_handle());
            const int next = latency_next(&results);
            if (next >= 0) timers_[static_cast<std::size_t>(next)].start();
            wait();
        });
    }

private:
    asio::posix::stream_descriptor descriptor_; /* closes it */
    std::deque<Timer> &timers_;
};

} // namespace

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    int fds[LOAD_ENDS];
    asio::io_context context(1);
    std::deque<Timer> timers;
    std::deque<End> ends;
    load_open(fds);
    latency_begin(&results, window_ms);
    for (const int fd : fds) ends.emplace_back(context, fd, timers).wait();
    for (int i = 0; i < LATENCY_TIMERS; i++) timers.emplace_back(context, i);
    context.run();
    latency_report(&results);
    return 0;
}
