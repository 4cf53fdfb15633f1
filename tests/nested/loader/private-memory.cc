/*
 * Conversion of the guest's RAM between private and shared
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "private-memory.h"

#include "hypercall.h"
#include "memory-layout.h"
#include "message.h"
#include "x86.h"

/* Start and end of the RAM for variables and stack, from loader.ld */
extern "C" const char ram_start[], ram_end[];

namespace {

constexpr uint32_t CPUID_VENDOR = 0;
constexpr uint32_t CPUID_FEATURES = 1;
constexpr uint32_t CPUID_ECX_HYPERVISOR = 1u << 31;

/* KVM's leaf is not the first one if KVM also emulates another hypervisor. */
constexpr uint32_t CPUID_HYPERVISOR_FIRST = 0x40000000;
constexpr uint32_t CPUID_HYPERVISOR_END = 0x40010000;
constexpr uint32_t CPUID_HYPERVISOR_STEP = 0x100;

bool is_private;

constexpr uint32_t letters(const char *text)
{
    return (uint32_t)text[0] | (uint32_t)text[1] << 8 |
           (uint32_t)text[2] << 16 | (uint32_t)text[3] << 24;
}

/*
 * Whether vmmcall is a hypercall of KVM. It is an invalid instruction in other
 * guests and on processors of other vendors.
 */
bool has_vmmcall()
{
    const Cpuid vendor = cpuid(CPUID_VENDOR);
    const bool amd = vendor.ebx == letters("Auth") &&
                     vendor.edx == letters("enti") &&
                     vendor.ecx == letters("cAMD");
    const bool hygon = vendor.ebx == letters("Hygo") &&
                       vendor.edx == letters("nGen") &&
                       vendor.ecx == letters("uine");

    if ((!amd && !hygon) ||
        !(cpuid(CPUID_FEATURES).ecx & CPUID_ECX_HYPERVISOR)) {
        return false;
    }
    for (uint32_t leaf = CPUID_HYPERVISOR_FIRST; leaf < CPUID_HYPERVISOR_END;
         leaf += CPUID_HYPERVISOR_STEP) {
        const Cpuid signature = cpuid(leaf);

        if (signature.ebx == letters("KVMK") &&
            signature.ecx == letters("VMKV") &&
            signature.edx == letters("M\0\0")) {
            return true;
        }
    }
    return false;
}

void convert(uint64_t start, uint64_t end, PageState state)
{
    if (!is_private) {
        return;
    }

    const int64_t result =
        map_gpa_range(start, (end - start) / PAGE_SIZE, state);

    if (result) {
        Failure()
            .word("the host does not convert memory:")
            .field_hex("start", start)
            .field_hex("end", end)
            .field_signed("error", result);
        stop();
    }
}

} // namespace

extern "C" int64_t make_own_ram_private()
{
    if (!has_vmmcall()) {
        return HYPERCALL_UNKNOWN;
    }
    return map_gpa_range(reinterpret_cast<uint64_t>(ram_start),
                         (ram_end - ram_start) / PAGE_SIZE, PageState::Private);
}

void private_memory_init(int64_t result)
{
    if (result && result != HYPERCALL_UNKNOWN) {
        Failure()
            .word("the host does not convert memory:")
            .field_signed("error", result);
        stop();
    }
    is_private = result == 0;
}

bool memory_is_private()
{
    return is_private;
}

void make_private(uint64_t start, uint64_t end)
{
    convert(start, end, PageState::Private);
}

SharedWindow::SharedWindow()
{
    convert(WINDOW_BASE, WINDOW_BASE + WINDOW_SIZE, PageState::Shared);
}

SharedWindow::~SharedWindow()
{
    convert(WINDOW_BASE, WINDOW_BASE + WINDOW_SIZE, PageState::Private);
}
