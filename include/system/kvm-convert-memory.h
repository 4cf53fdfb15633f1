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
 *   whole pages of RAM with a guest_memfd   they are converted
 *   anything else, or nothing at all        to shared: nothing to do, it is
 *                                           shared already; to private: -EINVAL
 *
 * Either all parts are converted or none.
 */

#ifndef SYSTEM_KVM_CONVERT_MEMORY_H
#define SYSTEM_KVM_CONVERT_MEMORY_H

#include "exec/hwaddr.h"

struct kvm_run;

/**
 * kvm_convert_range: convert a range for kvm_convert_memory()
 *
 * @start: where it begins in the guest, a multiple of the page size
 * @size: in bytes, a multiple of the page size and not 0
 *
 * Called by vCPUs without the BQL, or with it at start and for a reset.  A
 * large range is converted in pieces.  A conversion of the same pages that
 * another vCPU makes at the same time comes before it or after it, piece by
 * piece.
 *
 * Returns 0; -EINVAL when the range cannot be converted; or the negative errno
 * of the step that failed.  The state of all pages is as before, then.
 */
int kvm_convert_range(hwaddr start, hwaddr size, bool to_private);

/**
 * kvm_convert_memory_fault: convert memory because the guest accessed it
 *
 * The answer to KVM_EXIT_MEMORY_FAULT, which has no way to tell the guest of
 * an error.
 *
 * Returns 0 when the guest can go on.  That includes a conversion for which the
 * host is short of something just now: after a moment, the guest accesses the
 * memory again, and that is another try.  Returns a negative errno when there
 * is nothing to convert, or the conversion would fail for ever: the VM stops.
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
 * changes; pages of the RAM block that are shared stay shared.  Addresses that
 * showed the same pages before have the right attributes already.
 *
 * Called with the BQL held.  Returns 0 or a negative errno.
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
