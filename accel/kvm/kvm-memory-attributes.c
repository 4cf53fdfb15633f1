/*
 * Memory attributes of RAM blocks in the guest's address space
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>

#include "qemu/rcu.h"
#include "kvm-memory-attributes.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "system/kvm-convert-memory.h"
#include "system/shared-dma-compat.h"
#include "trace/trace-system_shared_dma.h"

static int kvm_set_gpa_attributes(hwaddr gpa, hwaddr size, PageState state)
{
    struct kvm_memory_attributes attrs = {
        .address = gpa,
        .size = size,
        .attributes = state == PAGE_STATE_PRIVATE ?
                      KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
    };
    int ret = kvm_vm_ioctl(kvm_state, KVM_SET_MEMORY_ATTRIBUTES, &attrs);

    trace_kvm_convert_set_attributes(gpa, size, page_state_str(state), ret);
    return ret;
}

/*
 * Set the attributes of a place to the states of its pages.  Unplugged memory
 * has no attributes, like shared memory.  Called with the manager locked.
 * Processes the whole place even after an error.  Returns the first error.
 */
static int kvm_set_place_attributes(GuestMemfdManager *gmm,
                                    const GuestMemfdPlace *place)
{
    const uint64_t end = place->offset + place->size;
    const hwaddr delta = place->gpa - place->offset;
    uint64_t done = place->offset;
    int ret = 0;

    while (done < end) {
        uint64_t run = done, run_size = end - done;
        int err;

        if (!guest_memfd_next_private(gmm, &run, &run_size)) {
            run = end;
            run_size = 0;
        }
        /* Shared pages must never be private in between: they may be mapped. */
        if (run > done) {
            err = kvm_set_gpa_attributes(delta + done, run - done,
                                         PAGE_STATE_SHARED);
            ret = ret ?: err;
        }
        if (run_size) {
            err = kvm_set_gpa_attributes(delta + run, run_size,
                                         PAGE_STATE_PRIVATE);
            ret = ret ?: err;
        }
        done = run + run_size;
    }
    return ret;
}

int kvm_set_block_attributes(GuestMemfdManager *gmm, uint64_t offset,
                             uint64_t size, PageState state)
{
    const GuestMemfdPlaces *places = guest_memfd_manager_places(gmm);
    GuestMemfdPlace visible;
    guint nset;
    int ret = 0;

    for (nset = 0; nset < places->len; nset++) {
        if (guest_memfd_places_intersect(places, nset, offset, size,
                                         &visible)) {
            ret = kvm_set_gpa_attributes(visible.gpa, visible.size, state);
            if (ret) {
                break;
            }
        }
    }
    if (!ret) {
        return 0;
    }
    for (guint i = 0; i < nset; i++) {
        if (guest_memfd_places_intersect(places, i, offset, size, &visible) &&
            kvm_set_place_attributes(gmm, &visible) &&
            state == PAGE_STATE_PRIVATE) {
            ret = -ENOTRECOVERABLE;
        }
    }
    return ret;
}

/*
 * Remove the places of all blocks at some addresses, except those of the block
 * of @mr unless it is NULL.
 */
static void kvm_remove_other_places(MemoryRegion *mr, hwaddr gpa, hwaddr size)
{
    RAMBlock *block;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(block) {
        GuestMemfdManager *gmm = guest_memfd_manager_from_region(block->mr);

        if (gmm && block->mr != mr) {
            guest_memfd_manager_lock_ahead(gmm);
            guest_memfd_places_remove(guest_memfd_manager_places(gmm), gpa,
                                      size);
            guest_memfd_manager_unlock(gmm);
        }
    }
}

int kvm_share_addresses(hwaddr gpa, hwaddr size)
{
    kvm_remove_other_places(NULL, gpa, size);
    return kvm_set_gpa_attributes(gpa, size, PAGE_STATE_SHARED);
}

/* Set the attributes of memory that is plugged or unplugged. */
static int kvm_set_plug_attributes(void *opaque, uint64_t offset,
                                   uint64_t size, PageState state)
{
    return kvm_set_block_attributes(opaque, offset, size, state);
}

int kvm_init_memory_attributes(MemoryRegion *mr, uint64_t offset,
                               hwaddr gpa, hwaddr size)
{
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(mr);
    GuestMemfdPlaces *places = guest_memfd_manager_places(gmm);
    const GuestMemfdPlace place = {
        .offset = offset,
        .gpa = gpa,
        .size = size,
    };
    GuestMemfdPlace part = place;
    int ret = 0;

    kvm_remove_other_places(mr, gpa, size);
    guest_memfd_manager_lock_ahead(gmm);
    guest_memfd_manager_set_accel(gmm, kvm_set_plug_attributes);
    while (!ret && guest_memfd_places_next_new(places, &part)) {
        ret = kvm_set_place_attributes(gmm, &part);
        if (!ret) {
            guest_memfd_places_add(places, &part);
            part = place;
        }
    }
    guest_memfd_manager_unlock(gmm);
    return ret;
}
