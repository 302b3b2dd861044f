/*
 * The proof that a loop with nothing to do does nothing.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LOOP_SOAK_IDLE_H
#define LOOP_SOAK_IDLE_H

#include "program.h"

/* Watches an idle loop with 10,000 connected sockets for so long; prints a line of JSON. */
bool prove_idle(const program_options_t *options, double seconds);

#endif /* LOOP_SOAK_IDLE_H */
