/*
 * asio::post: 64 posted functions are always in flight. Not thread-safe here, unlike the ticks of libloop:
 * ASIO_CONCURRENCY_HINT_UNSAFE takes the locks out, which is the fastest that asio can do.
 *
 * ticks_each   every function is posted again by itself; asio recycles the memory of its handler
 * ticks_batch  all 64 are posted again by the last one; their handlers are in memory of ours, because asio
 *              recycles only one or two
 * Both are ns per function, and check the order.
 *
 * Usage: ticks WINDOW_MS
 * SPDX-License-Identifier: MIT
 */
#include "slot.h"

#include <asio.hpp>

namespace {

struct tick {
    int number;
    slot memory;
};

tick ticks[TICK_BATCH];
int expected;
measurement window;
asio::io_context *context;

void expect(const tick *tick) {
    CHECK(tick->number == expected);
    expected = (expected + 1) % TICK_BATCH;
}

void post_each(tick *tick) {
    asio::post(*context, [tick] {
        expect(tick);
        if (measurement_continues(&window)) post_each(tick);
    });
}

void post_batch() {
    for (tick &each : ticks) {
        const slot_allocator<char> memory(&each.memory);
        asio::post(*context, asio::bind_allocator(memory, [tick = &each] {
            expect(tick);
            const bool goes_on = measurement_continues(&window);
            if (tick->number == TICK_BATCH - 1 && goes_on) post_batch();
        }));
    }
}

template <typename Start> void run(const char *name, uint64_t window_ms, Start start) {
    asio::io_context io(ASIO_CONCURRENCY_HINT_UNSAFE);
    context = &io;
    expected = 0;
    measurement_begin(&window, window_ms);
    start();
    io.run();
    report_each(name, &window);
}

} // namespace

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    for (int i = 0; i < TICK_BATCH; i++) ticks[i].number = i;
    run("ticks_each", window_ms, [] {
        for (tick &each : ticks) post_each(&each);
    });
    run("ticks_batch", window_ms, [] { post_batch(); });
    return 0;
}
