/*
 * Local APIC in x2APIC mode, in which its registers are MSRs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "apic.h"

#include "cpu.h"

namespace {

constexpr uint32_t MSR_APIC_BASE = 0x1b;
constexpr uint64_t APIC_BASE_X2APIC = 1 << 10;
constexpr uint64_t APIC_BASE_ENABLE = 1 << 11;

constexpr uint32_t MSR_END_OF_INTERRUPT = 0x80b;
constexpr uint32_t MSR_SPURIOUS = 0x80f;
constexpr uint32_t MSR_COMMAND = 0x830;

constexpr uint64_t SPURIOUS_SOFTWARE_ENABLE = 1 << 8;
constexpr uint64_t SPURIOUS_VECTOR = 0xff;

constexpr uint64_t COMMAND_FIXED = 0 << 8;
constexpr uint64_t COMMAND_INIT = 5 << 8;
constexpr uint64_t COMMAND_STARTUP = 6 << 8;
constexpr uint64_t COMMAND_ASSERT = 1 << 14;
constexpr uint64_t COMMAND_ALL_BUT_SELF = 3 << 18;

constexpr unsigned STARTUP_PAGE_SHIFT = 12;

} // namespace

void apic_enable()
{
    write_msr(MSR_APIC_BASE,
              read_msr(MSR_APIC_BASE) | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    write_msr(MSR_SPURIOUS, SPURIOUS_SOFTWARE_ENABLE | SPURIOUS_VECTOR);
}

void apic_start_others(uint32_t address)
{
    write_msr(MSR_COMMAND,
              COMMAND_ALL_BUT_SELF | COMMAND_ASSERT | COMMAND_INIT);
    write_msr(MSR_COMMAND, COMMAND_ALL_BUT_SELF | COMMAND_ASSERT |
                               COMMAND_STARTUP | address >> STARTUP_PAGE_SHIFT);
}

void apic_interrupt_others(uint8_t vector)
{
    write_msr(MSR_COMMAND,
              COMMAND_ALL_BUT_SELF | COMMAND_ASSERT | COMMAND_FIXED | vector);
}

void apic_end_of_interrupt()
{
    write_msr(MSR_END_OF_INTERRUPT, 0);
}
