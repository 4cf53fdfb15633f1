/*
 * NRIP save of SVM: the address of the next instruction in the VMCB
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "cpu.h"
#include "exec/exec-all.h"
#include "tcg/insn-start-words.h"
#include "tcg/helper-tcg.h"
#include "tcg/svm-assists.h"

static bool has_nrips(CPUX86State *env)
{
    return env->features[FEAT_SVM] & CPUID_SVM_NRIPSAVE;
}

/* Whether an instruction causes a #VMEXIT with @exit_code */
static bool is_exit_of_insn(uint64_t exit_code)
{
    switch (exit_code) {
    case SVM_EXIT_READ_CR0 ... SVM_EXIT_WRITE_DR0 + 15:
    case SVM_EXIT_EXCP_BASE + EXCP03_INT3:
    case SVM_EXIT_EXCP_BASE + EXCP04_INTO:
    case SVM_EXIT_EXCP_BASE + EXCP05_BOUND:
    case SVM_EXIT_CR0_SEL_WRITE ... SVM_EXIT_MSR:
    case SVM_EXIT_VMRUN ... SVM_EXIT_XSETBV:
        return true;
    default:
        return false;
    }
}

void svm_save_next_rip(CPUX86State *env, uint64_t exit_code, uintptr_t retaddr)
{
    CPUState *cs = env_cpu(env);
    uint64_t data[TARGET_INSN_START_WORDS];
    target_ulong next_rip = 0;

    if (!has_nrips(env)) {
        return;
    }
    if (is_exit_of_insn(exit_code) &&
        cpu_unwind_state_data(cs, retaddr, data)) {
        next_rip = env->eip +
                   FIELD_EX64(data[SVM_INSN_WORD], SVM_INSN, LEN);
        if (!(env->hflags & HF_CS64_MASK)) {
            next_rip = (uint32_t)next_rip;
        }
    }
    x86_stq_phys(cs, env->vm_vmcb + offsetof(struct vmcb, control.next_rip),
                 next_rip);
}

target_ulong svm_injected_next_eip(CPUX86State *env)
{
    if (!has_nrips(env)) {
        return env->eip;
    }
    return x86_ldq_phys(env_cpu(env), env->vm_vmcb +
                        offsetof(struct vmcb, control.next_rip));
}

bool svm_injected_is_int(CPUX86State *env, uint8_t vector)
{
    return has_nrips(env) &&
           (vector == EXCP03_INT3 || vector == EXCP04_INTO);
}
