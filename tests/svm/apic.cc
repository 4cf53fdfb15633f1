/*
 * The local APIC: a timer, and messages to another vCPU
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "apic.h"

#include "cpu.h"
#include "layout.h"

namespace {

constexpr uint64_t APIC_BASE = 0xfee00000;
constexpr uint32_t END_OF_INTERRUPT = 0xb0;
constexpr uint32_t SPURIOUS = 0xf0;
constexpr uint32_t REQUESTS = 0x200;
constexpr uint32_t COMMAND = 0x300;
constexpr uint32_t DESTINATION = 0x310;
constexpr uint32_t TIMER = 0x320;
constexpr uint32_t TIMER_INITIAL_COUNT = 0x380;
constexpr uint32_t TIMER_DIVIDER = 0x3e0;

constexpr uint32_t SPURIOUS_ENABLE = 0x1ff;
constexpr uint32_t TIMER_DIVIDE_BY_1 = 0xb;
constexpr uint32_t COMMAND_INIT = 0x4500;
constexpr uint32_t COMMAND_STARTUP = 0x4600;
constexpr uint32_t COMMAND_ASSERT = 0x4000;

volatile uint32_t *reg(uint32_t offset)
{
    return at<volatile uint32_t>(APIC_BASE + offset);
}

void command(uint8_t to, uint32_t value)
{
    *reg(DESTINATION) = (uint32_t)to << 24;
    *reg(COMMAND) = value;
}

} // namespace

void apic_init()
{
    *reg(SPURIOUS) = SPURIOUS_ENABLE;
    *reg(TIMER_DIVIDER) = TIMER_DIVIDE_BY_1;
    *reg(TIMER) = VECTOR_TIMER;
}

void apic_end_interrupt()
{
    *reg(END_OF_INTERRUPT) = 0;
}

void apic_start_timer(uint32_t ticks)
{
    *reg(TIMER_INITIAL_COUNT) = ticks;
}

bool apic_is_pending(uint8_t vector)
{
    return *reg(REQUESTS + vector / 32 * 0x10) >> vector % 32 & 1;
}

void apic_send(uint8_t to, uint8_t vector)
{
    command(to, COMMAND_ASSERT | vector);
}

void apic_start_other(uint8_t id, uint8_t page)
{
    command(id, COMMAND_INIT);
    command(id, COMMAND_STARTUP | page);
}
