/*
 * Test of KVM_HC_MAP_GPA_RANGE, the hypercall that converts memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm_para.h>

#include "qemu/module.h"
#include "hw/boards.h"
#include "system/confidential-guest-support.h"
#include "system/kvm-convert-memory.h"
#include "target/i386/kvm/map-gpa-range.h"
#include "target/i386/kvm/sw-protected-vm.h"

/* Whether KVM accepts @ret for guests other than software-protected VMs */
static bool kvm_accepts(uint64_t ret)
{
    return ret == 0 || ret == EINVAL || ret == EAGAIN;
}

/* Replacements of functions of QEMU */

static MachineState machine;
MachineState *current_machine = &machine;

static struct {
    hwaddr start;
    hwaddr size;
    PageState to;
    unsigned int ncalls;
    int ret;
} converted;

int kvm_convert_range(hwaddr start, hwaddr size, PageState to)
{
    converted.start = start;
    converted.size = size;
    converted.to = to;
    converted.ncalls++;
    return converted.ret;
}

static MapGpaRangeAbi sw_abi = MAP_GPA_RANGE_RAX;

MapGpaRangeAbi sw_protected_vm_map_gpa_range_abi(Object *vm)
{
    g_assert_true(vm == OBJECT(machine.cgs));
    return sw_abi;
}

static const TypeInfo guest_types[] = {
    { .name = TYPE_SW_PROTECTED_VM, .parent = TYPE_OBJECT },
    { .name = "sev-snp-guest", .parent = TYPE_OBJECT },
    { .name = "tdx-guest", .parent = TYPE_OBJECT },
    { .name = "guest-of-the-future", .parent = TYPE_OBJECT },
};

DEFINE_TYPES(guest_types)

static const int errors[] = {
    EINVAL, EIO, ENOMEM, ENOSPC, EFAULT, EAGAIN, EBUSY, EINTR, ENOTRECOVERABLE,
    EPERM, EEXIST,
};

static bool can_retry(int err)
{
    return err == EAGAIN || err == EBUSY || err == EINTR;
}

static void use_guest(const char *type)
{
    machine.cgs = (ConfidentialGuestSupport *)object_new(type);
}

static void drop_guest(void)
{
    object_unref(OBJECT(machine.cgs));
    machine.cgs = NULL;
}

static void test_types(gconstpointer opaque)
{
    const char *type = opaque;
    const bool is_tdx = !strcmp(type, "tdx-guest");
    const bool is_sw = !strcmp(type, TYPE_SW_PROTECTED_VM);

    use_guest(type);
    converted.ret = 0;
    g_assert_cmpuint(map_gpa_range(0x1000, 1, 0), ==, 0);
    for (int i = 0; i < ARRAY_SIZE(errors); i++) {
        uint64_t ret;

        converted.ret = -errors[i];
        ret = map_gpa_range(0x1000, 1, 0);
        if (is_sw) {
            g_assert_cmpint((int64_t)ret, ==, -errors[i]);
        } else {
            g_assert_true(kvm_accepts(ret));
            g_assert_cmpuint(ret, ==, is_tdx && can_retry(errors[i])
                                          ? EAGAIN : EINVAL);
        }
    }
    drop_guest();
}

/* A software-protected VM can use the result formats of other guests. */
static void test_other_abi(void)
{
    use_guest(TYPE_SW_PROTECTED_VM);
    converted.ret = -EBUSY;
    sw_abi = MAP_GPA_RANGE_SNP;
    g_assert_cmpuint(map_gpa_range(0x1000, 1, 0), ==, EINVAL);
    sw_abi = MAP_GPA_RANGE_TDX;
    g_assert_cmpuint(map_gpa_range(0x1000, 1, 0), ==, EAGAIN);
    sw_abi = MAP_GPA_RANGE_RAX;
    g_assert_cmpint((int64_t)map_gpa_range(0x1000, 1, 0), ==, -EBUSY);
    drop_guest();
}

static void test_arguments(void)
{
    use_guest(TYPE_SW_PROTECTED_VM);
    converted.ret = 0;
    map_gpa_range(0x12345000, 3, KVM_MAP_GPA_RANGE_ENCRYPTED);
    g_assert_cmpuint(converted.start, ==, 0x12345000);
    g_assert_cmpuint(converted.size, ==, 3 * 4096);
    g_assert_cmpint(converted.to, ==, PAGE_STATE_PRIVATE);
    map_gpa_range(0, 1, KVM_MAP_GPA_RANGE_DECRYPTED |
                        KVM_MAP_GPA_RANGE_PAGE_SZ_2M);
    g_assert_cmpint(converted.to, ==, PAGE_STATE_SHARED);

    /* The size in bytes exceeds 64 bits. */
    converted.ncalls = 0;
    g_assert_cmpint((int64_t)map_gpa_range(0, UINT64_C(1) << 52, 0), ==,
                    -EINVAL);
    g_assert_cmpint((int64_t)map_gpa_range(0, UINT64_MAX, 0), ==, -EINVAL);
    g_assert_cmpuint(converted.ncalls, ==, 0);
    drop_guest();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    module_call_init(MODULE_INIT_QOM);
    for (int i = 0; i < ARRAY_SIZE(guest_types); i++) {
        g_autofree char *name = g_strdup_printf("/map-gpa-range/types/%s",
                                                guest_types[i].name);

        g_test_add_data_func(name, guest_types[i].name, test_types);
    }
    g_test_add_func("/map-gpa-range/other-abi", test_other_abi);
    g_test_add_func("/map-gpa-range/arguments", test_arguments);
    return g_test_run();
}
