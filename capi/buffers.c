/*
 * Pools of buffers: made, ended and refilled here; the engine takes from them (loop/request/bufferpool.go).
 */
#include "mailbox.h"
#include "state.h"

#include <stdlib.h>
#include <string.h>

/* Puts a buffer in the share of its loop thread. Numbers begin at 1. */
static void give(struct loop_buffers *buffers, uint32_t number) {
    struct share *share = &buffers->shares[(number - 1) % buffers->threads];
    uint32_t newest = atomic_load_explicit(&share->returned, memory_order_relaxed);
    do {
        buffers->buffers[number - 1].next = newest;
    } while (!atomic_compare_exchange_weak(&share->returned, &newest, number));
}

/* Finds a free place among the pools of a loop; POOLS = there is none. */
static uint32_t take_slot(loop_t *loop, uint32_t number) {
    uint32_t slot = 0;
    for (; slot < POOLS; slot++) {
        uint32_t none = 0;
        if (atomic_compare_exchange_strong(&loop->pools[slot], &none, number)) break;
    }
    return slot;
}

static void free_pool(struct loop_buffers *buffers) {
    free((void *)buffers->own_memory);
    free(buffers->buffers);
    free(buffers);
}

static struct loop_buffers *allocate(uint32_t threads, void *memory, uint32_t size, uint32_t count) {
    void *pool;
    if (posix_memalign(&pool, _Alignof(struct loop_buffers),
                       sizeof(struct loop_buffers) + threads * sizeof(struct share)) != 0) {
        return NULL;
    }
    struct loop_buffers *buffers = pool;
    memset(buffers, 0, sizeof *buffers + threads * sizeof(struct share));
    buffers->buffers = calloc(count, sizeof *buffers->buffers);
    if (memory == NULL) buffers->own_memory = (uintptr_t)(memory = malloc((size_t)size * count));
    if (buffers->buffers == NULL || memory == NULL) {
        free_pool(buffers);
        return NULL;
    }
    buffers->memory = (uintptr_t)memory;
    buffers->threads = threads;
    buffers->buffer_size = size;
    buffers->buffer_count = count;
    return buffers;
}

int loop_buffers_init(loop_t *loop, loop_buffers_t **buffers_out, void *memory, uint32_t buffer_size,
                      uint32_t buffer_count) {
    static _Atomic uint32_t last_number;
    if (buffers_out != NULL) *buffers_out = NULL;
    int error = check_loop(loop);
    if (error < 0) return error;
    uint32_t threads = loop->shared.threads;
    if (buffers_out == NULL || buffer_size == 0 || buffer_size > INT32_MAX) return LOOP_EINVAL;
    if (buffer_count < threads || buffer_count > LOOP_BUFFERS_MAX) return LOOP_EINVAL;
    struct loop_buffers *buffers = allocate(threads, memory, buffer_size, buffer_count);
    if (buffers == NULL) return LOOP_ENOMEM;
    do {
        buffers->number = atomic_fetch_add(&last_number, 1) + 1;
    } while (buffers->number == 0);
    buffers->loop = loop;
    buffers->slot = take_slot(loop, buffers->number);
    if (buffers->slot == POOLS) {
        free_pool(buffers);
        return LOOP_ENOMEM;
    }
    for (uint32_t number = buffer_count; number > 0; number--) {
        give(buffers, number);
    }
    *buffers_out = buffers;
    return 0;
}

/* Returns 0 if a pool is where one can be. */
static int check_pool(const loop_buffers_t *buffers) {
    if (capi_forked) return LOOP_ENOTSUP;
    return buffers == NULL || (uintptr_t)buffers % _Alignof(struct loop_buffers) != 0 ? LOOP_EINVAL : 0;
}

int loop_buffers_deinit(loop_buffers_t *buffers) {
    int error = check_pool(buffers);
    if (error < 0) return error;
    if (atomic_load(&buffers->users) != 0) return LOOP_EBUSY;
    uint32_t number = buffers->number;
    atomic_compare_exchange_strong(&buffers->loop->pools[buffers->slot], &number, 0);
    free_pool(buffers);
    return 0;
}

void *loop_buffer(const loop_request_t *request) {
    if (check_request(request) < 0 || (request->flags & LOOP_BUFFER) == 0) return NULL;
    return (void *)((const struct request *)request)->address;
}

int loop_buffer_return(loop_buffers_t *buffers, void *buffer) {
    int error = check_pool(buffers);
    if (error < 0) return error;
    uintptr_t distance = (uintptr_t)buffer - buffers->memory;
    if (distance / buffers->buffer_size >= buffers->buffer_count) return LOOP_EINVAL;
    uint32_t number = (uint32_t)(distance / buffers->buffer_size) + 1;
    if (atomic_exchange(&buffers->buffers[number - 1].out, 0) == 0) return LOOP_EINVAL;
    give(buffers, number);
    return 0;
}
