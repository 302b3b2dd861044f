/*
 * checksum_coroutines: the POSIX checksum of every file below a directory, as `cksum FILE` prints it.
 *
 *     checksum_coroutines [-j DEPTH] DIR
 *
 * The job of examples_c/checksum.c as coroutines (C++20): DEPTH readers, 64 unless told otherwise, each take
 * the next file of a list, open it, read it to its end, close it and take the next one. What takes a chain of
 * callbacks in C is a loop with co_await in it. The lines come in the byte order of the paths.
 *
 * Exit status: 0; 1 when something could not be read or written (the rest is still done); 2 for wrong use.
 */
#include <loop.hpp>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>

namespace {

constexpr std::size_t depth_default = 64, depth_max = 4096, buffer_bytes = 64 * 1024;

/* ---- the checksum ------------------------------------------------------------------------------ */

using crc_tables = std::array<std::array<std::uint32_t, 256>, 8>;

/* table[k][i] is the CRC of byte i followed by k zero bytes, so that one step takes eight bytes. */
constexpr crc_tables make_crc_tables() {
    crc_tables table{};
    for (std::uint32_t byte = 0; byte < 256; byte++) {
        std::uint32_t crc = byte << 24;
        for (int bit = 0; bit < 8; bit++) crc = (crc << 1) ^ ((crc >> 31) != 0 ? 0x04C11DB7u : 0);
        table[0][byte] = crc;
    }
    for (std::size_t k = 1; k < table.size(); k++)
        for (std::size_t byte = 0; byte < 256; byte++) {
            const std::uint32_t crc = table[k - 1][byte];
            table[k][byte] = (crc << 8) ^ table[0][crc >> 24];
        }
    return table;
}

class checksum {
public:
    void add(std::string_view bytes) {
        size_ += bytes.size();
        for (; bytes.size() >= 8; bytes.remove_prefix(8)) {
            std::uint32_t next = 0;
            for (std::size_t i = 0; i < 8; i++) {
                const std::uint32_t carried = i < 4 ? crc_ >> (24 - 8 * i) & 0xFF : 0;
                next ^= table[7 - i][static_cast<unsigned char>(bytes[i]) ^ carried];
            }
            crc_ = next;
        }
        for (const char byte : bytes) add_byte(static_cast<unsigned char>(byte));
    }

    /* POSIX has the size of the file follow its bytes, lowest byte first, and then inverts all bits. */
    std::uint32_t finish() {
        for (std::uint64_t rest = size_; rest > 0; rest >>= 8) add_byte(rest & 0xFF);
        return ~crc_;
    }

    std::uint64_t size() const { return size_; }

private:
    static constexpr crc_tables table = make_crc_tables();

    void add_byte(std::uint64_t byte) { crc_ = (crc_ << 8) ^ table[0][byte ^ crc_ >> 24]; }

    std::uint32_t crc_ = 0;
    std::uint64_t size_ = 0;
};

/* ---- the job ----------------------------------------------------------------------------------- */

struct file {
    std::string path;
    std::string line;     /* what is to be printed; empty after a failure */
    bool        done = false;
};

/* All that the readers share. The loop has one thread, so none of it needs a lock. */
struct job {
    std::vector<file> files;
    std::size_t       begun = 0, printed = 0;
    std::uint64_t     bytes_read = 0;
    bool              failed = false;
};

void complain(job &job, const std::string &path, const std::string &what) {
    std::fprintf(stderr, "checksum_coroutines: %s: %s\n", path.c_str(), what.c_str());
    job.failed = true;
}

/* The loop has no readdir; reading directories is a small part of the job. */
void find_files(job &job, const char *root) {
    namespace fs = std::filesystem;
    std::error_code error;
    for (fs::recursive_directory_iterator entry(root, error), end; !error && entry != end;
         entry.increment(error))
        if (entry->symlink_status(error).type() == fs::file_type::regular)
            job.files.push_back({entry->path().string(), {}});
    if (error) complain(job, root, error.message());
    std::sort(job.files.begin(), job.files.end(), [](auto &a, auto &b) { return a.path < b.path; });
}

/* Prints, in order, what has become printable. */
void print_finished(job &job) {
    for (; job.printed < job.files.size() && job.files[job.printed].done; job.printed++)
        std::fputs(job.files[job.printed].line.c_str(), stdout);
}

libloop::task<std::string> read_file(libloop::loop &loop, job &job, const std::string &path,
                                     std::vector<char> &buffer) {
    /* O_NOFOLLOW: it may have become a symbolic link since the directory was read. */
    auto     fd = co_await loop.open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    checksum sum;
    while (const std::size_t bytes = co_await loop.read(fd.get(), buffer)) {
        sum.add({buffer.data(), bytes});
        job.bytes_read += bytes;
    }
    co_await loop.close(std::move(fd));
    const std::uint32_t crc = sum.finish();
    co_return std::to_string(crc) + ' ' + std::to_string(sum.size()) + ' ' + path + '\n';
}

libloop::task<> read_files(libloop::loop &loop, job &job) {
    std::vector<char> buffer(buffer_bytes);
    while (job.begun < job.files.size()) {
        file &next = job.files[job.begun++];
        try {
            next.line = co_await read_file(loop, job, next.path, buffer);
        } catch (const std::system_error &error) {
            complain(job, next.path, error.code().message());
        }
        next.done = true;
        print_finished(job);
    }
}

/* ---- the program ------------------------------------------------------------------------------- */

/* Each reader has a file open: take at most half of the descriptors that this process may have. */
std::size_t depth_within_limits(std::size_t depth) {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY) return depth;
    return std::clamp<std::size_t>(limit.rlim_cur / 2, 1, depth);
}

void do_job(job &job, std::size_t depth) {
    libloop::loop                loop;
    std::vector<libloop::task<>> readers;
    for (std::size_t i = 0; i < depth; i++) readers.push_back(read_files(loop, job));
    loop.run(libloop::when_all(std::move(readers)));
}

/* The depth that `text` says, or 0 when it says none. */
std::size_t parse_depth(const char *text) {
    char *end = nullptr;
    if (*text < '0' || *text > '9') return 0; /* strtoul would take signs and spaces */
    const unsigned long depth = std::strtoul(text, &end, 10);
    return *end == '\0' && depth <= depth_max ? depth : 0;
}

} // namespace

int main(int argc, char **argv) {
    const bool        has_depth = argc == 4 && std::string_view(argv[1]) == "-j";
    const std::size_t depth = has_depth ? parse_depth(argv[2]) : depth_default;
    if ((argc != 2 && !has_depth) || depth == 0) {
        std::fprintf(stderr,
                     "usage: checksum_coroutines [-j DEPTH] DIR\n  DEPTH  files in flight, 1 to %zu\n",
                     depth_max);
        return 2;
    }
    job job;
    find_files(job, argv[argc - 1]);
    try {
        do_job(job, depth_within_limits(depth));
    } catch (const std::exception &error) {
        complain(job, "the loop", error.what());
    }
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
        complain(job, "standard output", "cannot write");
    std::fprintf(stderr, "checksum_coroutines: %zu files, %" PRIu64 " bytes\n", job.printed, job.bytes_read);
    return job.failed || job.printed != job.files.size() ? 1 : 0;
}
