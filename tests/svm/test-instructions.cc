/*
 * Intercepted instructions: exit code, address of the next one, operands
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "cpu.h"
#include "guest.h"
#include "tap.h"
#include "tests.h"
#include "text.h"
#include "vmcb.h"

namespace {

constexpr uint32_t CPUID_SVM = 0x8000000a;
constexpr unsigned CPUID_SVM_NEXT_RIP = 3;
constexpr unsigned CPUID_SVM_DECODE_ASSISTS = 7;

constexpr uint64_t RFLAGS_OVERFLOW = 1 << 11;
constexpr uint64_t CR0_TS = 1 << 3;
constexpr uint64_t CR0_NW = 1 << 29;
constexpr uint64_t CR0_CD = 1 << 30;

/* A row of the table in instructions.S */
struct Instruction {
    const char *name;
    const char *start;
    const char *end;
    uint64_t exit_code;
    uint64_t exit_info_1;
    uint64_t bits;
};

extern "C" const Instruction instructions[], instructions_end[];
extern "C" const char guest_rdtsc[], guest_rdtscp[], guest_sel_write[],
    guest_sel_write_mov[], guest_sel_write_end[];

Vmcb run(const Instruction &instruction)
{
    Guest guest(instruction.start);

    guest.intercept_everything();
    /* INTO raises its exception only if OF is set. */
    guest.vmcb().rflags |= RFLAGS_OVERFLOW;
    if (instruction.bits == 32) {
        guest.use_code32();
    }
    guest.run();
    return guest.vmcb();
}

/* Test @first and the next rows with its name; return the row after them. */
const Instruction *test_same_name(const Instruction *first)
{
    const Instruction *end = first + 1;

    while (end != instructions_end && text_equal(end->name, first->name)) {
        end++;
    }

    {
        Test test(first->name, "exit code, RIP");
        for (const Instruction *i = first; i != end; i++) {
            const Vmcb vmcb = run(*i);

            test.equal("exit code", vmcb.exit_code, i->exit_code);
            test.equal("RIP", vmcb.rip, address_of(i->start));
        }
    }
    {
        Test test(first->name, "next RIP");
        for (const Instruction *i = first; i != end; i++) {
            const Vmcb vmcb = run(*i);

            test.equal("next RIP", vmcb.next_rip, address_of(i->end));
            if (i->exit_code == SVM_EXIT_IOIO) {
                test.equal("EXITINFO2", vmcb.exit_info_2, address_of(i->end));
            }
        }
    }
    if (first->exit_info_1 != INFO_NOT_COMPARED) {
        Test test(first->name, "EXITINFO1");
        for (const Instruction *i = first; i != end; i++) {
            test.equal("EXITINFO1", run(*i).exit_info_1, i->exit_info_1);
        }
    }
    {
        Test test(first->name, "no instruction bytes");
        for (const Instruction *i = first; i != end; i++) {
            test.equal("number of bytes", run(*i).bytes_fetched, 0);
        }
    }
    return end;
}

/* @code is not the instruction of @intercept, but a similar one. */
void test_not_intercepted(const char *name, const char *code,
                          uint64_t intercept)
{
    Guest guest(code);

    guest.vmcb().intercept |= intercept;
    guest.run();
    Test(name, "no exit")
        .equal("exit code", guest.vmcb().exit_code, SVM_EXIT_VMMCALL);
}

void test_selective_write(const char *name, uint64_t change, bool exits)
{
    Guest guest(guest_sel_write);
    const Vmcb &vmcb = guest.vmcb();

    guest.vmcb().intercept |= SVM_INTERCEPT_CR0_SELECTED;
    guest.registers.rbx = 0;
    guest.registers.r12 = read_cr0() ^ change;
    guest.run();
    if (!exits) {
        Test(name, "no exit")
            .equal("exit code", vmcb.exit_code, SVM_EXIT_VMMCALL);
        return;
    }
    Test(name, "exit code, RIP")
        .equal("exit code", vmcb.exit_code, SVM_EXIT_CR0_SELECTED)
        .equal("RIP", vmcb.rip, address_of(guest_sel_write_mov));
    Test(name, "registers that were written earlier")
        .equal("RBX", guest.registers.rbx, 0x1234567);
    Test(name, "next RIP")
        .equal("next RIP", vmcb.next_rip, address_of(guest_sel_write_end));
    Test(name, "EXITINFO1")
        .equal("EXITINFO1", vmcb.exit_info_1, SVM_INFO_MOV_CR | 12);
}

} // namespace

void test_features()
{
    const uint32_t edx = cpuid_edx(CPUID_SVM);

    Test("CPUID", "NRIP save").equal("bit", edx >> CPUID_SVM_NEXT_RIP & 1, 1);
    Test("CPUID", "decode assists")
        .equal("bit", edx >> CPUID_SVM_DECODE_ASSISTS & 1, 1);
}

void test_instructions()
{
    for (const Instruction *i = instructions; i != instructions_end;) {
        i = test_same_name(i);
    }
    test_not_intercepted("RDTSC with the intercept of RDTSCP", guest_rdtsc,
                         SVM_INTERCEPT_RDTSCP);
    test_not_intercepted("RDTSCP with the intercept of RDTSC", guest_rdtscp,
                         SVM_INTERCEPT_RDTSC);
    test_selective_write("selective write of cr0", CR0_CD | CR0_NW, true);
    test_selective_write("selective write of cr0, TS only", CR0_TS, false);
}
