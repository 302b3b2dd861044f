/*
 * balance: one loop accepts, several loops serve.
 *
 * Shown: descriptors belong to no loop. The main thread accepts (one request, LOOP_MULTISHOT, a shot for each
 * connection) and hands each connection to the loop that has the fewest, by loop_post: a call in a turn
 * of that loop, so the connection lives in one thread from then on and needs no locks. Each of the serving
 * loops holds a reference, so that it does not return before the first connection comes.
 *
 * reuseport.c lets the kernel hand out the connections; echo_service.h has what both share.
 */
#define _GNU_SOURCE

#include "echo_service.h"

#define SILENCE_LIMIT_NS UINT64_C(10000000000)

typedef struct balancer {
    loop_request_t accept;
    service_t      services[LOOPS];
    unsigned       last; /* the service that got the last connection */
    unsigned       connections;
    bool           failed;
} balancer_t;

/* The one with the fewest connections; of several the next in the round. */
static service_t *least_busy(balancer_t *balancer) {
    unsigned best = (balancer->last + 1) % LOOPS;
    for (unsigned step = 2; step <= LOOPS; step++) {
        unsigned candidate = (balancer->last + step) % LOOPS;
        if (atomic_load(&balancer->services[candidate].connections_open) <
            atomic_load(&balancer->services[best].connections_open))
            best = candidate;
    }
    balancer->last = best;
    return &balancer->services[best];
}

/* Called in the loop that serves. */
static void on_handed_over(loop_t *loop, void *user) { serve_connection(loop, user); }

/* Called in the loop that accepts. */
static void on_accepted(loop_t *loop, loop_request_t *request, int64_t result) {
    balancer_t *balancer = request->user;
    if (result < 0) {
        if (result == LOOP_ECANCELED) return; /* by the call below */
        fprintf(stderr, "balance: accept: %s\n", loop_error_message((int)result));
        balancer->failed = true;
        return;
    }
    service_t    *service = least_busy(balancer);
    connection_t *connection = new_connection(service, (int)result);
    /* LOOP_ENOBUFS, when LOOP_POSTS_MAX connections wait to be taken over, is a good reason to hang up. */
    if (connection != NULL && loop_post(service->loop, on_handed_over, connection) < 0) {
        end_connection(connection);
        balancer->failed = true;
    }
    balancer->connections++;
    if (balancer->connections == CONNECTIONS && (request->flags & LOOP_MORE) != 0) loop_cancel(loop, request);
}

static bool start_services(service_t *services) {
    for (int i = 0; i < LOOPS; i++) {
        service_t *service = &services[i];
        if (loop_init(&service->loop, NULL) < 0 || loop_ref(service->loop) < 0) return false;
        if (pthread_create(&service->thread, NULL, run_service, service) != 0) return false;
    }
    return true;
}

/* Without its reference each loop returns when its last connection has ended. */
static bool end_services(service_t *services) {
    bool good = true;
    for (int i = 0; i < LOOPS; i++) {
        good = loop_unref(services[i].loop) == 0 && good;
        pthread_join(services[i].thread, NULL);
        good = loop_deinit(services[i].loop) == 0 && good;
    }
    return good;
}

int main(void) {
    static balancer_t balancer = {.last = LOOPS - 1};
    static client_t   clients[CLIENTS];
    loop_t           *loop;
    int               listen_fd = listen_on(0, false);
    if (listen_fd < 0 || loop_init(&loop, NULL) < 0 || !start_services(balancer.services)) return 1;

    balancer.accept.user = &balancer;
    balancer.accept.timeout_ns = SILENCE_LIMIT_NS; /* counts from the last connection */
    if (loop_accept(loop, &balancer.accept, listen_fd, NULL, NULL, LOOP_MULTISHOT, on_accepted) < 0) return 1;
    if (!start_clients(clients, port_of(listen_fd))) return 1;

    bool good = loop_run(loop) == 0; /* until all connections have been handed over */
    good = loop_deinit(loop) == 0 && good;
    close(listen_fd); /* a client that still waits there is told so */
    good = join_clients(clients) && good;
    good = end_services(balancer.services) && good;
    return report(balancer.services) && good && !balancer.failed ? 0 : 1;
}
