/*
 * Part of loop.hpp: errors. An error_code category, result<T> for what either is a value or failed, and the
 * one place that throws.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_ERROR_HPP
#define LOOP_ERROR_HPP

#include "../loop.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

/* LIBLOOP_EXCEPTIONS: 1 where exceptions are on. Programs may not be mixed of both kinds by accident: the
 * inline namespace gives each kind functions of its own. */
#if defined(__cpp_exceptions)
#define LIBLOOP_EXCEPTIONS 1
#define LIBLOOP_BEGIN namespace libloop { inline namespace v0 {
#else
#define LIBLOOP_EXCEPTIONS 0
#define LIBLOOP_BEGIN namespace libloop { inline namespace v0_no_exceptions {
#endif
#define LIBLOOP_END }}

/* LIBLOOP_COROUTINES: 1 where the compiler has coroutines and the standard library has std::stop_token. */
#if defined(__cpp_impl_coroutine) && __has_include(<coroutine>) && __has_include(<stop_token>)
#include <coroutine>
#include <stop_token>
#endif
#if defined(__cpp_impl_coroutine) && defined(__cpp_lib_jthread)
#define LIBLOOP_COROUTINES 1
#else
#define LIBLOOP_COROUTINES 0
#endif

LIBLOOP_BEGIN

namespace detail {

static_assert(ETIMEDOUT == -LOOP_ETIMEDOUT && ECANCELED == -LOOP_ECANCELED && ENOTSUP == -LOOP_ENOTSUP,
              "the conditions below rely on the errno numbers of Linux");

class error_category final : public std::error_category {
public:
    const char *name() const noexcept override { return "loop"; }
    std::string message(int value) const override { return loop_error_message(value); }

    std::error_condition default_error_condition(int value) const noexcept override {
        const bool is_errno = value < 0 && value > LOOP_EAI_ADDRFAMILY;
        return is_errno ? std::error_condition(-value, std::generic_category())
                        : std::error_condition(value, *this);
    }
};

} // namespace detail

/**
 * The category of this library's errors. The value of a code is one of LOOP_E* (negative); it compares equal
 * to the std::errc of its meaning, such as std::errc::timed_out.
 */
inline const std::error_category &category() noexcept {
    static const detail::error_category instance;
    return instance;
}

/** The error that a result of the C interface states: none for a result >= 0. */
inline std::error_code make_error(std::int64_t result) noexcept {
    return result < 0 ? std::error_code(static_cast<int>(result), category()) : std::error_code();
}

namespace detail {

/* Throws std::system_error; without exceptions it says what failed and aborts. */
[[noreturn]] inline void fail(const std::error_code &error, const char *what) {
#if LIBLOOP_EXCEPTIONS
    throw std::system_error(error, what);
#else
    std::fprintf(stderr, "libloop: %s: %s\n", what, error.message().c_str());
    std::abort();
#endif
}

inline std::int64_t check(std::int64_t result, const char *what) {
    if (result < 0) fail(make_error(result), what);
    return result;
}

/* For what may never happen and cannot be reported: the end of something that is still in use. */
[[noreturn]] inline void misuse(const char *what) noexcept {
    std::fprintf(stderr, "libloop: %s\n", what);
    std::terminate();
}

} // namespace detail

/**
 * The outcome of an operation: a value, or an error. T may be a move-only type; a value that is not taken
 * goes with the result, so a descriptor that nobody wants is closed.
 */
template <class T> class [[nodiscard]] result {
public:
    /** A value, or an error. */
    result(T value) : value_(std::move(value)) {}
    result(std::error_code error) noexcept : error_(error) {}

    /** Whether there is a value. */
    explicit operator bool() const noexcept { return value_.has_value(); }
    bool     has_value() const noexcept { return value_.has_value(); }

    /** The error; none (equal to std::error_code()) if there is a value. */
    std::error_code error() const noexcept { return error_; }

    /** The value; throws std::system_error if there is none. */
    T &value() & {
        require();
        return *value_;
    }
    const T &value() const & {
        require();
        return *value_;
    }
    T value() && {
        require();
        return std::move(*value_);
    }

    /** The value, which must be there. */
    T       &operator*() & noexcept { return *value_; }
    const T &operator*() const & noexcept { return *value_; }
    T       &&operator*() && noexcept { return std::move(*value_); }
    T        *operator->() noexcept { return &*value_; }
    const T  *operator->() const noexcept { return &*value_; }

private:
    void require() const {
        if (!value_) detail::fail(error_, "libloop::result");
    }

    std::error_code  error_;
    std::optional<T> value_;
};

/** The outcome of an operation that has no value. */
template <> class [[nodiscard]] result<void> {
public:
    /** Success, or an error. */
    result() noexcept = default;
    result(std::error_code error) noexcept : error_(error) {}

    /** Whether it succeeded, and the error if not. */
    explicit        operator bool() const noexcept { return !error_; }
    bool            has_value() const noexcept { return !error_; }
    std::error_code error() const noexcept { return error_; }

    /** Throws std::system_error if it failed. */
    void value() const {
        if (error_) detail::fail(error_, "libloop::result");
    }

private:
    std::error_code error_;
};

LIBLOOP_END

#endif
