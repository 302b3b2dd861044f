/*
 * Part of loop.hpp: timer, which calls a callable and may be started again and destroyed at any time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_TIMER_HPP
#define LOOP_TIMER_HPP

#include "core.hpp"
#include "lasting.hpp"

#include <condition_variable>
#include <thread>

LIBLOOP_BEGIN

namespace detail {

/* What a timer and its flight share. */
class timer_state : public lasting {
public:
    timer_state(state &owner, strand *in) noexcept
        : owner_(&owner), strand_(in != nullptr ? in->get() : nullptr) {}

    /* 0, or why it was refused. What is in flight, or is being called, has to end before it begins anew. */
    int start(std::uint64_t delay_ns, std::uint64_t period_ns) noexcept {
        const guard lock(mutex_);
        due_ = loop_now(owner_->handle) + delay_ns;
        if (due_ < delay_ns) due_ = UINT64_MAX;
        period_ns_ = period_ns;
        is_armed_ = true;
        if (in_flight() || is_called_) {
            cancel();
            return 0;
        }
        return arm();
    }

    bool stop() noexcept {
        const guard lock(mutex_);
        cancel();
        return std::exchange(is_armed_, false);
    }

    /* Returns when the callable is not being called, unless this is the call. */
    void end() noexcept {
        stop();
        guard lock(mutex_);
        returned_.wait(lock, [this] { return !is_called_ || called_in_ == std::this_thread::get_id(); });
    }

    bool is_armed() noexcept {
        const guard lock(mutex_);
        return is_armed_;
    }

private:
    using start_timer = submit_by<loop_timer_start, std::uint64_t, std::uint64_t>;

    virtual void call() = 0;

    int arm() noexcept {
        const std::uint64_t now = loop_now(owner_->handle);
        const start_timer   submit{{due_ > now ? due_ - now : 0, period_ns_}};
        const int           refused = begin(action<void, start_timer>(*owner_, submit), strand_);
        if (refused < 0) is_armed_ = false;
        return refused;
    }

    /* A shot of a flight that was cancelled is none. One that ends by itself did its work, or cannot. */
    void completed(guard &lock) override {
        if (!is_cancelled()) {
            is_armed_ = in_flight();
            if (landed().request.result == 0) call_unlocked(lock);
        }
        if (is_armed_ && !in_flight()) arm();
    }

    void call_unlocked(guard &lock) {
        is_called_ = true;
        called_in_ = std::this_thread::get_id();
        lock.unlock();
        guarded(*owner_, [this] { call(); });
        lock.lock();
        is_called_ = false;
        returned_.notify_all();
    }

    state                  *owner_;
    loop_strand_t          *strand_;
    std::uint64_t           due_ = 0;
    std::uint64_t           period_ns_ = 0;
    bool                    is_armed_ = false;
    bool                    is_called_ = false;
    std::thread::id         called_in_;
    std::condition_variable returned_;
};

template <class F> class timer_with final : public timer_state {
public:
    timer_with(state &owner, strand *in, F f) : timer_state(owner, in), f_(std::move(f)) {}

private:
    void call() override { f_(); }

    F f_;
};

} // namespace detail

/**
 * A timer that calls a callable, once or periodically. Unlike an operation it can be started again while it
 * runs, also by its callable, moved, and destroyed at any time: that cancels it.
 *
 *     libloop::timer alarm(loop, [] { std::puts("nothing came"); });
 *     alarm.start(10s);
 *     alarm.start(10s);    // something came: ten seconds from now instead
 *
 * Lifetime    The callable is not called any more when the destructor has returned, which waits for a call
 *             that another thread is in. It may destroy its own timer. It is freed when the loop has seen to
 *             the cancellation. A timer may outlive its loop, but not be used then.
 * Exceptions  What the callable throws comes out of loop::run, and the timer goes on.
 * Threads     Any, one at a time for each timer. The callable runs in a thread that runs the loop.
 */
class timer {
public:
    /** A timer that is not started. Its callable takes nothing, and runs in `in`, if that is given. */
    template <class F>
    timer(const loop &where, F f, strand *in = nullptr)
        : state_(std::make_shared<detail::timer_with<F>>(where.shared_state(), in, std::move(f))) {}
    timer(timer &&other) noexcept : state_(std::move(other.state_)) {}
    timer &operator=(timer &&other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~timer() {
        if (state_ != nullptr) state_->end();
    }

    /**
     * Call the callable once, not before `delay` is over. If the timer was started before, that is forgotten.
     *
     * Throws    std::system_error: the loop refused, as it does while it ends.
     */
    template <class Rep, class Period> void start(std::chrono::duration<Rep, Period> delay) {
        std::error_code error;
        start(delay, error);
        if (error) detail::fail(error, "libloop::timer::start");
    }
    template <class Rep, class Period>
    void start(std::chrono::duration<Rep, Period> delay, std::error_code &error) noexcept {
        error = make_error(state_->start(unsigned_of(delay), 0));
    }

    /** The same, and then call it every `period`, which is at least a nanosecond; see loop_timer_start. */
    template <class Rep, class Period, class Rep2, class Period2>
    void start(std::chrono::duration<Rep, Period> delay, std::chrono::duration<Rep2, Period2> period) {
        std::error_code error;
        start(delay, period, error);
        if (error) detail::fail(error, "libloop::timer::start");
    }
    template <class Rep, class Period, class Rep2, class Period2>
    void start(std::chrono::duration<Rep, Period> delay, std::chrono::duration<Rep2, Period2> period,
               std::error_code &error) noexcept {
        const std::uint64_t period_ns = unsigned_of(period);
        error = make_error(state_->start(unsigned_of(delay), period_ns > 0 ? period_ns : 1));
    }

    /** Let it be: the callable is not called before the next start. Returns whether it was to be. */
    bool cancel() noexcept { return state_->stop(); }

    /** Whether the callable is to be called. */
    bool is_armed() const noexcept { return state_->is_armed(); }

private:
    template <class Rep, class Period>
    static std::uint64_t unsigned_of(std::chrono::duration<Rep, Period> time) noexcept {
        return static_cast<std::uint64_t>(detail::nanoseconds_of(time));
    }

    std::shared_ptr<detail::timer_state> state_;
};

LIBLOOP_END

#endif
