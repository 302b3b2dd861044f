/*
 * The tests of loop.hpp: main, counted allocation, and what cpp_support.hpp declares.
 *
 * SPDX-License-Identifier: MIT
 */
#define DOCTEST_CONFIG_IMPLEMENT
#include "cpp_support.hpp"

#include <cstdlib>
#include <new>

#include <dirent.h>

namespace {

std::atomic<long> allocated{0}, freed{0};

[[noreturn]] void give_up(const char *what) {
    std::perror(what);
    std::exit(1);
}

int must(int result, const char *what) {
    if (result < 0) give_up(what);
    return result;
}

} // namespace

void *operator new(std::size_t size) {
    allocated.fetch_add(1, std::memory_order_relaxed);
    void *const memory = std::malloc(size > 0 ? size : 1);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

void *operator new(std::size_t size, const std::nothrow_t &) noexcept {
    allocated.fetch_add(1, std::memory_order_relaxed);
    return std::malloc(size > 0 ? size : 1);
}

void operator delete(void *memory) noexcept {
    if (memory != nullptr) freed.fetch_add(1, std::memory_order_relaxed);
    std::free(memory);
}

void operator delete(void *memory, std::size_t) noexcept { operator delete(memory); }

long allocations() { return allocated.load(); }
long allocations_alive() { return allocated.load() - freed.load(); }

unsigned test_threads() {
    const char *const text = std::getenv("LOOP_TEST_THREADS");
    return text != nullptr ? static_cast<unsigned>(std::strtoul(text, nullptr, 10)) : 1;
}

libloop::options test_options() {
    const char *const backend = std::getenv("LOOP_TEST_BACKEND");
    libloop::options  wanted;
    wanted.threads = test_threads();
    if (backend != nullptr)
        wanted.engine = std::strcmp(backend, "epoll") == 0 ? libloop::options::backend::epoll
                                                           : libloop::options::backend::io_uring;
    return wanted;
}

/* What the C library opens when a thread of the Go runtime first allocates, and closes at once. */
static bool is_passing(int directory, const char *number) {
    char          target[64];
    const ssize_t length = readlinkat(directory, number, target, sizeof target);
    return length < 0 || std::string_view(target, static_cast<std::size_t>(length)) ==
                             "/sys/devices/system/cpu/online";
}

unsigned open_descriptors() {
    DIR *const directory = opendir("/proc/self/fd");
    if (directory == nullptr) give_up("/proc/self/fd");
    unsigned count = 0;
    while (const dirent *const entry = readdir(directory))
        count += entry->d_name[0] != '.' && !is_passing(dirfd(directory), entry->d_name);
    closedir(directory);
    return count;
}

with_loop::with_loop()
    : alive_before_(allocations_alive()), descriptors_before_(open_descriptors()), loop(test_options()) {}

with_loop::~with_loop() {
    loop.deinit();
    CHECK(allocations_alive() == alive_before_);
    CHECK(open_descriptors() == descriptors_before_);
}

fd_pair make_pipe() {
    int ends[2];
    must(pipe2(ends, O_CLOEXEC), "pipe2");
    const libloop::unique_fd in(ends[0]), out(ends[1]);
    const auto               raised = [](const libloop::unique_fd &fd) {
        constexpr int high = 500;
        return libloop::unique_fd(must(fcntl(fd.get(), F_DUPFD_CLOEXEC, high), "F_DUPFD_CLOEXEC"));
    };
    return {raised(in), raised(out)};
}

fd_pair make_stream() {
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), "socketpair");
    return {libloop::unique_fd(ends[0]), libloop::unique_fd(ends[1])};
}

libloop::unique_fd make_listener(sockaddr_in &address_out) {
    libloop::unique_fd fd(must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket"));
    socklen_t          length = sizeof address_out;
    address_out = sockaddr_in{};
    address_out.sin_family = AF_INET;
    address_out.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto *const address = reinterpret_cast<sockaddr *>(&address_out);
    must(bind(fd.get(), address, length), "bind");
    must(listen(fd.get(), SOMAXCONN), "listen");
    must(getsockname(fd.get(), address, &length), "getsockname");
    return fd;
}

libloop::unique_fd make_file(std::string_view contents) {
    libloop::unique_fd fd(must(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), "a file in /tmp"));
    put(fd, contents);
    must(static_cast<int>(lseek(fd.get(), 0, SEEK_SET)), "lseek");
    return fd;
}

int run_and_count_exceptions(libloop::loop &loop) {
    int caught = 0;
    while (loop.pending() > 0) {
        try {
            loop.run();
        } catch (const std::runtime_error &) {
            caught++;
        }
    }
    return caught;
}

void put(const libloop::unique_fd &fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t written = write(fd.get(), bytes.data(), bytes.size());
        if (written < 0) give_up("write");
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
}

int main(int argc, char **argv) {
    {
        /* The first loop of a process leaves things behind that serve all others. */
        std::error_code error;
        libloop::loop   first(test_options(), error);
        if (error == std::errc::operation_not_supported) return 77;
        first.post([] {});
        first.run();
    }
    doctest::Context context(argc, argv);
    return context.run();
}
