/*
 * loop.hpp, C++17: callables, on requests of the caller and on their own; exceptions; work; posts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cpp_support.hpp"

#include <memory>

using libloop::operation;
using libloop::result;

TEST_CASE_FIXTURE(with_loop, "an operation is called once with the value of what was submitted") {
    auto                     file = make_file("hello");
    std::array<char, 16>     buffer{};
    int                      calls = 0;
    operation                read{[&](result<std::size_t> bytes) {
        calls++;
        CHECK(bytes.value() == 5);
    }};
    read.submit(loop.pread(file.get(), buffer, 0));
    CHECK(read.in_flight());
    CHECK(calls == 0);
    loop.run();
    CHECK(calls == 1);
    CHECK_FALSE(read.in_flight());
    CHECK(std::string_view(buffer.data(), 5) == "hello");
}

TEST_CASE_FIXTURE(with_loop, "an operation is submitted again from its own callable, without allocation") {
    auto        file = make_file(std::string(10000, 'x'));
    char        buffer[64];
    std::size_t total = 0;
    long        before = 0;
    operation   read{[&](auto &self, result<std::size_t> bytes) {
        total += bytes.value();
        if (*bytes > 0) self.submit(loop.read(file.get(), buffer));
    }};
    before = allocations();
    read.submit(loop.read(file.get(), buffer));
    loop.run();
    CHECK(allocations() == before);
    CHECK(total == 10000);
}

TEST_CASE_FIXTURE(with_loop, "a callable may be move-only and gets move-only values") {
    auto      owned = std::make_unique<int>(5);
    operation open{[&, mine = std::move(owned)](result<libloop::unique_fd> file) {
        libloop::unique_fd taken = std::move(file).value();
        CHECK(fcntl(taken.get(), F_GETFD) == FD_CLOEXEC);
        CHECK(*mine == 5);
    }};
    open.submit(loop.open("/dev/null", O_RDONLY | O_CLOEXEC));
    loop.run();
}

TEST_CASE_FIXTURE(with_loop, "one callable takes what different operations yield") {
    struct counter {
        void operator()(result<std::size_t>) { bytes++; }
        void operator()(result<void>) { ticks++; }
        int bytes = 0, ticks = 0;
    };
    auto      file = make_file("abc");
    char      buffer[8];
    operation both{counter{}};
    both.submit(loop.yield());
    loop.run();
    both.submit(loop.read(file.get(), buffer));
    loop.run();
    CHECK(both.callable().bytes == 1);
    CHECK(both.callable().ticks == 1);
}

TEST_CASE_FIXTURE(with_loop, "an error is a result, not an exception") {
    char            buffer[1];
    std::error_code error;
    loop.read(-1, buffer).then([&](result<std::size_t> bytes) { error = bytes.error(); });
    loop.run();
    CHECK(error == std::errc::bad_file_descriptor);
}

TEST_CASE_FIXTURE(with_loop, "submitting what is in flight is refused and does it no harm") {
    int             calls = 0;
    std::error_code error;
    operation       tick{[&](result<void>) { calls++; }};
    tick.submit(loop.yield());
    tick.submit(loop.yield(), error);
    CHECK(error == std::errc::device_or_resource_busy);
    CHECK_THROWS_AS(tick.submit(loop.yield()), std::system_error);
    loop.run();
    CHECK(calls == 1);
}

TEST_CASE_FIXTURE(with_loop, "an operation that is cancelled completes with operation_canceled") {
    auto            pipe = make_pipe();
    char            buffer[1];
    std::error_code error;
    operation       read{[&](result<std::size_t> bytes) { error = bytes.error(); }};
    CHECK_FALSE(read.cancel());
    read.submit(loop.read(pipe.in.get(), buffer));
    CHECK(read.cancel());
    loop.run();
    CHECK(error == std::errc::operation_canceled);
    CHECK_FALSE(read.cancel());
}

TEST_CASE_FIXTURE(with_loop, "an operation with a time limit completes with timed_out") {
    auto            pipe = make_pipe();
    char            buffer[1];
    std::error_code error, at_once;
    loop.read(pipe.in.get(), buffer).timeout(2ms).then([&](result<std::size_t> r) { error = r.error(); });
    loop.run();
    loop.read(pipe.in.get(), buffer).timeout(-1s).then([&](result<std::size_t> r) { at_once = r.error(); });
    loop.run();
    CHECK(error == std::errc::timed_out);
    CHECK(at_once == std::errc::timed_out);
}

TEST_CASE_FIXTURE(with_loop, "then allocates once, and frees its callable after the call") {
    const auto shared = std::make_shared<int>(0);
    const auto action = loop.yield();
    auto       callable = [mine = shared](result<void>) { ++*mine; };
    const long before = allocations();
    action.then(std::move(callable));
    CHECK(allocations() == before + 1);
    loop.run();
    CHECK(*shared == 1);
    CHECK(shared.use_count() == 1);
}

TEST_CASE_FIXTURE(with_loop, "a repeating timer completes until its callable cancels it") {
    int       shots = 0, ends = 0;
    operation timer{[&](auto &self, result<void> shot) {
        if (!self.more()) {
            ends++;
            CHECK(shot.error() == std::errc::operation_canceled);
        } else if (++shots == 5) {
            self.cancel();
        }
    }};
    timer.submit(loop.timer(1ms, 1ms));
    loop.run();
    CHECK(shots == 5);
    CHECK(ends == 1);
    int others = 0;
    loop.timer(1us, 1us).then([&](auto &self, result<void>) {
        if (++others == 3) self.cancel();
    });
    loop.run();
    CHECK(others == 4);
}

TEST_CASE_FIXTURE(with_loop, "a watch tells of a descriptor, and its events can be changed") {
    auto          stream = make_stream();
    std::uint32_t seen = 0;
    operation     watch{[&](auto &self, result<std::uint32_t> events) {
        if (!events) return;
        seen |= *events;
        if ((*events & LOOP_READABLE) != 0)
            CHECK(self.modify(LOOP_WRITABLE));
        else
            self.cancel();
    }};
    CHECK_FALSE(watch.modify(LOOP_WRITABLE));
    put(stream.out, "x");
    watch.submit(loop.watch(stream.in.get(), LOOP_READABLE));
    loop.run();
    CHECK(seen == (LOOP_READABLE | LOOP_WRITABLE));
}

TEST_CASE_FIXTURE(with_loop, "connections are accepted one after the other, and their descriptors owned") {
    sockaddr_in address;
    auto        listener = make_listener(address);
    int         accepted = 0;
    operation   accept{[&](auto &self, result<libloop::unique_fd> client) {
        if (client && ++accepted == 3) self.cancel();
    }};
    accept.submit(loop.accept_repeatedly(listener.get()));
    std::vector<libloop::unique_fd> clients;
    std::atomic<int>                connected{0};
    for (int i = 0; i < 3; i++) {
        clients.push_back(loop.socket(AF_INET, SOCK_STREAM));
        loop.connect(clients.back().get(), reinterpret_cast<sockaddr *>(&address), sizeof address)
            .then([&](result<void> done) { connected += done.has_value(); });
    }
    loop.run();
    CHECK(accepted == 3);
    CHECK(connected == 3);
}

TEST_CASE_FIXTURE(with_loop, "a buffer of a pool goes back when its owner lets it go") {
    auto                 stream = make_stream();
    libloop::buffer_pool pool(loop, 16, test_threads());
    std::string          received;
    put(stream.out, std::string(1000, 'y'));
    stream.out.reset();
    operation recv{[&](auto &self, result<libloop::pooled_buffer> buffer) {
        received.append(buffer.value().data(), buffer->size());
        const bool ended = buffer->empty();
        *buffer = libloop::pooled_buffer();
        if (!ended) self.submit(loop.recv(stream.in.get(), pool));
    }};
    recv.submit(loop.recv(stream.in.get(), pool));
    loop.run();
    CHECK(received == std::string(1000, 'y'));
}

TEST_CASE_FIXTURE(with_loop, "an exception of a callable comes out of run, and the loop goes on afterwards") {
    int later = 0;
    loop.yield().then([](result<void>) { throw std::runtime_error("thrown"); });
    CHECK_THROWS_WITH_AS(loop.run(), "thrown", std::runtime_error);
    loop.yield().then([&](result<void>) { later++; });
    loop.run();
    CHECK(later == 1);
}

TEST_CASE_FIXTURE(with_loop, "exceptions come out of run_once, wait, deinit, and the form with a code") {
    std::error_code error;
    loop_request_t *done[1];
    const auto      throw_soon = [this] {
        loop.yield().then([](result<void>) { throw std::runtime_error("thrown"); });
    };
    throw_soon();
    CHECK_THROWS_AS(while (true) loop.run_once(), std::runtime_error);
    throw_soon();
    CHECK_THROWS_AS(while (true) loop.wait(done, 1, 1s), std::runtime_error);
    throw_soon();
    CHECK_THROWS_AS(loop.run(error), std::runtime_error);
    libloop::loop other(test_options());
    other.yield().then([](result<void>) { throw std::runtime_error("thrown"); });
    CHECK_THROWS_AS(other.deinit(), std::runtime_error);
    CHECK_FALSE(static_cast<bool>(other));
}

TEST_CASE_FIXTURE(with_loop, "of many exceptions one comes out, and the rest does no harm") {
    std::atomic<int> thrown{0};
    for (int i = 0; i < 100; i++)
        loop.yield().then([&](result<void>) {
            thrown++;
            throw std::runtime_error("one of many");
        });
    const int caught = run_and_count_exceptions(loop);
    CHECK(thrown == 100);
    CHECK(caught >= 1);
    CHECK(caught <= 100);
}

TEST_CASE_FIXTURE(with_loop, "an exception of a destructor's time is dropped") {
    int called = 0;
    {
        libloop::loop other(test_options());
        other.sleep(1h).then([&](result<void> slept) {
            called++;
            CHECK(slept.error() == std::errc::operation_canceled);
            throw std::runtime_error("dropped");
        });
    }
    CHECK(called == 1);
}

TEST_CASE_FIXTURE(with_loop, "work runs on another thread and its value comes back") {
    std::thread::id there;
    std::string     value;
    loop.work([&] {
            there = std::this_thread::get_id();
            return std::string("a value that is allocated on the heap");
        })
        .then([&](result<std::string> returned) { value = std::move(returned).value(); });
    loop.run();
    CHECK(value == "a value that is allocated on the heap");
    CHECK(there != std::this_thread::get_id());
}

TEST_CASE_FIXTURE(with_loop, "an exception of work comes out of run instead of the call") {
    bool called = false;
    loop.work([]() -> int { throw std::runtime_error("in work"); }).then([&](result<int>) { called = true; });
    CHECK_THROWS_WITH_AS(loop.run(), "in work", std::runtime_error);
    CHECK_FALSE(called);
}

TEST_CASE_FIXTURE(with_loop, "work in memory of the caller allocates nothing, and gives its outcome once") {
    libloop::work_item item{[n = 0]() mutable {
        if (++n == 2) throw std::runtime_error("second");
        return n;
    }};
    int       completions = 0;
    operation work{[&](result<void> done) { completions += done.has_value(); }};
    const long before = allocations();
    work.submit(loop.work(item));
    loop.run();
    CHECK(allocations() == before);
    CHECK(item.get() == 1);
    CHECK_THROWS_AS(item.get(), std::system_error);
    work.submit(loop.work(item));
    loop.run();
    CHECK_THROWS_WITH_AS(item.get(), "second", std::runtime_error);
    CHECK(completions == 2);
}

TEST_CASE_FIXTURE(with_loop, "posts from other threads are all called, in order for each thread") {
    constexpr int            each = 200;
    std::array<int, 4>       last{};
    int                      calls = 0;
    std::vector<std::thread> threads;
    loop.ref();
    for (int t = 0; t < 4; t++)
        threads.emplace_back([&, t] {
            for (int i = 1; i <= each; i++)
                loop.post([&, t, i] { /* one post runs at a time */
                    CHECK(last[static_cast<std::size_t>(t)] == i - 1);
                    last[static_cast<std::size_t>(t)] = i;
                    if (++calls == 4 * each) loop.unref();
                });
        });
    for (auto &thread : threads) thread.join();
    loop.run();
    CHECK(calls == 4 * each);
}

TEST_CASE_FIXTURE(with_loop, "more posts than there is room for are refused, and leave nothing behind") {
    std::error_code error;
    unsigned        called = 0, accepted = 0;
    while (!error) {
        loop.post([&] { called++; }, error);
        accepted += !error;
    }
    CHECK(error == std::errc::no_buffer_space);
    CHECK(accepted == LOOP_POSTS_MAX);
    CHECK_THROWS_AS(loop.post([] {}), std::system_error);
    loop.run();
    CHECK(called == accepted);
}

TEST_CASE_FIXTURE(with_loop, "a post that throws comes out of run") {
    loop.post([] { throw std::runtime_error("posted"); });
    CHECK_THROWS_WITH_AS(loop.run(), "posted", std::runtime_error);
}

TEST_CASE_FIXTURE(with_loop, "callables of a strand never run at the same time") {
    libloop::strand  strand;
    std::atomic<int> inside{0};
    int              calls = 0; /* not atomic: the strand keeps it */
    for (int i = 0; i < 1000; i++)
        loop.yield().in(strand).then([&](result<void>) {
            CHECK(inside.fetch_add(1) == 0);
            calls++;
            inside.fetch_sub(1);
        });
    loop.run();
    CHECK(calls == 1000);
}

TEST_CASE_FIXTURE(with_loop, "a request that left its strand runs outside of it") {
    libloop::strand strand;
    int             calls = 0;
    operation       tick{[&](result<void>) { calls++; }};
    tick.submit(loop.yield().in(strand));
    loop.run();
    tick.submit(loop.yield());
    loop.run();
    CHECK(calls == 2);
}

TEST_CASE_FIXTURE(with_loop, "plain requests of the C interface can be harvested") {
    loop_request_t  tick{};
    loop_request_t *done[4] = {};
    REQUIRE(loop_on_next_tick(loop.native_handle(), &tick, nullptr) == 0);
    CHECK(loop.wait(done, 4, 10s) == 1);
    CHECK(done[0] == &tick);
    CHECK(loop.wait(done, 4, 0s) == 0);
}

TEST_CASE_FIXTURE(with_loop, "closing by the loop closes") {
    auto             pipe = make_pipe();
    std::atomic<int> closed{0};
    const int        in = pipe.in.get(), out = pipe.out.get();
    loop.close(std::move(pipe.in)).then([&](result<void> done) { closed += done.has_value(); });
    loop.close(pipe.out.release()).then([&](result<void> done) { closed += done.has_value(); });
    loop.run();
    CHECK(closed == 2);
    CHECK(fcntl(in, F_GETFD) < 0);
    CHECK(fcntl(out, F_GETFD) < 0);
}

TEST_CASE_FIXTURE(with_loop, "what a loop that ends refuses frees its memory, and its descriptor to close") {
    auto                           pipe = make_pipe();
    auto                           ending = std::make_unique<libloop::loop>(test_options());
    std::array<std::error_code, 3> errors;
    ending->sleep(1h).then([&](result<void>) {
        ending->yield().then([](result<void>) {}, errors[0]);
        ending->work([] {}).then([](result<void>) {}, errors[1]);
        ending->close(std::move(pipe.in)).then([](result<void>) {}, errors[2]);
    });
    const int in = pipe.in.get();
    ending->deinit();
    for (const auto &error : errors) CHECK(error.value() == LOOP_ESHUTDOWN);
    CHECK(fcntl(in, F_GETFD) < 0);
}
