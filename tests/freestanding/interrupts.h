/*
 * Interrupt descriptor table, and the handler of exceptions, which ends the run
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FREESTANDING_INTERRUPTS_H
#define TESTS_FREESTANDING_INTERRUPTS_H

#include <stdint.h>

/*
 * Sets the handlers of exceptions in the IDT, which all vCPUs share, and loads
 * it on this vCPU.
 */
void interrupts_init();

/* Sets the entry point of the interrupt @vector. */
void interrupts_set_handler(uint8_t vector, const char *entry);

/* Loads the IDT on this vCPU. */
void interrupts_load();

#endif
