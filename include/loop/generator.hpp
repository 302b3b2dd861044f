/*
 * Part of loop.hpp: generator, the shots of a repeating action one after the other for a coroutine (C++20).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_GENERATOR_HPP
#define LOOP_GENERATOR_HPP

#include "lasting.hpp"
#include "operations.hpp"
#include "task.hpp"

#if LIBLOOP_COROUTINES

#include <deque>

LIBLOOP_BEGIN

namespace detail {

/* What co_await of a shot yields: std::nullopt, or false where a shot has no value, is the end. */
template <class T> using shot = std::conditional_t<std::is_void_v<T>, bool, std::optional<storable<T>>>;

/* What a generator and its flight share: the shots that nobody has taken, and who waits for one. */
template <class T> class shots : public lasting {
public:
    /* How many may wait. More of what tells of a state, as loop::watch, would tell of one that is past. */
    static constexpr std::size_t default_capacity = std::is_arithmetic_v<T> ? 1 : 16;

    explicit shots(std::size_t capacity) noexcept : capacity_(capacity > 0 ? capacity : 1) {}

    /* Whether the coroutine stays suspended. If not, take() has what is to be had. */
    bool wait(std::coroutine_handle<> waiting, loop_strand_t *strand) {
        const guard lock(mutex_);
        if (waiting_) misuse("a generator was awaited by two at a time");
        is_refused_ = is_stopped_;
        if (is_stopped_ || !shots_.empty()) return false;
        strand_ = strand;
        if (!in_flight() && (is_ended_ || !has_begun())) return false;
        waiting_ = waiting;
        return true;
    }

    result<shot<T>> take() {
        const guard lock(mutex_);
        const bool  is_stopped = std::exchange(is_stopped_, false);
        if (!std::exchange(is_refused_, false) && !shots_.empty()) return take_first();
        if (is_stopped) return make_error(LOOP_ECANCELED);
        return shot<T>();
    }

    /* Of the stop token of the one that waits. */
    void request_stop() noexcept {
        const guard lock(mutex_);
        is_stopped_ = true;
        cancel();
    }

    /* Of the generator: let no more come; with is_abandoned, also forget what came. */
    void end(bool is_abandoned) noexcept {
        std::deque<result<shot<T>>> forgotten; /* ends after the lock */
        const guard                 lock(mutex_);
        is_ended_ = true;
        is_abandoned_ = is_abandoned;
        if (is_abandoned) forgotten.swap(shots_);
        cancel();
    }

private:
    virtual int begin_shots(loop_strand_t *strand) noexcept = 0;

    result<shot<T>> take_first() {
        result<shot<T>> first = std::move(shots_.front());
        shots_.pop_front();
        return first;
    }

    /* Begins the action for one that waits; if it is refused, that is a shot. */
    bool has_begun() {
        const int refused = begin_shots(strand_);
        is_fresh_ = true;
        if (refused < 0) shots_.emplace_back(make_error(refused));
        return refused >= 0;
    }

    void completed(guard &lock) override {
        const std::int64_t arrived = landed().request.result;
        if (arrived < 0)
            keep_error(arrived);
        else
            keep_value();
        is_fresh_ = false;
        if (waiting_ && !in_flight() && shots_.empty() && !is_ended_ && !is_stopped_) has_begun();
        if (!waiting_ && shots_.size() >= capacity_) cancel();
        if (!waiting_ || (in_flight() && shots_.empty())) return;
        const std::coroutine_handle<> waiting = std::exchange(waiting_, {});
        lock.unlock();
        waiting.resume();
    }

    void keep_error(std::int64_t error) {
        if (is_abandoned_ || (error == LOOP_ECANCELED && is_cancelled())) return;
        if constexpr (std::is_same_v<T, pooled_buffer>)
            if (error == LOOP_ENOBUFS && !is_fresh_) return; /* buffers may have come back since */
        shots_.emplace_back(make_error(error));
    }

    void keep_value() {
        if constexpr (std::is_void_v<T>) {
            if (shots_.empty() && !is_abandoned_) shots_.emplace_back(true);
        } else {
            T value = convert<T>::from(landed());
            bool is_end = false;
            if constexpr (std::is_same_v<T, pooled_buffer>) is_end = value.empty();
            is_ended_ = is_ended_ || is_end;
            if (!is_abandoned_ && !is_end) shots_.emplace_back(shot<T>(std::move(value)));
        }
    }

    const std::size_t           capacity_;
    std::deque<result<shot<T>>> shots_;
    std::coroutine_handle<>     waiting_;
    loop_strand_t              *strand_ = nullptr;
    bool                        is_fresh_ = false;   /* begun for who waits, and no shot yet */
    bool                        is_stopped_ = false; /* what waits, or is about to, was asked to stop */
    bool                        is_refused_ = false; /* it was before it waited */
    bool                        is_ended_ = false;
    bool                        is_abandoned_ = false;
};

template <class T, class Submit> class shots_of final : public shots<T> {
public:
    using source = action<T, Submit, action_kind::repeating>;

    shots_of(const source &what, std::size_t capacity) : shots<T>(capacity), what_(what) {}

private:
    int begin_shots(loop_strand_t *strand) noexcept override { return this->begin(what_, strand); }

    source what_;
};

template <class T> class next_awaiter {
public:
    explicit next_awaiter(std::shared_ptr<shots<T>> from) noexcept : from_(std::move(from)) {}

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    LIBLOOP_AWAIT_SUSPEND bool await_suspend(std::coroutine_handle<Promise> waiting) {
        const std::shared_ptr<shots<T>> from = from_; /* the awaiter may be gone when wait() returns */
        const context                  &around = context_of(waiting);
        if (around.stop != nullptr) link_.emplace(*around.stop, stop_request<shots<T>>{from.get()});
        return from->wait(waiting, around.strand);
    }

    shot<T> await_resume() {
        result<shot<T>> taken = take();
        if (!taken) fail(taken.error(), "co_await");
        return *std::move(taken);
    }

protected:
    result<shot<T>> take() {
        link_.reset();
        return from_->take();
    }

private:
    std::shared_ptr<shots<T>> from_;
    stop_link<shots<T>>       link_;
};

template <class T> class next_result_awaiter : public next_awaiter<T> {
public:
    using next_awaiter<T>::next_awaiter;

    result<shot<T>> await_resume() { return this->take(); }
};

/* What generator::next returns. */
template <class T> class [[nodiscard]] next_shot {
public:
    using value_type = shot<T>;

    explicit next_shot(std::shared_ptr<shots<T>> from) noexcept : from_(std::move(from)) {}

    auto operator co_await() const noexcept { return next_awaiter<T>(from_); }
    /* For co_await: yields a result<value_type> instead of throwing. */
    auto as_result() const noexcept { return next_result_awaiter<T>(from_); }

private:
    std::shared_ptr<shots<T>> from_;
};

} // namespace detail

/**
 * The shots of a repeating action, one after the other:
 *
 *     libloop::generator connections(loop.accept_repeatedly(listener));
 *     while (auto connection = co_await connections.next()) serve(*std::move(connection));
 *
 * The action begins at the first next(). Shots that come while nobody waits are kept, up to `capacity`; then
 * the action is cancelled, and begun again when those have been taken and the next one is awaited: further
 * connections and bytes wait in the kernel meanwhile. What had completed before the cancel took effect is
 * kept beyond that. Ticks that nobody waited for are one, and never end a timer.
 *
 * Lifetime  Destroying it cancels the action and does not wait: a pool of buffers must live until that is
 *           done, which cancel() and a next() that yields the end tell. What was kept goes with it.
 * Threads   One task at a time awaits next(); cancel() is for any thread. In a loop of several threads the
 *           action completes in the strand of the task that was the first to wait for it.
 */
template <class T> class generator {
public:
    using value_type = detail::shot<T>;

    /** Of an action, which is not begun yet. */
    template <class Submit>
    explicit generator(const action<T, Submit, action_kind::repeating> &what,
                       std::size_t capacity = detail::shots<T>::default_capacity)
        : shots_(std::make_shared<detail::shots_of<T, Submit>>(what, capacity)) {}
    generator(generator &&other) noexcept : shots_(std::move(other.shots_)) {}
    generator &operator=(generator &&other) noexcept {
        std::swap(shots_, other.shots_);
        return *this;
    }
    ~generator() {
        if (shots_ != nullptr) shots_->end(true);
    }

    /**
     * `co_await generator.next()`: the next shot.
     *
     * Yields    A std::optional of the value, or where there is none (timers) a bool. std::nullopt and false
     *           are the end: a stream of bytes ended, or cancel() was called and all that was kept is taken.
     *           Then the action is not in flight any more. next().as_result() yields a result of the same.
     * Throws    std::system_error: what the action failed with, after the shots before that. The next next()
     *           begins it again. LOOP_ECANCELED if the task is asked to stop: at once, and what was kept
     *           stays for another. LOOP_ENOBUFS only if there is no buffer while it waits.
     */
    detail::next_shot<T> next() const noexcept { return detail::next_shot<T>(shots_); }

    /** Let no more come; what was kept can be taken still. */
    void cancel() noexcept { shots_->end(false); }

private:
    std::shared_ptr<detail::shots<T>> shots_;
};

LIBLOOP_END

#endif
#endif
