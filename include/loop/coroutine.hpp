/*
 * Part of loop.hpp: co_await for actions and work (C++20).
 *
 * The request of an awaited operation lies in its awaiter, and so in the frame of the coroutine: nothing is
 * allocated. Two things follow. A coroutine that waits cannot be destroyed; task.hpp has the rule. And once
 * the request is submitted it may complete in another thread, which resumes the coroutine there, which
 * may end: after a submit that was accepted the awaiter is not touched any more. Where a stop token is to
 * cancel the operation it has to be, so there the two sides agree by an atomic word on who resumes; see
 * suspension::suspend_stoppable.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_COROUTINE_HPP
#define LOOP_COROUTINE_HPP

#include "work.hpp"

#if LIBLOOP_COROUTINES

/* Clang before 17 may put what await_suspend has on its stack into the frame, which may be gone by then. */
#if defined(__clang__) && __clang_major__ < 17
#define LIBLOOP_AWAIT_SUSPEND __attribute__((noinline))
#else
#define LIBLOOP_AWAIT_SUSPEND
#endif

LIBLOOP_BEGIN

namespace detail {

/* What a task hands down to the tasks and operations that it awaits. Promises have it as a base. */
struct context {
    const std::stop_token *stop = nullptr;
    loop_strand_t         *strand = nullptr;
};

/* The context of a coroutine; empty in coroutines that are none of ours. */
template <class Promise> const context &context_of(std::coroutine_handle<Promise> coroutine) noexcept {
    static constexpr context none{};
    if constexpr (std::is_base_of_v<context, Promise>)
        return coroutine.promise();
    else
        return none;
}

/* What a stop callback calls: hands the request on to what has request_stop(). */
template <class Target> struct stop_request {
    void operator()() const noexcept { target->request_stop(); }
    Target *target;
};
template <class Target> using stop_link = std::optional<std::stop_callback<stop_request<Target>>>;

/* An operation that a coroutine waits for. */
class suspension {
public:
    suspension() noexcept { flight_.request.user = this; }
    suspension(const suspension &) = delete;
    suspension &operator=(const suspension &) = delete;

protected:
    /* Begins an action. Whether the coroutine stays suspended; if not, the result is there. */
    template <class Action>
    bool suspend(const Action &what, std::coroutine_handle<> waiting, const context &around) noexcept {
        waiting_ = waiting;
        if constexpr (Action::kind != action_kind::shielded)
            if (around.stop != nullptr) return suspend_stoppable(what, around);
        const int refused = what.begin(flight_, &suspension::on_completion, around.strand);
        if (refused >= 0) return true; /* and not a touch more */
        flight_.request.result = refused;
        return false;
    }

    /* To be called when the coroutine goes on. Waits for a stop request that is being carried out. */
    void finish() noexcept {
        if (on_stop_) on_stop_.reset();
    }

    const flight &landed() const noexcept { return flight_; }

private:
    enum : unsigned { is_submitted = 1, is_completed = 2, is_stopped = 4 };

    /* Of the submitter and the completion, whoever comes second sees to it that the coroutine goes on. */
    template <class Action> bool suspend_stoppable(const Action &what, const context &around) noexcept {
        on_stop_.emplace(*around.stop, stop_request<suspension>{this}); /* may call request_stop() at once */
        int refused = LOOP_ECANCELED;
        if ((phase_.load(std::memory_order_acquire) & is_stopped) == 0)
            refused = what.begin(flight_, &suspension::on_stoppable_completion, around.strand);
        if (refused < 0) {
            flight_.request.result = refused;
            return false;
        }
        bool     is_cancelled = false;
        unsigned phase = phase_.load(std::memory_order_acquire);
        do {
            if ((phase & is_completed) != 0) return false;
            if ((phase & is_stopped) != 0 && !std::exchange(is_cancelled, true)) flight_.cancel();
        } while (!phase_.compare_exchange_weak(phase, phase | is_submitted, std::memory_order_acq_rel,
                                               std::memory_order_acquire));
        return true;
    }

    /* In whatever thread asks for the stop. The awaiter stays meanwhile, for finish() waits. */
    friend stop_request<suspension>;
    void request_stop() noexcept {
        const unsigned phase = phase_.fetch_or(is_stopped, std::memory_order_acq_rel);
        if ((phase & (is_submitted | is_completed)) == is_submitted) flight_.cancel();
    }

    static void on_completion(loop_t *, loop_request_t *request, std::int64_t) noexcept {
        static_cast<suspension *>(request->user)->resume();
    }

    static void on_stoppable_completion(loop_t *, loop_request_t *request, std::int64_t) noexcept {
        auto *const    self = static_cast<suspension *>(request->user);
        const unsigned phase = self->phase_.fetch_or(is_completed, std::memory_order_acq_rel);
        if ((phase & is_submitted) != 0) self->resume();
    }

    /* The awaiter is gone afterwards. A task never throws here; coroutines of others may. */
    void resume() noexcept {
        const std::coroutine_handle<> waiting = waiting_;
        guarded(*flight_.owner, [waiting] { waiting.resume(); });
    }

    flight                  flight_;
    std::coroutine_handle<> waiting_;
    std::atomic<unsigned>   phase_{0};
    stop_link<suspension>   on_stop_;
};

/* The awaiter of an action: throws errors. */
template <class Action> class awaiter : public suspension {
    static_assert(Action::kind != action_kind::repeating, "what completes again and again cannot be awaited");

public:
    using value_type = typename Action::value_type;

    explicit awaiter(const Action &what) noexcept : what_(what) {}

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    LIBLOOP_AWAIT_SUSPEND bool await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
        return suspend(what_, waiting, context_of(waiting));
    }

    value_type await_resume() {
        finish();
        check(landed().request.result, "co_await");
        return convert<value_type>::from(landed());
    }

private:
    Action what_;
};

/* Yields a result instead. */
template <class Action> class result_awaiter : public awaiter<Action> {
public:
    using awaiter<Action>::awaiter;

    result<typename Action::value_type> await_resume() noexcept {
        this->finish();
        return result_of<typename Action::value_type>(this->landed());
    }
};

/* The awaiters of work, which they hold. */
template <class W> class work_awaiter : public suspension {
public:
    work_awaiter(state &owner, W work) : item_(std::move(work)), owner_(owner) {}

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    LIBLOOP_AWAIT_SUSPEND bool await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
        return suspend(work_of(owner_, item_), waiting, context_of(waiting));
    }

    typename work_item<W>::value_type await_resume() {
        finish();
        check(landed().request.result, "co_await");
        return item_.get();
    }

protected:
    work_item<W> item_;

private:
    state &owner_;
};

template <class W> class work_result_awaiter : public work_awaiter<W> {
public:
    using work_awaiter<W>::work_awaiter;

    result<typename work_item<W>::value_type> await_resume() {
        this->finish();
        return finished(this->item_, make_error(this->landed().request.result));
    }
};

/* Yields the context of the coroutine that awaits it. */
struct this_context {
    bool await_ready() const noexcept { return false; }
    template <class Promise> bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        found = context_of(coroutine);
        return false;
    }
    context await_resume() const noexcept { return found; }

    context found;
};

} // namespace detail

template <class T, class S, action_kind K> auto action<T, S, K>::operator co_await() const noexcept {
    return detail::awaiter<action>(*this);
}

template <class T, class S, action_kind K> auto action<T, S, K>::as_result() const noexcept {
    return detail::result_awaiter<action>(*this);
}

template <class W> auto work_action<W>::operator co_await() && {
    return detail::work_awaiter<W>(*owner_, std::move(work_));
}

template <class W> auto work_action<W>::as_result() && {
    return detail::work_result_awaiter<W>(*owner_, std::move(work_));
}

/** `co_await this_stop_token()`: the token that stops the task; one that never stops if there is none. */
class this_stop_token : private detail::this_context {
public:
    using detail::this_context::await_ready;
    template <class Promise> bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        return detail::this_context::await_suspend(coroutine);
    }
    std::stop_token await_resume() const noexcept { return found.stop ? *found.stop : std::stop_token(); }
};

/** An action with a time limit; the same as what.timeout(limit). */
template <class T, class S, action_kind K, class Rep, class Period>
action<T, S, K> with_timeout(const action<T, S, K> &what, std::chrono::duration<Rep, Period> limit) {
    return what.timeout(limit);
}

LIBLOOP_END

#endif
#endif
