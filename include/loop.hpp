/*
 * libloop for C++: the whole of loop.h, with owners, callables and std::error_code in C++17, and coroutines
 * in C++20. Header only; link the C library.
 *
 *     libloop::task<> copy(libloop::loop &loop, int from, int to) {
 *         std::vector<char> buffer(65536);
 *         while (std::size_t bytes = co_await loop.read(from, buffer))
 *             co_await loop.write(to, {buffer.data(), bytes});
 *     }
 *     int main() {
 *         libloop::loop loop;
 *         loop.run(copy(loop, 0, 1));
 *     }
 *
 * The namespace is libloop, for `loop` is the name of the C struct. docs/cpp.md is the guide; the contract of
 * each operation is in loop.h. LIBLOOP_COROUTINES tells whether the second half is there, LIBLOOP_EXCEPTIONS
 * whether errors are thrown: without exceptions (-fno-exceptions) functions that would throw abort, and those
 * that take a std::error_code& or yield a result<T> are for use.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_HPP
#define LOOP_HPP

#if !defined(__cplusplus) || __cplusplus < 201703L
#error "loop.hpp needs C++17 or newer"
#endif

#include "loop/generator.hpp"
#include "loop/task_group.hpp"
#include "loop/timer.hpp"

#endif
