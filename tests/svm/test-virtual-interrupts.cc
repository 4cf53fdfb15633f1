/*
 * Virtual interrupts: when they are taken, and how they are reported
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "cpu.h"
#include "guest.h"
#include "interrupts.h"
#include "tap.h"
#include "tests.h"
#include "vmcb.h"

namespace {

constexpr uint8_t INTERRUPT = 0x51;
/* The vector of an exception with an error code */
constexpr uint8_t LIKE_EXCEPTION = 13;
constexpr uint64_t RFLAGS_IF = 1 << 9;
constexpr uint64_t RFLAGS_INIT = 1 << 1;

extern "C" const char guest_vmmcall[], guest_sti_nop[], guest_sti_nop_end[],
    guest_sti_cpuid[], guest_sti_cpuid_cpuid[], guest_write_cr8[];

class VirtualInterrupt : public Guest {
public:
    VirtualInterrupt(const char *code, bool enabled, uint8_t vector = INTERRUPT)
        : Guest(code)
    {
        vmcb().interrupt_control =
            SVM_V_IRQ | SVM_V_INTR_MASKING | SVM_V_IGNORE_TPR;
        vmcb().interrupt_vector = vector;
        vmcb().rflags = RFLAGS_INIT | (enabled ? RFLAGS_IF : 0);
    }

    bool requested() { return vmcb().interrupt_control & SVM_V_IRQ; }
};

void test_taken()
{
    VirtualInterrupt guest(guest_vmmcall, true);

    guest.run();
    Test("virtual interrupt", "taken")
        .equal("exit code", guest.vmcb().exit_code, SVM_EXIT_VMMCALL)
        .equal("number of interrupts", guest_events.count[INTERRUPT], 1)
        .equal("saved RIP", guest_events.last.rip, address_of(guest_vmmcall))
        .equal("V_IRQ", guest.requested(), false);
}

void test_disabled()
{
    VirtualInterrupt guest(guest_vmmcall, false);

    guest.run();
    Test("virtual interrupt", "not taken with interrupts disabled")
        .equal("exit code", guest.vmcb().exit_code, SVM_EXIT_VMMCALL)
        .equal("number of interrupts", guest_events.count[INTERRUPT], 0)
        .equal("V_IRQ", guest.requested(), true);
}

void test_window()
{
    VirtualInterrupt guest(guest_sti_nop, false);

    guest.vmcb().intercept |= SVM_INTERCEPT_VINTR;
    guest.run();
    Test("virtual interrupt", "intercepted after the shadow of STI")
        .equal("exit code", guest.vmcb().exit_code, SVM_EXIT_VINTR)
        .equal("RIP", guest.vmcb().rip, address_of(guest_sti_nop_end))
        .equal("interrupt state", guest.vmcb().interrupt_state, 0)
        .equal("number of interrupts", guest_events.count[INTERRUPT], 0);
    Test("virtual interrupt", "no next RIP")
        .equal("next RIP", guest.vmcb().next_rip, 0);
}

void test_shadow()
{
    VirtualInterrupt guest(guest_sti_cpuid, false);

    guest.vmcb().intercept |= SVM_INTERCEPT_CPUID;
    guest.run();
    Test("interrupt shadow", "saved")
        .equal("exit code", guest.vmcb().exit_code, SVM_EXIT_CPUID)
        .equal("RIP", guest.vmcb().rip, address_of(guest_sti_cpuid_cpuid))
        .equal("interrupt state", guest.vmcb().interrupt_state,
               SVM_INTERRUPT_SHADOW);

    guest.vmcb().intercept &= ~SVM_INTERCEPT_CPUID;
    guest.vmcb().intercept |= SVM_INTERCEPT_VINTR;
    guest.run();
    Test("interrupt shadow", "loaded, and over after one instruction")
        .equal("exit code", guest.vmcb().exit_code, SVM_EXIT_VINTR)
        .equal("RIP", guest.vmcb().rip, address_of(guest_sti_cpuid_cpuid) + 2)
        .equal("interrupt state", guest.vmcb().interrupt_state, 0);
}

void test_exit_in_delivery(const char *name, uint8_t vector)
{
    VirtualInterrupt guest(guest_vmmcall, true, vector);

    guest_gates_unmap();
    guest.run();
    guest_gates_map();
    Test(name, "exit in the delivery")
        .equal("exit code", guest.vmcb().exit_code, SVM_EXIT_NPF)
        .equal("EXITINTINFO", guest.vmcb().exit_event,
               SVM_EVENT_VALID | SVM_EVENT_INTERRUPT | vector);
}

void test_priority()
{
    constexpr unsigned priority = 5;
    VirtualInterrupt guest(guest_write_cr8, true);
    Vmcb &vmcb = guest.vmcb();

    vmcb.interrupt_control &= ~SVM_V_IGNORE_TPR;
    vmcb.interrupt_control |= priority << SVM_V_PRIORITY_SHIFT | SVM_V_TPR_MASK;
    guest.registers.r12 = priority + 1;
    guest.run();
    Test("virtual interrupt", "not taken below the task priority")
        .equal("exit code", vmcb.exit_code, SVM_EXIT_VMMCALL)
        .equal("number of interrupts", guest_events.count[INTERRUPT], 0)
        .equal("V_TPR", vmcb.interrupt_control & SVM_V_TPR_MASK, priority + 1);

    vmcb.rip = address_of(guest_write_cr8);
    guest.registers.r12 = 0;
    guest.run();
    Test("virtual interrupt", "taken when CR8 allows it")
        .equal("exit code", vmcb.exit_code, SVM_EXIT_VMMCALL)
        .equal("number of interrupts", guest_events.count[INTERRUPT], 1)
        .equal("V_IRQ", guest.requested(), false);
}

} // namespace

void test_virtual_interrupts()
{
    test_taken();
    test_disabled();
    test_window();
    test_shadow();
    test_exit_in_delivery("virtual interrupt", INTERRUPT);
    test_exit_in_delivery("virtual interrupt 13", LIKE_EXCEPTION);
    test_priority();
}
