/*
 * Conformance of file operations: open, close, the eight ways to read and write, faccessat; on every kind of
 * file, with every error, compared with the blocking system calls of the same name.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <grp.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* What a system call answered, as the library would. */
static int64_t answer(ssize_t value)
{
    return value < 0 ? -errno : value;
}

/* ---- open, close, faccessat ------------------------------------------------------------------ */

LOOP_TEST(open_makes_and_opens_files)
{
    const char *path = temporary_path("made");
    struct stat status;
    mode_t      mask = umask(022);
    int64_t     fd = RESULT_OF(loop, loop_open, path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
    umask(mask);
    assert_true(fd >= 0);
    assert_int_equal(fstat((int)fd, &status), 0);
    assert_true(S_ISREG(status.st_mode));
    assert_int_equal(status.st_mode & 0777, 0644);
    assert_int_equal(fcntl((int)fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl((int)fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_APPEND), O_RDWR);
    assert_result(RESULT_OF(loop, loop_open, path, O_CREAT | O_EXCL | O_RDWR, 0666), LOOP_EEXIST);
    assert_result(RESULT_OF(loop, loop_close, (int)fd), 0);
    assert_false(is_open((int)fd));
    fd = RESULT_OF(loop, loop_open, path, O_RDONLY, 0);
    assert_true(fd >= 0);
    assert_int_equal(fcntl((int)fd, F_GETFD), 0); /* nothing is added to the flags */
    assert_result(RESULT_OF(loop, loop_close, (int)fd), 0);
    assert_int_equal(unlink(path), 0);
}

LOOP_TEST(openat_starts_at_its_directory)
{
    int     file = open(temporary_path("here"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    int     directory = open(temporary_path("."), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int64_t fd = RESULT_OF(loop, loop_openat, directory, "here", O_RDWR | O_CLOEXEC, 0);
    assert_true(file >= 0 && directory >= 0 && fd >= 0);
    struct stat made, opened;
    assert_int_equal(fstat(file, &made), 0);
    assert_int_equal(fstat((int)fd, &opened), 0);
    assert_int_equal(made.st_ino, opened.st_ino);
    assert_int_equal(close((int)fd), 0);
    fd = RESULT_OF(loop, loop_openat, AT_FDCWD, temporary_path("here"), O_RDWR | O_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(close((int)fd), 0);
    fd = RESULT_OF(loop, loop_openat, AT_FDCWD, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(close((int)fd), 0);
    assert_result(RESULT_OF(loop, loop_openat, -1, "here", O_RDONLY, 0), LOOP_EBADF);
    assert_result(RESULT_OF(loop, loop_openat, closed_descriptor(), "here", O_RDONLY, 0), LOOP_EBADF);
    assert_result(RESULT_OF(loop, loop_openat, file, "here", O_RDONLY, 0), LOOP_ENOTDIR);
    close(file);
    close(directory);
    unlink(temporary_path("here"));
}

LOOP_TEST(errors_of_open_are_those_of_the_system)
{
    char long_name[4200];
    char long_path[8200] = "/";
    memset(long_name, 'n', sizeof long_name);
    long_name[300] = '\0';
    for (size_t i = 1; i + 1 < sizeof long_path; i += 2) {
        memcpy(long_path + i, "x/", 2);
    }
    assert_int_equal(symlink("loop", temporary_path("loop")), 0);
    assert_int_equal(mkfifo(temporary_path("fifo"), 0600), 0);
    int file = open(temporary_path("file"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_result(RESULT_OF(loop, loop_open, temporary_path("none"), O_RDONLY, 0), LOOP_ENOENT);
    assert_result(RESULT_OF(loop, loop_open, "", O_RDONLY, 0), LOOP_ENOENT);
    assert_result(RESULT_OF(loop, loop_open, "/", O_WRONLY, 0), LOOP_EISDIR);
    assert_result(RESULT_OF(loop, loop_open, temporary_path("file/below"), O_RDONLY, 0), LOOP_ENOTDIR);
    assert_result(RESULT_OF(loop, loop_open, temporary_path("file"), O_DIRECTORY, 0), LOOP_ENOTDIR);
    assert_result(RESULT_OF(loop, loop_open, temporary_path("loop"), O_RDONLY, 0), LOOP_ELOOP);
    assert_result(RESULT_OF(loop, loop_open, temporary_path("loop"), O_RDONLY | O_NOFOLLOW, 0), LOOP_ELOOP);
    assert_result(RESULT_OF(loop, loop_open, long_name, O_RDONLY, 0), LOOP_ENAMETOOLONG);
    assert_result(RESULT_OF(loop, loop_open, long_path, O_RDONLY, 0), LOOP_ENAMETOOLONG);
    assert_result(RESULT_OF(loop, loop_open, temporary_path("fifo"), O_WRONLY | O_NONBLOCK, 0), LOOP_ENXIO);
    close(file);
    unlink(temporary_path("file"));
    unlink(temporary_path("loop"));
    unlink(temporary_path("fifo"));
}

LOOP_TEST(close_closes_whatever_it_is)
{
    int fds[] = {temporary_file("x", 1), eventfd(0, EFD_CLOEXEC), open("/", O_PATH | O_CLOEXEC),
                 open("/dev/null", O_RDWR | O_CLOEXEC), -1, -1, -1, -1};
    make_pipe(fds + 4);
    make_socketpair(fds + 6);
    for (size_t i = 0; i < COUNT(fds); i++) {
        assert_true(is_open(fds[i]));
        assert_result(RESULT_OF(loop, loop_close, fds[i]), 0);
        assert_false(is_open(fds[i]));
        assert_result(RESULT_OF(loop, loop_close, fds[i]), LOOP_EBADF);
    }
    assert_result(RESULT_OF(loop, loop_close, -1), LOOP_EBADF);
    assert_result(RESULT_OF(loop, loop_close, INT32_MIN), LOOP_EBADF);
    assert_result(RESULT_OF(loop, loop_close, INT32_MAX), LOOP_EBADF);
}

LOOP_TEST(faccessat_answers_as_the_system_call)
{
    const char *path = temporary_path("accessed");
    int         file = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    int         directory = open(temporary_path("."), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(file >= 0 && directory >= 0);
    assert_int_equal(symlink("nowhere", temporary_path("dangling")), 0);
    assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, path, F_OK, 0), 0);
    assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, path, R_OK | W_OK, 0), 0);
    assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, path, R_OK | W_OK, AT_EACCESS), 0);
    assert_result(RESULT_OF(loop, loop_faccessat, directory, "accessed", R_OK, 0), 0);
    assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, path, X_OK, 0), LOOP_EACCES);
    assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, path, X_OK, AT_EACCESS), LOOP_EACCES);
    assert_result(RESULT_OF(loop, loop_faccessat, directory, "none", F_OK, 0), LOOP_ENOENT);
    assert_result(RESULT_OF(loop, loop_faccessat, directory, "dangling", F_OK, 0), LOOP_ENOENT);
    assert_result(RESULT_OF(loop, loop_faccessat, directory, "dangling", F_OK, AT_SYMLINK_NOFOLLOW), 0);
    assert_result(RESULT_OF(loop, loop_faccessat, file, "below", F_OK, 0), LOOP_ENOTDIR);
    assert_result(RESULT_OF(loop, loop_faccessat, -1, "accessed", F_OK, 0), LOOP_EBADF);
    assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, path, 8, 0), LOOP_EINVAL);
    assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, path, F_OK, 0x40000000), LOOP_EINVAL);
    close(file);
    close(directory);
    unlink(temporary_path("dangling"));
    unlink(path);
}

/* ---- reading and writing files --------------------------------------------------------------- */

LOOP_TEST(read_and_write_move_the_position)
{
    int  fd = temporary_file("0123456789", 10);
    char buffer[100];
    assert_result(RESULT_OF(loop, loop_read, fd, buffer, 4), 4);
    assert_memory_equal(buffer, "0123", 4);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 4);
    assert_result(RESULT_OF(loop, loop_write, fd, "ab", 2), 2);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 6);
    assert_result(RESULT_OF(loop, loop_read, fd, buffer, sizeof buffer), 4); /* short: the file ends */
    assert_memory_equal(buffer, "6789", 4);
    assert_result(RESULT_OF(loop, loop_read, fd, buffer, sizeof buffer), 0);
    assert_result(RESULT_OF(loop, loop_read, fd, buffer, 0), 0);
    assert_result(RESULT_OF(loop, loop_write, fd, "z", 0), 0);
    assert_int_equal(pread(fd, buffer, sizeof buffer, 0), 10);
    assert_memory_equal(buffer, "0123ab6789", 10);
    close(fd);
}

LOOP_TEST(pread_and_pwrite_leave_the_position)
{
    int  fd = temporary_file("0123456789", 10);
    char buffer[100];
    assert_int_equal(lseek(fd, 3, SEEK_SET), 3);
    assert_result(RESULT_OF(loop, loop_pread, fd, buffer, 4, 0), 4);
    assert_memory_equal(buffer, "0123", 4);
    assert_result(RESULT_OF(loop, loop_pread, fd, buffer, sizeof buffer, 8), 2);
    assert_memory_equal(buffer, "89", 2);
    assert_result(RESULT_OF(loop, loop_pread, fd, buffer, 1, 10), 0);
    int64_t at_the_limit = answer(pread(fd, buffer, 1, INT64_MAX));
    assert_result(RESULT_OF(loop, loop_pread, fd, buffer, 1, INT64_MAX), at_the_limit);
    assert_result(RESULT_OF(loop, loop_pwrite, fd, "xy", 2, 12), 2);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 3);
    assert_int_equal(pread(fd, buffer, sizeof buffer, 0), 14);
    assert_memory_equal(buffer, "0123456789\0\0xy", 14);
    close(fd);
}

LOOP_TEST(vectors_are_filled_in_turn)
{
    int          fd = temporary_file("0123456789", 10);
    char         first[3], second[4], third[100];
    loop_iovec_t into[] = {{first, 3}, {NULL, 0}, {second, 4}, {third, sizeof third}};
    assert_result(RESULT_OF(loop, loop_readv, fd, into, 4), 10);
    assert_memory_equal(first, "012", 3);
    assert_memory_equal(second, "3456", 4);
    assert_memory_equal(third, "789", 3);
    assert_result(RESULT_OF(loop, loop_readv, fd, into, 4), 0);
    assert_result(RESULT_OF(loop, loop_preadv, fd, into, 3, 1), 7);
    assert_memory_equal(first, "123", 3);
    assert_memory_equal(second, "4567", 4);
    char         left[] = "left", right[] = "right";
    loop_iovec_t from[] = {{left, 4}, {right, 5}};
    assert_result(RESULT_OF(loop, loop_pwritev, fd, from, 2, 2), 9);
    assert_result(RESULT_OF(loop, loop_writev, fd, from, 2), 9);
    assert_int_equal(pread(fd, third, sizeof third, 0), 19);
    assert_memory_equal(third, "01leftrighleftright", 19);
    close(fd);
}

LOOP_TEST(a_thousand_and_twenty_four_buffers_are_the_most)
{
    enum { MOST = 1024 };
    static char         bytes[MOST + 1];
    static loop_iovec_t vector[MOST + 1];
    int                 fd = temporary_file("", 0);
    for (size_t i = 0; i <= MOST; i++) {
        bytes[i] = (char)i;
        vector[i] = (loop_iovec_t){&bytes[i], 1};
    }
    assert_result(RESULT_OF(loop, loop_writev, fd, vector, MOST), MOST);
    assert_result(RESULT_OF(loop, loop_pwritev, fd, vector, MOST, 0), MOST);
    memset(bytes, 0, sizeof bytes);
    assert_result(RESULT_OF(loop, loop_preadv, fd, vector, MOST, 0), MOST);
    for (size_t i = 0; i < MOST; i++) {
        assert_int_equal(bytes[i], (char)i);
    }
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_result(RESULT_OF(loop, loop_readv, fd, vector, MOST), MOST);
    assert_result(RESULT_OF(loop, loop_writev, fd, vector, MOST + 1), LOOP_EINVAL);
    assert_result(RESULT_OF(loop, loop_pwritev, fd, vector, MOST + 1, 0), LOOP_EINVAL);
    assert_result(RESULT_OF(loop, loop_readv, fd, vector, MOST + 1), LOOP_EINVAL);
    assert_result(RESULT_OF(loop, loop_preadv, fd, vector, MOST + 1, 0), LOOP_EINVAL);
    assert_result(RESULT_OF(loop, loop_readv, fd, vector, UINT32_MAX), LOOP_EINVAL);
    close(fd);
}

LOOP_TEST(appending_writes_go_to_the_end)
{
    int  fd = temporary_file("0123456789", 10);
    char buffer[100];
    assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
    assert_result(RESULT_OF(loop, loop_write, fd, "end", 3), 3);
    assert_int_equal(pread(fd, buffer, sizeof buffer, 0), 13);
    assert_memory_equal(buffer, "0123456789end", 13);
    close(fd);
}

/* One random operation on two files of equal contents: by the loop on one, by the system on the other. */
static void compare_one(loop_t *loop, int by_loop, int by_system, uint64_t *chance)
{
    static char    loop_bytes[9000], system_bytes[9000];
    size_t         length = random_below(chance, sizeof loop_bytes);
    size_t         split = length > 0 ? random_below(chance, (uint32_t)length) : 0;
    uint64_t       offset = random_below(chance, 200000);
    loop_iovec_t   loop_vector[] = {{loop_bytes, split}, {loop_bytes + split, length - split}};
    struct iovec   system_vector[] = {{system_bytes, split}, {system_bytes + split, length - split}};
    const unsigned operation = random_below(chance, 8);
    memset(loop_bytes, (int)random_below(chance, 256), sizeof loop_bytes);
    memcpy(system_bytes, loop_bytes, sizeof loop_bytes);
    switch (operation) {
    case 0:
        assert_result(RESULT_OF(loop, loop_read, by_loop, loop_bytes, length),
                      read(by_system, system_bytes, length));
        break;
    case 1:
        assert_result(RESULT_OF(loop, loop_write, by_loop, loop_bytes, length),
                      write(by_system, system_bytes, length));
        break;
    case 2:
        assert_result(RESULT_OF(loop, loop_pread, by_loop, loop_bytes, length, offset),
                      pread(by_system, system_bytes, length, (off_t)offset));
        break;
    case 3:
        assert_result(RESULT_OF(loop, loop_pwrite, by_loop, loop_bytes, length, offset),
                      pwrite(by_system, system_bytes, length, (off_t)offset));
        break;
    case 4:
        assert_result(RESULT_OF(loop, loop_readv, by_loop, loop_vector, 2),
                      readv(by_system, system_vector, 2));
        break;
    case 5:
        assert_result(RESULT_OF(loop, loop_writev, by_loop, loop_vector, 2),
                      writev(by_system, system_vector, 2));
        break;
    case 6:
        assert_result(RESULT_OF(loop, loop_preadv, by_loop, loop_vector, 2, offset),
                      preadv(by_system, system_vector, 2, (off_t)offset));
        break;
    default:
        assert_result(RESULT_OF(loop, loop_pwritev, by_loop, loop_vector, 2, offset),
                      pwritev(by_system, system_vector, 2, (off_t)offset));
        break;
    }
    assert_memory_equal(loop_bytes, system_bytes, sizeof loop_bytes);
    assert_int_equal(lseek(by_loop, 0, SEEK_CUR), lseek(by_system, 0, SEEK_CUR));
}

LOOP_TEST(random_operations_do_what_the_system_calls_do)
{
    static char loop_bytes[4096], system_bytes[4096];
    int         by_loop = temporary_file("", 0), by_system = temporary_file("", 0);
    uint64_t    chance = 20200525;
    for (unsigned i = 0; i < 3000; i++) {
        if (random_below(&chance, 50) == 0) {
            off_t position = (off_t)random_below(&chance, 200000);
            assert_int_equal(lseek(by_loop, position, SEEK_SET), lseek(by_system, position, SEEK_SET));
        }
        compare_one(loop, by_loop, by_system, &chance);
    }
    off_t size = lseek(by_system, 0, SEEK_END);
    assert_int_equal(lseek(by_loop, 0, SEEK_END), size);
    for (off_t offset = 0; offset < size; offset += (off_t)sizeof loop_bytes) {
        ssize_t length = pread(by_system, system_bytes, sizeof system_bytes, offset);
        assert_int_equal(pread(by_loop, loop_bytes, sizeof loop_bytes, offset), length);
        assert_memory_equal(loop_bytes, system_bytes, (size_t)length);
    }
    close(by_loop);
    close(by_system);
}

enum { LARGE = 8 << 20, PAGE = 4096 };

/* A file of which only every third run of pages, more or less, is in the page cache. */
static int partially_cached_file(char *contents)
{
    int fd = temporary_file(contents, LARGE);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0);
    for (off_t offset = 0; offset < LARGE; offset += 30 * PAGE) {
        static char pages[10 * PAGE];
        assert_true(pread(fd, pages, sizeof pages, offset) > 0);
    }
    return fd;
}

LOOP_TEST(a_file_that_is_partially_cached_is_read_in_full)
{
    char    *contents = malloc(LARGE), *bytes = malloc(LARGE);
    uint64_t chance = 99;
    assert_true(contents != NULL && bytes != NULL);
    for (size_t i = 0; i < LARGE; i++) {
        contents[i] = (char)random_below(&chance, 256);
    }
    for (unsigned round = 0; round < 3; round++) {
        int          fd = partially_cached_file(contents);
        loop_iovec_t vector[] = {{bytes, 100}, {bytes + 100, LARGE / 2},
                                 {bytes + 100 + LARGE / 2, LARGE / 2 - 100}};
        memset(bytes, 0, LARGE);
        if (round == 0) {
            assert_result(RESULT_OF(loop, loop_preadv, fd, vector, 3, 0), LARGE);
        } else if (round == 1) {
            assert_result(RESULT_OF(loop, loop_pread, fd, bytes, LARGE, 0), LARGE);
        } else {
            for (size_t total = 0; total < LARGE;) { /* short reads are allowed, gaps are not */
                int64_t n = RESULT_OF(loop, loop_read, fd, bytes + total, LARGE - total);
                assert_true(n > 0);
                total += (size_t)n;
            }
        }
        assert_memory_equal(bytes, contents, LARGE);
        close(fd);
    }
    free(contents);
    free(bytes);
}

LOOP_TEST(one_read_moves_no_more_than_the_system_does)
{
    enum { PIECE = 4 << 20, PIECES = 600 };
    static char         piece[PIECE];
    static loop_iovec_t vector[PIECES];
    int                 fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < PIECES; i++) {
        vector[i] = (loop_iovec_t){piece, PIECE};
    }
    assert_in_range(RESULT_OF(loop, loop_readv, fd, vector, PIECES), 1, 2147479552);
    assert_in_range(RESULT_OF(loop, loop_preadv, fd, vector, PIECES, 0), 1, 2147479552);
    close(fd);
}

/* ---- errors ---------------------------------------------------------------------------------- */

LOOP_TEST(errors_of_read_and_write_are_those_of_the_system)
{
    char         byte = 'x';
    loop_iovec_t vector = {&byte, 1};
    int          ends[2], sockets[2];
    int          directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int          full = open("/dev/full", O_RDWR | O_CLOEXEC);
    int          path_only = open("/", O_PATH | O_CLOEXEC);
    make_pipe(ends);
    make_socketpair(sockets);
    put(ends[1], "x", 1);
    assert_result(RESULT_OF(loop, loop_read, directory, &byte, 1), LOOP_EISDIR);
    assert_result(RESULT_OF(loop, loop_pread, directory, &byte, 1, 0), LOOP_EISDIR);
    assert_result(RESULT_OF(loop, loop_write, directory, &byte, 1), LOOP_EBADF);
    assert_result(RESULT_OF(loop, loop_write, full, &byte, 1), LOOP_ENOSPC);
    assert_result(RESULT_OF(loop, loop_writev, full, &vector, 1), LOOP_ENOSPC);
    assert_result(RESULT_OF(loop, loop_read, ends[1], &byte, 1), LOOP_EBADF);
    assert_result(RESULT_OF(loop, loop_write, ends[0], &byte, 1), LOOP_EBADF);
    assert_result(RESULT_OF(loop, loop_read, path_only, &byte, 1), LOOP_EBADF);
    const int no_positions[] = {ends[0], sockets[0]};
    for (size_t i = 0; i < COUNT(no_positions); i++) {
        assert_result(RESULT_OF(loop, loop_pread, no_positions[i], &byte, 1, 0), LOOP_ESPIPE);
        assert_result(RESULT_OF(loop, loop_preadv, no_positions[i], &vector, 1, 0), LOOP_ESPIPE);
    }
    assert_result(RESULT_OF(loop, loop_pwrite, ends[1], &byte, 1, 0), LOOP_ESPIPE);
    assert_result(RESULT_OF(loop, loop_pwritev, sockets[1], &vector, 1, 0), LOOP_ESPIPE);
    close(ends[0]);
    close(sockets[0]);
    assert_result(RESULT_OF(loop, loop_write, ends[1], &byte, 1), LOOP_EPIPE);
    assert_result(RESULT_OF(loop, loop_write, sockets[1], &byte, 1), LOOP_EPIPE);
    assert_result(RESULT_OF(loop, loop_read, sockets[1], &byte, 1), 0);
    close(ends[1]);
    close(sockets[1]);
    close(directory);
    close(full);
    close(path_only);
}

LOOP_TEST(every_operation_on_a_bad_descriptor_delivers_so)
{
    char         byte = 'x';
    loop_iovec_t vector = {&byte, 1};
    const int    bad[] = {-1, INT32_MIN, AT_FDCWD, closed_descriptor(), 1 << 30, INT32_MAX};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_result(RESULT_OF(loop, loop_read, bad[i], &byte, 1), LOOP_EBADF);
        assert_result(RESULT_OF(loop, loop_readv, bad[i], &vector, 1), LOOP_EBADF);
        assert_result(RESULT_OF(loop, loop_pread, bad[i], &byte, 1, 0), LOOP_EBADF);
        assert_result(RESULT_OF(loop, loop_preadv, bad[i], &vector, 1, 0), LOOP_EBADF);
        assert_result(RESULT_OF(loop, loop_write, bad[i], &byte, 1), LOOP_EBADF);
        assert_result(RESULT_OF(loop, loop_writev, bad[i], &vector, 1), LOOP_EBADF);
        assert_result(RESULT_OF(loop, loop_pwrite, bad[i], &byte, 1, 0), LOOP_EBADF);
        assert_result(RESULT_OF(loop, loop_pwritev, bad[i], &vector, 1, 0), LOOP_EBADF);
        assert_result(RESULT_OF(loop, loop_close, bad[i]), LOOP_EBADF);
    }
}

#define FILE_SIZE_LIMITED "--file-size-limited"

LOOP_TEST(a_file_beyond_the_size_limit_is_too_large)
{
    int  fd = temporary_file("", 0);
    char bytes[8192] = "";
    assert_result(RESULT_OF(loop, loop_pwrite, fd, bytes, sizeof bytes, 4096 + 1), 4095);
    assert_result(RESULT_OF(loop, loop_pwrite, fd, bytes, 1, 8192), LOOP_EFBIG);
    assert_result(RESULT_OF(loop, loop_pwrite, fd, bytes, sizeof bytes, 100000), LOOP_EFBIG);
    assert_int_equal(lseek(fd, 8192, SEEK_SET), 8192);
    assert_result(RESULT_OF(loop, loop_write, fd, bytes, 1), LOOP_EFBIG);
    close(fd);
}

#define UNPRIVILEGED "--unprivileged"

LOOP_TEST(what_is_not_permitted_is_refused)
{
    char path[] = "/tmp/libloop-test-secret-XXXXXX";
    int  fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0 && fchmod(fd, 0) == 0);
    assert_result(RESULT_OF(loop, loop_open, path, O_RDONLY, 0), LOOP_EACCES);
    assert_result(RESULT_OF(loop, loop_open, path, O_WRONLY, 0), LOOP_EACCES);
    assert_result(RESULT_OF(loop, loop_open, "/proc/1/mem", O_RDONLY, 0), LOOP_EACCES);
    assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, path, R_OK, 0), LOOP_EACCES);
    assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, path, F_OK, 0), 0);
    unlink(path);
    close(fd);
}

/* ---- waiting for data ------------------------------------------------------------------------ */

/* The two ends of something that can be waited for, in each of its kinds. */
enum { KINDS = 6 };
static void make_kind(int ends[2], unsigned kind)
{
    switch (kind / 2) {
    case 0:
        make_pipe(ends);
        break;
    case 1:
        make_socketpair(ends);
        break;
    default:
        make_tcp_pair(ends);
        break;
    }
    set_nonblocking(ends[0], kind % 2 == 1);
    set_nonblocking(ends[1], kind % 2 == 1);
}

LOOP_TEST(a_read_waits_until_there_is_data_and_blocks_nobody)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        int          ends[2];
        char         buffer[16] = "", first = 0, second = 0;
        loop_iovec_t vector[] = {{&first, 1}, {&second, 1}};
        operation_t  plain = {0}, vectored = {0};
        make_kind(ends, kind);
        int flags = fcntl(ends[0], F_GETFL);
        assert_result(loop_read(loop, begin(&plain), ends[0], buffer, sizeof buffer, record), 0);
        run_for(loop, 2 * MILLISECOND);
        assert_int_equal(completions_of(&plain), 0);
        put(ends[1], "hello", 5);
        assert_result(await(loop, &plain), 5);
        assert_memory_equal(buffer, "hello", 5);
        assert_result(loop_readv(loop, begin(&vectored), ends[0], vector, 2, record), 0);
        run_for(loop, 2 * MILLISECOND);
        assert_int_equal(completions_of(&vectored), 0);
        put(ends[1], "ab", 2);
        assert_result(await(loop, &vectored), 2);
        assert_true(first == 'a' && second == 'b');
        assert_int_equal(fcntl(ends[0], F_GETFL), flags);
        assert_result(loop_read(loop, begin(&plain), ends[0], buffer, sizeof buffer, record), 0);
        run_for(loop, MILLISECOND);
        close(ends[1]);
        assert_result(await(loop, &plain), 0);
        close(ends[0]);
    }
}

LOOP_TEST(a_write_waits_until_there_is_room_and_blocks_nobody)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        int         ends[2];
        operation_t write_one = {0};
        make_kind(ends, kind);
        int flags = fcntl(ends[1], F_GETFL);
        do { /* what was filled may have moved on to the other side */
            fill(ends[1]);
            assert_result(loop_write(loop, begin(&write_one), ends[1], "x", 1, record), 0);
            run_for(loop, 2 * MILLISECOND);
        } while (completions_of(&write_one) == 1);
        while (completions_of(&write_one) == 0) {
            drain(ends[0]);
            run_for(loop, 0);
        }
        assert_result(write_one.result, 1);
        assert_int_equal(fcntl(ends[1], F_GETFL), flags);
        close_both(ends);
    }
}

static size_t count_completed(const operation_t *operations, size_t count)
{
    size_t completed = 0;
    for (size_t i = 0; i < count; i++) {
        completed += completions_of(&operations[i]);
    }
    return completed;
}

LOOP_TEST(several_readers_of_one_pipe_share_what_comes)
{
    enum { READERS = 50 };
    static operation_t readers[READERS];
    static char        bytes[READERS];
    bool               seen[READERS] = {false};
    int                ends[2];
    make_pipe(ends);
    for (size_t i = 0; i < READERS; i++) {
        assert_result(loop_read(loop, begin(&readers[i]), ends[0], &bytes[i], 1, record), 0);
    }
    run_for(loop, MILLISECOND);
    for (size_t i = 0; i < READERS / 2; i++) {
        char byte = (char)i;
        put(ends[1], &byte, 1);
    }
    while (count_completed(readers, READERS) < READERS / 2) {
        assert_true(loop_run_once(loop, -1) >= 0);
    }
    run_for(loop, 2 * MILLISECOND);
    for (size_t i = 0; i < READERS; i++) {
        if (completions_of(&readers[i]) == 1) {
            assert_result(readers[i].result, 1);
            assert_false(seen[(unsigned char)bytes[i]]);
            seen[(unsigned char)bytes[i]] = true;
        } else {
            assert_result(loop_cancel(loop, &readers[i].request), 0);
        }
    }
    run(loop);
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(seen[i], i < READERS / 2);
        assert_int_equal(completions_of(&readers[i]), 1);
    }
    close_both(ends);
}

typedef struct stream {
    operation_t    operation;
    int            fd;
    unsigned char *bytes;
    size_t         length, done;
    bool           writing;
} stream_t;

static void move_on(loop_t *loop, loop_request_t *request, int64_t result)
{
    stream_t *stream = (stream_t *)(void *)request;
    CHECK(result > 0 && (size_t)result <= stream->length - stream->done);
    stream->done += (size_t)result;
    unsigned char *next = stream->bytes + stream->done;
    size_t         left = stream->length - stream->done;
    if (left == 0) {
        record(loop, request, result);
    } else if (stream->writing) {
        CHECK(loop_write(loop, request, stream->fd, next, left, move_on) == 0);
    } else {
        CHECK(loop_read(loop, request, stream->fd, next, left < 50000 ? left : 50000, move_on) == 0);
    }
}

LOOP_TEST(a_large_stream_arrives_unchanged_through_each_kind)
{
    enum { LENGTH = 2 << 20 };
    for (unsigned kind = 0; kind < KINDS; kind++) {
        int      ends[2];
        uint64_t chance = kind + 1;
        stream_t sender = {.bytes = malloc(LENGTH), .length = LENGTH, .writing = true};
        stream_t receiver = {.bytes = calloc(1, LENGTH), .length = LENGTH};
        assert_true(sender.bytes != NULL && receiver.bytes != NULL);
        for (size_t i = 0; i < LENGTH; i++) {
            sender.bytes[i] = (unsigned char)random_below(&chance, 256);
        }
        make_kind(ends, kind);
        sender.fd = ends[1];
        receiver.fd = ends[0];
        assert_result(loop_write(loop, begin(&sender.operation), ends[1], sender.bytes, LENGTH, move_on), 0);
        assert_result(loop_read(loop, begin(&receiver.operation), ends[0], receiver.bytes, 50000, move_on),
                      0);
        run(loop);
        assert_int_equal(sender.done, LENGTH);
        assert_int_equal(receiver.done, LENGTH);
        assert_memory_equal(sender.bytes, receiver.bytes, LENGTH);
        free(sender.bytes);
        free(receiver.bytes);
        close_both(ends);
    }
}

LOOP_TEST(devices_and_special_files_read_as_they_should)
{
    char     bytes[64];
    uint64_t count = 5;
    int      zero = open("/dev/zero", O_RDWR | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int      proc = open("/proc/version", O_RDONLY | O_CLOEXEC);
    int      counter = eventfd(0, EFD_CLOEXEC | (int)(test_threads() % 2 == 0 ? EFD_NONBLOCK : 0));
    memset(bytes, 1, sizeof bytes);
    assert_result(RESULT_OF(loop, loop_read, zero, bytes, sizeof bytes), sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        assert_int_equal(bytes[i], 0);
    }
    assert_result(RESULT_OF(loop, loop_write, zero, bytes, sizeof bytes), sizeof bytes);
    assert_result(RESULT_OF(loop, loop_read, null, bytes, sizeof bytes), 0);
    assert_result(RESULT_OF(loop, loop_write, null, bytes, sizeof bytes), sizeof bytes);
    assert_result(RESULT_OF(loop, loop_read, proc, bytes, 5), 5);
    assert_memory_equal(bytes, "Linux", 5);
    assert_result(RESULT_OF(loop, loop_pread, proc, bytes, 5, 0), 5);
    assert_result(RESULT_OF(loop, loop_write, counter, &count, sizeof count), sizeof count);
    count = 0;
    assert_result(RESULT_OF(loop, loop_read, counter, &count, sizeof count), sizeof count);
    assert_int_equal(count, 5);
    operation_t wait = {0};
    assert_result(loop_read(loop, begin(&wait), counter, &count, sizeof count, record), 0);
    run_for(loop, 2 * MILLISECOND);
    assert_int_equal(completions_of(&wait), 0);
    put(counter, &count, sizeof count);
    assert_result(await(loop, &wait), sizeof count);
    close(zero);
    close(null);
    close(proc);
    close(counter);
}

/* ---- ending early ---------------------------------------------------------------------------- */

static void start_waiting_transfers(loop_t *loop, operation_t operations[4], const int empty[2],
                                    const int full[2], loop_iovec_t *vector)
{
    assert_result(loop_read(loop, begin(&operations[0]), empty[0], vector->base, 1, record), 0);
    assert_result(loop_readv(loop, begin(&operations[1]), empty[0], vector, 1, record), 0);
    assert_result(loop_write(loop, begin(&operations[2]), full[1], vector->base, 1, record), 0);
    assert_result(loop_writev(loop, begin(&operations[3]), full[1], vector, 1, record), 0);
}

LOOP_TEST(a_transfer_that_waits_can_be_cancelled_and_times_out)
{
    char         byte;
    loop_iovec_t vector = {&byte, 1};
    for (unsigned kind = 0; kind < 2; kind++) {
        operation_t operations[4];
        int         empty[2], full[2];
        make_kind(empty, kind);
        make_kind(full, kind);
        size_t filled = fill(full[1]);
        memset(operations, 0, sizeof operations);
        start_waiting_transfers(loop, operations, empty, full, &vector);
        run_for(loop, MILLISECOND);
        for (size_t i = 0; i < COUNT(operations); i++) {
            assert_int_equal(completions_of(&operations[i]), 0);
            assert_result(loop_cancel(loop, &operations[i].request), 0);
        }
        run(loop);
        for (size_t i = 0; i < COUNT(operations); i++) {
            assert_int_equal(completions_of(&operations[i]), 1);
            assert_result(operations[i].result, LOOP_ECANCELED);
            operations[i].request.timeout_ns = 2 * MILLISECOND;
        }
        start_waiting_transfers(loop, operations, empty, full, &vector);
        run(loop);
        for (size_t i = 0; i < COUNT(operations); i++) {
            assert_result(operations[i].result, LOOP_ETIMEDOUT);
        }
        assert_int_equal(drain(full[0]), filled); /* what was cancelled moved nothing */
        put(empty[1], "x", 1);
        assert_int_equal(drain(empty[0]), 1);
        close_both(empty);
        close_both(full);
    }
}

/* Keeps every blocking thread that files may have busy, with the opening of pipes that nobody opens at the
 * other end. */
enum { BLOCKERS = 16 };
typedef struct blocked_files {
    loop_t     *loop;
    operation_t opens[BLOCKERS];
    const char *path;
} blocked_files_t;

static void block_files(blocked_files_t *blocked)
{
    loop_options_t options = test_options();
    options.blocking_threads = 2;
    blocked->loop = new_loop_with(options);
    blocked->path = temporary_path("blocking-fifo");
    assert_int_equal(mkfifo(blocked->path, 0600), 0);
    for (size_t i = 0; i < BLOCKERS; i++) {
        loop_request_t *request = begin(&blocked->opens[i]);
        assert_result(loop_open(blocked->loop, request, blocked->path, O_RDONLY | O_CLOEXEC, 0, record), 0);
    }
    run_for(blocked->loop, 20 * MILLISECOND);
    for (size_t i = 0; i < BLOCKERS; i++) {
        assert_int_equal(completions_of(&blocked->opens[i]), 0);
    }
}

static void unblock_files(blocked_files_t *blocked)
{
    int writer = open(blocked->path, O_RDWR | O_CLOEXEC);
    assert_true(writer >= 0);
    run(blocked->loop);
    for (size_t i = 0; i < BLOCKERS; i++) {
        assert_int_equal(completions_of(&blocked->opens[i]), 1);
        if (blocked->opens[i].result >= 0) {
            close((int)blocked->opens[i].result);
        }
    }
    close(writer);
    unlink(blocked->path);
    end_loop(blocked->loop);
}

TEST(a_file_operation_that_is_queued_can_be_cancelled_and_times_out)
{
    static blocked_files_t blocked;
    operation_t            cancelled = {0}, timed = {.request.timeout_ns = 2 * MILLISECOND};
    block_files(&blocked);
    assert_result(loop_faccessat(blocked.loop, begin(&cancelled), AT_FDCWD, "/", F_OK, 0, record), 0);
    assert_result(loop_faccessat(blocked.loop, begin(&timed), AT_FDCWD, "/", F_OK, 0, record), 0);
    assert_result(await(blocked.loop, &timed), LOOP_ETIMEDOUT);
    assert_int_equal(completions_of(&cancelled), 0);
    assert_result(loop_cancel(blocked.loop, &cancelled.request), 0);
    assert_result(await(blocked.loop, &cancelled), LOOP_ECANCELED);
    unsigned ended = 0;
    for (size_t i = 0; i < BLOCKERS; i++) { /* those that run cannot be ended, those that wait can */
        assert_result(loop_cancel(blocked.loop, &blocked.opens[i].request), 0);
    }
    run_for(blocked.loop, 5 * MILLISECOND);
    for (size_t i = 0; i < BLOCKERS; i++) {
        ended += completions_of(&blocked.opens[i]);
    }
    assert_in_range(ended, BLOCKERS - 2, BLOCKERS);
    unblock_files(&blocked);
    unsigned opened = 0;
    for (size_t i = 0; i < BLOCKERS; i++) {
        opened += blocked.opens[i].result >= 0;
        assert_true(blocked.opens[i].result >= 0 || blocked.opens[i].result == LOOP_ECANCELED);
    }
    assert_int_equal(opened, BLOCKERS - ended); /* a descriptor that was opened after all arrives */
}

LOOP_TEST(one_slow_operation_delays_no_other)
{
    const char *path = temporary_path("slow-fifo");
    operation_t slow = {0};
    char        byte;
    int         fd = temporary_file("x", 1);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_result(loop_open(loop, begin(&slow), path, O_RDONLY | O_CLOEXEC, 0, record), 0);
    for (unsigned i = 0; i < 100; i++) {
        assert_result(RESULT_OF(loop, loop_faccessat, AT_FDCWD, "/", F_OK, 0), 0);
        assert_result(RESULT_OF(loop, loop_pread, fd, &byte, 1, 0), 1);
        int64_t opened = RESULT_OF(loop, loop_open, "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        assert_true(opened >= 0);
        assert_result(RESULT_OF(loop, loop_close, (int)opened), 0);
    }
    assert_int_equal(completions_of(&slow), 0);
    int writer = open(path, O_RDWR | O_CLOEXEC);
    assert_true(await(loop, &slow) >= 0);
    close((int)slow.result);
    close(writer);
    close(fd);
    unlink(path);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static void read_again(loop_t *loop, loop_request_t *request, int64_t result)
{
    stream_t *stream = (stream_t *)(void *)request;
    note_stack_depth();
    CHECK(result == 1 && stream->bytes[0] == 'x');
    stream->bytes[0] = 0;
    if (++stream->done < stream->length) {
        CHECK(loop_pread(loop, request, stream->fd, stream->bytes, 1, 0, read_again) == 0);
    } else {
        record(loop, request, result);
    }
}

LOOP_TEST(a_million_reads_that_complete_at_once_need_no_more_stack_than_one)
{
    unsigned char byte;
    stream_t      stream = {.fd = temporary_file("x", 1), .bytes = &byte, .length = 1000000};
    assert_result(loop_pread(loop, begin(&stream.operation), stream.fd, &byte, 1, 0, read_again), 0);
    run(loop);
    assert_int_equal(stream.done, stream.length);
    assert_true(stack_spread() < 4096);
    close(stream.fd);
}

LOOP_TEST(thousands_of_reads_in_flight_all_complete)
{
    enum { READS = 10000 };
    static operation_t reads[READS];
    static uint16_t    numbers[READS];
    uint16_t           contents[READS];
    for (size_t i = 0; i < READS; i++) {
        contents[i] = (uint16_t)i;
    }
    int fd = temporary_file(contents, sizeof contents);
    for (size_t i = 0; i < READS; i++) {
        assert_result(loop_pread(loop, begin(&reads[i]), fd, &numbers[i], 2, 2 * i, record), 0);
    }
    run(loop);
    for (size_t i = 0; i < READS; i++) {
        assert_int_equal(completions_of(&reads[i]), 1);
        assert_result(reads[i].result, 2);
        assert_int_equal(numbers[i], i);
    }
    close(fd);
}

/* ---- tests that need a process of their own -------------------------------------------------- */

static int run_unprivileged(void)
{
    const struct CMUnitTest tests[] = {GUARDED(what_is_not_permitted_is_refused)};
    const uid_t             nobody = 65534;
    if (geteuid() == 0) {
        CHECK(setgroups(0, NULL) == 0 && setgid(nobody) == 0 && setuid(nobody) == 0);
    }
    return RUN_SUITE(tests);
}

static int run_with_limited_file_size(void)
{
    const struct CMUnitTest tests[] = {GUARDED(a_file_beyond_the_size_limit_is_too_large)};
    const struct rlimit     limit = {.rlim_cur = 8192, .rlim_max = 8192};
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    return RUN_SUITE(tests);
}

TEST(errors_that_need_another_process)
{
    assert_int_equal(run_again(UNPRIVILEGED), 0);
    assert_int_equal(run_again(FILE_SIZE_LIMITED), 0);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], UNPRIVILEGED) == 0) {
        return run_unprivileged();
    }
    if (argc == 2 && strcmp(argv[1], FILE_SIZE_LIMITED) == 0) {
        return run_with_limited_file_size();
    }
    const struct CMUnitTest tests[] = {
        GUARDED(open_makes_and_opens_files),
        GUARDED(openat_starts_at_its_directory),
        GUARDED(errors_of_open_are_those_of_the_system),
        GUARDED(close_closes_whatever_it_is),
        GUARDED(faccessat_answers_as_the_system_call),
        GUARDED(read_and_write_move_the_position),
        GUARDED(pread_and_pwrite_leave_the_position),
        GUARDED(vectors_are_filled_in_turn),
        GUARDED(a_thousand_and_twenty_four_buffers_are_the_most),
        GUARDED(appending_writes_go_to_the_end),
        GUARDED(random_operations_do_what_the_system_calls_do),
        GUARDED(a_file_that_is_partially_cached_is_read_in_full),
        GUARDED(one_read_moves_no_more_than_the_system_does),
        GUARDED(errors_of_read_and_write_are_those_of_the_system),
        GUARDED(every_operation_on_a_bad_descriptor_delivers_so),
        GUARDED(a_read_waits_until_there_is_data_and_blocks_nobody),
        GUARDED(a_write_waits_until_there_is_room_and_blocks_nobody),
        GUARDED(several_readers_of_one_pipe_share_what_comes),
        GUARDED(a_large_stream_arrives_unchanged_through_each_kind),
        GUARDED(devices_and_special_files_read_as_they_should),
        GUARDED(a_transfer_that_waits_can_be_cancelled_and_times_out),
        GUARDED(a_file_operation_that_is_queued_can_be_cancelled_and_times_out),
        GUARDED(one_slow_operation_delays_no_other),
        GUARDED(a_million_reads_that_complete_at_once_need_no_more_stack_than_one),
        GUARDED(thousands_of_reads_in_flight_all_complete),
        GUARDED(errors_that_need_another_process),
    };
    return RUN_SUITE(tests);
}
