/*
 * Results in the Test Anything Protocol, on the debug console
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tap.h"

#include "cpu.h"

namespace {

constexpr uint16_t PORT_DEBUG_CONSOLE = 0xe9;
constexpr uint16_t PORT_RESET = 0xcf9;
constexpr uint8_t RESET = 0x06;

/* Maximum number of failures to print for each test */
constexpr unsigned FAILURES_SHOWN = 4;

unsigned tests_done;

void print(const char *text)
{
    while (*text) {
        out8(PORT_DEBUG_CONSOLE, *text++);
    }
}

void print_number(uint64_t value, unsigned base)
{
    char digits[24];
    unsigned at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    print(digits + at);
}

/* Reset the machine, which ends QEMU because of -no-reboot. */
[[noreturn]] void reset()
{
    out8(PORT_RESET, RESET);
    stop();
}

} // namespace

Test::Test(const char *name, const char *aspect) : name_(name), aspect_(aspect)
{
}

Test::~Test()
{
    print(checks_ && !failures_ ? "ok " : "not ok ");
    print_number(++tests_done, 10);
    print(" - ");
    print(name_);
    if (aspect_) {
        print(": ");
        print(aspect_);
    }
    print("\n");
}

Test &Test::equal(const char *what, uint64_t value, uint64_t expected)
{
    checks_++;
    if (value != expected && failures_++ < FAILURES_SHOWN) {
        print("# ");
        print(what);
        print(" is 0x");
        print_number(value, 16);
        print(", expected 0x");
        print_number(expected, 16);
        print("\n");
    }
    return *this;
}

void tap_done()
{
    print("1..");
    print_number(tests_done, 10);
    print("\n");
    reset();
}

void tap_bail_out(const char *why, uint64_t vector, uint64_t rip)
{
    print("Bail out! ");
    print(why);
    print(" ");
    print_number(vector, 10);
    print(" at 0x");
    print_number(rip, 16);
    print("\n");
    reset();
}
