// Memory for one handler of asio, inside the object that the handler belongs to, and the allocator that gives
// it to asio: as fast as asio can be where more handlers are pending than the one or two that it recycles.
//
// SPDX-License-Identifier: MIT
#ifndef BENCH_ASIO_SLOT_H
#define BENCH_ASIO_SLOT_H

#include "../support.h"

#include <cstddef>

struct slot {
    alignas(std::max_align_t) std::byte memory[256];
};

// asio gives the memory back before it calls the handler, so the handler may start the next operation.
template <typename T> struct slot_allocator {
    using value_type = T;

    explicit slot_allocator(slot *memory) : slot_(memory) {}
    template <typename U> slot_allocator(const slot_allocator<U> &other) : slot_(other.slot_) {}

    T *allocate(std::size_t count) {
        CHECK(count * sizeof(T) <= sizeof slot_->memory);
        return reinterpret_cast<T *>(slot_->memory);
    }
    void deallocate(T *, std::size_t) {}

    template <typename U> bool operator==(const slot_allocator<U> &other) const {
        return slot_ == other.slot_;
    }
    template <typename U> bool operator!=(const slot_allocator<U> &other) const {
        return slot_ != other.slot_;
    }

    slot *slot_;
};

#endif
