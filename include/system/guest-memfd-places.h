/*
 * Where the guest sees the pages of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The accelerator keeps attributes by guest physical address, and keeps them
 * when the memory slot goes that was there.  A place is a range of addresses
 * whose attributes follow the state of a block's pages, whether there is a slot
 * now or not: attributes need to be set again only for addresses that come to
 * show another page.
 *
 * A set of places is not locked: its owner serializes access.  All numbers are
 * bytes, and multiples of the page size.
 */

#ifndef SYSTEM_GUEST_MEMFD_PLACES_H
#define SYSTEM_GUEST_MEMFD_PLACES_H

#include "exec/hwaddr.h"

/* @size bytes at @offset of the block are at @gpa in the guest. */
typedef struct GuestMemfdPlace {
    uint64_t offset;
    hwaddr gpa;
    uint64_t size;
} GuestMemfdPlace;

/* GuestMemfdPlace elements; no two of them overlap in the guest. */
typedef GArray GuestMemfdPlaces;

GuestMemfdPlaces *guest_memfd_places_new(void);
void guest_memfd_places_free(GuestMemfdPlaces *places);

/* Forget what is known of @size bytes at @gpa, which show something else. */
void guest_memfd_places_remove(GuestMemfdPlaces *places, hwaddr gpa,
                               uint64_t size);

/* Add @place, in place of what was known of its addresses. */
void guest_memfd_places_add(GuestMemfdPlaces *places,
                            const GuestMemfdPlace *place);

/*
 * Find the first part of @place that is not in the set.  Returns whether there
 * is one; @place is cut to it.
 */
bool guest_memfd_places_next_new(const GuestMemfdPlaces *places,
                                 GuestMemfdPlace *place);

/*
 * Find where the guest sees some of @size bytes at @offset of the block: at
 * element @i of the set.  Returns whether it does; @visible is that part.
 */
bool guest_memfd_places_intersect(const GuestMemfdPlaces *places, guint i,
                                  uint64_t offset, uint64_t size,
                                  GuestMemfdPlace *visible);

#endif
