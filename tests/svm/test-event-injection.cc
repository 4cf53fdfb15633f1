/*
 * Events that VMRUN injects: each is delivered once, and is reported if a
 * #VMEXIT interrupts the delivery
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "cpu.h"
#include "guest.h"
#include "interrupts.h"
#include "other-cpu.h"
#include "tap.h"
#include "tests.h"
#include "vmcb.h"

namespace {

constexpr uint8_t BREAKPOINT = 3, OVERFLOW = 4, GENERAL_PROTECTION = 13;
constexpr uint8_t NMI = 2;
constexpr uint8_t INTERRUPT = 0x50;
constexpr uint32_t ERROR = 0x1230;

constexpr unsigned REPETITIONS = 100;

extern "C" const char guest_ask[], guest_vmmcall[], guest_int_0x50[],
    guest_int_0x50_end[];

struct Event {
    const char *name;
    uint32_t type;
    uint8_t vector;
    bool has_error;
    /* Whether the handler returns to the next RIP instead of RIP */
    bool is_instruction;
};

constexpr Event events[] = {
    {"injected interrupt", SVM_EVENT_INTERRUPT, INTERRUPT, false, false},
    {"injected NMI", SVM_EVENT_NMI, NMI, false, false},
    {"injected #GP", SVM_EVENT_EXCEPTION, GENERAL_PROTECTION, true, false},
    {"injected #BP", SVM_EVENT_EXCEPTION, BREAKPOINT, false, true},
    {"injected #OF", SVM_EVENT_EXCEPTION, OVERFLOW, false, true},
    {"injected INT", SVM_EVENT_SOFTWARE, INTERRUPT, false, true},
};

void inject(Guest &guest, const Event &event)
{
    if (event.has_error) {
        guest.inject(event.type, event.vector, ERROR);
    } else {
        guest.inject(event.type, event.vector);
    }
}

unsigned count_all_events()
{
    unsigned sum = 0;

    for (unsigned count : guest_events.count) {
        sum += count;
    }
    return sum;
}

void test_delivery(const Event &event)
{
    Guest guest(guest_vmmcall);

    guest.vmcb().next_rip = address_of(guest_vmmcall);
    inject(guest, event);
    guest.run();
    Test(event.name, "delivered")
        .equal("exit code", guest.vmcb().exit_code, SVM_EXIT_VMMCALL)
        .equal("number of all events", count_all_events(), 1)
        .equal("number of this event", guest_events.count[event.vector], 1)
        .equal("error code", guest_events.last.error,
               event.has_error ? ERROR : 0)
        .equal("EVENTINJ is valid", !!(guest.vmcb().event & SVM_EVENT_VALID),
               false)
        .equal("EXITINTINFO is valid",
               !!(guest.vmcb().exit_event & SVM_EVENT_VALID), false);
}

/* RIP points to the instruction, and next RIP to its return address. */
void test_return_address(const Event &event)
{
    Guest guest(guest_vmmcall);

    if (event.is_instruction) {
        guest.vmcb().rip = address_of(guest_int_0x50);
        guest.vmcb().next_rip = address_of(guest_vmmcall);
    }
    inject(guest, event);
    guest.run();
    Test(event.name, "return address")
        .equal("exit code", guest.vmcb().exit_code, SVM_EXIT_VMMCALL)
        .equal("number of this event", guest_events.count[event.vector], 1)
        .equal("saved RIP", guest_events.last.rip, address_of(guest_vmmcall));
}

/* Another vCPU makes QEMU leave its execution loop while the guest runs. */
void test_kick(const Event &event)
{
    Test test(event.name, "delivered once while another vCPU stops this one");

    for (unsigned i = 0; i < REPETITIONS; i++) {
        Guest guest(guest_ask);

        guest.registers.rbx = address_of(&other_cpu_kick.wanted);
        guest.registers.r12 = address_of(&other_cpu_kick.done);
        guest.vmcb().next_rip = address_of(guest_ask);
        inject(guest, event);
        guest.run();
        test.equal("exit code", guest.vmcb().exit_code, SVM_EXIT_VMMCALL)
            .equal("number of all events", count_all_events(), 1)
            .equal("number of this event", guest_events.count[event.vector], 1);
    }
}

/* The guest's interrupt descriptors are unmapped, so the delivery exits. */
void test_exit_in_delivery(const Event &event)
{
    Guest guest(guest_vmmcall);
    const Vmcb &vmcb = guest.vmcb();
    const uint32_t expected = SVM_EVENT_VALID | event.type | event.vector |
                              (event.has_error ? SVM_EVENT_HAS_ERROR : 0);

    guest.vmcb().next_rip = address_of(guest_vmmcall);
    inject(guest, event);
    guest_gates_unmap();
    guest.run();
    guest_gates_map();
    Test(event.name, "exit in the delivery")
        .equal("exit code", vmcb.exit_code, SVM_EXIT_NPF)
        .equal("EXITINTINFO", vmcb.exit_event, expected)
        .equal("error code", event.has_error ? vmcb.exit_event_error : 0,
               event.has_error ? ERROR : 0)
        .equal("EVENTINJ is valid", !!(vmcb.event & SVM_EVENT_VALID), false)
        .equal("RIP", vmcb.rip, address_of(guest_vmmcall))
        .equal("number of all events", count_all_events(), 0);
    Test(event.name, "no next RIP or bytes on an exit in the delivery")
        .equal("next RIP", vmcb.next_rip, 0)
        .equal("number of bytes", vmcb.bytes_fetched, 0);

    guest.vmcb().next_rip = address_of(guest_vmmcall);
    inject(guest, event);
    guest.run();
    Test(event.name, "injected again after an exit in the delivery")
        .equal("exit code", vmcb.exit_code, SVM_EXIT_VMMCALL)
        .equal("number of all events", count_all_events(), 1)
        .equal("number of this event", guest_events.count[event.vector], 1);
}

/* INT in the guest exits because the interrupt descriptors are unmapped. */
void test_exit_in_instruction()
{
    Guest guest(guest_int_0x50);
    const Vmcb &vmcb = guest.vmcb();

    guest_gates_unmap();
    guest.run();
    guest_gates_map();
    Test("INT", "exit in the delivery")
        .equal("exit code", vmcb.exit_code, SVM_EXIT_NPF)
        .equal("EXITINTINFO", vmcb.exit_event,
               SVM_EVENT_VALID | SVM_EVENT_SOFTWARE | INTERRUPT)
        .equal("RIP", vmcb.rip, address_of(guest_int_0x50));

    guest.run();
    Test("INT", "run again after an exit in the delivery")
        .equal("exit code", vmcb.exit_code, SVM_EXIT_VMMCALL)
        .equal("number of this event", guest_events.count[INTERRUPT], 1)
        .equal("saved RIP", guest_events.last.rip,
               address_of(guest_int_0x50_end));
}

} // namespace

void test_event_injection()
{
    for (const Event &event : events) {
        test_delivery(event);
        test_return_address(event);
        test_kick(event);
        test_exit_in_delivery(event);
    }
    test_exit_in_instruction();
}
