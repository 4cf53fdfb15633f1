/*
 * A hypervisor with two vCPUs that tests SVM by running guest code
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "apic.h"
#include "guest.h"
#include "interrupts.h"
#include "other-cpu.h"
#include "tap.h"
#include "tests.h"

extern "C" void hypervisor_main()
{
    interrupts_init();
    apic_init();
    guest_init();
    other_cpu_start();

    test_features();
    test_instructions();
    test_page_faults();
    test_event_injection();
    test_physical_interrupts();
    test_virtual_interrupts();
    test_other_fpu();
    tap_done();
}
