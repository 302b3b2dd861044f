/*
 * loop.hpp, C++20: task_group: values, the first exception, stops from every side, groups that nobody joins.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cpp_support.hpp"

#include <memory>
#include <optional>

using libloop::task;
using libloop::task_group;

namespace {

/* Counts in `live` the coroutines that there are, by what they are given. */
using token = std::shared_ptr<int>;

task<int> value_after(libloop::loop &loop, std::chrono::nanoseconds time, int value, token) {
    co_await loop.sleep(time);
    co_return value;
}

task<> fail_after(libloop::loop &loop, std::chrono::nanoseconds time, const char *what, token) {
    co_await loop.sleep(time);
    throw std::runtime_error(what);
}

/* Takes its cancellation for what it is; how it ended is counted. */
task<> sleep_long(libloop::loop &loop, std::atomic<int> &cancelled, token) {
    const auto slept = co_await loop.sleep(1h).as_result();
    cancelled += slept.error() == std::errc::operation_canceled;
}

} // namespace

TEST_CASE_FIXTURE(with_loop, "join waits for all tasks, and their values are where they were to be put") {
    auto body = [](libloop::loop &loop) -> task<> {
        const auto          live = std::make_shared<int>();
        task_group          group(loop);
        std::array<int, 50> values{};
        std::optional<int>  last;
        for (std::size_t i = 0; i < values.size(); i++) {
            const auto time = std::chrono::microseconds(50 * (values.size() - i));
            group.spawn(value_after(loop, time, static_cast<int>(i), live), values[i]);
        }
        group.spawn(value_after(loop, 1ms, 7, live), last);
        group.spawn(value_after(loop, 1ms, 8, live));
        CHECK(live.use_count() == 53);
        co_await group.join();
        CHECK(live.use_count() == 1); /* the frames are gone */
        for (std::size_t i = 0; i < values.size(); i++) CHECK(values[i] == static_cast<int>(i));
        CHECK(last == 7);
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "a group without tasks is joined at once, and one can be joined again") {
    auto body = [](libloop::loop &loop) -> task<> {
        task_group group(loop);
        co_await group.join();
        for (int round = 0; round < 20; round++) {
            int value = 0;
            group.spawn(value_after(loop, 1us, round, nullptr), value);
            co_await group.join();
            CHECK(value == round);
        }
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "the first exception stops the others, and comes out of join after them") {
    auto body = [](libloop::loop &loop) -> task<> {
        const auto       live = std::make_shared<int>();
        std::atomic<int> cancelled{0};
        task_group       group(loop);
        for (int i = 0; i < 30; i++) group.spawn(sleep_long(loop, cancelled, live));
        group.spawn(fail_after(loop, 1ms, "first", live));
        group.spawn(fail_after(loop, 1h, "second", live));
        std::string thrown;
        try {
            co_await group.join();
        } catch (const std::runtime_error &error) {
            thrown = error.what();
        }
        CHECK(thrown == "first");
        CHECK(cancelled == 30);
        CHECK(live.use_count() == 1);
        group.spawn(sleep_long(loop, cancelled, live)); /* into a group that was stopped */
        co_await group.join();
        CHECK(cancelled == 31);
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "tasks spawn others into their group while it is joined") {
    struct tree {
        static task<> grow(libloop::loop &loop, task_group &group, int depth, std::atomic<int> &leaves) {
            co_await loop.yield();
            if (depth == 0) leaves++;
            for (int i = 0; depth > 0 && i < 2; i++) group.spawn(grow(loop, group, depth - 1, leaves));
        }
    };
    auto body = [](libloop::loop &loop) -> task<> {
        std::atomic<int> leaves{0};
        task_group       group(loop);
        group.spawn(tree::grow(loop, group, 8, leaves));
        co_await group.join();
        CHECK(leaves == 256);
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "that a group is asked to stop is no failure, but an exception still is") {
    auto body = [](libloop::loop &loop) -> task<> {
        task_group       group(loop);
        std::atomic<int> cancelled{0};
        for (int i = 0; i < 10; i++) group.spawn(value_after(loop, 1h, i, nullptr));
        group.spawn(sleep_long(loop, cancelled, nullptr));
        co_await loop.sleep(1ms);
        group.request_stop();
        co_await group.join();
        CHECK(cancelled == 1);

        task_group failing(loop);
        auto       insists = [](libloop::loop &loop) -> task<> {
            const auto slept = co_await loop.sleep(1h).as_result();
            CHECK_FALSE(slept.has_value());
            throw std::runtime_error("while it was stopped");
        };
        failing.spawn(value_after(loop, 1h, 1, nullptr));
        failing.spawn(insists(loop));
        failing.request_stop(); /* before they began */
        co_await failing.join();
    };
    CHECK_THROWS_WITH_AS(loop.run(body(loop)), "while it was stopped", std::runtime_error);
}

TEST_CASE_FIXTURE(with_loop, "who joins is cancelled together with the tasks, before and during the join") {
    std::atomic<int> cancelled{0};
    auto             body = [](libloop::loop &loop, bool joins, std::atomic<int> &cancelled) -> task<> {
        const std::stop_token stop = co_await libloop::this_stop_token();
        task_group            group(loop, {stop, nullptr});
        for (int i = 0; i < 10; i++) group.spawn(sleep_long(loop, cancelled, nullptr));
        group.spawn(value_after(loop, 1h, 1, nullptr));
        if (!joins) (void)co_await loop.sleep(1h).as_result();
        co_await group.join();
    };
    for (const bool joins : {false, true}) {
        auto running = loop.spawn(body(loop, joins, cancelled));
        loop.sleep(2ms).then([&](libloop::result<void>) { running.request_stop(); });
        loop.run();
        CHECK(running.done());
        CHECK_THROWS_AS(running.get(), std::system_error);
    }
    CHECK(cancelled == 20);
    auto limited = libloop::with_timeout(loop, body(loop, true, cancelled), 1ms);
    CHECK(error_of(loop, std::move(limited)) == std::errc::timed_out);
    CHECK(cancelled == 30);
}

TEST_CASE_FIXTURE(with_loop, "a group with a token that was stopped before cancels what is spawned") {
    std::stop_source source;
    std::atomic<int> cancelled{0};
    source.request_stop();
    auto body = [](libloop::loop &loop, std::stop_token stop, std::atomic<int> &cancelled) -> task<> {
        task_group group(loop, {stop, nullptr});
        group.spawn(sleep_long(loop, cancelled, nullptr));
        co_await group.join();
    };
    loop.run(body(loop, source.get_token(), cancelled));
    CHECK(cancelled == 1);
}

TEST_CASE_FIXTURE(with_loop, "a group that nobody joins asks its tasks to stop, and they end by themselves") {
    std::atomic<int> cancelled{0};
    const auto       live = std::make_shared<int>();
    auto             body = [](libloop::loop &loop, std::atomic<int> &cancelled, token live) -> task<> {
        task_group group(loop);
        for (int i = 0; i < 20; i++) group.spawn(sleep_long(loop, cancelled, live));
        group.spawn(fail_after(loop, 1h, "dropped", live));
        co_await loop.sleep(1ms);
        group.spawn(sleep_long(loop, cancelled, live)); /* has not begun when the group goes */
        throw std::runtime_error("before the join");
    };
    CHECK_THROWS_WITH_AS(loop.run(body(loop, cancelled, live)), "before the join", std::runtime_error);
    loop.run();
    CHECK(cancelled == 21);
    CHECK(live.use_count() == 1);
    { const task_group outside(loop); }
}

TEST_CASE_FIXTURE(with_loop, "a loop that ends refuses to spawn, and ends the tasks of a group") {
    const auto       live = std::make_shared<int>();
    std::atomic<int> cancelled{0};
    std::error_code  refused;
    {
        libloop::loop ending(test_options());
        task_group    group(ending);
        group.spawn(sleep_long(ending, cancelled, live));
        while (ending.run_once(0s) > 0) {
        }
        ending.sleep(1h).then([&](libloop::result<void>) {
            try {
                group.spawn(sleep_long(ending, cancelled, live));
            } catch (const std::system_error &error) {
                refused = error.code();
            }
        });
        ending.deinit();
    }
    CHECK(refused.value() == LOOP_ESHUTDOWN);
    CHECK(cancelled == 1);
    CHECK(live.use_count() == 1);
}

namespace {

/* A place where nobody may be together with another: a strand keeps them apart. */
struct place {
    void visit() {
        CHECK(inside.fetch_add(1) == 0);
        std::this_thread::sleep_for(50us);
        visits++;
        inside.fetch_sub(1);
    }
    std::atomic<int> inside{0};
    int              visits = 0; /* not atomic */
};

task<> visit(libloop::loop &loop, place &here) {
    co_await loop.yield();
    here.visit();
}

} // namespace

TEST_CASE_FIXTURE(with_loop, "the tasks of a group run in its strand") {
    auto body = [](libloop::loop &loop, libloop::strand &strand, place &here) -> task<> {
        task_group group(loop, {{}, &strand});
        for (int i = 0; i < 50; i++) group.spawn(visit(loop, here));
        co_await group.join();
    };
    libloop::strand strand;
    place           here;
    loop.run(body(loop, strand, here));
    CHECK(here.visits == 50);
}

TEST_CASE_FIXTURE(with_loop, "who waits for a group or a job goes on in its own strand, not in theirs") {
    auto body = [](libloop::loop &loop, place &here) -> task<> {
        for (int round = 0; round < 5; round++) {
            task_group group(loop);
            for (int i = 0; i < 3; i++) group.spawn(value_after(loop, 10us, i, nullptr));
            co_await group.join();
            here.visit();
            auto job = loop.spawn(value_after(loop, 10us, round, nullptr));
            co_await std::move(job);
            here.visit();
        }
    };
    libloop::strand strand;
    place           here;
    for (int i = 0; i < 10; i++) loop.start(body(loop, here), {{}, &strand});
    loop.run();
    CHECK(here.visits == 100);
}

TEST_CASE_FIXTURE(with_loop, "a storm of groups: ends, failures and stops at any moment, nothing is lost") {
    std::atomic<int> began{0}, ended{0}, failures{0};
    struct count {
        explicit count(std::atomic<int> &ended) : ended_(&ended) {}
        count(count &&other) noexcept : ended_(std::exchange(other.ended_, nullptr)) {}
        ~count() {
            if (ended_ != nullptr) ++*ended_;
        }
        std::atomic<int> *ended_;
    };
    auto one = [](libloop::loop &loop, int number, count) -> task<> {
        co_await loop.sleep(std::chrono::microseconds(number * 13 % 60));
        if (number % 11 == 0) throw std::runtime_error("one of many");
    };
    auto round = [](libloop::loop &loop, int number, auto one, auto &began, auto &ended,
                    auto &failures) -> task<> {
        task_group group(loop);
        for (int i = 0; i < 10; i++) {
            began++;
            group.spawn(one(loop, number + i, count(ended)));
        }
        co_await loop.sleep(std::chrono::microseconds(number % 40));
        if (number % 5 == 0) co_return; /* nobody joins */
        if (number % 5 == 1) group.request_stop();
        try {
            co_await group.join();
        } catch (const std::runtime_error &) {
            failures++;
        }
    };
    for (int i = 0; i < 300; i++) loop.start(round(loop, i, one, began, ended, failures));
    loop.run();
    CHECK(began == 3000);
    CHECK(ended == 3000);
    CHECK(failures > 0);
}
