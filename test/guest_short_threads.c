/*
 * Threads of the host that come and go: ten thousand submit one tick and one post each and end, some hundred
 * run a loop of their own. Each tick and post is delivered once, and neither threads nor descriptors pile up.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <pthread.h>
#include <stdlib.h>

enum { SUBMITTERS = 10000, RUNNERS = 400, AT_ONCE = 40 };

typedef struct submitter {
    loop_t              *loop;
    loop_request_t       tick;
    atomic_uint_fast64_t deliveries, posts;
} submitter_t;

static atomic_uint_fast64_t delivered;

static void on_tick(loop_t *loop, loop_request_t *request, int64_t result) {
    (void)loop;
    CHECK_OK(result);
    submitter_t *submitter = request->user;
    atomic_fetch_add(&submitter->deliveries, 1);
    atomic_fetch_add(&delivered, 1);
}

static void on_post(loop_t *loop, void *user) {
    submitter_t *submitter = user;
    (void)loop;
    atomic_fetch_add(&submitter->posts, 1);
    atomic_fetch_add(&delivered, 1);
}

static void *submit(void *user) {
    submitter_t *submitter = user;
    submitter->tick.user = submitter;
    CHECK_OK(loop_post(submitter->loop, on_post, submitter));
    CHECK_OK(loop_on_next_tick(submitter->loop, &submitter->tick, on_tick));
    return NULL;
}

/* Starts one thread for each element of an array, AT_ONCE of them at a time. */
static void run_threads(void *(*body)(void *), void *elements, size_t size, int count) {
    for (int first = 0; first < count; first += AT_ONCE) {
        pthread_t threads[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
            void *element = (char *)elements + size * (size_t)(first + i);
            CHECK(pthread_create(&threads[i], NULL, body, element) == 0);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
        }
    }
}

static void test_submitters(uint32_t threads) {
    submitter_t   *submitters = calloc(SUBMITTERS, sizeof(*submitters));
    loop_options_t options = {.size = sizeof(options), .threads = threads};
    loop_t        *loop;
    pthread_t      thread;
    CHECK(submitters != NULL);
    CHECK_OK(loop_init(&loop, &options));
    CHECK_OK(loop_ref(loop));
    CHECK(pthread_create(&thread, NULL, guest_run_loop, loop) == 0);
    atomic_store(&delivered, 0);
    for (int i = 0; i < SUBMITTERS; i++) {
        submitters[i].loop = loop;
    }
    run_threads(submit, submitters, sizeof(*submitters), SUBMITTERS);
    guest_await(&delivered, 2 * SUBMITTERS, "ticks and posts");
    CHECK_OK(loop_unref(loop));
    CHECK(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < SUBMITTERS; i++) {
        CHECK(atomic_load(&submitters[i].deliveries) == 1);
        CHECK(atomic_load(&submitters[i].posts) == 1);
    }
    CHECK_OK(loop_deinit(loop));
    free(submitters);
}

static void *run_own_loop(void *ignored) {
    submitter_t submitter = {0};
    CHECK_OK(loop_init(&submitter.loop, NULL));
    submit(&submitter);
    CHECK_OK(loop_run(submitter.loop));
    CHECK(atomic_load(&submitter.deliveries) == 1);
    CHECK(atomic_load(&submitter.posts) == 1);
    CHECK_OK(loop_deinit(submitter.loop));
    return ignored;
}

static void count_thread(pid_t tid, void *user) {
    (void)tid;
    ++*(int *)user;
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc == 1) {
        guest_exec_fresh("test");
    }
    test_submitters(1);
    test_submitters(2);
    char nothing[RUNNERS];
    run_threads(run_own_loop, nothing, 1, RUNNERS);
    int threads = 0;
    guest_each_thread(count_thread, &threads);
    CHECK(threads <= 2 * AT_ONCE);
    /* The Go runtime opens two for itself when it first returns memory to the system. */
    CHECK(guest_next_descriptor() <= 5);
    return 0;
}
