/*
 * The connections of the HTTP server: each receives requests, has them answered, and sends the answers.
 */
#ifndef HTTP_CONNECTION_H
#define HTTP_CONNECTION_H

#include "files.h"

#include <loop.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    HTTP_BODY_MAX = 1024 * 1024,
    HTTP_RECEIVE_BYTES = 4096 /* of a buffer that receives take from the pool */
};

/* How long things may take, in nanoseconds. */
typedef struct http_limits {
    uint64_t idle_ns;  /* a connection without a request */
    uint64_t head_ns;  /* from the first byte of a head to its last */
    uint64_t body_ns;  /* a body, from the end of the head */
    uint64_t send_ns;  /* until the client has taken some of an answer */
    uint64_t drain_ns; /* from our last byte until the client closes, too */
} http_limits_t;

/* How far the end of the server has come. */
typedef enum http_stop {
    HTTP_SERVING,
    HTTP_FINISHING, /* what has begun is finished, and nothing else is begun */
    HTTP_BREAKING   /* what has begun is broken off */
} http_stop_t;

typedef struct http_connection http_connection_t;

/* All connections, and what they share. */
typedef struct http_connections {
    loop_t         *loop;
    loop_buffers_t *buffers; /* of HTTP_RECEIVE_BYTES */
    http_files_t   *files;
    http_limits_t   limits;
    void (*on_end)(struct http_connections *connections); /* one has ended, and its descriptor is free */

    _Atomic http_stop_t stop;
    pthread_mutex_t     lock; /* of the list */
    http_connection_t  *first;
} http_connections_t;

/* Serves the client at the other end of a socket, and closes it in the end. */
void http_connection_begin(http_connections_t *connections, int fd);

/* Brings the connections to their end; on_end is called after each. */
void http_connections_stop(http_connections_t *connections, http_stop_t stop);

/* Whether there is none. */
bool http_connections_are_over(http_connections_t *connections);

#endif
