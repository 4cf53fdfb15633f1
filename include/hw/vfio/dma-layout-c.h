/*
 * Which IOMMU mappings cover the populated memory of a container: C interface
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * hw/vfio/dma-layout.h explains the structure, its words and its rules.  A
 * layout is not locked: its owner serializes access.  Ranges are given in
 * bytes and are aligned to the host's page size.
 *
 * C++ code includes this inside extern "C", after <cstdint>.
 */

#ifndef HW_VFIO_DMA_LAYOUT_C_H
#define HW_VFIO_DMA_LAYOUT_C_H

#include "hw/vfio/dma-layout-stats.h"

typedef struct DmaLayout DmaLayout;

/* Values of an extent size that are no size. */
#define DMA_LAYOUT_AUTO UINT64_C(0)
#define DMA_LAYOUT_PAGE UINT64_C(1)

/* What entries_left() says when the kernel sets no limit. */
#define DMA_LAYOUT_NO_LIMIT UINT64_MAX

/* What devices may do to an extent. */
typedef enum DmaLayoutAccess {
    DMA_LAYOUT_READ_WRITE,
    DMA_LAYOUT_READ_ONLY,
} DmaLayoutAccess;

/* While the gate is closed, extents are recorded, but not mapped. */
typedef enum DmaLayoutGate {
    DMA_LAYOUT_CLOSED,
    DMA_LAYOUT_OPEN,
} DmaLayoutGate;

/* What happened, besides mapping and unmapping. */
typedef enum DmaLayoutEvent {
    /*
     * The extents of @size bytes at @iova were unmapped, for a hole in them;
     * what remains of them is mapped again, as @count extents.
     */
    DMA_LAYOUT_SPLIT,
    /* @count extents, @size bytes at @iova, were replaced by one. */
    DMA_LAYOUT_MERGE,
    /* Extents are cut at multiples of @size now; @count entries are used. */
    DMA_LAYOUT_PRESSURE,
    /*
     * @size bytes at @iova should be mapped, but could not: errno @count, or 0
     * if they are part of what could not before, or was not tried yet.
     */
    DMA_LAYOUT_MISSING,
    /* They are mapped now. */
    DMA_LAYOUT_MENDED,
    /*
     * @size bytes at @iova are discarded, but the kernel did not unmap them:
     * errno @count.
     */
    DMA_LAYOUT_STUCK,
    /* They are unmapped now. */
    DMA_LAYOUT_FREED,
} DmaLayoutEvent;

/*
 * The way to the kernel.  map() and unmap() return 0 or a negative errno.
 * map() fails with -ENOSPC when there are no entries left, and with -EEXIST
 * when something is mapped there.  unmap() unmaps all mappings in a range,
 * which may have gaps; it is never asked to cut one.
 */
typedef struct DmaLayoutBackend {
    int (*map)(void *opaque, uint64_t iova, uint64_t size, uint64_t vaddr,
               DmaLayoutAccess access);
    int (*unmap)(void *opaque, uint64_t iova, uint64_t size);
    /* How many entries the layout may add to what it has, or NO_LIMIT. */
    uint64_t (*entries_left)(void *opaque);
    void (*event)(void *opaque, DmaLayoutEvent event, uint64_t iova,
                  uint64_t size, uint64_t count);
} DmaLayoutBackend;

typedef struct DmaLayoutStats {
#define DMA_LAYOUT_STAT_FIELD(name, label) uint64_t name;
    DMA_LAYOUT_STATS(DMA_LAYOUT_STAT_FIELD)
#undef DMA_LAYOUT_STAT_FIELD
    /* Element i counts extents with floor(log2(size)) = i. */
    uint64_t by_order[64];
    /*
     * Number of extents that can be added before populating fails with
     * -ENOSPC, or DMA_LAYOUT_NO_LIMIT.
     */
    uint64_t entries_left;
    /*
     * Maximum number of extents, and how many of these are reserved for
     * splits, according to the kernel's last answer.  If the kernel sets no
     * limit, the layout does, except for extents of a page, which have
     * DMA_LAYOUT_NO_LIMIT.
     */
    uint64_t entries_limit;
    uint64_t entries_reserve;
} DmaLayoutStats;

/*
 * Make an empty layout, whose gate is closed.  @backend is copied, and called
 * with @opaque.
 */
DmaLayout *dma_layout_new(const DmaLayoutBackend *backend, void *opaque);
/* Forget a layout.  What is mapped stays mapped. */
void dma_layout_free(DmaLayout *layout);

/*
 * Choose the size of extents: DMA_LAYOUT_AUTO, DMA_LAYOUT_PAGE, or a power of
 * two, at least a page.  Asks the kernel for the number of entries.  Possible
 * only before the gate was ever open, -EBUSY after that.  Returns 0, or -ENOSPC
 * when what is populated already needs more entries than there are.
 */
int dma_layout_set_extent_size(DmaLayout *layout, uint64_t extent_size);

/*
 * Memory is populated: @size bytes at @iova, which are at @vaddr in QEMU.
 * Returns 0; or a negative errno, and the same is populated as before: -ENOSPC when there
 * are no entries left, -EEXIST when some of it was populated already, -EBUSY
 * when some of it was discarded but could not be unmapped, -EINVAL when it is
 * empty or wraps, or what map() said.
 */
int dma_layout_populate(DmaLayout *layout, uint64_t iova, uint64_t size,
                        uint64_t vaddr, DmaLayoutAccess access);

/*
 * Memory is discarded: what was populated of @size bytes at @iova is unmapped
 * and forgotten.  Returns 0; -EINVAL when the range is empty or wraps; or
 * -EBUSY when the kernel does not unmap some of it, which is tried again when
 * anything else changes.
 */
int dma_layout_discard(DmaLayout *layout, uint64_t iova, uint64_t size);

/*
 * Open the gate: map all that is populated.  What the kernel does not map for
 * what it is, and not for want of entries or memory, is missing then.  Returns
 * 0; or -ENOSPC, -ENOMEM or -EBUSY, and the gate is closed and nothing is
 * mapped that can be unmapped.
 */
int dma_layout_open(DmaLayout *layout);
/* Close the gate: what is mapped stays so until it is discarded. */
void dma_layout_close(DmaLayout *layout);
bool dma_layout_is_open(const DmaLayout *layout);

/* How many extents are mapped. */
uint64_t dma_layout_count_mapped(const DmaLayout *layout);

/* One extent, to be looked at. */
typedef struct DmaLayoutExtent {
    uint64_t iova;
    uint64_t size;
    bool mapped;
} DmaLayoutExtent;

/*
 * Find the first extent that ends at @iova or later, and starts at @last or
 * before.  Returns whether there is one.
 */
bool dma_layout_next_extent(const DmaLayout *layout, uint64_t iova,
                            uint64_t last, DmaLayoutExtent *extent);

/* The last byte of the last extent; 0 when there is none. */
uint64_t dma_layout_last(const DmaLayout *layout);

/* Takes the same time however many extents there are. */
void dma_layout_get_stats(const DmaLayout *layout, DmaLayoutStats *stats);

#endif
