/*
 * files: the loop in C++.
 *
 * Shown: a class that ends the loop in its destructor, a lambda without captures as a callback (it is a plain
 * function then; what it needs hangs on `user`), and a request as a member of the object that it works for.
 * The program opens itself, reads it to the end, closes it, and counts; a tick runs meanwhile.
 */
#include <loop.h>

#include <array>
#include <cstdio>
#include <exception>
#include <fcntl.h>
#include <fstream>
#include <stdexcept>
#include <string>

namespace {

/* Turns a negative result into an exception. Never used in a callback: none may throw. */
void check(int result) {
    if (result < 0) throw std::runtime_error(loop_error_message(result));
}

/* Owns a loop. Requests that are still in flight at its end are cancelled and delivered by loop_deinit. */
class Loop {
public:
    Loop() { check(loop_init(&loop_, nullptr)); }
    ~Loop() { loop_deinit(loop_); }
    Loop(const Loop &) = delete;
    Loop &operator=(const Loop &) = delete;

    loop_t *get() const { return loop_; }
    void    run() { check(loop_run(loop_)); }

private:
    loop_t *loop_ = nullptr;
};

/* Reads a file to its end. It must not move while it is in flight, hence no copies. */
class FileReader {
public:
    FileReader(Loop &loop, std::string path) : path_(std::move(path)) {
        request_.user = this;
        check(loop_open(loop.get(), &request_, path_.c_str(), O_RDONLY | O_CLOEXEC, 0,
                        [](loop_t *on, loop_request_t *request, int64_t result) {
                            FileReader &self = of(request);
                            self.fd_ = static_cast<int>(result);
                            if (self.keep(result)) self.read_more(on);
                        }));
    }
    FileReader(const FileReader &) = delete;
    FileReader &operator=(const FileReader &) = delete;

    int64_t bytes() const { return bytes_; }
    int64_t error() const { return error_; }
    bool    closed() const { return closed_; }

private:
    static FileReader &of(loop_request_t *request) { return *static_cast<FileReader *>(request->user); }

    /* Keeps the first error; false when there is one. */
    bool keep(int64_t result) {
        if (result < 0 && error_ == 0) error_ = result;
        return result >= 0;
    }

    void read_more(loop_t *loop) {
        keep(loop_read(loop, &request_, fd_, buffer_.data(), buffer_.size(),
                       [](loop_t *on, loop_request_t *request, int64_t result) {
                           FileReader &self = of(request);
                           if (self.keep(result)) self.bytes_ += result;
                           if (result > 0)
                               self.read_more(on);
                           else
                               self.close(on);
                       }));
    }

    void close(loop_t *loop) {
        keep(loop_close(loop, &request_, fd_, [](loop_t *, loop_request_t *request, int64_t result) {
            of(request).closed_ = of(request).keep(result);
        }));
    }

    loop_request_t         request_{};
    std::string            path_;
    std::array<char, 4096> buffer_{};
    int                    fd_ = -1;
    int64_t                bytes_ = 0;
    int64_t                error_ = 0;
    bool                   closed_ = false;
};

int64_t size_of(const std::string &path) {
    return static_cast<int64_t>(std::ifstream(path, std::ios::binary | std::ios::ate).tellg());
}

bool count_bytes(const std::string &path) {
    Loop           loop;
    FileReader     reader(loop, path);
    loop_request_t tick{};
    bool           ticked = false;

    tick.user = &ticked;
    check(loop_on_next_tick(loop.get(), &tick, [](loop_t *, loop_request_t *request, int64_t) {
        *static_cast<bool *>(request->user) = true;
    }));
    loop.run();

    if (reader.error() != 0) throw std::runtime_error(loop_error_message(static_cast<int>(reader.error())));
    std::printf("read %lld bytes of %s on %s, and ticked\n", static_cast<long long>(reader.bytes()),
                path.c_str(), loop_backend_name(loop.get()));
    return ticked && reader.closed() && reader.bytes() == size_of(path);
}

} // namespace

int main(int argc, char **argv) {
    if (argc > 2) {
        std::fputs("usage: files [FILE]\n", stderr);
        return 2;
    }
    try {
        return count_bytes(argc == 2 ? argv[1] : argv[0]) ? 0 : 1;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "files: %s\n", error.what());
        return 1;
    }
}
