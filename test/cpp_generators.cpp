/*
 * loop.hpp, C++20: generator: shots that are awaited, kept, stopped, cancelled and dropped, on every kind of
 * action that repeats.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cpp_support.hpp"

using libloop::generator;
using libloop::task;

namespace {

/* Clients of a listener, by blocking calls: their connections are in its queue when this returns. */
std::vector<libloop::unique_fd> connect_clients(const sockaddr_in &address, int number) {
    const auto *const               plain = reinterpret_cast<const sockaddr *>(&address);
    std::vector<libloop::unique_fd> clients;
    for (int i = 0; i < number; i++) {
        clients.emplace_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        CHECK(connect(clients.back().get(), plain, sizeof address) == 0);
    }
    return clients;
}

} // namespace

TEST_CASE_FIXTURE(with_loop, "connections are taken one after the other, those that wait in the kernel too") {
    auto body = [](libloop::loop &loop) -> task<> {
        sockaddr_in address;
        const auto  listener = make_listener(address);
        const auto  before = connect_clients(address, 40); /* more than a generator keeps */
        generator   connections(loop.accept_repeatedly(listener.get()));
        for (int i = 0; i < 40; i++) {
            const auto connection = co_await connections.next();
            CHECK(fcntl(connection->get(), F_GETFD) == FD_CLOEXEC);
            if (i % 8 == 0) co_await loop.sleep(1ms); /* shots come while nobody waits */
        }
        const auto after = connect_clients(address, 1);
        const auto last = co_await connections.next();
        CHECK(last.has_value());
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "what is kept is bounded: the rest waits in the kernel until it is wanted") {
    auto body = [](libloop::loop &loop) -> task<> {
        sockaddr_in    address;
        const auto     listener = make_listener(address);
        generator      connections(loop.accept_repeatedly(listener.get()), 2);
        const unsigned before = open_descriptors();
        auto           clients = connect_clients(address, 1);
        const auto     first = co_await connections.next();
        const auto     kept = [&] { return open_descriptors() - before - 1 - clients.size(); };
        int            without_effect = 0;
        for (int i = 0; i < 1000 && without_effect < 20; i++) {
            const auto kept_before = kept();
            clients.push_back(std::move(connect_clients(address, 1).front()));
            co_await loop.sleep(1ms);
            without_effect = kept_before >= 2 && kept() == kept_before ? without_effect + 1 : 0;
        }
        CHECK(without_effect == 20);
        for (std::size_t i = 1; i < clients.size(); i++) {
            const auto next = co_await connections.next();
            CHECK(next.has_value());
        }
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "after a cancel what was kept is yielded, then the end, again and again") {
    auto body = [](libloop::loop &loop) -> task<> {
        sockaddr_in address;
        const auto  listener = make_listener(address);
        const auto  clients = connect_clients(address, 5);
        const auto  before = open_descriptors();
        generator   connections(loop.accept_repeatedly(listener.get()));
        const auto  first = co_await connections.next();
        while (open_descriptors() < before + 5) co_await loop.sleep(1ms);
        connections.cancel();
        int kept = 0;
        while (true) {
            const auto next = co_await connections.next();
            if (!next) break;
            kept++;
        }
        CHECK(first.has_value());
        CHECK(kept == 4);
        const auto again = co_await connections.next();
        CHECK_FALSE(again.has_value());

        generator  never(loop.accept_repeatedly(listener.get())); /* cancelled before it began */
        never.cancel();
        const auto none = co_await never.next();
        CHECK_FALSE(none.has_value());
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "a generator that is awaited ends when another thread cancels it") {
    auto body = [](generator<void> &ticks, bool &ended) -> task<> {
        const bool ticked = co_await ticks.next();
        ended = !ticked;
    };
    generator<void> ticks(loop.timer(1h, 1h));
    bool            ended = false;
    loop.start(body(ticks, ended));
    std::thread other([&] {
        std::this_thread::sleep_for(3ms);
        ticks.cancel();
    });
    loop.run();
    other.join();
    CHECK(ended);
}

TEST_CASE_FIXTURE(with_loop, "a stop ends the wait, comes before what is kept, and leaves that to others") {
    auto wait = [](generator<libloop::unique_fd> &connections) -> task<> {
        while (true) {
            const auto next = co_await connections.next();
            CHECK(next.has_value());
        }
    };
    auto body = [](libloop::loop &loop, auto wait) -> task<> {
        sockaddr_in     address;
        const auto      listener = make_listener(address);
        generator       connections(loop.accept_repeatedly(listener.get()));
        std::error_code ended;
        try {
            co_await libloop::with_timeout(loop, wait(connections), 2ms);
        } catch (const std::system_error &error) {
            ended = error.code();
        }
        CHECK(ended == std::errc::timed_out);

        const auto clients = connect_clients(address, 3);
        const auto first = co_await connections.next(); /* begun again by another task */
        CHECK(first.has_value());
        co_await loop.sleep(5ms);
        std::stop_source source;
        source.request_stop();
        auto stopped = loop.spawn(wait(connections), {source.get_token(), nullptr});
        try {
            co_await std::move(stopped);
        } catch (const std::system_error &error) {
            ended = error.code();
        }
        CHECK(ended == std::errc::operation_canceled);
        for (int i = 0; i < 2; i++) {
            const auto kept = co_await connections.next();
            CHECK(kept.has_value());
        }
    };
    loop.run(body(loop, wait));
}

TEST_CASE_FIXTURE(with_loop, "one that is dropped half-way cancels, and closes what nobody took") {
    auto body = [](libloop::loop &loop) -> task<> {
        sockaddr_in address;
        const auto  listener = make_listener(address);
        const auto  clients = connect_clients(address, 10);
        {
            generator  connections(loop.accept_repeatedly(listener.get()));
            const auto first = co_await connections.next();
            co_await loop.sleep(2ms);
            generator moved(std::move(connections));
            const auto second = co_await moved.next();
            CHECK(second.has_value());
        }
        { const generator never(loop.timer(1h, 1h)); }
    };
    loop.run(body(loop));
    loop.run(); /* the fixture counts descriptors and memory */
}

TEST_CASE_FIXTURE(with_loop, "bytes arrive in buffers of a pool until the stream ends") {
    auto send = [](libloop::loop &loop, libloop::unique_fd out) -> task<> {
        for (int i = 0; i < 100; i++) {
            co_await loop.send(out.get(), std::string(30, static_cast<char>('a' + i % 26)), LOOP_SEND_ALL);
            if (i % 10 == 0) co_await loop.sleep(200us);
        }
    };
    auto receive = [](libloop::loop &loop, int in, std::size_t &bytes) -> task<> {
        const libloop::buffer_pool pool(loop, 16, 8 * test_threads());
        generator                  stream(loop.recv_repeatedly(in, pool), 3);
        while (true) {
            auto buffer = co_await stream.next();
            if (!buffer) break;
            CHECK(buffer->data()[0] == 'a' + static_cast<char>(bytes / 30 % 26));
            bytes += buffer->size();
            if (bytes % 7 == 0) co_await loop.sleep(100us);
        }
        const auto again = co_await stream.next();
        CHECK_FALSE(again.has_value());
    };
    auto        stream = make_stream();
    std::size_t bytes = 0;
    loop.start(send(loop, std::move(stream.out)));
    loop.run(receive(loop, stream.in.get(), bytes));
    CHECK(bytes == 3000);
    loop.run();
}

TEST_CASE_FIXTURE(with_loop, "a pool that is empty fails the one that waits, and the next next tries again") {
    auto body = [](libloop::loop &loop, const libloop::buffer_pool &pool, fd_pair stream) -> task<> {
        put(stream.out, std::string(8 * test_threads() + 8, 'x'));
        generator                           source(loop.recv_repeatedly(stream.in.get(), pool));
        std::vector<libloop::pooled_buffer> held;
        std::error_code                     error;
        std::size_t                         bytes = 0;
        while (!error) {
            auto next = co_await source.next().as_result();
            error = next.error();
            if (next) bytes += (*next)->size();
            if (next) held.push_back(*std::move(*next));
        }
        CHECK(error == std::errc::no_buffer_space);
        held.clear();
        stream.out.reset();
        while (true) {
            const auto next = co_await source.next();
            if (!next) break;
            bytes += next->size();
        }
        CHECK(bytes == 8 * test_threads() + 8);
    };
    const libloop::buffer_pool pool(loop, 8, test_threads());
    loop.run(body(loop, pool, make_stream()));
}

TEST_CASE_FIXTURE(with_loop, "a pool that only the generator itself had emptied is no error") {
    auto body = [](libloop::loop &loop, const libloop::buffer_pool &pool, fd_pair stream) -> task<> {
        std::size_t bytes = 0;
        put(stream.out, std::string(100, 'x'));
        stream.out.reset();
        generator source(loop.recv_repeatedly(stream.in.get(), pool));
        while (true) {
            auto next = co_await source.next();
            if (!next) break;
            bytes += next->size();
            co_await loop.sleep(300us); /* the next shots come while this buffer is out */
        }
        CHECK(bytes == 100);
    };
    const libloop::buffer_pool pool(loop, 8, test_threads());
    loop.run(body(loop, pool, make_stream()));
}

TEST_CASE_FIXTURE(with_loop, "errors are thrown after the shots before, and the action can be begun again") {
    auto body = [](libloop::loop &loop) -> task<> {
        generator bad(loop.accept_repeatedly(-1));
        for (int i = 0; i < 3; i++) {
            const auto next = co_await bad.next().as_result();
            CHECK(next.error() == std::errc::bad_file_descriptor);
        }
        auto      pipe = make_pipe();
        generator limited(loop.watch(pipe.in.get(), LOOP_READABLE).timeout(2ms));
        for (int i = 0; i < 2; i++) {
            const auto next = co_await limited.next().as_result();
            CHECK(next.error() == std::errc::timed_out);
        }
        put(pipe.out, "x");
        generator  changes(loop.watch(pipe.in.get(), LOOP_READABLE));
        const auto events = co_await changes.next();
        CHECK((*events & LOOP_READABLE) != 0);
        co_await loop.close(std::move(pipe.in));
        while (true) { /* one shot may have been kept; then the close shows */
            const auto next = co_await changes.next().as_result();
            if (!next) break;
        }
        co_await bad.next();
    };
    CHECK(error_of(loop, body(loop)) == std::errc::bad_file_descriptor);
}

TEST_CASE_FIXTURE(with_loop, "a watch tells of each change, and does not spin while nobody listens") {
    auto body = [](libloop::loop &loop) -> task<> {
        auto      pipe = make_pipe();
        generator changes(loop.watch(pipe.in.get(), LOOP_READABLE));
        put(pipe.out, "x");
        for (int i = 0; i < 50; i++) {
            const auto events = co_await changes.next();
            CHECK((*events & LOOP_READABLE) != 0);
        }
        co_await loop.sleep(2ms);
        const auto before = loop.statistics().completions;
        co_await loop.sleep(20ms); /* it is readable all the time */
        CHECK(loop.statistics().completions - before < 20);
        pipe.out.reset();
        const auto kept = co_await changes.next();
        CHECK(kept.has_value());
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "ticks come at their times, and those that nobody waited for are one") {
    auto body = [](libloop::loop &loop) -> task<> {
        generator  ticks(loop.timer(1ms, 1ms));
        const auto begin = loop.now();
        for (int i = 1; i <= 5; i++) {
            const bool ticked = co_await ticks.next();
            CHECK(ticked);
            CHECK(loop.now() - begin >= i * 1ms);
        }
        generator slow(loop.timer(0ms, 2ms));
        bool      ticked = co_await slow.next();
        co_await loop.sleep(21ms);
        const auto resumed = loop.now();
        for (int i = 0; i < 8; i++) { /* the first at once; the second may be one that was due before */
            ticked = co_await slow.next();
            CHECK(ticked);
        }
        CHECK(loop.now() - resumed >= 10ms);
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "a loop that ends ends what waits for a shot, and what comes after is refused") {
    auto body = [](libloop::loop &loop, int &errors) -> task<> {
        generator ticks(loop.timer(1h, 1h));
        auto      next = co_await ticks.next().as_result();
        errors += next.error() == std::errc::operation_canceled;
        next = co_await ticks.next().as_result();
        errors += next.error().value() == LOOP_ESHUTDOWN;
    };
    int             errors = 0;
    generator<void> kept(loop.timer(1h, 1h));
    {
        libloop::loop other(test_options());
        other.start(body(other, errors));
        kept = generator<void>(other.timer(1h, 1h));
        other.start([](generator<void> &from, int &errors) -> task<> {
            const auto next = co_await from.next().as_result();
            errors += next.error() == std::errc::operation_canceled;
        }(kept, errors));
        while (other.run_once(0s) > 0) {
        }
    }
    CHECK(errors == 3);
}

TEST_CASE_FIXTURE(with_loop, "a shot can be one of several things that are waited for") {
    auto body = [](libloop::loop &loop) -> task<> {
        generator ticks(loop.timer(1ms, 1ms)), rare(loop.timer(1h, 1h));
        int       ticked = 0, slept = 0;
        while (ticked < 5 || slept < 5) {
            const auto limit = ticked < 5 ? 1h : 1us;
            const auto first = co_await libloop::when_any(ticks.next(), rare.next(), loop.sleep(limit));
            CHECK(first.index() != 1);
            (first.index() == 0 ? ticked : slept)++;
        }
        ticks.cancel();
        bool is_kept = true; /* one that came when it was not wanted */
        while (is_kept) is_kept = co_await ticks.next();
        const auto both = co_await libloop::when_all(ticks.next(), loop.yield());
        CHECK_FALSE(std::get<0>(both));
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "one that waits in a strand goes on in it") {
    libloop::strand  strand;
    std::atomic<int> inside{0};
    int              sum = 0; /* not atomic: the strand keeps it */
    auto             body = [](libloop::loop &loop, std::atomic<int> &inside, int &sum) -> task<> {
        generator ticks(loop.timer(10us, 10us));
        for (int i = 0; i < 20; i++) {
            const bool ticked = co_await ticks.next();
            CHECK(inside.fetch_add(1) == 0);
            sum += ticked;
            inside.fetch_sub(1);
        }
    };
    for (int i = 0; i < 20; i++) loop.start(body(loop, inside, sum), {{}, &strand});
    loop.run();
    CHECK(sum == 400);
}

TEST_CASE_FIXTURE(with_loop, "stops and ends that race shots lose none and leave nothing") {
    std::atomic<int> ends{0};
    auto             body = [](libloop::loop &loop, int number, std::atomic<int> &ends) -> task<> {
        generator ticks(loop.timer(std::chrono::microseconds(number % 30), 5us));
        for (int i = 0; i < number % 9; i++) {
            const auto next = co_await ticks.next().as_result();
            if (!next) break;
            if (i == number % 4) co_await loop.yield();
        }
        ends++;
    };
    constexpr int rounds = 1500;
    loop.ref();
    std::thread runner([&] { loop.run(); });
    for (int i = 0; i < rounds; i++) {
        auto running = loop.spawn([](task<> what, std::atomic<int> &ends) -> task<> {
            try {
                co_await std::move(what);
            } catch (const std::system_error &) { /* it yielded when it was stopped */
                ends++;
            }
        }(body(loop, i, ends), ends));
        if (i % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(i % 50));
        running.request_stop();
        running.detach();
    }
    while (ends < rounds) std::this_thread::sleep_for(1ms);
    loop.unref();
    runner.join();
    CHECK(ends == rounds);
}
