/*
 * Part of loop.hpp: task_group, any number of tasks that end together (C++20).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_TASK_GROUP_HPP
#define LOOP_TASK_GROUP_HPP

#include "core.hpp"

#if LIBLOOP_COROUTINES

LIBLOOP_BEGIN

namespace detail {

/* What a task group and its tasks share; whoever goes last frees it. */
class members {
public:
    members(state &owner, const start_options &how)
        : owner_(&owner), tasks_(context{how.stop.stop_possible() ? &how.stop : nullptr,
                                         how.in != nullptr ? how.in->get() : nullptr},
                                 group_policy::on_first_failure) {
        expect_join();
    }

    state &owner() const noexcept { return *owner_; }
    group &tasks() noexcept { return tasks_; }

    /* One more is expected than there are tasks: the one that joins, or abandons them. */
    void expect_join() noexcept {
        waiting_ = nullptr;
        tasks_.expect(1, {});
    }

    /* Whether tasks are left, the last of which will wake `waiting`. */
    bool await(waiter &waiting) noexcept {
        waiting_ = &waiting;
        return !tasks_.arrive();
    }

    /* Of a task that ended, with an exception or NULL: the coroutine to go on with. */
    std::coroutine_handle<> end(std::exception_ptr failure) noexcept {
        if (is_ended_early_.load(std::memory_order_acquire) && is_cancellation(failure)) failure = nullptr;
        tasks_.end(0, std::move(failure));
        if (!tasks_.arrive() || waiting_ == nullptr) return std::noop_coroutine();
        return waiting_->wake(*owner_, tasks_.inner().strand);
    }

    void end_early() noexcept {
        is_ended_early_.store(true, std::memory_order_release);
        tasks_.request_stop();
    }

private:
    static bool is_cancellation(const std::exception_ptr &failure) noexcept {
#if LIBLOOP_EXCEPTIONS
        try {
            if (failure) std::rethrow_exception(failure);
        } catch (const std::system_error &error) {
            return error.code() == std::errc::operation_canceled;
        } catch (...) {
            return false;
        }
#else
        (void)failure;
#endif
        return false;
    }

    state            *owner_;
    group             tasks_;
    waiter           *waiting_ = nullptr;
    std::atomic<bool> is_ended_early_{false};
};

template <class T> class member_promise;

template <class T> struct member {
    using promise_type = member_promise<T>;
    std::coroutine_handle<promise_type> frame;
};

/* The coroutine around a task of a group. It owns itself, and is gone before the one that joins goes on. */
template <class T> class member_promise : public returning<T>, public context {
public:
    member_promise(const std::shared_ptr<members> &group, task<T> &)
        : context(group->tasks().inner()), group_(group) {}

    member<T>           get_return_object() noexcept { return {handle()}; }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    final_awaiter       final_suspend() const noexcept { return {}; }

    /* Begins the coroutine in the next turn; 0, or why not. */
    int begin() noexcept { return tick_.resume(group_->owner(), handle(), strand); }

    std::coroutine_handle<> end(std::coroutine_handle<member_promise> frame) noexcept {
        const std::shared_ptr<members> group = std::move(group_);
        std::exception_ptr             failure = this->exception();
        frame.destroy();
        return group->end(std::move(failure));
    }

private:
    std::coroutine_handle<member_promise> handle() noexcept {
        return std::coroutine_handle<member_promise>::from_promise(*this);
    }

    std::shared_ptr<members> group_;
    tick                     tick_;
};

template <class T> member<T> make_member(std::shared_ptr<members>, task<T> what) {
    co_return co_await std::move(what);
}

/* co_await: until all tasks of a group have ended. */
class joined {
public:
    explicit joined(members &group) noexcept : group_(&group) {}

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    LIBLOOP_AWAIT_SUSPEND bool await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
        const context &around = context_of(waiting);
        if (around.stop != nullptr) link_.emplace(*around.stop, stop_request<group>{&group_->tasks()});
        waiter_.emplace(waiting, around.strand);
        return group_->await(*waiter_);
    }

    void await_resume() {
        link_.reset();
        group_->expect_join();
        group_->tasks().rethrow();
    }

private:
    members              *group_;
    stop_link<group>      link_;
    std::optional<waiter> waiter_;
};

inline task<> join(std::shared_ptr<members> group) { co_await joined(*group); }

template <class T, class Target> task<> put_into(task<T> what, Target &target) {
    target = co_await std::move(what);
}

} // namespace detail

/**
 * Tasks that run side by side and end together. The first exception of one asks the others to stop.
 *
 *     libloop::task_group group(loop);
 *     group.spawn(serve(loop, first));
 *     group.spawn(serve(loop, second));
 *     co_await group.join();
 *
 * Destroyed without a join, it asks its tasks to stop and does not wait: they end later, what they refer to
 * must live until then, and their exceptions are dropped. So let what may throw before the join be a task
 * of the group, too: tasks may spawn others into it. It may not outlive its loop, its destructor excepted.
 */
class task_group {
public:
    /** An empty group. `how` holds for all its tasks: what stops them, and their strand. */
    explicit task_group(const loop &where, const start_options &how = {})
        : members_(std::make_shared<detail::members>(where.shared_state(), how)) {}
    task_group(const task_group &) = delete;
    task_group &operator=(const task_group &) = delete;
    ~task_group() {
        members_->tasks().request_stop();
        members_->tasks().arrive();
    }

    /**
     * Start a task of the group; it begins in the next turn. A value that it yields is dropped. After the
     * group was stopped, its first operation fails.
     *
     * Throws    std::system_error: the loop refused; std::bad_alloc. Nothing runs then.
     * Threads   That which has the group, before it joins; and tasks of the group.
     */
    template <class T> void spawn(task<T> what) {
        const auto frame = detail::make_member<T>(members_, std::move(what)).frame;
        members_->tasks().add();
        const int refused = frame.promise().begin();
        if (refused >= 0) return;
        frame.destroy();
        members_->tasks().arrive();
        detail::fail(make_error(refused), "libloop::task_group::spawn");
    }

    /** The same; what the task yields is assigned to `target`, which must live as long as the task. */
    template <class T, class Target> void spawn(task<T> what, Target &target) {
        spawn(detail::put_into(std::move(what), target));
    }

    /**
     * Ask all tasks to end early, also those that are spawned later. That they are cancelled is no failure
     * then: join throws other exceptions only. Any thread.
     */
    void request_stop() noexcept { members_->end_early(); }

    /**
     * Wait until all tasks have ended, also those that are spawned meanwhile. If the one that waits is
     * cancelled, so are they. Afterwards the group is empty, and can be filled and joined again.
     *
     * Throws    The first exception of a task, after all have ended.
     */
    task<> join() { return detail::join(members_); }

private:
    std::shared_ptr<detail::members> members_;
};

LIBLOOP_END

#endif
#endif
