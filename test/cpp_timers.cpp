/*
 * loop.hpp, C++17: the timer that may be started again, moved and destroyed at any time.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cpp_support.hpp"

#include <memory>

using libloop::timer;

TEST_CASE_FIXTURE(with_loop, "a timer calls once, not early, and can be started again afterwards") {
    int        calls = 0;
    timer      alarm(loop, [&] { calls++; });
    const auto begin = loop.now();
    CHECK_FALSE(alarm.is_armed());
    alarm.start(3ms);
    CHECK(alarm.is_armed());
    loop.run();
    CHECK(calls == 1);
    CHECK(loop.now() - begin >= 3ms);
    CHECK_FALSE(alarm.is_armed());
    alarm.start(0ms);
    loop.run();
    CHECK(calls == 2);
}

TEST_CASE_FIXTURE(with_loop, "a periodic timer calls until it is cancelled, also by its callable") {
    int   calls = 0;
    timer ticking(loop, [] {});
    ticking = timer(loop, [&] {
        if (++calls == 5) CHECK(ticking.cancel());
    });
    ticking.start(1ms, 1ms);
    loop.run();
    CHECK(calls == 5);
    CHECK_FALSE(ticking.is_armed());
    CHECK_FALSE(ticking.cancel());
}

TEST_CASE_FIXTURE(with_loop, "a timer that is started again forgets the time before, sooner or later") {
    std::atomic<int> calls{0};
    timer            later(loop, [&] { calls++; }), sooner(loop, [&] { calls += 100; });
    const auto       begin = loop.now();
    later.start(1ns);
    for (int i = 0; i < 10; i++) later.start(5ms);
    sooner.start(1h, 1h);
    while (loop.run_once(0s) > 0) {
    }
    sooner.start(1ms);
    loop.run();
    CHECK(calls == 101);
    CHECK(loop.now() - begin >= 5ms);
}

TEST_CASE_FIXTURE(with_loop, "a callable may start its own timer again, with another period") {
    int   calls = 0;
    timer ticking(loop, [] {});
    ticking = timer(loop, [&] {
        calls++;
        if (calls == 3) ticking.start(1ms);
        if (calls == 4) ticking.start(1us, 1us);
        if (calls == 9) ticking.cancel();
    });
    ticking.start(1us, 1us);
    loop.run();
    CHECK(calls == 9);
}

TEST_CASE_FIXTURE(with_loop, "a timer that is destroyed or cancelled is not called, and frees its callable") {
    const auto shared = std::make_shared<int>(0);
    const auto count = [shared] { ++*shared; };
    {
        timer never(loop, count), once(loop, count), periodic(loop, count), due(loop, count);
        once.start(1h);
        periodic.start(1h, 1ms);
        due.start(0ns);
        while (loop.run_once(0s) > 0) {
        }
        CHECK(*shared == 1);
        due.start(0ns);
    }
    timer cancelled(loop, count);
    cancelled.start(0ns);
    CHECK(cancelled.cancel());
    loop.run();
    CHECK(*shared == 1);
    cancelled = timer(loop, [] {});
    CHECK(shared.use_count() == 2); /* count has the other */
}

TEST_CASE_FIXTURE(with_loop, "a callable may destroy its own timer") {
    int                    calls = 0;
    std::unique_ptr<timer> own;
    own = std::make_unique<timer>(loop, [&own, &calls, alive = std::make_shared<int>(7)] {
        calls++;
        own.reset();
        CHECK(*alive == 7);
    });
    own->start(1us, 1us);
    loop.run();
    CHECK(calls == 1);
    CHECK(own == nullptr);
}

TEST_CASE_FIXTURE(with_loop, "an exception of a timer comes out of run, and the timer goes on") {
    int   calls = 0;
    timer ticking(loop, [] {});
    ticking = timer(loop, [&] {
        if (++calls == 3) ticking.cancel();
        throw std::runtime_error("in a timer");
    });
    ticking.start(1us, 1us);
    CHECK(run_and_count_exceptions(loop) >= 1);
    CHECK(calls == 3);
}

TEST_CASE_FIXTURE(with_loop, "a timer may outlive its loop, and one that the loop ends is not called") {
    int calls = 0;
    {
        libloop::loop   ending(test_options());
        timer           alarm(ending, [&] { calls++; }), periodic(ending, [&] { calls++; });
        std::error_code refused;
        alarm.start(1h);
        periodic.start(1h, 1ms);
        periodic.start(2h, 1ms); /* still to be cancelled when the loop ends */
        ending.sleep(1h).then([&](libloop::result<void>) {
            timer late(ending, [&] { calls++; });
            late.start(0ns, refused);
            CHECK_FALSE(late.is_armed());
            CHECK_THROWS_AS(late.start(0ns, 1ms), std::system_error);
        });
        ending.deinit();
        CHECK(refused.value() == LOOP_ESHUTDOWN);
        CHECK_FALSE(alarm.is_armed());
    }
    CHECK(calls == 0);
}

TEST_CASE_FIXTURE(with_loop, "a timer that is destroyed in another thread is not called afterwards") {
    std::atomic<int> alive{0}, calls{0};
    loop.ref();
    std::thread runner([&] { loop.run(); });
    for (int i = 0; i < 300 || calls == 0; i++) {
        auto  round = std::make_unique<int>(i);
        timer ticking(loop, [&, mine = round.get()] {
            alive++;
            CHECK(*mine == i); /* gone after the timer */
            calls++;
            alive--;
        });
        ticking.start(1us, 1us);
        std::this_thread::sleep_for(std::chrono::microseconds(i % 50));
        if (i % 3 == 0) ticking.start(std::chrono::microseconds(i % 20));
        { const timer gone(std::move(ticking)); }
        CHECK(alive == 0);
    }
    loop.unref();
    runner.join();
}

TEST_CASE_FIXTURE(with_loop, "timers of a strand are never called at the same time") {
    libloop::strand    strand;
    std::atomic<int>   inside{0};
    int                calls = 0; /* not atomic: the strand keeps it */
    std::vector<timer> timers;
    for (int i = 0; i < 20; i++)
        timers.emplace_back(
            loop,
            [&] {
                CHECK(inside.fetch_add(1) == 0);
                if (++calls == 400)
                    for (auto &each : timers) each.cancel();
                inside.fetch_sub(1);
            },
            &strand);
    for (auto &each : timers) each.start(10us, 10us);
    loop.run();
    CHECK(calls >= 400);
}
