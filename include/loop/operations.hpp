/*
 * Part of loop.hpp: the operations of a loop, as actions that can be awaited or submitted.
 *
 * Each is the function of loop.h of the same name, and takes, delivers and refuses what that says. Here it
 * says only what becomes of the result: the type in `result<T>`, which is also what co_await yields.
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_OPERATIONS_HPP
#define LOOP_OPERATIONS_HPP

#include "work.hpp"

#include <tuple>

LIBLOOP_BEGIN

class loop;

/** A buffer of a pool with what was received; goes back to the pool with its owner. Empty at the end. */
class pooled_buffer {
public:
    pooled_buffer() noexcept = default;
    pooled_buffer(loop_buffers_t *pool, void *memory, std::size_t size) noexcept
        : pool_(pool), memory_(memory), size_(size) {}
    pooled_buffer(pooled_buffer &&other) noexcept { swap(other); }
    pooled_buffer &operator=(pooled_buffer &&other) noexcept {
        swap(other);
        return *this;
    }
    ~pooled_buffer() {
        if (memory_ != nullptr) loop_buffer_return(pool_, memory_);
    }

    /** What was received: the first byte, the number of bytes, and whether there are none. */
    char       *data() const noexcept { return static_cast<char *>(memory_); }
    std::size_t size() const noexcept { return size_; }
    bool        empty() const noexcept { return size_ == 0; }

private:
    void swap(pooled_buffer &other) noexcept {
        std::swap(pool_, other.pool_);
        std::swap(memory_, other.memory_);
        std::swap(size_, other.size_);
    }

    loop_buffers_t *pool_ = nullptr;
    void           *memory_ = nullptr;
    std::size_t     size_ = 0;
};

namespace detail {

/* A function of loop.h and its arguments, but for the loop, the request and the callback. */
template <auto Function, class... Argument> struct submit_by {
    int operator()(loop_t *loop, loop_request_t *request, loop_callback_t callback) const noexcept {
        const auto call = [&](auto... each) { return Function(loop, request, each..., callback); };
        return std::apply(call, arguments);
    }
    std::tuple<Argument...> arguments;
};

/* What loop.h has with other arguments. */

inline int close_owned(loop_t *loop, loop_request_t *request, loop_fd_t fd,
                       loop_callback_t callback) noexcept {
    const int refused = loop_close(loop, request, fd, callback);
    if (refused < 0) ::close(fd);
    return refused;
}

inline int accept_from(loop_t *loop, loop_request_t *request, loop_fd_t fd, socket_address *peer,
                       loop_callback_t callback) noexcept {
    peer->length = sizeof peer->storage;
    return loop_accept(loop, request, fd, peer->get(), &peer->length, 0, callback);
}

inline int receive_from(loop_t *loop, loop_request_t *request, loop_fd_t fd, mutable_buffer to,
                        std::uint32_t flags, socket_address *peer, loop_callback_t callback) noexcept {
    peer->length = sizeof peer->storage;
    return loop_recvfrom(loop, request, fd, to.data, to.size, flags, peer->get(), &peer->length, callback);
}

template <> struct convert<pooled_buffer> {
    static pooled_buffer from(const flight &flight) noexcept {
        return pooled_buffer(static_cast<loop_buffers_t *>(flight.context), loop_buffer(&flight.request),
                             static_cast<std::size_t>(flight.request.result));
    }
};

} // namespace detail

/**
 * Buffers of one size, from which receives take one when there is something to receive; see
 * loop_buffers_init. It must end before its loop, and with no receive in flight: otherwise std::terminate.
 */
class buffer_pool {
public:
    /** Throws std::system_error. */
    buffer_pool(const loop &owner, std::uint32_t buffer_size, std::uint32_t buffer_count);
    /** On failure `error` is set, and the pool is empty. */
    buffer_pool(const loop &owner, std::uint32_t buffer_size, std::uint32_t buffer_count,
                std::error_code &error) noexcept;
    buffer_pool(buffer_pool &&other) noexcept : pool_(std::exchange(other.pool_, nullptr)) {}
    buffer_pool &operator=(buffer_pool &&other) noexcept {
        std::swap(pool_, other.pool_);
        return *this;
    }
    ~buffer_pool() {
        if (pool_ != nullptr && loop_buffers_deinit(pool_) == LOOP_EBUSY)
            detail::misuse("a buffer pool ended while receives used it");
    }

    /** For functions of loop.h. It stays owned. */
    loop_buffers_t *get() const noexcept { return pool_; }

private:
    loop_buffers_t *pool_ = nullptr;
};

/** The operations of a loop. They take effect when awaited or submitted, not when called. */
class operations {
    template <class T, auto Function, action_kind Kind = action_kind::once, class... Argument>
    auto make(Argument... arguments) const noexcept {
        using submit = detail::submit_by<Function, Argument...>;
        return action<T, submit, Kind>(*state_, submit{std::tuple<Argument...>(arguments...)});
    }

    template <action_kind Kind>
    auto make_receive(loop_fd_t fd, loop_buffers_t *pool, std::uint32_t flags) const noexcept {
        using submit = detail::submit_by<loop_recv_buffer, loop_fd_t, loop_buffers_t *, std::uint32_t>;
        return action<pooled_buffer, submit, Kind>(*state_, submit{{fd, pool, flags}}, pool);
    }

public:
    /* ---- ticks, timers, readiness ---- */

    /** The next turn of the loop. result<void>. */
    auto yield() const noexcept {
        return make<void, loop_on_next_tick>();
    }

    /** Not before so much time has passed. result<void>. */
    template <class Rep, class Period> auto sleep(std::chrono::duration<Rep, Period> time) const noexcept {
        const auto delay_ns = static_cast<std::uint64_t>(detail::nanoseconds_of(time));
        return make<void, loop_timer_start>(delay_ns, std::uint64_t{0});
    }

    /** After `first`, and then every `period` until it is cancelled. Repeating; result<void>. */
    template <class Rep, class Period, class Rep2, class Period2>
    auto timer(std::chrono::duration<Rep, Period> first,
               std::chrono::duration<Rep2, Period2> period) const noexcept {
        const auto delay_ns = static_cast<std::uint64_t>(detail::nanoseconds_of(first));
        const auto period_ns = static_cast<std::uint64_t>(detail::nanoseconds_of(period));
        return make<void, loop_timer_start, action_kind::repeating>(delay_ns, period_ns > 0 ? period_ns : 1);
    }

    /** Until `fd` is readable, writable, or either. result<uint32_t>: a mask of LOOP_READABLE and so on. */
    auto readable(loop_fd_t fd) const noexcept {
        return make<std::uint32_t, loop_wait_until_fd_readable>(fd);
    }
    auto writable(loop_fd_t fd) const noexcept {
        return make<std::uint32_t, loop_wait_until_fd_writable>(fd);
    }
    auto writable_or_readable(loop_fd_t fd) const noexcept {
        return make<std::uint32_t, loop_wait_until_fd_writable_or_readable>(fd);
    }

    /** loop_add_fd: whenever one of `events` holds, until it is cancelled. Repeating; result<uint32_t>. */
    auto watch(loop_fd_t fd, std::uint32_t events) const noexcept {
        return make<std::uint32_t, loop_add_fd, action_kind::repeating>(fd, events);
    }

    /* ---- files ---- */

    /** The path is borrowed until completion. result<unique_fd>. */
    auto open(const char *path, int flags, std::uint32_t mode = 0) const noexcept {
        return make<unique_fd, loop_open>(path, flags, mode);
    }
    auto openat(loop_fd_t directory, const char *path, int flags, std::uint32_t mode = 0) const noexcept {
        return make<unique_fd, loop_openat>(directory, path, flags, mode);
    }

    /** result<void>. A task that is cancelled closes nevertheless. */
    auto close(loop_fd_t fd) const noexcept {
        return make<void, loop_close, action_kind::shielded>(fd);
    }

    /** The same, taking the descriptor over: if the loop refuses, it is closed with close(2). */
    auto close(unique_fd owned) const noexcept {
        return make<void, detail::close_owned, action_kind::shielded>(owned.release());
    }

    /** result<size_t>: the number of bytes; a read of 0 bytes is the end. So it is for all below. */
    auto read(loop_fd_t fd, mutable_buffer to) const noexcept {
        return make<std::size_t, loop_read>(fd, to.data, to.size);
    }
    auto readv(loop_fd_t fd, const loop_iovec_t *to, std::uint32_t count) const noexcept {
        return make<std::size_t, loop_readv>(fd, to, count);
    }
    auto pread(loop_fd_t fd, mutable_buffer to, std::uint64_t offset) const noexcept {
        return make<std::size_t, loop_pread>(fd, to.data, to.size, offset);
    }
    auto preadv(loop_fd_t fd, const loop_iovec_t *to, std::uint32_t count,
                std::uint64_t offset) const noexcept {
        return make<std::size_t, loop_preadv>(fd, to, count, offset);
    }
    auto write(loop_fd_t fd, const_buffer from) const noexcept {
        return make<std::size_t, loop_write>(fd, from.data, from.size);
    }
    auto writev(loop_fd_t fd, const loop_iovec_t *from, std::uint32_t count) const noexcept {
        return make<std::size_t, loop_writev>(fd, from, count);
    }
    auto pwrite(loop_fd_t fd, const_buffer from, std::uint64_t offset) const noexcept {
        return make<std::size_t, loop_pwrite>(fd, from.data, from.size, offset);
    }
    auto pwritev(loop_fd_t fd, const loop_iovec_t *from, std::uint32_t count,
                 std::uint64_t offset) const noexcept {
        return make<std::size_t, loop_pwritev>(fd, from, count, offset);
    }

    /** result<void>. The path is borrowed until completion. */
    auto faccessat(loop_fd_t directory, const char *path, std::uint32_t mode,
                   std::uint32_t flags = 0) const noexcept {
        return make<void, loop_faccessat>(directory, path, mode, flags);
    }

    /* ---- sockets ---- */

    /** A new socket, not blocking and closed on exec; at once. Throws std::system_error. */
    unique_fd socket(int domain, int type, int protocol = 0) const {
        const loop_fd_t fd = loop_socket(state_->handle, domain, type, protocol);
        return unique_fd(static_cast<loop_fd_t>(detail::check(fd, "libloop::loop::socket")));
    }

    /** result<unique_fd>. `peer` is borrowed until completion. */
    auto accept(loop_fd_t fd) const noexcept {
        return make<unique_fd, loop_accept>(fd, nullptr, nullptr, 0u);
    }
    auto accept(loop_fd_t fd, socket_address &peer) const noexcept {
        return make<unique_fd, detail::accept_from>(fd, &peer);
    }

    /** One connection after the other, until an error or a cancel. Repeating; result<unique_fd>. */
    auto accept_repeatedly(loop_fd_t fd) const noexcept {
        return make<unique_fd, loop_accept, action_kind::repeating>(fd, nullptr, nullptr, LOOP_MULTISHOT);
    }

    /** result<void>. The address is borrowed until completion. */
    auto connect(loop_fd_t fd, const sockaddr *address, loop_socklen_t length) const noexcept {
        return make<void, loop_connect>(fd, address, length);
    }
    auto connect(loop_fd_t fd, const socket_address &address) const noexcept {
        return connect(fd, address.get(), address.length);
    }

    /** result<size_t>; `peer` and `message` are borrowed until completion. */
    auto recv(loop_fd_t fd, mutable_buffer to, std::uint32_t flags = 0) const noexcept {
        return make<std::size_t, loop_recv>(fd, to.data, to.size, flags);
    }
    auto recvfrom(loop_fd_t fd, mutable_buffer to, socket_address &peer,
                  std::uint32_t flags = 0) const noexcept {
        return make<std::size_t, detail::receive_from>(fd, to, flags, &peer);
    }
    auto recvmsg(loop_fd_t fd, msghdr &message, std::uint32_t flags = 0) const noexcept {
        return make<std::size_t, loop_recvmsg>(fd, &message, flags);
    }

    /** Into a buffer of a pool, once or repeatedly. result<pooled_buffer>; LOOP_ENOBUFS: all are out. */
    auto recv(loop_fd_t fd, const buffer_pool &pool) const noexcept {
        return make_receive<action_kind::once>(fd, pool.get(), 0);
    }
    auto recv_repeatedly(loop_fd_t fd, const buffer_pool &pool) const noexcept {
        return make_receive<action_kind::repeating>(fd, pool.get(), LOOP_MULTISHOT);
    }

    /** With LOOP_SEND_ALL in `flags`, fewer bytes than asked for mean that it ended early. */
    auto send(loop_fd_t fd, const_buffer from, std::uint32_t flags = 0) const noexcept {
        return make<std::size_t, loop_send>(fd, from.data, from.size, flags);
    }
    auto sendto(loop_fd_t fd, const_buffer from, const sockaddr *address, loop_socklen_t length,
                std::uint32_t flags = 0) const noexcept {
        return make<std::size_t, loop_sendto>(fd, from.data, from.size, flags, address, length);
    }
    auto sendto(loop_fd_t fd, const_buffer from, const socket_address &address,
                std::uint32_t flags = 0) const noexcept {
        return sendto(fd, from, address.get(), address.length, flags);
    }
    auto sendmsg(loop_fd_t fd, const msghdr &message, std::uint32_t flags = 0) const noexcept {
        return make<std::size_t, loop_sendmsg>(fd, &message, flags);
    }
    auto sendfile(loop_fd_t socket, loop_fd_t file, std::uint64_t offset, std::size_t bytes,
                  std::uint32_t flags = 0) const noexcept {
        return make<std::size_t, loop_sendfile>(socket, file, offset, bytes, flags);
    }
    auto splice(loop_fd_t in, std::uint64_t in_offset, loop_fd_t out, std::uint64_t out_offset,
                std::size_t bytes, std::uint32_t flags = 0) const noexcept {
        return make<std::size_t, loop_splice>(in, in_offset, out, out_offset, bytes, flags);
    }

    /** SHUT_RD, SHUT_WR or SHUT_RDWR. result<void>. */
    auto shutdown(loop_fd_t fd, int how) const noexcept {
        return make<void, loop_shutdown>(fd, how);
    }

    /** Cancel all operations on a descriptor. result<size_t>: how many were asked to end. */
    auto cancel_fd(loop_fd_t fd) const noexcept {
        return make<std::size_t, loop_cancel_fd>(fd);
    }

    /* ---- names, work ---- */

    /** result<void>. `found` is borrowed until completion; the names only until it is submitted. */
    auto getaddrinfo(const char *node, const char *service, const addrinfo *hints,
                     address_list &found) const noexcept {
        return make<void, loop_getaddrinfo>(node, service, hints, found.put());
    }
    auto getnameinfo(const sockaddr *address, loop_socklen_t length, char *host, std::size_t host_size,
                     char *service, std::size_t service_size, int flags = 0) const noexcept {
        return make<void, loop_getnameinfo>(address, length, host, host_size, service, service_size, flags);
    }

    /** Call `work` on a blocking thread. result<T>, T being what it returns; exceptions are carried back. */
    template <class W> work_action<W> work(W work) const { return {*state_, std::move(work)}; }

    /** The same with memory of yours for the callable. result<void>; item.get() has the value. */
    template <class W> auto work(work_item<W> &item) const noexcept {
        return detail::work_of(*state_, item);
    }

    /* For the parts of this library: what stays when the loop object moves. */
    detail::state &shared_state() const noexcept { return *state_; }

protected:
    operations() noexcept = default;
    ~operations() = default;

    detail::state *state_ = nullptr;
};

LIBLOOP_END

#endif
