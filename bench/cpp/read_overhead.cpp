/*
 * What loop.hpp adds to a read: cached reads of 4 KiB, DEPTH in flight, by three sides that take turns in one
 * process on one loop, ROUNDS times each:
 *
 *     c          loop_pread, submitted again in its callback
 *     operation  the same by libloop::operation
 *     coroutine  DEPTH tasks that each co_await loop.pread(...) in a loop
 *
 * Printed for each: the median over the rounds of the time of one read, in ns, with the quartiles; and the
 * median of the ratios to the C side of the same round.
 *
 * Usage: read_overhead [DEPTH [ROUNDS [READS]]]; by hand, from the top of the repository:
 *
 *     c++ -std=c++20 -O2 -Iinclude bench/cpp/read_overhead.cpp -Lbuild -Wl,-rpath,$PWD/build -lloop \
 *         -o build/read_overhead && build/read_overhead
 *
 * SPDX-License-Identifier: MIT
 */
#include <loop.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <vector>

#include <fcntl.h>

namespace {

constexpr std::size_t block_bytes = 4096, file_blocks = 256;

struct workload {
    libloop::loop               loop;
    libloop::unique_fd          file;
    std::size_t                 depth;
    std::uint64_t               reads, begun = 0;
    std::vector<char>           memory;

    char         *buffer(std::size_t slot) { return memory.data() + slot * block_bytes; }
    std::uint64_t next_offset() { return begun++ % file_blocks * block_bytes; }
};

void must(bool holds, const char *what) {
    if (holds) return;
    std::fprintf(stderr, "read_overhead: %s\n", what);
    std::exit(1);
}

/* ---- the three sides ------------------------------------------------------------------------------- */

struct plain_slot {
    loop_request_t request{};
    workload      *work = nullptr;
    char          *buffer = nullptr;
};

void plain_begin(plain_slot &slot);

void plain_done(loop_t *, loop_request_t *request, std::int64_t result) {
    auto &slot = *static_cast<plain_slot *>(request->user);
    must(result == block_bytes, "a short read");
    if (slot.work->begun < slot.work->reads) plain_begin(slot);
}

void plain_begin(plain_slot &slot) {
    const std::uint64_t offset = slot.work->next_offset();
    must(loop_pread(slot.work->loop.native_handle(), &slot.request, slot.work->file.get(), slot.buffer,
                    block_bytes, offset, plain_done) == 0,
         "refused");
}

void run_plain(workload &work) {
    std::vector<plain_slot> slots(work.depth);
    for (std::size_t i = 0; i < slots.size(); i++) {
        slots[i].request.user = &slots[i];
        slots[i].work = &work;
        slots[i].buffer = work.buffer(i);
        plain_begin(slots[i]);
    }
    work.loop.run();
}

struct on_read {
    template <class Self> void operator()(Self &self, libloop::result<std::size_t> bytes) const {
        must(bytes.value() == block_bytes, "a short read");
        if (work->begun < work->reads) begin(self);
    }
    template <class Self> void begin(Self &self) const {
        self.submit(work->loop.pread(work->file.get(), {buffer, block_bytes}, work->next_offset()));
    }
    workload *work;
    char     *buffer;
};

void run_operations(workload &work) {
    std::deque<libloop::operation<on_read>> slots;
    for (std::size_t i = 0; i < work.depth; i++) {
        slots.emplace_back(on_read{&work, work.buffer(i)});
        slots.back().callable().begin(slots.back());
    }
    work.loop.run();
}

libloop::task<> read_many(workload &work, char *buffer) {
    while (work.begun < work.reads) {
        const std::uint64_t offset = work.next_offset();
        const std::size_t bytes = co_await work.loop.pread(work.file.get(), {buffer, block_bytes}, offset);
        must(bytes == block_bytes, "a short read");
    }
}

void run_coroutines(workload &work) {
    for (std::size_t i = 0; i < work.depth; i++) work.loop.start(read_many(work, work.buffer(i)));
    work.loop.run();
}

/* ---- measuring --------------------------------------------------------------------------------------- */

using side = void (*)(workload &);

double time_of_one(side run, workload &work) {
    work.begun = 0;
    const auto begin = work.loop.now();
    run(work);
    return static_cast<double>((work.loop.now() - begin).count()) / static_cast<double>(work.reads);
}

double quantile(std::vector<double> values, double which) {
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(which * static_cast<double>(values.size() - 1) + 0.5)];
}

void report(const char *name, const std::vector<double> &times, const std::vector<double> &reference) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < times.size(); i++) ratios.push_back(times[i] / reference[i]);
    std::printf("%-10s %7.0f ns (%.0f to %.0f), ratio to c %.3f (%.3f to %.3f)\n", name, quantile(times, 0.5),
                quantile(times, 0.25), quantile(times, 0.75), quantile(ratios, 0.5), quantile(ratios, 0.25),
                quantile(ratios, 0.75));
}

std::uint64_t argument(int argc, char **argv, int index, std::uint64_t otherwise) {
    if (argc <= index) return otherwise;
    const std::uint64_t value = std::strtoull(argv[index], nullptr, 10);
    must(value > 0, "usage: read_overhead [DEPTH [ROUNDS [READS]]]");
    return value;
}

libloop::unique_fd make_file() {
    libloop::unique_fd file(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    std::vector<char>  bytes(block_bytes * file_blocks, 'x');
    const ssize_t      written = write(file.get(), bytes.data(), bytes.size());
    must(written == static_cast<ssize_t>(bytes.size()), "no file in /tmp");
    return file;
}

} // namespace

int main(int argc, char **argv) {
    const std::size_t depth = argument(argc, argv, 1, 1);
    const auto        rounds = argument(argc, argv, 2, 301);
    workload work{libloop::loop(), make_file(), depth, argument(argc, argv, 3, 5000), 0,
                  std::vector<char>(depth * block_bytes)};

    constexpr std::array<side, 3>      sides{run_plain, run_operations, run_coroutines};
    std::array<std::vector<double>, 3> times;
    for (std::uint64_t round = 0; round <= rounds; round++)
        for (std::size_t i = 0; i < sides.size(); i++) { /* each side is first in turn; round 0 warms up */
            const std::size_t which = (i + round) % sides.size();
            const double      time = time_of_one(sides[which], work);
            if (round > 0) times[which].push_back(time);
        }
    std::printf("%s, %zu in flight, %llu rounds of %llu reads\n", work.loop.name(), depth,
                static_cast<unsigned long long>(rounds), static_cast<unsigned long long>(work.reads));
    report("c", times[0], times[0]);
    report("operation", times[1], times[0]);
    report("coroutine", times[2], times[0]);
    return 0;
}
