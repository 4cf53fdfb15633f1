/*
 * The local APIC: a timer, and messages to another vCPU
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SVM_APIC_H
#define TESTS_SVM_APIC_H

#include <stdint.h>

void apic_init();
void apic_end_interrupt();
/* Request an interrupt with VECTOR_TIMER after @ticks of the APIC's timer. */
void apic_start_timer(uint32_t ticks);
/* Whether @vector has been requested but not taken */
bool apic_is_pending(uint8_t vector);
void apic_send(uint8_t to, uint8_t vector);
void apic_start_other(uint8_t id, uint8_t page);

#endif
