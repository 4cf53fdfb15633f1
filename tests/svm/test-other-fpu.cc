/*
 * Instructions for the FPU of another vCPU: the state of this one stays
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "cpu.h"
#include "guest.h"
#include "other-cpu.h"
#include "tap.h"
#include "tests.h"
#include "vmcb.h"

namespace {

/* Number of tasks for the other vCPU */
constexpr uint32_t TASKS = 100000;

extern "C" const char guest_vmmcall[];

} // namespace

void test_other_fpu()
{
    unsigned wrong = 0;

    other_cpu_fpu.wanted = other_cpu_fpu.wanted + TASKS;
    while (other_cpu_fpu.done != other_cpu_fpu.wanted) {
        Guest guest(guest_vmmcall);

        guest.run();
        /* The nested page tables do not map this for the guest. */
        *at<volatile uint8_t>(WINDOW_BASE);
        wrong += guest.vmcb().exit_code != SVM_EXIT_VMMCALL ||
                 guest.vmcb().rip != address_of(guest_vmmcall);
    }
    Test("FLDENV of the other vCPU", "each #VMEXIT is the guest's")
        .equal("number of wrong ones", wrong, 0);
}
