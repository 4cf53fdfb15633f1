/*
 * Merging the extents of a DmaLayout, to gain entries
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "dma-layout.h"

#include <algorithm>
#include <iterator>

namespace shared_dma {

namespace {

/* Sizes of the blocks in which extents are merged, one after the other */
constexpr uint64_t kMergedBlocks[] = {
    DmaBudget::kBlock,
    DmaBudget::kBlock << DmaBudget::kGrowthShift,
    DmaBudget::kBlock << 2 * DmaBudget::kGrowthShift,
    DmaBudget::kLargeBlock,
};

/* Number of extents that are visited before larger blocks are tried */
constexpr uint64_t kMaxVisited = 1024;

} // namespace

/* Map the extents from @first to before @end that are not mapped. */
void DmaLayout::map_again(Iterator first, Iterator end)
{
    for (Iterator it = first; it != end; ++it) {
        const int err = it->second.mapped ? 0 : map(it->first, it->second);

        if (err && is_open()) {
            set_missing(it, err);
        } else if (!err && !it->second.mapped) {
            extents_.mark_mapped(it);
        }
    }
}

/*
 * Replace the extents from @first to before @end, which are adjacent, by one.
 * Returns the number of entries gained: 0 if the kernel fails.
 */
uint64_t DmaLayout::merge(Iterator first, Iterator end)
{
    const uint64_t iova = first->first;
    const uint64_t count = std::distance(first, end);
    const bool mapped = first->second.mapped;
    DmaExtent merged = first->second;

    merged.size = DmaExtentMap::last_of(*std::prev(end)) - iova + 1;
    if (mapped) {
        /* Stuck memory must not be mapped again. */
        if (!stuck_.empty()) {
            return 0;
        }
        if (unmap_extents(first, end) || map(iova, merged)) {
            map_again(first, end);
            return 0;
        }
        merges_++;
        event(DMA_LAYOUT_MERGE, iova, merged.size, count);
    }

    for (Iterator it = first; it != end; ++it) {
        missing_.remove(it->first);
    }
    first = extents_.join(first, end);
    if (mapped) {
        extents_.mark_mapped(first);
    }
    return count - 1;
}

/*
 * Find the end of the extents from @first on that @rule allows to merge, at
 * most @max of them.
 */
DmaLayout::Iterator DmaLayout::end_of_run(Iterator first, const MergeRule &rule,
                                          uint64_t max) const
{
    const uint64_t block = first->first / rule.block;
    uint64_t count = 1;
    Iterator it = std::next(first);

    while (count < max && extents_.is_seam(it) &&
           (it->second.joined || !rule.joined_only) &&
           DmaExtentMap::last_of(*it) / rule.block == block) {
        ++it;
        count++;
    }
    return it;
}

/*
 * Visit @todo extents, and merge those that @rule allows until @wanted entries
 * are @gained.  Returns false if the kernel fails.
 */
bool DmaLayout::merge_round(const MergeRule &rule, uint64_t todo,
                            uint64_t wanted, uint64_t *gained)
{
    bool kernel_ok = true;
    Iterator it = extents_.lower_bound(merge_hand_);

    while (todo && *gained < wanted && extents_.nseams(rule.mapped) &&
           kernel_ok) {
        if (it == extents_.end()) {
            it = extents_.begin();
        }

        const Iterator first = it;
        /*
         * Merge a block as a whole, so that it is done only once.  One more is
         * merged than entries are gained.
         */
        it = end_of_run(first, rule,
                        rule.block == DmaBudget::kUncut ? wanted - *gained + 1
                                                        : UINT64_MAX);

        const uint64_t count = std::distance(first, it);

        if (count > 1 && first->second.mapped == rule.mapped) {
            const uint64_t more = merge(first, it);

            *gained += more;
            kernel_ok = more != 0;
        }
        todo -= std::min(todo, count);
    }
    merge_hand_ = it == extents_.end() ? 0 : it->first;
    return kernel_ok;
}

/*
 * Gain at least @wanted entries by merging mapped or unmapped extents.  Returns
 * the number of entries gained.
 */
uint64_t DmaLayout::merge_some(uint64_t wanted, Merging merging)
{
    const bool mapped = merging == Merging::kMapped;
    const uint64_t batch = std::max(wanted, kMergeBatch);
    uint64_t gained = 0;

    if (budget_.is_fixed()) {
        return 0;
    }
    /* Visit all extents only if there is nothing to merge nearby. */
    for (const uint64_t todo : {kMaxVisited, UINT64_MAX}) {
        for (const bool joined_only : {true, false}) {
            for (const uint64_t block : kMergedBlocks) {
                const MergeRule rule = {block, joined_only, mapped};

                if (!merge_round(rule, std::min(todo, extents_.size()), batch,
                                 &gained) ||
                    gained >= wanted) {
                    return gained;
                }
            }
        }
    }
    merge_round({DmaBudget::kUncut, false, mapped}, extents_.size(), batch,
                &gained);
    return gained;
}

/* Make room() for @wanted extents, if possible. */
void DmaLayout::make_room(uint64_t wanted)
{
    /* The limit can be exceeded already, if other mappings took entries. */
    const auto lack = [this, wanted] {
        const uint64_t count = extents_.size() + wanted;

        return count > budget_.limit() ? count - budget_.limit() : 0;
    };

    /* Merging unmapped extents needs no calls. */
    if (!is_open() && lack()) {
        merge_some(lack(), Merging::kUnmapped);
    }
    if (lack()) {
        merge_some(lack(), Merging::kMapped);
    }
}

} // namespace shared_dma
