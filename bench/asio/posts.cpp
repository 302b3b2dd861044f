/*
 * Four threads on one processor send messages to a loop on another with asio::post, each from a ring of
 * 256 of its own: a message may be sent again once it was delivered. The order within a thread is checked.
 * posts_rate is messages delivered per second. The handlers are stored with the messages.
 *
 * Usage: posts WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "slot.h"

#include <asio.hpp>
#include <atomic>
#include <sched.h>
#include <thread>

namespace {

struct poster;

struct message {
    std::atomic<bool> under_way;
    uint64_t sequence;
    struct poster *poster;
    slot memory;
};

struct poster {
    std::thread thread;
    uint64_t delivered;
    message messages[POSTS_PER_THREAD];
};

asio::io_context io(1);
asio::executor_work_guard<asio::io_context::executor_type> guard(io.get_executor());
poster posters[POST_THREADS];
std::atomic<int> posters_left{POST_THREADS};
std::atomic<bool> stopping;
measurement window;

void on_message(message *message) {
    CHECK(message->sequence == message->poster->delivered);
    message->poster->delivered++;
    if (!measurement_continues(&window)) stopping.store(true, std::memory_order_relaxed);
    message->under_way.store(false, std::memory_order_release);
}

// Wait until a message was delivered. False when it is time to stop.
bool await(const message &message) {
    while (!stopping.load(std::memory_order_relaxed)) {
        if (!message.under_way.load(std::memory_order_acquire)) return true;
        sched_yield();
    }
    return false;
}

void post(poster *poster) {
    pin_to_last_processor();
    for (uint64_t sequence = 0;; sequence++) {
        message *message = &poster->messages[sequence % POSTS_PER_THREAD];
        if (!await(*message)) break;
        message->sequence = sequence;
        message->poster = poster;
        message->under_way.store(true, std::memory_order_relaxed);
        const slot_allocator<char> memory(&message->memory);
        asio::post(io, asio::bind_allocator(memory, [message] { on_message(message); }));
    }
    if (posters_left.fetch_sub(1) == 1) guard.reset();
}

} // namespace

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    const asio::steady_timer reactor(io); // so that it sleeps in epoll, as in a program that does I/O
    measurement_begin(&window, window_ms);
    for (poster &each : posters) each.thread = std::thread(post, &each);
    pin_to_first_processor();
    io.run();
    for (poster &each : posters) each.thread.join();
    report_rate("posts_rate", &window);
    return 0;
}
