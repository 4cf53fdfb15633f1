/*
 * The IOMMU mappings of a container's populated memory
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

/* Maximum number of missing extents to try again in one request */
constexpr unsigned kMaxRetries = 16;

uint64_t last_of(const DmaExtentMap::Entry &entry)
{
    return DmaExtentMap::last_of(entry);
}

/* Return the number of blocks that a range overlaps. */
uint64_t count_blocks(uint64_t iova, uint64_t last, uint64_t block)
{
    return last / block - iova / block + 1;
}

/* Return the size of the largest aligned power of two at a range's start. */
uint64_t largest_start(uint64_t iova, uint64_t last)
{
    const uint64_t size = last - iova + 1;
    /* 0 is aligned to any size; the size of the whole address space is 0. */
    const uint64_t fits = size ? std::bit_floor(size) : UINT64_C(1) << 63;

    return iova ? std::min(fits, iova & -iova) : fits;
}

unsigned count_powers_of_two(uint64_t iova, uint64_t last)
{
    unsigned count = 1;

    while (last - iova + 1 != largest_start(iova, last)) {
        iova += largest_start(iova, last);
        count++;
    }
    return count;
}

} // namespace

DmaLayout::DmaLayout(const DmaLayoutBackend &backend, void *opaque)
    : backend_(backend), opaque_(opaque)
{
}

/* Backend */

int DmaLayout::map(uint64_t iova, const DmaExtent &extent)
{
    const int ret =
        backend_.map(opaque_, iova, extent.size, extent.vaddr, extent.access);

    map_calls_++;
    failures_ += ret != 0;
    return ret;
}

int DmaLayout::unmap(uint64_t iova, uint64_t last)
{
    const int ret = backend_.unmap(opaque_, iova, last - iova + 1);

    unmap_calls_++;
    failures_ += ret != 0;
    return ret;
}

void DmaLayout::event(DmaLayoutEvent event, uint64_t iova, uint64_t size,
                      uint64_t count)
{
    backend_.event(opaque_, event, iova, size, count);
}

/* Map an extent.  If no entries are left, merge mapped extents first. */
int DmaLayout::map_or_make_room(uint64_t iova, const DmaExtent &extent)
{
    int ret = map(iova, extent);

    if (ret == -ENOSPC && !uses_cuts_) {
        ask_for_limit();
        if (merge_some(1, Merging::kMapped)) {
            ret = map(iova, extent);
        }
    }
    return ret;
}

/*
 * Unmap the mapped extents from @begin to before @end, in one call.  Nothing
 * else may be mapped between them.
 */
int DmaLayout::unmap_extents(Iterator begin, Iterator end)
{
    const auto is_mapped = [](const auto &entry) {
        return entry.second.mapped;
    };
    const Iterator first = std::find_if(begin, end, is_mapped);
    uint64_t last = 0;
    int ret = 0;

    if (first == end) {
        return 0;
    }
    for (Iterator it = first; it != end; ++it) {
        if (it->second.mapped) {
            last = last_of(*it);
        }
    }

    const bool all = !unmap(first->first, last);

    for (Iterator it = first; it != end; ++it) {
        if (!it->second.mapped) {
            continue;
        }
        /* An extent that cannot be unmapped must not keep others mapped. */
        const int err = all ? 0 : unmap(it->first, last_of(*it));

        if (err) {
            ret = err;
        } else {
            extents_.mark_unmapped(it);
        }
    }
    return ret;
}

/* Unmap a range that can contain parts of mappings. */
int DmaLayout::cut(uint64_t iova, uint64_t last)
{
    const int ret = backend_.cut(opaque_, iova, last - iova + 1);

    unmap_calls_++;
    failures_ += ret != 0;
    cuts_ += ret == 0;
    return ret;
}

/* Budget */

void DmaLayout::ask_for_limit()
{
    const uint64_t left = backend_.entries_left(opaque_);

    budget_.set_kernel_limit(
        left == DMA_LAYOUT_NO_LIMIT ? left : extents_.nmapped() + left);
}

void DmaLayout::report_pressure(unsigned level)
{
    reported_pressure_ = level;
    event(DMA_LAYOUT_PRESSURE, 0, block_size(), extents_.size());
}

/* Missing extents */

/* Remove an extent, also from the missing ones. */
DmaLayout::Iterator DmaLayout::erase(Iterator it)
{
    if (!it->second.mapped) {
        missing_.remove(it->first);
    }
    return extents_.erase(it);
}

/* Record and report a missing extent; @err is 0 if the reason is unchanged. */
void DmaLayout::set_missing(Iterator it, int err)
{
    missing_.add(it->first, err);
    event(DMA_LAYOUT_MISSING, it->first, it->second.size, -err);
}

/* Try again to map a missing extent.  Returns the result of map(). */
int DmaLayout::retry(Iterator it)
{
    const int ret = map_or_make_room(it->first, it->second);

    if (ret) {
        missing_.failed_again(it->first, ret);
    } else {
        missing_.remove(it->first);
        extents_.mark_mapped(it);
        event(DMA_LAYOUT_RECOVERED, it->first, it->second.size, 1);
    }
    return ret;
}

void DmaLayout::retry_missing()
{
    unsigned ntried = 0;

    for (; ntried < kMaxRetries; ntried++) {
        const auto iova = missing_.next_short();

        if (!iova || DmaMissing::is_shortage(retry(extents_.find(*iova)))) {
            break;
        }
    }
    for (; is_open() && ntried < kMaxRetries; ntried++) {
        const auto iova = missing_.next_due();

        if (!iova || DmaMissing::is_shortage(retry(extents_.find(*iova)))) {
            break;
        }
    }
}

/* Populating */

/* Whether a request may be recorded as a part of the extent before it */
bool DmaLayout::may_extend(const DmaExtent &before, const DmaExtent &like) const
{
    return uses_cuts_ || (before.large && like.large);
}

/*
 * Extend the extent of the last request, if this request continues the same
 * stream and overlaps nothing.  Returns whether it was extended.
 */
bool DmaLayout::extend_tail(uint64_t iova, const DmaExtent &like)
{
    const uint64_t last = iova + (like.size - 1);

    if (!tail_ || last > tail_->max_last ||
        !may_extend(tail_->it->second, like) ||
        !DmaExtentMap::can_join(*tail_->it, iova, like)) {
        return false;
    }
    extents_.grow(tail_->it, like.size);
    if (like.large) {
        streams_.extend(last + 1);
    }
    return true;
}

/*
 * Whether a request begins behind the last one, and overlaps nothing.  Nothing
 * is stuck then.
 */
bool DmaLayout::follows_tail(uint64_t iova, uint64_t last) const
{
    return tail_ && last_of(*tail_->it) < iova && last <= tail_->free_last &&
           stuck_.empty();
}

/*
 * Whether a request is a small one that begins behind the last one, and becomes
 * an extent of its own without consequences for others.
 */
bool DmaLayout::may_append(uint64_t iova, const DmaExtent &like) const
{
    const uint64_t last = iova + (like.size - 1);

    return follows_tail(iova, last) && !like.large &&
           (is_open() ? missing_.empty() : !uses_cuts_) && room() &&
           count_blocks(iova, last, block_size()) == 1;
}

/* Add a request if may_append() allows it. */
int DmaLayout::append(uint64_t iova, DmaExtent like)
{
    Iterator it = std::next(tail_->it);

    like.joined = uses_cuts_ && last_of(*tail_->it) == iova - 1;

    const int ret = add_one(iova, like, it);

    if (is_open() && (ret || !missing_.empty())) {
        tail_.reset();
        retry_missing();
    } else {
        tail_->it = it;
        tail_->max_last = last_of(*it);
    }
    report_pressure();
    return ret;
}

/*
 * Record @it as the extent of the last request, and how far later requests can
 * extend it before they touch another extent.
 */
void DmaLayout::set_tail(Iterator it, uint64_t block)
{
    const Iterator after = std::next(it);
    uint64_t free_last = UINT64_MAX;
    uint64_t max_last = last_of(*it) | (block - 1);

    if (after != extents_.end()) {
        free_last = after->first - 1;
    }
    if (free_last <= max_last) {
        /* It must not touch the next extent. */
        max_last = free_last - std::min(free_last, kPage);
    }
    tail_ = {it, max_last, free_last};
}

/*
 * Extend an unmapped extent by at most @size bytes, up to the boundary of its
 * block.  Returns the number of bytes.
 */
uint64_t DmaLayout::extend(Iterator it, uint64_t size, uint64_t block)
{
    const uint64_t end = it->first + it->second.size;
    const uint64_t room = end % block ? block - end % block : 0;
    const uint64_t more = std::min(size, room);

    if (more) {
        missing_.remove(it->first);
        extents_.grow(it, more);
    }
    return more;
}

/*
 * Add an extent in front of @it, and set @it to the new extent.  Returns the
 * result of mapping it, if the gate is open; an error adds nothing.
 */
int DmaLayout::add_one(uint64_t iova, DmaExtent extent, Iterator &it)
{
    if (is_open()) {
        const uint64_t count = extents_.size();
        const int ret = map_or_make_room(iova, extent);

        if (ret) {
            return ret;
        }
        if (count != extents_.size()) {
            /* @it may have been merged. */
            it = extents_.lower_bound(iova);
        }
        extent.mapped = true;
    }
    it = extents_.insert_before(it, iova, extent);
    return 0;
}

/*
 * Add a range in front of @it, as at most @max extents, the first of which has
 * the properties of @like, and set @it to the last one.  If one of them cannot
 * be mapped, none is added.
 */
int DmaLayout::add(uint64_t iova, uint64_t last, const DmaExtent &like,
                   uint64_t max, Iterator &it)
{
    uint64_t block = block_size();
    DmaExtent extent = like;
    uint64_t start = iova;

    while (count_blocks(iova, last, block) > max && block < DmaBudget::kUncut &&
           !budget_.is_fixed()) {
        block <<= 1;
    }
    if (count_blocks(iova, last, block) > max) {
        return -ENOSPC;
    }
    for (;;) {
        const uint64_t block_last = start | (block - 1);

        extent.vaddr = like.vaddr + (start - iova);
        extent.size = std::min(last, block_last) - start + 1;

        const int ret = add_one(start, extent, it);

        if (ret) {
            if (start != iova) {
                discard_range(iova, start - 1);
            }
            return ret;
        }
        if (block_last >= last) {
            return 0;
        }
        start = block_last + 1;
        extent.joined = like.large;
        ++it;
    }
}

/*
 * Add a range in front of the extent @after, as part of its stream if it has
 * one; it overlaps nothing.
 */
int DmaLayout::add_request(uint64_t iova, uint64_t last, DmaExtent like,
                           Iterator after, uint64_t block)
{
    const bool has_before =
        after != extents_.begin() && last_of(*std::prev(after)) == iova - 1;
    const bool continues = like.large && streams_.add(iova, last + 1);
    Iterator it = after;
    uint64_t done = 0;
    int ret = 0;

    like.joined = has_before && (continues || uses_cuts_) &&
                  may_extend(std::prev(after)->second, like);
    if (like.joined && !is_open() &&
        !missing_.is_refused(std::prev(after)->first) &&
        DmaExtentMap::can_join(*std::prev(after), iova, like)) {
        it = std::prev(after);
        done = extend(it, like.size, block);
    }
    if (done < like.size) {
        like.vaddr += done;
        it = after;
        ret = add(iova + done, last, like, budget_.share(extents_.size()), it);
        if (ret && done) {
            discard_range(iova, iova + (done - 1));
        }
    }
    if (is_open() && !missing_.empty()) {
        retry_missing();
    } else if (!ret) {
        set_tail(it, block);
    }
    return ret;
}

/* Add a request, wherever it is. */
int DmaLayout::populate_anywhere(uint64_t iova, const DmaExtent &like)
{
    const uint64_t last = iova + (like.size - 1);
    bool is_free = follows_tail(iova, last);
    Iterator after = is_free ? std::next(tail_->it) : extents_.end();

    tail_.reset();
    retry_stuck();

    const uint64_t block = block_size();
    const uint64_t blocks = count_blocks(iova, last, block);

    if (blocks > room()) {
        ask_for_limit();
        /* Missing extents come first; once mapped, they can be merged. */
        retry_missing();
        /* If more are needed, use larger blocks instead. */
        make_room(std::min(blocks, kMergeBatch));
        is_free = false;
    }
    if (!is_free) {
        after = extents_.lower_bound(iova);
        if ((after != extents_.end() && after->first <= last) ||
            (after != extents_.begin() && last_of(*std::prev(after)) >= iova)) {
            return stuck_.overlaps(iova, last) ? -EBUSY : -EEXIST;
        }
    }

    const int ret = add_request(iova, last, like, after, block);

    report_pressure();
    return ret;
}

int DmaLayout::populate(uint64_t iova, uint64_t size, uint64_t vaddr,
                        DmaLayoutAccess access)
{
    missing_.count_change();
    if (!size || iova + (size - 1) < iova) {
        return -EINVAL;
    }

    const DmaExtent like = {
        .size = size,
        .vaddr = vaddr,
        .access = access,
        .large = DmaStreams::is_large(size),
        .joined = false,
        .mapped = false,
    };

    /* The first two take constant time, except for adding an extent. */
    if (extend_tail(iova, like)) {
        return 0;
    }
    if (may_append(iova, like)) {
        return append(iova, like);
    }
    return populate_anywhere(iova, like);
}

/* Discarding */

/*
 * Add a part of an extent @like that was at @like_iova.  Map it if @like is
 * mapped, unless something is stuck: then leave that to retry_missing().  If it
 * cannot be mapped, it is missing.
 */
void DmaLayout::remap(uint64_t iova, uint64_t last, const DmaExtent &like,
                      uint64_t like_iova, Pieces pieces)
{
    const bool is_due = is_open() && stuck_.empty() && like.mapped;
    DmaExtent extent = like;

    extent.joined = like.joined && iova == like_iova;
    for (uint64_t start = iova;; start += extent.size) {
        extent.vaddr = like.vaddr + (start - like_iova);
        extent.size = pieces == Pieces::kOne ? last - start + 1
                                             : largest_start(start, last);

        const int err = is_due ? map_or_make_room(start, extent) : 0;

        extent.mapped = is_due && !err;

        const Iterator it = extents_.insert(start, extent);

        if (is_open() && !extent.mapped) {
            set_missing(it, err);
        }
        if (start + (extent.size - 1) == last) {
            return;
        }
        extent.joined = like.large;
    }
}

/*
 * Remove the unmapped extents from @first to before @end.  Streams end where an
 * extent is removed.
 */
void DmaLayout::erase_unmapped(Iterator first, Iterator end)
{
    for (Iterator it = first; it != end;) {
        if (it->second.mapped) {
            ++it;
            continue;
        }
        it = erase(it);
        if (it != end) {
            extents_.separate(it);
        }
    }
}

/*
 * Unmap and remove a range, and map the rest of its extents again.  Returns an
 * error if the kernel did not unmap all of it.
 */
int DmaLayout::split_range(uint64_t iova, uint64_t last)
{
    const Iterator first = extents_.find(iova);
    Iterator end = first;

    while (end != extents_.end() && end->first <= last) {
        ++end;
    }
    if (first == end) {
        return 0;
    }

    auto [front_iova, front] = *first;
    auto [back_iova, back] = *std::prev(end);
    const uint64_t back_last = back_iova + (back.size - 1);
    const int ret = unmap_extents(first, end);
    const bool left = front_iova < iova && !first->second.mapped;
    const bool right = back_last > last && !std::prev(end)->second.mapped;

    erase_unmapped(first, end);
    if (!right && end != extents_.end() && end->first == back_last + 1) {
        extents_.separate(end);
    }

    const uint64_t npieces =
        (left ? count_powers_of_two(front_iova, iova - 1) : 0) +
        (right ? count_powers_of_two(last + 1, back_last) : 0);
    const bool in_one = !is_open() || uses_cuts_ || budget_.is_fixed() ||
                        extents_.size() + npieces > budget_.hard_limit();
    const Pieces pieces = in_one ? Pieces::kOne : Pieces::kPowersOfTwo;
    const bool is_split =
        is_open() && ((left && front.mapped) || (right && back.mapped));

    if (ret) {
        /* Making room could merge, and map again, what is about to be stuck. */
        front.mapped = back.mapped = false;
    }
    if (left) {
        remap(front_iova, iova - 1, front, front_iova, pieces);
    }
    if (right) {
        remap(last + 1, back_last, back, back_iova, pieces);
    }
    if (is_split) {
        splits_++;
        event(DMA_LAYOUT_SPLIT, front_iova, back_last - front_iova + 1,
              in_one ? left + right : npieces);
    }
    return ret;
}

/*
 * Unmap and remove a range, if possible without disturbing the rest of its
 * extents.  Returns an error if the kernel did not unmap all of it.
 */
int DmaLayout::remove_range(uint64_t iova, uint64_t last)
{
    if (uses_cuts_ && !cut_range(iova, last)) {
        return 0;
    }
    return split_range(iova, last);
}

int DmaLayout::discard(uint64_t iova, uint64_t size)
{
    const uint64_t last = iova + (size - 1);

    missing_.count_change();
    if (!size || last < iova) {
        return -EINVAL;
    }
    tail_.reset();
    return discard_range(iova, last);
}

int DmaLayout::discard_range(uint64_t iova, uint64_t last)
{
    int ret = remove_range(iova, last);

    if (ret) {
        set_stuck(iova, last, ret);
    }
    if (!stuck_.empty()) {
        retry_stuck();
        ret = stuck_.overlaps(iova, last) ? -EBUSY : 0;
    } else if (is_open()) {
        retry_missing();
    }
    report_pressure();
    return ret;
}

/* Stuck ranges */

/* Record and report the mapped parts of a discarded range as stuck. */
void DmaLayout::set_stuck(uint64_t iova, uint64_t last, int err)
{
    for (Iterator it = extents_.find(iova);
         it != extents_.end() && it->first <= last; ++it) {
        const uint64_t stuck_iova = std::max(iova, it->first);
        const uint64_t stuck_last = std::min(last, last_of(*it));

        if (it->second.mapped) {
            event(DMA_LAYOUT_STUCK, stuck_iova, stuck_last - stuck_iova + 1,
                  -err);
            stuck_.add(stuck_iova, stuck_last);
        }
    }
}

bool DmaLayout::is_mapped(uint64_t iova) const
{
    const Iterator it = extents_.find(iova);

    return it != extents_.end() && it->first <= iova && it->second.mapped;
}

/* Try again to unmap all stuck ranges. */
void DmaLayout::retry_stuck()
{
    if (stuck_.empty()) {
        return;
    }
    /* A range can be in an extent that was unmapped for another range. */
    for (const bool also_mapped : {true, false}) {
        for (auto it = stuck_.begin(); it != stuck_.end();) {
            const auto [iova, last] = *it;

            if ((!also_mapped && is_mapped(iova)) || remove_range(iova, last)) {
                ++it;
                continue;
            }
            it = stuck_.erase(it);
            event(DMA_LAYOUT_FREED, iova, last - iova + 1, 0);
        }
    }
    if (is_open()) {
        retry_missing();
    }
}

/* Extent size, statistics, invariants */

int DmaLayout::set_extent_size(uint64_t extent_size)
{
    const uint64_t old_size = budget_.extent_size();
    uint64_t blocks = 0;

    if (was_open_) {
        return -EBUSY;
    }
    if (uses_cuts_) {
        return extent_size == DMA_LAYOUT_AUTO ? 0 : -EBUSY;
    }

    const DmaExtentMap old = extents_;

    tail_.reset();
    budget_.set_extent_size(extent_size);
    ask_for_limit();
    for (const auto &entry : extents_) {
        blocks += count_blocks(entry.first, last_of(entry), block_size());
    }
    if (!budget_.is_fixed() && blocks > budget_.limit() / 2) {
        /* Larger extents are better than too many. */
        make_room(0);
        if (extents_.size() <= budget_.limit()) {
            return 0;
        }
    }
    if (blocks > budget_.limit()) {
        extents_ = old;
        budget_.set_extent_size(old_size);
        ask_for_limit();
        return -ENOSPC;
    }
    extents_ = {};

    for (const auto &[iova, extent] : old) {
        Iterator it = extents_.end();

        add(iova, iova + (extent.size - 1), extent, room(), it);
    }
    return 0;
}

DmaLayoutStats DmaLayout::stats() const
{
    /* All members are set below. */
    DmaLayoutStats stats;

    stats.extents = extents_.size();
    stats.mapped_extents = extents_.nmapped();
    extents_.count_by_order(stats.by_order);
    stats.largest_extent = extents_.largest();
    stats.smallest_extent = extents_.smallest();
    stats.stuck_size = stuck_.size();
    stats.populated_size = extents_.total_size() - stats.stuck_size;
    stats.mapped_size = extents_.mapped_size();
    stats.missing_size =
        is_open() ? extents_.total_size() - extents_.mapped_size() : 0;
    stats.map_calls = map_calls_;
    stats.unmap_calls = unmap_calls_;
    stats.cuts = cuts_;
    stats.splits = splits_;
    stats.merges = merges_;
    stats.failures = failures_;
    stats.entries_left =
        budget_.limit() == DMA_LAYOUT_NO_LIMIT ? DMA_LAYOUT_NO_LIMIT : room();
    stats.entries_limit = budget_.hard_limit();
    stats.entries_reserve = budget_.hard_limit() - budget_.limit();
    stats.block_size = block_size();
    return stats;
}

const char *DmaLayout::broken_invariant() const
{
    uint64_t nshort = 0;
    uint64_t nrefused = 0;

    for (const auto &entry : extents_) {
        const auto &[iova, extent] = entry;
        const bool is_short = missing_.is_short(iova);
        const bool is_refused = !extent.mapped && missing_.is_refused(iova);

        if (budget_.is_fixed() && extent.size != kPage) {
            return "an extent is not of the size of a page";
        }
        if (extent.mapped && !was_open_) {
            return "an extent is mapped before the gate was open";
        }
        if (!extent.mapped && is_open() && is_short == is_refused) {
            return "an extent is not mapped, and not missing";
        }
        nshort += is_short;
        nrefused += is_refused;
    }
    for (const auto &[iova, last] : stuck_) {
        if (!is_mapped(iova) || last_of(*extents_.find(iova)) < last) {
            return "something is stuck that is not mapped";
        }
    }
    if (nshort != missing_.nshort() || nrefused != missing_.nrefused()) {
        return "something is missing that is mapped or not populated";
    }

    const char *broken = extents_.broken_invariant();

    return broken ? broken : missing_.broken_invariant();
}

} // namespace shared_dma
