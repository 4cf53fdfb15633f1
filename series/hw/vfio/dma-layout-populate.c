/*
 * Populating memory of a DmaLayout
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dma-layout-internal.h"

/*
 * Minimum size of a large request, in bytes.  A guest that shares much memory
 * sends it in such pieces: of about 1 MiB with SEV-SNP, and of 2 MiB with TDX.
 * Smaller requests are what the guest will probably take back as they are, even
 * if they happen to be neighbours.
 */
#define MIN_LARGE_SIZE (UINT64_C(512) << 10)

/* Streams of large requests, each of which starts where the last one ended */

void dma_layout_init_streams(DmaStreams *streams)
{
    *streams = (DmaStreams) {};
    for (size_t i = 0; i < ARRAY_SIZE(streams->ends); i++) {
        /* No request starts here: they start at pages. */
        streams->ends[i] = UINT64_MAX;
    }
}

/*
 * Record a large request from @iova to @end.  Returns whether it continues a
 * stream; if not, it replaces the oldest stream.
 */
static bool add_to_stream(DmaStreams *streams, uint64_t iova, uint64_t end)
{
    for (unsigned int i = 0; i < ARRAY_SIZE(streams->ends); i++) {
        if (streams->ends[i] == iova) {
            streams->current = i;
            streams->ends[i] = end;
            return true;
        }
    }
    streams->current = streams->oldest;
    streams->oldest = (streams->oldest + 1) % ARRAY_SIZE(streams->ends);
    streams->ends[streams->current] = end;
    return false;
}

/* Whether a request may be recorded as a part of the extent before it */
static bool may_extend(const DmaLayout *layout, const DmaExtent *before,
                       const DmaExtent *like)
{
    return layout->uses_cuts || (before->large && like->large);
}

/* The last request */

/*
 * Extend the extent of the last request, if this request continues the same
 * stream and overlaps nothing.  Returns whether it was extended.
 */
static bool extend_tail(DmaLayout *layout, const DmaExtent *like)
{
    const DmaTail *tail = &layout->tail;

    if (!tail->extent || like->node.last > tail->max_last ||
        !may_extend(layout, tail->extent, like) ||
        !dma_extent_can_join(tail->extent, like)) {
        return false;
    }
    dma_extents_set_last(&layout->extents, tail->extent, like->node.last);
    if (like->large) {
        layout->streams.ends[layout->streams.current] = like->node.last + 1;
    }
    return true;
}

/*
 * Whether a request begins behind the last one, and overlaps nothing.  Nothing
 * is stuck then.
 */
static bool follows_tail(const DmaLayout *layout, const DmaExtent *like)
{
    const DmaTail *tail = &layout->tail;

    return tail->extent && tail->extent->node.last < like->node.start &&
           like->node.last <= tail->free_last &&
           dma_stuck_is_empty(&layout->stuck);
}

/*
 * Whether a request is a small one that begins behind the last one, and becomes
 * an extent of its own without consequences for others.
 */
static bool may_append(const DmaLayout *layout, const DmaExtent *like)
{
    return follows_tail(layout, like) && !like->large &&
           (dma_layout_is_open(layout) ? dma_missing_is_empty(&layout->missing)
                                       : !layout->uses_cuts) &&
           dma_layout_room(layout) &&
           dma_layout_count_blocks(like->node.start, like->node.last,
                                   dma_layout_block_size(layout)) == 1;
}

/*
 * Record the extent of the last request, and how far later requests can extend
 * it before they touch another extent.
 */
static void set_tail(DmaLayout *layout, DmaExtent *extent, uint64_t block)
{
    const DmaExtent *after = dma_extent_next(extent);
    uint64_t free_last = UINT64_MAX;
    uint64_t max_last = extent->node.last | (block - 1);

    if (after) {
        free_last = after->node.start - 1;
    }
    if (free_last <= max_last) {
        /* It must not touch the next extent. */
        max_last = free_last - MIN(free_last, DMA_LAYOUT_PAGE_SIZE);
    }
    layout->tail = (DmaTail) {
        .extent = extent,
        .max_last = max_last,
        .free_last = free_last,
    };
}

/* Adding requests */

/*
 * Add an extent like @like, and set @added to it.  Returns the result of
 * mapping it, if the gate is open; an error adds nothing.
 */
static int add_one(DmaLayout *layout, const DmaExtent *like, DmaExtent **added)
{
    DmaExtent extent = *like;

    if (dma_layout_is_open(layout)) {
        const int ret = dma_layout_map_or_make_room(layout, &extent);

        if (ret) {
            return ret;
        }
        extent.mapped = true;
    }
    *added = dma_extents_insert(&layout->extents, &extent);
    return 0;
}

int dma_layout_add(DmaLayout *layout, const DmaExtent *like, uint64_t max,
                   DmaExtent **added)
{
    const uint64_t iova = like->node.start;
    const uint64_t last = like->node.last;
    const bool is_fixed = dma_budget_is_fixed(&layout->budget);
    uint64_t block = dma_layout_block_size(layout);
    uint64_t start = iova;

    while (dma_layout_count_blocks(iova, last, block) > max &&
           block < DMA_BUDGET_UNCUT && !is_fixed) {
        block <<= 1;
    }
    if (dma_layout_count_blocks(iova, last, block) > max) {
        return -ENOSPC;
    }
    for (;;) {
        const uint64_t block_last = start | (block - 1);
        DmaExtent extent = dma_extent_part(like, start, MIN(last, block_last));
        int ret;

        extent.joined = start == iova ? like->joined : like->large;
        ret = add_one(layout, &extent, added);
        if (ret) {
            if (start != iova) {
                dma_layout_discard_range(layout, iova, start - 1);
            }
            return ret;
        }
        if (block_last >= last) {
            return 0;
        }
        start = block_last + 1;
    }
}

/* Add a request if may_append() allows it. */
static int append(DmaLayout *layout, const DmaExtent *like)
{
    DmaTail *tail = &layout->tail;
    DmaExtent extent = *like;
    DmaExtent *added = NULL;
    int ret;

    extent.joined = layout->uses_cuts &&
                    tail->extent->node.last == like->node.start - 1;
    ret = add_one(layout, &extent, &added);
    if (dma_layout_is_open(layout) &&
        (ret || !dma_missing_is_empty(&layout->missing))) {
        tail->extent = NULL;
        dma_layout_retry_missing(layout);
    } else {
        tail->extent = added;
        tail->max_last = added->node.last;
    }
    dma_layout_report_pressure(layout);
    return ret;
}

/*
 * Extend an unmapped extent by at most @size bytes, up to the boundary of its
 * block.  Returns the number of bytes.
 */
static uint64_t extend(DmaLayout *layout, DmaExtent *extent, uint64_t size,
                       uint64_t block)
{
    const uint64_t end = extent->node.last + 1;
    const uint64_t more = MIN(size, ROUND_UP(end, block) - end);

    if (more) {
        dma_missing_remove(&layout->missing, extent);
        dma_extents_set_last(&layout->extents, extent,
                             extent->node.last + more);
    }
    return more;
}

/* Add a request that overlaps nothing, as part of its stream if it has one. */
static int add_request(DmaLayout *layout, const DmaExtent *like, uint64_t block)
{
    const uint64_t iova = like->node.start;
    const uint64_t last = like->node.last;
    const bool continues =
        like->large && add_to_stream(&layout->streams, iova, last + 1);
    DmaExtent *before = dma_extents_find_before(&layout->extents, iova);
    DmaExtent *added = before;
    DmaExtent rest = *like;
    uint64_t done = 0;
    int ret = 0;

    rest.joined = before && (continues || layout->uses_cuts) &&
                  may_extend(layout, before, like);
    if (rest.joined && !dma_layout_is_open(layout) &&
        !dma_missing_is_refused(before) && dma_extent_can_join(before, like)) {
        done = extend(layout, before, dma_extent_size(like), block);
    }
    if (done < dma_extent_size(like)) {
        rest = dma_extent_part(&rest, iova + done, last);
        ret = dma_layout_add(layout, &rest,
                             dma_budget_share(&layout->budget,
                                              layout->extents.count),
                             &added);
        if (ret && done) {
            dma_layout_discard_range(layout, iova, iova + (done - 1));
        }
    }
    if (dma_layout_is_open(layout) &&
        !dma_missing_is_empty(&layout->missing)) {
        dma_layout_retry_missing(layout);
    } else if (!ret) {
        set_tail(layout, added, block);
    }
    return ret;
}

/* Make room for a request that overlaps @blocks blocks. */
static void make_room_for(DmaLayout *layout, uint64_t blocks)
{
    dma_layout_ask_for_limit(layout);
    /* Missing extents come first; once mapped, they can be merged. */
    dma_layout_retry_missing(layout);
    /* If more are needed, use larger blocks instead. */
    dma_layout_make_room(layout, MIN(blocks, DMA_LAYOUT_MERGE_BATCH));
}

/* Add a request, wherever it is. */
static int populate_anywhere(DmaLayout *layout, const DmaExtent *like)
{
    const uint64_t iova = like->node.start;
    const uint64_t last = like->node.last;
    const bool is_free = follows_tail(layout, like);
    uint64_t block, blocks;
    int ret;

    layout->tail.extent = NULL;
    dma_layout_retry_stuck(layout);
    block = dma_layout_block_size(layout);
    blocks = dma_layout_count_blocks(iova, last, block);
    if (blocks > dma_layout_room(layout)) {
        make_room_for(layout, blocks);
    }
    if (!is_free && dma_extents_overlap(&layout->extents, iova, last)) {
        return dma_stuck_overlaps(&layout->stuck, iova, last) ? -EBUSY
                                                              : -EEXIST;
    }
    ret = add_request(layout, like, block);
    dma_layout_report_pressure(layout);
    return ret;
}

int dma_layout_populate(DmaLayout *layout, uint64_t iova, uint64_t size,
                        uint64_t vaddr, DmaLayoutAccess access)
{
    const uint64_t last = iova + (size - 1);
    const DmaExtent like = {
        .node.start = iova,
        .node.last = last,
        .vaddr = vaddr,
        .access = access,
        .large = size >= MIN_LARGE_SIZE,
    };

    layout->missing.nchanges++;
    if (!size || last < iova) {
        return -EINVAL;
    }
    /* The first two know from the last request that the range is free. */
    if (extend_tail(layout, &like)) {
        return 0;
    }
    if (may_append(layout, &like)) {
        return append(layout, &like);
    }
    return populate_anywhere(layout, &like);
}
