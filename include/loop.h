/*
 * libloop: an event loop for C, C++ and every language with a C FFI.
 *
 * Everything asynchronous is a request: one struct that you own. You submit it, it completes exactly
 * once, and you may cancel it. A first program:
 *
 *     static void hello(loop_t *loop, loop_request_t *request, int64_t result) {
 *         puts("hello from the next tick");
 *     }
 *     int main(void) {
 *         loop_t *loop;
 *         loop_request_t tick = {0};
 *         if (loop_init(&loop, NULL) < 0) return 1;
 *         loop_on_next_tick(loop, &tick, hello);
 *         loop_run(loop);
 *         return loop_deinit(loop) < 0;
 *     }
 *
 * THE RULES, for every function that takes a request (they are not repeated below):
 *
 *   Result    0: accepted; the request completes exactly once, whatever happens (a multishot request
 *             several times, all but the last with LOOP_MORE in `flags`). Negative: refused; it never
 *             completes. Refused is what is wrong with the loop or the request:
 *               LOOP_EINVAL          loop or request is NULL, the request is misaligned or was not
 *                                    zeroed, or an argument that the function names is wrong
 *               LOOP_EBUSY           the request is in flight already (its present flight is unharmed)
 *               LOOP_ESHUTDOWN       the loop is being, or was, deinitialised
 *               LOOP_ENOTSUP         called in a forked child (see fork below)
 *               LOOP_ENOTRECOVERABLE an internal error broke this loop earlier
 *             What is wrong with the operation (a bad descriptor, a NULL or unmapped buffer, an absurd
 *             length, an unknown flag) arrives as its result, as from the system call of that name.
 *   Delivery  callback(loop, request, result), or, when callback is NULL, loop_wait. A callback runs only
 *             in a thread that is inside loop_run, loop_run_once or loop_wait (or loop_deinit), never
 *             inside a submitting call. With one thread, which is the default: always on that thread,
 *             one at a time. It must not throw, longjmp or end its thread.
 *   Results   request->result: >= 0 a value, < 0 one of LOOP_E*, which are the negated errno numbers of
 *             Linux on every system. EINTR and EAGAIN never get there. LOOP_ECANCELED after a cancel,
 *             LOOP_ETIMEDOUT after request->timeout_ns, unless the real result came first.
 *   Memory    From acceptance until its completion is delivered the request, and all it points to, belong
 *             to the loop: do not move, change or free them. From the moment the callback is entered (or
 *             loop_wait returned it) they are yours again, to free or to submit at once. What a request
 *             points to is handed to the kernel as it is. The loop itself allocates nothing for it.
 *   Threads   Any thread may submit and cancel, callbacks included. Not signal handlers.
 *   Order     Within a turn: timers due, then ticks, then other completions as the kernel reports them.
 *             What a callback submits is for the turns after. With several threads callbacks start in
 *             this order and run side by side; see loop_set_strand.
 *             Reads and writes in flight together on one descriptor have no order among themselves, with
 *             one exception: on a socket, what is to be sent (loop_write, loop_send, loop_sendfile and
 *             so on, and loop_shutdown of the sending side) is done in the order of the submits. So is a
 *             loop_close after what was submitted before it. Several threads have to see to it that one
 *             submits after the other, if they want that order.
 *   fork      In a forked child every call is refused with LOOP_ENOTSUP, at once; it may exec or exit.
 *
 * Descriptors stay yours: no flag of theirs is changed. close(2) is safe on one that has no request in
 * flight; otherwise use loop_close, which ends the requests that wait on it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_H
#define LOOP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && !defined(LOOP_STATIC)
#ifdef LOOP_BUILDING
#define LOOP_API __declspec(dllexport)
#else
#define LOOP_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define LOOP_API __attribute__((visibility("default")))
#else
#define LOOP_API
#endif

#define LOOP_VERSION_MAJOR 0 /* that of the binary interface, and in the SONAME */
#define LOOP_VERSION_MINOR 1 /* one more with each addition to the interface */
#define LOOP_VERSION_PATCH 0 /* one more with each release that changes no interface */

/* The version of this header; loop_version returns that of the library. */
#define LOOP_VERSION_STRING "0.1.0"

/* ---- errors ------------------------------------------------------------------------------------ */

/* XX(name, number, message) for every error; the numbers are those of errno on Linux. */
#define LOOP_ERROR_MAP(XX) \
    XX(EPERM, 1, "operation not permitted") \
    XX(ENOENT, 2, "no such file or directory") \
    XX(ESRCH, 3, "no such process") \
    XX(EINTR, 4, "interrupted system call") \
    XX(EIO, 5, "I/O error") \
    XX(ENXIO, 6, "no such device or address") \
    XX(E2BIG, 7, "argument list too long") \
    XX(ENOEXEC, 8, "exec format error") \
    XX(EBADF, 9, "bad file number") \
    XX(ECHILD, 10, "no child processes") \
    XX(EAGAIN, 11, "try again") \
    XX(ENOMEM, 12, "out of memory") \
    XX(EACCES, 13, "permission denied") \
    XX(EFAULT, 14, "bad address") \
    XX(ENOTBLK, 15, "block device required") \
    XX(EBUSY, 16, "device or resource busy") \
    XX(EEXIST, 17, "file exists") \
    XX(EXDEV, 18, "cross-device link") \
    XX(ENODEV, 19, "no such device") \
    XX(ENOTDIR, 20, "not a directory") \
    XX(EISDIR, 21, "is a directory") \
    XX(EINVAL, 22, "invalid argument") \
    XX(ENFILE, 23, "file table overflow") \
    XX(EMFILE, 24, "too many open files") \
    XX(ENOTTY, 25, "not a typewriter") \
    XX(ETXTBSY, 26, "text file busy") \
    XX(EFBIG, 27, "file too large") \
    XX(ENOSPC, 28, "no space left on device") \
    XX(ESPIPE, 29, "illegal seek") \
    XX(EROFS, 30, "read-only file system") \
    XX(EMLINK, 31, "too many links") \
    XX(EPIPE, 32, "broken pipe") \
    XX(EDOM, 33, "math argument out of domain of func") \
    XX(ERANGE, 34, "math result not representable") \
    XX(EDEADLK, 35, "resource deadlock would occur") \
    XX(ENAMETOOLONG, 36, "file name too long") \
    XX(ENOLCK, 37, "no record locks available") \
    XX(ENOSYS, 38, "invalid system call number") \
    XX(ENOTEMPTY, 39, "directory not empty") \
    XX(ELOOP, 40, "too many symbolic links encountered") \
    XX(ENOMSG, 42, "no message of desired type") \
    XX(EIDRM, 43, "identifier removed") \
    XX(ECHRNG, 44, "channel number out of range") \
    XX(EL2NSYNC, 45, "level 2 not synchronized") \
    XX(EL3HLT, 46, "level 3 halted") \
    XX(EL3RST, 47, "level 3 reset") \
    XX(ELNRNG, 48, "link number out of range") \
    XX(EUNATCH, 49, "protocol driver not attached") \
    XX(ENOCSI, 50, "no CSI structure available") \
    XX(EL2HLT, 51, "level 2 halted") \
    XX(EBADE, 52, "invalid exchange") \
    XX(EBADR, 53, "invalid request descriptor") \
    XX(EXFULL, 54, "exchange full") \
    XX(ENOANO, 55, "no anode") \
    XX(EBADRQC, 56, "invalid request code") \
    XX(EBADSLT, 57, "invalid slot") \
    XX(EBFONT, 59, "bad font file format") \
    XX(ENOSTR, 60, "device not a stream") \
    XX(ENODATA, 61, "no data available") \
    XX(ETIME, 62, "timer expired") \
    XX(ENOSR, 63, "out of streams resources") \
    XX(ENONET, 64, "machine is not on the network") \
    XX(ENOPKG, 65, "package not installed") \
    XX(EREMOTE, 66, "object is remote") \
    XX(ENOLINK, 67, "link has been severed") \
    XX(EADV, 68, "advertise error") \
    XX(ESRMNT, 69, "srmount error") \
    XX(ECOMM, 70, "communication error on send") \
    XX(EPROTO, 71, "protocol error") \
    XX(EMULTIHOP, 72, "multihop attempted") \
    XX(EDOTDOT, 73, "RFS specific error") \
    XX(EBADMSG, 74, "not a data message") \
    XX(EOVERFLOW, 75, "value too large for defined data type") \
    XX(ENOTUNIQ, 76, "name not unique on network") \
    XX(EBADFD, 77, "file descriptor in bad state") \
    XX(EREMCHG, 78, "remote address changed") \
    XX(ELIBACC, 79, "can not access a needed shared library") \
    XX(ELIBBAD, 80, "accessing a corrupted shared library") \
    XX(ELIBSCN, 81, ".lib section in a.out corrupted") \
    XX(ELIBMAX, 82, "attempting to link in too many shared libraries") \
    XX(ELIBEXEC, 83, "cannot exec a shared library directly") \
    XX(EILSEQ, 84, "illegal byte sequence") \
    XX(ERESTART, 85, "interrupted system call should be restarted") \
    XX(ESTRPIPE, 86, "streams pipe error") \
    XX(EUSERS, 87, "too many users") \
    XX(ENOTSOCK, 88, "socket operation on non-socket") \
    XX(EDESTADDRREQ, 89, "destination address required") \
    XX(EMSGSIZE, 90, "message too long") \
    XX(EPROTOTYPE, 91, "protocol wrong type for socket") \
    XX(ENOPROTOOPT, 92, "protocol not available") \
    XX(EPROTONOSUPPORT, 93, "protocol not supported") \
    XX(ESOCKTNOSUPPORT, 94, "socket type not supported") \
    XX(EOPNOTSUPP, 95, "operation not supported on transport endpoint") \
    XX(EPFNOSUPPORT, 96, "protocol family not supported") \
    XX(EAFNOSUPPORT, 97, "address family not supported by protocol") \
    XX(EADDRINUSE, 98, "address already in use") \
    XX(EADDRNOTAVAIL, 99, "cannot assign requested address") \
    XX(ENETDOWN, 100, "network is down") \
    XX(ENETUNREACH, 101, "network is unreachable") \
    XX(ENETRESET, 102, "network dropped connection because of reset") \
    XX(ECONNABORTED, 103, "software caused connection abort") \
    XX(ECONNRESET, 104, "connection reset by peer") \
    XX(ENOBUFS, 105, "no buffer space available") \
    XX(EISCONN, 106, "transport endpoint is already connected") \
    XX(ENOTCONN, 107, "transport endpoint is not connected") \
    XX(ESHUTDOWN, 108, "cannot send after transport endpoint shutdown") \
    XX(ETOOMANYREFS, 109, "too many references: cannot splice") \
    XX(ETIMEDOUT, 110, "connection timed out") \
    XX(ECONNREFUSED, 111, "connection refused") \
    XX(EHOSTDOWN, 112, "host is down") \
    XX(EHOSTUNREACH, 113, "no route to host") \
    XX(EALREADY, 114, "operation already in progress") \
    XX(EINPROGRESS, 115, "operation now in progress") \
    XX(ESTALE, 116, "stale file handle") \
    XX(EUCLEAN, 117, "structure needs cleaning") \
    XX(ENOTNAM, 118, "not a XENIX named type file") \
    XX(ENAVAIL, 119, "no XENIX semaphores available") \
    XX(EISNAM, 120, "is a named type file") \
    XX(EREMOTEIO, 121, "remote I/O error") \
    XX(EDQUOT, 122, "quota exceeded") \
    XX(ENOMEDIUM, 123, "no medium found") \
    XX(EMEDIUMTYPE, 124, "wrong medium type") \
    XX(ECANCELED, 125, "operation Canceled") \
    XX(ENOKEY, 126, "required key not available") \
    XX(EKEYEXPIRED, 127, "key has expired") \
    XX(EKEYREVOKED, 128, "key has been revoked") \
    XX(EKEYREJECTED, 129, "key was rejected by service") \
    XX(EOWNERDEAD, 130, "owner died") \
    XX(ENOTRECOVERABLE, 131, "state not recoverable") \
    XX(ERFKILL, 132, "operation not possible due to RF-kill") \
    XX(EHWPOISON, 133, "memory page has hardware error")

/* The same for the errors of loop_getaddrinfo and loop_getnameinfo; the numbers are the library's own. */
#define LOOP_NAME_ERROR_MAP(XX) \
    XX(EAI_ADDRFAMILY, 3000, "address family not supported by the host name") \
    XX(EAI_AGAIN, 3001, "temporary failure in name resolution") \
    XX(EAI_BADFLAGS, 3002, "bad value for flags") \
    XX(EAI_FAIL, 3003, "permanent failure in name resolution") \
    XX(EAI_FAMILY, 3004, "address family not supported") \
    XX(EAI_NODATA, 3005, "no address associated with the host name") \
    XX(EAI_NONAME, 3006, "name or service not known") \
    XX(EAI_OVERFLOW, 3007, "argument buffer overflow") \
    XX(EAI_SERVICE, 3008, "service not available for the socket type") \
    XX(EAI_SOCKTYPE, 3009, "socket type not supported")

/* LOOP_EPERM = -1, LOOP_ENOENT = -2 and so on; LOOP_EAI_AGAIN = -3001. */
#define LOOP_ERROR_ENUM(name, number, message) LOOP_##name = -(number),
enum {
    LOOP_ERROR_MAP(LOOP_ERROR_ENUM) LOOP_NAME_ERROR_MAP(LOOP_ERROR_ENUM)
    LOOP_EWOULDBLOCK = -11, LOOP_ENOTSUP = -95
};
#undef LOOP_ERROR_ENUM

/**
 * The version of the library that runs, such as "0.1.0"; compare with LOOP_VERSION_STRING, which is
 * that of this header.
 *
 * Returns   A string that lives for ever. Never NULL.
 * Threads   Any, also in a forked child and before anything else.
 */
LOOP_API const char *loop_version(void);

/**
 * The name of an error, such as "LOOP_ENOENT".
 *
 * error     A result or return value of this library; its sign does not matter.
 * Returns   A string that lives for ever: "LOOP_OK" for 0, "LOOP_EUNKNOWN" for a number without a name.
 * Threads   Any, also in a forked child and before anything else.
 */
LOOP_API const char *loop_error_name(int error);

/** As loop_error_name, but an explanation in English, such as "no such file or directory". */
LOOP_API const char *loop_error_message(int error);

/* ---- types ------------------------------------------------------------------------------------- */

/* A loop. Opaque; made by loop_init, ended by loop_deinit. */
typedef struct loop loop_t;

typedef struct loop_request loop_request_t;

/* Called once for each completion; the rules are at the top of this file. */
typedef void (*loop_callback_t)(loop_t *loop, loop_request_t *request, int64_t result);

/* A descriptor: a file descriptor, or on Windows a SOCKET or HANDLE. */
#ifdef _WIN32
typedef intptr_t loop_fd_t;
#else
typedef int loop_fd_t;
#endif

/*
 * A request. Zero it once before its first use (= {0}, or calloc); afterwards only set `user` and
 * `timeout_ns`, and only while it is not in flight.
 */
struct loop_request {
    void    *user;         /* yours; the loop never reads it */
    int64_t  result;       /* set at completion: >= 0 a value, < 0 one of LOOP_E* */
    uint64_t timeout_ns;   /* set before submit, kept; nanoseconds from submit (multishot: from the last
                              shot) after which the request ends with LOOP_ETIMEDOUT; 0 = never */
    uint32_t flags;        /* set at completion: LOOP_MORE, LOOP_BUFFER */
    uint32_t reserved32;   /* private */
    uint64_t reserved[28]; /* private */
};

/* In request->flags at completion: the request is still in flight and will complete again. */
#define LOOP_MORE 1u

/* In request->flags at completion: the request holds a buffer of a pool; see loop_recv_buffer. */
#define LOOP_BUFFER 2u

/* A buffer of loop_readv and its siblings; laid out as struct iovec. */
typedef struct loop_iovec {
    void  *base; /* the first byte */
    size_t len;  /* number of bytes */
} loop_iovec_t;

/* ---- life cycle -------------------------------------------------------------------------------- */

#define LOOP_THREADS_PER_CPU 0xFFFFFFFFu /* loop_options_t.threads: as many as there are processors */
#define LOOP_THREADS_MAX     1024u       /* the most loop threads, and the most blocking threads */

enum {
    LOOP_BACKEND_AUTO     = 0, /* the best that this system offers: io_uring, or epoll where the kernel or
                                  a sandbox denies that */
    LOOP_BACKEND_EPOLL    = 1, /* Linux; makes no io_uring system call at all */
    LOOP_BACKEND_IO_URING = 2, /* Linux 6.1 or newer */
    LOOP_BACKEND_KQUEUE   = 3, /* macOS, the BSDs */
    LOOP_BACKEND_IOCP     = 4  /* Windows */
};

/*
 * loop_options_t.flags: the thread that runs the loop first is the only one that will run it, and end it;
 * others get LOOP_EPERM from loop_run, loop_run_once, loop_wait, loop_deinit and loop_backend_fd. Any
 * thread may still submit, cancel and stop. With io_uring the kernel then completes operations only
 * while the loop looks for completions, and never interrupts a system call that a callback makes. For
 * loops of one thread.
 */
#define LOOP_THREAD_BOUND 1u

/* Options of loop_init. Zeroed = the defaults. */
typedef struct loop_options {
    uint32_t size;             /* sizeof(loop_options_t); 0 = that of version 0.1 */
    uint32_t threads;          /* threads that run callbacks, the caller of loop_run included; 0 = 1 */
    uint32_t blocking_threads; /* most threads for blocking work; 0 = 4 per processor, at least 8. Each
                                  class of work (files, loop_queue_work, names) always has one of its own */
    uint32_t backend;          /* LOOP_BACKEND_* */
    uint32_t flags;            /* 0 or LOOP_THREAD_BOUND */
} loop_options_t;

/**
 * Make a loop. Nothing runs before loop_run.
 *
 * loop_out  Set to the new loop, or to NULL on failure. End it with loop_deinit.
 * options   Read during the call only. NULL = defaults: one thread, the best backend.
 * Returns   0, or LOOP_EINVAL (loop_out NULL, a count above LOOP_THREADS_MAX, an unknown backend or flag,
 *           LOOP_THREAD_BOUND with several threads, a size that this version does not know),
 *           LOOP_ENOTSUP (that backend does not exist here, or in a forked child), LOOP_EMFILE,
 *           LOOP_ENFILE, LOOP_ENOMEM. On failure nothing is left behind.
 * Threads   Any. Several loops may live in one process.
 */
LOOP_API int loop_init(loop_t **loop_out, const loop_options_t *options);

/** loop_init with one thread: callbacks run on the caller of loop_run and nowhere else. */
LOOP_API int loop_init_single_threaded(loop_t **loop_out);

/** loop_init with one thread for each processor. */
LOOP_API int loop_init_multi_threaded(loop_t **loop_out);

/**
 * loop_init with `thread_count` threads that run callbacks, the caller of loop_run included. 0 is
 * LOOP_EINVAL.
 */
LOOP_API int loop_init_thread_pool(loop_t **loop_out, uint32_t thread_count);

/**
 * Run callbacks until nothing is pending or loop_stop was called. May be called again afterwards.
 *
 * Returns   0, or LOOP_EBUSY (another thread runs this loop, or this is one of its callbacks), LOOP_EINVAL,
 *           LOOP_ESHUTDOWN, LOOP_ENOTSUP, LOOP_ENOTRECOVERABLE.
 * Threads   Any, one at a time. The calling thread is one of the loop's threads meanwhile.
 */
LOOP_API int loop_run(loop_t *loop);

/**
 * Run one turn: wait for something to happen, and deliver it.
 *
 * timeout_ns  The longest wait, in nanoseconds. 0 = do not wait, < 0 = no limit. With nothing pending
 *             there is nothing to wait for: returns at once.
 * Returns     The number of completions delivered (0 also when woken for nothing), or an error as loop_run.
 * Threads     As loop_run.
 */
LOOP_API int loop_run_once(loop_t *loop, int64_t timeout_ns);

/**
 * Harvest: wait until requests that were submitted without a callback have completed, and fetch them.
 * Callbacks of other requests run meanwhile. What was fetched is yours again; but with LOOP_MORE in its
 * flags it is in flight still, and goes on with the next call that runs the loop. What was not fetched
 * stays until a later call, and a shot that was not fetched keeps its request pending.
 *
 * done_out    Filled with the completed requests, in order of completion.
 * capacity    The number of places in done_out; at least 1.
 * timeout_ns  The longest wait, in nanoseconds. 0 = do not wait, < 0 = no limit.
 * Returns     The number of requests fetched: 0 when the time is over, nothing is pending, or after
 *             loop_stop. Or an error as loop_run; LOOP_EINVAL also for done_out NULL or capacity 0.
 * Threads     As loop_run.
 */
LOOP_API int loop_wait(loop_t *loop, loop_request_t **done_out, uint32_t capacity, int64_t timeout_ns);

/**
 * Make loop_run (loop_run_once, loop_wait) return as soon as the callbacks that run now have returned. If
 * none is running, the next one returns at once. What is pending stays pending.
 *
 * Returns   0, LOOP_EINVAL, LOOP_ESHUTDOWN, LOOP_ENOTSUP.
 * Threads   Any.
 */
LOOP_API int loop_stop(loop_t *loop);

/**
 * End a loop: refuse new requests, cancel what is in flight, deliver every completion on the calling
 * thread, and free all that the loop made. Waits for work that is running on a blocking thread and cannot
 * be interrupted. Completions that nobody harvested end here: their `result` is set, the request is yours.
 * A later call with this loop gets LOOP_ESHUTDOWN until the memory serves another loop.
 *
 * Returns   0, or LOOP_EBUSY (a thread is inside loop_run, or this is a callback), LOOP_EINVAL,
 *           LOOP_ESHUTDOWN (done before), LOOP_ENOTSUP.
 * Threads   Any.
 */
LOOP_API int loop_deinit(loop_t *loop);

/**
 * Hold a reference: loop_run does not return for want of pending requests while one is held.
 *
 * Returns   0, LOOP_EINVAL, LOOP_ESHUTDOWN, LOOP_ENOTSUP.
 * Threads   Any.
 */
LOOP_API int loop_ref(loop_t *loop);

/** Drop a reference of loop_ref. LOOP_EINVAL if none is held; otherwise as loop_ref. */
LOOP_API int loop_unref(loop_t *loop);

/**
 * The number of requests in flight plus references held. A request counts until its callback returned;
 * one that waits to be harvested does not.
 *
 * Returns   The number, or LOOP_EINVAL, LOOP_ESHUTDOWN, LOOP_ENOTSUP.
 * Threads   Any.
 */
LOOP_API int64_t loop_pending(loop_t *loop);

/**
 * The time on the clock of timers: nanoseconds, monotonic, of unspecified origin (CLOCK_MONOTONIC).
 * `loop` may be NULL.
 *
 * Threads   Any, also in a forked child.
 */
LOOP_API uint64_t loop_now(loop_t *loop);

/**
 * The loop of the process, made with default options at the first call. It may be deinitialised; the
 * next call then makes another.
 *
 * Returns   A loop, or NULL if none could be made.
 * Threads   Any.
 */
LOOP_API loop_t *loop_default(void);

/**
 * The backend in use: "io_uring" or "epoll".
 *
 * Returns   A string that lives for ever; NULL if the loop is NULL or deinitialised.
 * Threads   Any.
 */
LOOP_API const char *loop_backend_name(loop_t *loop);

/**
 * For embedding in another loop: a descriptor that is readable when loop_run_once(loop, 0) would find
 * something to do, timers apart (see loop_backend_timeout). Wait for it, never read or close it. From the
 * first call on, a submit from outside the loop's callbacks makes it readable.
 *
 * Returns   The descriptor, or LOOP_ENOTSUP (a loop of several threads), LOOP_EINVAL, LOOP_ESHUTDOWN.
 * Threads   Any.
 */
LOOP_API int loop_backend_fd(loop_t *loop);

/**
 * For embedding: how long another loop may wait for loop_backend_fd before it calls loop_run_once.
 *
 * Returns   Nanoseconds, 0 = do not wait, -1 = no limit, or (below -1) LOOP_EINVAL, LOOP_ESHUTDOWN,
 *           LOOP_ENOTSUP.
 * Threads   The one that runs the loop, outside its callbacks.
 */
LOOP_API int64_t loop_backend_timeout(loop_t *loop);

/* What a loop did so far. Counters start at 0 in loop_init and only grow, unless marked "now". */
typedef struct loop_statistics {
    uint32_t size;            /* sizeof(loop_statistics_t), set by the caller */
    uint32_t blocking_threads;/* now: threads of the blocking pool */
    uint64_t completions;     /* requests completed, and shots of multishot requests */
    uint64_t turns;           /* turns of all loop threads */
    uint64_t sleeps;          /* turns that waited in the kernel */
    uint64_t deliveries;      /* calls from the engine into the program (one delivers many) */
    uint64_t entries;         /* calls from the program into the engine */
    uint64_t wakes;           /* times that another thread had to wake a loop thread */
    uint64_t stale_events;    /* kernel events for a descriptor that was closed meanwhile; dropped */
    uint64_t poll_fallbacks;  /* waits that poll(2) did because epoll was out of watches */
    uint64_t heap_objects;    /* now: objects that the Go runtime of this process allocated so far */
} loop_statistics_t;

/**
 * Read the counters of a loop.
 *
 * statistics_out  Its `size` says how much may be written.
 * Returns         0, LOOP_EINVAL (NULL, or size too small for the first counter), LOOP_ESHUTDOWN,
 *                 LOOP_ENOTSUP.
 * Threads         Any. It stops the Go runtime for some microseconds: not for the hot path.
 */
LOOP_API int loop_get_statistics(loop_t *loop, loop_statistics_t *statistics_out);

/* ---- ticks and cancellation ---------------------------------------------------------------------- */

/**
 * Call `callback` in the next turn. Ticks start in the order in which one thread submitted them; one that
 * is submitted by a tick waits for the turn after. Endless ticks delay neither timers nor I/O.
 *
 * Delivers  0.
 */
LOOP_API int loop_on_next_tick(loop_t *loop, loop_request_t *request, loop_callback_t callback);

/**
 * Take back a tick. This is the one cancel that is done when it returns.
 *
 * Returns   0 = removed: it will not complete, the memory is yours. LOOP_ENOENT = too late, or not a
 *           tick in flight: its completion came or will come. LOOP_EINVAL, LOOP_ESHUTDOWN, LOOP_ENOTSUP.
 * Threads   Any. The caller sees to it that the request is not freed meanwhile.
 */
LOOP_API int loop_cancel_on_next_tick(loop_t *loop, loop_request_t *request);

/**
 * Ask that a request of any kind end early. Its completion still comes: LOOP_ECANCELED, or the real result
 * if that was first. Only what runs on a blocking thread already cannot be ended early.
 *
 * target    The request, in its present flight. Its own memory serves for the message.
 * Returns   0 = it will end early or is ending already. LOOP_ENOENT = not in flight in this loop.
 *           LOOP_EINVAL, LOOP_ESHUTDOWN, LOOP_ENOTSUP.
 * Threads   Any. The caller sees to it that the target is not freed or reused by another thread meanwhile.
 */
LOOP_API int loop_cancel(loop_t *loop, loop_request_t *target);

/** A callback that does nothing, for requests whose end is of no interest. */
LOOP_API void loop_ignore(loop_t *loop, loop_request_t *request, int64_t result);

/* ---- descriptor readiness ---------------------------------------------------------------------- */

/* Events, and bits of the result. LOOP_HANGUP and LOOP_ERROR are reported whether asked for or not. */
#define LOOP_READABLE 1u /* a read would not block (end of file counts) */
#define LOOP_WRITABLE 2u /* a write would not block */
#define LOOP_HANGUP   4u /* the peer closed, or closed its writing end */
#define LOOP_ERROR    8u /* an error is pending on the descriptor */

/* loop_add_fd only: one shot for each change instead of for as long as the state lasts. Cheaper; but read
 * or write until LOOP_EAGAIN after each shot, or no further one comes. */
#define LOOP_EDGE_TRIGGERED 16u

/**
 * Wait until `fd` is readable. Any number of requests may wait on one descriptor, each direction. A
 * regular file is always ready.
 *
 * fd        Borrowed: must stay open until completion (or be closed with loop_close).
 * Delivers  A mask of the events above, at least one of them; LOOP_EBADF, LOOP_ECANCELED (also when the
 *           descriptor was closed with loop_close), LOOP_ETIMEDOUT, LOOP_ENOMEM.
 */
LOOP_API int loop_wait_until_fd_readable(loop_t *loop, loop_request_t *request, loop_fd_t fd,
                                         loop_callback_t callback);

/** As loop_wait_until_fd_readable, until `fd` is writable. */
LOOP_API int loop_wait_until_fd_writable(loop_t *loop, loop_request_t *request, loop_fd_t fd,
                                         loop_callback_t callback);

/** As loop_wait_until_fd_readable, until `fd` is writable or readable, whichever is first. */
LOOP_API int loop_wait_until_fd_writable_or_readable(loop_t *loop, loop_request_t *request,
                                                     loop_fd_t fd, loop_callback_t callback);

/**
 * Watch `fd`: complete (with LOOP_MORE) whenever one of `events` holds, for as long as it holds, until
 * loop_remove_fd. The next shot comes only after the callback of the one before returned.
 *
 * events    LOOP_READABLE, LOOP_WRITABLE, both, or 0 (for LOOP_HANGUP and LOOP_ERROR alone); and
 *           LOOP_EDGE_TRIGGERED. Other bits: delivers LOOP_EINVAL.
 * Delivers  As loop_wait_until_fd_readable; an error is the last completion.
 */
LOOP_API int loop_add_fd(loop_t *loop, loop_request_t *request, loop_fd_t fd, uint32_t events,
                         loop_callback_t callback);

/**
 * Change the events of a watch.
 *
 * Returns   0, LOOP_ENOENT (not in flight in this loop), LOOP_EINVAL (not a watch, unknown events),
 *           LOOP_ESHUTDOWN, LOOP_ENOTSUP. LOOP_EDGE_TRIGGERED stays as it was.
 * Threads   As loop_cancel.
 */
LOOP_API int loop_mod_fd(loop_t *loop, loop_request_t *request, uint32_t events);

/**
 * End a watch: its last completion is LOOP_ECANCELED, without LOOP_MORE.
 *
 * Returns   0, LOOP_ENOENT (not in flight in this loop), LOOP_EINVAL (not a watch), LOOP_ESHUTDOWN,
 *           LOOP_ENOTSUP.
 * Threads   As loop_cancel.
 */
LOOP_API int loop_remove_fd(loop_t *loop, loop_request_t *request);

/* ---- files ------------------------------------------------------------------------------------- */

/**
 * Open a file, as open(2).
 *
 * path      Borrowed until completion.
 * flags     The O_* of the system. O_CLOEXEC is recommended; nothing is added.
 * mode      Permissions of a file that O_CREAT makes.
 * Delivers  The descriptor, or the errno of open (LOOP_EBUSY where open(2) with O_NONBLOCK says EAGAIN: the
 *           file is leased). When the open was cancelled too late, the descriptor arrives and is yours to
 *           close.
 */
LOOP_API int loop_open(loop_t *loop, loop_request_t *request, const char *path, int flags, uint32_t mode,
                       loop_callback_t callback);

/** As loop_open; a relative path starts at the directory `dirfd`, or AT_FDCWD. */
LOOP_API int loop_openat(loop_t *loop, loop_request_t *request, loop_fd_t dirfd, const char *path, int flags,
                         uint32_t mode, loop_callback_t callback);

/**
 * Close `fd`. Requests that wait on it end with LOOP_ECANCELED; reads and writes that a blocking thread
 * is at already end by themselves. Submit nothing more on it.
 *
 * Delivers  0, or the errno of close; the descriptor is gone in any case but LOOP_EBADF, LOOP_ECANCELED and
 *           LOOP_ETIMEDOUT, with which it was not closed.
 */
LOOP_API int loop_close(loop_t *loop, loop_request_t *request, loop_fd_t fd, loop_callback_t callback);

/**
 * Read up to `len` bytes at the current position, as read(2), from a file, pipe, socket or device,
 * blocking or not.
 *
 * buf, len  Where to; borrowed until completion. One request moves at most 2,147,479,552 bytes.
 * Delivers  The number of bytes, which may be less than len; 0 = end of file; or the errno of read:
 *           LOOP_EBADF, LOOP_EFAULT, LOOP_EISDIR, LOOP_EIO, LOOP_ECONNRESET, ..., LOOP_EINVAL for
 *           len > SSIZE_MAX.
 */
LOOP_API int loop_read(loop_t *loop, loop_request_t *request, loop_fd_t fd, void *buf, size_t len,
                       loop_callback_t callback);

/** As loop_read, into `iov_count` buffers in turn (at most 1024). `iov` too is borrowed until completion. */
LOOP_API int loop_readv(loop_t *loop, loop_request_t *request, loop_fd_t fd, const loop_iovec_t *iov,
                        uint32_t iov_count, loop_callback_t callback);

/**
 * As loop_read, at `offset` bytes from the start of the file; the current position stays. Delivers
 * LOOP_EINVAL for offset > INT64_MAX, LOOP_ESPIPE for what has no positions.
 */
LOOP_API int loop_pread(loop_t *loop, loop_request_t *request, loop_fd_t fd, void *buf, size_t len,
                        uint64_t offset, loop_callback_t callback);

/** As loop_pread, into `iov_count` buffers in turn. */
LOOP_API int loop_preadv(loop_t *loop, loop_request_t *request, loop_fd_t fd, const loop_iovec_t *iov,
                         uint32_t iov_count, uint64_t offset, loop_callback_t callback);

/**
 * Write up to `len` bytes at the current position, as write(2).
 *
 * buf, len  What; borrowed until completion.
 * Delivers  The number of bytes, which may be less than len, or the errno of write: LOOP_EBADF,
 *           LOOP_EFAULT, LOOP_ENOSPC, LOOP_EFBIG, LOOP_EPIPE, ... For LOOP_EPIPE see docs/limits.md on
 *           SIGPIPE.
 */
LOOP_API int loop_write(loop_t *loop, loop_request_t *request, loop_fd_t fd, const void *buf, size_t len,
                        loop_callback_t callback);

/** As loop_write, from `iov_count` buffers in turn (at most 1024). */
LOOP_API int loop_writev(loop_t *loop, loop_request_t *request, loop_fd_t fd, const loop_iovec_t *iov,
                         uint32_t iov_count, loop_callback_t callback);

/** As loop_write, at `offset` bytes from the start of the file; see loop_pread. */
LOOP_API int loop_pwrite(loop_t *loop, loop_request_t *request, loop_fd_t fd, const void *buf, size_t len,
                         uint64_t offset, loop_callback_t callback);

/** As loop_pwrite, from `iov_count` buffers in turn. */
LOOP_API int loop_pwritev(loop_t *loop, loop_request_t *request, loop_fd_t fd, const loop_iovec_t *iov,
                          uint32_t iov_count, uint64_t offset, loop_callback_t callback);

/**
 * Ask whether a file may be accessed, as faccessat(2).
 *
 * path      Borrowed until completion. A relative one starts at the directory `dirfd`, or AT_FDCWD.
 * mode      F_OK, or a mask of R_OK, W_OK, X_OK.
 * flags     AT_EACCESS, AT_SYMLINK_NOFOLLOW.
 * Delivers  0, or the errno of faccessat.
 */
LOOP_API int loop_faccessat(loop_t *loop, loop_request_t *request, loop_fd_t dirfd, const char *path,
                            uint32_t mode, uint32_t flags, loop_callback_t callback);

/* ---- sockets ------------------------------------------------------------------------------------- */

/* The types of <sys/socket.h> and <netdb.h>; include those (on Windows <ws2tcpip.h>) to fill them in. */
struct sockaddr;
struct msghdr;
struct addrinfo;

/* The length of an address; socklen_t. */
typedef uint32_t loop_socklen_t;

/* Flags of the operations below, beside the MSG_* of the system, whose bits they do not share. */
#define LOOP_MULTISHOT 0x01000000u /* complete again and again (with LOOP_MORE), until an error or a cancel */
#define LOOP_SEND_ALL  0x00800000u /* go on until all is sent; a short count then means that it ended early */

/**
 * Make a socket, as socket(2): non-blocking and closed on exec. bind(2), listen(2), setsockopt(2) and so
 * on are the system's; any socket made otherwise serves as well, blocking or not.
 *
 * Returns   The descriptor, yours to close; or the errno of socket: LOOP_EAFNOSUPPORT,
 *           LOOP_EPROTONOSUPPORT, LOOP_EINVAL, LOOP_EMFILE, LOOP_ENFILE, LOOP_EACCES, LOOP_ENOBUFS,
 *           LOOP_ENOMEM. LOOP_ESHUTDOWN, LOOP_ENOTSUP and LOOP_ENOTRECOVERABLE as at the top.
 * Threads   Any.
 */
LOOP_API loop_fd_t loop_socket(loop_t *loop, int domain, int type, int protocol);

/**
 * Accept a connection on the listening socket `fd`. The new socket is non-blocking and closed on exec, and
 * may be used with any loop.
 *
 * address   Where the peer's address goes, or NULL.
 * length    In: bytes at `address`, read at once, before the call returns; out: those of the address, which
 *           is cut where it does not fit. NULL if `address` is. Both are borrowed until completion, and with
 *           LOOP_MULTISHOT written at each shot: look at them in its callback.
 * flags     0 or LOOP_MULTISHOT; others deliver LOOP_EINVAL. With LOOP_MULTISHOT each connection is a
 *           shot, and one that was aborted before it could be accepted is none.
 * Delivers  The descriptor, yours to close; or the errno of accept: LOOP_EBADF, LOOP_EINVAL (does not
 *           listen), LOOP_ENOTSOCK, LOOP_EOPNOTSUPP, LOOP_ECONNABORTED, LOOP_EMFILE and LOOP_ENFILE (the
 *           connection waits on: accept again once descriptors are free), LOOP_ENOBUFS, LOOP_ENOMEM,
 *           LOOP_EPERM.
 */
LOOP_API int loop_accept(loop_t *loop, loop_request_t *request, loop_fd_t fd, struct sockaddr *address,
                         loop_socklen_t *length, uint32_t flags, loop_callback_t callback);

/**
 * Connect `fd`, as connect(2). A blocking stream socket is connected by a blocking thread where the
 * backend is epoll, and then cannot be cancelled while it tries.
 *
 * address, length  Whereto; borrowed until completion.
 * Delivers  0, or the errno of connect: LOOP_ECONNREFUSED, LOOP_ENETUNREACH, LOOP_EHOSTUNREACH,
 *           LOOP_EISCONN, LOOP_EALREADY, LOOP_EADDRNOTAVAIL, LOOP_EAFNOSUPPORT, LOOP_ENOENT (Unix), ...,
 *           LOOP_ETIMEDOUT (the system's or request->timeout_ns). After a failure, cancel or timeout
 *           close the socket.
 */
LOOP_API int loop_connect(loop_t *loop, loop_request_t *request, loop_fd_t fd, const struct sockaddr *address,
                          loop_socklen_t length, loop_callback_t callback);

/**
 * Receive up to `len` bytes, or one datagram, as recv(2).
 *
 * buf, len  Where to; borrowed until completion.
 * flags     MSG_PEEK, MSG_TRUNC, MSG_OOB, ... of the system, and MSG_WAITALL, with which a stream is
 *           received until len bytes, the end or an error. MSG_DONTWAIT has no effect, nor has MSG_WAITALL
 *           together with MSG_PEEK.
 * Delivers  The number of bytes (of the datagram, with MSG_TRUNC); 0 = the peer sends no more, or an empty
 *           datagram; or the errno of recv: LOOP_EBADF, LOOP_ENOTSOCK, LOOP_ENOTCONN, LOOP_ECONNRESET,
 *           LOOP_ECONNREFUSED, LOOP_ETIMEDOUT, LOOP_EFAULT, ... When a receive with MSG_WAITALL is
 *           cancelled or fails after it got some bytes, it delivers their number.
 */
LOOP_API int loop_recv(loop_t *loop, loop_request_t *request, loop_fd_t fd, void *buf, size_t len,
                       uint32_t flags, loop_callback_t callback);

/**
 * As loop_recv, and tell who sent it.
 *
 * address, length  As in loop_accept.
 */
LOOP_API int loop_recvfrom(loop_t *loop, loop_request_t *request, loop_fd_t fd, void *buf, size_t len,
                           uint32_t flags, struct sockaddr *address, loop_socklen_t *length,
                           loop_callback_t callback);

/**
 * As loop_recv, into several buffers and with control data (descriptors, packet information, segment
 * sizes), as recvmsg(2).
 *
 * message   Borrowed until completion, with all it points to; msg_namelen, msg_controllen and msg_flags
 *           are set. With room for control data MSG_WAITALL has no effect on Unix sockets. Add
 *           MSG_CMSG_CLOEXEC to `flags` to have received descriptors closed on exec.
 */
LOOP_API int loop_recvmsg(loop_t *loop, loop_request_t *request, loop_fd_t fd, struct msghdr *message,
                          uint32_t flags, loop_callback_t callback);

/**
 * Send up to `len` bytes, or one datagram, as send(2). A broken pipe raises no SIGPIPE.
 *
 * buf, len  What; borrowed until completion.
 * flags     MSG_OOB, MSG_MORE, MSG_DONTROUTE, ... of the system, and LOOP_SEND_ALL. MSG_DONTWAIT has no
 *           effect.
 * Delivers  The number of bytes taken over by the system, which may be less than len; or the errno of send:
 *           LOOP_EBADF, LOOP_ENOTSOCK, LOOP_EPIPE, LOOP_ECONNRESET, LOOP_EDESTADDRREQ, LOOP_ENOTCONN,
 *           LOOP_EMSGSIZE, LOOP_ENOBUFS, LOOP_ECONNREFUSED, LOOP_EFAULT, ... When a send with
 *           LOOP_SEND_ALL is cancelled or fails after some bytes, it delivers their number; the error
 *           shows at the next send.
 */
LOOP_API int loop_send(loop_t *loop, loop_request_t *request, loop_fd_t fd, const void *buf, size_t len,
                       uint32_t flags, loop_callback_t callback);

/** As loop_send, to an address (borrowed until completion), as sendto(2). */
LOOP_API int loop_sendto(loop_t *loop, loop_request_t *request, loop_fd_t fd, const void *buf, size_t len,
                         uint32_t flags, const struct sockaddr *address, loop_socklen_t length,
                         loop_callback_t callback);

/**
 * As loop_send, from several buffers and with control data, as sendmsg(2). With LOOP_SEND_ALL the
 * control data goes with the first bytes.
 *
 * message   Borrowed until completion, with all it points to, and not changed.
 */
LOOP_API int loop_sendmsg(loop_t *loop, loop_request_t *request, loop_fd_t fd, const struct msghdr *message,
                          uint32_t flags, loop_callback_t callback);

/**
 * Shut down one or both directions of a connection, as shutdown(2). SHUT_WR and SHUT_RDWR wait for the
 * sends that were submitted before.
 *
 * how       SHUT_RD, SHUT_WR or SHUT_RDWR.
 * Delivers  0, or the errno of shutdown: LOOP_EBADF, LOOP_ENOTSOCK, LOOP_ENOTCONN, LOOP_EINVAL.
 */
LOOP_API int loop_shutdown(loop_t *loop, loop_request_t *request, loop_fd_t fd, int how,
                           loop_callback_t callback);

/**
 * Send part of a file. What of it is not in memory is read by a blocking thread.
 *
 * out_fd    A stream socket.
 * in_fd     A file; its position stays. Borrowed until completion.
 * offset    Where in the file to begin, in bytes.
 * len       How many bytes; the end of the file ends it earlier.
 * flags     0 or LOOP_SEND_ALL; others deliver LOOP_EINVAL.
 * Delivers  The number of bytes sent, which may be less than len; 0 = at the end of the file; or an
 *           error of loop_send or loop_pread.
 */
LOOP_API int loop_sendfile(loop_t *loop, loop_request_t *request, loop_fd_t out_fd, loop_fd_t in_fd,
                           uint64_t offset, size_t len, uint32_t flags, loop_callback_t callback);

/**
 * Move bytes between a pipe and another descriptor, or two pipes, within the kernel, as splice(2). Linux.
 *
 * in_fd, out_fd  From and to; at least one is a pipe. Borrowed until completion. In a loop of several threads
 *                loop_close and loop_cancel_fd end it by in_fd only.
 * in_offset, out_offset  Position in a file, or LOOP_NO_OFFSET for its current one, and for what has none.
 * flags     SPLICE_F_MOVE, SPLICE_F_MORE. SPLICE_F_NONBLOCK has no effect.
 * Delivers  The number of bytes moved, which may be less than len; 0 = at the end; or the errno of splice:
 *           LOOP_EBADF, LOOP_EINVAL, LOOP_ESPIPE, LOOP_EPIPE, ... LOOP_ENOSYS where it does not exist.
 */
LOOP_API int loop_splice(loop_t *loop, loop_request_t *request, loop_fd_t in_fd, uint64_t in_offset,
                         loop_fd_t out_fd, uint64_t out_offset, size_t len, uint32_t flags,
                         loop_callback_t callback);

#define LOOP_NO_OFFSET UINT64_MAX /* an offset of loop_splice: the current position, or none */

/**
 * Cancel all requests on a descriptor: those submitted before by this thread, and those of other threads
 * that the loop has taken in. The descriptor stays open. Each completes as after loop_cancel.
 *
 * Delivers  The number of requests that were asked to end.
 */
LOOP_API int loop_cancel_fd(loop_t *loop, loop_request_t *request, loop_fd_t fd, loop_callback_t callback);

/* ---- buffers on arrival ----------------------------------------------------------------------------- */

/*
 * A pool of buffers of one size, from which receives take one only when there is something to receive. So
 * connections that are idle hold none.
 */
typedef struct loop_buffers loop_buffers_t;

#define LOOP_BUFFERS_MAX 32768u /* the most buffers in a pool */

/**
 * Make a pool of buffers for receives in this loop.
 *
 * buffers_out   Set to the pool, or to NULL on failure. End it with loop_buffers_deinit, before the loop
 *               ends.
 * memory        buffer_count * buffer_size bytes, borrowed until loop_buffers_deinit; or NULL: the library
 *               allocates them.
 * buffer_size   Bytes of one buffer, at least 1.
 * buffer_count  Number of buffers, 1 to LOOP_BUFFERS_MAX. With several threads each gets an equal share;
 *               there must be one for each.
 * Returns       0, LOOP_EINVAL, LOOP_ENOMEM, LOOP_ESHUTDOWN, LOOP_ENOTSUP.
 * Threads       Any.
 */
LOOP_API int loop_buffers_init(loop_t *loop, loop_buffers_t **buffers_out, void *memory, uint32_t buffer_size,
                               uint32_t buffer_count);

/**
 * End a pool. Buffers that were not given back go with it.
 *
 * Returns   0, LOOP_EINVAL, LOOP_ENOTSUP, or LOOP_EBUSY: receives with this pool are in flight.
 * Threads   Any.
 */
LOOP_API int loop_buffers_deinit(loop_buffers_t *buffers);

/**
 * Receive into a buffer of a pool, taken when there are bytes. At completion LOOP_BUFFER in
 * request->flags says that there is one, which loop_buffer returns; it is yours until you give it back
 * with loop_buffer_return.
 *
 * flags     0 or LOOP_MULTISHOT; others deliver LOOP_EINVAL. With LOOP_MULTISHOT it receives until the
 *           end (0), an error, or a cancel, each with a shot of its own, the last one without LOOP_MORE.
 * Delivers  As loop_recv; LOOP_ENOBUFS: there is something to receive, and all buffers are out.
 */
LOOP_API int loop_recv_buffer(loop_t *loop, loop_request_t *request, loop_fd_t fd, loop_buffers_t *buffers,
                              uint32_t flags, loop_callback_t callback);

/**
 * The buffer that a completed loop_recv_buffer holds.
 *
 * Returns   The buffer, or NULL if there is none. Ask in the callback (or after loop_wait), before the
 *           request is submitted again, or its next shot comes.
 * Threads   That of the callback.
 */
LOOP_API void *loop_buffer(const loop_request_t *request);

/**
 * Give a buffer back to its pool.
 *
 * buffer    Any address within it.
 * Returns   0; LOOP_EINVAL: not of this pool, or not out.
 * Threads   Any.
 */
LOOP_API int loop_buffer_return(loop_buffers_t *buffers, void *buffer);

/* ---- names ------------------------------------------------------------------------------------------ */

/**
 * Look up the addresses of a host and a service, as getaddrinfo(3), on a blocking thread; look-ups have
 * a class of their own (loop_options_t.blocking_threads), so a server that does not answer delays no
 * file. A cancel or timeout takes effect at once.
 *
 * node, service  Copied before the call returns; either may be NULL, not both. Must be readable.
 * hints          Copied; may be NULL.
 * result_out     Set before the completion is delivered: the list, yours to free with freeaddrinfo(3),
 *                or NULL on failure. Borrowed until completion. NULL is LOOP_EINVAL (refused).
 * Delivers       0; LOOP_EAI_*; LOOP_ENOMEM, or another errno.
 */
LOOP_API int loop_getaddrinfo(loop_t *loop, loop_request_t *request, const char *node, const char *service,
                              const struct addrinfo *hints, struct addrinfo **result_out,
                              loop_callback_t callback);

/**
 * Look up the names of an address, as getnameinfo(3); otherwise as loop_getaddrinfo.
 *
 * address, length  Copied before the call returns. Must be readable.
 * host, service    Where the names go, terminated by a 0 byte; borrowed until completion. NULL (with a
 *                  length of 0) for what is not wanted.
 * flags            NI_* of the system.
 * Delivers         0; LOOP_EAI_OVERFLOW: a name does not fit; LOOP_EAI_*; LOOP_ENOMEM, or another errno.
 */
LOOP_API int loop_getnameinfo(loop_t *loop, loop_request_t *request, const struct sockaddr *address,
                              loop_socklen_t length, char *host, size_t host_len, char *service,
                              size_t service_len, int flags, loop_callback_t callback);

/* ---- timers, blocking work ------------------------------------------------------------------------ */

/**
 * Start a timer. It never fires early; timers due at the same time fire in the order of their start.
 *
 * delay_ns   Nanoseconds from now to the first shot; values too large for the clock mean "never".
 * period_ns  0 = one shot. Otherwise it completes with LOOP_MORE every period_ns until loop_cancel. Shots
 *            stay on the grid that the first one began; those missed while a callback ran long are not
 *            made up for.
 * Delivers   0; LOOP_ECANCELED; LOOP_ETIMEDOUT if request->timeout_ns is over first.
 */
LOOP_API int loop_timer_start(loop_t *loop, loop_request_t *request, uint64_t delay_ns,
                              uint64_t period_ns, loop_callback_t callback);

/**
 * Call `work` on a thread of the blocking pool, then complete. However long it takes, it delays neither
 * the loop nor file operations; see loop_options_t.blocking_threads.
 *
 * work      Gets the request; may set and read what request->user points to, and may submit other
 *           requests. LOOP_EINVAL (refused) if NULL. All signals are blocked in that thread.
 * Delivers  0 after work returned; LOOP_ECANCELED or LOOP_ETIMEDOUT if it never began.
 */
LOOP_API int loop_queue_work(loop_t *loop, loop_request_t *request, void (*work)(loop_request_t *request),
                             loop_callback_t callback);

/* ---- posts and strands ----------------------------------------------------------------------------- */

/**
 * Call a function in a turn of the loop, without a request: for messages from other threads. Those of one
 * thread are called in order, none is merged with another, and one call runs at a time. Each post that was
 * accepted is called once, in loop_deinit at the latest, and keeps loop_run from returning until then.
 *
 * function  Called in a thread that runs the loop; the rules of callbacks hold.
 * user      Passed on.
 * Returns   0; LOOP_ENOBUFS: LOOP_POSTS_MAX posts wait already; LOOP_EINVAL, LOOP_ENOMEM (at the first post
 *           only), LOOP_ESHUTDOWN, LOOP_ENOTSUP, LOOP_ENOTRECOVERABLE.
 * Threads   Any.
 */
LOOP_API int loop_post(loop_t *loop, void (*function)(loop_t *loop, void *user), void *user);

#define LOOP_POSTS_MAX 1024u /* the most posts that may wait in a loop */

/*
 * A strand: callbacks that must not run at the same time in a loop of several threads. Yours; zero it
 * before its first use, use it with one loop at a time, and keep it while requests refer to it.
 */
typedef struct loop_strand {
    uint64_t reserved[8]; /* private */
} loop_strand_t;

/**
 * Let the callbacks of a request run in a strand: one at a time, those of ticks in the order of their
 * submits, those of other requests as they complete. In a loop of one thread this is always so.
 *
 * strand    NULL = none. It stays set when the request is submitted again.
 * Returns   0, LOOP_EINVAL (request or strand misaligned, request NULL), LOOP_EBUSY (the request is in
 *           flight).
 * Threads   The owner of the request.
 */
LOOP_API int loop_set_strand(loop_request_t *request, loop_strand_t *strand);

#ifdef __cplusplus
}
#endif

#endif /* LOOP_H */
