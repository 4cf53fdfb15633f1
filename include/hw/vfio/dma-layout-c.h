/*
 * The IOMMU mappings of a container's populated memory: C interface
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * hw/vfio/dma-layout.h explains the structure, its terms and its rules.  A
 * layout is not locked: its owner serializes access.  Addresses and sizes are
 * in bytes, and multiples of 4 KiB, the page size of x86 hosts.
 *
 * C++ code includes this inside extern "C", after <cstdint>.
 */

#ifndef HW_VFIO_DMA_LAYOUT_C_H
#define HW_VFIO_DMA_LAYOUT_C_H

#include "hw/vfio/dma-layout-stats.h"

typedef struct DmaLayout DmaLayout;

/* Special values of an extent size */
#define DMA_LAYOUT_AUTO UINT64_C(0)
#define DMA_LAYOUT_PAGE UINT64_C(1)

/* Returned by entries_left() if the kernel sets no limit */
#define DMA_LAYOUT_NO_LIMIT UINT64_MAX

/* How devices may access an extent */
typedef enum DmaLayoutAccess {
    DMA_LAYOUT_READ_WRITE,
    DMA_LAYOUT_READ_ONLY,
} DmaLayoutAccess;

/* While the gate is closed, extents are recorded but not mapped. */
typedef enum DmaLayoutGate {
    DMA_LAYOUT_CLOSED,
    DMA_LAYOUT_OPEN,
} DmaLayoutGate;

/* Events other than map and unmap */
typedef enum DmaLayoutEvent {
    /*
     * The extents of @size bytes at @iova were unmapped because a part was
     * discarded; the rest was mapped again, as @count extents.
     */
    DMA_LAYOUT_SPLIT,
    /* @count extents, @size bytes at @iova, were replaced by one. */
    DMA_LAYOUT_MERGE,
    /* The block size changed to @size; there are @count extents. */
    DMA_LAYOUT_PRESSURE,
    /*
     * @size bytes at @iova should be mapped but could not be: errno @count, or
     * 0 if the reason was reported before or mapping was not tried yet.
     */
    DMA_LAYOUT_MISSING,
    /* A missing extent, @size bytes at @iova, was mapped. */
    DMA_LAYOUT_RECOVERED,
    /*
     * @size bytes at @iova are discarded, but the kernel failed to unmap them:
     * errno @count.
     */
    DMA_LAYOUT_STUCK,
    /* A stuck range, @size bytes at @iova, was unmapped. */
    DMA_LAYOUT_FREED,
} DmaLayoutEvent;

/*
 * The interface to the kernel.  map() and unmap() return 0 or a negative errno.
 * map() fails with -ENOSPC if no entries are left, and with -EEXIST if the
 * range overlaps a mapping.  unmap() unmaps all mappings in a range, which may
 * have gaps; the range never contains a part of a mapping.
 */
typedef struct DmaLayoutBackend {
    int (*map)(void *opaque, uint64_t iova, uint64_t size, uint64_t vaddr,
               DmaLayoutAccess access);
    int (*unmap)(void *opaque, uint64_t iova, uint64_t size);
    /*
     * Unmap all that is mapped in a range, which may have gaps and contain
     * parts of mappings.  The rest of these stays mapped all the time, as
     * mappings of its own.  Returns 0; or a negative errno, in which case all
     * is mapped as before, but a mapping may be cut already.  Only called after
     * dma_layout_use_cuts().
     */
    int (*cut)(void *opaque, uint64_t iova, uint64_t size);
    /* Number of entries that can be added, or DMA_LAYOUT_NO_LIMIT */
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
 * Create an empty layout with a closed gate.  @backend is copied, and called
 * with @opaque.
 */
DmaLayout *dma_layout_new(const DmaLayoutBackend *backend, void *opaque);
/* Free a layout.  Nothing is unmapped. */
void dma_layout_free(DmaLayout *layout);

/*
 * Discard by cut() from now on, and map any number of extents of any size.
 * Must be called before anything is populated.
 */
void dma_layout_use_cuts(DmaLayout *layout);
/* Whether dma_layout_use_cuts() was called */
bool dma_layout_uses_cuts(const DmaLayout *layout);

/*
 * Set the size of extents: DMA_LAYOUT_AUTO, DMA_LAYOUT_PAGE, or a power of two
 * that is at least a page.  Asks the kernel for the number of entries.  Returns
 * 0; -EBUSY if the gate has been open before; or -ENOSPC if the populated
 * memory needs more entries than there are.  A layout that uses cuts has no
 * other size than DMA_LAYOUT_AUTO.
 */
int dma_layout_set_extent_size(DmaLayout *layout, uint64_t extent_size);

/*
 * Populate @size bytes at @iova, which are at @vaddr in QEMU.  Returns 0, or a
 * negative errno, in which case nothing is populated: -ENOSPC if no entries are
 * left, -EEXIST if a part is populated already, -EBUSY if a part is stuck,
 * -EINVAL if the range is empty or wraps, or the result of map().
 */
int dma_layout_populate(DmaLayout *layout, uint64_t iova, uint64_t size,
                        uint64_t vaddr, DmaLayoutAccess access);

/*
 * Discard @size bytes at @iova: unmap and remove the populated parts.  Returns
 * 0; -EINVAL if the range is empty or wraps; or -EBUSY if the kernel failed to
 * unmap a part, which is tried again at each change of the layout.
 */
int dma_layout_discard(DmaLayout *layout, uint64_t iova, uint64_t size);

/*
 * Open the gate: map all populated memory.  Memory that the kernel refuses to
 * map for a reason other than lack of entries or memory is missing.  Returns 0;
 * or -ENOSPC, -ENOMEM, or -EBUSY if something is stuck, in which case the gate
 * stays closed and everything is unmapped, as far as the kernel allows.
 */
int dma_layout_open(DmaLayout *layout);
/* Close the gate.  Mapped memory stays mapped until it is discarded. */
void dma_layout_close(DmaLayout *layout);
bool dma_layout_is_open(const DmaLayout *layout);

/* Return the number of mapped extents. */
uint64_t dma_layout_count_mapped(const DmaLayout *layout);

/* Description of an extent */
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

/* Return the address of the last populated or stuck byte; 0 if none. */
uint64_t dma_layout_last(const DmaLayout *layout);

/* Get statistics, in constant time unless ranges are stuck. */
void dma_layout_get_stats(const DmaLayout *layout, DmaLayoutStats *stats);

#endif
