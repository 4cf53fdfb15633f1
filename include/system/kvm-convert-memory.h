/*
 * Conversion of guest memory between shared and private
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * kvm_convert_memory() itself is declared in system/kvm.h.
 *
 * A conversion is given as a guest-physical range, which a guest may choose as
 * it likes.  It is cut at the borders of memory regions; what it says about
 * each part is
 *
 *   RAM with a guest_memfd   its pages are converted
 *   MMIO, or nothing at all  to shared: nothing to do, it is shared already;
 *                            to private: -EINVAL
 *   other RAM, ROM           -EINVAL
 *
 * Either all parts are converted or none.
 */

#ifndef SYSTEM_KVM_CONVERT_MEMORY_H
#define SYSTEM_KVM_CONVERT_MEMORY_H

#include "exec/hwaddr.h"

struct kvm_run;

/**
 * kvm_convert_memory_fault: convert memory because the guest accessed it
 *
 * The answer to KVM_EXIT_MEMORY_FAULT, which has no way to tell the guest of
 * an error.
 *
 * Returns 0 when the guest can go on.  That includes a conversion which failed
 * for lack of resources: the guest accesses the memory again, and that is
 * another try.  Returns a negative errno when there is nothing to convert.
 */
int kvm_convert_memory_fault(const struct kvm_run *run);

/**
 * kvm_init_memory_attributes: set the attributes of a new memory slot
 *
 * @mr: the region of the slot, which has a guest_memfd
 * @offset: where in @mr the slot begins, in bytes
 * @gpa: where it begins in the guest, in bytes
 * @size: in bytes
 *
 * Slots come and go while the guest runs, each time that the memory map
 * changes; pages of the RAM block that are shared stay shared.
 *
 * Returns 0 or a negative errno.
 */
int kvm_init_memory_attributes(MemoryRegion *mr, ram_addr_t offset,
                               hwaddr gpa, hwaddr size);

/**
 * kvm_convert_all_to_private: make all memory private, as it is at start
 *
 * For a reset of the machine.  Called with the BQL held and vCPUs stopped.
 *
 * Returns 0, or the first error as a negative errno; the rest of the memory is
 * private all the same.
 */
int kvm_convert_all_to_private(void);

#endif
