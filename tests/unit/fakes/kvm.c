/*
 * Fakes of KVM and of the conversion functions of kvm-all.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>

#include "system/kvm.h"
#include "system/kvm-convert-memory.h"
#include "system/shared-dma-compat.h"
#include "tests/unit/fakes/fakes.h"

KVMState *kvm_state;
RAMList ram_list;
AddressSpace address_space_memory;

MemoryRegion *get_system_memory(void)
{
    return NULL;
}

int kvm_vm_ioctl(KVMState *s, unsigned long type, ...)
{
    const struct kvm_memory_attributes *attrs;
    va_list ap;

    va_start(ap, type);
    attrs = va_arg(ap, void *);
    va_end(ap);
    g_assert_cmpuint(type, ==, KVM_SET_MEMORY_ATTRIBUTES);
    return fake_set_attributes(attrs->address, attrs->size,
                               page_state_from_private(
                                   attrs->attributes &
                                   KVM_MEMORY_ATTRIBUTE_PRIVATE));
}

int kvm_convert_memory(hwaddr start, hwaddr size, bool to_private)
{
    if (!size || !QEMU_IS_ALIGNED(start | size, qemu_real_host_page_size())) {
        return -EINVAL;
    }
    return kvm_convert_range(start, size, page_state_from_private(to_private));
}
