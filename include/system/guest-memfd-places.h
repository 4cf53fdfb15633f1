/*
 * Guest physical addresses of the pages of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The accelerator keeps attributes per guest physical address, even after the
 * memory slot at the address is removed.  A place is a range of addresses whose
 * attributes follow the states of a block's pages, with or without a slot.
 * Attributes must therefore be set again only for addresses that map a
 * different page than before.
 *
 * A set of places is not locked: its owner serializes access.  All numbers are
 * in bytes, multiples of the page size.
 */

#ifndef SYSTEM_GUEST_MEMFD_PLACES_H
#define SYSTEM_GUEST_MEMFD_PLACES_H

#include "exec/hwaddr.h"

/* The guest sees the @size bytes at @offset in the block at address @gpa. */
typedef struct GuestMemfdPlace {
    uint64_t offset;
    hwaddr gpa;
    uint64_t size;
} GuestMemfdPlace;

/* GuestMemfdPlace elements, whose guest physical addresses do not overlap */
typedef GArray GuestMemfdPlaces;

GuestMemfdPlaces *guest_memfd_places_new(void);
void guest_memfd_places_free(GuestMemfdPlaces *places);

/* Remove @size bytes at @gpa, which no longer map the block. */
void guest_memfd_places_remove(GuestMemfdPlaces *places, hwaddr gpa,
                               uint64_t size);

/* Remove all places. */
void guest_memfd_places_clear(GuestMemfdPlaces *places);

/* Add @place, which replaces other places at its addresses. */
void guest_memfd_places_add(GuestMemfdPlaces *places,
                            const GuestMemfdPlace *place);

/*
 * Find the first part of @place that is not in the set, and clip @place to it.
 * Returns false if there is none.
 */
bool guest_memfd_places_next_new(const GuestMemfdPlaces *places,
                                 GuestMemfdPlace *place);

/*
 * Set @visible to the part of element @i of the set that maps any of the @size
 * bytes at @offset in the block.  Returns false if there is none.
 */
bool guest_memfd_places_intersect(const GuestMemfdPlaces *places, guint i,
                                  uint64_t offset, uint64_t size,
                                  GuestMemfdPlace *visible);

#endif
