/*
 * loop.hpp, C++17: errors and results, buffers, owners, durations. Nothing here needs a loop to run.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cpp_support.hpp"

#if __cplusplus >= 202002L
#include <span>
#endif

using namespace libloop;

TEST_CASE("every errno of the C interface is the generic condition of its meaning") {
#define XX(name, number, text) \
    CHECK(make_error(LOOP_##name) == std::error_condition(name, std::generic_category()));
    LOOP_ERROR_MAP(XX)
#undef XX
    CHECK(make_error(LOOP_ETIMEDOUT) == std::errc::timed_out);
    CHECK(make_error(LOOP_ENOENT) == std::errc::no_such_file_or_directory);
    CHECK(make_error(LOOP_ENOENT) != std::errc::timed_out);
}

TEST_CASE("errors of name look-ups are conditions of their own") {
    CHECK(make_error(LOOP_EAI_NONAME).default_error_condition().category() == category());
    CHECK(make_error(LOOP_EAI_NONAME) != make_error(LOOP_EAI_AGAIN));
    CHECK(make_error(LOOP_EAI_NONAME).message() == "name or service not known");
}

TEST_CASE("an error keeps its number and has the message of the C interface") {
    const std::error_code error = make_error(LOOP_EPIPE);
    CHECK(error.value() == LOOP_EPIPE);
    CHECK(std::string(error.category().name()) == "loop");
    CHECK(error.message() == loop_error_message(LOOP_EPIPE));
    CHECK_FALSE(make_error(0));
    CHECK_FALSE(make_error(4096));
}

TEST_CASE("a result without a value throws its error when asked for one") {
    result<std::size_t> good(std::size_t{7});
    result<std::size_t> bad(make_error(LOOP_ENOSPC));
    CHECK(good.value() == 7);
    CHECK_FALSE(good.error());
    CHECK_FALSE(static_cast<bool>(bad));
    CHECK_THROWS_AS(bad.value(), std::system_error);
    CHECK_THROWS_AS(result<void>(make_error(LOOP_EIO)).value(), std::system_error);
    CHECK_NOTHROW(result<void>().value());
}

TEST_CASE("a descriptor in a result that nobody takes is closed") {
    const unsigned before = open_descriptors();
    { result<unique_fd> outcome(unique_fd(dup(0))); }
    CHECK(open_descriptors() == before);
}

TEST_CASE("unique_fd closes once, gives up on release, and moves") {
    const unsigned before = open_descriptors();
    {
        unique_fd first(dup(0));
        unique_fd second(std::move(first));
        CHECK_FALSE(static_cast<bool>(first));
        first = std::move(second);
        const int released = first.release();
        CHECK(fcntl(released, F_GETFD) >= 0);
        first.reset(released);
        unique_fd &same = first;
        first = std::move(same);
        CHECK(first.get() == released);
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("a buffer is the bytes of a container, an array or a string") {
    std::vector<int>         numbers(5);
    std::array<char, 3>      characters{};
    char                     bytes[9] = {};
    const std::string        text = "four";
    const std::string_view   view = text;
    const std::vector<short> shorts(6);
    CHECK(mutable_buffer(numbers).size == 5 * sizeof(int));
    CHECK(mutable_buffer(numbers).data == numbers.data());
    CHECK(mutable_buffer(characters).size == 3);
    CHECK(mutable_buffer(bytes).size == 9);
    CHECK(const_buffer(text).size == 4);
    CHECK(const_buffer(view).data == text.data());
    CHECK(const_buffer(shorts).size == 6 * sizeof(short));
    CHECK(const_buffer("literal").size == 7);
    CHECK(const_buffer(bytes).size == 9);
    CHECK(const_buffer(mutable_buffer(bytes)).data == bytes);
#if __cplusplus >= 202002L
    CHECK(mutable_buffer(std::span(numbers).subspan(1)).size == 4 * sizeof(int));
    CHECK(const_buffer(std::as_bytes(std::span(shorts))).size == 6 * sizeof(short));
#endif
}

TEST_CASE("what may not be written or is not plain memory is no buffer") {
    static_assert(!std::is_constructible_v<mutable_buffer, const std::string &>);
    static_assert(!std::is_constructible_v<mutable_buffer, std::string_view>);
    static_assert(!std::is_constructible_v<mutable_buffer, std::vector<std::string> &>);
    static_assert(!std::is_constructible_v<const_buffer, std::vector<std::string> &>);
    static_assert(!std::is_constructible_v<const_buffer, int>);
    CHECK(true);
}

TEST_CASE("durations become nanoseconds without wrapping") {
    using detail::nanoseconds_of;
    CHECK(nanoseconds_of(3ms) == 3000000);
    CHECK(nanoseconds_of(-3s) == 0);
    CHECK(nanoseconds_of(std::chrono::hours::max()) == INT64_MAX);
    CHECK(nanoseconds_of(std::chrono::hours::min()) == 0);
    CHECK(nanoseconds_of(std::chrono::nanoseconds::max()) == INT64_MAX);
    CHECK(nanoseconds_of(std::chrono::duration<double>(0.5)) == 500000000);
    CHECK(nanoseconds_of(std::chrono::duration<double>(1e300)) == INT64_MAX);
}

TEST_CASE("a loop that cannot be had is an error or an exception, and leaves nothing behind") {
    options wanted;
    wanted.threads = LOOP_THREADS_MAX + 1;
    std::error_code error;
    libloop::loop   none(wanted, error);
    CHECK(error == std::errc::invalid_argument);
    CHECK_FALSE(static_cast<bool>(none));
    CHECK_THROWS_AS(libloop::loop{wanted}, std::system_error);
}

TEST_CASE("a loop moves with what is in flight, and ends once") {
    bool          called = false;
    libloop::loop first(test_options());
    first.yield().then([&](result<void>) { called = true; });
    libloop::loop second(std::move(first));
    CHECK_FALSE(static_cast<bool>(first));
    first = libloop::loop(test_options());
    first = std::move(second);
    first.run();
    CHECK(called);
    first.deinit();
    CHECK_FALSE(static_cast<bool>(first));
}

TEST_CASE("what a loop says of itself is what the C interface says") {
    libloop::loop subject(test_options());
    CHECK(subject.name() == loop_backend_name(subject.native_handle()));
    CHECK(subject.pending() == 0);
    subject.ref();
    CHECK(subject.pending() == 1);
    subject.unref();
    CHECK_THROWS_AS(subject.unref(), std::system_error);
    const auto before = subject.now();
    CHECK(subject.now() >= before);
    for (int i = 0; i < 3; i++) subject.yield().then([](result<void>) {});
    subject.run();
    CHECK(subject.statistics().completions == 3);
}
