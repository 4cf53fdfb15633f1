/*
 * Reset vector, switch to 64-bit mode, interrupt entry points, VMRUN
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "layout.h"
#include "start-macros.S"

#define CR4_OSXSAVE    0x00040000
#define EFER_NXE       0x00000800
#define EFER_SVME      0x00001000

/* Present, writable, user, accessed; and dirty, large page */
#define PAGE_TABLE     0x027
#define PAGE_LARGE     0x0e7

#define BOOT_OFFSET    0xf000

    .section .boot, "ax"
    .code16
boot:
start16:
    ENTER_PROTECTED_MODE(boot_gdt_pointer - boot + BOOT_OFFSET,
                         boot32 - IMAGE_BASE + ROM_BASE)

boot_gdt_pointer:
    .word   gdt_end - gdt - 1
    .long   gdt - IMAGE_BASE + ROM_BASE

    .code32
boot32:
    LOAD_DATA_SEGMENTS
    cld
    movl    $ROM_BASE, %esi
    movl    $IMAGE_BASE, %edi
    movl    $(IMAGE_SIZE / 4), %ecx
    rep movsl
    movl    $bss_start, %edi
    movl    $bss_end, %ecx
    subl    %edi, %ecx
    xorl    %eax, %eax
    rep stosb
    movl    $main_stack_end, %esp
    movl    $hypervisor_main, %ebx
    ljmpl   $SELECTOR_CODE32, $start32

    .section .reset, "ax"
    .code16
    .globl  reset
reset:
    jmp     start16
    .balign 16

/* Code that is copied to TRAMPOLINE_BASE */
    .text
    .code16
    .globl  trampoline
trampoline:
    ENTER_PROTECTED_MODE(trampoline_gdt_pointer - trampoline, other_cpu32)
trampoline_gdt_pointer:
    .word   gdt_end - gdt - 1
    .long   gdt
    .globl  trampoline_end
trampoline_end:

    .code32
other_cpu32:
    movl    $other_stack_end, %esp
    movl    $other_cpu_main, %ebx
start32:
    LOAD_DATA_SEGMENTS
    lgdtl   gdt_pointer
    movl    $(CR4_PAE | CR4_OSXSAVE), %eax
    movl    %eax, %cr4
    ENTER_LONG_MODE($page_map, EFER_NXE | EFER_SVME, CR0_WP | CR0_NE, start64)

    .code64
start64:
    movl    %ebx, %ebx
    xorl    %ebp, %ebp
    call    *%rbx
1:  cli
    hlt
    jmp     1b

/*
 * Entry points of all vectors, which give all frames the same layout (struct
 * Frame). The hypervisor and its guest have different handlers.
 */
    .macro  HANDLER function
    CALL_FROM_INTERRUPT \function
    addq    $16, %rsp
    iretq
    .endm

    .globl  hypervisor_stubs
    .balign STUB_SIZE
hypervisor_stubs:
    STUBS   VECTORS, hypervisor_common
hypervisor_common:
    HANDLER hypervisor_interrupt

    .globl  guest_stubs
    .balign STUB_SIZE
guest_stubs:
    STUBS   VECTORS, guest_common
guest_common:
    HANDLER guest_interrupt

/*
 * void vm_enter(uint64_t vmcb, Registers *registers, bool interrupts)
 *
 * Run the guest until it exits. With @interrupts, EFLAGS.IF is set at the
 * VMRUN, so that physical interrupts are taken in the guest.
 */
    .globl  vm_enter
vm_enter:
    pushq   %rbx
    pushq   %rbp
    pushq   %r12
    pushq   %r13
    pushq   %r14
    pushq   %r15
    pushq   %rsi
    clgi
    testb   %dl, %dl
    jz      1f
    sti
1:  movq    %rdi, %rax
    movq    0(%rsi), %rbx
    movq    8(%rsi), %rcx
    movq    16(%rsi), %rdx
    movq    32(%rsi), %rdi
    movq    40(%rsi), %rbp
    movq    48(%rsi), %r8
    movq    56(%rsi), %r9
    movq    64(%rsi), %r10
    movq    72(%rsi), %r11
    movq    80(%rsi), %r12
    movq    88(%rsi), %r13
    movq    96(%rsi), %r14
    movq    104(%rsi), %r15
    movq    24(%rsi), %rsi
    vmrun   %rax
    movq    (%rsp), %rax
    movq    %rbx, 0(%rax)
    movq    %rcx, 8(%rax)
    movq    %rdx, 16(%rax)
    movq    %rsi, 24(%rax)
    movq    %rdi, 32(%rax)
    movq    %rbp, 40(%rax)
    movq    %r8, 48(%rax)
    movq    %r9, 56(%rax)
    movq    %r10, 64(%rax)
    movq    %r11, 72(%rax)
    movq    %r12, 80(%rax)
    movq    %r13, 88(%rax)
    movq    %r14, 96(%rax)
    movq    %r15, 104(%rax)
    popq    %rax
    cli
    stgi
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %rbp
    popq    %rbx
    ret

    .data
    .balign 8
gdt:
    GDT_ENTRIES
gdt_end:
gdt_pointer:
    .word   gdt_end - gdt - 1
    .long   gdt

/* Four pages of 1 GiB, mapped 1:1 */
    .section .page_tables, "aw"
    .balign 4096
    .globl  page_map
page_map:
    .quad   1f + PAGE_TABLE
    .balign 4096
1:  GIB_PAGES 4, PAGE_LARGE
    .balign 4096

    .section .stacks, "aw", @nobits
    .balign 16
    .skip   STACK_SIZE
main_stack_end:
    .skip   STACK_SIZE
other_stack_end:
    .skip   STACK_SIZE
    .globl  guest_stack_end
guest_stack_end:

    .section .note.GNU-stack, "", @progbits
