/*
 * An error of the program that is in plain sight of the library alone: the C files in capi/ touch the
 * request, and only if they are instrumented does the sanitizer see it. test/sanitize.sh wants a report. The
 * argument says which: freed, uninitialised, or race.
 *
 * SPDX-License-Identifier: MIT
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"

static loop_strand_t strand;

static void *set_strand(void *request)
{
    for (int i = 0; i < 100; i++) { /* few: the sanitizer reports no access that it does not remember */
        loop_set_strand(request, &strand);
    }
    return NULL;
}

static void race_for(loop_request_t *request)
{
    pthread_t other;
    memset(request, 0, sizeof *request);
    if (pthread_create(&other, NULL, set_strand, request) == 0) {
        set_strand(request);
        pthread_join(other, NULL);
    }
    free(request);
}

int main(int count, char **arguments)
{
    loop_request_t *request = aligned_alloc(_Alignof(loop_request_t), sizeof *request);
    if (count != 2 || request == NULL) {
        return 2;
    }
    if (strcmp(arguments[1], "race") == 0) {
        race_for(request);
        return 0;
    }
    if (strcmp(arguments[1], "freed") == 0) {
        memset(request, 0, sizeof *request);
        free(request);
    }
    loop_set_strand(request, &strand);
    return 0;
}
