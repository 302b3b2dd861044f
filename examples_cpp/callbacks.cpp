/*
 * callbacks: loop.hpp in C++17, without coroutines.
 *
 * Shown: lambdas as callbacks, on requests of one's own (libloop::operation, nothing is allocated) and on
 * their own (then, one allocation); values that are owned; a timer; work on another thread; and an exception
 * that leaves a callback and arrives at run. The program reads a file, itself if none is named, in small
 * pieces, and compares the number of bytes with the size that the file system tells.
 */
#include <loop.hpp>

#include <array>
#include <cstdio>
#include <filesystem>
#include <stdexcept>

#include <fcntl.h>

namespace {

using namespace std::chrono_literals;

/* Counts the bytes of a file. It does not move while it is at work: its request and its buffer are in it. */
class reader {
public:
    reader(libloop::loop &loop, const char *path) : loop_(loop) {
        loop_.open(path, O_RDONLY | O_CLOEXEC).then([this](libloop::result<libloop::unique_fd> file) {
            file_ = std::move(file).value(); /* throws if there is none; loop.run() throws it then */
            read_.submit(loop_.read(file_.get(), buffer_));
        });
    }

    std::size_t bytes() const { return bytes_; }

private:
    struct on_read {
        void operator()(libloop::result<std::size_t> bytes) const { self->have_read(bytes.value()); }
        reader *self;
    };

    void have_read(std::size_t bytes) {
        bytes_ += bytes;
        if (bytes > 0)
            read_.submit(loop_.read(file_.get(), buffer_));
        else
            loop_.close(std::move(file_)).then([](libloop::result<void> closed) { closed.value(); });
    }

    libloop::loop              &loop_;
    libloop::unique_fd          file_;
    std::array<char, 1024>      buffer_{};
    std::size_t                 bytes_ = 0;
    libloop::operation<on_read> read_{on_read{this}};
};

bool count_bytes(const char *path) {
    libloop::loop loop;
    reader        reader(loop, path);
    int           ticks = 0;
    std::size_t   size = 0;

    libloop::operation timer{[&](auto &self, libloop::result<void>) {
        if (self.more() && ++ticks == 3) self.cancel();
    }};
    timer.submit(loop.timer(1ms, 1ms));

    loop.work([path] { return std::filesystem::file_size(path); })
        .then([&](libloop::result<std::uintmax_t> told) { size = static_cast<std::size_t>(told.value()); });

    loop.run();
    std::printf("read %zu bytes of %s on %s, and ticked %d times\n", reader.bytes(), path, loop.name(),
                ticks);
    return reader.bytes() == size && ticks == 3;
}

/* What a callback throws stops the loop and comes out of run; the loop can go on afterwards. */
bool catch_exception() {
    libloop::loop loop;
    bool          went_on = false;
    loop.yield().then([](libloop::result<void>) { throw std::runtime_error("thrown in a callback"); });
    loop.sleep(1ms).then([&](libloop::result<void>) { went_on = true; });
    try {
        loop.run();
        return false;
    } catch (const std::runtime_error &error) {
        std::printf("caught: %s\n", error.what());
    }
    loop.run();
    return went_on;
}

} // namespace

int main(int argc, char **argv) {
    if (argc > 2) {
        std::fputs("usage: callbacks [FILE]\n", stderr);
        return 2;
    }
    try {
        return count_bytes(argc == 2 ? argv[1] : argv[0]) && catch_exception() ? 0 : 1;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "callbacks: %s\n", error.what());
        return 1;
    }
}
