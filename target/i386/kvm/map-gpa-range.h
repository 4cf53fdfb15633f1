/*
 * The hypercall by which a guest converts memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_KVM_MAP_GPA_RANGE_H
#define TARGET_I386_KVM_MAP_GPA_RANGE_H

/*
 * What run->hypercall.ret has to be for KVM_HC_MAP_GPA_RANGE.  For guests that
 * get there by a protocol of their own, KVM accepts nothing but 0, EINVAL and
 * EAGAIN, without a minus; after anything else KVM_RUN fails, and the VM stops.
 */
typedef enum MapGpaRangeAbi {
    /* A software-protected VM: the guest's rax, 0 or a negative errno. */
    MAP_GPA_RANGE_RAX,
    /* SEV-SNP: any error is an error of its page state change. */
    MAP_GPA_RANGE_SNP,
    /* TDX: EAGAIN has the guest try again (TDVMCALL_STATUS_RETRY). */
    MAP_GPA_RANGE_TDX,
} MapGpaRangeAbi;

/*
 * Return what hypercall.ret is to be after a conversion that ended with @ret, 0
 * or a negative errno.
 */
uint64_t map_gpa_range_result(MapGpaRangeAbi abi, int ret);

/*
 * Carry out the hypercall: @npages pages of 4 KiB at @gpa, @attributes as KVM
 * defines them.  Returns what hypercall.ret is to be.
 */
uint64_t map_gpa_range(uint64_t gpa, uint64_t npages, uint64_t attributes);

#endif
