/*
 * loop.hpp, C++20: awaiting each kind of operation; values, errors, limits; nothing allocated for it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cpp_support.hpp"

#include <memory>

using libloop::result;
using libloop::task;

TEST_CASE_FIXTURE(with_loop, "a coroutine writes, reads back at offsets, and closes") {
    auto body = [](libloop::loop &loop) -> task<std::string> {
        auto file = co_await loop.open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        CHECK(co_await loop.write(file.get(), "hello") == 5);
        CHECK(co_await loop.pwrite(file.get(), std::string(" world"), 5) == 6);
        std::string       text(11, '\0');
        const std::size_t bytes = co_await loop.pread(file.get(), text, 0);
        CHECK(bytes == 11);
        const std::size_t at_end = co_await loop.pread(file.get(), text, 11);
        CHECK(at_end == 0);
        co_await loop.close(std::move(file));
        co_return text;
    };
    CHECK(loop.run(body(loop)) == "hello world");
}

TEST_CASE_FIXTURE(with_loop, "vectors are read and written in turn") {
    auto body = [](libloop::loop &loop, int fd) -> task<> {
        char         first[3], second[4];
        loop_iovec_t parts[2] = {{first, 3}, {second, 4}};
        CHECK(co_await loop.preadv(fd, parts, 2, 1) == 7);
        CHECK(std::string(first, 3) + std::string(second, 4) == "bcdefgh");
        CHECK(co_await loop.pwritev(fd, parts, 2, 0) == 7);
        CHECK(co_await loop.readv(fd, parts, 1) == 3);
        CHECK(std::string(first, 3) == "bcd");
        CHECK(co_await loop.writev(fd, parts, 1) == 3);
        CHECK(co_await loop.pread(fd, second, 3) == 4);
        CHECK(std::string(second, 4) == "bcdh");
    };
    auto file = make_file("abcdefgh");
    loop.run(body(loop, file.get()));
}

TEST_CASE_FIXTURE(with_loop, "sleeping takes at least its time, and yielding comes back") {
    auto body = [](libloop::loop &loop) -> task<> {
        const auto begin = loop.now();
        co_await loop.sleep(3ms);
        CHECK(loop.now() - begin >= 3ms);
        for (int i = 0; i < 100; i++) co_await loop.yield();
        co_await loop.sleep(-1s);
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "a server and a client talk over TCP") {
    auto serve = [](libloop::loop &loop, int listener) -> task<> {
        libloop::socket_address peer;
        auto                    client = co_await loop.accept(listener, peer);
        CHECK(peer.get()->sa_family == AF_INET);
        CHECK(peer.length == sizeof(sockaddr_in));
        char buffer[64];
        while (const std::size_t bytes = co_await loop.recv(client.get(), buffer))
            CHECK(co_await loop.send(client.get(), {buffer, bytes}, LOOP_SEND_ALL) == bytes);
    };
    auto ask = [](libloop::loop &loop, sockaddr_in address) -> task<> {
        auto fd = loop.socket(AF_INET, SOCK_STREAM);
        co_await loop.connect(fd.get(), reinterpret_cast<sockaddr *>(&address), sizeof address);
        CHECK((co_await loop.writable(fd.get()) & LOOP_WRITABLE) != 0);
        CHECK(co_await loop.send(fd.get(), "question") == 8);
        CHECK((co_await loop.readable(fd.get()) & LOOP_READABLE) != 0);
        char buffer[8];
        CHECK(co_await loop.recv(fd.get(), buffer, MSG_WAITALL) == 8);
        CHECK(std::string_view(buffer, 8) == "question");
        co_await loop.shutdown(fd.get(), SHUT_WR);
        CHECK(co_await loop.recv(fd.get(), buffer) == 0);
    };
    sockaddr_in address;
    auto        listener = make_listener(address);
    loop.run([](auto server, auto client) -> task<> {
        co_await libloop::when_all(std::move(server), std::move(client));
    }(serve(loop, listener.get()), ask(loop, address)));
}

TEST_CASE_FIXTURE(with_loop, "datagrams tell who sent them") {
    auto body = [](libloop::loop &loop) -> task<> {
        auto        here = loop.socket(AF_INET, SOCK_DGRAM), there = loop.socket(AF_INET, SOCK_DGRAM);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        auto *const plain = reinterpret_cast<sockaddr *>(&address);
        socklen_t   length = sizeof address;
        CHECK(bind(here.get(), plain, length) == 0);
        CHECK(getsockname(here.get(), plain, &length) == 0);
        CHECK(co_await loop.sendto(there.get(), "datagram", plain, length) == 8);
        char                    buffer[16];
        libloop::socket_address sender;
        CHECK(co_await loop.recvfrom(here.get(), buffer, sender) == 8);
        CHECK(co_await loop.sendto(here.get(), "back", sender) == 4);
        iovec  part{buffer, sizeof buffer};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        CHECK(co_await loop.recvmsg(there.get(), message) == 4);
        part.iov_len = 4;
        message.msg_name = &sender.storage;
        message.msg_namelen = sender.length;
        CHECK(co_await loop.sendmsg(here.get(), message) == 4);
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "a file is sent, and spliced, without passing through the program") {
    auto body = [](libloop::loop &loop, int socket, int peer, int file, int into, int from) -> task<> {
        char buffer[16];
        CHECK(co_await loop.sendfile(socket, file, 2, 4) == 4);
        CHECK(co_await loop.recv(peer, buffer) == 4);
        CHECK(std::string_view(buffer, 4) == "cdef");
        CHECK(co_await loop.splice(file, 0, into, LOOP_NO_OFFSET, 3) == 3);
        CHECK(co_await loop.read(from, buffer) == 3);
        CHECK(std::string_view(buffer, 3) == "abc");
    };
    auto file = make_file("abcdefgh");
    auto stream = make_stream();
    auto pipe = make_pipe();
    loop.run(body(loop, stream.out.get(), stream.in.get(), file.get(), pipe.out.get(), pipe.in.get()));
}

TEST_CASE_FIXTURE(with_loop, "names are looked up both ways") {
    auto body = [](libloop::loop &loop) -> task<> {
        libloop::address_list list;
        addrinfo              hints{};
        hints.ai_flags = AI_NUMERICHOST;
        co_await loop.getaddrinfo("127.0.0.1", "80", &hints, list);
        CHECK(list.get() != nullptr);
        CHECK(ntohs(reinterpret_cast<const sockaddr_in *>(list.get()->ai_addr)->sin_port) == 80);
        char host[64];
        co_await loop.getnameinfo(list.get()->ai_addr, list.get()->ai_addrlen, host, sizeof host, nullptr, 0,
                                  NI_NUMERICHOST);
        CHECK(std::string(host) == "127.0.0.1");
        const auto failed = co_await loop.getaddrinfo("no number", nullptr, &hints, list).as_result();
        CHECK(failed.error().value() == LOOP_EAI_NONAME);
        CHECK(list.get() == nullptr);
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "buffers of a pool are awaited and given back") {
    auto body = [](libloop::loop &loop, int fd) -> task<std::string> {
        libloop::buffer_pool pool(loop, 8, test_threads());
        std::string          text;
        while (true) {
            const auto buffer = co_await loop.recv(fd, pool);
            if (buffer.empty()) co_return text;
            text.append(buffer.data(), buffer.size());
        }
    };
    auto stream = make_stream();
    put(stream.out, "more than one buffer of eight bytes");
    stream.out.reset();
    CHECK(loop.run(body(loop, stream.in.get())) == "more than one buffer of eight bytes");
}

TEST_CASE_FIXTURE(with_loop, "an error is thrown with its code, or is a result on request") {
    auto throwing = [](libloop::loop &loop) -> task<> { co_await loop.open("/nonexistent", O_RDONLY); };
    CHECK(error_of(loop, throwing(loop)) == std::errc::no_such_file_or_directory);
    auto quiet = [](libloop::loop &loop) -> task<> {
        const auto file = co_await loop.open("/nonexistent", O_RDONLY).as_result();
        CHECK(file.error() == std::errc::no_such_file_or_directory);
        const auto access = co_await loop.faccessat(AT_FDCWD, "/dev/null", R_OK).as_result();
        CHECK(access.has_value());
    };
    loop.run(quiet(loop));
}

TEST_CASE_FIXTURE(with_loop, "a time limit ends an operation") {
    auto pipe = make_pipe();
    auto body = [](libloop::loop &loop, int fd) -> task<> {
        char buffer[1];
        co_await libloop::with_timeout(loop.read(fd, buffer), 2ms);
    };
    CHECK(error_of(loop, body(loop, pipe.in.get())) == std::errc::timed_out);
}

TEST_CASE_FIXTURE(with_loop, "all operations on a descriptor are cancelled together") {
    auto pipe = make_pipe();
    auto wait = [](libloop::loop &loop, int fd) -> task<bool> {
        const auto events = co_await loop.readable(fd).as_result();
        co_return events.error() == std::errc::operation_canceled;
    };
    auto cancel = [](libloop::loop &loop, int fd) -> task<std::size_t> {
        co_await loop.sleep(2ms);
        co_return co_await loop.cancel_fd(fd);
    };
    auto body = [](auto first, auto second, auto third) -> task<> {
        const auto [a, b, count] =
            co_await libloop::when_all(std::move(first), std::move(second), std::move(third));
        CHECK(a);
        CHECK(b);
        CHECK(count == 2);
    };
    const int fd = pipe.in.get();
    loop.run(body(wait(loop, fd), wait(loop, fd), cancel(loop, fd)));
}

TEST_CASE_FIXTURE(with_loop, "work yields its value on the loop, its exception is thrown there") {
    auto body = [](libloop::loop &loop) -> task<> {
        const auto value = co_await loop.work([] { return std::make_unique<int>(7); });
        CHECK(*value == 7);
        int called = 0;
        co_await loop.work([&] { called++; });
        CHECK(called == 1);
        std::string thrown;
        try {
            co_await loop.work([] { throw std::runtime_error("in work"); });
        } catch (const std::runtime_error &error) {
            thrown = error.what();
        }
        CHECK(thrown == "in work");
        const auto outcome = co_await loop.work([] { return 3; }).as_result();
        CHECK(*outcome == 3);
    };
    loop.run(body(loop));
}

TEST_CASE_FIXTURE(with_loop, "awaiting an operation allocates nothing") {
    auto body = [](libloop::loop &loop, int fd) -> task<long> {
        char buffer[64];
        co_await loop.pread(fd, buffer, 0); /* whatever is done once */
        const long before = allocations();
        for (int i = 0; i < 200; i++) {
            co_await loop.pread(fd, buffer, 0);
            co_await loop.yield();
            co_await loop.sleep(1ns);
            (void)co_await loop.read(-1, buffer).as_result();
            co_await loop.work([] { return 1; });
        }
        co_return allocations() - before;
    };
    auto file = make_file("some bytes");
    CHECK(loop.run(body(loop, file.get())) == 0);
}

TEST_CASE_FIXTURE(with_loop, "a coroutine that is none of ours may await operations, and throw") {
    struct detached {
        struct promise_type {
            detached            get_return_object() noexcept { return {}; }
            std::suspend_never  initial_suspend() const noexcept { return {}; }
            std::suspend_never  final_suspend() const noexcept { return {}; }
            void                return_void() const noexcept {}
            void                unhandled_exception() { throw; }
        };
    };
    int  steps = 0;
    auto body = [](libloop::loop &loop, int &steps) -> detached {
        co_await loop.yield();
        steps++;
        co_await loop.sleep(1ms);
        steps++;
    };
    body(loop, steps);
    loop.run();
    CHECK(steps == 2);
}

TEST_CASE_FIXTURE(with_loop, "a descriptor that is closed by the loop ends the coroutine that waits on it") {
    auto pipe = make_pipe();
    auto wait = [](libloop::loop &loop, int fd) -> task<std::error_code> {
        char       buffer[1];
        const auto bytes = co_await loop.read(fd, buffer).as_result();
        co_return bytes.error();
    };
    auto close = [](libloop::loop &loop, libloop::unique_fd fd) -> task<> {
        co_await loop.sleep(2ms);
        co_await loop.close(std::move(fd));
    };
    auto body = [](auto waiting, auto closing) -> task<std::error_code> {
        const auto ended = co_await libloop::when_all(std::move(waiting), std::move(closing));
        co_return std::get<0>(ended);
    };
    const int fd = pipe.in.get();
    CHECK(loop.run(body(wait(loop, fd), close(loop, std::move(pipe.in)))) == std::errc::operation_canceled);
}
