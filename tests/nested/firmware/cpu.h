/*
 * x86 instructions that C++ cannot express
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_CPU_H
#define TESTS_NESTED_CPU_H

#include <stdint.h>

#include "layout.h"
#include "x86.h"

static inline void out16(uint16_t port, uint16_t value)
{
    asm volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t value)
{
    asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;

    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint16_t in16(uint16_t port)
{
    uint16_t value;

    asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t in32(uint16_t port)
{
    uint32_t value;

    asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t read_tsc()
{
    uint32_t low, high;

    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static inline uint64_t read_cr2()
{
    uint64_t value;

    asm volatile("movq %%cr2, %0" : "=r"(value));
    return value;
}

/*
 * Sleeps until an interrupt arrives. None is lost: the CPU accepts interrupts
 * only after the instruction that follows sti, which is hlt.
 */
static inline void wait_for_interrupt()
{
    asm volatile("sti; hlt; cli" : : : "memory");
}

/* Returns a pointer to guest memory or device registers at @gpa. */
template <typename T> static inline T *at_gpa(uint64_t gpa)
{
    return reinterpret_cast<T *>(DIRECT_MAP_BASE + gpa);
}

#endif
