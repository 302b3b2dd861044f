/*
 * COUNT writes of 64 bytes, all submitted in one function, each with a handler of its own, on a stream
 * socket that a thread on the other processor drains. Every message is checked there. pipelined_writes_rate
 * is writes per second, from the first submit until the last message was read.
 *
 * async_write_some calls on one socket are queued in order; each is one whole message, because a stream
 * socket of this kind takes so few bytes or none. Their handlers are in memory of ours.
 *
 * Usage: pipelined_writes COUNT
 * SPDX-License-Identifier: MIT
 */
#include "../drain.h"
#include "slot.h"

#include <asio.hpp>
#include <vector>

namespace {

asio::io_context io(1);
asio::local::stream_protocol::socket stream(io);
drain other_end;
uint64_t written;

void on_write(const asio::error_code &error, std::size_t length) {
    CHECK(!error && length == WRITE_SIZE);
    written++;
}

void run(std::vector<slot> &slots) {
    written = 0;
    asio::post(io, [&slots] {
        drain_begin(&other_end);
        for (uint64_t i = 0; i < other_end.count; i++) {
            const slot_allocator<char> memory(&slots[i]);
            stream.async_write_some(asio::buffer(&other_end.messages[i], WRITE_SIZE),
                                    asio::bind_allocator(memory, on_write));
        }
    });
    io.run();
    io.restart();
    drain_end(&other_end);
    CHECK(written == other_end.count);
}

} // namespace

int main(int argc, char **argv) {
    const uint64_t count = number_argument(argc, argv, 1, WRITES_MAX);
    std::vector<slot> slots(count);
    drain_init(&other_end, count);
    stream.assign(asio::local::stream_protocol(), other_end.fd);
    run(slots);
    stream.close();
    other_end.fd = -1; // closed with the stream
    drain_report("pipelined_writes_rate", &other_end);
    return 0;
}
