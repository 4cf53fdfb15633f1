/*
 * Fakes of KVM
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
