/*
 * The guest: its VMCB, nested page tables and VMRUN
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "guest.h"

#include "cpu.h"
#include "descriptors.h"
#include "interrupts.h"
#include "layout.h"

extern "C" void vm_enter(uint64_t vmcb, Registers *registers, bool interrupts);
extern "C" char guest_stack_end[];

namespace {

/* Present, writable, user; large page. All nested accesses are user ones. */
constexpr uint64_t PTE_TABLE = 0x07;
constexpr uint64_t PTE_PAGE = 0x07;
constexpr uint64_t PTE_LARGE = 0x87;
constexpr unsigned PTES = 512;
constexpr uint64_t SIZE_2M = 0x200000;
constexpr uint64_t SIZE_1G = 0x40000000;

constexpr uint16_t ATTRIBUTES_CODE64 = 0xa9b;
constexpr uint16_t ATTRIBUTES_CODE32 = 0xc9b;
constexpr uint16_t ATTRIBUTES_DATA = 0xc93;
constexpr uint64_t DR6_INIT = 0xffff0ff0;
constexpr uint64_t DR7_INIT = 0x400;
constexpr uint64_t RFLAGS_INIT = 0x2;
constexpr uint64_t PAT_INIT = 0x0007040600070406;
constexpr uint64_t NESTED_PAGING = 1;

constexpr unsigned MSR_MAP_SIZE = 0x2000;
constexpr unsigned IO_MAP_SIZE = 0x3000;

alignas(PAGE_SIZE) Vmcb the_vmcb;
alignas(PAGE_SIZE) uint8_t host_save[PAGE_SIZE];
alignas(PAGE_SIZE) uint8_t msr_map[MSR_MAP_SIZE];
alignas(PAGE_SIZE) uint8_t io_map[IO_MAP_SIZE];

/* 4 KiB pages map the first 2 MiB, which contain the image, and the window. */
alignas(PAGE_SIZE) uint64_t root[PTES], gibs[PTES];
alignas(PAGE_SIZE) uint64_t low_2m[PTES], low_4k[PTES];
alignas(PAGE_SIZE) uint64_t window_2m[PTES], window_4k[PTES];

uint64_t gates_page()
{
    return address_of(guest_gates) / PAGE_SIZE;
}

} // namespace

void guest_init()
{
    root[0] = address_of(gibs) | PTE_TABLE;
    for (unsigned i = 0; i < 4; i++) {
        gibs[i] = i * SIZE_1G | PTE_LARGE;
    }
    gibs[0] = address_of(low_2m) | PTE_TABLE;
    gibs[WINDOW_BASE / SIZE_1G] = address_of(window_2m) | PTE_TABLE;
    window_2m[0] = address_of(window_4k) | PTE_TABLE;
    for (unsigned i = 0; i < PTES; i++) {
        low_2m[i] = i * SIZE_2M | PTE_LARGE;
        low_4k[i] = i * PAGE_SIZE | PTE_PAGE;
    }
    low_2m[0] = address_of(low_4k) | PTE_TABLE;

    for (uint8_t &byte : msr_map) {
        byte = 0xff;
    }
    for (uint8_t &byte : io_map) {
        byte = 0xff;
    }
    write_msr(MSR_VM_HSAVE_PA, address_of(host_save));
}

void window_map(unsigned page, const void *memory)
{
    window_4k[page] = address_of(memory) | PTE_PAGE;
}

void window_unmap(unsigned page)
{
    window_4k[page] = 0;
}

void guest_gates_unmap()
{
    low_4k[gates_page()] = 0;
}

void guest_gates_map()
{
    low_4k[gates_page()] = address_of(guest_gates) | PTE_PAGE;
}

Guest::Guest(const char *code)
{
    const VmcbSegment data = {SELECTOR_DATA, ATTRIBUTES_DATA, 0xffffffff, 0};
    DescriptorTable gdt;

    asm volatile("sgdt %0" : "=m"(gdt));
    the_vmcb = Vmcb{};
    the_vmcb.intercept = SVM_INTERCEPT_VMRUN | SVM_INTERCEPT_VMMCALL;
    the_vmcb.msr_map = address_of(msr_map);
    the_vmcb.io_map = address_of(io_map);
    the_vmcb.asid = 1;
    the_vmcb.nested_control = NESTED_PAGING;
    the_vmcb.nested_cr3 = address_of(root);
    the_vmcb.es = the_vmcb.ss = the_vmcb.ds = data;
    the_vmcb.cs = {SELECTOR_CODE64, ATTRIBUTES_CODE64, 0xffffffff, 0};
    the_vmcb.gdtr = {0, 0, gdt.limit, gdt.base};
    the_vmcb.idtr = {0, 0, sizeof(guest_gates) - 1, address_of(guest_gates)};
    the_vmcb.efer = read_msr(MSR_EFER);
    the_vmcb.cr0 = read_cr0();
    the_vmcb.cr3 = read_cr3();
    the_vmcb.cr4 = read_cr4();
    the_vmcb.dr6 = DR6_INIT;
    the_vmcb.dr7 = DR7_INIT;
    the_vmcb.rflags = RFLAGS_INIT;
    the_vmcb.rip = address_of(code);
    the_vmcb.rsp = address_of(guest_stack_end);
    the_vmcb.rax = GUEST_RAX;
    the_vmcb.pat = PAT_INIT;
    /* Values that the processor must overwrite */
    the_vmcb.next_rip = ~0ULL;
    the_vmcb.bytes_fetched = 0xff;

    guest_events = GuestEvents{};
}

Vmcb &Guest::vmcb()
{
    return the_vmcb;
}

void Guest::use_code32(uint32_t limit)
{
    the_vmcb.cs = {SELECTOR_CODE32, ATTRIBUTES_CODE32, limit, 0};
}

void Guest::intercept_everything()
{
    /* Exclude physical interrupts, and virtual ones: none is requested. */
    constexpr uint64_t interrupts = 0x1f;

    the_vmcb.intercept_cr_read = the_vmcb.intercept_cr_write = 0xffff;
    the_vmcb.intercept_dr_read = the_vmcb.intercept_dr_write = 0xffff;
    the_vmcb.intercept_exceptions = 0xffffffff;
    the_vmcb.intercept = 0x3fffffffffff & ~interrupts;
}

void Guest::inject(uint32_t type, uint8_t vector)
{
    the_vmcb.event = SVM_EVENT_VALID | type | vector;
}

void Guest::inject(uint32_t type, uint8_t vector, uint32_t error)
{
    inject(type | SVM_EVENT_HAS_ERROR, vector);
    the_vmcb.event_error = error;
}

void Guest::run()
{
    vm_enter(address_of(&the_vmcb), &registers, host_interrupts);
}
