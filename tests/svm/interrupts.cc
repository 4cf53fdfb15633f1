/*
 * Interrupts and exceptions, of the hypervisor and of its guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "interrupts.h"

#include "apic.h"
#include "cpu.h"
#include "descriptors.h"
#include "tap.h"

volatile unsigned hypervisor_interrupts[VECTORS];
GuestEvents guest_events;
/* In a separate page, which a test can unmap from the guest */
alignas(PAGE_SIZE) Gate guest_gates[VECTORS];

extern "C" const char hypervisor_stubs[], guest_stubs[];

namespace {

constexpr uint64_t GATE_INTERRUPT = 0x8e00;
constexpr unsigned FIRST_INTERRUPT = 32;

Gate hypervisor_gates[VECTORS];

void fill(Gate *gates, const char *stubs)
{
    for (unsigned i = 0; i < VECTORS; i++) {
        uint64_t entry = address_of(stubs + i * STUB_SIZE);

        gates[i].low = (entry & 0xffff) | SELECTOR_CODE64 << 16 |
                       GATE_INTERRUPT << 32 | (entry >> 16 & 0xffff) << 48;
        gates[i].high = entry >> 32;
    }
}

} // namespace

extern "C" void hypervisor_interrupt(Frame *frame)
{
    if (frame->vector < FIRST_INTERRUPT) {
        tap_bail_out("exception in the hypervisor: vector", frame->vector,
                     frame->rip);
    }
    hypervisor_interrupts[frame->vector] =
        hypervisor_interrupts[frame->vector] + 1;
    apic_end_interrupt();
}

extern "C" void guest_interrupt(Frame *frame)
{
    guest_events.count[frame->vector]++;
    guest_events.last = *frame;
}

void interrupts_init()
{
    fill(hypervisor_gates, hypervisor_stubs);
    fill(guest_gates, guest_stubs);
    interrupts_load();
}

void interrupts_load()
{
    const DescriptorTable table = {sizeof(hypervisor_gates) - 1,
                                   address_of(hypervisor_gates)};

    asm volatile("lidt %0" : : "m"(table));
}
