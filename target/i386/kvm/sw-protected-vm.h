/*
 * Software-protected VMs: private memory on any processor
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_KVM_SW_PROTECTED_VM_H
#define TARGET_I386_KVM_SW_PROTECTED_VM_H

#include "qom/object.h"
#include "target/i386/kvm/map-gpa-range.h"

#define TYPE_SW_PROTECTED_VM "sw-protected-vm"

/*
 * Return the format of the VM's hypercall results: MAP_GPA_RANGE_RAX, unless
 * property "x-map-gpa-range" has another value.
 */
MapGpaRangeAbi sw_protected_vm_map_gpa_range_abi(Object *vm);

#endif
