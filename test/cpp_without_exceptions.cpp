/*
 * loop.hpp without exceptions and without type information: everything reports by error codes, and what would
 * throw aborts after it said why. Compiled with -fno-exceptions -fno-rtti, as C++17 and as C++20.
 *
 * SPDX-License-Identifier: MIT
 */
#include <loop.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static_assert(LIBLOOP_EXCEPTIONS == 0);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __LINE__))

namespace {

[[noreturn]] void check_failed(const char *condition, int line) {
    std::fprintf(stderr, "line %d: %s does not hold\n", line, condition);
    std::_Exit(1);
}

libloop::loop make_loop() {
    std::error_code error;
    libloop::loop   loop(libloop::options(), error);
    CHECK(!error);
    return loop;
}

void test_callables() {
    libloop::loop      loop = make_loop();
    std::error_code    error;
    int                calls = 0, posts = 0, value = 0;
    libloop::operation tick{[&](auto &self, libloop::result<void> ticked) {
        CHECK(ticked.has_value());
        if (++calls < 3) self.submit(loop.yield(), error);
    }};
    tick.submit(loop.yield(), error);
    CHECK(!error);
    loop.work([] { return 5; }).then([&](libloop::result<int> returned) { value = *returned; }, error);
    CHECK(!error);
    loop.post([&] { posts++; }, error);
    loop.run(error);
    CHECK(!error);
    CHECK(calls == 3 && posts == 1 && value == 5);
}

void test_timer() {
    using namespace std::chrono_literals;
    libloop::loop   loop = make_loop();
    std::error_code error;
    int             calls = 0;
    libloop::timer  once(loop, [&] { calls++; });
    once.start(1ms, error);
    CHECK(!error);
    loop.run(error);
    CHECK(!error && calls == 1);
}

void test_errors() {
    libloop::loop   loop = make_loop();
    std::error_code error;
    loop.open("/nonexistent", O_RDONLY).then([&](libloop::result<libloop::unique_fd> file) {
        error = file.error();
    }, error);
    loop.run();
    CHECK(error == std::errc::no_such_file_or_directory);
}

#if LIBLOOP_COROUTINES
libloop::task<int> count_zeroes(libloop::loop &loop) {
    auto file = co_await loop.open("/dev/zero", O_RDONLY | O_CLOEXEC).as_result();
    CHECK(file.has_value());
    char       buffer[100];
    const auto bytes = co_await loop.read(file->get(), buffer).as_result();
    CHECK(bytes.has_value());
    const auto missing = co_await loop.open("/nonexistent", O_RDONLY).as_result();
    CHECK(missing.error() == std::errc::no_such_file_or_directory);
    co_return static_cast<int>(*bytes);
}

libloop::task<int> count_ticks(libloop::loop &loop, int wanted) {
    using namespace std::chrono_literals;
    libloop::generator ticks(loop.timer(1us, 1us));
    int                count = 0;
    while (count < wanted) {
        const auto tick = co_await ticks.next().as_result();
        CHECK(tick.has_value() && *tick);
        count++;
    }
    ticks.cancel();
    bool is_kept = true;
    while (is_kept) is_kept = co_await ticks.next();
    co_return count;
}

libloop::task<> fill_group(libloop::loop &loop) {
    libloop::task_group group(loop);
    int                 ticks = 0, zeroes = 0;
    group.spawn(count_ticks(loop, 5), ticks);
    group.spawn(count_zeroes(loop), zeroes);
    co_await group.join();
    CHECK(ticks == 5 && zeroes == 100);
}

libloop::task<> throw_away(libloop::loop &loop) { co_await loop.open("/nonexistent", O_RDONLY); }

void test_coroutines() {
    using namespace std::chrono_literals;
    libloop::loop loop = make_loop();
    CHECK(loop.run(count_zeroes(loop)) == 100);
    const auto all = loop.run(libloop::when_all(count_zeroes(loop), loop.sleep(1ms)));
    CHECK(std::get<0>(all) == 100);
    CHECK(loop.run(libloop::with_timeout(loop, count_zeroes(loop), 1h)) == 100);
    loop.run(fill_group(loop));
}
#endif

/* Runs a function in a process of its own, which must come to abort. No loop is open here: fork is
 * allowed. */
void must_abort(const char *program, const char *role) {
    const pid_t child = fork();
    if (child == 0) {
        execl(program, program, role, static_cast<char *>(nullptr));
        std::_Exit(1);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int abort_in(const char *role) {
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    std::freopen("/dev/null", "w", stderr);
    libloop::loop loop = make_loop();
    if (std::strcmp(role, "unref") == 0) loop.unref();
#if LIBLOOP_COROUTINES
    if (std::strcmp(role, "co_await") == 0) loop.run(throw_away(loop));
#endif
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    if (argc > 1) return abort_in(argv[1]);
    must_abort(argv[0], "unref");
#if LIBLOOP_COROUTINES
    must_abort(argv[0], "co_await");
    test_coroutines();
#endif
    test_callables();
    test_timer();
    test_errors();
    return 0;
}
