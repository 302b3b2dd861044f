/*
 * Part of loop.hpp: the class loop.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_CORE_HPP
#define LOOP_CORE_HPP

#include "operations.hpp"
#if LIBLOOP_COROUTINES
#include "combine.hpp"
#endif

LIBLOOP_BEGIN

/** What a loop is to be like; see loop_options_t. */
struct options {
    /** The mechanism of the kernel; see LOOP_BACKEND_AUTO and its siblings. */
    enum class backend : std::uint32_t {
        automatic = LOOP_BACKEND_AUTO,
        epoll = LOOP_BACKEND_EPOLL,
        io_uring = LOOP_BACKEND_IO_URING,
        kqueue = LOOP_BACKEND_KQUEUE,
        iocp = LOOP_BACKEND_IOCP
    };
    static constexpr std::uint32_t threads_per_cpu = LOOP_THREADS_PER_CPU; /* for `threads` */

    std::uint32_t threads = 1;          /* that run callbacks, the caller of run included */
    std::uint32_t blocking_threads = 0; /* most threads for blocking work; 0 = the default of the library */
    backend       engine = backend::automatic;
    bool          thread_bound = false; /* LOOP_THREAD_BOUND */
};

/**
 * An event loop. It owns a loop_t, which its destructor ends: what is in flight is cancelled, and every
 * completion is delivered, before the destructor returns. Coroutines thus run to their end there.
 *
 * Errors      Each function that can fail throws std::system_error, or takes a std::error_code& and sets it.
 *             In a program without exceptions the former abort.
 * Exceptions  What a callable, or a task that nobody waits for, throws stops the loop and is thrown by the
 *             run, run_once, wait or deinit in whose time it happened, from both forms; of several threads'
 *             the first. The loop can be run again afterwards. Those of the destructor's time are dropped.
 * Threads     As the functions of loop.h: any thread may submit, cancel and stop; one at a time runs it.
 *             Moving and ending a loop is for one thread while no other uses the object.
 */
class loop : public operations {
public:
    loop() : loop(options()) {}

    /** Throws std::system_error. */
    explicit loop(const options &wanted) {
        std::error_code error;
        *this = loop(wanted, error);
        if (error) detail::fail(error, "libloop::loop");
    }

    /** On failure `error` is set, and the loop is empty: it may be tested, assigned to, moved and ended. */
    loop(const options &wanted, std::error_code &error) noexcept {
        loop_options_t plain{};
        plain.size = sizeof plain;
        plain.threads = wanted.threads;
        plain.blocking_threads = wanted.blocking_threads;
        plain.backend = static_cast<std::uint32_t>(wanted.engine);
        plain.flags = wanted.thread_bound ? LOOP_THREAD_BOUND : 0;
        std::unique_ptr<detail::state> made(new (std::nothrow) detail::state);
        error = make_error(made ? loop_init(&made->handle, &plain) : LOOP_ENOMEM);
        if (!error) state_ = made.release();
    }

    /** Operations in flight are not disturbed: they do not refer to the object. */
    loop(loop &&other) noexcept { std::swap(state_, other.state_); }
    loop &operator=(loop &&other) noexcept {
        if (this != &other) {
            end();
            std::swap(state_, other.state_);
        }
        return *this;
    }

    /** Calls std::terminate where the loop cannot end: in a callback, or while a thread runs it. */
    ~loop() { end(); }

    /** End the loop now, as the destructor does, and throw what its last callbacks threw. It is empty. */
    void deinit() {
        std::error_code error;
        deinit(error);
        if (error) detail::fail(error, "libloop::loop::deinit");
    }
    void deinit(std::error_code &error) {
        error = make_error(loop_deinit(state_->handle));
        if (error) return;
        const std::unique_ptr<detail::state> last(std::exchange(state_, nullptr));
        last->rethrow();
    }

    /** Whether there is a loop. */
    explicit operator bool() const noexcept { return state_ != nullptr; }

    /** For functions of loop.h. It stays owned. */
    loop_t *native_handle() const noexcept { return state_->handle; }

    /* ---- running ---- */

    /** Run callbacks until nothing is pending, or stop was called. */
    void run() { detail::check(run_plainly(), "libloop::loop::run"); }
    void run(std::error_code &error) { error = make_error(run_plainly()); }

    /** One turn, without a limit for its wait. Returns the number of completions delivered. */
    std::size_t run_once() { return counted(once(-1), "libloop::loop::run_once"); }

    /** One turn, waiting for at most so long. */
    template <class Rep, class Period> std::size_t run_once(std::chrono::duration<Rep, Period> limit) {
        return counted(once(detail::nanoseconds_of(limit)), "libloop::loop::run_once");
    }
    template <class Rep, class Period>
    std::size_t run_once(std::chrono::duration<Rep, Period> limit, std::error_code &error) {
        return counted(once(detail::nanoseconds_of(limit)), error);
    }

    /** Harvest requests that were submitted without a callback by functions of loop.h; see loop_wait. */
    template <class Rep, class Period>
    std::size_t wait(loop_request_t **done, std::uint32_t capacity,
                     std::chrono::duration<Rep, Period> limit) {
        const int fetched = loop_wait(state_->handle, done, capacity, detail::nanoseconds_of(limit));
        state_->rethrow();
        return counted(fetched, "libloop::loop::wait");
    }

    /** Make run return as soon as the callbacks that run now have. Any thread. */
    void stop() { detail::check(loop_stop(state_->handle), "libloop::loop::stop"); }

    /** Hold and drop a reference: run does not return for want of pending operations while one is held. */
    void ref() { detail::check(loop_ref(state_->handle), "libloop::loop::ref"); }
    void unref() { detail::check(loop_unref(state_->handle), "libloop::loop::unref"); }

    /* ---- about it ---- */

    /** The number of operations in flight, plus references held. */
    std::size_t pending() const {
        const std::int64_t number = loop_pending(state_->handle);
        return static_cast<std::size_t>(detail::check(number, "libloop::loop::pending"));
    }

    /** The time on the clock of timers, as of a monotonic clock of unspecified origin. */
    std::chrono::nanoseconds now() const noexcept {
        return std::chrono::nanoseconds(static_cast<std::int64_t>(loop_now(state_->handle)));
    }

    /** The backend in use: "io_uring" or "epoll". */
    const char *name() const noexcept { return loop_backend_name(state_->handle); }

    /** The counters of the loop. Stops the Go runtime for some microseconds. */
    loop_statistics_t statistics() const {
        loop_statistics_t counters{};
        counters.size = sizeof counters;
        detail::check(loop_get_statistics(state_->handle, &counters), "libloop::loop::statistics");
        return counters;
    }

    /** For embedding in another loop; see loop_backend_fd and loop_backend_timeout (negative: no limit). */
    int backend_fd() const {
        return static_cast<int>(detail::check(loop_backend_fd(state_->handle), "libloop::loop::backend_fd"));
    }
    std::chrono::nanoseconds backend_timeout() const {
        const std::int64_t timeout = loop_backend_timeout(state_->handle);
        if (timeout < -1) detail::fail(make_error(timeout), "libloop::loop::backend_timeout");
        return std::chrono::nanoseconds(timeout);
    }

    /* ---- messages ---- */

    /**
     * Call `f` in a turn of the loop; see loop_post. One allocation. An exception of f comes out of run.
     *
     * Throws    std::system_error, with LOOP_ENOBUFS if LOOP_POSTS_MAX posts wait; std::bad_alloc.
     * Threads   Any.
     */
    template <class F> void post(F f) {
        std::error_code error;
        post(std::move(f), error);
        if (error) detail::fail(error, "libloop::loop::post");
    }
    template <class F> void post(F f, std::error_code &error) {
        struct message {
            detail::state *owner;
            F              f;
        };
        std::unique_ptr<message> sent(new message{state_, std::move(f)});
        error = make_error(loop_post(
            state_->handle,
            [](loop_t *, void *user) {
                auto *const    received = static_cast<message *>(user);
                detail::state &owner = *received->owner;
                detail::guarded(owner, [received] {
                    const std::unique_ptr<message> freed_after_the_call(received);
                    received->f();
                });
            },
            sent.get()));
        if (!error) sent.release();
    }

#if LIBLOOP_COROUTINES
    /* ---- tasks ---- */

    /**
     * Run the loop until a task has ended, and return its value or throw its exception. Other things that
     * are in flight go on meanwhile, and are left in flight.
     *
     * Throws    Also what run throws; and std::system_error when the loop was stopped (LOOP_ECANCELED), or
     *           nothing that could make the task go on is pending (LOOP_EDEADLK). The task is cancelled
     *           then.
     */
    template <class T> T run(task<T> what) {
        job<T> running(detail::start_root<T>(*state_, {}, true, true, std::move(what)));
        const int result = loop_run(state_->handle);
        if (!running.done()) running.promise_->set_stops_loop(false);
        state_->rethrow();
        detail::check(result, "libloop::loop::run");
        if (!running.done())
            detail::fail(make_error(pending() == 0 ? LOOP_EDEADLK : LOOP_ECANCELED), "libloop::loop::run");
        return running.get();
    }

    /**
     * Start a task; it begins in the next turn. Keep the job: its end cancels the task.
     *
     * Throws    std::system_error: the loop refused; std::bad_alloc. Nothing runs then.
     * Threads   Any.
     */
    template <class T> job<T> spawn(task<T> what, start_options how = {}) {
        return job<T>(detail::start_root<T>(*state_, std::move(how), true, false, std::move(what)));
    }

    /** Start a task that nobody waits for. Its exception comes out of run. Otherwise as spawn. */
    template <class T> void start(task<T> what, start_options how = {}) {
        detail::start_root<T>(*state_, std::move(how), false, false, std::move(what));
    }
#endif

private:
    int run_plainly() {
        const int result = loop_run(state_->handle);
        state_->rethrow();
        return result;
    }

    int once(std::int64_t timeout_ns) {
        const int result = loop_run_once(state_->handle, timeout_ns);
        state_->rethrow();
        return result;
    }

    static std::size_t counted(int result, const char *what) {
        return static_cast<std::size_t>(detail::check(result, what));
    }
    static std::size_t counted(int result, std::error_code &error) noexcept {
        error = make_error(result);
        return result < 0 ? 0 : static_cast<std::size_t>(result);
    }

    void end() noexcept {
        if (state_ == nullptr) return;
        if (loop_deinit(state_->handle) == LOOP_EBUSY) detail::misuse("a loop ended that is running");
        delete std::exchange(state_, nullptr);
    }
};

inline buffer_pool::buffer_pool(const loop &owner, std::uint32_t buffer_size, std::uint32_t buffer_count,
                                std::error_code &error) noexcept
    : pool_(nullptr) {
    error = make_error(loop_buffers_init(owner.native_handle(), &pool_, nullptr, buffer_size, buffer_count));
}

inline buffer_pool::buffer_pool(const loop &owner, std::uint32_t buffer_size, std::uint32_t buffer_count) {
    std::error_code error;
    *this = buffer_pool(owner, buffer_size, buffer_count, error);
    if (error) detail::fail(error, "libloop::buffer_pool");
}

#if LIBLOOP_COROUTINES
/**
 * A task with a time limit: after it the task is cancelled and waited for.
 *
 * Yields    The value of the task, even if it came when the time was over.
 * Throws    What the task throws; std::system_error with std::errc::timed_out instead of its cancellation.
 */
template <class T, class Rep, class Period>
task<T> with_timeout(loop &where, task<T> what, std::chrono::duration<Rep, Period> limit) {
    return detail::run_in_time<T>(std::move(what), where.sleep(limit));
}
#endif

LIBLOOP_END

#endif
