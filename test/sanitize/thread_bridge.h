/*
 * What ThreadSanitizer has to be told about libloop: it is included before each C file of capi/ in the cell
 * `thread` of test/sanitize.sh, and nowhere else.
 *
 * ThreadSanitizer sees the atomics of C and, by what cgo adds, every call between C and Go as a lock of one
 * variable, _cgo_sync. It does not see the atomics of Go. A request that one thread pushes in C, a second
 * takes and passes on in Go, and a third takes in C looks as if nothing had ordered the first and the third.
 * Here each sequentially consistent write, by which requests change hands, is a lock of the same variable,
 * too. That hides races between threads which such a write happens to order, and invents none.
 *
 * SPDX-License-Identifier: MIT
 */
#ifdef LOOP_BUILDING /* capi/, not the C files of the Go runtime */

#define _GNU_SOURCE 1 /* as some of these files do for what they include */
#include <stdatomic.h>

extern long long _cgo_sync;
void __tsan_acquire(void *address);
void __tsan_release(void *address);

static inline void bridge_release(void) { __tsan_release(&_cgo_sync); }
static inline void bridge_acquire(void) { __tsan_acquire(&_cgo_sync); }

/* The value of the operation, done between the two halves of the lock. */
#define BRIDGED(operation)                   \
    __extension__({                          \
        bridge_release();                    \
        __auto_type bridged_ = (operation);  \
        bridge_acquire();                    \
        bridged_;                            \
    })

#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_strong
#undef atomic_exchange
#undef atomic_store
#define atomic_compare_exchange_weak(object, expected, desired)                                              \
    BRIDGED(__c11_atomic_compare_exchange_weak(object, expected, desired, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
#define atomic_compare_exchange_strong(object, expected, desired)                                            \
    BRIDGED(                                                                                                 \
        __c11_atomic_compare_exchange_strong(object, expected, desired, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
#define atomic_exchange(object, desired) BRIDGED(__c11_atomic_exchange(object, desired, __ATOMIC_SEQ_CST))
#define atomic_store(object, desired) \
    (bridge_release(), __c11_atomic_store(object, desired, __ATOMIC_SEQ_CST))

#endif /* LOOP_BUILDING */
