/*
 * Reset vector, switch to 64-bit mode, interrupt entry points, VMRUN
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "layout.h"

#define CR0_PE         0x00000001
#define CR0_NE         0x00000020
#define CR0_WP         0x00010000
#define CR0_PG         0x80000000
#define CR0_CD_NW      0x60000000
#define CR4_PAE        0x00000020
#define CR4_OSXSAVE    0x00040000
#define MSR_EFER       0xc0000080
#define EFER_LME       0x00000100
#define EFER_NXE       0x00000800
#define EFER_SVME      0x00001000

/* Present, writable, user, accessed; and dirty, large page */
#define PAGE_TABLE     0x027
#define PAGE_LARGE     0x0e7
#define GIB            0x40000000

#define BOOT_OFFSET    0xf000

    .section .boot, "ax"
    .code16
boot:
start16:
    cli
    lgdtl   %cs:(boot_gdt_pointer - boot + BOOT_OFFSET)
    movl    %cr0, %eax
    andl    $~CR0_CD_NW, %eax
    orl     $CR0_PE, %eax
    movl    %eax, %cr0
    ljmpl   $SELECTOR_CODE32, $(boot32 - IMAGE_BASE + ROM_BASE)

boot_gdt_pointer:
    .word   gdt_end - gdt - 1
    .long   gdt - IMAGE_BASE + ROM_BASE

    .code32
boot32:
    movw    $SELECTOR_DATA, %ax
    movw    %ax, %ds
    movw    %ax, %es
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
    cli
    lgdtl   %cs:(trampoline_gdt_pointer - trampoline)
    movl    %cr0, %eax
    andl    $~CR0_CD_NW, %eax
    orl     $CR0_PE, %eax
    movl    %eax, %cr0
    ljmpl   $SELECTOR_CODE32, $other_cpu32
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
    movw    $SELECTOR_DATA, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %ss
    lgdtl   gdt_pointer
    movl    $(CR4_PAE | CR4_OSXSAVE), %eax
    movl    %eax, %cr4
    movl    $page_map, %eax
    movl    %eax, %cr3
    movl    $MSR_EFER, %ecx
    rdmsr
    orl     $(EFER_LME | EFER_NXE | EFER_SVME), %eax
    wrmsr
    movl    %cr0, %eax
    orl     $(CR0_PG | CR0_WP | CR0_NE), %eax
    movl    %eax, %cr0
    ljmpl   $SELECTOR_CODE64, $start64

    .code64
start64:
    movl    %ebx, %ebx
    xorl    %ebp, %ebp
    call    *%rbx
1:  cli
    hlt
    jmp     1b

/*
 * Entry points of all vectors, STUB_SIZE bytes each. They give all frames the
 * same layout (struct Frame). The hypervisor and its guest have different
 * handlers.
 */
    .macro  STUBS handler
    .set    vector, 0
    .rept   VECTORS
    .balign STUB_SIZE
    /* Vectors 8, 10-14, 17, 21, 29 and 30 come with an error code. */
    .if vector > 31 || !((1 << (vector & 31)) & 0x60227d00)
    pushq   $0
    .endif
    pushq   $vector
    jmp     \handler
    .set    vector, vector + 1
    .endr
    .endm

    .macro  HANDLER function
    pushq   %rax
    pushq   %rcx
    pushq   %rdx
    pushq   %rsi
    pushq   %rdi
    pushq   %r8
    pushq   %r9
    pushq   %r10
    pushq   %r11
    leaq    72(%rsp), %rdi
    cld
    call    \function
    popq    %r11
    popq    %r10
    popq    %r9
    popq    %r8
    popq    %rdi
    popq    %rsi
    popq    %rdx
    popq    %rcx
    popq    %rax
    addq    $16, %rsp
    iretq
    .endm

    .globl  hypervisor_stubs
    .balign STUB_SIZE
hypervisor_stubs:
    STUBS   hypervisor_common
hypervisor_common:
    HANDLER hypervisor_interrupt

    .globl  guest_stubs
    .balign STUB_SIZE
guest_stubs:
    STUBS   guest_common
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
    .quad   0
    .quad   0x00cf9b000000ffff      /* SELECTOR_CODE32 */
    .quad   0x00cf93000000ffff      /* SELECTOR_DATA */
    .quad   0x00af9b000000ffff      /* SELECTOR_CODE64 */
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
1:  .set    gib, 0
    .rept   4
    .quad   gib * GIB + PAGE_LARGE
    .set    gib, gib + 1
    .endr
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
