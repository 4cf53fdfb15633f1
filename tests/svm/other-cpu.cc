/*
 * The other vCPU: it disturbs the first one
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "other-cpu.h"

#include "apic.h"
#include "cpu.h"
#include "interrupts.h"
#include "layout.h"
#include "text.h"

Task other_cpu_ipi, other_cpu_kick, other_cpu_fpu;

extern "C" const char trampoline[], trampoline_end[];

namespace {

constexpr uint8_t FIRST_CPU = 0, OTHER_CPU = 1;

/*
 * Do a misaligned atomic operation, for which QEMU must stop all other vCPUs.
 */
void misaligned_atomic()
{
    alignas(8) static uint8_t bytes[16];

    asm volatile("lock incl %0" : "+m"(bytes[1]) : : "memory");
}

/* Load an FPU state without a pending exception, which ends IGNNE#. */
void load_fpu()
{
    static uint32_t environment[7];

    asm volatile("fninit; fnstenv %0" : "=m"(environment));
    for (unsigned i = 0; i < 100; i++) {
        asm volatile("fldenv %0" : : "m"(environment));
    }
}

} // namespace

void other_cpu_start()
{
    memcpy(at<void>(TRAMPOLINE_BASE), trampoline, trampoline_end - trampoline);
    apic_start_other(OTHER_CPU, TRAMPOLINE_BASE / PAGE_SIZE);
}

extern "C" void other_cpu_main()
{
    interrupts_load();
    apic_init();
    for (;;) {
        if (other_cpu_ipi.done != other_cpu_ipi.wanted) {
            apic_send(FIRST_CPU, VECTOR_IPI);
            other_cpu_ipi.done = other_cpu_ipi.done + 1;
        } else if (other_cpu_kick.done != other_cpu_kick.wanted) {
            misaligned_atomic();
            other_cpu_kick.done = other_cpu_kick.done + 1;
        } else if (other_cpu_fpu.done != other_cpu_fpu.wanted) {
            load_fpu();
            other_cpu_fpu.done = other_cpu_fpu.done + 1;
        } else {
            relax();
        }
    }
}
