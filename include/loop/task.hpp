/*
 * Part of loop.hpp: task<T>, a lazy coroutine, and job<T>, one that was started (C++20).
 *
 * The rule of lifetimes. A frame whose coroutine waits holds a request that is in flight, so nothing may
 * destroy it. A task is therefore owned by someone who waits for its end: by the coroutine that awaits it,
 * or, once started by loop::spawn or loop::start, by itself. A task object that was never awaited goes
 * with its arguments. What can be destroyed at any time is the handle of a started one, job<T>: that asks its
 * operations to end, and the frames go when they have.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_TASK_HPP
#define LOOP_TASK_HPP

#include "coroutine.hpp"

#if LIBLOOP_COROUTINES

#include <variant>

LIBLOOP_BEGIN

template <class T = void> class task;
template <class T = void> class job;

namespace detail {

/* How a coroutine ended: what the promises of task, job and branch have in common. */
template <class T> class outcome {
public:
    void unhandled_exception() noexcept { ended_.template emplace<2>(std::current_exception()); }

    bool               has_failed() const noexcept { return ended_.index() == 2; }
    std::exception_ptr exception() const noexcept { return has_failed() ? std::get<2>(ended_) : nullptr; }

    T take() {
#if LIBLOOP_EXCEPTIONS
        if (has_failed()) std::rethrow_exception(std::get<2>(std::move(ended_)));
#endif
        if constexpr (!std::is_void_v<T>) return std::get<1>(std::move(ended_));
    }

    storable<T> take_storable() {
        if constexpr (std::is_void_v<T>) {
            take();
            return {};
        } else {
            return take();
        }
    }

protected:
    std::variant<std::monostate, storable<T>, std::exception_ptr> ended_;
};

template <class T> class returning : public outcome<T> {
public:
    template <class U> void return_value(U &&value) {
        this->ended_.template emplace<1>(std::forward<U>(value));
    }
};
template <> class returning<void> : public outcome<void> {
public:
    void return_void() noexcept { ended_.emplace<1>(); }
};

/* co_await at the end of a coroutine: goes on with whom the promise names. */
struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    LIBLOOP_AWAIT_SUSPEND std::coroutine_handle<>
    await_suspend(std::coroutine_handle<Promise> ended) noexcept {
        return ended.promise().end(ended);
    }
    void await_resume() const noexcept {}
};

/* A handle that destroys its frame. */
template <class Promise> class frame_owner {
public:
    explicit frame_owner(std::coroutine_handle<Promise> frame = {}) noexcept : frame_(frame) {}
    frame_owner(frame_owner &&other) noexcept : frame_(std::exchange(other.frame_, {})) {}
    frame_owner &operator=(frame_owner &&other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~frame_owner() {
        if (frame_) frame_.destroy();
    }

    std::coroutine_handle<Promise> get() const noexcept { return frame_; }
    std::coroutine_handle<Promise> release() noexcept { return std::exchange(frame_, {}); }

private:
    std::coroutine_handle<Promise> frame_;
};

/* Resumes a coroutine in a turn of the loop. It has to last until then. */
class tick {
public:
    /* 0, or why it was refused. If it was not, both may be gone already: another thread took the turn. */
    int resume(state &owner, std::coroutine_handle<> coroutine, loop_strand_t *strand) noexcept {
        request_.user = coroutine.address();
        if (strand != nullptr) loop_set_strand(&request_, strand);
        return loop_on_next_tick(owner.handle, &request_, &tick::on_tick);
    }

private:
    static void on_tick(loop_t *, loop_request_t *request, std::int64_t) noexcept {
        std::coroutine_handle<>::from_address(request->user).resume();
    }

    loop_request_t request_{};
};

/* A coroutine that waits for the end of what runs by itself, perhaps outside of its strand. */
class waiter {
public:
    waiter(std::coroutine_handle<> coroutine, loop_strand_t *strand) noexcept
        : coroutine_(coroutine), strand_(strand) {}

    /* Called at that end, in `ended_in`: the coroutine to go on with. */
    std::coroutine_handle<> wake(state &owner, const loop_strand_t *ended_in) noexcept {
        const std::coroutine_handle<> coroutine = coroutine_;
        if (strand_ == nullptr || strand_ == ended_in) return coroutine;
        return tick_.resume(owner, coroutine, strand_) < 0 ? coroutine : std::noop_coroutine();
    }

private:
    std::coroutine_handle<> coroutine_;
    loop_strand_t          *strand_;
    tick                    tick_;
};

template <class T> class task_promise : public returning<T>, public context {
public:
    task<T>             get_return_object() noexcept;
    std::suspend_always initial_suspend() const noexcept { return {}; }
    final_awaiter       final_suspend() const noexcept { return {}; }

    std::coroutine_handle<> end(std::coroutine_handle<task_promise>) const noexcept { return parent; }

    std::coroutine_handle<> parent;
};

template <class T> class task_awaiter {
public:
    explicit task_awaiter(frame_owner<task_promise<T>> frame) noexcept : frame_(std::move(frame)) {}

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    LIBLOOP_AWAIT_SUSPEND std::coroutine_handle<>
    await_suspend(std::coroutine_handle<Promise> parent) noexcept {
        task_promise<T> &promise = frame_.get().promise();
        promise.parent = parent;
        static_cast<context &>(promise) = context_of(parent);
        return frame_.get();
    }

    T await_resume() { return frame_.get().promise().take(); }

private:
    frame_owner<task_promise<T>> frame_;
};

} // namespace detail

/**
 * A coroutine that yields a T. It begins when it is awaited, `co_await std::move(task)`, once; its exception
 * is thrown there. It takes part in the cancellation and the strand of the one that awaits it. Its arguments
 * live as long as it does, references excepted.
 */
template <class T> class [[nodiscard]] task {
    static_assert(!std::is_reference_v<T>, "a task yields a value; return a pointer instead of a reference");

public:
    using promise_type = detail::task_promise<T>;
    using value_type = T;

    explicit task(detail::frame_owner<promise_type> frame) noexcept : frame_(std::move(frame)) {}

    /** `co_await std::move(task)`: runs it to its end. */
    auto operator co_await() && noexcept {
        if (!frame_.get()) detail::misuse("a task was awaited twice");
        return detail::task_awaiter<T>(std::move(frame_));
    }

private:
    detail::frame_owner<promise_type> frame_;
};

/** How a task is started. */
struct start_options {
    std::stop_token stop = {};    /* cancels it */
    strand         *in = nullptr; /* it and all that it awaits run in this strand */
};

namespace detail {

template <class T> task<T> task_promise<T>::get_return_object() noexcept {
    return task<T>(frame_owner<task_promise>(std::coroutine_handle<task_promise>::from_promise(*this)));
}

template <class T> class root_promise;

template <class T> struct root {
    using promise_type = root_promise<T>;
    std::coroutine_handle<promise_type> frame;
};

/* The coroutine at the top: it owns itself, and shares its memory with a job if there is one. */
template <class T> class root_promise : public returning<T>, public context {
public:
    root_promise(state &owner, start_options &options, bool has_job, task<T> &)
        : owner_(&owner), source_(std::nostopstate), references_(has_job ? 2 : 1),
          status_(has_job ? nullptr : detached()) {
        if (has_job) {
            source_ = std::stop_source();
            token_ = source_.get_token();
        } else {
            token_ = options.stop;
        }
        if (has_job && options.stop.stop_possible())
            link_.emplace(options.stop, stop_request<root_promise>{this});
        if (token_.stop_possible()) stop = &token_;
        if (options.in != nullptr) strand = options.in->get();
    }

    root<T>             get_return_object() noexcept { return {handle()}; }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    final_awaiter       final_suspend() const noexcept { return {}; }

    /* Begins the coroutine in the next turn; 0, or why not. */
    int begin() noexcept { return tick_.resume(*owner_, handle(), strand); }

    std::coroutine_handle<> end(std::coroutine_handle<root_promise>) noexcept {
        state *const         owner = owner_;
        loop_strand_t *const ended_in = strand;
        const bool           stops_loop = stops_loop_;
        link_.reset();
        void *const found = status_.exchange(done(), std::memory_order_acq_rel);
        if (found == detached() && this->has_failed()) owner->keep(this->exception());
        release();
        if (stops_loop) loop_stop(owner->handle);
        if (found == nullptr || found == detached()) return std::noop_coroutine();
        return static_cast<waiter *>(found)->wake(*owner, ended_in);
    }

    /* Of the job. */

    bool is_done() const noexcept { return status_.load(std::memory_order_acquire) == done(); }
    void request_stop() noexcept { source_.request_stop(); }
    void set_stops_loop(bool stops) noexcept { stops_loop_ = stops; }

    /* Whether `waiting` will be woken at the end; if not, it is done already. */
    bool await(waiter &waiting) noexcept {
        void *running = nullptr;
        return status_.compare_exchange_strong(running, &waiting, std::memory_order_acq_rel);
    }

    void detach() noexcept {
        void *running = nullptr;
        const bool runs = status_.compare_exchange_strong(running, detached(), std::memory_order_acq_rel);
        if (!runs && this->has_failed()) owner_->keep(this->exception());
        release();
    }

    void release() noexcept {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) handle().destroy();
    }

    std::coroutine_handle<root_promise> handle() noexcept {
        return std::coroutine_handle<root_promise>::from_promise(*this);
    }

private:
    /* The status is NULL while it runs, one of these, or the address of the waiter. */
    static void *done() noexcept {
        static char mark;
        return &mark;
    }
    static void *detached() noexcept {
        static char mark;
        return &mark;
    }

    state                  *owner_;
    tick                    tick_;
    std::stop_source        source_;
    std::stop_token         token_;
    stop_link<root_promise> link_;
    std::atomic<unsigned>   references_;
    std::atomic<void *>     status_;
    bool                    stops_loop_ = false;
};

template <class T> root<T> run_root(state &, start_options, bool, task<T> what) {
    co_return co_await std::move(what);
}

/* Makes a root and begins it; on failure nothing is left. */
template <class T>
root_promise<T> &start_root(state &owner, start_options options, bool has_job, bool stops_loop,
                            task<T> what) {
    const auto       frame = run_root<T>(owner, std::move(options), has_job, std::move(what)).frame;
    root_promise<T> &promise = frame.promise();
    promise.set_stops_loop(stops_loop);
    const int refused = promise.begin();
    if (refused < 0) {
        frame.destroy();
        fail(make_error(refused), "the start of a task");
    }
    return promise;
}

template <class T> class job_awaiter {
public:
    explicit job_awaiter(root_promise<T> &promise) noexcept : promise_(&promise) {}
    job_awaiter(const job_awaiter &) = delete;
    job_awaiter &operator=(const job_awaiter &) = delete;
    ~job_awaiter() { promise_->release(); }

    bool await_ready() const noexcept { return promise_->is_done(); }

    template <class Promise>
    LIBLOOP_AWAIT_SUSPEND bool await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
        const context &around = context_of(waiting);
        if (around.stop != nullptr) link_.emplace(*around.stop, stop_request<root_promise<T>>{promise_});
        waiter_.emplace(waiting, around.strand);
        return promise_->await(*waiter_);
    }

    T await_resume() {
        link_.reset();
        return promise_->take();
    }

private:
    root_promise<T>           *promise_;
    stop_link<root_promise<T>> link_;
    std::optional<waiter>      waiter_;
};

} // namespace detail

/**
 * A started task. `co_await std::move(job)`, once, waits for its end and yields its value or throws its
 * exception; if the one that waits is cancelled, so is the job. Destroying the handle instead asks the job to
 * end and does not wait: what it refers to must live until it has. Its value or exception is dropped then.
 */
template <class T> class [[nodiscard]] job {
public:
    using value_type = T;

    explicit job(detail::root_promise<T> &promise) noexcept : promise_(&promise) {}
    job(job &&other) noexcept : promise_(std::exchange(other.promise_, nullptr)) {}
    job &operator=(job &&other) noexcept {
        std::swap(promise_, other.promise_);
        return *this;
    }
    ~job() {
        if (promise_ == nullptr) return;
        promise_->request_stop();
        promise_->release();
    }

    /** Whether it has ended. Any thread. */
    bool done() const noexcept { return promise_->is_done(); }

    /** Ask it to end early: what it waits for, and will wait for, ends with LOOP_ECANCELED. Any thread. */
    void request_stop() noexcept { promise_->request_stop(); }

    /** Let it go on without a handle. Its exception will come out of loop::run. */
    void detach() noexcept { std::exchange(promise_, nullptr)->detach(); }

    /** The value of a job that is done; throws its exception. Once. */
    T get() {
        if (!done()) detail::misuse("the value of a job that is not done");
        return promise_->take();
    }

    /** `co_await std::move(job)`: waits for its end. */
    auto operator co_await() && noexcept {
        if (promise_ == nullptr) detail::misuse("a job was awaited twice");
        return detail::job_awaiter<T>(*std::exchange(promise_, nullptr));
    }

private:
    friend class loop;
    detail::root_promise<T> *promise_;
};

LIBLOOP_END

#endif
#endif
