/*
 * Statistics of a DMA layout
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each statistic is declared here once, and documented where QAPI declares it:
 * STAT(name, label) for member @name of VfioDmaStats.  "info vfio-dma" shows
 * each list whose members have labels on a line of its own.
 */

#ifndef HW_VFIO_DMA_LAYOUT_STATS_H
#define HW_VFIO_DMA_LAYOUT_STATS_H

#define DMA_LAYOUT_EXTENT_STATS(STAT)\
    STAT(extents, NULL)              \
    STAT(mapped_extents, NULL)       \
    STAT(largest_extent, NULL)       \
    STAT(smallest_extent, NULL)      \
    STAT(block_size, NULL)

#define DMA_LAYOUT_SIZE_STATS(STAT)  \
    STAT(populated_size, "populated")\
    STAT(mapped_size, "mapped")      \
    STAT(missing_size, "missing")    \
    STAT(stuck_size, "stuck")

#define DMA_LAYOUT_CALL_STATS(STAT)  \
    STAT(map_calls, "map")           \
    STAT(unmap_calls, "unmap")       \
    STAT(failures, "failed")

#define DMA_LAYOUT_CHANGE_STATS(STAT)\
    STAT(cuts, "cuts")               \
    STAT(splits, "splits")           \
    STAT(merges, "merges")

#define DMA_LAYOUT_STATS(STAT)       \
    DMA_LAYOUT_EXTENT_STATS(STAT)    \
    DMA_LAYOUT_SIZE_STATS(STAT)      \
    DMA_LAYOUT_CALL_STATS(STAT)      \
    DMA_LAYOUT_CHANGE_STATS(STAT)

#endif
