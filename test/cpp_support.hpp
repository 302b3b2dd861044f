/*
 * What the tests of loop.hpp share: a loop as the environment asks for it, descriptors to try things on, and
 * a guard that wants memory and descriptors back.
 *
 * Environment: LOOP_TEST_THREADS (1 if unset) and LOOP_TEST_BACKEND ("epoll", "io_uring"; any if unset).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_TEST_CPP_SUPPORT_HPP
#define LOOP_TEST_CPP_SUPPORT_HPP

#include <loop.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <ostream>

#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace std::chrono_literals;

/* Calls of operator new so far, and memory of it that was not freed. */
long allocations();
long allocations_alive();

/* The options that the environment asks for, and the number of threads in them. */
libloop::options test_options();
unsigned         test_threads();

/* Descriptors of the process; that of the directory which lists them is counted, always. */
unsigned open_descriptors();

/* A test with a loop: at its end all memory that operator new gave out, and all descriptors, must be back. */
class with_loop {
public:
    with_loop();
    ~with_loop();
    with_loop(const with_loop &) = delete;
    with_loop &operator=(const with_loop &) = delete;

private:
    long     alive_before_;
    unsigned descriptors_before_;

public:
    libloop::loop loop;
};

struct fd_pair {
    libloop::unique_fd in, out; /* of a pipe: to read from, to write to; of sockets: either */
};

fd_pair            make_pipe(); /* of high numbers, which nobody else takes once they are closed */
fd_pair            make_stream();                          /* connected Unix sockets, not blocking */
libloop::unique_fd make_listener(sockaddr_in &address_out); /* TCP on the loopback interface */
libloop::unique_fd make_file(std::string_view contents);

/* Runs the loop until nothing is pending; the number of exceptions that came out of it, all runtime_error. */
int run_and_count_exceptions(libloop::loop &loop);

/* Writes all of it, blocking. */
void put(const libloop::unique_fd &fd, std::string_view bytes);

#if LIBLOOP_COROUTINES
/* The code of the error that a task ends with; none if it ends well. */
template <class T> std::error_code error_of(libloop::loop &loop, libloop::task<T> what) {
    try {
        (void)loop.run(std::move(what));
    } catch (const std::system_error &error) {
        return error.code();
    }
    return {};
}
#endif

#endif
