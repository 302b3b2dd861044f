/*
 * Part of loop.hpp: views of memory, descriptors, addresses, and other things that are owned.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_BUFFER_HPP
#define LOOP_BUFFER_HPP

#include "error.hpp"

#include <chrono>
#include <cstddef>
#include <iterator>
#include <string_view>
#include <type_traits>

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

LIBLOOP_BEGIN

namespace detail {

/* The type of the elements of what has std::data and std::size: containers, arrays, std::span. */
template <class C>
using element_of =
    std::remove_pointer_t<decltype((void)std::size(std::declval<C &>()), std::data(std::declval<C &>()))>;

template <class C, class = void> struct is_writable_memory : std::false_type {};
template <class C>
struct is_writable_memory<C, std::void_t<element_of<C>>>
    : std::bool_constant<!std::is_const_v<element_of<C>> && std::is_trivially_copyable_v<element_of<C>>> {};

/* Not: string literals, whose last byte is not meant. */
template <class C> struct is_literal : std::false_type {};
template <std::size_t N> struct is_literal<const char[N]> : std::true_type {};

template <class C, class = void> struct is_readable_memory : std::false_type {};
template <class C>
struct is_readable_memory<C, std::void_t<element_of<C>>>
    : std::bool_constant<!is_literal<C>::value && std::is_trivially_copyable_v<element_of<C>>> {};

} // namespace detail

/**
 * Memory to read into: a pointer and a number of bytes. Made of whatever has data() and size() (std::vector,
 * std::array, std::string, std::span), or of an array. Borrowed until the operation has completed.
 */
struct mutable_buffer {
    void       *data; /* the first byte */
    std::size_t size; /* in bytes */

    /** Of so many bytes at `memory`. */
    mutable_buffer(void *memory, std::size_t bytes) noexcept : data(memory), size(bytes) {}

    /** Of what has data() and size(), or of an array; the elements are trivially copyable. */
    template <class C, class = std::enable_if_t<
                           detail::is_writable_memory<std::remove_reference_t<C>>::value &&
                           !std::is_same_v<std::decay_t<C>, mutable_buffer>>>
    mutable_buffer(C &&memory) noexcept
        : data(std::data(memory)), size(std::size(memory) * sizeof *std::data(memory)) {}
};

/** Memory to write from; as mutable_buffer, and also made of a string, without the 0 byte at its end. */
struct const_buffer {
    const void *data; /* the first byte */
    std::size_t size; /* in bytes */

    /** Of so many bytes at `memory`, of a string that ends with a 0 byte, of memory to read into. */
    const_buffer(const void *memory, std::size_t bytes) noexcept : data(memory), size(bytes) {}
    const_buffer(const char *text) noexcept : const_buffer(std::string_view(text)) {}
    const_buffer(const mutable_buffer &other) noexcept : data(other.data), size(other.size) {}

    /** Of what has data() and size(), or of an array; the elements are trivially copyable. */
    template <class C, class = std::enable_if_t<
                           detail::is_readable_memory<std::remove_reference_t<C>>::value &&
                           !std::is_same_v<std::decay_t<C>, const_buffer>>>
    const_buffer(C &&memory) noexcept
        : data(std::data(memory)), size(std::size(memory) * sizeof *std::data(memory)) {}
};

/** A descriptor that is closed with close(2) at the end of its owner; nothing may be in flight on it then. */
class unique_fd {
public:
    /** Owns none, that one, or what another owned. */
    unique_fd() noexcept = default;
    explicit unique_fd(loop_fd_t fd) noexcept : fd_(fd) {}
    unique_fd(unique_fd &&other) noexcept : fd_(other.release()) {}
    unique_fd &operator=(unique_fd &&other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    ~unique_fd() { reset(); }

    /** The descriptor, or -1. It stays owned. */
    loop_fd_t get() const noexcept { return fd_; }
    explicit  operator bool() const noexcept { return fd_ >= 0; }

    /** Gives the descriptor up without closing it. */
    loop_fd_t release() noexcept { return std::exchange(fd_, -1); }

    /** Closes the descriptor, and owns another one or none. */
    void reset(loop_fd_t fd = -1) noexcept {
        if (fd_ >= 0) ::close(fd_);
        fd_ = fd;
    }

private:
    loop_fd_t fd_ = -1;
};

/** Room for the address of a socket. */
struct socket_address {
    sockaddr_storage storage{};                         /* the address */
    loop_socklen_t   length = sizeof(sockaddr_storage); /* its bytes */

    /** For functions of the system. */
    sockaddr       *get() noexcept { return reinterpret_cast<sockaddr *>(&storage); }
    const sockaddr *get() const noexcept { return reinterpret_cast<const sockaddr *>(&storage); }
};

/** The list that a name look-up yields; freed with its owner. */
class address_list {
public:
    address_list() noexcept = default;
    address_list(address_list &&other) noexcept : first_(std::exchange(other.first_, nullptr)) {}
    address_list &operator=(address_list &&other) noexcept {
        std::swap(first_, other.first_);
        return *this;
    }
    ~address_list() { clear(); }

    /** The first entry, or NULL. */
    const addrinfo *get() const noexcept { return first_; }

    /** Frees the list, and returns where another one may be put. */
    addrinfo **put() noexcept {
        clear();
        return &first_;
    }

private:
    void clear() noexcept {
        if (first_ != nullptr) ::freeaddrinfo(first_);
        first_ = nullptr;
    }

    addrinfo *first_ = nullptr;
};

/**
 * Callbacks, or tasks, that never run at the same time in a loop of several threads; see loop_set_strand. It
 * must outlive the operations that use it.
 */
class strand {
public:
    strand() noexcept = default;
    strand(const strand &) = delete;
    strand &operator=(const strand &) = delete;

    /** For functions of loop.h. */
    loop_strand_t *get() noexcept { return &strand_; }

private:
    loop_strand_t strand_{};
};

namespace detail {

/* Nanoseconds; what is negative is 0, what is too much is the most. */
template <class Rep, class Period>
std::int64_t nanoseconds_of(std::chrono::duration<Rep, Period> time) noexcept {
    using std::chrono::nanoseconds;
    const std::chrono::duration<long double, std::nano> exact = time;
    const std::int64_t most = nanoseconds::max().count();
    if (exact.count() >= static_cast<long double>(most)) return most;
    if (!(exact.count() > 0)) return 0;
    return std::chrono::duration_cast<nanoseconds>(time).count();
}

} // namespace detail

LIBLOOP_END

#endif
