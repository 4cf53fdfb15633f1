/*
 * SVM definitions: the VMCB and its constants (AMD64 Architecture Programmer's
 * Manual, volume 2, appendices B and C)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SVM_VMCB_H
#define TESTS_SVM_VMCB_H

#define SVM_EXIT_READ_CR0     0x00
#define SVM_EXIT_WRITE_CR0    0x10
#define SVM_EXIT_READ_DR0     0x20
#define SVM_EXIT_WRITE_DR0    0x30
#define SVM_EXIT_EXCEPTION    0x40
#define SVM_EXIT_INTR         0x60
#define SVM_EXIT_VINTR        0x64
#define SVM_EXIT_CR0_SELECTED 0x65
#define SVM_EXIT_IDTR_READ    0x66
#define SVM_EXIT_GDTR_READ    0x67
#define SVM_EXIT_LDTR_READ    0x68
#define SVM_EXIT_TR_READ      0x69
#define SVM_EXIT_IDTR_WRITE   0x6a
#define SVM_EXIT_GDTR_WRITE   0x6b
#define SVM_EXIT_LDTR_WRITE   0x6c
#define SVM_EXIT_TR_WRITE     0x6d
#define SVM_EXIT_RDTSC        0x6e
#define SVM_EXIT_RDPMC        0x6f
#define SVM_EXIT_PUSHF        0x70
#define SVM_EXIT_POPF         0x71
#define SVM_EXIT_CPUID        0x72
#define SVM_EXIT_IRET         0x74
#define SVM_EXIT_SWINT        0x75
#define SVM_EXIT_INVD         0x76
#define SVM_EXIT_PAUSE        0x77
#define SVM_EXIT_HLT          0x78
#define SVM_EXIT_INVLPG       0x79
#define SVM_EXIT_INVLPGA      0x7a
#define SVM_EXIT_IOIO         0x7b
#define SVM_EXIT_MSR          0x7c
#define SVM_EXIT_VMRUN        0x80
#define SVM_EXIT_VMMCALL      0x81
#define SVM_EXIT_VMLOAD       0x82
#define SVM_EXIT_VMSAVE       0x83
#define SVM_EXIT_STGI         0x84
#define SVM_EXIT_CLGI         0x85
#define SVM_EXIT_SKINIT       0x86
#define SVM_EXIT_RDTSCP       0x87
#define SVM_EXIT_ICEBP        0x88
#define SVM_EXIT_WBINVD       0x89
#define SVM_EXIT_MONITOR      0x8a
#define SVM_EXIT_MWAIT        0x8b
#define SVM_EXIT_XSETBV       0x8d
#define SVM_EXIT_NPF          0x400

/* EXITINFO1 of an intercepted MOV of a control register */
#define SVM_INFO_MOV_CR 0x8000000000000000

/* Values that these tests define */
#define INFO_NOT_COMPARED 0x5555555555555555
#define GUEST_RAX         0x12345000
#define GUEST_RBX         0x23456000

#ifndef __ASSEMBLER__

#include <stddef.h>
#include <stdint.h>

constexpr uint64_t SVM_INTERCEPT_CR0_SELECTED = 1ULL << 5;
constexpr uint64_t SVM_INTERCEPT_VINTR = 1ULL << 4;
constexpr uint64_t SVM_INTERCEPT_INTR = 1ULL << 0;
constexpr uint64_t SVM_INTERCEPT_RDTSC = 1ULL << 14;
constexpr uint64_t SVM_INTERCEPT_CPUID = 1ULL << 18;
constexpr uint64_t SVM_INTERCEPT_VMRUN = 1ULL << 32;
constexpr uint64_t SVM_INTERCEPT_VMMCALL = 1ULL << 33;
constexpr uint64_t SVM_INTERCEPT_RDTSCP = 1ULL << 39;

constexpr uint32_t SVM_EVENT_VALID = 1U << 31;
constexpr uint32_t SVM_EVENT_HAS_ERROR = 1U << 11;
constexpr uint32_t SVM_EVENT_INTERRUPT = 0 << 8;
constexpr uint32_t SVM_EVENT_NMI = 2 << 8;
constexpr uint32_t SVM_EVENT_EXCEPTION = 3 << 8;
constexpr uint32_t SVM_EVENT_SOFTWARE = 4 << 8;

constexpr uint32_t SVM_V_TPR_MASK = 0xf;
constexpr uint32_t SVM_V_IRQ = 1U << 8;
constexpr uint32_t SVM_V_PRIORITY_SHIFT = 16;
constexpr uint32_t SVM_V_IGNORE_TPR = 1U << 20;
constexpr uint32_t SVM_V_INTR_MASKING = 1U << 24;

constexpr uint32_t SVM_INTERRUPT_SHADOW = 1;

constexpr uint64_t FAULT_WRITE = 1 << 1;
constexpr uint64_t FAULT_USER = 1 << 2;
constexpr uint64_t FAULT_FETCH = 1 << 4;

struct [[gnu::packed]] VmcbSegment {
    uint16_t selector;
    uint16_t attributes;
    uint32_t limit;
    uint64_t base;
};

struct [[gnu::packed]] Vmcb {
    uint16_t intercept_cr_read;
    uint16_t intercept_cr_write;
    uint16_t intercept_dr_read;
    uint16_t intercept_dr_write;
    uint32_t intercept_exceptions;
    uint64_t intercept;
    uint8_t reserved_1[0x2c];
    uint64_t io_map;
    uint64_t msr_map;
    uint64_t tsc_offset;
    uint32_t asid;
    uint32_t tlb_control;
    uint32_t interrupt_control;
    uint32_t interrupt_vector;
    uint64_t interrupt_state;
    uint64_t exit_code;
    uint64_t exit_info_1;
    uint64_t exit_info_2;
    uint32_t exit_event;
    uint32_t exit_event_error;
    uint64_t nested_control;
    uint8_t reserved_2[0x10];
    uint32_t event;
    uint32_t event_error;
    uint64_t nested_cr3;
    uint64_t lbr_control;
    uint64_t clean;
    uint64_t next_rip;
    uint8_t bytes_fetched;
    uint8_t bytes[15];
    uint8_t reserved_3[0x320];

    VmcbSegment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    uint8_t reserved_4[0x2b];
    uint8_t cpl;
    uint32_t reserved_5;
    uint64_t efer;
    uint8_t reserved_6[0x70];
    uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
    uint8_t reserved_7[0x58];
    uint64_t rsp;
    uint8_t reserved_8[0x18];
    uint64_t rax;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t cr2;
    uint8_t reserved_9[0x20];
    uint64_t pat;
    uint8_t reserved_10[0x990];
};

static_assert(offsetof(Vmcb, io_map) == 0x40);
static_assert(offsetof(Vmcb, exit_code) == 0x70);
static_assert(offsetof(Vmcb, event) == 0xa8);
static_assert(offsetof(Vmcb, next_rip) == 0xc8);
static_assert(offsetof(Vmcb, bytes) == 0xd1);
static_assert(offsetof(Vmcb, es) == 0x400);
static_assert(offsetof(Vmcb, efer) == 0x4d0);
static_assert(offsetof(Vmcb, cr4) == 0x548);
static_assert(offsetof(Vmcb, rip) == 0x578);
static_assert(offsetof(Vmcb, rsp) == 0x5d8);
static_assert(offsetof(Vmcb, rax) == 0x5f8);
static_assert(offsetof(Vmcb, pat) == 0x668);
static_assert(sizeof(Vmcb) == 4096);

#endif

#endif
