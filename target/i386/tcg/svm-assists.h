/*
 * NRIP save and decode assists of SVM: what a processor saves on #VMEXIT about
 * the instruction, so that the hypervisor need not read and decode it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_TCG_SVM_ASSISTS_H
#define TARGET_I386_TCG_SVM_ASSISTS_H

#include "hw/registerfields.h"

/*
 * Word 2 of the unwind data of an instruction, which is 0 outside an SVM guest:
 * the length in bytes; the number of the general register that a MOV copies
 * from or to a control or debug register, or the vector of INTn; and whether
 * the instruction is a MOV from or to a control register
 */
#define SVM_INSN_WORD 2
FIELD(SVM_INSN, LEN, 0, 4)
FIELD(SVM_INSN, OPERAND, 4, 8)
FIELD(SVM_INSN, MOV_CR, 12, 1)

/*
 * The following functions are called on #VMEXIT, after cpu_restore_state() with
 * @retaddr.  They do nothing if the processor lacks the feature.
 */

/*
 * Save the address of the next instruction, or 0 if the #VMEXIT was not caused
 * by an instruction.
 */
void svm_save_next_rip(CPUX86State *env, uint64_t exit_code,
                       uintptr_t retaddr);

/*
 * Return EXITINFO1: the operand of the instruction if the processor saves it
 * there, else @exit_info_1.
 */
uint64_t svm_exit_info_1(CPUX86State *env, uint64_t exit_code,
                         uint64_t exit_info_1, uintptr_t retaddr);

/* Save the bytes of an instruction whose access to data caused a page fault. */
void svm_save_insn_bytes(CPUX86State *env, uint64_t exit_code,
                         uint64_t exit_info_1);

/* The following functions are called when VMRUN injects an event. */

/*
 * Return the address to which an injected software interrupt returns: RIP if
 * the processor lacks NRIP save.
 */
target_ulong svm_injected_next_eip(CPUX86State *env);

/*
 * Whether an injected exception is that of INT3 or INTO and returns to
 * svm_injected_next_eip(), like a software interrupt
 */
bool svm_injected_is_int(CPUX86State *env, uint8_t vector);

#endif
