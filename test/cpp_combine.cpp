/*
 * loop.hpp, C++20: tasks side by side (when_all, when_any), limits of time, and storms of all of it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cpp_support.hpp"

#include <algorithm>
#include <memory>

using libloop::nothing;
using libloop::task;
using libloop::when_all;
using libloop::when_any;

namespace {

/* Sleeps, and says how that ended and that it did. */
task<int> value_after(libloop::loop &loop, std::chrono::nanoseconds time, int value,
                      std::atomic<int> &ended) {
    const auto slept = co_await loop.sleep(time).as_result();
    ended++;
    if (!slept) slept.value();
    co_return value;
}

task<> fail_after(libloop::loop &loop, std::chrono::nanoseconds time, const char *what) {
    co_await loop.sleep(time);
    throw std::runtime_error(what);
}

/* Cannot be cancelled: it is at work whatever its token says. */
task<int> insists(libloop::loop &loop, int rounds, std::atomic<int> &ended) {
    for (int i = 0; i < rounds; i++) (void)co_await loop.work([] {}).as_result();
    ended++;
    co_return rounds;
}

} // namespace

TEST_CASE_FIXTURE(with_loop, "when_all yields the values of tasks, actions, work and jobs, in their places") {
    std::atomic<int> ended{0};
    auto             body = [](libloop::loop &loop, std::atomic<int> &ended) -> task<> {
        auto job = loop.spawn(value_after(loop, 1ms, 4, ended));
        auto all = co_await when_all(value_after(loop, 2ms, 1, ended), loop.sleep(1ms),
                                     loop.work([] { return std::string("three"); }), std::move(job));
        static_assert(std::is_same_v<decltype(all), std::tuple<int, nothing, std::string, int>>);
        CHECK(std::get<0>(all) == 1);
        CHECK(std::get<2>(all) == "three");
        CHECK(std::get<3>(all) == 4);
    };
    loop.run(body(loop, ended));
    CHECK(ended == 2);
}

TEST_CASE_FIXTURE(with_loop, "when_all of many yields their values in the order of the tasks") {
    std::atomic<int>       ended{0};
    std::vector<task<int>> tasks;
    for (int i = 0; i < 100; i++) {
        tasks.push_back(value_after(loop, std::chrono::microseconds(100 - i), i, ended));
    }
    const std::vector<int> values = loop.run(when_all(std::move(tasks)));
    REQUIRE(values.size() == 100);
    for (int i = 0; i < 100; i++) CHECK(values[static_cast<std::size_t>(i)] == i);
    CHECK(loop.run(when_all(std::vector<task<>>())).empty());
}

TEST_CASE_FIXTURE(with_loop,
                  "when_all throws the first exception, after it cancelled the others and waited") {
    std::atomic<int> ended{0};
    auto             body = [](libloop::loop &loop, std::atomic<int> &ended) -> task<> {
        co_await when_all(value_after(loop, 1h, 1, ended), fail_after(loop, 1ms, "first"),
                          insists(loop, 20, ended), value_after(loop, 1h, 1, ended));
    };
    CHECK_THROWS_WITH_AS(loop.run(body(loop, ended)), "first", std::runtime_error);
    CHECK(ended == 3);

    std::vector<task<>> tasks;
    tasks.push_back(fail_after(loop, 1h, "never"));
    tasks.push_back(fail_after(loop, 1ms, "second"));
    CHECK_THROWS_WITH_AS(loop.run(when_all(std::move(tasks))), "second", std::runtime_error);
}

TEST_CASE_FIXTURE(with_loop, "when_any yields the first, after it cancelled the others and waited") {
    std::atomic<int> ended{0};
    auto             body = [](libloop::loop &loop, std::atomic<int> &ended) -> task<> {
        auto first = co_await when_any(value_after(loop, 1h, 1, ended), value_after(loop, 1ms, 2, ended),
                                       loop.sleep(1h), insists(loop, 20, ended));
        CHECK((first.index() == 1 || first.index() == 3));
        CHECK(ended == 3);
        auto quick = co_await when_any(loop.sleep(1h), loop.yield());
        static_assert(std::is_same_v<decltype(quick), std::variant<nothing, nothing>>);
        CHECK(quick.index() == 1);
    };
    loop.run(body(loop, ended));
}

TEST_CASE_FIXTURE(with_loop, "when_any throws the exception of the first, and drops those of the others") {
    std::atomic<int> ended{0};
    auto             body = [](libloop::loop &loop, std::atomic<int> &ended) -> task<> {
        co_await when_any(value_after(loop, 1h, 1, ended), fail_after(loop, 1ms, "first"));
    };
    CHECK_THROWS_WITH_AS(loop.run(body(loop, ended)), "first", std::runtime_error);
    CHECK(ended == 1);
}

TEST_CASE_FIXTURE(with_loop, "when_any of many yields index and value; of none it is an error") {
    std::atomic<int>       ended{0};
    std::vector<task<int>> tasks;
    for (int i = 0; i < 50; i++) tasks.push_back(value_after(loop, i == 33 ? 1ms : 1h, i, ended));
    const auto [index, value] = loop.run(when_any(std::move(tasks)));
    CHECK(index == 33);
    CHECK(value == 33);
    CHECK(ended == 50);
    CHECK(error_of(loop, when_any(std::vector<task<>>())) == std::errc::invalid_argument);
}

TEST_CASE_FIXTURE(with_loop, "what a loser yields in spite of its cancellation is dropped and freed") {
    auto body = [](libloop::loop &loop) -> task<> {
        auto stubborn = [](libloop::loop &loop) -> task<libloop::unique_fd> {
            (void)co_await loop.sleep(1h).as_result();
            co_return libloop::unique_fd(dup(0));
        };
        const auto first = co_await when_any(stubborn(loop), loop.sleep(1ms));
        CHECK(first.index() == 1);
    };
    loop.run(body(loop)); /* the fixture counts descriptors */
}

TEST_CASE_FIXTURE(with_loop, "a stop passes through when_all, when_any and with_timeout to every branch") {
    std::atomic<int> ended{0};
    auto             body = [](libloop::loop &loop, std::atomic<int> &ended) -> task<> {
        auto any = when_any(value_after(loop, 1h, 1, ended), value_after(loop, 1h, 2, ended));
        auto limited = libloop::with_timeout(loop, value_after(loop, 1h, 3, ended), 2h);
        co_await when_all(std::move(any), std::move(limited));
    };
    auto running = loop.spawn(body(loop, ended));
    loop.sleep(3ms).then([&](libloop::result<void>) { running.request_stop(); });
    loop.run();
    CHECK(ended == 3);
    CHECK(running.done());
    CHECK_THROWS_AS(running.get(), std::system_error);
}

TEST_CASE_FIXTURE(with_loop, "a task that takes too long is cancelled and times out") {
    std::atomic<int> ended{0};
    CHECK(error_of(loop, libloop::with_timeout(loop, value_after(loop, 1h, 1, ended), 2ms)) ==
          std::errc::timed_out);
    CHECK(ended == 1);
}

TEST_CASE_FIXTURE(with_loop, "a task that is in time yields its value or its exception") {
    std::atomic<int> ended{0};
    CHECK(loop.run(libloop::with_timeout(loop, value_after(loop, 1ms, 8, ended), 1h)) == 8);
    CHECK_THROWS_WITH_AS(loop.run(libloop::with_timeout(loop, fail_after(loop, 1ms, "in time"), 1h)),
                         "in time",
                         std::runtime_error);
}

TEST_CASE_FIXTURE(with_loop, "a value that comes when the time is over is not lost") {
    std::atomic<int> ended{0};
    CHECK(loop.run(libloop::with_timeout(loop, insists(loop, 200, ended), 1ns)) == 200);
    CHECK(ended == 1);
}

TEST_CASE_FIXTURE(with_loop, "a limit that races its task ends it exactly one way or the other") {
    std::atomic<int> values{0}, timeouts{0}, ended{0};
    auto             race = [](libloop::loop &loop, int round, auto &values, auto &timeouts,
                   auto &ended) -> task<> {
        try {
            const auto time = std::chrono::microseconds(100 + round % 7);
            co_await libloop::with_timeout(loop, value_after(loop, time, round, ended), 103us);
            values++;
        } catch (const std::system_error &error) {
            CHECK(error.code() == std::errc::timed_out);
            timeouts++;
        }
    };
    for (int i = 0; i < 700; i++) loop.start(race(loop, i, values, timeouts, ended));
    loop.run();
    CHECK(values + timeouts == 700);
    CHECK(ended == 700);
}

TEST_CASE_FIXTURE(with_loop, "a stop that races a completion neither loses nor doubles it") {
    std::atomic<int> completed{0}, canceled{0};
    auto             body = [](libloop::loop &loop, int round, auto &completed, auto &canceled) -> task<> {
        const auto tick = co_await loop.yield().as_result();
        /* Every other one sleeps until the stop, which comes at any moment: one that got lost would show. */
        const auto time = round % 2 == 0 ? std::chrono::microseconds(round % 40) : 1h;
        const auto slept = co_await loop.sleep(time).as_result();
        const bool is_canceled = slept.error() == std::errc::operation_canceled;
        CHECK((slept.has_value() || is_canceled));
        (is_canceled || !tick ? canceled : completed)++;
    };
    constexpr int     rounds = 2000;
    std::atomic<bool> is_ended{false};
    loop.ref();
    std::thread runner([&] {
        loop.run();
        is_ended = true;
    });
    for (int i = 0; i < rounds; i++) {
        auto running = loop.spawn(body(loop, i, completed, canceled));
        if (i % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(i % 50));
        running.request_stop();
        if (i % 2 == 0) running.detach();
    }
    while (completed + canceled < rounds) std::this_thread::sleep_for(1ms);
    CHECK_FALSE(is_ended);
    loop.unref();
    runner.join();
    CHECK(completed + canceled == rounds);
}

TEST_CASE_FIXTURE(with_loop, "thousands of tasks talk through pipes, and every byte arrives") {
    auto produce = [](libloop::loop &loop, int fd, char value) -> task<> {
        for (int i = 0; i < 10; i++) CHECK(co_await loop.write(fd, std::string_view(&value, 1)) == 1);
    };
    auto consume = [](libloop::loop &loop, int fd, char value) -> task<int> {
        int  count = 0;
        char buffer[4];
        while (count < 10) {
            const auto bytes = co_await loop.read(fd, buffer);
            for (std::size_t i = 0; i < bytes; i++) CHECK(buffer[i] == value);
            count += static_cast<int>(bytes);
        }
        co_return count;
    };
    std::vector<fd_pair>   pipes(100);
    std::vector<task<int>> readers;
    for (auto &pipe : pipes) pipe = make_pipe();
    for (int round = 0; round < 20; round++) {
        readers.clear();
        for (std::size_t i = 0; i < pipes.size(); i++) {
            readers.push_back(consume(loop, pipes[i].in.get(), static_cast<char>(i)));
            loop.start(produce(loop, pipes[i].out.get(), static_cast<char>(i)));
        }
        const auto counts = loop.run(when_all(std::move(readers)));
        CHECK(std::all_of(counts.begin(), counts.end(), [](int count) { return count == 10; }));
    }
}

TEST_CASE_FIXTURE(with_loop, "ten thousand tasks that wait are cancelled at once") {
    std::stop_source source;
    std::atomic<int> ended{0};
    auto             body = [](libloop::loop &loop, std::atomic<int> &ended) -> task<> {
        const auto slept = co_await loop.sleep(1h).as_result();
        CHECK(slept.error() == std::errc::operation_canceled);
        ended++;
    };
    for (int i = 0; i < 10000; i++) loop.start(body(loop, ended), {source.get_token(), nullptr});
    loop.sleep(1ms).then([&](libloop::result<void>) { source.request_stop(); });
    loop.run();
    CHECK(ended == 10000);
}

TEST_CASE_FIXTURE(with_loop, "exceptions of many tasks come out one by one, and no task is lost") {
    std::atomic<int> thrown{0};
    auto             body = [](libloop::loop &loop, int round, std::atomic<int> &thrown) -> task<> {
        co_await loop.sleep(std::chrono::microseconds(round % 10));
        thrown++;
        throw std::runtime_error("one of many");
    };
    for (int i = 0; i < 500; i++) loop.start(body(loop, i, thrown));
    const int caught = run_and_count_exceptions(loop);
    CHECK(thrown == 500);
    CHECK(caught >= 1);
}
