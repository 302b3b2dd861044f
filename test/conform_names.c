/*
 * Conformance of loop_getaddrinfo and loop_getnameinfo: the answers of the blocking calls, and what the loop
 * does while a resolver is stuck.
 *
 * The program has its own getaddrinfo and getnameinfo, which the library therefore uses. They know some
 * made-up names, and leave the others to the C library. Nothing here needs a network.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* ---- the resolver of this program ------------------------------------------------------------ */

/* Made-up names: */
#define STUCK       "stuck.test"       /* found once the gate is open */
#define ERROR       "error.test"       /* not found, with the error that is the service */
#define SYSTEM      "system.test"      /* EAI_SYSTEM with the errno that is the service */
#define INTERRUPTED "interrupted.test" /* found at the third attempt */

/* Made-up addresses; those of the errors have their number as port. */
#define STUCK_ADDRESS  "192.0.2.1"
#define ERROR_ADDRESS  "192.0.2.2"
#define SYSTEM_ADDRESS "192.0.2.3"

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  gate_change = PTHREAD_COND_INITIALIZER;
static bool            gate_open;
static atomic_uint     stuck_now, calls, attempts;
static sigset_t        resolver_mask;
static pthread_t       resolver_thread;

static void set_gate(bool open)
{
    pthread_mutex_lock(&gate_lock);
    gate_open = open;
    pthread_cond_broadcast(&gate_change);
    pthread_mutex_unlock(&gate_lock);
}

static void pass_gate(void)
{
    pthread_mutex_lock(&gate_lock);
    atomic_fetch_add(&stuck_now, 1);
    while (!gate_open) {
        pthread_cond_wait(&gate_change, &gate_lock);
    }
    atomic_fetch_sub(&stuck_now, 1);
    pthread_mutex_unlock(&gate_lock);
}

static int system_failure(int error)
{
    errno = error;
    return EAI_SYSTEM;
}

static int real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                            struct addrinfo **list)
{
    union {
        void *symbol;
        int (*function)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    } real = {dlsym(RTLD_NEXT, "getaddrinfo")};
    CHECK(real.symbol != NULL);
    return real.function(node, service, hints, list);
}

static int real_getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_len,
                            char *service, socklen_t service_len, int flags)
{
    union {
        void *symbol;
        int (*function)(const struct sockaddr *, socklen_t, char *, socklen_t, char *, socklen_t, int);
    } real = {dlsym(RTLD_NEXT, "getnameinfo")};
    CHECK(real.symbol != NULL);
    return real.function(address, length, host, host_len, service, service_len, flags);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
    atomic_fetch_add(&calls, 1);
    *list = (struct addrinfo *)(uintptr_t)1; /* nobody may look at it after a failure */
    if (node != NULL && strcmp(node, ERROR) == 0) {
        return atoi(service);
    }
    if (node != NULL && strcmp(node, SYSTEM) == 0) {
        return system_failure(atoi(service));
    }
    if (node != NULL && strcmp(node, INTERRUPTED) == 0) {
        if (atomic_fetch_add(&attempts, 1) < 2) {
            return system_failure(EINTR);
        }
        node = "127.0.0.1";
    }
    if (node != NULL && strcmp(node, STUCK) == 0) {
        resolver_thread = pthread_self();
        pthread_sigmask(SIG_BLOCK, NULL, &resolver_mask);
        pass_gate();
        node = "127.0.0.1";
    }
    return real_getaddrinfo(node, service, hints, list);
}

static bool is_ipv4(const struct sockaddr *address, const char *text)
{
    const struct sockaddr_in *ipv4 = (const struct sockaddr_in *)(const void *)address;
    return address->sa_family == AF_INET && ipv4->sin_addr.s_addr == inet_addr(text);
}

int getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_len,
                char *service, socklen_t service_len, int flags)
{
    atomic_fetch_add(&calls, 1);
    if (length >= sizeof(struct sockaddr_in)) {
        int port = ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
        if (is_ipv4(address, ERROR_ADDRESS)) {
            return -port;
        }
        if (is_ipv4(address, SYSTEM_ADDRESS)) {
            return system_failure(port);
        }
        if (is_ipv4(address, STUCK_ADDRESS)) {
            pass_gate();
        }
    }
    return real_getnameinfo(address, length, host, host_len, service, service_len, flags);
}

/* ---- look-ups -------------------------------------------------------------------------------- */

typedef struct lookup {
    operation_t      operation; /* first, so that a callback can get at the rest */
    struct addrinfo *list;
} lookup_t;

/* The list must be there when the callback runs, and only after a success. */
static void record_lookup(loop_t *loop, loop_request_t *request, int64_t result)
{
    lookup_t *lookup = (lookup_t *)(void *)request;
    CHECK((lookup->list != NULL) == (result == 0));
    if (result == 0) {
        freeaddrinfo(lookup->list);
        lookup->list = NULL;
    }
    record(loop, request, result);
}

static void look_up(loop_t *loop, lookup_t *lookup, const char *node, const char *service)
{
    assert_result(loop_getaddrinfo(loop, begin(&lookup->operation), node, service, NULL, &lookup->list,
                                   record_lookup), 0);
}

static int64_t result_of_look_up(loop_t *loop, const char *node, const char *service)
{
    lookup_t lookup = {0};
    look_up(loop, &lookup, node, service);
    return await(loop, &lookup.operation);
}

/* Runs the loop until so many look-ups are stuck. */
static void await_stuck(loop_t *loop, unsigned count)
{
    while (atomic_load(&stuck_now) < count) {
        assert_true(loop_run_once(loop, (int64_t)MILLISECOND) >= 0);
    }
}

/* Waits until the resolver has let go of all that was stuck. */
static void await_free(void)
{
    while (atomic_load(&stuck_now) > 0) {
        sleep_for(MILLISECOND / 10);
    }
}

static loop_t *new_loop_with_blocking_threads(uint32_t count)
{
    loop_options_t options = test_options();
    options.blocking_threads = count;
    return new_loop_with(options);
}

static struct sockaddr_in ipv4(const char *text, uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(text)};
}

/* ---- addresses of names ---------------------------------------------------------------------- */

/* The errors by their names in the C library and in ours. */
static const struct {
    int     theirs;
    int64_t ours;
} error_pairs[] = {
    {EAI_ADDRFAMILY, LOOP_EAI_ADDRFAMILY},
    {EAI_AGAIN, LOOP_EAI_AGAIN},
    {EAI_BADFLAGS, LOOP_EAI_BADFLAGS},
    {EAI_FAIL, LOOP_EAI_FAIL},
    {EAI_FAMILY, LOOP_EAI_FAMILY},
    {EAI_MEMORY, LOOP_ENOMEM},
    {EAI_NODATA, LOOP_EAI_NODATA},
    {EAI_NONAME, LOOP_EAI_NONAME},
    {EAI_OVERFLOW, LOOP_EAI_OVERFLOW},
    {EAI_SERVICE, LOOP_EAI_SERVICE},
    {EAI_SOCKTYPE, LOOP_EAI_SOCKTYPE},
    {-12345, LOOP_EAI_FAIL}, /* an error that nobody knows */
};

static int64_t in_our_terms(int error)
{
    for (size_t i = 0; i < COUNT(error_pairs); i++) {
        if (error_pairs[i].theirs == error) {
            return error_pairs[i].ours;
        }
    }
    return error;
}

static void assert_same_lists(const struct addrinfo *left, const struct addrinfo *right)
{
    for (; left != NULL && right != NULL; left = left->ai_next, right = right->ai_next) {
        assert_int_equal(left->ai_family, right->ai_family);
        assert_int_equal(left->ai_socktype, right->ai_socktype);
        assert_int_equal(left->ai_protocol, right->ai_protocol);
        assert_int_equal(left->ai_addrlen, right->ai_addrlen);
        assert_memory_equal(left->ai_addr, right->ai_addr, left->ai_addrlen);
        assert_int_equal(left->ai_canonname == NULL, right->ai_canonname == NULL);
        if (left->ai_canonname != NULL) {
            assert_string_equal(left->ai_canonname, right->ai_canonname);
        }
    }
    assert_ptr_equal(left, right); /* both at their ends */
}

/* Looks up with the loop and with the blocking call, wants the same answer from both, and returns it. */
static int64_t look_up_twice(loop_t *loop, const char *node, const char *service,
                             const struct addrinfo *hints)
{
    struct addrinfo *expected = NULL, *list = (struct addrinfo *)(uintptr_t)1;
    int              error = real_getaddrinfo(node, service, hints, &expected);
    int64_t          result = RESULT_OF(loop, loop_getaddrinfo, node, service, hints, &list);
    assert_result(result, in_our_terms(error));
    assert_same_lists(list, error == 0 ? expected : NULL);
    if (error == 0) {
        freeaddrinfo(expected);
        freeaddrinfo(list);
    }
    return result;
}

LOOP_TEST(a_numeric_host_and_service_are_found)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    assert_result(look_up_twice(loop, "127.0.0.1", "80", &hints), 0);
    assert_result(look_up_twice(loop, "::1", "65535", &hints), 0);
    struct addrinfo *list = NULL;
    assert_result(RESULT_OF(loop, loop_getaddrinfo, "127.0.0.1", "80", &hints, &list), 0);
    struct sockaddr_in expected = ipv4("127.0.0.1", 80);
    assert_memory_equal(list->ai_addr, &expected, sizeof expected);
    assert_null(list->ai_next);
    freeaddrinfo(list);
}

LOOP_TEST(localhost_is_found)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_CANONNAME};
    assert_result(look_up_twice(loop, "localhost", NULL, &hints), 0);
    struct addrinfo *list = NULL;
    assert_result(RESULT_OF(loop, loop_getaddrinfo, "localhost", NULL, &hints, &list), 0);
    assert_true(is_ipv4(list->ai_addr, "127.0.0.1"));
    assert_int_equal(list->ai_socktype, SOCK_DGRAM);
    freeaddrinfo(list);
}

LOOP_TEST(a_host_or_a_service_may_be_missing)
{
    struct addrinfo passive = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    assert_result(look_up_twice(loop, NULL, "80", &passive), 0);
    assert_result(look_up_twice(loop, NULL, "80", NULL), 0);
    assert_result(look_up_twice(loop, "127.0.0.1", NULL, NULL), 0);
    assert_result(look_up_twice(loop, NULL, NULL, NULL), LOOP_EAI_NONAME);
}

LOOP_TEST(what_is_wrong_with_a_look_up_arrives_as_its_result)
{
    const struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST}, flags = {.ai_flags = 0x40000000};
    const struct addrinfo family = {.ai_family = 12345}, kind = {.ai_socktype = 12345};
    const struct addrinfo ipv6 = {.ai_family = AF_INET6}, stream = {.ai_socktype = SOCK_STREAM};
    assert_result(look_up_twice(loop, "localhost", NULL, &numeric), LOOP_EAI_NONAME);
    assert_result(look_up_twice(loop, "", NULL, &numeric), LOOP_EAI_NONAME);
    assert_result(look_up_twice(loop, "127.0.0.1", NULL, &flags), LOOP_EAI_BADFLAGS);
    assert_result(look_up_twice(loop, "127.0.0.1", NULL, &family), LOOP_EAI_FAMILY);
    assert_result(look_up_twice(loop, "127.0.0.1", NULL, &kind), LOOP_EAI_SOCKTYPE);
    assert_result(look_up_twice(loop, "127.0.0.1", NULL, &ipv6), LOOP_EAI_ADDRFAMILY);
    assert_result(look_up_twice(loop, "127.0.0.1", "no-such-service", &stream), LOOP_EAI_SERVICE);
}

LOOP_TEST(every_error_of_the_resolver_has_its_own_name)
{
    for (size_t i = 0; i < COUNT(error_pairs); i++) {
        char service[16];
        snprintf(service, sizeof service, "%d", error_pairs[i].theirs);
        assert_result(result_of_look_up(loop, ERROR, service), error_pairs[i].ours);
        assert_string_not_equal(loop_error_name((int)error_pairs[i].ours), "LOOP_EUNKNOWN");
    }
    assert_result(result_of_look_up(loop, SYSTEM, "13"), LOOP_EACCES);
    assert_result(result_of_look_up(loop, SYSTEM, "24"), LOOP_EMFILE);
    assert_result(result_of_look_up(loop, SYSTEM, "11"), LOOP_EAI_AGAIN); /* EAGAIN, which never gets out */
    assert_result(result_of_look_up(loop, SYSTEM, "0"), LOOP_EAI_FAIL);   /* errno was not set */
}

LOOP_TEST(a_look_up_that_a_signal_interrupts_is_done_again)
{
    atomic_store(&attempts, 0);
    assert_result(result_of_look_up(loop, INTERRUPTED, NULL), 0);
    assert_int_equal(atomic_load(&attempts), 3);
}

LOOP_TEST(operands_are_copied_by_the_submit)
{
    char            node[] = "127.0.0.1", service[] = "80";
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *list = NULL;
    operation_t     operation = {0};
    assert_result(loop_getaddrinfo(loop, begin(&operation), node, service, &hints, &list, record), 0);
    memset(node, 'x', sizeof node);
    memset(service, 'x', sizeof service);
    memset(&hints, 'x', sizeof hints);
    assert_result(await(loop, &operation), 0);
    struct sockaddr_in expected = ipv4("127.0.0.1", 80);
    assert_memory_equal(list->ai_addr, &expected, sizeof expected);
    freeaddrinfo(list);

    struct sockaddr_in address = ipv4("127.0.0.1", 80);
    char               host[16] = "";
    assert_result(loop_getnameinfo(loop, begin(&operation), (struct sockaddr *)&address, sizeof address, host,
                                   sizeof host, NULL, 0, NI_NUMERICHOST, record), 0);
    memset(&address, 'x', sizeof address);
    assert_result(await(loop, &operation), 0);
    assert_string_equal(host, "127.0.0.1");
}

TEST(what_is_wrong_with_loop_or_request_is_refused)
{
    loop_t            *loop = new_loop();
    struct sockaddr_in address = ipv4("127.0.0.1", 80);
    struct sockaddr   *any = (struct sockaddr *)&address;
    socklen_t          length = sizeof address;
    lookup_t           lookup = {0};
    loop_request_t    *request = begin(&lookup.operation), garbage;
    memset(&garbage, 0x5a, sizeof garbage);
    unsigned           before = atomic_load(&calls);
    assert_result(loop_getaddrinfo(loop, request, "::1", NULL, NULL, NULL, record), LOOP_EINVAL);
    assert_result(loop_getaddrinfo(NULL, request, "::1", NULL, NULL, &lookup.list, record), LOOP_EINVAL);
    assert_result(loop_getaddrinfo(loop, NULL, "::1", NULL, NULL, &lookup.list, record), LOOP_EINVAL);
    assert_result(loop_getaddrinfo(loop, &garbage, "::1", NULL, NULL, &lookup.list, record), LOOP_EINVAL);
    assert_result(loop_getnameinfo(NULL, request, any, length, NULL, 0, NULL, 0, 0, record), LOOP_EINVAL);
    assert_result(loop_getnameinfo(loop, NULL, any, length, NULL, 0, NULL, 0, 0, record), LOOP_EINVAL);
    assert_result(loop_pending(loop), 0);

    look_up(loop, &lookup, "127.0.0.1", NULL);
    assert_result(loop_getaddrinfo(loop, request, "::1", NULL, NULL, &lookup.list, record), LOOP_EBUSY);
    assert_result(loop_getnameinfo(loop, request, any, length, NULL, 0, NULL, 0, 0, record), LOOP_EBUSY);
    assert_result(await(loop, &lookup.operation), 0);
    assert_int_equal(atomic_load(&calls), before + 1);
    end_loop(loop);
    assert_result(loop_getaddrinfo(loop, request, "::1", NULL, NULL, &lookup.list, record), LOOP_ESHUTDOWN);
}

LOOP_TEST(many_look_ups_at_once_complete_once_each)
{
    enum { LOOKUPS = 2000 };
    static lookup_t lookups[LOOKUPS];
    memset(lookups, 0, sizeof lookups);
    unsigned before = atomic_load(&calls);
    for (size_t i = 0; i < LOOKUPS; i++) {
        look_up(loop, &lookups[i], i % 3 == 0 ? ERROR : i % 3 == 1 ? "127.0.0.1" : "::1", "-2");
    }
    run(loop);
    for (size_t i = 0; i < LOOKUPS; i++) {
        assert_int_equal(completions_of(&lookups[i].operation), 1);
        assert_true(i % 3 != 0 || lookups[i].operation.result == LOOP_EAI_NONAME);
    }
    assert_int_equal(atomic_load(&calls), before + LOOKUPS);
}

static void look_up_again(loop_t *loop, loop_request_t *request, int64_t result)
{
    lookup_t *lookup = (lookup_t *)(void *)request;
    CHECK(result == 0);
    freeaddrinfo(lookup->list);
    CHECK(loop_getaddrinfo(loop, request, "::1", NULL, NULL, &lookup->list, record_lookup) == 0);
}

LOOP_TEST(a_request_can_be_submitted_again_in_its_callback)
{
    lookup_t lookup = {0};
    assert_result(loop_getaddrinfo(loop, begin(&lookup.operation), "127.0.0.1", NULL, NULL, &lookup.list,
                                   look_up_again), 0);
    assert_result(await(loop, &lookup.operation), 0);
}

LOOP_TEST(a_request_that_received_bytes_in_steps_before_fails_as_any_other)
{
    lookup_t lookup = {0};
    int      ends[2];
    char     bytes[2];
    make_socketpair(ends);
    put(ends[1], "x", 1);
    assert_result(loop_recv(loop, begin(&lookup.operation), ends[0], bytes, 2, MSG_WAITALL, record), 0);
    run_for(loop, MILLISECOND);
    put(ends[1], "y", 1);
    assert_result(await(loop, &lookup.operation), 2);
    look_up(loop, &lookup, ERROR, "-2");
    assert_result(await(loop, &lookup.operation), LOOP_EAI_NONAME);
    close_both(ends);
}

LOOP_TEST(look_ups_can_be_harvested)
{
    struct addrinfo *list = NULL;
    operation_t      operation = {0};
    loop_request_t  *done = NULL;
    assert_result(loop_getaddrinfo(loop, begin(&operation), "127.0.0.1", NULL, NULL, &list, NULL), 0);
    assert_result(loop_wait(loop, &done, 1, -1), 1);
    assert_ptr_equal(done, &operation.request);
    assert_result(done->result, 0);
    freeaddrinfo(list);
}

LOOP_TEST(the_resolver_runs_with_signals_blocked_and_the_callback_on_a_thread_of_the_loop)
{
    static const int numbers[] = {SIGCHLD, SIGPROF, SIGURG, SIGTERM, SIGINT, SIGALRM, SIGUSR1, SIGPIPE};
    lookup_t         lookup = {0};
    set_gate(true);
    look_up(loop, &lookup, STUCK, NULL);
    assert_result(await(loop, &lookup.operation), 0);
    for (size_t i = 0; i < COUNT(numbers); i++) {
        assert_int_equal(sigismember(&resolver_mask, numbers[i]), 1);
    }
    assert_false(pthread_equal(resolver_thread, pthread_self()));
    assert_false(pthread_equal(resolver_thread, lookup.operation.thread));
    if (test_threads() == 1) {
        assert_true(pthread_equal(lookup.operation.thread, pthread_self()));
    }
}

/* ---- names of addresses ---------------------------------------------------------------------- */

/* Sees to it that the loop gives the names which the blocking call gives, and returns the result. */
static int64_t find_names_twice(loop_t *loop, const void *address, size_t length, size_t host_len,
                                size_t service_len, int flags)
{
    char    hosts[2][300], services[2][300];
    char   *no_host = NULL, *no_service = NULL;
    memset(hosts, 'x', sizeof hosts);
    memset(services, 'x', sizeof services);
    int error = real_getnameinfo(address, (socklen_t)length, host_len == 0 ? NULL : hosts[0],
                                 (socklen_t)host_len, service_len == 0 ? NULL : services[0],
                                 (socklen_t)service_len, flags);
    int64_t result = RESULT_OF(loop, loop_getnameinfo, address, (loop_socklen_t)length,
                               host_len == 0 ? no_host : hosts[1], host_len,
                               service_len == 0 ? no_service : services[1], service_len, flags);
    assert_result(result, in_our_terms(error));
    if (result < 0) {
        memset(hosts[0], 'x', sizeof hosts[0]);
        memset(services[0], 'x', sizeof services[0]);
    }
    assert_int_equal(strncmp(hosts[0], hosts[1], sizeof hosts[0]), 0);
    assert_int_equal(strncmp(services[0], services[1], sizeof services[0]), 0);
    return result;
}

LOOP_TEST(a_numeric_address_has_a_numeric_name)
{
    const int           flags = NI_NUMERICHOST | NI_NUMERICSERV;
    struct sockaddr_in  address = ipv4("127.0.0.1", 8080);
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons(443)};
    char                host[NI_MAXHOST], service[NI_MAXSERV];
    ipv6.sin6_addr = in6addr_loopback;
    assert_result(RESULT_OF(loop, loop_getnameinfo, (struct sockaddr *)&address, sizeof address, host,
                            sizeof host, service, sizeof service, flags), 0);
    assert_string_equal(host, "127.0.0.1");
    assert_string_equal(service, "8080");
    assert_result(RESULT_OF(loop, loop_getnameinfo, (struct sockaddr *)&ipv6, sizeof ipv6, host, sizeof host,
                            service, sizeof service, flags), 0);
    assert_string_equal(host, "::1");
    assert_string_equal(service, "443");
}

LOOP_TEST(a_host_or_a_service_may_be_unwanted)
{
    const int          flags = NI_NUMERICHOST | NI_NUMERICSERV;
    struct sockaddr_in address = ipv4("127.0.0.1", 8080);
    assert_result(find_names_twice(loop, &address, sizeof address, 300, 0, flags), 0);
    assert_result(find_names_twice(loop, &address, sizeof address, 0, 300, flags), 0);
    find_names_twice(loop, &address, sizeof address, 0, 0, flags);
    find_names_twice(loop, &address, sizeof address, 0, 0, NI_NAMEREQD);
}

LOOP_TEST(a_buffer_that_is_too_small_overflows_and_stays_as_it_was)
{
    const int          flags = NI_NUMERICHOST | NI_NUMERICSERV;
    const size_t       host = sizeof "127.0.0.1", service = sizeof "8080";
    struct sockaddr_in address = ipv4("127.0.0.1", 8080);
    for (size_t less = 1; less < host; less++) {
        assert_result(find_names_twice(loop, &address, sizeof address, less, 300, flags), LOOP_EAI_OVERFLOW);
    }
    for (size_t less = 1; less < service; less++) {
        assert_result(find_names_twice(loop, &address, sizeof address, 300, less, flags), LOOP_EAI_OVERFLOW);
    }
    assert_result(find_names_twice(loop, &address, sizeof address, host, service, flags), 0);
}

LOOP_TEST(addresses_of_all_kinds_have_the_names_that_the_blocking_call_finds)
{
    struct sockaddr_in  address = ipv4("127.0.0.1", 80);
    struct sockaddr_un  local = {.sun_family = AF_UNIX};
    struct sockaddr     unknown = {.sa_family = 200};
    memset(local.sun_path, 'p', sizeof local.sun_path - 1);
    find_names_twice(loop, &address, sizeof address, 300, 300, 0);
    find_names_twice(loop, &local, sizeof local, 300, 300, 0);
    find_names_twice(loop, &local, sizeof local, 300, 60, 0);
    assert_result(find_names_twice(loop, &unknown, sizeof unknown, 300, 300, 0), LOOP_EAI_FAMILY);
    assert_result(find_names_twice(loop, &address, sizeof address - 1, 300, 300, 0), LOOP_EAI_FAMILY);
    assert_result(find_names_twice(loop, &address, 0, 300, 300, 0), LOOP_EAI_FAMILY);
    assert_result(find_names_twice(loop, NULL, 0, 300, 300, 0), LOOP_EAI_FAMILY);
    assert_result(RESULT_OF(loop, loop_getnameinfo, NULL, sizeof address, NULL, 0, NULL, 0, 0),
                  LOOP_EAI_FAMILY);
}

LOOP_TEST(errors_of_a_reverse_look_up_have_the_same_names)
{
    struct sockaddr_in address = ipv4(ERROR_ADDRESS, (uint16_t)-EAI_AGAIN);
    char               host[64] = "as it was";
    assert_result(RESULT_OF(loop, loop_getnameinfo, (struct sockaddr *)&address, sizeof address, host,
                            sizeof host, NULL, 0, 0), LOOP_EAI_AGAIN);
    address = ipv4(SYSTEM_ADDRESS, EMFILE);
    assert_result(RESULT_OF(loop, loop_getnameinfo, (struct sockaddr *)&address, sizeof address, host,
                            sizeof host, NULL, 0, 0), LOOP_EMFILE);
    assert_string_equal(host, "as it was");
}

/* ---- ending early ---------------------------------------------------------------------------- */

LOOP_TEST(a_look_up_that_is_cancelled_before_it_began_never_does)
{
    lookup_t lookup = {0};
    unsigned before = atomic_load(&calls);
    look_up(loop, &lookup, "127.0.0.1", NULL);
    assert_result(loop_cancel(loop, &lookup.operation.request), 0);
    assert_result(loop_cancel(loop, &lookup.operation.request), 0);
    run(loop);
    assert_int_equal(completions_of(&lookup.operation), 1);
    assert_result(lookup.operation.result, LOOP_ECANCELED);
    assert_result(loop_cancel(loop, &lookup.operation.request), LOOP_ENOENT);
    assert_int_equal(atomic_load(&calls), before);
}

LOOP_TEST(a_cancel_ends_a_look_up_at_once_though_the_resolver_is_stuck)
{
    lookup_t lookup = {0};
    set_gate(false);
    look_up(loop, &lookup, STUCK, NULL);
    await_stuck(loop, 1);
    assert_int_equal(completions_of(&lookup.operation), 0);
    assert_result(loop_cancel(loop, &lookup.operation.request), 0);
    run(loop);
    assert_int_equal(completions_of(&lookup.operation), 1);
    assert_result(lookup.operation.result, LOOP_ECANCELED);
    assert_int_equal(atomic_load(&stuck_now), 1);

    /* The request is as good as new, and what the resolver finds in the end is nothing to it. */
    look_up(loop, &lookup, "127.0.0.1", NULL);
    assert_result(await(loop, &lookup.operation), 0);
    set_gate(true);
    await_free();
    run_for(loop, 5 * MILLISECOND);
    assert_int_equal(completions_of(&lookup.operation), 1);
    assert_null(lookup.list);
}

LOOP_TEST(what_a_cancelled_look_up_pointed_to_is_left_alone)
{
    struct sockaddr_in address = ipv4(STUCK_ADDRESS, 80);
    operation_t        names = {0}, *freed = calloc(1, sizeof *freed);
    struct addrinfo  **list = calloc(1, sizeof(struct addrinfo *));
    char               host[64] = "as it was", service[64] = "as it was";
    assert_true(freed != NULL && list != NULL);
    set_gate(false);
    assert_result(loop_getaddrinfo(loop, begin(freed), STUCK, NULL, NULL, list, record), 0);
    assert_result(loop_getnameinfo(loop, begin(&names), (struct sockaddr *)&address, sizeof address, host,
                                   sizeof host, service, sizeof service, NI_NUMERICHOST, record), 0);
    await_stuck(loop, 2);
    assert_result(loop_cancel(loop, &freed->request), 0);
    assert_result(loop_cancel(loop, &names.request), 0);
    run(loop);
    assert_result(freed->result, LOOP_ECANCELED);
    assert_result(names.result, LOOP_ECANCELED);
    assert_null(*list);
    free(list);
    free(freed); /* the address sanitizer sees who touches them now */
    set_gate(true);
    await_free();
    run_for(loop, 5 * MILLISECOND);
    assert_string_equal(host, "as it was");
    assert_string_equal(service, "as it was");
}

LOOP_TEST(a_timeout_ends_a_look_up_at_once_though_the_resolver_is_stuck)
{
    struct sockaddr_in address = ipv4(STUCK_ADDRESS, 80);
    lookup_t           lookup = {.operation.request.timeout_ns = 20 * MILLISECOND};
    operation_t        names = {.request.timeout_ns = 20 * MILLISECOND};
    char               host[64];
    uint64_t           begun = loop_now(loop);
    set_gate(false);
    look_up(loop, &lookup, STUCK, NULL);
    assert_result(loop_getnameinfo(loop, begin(&names), (struct sockaddr *)&address, sizeof address, host,
                                   sizeof host, NULL, 0, NI_NUMERICHOST, record), 0);
    run(loop);
    assert_true(loop_now(loop) - begun >= 20 * MILLISECOND);
    assert_result(lookup.operation.result, LOOP_ETIMEDOUT);
    assert_result(names.result, LOOP_ETIMEDOUT);
    set_gate(true);
}

LOOP_TEST(a_look_up_that_is_in_time_keeps_its_result)
{
    lookup_t lookup = {.operation.request.timeout_ns = HOUR};
    look_up(loop, &lookup, "127.0.0.1", NULL);
    assert_result(await(loop, &lookup.operation), 0);
    assert_result(loop_cancel(loop, &lookup.operation.request), LOOP_ENOENT);
    assert_result(loop_pending(loop), 0);
}

TEST(look_ups_that_wait_for_a_thread_can_be_cancelled_and_time_out)
{
    static lookup_t lookups[100];
    loop_t         *loop = new_loop_with_blocking_threads(1);
    memset(lookups, 0, sizeof lookups);
    set_gate(false);
    look_up(loop, &lookups[0], STUCK, NULL);
    await_stuck(loop, 1);
    unsigned before = atomic_load(&calls);
    for (size_t i = 1; i < COUNT(lookups); i++) {
        lookups[i].operation.request.timeout_ns = i % 2 == 0 ? MILLISECOND : 0;
        look_up(loop, &lookups[i], "127.0.0.1", NULL);
    }
    run_for(loop, 10 * MILLISECOND);
    for (size_t i = 1; i < COUNT(lookups); i += 2) {
        assert_int_equal(completions_of(&lookups[i].operation), 0);
        assert_result(loop_cancel(loop, &lookups[i].operation.request), 0);
    }
    run_for(loop, MILLISECOND);
    for (size_t i = 1; i < COUNT(lookups); i++) {
        assert_int_equal(completions_of(&lookups[i].operation), 1);
        assert_result(lookups[i].operation.result, i % 2 == 0 ? LOOP_ETIMEDOUT : LOOP_ECANCELED);
    }
    set_gate(true);
    run(loop);
    assert_result(lookups[0].operation.result, 0);
    assert_result(result_of_look_up(loop, "127.0.0.1", NULL), 0); /* the only thread gets to it last */
    assert_int_equal(atomic_load(&calls), before + 1);
    end_loop(loop);
}

typedef struct canceller {
    loop_t     *loop;
    lookup_t   *lookups;
    size_t      count;
    atomic_bool go;
} canceller_t;

static void *cancel_from_here(void *argument)
{
    canceller_t *canceller = argument;
    while (!atomic_load(&canceller->go)) {
        sleep_for(MILLISECOND / 10);
    }
    for (size_t i = 0; i < canceller->count; i++) {
        int status = loop_cancel(canceller->loop, &canceller->lookups[i].operation.request);
        CHECK(status == 0 || status == LOOP_ENOENT);
    }
    return NULL;
}

LOOP_TEST(cancels_of_another_thread_race_with_answers)
{
    enum { LOOKUPS = 300 };
    static lookup_t lookups[LOOKUPS];
    for (unsigned round = 0; round < 10; round++) {
        memset(lookups, 0, sizeof lookups);
        canceller_t canceller = {loop, lookups, LOOKUPS, false};
        pthread_t   thread = start_thread(cancel_from_here, &canceller);
        for (size_t i = 0; i < LOOKUPS; i++) {
            lookups[i].operation.request.timeout_ns = i % 3 == 0 ? 500 * (uint64_t)i : 0;
            look_up(loop, &lookups[i], "127.0.0.1", "80");
        }
        atomic_store(&canceller.go, true);
        run(loop);
        join_thread(thread);
        for (size_t i = 0; i < LOOKUPS; i++) {
            int64_t result = lookups[i].operation.result;
            assert_int_equal(completions_of(&lookups[i].operation), 1);
            assert_true(result == 0 || result == LOOP_ECANCELED || (result == LOOP_ETIMEDOUT && i % 3 == 0));
        }
    }
}

/* ---- who waits for whom ---------------------------------------------------------------------- */

static void do_nothing(loop_request_t *request)
{
    (void)request;
}

TEST(stuck_look_ups_delay_neither_files_nor_work)
{
    static lookup_t lookups[100];
    for (uint32_t limit = 0; limit <= 4; limit++) {
        loop_t *loop = new_loop_with_blocking_threads(limit);
        int     file = temporary_file("x", 1);
        char    byte = 0;
        memset(lookups, 0, sizeof lookups);
        set_gate(false);
        for (size_t i = 0; i < COUNT(lookups); i++) {
            look_up(loop, &lookups[i], STUCK, NULL);
        }
        await_stuck(loop, 1);
        for (unsigned i = 0; i < 10; i++) {
            int64_t fd = RESULT_OF(loop, loop_open, "/", O_RDONLY | O_CLOEXEC, 0);
            assert_true(fd >= 0);
            assert_result(RESULT_OF(loop, loop_close, (int)fd), 0);
            assert_result(RESULT_OF(loop, loop_pread, file, &byte, 1, 0), 1);
            assert_result(RESULT_OF(loop, loop_queue_work, do_nothing), 0);
        }
        for (size_t i = 0; i < COUNT(lookups); i++) {
            assert_int_equal(completions_of(&lookups[i].operation), 0);
        }
        set_gate(true);
        run(loop);
        close(file);
        end_loop(loop);
    }
}

static void wait_for_the_gate(loop_request_t *request)
{
    (void)request;
    pass_gate();
}

TEST(blocked_files_and_work_delay_no_look_up)
{
    static operation_t opens[50], works[50];
    for (uint32_t limit = 0; limit <= 4; limit++) {
        loop_t     *loop = new_loop_with_blocking_threads(limit);
        const char *path = temporary_path("names-fifo");
        assert_int_equal(mkfifo(path, 0600), 0);
        set_gate(false);
        for (size_t i = 0; i < COUNT(opens); i++) {
            assert_result(loop_open(loop, begin(&opens[i]), path, O_RDONLY | O_CLOEXEC, 0, record), 0);
            assert_result(loop_queue_work(loop, begin(&works[i]), wait_for_the_gate, record), 0);
        }
        await_stuck(loop, 1);
        for (unsigned i = 0; i < 10; i++) {
            assert_result(result_of_look_up(loop, "127.0.0.1", NULL), 0);
        }
        int writer = open(path, O_RDWR | O_CLOEXEC);
        set_gate(true);
        run(loop);
        for (size_t i = 0; i < COUNT(opens); i++) {
            assert_true(opens[i].result >= 0);
            close((int)opens[i].result);
        }
        close(writer);
        unlink(path);
        end_loop(loop);
    }
}

TEST(stuck_look_ups_of_one_loop_do_not_delay_another)
{
    static lookup_t lookups[50];
    loop_t         *blocked = new_loop(), *free_loop = new_loop();
    memset(lookups, 0, sizeof lookups);
    set_gate(false);
    for (size_t i = 0; i < COUNT(lookups); i++) {
        look_up(blocked, &lookups[i], STUCK, NULL);
    }
    await_stuck(blocked, 1);
    for (unsigned i = 0; i < 20; i++) {
        assert_result(result_of_look_up(free_loop, "127.0.0.1", "80"), 0);
    }
    end_loop(free_loop);
    set_gate(true);
    run(blocked);
    end_loop(blocked);
}

/* ---- the end of a loop ----------------------------------------------------------------------- */

static void *open_the_gate_soon(void *unused)
{
    (void)unused;
    sleep_for(20 * MILLISECOND);
    set_gate(true);
    return NULL;
}

TEST(an_end_cancels_look_ups_and_waits_for_the_resolver)
{
    static lookup_t lookups[50];
    loop_t         *loop = new_loop_with_blocking_threads(4);
    memset(lookups, 0, sizeof lookups);
    set_gate(false);
    for (size_t i = 0; i < COUNT(lookups); i++) {
        look_up(loop, &lookups[i], STUCK, NULL);
    }
    await_stuck(loop, 1);
    for (size_t i = 0; i < COUNT(lookups); i++) {
        assert_int_equal(completions_of(&lookups[i].operation), 0);
    }
    pthread_t thread = start_thread(open_the_gate_soon, NULL);
    end_loop(loop);
    assert_int_equal(atomic_load(&stuck_now), 0);
    join_thread(thread);
    for (size_t i = 0; i < COUNT(lookups); i++) {
        assert_int_equal(completions_of(&lookups[i].operation), 1);
        assert_result(lookups[i].operation.result, LOOP_ECANCELED);
    }
}

/* Leaves look-ups behind that the resolver finishes after the last turn of the loop. The memory of a loop
 * serves later ones, which must not find anything of them. */
TEST(look_ups_that_were_cancelled_long_ago_do_not_outlive_their_loop)
{
    for (unsigned round = 0; round < 8; round++) {
        loop_t  *loop = new_loop();
        lookup_t lookups[3] = {0};
        set_gate(false);
        for (size_t i = 0; i < COUNT(lookups); i++) {
            look_up(loop, &lookups[i], STUCK, NULL);
        }
        await_stuck(loop, COUNT(lookups));
        for (size_t i = 0; i < COUNT(lookups); i++) {
            assert_result(loop_cancel(loop, &lookups[i].operation.request), 0);
        }
        run(loop);
        assert_int_equal(atomic_load(&stuck_now), COUNT(lookups));
        pthread_t thread = start_thread(open_the_gate_soon, NULL);
        end_loop(loop);
        assert_int_equal(atomic_load(&stuck_now), 0);
        join_thread(thread);

        loop = new_loop();
        run_for(loop, MILLISECOND);
        assert_result(result_of_look_up(loop, "127.0.0.1", NULL), 0);
        end_loop(loop);
    }
}

TEST(an_end_right_after_the_submits_starts_no_look_up)
{
    lookup_t lookups[20] = {0};
    loop_t  *loop = new_loop();
    unsigned before = atomic_load(&calls);
    for (size_t i = 0; i < COUNT(lookups); i++) {
        look_up(loop, &lookups[i], "127.0.0.1", NULL);
    }
    end_loop(loop);
    for (size_t i = 0; i < COUNT(lookups); i++) {
        assert_int_equal(completions_of(&lookups[i].operation), 1);
        assert_result(lookups[i].operation.result, LOOP_ECANCELED);
    }
    assert_int_equal(atomic_load(&calls), before);
}

/* ---- no memory ------------------------------------------------------------------------------- */

#ifdef __SANITIZE_ADDRESS__
/* The sanitizer's allocator ends the process when there is no memory, unless told that this is expected. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
#endif

LOOP_TEST(a_look_up_for_which_there_is_no_memory_is_accepted_and_says_so)
{
    enum { LENGTH = 64 << 20 }; /* more than the C library keeps */
    char *node = malloc(LENGTH + 1);
    assert_non_null(node);
    memset(node, 'x', LENGTH);
    node[LENGTH] = '\0';
    lookup_t      lookup = {0};
    struct rlimit limit, none;
    assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
    none = (struct rlimit){0, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    int status = loop_getaddrinfo(loop, begin(&lookup.operation), node, NULL, NULL, &lookup.list,
                                  record_lookup);
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    assert_result(status, 0);
    assert_result(await(loop, &lookup.operation), LOOP_ENOMEM);
    free(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARDED(a_numeric_host_and_service_are_found),
        GUARDED(localhost_is_found),
        GUARDED(a_host_or_a_service_may_be_missing),
        GUARDED(what_is_wrong_with_a_look_up_arrives_as_its_result),
        GUARDED(every_error_of_the_resolver_has_its_own_name),
        GUARDED(a_look_up_that_a_signal_interrupts_is_done_again),
        GUARDED(operands_are_copied_by_the_submit),
        GUARDED(what_is_wrong_with_loop_or_request_is_refused),
        GUARDED(many_look_ups_at_once_complete_once_each),
        GUARDED(a_request_can_be_submitted_again_in_its_callback),
        GUARDED(a_request_that_received_bytes_in_steps_before_fails_as_any_other),
        GUARDED(look_ups_can_be_harvested),
        GUARDED(the_resolver_runs_with_signals_blocked_and_the_callback_on_a_thread_of_the_loop),
        GUARDED(a_numeric_address_has_a_numeric_name),
        GUARDED(a_host_or_a_service_may_be_unwanted),
        GUARDED(a_buffer_that_is_too_small_overflows_and_stays_as_it_was),
        GUARDED(addresses_of_all_kinds_have_the_names_that_the_blocking_call_finds),
        GUARDED(errors_of_a_reverse_look_up_have_the_same_names),
        GUARDED(a_look_up_that_is_cancelled_before_it_began_never_does),
        GUARDED(a_cancel_ends_a_look_up_at_once_though_the_resolver_is_stuck),
        GUARDED(what_a_cancelled_look_up_pointed_to_is_left_alone),
        GUARDED(a_timeout_ends_a_look_up_at_once_though_the_resolver_is_stuck),
        GUARDED(a_look_up_that_is_in_time_keeps_its_result),
        GUARDED(look_ups_that_wait_for_a_thread_can_be_cancelled_and_time_out),
        GUARDED(cancels_of_another_thread_race_with_answers),
        GUARDED(stuck_look_ups_delay_neither_files_nor_work),
        GUARDED(blocked_files_and_work_delay_no_look_up),
        GUARDED(stuck_look_ups_of_one_loop_do_not_delay_another),
        GUARDED(an_end_cancels_look_ups_and_waits_for_the_resolver),
        GUARDED(look_ups_that_were_cancelled_long_ago_do_not_outlive_their_loop),
        GUARDED(an_end_right_after_the_submits_starts_no_look_up),
        GUARDED(a_look_up_for_which_there_is_no_memory_is_accepted_and_says_so),
    };
    return RUN_SUITE(tests);
}
