/*
 * The other vCPU: it interrupts the first one
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "other-cpu.h"

#include "apic.h"
#include "cpu.h"
#include "interrupts.h"
#include "layout.h"
#include "text.h"

Task other_cpu_ipi, other_cpu_kick;

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
        } else {
            relax();
        }
    }
}
