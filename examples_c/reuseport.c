/*
 * reuseport: several loops that accept on one port.
 *
 * Shown: with SO_REUSEPORT each loop has a listening socket of its own on the same port, and the kernel hands
 * each new connection to one of them. Nothing is shared, nothing is handed over, and no loop accepts for
 * the others. The price: the kernel goes by a hash of the addresses, not by who is busy, and connections that
 * wait on a socket are lost when that socket is closed.
 *
 * balance.c hands out the connections itself; echo_service.h has what both share.
 */
#define _GNU_SOURCE

#include "echo_service.h"

static void on_accepted(loop_t *loop, loop_request_t *request, int64_t result) {
    service_t *service = request->user;
    if (result >= 0) {
        connection_t *connection = new_connection(service, (int)result);
        if (connection != NULL) serve_connection(loop, connection);
    } else if (result != LOOP_ECANCELED) {
        fprintf(stderr, "reuseport: accept: %s\n", loop_error_message((int)result));
        service->failed = true;
    }
}

/* Makes a loop that accepts on the port, and the thread that runs it. */
static bool start_service(service_t *service, uint16_t port) {
    service->accept.user = service;
    service->listen_fd = listen_on(port, true);
    return service->listen_fd >= 0 && loop_init(&service->loop, NULL) == 0 &&
           loop_accept(service->loop, &service->accept, service->listen_fd, NULL, NULL, LOOP_MULTISHOT,
                       on_accepted) == 0 &&
           pthread_create(&service->thread, NULL, run_service, service) == 0;
}

/* Without its accept the loop returns when its last connection has ended. Any thread may cancel. */
static bool end_service(service_t *service) {
    bool good = loop_cancel(service->loop, &service->accept) == 0;
    pthread_join(service->thread, NULL);
    close(service->listen_fd);
    return loop_deinit(service->loop) == 0 && good;
}

int main(void) {
    static service_t services[LOOPS];
    static client_t  clients[CLIENTS];
    uint16_t         port = 0; /* the first socket gets any free one, the others take the same */
    for (int i = 0; i < LOOPS; i++) {
        if (!start_service(&services[i], port)) return 1;
        port = port_of(services[0].listen_fd);
    }

    bool good = start_clients(clients, port) && join_clients(clients);
    for (int i = 0; i < LOOPS; i++) good = end_service(&services[i]) && good;
    return report(services) && good ? 0 : 1;
}
