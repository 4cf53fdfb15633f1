/*
 * The other vCPU: it disturbs the first one
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SVM_OTHER_CPU_H
#define TESTS_SVM_OTHER_CPU_H

#include <stdint.h>

/*
 * Work of the other vCPU, which repeats it until done equals wanted. Both the
 * hypervisor and the guest can request work and wait for it.
 */
struct Task {
    volatile uint32_t wanted;
    volatile uint32_t done;
};

/* Send an interrupt with VECTOR_IPI. */
extern Task other_cpu_ipi;
/* Make QEMU stop all other vCPUs briefly. */
extern Task other_cpu_kick;
/* Load the state of the FPU a hundred times. */
extern Task other_cpu_fpu;

void other_cpu_start();

#endif
