/*
 * Part of loop.hpp: several tasks at a time: when_all, when_any, with_timeout (C++20).
 *
 * Each begins its tasks, and ends only after all of them have: those that are not wanted any more are
 * cancelled and waited for, so that none outlives what it refers to. They begin in order on the calling
 * thread; in a loop of several threads they go on side by side, unless they are in a strand.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_COMBINE_HPP
#define LOOP_COMBINE_HPP

#include "task.hpp"

#if LIBLOOP_COROUTINES

#include <tuple>
#include <vector>

LIBLOOP_BEGIN

namespace detail {

/* When a group cancels those of its branches that have not ended. */
enum class group_policy { on_first_failure, on_first_end };

/* Tasks that run side by side for a coroutine that waits for all of them. */
class group {
public:
    group(const context &around, group_policy policy) : policy_(policy), token_(source_.get_token()) {
        inner_.stop = &token_;
        inner_.strand = around.strand;
        if (around.stop != nullptr) link_.emplace(*around.stop, stop_request<group>{this});
    }

    const context &inner() const noexcept { return inner_; }

    /* The branch that ended first, or failed first, as the policy says; none. */
    std::size_t decisive() const noexcept { return decisive_.load(std::memory_order_acquire); }

    void expect(std::size_t branches, std::coroutine_handle<> parent) noexcept {
        parent_ = parent;
        remaining_.store(branches, std::memory_order_relaxed);
        decisive_.store(none, std::memory_order_relaxed);
    }

    /* Takes one in beside those that are expected, of whom one has not arrived yet. */
    void add() noexcept { remaining_.fetch_add(1, std::memory_order_relaxed); }

    /* Of a branch that ended, with an exception or NULL, before it arrives. */
    void end(std::size_t index, std::exception_ptr failure) noexcept {
        if (!failure && policy_ == group_policy::on_first_failure) return;
        std::size_t expected = none;
        if (!decisive_.compare_exchange_strong(expected, index, std::memory_order_acq_rel)) return;
        failure_ = std::move(failure);
        request_stop();
    }

    /* Whether all have arrived with this one, so that the parent goes on. If not, the group may be gone. */
    bool arrive() noexcept { return remaining_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

    std::coroutine_handle<> parent() const noexcept { return parent_; }

    /* After all arrived: throws the exception that was decisive, if one was. */
    void rethrow() {
#if LIBLOOP_EXCEPTIONS
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
#endif
    }

    void request_stop() noexcept { source_.request_stop(); }

private:
    static constexpr std::size_t none = static_cast<std::size_t>(-1);

    const group_policy       policy_;
    std::stop_source         source_;
    std::stop_token          token_;
    context                  inner_;
    stop_link<group>         link_;
    std::atomic<std::size_t> remaining_{0};
    std::atomic<std::size_t> decisive_{none};
    std::exception_ptr       failure_;
    std::coroutine_handle<>  parent_;
};

template <class T> class branch_promise;

/* One of the tasks of a group. */
template <class T> class branch {
public:
    using promise_type = branch_promise<T>;

    explicit branch(frame_owner<promise_type> frame) noexcept : frame_(std::move(frame)) {}

    void          begin() const { frame_.get().resume(); }
    promise_type &ended() const noexcept { return frame_.get().promise(); }

private:
    frame_owner<promise_type> frame_;
};

template <class T> class branch_promise : public returning<T>, public context {
public:
    branch_promise(group &group, std::size_t index, task<T> &) noexcept
        : context(group.inner()), group_(&group), index_(index) {}

    branch<T> get_return_object() noexcept {
        return branch<T>(
            frame_owner<branch_promise>(std::coroutine_handle<branch_promise>::from_promise(*this)));
    }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    final_awaiter       final_suspend() const noexcept { return {}; }

    std::coroutine_handle<> end(std::coroutine_handle<branch_promise>) noexcept {
        group_->end(index_, this->exception());
        return group_->arrive() ? group_->parent() : std::noop_coroutine();
    }

private:
    group      *group_;
    std::size_t index_;
};

template <class T> branch<T> make_branch(group &, std::size_t, task<T> what) {
    co_return co_await std::move(what);
}

/* Begins `count` branches by calling begin_all, and waits until all have ended. */
template <class BeginAll> class group_awaiter {
public:
    group_awaiter(group &group, std::size_t count, BeginAll begin_all) noexcept
        : group_(&group), count_(count), begin_all_(std::move(begin_all)) {}

    bool await_ready() const noexcept { return false; }

    /* One more is expected than there are branches, so that all have begun before the parent goes on. */
    LIBLOOP_AWAIT_SUSPEND bool await_suspend(std::coroutine_handle<> parent) {
        group_->expect(count_ + 1, parent);
        begin_all_();
        return !group_->arrive();
    }
    void await_resume() const noexcept {}

private:
    group      *group_;
    std::size_t count_;
    BeginAll    begin_all_;
};

template <class... T, std::size_t... I>
std::tuple<branch<T>...> make_branches(group &group, std::index_sequence<I...>, task<T> &...tasks) {
    return std::tuple<branch<T>...>(make_branch<T>(group, I, std::move(tasks))...);
}

template <class... T> auto run_branches(group &group, std::tuple<branch<T>...> &branches) {
    auto begin_all = [&branches] {
        std::apply([](auto &...each) { (each.begin(), ...); }, branches);
    };
    return group_awaiter<decltype(begin_all)>(group, sizeof...(T), begin_all);
}

template <class T> auto run_branches(group &group, std::vector<branch<T>> &branches) {
    auto begin_all = [&branches] {
        for (auto &each : branches) each.begin();
    };
    return group_awaiter<decltype(begin_all)>(group, branches.size(), begin_all);
}

template <class T> std::vector<branch<T>> make_branches(group &group, std::vector<task<T>> &tasks) {
    std::vector<branch<T>> branches;
    branches.reserve(tasks.size());
    for (auto &each : tasks) branches.push_back(make_branch<T>(group, branches.size(), std::move(each)));
    return branches;
}

/* The value of branch `index` as the alternative of that number. */
template <class Variant, class... T, std::size_t... I>
Variant take_one(std::tuple<branch<T>...> &branches, std::size_t index, std::index_sequence<I...>) {
    std::optional<Variant> taken;
    ((index == I ? (void)taken.emplace(std::in_place_index<I>, std::get<I>(branches).ended().take_storable())
                 : (void)0),
     ...);
    return std::move(*taken);
}

template <class... T> task<std::tuple<storable<T>...>> all_of(task<T>... tasks) {
    group group(co_await this_context{}, group_policy::on_first_failure);
    auto  branches = make_branches(group, std::index_sequence_for<T...>(), tasks...);
    co_await run_branches(group, branches);
    group.rethrow();
    co_return std::apply(
        [](auto &...each) { return std::tuple<storable<T>...>(each.ended().take_storable()...); }, branches);
}

template <class... T> task<std::variant<storable<T>...>> any_of(task<T>... tasks) {
    group group(co_await this_context{}, group_policy::on_first_end);
    auto  branches = make_branches(group, std::index_sequence_for<T...>(), tasks...);
    co_await run_branches(group, branches);
    co_return take_one<std::variant<storable<T>...>>(branches, group.decisive(),
                                                     std::index_sequence_for<T...>());
}

template <class T> task<T> as_task(task<T> what) { return what; }

template <class Awaitable> task<typename Awaitable::value_type> as_task(Awaitable what) {
    co_return co_await std::move(what);
}

} // namespace detail

/** The value of a task<void> in the results below. */
using nothing = detail::nothing;

/**
 * Run tasks, actions, work or jobs side by side until all have ended.
 *
 * Yields    A tuple of their values, with `nothing` for those without one.
 * Throws    The exception of the one that failed first; the others are cancelled and waited for before.
 */
template <class... Awaitable>
    requires(sizeof...(Awaitable) > 0)
auto when_all(Awaitable &&...what) {
    return detail::all_of(detail::as_task(std::forward<Awaitable>(what))...);
}

/** The same with any number of one type; yields a vector of the values in the order of the tasks. */
template <class T> task<std::vector<detail::storable<T>>> when_all(std::vector<task<T>> tasks) {
    detail::group group(co_await detail::this_context{}, detail::group_policy::on_first_failure);
    auto          branches = detail::make_branches(group, tasks);
    co_await detail::run_branches(group, branches);
    group.rethrow();
    std::vector<detail::storable<T>> values;
    values.reserve(branches.size());
    for (auto &each : branches) values.push_back(each.ended().take_storable());
    co_return values;
}

/**
 * Run tasks, actions, work or jobs side by side until one has ended; then the others are cancelled, and
 * waited for. What they yield in spite of that is dropped.
 *
 * Yields    A variant; its index() tells who was first, and get<index> its value.
 * Throws    The exception of the first, if that is how it ended.
 */
template <class... Awaitable>
    requires(sizeof...(Awaitable) > 0)
auto when_any(Awaitable &&...what) {
    return detail::any_of(detail::as_task(std::forward<Awaitable>(what))...);
}

/** The same with any number, at least one, of one type; yields the index of the first and its value. */
template <class T> task<std::pair<std::size_t, detail::storable<T>>> when_any(std::vector<task<T>> tasks) {
    if (tasks.empty()) detail::fail(make_error(LOOP_EINVAL), "libloop::when_any of nothing");
    detail::group group(co_await detail::this_context{}, detail::group_policy::on_first_end);
    auto          branches = detail::make_branches(group, tasks);
    co_await detail::run_branches(group, branches);
    const std::size_t first = group.decisive();
    co_return std::pair<std::size_t, detail::storable<T>>(first, branches[first].ended().take_storable());
}

namespace detail {

/* Sleeps and ends without an exception when it is cancelled. Whether the time is over. */
template <class Sleep> task<bool> time_is_over(Sleep sleep) {
    const result<void> slept = co_await sleep.as_result();
    co_return slept.has_value();
}

/* A branch that failed because the time was over timed out; otherwise it failed as it did. */
template <class T> storable<T> take_in_time(outcome<T> &ended, bool is_over) {
#if LIBLOOP_EXCEPTIONS
    try {
        return ended.take_storable();
    } catch (const std::system_error &error) {
        if (!is_over || error.code() != std::errc::operation_canceled) throw;
    }
    fail(make_error(LOOP_ETIMEDOUT), "libloop::with_timeout");
#else
    (void)is_over;
    return ended.take_storable();
#endif
}

template <class T, class Sleep> task<T> run_in_time(task<T> what, Sleep sleep) {
    group group(co_await this_context{}, group_policy::on_first_end);
    task<bool> clock = time_is_over(sleep);
    auto  branches = make_branches(group, std::index_sequence<0, 1>(), what, clock);
    co_await run_branches(group, branches);
    auto &ended = std::get<0>(branches).ended();
    const bool is_over = std::get<1>(branches).ended().take();
    if constexpr (std::is_void_v<T>)
        take_in_time<T>(ended, is_over);
    else
        co_return take_in_time<T>(ended, is_over);
}

} // namespace detail

LIBLOOP_END

#endif
#endif
