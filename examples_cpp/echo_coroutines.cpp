/*
 * echo_coroutines: a TCP server that sends back what it gets, as coroutines (C++20).
 *
 *     echo_coroutines PORT [CONNECTIONS]  PORT 0: any free one. Ends after CONNECTIONS, on SIGINT or SIGTERM.
 *     echo_coroutines                     tests itself, with clients that are coroutines of the same loop
 *
 * Shown: a task for each connection, which reads like blocking code; a task group that all of them are in,
 * so that none is left when the server ends; a generator of connections; when_any, which makes "serve until
 * a signal comes" one line; buffers that are taken from a pool on arrival; a limit of time on a send. It is
 * examples_c/echo_server.c in a third of the lines.
 */
#include <loop.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

namespace {

using namespace std::chrono_literals;
using libloop::task;

constexpr std::uint32_t buffer_bytes = 64 * 1024, buffers = 64;
constexpr std::size_t   clients = 20, client_bytes = 200000;

/* ---- one connection ------------------------------------------------------------------------------ */

struct server {
    server(libloop::loop &owner, libloop::unique_fd listening)
        : loop(owner), listener(std::move(listening)) {}

    libloop::loop       &loop;
    libloop::unique_fd   listener;
    libloop::buffer_pool pool{loop, buffer_bytes, buffers};
    std::uint64_t        accepted = 0, ended = 0, bytes = 0, limit = 0;
};

task<> echo(server &server, int fd) {
    while (true) {
        auto buffer = co_await server.loop.recv(fd, server.pool).as_result();
        if (buffer.error() == std::errc::no_buffer_space) { /* all are being sent: let that go on */
            co_await server.loop.sleep(1ms);
            continue;
        }
        if (buffer.value().empty()) co_return; /* the client sends no more */
        /* Fewer bytes than asked for mean that the client is gone; past the limit it takes too long. */
        const auto send = server.loop.send(fd, *buffer, LOOP_SEND_ALL).timeout(10s);
        const std::size_t sent = co_await send;
        server.bytes += sent;
        if (sent < buffer->size()) co_return;
    }
}

/* A connection that breaks is no concern of the others. */
task<> serve_client(server &server, libloop::unique_fd client) {
    const int on = 1;
    setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    try {
        co_await echo(server, client.get());
    } catch (const std::system_error &error) {
        if (error.code() != std::errc::operation_canceled && error.code() != std::errc::connection_reset)
            std::fprintf(stderr, "echo_coroutines: a connection: %s\n", error.code().message().c_str());
    }
    server.ended++;
}

/* ---- the server ---------------------------------------------------------------------------------- */

task<> accept_clients(server &server, libloop::task_group &connections) {
    libloop::generator arriving(server.loop.accept_repeatedly(server.listener.get()));
    while (server.limit == 0 || server.accepted < server.limit) {
        auto client = co_await arriving.next().as_result();
        if (client.error() == std::errc::too_many_files_open) { /* until a connection has ended */
            co_await server.loop.sleep(10ms);
            continue;
        }
        client.value(); /* throws what else went wrong, or the cancellation */
        server.accepted++;
        connections.spawn(serve_client(server, **std::move(client)));
    }
}

int signal_pipe[2];

/* A signal handler may not call the loop. It writes into a pipe, and the loop reads from it. */
void on_signal(int) {
    const int     saved_errno = errno;
    const ssize_t written = write(signal_pipe[1], "!", 1);
    (void)written;
    errno = saved_errno;
}

task<> wait_for_signal(libloop::loop &loop) {
    char byte[1];
    co_await loop.read(signal_pipe[0], byte);
}

void catch_signals() {
    if (pipe2(signal_pipe, O_CLOEXEC) < 0) throw std::system_error(errno, std::generic_category(), "pipe");
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK | SA_RESTART; /* inside the loop the stack may be a small one */
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
}

task<> serve(server &server) {
    libloop::task_group connections(server.loop);
    connections.spawn(accept_clients(server, connections));
    co_await libloop::when_any(connections.join(), wait_for_signal(server.loop));
}

/* Returns a listening socket on the loopback interface, and sets its address. */
libloop::unique_fd listen_on(libloop::loop &loop, std::uint16_t port, sockaddr_in &address) {
    const int on = 1;
    socklen_t length = sizeof address;
    auto      fd = loop.socket(AF_INET, SOCK_STREAM);
    auto     *plain = reinterpret_cast<sockaddr *>(&address);
    address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd.get(), plain, length) < 0 || listen(fd.get(), SOMAXCONN) < 0 ||
        getsockname(fd.get(), plain, &length) < 0)
        throw std::system_error(errno, std::generic_category(), "listen");
    return fd;
}

/* ---- the test of itself -------------------------------------------------------------------------- */

task<> send_all(libloop::loop &loop, int fd, const std::string &bytes) {
    const std::size_t sent = co_await loop.send(fd, bytes, LOOP_SEND_ALL);
    if (sent < bytes.size()) throw std::runtime_error("a short send");
    co_await loop.shutdown(fd, SHUT_WR);
}

task<std::string> receive_all(libloop::loop &loop, int fd) {
    std::string       received;
    std::vector<char> buffer(10000);
    while (const std::size_t bytes = co_await loop.recv(fd, buffer)) received.append(buffer.data(), bytes);
    co_return received;
}

/* Sends and receives side by side, as the bytes are more than the sockets hold. Whether they came back. */
task<bool> try_server(libloop::loop &loop, sockaddr_in address, std::size_t number) {
    std::string sent(client_bytes, '\0');
    for (std::size_t i = 0; i < sent.size(); i++) sent[i] = static_cast<char>(i * 7 + i / 256 + number);
    auto fd = loop.socket(AF_INET, SOCK_STREAM);
    co_await loop.connect(fd.get(), reinterpret_cast<sockaddr *>(&address), sizeof address);
    const auto both = co_await libloop::when_all(send_all(loop, fd.get(), sent), receive_all(loop, fd.get()));
    co_return std::get<1>(both) == sent;
}

task<bool> test_server(server &server, sockaddr_in address) {
    std::vector<task<bool>> all;
    server.limit = clients;
    for (std::size_t i = 0; i < clients; i++) all.push_back(try_server(server.loop, address, i));
    auto serving = server.loop.spawn(serve(server));
    const std::vector<bool> good = co_await libloop::when_all(std::move(all));
    co_await std::move(serving);
    for (const bool each : good)
        if (!each) co_return false;
    co_return server.ended == clients && server.bytes == clients * client_bytes;
}

/* ---- the program --------------------------------------------------------------------------------- */

/* Reads a decimal number from 0 to most; false when `text` is none. */
bool parse_number(const char *text, std::uint64_t most, std::uint64_t &number_out) {
    char *end = nullptr;
    if (*text < '0' || *text > '9') return false; /* strtoull would take signs and spaces */
    errno = 0;
    number_out = std::strtoull(text, &end, 10);
    return *end == '\0' && errno == 0 && number_out <= most;
}

int run(std::uint16_t port, std::uint64_t limit, bool self_test) {
    libloop::loop loop;
    sockaddr_in   address;
    server        server(loop, listen_on(loop, port, address));
    server.limit = limit;
    catch_signals();
    std::printf("listening on 127.0.0.1:%u\n", static_cast<unsigned>(ntohs(address.sin_port)));
    std::fflush(stdout);
    bool good = true;
    if (self_test)
        good = loop.run(test_server(server, address));
    else
        loop.run(serve(server));
    std::printf("served %llu connections, %llu bytes\n", static_cast<unsigned long long>(server.ended),
                static_cast<unsigned long long>(server.bytes));
    return good ? 0 : 1;
}

} // namespace

int main(int argc, char **argv) {
    std::uint64_t port = 0, limit = 0;
    if (argc > 3 || (argc > 1 && !parse_number(argv[1], 65535, port)) ||
        (argc > 2 && (!parse_number(argv[2], 1000000000, limit) || limit == 0))) {
        std::fputs("usage: echo_coroutines [PORT [CONNECTIONS]]\n", stderr);
        return 2;
    }
    try {
        return run(static_cast<std::uint16_t>(port), limit, argc < 2);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "echo_coroutines: %s\n", error.what());
        return 1;
    }
}
