/*
 * x86 instructions that C++ cannot express, for freestanding programs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FREESTANDING_X86_H
#define TESTS_FREESTANDING_X86_H

#include <stdint.h>

constexpr uint64_t PAGE_SIZE = 4096;

static inline void out8(uint16_t port, uint8_t value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint64_t read_msr(uint32_t msr)
{
    uint32_t low, high;

    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void write_msr(uint32_t msr, uint64_t value)
{
    asm volatile("wrmsr"
                 :
                 : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                 : "memory");
}

static inline void relax()
{
    asm volatile("pause" : : : "memory");
}

[[noreturn]] static inline void stop()
{
    for (;;) {
        asm volatile("cli; hlt");
    }
}

#endif
