/*
 * Decode assists of SVM: operands and bytes of instructions in the VMCB
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "cpu.h"
#include "exec/exec-all.h"
#include "exec/helper-proto.h"
#include "tcg/insn-start-words.h"
#include "tcg/helper-tcg.h"
#include "tcg/svm-assists.h"

/* Set in EXITINFO1 by MOV, not by CLTS, LMSW and SMSW */
#define SVM_EXITINFO_MOV_CR (1ULL << 63)

static bool has_decode_assists(CPUX86State *env)
{
    return env->features[FEAT_SVM] & CPUID_SVM_DECODEASSIST;
}

/* Whether EXITINFO1 is the operand that the unwind data has */
static bool exit_has_operand(uint64_t exit_code)
{
    switch (exit_code) {
    case SVM_EXIT_READ_CR0 ... SVM_EXIT_WRITE_DR0 + 15:
    case SVM_EXIT_CR0_SEL_WRITE:
    case SVM_EXIT_SWINT:
        return true;
    default:
        return false;
    }
}

uint64_t svm_exit_info_1(CPUX86State *env, uint64_t exit_code,
                         uint64_t exit_info_1, uintptr_t retaddr)
{
    uint64_t data[TARGET_INSN_START_WORDS];

    if (!has_decode_assists(env) || !exit_has_operand(exit_code) ||
        !cpu_unwind_state_data(env_cpu(env), retaddr, data)) {
        return exit_info_1;
    }
    return FIELD_EX64(data[SVM_INSN_WORD], SVM_INSN, OPERAND) |
           (FIELD_EX64(data[SVM_INSN_WORD], SVM_INSN, MOV_CR) ?
            SVM_EXITINFO_MOV_CR : 0);
}

/* Check the intercept of INVLPG or INVLPGA, whose operand is an address. */
void helper_svm_check_invlpg(CPUX86State *env, uint32_t type, target_ulong addr)
{
    cpu_svm_check_intercept_param(env, type, has_decode_assists(env) ? addr : 0,
                                  GETPC());
}

/*
 * Whether the processor saves the bytes of the instruction: on a page fault of
 * its data, not on one of the fetch or of the delivery of an event
 */
static bool exit_has_insn_bytes(CPUX86State *env, uint64_t exit_code,
                                uint64_t exit_info_1)
{
    uint32_t event_inj;

    if (exit_code != SVM_EXIT_NPF &&
        exit_code != SVM_EXIT_EXCP_BASE + EXCP0E_PAGE) {
        return false;
    }
    event_inj = x86_ldl_phys(env_cpu(env), env->vm_vmcb +
                             offsetof(struct vmcb, control.event_inj));
    return !(exit_info_1 & PG_ERROR_I_D_MASK) &&
           !(event_inj & SVM_EVTINJ_VALID);
}

/*
 * Fetch the bytes at CS:EIP, up to the first that cannot be fetched, and return
 * how many there are.
 */
static int fetch_insn_bytes(CPUX86State *env, uint8_t *bytes, int size)
{
    int mmu_idx = cpu_mmu_index(env_cpu(env), true);
    bool code64 = env->hflags & HF_CS64_MASK;
    int len = 0;

    if (!code64) {
        uint32_t limit = env->segs[R_CS].limit;

        if (env->eip > limit) {
            return 0;
        }
        size = MIN(size, limit - env->eip + 1);
    }
    while (len < size) {
        vaddr addr = env->segs[R_CS].base + env->eip + len;
        int n;
        void *host;

        if (!code64) {
            addr = (uint32_t)addr;
        }
        n = MIN(size - len, -(addr | TARGET_PAGE_MASK));
        probe_access_flags(env, addr, n, MMU_INST_FETCH, mmu_idx, true,
                           &host, 0);
        if (!host) {
            break;
        }
        memcpy(bytes + len, host, n);
        len += n;
    }
    return len;
}

void svm_save_insn_bytes(CPUX86State *env, uint64_t exit_code,
                         uint64_t exit_info_1)
{
    CPUState *cs = env_cpu(env);
    uint8_t bytes[sizeof_field(struct vmcb, control.insn_bytes)];
    int len = 0;

    if (!has_decode_assists(env)) {
        return;
    }
    if (exit_has_insn_bytes(env, exit_code, exit_info_1)) {
        len = fetch_insn_bytes(env, bytes, sizeof(bytes));
    }
    x86_stb_phys(cs, env->vm_vmcb + offsetof(struct vmcb, control.insn_len),
                 len);
    for (int i = 0; i < len; i++) {
        x86_stb_phys(cs, env->vm_vmcb +
                     offsetof(struct vmcb, control.insn_bytes) + i, bytes[i]);
    }
}
