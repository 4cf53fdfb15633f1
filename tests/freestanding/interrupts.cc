/*
 * Interrupt descriptor table, and the handler of exceptions, which ends the run
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "interrupts.h"

#include "descriptors.h"
#include "serial.h"
#include "x86.h"

extern "C" char exception_stubs[];

namespace {

constexpr unsigned VECTORS = 256;
constexpr unsigned EXCEPTIONS = 32;
constexpr uint16_t PRESENT_INTERRUPT_GATE = 0x8e00;

struct Gate {
    uint16_t offset_low;
    uint16_t selector;
    uint16_t attributes;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};

struct [[gnu::packed]] TablePointer {
    uint16_t limit;
    uint64_t base;
};

Gate gates[VECTORS];

} // namespace

void interrupts_set_handler(uint8_t vector, const char *entry)
{
    const uint64_t offset = reinterpret_cast<uint64_t>(entry);

    gates[vector] = {
        .offset_low = (uint16_t)offset,
        .selector = SELECTOR_CODE64,
        .attributes = PRESENT_INTERRUPT_GATE,
        .offset_middle = (uint16_t)(offset >> 16),
        .offset_high = (uint32_t)(offset >> 32),
        .reserved = 0,
    };
}

void interrupts_init()
{
    for (unsigned i = 0; i < EXCEPTIONS; i++) {
        interrupts_set_handler(i, exception_stubs + i * STUB_SIZE);
    }
    interrupts_load();
}

void interrupts_load()
{
    const TablePointer pointer = {
        .limit = sizeof(gates) - 1,
        .base = reinterpret_cast<uint64_t>(gates),
    };

    asm volatile("lidt %0" : : "m"(pointer));
}

/* Stack frame that exception-stubs.S passes to handle_exception() */
struct ExceptionFrame {
    uint64_t vector;
    uint64_t error_code;
    uint64_t rip;
    uint64_t cs;
    uint64_t rflags;
    uint64_t rsp;
    uint64_t ss;
};

extern "C" [[noreturn]] void handle_exception(const ExceptionFrame *frame)
{
    SerialLine("exception")
        .field("vector", frame->vector)
        .field_hex("error", frame->error_code)
        .field_hex("rip", frame->rip)
        .field_hex("cr2", read_cr2())
        .field_hex("rsp", frame->rsp);
    stop();
}
