/*
 * Exceptions, which end the run, and the interrupt that wakes a vCPU
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_INTERRUPTS_H
#define TESTS_NESTED_INTERRUPTS_H

#include <stdint.h>

constexpr uint8_t WAKE_VECTOR = 0x40;

/* Fills the descriptor table that all vCPUs use. */
void interrupts_init();

/* Makes this vCPU use it. */
void interrupts_load();

#endif
