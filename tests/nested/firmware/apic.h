/*
 * Local APIC in x2APIC mode, in which its registers are MSRs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_APIC_H
#define TESTS_NESTED_APIC_H

#include <stdint.h>

/* Enables the local APIC of this vCPU. */
void apic_enable();

/* Starts all other vCPUs in real mode at @address, a page below 1 MiB. */
void apic_start_others(uint32_t address);

/* Sends the interrupt @vector to all other vCPUs. */
void apic_interrupt_others(uint8_t vector);

void apic_end_of_interrupt();

#endif
