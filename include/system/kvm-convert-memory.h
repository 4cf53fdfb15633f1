/*
 * Conversion of guest memory between shared and private
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A conversion is requested for a guest-physical range, which the guest is free
 * to choose.  The range is cut at the boundaries of memory regions:
 *
 *   whole pages of RAM with a guest_memfd   are converted, unless they are
 *                                           unplugged: -EINVAL
 *   everything else                         is shared already; a conversion to
 *                                           private fails with -EINVAL
 *
 * Either all parts are converted or none.
 */

#ifndef SYSTEM_KVM_CONVERT_MEMORY_H
#define SYSTEM_KVM_CONVERT_MEMORY_H

#include "exec/hwaddr.h"
#include "system/page-state.h"

struct kvm_run;

/**
 * kvm_convert_range: convert a guest-physical range
 *
 * @start: guest physical address
 * @size: size in bytes
 * @to: the new state
 *
 * Called by vCPUs without the BQL, and with the BQL at startup and at a reset.
 * A large range is converted in pieces.  Concurrent conversions of the same
 * pages are serialized piece by piece.
 *
 * Returns 0, -EINVAL if the range cannot be converted, which includes an empty
 * or unaligned one, or the negative errno of the step that failed.  On failure,
 * all pages have their previous state.
 */
int kvm_convert_range(hwaddr start, hwaddr size, PageState to);

/**
 * kvm_convert_memory_fault: convert memory that the guest has accessed
 *
 * Handles KVM_EXIT_MEMORY_FAULT, which cannot report an error to the guest.
 * Addresses without guest_memfd RAM that the guest accesses as shared memory
 * become shared for KVM as well, because they may have had RAM before.
 *
 * Returns 0 if the vCPU can continue.  This includes a temporary failure for
 * lack of host resources: the function waits for a moment, then the guest
 * repeats its access, which tries the conversion again.  Returns a negative
 * errno, which stops the VM, if the conversion can never succeed.
 */
int kvm_convert_memory_fault(const struct kvm_run *run);

/**
 * kvm_init_memory_attributes: set the attributes of a new memory slot
 *
 * @mr: the memory region of the slot, which has a guest_memfd
 * @offset: offset of the slot in @mr, in bytes
 * @gpa: guest physical address of the slot
 * @size: size in bytes
 *
 * Changes of the memory map remove and add slots while the guest runs, and
 * shared pages of the RAM block stay shared.  Attributes are set only where
 * addresses did not map the same pages before.
 *
 * Called with the BQL held.  Returns 0 or a negative errno.
 */
int kvm_init_memory_attributes(MemoryRegion *mr, uint64_t offset,
                               hwaddr gpa, hwaddr size);

/**
 * kvm_convert_all_to_private: make all memory private, as it is at startup
 *
 * Used by a reset of the machine.  Called with the BQL held and vCPUs stopped.
 *
 * Returns 0, or the first error as a negative errno, in which case the rest of
 * the memory is private nevertheless.
 */
int kvm_convert_all_to_private(void);

#endif
