/*
 * Opening and closing the gate of a DmaLayout
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "dma-layout.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <iterator>

namespace shared_dma {

namespace {

/* Maximum number of failed calls to find refused pages while opening */
constexpr unsigned kMaxProbes = 1024;

} // namespace

/* Divide an unmapped extent after @size bytes.  Returns the second part. */
DmaLayout::Iterator DmaLayout::divide(Iterator it, uint64_t size)
{
    missing_.remove(it->first);
    return extents_.divide(it, size);
}

/*
 * Map the first @size bytes of an extent.  Moves @it to the extent after them.
 */
int DmaLayout::map_front(Iterator &it, uint64_t size)
{
    const bool is_part = size < it->second.size;
    DmaExtent front = it->second;

    front.size = size;

    const int ret = map_or_make_room(it->first, front);

    if (!ret) {
        const Iterator back = is_part ? divide(it, size) : std::next(it);

        extents_.mark_mapped(std::prev(back));
        it = back;
    }
    return ret;
}

/*
 * Skip refused pages at the start of an extent: find a page that can be mapped,
 * at distances that double.  The pages before it are missing because of @err.
 * Moves @it to the extent after it.  Returns an error for lack of resources.
 */
int DmaLayout::skip_refused(Iterator &it, int &err, unsigned &nprobes)
{
    const uint64_t size = it->second.size;

    for (uint64_t run = kPage; run < size && nprobes; run *= 2) {
        DmaExtent probe = it->second;

        probe.vaddr += run;
        probe.size = std::min(kPage, size - run);

        const int ret = map_or_make_room(it->first + run, probe);

        if (DmaMissing::is_shortage(ret)) {
            return ret;
        }
        if (!ret) {
            it = divide(it, run);
            set_missing(std::prev(it), err);

            const Iterator back = run + probe.size < size
                                      ? divide(it, probe.size)
                                      : std::next(it);

            extents_.mark_mapped(std::prev(back));
            it = back;
            return 0;
        }
        err = ret;
        nprobes--;
    }
    set_missing(it, err);
    ++it;
    return 0;
}

/*
 * Map the parts of an extent that the kernel does not refuse.  Mapping it as a
 * whole failed with @err.  Find the first refused page by bisection.  Moves @it
 * to the extent after it.  Returns an error for lack of resources.
 */
int DmaLayout::map_parts(Iterator &it, int err, unsigned &nprobes)
{
    const uint64_t last = DmaExtentMap::last_of(*it);
    /* Number of bytes that contain a refused page. */
    uint64_t bad = it->second.size;
    bool is_tried = true;

    while (it != extents_.end() && it->first <= last) {
        int ret;

        if (!nprobes || room() < 2) {
            set_missing(it, err);
            ++it;
            return 0;
        }
        if (bad && bad <= kPage && is_tried) {
            ret = skip_refused(it, err, nprobes);
            bad = 0;
            if (ret) {
                return ret;
            }
            continue;
        }

        const uint64_t size = !bad           ? it->second.size
                              : bad <= kPage ? bad
                                             : std::bit_floor(bad - 1);

        ret = map_front(it, size);
        if (DmaMissing::is_shortage(ret)) {
            return ret;
        }
        is_tried = ret != 0;
        if (ret) {
            err = ret;
            nprobes--;
            bad = size;
        } else {
            bad -= std::min(bad, size);
        }
    }
    return 0;
}

/*
 * Join an extent that the kernel refuses with the rest of its stream, in a
 * large block, because the kernel may refuse much of it.
 */
DmaLayout::Iterator DmaLayout::join_stream(Iterator it)
{
    const MergeRule rule = {DmaBudget::kLargeBlock, true, false};
    const uint64_t iova = it->first;
    const Iterator end = std::find_if(
        std::next(it), end_of_run(it, rule, UINT64_MAX),
        [this](const auto &entry) { return missing_.is_refused(entry.first); });

    if (std::next(it) == end || budget_.is_fixed()) {
        return it;
    }
    merge(it, end);
    return extents_.find(iova);
}

/*
 * Map an extent, except for pages that the kernel refuses; these are missing.
 * Moves @it to the extent after it.  Returns an error for lack of resources.
 */
int DmaLayout::map_extent(Iterator &it, unsigned &nprobes)
{
    if (missing_.is_put_off(it->first)) {
        set_missing(it, 0);
        ++it;
        return 0;
    }

    const int ret = map_or_make_room(it->first, it->second);

    if (!ret) {
        missing_.remove(it->first);
        extents_.mark_mapped(it);
        ++it;
        return 0;
    }
    if (DmaMissing::is_shortage(ret)) {
        return ret;
    }
    if (missing_.is_refused(it->first)) {
        set_missing(it, ret);
        ++it;
        return 0;
    }
    it = join_stream(it);
    return map_parts(it, ret, nprobes);
}

/*
 * Map all unmapped extents, except for pages that the kernel refuses.  Returns
 * an error for lack of resources.
 */
int DmaLayout::map_all()
{
    unsigned nprobes = kMaxProbes;
    Iterator it = extents_.begin();
    int ret = 0;

    while (it != extents_.end() && !ret) {
        if (it->second.mapped) {
            ++it;
        } else {
            ret = map_extent(it, nprobes);
        }
    }
    return ret;
}

/* Make room and map all extents.  Returns the result of dma_layout_open(). */
int DmaLayout::try_open()
{
    int ret;

    ask_for_limit();
    if (uses_cuts_) {
        join_neighbours();
    } else if (extents_.size() > budget_.limit()) {
        merge_some(extents_.size() - budget_.limit(), Merging::kUnmapped);
    }
    /* Do not map one by one, at each attempt of a guest, only to fail. */
    const bool is_short = extents_.size() > budget_.hard_limit();

    retry_stuck();
    gate_ = DMA_LAYOUT_OPEN;
    was_open_ = true;
    if (!stuck_.empty()) {
        return -EBUSY;
    }
    if (is_short) {
        return -ENOSPC;
    }
    ret = map_all();
    if (!ret) {
        /* Refused extents may be mappable now. */
        retry_missing();
    }
    return !ret && missing_.nshort() ? -ENOSPC : ret;
}

int DmaLayout::open()
{
    missing_.count_change();
    if (is_open()) {
        return 0;
    }
    tail_.reset();

    const int ret = try_open();

    if (ret) {
        close();
        for (Iterator it = extents_.begin(); it != extents_.end(); ++it) {
            unmap_extents(it, std::next(it));
        }
        retry_stuck();
    }
    report_pressure();
    return ret;
}

void DmaLayout::close()
{
    gate_ = DMA_LAYOUT_CLOSED;
    missing_.clear_short();
}

} // namespace shared_dma
