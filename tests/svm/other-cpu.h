/*
 * The other vCPU: it interrupts the first one
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SVM_OTHER_CPU_H
#define TESTS_SVM_OTHER_CPU_H

#include <stdint.h>

/*
 * How often it shall have done something, and has done it. A guest can ask,
 * too, and then knows when it has been done.
 */
struct Task {
    volatile uint32_t wanted;
    volatile uint32_t done;
};

/* Sends an interrupt with VECTOR_IPI. */
extern Task other_cpu_ipi;
/* Makes QEMU stop all other vCPUs for a moment, as for work that is queued. */
extern Task other_cpu_kick;

void other_cpu_start();

#endif
