/*
 * Test of TDG.VP.VMCALL<MapGPA>, with which a TDX guest converts memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * KVM and the guest are models: KVM splits a request into chunks, each of which
 * is a hypercall for QEMU, and translates QEMU's result.  The guest repeats its
 * request from the address that KVM returns, as Linux does.
 */

#include "qemu/osdep.h"
#include <linux/kvm_para.h>

#include "qemu/error-report.h"
#include "qemu/module.h"
#include "hw/boards.h"
#include "system/confidential-guest-support.h"
#include "target/i386/kvm/map-gpa-range.h"
#include "target/i386/kvm/sw-protected-vm.h"
#include "tests/unit/fakes/journal.h"
#include "tests/unit/kvm-convert-rig.h"

/* A guest physical address with this bit is shared. */
#define SHARED_BIT BIT_ULL(47)
/* Pages of a chunk */
#define CHUNK 512

typedef enum MapGpaStatus {
    MAP_GPA_SUCCESS,
    MAP_GPA_RETRY,
    MAP_GPA_INVALID_OPERAND,
} MapGpaStatus;

/* Replacements of functions of QEMU */

static MachineState machine;
MachineState *current_machine = &machine;

MapGpaRangeAbi sw_protected_vm_map_gpa_range_abi(Object *vm)
{
    g_assert_not_reached();
}

static const TypeInfo tdx_guest_type = {
    .name = "tdx-guest",
    .parent = TYPE_OBJECT,
};

/* The model of KVM */

static struct {
    /* Exits to QEMU */
    unsigned int nexits;
    /* An interrupt arrives during this exit; the first one is number 1. */
    unsigned int interrupt;
} kvm;

/*
 * Execute MapGPA.  After MAP_GPA_RETRY and MAP_GPA_INVALID_OPERAND, @failed is
 * the address from which on nothing was done.
 */
static MapGpaStatus map_gpa(uint64_t gpa, uint64_t size, uint64_t *failed)
{
    const uint64_t end = gpa + size;

    for (*failed = gpa; *failed < end; *failed += CHUNK * PAGE) {
        const bool to_private = !(*failed & SHARED_BIT);
        uint64_t ret;

        if (*failed != gpa && kvm.nexits == kvm.interrupt) {
            return MAP_GPA_RETRY;
        }
        kvm.nexits++;
        ret = map_gpa_range(*failed & ~SHARED_BIT,
                            MIN(end - *failed, CHUNK * PAGE) / PAGE,
                            to_private ? KVM_MAP_GPA_RANGE_ENCRYPTED
                                       : KVM_MAP_GPA_RANGE_DECRYPTED);
        if (ret == EAGAIN) {
            return MAP_GPA_RETRY;
        }
        if (ret == EINVAL) {
            return MAP_GPA_INVALID_OPERAND;
        }
        /* KVM_RUN would fail, and the VM would stop. */
        g_assert_cmpuint(ret, ==, 0);
    }
    return MAP_GPA_SUCCESS;
}

/* The model of the guest */

/* Attempts without progress after which the guest gives up */
#define NATTEMPTS 3

/* Convert pages, and store the address of the last failure in @failed. */
static MapGpaStatus guest_convert(uint64_t page, uint64_t npages, PageState to,
                                  uint64_t *failed)
{
    uint64_t gpa = page * PAGE | (to == PAGE_STATE_SHARED ? SHARED_BIT : 0);
    const uint64_t end = gpa + npages * PAGE;
    unsigned int nattempts = 0;

    kvm.nexits = 0;
    while (nattempts < NATTEMPTS) {
        const MapGpaStatus status = map_gpa(gpa, end - gpa, failed);

        if (status != MAP_GPA_RETRY) {
            return status;
        }
        g_assert_cmpuint(*failed, >=, gpa);
        g_assert_cmpuint(*failed, <, end);
        nattempts = *failed == gpa ? nattempts + 1 : 0;
        gpa = *failed;
    }
    return MAP_GPA_RETRY;
}

static void guest_share(uint64_t page, uint64_t npages)
{
    uint64_t failed;

    g_assert_cmpint(guest_convert(page, npages, PAGE_STATE_SHARED, &failed), ==,
                    MAP_GPA_SUCCESS);
}

static void guest_make_private(uint64_t page, uint64_t npages)
{
    uint64_t failed;

    g_assert_cmpint(guest_convert(page, npages, PAGE_STATE_PRIVATE, &failed),
                    ==, MAP_GPA_SUCCESS);
}

static void start_guest(void)
{
    start_machine();
    machine.cgs = (ConfidentialGuestSupport *)object_new("tdx-guest");
    kvm.interrupt = 0;
}

static void stop_guest(void)
{
    object_unref(OBJECT(machine.cgs));
    stop_machine();
}

/* Chunks have 2 MiB, and begin wherever the request does. */
static void test_chunks(void)
{
    start_guest();
    add_ram(0, 4000, 0, 0);
    guest_share(300, 1280);
    journal_assert("s300/512 fp300/512a s812/512 fp812/512a"
                   " s1324/256 fp1324/256a");
    g_assert_cmpuint(kvm.nexits, ==, 3);
    assert_shared(0, "300/1280");
    guest_make_private(811, 513);
    journal_assert("p811/512 fs811/512a p1323/1 fs1323/1a");
    assert_shared(0, "300/511 1324/256");
    guest_share(0, 512);
    g_assert_cmpuint(kvm.nexits, ==, 1);
    stop_guest();
}

/* A chunk fails once: the guest converts the rest, and nothing twice. */
static void test_retry(void)
{
    static const int errors[] = { EAGAIN, EBUSY, EINTR };

    for (int i = 0; i < ARRAY_SIZE(errors); i++) {
        start_guest();
        add_ram(0, 4000, 0, 0);
        /* The calls of the first chunk are number 1 and 2. */
        journal_fail_calls(3, 3, errors[i]);
        guest_share(100, 1200);
        journal_assert("s100/512 fp100/512a s612/512!"
                       " s612/512 fp612/512a s1124/176 fp1124/176a");
        g_assert_cmpuint(kvm.nexits, ==, 4);
        assert_shared(0, "100/1200");
        journal_fail_calls(3, 3, errors[i]);
        guest_make_private(100, 1200);
        journal_assert("p100/512 fs100/512a p612/512!"
                       " p612/512 fs612/512a p1124/176 fs1124/176a");
        assert_shared(0, "");
        stop_guest();
    }
}

static void test_interrupt(void)
{
    start_guest();
    add_ram(0, 4000, 0, 0);
    kvm.interrupt = 2;
    guest_share(100, 2000);
    journal_assert("s100/512 fp100/512a s612/512 fp612/512a"
                   " s1124/512 fp1124/512a s1636/464 fp1636/464a");
    g_assert_cmpuint(kvm.nexits, ==, 4);
    stop_guest();
}

/* A chunk keeps failing.  Chunks before it are converted, those after not. */
static void test_failure(gconstpointer opaque)
{
    const int err = GPOINTER_TO_INT(opaque);
    const bool is_busy = err == EAGAIN || err == EBUSY || err == EINTR;
    const MapGpaStatus expected = is_busy ? MAP_GPA_RETRY
                                          : MAP_GPA_INVALID_OPERAND;
    uint64_t failed;

    start_guest();
    add_ram(0, 4000, 0, 0);
    journal_fail_calls(3, UINT_MAX, err);
    g_assert_cmpint(guest_convert(100, 1200, PAGE_STATE_SHARED, &failed), ==,
                    expected);
    g_assert_cmpuint(failed, ==, 612 * PAGE | SHARED_BIT);
    /* The first attempt of the chunk, and those of the guest */
    g_assert_cmpuint(kvm.nexits, ==, is_busy ? 2 + NATTEMPTS : 2);
    assert_shared(0, "100/512");

    journal_fail_no_calls();
    guest_share(612, 688);
    assert_shared(0, "100/1200");
    journal_fail_calls(3, UINT_MAX, err);
    g_assert_cmpint(guest_convert(100, 1200, PAGE_STATE_PRIVATE, &failed), ==,
                    expected);
    g_assert_cmpuint(failed, ==, 612 * PAGE);
    assert_shared(0, "612/688");
    stop_guest();
}

static void test_hole(void)
{
    uint64_t failed;

    start_guest();
    add_ram(0, 1000, 0, 0);
    add_window_bytes(1000 * PAGE, 50 * PAGE, rig.mmio, 0);
    add_ram(1100, 1000, 1, 0);

    /* Firmware shares the addresses of devices, just to be sure. */
    guest_share(1000, 100);
    guest_share(50000, 5000);
    journal_assert("");
    guest_share(400, 1600);
    journal_assert("s400/512 fp400/512a s912/88 s1100/324 fp912/88a fp0/324b"
                   " s1424/512 fp324/512b s1936/64 fp836/64b");

    /* The chunk with the hole is converted as a whole, or not at all. */
    g_assert_cmpint(guest_convert(400, 1600, PAGE_STATE_PRIVATE, &failed), ==,
                    MAP_GPA_INVALID_OPERAND);
    g_assert_cmpuint(failed, ==, 912 * PAGE);
    assert_shared(0, "912/88");
    assert_shared(1, "0/900");
    g_assert_cmpint(guest_convert(1000, 1, PAGE_STATE_PRIVATE, &failed), ==,
                    MAP_GPA_INVALID_OPERAND);
    g_assert_cmpint(guest_convert(50000, 1, PAGE_STATE_PRIVATE, &failed), ==,
                    MAP_GPA_INVALID_OPERAND);
    guest_make_private(912, 88);
    guest_make_private(1100, 900);
    assert_shared(0, "");
    assert_shared(1, "");
    stop_guest();
}

/* A chunk spans two blocks, the second of which fails. */
static void test_blocks(void)
{
    start_guest();
    add_ram(0, 1000, 0, 0);
    add_ram(1000, 1000, 1, 0);
    journal_fail_calls(2, 2, EAGAIN);
    guest_share(900, 300);
    journal_assert("s900/100 s1000/200! p900/100 fs900/100a"
                   " s900/100 s1000/200 fp900/100a fp0/200b");
    assert_shared(0, "900/100");
    assert_shared(1, "0/200");
    stop_guest();
}

int main(int argc, char **argv)
{
    static const int errors[] = {
        EAGAIN, EBUSY, EINTR, ENOMEM, ENOSPC, EINVAL, EIO, EFAULT,
    };

    g_test_init(&argc, &argv, NULL);
    module_call_init(MODULE_INIT_QOM);
    type_register_static(&tdx_guest_type);
    error_init(argv[0]);

    g_test_add_func("/tdx-map-gpa/chunks", test_chunks);
    g_test_add_func("/tdx-map-gpa/retry", test_retry);
    g_test_add_func("/tdx-map-gpa/interrupt", test_interrupt);
    for (int i = 0; i < ARRAY_SIZE(errors); i++) {
        g_autofree char *name = g_strdup_printf("/tdx-map-gpa/failure/%d",
                                                errors[i]);

        g_test_add_data_func(name, GINT_TO_POINTER(errors[i]), test_failure);
    }
    g_test_add_func("/tdx-map-gpa/hole", test_hole);
    g_test_add_func("/tdx-map-gpa/blocks", test_blocks);
    return g_test_run();
}
