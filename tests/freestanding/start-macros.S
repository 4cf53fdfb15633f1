/*
 * Macros for start code: switches of the processor's mode, tables, and entry
 * points of interrupts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "descriptors.h"

#define CR0_PE     0x00000001
#define CR0_NE     0x00000020
#define CR0_WP     0x00010000
#define CR0_CD_NW  0x60000000
#define CR0_PG     0x80000000
#define CR4_PAE    0x00000020
#define MSR_EFER   0xc0000080
#define EFER_LME   0x00000100
#define GIB        0x40000000

/*
 * Switch from real mode to protected mode. @gdt_pointer is an offset in the
 * code segment, @target is a linear address.
 */
#define ENTER_PROTECTED_MODE(gdt_pointer, target) \
    cli;                                          \
    lgdtl   %cs:(gdt_pointer);                    \
    movl    %cr0, %eax;                           \
    andl    $~CR0_CD_NW, %eax;                    \
    orl     $CR0_PE, %eax;                        \
    movl    %eax, %cr0;                           \
    ljmpl   $SELECTOR_CODE32, $(target)

/*
 * Switch from protected mode with CR4.PAE to 64-bit mode. @page_map is the
 * operand with the address of the page tables; @efer_bits and @cr0_bits are set
 * in addition to the bits that the switch needs.
 */
#define ENTER_LONG_MODE(page_map, efer_bits, cr0_bits, target) \
    movl    page_map, %eax;                                    \
    movl    %eax, %cr3;                                        \
    movl    $MSR_EFER, %ecx;                                   \
    rdmsr;                                                     \
    orl     $(EFER_LME | (efer_bits)), %eax;                   \
    wrmsr;                                                     \
    movl    %cr0, %eax;                                        \
    orl     $(CR0_PG | (cr0_bits)), %eax;                      \
    movl    %eax, %cr0;                                        \
    ljmpl   $SELECTOR_CODE64, $target

    .macro  LOAD_DATA_SEGMENTS
    movw    $SELECTOR_DATA, %ax
    .irp    segment, ds, es, ss, fs, gs
    movw    %ax, %\segment
    .endr
    .endm

    .macro  GDT_ENTRIES
    .quad   0
    .quad   0x00cf9b000000ffff      /* SELECTOR_CODE32 */
    .quad   0x00af9b000000ffff      /* SELECTOR_CODE64 */
    .quad   0x00cf93000000ffff      /* SELECTOR_DATA */
    .endm

/* Entries of a page table that maps the first @count GiB 1:1 */
    .macro  GIB_PAGES count, flags
    .set    gib, 0
    .rept   \count
    .quad   gib * GIB + \flags
    .set    gib, gib + 1
    .endr
    .endm

/*
 * Entry points of the vectors below @count, STUB_SIZE bytes each. They jump to
 * @common with the vector and an error code on the stack.
 */
    .macro  STUBS count, common
    .set    vector, 0
    .rept   \count
    .balign STUB_SIZE
    /* The CPU pushes an error code for vectors 8, 10-14, 17, 21, 29 and 30. */
    .if vector > 31 || !((1 << (vector & 31)) & 0x60227d00)
    pushq   $0
    .endif
    pushq   $vector
    jmp     \common
    .set    vector, vector + 1
    .endr
    .endm

/*
 * Call a C++ function from the entry point of an interrupt. Its argument is the
 * stack pointer at this point.
 */
    .macro  CALL_FROM_INTERRUPT function
    .irp    register, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
    pushq   %\register
    .endr
    leaq    72(%rsp), %rdi
    cld
    call    \function
    .irp    register, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
    popq    %\register
    .endr
    .endm
