/*
 * A TCP echo server. Prints its port, serves until CONNECTIONS connections came and went, and exits.
 * echo_load.c measures it.
 *
 * read  each connection is async_read_some into a buffer of its own, async_write of what came, and again
 * wait  each connection is async_wait until it is ready, and then recv and send directly, with one buffer
 *       shared by all: less memory, but asio then makes an epoll_ctl for each wait
 *
 * The io_context is told that it has one thread. The memory of each operation comes from its connection, as
 * in the example "allocation" of asio's documentation, so that nothing is allocated for a round trip.
 *
 * Usage: echo_server CONNECTIONS read|wait
 * SPDX-License-Identifier: MIT
 */
#include "../echo_socket.h"

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>

namespace {

using asio::ip::tcp;

/* Room for the one operation that a connection has in flight. */
class OperationMemory {
public:
    void *allocate(std::size_t size) {
        if (in_use_ || size > sizeof storage_) return ::operator new(size);
        in_use_ = true;
        return storage_;
    }

    void deallocate(void *pointer) {
        if (pointer == storage_) {
            in_use_ = false;
        } else {
            ::operator delete(pointer);
        }
    }

private:
    alignas(std::max_align_t) unsigned char storage_[256];
    bool in_use_ = false;
};

template <typename T>
class OperationAllocator {
public:
    using value_type = T;

    explicit OperationAllocator(OperationMemory &memory) : memory_(&memory) {}

    template <typename U>
    explicit OperationAllocator(const OperationAllocator<U> &other) noexcept : memory_(other.memory_) {}

    T *allocate(std::size_t count) const { return static_cast<T *>(memory_->allocate(sizeof(T) * count)); }
    void deallocate(T *pointer, std::size_t) const { memory_->deallocate(pointer); }
    bool operator==(const OperationAllocator &other) const noexcept { return memory_ == other.memory_; }
    bool operator!=(const OperationAllocator &other) const noexcept { return memory_ != other.memory_; }

private:
    template <typename>
    friend class OperationAllocator;
    OperationMemory *memory_;
};

class Server;

char shared_buffer[ECHO_SHARED_BUFFER];

class Connection {
public:
    Connection(tcp::socket socket, Server &server, bool waits) : socket_(std::move(socket)), server_(server) {
        socket_.set_option(tcp::no_delay(true));
        echo_.fd = socket_.native_handle();
        if (waits) {
            socket_.native_non_blocking(true);
            wait(tcp::socket::wait_read);
        } else {
            buffer_.reset(new unsigned char[ECHO_BUFFER]); /* not cleared, so that no page is touched */
            read();
        }
    }

private:
    void read() {
        socket_.async_read_some(asio::buffer(buffer_.get(), ECHO_BUFFER),
                                Handler{this, &Connection::on_read});
    }

    void wait(tcp::socket::wait_type direction) {
        socket_.async_wait(direction, Handler{this, &Connection::on_ready});
    }

    struct Handler {
        using allocator_type = OperationAllocator<void *>;
        Connection *connection;
        void (Connection::*method)(const asio::error_code &, std::size_t);

        allocator_type get_allocator() const noexcept { return allocator_type(connection->memory_); }
        void operator()(const asio::error_code &error, std::size_t length = 0) {
            (connection->*method)(error, length);
        }
    };

    void on_ready(const asio::error_code &error, std::size_t);
    void on_read(const asio::error_code &error, std::size_t length);
    void on_write(const asio::error_code &error, std::size_t) {
        CHECK(!error);
        read();
    }

    tcp::socket socket_;
    Server &server_;
    OperationMemory memory_;
    std::unique_ptr<unsigned char[]> buffer_; /* read */
    struct echo_socket echo_ {};              /* wait */
};

class Server {
public:
    Server(asio::io_context &context, int connections, bool waits)
        : acceptor_(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0)), connections_(connections),
          waits_(waits) {
        printf("port %d\n", acceptor_.local_endpoint().port());
        fflush(stdout);
        accept();
    }

    void end(Connection *connection) {
        delete connection;
        ended_++;
    }

    bool is_complete() const { return accepted_ == connections_ && ended_ == connections_; }

private:
    void accept() {
        acceptor_.async_accept([this](const asio::error_code &error, tcp::socket socket) {
            CHECK(!error);
            new Connection(std::move(socket), *this, waits_); /* deletes itself at the end of the stream */
            if (++accepted_ < connections_) accept();
        });
    }

    tcp::acceptor acceptor_;
    int connections_;
    bool waits_;
    int accepted_ = 0;
    int ended_ = 0;
};

void Connection::on_ready(const asio::error_code &error, std::size_t) {
    CHECK(!error);
    const enum echo_state state = echo_once(&echo_, shared_buffer, sizeof shared_buffer);
    if (state == ECHO_ENDED) {
        server_.end(this);
    } else {
        wait(state == ECHO_BLOCKED ? tcp::socket::wait_write : tcp::socket::wait_read);
    }
}

void Connection::on_read(const asio::error_code &error, std::size_t length) {
    if (error) {
        CHECK(error == asio::error::eof);
        server_.end(this);
        return;
    }
    asio::async_write(socket_, asio::buffer(buffer_.get(), length), Handler{this, &Connection::on_write});
}

} // namespace

int main(int argc, char **argv) {
    const int connections = static_cast<int>(number_argument(argc, argv, 1, CONNECTIONS_MAX));
    CHECK(argc == 3);
    const bool waits = strcmp(argv[2], "wait") == 0;
    CHECK(waits || strcmp(argv[2], "read") == 0);
    raise_descriptor_limit();
    asio::io_context context(1);
    Server server(context, connections, waits);
    context.run();
    CHECK(server.is_complete());
    return 0;
}
