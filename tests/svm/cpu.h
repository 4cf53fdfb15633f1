/*
 * Instructions that C++ cannot express
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SVM_CPU_H
#define TESTS_SVM_CPU_H

#include <stdint.h>

#include "x86.h"

constexpr uint32_t MSR_EFER = 0xc0000080;
constexpr uint32_t MSR_VM_HSAVE_PA = 0xc0010117;

static inline uint32_t cpuid_edx(uint32_t leaf)
{
    uint32_t eax = leaf, ebx, ecx = 0, edx;

    asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return edx;
}

static inline uint64_t read_cr0()
{
    uint64_t value;

    asm volatile("movq %%cr0, %0" : "=r"(value));
    return value;
}

static inline uint64_t read_cr3()
{
    uint64_t value;

    asm volatile("movq %%cr3, %0" : "=r"(value));
    return value;
}

static inline uint64_t read_cr4()
{
    uint64_t value;

    asm volatile("movq %%cr4, %0" : "=r"(value));
    return value;
}

/* Take the pending physical interrupts. */
static inline void take_interrupts()
{
    asm volatile("sti; nop; nop; cli" : : : "memory");
}

/* Return the object at a physical address; memory is mapped 1:1. */
template <typename T> static inline T *at(uint64_t address)
{
    return reinterpret_cast<T *>(address);
}

template <typename T> static inline uint64_t address_of(T *pointer)
{
    return reinterpret_cast<uint64_t>(pointer);
}

#endif
