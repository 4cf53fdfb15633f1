/*
 * Test of the checks for operations that do not work with private memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "hw/boards.h"
#include "hw/mem/nvdimm.h"
#include "hw/mem/pc-dimm.h"
#include "hw/virtio/virtio-mem-pci.h"
#include "migration/blocker.h"
#include "system/guest-memfd-limits.h"
#include "system/report-limit.h"
#include "system/runstate.h"
#include "system/shared-dma-compat.h"
#include "system/system.h"

#define TYPE_OTHER_DEVICE "other-memory-device"

AddressSpace address_space_memory;
MachineState *current_machine;
MlockState mlock_state;

static bool requires_guest_memfd;
static bool is_incoming;
static bool is_only_migratable;
static unsigned int nblockers;
static MemoryListener *listener;

const char *memory_region_name(const MemoryRegion *mr)
{
    return "m";
}

void memory_listener_register(MemoryListener *l, AddressSpace *as)
{
    g_assert_null(listener);
    g_assert_true(as == &address_space_memory);
    listener = l;
}

int migrate_add_blocker(Error **reasonp, Error **errp)
{
    if (is_only_migratable) {
        error_propagate(errp, *reasonp);
        *reasonp = NULL;
        return -EACCES;
    }
    nblockers++;
    return 0;
}

bool machine_require_guest_memfd(MachineState *machine)
{
    return requires_guest_memfd;
}

bool runstate_check(RunState state)
{
    return state == RUN_STATE_INMIGRATE && is_incoming;
}

bool should_mlock(MlockState state)
{
    return state != MLOCK_OFF;
}

/* The property of the next virtio-mem device that is created */
static const char *unplugged_inaccessible = "auto";

static char *get_unplugged_inaccessible(Object *obj, Error **errp)
{
    return g_strdup(unplugged_inaccessible);
}

static void virtio_mem_init(Object *obj)
{
    object_property_add_str(obj, VIRTIO_MEM_UNPLUGGED_INACCESSIBLE_PROP,
                            get_unplugged_inaccessible, NULL);
}

static const TypeInfo fake_types[] = {
    {
        .name = TYPE_MEMORY_DEVICE,
        .parent = TYPE_INTERFACE,
        .class_size = sizeof(MemoryDeviceClass),
    },
    {
        .name = TYPE_PC_DIMM,
        .parent = TYPE_OBJECT,
        .interfaces = (InterfaceInfo[]) { { TYPE_MEMORY_DEVICE }, { } },
    },
    {
        .name = TYPE_NVDIMM,
        .parent = TYPE_PC_DIMM,
    },
    {
        .name = TYPE_VIRTIO_MEM_PCI,
        .parent = TYPE_OBJECT,
        .instance_init = virtio_mem_init,
        .interfaces = (InterfaceInfo[]) { { TYPE_MEMORY_DEVICE }, { } },
    },
    {
        .name = TYPE_OTHER_DEVICE,
        .parent = TYPE_OBJECT,
        .interfaces = (InterfaceInfo[]) { { TYPE_MEMORY_DEVICE }, { } },
    },
};

DEFINE_TYPES(fake_types)

/* Return the error for a block, or NULL if it can have a guest_memfd. */
static char *check_block(uint32_t flags, int fd, bool readonly)
{
    MemoryRegion mr = { .readonly = readonly };
    RAMBlock block = { .mr = &mr, .flags = flags, .fd = fd };
    Error *err = NULL;
    bool fits = guest_memfd_check_block(&block, &err);
    char *message = err ? g_strdup(error_get_pretty(err)) : NULL;

    g_assert_cmpint(fits, ==, !err);
    error_free(err);
    return message;
}

static void assert_block(uint32_t flags, int fd, bool readonly,
                         const char *expected)
{
    g_autofree char *message = check_block(flags, fd, readonly);

    if (!expected) {
        g_assert_cmpstr(message, ==, NULL);
    } else {
        g_assert_nonnull(message);
        g_assert_nonnull(strstr(message, expected));
    }
}

static void test_readonly(void)
{
    assert_block(0, 5, true, "'m' is read-only");
    assert_block(RAM_READONLY_FD, 5, false, "'m' is read-only");
}

static void test_locked(void)
{
    const MlockState states[] = { MLOCK_ON, MLOCK_ON_FAULT };

    for (int i = 0; i < ARRAY_SIZE(states); i++) {
        mlock_state = states[i];
        assert_block(RAM_SHARED, -1, false, "'m' is shared, locked, and has");
        assert_block(RAM_SHARED, 5, false, NULL);
        assert_block(0, -1, false, NULL);
    }
    mlock_state = MLOCK_OFF;
    assert_block(RAM_SHARED, -1, false, NULL);
}

static void test_incoming(void)
{
    is_incoming = true;
    assert_block(0, -1, false, "leave out -incoming");
    is_incoming = false;
}

/* Runs first: the first block restricts the machine, once. */
static void test_machine(void)
{
    Error *err = NULL;

    is_only_migratable = true;
    assert_block(0, -1, false, "cannot be migrated");
    assert_block(0, -1, false, "cannot be migrated");
    g_assert_null(listener);
    is_only_migratable = false;

    assert_block(0, -1, false, NULL);
    assert_block(0, -1, false, NULL);
    g_assert_cmpuint(nblockers, ==, 1);
    g_assert_false(listener->log_global_start(listener, &err));
    error_free_or_abort(&err);
}

static void test_tracking(void)
{
    Error *err = NULL;

    g_assert_true(guest_memfd_check_tracking(&error_abort));
    g_assert_true(guest_memfd_check_restore(&error_abort));
    requires_guest_memfd = true;
    g_assert_false(guest_memfd_check_tracking(&err));
    error_free_or_abort(&err);
    g_assert_false(guest_memfd_check_restore(&err));
    error_free_or_abort(&err);
    requires_guest_memfd = false;
}

static bool check_device(const char *type, Error **errp)
{
    Object *obj = object_new(type);
    bool fits = guest_memfd_check_memory_device(MEMORY_DEVICE(obj), errp);

    object_unref(obj);
    return fits;
}

static void test_devices(void)
{
    const char *refused[] = { TYPE_NVDIMM, TYPE_OTHER_DEVICE };
    Error *err = NULL;

    for (int i = 0; i < ARRAY_SIZE(refused); i++) {
        requires_guest_memfd = false;
        g_assert_true(check_device(refused[i], &error_abort));
        requires_guest_memfd = true;
        g_assert_false(check_device(refused[i], &err));
        g_assert_nonnull(strstr(error_get_pretty(err), refused[i]));
        error_free_or_abort(&err);
    }
    g_assert_true(check_device(TYPE_PC_DIMM, &error_abort));
    requires_guest_memfd = false;
}

static void test_virtio_mem(void)
{
    const char *accepted[] = { "auto", "on" };
    Error *err = NULL;

    requires_guest_memfd = true;
    for (int i = 0; i < ARRAY_SIZE(accepted); i++) {
        unplugged_inaccessible = accepted[i];
        g_assert_true(check_device(TYPE_VIRTIO_MEM_PCI, &error_abort));
    }
    unplugged_inaccessible = "off";
    g_assert_false(check_device(TYPE_VIRTIO_MEM_PCI, &err));
    error_free_or_abort(&err);
    requires_guest_memfd = false;
    g_assert_true(check_device(TYPE_VIRTIO_MEM_PCI, &error_abort));
}

static void G_GNUC_PRINTF(1, 2) report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_vreport_limited(fmt, ap);
    va_end(ap);
}

/* Few of a million reports are printed for each format. */
static void test_reports(void)
{
    GString *many;

    if (g_test_subprocess()) {
        for (int i = 0; i < 1000000; i++) {
            report("first %d", i);
            report("second %d", i);
            errno = EFAULT;
            warn_report_limited("third: %m");
        }
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*first 0\n*second 0\n*third: Bad address\n*");
    /* With the rate limit, 100 reports would take minutes. */
    many = g_string_new("*");
    for (int i = 0; i < 100; i++) {
        g_string_append(many, "first *");
    }
    g_test_trap_assert_stderr_unmatched(many->str);
    g_string_free(many, true);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    module_call_init(MODULE_INIT_QOM);

    g_test_add_func("/guest-memfd-limits/machine", test_machine);
    g_test_add_func("/guest-memfd-limits/readonly", test_readonly);
    g_test_add_func("/guest-memfd-limits/locked", test_locked);
    g_test_add_func("/guest-memfd-limits/incoming", test_incoming);
    g_test_add_func("/guest-memfd-limits/tracking", test_tracking);
    g_test_add_func("/guest-memfd-limits/devices", test_devices);
    g_test_add_func("/guest-memfd-limits/virtio-mem", test_virtio_mem);
    g_test_add_func("/guest-memfd-limits/reports", test_reports);
    return g_test_run();
}
