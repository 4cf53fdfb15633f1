/*
 * The guest: its VMCB, nested page tables and VMRUN
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SVM_GUEST_H
#define TESTS_SVM_GUEST_H

#include <stdint.h>

#include "vmcb.h"

/* General registers that VMRUN does not load or save */
struct Registers {
    uint64_t rbx = GUEST_RBX, rcx = 0, rdx = 0, rsi = 0, rdi = 0, rbp = 0;
    uint64_t r8 = 0, r9 = 0, r10 = 0, r11 = 0, r12 = 0, r13 = 0, r14 = 0;
    uint64_t r15 = 0;
};

/*
 * Guest-physical pages that tests can map. All other guest addresses up to
 * 4 GiB are mapped 1:1. A guest with paging uses the page tables of the
 * hypervisor, which also map memory 1:1.
 */
constexpr uint64_t WINDOW_BASE = 0x40000000;

/* All guests use the same VMCB, which the constructor initializes. */
class Guest {
public:
    /* A guest in 64-bit mode that runs @code with interrupts disabled */
    explicit Guest(const char *code);

    Vmcb &vmcb();
    Registers registers;
    /* Whether physical interrupts are taken while the guest runs */
    bool host_interrupts = false;

    /* Run 32-bit code instead, with a segment limit of @limit. */
    void use_code32(uint32_t limit = 0xffffffff);
    void intercept_everything();
    void inject(uint32_t type, uint8_t vector);
    void inject(uint32_t type, uint8_t vector, uint32_t error);

    void run();
};

void guest_init();

/* Map or unmap page @page of the window. */
void window_map(unsigned page, const void *memory);
void window_unmap(unsigned page);

/* Unmap or map the page of the guest's interrupt descriptors. */
void guest_gates_unmap();
void guest_gates_map();

#endif
