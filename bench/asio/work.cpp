/*
 * Work functions that do next to nothing, on an asio::thread_pool, IN_FLIGHT of them at a time; each posts
 * its completion to the io_context, which posts it to the pool again. work_rate is work functions per
 * second. The pool has the default size of asio (two threads for each processor); the handlers are stored
 * with the items.
 *
 * Usage: work WINDOW_MS IN_FLIGHT
 * SPDX-License-Identifier: MIT
 */
#include "slot.h"

#include <asio.hpp>

namespace {

struct item {
    uint64_t worked;
    uint64_t done;
    slot memory;
};

item items[WORK_MAX];
uint64_t left;
measurement window;
asio::io_context io(1);
asio::thread_pool pool;
asio::executor_work_guard<asio::io_context::executor_type> guard(io.get_executor());

void queue(item *item);

void on_done(item *item) {
    item->done++;
    CHECK(item->worked == item->done);
    if (measurement_continues(&window)) {
        queue(item);
    } else if (--left == 0) {
        guard.reset();
    }
}

void queue(item *item) {
    const slot_allocator<char> memory(&item->memory);
    asio::post(pool, asio::bind_allocator(memory, [item, memory] {
        item->worked++;
        asio::post(io, asio::bind_allocator(memory, [item] { on_done(item); }));
    }));
}

} // namespace

int main(int argc, char **argv) {
    const uint64_t window_ms = number_argument(argc, argv, 1, 60000);
    left = number_argument(argc, argv, 2, WORK_MAX);
    measurement_begin(&window, window_ms);
    for (uint64_t i = 0, count = left; i < count; i++) queue(&items[i]);
    io.run();
    pool.join();
    report_rate("work_rate", &window);
    return 0;
}
