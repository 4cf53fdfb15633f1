/*
 * KVM_HC_MAP_GPA_RANGE: the hypercall with which a guest converts memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm_para.h>

#include "qemu/host-utils.h"
#include "hw/boards.h"
#include "system/kvm-convert-memory.h"
#include "target/i386/kvm/map-gpa-range.h"
#include "target/i386/kvm/sw-protected-vm.h"

/* The page size of the hypercall, regardless of the host's page size */
#define MAP_GPA_RANGE_PAGE_SIZE 4096

uint64_t map_gpa_range_result(MapGpaRangeAbi abi, int ret)
{
    const bool is_busy = ret == -EAGAIN || ret == -EBUSY || ret == -EINTR;

    if (abi == MAP_GPA_RANGE_RAX || !ret) {
        return ret;
    }
    return abi == MAP_GPA_RANGE_TDX && is_busy ? EAGAIN : EINVAL;
}

static MapGpaRangeAbi map_gpa_range_abi(void)
{
    Object *cgs = OBJECT(current_machine->cgs);

    if (object_dynamic_cast(cgs, TYPE_SW_PROTECTED_VM)) {
        return sw_protected_vm_map_gpa_range_abi(cgs);
    }
    return object_dynamic_cast(cgs, "tdx-guest") ? MAP_GPA_RANGE_TDX
                                                 : MAP_GPA_RANGE_SNP;
}

uint64_t map_gpa_range(uint64_t gpa, uint64_t npages, uint64_t attributes)
{
    uint64_t size;
    int ret = -EINVAL;

    if (!umul64_overflow(npages, MAP_GPA_RANGE_PAGE_SIZE, &size)) {
        ret = kvm_convert_range(
            gpa, size,
            page_state_from_private(attributes & KVM_MAP_GPA_RANGE_ENCRYPTED));
    }
    return map_gpa_range_result(map_gpa_range_abi(), ret);
}
