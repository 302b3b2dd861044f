/*
 * Part of loop.hpp: what can be submitted (action), and the two ways to have a callable called at its
 * completion: operation, which the caller owns, and action::then, which allocates and frees by itself.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_OPERATION_HPP
#define LOOP_OPERATION_HPP

#include "buffer.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <new>

LIBLOOP_BEGIN

namespace detail {

/* What a loop, and all that is in flight in it, share. Its address stays when the loop object moves. */
class state {
public:
    loop_t *handle = nullptr;

    /* Within a handler: keeps the exception, if it is the first, and stops the loop. */
    void capture() noexcept { keep(std::current_exception()); }

    void keep(std::exception_ptr exception) noexcept {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!exception_) exception_ = std::move(exception);
        }
        has_exception_.store(true, std::memory_order_release);
        loop_stop(handle);
    }

    void rethrow() {
        if (!has_exception_.load(std::memory_order_acquire)) return;
        std::exception_ptr exception;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            has_exception_.store(false, std::memory_order_relaxed);
            exception = std::exchange(exception_, nullptr);
        }
#if LIBLOOP_EXCEPTIONS
        if (exception) std::rethrow_exception(exception);
#endif
    }

private:
    std::mutex         mutex_;
    std::exception_ptr exception_;
    std::atomic<bool>  has_exception_{false};
};

/* Calls a function at the boundary to C, which no exception may cross. */
template <class F> void guarded(state &owner, F &&function) noexcept {
#if LIBLOOP_EXCEPTIONS
    try {
        function();
    } catch (...) {
        owner.capture();
    }
#else
    (void)owner;
    function();
#endif
}

/* A request and what belongs to its present flight; request.user leads to what contains it. */
struct flight {
    bool more() const noexcept { return (request.flags & LOOP_MORE) != 0; }
    bool cancel() noexcept { return loop_cancel(owner->handle, &request) == 0; }

    loop_request_t request{};
    state         *owner = nullptr;
    void          *context = nullptr; /* of the action; convert<T> may need it */
    bool           has_strand = false;
};

/* Makes the value of an operation of its result, which is not negative. */
template <class T> struct convert {
    static T from(const flight &flight) noexcept { return static_cast<T>(flight.request.result); }
};
template <> struct convert<void> {
    static void from(const flight &) noexcept {}
};
template <> struct convert<unique_fd> {
    static unique_fd from(const flight &flight) noexcept {
        return unique_fd(static_cast<loop_fd_t>(flight.request.result));
    }
};

template <class T> result<T> result_of(const flight &flight) {
    if (flight.request.result < 0) return make_error(flight.request.result);
    if constexpr (std::is_void_v<T>)
        return {};
    else
        return convert<T>::from(flight);
}

/* Calls f(self, result), or f(result) for callables without an interest in the operation. */
template <class T, class F, class Self> void call(F &f, Self &self, const flight &flight) {
    if constexpr (std::is_invocable_v<F &, Self &, result<T>>)
        f(self, result_of<T>(flight));
    else
        f(result_of<T>(flight));
}

} // namespace detail

/** How an action is used; see action::kind. */
enum class action_kind {
    once,      /* completes once */
    repeating, /* completes again and again: only for callables, which see more() */
    shielded   /* completes once, and is not cancelled when its task is: it gives something up */
};

/**
 * Something to be done, not begun yet: what loop::read and its siblings return. To begin it, once or again,
 *
 *     co_await loop.read(fd, buffer)                      in a coroutine; see coroutine.hpp
 *     operation.submit(loop.read(fd, buffer))             with a callable and a request that you own
 *     loop.read(fd, buffer).then([](result<size_t>) {})   with a callable; one allocation, freed by itself
 *
 * It may not outlive the loop, and what it was made of is borrowed until completion.
 */
template <class T, class Submit, action_kind Kind = action_kind::once> class [[nodiscard]] action {
public:
    using value_type = T;
    static constexpr action_kind kind = Kind;

    action(detail::state &owner, Submit submit, void *context = nullptr) noexcept
        : owner_(&owner), submit_(std::move(submit)), context_(context) {}

    /**
     * The same with a time limit, from submit, or of a repeating action from its last completion: after it
     * the operation ends with std::errc::timed_out.
     */
    template <class Rep, class Period> action timeout(std::chrono::duration<Rep, Period> limit) const {
        action copy(*this);
        const std::int64_t nanoseconds = detail::nanoseconds_of(limit);
        copy.timeout_ns_ = nanoseconds > 0 ? static_cast<std::uint64_t>(nanoseconds) : 1;
        return copy;
    }

    /** The same, completing in a strand. */
    action in(strand &where) const {
        action copy(*this);
        copy.strand_ = where.get();
        return copy;
    }

    /**
     * Begin it, and call `f` with its result<T> in a thread that runs the loop. An exception of f comes out
     * of loop::run. The memory of both is allocated here and freed after the (last) completion. f may also
     * take (auto &self, result<T>): self.more() tells whether a repeating action goes on, self.cancel()
     * asks for its end.
     *
     * Throws    std::system_error: refused, and f is not called; std::bad_alloc.
     * Threads   Any.
     */
    template <class F> void then(F f) const {
        std::error_code error;
        then(std::move(f), error);
        if (error) detail::fail(error, "libloop::action::then");
    }

    /** The same; sets `error` instead of throwing. */
    template <class F> void then(F f, std::error_code &error) const;

    /* For the parts of this library: begins it. Returns 0, or why it was refused. */
    int begin(detail::flight &flight, loop_callback_t callback,
              loop_strand_t *default_strand) const noexcept {
        flight.owner = owner_;
        flight.context = context_;
        flight.request.timeout_ns = timeout_ns_;
        loop_strand_t *const strand = strand_ != nullptr ? strand_ : default_strand;
        const int refused = strand_is_set(flight, strand);
        return refused < 0 ? refused : submit_(owner_->handle, &flight.request, callback);
    }

#if LIBLOOP_COROUTINES
    /** `co_await action`: begins it, and yields its value or throws its error. */
    auto operator co_await() const noexcept;
    /** For co_await: yields a result<T> instead of throwing. */
    auto as_result() const noexcept;
#endif

private:
    /* Most requests never have a strand, and are spared the call. */
    static int strand_is_set(detail::flight &flight, loop_strand_t *strand) noexcept {
        if (strand == nullptr && !flight.has_strand) return 0;
        flight.has_strand = strand != nullptr;
        return loop_set_strand(&flight.request, strand);
    }

    detail::state *owner_;
    Submit         submit_;
    void          *context_;
    std::uint64_t  timeout_ns_ = 0;
    loop_strand_t *strand_ = nullptr;
};

/**
 * A request together with the callable that is called at its completion, in memory of yours: submitting it
 * allocates nothing. It can be submitted again from its callable. The callable takes result<T>, T being the
 * value of what was submitted, or (operation &, result<T>):
 *
 *     libloop::operation read{[&](auto &self, libloop::result<std::size_t> bytes) {
 *         if (bytes && *bytes > 0) self.submit(loop.read(fd, buffer));
 *     }};
 *     read.submit(loop.read(fd, buffer));
 *
 * It does not move, and must outlive its flight: ending it before calls std::terminate. An exception of the
 * callable comes out of loop::run.
 */
template <class F> class operation {
public:
    /** Of a callable; nothing is submitted. */
    explicit operation(F f) : f_(std::move(f)) { flight_.request.user = this; }
    operation(const operation &) = delete;
    operation &operator=(const operation &) = delete;
    ~operation() {
        if (in_flight_) detail::misuse("an operation ended before it completed");
    }

    /** Begin an action. Throws std::system_error if it is refused; the callable is not called then. */
    template <class T, class S, action_kind K> void submit(const action<T, S, K> &what) {
        std::error_code error;
        submit(what, error);
        if (error) detail::fail(error, "libloop::operation::submit");
    }

    /** The same; sets `error` instead of throwing. */
    template <class T, class S, action_kind K>
    void submit(const action<T, S, K> &what, std::error_code &error) noexcept {
        error = in_flight_ ? make_error(LOOP_EBUSY) : std::error_code();
        if (error) return;
        in_flight_ = true;
        const int refused = what.begin(flight_, &operation::template on_completion<T>, nullptr);
        if (refused >= 0) return; /* it may have completed in another thread already */
        in_flight_ = false;
        error = make_error(refused);
    }

    /**
     * Ask that it end early; its completion still comes.
     *
     * Returns   Whether it was in flight.
     * Threads   Any; but see to it that it is not submitted again or ended meanwhile.
     */
    bool cancel() noexcept {
        return flight_.owner != nullptr && flight_.cancel();
    }

    /** Change the events of loop::watch; false if that is not in flight, or the events are unknown. */
    bool modify(std::uint32_t events) noexcept {
        return flight_.owner != nullptr &&
               loop_mod_fd(flight_.owner->handle, &flight_.request, events) == 0;
    }

    /** In the callable: whether a repeating action goes on. */
    bool more() const noexcept { return flight_.more(); }

    /** Whether it was submitted and has not completed. For the thread that submits it, or its callable. */
    bool in_flight() const noexcept { return in_flight_; }

    /** The callable. */
    F &callable() noexcept { return f_; }

private:
    template <class T> static void on_completion(loop_t *, loop_request_t *request, std::int64_t) noexcept {
        operation &self = *static_cast<operation *>(request->user);
        detail::state &owner = *self.flight_.owner;
        self.in_flight_ = self.more();
        detail::guarded(owner, [&self] { detail::call<T>(self.f_, self, self.flight_); });
    }

    detail::flight flight_;
    bool           in_flight_ = false;
    F              f_;
};

namespace detail {

/* What action::then allocates. */
template <class T, class F> struct self_owned {
    explicit self_owned(F callable) : f(std::move(callable)) { flight.request.user = this; }

    bool more() const noexcept { return flight.more(); }
    bool cancel() noexcept { return flight.cancel(); }

    static void on_completion(loop_t *, loop_request_t *request, std::int64_t) noexcept {
        self_owned *self = static_cast<self_owned *>(request->user);
        state      &owner = *self->flight.owner;
        const bool  goes_on = self->more();
        guarded(owner, [self] { call<T>(self->f, *self, self->flight); });
        if (!goes_on) guarded(owner, [self] { delete self; });
    }

    detail::flight flight;
    F              f;
};

} // namespace detail

template <class T, class S, action_kind K>
template <class F>
void action<T, S, K>::then(F f, std::error_code &error) const {
    auto memory = std::make_unique<detail::self_owned<T, F>>(std::move(f));
    error = make_error(begin(memory->flight, &detail::self_owned<T, F>::on_completion, nullptr));
    if (!error) memory.release();
}

LIBLOOP_END

#endif
