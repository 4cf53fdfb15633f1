/*
 * Handlers of exceptions, which end the run, and of the wake-up interrupt
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_INTERRUPTS_H
#define TESTS_NESTED_INTERRUPTS_H

#include <stdint.h>

constexpr uint8_t WAKE_VECTOR = 0x40;

/* Fills the IDT, which all vCPUs share, and loads it on this vCPU. */
void interrupts_init();

/* Loads the IDT on this vCPU. */
void interrupts_load();

#endif
