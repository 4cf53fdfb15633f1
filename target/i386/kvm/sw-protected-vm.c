/*
 * Software-protected VMs: private memory on any processor
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * KVM_X86_SW_PROTECTED_VM gives a guest private memory in guest_memfd and lets
 * it convert pages, as SEV-SNP and TDX do, but does not encrypt memory.  It is
 * intended for tests and development.
 */

#include "qemu/osdep.h"
#include <linux/kvm_para.h>

#include "qemu/units.h"

#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qom/object_interfaces.h"
#include "hw/boards.h"
#include "hw/i386/x86.h"
#include "hw/resettable.h"
#include "system/kvm.h"
#include "system/kvm-convert-memory.h"
#include "system/reset.h"
#include "system/runstate.h"
#include "system/shared-dma-compat.h"
#include "system/system.h"
#include "target/i386/confidential-guest.h"
#include "target/i386/kvm/sw-protected-vm.h"
#include "kvm_i386.h"

OBJECT_DECLARE_SIMPLE_TYPE(SwProtectedVm, SW_PROTECTED_VM)

struct SwProtectedVm {
    X86ConfidentialGuest parent_obj;

    ResettableState reset_state;
    Notifier machine_done;
    /* A MapGpaRangeAbi; vCPUs read it without the BQL. */
    int map_gpa_range;

    /*
     * The initial content of the firmware region.  The region is RAM, which the
     * guest can write and convert; a reset restores it.
     */
    void *firmware;
    hwaddr firmware_size;
};

OBJECT_DEFINE_SIMPLE_TYPE_WITH_INTERFACES(SwProtectedVm, sw_protected_vm,
                                          SW_PROTECTED_VM,
                                          X86_CONFIDENTIAL_GUEST,
                                          { TYPE_USER_CREATABLE },
                                          { TYPE_RESETTABLE_INTERFACE }, { })

/* Share the firmware: the guest executes it before it can convert memory. */
static bool sw_protected_vm_share_firmware(SwProtectedVm *vm)
{
    X86MachineState *x86ms = X86_MACHINE(current_machine);
    int ret;

    if (!vm->firmware_size) {
        return true;
    }
    ret = kvm_convert_range(4 * GiB - vm->firmware_size, vm->firmware_size,
                            PAGE_STATE_SHARED);
    if (ret) {
        error_report("sw-protected-vm: cannot share the firmware with the"
                     " guest: %s", strerror(-ret));
        return false;
    }
    memcpy(memory_region_get_ram_ptr(&x86ms->bios), vm->firmware,
           vm->firmware_size);
    return true;
}

static void sw_protected_vm_machine_done(Notifier *notifier, void *data)
{
    SwProtectedVm *vm = container_of(notifier, SwProtectedVm, machine_done);
    X86MachineState *x86ms = X86_MACHINE(current_machine);

    /* With pflash the region does not exist: flash is never private. */
    vm->firmware_size = memory_region_size(&x86ms->bios);
    if (vm->firmware_size) {
        vm->firmware = g_memdup2(memory_region_get_ram_ptr(&x86ms->bios),
                                 vm->firmware_size);
    }
    if (!sw_protected_vm_share_firmware(vm)) {
        exit(1);
    }
    qemu_register_resettable(OBJECT(vm));
}

static int sw_protected_vm_kvm_init(ConfidentialGuestSupport *cgs,
                                    Error **errp)
{
    SwProtectedVm *vm = SW_PROTECTED_VM(cgs);
    X86MachineState *x86ms = X86_MACHINE(current_machine);

    /* SMM needs a second address space, which cannot have private memory. */
    if (x86ms->smm == ON_OFF_AUTO_ON) {
        error_setg(errp, "sw-protected-vm: KVM does not support SMM for guests"
                   " with private memory; use -machine smm=off");
        return -EINVAL;
    }
    x86ms->smm = ON_OFF_AUTO_OFF;

    if (!kvm_enable_hypercall(BIT_ULL(KVM_HC_MAP_GPA_RANGE))) {
        error_setg(errp, "sw-protected-vm: the host's KVM cannot forward"
                   " hypercalls to QEMU (KVM_CAP_EXIT_HYPERCALL)");
        return -EINVAL;
    }

    vm->machine_done.notify = sw_protected_vm_machine_done;
    qemu_add_machine_init_done_notifier(&vm->machine_done);
    cgs->ready = true;
    return 0;
}

static int sw_protected_vm_kvm_type(X86ConfidentialGuest *cg)
{
    if (!kvm_is_vm_type_supported(KVM_X86_SW_PROTECTED_VM)) {
        error_report("sw-protected-vm: the host's KVM does not support"
                     " software-protected VMs; use Linux 6.8 or later, built"
                     " with CONFIG_KVM_SW_PROTECTED_VM");
        exit(1);
    }
    return KVM_X86_SW_PROTECTED_VM;
}

MapGpaRangeAbi sw_protected_vm_map_gpa_range_abi(Object *vm)
{
    return qatomic_read(&SW_PROTECTED_VM(vm)->map_gpa_range);
}

static const QEnumLookup sw_protected_vm_abis = {
    .array = (const char *const[]) {
        [MAP_GPA_RANGE_RAX] = "rax",
        [MAP_GPA_RANGE_SNP] = "snp",
        [MAP_GPA_RANGE_TDX] = "tdx",
    },
    .size = MAP_GPA_RANGE_TDX + 1,
};

static int sw_protected_vm_get_abi(Object *obj, Error **errp)
{
    return sw_protected_vm_map_gpa_range_abi(obj);
}

static void sw_protected_vm_set_abi(Object *obj, int abi, Error **errp)
{
    qatomic_set(&SW_PROTECTED_VM(obj)->map_gpa_range, abi);
}

static void sw_protected_vm_reset_hold(Object *obj, ResetType type)
{
    int ret = kvm_convert_all_to_private();

    if (ret) {
        error_report("sw-protected-vm: some memory is still shared after the"
                     " reset: %s", strerror(-ret));
    }
}

static void sw_protected_vm_reset_exit(Object *obj, ResetType type)
{
    if (!sw_protected_vm_share_firmware(SW_PROTECTED_VM(obj))) {
        qemu_system_vmstop_request_prepare();
        qemu_system_vmstop_request(RUN_STATE_INTERNAL_ERROR);
    }
}

static ResettableState *sw_protected_vm_get_reset_state(Object *obj)
{
    return &SW_PROTECTED_VM(obj)->reset_state;
}

static void sw_protected_vm_class_init(ObjectClass *oc, ClassInitData *data)
{
    ConfidentialGuestSupportClass *cgsc = CONFIDENTIAL_GUEST_SUPPORT_CLASS(oc);
    X86ConfidentialGuestClass *x86c = X86_CONFIDENTIAL_GUEST_CLASS(oc);
    ResettableClass *rc = RESETTABLE_CLASS(oc);

    cgsc->kvm_init = sw_protected_vm_kvm_init;
    x86c->kvm_type = sw_protected_vm_kvm_type;
    rc->get_state = sw_protected_vm_get_reset_state;
    rc->phases.hold = sw_protected_vm_reset_hold;
    rc->phases.exit = sw_protected_vm_reset_exit;

    object_class_property_add_enum(oc, "x-map-gpa-range", "MapGpaRangeAbi",
                                   &sw_protected_vm_abis,
                                   sw_protected_vm_get_abi,
                                   sw_protected_vm_set_abi);
    object_class_property_set_description(oc, "x-map-gpa-range",
        "Format of conversion results: rax, or the format that KVM accepts for"
        " snp or tdx guests (for tests)");
}

static void sw_protected_vm_init(Object *obj)
{
    CONFIDENTIAL_GUEST_SUPPORT(obj)->require_guest_memfd = true;
}

static void sw_protected_vm_finalize(Object *obj)
{
    SwProtectedVm *vm = SW_PROTECTED_VM(obj);

    if (vm->machine_done.notify) {
        qemu_remove_machine_init_done_notifier(&vm->machine_done);
    }
    g_free(vm->firmware);
}
