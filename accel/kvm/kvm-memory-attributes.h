/*
 * Memory attributes of RAM blocks in the guest's address space
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef ACCEL_KVM_KVM_MEMORY_ATTRIBUTES_H
#define ACCEL_KVM_KVM_MEMORY_ATTRIBUTES_H

#include "system/guest-memfd-manager.h"

/**
 * kvm_set_block_attributes: set the attributes of a range of a RAM block
 *
 * @offset, @size: the range, in bytes, multiples of the page size
 * @state: the new state of all its pages
 *
 * Sets the attributes at all guest physical addresses where the guest sees the
 * range, or last saw it.  Called with the manager locked.
 *
 * Returns 0 or a negative errno, like GuestMemfdSetAttributes.
 */
int kvm_set_block_attributes(GuestMemfdManager *gmm, uint64_t offset,
                             uint64_t size, PageState state);

/**
 * kvm_share_addresses: make addresses without guest_memfd RAM shared
 *
 * KVM keeps the attributes of addresses when RAM is hidden or removed.  While
 * they are private, the guest can access nothing else there.  The attributes
 * of the addresses no longer follow the state of any page afterwards.
 *
 * Called with the BQL held.  Returns 0 or a negative errno.
 */
int kvm_share_addresses(hwaddr gpa, hwaddr size);

#endif
