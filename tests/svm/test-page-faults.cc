/*
 * Nested and intercepted page faults: the saved instruction bytes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "cpu.h"
#include "guest.h"
#include "tap.h"
#include "tests.h"
#include "text.h"
#include "vmcb.h"

namespace {

constexpr unsigned MOST_BYTES = 15;
constexpr uint64_t NESTED_FINAL = 1ULL << 32;

/* An address that is unmapped in the page tables of guest and hypervisor */
constexpr uint64_t UNMAPPED = 0x8000000000;

/* Pages of the window: one that is never mapped, and two of adjacent code */
constexpr unsigned PAGE_ABSENT = 1;
constexpr unsigned PAGE_CODE = 8;
constexpr uint64_t ABSENT = WINDOW_BASE + PAGE_ABSENT * PAGE_SIZE;
constexpr uint64_t CODE = WINDOW_BASE + PAGE_CODE * PAGE_SIZE;

alignas(PAGE_SIZE) uint8_t code_pages[2][PAGE_SIZE];

extern "C" const char guest_load[], guest_store[], guest_push[], guest_call[],
    guest_load32[];

void check_bytes(const char *name, const Vmcb &vmcb, const uint8_t *expected,
                 unsigned length)
{
    Test test(name, "instruction bytes");

    test.equal("number of bytes", vmcb.bytes_fetched, length);
    for (unsigned i = 0; i < length; i++) {
        test.equal("byte", vmcb.bytes[i], expected[i]);
    }
}

void test_nested(const char *name, const char *code, uint64_t access,
                 uint64_t address)
{
    Guest guest(code);
    const Vmcb &vmcb = guest.vmcb();

    guest.registers.rbx = ABSENT;
    /* A push also writes to the unmapped page. */
    guest.vmcb().rsp = ABSENT + 8;
    guest.run();
    Test(name, "exit")
        .equal("exit code", vmcb.exit_code, SVM_EXIT_NPF)
        .equal("EXITINFO1", vmcb.exit_info_1,
               NESTED_FINAL | FAULT_USER | access)
        .equal("EXITINFO2", vmcb.exit_info_2, address)
        .equal("RIP", vmcb.rip, address_of(code));
    Test(name, "no next RIP").equal("next RIP", vmcb.next_rip, 0);
    check_bytes(name, vmcb, reinterpret_cast<const uint8_t *>(code),
                MOST_BYTES);
}

void test_nested_fetch()
{
    constexpr const char *name = "nested page fault of a fetch";
    Guest guest(at<const char>(ABSENT));
    const Vmcb &vmcb = guest.vmcb();

    guest.run();
    Test(name, "exit")
        .equal("exit code", vmcb.exit_code, SVM_EXIT_NPF)
        .equal("EXITINFO1", vmcb.exit_info_1,
               NESTED_FINAL | FAULT_USER | FAULT_FETCH)
        .equal("EXITINFO2", vmcb.exit_info_2, ABSENT);
    check_bytes(name, vmcb, nullptr, 0);
}

/* Fault on a load instruction that starts @length bytes before a page's end. */
void test_page_end(const char *name, unsigned length, bool next_is_mapped)
{
    const uint64_t offset = PAGE_SIZE - length;
    uint8_t *flat = code_pages[0];

    /* The two pages are adjacent in the guest only. */
    memcpy(flat + offset, guest_load, MOST_BYTES);
    window_map(PAGE_CODE, code_pages[0]);
    if (next_is_mapped) {
        window_map(PAGE_CODE + 1, code_pages[1]);
    }

    Guest guest(at<const char>(CODE + offset));

    guest.registers.rbx = ABSENT;
    guest.run();
    window_unmap(PAGE_CODE);
    window_unmap(PAGE_CODE + 1);
    Test(name, "exit")
        .equal("exit code", guest.vmcb().exit_code, SVM_EXIT_NPF)
        .equal("EXITINFO2", guest.vmcb().exit_info_2, ABSENT);
    check_bytes(name, guest.vmcb(), flat + offset,
                next_is_mapped ? MOST_BYTES : length);
}

void test_segment_end()
{
    constexpr unsigned length = 5;
    constexpr const char *name = "nested page fault near the segment's end";
    const uint64_t code = address_of(guest_load32);
    Guest guest(guest_load32);

    guest.registers.rbx = ABSENT;
    guest.use_code32(code + length - 1);
    guest.run();
    Test(name, "exit")
        .equal("exit code", guest.vmcb().exit_code, SVM_EXIT_NPF)
        .equal("EXITINFO2", guest.vmcb().exit_info_2, ABSENT);
    check_bytes(name, guest.vmcb(), at<const uint8_t>(code), length);
}

void test_intercepted(const char *name, const char *code, uint64_t access,
                      uint64_t address)
{
    constexpr unsigned vector = 14;
    const bool fetch = access & FAULT_FETCH;
    Guest guest(code);
    const Vmcb &vmcb = guest.vmcb();

    guest.vmcb().intercept_exceptions = 1U << vector;
    guest.registers.rbx = UNMAPPED;
    guest.run();
    Test(name, "exit")
        .equal("exit code", vmcb.exit_code, SVM_EXIT_EXCEPTION + vector)
        .equal("EXITINFO1", vmcb.exit_info_1, access)
        .equal("EXITINFO2", vmcb.exit_info_2, address);
    Test(name, "no next RIP").equal("next RIP", vmcb.next_rip, 0);
    check_bytes(name, vmcb, reinterpret_cast<const uint8_t *>(code),
                fetch ? 0 : MOST_BYTES);
}

} // namespace

void test_page_faults()
{
    test_nested("nested page fault of a load", guest_load, 0, ABSENT);
    test_nested("nested page fault of a store", guest_store, FAULT_WRITE,
                ABSENT + 0x10);
    test_nested("nested page fault of a push", guest_push, FAULT_WRITE, ABSENT);
    test_nested_fetch();
    test_page_end("nested page fault at the end of a page", 2, false);
    test_page_end("nested page fault close to the end of a page", 9, false);
    test_page_end("nested page fault across a page", 9, true);
    test_segment_end();
    test_intercepted("page fault of a load", guest_load, 0, UNMAPPED);
    test_intercepted("page fault of a store", guest_store, FAULT_WRITE,
                     UNMAPPED + 0x10);
    test_intercepted("page fault of a fetch", at<const char>(UNMAPPED),
                     FAULT_FETCH, UNMAPPED);
}
