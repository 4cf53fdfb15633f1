/*
 * Guest physical addresses of the pages of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "system/guest-memfd-places.h"

static GuestMemfdPlace *place_at(const GuestMemfdPlaces *places, guint i)
{
    return &g_array_index((GuestMemfdPlaces *)places, GuestMemfdPlace, i);
}

/* Return the part of @place that starts at @gpa. */
static GuestMemfdPlace place_from(const GuestMemfdPlace *place, hwaddr gpa)
{
    const uint64_t skip = gpa - place->gpa;

    return (GuestMemfdPlace) {
        .offset = place->offset + skip,
        .gpa = gpa,
        .size = place->size - skip,
    };
}

/* Whether both map addresses to the same pages. */
static bool place_is_alike(const GuestMemfdPlace *a, const GuestMemfdPlace *b)
{
    return a->gpa - a->offset == b->gpa - b->offset;
}

static hwaddr place_last(const GuestMemfdPlace *place)
{
    return place->gpa + (place->size - 1);
}

GuestMemfdPlaces *guest_memfd_places_new(void)
{
    return g_array_new(false, false, sizeof(GuestMemfdPlace));
}

void guest_memfd_places_free(GuestMemfdPlaces *places)
{
    g_array_free(places, true);
}

void guest_memfd_places_remove(GuestMemfdPlaces *places, hwaddr gpa,
                               uint64_t size)
{
    const hwaddr last = gpa + (size - 1);
    guint i = 0;

    while (i < places->len) {
        const GuestMemfdPlace old = *place_at(places, i);

        if (place_last(&old) < gpa || old.gpa > last) {
            i++;
            continue;
        }
        g_array_remove_index_fast(places, i);
        /* Remaining parts are appended; they do not overlap the range. */
        if (old.gpa < gpa) {
            GuestMemfdPlace before = old;

            before.size = gpa - old.gpa;
            g_array_append_val(places, before);
        }
        if (place_last(&old) > last) {
            const GuestMemfdPlace after = place_from(&old, last + 1);

            g_array_append_val(places, after);
        }
    }
}

void guest_memfd_places_clear(GuestMemfdPlaces *places)
{
    g_array_set_size(places, 0);
}

void guest_memfd_places_add(GuestMemfdPlaces *places,
                            const GuestMemfdPlace *place)
{
    GuestMemfdPlace whole = *place;
    guint i = 0;

    guest_memfd_places_remove(places, place->gpa, place->size);
    /* Slots can split ranges differently: merge adjacent places. */
    while (i < places->len) {
        const GuestMemfdPlace old = *place_at(places, i);

        if (!place_is_alike(&old, &whole) ||
            (old.gpa + old.size != whole.gpa &&
             whole.gpa + whole.size != old.gpa)) {
            i++;
            continue;
        }
        if (old.gpa < whole.gpa) {
            whole.gpa = old.gpa;
            whole.offset = old.offset;
        }
        whole.size += old.size;
        g_array_remove_index_fast(places, i);
    }
    g_array_append_val(places, whole);
}

bool guest_memfd_places_next_new(const GuestMemfdPlaces *places,
                                 GuestMemfdPlace *place)
{
    hwaddr first = place->gpa, last = place_last(place);

    /* Adjacent places have been merged. */
    for (guint i = 0; i < places->len; i++) {
        const GuestMemfdPlace *old = place_at(places, i);

        if (place_is_alike(old, place) && old->gpa <= place->gpa &&
            place_last(old) >= place->gpa) {
            if (place_last(old) >= last) {
                return false;
            }
            first = place_last(old) + 1;
        }
    }
    for (guint i = 0; i < places->len; i++) {
        const GuestMemfdPlace *old = place_at(places, i);

        if (place_is_alike(old, place) && old->gpa > first) {
            last = MIN(last, old->gpa - 1);
        }
    }
    *place = place_from(place, first);
    place->size = last - first + 1;
    return true;
}

bool guest_memfd_places_intersect(const GuestMemfdPlaces *places, guint i,
                                  uint64_t offset, uint64_t size,
                                  GuestMemfdPlace *visible)
{
    const GuestMemfdPlace *place = place_at(places, i);
    const uint64_t first = MAX(place->offset, offset);
    const uint64_t end = MIN(place->offset + place->size, offset + size);

    if (first >= end) {
        return false;
    }
    *visible = place_from(place, place->gpa + (first - place->offset));
    visible->size = end - first;
    return true;
}
