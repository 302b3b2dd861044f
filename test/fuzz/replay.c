/*
 * Feeds inputs to the fuzz target without a fuzzer, each file that is named: those of a fuzzer as they are,
 * and texts (NAME.txt), which are written by hand. A line of a text is an instruction: the name of the
 * operation and up to seven numbers, for loop, request, fd, callback, a, b and c (fuzz.h says what they
 * mean); the rest are 0. What follows # is a comment.
 *
 * Usage: replay FILE...                 run them
 *        replay --assemble DIR FILE...  write each as the fuzzer wants it, into a directory
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY = INSTRUCTIONS * sizeof(instruction_t) };

static size_t fail(const char *file, unsigned line, const char *what)
{
    fprintf(stderr, "%s:%u: %s\n", file, line, what);
    exit(2);
}

static uint8_t operation_of(const char *name, const char *file, unsigned line)
{
    for (unsigned number = 0; operation_name(number) != NULL; number++) {
        if (strcmp(operation_name(number), name) == 0) {
            return (uint8_t)number;
        }
    }
    return (uint8_t)fail(file, line, "no such operation");
}

/* Translates the lines of a text. */
static size_t assemble(FILE *text, const char *file, uint8_t bytes[CAPACITY])
{
    char   line[256];
    size_t size = 0;
    for (unsigned number = 1; fgets(line, sizeof line, text) != NULL; number++) {
        char     name[64];
        unsigned n[7] = {0};
        line[strcspn(line, "#\n")] = '\0';
        if (sscanf(line, "%63s %u %u %u %u %u %u %u", name, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5],
                   &n[6]) < 1) {
            continue;
        }
        if (size == CAPACITY) {
            return fail(file, number, "too long");
        }
        instruction_t instruction = {operation_of(name, file, number), (uint8_t)n[0], (uint8_t)n[1],
                                     (uint8_t)n[2], (uint8_t)n[3], (uint8_t)n[4], (uint8_t)n[5],
                                     (uint8_t)n[6]};
        memcpy(bytes + size, &instruction, sizeof instruction);
        size += sizeof instruction;
    }
    return size;
}

static size_t read_input(const char *file, uint8_t bytes[CAPACITY])
{
    size_t length = strlen(file);
    FILE  *stream = fopen(file, "rb");
    if (stream == NULL) {
        return fail(file, 0, strerror(errno));
    }
    bool   is_text = length > 4 && strcmp(file + length - 4, ".txt") == 0;
    size_t size = is_text ? assemble(stream, file, bytes) : fread(bytes, 1, CAPACITY, stream);
    fclose(stream);
    return size;
}

static void write_input(const char *directory, const char *file, const uint8_t *bytes, size_t size)
{
    const char *slash = strrchr(file, '/');
    char        path[4096];
    snprintf(path, sizeof path, "%s/%s.bin", directory, slash == NULL ? file : slash + 1);
    FILE *stream = fopen(path, "wb");
    if (stream == NULL || fwrite(bytes, 1, size, stream) != size || fclose(stream) != 0) {
        fail(path, 0, "cannot be written");
    }
}

int main(int count, char *arguments[])
{
    static uint8_t bytes[CAPACITY];
    const char    *directory = count > 2 && strcmp(arguments[1], "--assemble") == 0 ? arguments[2] : NULL;
    int            first = directory == NULL ? 1 : 3;
    if (count <= first) {
        return (int)fail(arguments[0], 0, "no files are named");
    }
    for (int i = first; i < count; i++) {
        size_t size = read_input(arguments[i], bytes);
        if (directory != NULL) {
            write_input(directory, arguments[i], bytes, size);
        } else {
            LLVMFuzzerTestOneInput(bytes, size);
        }
    }
    printf("%d inputs\n", count - first);
    return 0;
}
