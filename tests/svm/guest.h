/*
 * The guest: a VMCB, nested page tables, and running it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SVM_GUEST_H
#define TESTS_SVM_GUEST_H

#include <stdint.h>

#include "vmcb.h"

/* The general registers that VMRUN leaves alone */
struct Registers {
    uint64_t rbx = GUEST_RBX, rcx = 0, rdx = 0, rsi = 0, rdi = 0, rbp = 0;
    uint64_t r8 = 0, r9 = 0, r10 = 0, r11 = 0, r12 = 0, r13 = 0, r14 = 0;
    uint64_t r15 = 0;
};

/*
 * Guest-physical pages that a test maps as it likes. All other addresses up to
 * 4 GiB are the hypervisor's own. Where the guest has paging, it has the same
 * page tables as the hypervisor, so all pages have their own address.
 */
constexpr uint64_t WINDOW_BASE = 0x40000000;
constexpr unsigned WINDOW_PAGES = 512;

/* There is one VMCB; a new guest starts with a new one. */
class Guest {
public:
    /* A guest in 64-bit mode, about to run @code with interrupts disabled */
    explicit Guest(const char *code);

    Vmcb &vmcb();
    Registers registers;
    /* Whether physical interrupts are taken while the guest runs */
    bool host_interrupts = false;

    /* The code is 32-bit code instead, up to @limit. */
    void use_code32(uint32_t limit = 0xffffffff);
    void intercept_everything();
    void inject(uint32_t type, uint8_t vector);
    void inject(uint32_t type, uint8_t vector, uint32_t error);

    void run();
};

void guest_init();

/* Maps page @page of the window, or unmaps it. */
void window_map(unsigned page, const void *memory);
void window_unmap(unsigned page);

/* Takes the guest's interrupt descriptors away, or gives them back. */
void guest_gates_unmap();
void guest_gates_map();

#endif
