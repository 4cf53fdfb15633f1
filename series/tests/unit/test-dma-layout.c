/*
 * Test of the IOMMU mappings of a container's populated memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/units.h"
#include "hw/vfio/dma-layout-internal.h"

#define PAGE DMA_LAYOUT_PAGE_SIZE
#define VADDR UINT64_C(0x7f0000000000)
/* Smallest large request */
#define LARGE (512 * KiB)
/* Number of pages of the random tests */
#define NPAGES 4096

/* A mapping of the fake kernel */
typedef struct Mapping {
    uint64_t iova;
    uint64_t size;
    uint64_t vaddr;
} Mapping;

/* A layout, and a kernel that has its mappings, ordered by IOVA */
typedef struct Rig {
    DmaLayout *layout;
    GArray *mappings;
    uint64_t limit;
    /* A page that the kernel refuses to map, or UINT64_MAX */
    uint64_t refused;
    /* A page whose mapping cannot be unmapped, or UINT64_MAX */
    uint64_t pinned;
    unsigned int nmaps;
    unsigned int nunmaps;
    unsigned int nevents[DMA_LAYOUT_FREED + 1];
} Rig;

static Mapping *mapping_at(const Rig *rig, guint i)
{
    return &g_array_index(rig->mappings, Mapping, i);
}

/* Return the index of the first mapping that ends after @iova. */
static guint find_mapping(const Rig *rig, uint64_t iova)
{
    guint i = 0;

    while (i < rig->mappings->len &&
           mapping_at(rig, i)->iova + mapping_at(rig, i)->size <= iova) {
        i++;
    }
    return i;
}

static bool contains(uint64_t iova, uint64_t size, uint64_t page)
{
    return page >= iova && page - iova < size;
}

static int rig_map(void *opaque, uint64_t iova, uint64_t size, uint64_t vaddr,
                   DmaLayoutAccess access)
{
    Rig *rig = opaque;
    const guint i = find_mapping(rig, iova);
    const Mapping mapping = {
        .iova = iova,
        .size = size,
        .vaddr = vaddr,
    };

    rig->nmaps++;
    g_assert_cmpuint(vaddr, ==, iova + VADDR);
    g_assert_cmpint(access, ==, DMA_LAYOUT_READ_WRITE);
    if (i < rig->mappings->len) {
        g_assert_cmpuint(mapping_at(rig, i)->iova, >=, iova + size);
    }
    if (contains(iova, size, rig->refused)) {
        return -EFAULT;
    }
    if (rig->mappings->len >= rig->limit) {
        return -ENOSPC;
    }
    g_array_insert_val(rig->mappings, i, mapping);
    return 0;
}

static int rig_unmap(void *opaque, uint64_t iova, uint64_t size)
{
    Rig *rig = opaque;
    const guint i = find_mapping(rig, iova);

    rig->nunmaps++;
    if (contains(iova, size, rig->pinned)) {
        return -EBUSY;
    }
    while (i < rig->mappings->len &&
           mapping_at(rig, i)->iova < iova + size) {
        const Mapping *mapping = mapping_at(rig, i);

        /* A mapping is unmapped as a whole. */
        g_assert_cmpuint(mapping->iova, >=, iova);
        g_assert_cmpuint(mapping->iova + mapping->size, <=, iova + size);
        g_array_remove_index(rig->mappings, i);
    }
    return 0;
}

static int rig_cut(void *opaque, uint64_t iova, uint64_t size)
{
    Rig *rig = opaque;
    guint i = find_mapping(rig, iova);

    rig->nunmaps++;
    while (i < rig->mappings->len &&
           mapping_at(rig, i)->iova < iova + size) {
        Mapping *mapping = mapping_at(rig, i);
        const uint64_t end = mapping->iova + mapping->size;
        const Mapping back = {
            .iova = iova + size,
            .size = end - (iova + size),
            .vaddr = mapping->vaddr + (iova + size - mapping->iova),
        };

        if (mapping->iova < iova) {
            mapping->size = iova - mapping->iova;
            i++;
        } else {
            g_array_remove_index(rig->mappings, i);
        }
        if (end > iova + size) {
            g_array_insert_val(rig->mappings, i, back);
        }
    }
    return 0;
}

static uint64_t rig_entries_left(void *opaque)
{
    const Rig *rig = opaque;

    if (rig->limit == DMA_LAYOUT_NO_LIMIT) {
        return DMA_LAYOUT_NO_LIMIT;
    }
    return rig->limit - rig->mappings->len;
}

static void rig_event(void *opaque, DmaLayoutEvent event, uint64_t iova,
                      uint64_t size, uint64_t count)
{
    Rig *rig = opaque;

    rig->nevents[event]++;
}

static void rig_init(Rig *rig, uint64_t limit)
{
    static const DmaLayoutBackend backend = {
        .map = rig_map,
        .unmap = rig_unmap,
        .cut = rig_cut,
        .entries_left = rig_entries_left,
        .event = rig_event,
    };

    *rig = (Rig) {
        .layout = dma_layout_new(&backend, rig),
        .mappings = g_array_new(FALSE, FALSE, sizeof(Mapping)),
        .limit = limit,
        .refused = UINT64_MAX,
        .pinned = UINT64_MAX,
    };
}

static void rig_destroy(Rig *rig)
{
    dma_layout_free(rig->layout);
    g_array_unref(rig->mappings);
}

/* Check the layout, and that what is mapped is what the kernel has mapped. */
static void rig_check(const Rig *rig)
{
    DmaLayoutExtent extent;
    DmaLayoutStats stats;
    uint64_t mapped_size = 0;
    guint i = 0;

    g_assert_cmpstr(dma_layout_broken_invariant(rig->layout), ==, NULL);
    for (uint64_t iova = 0; dma_layout_next_extent(rig->layout, iova,
                                                   UINT64_MAX, &extent);
         iova = extent.iova + extent.size) {
        if (extent.mapped) {
            g_assert_cmpuint(i, <, rig->mappings->len);
            g_assert_cmpuint(mapping_at(rig, i)->iova, ==, extent.iova);
            g_assert_cmpuint(mapping_at(rig, i)->size, ==, extent.size);
            mapped_size += extent.size;
            i++;
        }
    }
    g_assert_cmpuint(i, ==, rig->mappings->len);
    g_assert_cmpuint(i, ==, dma_layout_count_mapped(rig->layout));

    dma_layout_get_stats(rig->layout, &stats);
    g_assert_cmpuint(stats.mapped_extents, ==, i);
    g_assert_cmpuint(stats.mapped_size, ==, mapped_size);
    g_assert_cmpuint(stats.map_calls, ==, rig->nmaps);
    g_assert_cmpuint(stats.unmap_calls, ==, rig->nunmaps);
    g_assert_cmpuint(stats.splits, ==, rig->nevents[DMA_LAYOUT_SPLIT]);
    g_assert_cmpuint(stats.merges, ==, rig->nevents[DMA_LAYOUT_MERGE]);
}

static int populate(Rig *rig, uint64_t iova, uint64_t size)
{
    const int ret = dma_layout_populate(rig->layout, iova, size, iova + VADDR,
                                        DMA_LAYOUT_READ_WRITE);

    rig_check(rig);
    return ret;
}

static int discard(Rig *rig, uint64_t iova, uint64_t size)
{
    const int ret = dma_layout_discard(rig->layout, iova, size);

    rig_check(rig);
    return ret;
}

static int open_gate(Rig *rig)
{
    const int ret = dma_layout_open(rig->layout);

    rig_check(rig);
    return ret;
}

static DmaLayoutStats get_stats(const Rig *rig)
{
    DmaLayoutStats stats;

    dma_layout_get_stats(rig->layout, &stats);
    return stats;
}

/* Check the kernel's mappings, as pairs of the first page and their number. */
#define assert_mappings(rig, ...)                                       \
    assert_mappings_are(rig, (const unsigned int[][2]) { __VA_ARGS__ }, \
                        ARRAY_SIZE(((const unsigned int[][2]) { __VA_ARGS__ })))

static void assert_mappings_are(const Rig *rig,
                                const unsigned int (*expected)[2], size_t count)
{
    g_assert_cmpuint(rig->mappings->len, ==, count);
    for (size_t i = 0; i < count; i++) {
        g_assert_cmpuint(mapping_at(rig, i)->iova / PAGE, ==, expected[i][0]);
        g_assert_cmpuint(mapping_at(rig, i)->size / PAGE, ==, expected[i][1]);
    }
}

/* Extents end at the boundaries of blocks, and requests stay separate. */
static void test_populate(void)
{
    Rig rig;

    rig_init(&rig, 100);
    g_assert_cmpint(open_gate(&rig), ==, 0);
    g_assert_cmpint(populate(&rig, 511 * PAGE, 2 * PAGE), ==, 0);
    g_assert_cmpint(populate(&rig, 513 * PAGE, PAGE), ==, 0);
    assert_mappings(&rig, { 511, 1 }, { 512, 1 }, { 513, 1 });

    g_assert_cmpint(populate(&rig, 513 * PAGE, PAGE), ==, -EEXIST);
    g_assert_cmpint(populate(&rig, 510 * PAGE, 10 * PAGE), ==, -EEXIST);
    g_assert_cmpint(populate(&rig, 0, 0), ==, -EINVAL);
    g_assert_cmpint(populate(&rig, 2 * PAGE, 0 - PAGE), ==, -EINVAL);
    rig_destroy(&rig);
}

static void test_discard(void)
{
    DmaLayoutStats stats;
    Rig rig;

    rig_init(&rig, 100);
    g_assert_cmpint(open_gate(&rig), ==, 0);
    for (unsigned int page = 0; page < 8; page++) {
        g_assert_cmpint(populate(&rig, page * PAGE, PAGE), ==, 0);
    }
    /* One call unmaps several extents. */
    g_assert_cmpint(discard(&rig, 2 * PAGE, 4 * PAGE), ==, 0);
    assert_mappings(&rig, { 0, 1 }, { 1, 1 }, { 6, 1 }, { 7, 1 });
    g_assert_cmpuint(rig.nunmaps, ==, 1);

    stats = get_stats(&rig);
    g_assert_cmpuint(stats.extents, ==, 4);
    g_assert_cmpuint(stats.populated_size, ==, 4 * PAGE);
    g_assert_cmpuint(stats.by_order[12], ==, 4);
    g_assert_cmpuint(stats.splits, ==, 0);
    g_assert_cmpuint(dma_layout_last(rig.layout), ==, 8 * PAGE - 1);

    /* Where nothing is populated, nothing is unmapped. */
    g_assert_cmpint(discard(&rig, 2 * PAGE, 4 * PAGE), ==, 0);
    g_assert_cmpuint(rig.nunmaps, ==, 1);
    g_assert_cmpint(discard(&rig, 0, 0), ==, -EINVAL);
    g_assert_cmpint(discard(&rig, 2 * PAGE, 0 - PAGE), ==, -EINVAL);
    rig_destroy(&rig);
}

/* The rest of an extent is mapped again, smaller towards the hole. */
static void test_split(void)
{
    DmaLayoutStats stats;
    Rig rig;

    rig_init(&rig, 100);
    g_assert_cmpint(open_gate(&rig), ==, 0);
    g_assert_cmpint(populate(&rig, 0, 16 * PAGE), ==, 0);
    g_assert_cmpint(discard(&rig, 5 * PAGE, PAGE), ==, 0);
    assert_mappings(&rig, { 0, 4 }, { 4, 1 }, { 6, 2 }, { 8, 8 });

    stats = get_stats(&rig);
    g_assert_cmpuint(stats.splits, ==, 1);
    g_assert_cmpuint(stats.largest_extent, ==, 8 * PAGE);
    g_assert_cmpuint(stats.smallest_extent, ==, PAGE);

    /* The next hole nearby unmaps little. */
    g_assert_cmpint(discard(&rig, 6 * PAGE, PAGE), ==, 0);
    assert_mappings(&rig, { 0, 4 }, { 4, 1 }, { 7, 1 }, { 8, 8 });
    g_assert_cmpuint(rig.nunmaps, ==, 2);
    rig_destroy(&rig);
}

/* While the gate is closed, extents are recorded only, and streams joined. */
static void test_gate(void)
{
    Rig rig;

    rig_init(&rig, 100);
    for (unsigned int i = 0; i < 6; i++) {
        g_assert_cmpint(populate(&rig, i * LARGE, LARGE), ==, 0);
    }
    g_assert_cmpint(populate(&rig, 6 * LARGE, PAGE), ==, 0);
    g_assert_cmpuint(rig.nmaps, ==, 0);

    g_assert_cmpint(open_gate(&rig), ==, 0);
    assert_mappings(&rig, { 0, 512 }, { 512, 256 }, { 768, 1 });
    g_assert_cmpint(open_gate(&rig), ==, 0);
    g_assert_cmpint(dma_layout_set_extent_size(rig.layout, PAGE), ==, -EBUSY);

    /* Closing it unmaps nothing, and a discard maps nothing again. */
    dma_layout_close(rig.layout);
    g_assert_cmpuint(rig.mappings->len, ==, 3);
    g_assert_cmpint(discard(&rig, PAGE, PAGE), ==, 0);
    assert_mappings(&rig, { 512, 256 }, { 768, 1 });
    g_assert_cmpint(open_gate(&rig), ==, 0);
    assert_mappings(&rig, { 0, 1 }, { 2, 510 }, { 512, 256 }, { 768, 1 });
    rig_destroy(&rig);
}

/* If opening fails for lack of entries, nothing stays mapped. */
static void test_gate_limit(void)
{
    Rig rig;

    rig_init(&rig, 4);
    for (unsigned int i = 0; i < 3; i++) {
        g_assert_cmpint(populate(&rig, 2 * i * PAGE, PAGE), ==, 0);
    }
    rig.limit = 2;
    g_assert_cmpint(open_gate(&rig), ==, -ENOSPC);
    g_assert_false(dma_layout_is_open(rig.layout));
    g_assert_cmpuint(rig.mappings->len, ==, 0);

    rig.limit = 4;
    g_assert_cmpint(open_gate(&rig), ==, 0);
    assert_mappings(&rig, { 0, 1 }, { 2, 1 }, { 4, 1 });
    rig_destroy(&rig);
}

static void test_extent_size(void)
{
    Rig rig;

    rig_init(&rig, 40);
    g_assert_cmpint(populate(&rig, 0, 32 * PAGE), ==, 0);
    g_assert_cmpint(dma_layout_set_extent_size(rig.layout, 16 * PAGE), ==, 0);
    g_assert_cmpuint(get_stats(&rig).extents, ==, 2);
    g_assert_cmpint(dma_layout_set_extent_size(rig.layout, DMA_LAYOUT_PAGE),
                    ==, 0);
    g_assert_cmpuint(get_stats(&rig).extents, ==, 32);
    rig_check(&rig);

    rig.limit = 20;
    g_assert_cmpint(dma_layout_set_extent_size(rig.layout, DMA_LAYOUT_AUTO),
                    ==, 0);
    g_assert_cmpint(dma_layout_set_extent_size(rig.layout, DMA_LAYOUT_PAGE),
                    ==, -ENOSPC);
    g_assert_cmpint(open_gate(&rig), ==, 0);
    g_assert_cmpuint(get_stats(&rig).mapped_size, ==, 32 * PAGE);
    rig_destroy(&rig);
}

/* Extents of large requests are merged when no entry is left. */
static void test_merge(void)
{
    Rig rig;

    rig_init(&rig, 8);
    g_assert_cmpint(open_gate(&rig), ==, 0);
    g_assert_cmpint(dma_layout_populate(rig.layout, 0, PAGE, VADDR,
                                        DMA_LAYOUT_READ_WRITE), ==, 0);
    for (unsigned int i = 1; i <= 32; i++) {
        g_assert_cmpint(populate(&rig, i * LARGE, LARGE), ==, 0);
    }
    g_assert_cmpuint(get_stats(&rig).merges, >, 0);
    g_assert_cmpuint(get_stats(&rig).mapped_size, ==, 32 * LARGE + PAGE);
    /* The small one is not disturbed. */
    g_assert_cmpuint(mapping_at(&rig, 0)->size, ==, PAGE);
    rig_destroy(&rig);
}

/* Small requests are not merged once they are mapped: there is no room. */
static void test_limit(void)
{
    DmaLayoutStats stats;
    Rig rig;

    rig_init(&rig, 8);
    g_assert_cmpint(open_gate(&rig), ==, 0);
    for (unsigned int page = 0; page < 6; page++) {
        g_assert_cmpint(populate(&rig, page * PAGE, PAGE), ==, 0);
    }
    g_assert_cmpint(populate(&rig, 6 * PAGE, PAGE), ==, -ENOSPC);

    stats = get_stats(&rig);
    g_assert_cmpuint(stats.entries_limit, ==, 8);
    g_assert_cmpuint(stats.entries_reserve, ==, 2);
    g_assert_cmpuint(stats.entries_left, ==, 0);
    g_assert_cmpuint(stats.populated_size, ==, 6 * PAGE);

    g_assert_cmpint(discard(&rig, 0, PAGE), ==, 0);
    g_assert_cmpint(populate(&rig, 6 * PAGE, PAGE), ==, 0);
    rig_destroy(&rig);
}

/* A discard succeeds without entries; what cannot be mapped is missing. */
static void test_short(void)
{
    Rig rig;

    rig_init(&rig, 8);
    g_assert_cmpint(open_gate(&rig), ==, 0);
    g_assert_cmpint(populate(&rig, 0, 16 * PAGE), ==, 0);
    rig.limit = 1;
    g_assert_cmpint(discard(&rig, 5 * PAGE, PAGE), ==, 0);
    g_assert_cmpuint(get_stats(&rig).missing_size, >, 0);
    g_assert_cmpuint(rig.nevents[DMA_LAYOUT_MISSING], >, 0);

    rig.limit = 8;
    g_assert_cmpint(discard(&rig, 32 * PAGE, PAGE), ==, 0);
    g_assert_cmpuint(get_stats(&rig).missing_size, ==, 0);
    g_assert_cmpuint(get_stats(&rig).mapped_size, ==, 15 * PAGE);
    g_assert_cmpuint(rig.nevents[DMA_LAYOUT_RECOVERED], ==,
                     rig.nevents[DMA_LAYOUT_MISSING]);
    rig_destroy(&rig);
}

/* An extent is mapped around a page that the kernel refuses. */
static void test_refused(void)
{
    unsigned int nmaps;
    Rig rig;

    rig_init(&rig, 100);
    g_assert_cmpint(populate(&rig, 0, 16 * PAGE), ==, 0);
    rig.refused = 5 * PAGE;
    g_assert_cmpint(open_gate(&rig), ==, 0);
    g_assert_cmpuint(get_stats(&rig).missing_size, ==, PAGE);
    g_assert_cmpuint(get_stats(&rig).mapped_size, ==, 15 * PAGE);

    /* It is tried again at growing intervals. */
    nmaps = rig.nmaps;
    for (unsigned int i = 0; i < 1000; i++) {
        g_assert_cmpint(discard(&rig, 32 * PAGE, PAGE), ==, 0);
    }
    g_assert_cmpuint(rig.nmaps - nmaps, >=, 8);
    g_assert_cmpuint(rig.nmaps - nmaps, <=, 12);

    rig.refused = UINT64_MAX;
    for (unsigned int i = 0; i < 1100; i++) {
        g_assert_cmpint(discard(&rig, 32 * PAGE, PAGE), ==, 0);
    }
    g_assert_cmpuint(get_stats(&rig).missing_size, ==, 0);
    g_assert_cmpuint(rig.nevents[DMA_LAYOUT_RECOVERED], ==, 1);

    /* A request fails with the kernel's error. */
    rig.refused = 64 * PAGE;
    g_assert_cmpint(populate(&rig, 60 * PAGE, 8 * PAGE), ==, -EFAULT);
    g_assert_cmpuint(get_stats(&rig).populated_size, ==, 16 * PAGE);
    rig_destroy(&rig);
}

static void test_stuck(void)
{
    Rig rig;

    rig_init(&rig, 100);
    g_assert_cmpint(open_gate(&rig), ==, 0);
    g_assert_cmpint(populate(&rig, 0, 4 * PAGE), ==, 0);
    g_assert_cmpint(populate(&rig, 4 * PAGE, 4 * PAGE), ==, 0);
    rig.pinned = 0;
    g_assert_cmpint(discard(&rig, 0, 8 * PAGE), ==, -EBUSY);
    assert_mappings(&rig, { 0, 4 });
    g_assert_cmpuint(rig.nevents[DMA_LAYOUT_STUCK], ==, 1);
    g_assert_cmpuint(get_stats(&rig).stuck_size, ==, 4 * PAGE);
    g_assert_cmpuint(get_stats(&rig).populated_size, ==, 0);
    g_assert_cmpint(populate(&rig, 2 * PAGE, PAGE), ==, -EBUSY);

    dma_layout_close(rig.layout);
    g_assert_cmpint(open_gate(&rig), ==, -EBUSY);

    /* Unmapping it is tried again before any other change. */
    rig.pinned = UINT64_MAX;
    g_assert_cmpint(populate(&rig, 2 * PAGE, PAGE), ==, 0);
    g_assert_cmpuint(rig.nevents[DMA_LAYOUT_FREED], ==, 1);
    g_assert_cmpuint(get_stats(&rig).stuck_size, ==, 0);
    g_assert_cmpint(open_gate(&rig), ==, 0);
    assert_mappings(&rig, { 2, 1 });
    rig_destroy(&rig);
}

/* With cuts, a discard is one call, and the rest stays mapped. */
static void test_cuts(void)
{
    Rig rig;

    rig_init(&rig, DMA_LAYOUT_NO_LIMIT);
    dma_layout_use_cuts(rig.layout);
    g_assert_true(dma_layout_uses_cuts(rig.layout));
    g_assert_cmpint(populate(&rig, 0, 512 * PAGE), ==, 0);
    g_assert_cmpint(populate(&rig, 512 * PAGE, 512 * PAGE), ==, 0);
    g_assert_cmpint(open_gate(&rig), ==, 0);
    assert_mappings(&rig, { 0, 1024 });

    g_assert_cmpint(discard(&rig, 5 * PAGE, PAGE), ==, 0);
    g_assert_cmpint(discard(&rig, 1000 * PAGE, 100 * PAGE), ==, 0);
    assert_mappings(&rig, { 0, 5 }, { 6, 994 });
    g_assert_cmpuint(rig.nmaps, ==, 1);
    g_assert_cmpuint(rig.nunmaps, ==, 2);
    g_assert_cmpuint(get_stats(&rig).cuts, ==, 2);
    g_assert_cmpuint(get_stats(&rig).splits, ==, 0);
    g_assert_cmpuint(get_stats(&rig).entries_left, ==, DMA_LAYOUT_NO_LIMIT);
    g_assert_cmpint(dma_layout_set_extent_size(rig.layout, DMA_LAYOUT_PAGE),
                    ==, -EBUSY);
    rig_destroy(&rig);
}

/* Check that exactly the pages in the bitmap are populated. */
static void check_pages(const Rig *rig, const unsigned long *pages)
{
    DECLARE_BITMAP(found, NPAGES) = {};
    DmaLayoutExtent extent;

    for (uint64_t iova = 0; dma_layout_next_extent(rig->layout, iova,
                                                   UINT64_MAX, &extent);
         iova = extent.iova + extent.size) {
        bitmap_set(found, extent.iova / PAGE, extent.size / PAGE);
    }
    g_assert_true(bitmap_equal(found, pages, NPAGES));
    g_assert_cmpuint(get_stats(rig).populated_size, ==,
                     bitmap_count_one(pages, NPAGES) * PAGE);
}

/* Populate or discard a range at random, and keep track of its pages. */
static void random_request(Rig *rig, unsigned long *pages)
{
    const int page = g_test_rand_int_range(0, NPAGES);
    const int order = g_test_rand_int_range(0, 11);
    const int npages = MIN(g_test_rand_int_range(1, (1 << order) + 1),
                           NPAGES - page);
    const bool is_free =
        find_next_bit(pages, page + npages, page) == page + npages;
    int ret;

    if (g_test_rand_bit()) {
        ret = populate(rig, page * PAGE, npages * PAGE);
        if (is_free) {
            g_assert_true(!ret || ret == -ENOSPC);
        } else {
            g_assert_cmpint(ret, ==, -EEXIST);
        }
        if (!ret) {
            bitmap_set(pages, page, npages);
        }
    } else {
        g_assert_cmpint(discard(rig, page * PAGE, npages * PAGE), ==, 0);
        bitmap_clear(pages, page, npages);
    }
}

/* Compare a layout with a bitmap of pages. */
static void test_random(gconstpointer data)
{
    const uint64_t limit = GPOINTER_TO_UINT(data);
    DECLARE_BITMAP(pages, NPAGES) = {};
    Rig rig;

    rig_init(&rig, limit ?: DMA_LAYOUT_NO_LIMIT);
    if (!limit) {
        dma_layout_use_cuts(rig.layout);
    }
    for (unsigned int i = 0; i < 5000; i++) {
        switch (g_test_rand_int_range(0, 100)) {
        case 0:
            dma_layout_close(rig.layout);
            rig_check(&rig);
            break;
        case 1 ... 4:
            open_gate(&rig);
            break;
        default:
            random_request(&rig, pages);
            break;
        }
        check_pages(&rig, pages);
    }
    g_assert_cmpint(discard(&rig, 0, NPAGES * PAGE), ==, 0);
    g_assert_cmpuint(rig.mappings->len, ==, 0);
    rig_destroy(&rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/dma-layout/populate", test_populate);
    g_test_add_func("/dma-layout/discard", test_discard);
    g_test_add_func("/dma-layout/split", test_split);
    g_test_add_func("/dma-layout/gate", test_gate);
    g_test_add_func("/dma-layout/gate-limit", test_gate_limit);
    g_test_add_func("/dma-layout/extent-size", test_extent_size);
    g_test_add_func("/dma-layout/merge", test_merge);
    g_test_add_func("/dma-layout/limit", test_limit);
    g_test_add_func("/dma-layout/short", test_short);
    g_test_add_func("/dma-layout/refused", test_refused);
    g_test_add_func("/dma-layout/stuck", test_stuck);
    g_test_add_func("/dma-layout/cuts", test_cuts);
    g_test_add_data_func("/dma-layout/random/cuts", GUINT_TO_POINTER(0),
                         test_random);
    g_test_add_data_func("/dma-layout/random/20", GUINT_TO_POINTER(20),
                         test_random);
    g_test_add_data_func("/dma-layout/random/65535", GUINT_TO_POINTER(65535),
                         test_random);
    return g_test_run();
}
