/*
 * Test of the guest physical addresses of the pages of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "system/guest-memfd-places.h"

#define PAGE 4096
#define NPAGES 24

/* The model: the page of the block at each guest page; -1 if there is none. */
typedef struct Model {
    int shown[NPAGES];
} Model;

static GuestMemfdPlace make_place(unsigned int page, unsigned int gpa_page,
                                  unsigned int npages)
{
    return (GuestMemfdPlace) {
        .offset = page * PAGE,
        .gpa = gpa_page * PAGE,
        .size = npages * PAGE,
    };
}

static void model_init(Model *model)
{
    for (int i = 0; i < NPAGES; i++) {
        model->shown[i] = -1;
    }
}

static void model_set(Model *model, unsigned int gpa_page, unsigned int npages,
                      int page)
{
    for (unsigned int i = 0; i < npages; i++) {
        model->shown[gpa_page + i] = page < 0 ? -1 : page + (int)i;
    }
}

/* Return the minimum number of places that describe the model. */
static unsigned int model_count(const Model *model)
{
    unsigned int count = 0;

    for (int i = 0; i < NPAGES; i++) {
        count += model->shown[i] >= 0 &&
                 (!i || model->shown[i - 1] < 0 ||
                  model->shown[i - 1] != model->shown[i] - 1);
    }
    return count;
}

static void assert_same(const GuestMemfdPlaces *places, const Model *model)
{
    Model found;

    model_init(&found);
    for (guint i = 0; i < places->len; i++) {
        const GuestMemfdPlace *place =
            &g_array_index((GuestMemfdPlaces *)places, GuestMemfdPlace, i);

        g_assert_cmpuint(place->size, >, 0);
        for (uint64_t at = 0; at < place->size; at += PAGE) {
            int *shown = &found.shown[(place->gpa + at) / PAGE];

            g_assert_cmpint(*shown, ==, -1);
            *shown = (place->offset + at) / PAGE;
        }
    }
    for (int i = 0; i < NPAGES; i++) {
        g_assert_cmpint(found.shown[i], ==, model->shown[i]);
    }
    g_assert_cmpuint(places->len, ==, model_count(model));
}

static void assert_next_new(const GuestMemfdPlaces *places, const Model *model,
                            unsigned int page, unsigned int gpa_page,
                            unsigned int npages)
{
    GuestMemfdPlace place = make_place(page, gpa_page, npages);
    unsigned int first = 0, end;

    while (first < npages &&
           model->shown[gpa_page + first] == page + first) {
        first++;
    }
    end = first;
    while (end < npages && model->shown[gpa_page + end] != page + end) {
        end++;
    }
    g_assert_cmpint(guest_memfd_places_next_new(places, &place), ==,
                    first < npages);
    if (first < npages) {
        g_assert_cmpuint(place.offset, ==, (page + first) * PAGE);
        g_assert_cmpuint(place.gpa, ==, (gpa_page + first) * PAGE);
        g_assert_cmpuint(place.size, ==, (end - first) * PAGE);
    }
}

static void assert_visible(const GuestMemfdPlaces *places, const Model *model,
                           unsigned int page, unsigned int npages)
{
    unsigned int seen = 0, expected = 0;
    GuestMemfdPlace visible;

    for (guint i = 0; i < places->len; i++) {
        if (!guest_memfd_places_intersect(places, i, page * PAGE,
                                          npages * PAGE, &visible)) {
            continue;
        }
        for (uint64_t at = 0; at < visible.size; at += PAGE) {
            g_assert_cmpint(model->shown[(visible.gpa + at) / PAGE], ==,
                            (visible.offset + at) / PAGE);
            seen++;
        }
        g_assert_cmpuint(visible.offset, >=, page * PAGE);
        g_assert_cmpuint(visible.offset + visible.size, <=,
                         (page + npages) * PAGE);
    }
    for (int i = 0; i < NPAGES; i++) {
        expected += model->shown[i] >= (int)page &&
                    model->shown[i] < (int)(page + npages);
    }
    g_assert_cmpuint(seen, ==, expected);
}

static void test_random(void)
{
    for (int round = 0; round < 200; round++) {
        GuestMemfdPlaces *places = guest_memfd_places_new();
        Model model;

        model_init(&model);
        for (int step = 0; step < 100; step++) {
            const unsigned int gpa = g_test_rand_int_range(0, NPAGES);
            const unsigned int npages =
                g_test_rand_int_range(1, NPAGES - gpa + 1);
            /* Often show the same page at the same address again. */
            const unsigned int page = g_test_rand_bit()
                ? gpa + 8 : g_test_rand_int_range(0, NPAGES);

            if (g_test_rand_int_range(0, 3)) {
                const GuestMemfdPlace place = make_place(page, gpa, npages);

                assert_next_new(places, &model, page, gpa, npages);
                guest_memfd_places_add(places, &place);
                model_set(&model, gpa, npages, page);
                assert_next_new(places, &model, page, gpa, npages);
            } else {
                guest_memfd_places_remove(places, gpa * PAGE, npages * PAGE);
                model_set(&model, gpa, npages, -1);
            }
            assert_same(places, &model);
            assert_visible(places, &model, page, npages);
        }
        guest_memfd_places_free(places);
    }
}

/* A place can end at the top of the address space. */
static void test_top(void)
{
    GuestMemfdPlaces *places = guest_memfd_places_new();
    const hwaddr top = -(hwaddr)(4 * PAGE);
    GuestMemfdPlace place = { .offset = 0, .gpa = top, .size = 4 * PAGE };
    GuestMemfdPlace visible;

    g_assert_true(guest_memfd_places_next_new(places, &place));
    g_assert_cmpuint(place.size, ==, 4 * PAGE);
    guest_memfd_places_add(places, &place);
    g_assert_false(guest_memfd_places_next_new(places, &place));
    guest_memfd_places_remove(places, top + PAGE, PAGE);
    g_assert_cmpuint(places->len, ==, 2);
    g_assert_true(guest_memfd_places_next_new(places, &place));
    g_assert_cmpuint(place.gpa, ==, top + PAGE);
    g_assert_cmpuint(place.size, ==, PAGE);
    guest_memfd_places_add(places, &place);
    g_assert_cmpuint(places->len, ==, 1);
    g_assert_true(guest_memfd_places_intersect(places, 0, 3 * PAGE, PAGE,
                                               &visible));
    g_assert_cmpuint(visible.gpa, ==, top + 3 * PAGE);
    g_assert_false(guest_memfd_places_intersect(places, 0, 4 * PAGE, PAGE,
                                                &visible));
    guest_memfd_places_free(places);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guest-memfd-places/random", test_random);
    g_test_add_func("/guest-memfd-places/top", test_top);
    return g_test_run();
}
