/*
 * Reset vector and switch to 64-bit mode. Only the first vCPU runs this; Linux
 * starts the others itself.
 *
 * All code, descriptor tables and page tables stay in the ROM, because the RAM
 * is converted, and loses its content.
 *
 * In a guest with private memory, the ROM is RAM. In any other guest it is
 * read-only, and page tables cannot stay there: on AMD, the processor's walk of
 * a guest page table counts as a write, even if all accessed and dirty bits are
 * set. KVM would attribute this write to the instruction that caused the walk,
 * and emulate the instruction with the address of the page table entry.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "memory-layout.h"
#include "start-macros.S"

/* Present, writable, accessed; and dirty, large page */
#define PAGE_TABLE          0x023
#define PAGE_LARGE          0x0e3

/* Offsets of the other tables from the first one, and the total size */
#define LOW_MAP             0x1000
#define DIRECT_MAP          0x2000
#define PAGE_TABLES_SIZE    0x3000

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

    .text
    .code32
start32:
    LOAD_DATA_SEGMENTS
    movl    $CR4_PAE, %eax
    movl    %eax, %cr4

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
    xorl    %ebp, %ebp
    /* The content of memory that is converted is lost, including the stack. */
    movl    $EARLY_STACK_END, %esp
    call    make_own_ram_private
    movq    %rax, %rbx
    movl    $stack_end, %esp
    cld
    movl    $data_start, %edi
    movl    $data_image, %esi
    movl    $data_size, %ecx
    rep movsb
    movl    $bss_start, %edi
    movl    $bss_size, %ecx
    xorl    %eax, %eax
    rep stosb
    movq    %rbx, %rdi
    call    loader_main

stop:
    cli
    hlt
    jmp     stop

/*
 * Page tables with 1 GiB pages. They map the first GiB, with the variables;
 * the last GiB below 4 GiB, at the linked address of the ROM and, for the
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

    .section .uninitialized, "aw", @nobits
    .balign 16
    .skip   STACK_SIZE
stack_end:
/* Page tables in use, and the copy for a guest whose ROM is read-only */
    .balign 4
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
