/*
 * Reset vector, switch to 64-bit mode, and interrupt entry points
 *
 * All code, descriptor tables and page tables stay in the ROM. In a guest with
 * private memory, the ROM is the only memory that is shared from the start. The
 * tables and the code must be shared: without decode assists and next-RIP, KVM
 * reads the instructions that it intercepts, and the page tables that map them,
 * from shared memory.
 *
 * In such a guest, the ROM is RAM. In a guest without private memory it is
 * read-only, and page tables cannot stay there: on AMD, the processor's walk of
 * a guest page table counts as a write, even if all accessed and dirty bits are
 * set. KVM would attribute this write to the instruction that caused the walk,
 * and emulate the instruction with the address of the page table entry.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "layout.h"
#include "start-macros.S"

#define MSR_APIC_BASE       0x1b
#define APIC_BASE_FIRST     0x00000100
#define CPUID_FEATURES      1
#define CPUID_APIC_ID_SHIFT 24

/* Present, writable, accessed; and dirty, large page */
#define PAGE_TABLE          0x023
#define PAGE_LARGE          0x0e3

/* Offsets of the other tables from the first one, and the total size */
#define LOW_MAP             0x1000
#define DIRECT_MAP          0x2000
#define PAGE_TABLES_SIZE    0x3000

/*
 * The start of the ROM is also copied to TRAMPOLINE_BASE: offsets from the base
 * of the code segment are the same in both places.
 */
    .section .start, "ax"
    .code16
    .globl start16
start16:
    ENTER_PROTECTED_MODE(gdt_pointer - start16, start32 + ROM_LINK_OFFSET)

    .balign 8
gdt:
    GDT_ENTRIES
gdt_end:
/* Written only to find out whether the ROM is writable */
rom_word:
    .long   0
gdt_pointer:
    .word   gdt_end - gdt - 1
    .long   gdt + ROM_LINK_OFFSET
    .globl start16_end
start16_end:

    .text
    .code32
start32:
    LOAD_DATA_SEGMENTS
    movl    $CR4_PAE, %eax
    movl    %eax, %cr4
    movl    $MSR_APIC_BASE, %ecx
    rdmsr
    testl   $APIC_BASE_FIRST, %eax
    jz      enable_paging

    /* The first vCPU decides for all whether the ROM is writable. */
    movl    $(page_map + ROM_LINK_OFFSET), page_map_pointer
    movl    rom_word + ROM_LINK_OFFSET, %eax
    notl    %eax
    movl    %eax, rom_word + ROM_LINK_OFFSET
    cmpl    rom_word + ROM_LINK_OFFSET, %eax
    je      enable_paging
    cld
    movl    $(page_map + ROM_LINK_OFFSET), %esi
    movl    $ram_page_map, %edi
    movl    $(PAGE_TABLES_SIZE / 4), %ecx
    rep movsl
    movl    $(ram_page_map + LOW_MAP + PAGE_TABLE), ram_page_map
    movl    $(ram_page_map + DIRECT_MAP + PAGE_TABLE), ram_page_map + 8
    movl    $ram_page_map, page_map_pointer

enable_paging:
    ENTER_LONG_MODE(page_map_pointer, 0, CR0_WP, start64)

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

    movl    $data_start, %edi
    movl    $data_image, %esi
    movl    $data_size, %ecx
    rep movsb
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

/*
 * Entry points of the exceptions, which give all of them the same stack frame
 * (struct ExceptionFrame)
 */
    .globl exception_stubs
    .balign STUB_SIZE
exception_stubs:
    STUBS   32, exception_common
exception_common:
    movq    %rsp, %rdi
    cld
    call    handle_exception
    jmp     stop

/* Entry point of the interrupt that ends a hlt. */
    .globl wake_stub
wake_stub:
    CALL_FROM_INTERRUPT handle_wake
    iretq

/*
 * Page tables with 1 GiB pages. They map the first GiB, with the firmware's
 * RAM; the last GiB below 4 GiB, at the linked address of the ROM and, for the
 * switch to 64-bit mode, at its physical address; and the direct map.
 */
    .section .page_tables, "a"
    .balign 4096
page_map:
    .quad   page_map + LOW_MAP + ROM_LINK_OFFSET + PAGE_TABLE
    .quad   page_map + DIRECT_MAP + ROM_LINK_OFFSET + PAGE_TABLE
    .balign 4096
    /* LOW_MAP */
    .quad   0 * GIB + PAGE_LARGE
    .quad   3 * GIB + PAGE_LARGE
    .quad   0
    .quad   3 * GIB + PAGE_LARGE
    .balign 4096
    /* DIRECT_MAP */
    GIB_PAGES 512, PAGE_LARGE

    .section .stacks, "aw", @nobits
    .balign 16
cpu_stacks:
    .skip   MAX_CPUS * CPU_STACK_SIZE
/* Page tables in use, and the copy for a guest whose ROM is read-only */
page_map_pointer:
    .skip   4
    .balign 4096
ram_page_map:
    .skip   PAGE_TABLES_SIZE

    .section .reset, "ax"
    .code16
    jmp     start16
    .balign 16

    .section .note.GNU-stack, "", @progbits
