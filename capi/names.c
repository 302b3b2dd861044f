/*
 * Look-ups of names: submitting them, doing them on a thread of the blocking pool, settling them.
 *
 * The program's request and the resolver never meet. A lookup has copies of all operands, and room for the
 * outcome; it begins with the request that the engine gives to the pool (loop/names.go). A loop thread hands
 * the outcome over, or frees it when the program's request has ended meanwhile.
 */
#define _GNU_SOURCE 1 /* EAI_ADDRFAMILY, EAI_NODATA */

#include "admit.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The addresses of a name. The strings follow the struct. */
struct addresses {
    const char            *node;
    const char            *service;
    const struct addrinfo *hints; /* NULL, or own_hints */
    struct addrinfo        own_hints;
    struct addrinfo       *list;
    struct addrinfo      **list_out; /* the program's */
};

/* A name and where the program wants it. */
struct name {
    char  *text_out; /* NULL = not wanted */
    size_t capacity; /* at text_out, and not more than text has */
    char   text[NI_MAXHOST];
};

/* The names of an address. */
struct names {
    struct sockaddr_storage address;
    socklen_t               length;
    int                     flags;
    struct name             host;
    struct name             service;
};

struct lookup {
    struct request proxy;
    int64_t        result;  /* LOOP_ECANCELED until the resolver has answered */
    bool           reverse; /* from an address to names */
    union {
        struct addresses addresses;
        struct names     names;
    };
};

/* ---- submitting ---- */

/* Makes a lookup with so many bytes of its own; NULL when there is no memory. */
static struct lookup *new_lookup(const struct admission *a, size_t size) {
    struct lookup *lookup = calloc(1, size);
    if (lookup == NULL) return NULL;
    state_accept(&lookup->proxy, state_worker(state_load(a->request)));
    lookup->proxy.op = OP_NAME;
    lookup->proxy.fd = NO_FD;
    lookup->result = LOOP_ECANCELED;
    return lookup;
}

/* Commits the request with its lookup, or, if that is NULL, as one that ends with LOOP_ENOMEM. */
static int commit_lookup(struct admission *a, struct lookup *lookup, loop_callback_t callback) {
    a->request->fd = NO_FD;
    a->request->address = (uintptr_t)lookup;
    a->request->moved = 0;
    int error = commit(a, OP_NAME, false, callback);
    if (error < 0) free(lookup);
    return error;
}

/* Copies a string to a place that is moved past it; NULL stays NULL. */
static const char *copy_string(char **place, const char *string, size_t size) {
    if (string == NULL) return NULL;
    const char *copy = memcpy(*place, string, size);
    *place += size;
    return copy;
}

int loop_getaddrinfo(loop_t *loop, loop_request_t *request, const char *node, const char *service,
                     const struct addrinfo *hints, struct addrinfo **result_out, loop_callback_t callback) {
    if (result_out == NULL) return capi_forked ? LOOP_ENOTSUP : LOOP_EINVAL;
    struct admission a = admit(loop, request, NO_FD);
    if (a.error < 0) return a.error;
    *result_out = NULL;
    size_t node_size = node == NULL ? 0 : strlen(node) + 1;
    size_t service_size = service == NULL ? 0 : strlen(service) + 1;
    struct lookup *lookup = new_lookup(&a, sizeof *lookup + node_size + service_size);
    if (lookup != NULL) {
        char *place = (char *)(lookup + 1);
        lookup->addresses.node = copy_string(&place, node, node_size);
        lookup->addresses.service = copy_string(&place, service, service_size);
        lookup->addresses.list_out = result_out;
        if (hints != NULL) {
            lookup->addresses.own_hints = *hints;
            lookup->addresses.hints = &lookup->addresses.own_hints;
        }
    }
    return commit_lookup(&a, lookup, callback);
}

static void want(struct name *name, char *text_out, size_t capacity) {
    if (text_out == NULL) return;
    name->text_out = text_out;
    name->capacity = capacity < sizeof name->text ? capacity : sizeof name->text;
}

int loop_getnameinfo(loop_t *loop, loop_request_t *request, const struct sockaddr *address,
                     loop_socklen_t length, char *host, size_t host_len, char *service, size_t service_len,
                     int flags, loop_callback_t callback) {
    struct admission a = admit(loop, request, NO_FD);
    if (a.error < 0) return a.error;
    struct lookup *lookup = new_lookup(&a, sizeof *lookup);
    if (lookup != NULL) {
        struct names *names = &lookup->names;
        lookup->reverse = true;
        if (address == NULL) length = 0;
        names->length = length < sizeof names->address ? length : (socklen_t)sizeof names->address;
        if (address != NULL) memcpy(&names->address, address, names->length);
        names->flags = flags;
        want(&names->host, host, host_len);
        want(&names->service, service, service_len);
    }
    return commit_lookup(&a, lookup, callback);
}

/* ---- on a thread of the pool ---- */

/* Translates what the resolver returned and, for EAI_SYSTEM, left in errno. */
static int64_t result_of(int error, int system_error) {
    switch (error) {
    case 0: return 0;
    case EAI_ADDRFAMILY: return LOOP_EAI_ADDRFAMILY;
    case EAI_AGAIN: return LOOP_EAI_AGAIN;
    case EAI_BADFLAGS: return LOOP_EAI_BADFLAGS;
    case EAI_FAMILY: return LOOP_EAI_FAMILY;
    case EAI_MEMORY: return LOOP_ENOMEM;
    case EAI_NODATA: return LOOP_EAI_NODATA;
    case EAI_NONAME: return LOOP_EAI_NONAME;
    case EAI_OVERFLOW: return LOOP_EAI_OVERFLOW;
    case EAI_SERVICE: return LOOP_EAI_SERVICE;
    case EAI_SOCKTYPE: return LOOP_EAI_SOCKTYPE;
    case EAI_SYSTEM:
        if (system_error == EAGAIN) return LOOP_EAI_AGAIN;
        return system_error > 0 ? -system_error : LOOP_EAI_FAIL; /* some resolvers forget to set errno */
    default: return LOOP_EAI_FAIL;
    }
}

static int find_addresses(struct addresses *addresses) {
    return getaddrinfo(addresses->node, addresses->service, addresses->hints, &addresses->list);
}

static char *text_of(struct name *name) { return name->text_out == NULL ? NULL : name->text; }

static int find_names(struct names *names) {
    return getnameinfo((const struct sockaddr *)&names->address, names->length, text_of(&names->host),
                       (socklen_t)names->host.capacity, text_of(&names->service),
                       (socklen_t)names->service.capacity, names->flags);
}

void capi_look_up(struct request *proxy) {
    struct lookup *lookup = (struct lookup *)proxy;
    int error;
    do {
        errno = 0;
        error = lookup->reverse ? find_names(&lookup->names) : find_addresses(&lookup->addresses);
    } while (error == EAI_SYSTEM && errno == EINTR);
    lookup->result = result_of(error, errno);
}

/* ---- settling, on a loop thread ---- */

static void hand_over_addresses(const struct addresses *addresses, bool wanted) {
    if (wanted) {
        *addresses->list_out = addresses->list;
    } else if (addresses->list != NULL) {
        freeaddrinfo(addresses->list);
    }
}

static void copy_name(const struct name *name) {
    if (name->capacity > 0) memcpy(name->text_out, name->text, strlen(name->text) + 1);
}

static void hand_over_names(const struct names *names, bool wanted) {
    if (!wanted) return;
    copy_name(&names->host);
    copy_name(&names->service);
}

int64_t capi_settle(struct request *proxy, struct request *request) {
    struct lookup *lookup = (struct lookup *)proxy;
    int64_t result = lookup->result;
    if (result == 0 && lookup->reverse) {
        hand_over_names(&lookup->names, request != NULL);
    } else if (result == 0) {
        hand_over_addresses(&lookup->addresses, request != NULL);
    }
    free(lookup);
    return result;
}
