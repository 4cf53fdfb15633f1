/*
 * Physical interrupts while a guest runs: none is lost
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "apic.h"
#include "cpu.h"
#include "guest.h"
#include "interrupts.h"
#include "other-cpu.h"
#include "tap.h"
#include "tests.h"
#include "vmcb.h"

namespace {

constexpr uint8_t FIRST_CPU = 0;
constexpr uint8_t VECTOR_VIRTUAL = 0x51;

constexpr unsigned INTERRUPTS = 200;
/* Number of runs after which an interrupt is considered lost */
constexpr unsigned MOST_RUNS = 200000;

extern "C" const char guest_vmmcall[], guest_wait[], guest_wait_sti[];

/* Never changes, so the guest waits until the interrupt. */
volatile uint32_t word;

void test_global_interrupt_flag()
{
    const unsigned before = hypervisor_interrupts[VECTOR_IPI];
    unsigned inside;

    asm volatile("clgi; sti");
    apic_send(FIRST_CPU, VECTOR_IPI);
    for (unsigned i = 0; i < 1000; i++) {
        relax();
    }
    inside = hypervisor_interrupts[VECTOR_IPI] - before;
    asm volatile("stgi; nop; nop; cli" : : : "memory");
    Test("physical interrupt", "held back while GIF is 0")
        .equal("number with GIF 0", inside, 0)
        .equal("number after STGI", hypervisor_interrupts[VECTOR_IPI] - before,
               1);
}

void test_intercept()
{
    const unsigned before = hypervisor_interrupts[VECTOR_TIMER];
    Guest guest(guest_wait);

    guest.vmcb().intercept |= SVM_INTERCEPT_INTR;
    guest.vmcb().interrupt_control = SVM_V_INTR_MASKING;
    guest.registers.rbx = address_of(&word);
    guest.host_interrupts = true;
    apic_start_timer(100000);
    guest.run();
    Test("physical interrupt", "intercepted with guest interrupts disabled")
        .equal("exit code", guest.vmcb().exit_code, SVM_EXIT_INTR)
        .equal("taken before STI", hypervisor_interrupts[VECTOR_TIMER] - before,
               0);
    take_interrupts();
    Test("physical interrupt", "pending after the exit")
        .equal("taken after STI", hypervisor_interrupts[VECTOR_TIMER] - before,
               1);
    Test("physical interrupt", "no next RIP")
        .equal("next RIP", guest.vmcb().next_rip, 0);
}

/*
 * The guest receives a physical interrupt, and only then enables interrupts,
 * so that it also receives the virtual one that was pending all the time.
 */
void test_virtual_stays_pending()
{
    Guest guest(guest_wait_sti);
    const Vmcb &vmcb = guest.vmcb();

    guest.vmcb().interrupt_control =
        SVM_V_IRQ | SVM_V_INTR_MASKING | SVM_V_IGNORE_TPR;
    guest.vmcb().interrupt_vector = VECTOR_VIRTUAL;
    guest.registers.rbx = address_of(&guest_events.count[VECTOR_TIMER]);
    guest.host_interrupts = true;
    apic_start_timer(100000);
    guest.run();
    apic_end_interrupt();
    Test("physical interrupt", "virtual interrupt still pending after it")
        .equal("exit code", vmcb.exit_code, SVM_EXIT_VMMCALL)
        .equal("number of physical interrupts",
               guest_events.count[VECTOR_TIMER], 1)
        .equal("number of virtual interrupts",
               guest_events.count[VECTOR_VIRTUAL], 1)
        .equal("V_IRQ", !!(vmcb.interrupt_control & SVM_V_IRQ), false);
}

/*
 * The other vCPU sends interrupts one after another, while each VMRUN requests
 * a virtual interrupt.
 */
void test_all_arrive()
{
    Test test("physical interrupts",
              "all arrive while VMRUN requests virtual ones");
    Guest guest(guest_vmmcall);

    guest.vmcb().interrupt_control = SVM_V_IRQ | SVM_V_INTR_MASKING;
    for (unsigned i = 0; i < INTERRUPTS; i++) {
        const unsigned before = hypervisor_interrupts[VECTOR_IPI];
        unsigned runs = 0;

        other_cpu_ipi.wanted = other_cpu_ipi.wanted + 1;
        while (hypervisor_interrupts[VECTOR_IPI] == before &&
               runs++ < MOST_RUNS) {
            guest.run();
            take_interrupts();
        }
        test.equal("number of interrupts",
                   hypervisor_interrupts[VECTOR_IPI] - before, 1);
    }
}

} // namespace

void test_physical_interrupts()
{
    test_global_interrupt_flag();
    test_intercept();
    test_virtual_stays_pending();
    test_all_arrive();
}
