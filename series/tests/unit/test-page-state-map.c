/*
 * The map of the shared pages of a RAM block, against a plain array
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "system/page-state-map-c.h"

/* More than two words of a bitmap, and an odd number of pages */
#define NPAGES 333

/* A map and an array of the states that its pages should have */
typedef struct Pair {
    PageStateMap *map;
    PageState pages[NPAGES];
    uint64_t nreported;
} Pair;

static uint64_t count(const Pair *pair, uint64_t first, uint64_t npages,
                      PageState state)
{
    uint64_t n = 0;

    for (uint64_t page = first; page < first + npages; page++) {
        n += pair->pages[page] == state;
    }
    return n;
}

static uint64_t count_runs(const Pair *pair)
{
    uint64_t n = 0;

    for (uint64_t page = 0; page < NPAGES; page++) {
        n += pair->pages[page] == PAGE_STATE_SHARED &&
             (!page || pair->pages[page - 1] == PAGE_STATE_PRIVATE);
    }
    return n;
}

/* Check the searches and the count of a range. */
static void check_range(const Pair *pair, uint64_t first, uint64_t npages)
{
    const uint64_t end = first + npages;

    for (PageState state = PAGE_STATE_PRIVATE; state <= PAGE_STATE_SHARED;
         state++) {
        uint64_t run = first, run_end, found = UINT64_MAX, size = UINT64_MAX;
        bool is_found;

        while (run < end && pair->pages[run] != state) {
            run++;
        }
        for (run_end = run; run_end < end && pair->pages[run_end] == state;) {
            run_end++;
        }
        is_found = page_state_map_next_run(pair->map, first, npages, state,
                                           &found, &size);
        g_assert_cmpint(is_found, ==, run < end);
        g_assert_cmpuint(found, ==, is_found ? run : UINT64_MAX);
        g_assert_cmpuint(size, ==, is_found ? run_end - run : UINT64_MAX);
        g_assert_cmpint(page_state_map_all(pair->map, first, npages, state),
                        ==, count(pair, first, npages, state) == npages);
    }
    g_assert_cmpuint(page_state_map_count_shared(pair->map, first, npages), ==,
                     count(pair, first, npages, PAGE_STATE_SHARED));
}

/* A run is reported in order, once, and after its state has changed. */
static void report_run(void *opaque, uint64_t first, uint64_t npages)
{
    Pair *pair = opaque;
    const PageState old = pair->pages[first];

    g_assert_cmpuint(npages, >, 0);
    g_assert_true(page_state_map_all(pair->map, first, npages,
                                     page_state_opposite(old)));
    for (uint64_t page = first; page < first + npages; page++) {
        g_assert_cmpint(pair->pages[page], ==, old);
        pair->pages[page] = page_state_opposite(old);
    }
    pair->nreported += npages;
}

static void convert(Pair *pair, uint64_t first, uint64_t npages,
                    PageState state)
{
    const uint64_t expected = count(pair, first, npages,
                                    page_state_opposite(state));

    pair->nreported = 0;
    g_assert_cmpuint(page_state_map_convert(pair->map, first, npages, state,
                                            report_run, pair), ==, expected);
    g_assert_cmpuint(pair->nreported, ==, expected);
    g_assert_cmpuint(count(pair, first, npages, state), ==, npages);

    g_assert_cmpuint(page_state_map_nshared(pair->map), ==,
                     count(pair, 0, NPAGES, PAGE_STATE_SHARED));
    g_assert_cmpuint(page_state_map_nruns(pair->map), ==, count_runs(pair));
    check_range(pair, first, npages);
    check_range(pair, 0, NPAGES);
}

static void test_new(void)
{
    PageStateMap *map = page_state_map_new(NPAGES);

    g_assert_true(page_state_map_all(map, 0, NPAGES, PAGE_STATE_PRIVATE));
    g_assert_cmpuint(page_state_map_nshared(map), ==, 0);
    g_assert_cmpuint(page_state_map_nruns(map), ==, 0);
    page_state_map_free(map);
    page_state_map_free(NULL);
}

/* A block of RAM that has not been plugged has no pages. */
static void test_empty(void)
{
    PageStateMap *map = page_state_map_new(0);
    uint64_t run, size;

    g_assert_true(page_state_map_all(map, 0, 0, PAGE_STATE_SHARED));
    g_assert_true(page_state_map_all(map, 0, 0, PAGE_STATE_PRIVATE));
    g_assert_false(page_state_map_next_run(map, 0, 0, PAGE_STATE_PRIVATE,
                                           &run, &size));
    g_assert_cmpuint(page_state_map_convert(map, 0, 0, PAGE_STATE_SHARED,
                                            NULL, NULL), ==, 0);
    page_state_map_free(map);
}

/* Each pair of boundaries around those of a bitmap's words */
static void test_boundaries(void)
{
    static const uint64_t boundaries[] = {
        0, 1, 63, 64, 65, 127, 128, 129, 256, NPAGES - 1, NPAGES,
    };

    for (int i = 0; i < ARRAY_SIZE(boundaries); i++) {
        for (int j = i + 1; j < ARRAY_SIZE(boundaries); j++) {
            const uint64_t first = boundaries[i];
            const uint64_t npages = boundaries[j] - first;
            Pair pair = { .map = page_state_map_new(NPAGES) };

            /* Share a range, make a hole, and undo both. */
            convert(&pair, first, npages, PAGE_STATE_SHARED);
            convert(&pair, first + npages / 2, 1, PAGE_STATE_PRIVATE);
            convert(&pair, 0, NPAGES, PAGE_STATE_SHARED);
            convert(&pair, first, npages, PAGE_STATE_PRIVATE);
            convert(&pair, 0, NPAGES, PAGE_STATE_PRIVATE);
            page_state_map_free(pair.map);
        }
    }
}

static void test_random(void)
{
    Pair pair = { .map = page_state_map_new(NPAGES) };

    for (int i = 0; i < 20000; i++) {
        const uint64_t first = g_test_rand_int_range(0, NPAGES + 1);
        /* Short ranges are as likely as all others. */
        const uint64_t max = g_test_rand_bit() ? MIN(NPAGES - first, 5)
                                               : NPAGES - first;

        convert(&pair, first, g_test_rand_int_range(0, max + 1),
                g_test_rand_bit() ? PAGE_STATE_SHARED : PAGE_STATE_PRIVATE);
    }
    page_state_map_free(pair.map);
}

/* A terabyte: the last page is found, and everything can be shared. */
static void test_terabyte(void)
{
    const uint64_t npages = (1ULL << 40) / 4096;
    PageStateMap *map = page_state_map_new(npages);
    uint64_t run, size;

    g_assert_cmpuint(page_state_map_convert(map, npages - 1, 1,
                                            PAGE_STATE_SHARED, NULL, NULL),
                     ==, 1);
    g_assert_true(page_state_map_next_run(map, 0, npages, PAGE_STATE_SHARED,
                                          &run, &size));
    g_assert_cmpuint(run, ==, npages - 1);
    g_assert_cmpuint(size, ==, 1);
    g_assert_cmpuint(page_state_map_convert(map, 0, npages, PAGE_STATE_SHARED,
                                            NULL, NULL), ==, npages - 1);
    g_assert_cmpuint(page_state_map_nshared(map), ==, npages);
    g_assert_cmpuint(page_state_map_nruns(map), ==, 1);
    page_state_map_free(map);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/page-state-map/new", test_new);
    g_test_add_func("/page-state-map/empty", test_empty);
    g_test_add_func("/page-state-map/boundaries", test_boundaries);
    g_test_add_func("/page-state-map/random", test_random);
    g_test_add_func("/page-state-map/terabyte", test_terabyte);
    return g_test_run();
}
