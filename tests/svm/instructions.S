/*
 * Instructions that a hypervisor can intercept, the expected #VMEXIT of each,
 * and other guest code
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "vmcb.h"

/*
 * A row of the table (struct Instruction). Consecutive rows with the same name
 * are one test.
 */
    .macro  ROW bits, exit, name, info, code:vararg
    .pushsection .rodata
1:  .asciz  "\name"
    .popsection
    .text
    .code\bits
2:  \code
3:  .code64
    .pushsection .instructions, "a"
    .balign 8
    .quad   1b, 2b, 3b, \exit, \info
    .long   \bits, 0
    .popsection
    .endm

/* A row whose EXITINFO1 is undefined or not compared */
    .macro  PLAIN exit, name, code:vararg
    ROW     64, \exit, "\name", INFO_NOT_COMPARED, \code
    .endm

    .macro  PLAIN32 exit, name, code:vararg
    ROW     32, \exit, "\name in 32-bit code", INFO_NOT_COMPARED, \code
    .endm

    .macro  REGISTERS macro, first, second, flag
    .set    number, 0
    .irp    register, rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, \
                      r8, r9, r10, r11, r12, r13, r14, r15
    \macro  \register, \first, \second, \flag
    .set    number, number + 1
    .endr
    .endm

    .macro  READ register, special, exit, flag
    ROW     64, \exit, "read of \special", (\flag | number), \
            mov %\special, %\register
    .endm

    .macro  WRITE register, special, exit, flag
    ROW     64, \exit, "write of \special", (\flag | number), \
            mov %\register, %\special
    .endm

    .irp    n, 0, 2, 3, 4, 8
    REGISTERS READ, cr\n, (SVM_EXIT_READ_CR0 + \n), SVM_INFO_MOV_CR
    REGISTERS WRITE, cr\n, (SVM_EXIT_WRITE_CR0 + \n), SVM_INFO_MOV_CR
    .endr
    .irp    n, 0, 1, 2, 3, 6, 7
    REGISTERS READ, db\n, (SVM_EXIT_READ_DR0 + \n), 0
    REGISTERS WRITE, db\n, (SVM_EXIT_WRITE_DR0 + \n), 0
    .endr

    ROW     64, SVM_EXIT_WRITE_CR0, "CLTS", 0, clts
    ROW     64, SVM_EXIT_WRITE_CR0, "LMSW", 0, lmsw %ax
    ROW     64, SVM_EXIT_READ_CR0, "SMSW", 0, smsw %eax
    ROW     64, SVM_EXIT_SWINT, "INT", 0x80, int $0x80
    ROW     64, SVM_EXIT_SWINT, "INT 3 of two bytes", 3, .byte 0xcd, 3
    ROW     64, SVM_EXIT_INVLPG, "INVLPG", (GUEST_RBX + 0x10), invlpg 0x10(%rbx)
    ROW     64, SVM_EXIT_INVLPGA, "INVLPGA", GUEST_RAX, invlpga %rax, %ecx
    ROW     64, SVM_EXIT_MSR, "RDMSR", 0, rdmsr
    ROW     64, SVM_EXIT_MSR, "WRMSR", 1, wrmsr

    PLAIN   (SVM_EXIT_EXCEPTION + 3), "INT3", int3
    PLAIN   SVM_EXIT_IDTR_READ, "SIDT", sidt (%rbx)
    PLAIN   SVM_EXIT_GDTR_READ, "SGDT", sgdt (%rbx)
    PLAIN   SVM_EXIT_LDTR_READ, "SLDT", sldt %ax
    PLAIN   SVM_EXIT_TR_READ, "STR", str %ax
    PLAIN   SVM_EXIT_IDTR_WRITE, "LIDT", lidt (%rbx)
    PLAIN   SVM_EXIT_GDTR_WRITE, "LGDT", lgdt (%rbx)
    PLAIN   SVM_EXIT_LDTR_WRITE, "LLDT", lldt %ax
    PLAIN   SVM_EXIT_TR_WRITE, "LTR", ltr %ax
    PLAIN   SVM_EXIT_RDTSC, "RDTSC", rdtsc
    PLAIN   SVM_EXIT_RDTSCP, "RDTSCP", rdtscp
    PLAIN   SVM_EXIT_RDPMC, "RDPMC", rdpmc
    PLAIN   SVM_EXIT_PUSHF, "PUSHF", pushfq
    PLAIN   SVM_EXIT_POPF, "POPF", popfq
    PLAIN   SVM_EXIT_CPUID, "CPUID", cpuid
    PLAIN   SVM_EXIT_CPUID, "CPUID with prefixes", \
            .byte 0x66, 0x2e, 0x48, 0x0f, 0xa2
    PLAIN   SVM_EXIT_IRET, "IRET", iretq
    PLAIN   SVM_EXIT_INVD, "INVD", invd
    PLAIN   SVM_EXIT_PAUSE, "PAUSE", pause
    PLAIN   SVM_EXIT_HLT, "HLT", hlt
    PLAIN   SVM_EXIT_IOIO, "IN", inb %dx, %al
    PLAIN   SVM_EXIT_IOIO, "OUT", outl %eax, $0x80
    PLAIN   SVM_EXIT_IOIO, "INS", rep insb
    PLAIN   SVM_EXIT_IOIO, "OUTS", rep outsw
    PLAIN   SVM_EXIT_VMRUN, "VMRUN", vmrun %rax
    PLAIN   SVM_EXIT_VMMCALL, "VMMCALL", vmmcall
    PLAIN   SVM_EXIT_VMLOAD, "VMLOAD", vmload %rax
    PLAIN   SVM_EXIT_VMSAVE, "VMSAVE", vmsave %rax
    PLAIN   SVM_EXIT_STGI, "STGI", stgi
    PLAIN   SVM_EXIT_CLGI, "CLGI", clgi
    PLAIN   SVM_EXIT_SKINIT, "SKINIT", skinit %eax
    PLAIN   SVM_EXIT_ICEBP, "INT1", .byte 0xf1
    PLAIN   SVM_EXIT_WBINVD, "WBINVD", wbinvd
    PLAIN   SVM_EXIT_MONITOR, "MONITOR", monitor
    PLAIN   SVM_EXIT_MWAIT, "MWAIT", mwait
    PLAIN   SVM_EXIT_XSETBV, "XSETBV", xsetbv

    PLAIN32 SVM_EXIT_CPUID, "CPUID", cpuid
    PLAIN32 SVM_EXIT_HLT, "HLT", hlt
    ROW     32, SVM_EXIT_READ_CR0, "read of cr0 in 32-bit code", \
            (SVM_INFO_MOV_CR | 7), mov %cr0, %edi
    PLAIN32 (SVM_EXIT_EXCEPTION + 3), "INT3", int3
    PLAIN32 (SVM_EXIT_EXCEPTION + 4), "INTO", into
    PLAIN32 (SVM_EXIT_EXCEPTION + 5), "BOUND", bound %eax, always_out_of_bounds

/* Code of other tests. NAME_end is the address after the code. */
    .macro  CODE name
    .globl  \name
\name:
    .endm

CODE    guest_sel_write
    movq    $0x1234567, %rbx
CODE    guest_sel_write_mov
    movq    %r12, %cr0
CODE    guest_sel_write_end
    vmmcall

CODE    guest_rdtsc
    rdtsc
    vmmcall
CODE    guest_rdtscp
    rdtscp
    vmmcall

CODE    guest_load
    movb    (%rbx), %al
    .skip   15, 0x90
CODE    guest_store
    movl    %eax, 0x10(%rbx)
    .skip   15, 0x90
CODE    guest_push
    pushq   %rax
    .skip   15, 0x90
CODE    guest_call
    call    *%rbx
    .code32
CODE    guest_load32
    movb    (%ebx), %al
    .skip   15, 0x90
    .code64

CODE    guest_vmmcall
    vmmcall

CODE    guest_sti_nop
    sti
    nop
CODE    guest_sti_nop_end
    nop
    vmmcall

CODE    guest_sti_cpuid
    sti
CODE    guest_sti_cpuid_cpuid
    cpuid
    vmmcall

/* Wait until the word at %rbx changes, and exit. */
CODE    guest_wait
    movl    (%rbx), %eax
1:  cmpl    %eax, (%rbx)
    je      1b
    vmmcall

/* Wait until the word at %rbx is not 0, enable interrupts, and exit. */
CODE    guest_wait_sti
    cmpl    $0, (%rbx)
    je      guest_wait_sti
    sti
    nop
    vmmcall

/* Increment the word at %rbx, wait until the one at %r12 is equal, and exit. */
CODE    guest_ask
    incl    (%rbx)
    movl    (%rbx), %eax
1:  cmpl    %eax, (%r12)
    jne     1b
    vmmcall

CODE    guest_write_cr8
    movq    %r12, %cr8
    nop
    vmmcall

CODE    guest_int_0x50
    int     $0x50
CODE    guest_int_0x50_end
    vmmcall

    .section .rodata
    .balign 8
always_out_of_bounds:
    .long   1, 0

    .section .note.GNU-stack, "", @progbits
