/*
 * Where the guest sees the pages of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The accelerator keeps attributes per guest physical address, even after the
 * memory slot at the address is removed.  A place is a range of addresses whose
 * attributes follow the states of a block's pages, whether there is a slot or
 * not: attributes have to be set again only for addresses that map another page
 * than before.
 *
 * A set of places is not locked: its owner serializes access.  All numbers are
 * in bytes, multiples of the page size.
 */

#ifndef SYSTEM_GUEST_MEMFD_PLACES_H
#define SYSTEM_GUEST_MEMFD_PLACES_H

#include "exec/hwaddr.h"

/* The guest sees @size bytes at @offset of the block at @gpa. */
typedef struct GuestMemfdPlace {
    uint64_t offset;
    hwaddr gpa;
    uint64_t size;
} GuestMemfdPlace;

/* GuestMemfdPlace elements, whose guest physical addresses do not overlap */
typedef GArray GuestMemfdPlaces;

GuestMemfdPlaces *guest_memfd_places_new(void);
void guest_memfd_places_free(GuestMemfdPlaces *places);

/* Remove @size bytes at @gpa, which now map something else. */
void guest_memfd_places_remove(GuestMemfdPlaces *places, hwaddr gpa,
                               uint64_t size);

/* Add @place; it replaces what the set has for these addresses. */
void guest_memfd_places_add(GuestMemfdPlaces *places,
                            const GuestMemfdPlace *place);

/*
 * Find the first part of @place that is not in the set, and clip @place to it.
 * Returns false if there is none.
 */
bool guest_memfd_places_next_new(const GuestMemfdPlaces *places,
                                 GuestMemfdPlace *place);

/*
 * Set @visible to the part of element @i of the set that maps any of @size
 * bytes at @offset of the block.  Returns false if there is none.
 */
bool guest_memfd_places_intersect(const GuestMemfdPlaces *places, guint i,
                                  uint64_t offset, uint64_t size,
                                  GuestMemfdPlace *visible);

#endif
