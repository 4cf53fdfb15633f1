/*
 * What the code of a vCPU needs: x86 instructions, guest memory, addresses
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_CPU_H
#define TESTS_NESTED_CPU_H

#include <stdint.h>

#include "direct-map.h"
#include "layout.h"
#include "x86.h"

static inline uint64_t read_tsc()
{
    uint32_t low, high;

    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

/*
 * Sleeps until an interrupt arrives. None is lost: the CPU accepts interrupts
 * only after the instruction that follows sti, which is hlt.
 */
static inline void wait_for_interrupt()
{
    asm volatile("sti; hlt; cli" : : : "memory");
}

#endif
