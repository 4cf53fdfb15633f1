/*
 * Discarding parts of the mappings of a DmaLayout while the rest stays mapped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "dma-layout.h"

#include <algorithm>
#include <cassert>
#include <iterator>

namespace shared_dma {

void DmaLayout::use_cuts()
{
    assert(extents_.empty());
    uses_cuts_ = true;
    budget_.set_unlimited();
}

/* Let an extent start at @iova, if one contains it. */
void DmaLayout::divide_at(uint64_t iova)
{
    const Iterator it = extents_.find(iova);

    if (it == extents_.end() || it->first >= iova) {
        return;
    }
    if (it->second.mapped) {
        extents_.divide(it, iova - it->first);
        return;
    }

    const Iterator back = divide(it, iova - it->first);

    if (is_open()) {
        /* Both parts are as missing as the whole was. */
        set_missing(std::prev(back), 0);
        set_missing(back, 0);
    }
}

/*
 * Unmap and remove a range; the rest of its extents stays mapped.  Returns an
 * error, and changes nothing, if the kernel does not cut its mappings.
 */
int DmaLayout::cut_range(uint64_t iova, uint64_t last)
{
    const Iterator first = extents_.find(iova);
    /* The part of the range from the first to the last mapped byte */
    uint64_t cut_iova = last;
    uint64_t cut_last = iova;
    bool is_mapped = false;
    Iterator end = first;

    for (; end != extents_.end() && end->first <= last; ++end) {
        if (end->second.mapped) {
            cut_iova = is_mapped ? cut_iova : std::max(iova, end->first);
            cut_last = std::min(last, DmaExtentMap::last_of(*end));
            is_mapped = true;
        }
    }
    if (is_mapped) {
        const int ret = cut(cut_iova, cut_last);

        if (ret) {
            return ret;
        }
    }
    divide_at(iova);
    if (last != UINT64_MAX) {
        divide_at(last + 1);
    }

    Iterator it = extents_.lower_bound(iova);

    while (it != extents_.end() && it->first <= last) {
        it = erase(it);
    }
    if (it != extents_.end()) {
        extents_.separate(it);
    }
    return 0;
}

/*
 * Join adjacent extents that are not mapped, so that each takes one call when
 * it is mapped.  Refused extents stay as they are, and are tried when due.
 */
void DmaLayout::join_neighbours()
{
    const auto is_refused = [this](Iterator it) {
        return missing_.is_refused(it->first);
    };
    Iterator first = extents_.begin();

    while (first != extents_.end() && extents_.nseams(false)) {
        Iterator end = std::next(first);

        if (!first->second.mapped && !is_refused(first)) {
            while (extents_.is_seam(end) && !is_refused(end)) {
                ++end;
            }
            if (std::next(first) != end) {
                extents_.join(first, end);
            }
        }
        first = end;
    }
}

} // namespace shared_dma
