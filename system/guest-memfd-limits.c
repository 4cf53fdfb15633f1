/*
 * Checks for operations that do not work with private memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/boards.h"
#include "hw/mem/nvdimm.h"
#include "hw/mem/pc-dimm.h"
#include "hw/virtio/virtio-mem-pci.h"
#include "migration/blocker.h"
#include "system/guest-memfd-limits.h"
#include "system/runstate.h"
#include "system/shared-dma-compat.h"
#include "system/system.h"

bool guest_memfd_is_required(void)
{
    return machine_require_guest_memfd(current_machine);
}

static void guest_memfd_set_untracked(Error **errp)
{
    error_setg(errp, "changes of private memory cannot be tracked: KVM cannot"
               " log them and QEMU cannot read the memory");
}

/*
 * Fail before QEMU asks KVM to log writes to a slot with a guest_memfd: KVM
 * would refuse, and QEMU would abort.
 */
static bool guest_memfd_log_global_start(MemoryListener *listener, Error **errp)
{
    guest_memfd_set_untracked(errp);
    return false;
}

static MemoryListener guest_memfd_listener = {
    .name = "guest-memfd",
    .priority = MEMORY_LISTENER_PRIORITY_MIN,
    .log_global_start = guest_memfd_log_global_start,
};

/* Block migration, snapshots, and dirty tracking permanently. */
static bool guest_memfd_restrict_machine(Error **errp)
{
    static Error *blocker;

    if (blocker) {
        return true;
    }
    error_setg(&blocker, "private memory (guest_memfd) cannot be migrated");
    if (migrate_add_blocker(&blocker, errp) < 0) {
        return false;
    }
    memory_listener_register(&guest_memfd_listener, &address_space_memory);
    return true;
}

bool guest_memfd_check_block(const RAMBlock *block, Error **errp)
{
    const char *name = memory_region_name(block->mr);

    if (block->mr->readonly || block->flags & RAM_READONLY_FD) {
        error_setg(errp, "memory '%s' is read-only and cannot be private; use"
                   " readonly=off", name);
        return false;
    }
    /* MADV_REMOVE fails for locked memory, and there is no file to punch. */
    if (should_mlock(mlock_state) && block->fd < 0 &&
        block->flags & RAM_SHARED) {
        error_setg(errp, "memory '%s' is shared, locked, and has no file, so it"
                   " cannot be freed when it becomes private; use share=off or"
                   " -overcommit mem-lock=off", name);
        return false;
    }
    if (runstate_check(RUN_STATE_INMIGRATE)) {
        error_setg(errp, "memory '%s' is private and cannot be migrated; leave"
                   " out -incoming", name);
        return false;
    }
    return guest_memfd_restrict_machine(errp);
}

bool guest_memfd_check_tracking(Error **errp)
{
    if (guest_memfd_is_required()) {
        guest_memfd_set_untracked(errp);
        return false;
    }
    return true;
}

bool guest_memfd_check_restore(Error **errp)
{
    if (guest_memfd_is_required()) {
        error_setg(errp, "private memory cannot be restored from a snapshot");
        return false;
    }
    return true;
}

/* An access to unplugged private memory stops the guest. */
static bool guest_memfd_check_virtio_mem(Object *obj, Error **errp)
{
    g_autofree char *inaccessible = object_property_get_str(
        obj, VIRTIO_MEM_UNPLUGGED_INACCESSIBLE_PROP, NULL);

    if (g_strcmp0(inaccessible, "off")) {
        return true;
    }
    error_setg(errp, "unplugged private memory is always inaccessible; use "
               VIRTIO_MEM_UNPLUGGED_INACCESSIBLE_PROP "=on");
    return false;
}

/* NVDIMM and virtio-pmem must keep their data, which a conversion frees. */
bool guest_memfd_check_memory_device(MemoryDeviceState *md, Error **errp)
{
    Object *obj = OBJECT(md);

    if (!guest_memfd_is_required() ||
        (object_dynamic_cast(obj, TYPE_PC_DIMM) &&
         !object_dynamic_cast(obj, TYPE_NVDIMM))) {
        return true;
    }
    if (object_dynamic_cast(obj, TYPE_VIRTIO_MEM_PCI)) {
        return guest_memfd_check_virtio_mem(obj, errp);
    }
    error_setg(errp, "%s does not work in a guest with private memory; use"
               " pc-dimm or virtio-mem-pci", object_get_typename(obj));
    return false;
}
