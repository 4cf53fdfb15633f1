/*
 * KVM_HC_MAP_GPA_RANGE: the hypercall with which a guest converts memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_KVM_MAP_GPA_RANGE_H
#define TARGET_I386_KVM_MAP_GPA_RANGE_H

/*
 * The values that KVM expects in run->hypercall.ret.  For guests that use a
 * protocol of their own instead of the hypercall, it accepts only 0, EINVAL and
 * EAGAIN, which are positive; after other values KVM_RUN fails and the VM
 * stops.
 */
typedef enum MapGpaRangeAbi {
    /* A software-protected VM: the guest's rax, 0 or a negative errno. */
    MAP_GPA_RANGE_RAX,
    /* SEV-SNP: any error fails the guest's page state change. */
    MAP_GPA_RANGE_SNP,
    /* TDX: after EAGAIN the guest tries again (TDVMCALL_STATUS_RETRY). */
    MAP_GPA_RANGE_TDX,
} MapGpaRangeAbi;

/*
 * Translate the result of a conversion, 0 or a negative errno, to a value for
 * run->hypercall.ret.
 */
uint64_t map_gpa_range_result(MapGpaRangeAbi abi, int ret);

/*
 * Execute the hypercall for @npages pages of 4 KiB at @gpa, with @attributes as
 * KVM defines them.  Returns the value for run->hypercall.ret.
 */
uint64_t map_gpa_range(uint64_t gpa, uint64_t npages, uint64_t attributes);

#endif
