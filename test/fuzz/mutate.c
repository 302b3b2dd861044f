/*
 * How libFuzzer changes and mixes inputs of the fuzz target: by whole instructions, so that what follows a
 * change still means the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <string.h>

/* libFuzzer's names. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t capacity);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *first, size_t first_size, const uint8_t *second,
                                 size_t second_size, uint8_t *out, size_t capacity, unsigned seed);

enum { STEP = sizeof(instruction_t) };

static uint32_t random_below(uint64_t *state, size_t limit)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((*state >> 33) % limit);
}

/* Few numbers, as requests and descriptors should meet. */
static instruction_t random_instruction(uint64_t *state)
{
    static const size_t limits[STEP] = {256, LOOPS, ENTRIES, 6, 8, 16, 16, 16};
    uint8_t             bytes[STEP];
    instruction_t       made;
    for (size_t i = 0; i < STEP; i++) {
        bytes[i] = (uint8_t)random_below(state, limits[i]);
    }
    memcpy(&made, bytes, sizeof made);
    return made;
}

/* Opens a gap for one instruction. */
static size_t open_gap(uint8_t *data, size_t size, size_t at)
{
    memmove(data + at + STEP, data + at, size - at);
    return size + STEP;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed)
{
    uint64_t state = seed;
    size = size / STEP * STEP;
    size_t        at = size == 0 ? 0 : random_below(&state, size / STEP) * STEP;
    size_t        other = size == 0 ? 0 : random_below(&state, size / STEP) * STEP;
    bool          room = size + STEP <= capacity;
    instruction_t made = random_instruction(&state);
    switch (size == 0 ? 0 : random_below(&state, 8)) {
    case 0: /* a new one */
        if (room) {
            size = open_gap(data, size, at);
            memcpy(data + at, &made, STEP);
        }
        return size;
    case 1: /* one again elsewhere */
        if (room) {
            memcpy(&made, data + other, STEP);
            size = open_gap(data, size, at);
            memcpy(data + at, &made, STEP);
        }
        return size;
    case 2: /* one less */
        memmove(data + at, data + at + STEP, size - at - STEP);
        return size - STEP;
    case 3: /* two that change places */
        memcpy(&made, data + at, STEP);
        memmove(data + at, data + other, STEP);
        memcpy(data + other, &made, STEP);
        return size;
    case 4: /* a number of one */
        data[at + random_below(&state, STEP)] = (uint8_t)random_below(&state, 256);
        return size;
    case 5: /* a small number */
        data[at + random_below(&state, STEP)] = (uint8_t)random_below(&state, 8);
        return size;
    default:
        LLVMFuzzerMutate(data + at, STEP, STEP);
        return size;
    }
}

/* The beginning of one, and the end of the other. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *first, size_t first_size, const uint8_t *second,
                                 size_t second_size, uint8_t *out, size_t capacity, unsigned seed)
{
    uint64_t state = seed;
    size_t   head = random_below(&state, first_size / STEP + 1) * STEP;
    size_t   from = random_below(&state, second_size / STEP + 1) * STEP;
    size_t   tail = second_size / STEP * STEP - from;
    head = head > capacity ? capacity / STEP * STEP : head;
    tail = tail > capacity - head ? (capacity - head) / STEP * STEP : tail;
    memcpy(out, first, head);
    memcpy(out + head, second + from, tail);
    return head + tail;
}
