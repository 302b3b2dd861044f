/*
 * Part of loop.hpp: work on a blocking thread, with its value and its exception carried back.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_WORK_HPP
#define LOOP_WORK_HPP

#include "operation.hpp"

LIBLOOP_BEGIN

namespace detail {

struct nothing {};

template <class T> using storable = std::conditional_t<std::is_void_v<T>, nothing, T>;

} // namespace detail

/**
 * A callable to be run on a blocking thread, in memory of yours, and what became of it. Submit it with
 * loop::work; one flight at a time.
 */
template <class W> class work_item {
public:
    using value_type = std::invoke_result_t<W &>;

    /** Of a callable; nothing is submitted. */
    explicit work_item(W work) : work_(std::move(work)) {}

    /**
     * After the work completed: what the callable returned, once; an exception of it is thrown here. Only if
     * the completion was no error: with one, the callable was never called.
     */
    value_type get() {
#if LIBLOOP_EXCEPTIONS
        if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
#endif
        if (!value_) detail::fail(make_error(LOOP_EINVAL), "libloop::work_item::get before the work");
        detail::storable<value_type> value = std::move(*value_);
        value_.reset();
        if constexpr (!std::is_void_v<value_type>) return value;
    }

    /* For the parts of this library: what loop_queue_work calls. */
    static void run(loop_request_t *request) noexcept {
        auto *const flight = reinterpret_cast<detail::flight *>(request); /* its first member */
        static_cast<work_item *>(flight->context)->call();
    }

private:
    void call() noexcept {
#if LIBLOOP_EXCEPTIONS
        try {
            call_plainly();
        } catch (...) {
            exception_ = std::current_exception();
        }
#else
        call_plainly();
#endif
    }

    void call_plainly() {
        if constexpr (std::is_void_v<value_type>) {
            work_();
            value_.emplace();
        } else {
            value_.emplace(work_());
        }
    }

    W                                           work_;
    std::optional<detail::storable<value_type>> value_;
    std::exception_ptr                          exception_;
};

namespace detail {

struct submit_work {
    int (*submit)(loop_t *, loop_request_t *, loop_callback_t) noexcept;
    int operator()(loop_t *loop, loop_request_t *request, loop_callback_t callback) const noexcept {
        return submit(loop, request, callback);
    }
};

template <class W> auto work_of(state &owner, work_item<W> &item) noexcept {
    constexpr auto submit = [](loop_t *loop, loop_request_t *request, loop_callback_t callback) noexcept {
        return loop_queue_work(loop, request, &work_item<W>::run, callback);
    };
    return action<void, submit_work>(owner, submit_work{submit}, &item);
}

/* The value of finished work as a result; its exception is thrown. */
template <class W> auto finished(work_item<W> &item, std::error_code error)
    -> result<typename work_item<W>::value_type> {
    if (error) return error;
    if constexpr (std::is_void_v<typename work_item<W>::value_type>) {
        item.get();
        return {};
    } else {
        return item.get();
    }
}

/* What work_action::then allocates: the work, and who wants to know. */
template <class W, class F> struct work_and_then {
    void operator()(result<void> outcome) { f(finished(item, outcome.error())); }

    work_item<W> item;
    F            f;
};

} // namespace detail

/** Work that is not begun yet: what loop::work returns. It holds the callable, and can be begun once. */
template <class W> class [[nodiscard]] work_action {
public:
    using value_type = typename work_item<W>::value_type;

    work_action(detail::state &owner, W work) : owner_(&owner), work_(std::move(work)) {}

    /**
     * Begin it, and call `f` with its result<T> in a thread that runs the loop. An exception of the work
     * comes out of loop::run, as one of f does; f is not called then. Otherwise as action::then.
     */
    template <class F> void then(F f) && {
        std::error_code error;
        std::move(*this).then(std::move(f), error);
        if (error) detail::fail(error, "libloop::work_action::then");
    }

    /** The same; sets `error` instead of throwing. */
    template <class F> void then(F f, std::error_code &error) && {
        using callable = detail::work_and_then<W, F>;
        using memory_type = detail::self_owned<void, callable>;
        auto memory = std::make_unique<memory_type>(
            callable{work_item<W>(std::move(work_)), std::move(f)});
        const auto what = detail::work_of(*owner_, memory->f.item);
        error = make_error(what.begin(memory->flight, &memory_type::on_completion, nullptr));
        if (!error) memory.release();
    }

#if LIBLOOP_COROUTINES
    /** `co_await loop.work(f)`: what f returned or threw. */
    auto operator co_await() &&;
    /** For co_await: yields a result<T> instead of throwing errors. Exceptions of the work are thrown. */
    auto as_result() &&;
#endif

private:
    detail::state *owner_;
    W              work_;
};

LIBLOOP_END

#endif
