/*
 * Part of loop.hpp: a request that may outlive who submitted it, for owners that can be destroyed at any
 * time. Its memory stays until the last completion, which nobody may hear of any more.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_LASTING_HPP
#define LOOP_LASTING_HPP

#include "operation.hpp"

LIBLOOP_BEGIN

namespace detail {

/*
 * What the owner and the flight share, by std::shared_ptr. One mutex guards it, also while it submits, so
 * that no completion is handled before the submit returned. All functions are called with the lock held.
 */
class lasting : public std::enable_shared_from_this<lasting> {
public:
    lasting(const lasting &) = delete;
    lasting &operator=(const lasting &) = delete;

protected:
    using guard = std::unique_lock<std::mutex>;

    lasting() noexcept { flight_.request.user = this; }
    virtual ~lasting() = default;

    /* Begins an action, which is not in flight. 0, or why it was refused. */
    template <class Action> int begin(const Action &what, loop_strand_t *strand) noexcept {
        self_ = shared_from_this();
        is_cancelled_ = false;
        const int refused = what.begin(flight_, &lasting::on_completion, strand);
        if (refused < 0) self_.reset();
        return refused;
    }

    bool in_flight() const noexcept { return self_ != nullptr; }

    /* Asks the flight to end; its last completion still comes. */
    void cancel() noexcept {
        if (self_ != nullptr && !std::exchange(is_cancelled_, true)) flight_.cancel();
    }

    /* Of the present flight, or the last one. */
    bool          is_cancelled() const noexcept { return is_cancelled_; }
    const flight &landed() const noexcept { return flight_; }

    /* Called for each completion; in_flight() tells whether more come. It may give up the lock. */
    virtual void completed(guard &lock) = 0;

    std::mutex mutex_;

private:
    static void on_completion(loop_t *, loop_request_t *request, std::int64_t) noexcept {
        auto *const              plain = static_cast<lasting *>(request->user);
        std::shared_ptr<lasting> self; /* ends after the lock */
        guard                    lock(plain->mutex_);
        self = plain->flight_.more() ? plain->self_ : std::move(plain->self_);
        guarded(*self->flight_.owner, [&] { self->completed(lock); });
    }

    flight                   flight_;
    bool                     is_cancelled_ = false;
    std::shared_ptr<lasting> self_; /* while it is in flight */
};

} // namespace detail

LIBLOOP_END

#endif
