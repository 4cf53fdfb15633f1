/*
 * Reset vector, switch to 64-bit mode, and entry point of the wake-up interrupt
 *
 * The ROM copies itself to RAM, where all of it is linked. In a guest with
 * private memory, this RAM is private from the start, so that the host cannot
 * read the code, the page tables and the descriptors.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "layout.h"
#include "start-macros.S"

#define CPUID_FEATURES      1
#define CPUID_APIC_ID_SHIFT 24

/* Present, writable, accessed; and dirty, large page */
#define PAGE_TABLE          0x023
#define PAGE_LARGE          0x0e3

/* Offsets of the other page tables from the first one */
#define LOW_MAP             0x1000
#define DIRECT_MAP          0x2000

/* The first vCPU starts here after the copy, the others with a startup IPI. */
    .section .start, "ax"
    .code16
start16:
    ENTER_PROTECTED_MODE(gdt_pointer - start16, start32)

    .balign 8
gdt:
    GDT_ENTRIES
gdt_end:
gdt_pointer:
    .word   gdt_end - gdt - 1
    .long   gdt

/* The only code that runs in the ROM, which is one real-mode segment */
copy_image:
    cli
    cld
    movw    $(IMAGE_BASE >> 4), %ax
    movw    %ax, %es
    xorw    %si, %si
    xorw    %di, %di
    movw    $(IMAGE_SIZE / 2), %cx
    rep movsw %cs:(%si), %es:(%di)
    ljmp    $(IMAGE_BASE >> 4), $0

    .text
    .code32
start32:
    LOAD_DATA_SEGMENTS
    movl    $CR4_PAE, %eax
    movl    %eax, %cr4
    ENTER_LONG_MODE($page_map, 0, CR0_WP, start64)

    .code64
start64:
    movl    $CPUID_FEATURES, %eax
    cpuid
    shrl    $CPUID_APIC_ID_SHIFT, %ebx
    cmpl    $MAX_CPUS, %ebx
    jae     stop
    /* Stacks grow down: vCPU n starts at the end of stack n. */
    leal    1(%rbx), %eax
    imull   $CPU_STACK_SIZE, %eax, %eax
    leaq    cpu_stacks(%rax), %rsp
    xorl    %ebp, %ebp
    testl   %ebx, %ebx
    jnz     other_cpu

    movl    $bss_start, %edi
    movl    $bss_size, %ecx
    xorl    %eax, %eax
    rep stosb
    call    firmware_main
    jmp     stop

other_cpu:
    movl    %ebx, %edi
    call    other_cpu_main

stop:
    cli
    hlt
    jmp     stop

/* Entry point of the interrupt that ends a hlt. */
    .globl wake_stub
wake_stub:
    CALL_FROM_INTERRUPT handle_wake
    iretq

/* Page tables with 1 GiB pages: the first GiB, and the direct map */
    .section .page_tables, "aw"
    .balign 4096
page_map:
    .quad   page_map + LOW_MAP + PAGE_TABLE
    .quad   page_map + DIRECT_MAP + PAGE_TABLE
    .balign 4096
    /* LOW_MAP */
    .quad   0 * GIB + PAGE_LARGE
    .balign 4096
    /* DIRECT_MAP */
    GIB_PAGES 512, PAGE_LARGE

/* Aligned, so that a stack grows to another page only if it needs 4 KiB */
    .section .stacks, "aw", @nobits
    .balign 4096
cpu_stacks:
    .skip   MAX_CPUS * CPU_STACK_SIZE

    .section .reset, "ax"
    .code16
    .globl  reset
reset:
    jmp     copy_image
    .balign 16

    .section .note.GNU-stack, "", @progbits
