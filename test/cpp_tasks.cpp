/*
 * loop.hpp, C++20: the lives of tasks and jobs: values, exceptions, cancellation, ends in every order.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cpp_support.hpp"

#include <functional>
#include <memory>

using libloop::job;
using libloop::task;

namespace {

task<int> answer(libloop::loop &loop) {
    co_await loop.yield();
    co_return 42;
}

task<> sleep_for(libloop::loop &loop, std::chrono::nanoseconds time) { co_await loop.sleep(time); }

task<> fail_after(libloop::loop &loop, std::chrono::nanoseconds time) {
    co_await loop.sleep(time);
    throw std::runtime_error("failed");
}

/* Counts in `live` the objects there are. */
struct counted {
    explicit counted(std::atomic<int> &live) : live_(&live) { ++*live_; }
    counted(const counted &other) : live_(other.live_) { ++*live_; }
    counted &operator=(const counted &) = delete;
    ~counted() { --*live_; }
    void check() const { CHECK(*live_ > 0); }
    std::atomic<int> *live_;
};

task<int> waits_for_ever(libloop::loop &loop, int fd, counted) {
    char buffer[16];
    co_return static_cast<int>(co_await loop.read(fd, buffer));
}

std::error_code code_of(const std::function<void()> &what) {
    try {
        what();
    } catch (const std::system_error &error) {
        return error.code();
    }
    return {};
}

} // namespace

TEST_CASE_FIXTURE(with_loop, "run yields the value of a task, and can be called again") {
    for (int i = 0; i < 100; i++) CHECK(loop.run(answer(loop)) == 42);
}

TEST_CASE_FIXTURE(with_loop, "a task is lazy, and one that is never awaited goes with its arguments") {
    std::atomic<int> live{0};
    bool             begun = false;
    auto             body = [](bool &begun, counted) -> task<> {
        begun = true;
        co_return;
    };
    {
        task<> never = body(begun, counted(live));
        CHECK(live == 1);
        task<> moved = std::move(never);
    }
    CHECK(live == 0);
    CHECK_FALSE(begun);
}

TEST_CASE_FIXTURE(with_loop, "values that can only be moved pass through tasks") {
    auto inner = [](libloop::loop &loop) -> task<std::unique_ptr<int>> {
        co_await loop.yield();
        co_return std::make_unique<int>(9);
    };
    auto outer = [](task<std::unique_ptr<int>> what) -> task<std::unique_ptr<int>> {
        co_return co_await std::move(what);
    };
    CHECK(*loop.run(outer(inner(loop))) == 9);
}

TEST_CASE_FIXTURE(with_loop, "an exception passes through tasks to run, and can be caught on the way") {
    auto catching = [](task<> what) -> task<std::string> {
        try {
            co_await std::move(what);
        } catch (const std::runtime_error &error) {
            co_return error.what();
        }
        co_return "nothing";
    };
    auto passing = [](task<> what) -> task<> { co_await std::move(what); };
    CHECK(loop.run(catching(fail_after(loop, 0ns))) == "failed");
    CHECK_THROWS_WITH_AS(loop.run(passing(fail_after(loop, 1ms))), "failed", std::runtime_error);
    CHECK(loop.run(answer(loop)) == 42);
}

TEST_CASE_FIXTURE(with_loop, "tasks that await tasks do so to any depth") {
    struct nest {
        static task<int> down(libloop::loop &loop, int depth) {
            if (depth == 0) co_return co_await answer(loop);
            co_return 1 + co_await down(loop, depth - 1);
        }
    };
    CHECK(loop.run(nest::down(loop, 200)) == 242);
}

TEST_CASE_FIXTURE(with_loop, "a spawned task begins in a turn of the loop, not in the call") {
    bool begun = false;
    auto body = [](bool &begun) -> task<> {
        begun = true;
        co_return;
    };
    job<void> running = loop.spawn(body(begun));
    CHECK_FALSE(begun);
    CHECK_FALSE(running.done());
    loop.run();
    CHECK(begun);
    CHECK(running.done());
    running.get();
}

TEST_CASE_FIXTURE(with_loop, "a job can be awaited while it runs, and after it ended") {
    auto wait = [](libloop::loop &loop) -> task<int> {
        job<int> first = loop.spawn(answer(loop));
        const int a = co_await std::move(first);
        job<int> second = loop.spawn(answer(loop));
        co_await loop.sleep(2ms);
        const int b = co_await std::move(second);
        co_return a + b;
    };
    CHECK(loop.run(wait(loop)) == 84);
}

TEST_CASE_FIXTURE(with_loop, "the exception of a job comes to the one that awaits it, and not out of run") {
    auto wait = [](libloop::loop &loop) -> task<std::string> {
        job<void> failing = loop.spawn(fail_after(loop, 1ms));
        try {
            co_await std::move(failing);
        } catch (const std::runtime_error &error) {
            co_return error.what();
        }
        co_return "nothing";
    };
    CHECK(loop.run(wait(loop)) == "failed");
    loop.run();
}

TEST_CASE_FIXTURE(with_loop, "the exception of a task that nobody waits for comes out of run") {
    loop.start(fail_after(loop, 1ms));
    CHECK_THROWS_WITH_AS(loop.run(), "failed", std::runtime_error);

    job<void> detached_early = loop.spawn(fail_after(loop, 1ms));
    detached_early.detach();
    CHECK_THROWS_WITH_AS(loop.run(), "failed", std::runtime_error);

    job<void> detached_late = loop.spawn(fail_after(loop, 0ns));
    loop.run();
    detached_late.detach();
    CHECK_THROWS_WITH_AS(loop.run(), "failed", std::runtime_error);
}

TEST_CASE_FIXTURE(with_loop, "destroying the handle of a waiting job cancels it, and its frame goes then") {
    std::atomic<int> live{0};
    auto             pipe = make_pipe();
    {
        job<int> running = loop.spawn(waits_for_ever(loop, pipe.in.get(), counted(live)));
        while (loop.run_once(0s) > 0) {
        }
        CHECK_FALSE(running.done());
        CHECK(live == 1);
    }
    loop.run();
    CHECK(live == 0);
}

TEST_CASE_FIXTURE(with_loop, "destroying the handle of a job that has not begun cancels it") {
    std::atomic<int> live{0};
    auto             pipe = make_pipe();
    { auto never = loop.spawn(waits_for_ever(loop, pipe.in.get(), counted(live))); }
    loop.run();
    CHECK(live == 0);
}

TEST_CASE_FIXTURE(with_loop, "a job that is asked to stop ends with operation_canceled") {
    std::atomic<int> live{0};
    auto             pipe = make_pipe();
    job<int>         running = loop.spawn(waits_for_ever(loop, pipe.in.get(), counted(live)));
    std::thread      other([&] {
        std::this_thread::sleep_for(2ms);
        running.request_stop();
    });
    loop.run();
    other.join();
    CHECK(code_of([&] { running.get(); }) == std::errc::operation_canceled);
}

TEST_CASE_FIXTURE(with_loop, "a stop token cancels what a task waits for, through all that it awaits") {
    std::stop_source source;
    auto             pipe = make_pipe();
    std::atomic<int> live{0};
    auto             outer = [](task<int> inner, std::error_code &ended) -> task<> {
        try {
            co_await std::move(inner);
        } catch (const std::system_error &error) {
            ended = error.code();
        }
    };
    std::error_code ended;
    loop.start(outer(waits_for_ever(loop, pipe.in.get(), counted(live)), ended),
               {source.get_token(), nullptr});
    loop.sleep(2ms).then([&](libloop::result<void>) { source.request_stop(); });
    loop.run();
    CHECK(ended == std::errc::operation_canceled);
    CHECK(live == 0);
}

TEST_CASE_FIXTURE(with_loop, "a task that is cancelled still closes, and its other operations end at once") {
    std::stop_source source;
    source.request_stop();
    auto body = [](libloop::loop &loop, libloop::unique_fd fd) -> task<bool> {
        const std::stop_token token = co_await libloop::this_stop_token();
        const auto            slept = co_await loop.sleep(1h).as_result();
        co_await loop.close(std::move(fd));
        co_return token.stop_requested() && slept.error() == std::errc::operation_canceled;
    };
    auto      pipe = make_pipe();
    const int in = pipe.in.get();
    auto      running = loop.spawn(body(loop, std::move(pipe.in)), {source.get_token(), nullptr});
    loop.run();
    CHECK(running.get());
    CHECK(fcntl(in, F_GETFD) < 0);
}

TEST_CASE_FIXTURE(with_loop, "a task without a token is told of one that never stops") {
    auto body = []() -> task<bool> {
        const std::stop_token token = co_await libloop::this_stop_token();
        co_return token.stop_possible();
    };
    loop.start([](task<bool> inner) -> task<> { CHECK_FALSE(co_await std::move(inner)); }(body()));
    loop.run();
    CHECK(loop.run(body()));
}

TEST_CASE_FIXTURE(with_loop, "cancelling the one that awaits a job cancels the job") {
    std::atomic<int> live{0};
    auto             pipe = make_pipe();
    auto             wait = [](job<int> inner) -> task<int> { co_return co_await std::move(inner); };
    auto             inner = loop.spawn(waits_for_ever(loop, pipe.in.get(), counted(live)));
    auto             outer = loop.spawn(wait(std::move(inner)));
    loop.sleep(2ms).then([&](libloop::result<void>) { outer.request_stop(); });
    loop.run();
    CHECK(code_of([&] { outer.get(); }) == std::errc::operation_canceled);
    CHECK(live == 0);
}

TEST_CASE_FIXTURE(with_loop, "a loop that ends lets all tasks run to their end") {
    std::atomic<int> live{0};
    auto             pipe = make_pipe();
    {
        libloop::loop other(test_options());
        for (int i = 0; i < 50; i++)
            other.start([](libloop::loop &loop, int fd, counted one) -> task<> {
                char       buffer[1];
                const auto first = co_await loop.read(fd, buffer).as_result();
                const auto second = co_await loop.read(fd, buffer).as_result();
                CHECK(first.error() == std::errc::operation_canceled);
                CHECK(second.error().value() == LOOP_ESHUTDOWN);
                one.check();
            }(other, pipe.in.get(), counted(live)));
        while (other.run_once(1ms) > 0) {
        }
        CHECK(live == 50);
    }
    CHECK(live == 0);
}

TEST_CASE_FIXTURE(with_loop, "run tells of a stop, and of a task that can never go on") {
    auto pipe = make_pipe();
    std::atomic<int> live{0};
    loop.sleep(2ms).then([&](libloop::result<void>) { loop.stop(); });
    CHECK(code_of([&] { loop.run(waits_for_ever(loop, pipe.in.get(), counted(live))); }) ==
          std::errc::operation_canceled);
    loop.run();
    CHECK(live == 0);

    struct park { /* resumed by nobody */
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> waiting) noexcept { parked = waiting; }
        void await_resume() const noexcept {}
        std::coroutine_handle<> &parked;
    };
    std::coroutine_handle<> parked;
    auto                    body = [](std::coroutine_handle<> &parked) -> task<> { co_await park{parked}; };
    CHECK(code_of([&] { loop.run(body(parked)); }) == std::errc::resource_deadlock_would_occur);
    parked.resume();
}

TEST_CASE_FIXTURE(with_loop, "an exception of a callback ends run, and cancels the task that it ran") {
    auto             pipe = make_pipe();
    std::atomic<int> live{0};
    loop.sleep(2ms).then([](libloop::result<void>) { throw std::runtime_error("in a callback"); });
    CHECK_THROWS_WITH_AS(loop.run(waits_for_ever(loop, pipe.in.get(), counted(live))), "in a callback",
                         std::runtime_error);
    loop.run();
    CHECK(live == 0);
}

TEST_CASE_FIXTURE(with_loop, "a start that the loop refuses throws, and nothing is left of the task") {
    std::atomic<int> live{0};
    auto             ending = std::make_unique<libloop::loop>(test_options());
    std::error_code  refused;
    ending->sleep(1h).then([&](libloop::result<void>) {
        refused = code_of([&] { ending->start(waits_for_ever(*ending, 0, counted(live))); });
    });
    ending->deinit();
    CHECK(refused.value() == LOOP_ESHUTDOWN);
    CHECK(live == 0);
}

TEST_CASE_FIXTURE(with_loop, "a started task costs its frame and one more; a task within it its frame") {
    auto inner = [](libloop::loop &loop) -> task<> { co_await loop.yield(); };
    auto outer = [](libloop::loop &loop, auto &inner, long &during) -> task<> {
        const long before = allocations();
        for (int i = 0; i < 10; i++) co_await inner(loop);
        during = allocations() - before;
    };
    long       during = 0;
    const long before = allocations();
    loop.start(outer(loop, inner, during));
    CHECK(allocations() - before == 2);
    loop.run();
    CHECK(during == 10);
}

TEST_CASE_FIXTURE(with_loop, "tasks of one strand share data without a lock") {
    libloop::strand strand;
    int             sum = 0, inside = 0;
    auto            body = [](libloop::loop &loop, int &sum, int &inside) -> task<> {
        for (int i = 0; i < 20; i++) {
            CHECK(inside++ == 0);
            sum++;
            inside--;
            co_await loop.yield();
            co_await sleep_for(loop, 10us);
        }
    };
    for (int i = 0; i < 50; i++) loop.start(body(loop, sum, inside), {{}, &strand});
    loop.run();
    CHECK(sum == 1000);
}

/* The moments that come by chance when other threads take part, here at will: an action whose submit does
 * what another thread might do before it returns. */

namespace {

template <class Submit> auto action_by(libloop::detail::state &state, Submit submit) {
    return libloop::action<void, Submit>(state, submit);
}

task<int> await_it(auto what, std::error_code &error) {
    const auto outcome = co_await what.as_result();
    error = outcome.error();
    co_return 1;
}

} // namespace

TEST_CASE_FIXTURE(with_loop, "a stop that comes between submit and its return is not lost") {
    libloop::detail::state state;
    std::stop_source       source;
    std::error_code        error;
    state.handle = loop.native_handle();
    const auto what = action_by(state, [&source](loop_t *l, loop_request_t *r, loop_callback_t c) noexcept {
        const int refused = loop_timer_start(l, r, 3600000000000, 0, c);
        source.request_stop();
        return refused;
    });
    auto running = loop.spawn(await_it(what, error), {source.get_token(), nullptr});
    auto limit = loop.spawn(sleep_for(loop, 10s));
    while (!running.done() && !limit.done()) loop.run_once(1s);
    CHECK(error == std::errc::operation_canceled);
}

TEST_CASE_FIXTURE(with_loop, "a completion before submit returned resumes once, with a token or not") {
    libloop::detail::state state;
    std::error_code        error = libloop::make_error(LOOP_EIO);
    int                    resumed = 0;
    state.handle = loop.native_handle();
    const auto what = action_by(state, [](loop_t *l, loop_request_t *r, loop_callback_t c) noexcept {
        r->result = 0;
        c(l, r, 0); /* without a token the coroutine is resumed in there, ends, and its frame is freed */
        return 0;
    });
    auto count = [](task<int> inner, int &resumed) -> task<> { resumed += co_await std::move(inner); };
    loop.start(count(await_it(what, error), resumed));
    loop.run();
    CHECK(resumed == 1);
    auto stoppable = loop.spawn(count(await_it(what, error), resumed));
    loop.run();
    CHECK(stoppable.done());
    CHECK(resumed == 2);
    CHECK_FALSE(error);
}
