/*
 * Interrupts and exceptions, of the hypervisor and of its guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SVM_INTERRUPTS_H
#define TESTS_SVM_INTERRUPTS_H

#include <stdint.h>

#include "layout.h"

struct Frame {
    uint64_t vector;
    uint64_t error;
    uint64_t rip;
    uint64_t cs;
    uint64_t rflags;
    uint64_t rsp;
    uint64_t ss;
};

struct [[gnu::packed]] DescriptorTable {
    uint16_t limit;
    uint64_t base;
};

struct Gate {
    uint64_t low;
    uint64_t high;
};

/* Interrupts and exceptions that the guest has received */
struct GuestEvents {
    unsigned count[VECTORS];
    /* Frame of the last one */
    Frame last;
};

extern volatile unsigned hypervisor_interrupts[VECTORS];
extern GuestEvents guest_events;
extern Gate guest_gates[VECTORS];

/* Create both tables, on the first vCPU. Each vCPU loads the hypervisor's. */
void interrupts_init();
void interrupts_load();

#endif
