/*
 * Which IOMMU mappings cover the populated memory of a container
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "dma-layout.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <iterator>
#include <utility>

namespace shared_dma {

namespace {

/* Managers that discard in pieces this large know what they do. */
constexpr uint64_t kCoarse = UINT64_C(1) << 20;

/* Block sizes go up and down by this many bits at a time... */
constexpr unsigned kGrowthShift = 4;
/* ...so many times at most, which takes a page beyond the largest block... */
constexpr unsigned kMaxPressure = 5;
/* ...and streams are merged in blocks of at least this size. */
constexpr uint64_t kMinMerged = UINT64_C(64) << 10;

constexpr uint64_t kUncut = UINT64_C(1) << 63;

/* How many entries to gain at once when there are none left. */
constexpr uint64_t kMergeBatch = 64;

/* How many missing extents to try again at once. */
constexpr unsigned kMaxRetries = 16;

/* After so many changes at most, one that cannot be mapped is tried again. */
constexpr uint64_t kMaxDelay = UINT64_C(1) << 16;

/* Calls that may fail while the gate opens, to find out what they fail for. */
constexpr unsigned kMaxProbes = 1024;

/* No request ends here: ends are aligned. */
constexpr uint64_t kNoStream = UINT64_MAX;

uint8_t shift_of(uint64_t power_of_two)
{
    return static_cast<uint8_t>(std::countr_zero(power_of_two));
}

uint64_t last_of(const DmaLayout::Extents::value_type &entry)
{
    return entry.first + (entry.second.size - 1);
}

/* Of the largest power of two that is not above @size */
unsigned order_of(uint64_t size)
{
    return std::bit_width(size >> 1);
}

/* Whether a mapping failed because there is too little of something. */
bool is_shortage(int err)
{
    return err == -ENOSPC || err == -ENOMEM;
}

/* Whether an extent at @iova could be one mapping with @before. */
bool can_join(const DmaLayout::Extents::value_type &before, uint64_t iova,
              const DmaExtent &extent)
{
    const DmaExtent &other = before.second;

    return before.first + other.size == iova &&
           other.vaddr + other.size == extent.vaddr &&
           other.granularity_shift == extent.granularity_shift &&
           other.readonly == extent.readonly && other.mapped == extent.mapped;
}

/* How many blocks a range touches. */
uint64_t count_blocks(uint64_t iova, uint64_t last, uint64_t block)
{
    return last / block - iova / block + 1;
}

/* The largest aligned power of two that a range starts with. */
uint64_t largest_start(uint64_t iova, uint64_t last)
{
    const uint64_t size = last - iova + 1;
    /* 0 is aligned to everything, and a range can be all there is. */
    const uint64_t fits = size ? std::bit_floor(size) : kUncut;

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

void DmaExtentSizes::add(uint64_t size)
{
    counts_[size]++;
    by_order_[order_of(size)]++;
}

void DmaExtentSizes::remove(uint64_t size)
{
    const auto it = counts_.find(size);

    if (!--it->second) {
        counts_.erase(it);
    }
    by_order_[order_of(size)]--;
}

uint64_t DmaExtentSizes::largest() const
{
    return counts_.empty() ? 0 : counts_.rbegin()->first;
}

uint64_t DmaExtentSizes::smallest() const
{
    return counts_.empty() ? 0 : counts_.begin()->first;
}

DmaLayout::DmaLayout(const DmaLayoutBackend &backend, void *opaque)
    : backend_(backend), opaque_(opaque)
{
    stream_ends_.fill(kNoStream);
    set_limit(kMaxExtents);
}

/* The way to the kernel */

int DmaLayout::map(uint64_t iova, const DmaExtent &extent)
{
    const int ret =
        backend_.map(opaque_, iova, extent.size, extent.vaddr, extent.readonly);

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

/* Map what is not mapped yet, if need be at the cost of what is. */
int DmaLayout::map_or_make_room(uint64_t iova, const DmaExtent &extent)
{
    int ret = map(iova, extent);

    if (ret == -ENOSPC) {
        ask_for_limit();
        if (merge_some(1, true)) {
            ret = map(iova, extent);
        }
    }
    return ret;
}

/*
 * Unmap what is mapped of the extents from @begin to before @end, in one call.
 * Nothing but these may be mapped between them.
 */
int DmaLayout::unmap_extents(Iterator begin, Iterator end)
{
    const auto is_mapped = [](const auto &entry) {
        return entry.second.mapped;
    };
    Iterator first = std::find_if(begin, end, is_mapped);
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
        /* One that cannot be unmapped must not keep the others. */
        const int err = all ? 0 : unmap(it->first, last_of(*it));

        if (err) {
            ret = err;
        } else {
            set_mapped(it, false);
        }
    }
    return ret;
}

void DmaLayout::ask_for_limit()
{
    const uint64_t left = backend_.entries_left(opaque_);

    if (left != DMA_LAYOUT_NO_LIMIT) {
        set_limit(nmapped_ + left);
    } else {
        set_limit(is_fixed() ? DMA_LAYOUT_NO_LIMIT : kMaxExtents);
    }
}

void DmaLayout::set_limit(uint64_t limit)
{
    hard_limit_ = limit_ = limit;
    if (!is_fixed()) {
        limit_ -= std::min(kSplitReserve, limit / 4);
    }
}

/* How many extents may be added. */
uint64_t DmaLayout::room() const
{
    const uint64_t used = extents_.size();

    return used < limit_ ? limit_ - used : 0;
}

/* Extents and what is known of them as a whole */

DmaLayout::Extents::const_iterator DmaLayout::next_extent(uint64_t iova) const
{
    const auto it = extents_.upper_bound(iova);

    if (it != extents_.begin() && last_of(*std::prev(it)) >= iova) {
        return std::prev(it);
    }
    return it;
}

DmaLayout::Iterator DmaLayout::find(uint64_t iova)
{
    const auto it = next_extent(iova);

    /* Erases nothing: it is how one gets an iterator that can change it. */
    return extents_.erase(it, it);
}

/* Whether an extent and the one before it could be a single mapping. */
bool DmaLayout::is_seam(Extents::const_iterator it) const
{
    return it != extents_.begin() && it != extents_.end() &&
           can_join(*std::prev(it), it->first, it->second);
}

void DmaLayout::count_mapped(const DmaExtent &extent, bool mapped)
{
    if (mapped) {
        nmapped_++;
        mapped_size_ += extent.size;
    } else {
        nmapped_--;
        mapped_size_ -= extent.size;
    }
}

DmaLayout::Iterator DmaLayout::insert(uint64_t iova, const DmaExtent &extent)
{
    const Iterator after = extents_.lower_bound(iova);
    const Iterator it = extents_.emplace_hint(after, iova, extent);

    drop_tail();
    sizes_.add(extent.size);
    populated_size_ += extent.size;
    if (extent.mapped) {
        count_mapped(extent, true);
    }
    nseams_[extent.mapped] += is_seam(it);
    nseams_[extent.mapped] +=
        after != extents_.end() && can_join(*it, after->first, after->second);
    return it;
}

DmaLayout::Iterator DmaLayout::erase(Iterator it)
{
    const Extents::value_type gone = *it;

    drop_tail();
    nseams_[gone.second.mapped] -= is_seam(it);
    sizes_.remove(gone.second.size);
    populated_size_ -= gone.second.size;
    if (gone.second.mapped) {
        count_mapped(gone.second, false);
    } else {
        missing_.erase(gone.first);
        forget_refusal(gone.first);
    }
    it = extents_.erase(it);
    nseams_[gone.second.mapped] -=
        it != extents_.end() && can_join(gone, it->first, it->second);
    return it;
}

void DmaLayout::set_mapped(Iterator it, bool mapped)
{
    nseams_[!mapped] -= is_seam(it) + is_seam(std::next(it));
    it->second.mapped = mapped;
    nseams_[mapped] += is_seam(it) + is_seam(std::next(it));
    count_mapped(it->second, mapped);
}

/* An extent that is to be mapped is not: because of @err, or as before. */
void DmaLayout::set_missing(Iterator it, int err)
{
    if (err && !is_shortage(err)) {
        set_refused(it->first);
    } else if (!refused_.contains(it->first)) {
        missing_.insert(it->first);
    }
    event(DMA_LAYOUT_MISSING, it->first, it->second.size, -err);
}

/* An extent cannot be mapped: try it once more, then less and less often. */
void DmaLayout::set_refused(uint64_t iova)
{
    const auto [known, is_new] = refused_.try_emplace(iova);
    uint64_t &delay = known->second.delay;

    delay = is_new ? 0 : std::clamp(2 * delay, UINT64_C(1), kMaxDelay);
    put_off(iova, delay);
}

void DmaLayout::put_off(uint64_t iova, uint64_t nchanges)
{
    uint64_t &due = refused_[iova].due;

    due_.erase({due, iova});
    due = nchanges_ + nchanges;
    due_.emplace(due, iova);
}

void DmaLayout::forget_refusal(uint64_t iova)
{
    const auto known = refused_.find(iova);

    if (known != refused_.end()) {
        due_.erase({known->second.due, iova});
        refused_.erase(known);
    }
}

/* Whether it is too early to try an extent again. */
bool DmaLayout::is_put_off(uint64_t iova) const
{
    const auto known = refused_.find(iova);

    return known != refused_.end() && known->second.due > nchanges_;
}

/* Returns what map() says. */
int DmaLayout::retry(Iterator it)
{
    const int ret = map_or_make_room(it->first, it->second);

    if (!ret) {
        set_mapped(it, true);
        missing_.erase(it->first);
        forget_refusal(it->first);
        event(DMA_LAYOUT_MENDED, it->first, it->second.size, 1);
    }
    return ret;
}

void DmaLayout::retry_missing()
{
    unsigned ntried = 0;
    int ret = 0;

    for (; ntried < kMaxRetries && !missing_.empty(); ntried++) {
        auto next = missing_.lower_bound(retry_hand_);

        if (next == missing_.end()) {
            next = missing_.begin();
        }

        const Iterator it = extents_.find(*next);

        /* The next time, it is another one's turn. */
        retry_hand_ = it->first + 1;
        ret = retry(it);
        if (is_shortage(ret)) {
            break;
        }
        if (ret) {
            missing_.erase(it->first);
            set_refused(it->first);
        }
    }
    for (; open_ && ntried < kMaxRetries && !due_.empty(); ntried++) {
        const auto [due, iova] = *due_.begin();

        if (due > nchanges_) {
            return;
        }
        ret = retry(extents_.find(iova));
        if (is_shortage(ret)) {
            put_off(iova, 1);
            return;
        }
        if (ret) {
            set_refused(iova);
        }
    }
}

/* Sizes of blocks */

/*
 * How often the number of entries that are left has been halved, from the
 * first half on.
 */
unsigned DmaLayout::pressure() const
{
    unsigned level = 0;

    if (room() >= limit_ / 2 || is_fixed()) {
        return 0;
    }
    while (level < kMaxPressure && room() < limit_ >> (level + 1)) {
        level++;
    }
    return level;
}

uint64_t DmaLayout::block_size(uint64_t granularity) const
{
    uint64_t block = std::max(extent_size_, granularity);

    if (is_fixed() || is_coarse(granularity)) {
        return granularity;
    }
    if (extent_size_ == DMA_LAYOUT_AUTO) {
        block = open_ ? kBlock : kLargeBlock;
    }
    /* A hole in a larger one would take too much away. */
    return std::max(block,
                    std::min(block << kGrowthShift * pressure(), kLargeBlock));
}

/*
 * Whether memory is given back in so large pieces, and one by one, that it is
 * not to be split as long as there are entries.
 */
bool DmaLayout::is_coarse(uint64_t granularity) const
{
    return extent_size_ == DMA_LAYOUT_AUTO && granularity >= kCoarse;
}

void DmaLayout::tell_pressure()
{
    const unsigned level = pressure();

    if (level != told_pressure_) {
        told_pressure_ = level;
        event(DMA_LAYOUT_PRESSURE, 0, block_size(kPage), extents_.size());
    }
}

/* Merging */

/* Map what was unmapped, from @first to before @end, in vain. */
void DmaLayout::map_again(Iterator first, Iterator end)
{
    for (Iterator it = first; it != end; ++it) {
        const int err = it->second.mapped ? 0 : map(it->first, it->second);

        if (err && open_) {
            set_missing(it, err);
        } else if (!err && !it->second.mapped) {
            set_mapped(it, true);
        }
    }
}

/*
 * Replace the extents from @first to before @end, which all touch, by one.
 * Returns how many entries that gains: none if the kernel does not let us.
 */
uint64_t DmaLayout::merge(Iterator first, Iterator end)
{
    const uint64_t iova = first->first;
    const uint64_t last = last_of(*std::prev(end));
    const uint64_t count = std::distance(first, end);
    const bool mapped = first->second.mapped;
    DmaExtent merged = first->second;

    merged.size = last - iova + 1;
    if (mapped) {
        /* What is stuck must not be mapped once more. */
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

    while (first != end) {
        first = erase(first);
    }
    insert(iova, merged);
    return count - 1;
}

/*
 * Go once through all extents, and merge those that @rule allows until
 * @gained is @wanted entries.  Returns false if the kernel does not let us.
 */
bool DmaLayout::merge_round(const MergeRule &rule, uint64_t wanted,
                            uint64_t *gained)
{
    uint64_t todo = extents_.size();
    bool is_let = true;
    Iterator it = extents_.lower_bound(merge_hand_);

    while (todo && *gained < wanted && nseams_[rule.mapped] && is_let) {
        if (it == extents_.end()) {
            it = extents_.begin();
        }

        const Iterator first = it++;
        const uint64_t block = first->first / rule.block;
        uint64_t count = 1;

        while (count <= wanted - *gained && is_seam(it) &&
               (it->second.joined || !rule.joined_only) &&
               last_of(*it) / rule.block == block) {
            ++it;
            count++;
        }
        if (count > 1 && first->second.mapped == rule.mapped) {
            const uint64_t more = merge(first, it);

            *gained += more;
            is_let = more != 0;
        }
        todo -= std::min(todo, count);
    }
    merge_hand_ = it == extents_.end() ? 0 : it->first;
    return is_let;
}

/*
 * Gain @wanted entries, and some more while at it, by merging extents that are
 * mapped, or those that are not.  Returns how many were gained.
 */
uint64_t DmaLayout::merge_some(uint64_t wanted, bool mapped)
{
    const MergeRule rules[] = {
        {kBlock, true, mapped},  {kLargeBlock, true, mapped},
        {kBlock, false, mapped}, {kLargeBlock, false, mapped},
        {kUncut, false, mapped},
    };
    const uint64_t batch = std::max(wanted, kMergeBatch);
    uint64_t gained = 0;

    if (is_fixed()) {
        return 0;
    }
    for (const MergeRule &rule : rules) {
        if (!merge_round(rule, batch, &gained) || gained >= wanted) {
            break;
        }
    }
    return gained;
}

/* Make room() for @wanted extents, if possible. */
void DmaLayout::make_room(uint64_t wanted)
{
    /* There can be more than the limit already, if others took entries. */
    const auto lack = [this, wanted] {
        const uint64_t count = extents_.size() + wanted;

        return count > limit_ ? count - limit_ : 0;
    };

    /* What is not mapped is merged for free. */
    if (!open_ && lack()) {
        merge_some(lack(), false);
    }
    if (lack()) {
        merge_some(lack(), true);
    }
}

/* Merge what a stream has filled, which has come to @last. */
void DmaLayout::merge_stream(uint64_t last)
{
    const Iterator back = find(last);
    const Iterator end = std::next(back);
    uint64_t block = block_size(kPage);

    if (last_of(*back) != last ||
        is_coarse(UINT64_C(1) << back->second.granularity_shift)) {
        return;
    }
    for (; block >= kMinMerged; block >>= kGrowthShift) {
        const uint64_t start = last - (block - 1);
        Iterator it = back;

        if ((last + 1) % block) {
            continue;
        }
        while (it->first > start && it->second.joined && is_seam(it)) {
            --it;
        }
        if (it->first == start && it->second.mapped && it != back) {
            merge(it, end);
            return;
        }
    }
}

/* Populating */

/*
 * Note a request.  Returns whether it starts where one of the last ended.
 */
bool DmaLayout::continues_stream(uint64_t iova, uint64_t end)
{
    const auto known =
        std::find(stream_ends_.begin(), stream_ends_.end(), iova);
    const bool is_known = known != stream_ends_.end();

    if (is_known) {
        stream_ = known - stream_ends_.begin();
    } else {
        stream_ = oldest_stream_;
        oldest_stream_ = (oldest_stream_ + 1) % stream_ends_.size();
    }
    stream_ends_[stream_] = end;
    return is_known;
}

/*
 * Whether a request is the next one of a stream that is being recorded, and
 * its extent can be made longer without looking at anything else.
 */
bool DmaLayout::extend_tail(uint64_t iova, const DmaExtent &like)
{
    const uint64_t last = iova + (like.size - 1);

    if (tail_ == extents_.end() || last > tail_max_last_ ||
        !can_join(*tail_, iova, like)) {
        return false;
    }
    tail_->second.size += like.size;
    populated_size_ += like.size;
    stream_ends_[stream_] = last + 1;
    return true;
}

/*
 * The last request ended with the extent @it: remember how far the next ones
 * can extend it before they touch anything.
 */
void DmaLayout::set_tail(Iterator it, uint64_t block)
{
    const Iterator after = std::next(it);

    drop_tail();
    if (!it->second.mapped) {
        tail_ = it;
        sizes_.remove(it->second.size);
        tail_max_last_ = last_of(*it) | (block - 1);
        if (after != extents_.end() && after->first - 1 <= tail_max_last_) {
            /* It must not come to touch what is there. */
            tail_max_last_ = after->first - 1;
            tail_max_last_ -= std::min(tail_max_last_, kPage);
        }
    }
}

/* Nothing can be made longer without a look around. */
void DmaLayout::drop_tail()
{
    if (tail_ != extents_.end()) {
        sizes_.add(tail_->second.size);
        tail_ = extents_.end();
    }
}

/*
 * Make an extent that is not mapped longer, by at most @size bytes and up to
 * the border of its block.  Returns by how many.
 */
uint64_t DmaLayout::extend(Iterator it, uint64_t size, uint64_t block)
{
    const uint64_t end = it->first + it->second.size;
    const uint64_t room = end % block ? block - end % block : 0;
    const uint64_t more = std::min(size, room);

    drop_tail();
    if (more) {
        forget_refusal(it->first);
    }
    sizes_.remove(it->second.size);
    it->second.size += more;
    sizes_.add(it->second.size);
    populated_size_ += more;
    nseams_[it->second.mapped] += more && is_seam(std::next(it));
    return more;
}

/*
 * Add the extents of a range, the first of them @like one, and at most @max of
 * them.  When one of them cannot be mapped, none is left.
 */
int DmaLayout::add(uint64_t iova, uint64_t last, const DmaExtent &like,
                   uint64_t max)
{
    uint64_t block = block_size(UINT64_C(1) << like.granularity_shift);
    DmaExtent extent = like;
    uint64_t start = iova;

    while (count_blocks(iova, last, block) > max && block < kUncut &&
           !is_fixed()) {
        block <<= 1;
    }
    if (count_blocks(iova, last, block) > max) {
        return -ENOSPC;
    }
    for (;;) {
        const uint64_t border = start | (block - 1);

        extent.vaddr = like.vaddr + (start - iova);
        extent.size = std::min(last, border) - start + 1;

        const int ret = open_ ? map_or_make_room(start, extent) : 0;

        if (ret) {
            if (start != iova) {
                discard_range(iova, start - 1);
            }
            return ret;
        }
        extent.mapped = open_;
        insert(start, extent);
        if (border >= last) {
            return 0;
        }
        start = border + 1;
        extent.joined = true;
    }
}

/*
 * Add a range when there is no room: for as long as it takes to merge it with
 * what it touches, it gets one of the entries that are kept for splits.
 */
int DmaLayout::add_to_neighbours(uint64_t iova, uint64_t last,
                                 const DmaExtent &like)
{
    const Iterator after = extents_.lower_bound(iova);
    DmaExtent extent = like;

    extent.size = last - iova + 1;
    extent.mapped = open_;

    const Extents::value_type added(iova, extent);
    const bool touches = (after != extents_.end() &&
                          can_join(added, after->first, after->second)) ||
                         (after != extents_.begin() &&
                          can_join(*std::prev(after), iova, extent));

    if (!touches || is_fixed() || extents_.size() >= hard_limit_) {
        return -ENOSPC;
    }

    const int ret = add(iova, last, like, 1);

    if (!ret) {
        Iterator first = find(iova);
        Iterator end = std::next(first);

        if (is_seam(first)) {
            --first;
        }
        if (is_seam(end)) {
            ++end;
        }
        if (std::next(first) != end) {
            merge(first, end);
        }
    }
    return ret;
}

int DmaLayout::populate(uint64_t iova, uint64_t size, uint64_t vaddr,
                        uint64_t granularity, bool readonly)
{
    const uint64_t last = iova + (size - 1);
    uint64_t done = 0;
    int ret = 0;

    nchanges_++;
    if (!size || last < iova) {
        return -EINVAL;
    }

    DmaExtent like = {
        .size = size,
        .vaddr = vaddr,
        .granularity_shift = shift_of(granularity),
        .readonly = readonly,
        .joined = false,
        .mapped = false,
    };

    if (extend_tail(iova, like)) {
        return 0;
    }
    retry_stuck();

    const uint64_t block = block_size(granularity);
    const uint64_t blocks = count_blocks(iova, last, block);

    if (blocks > room()) {
        ask_for_limit();
        /* What is missing comes first, and can be merged once it is mapped. */
        retry_missing();
        /* More than that is better made up for by larger blocks. */
        make_room(std::min(blocks, kMergeBatch));
    }

    const Iterator after = extents_.lower_bound(iova);
    const Iterator before =
        after == extents_.begin() ? extents_.end() : std::prev(after);

    if ((after != extents_.end() && after->first <= last) ||
        (before != extents_.end() && last_of(*before) >= iova)) {
        return is_stuck(iova, last) ? -EBUSY : -EEXIST;
    }

    like.joined = continues_stream(iova, last + 1) &&
                  before != extents_.end() && last_of(*before) == iova - 1;
    if (like.joined && !open_ && can_join(*before, iova, like)) {
        done = extend(before, size, block);
    }
    if (done < size) {
        like.vaddr += done;
        ret = room() ? add(iova + done, last, like, room())
                     : add_to_neighbours(iova + done, last, like);
        if (ret && done) {
            discard_range(iova, iova + (done - 1));
        }
    }
    if (!open_ && !ret) {
        set_tail(find(last), block);
    } else if (open_) {
        if (!ret && like.joined && pressure()) {
            merge_stream(last);
        }
        retry_missing();
    }
    tell_pressure();
    return ret;
}

/* Discarding */

/*
 * Add what remains of an extent @like that was at @like_iova, in pieces of
 * powers of two or in one.  It is mapped if @is_due; what then cannot be mapped
 * is missing.
 */
void DmaLayout::remap(uint64_t iova, uint64_t last, const DmaExtent &like,
                      uint64_t like_iova, bool in_one, bool is_due)
{
    DmaExtent extent = like;

    extent.joined = like.joined && iova == like_iova;
    for (uint64_t start = iova;; start += extent.size) {
        extent.vaddr = like.vaddr + (start - like_iova);
        extent.size = in_one ? last - start + 1 : largest_start(start, last);

        const int err = is_due ? map_or_make_room(start, extent) : 0;

        extent.mapped = is_due && !err;

        Iterator it = insert(start, extent);

        if (open_ && !extent.mapped) {
            set_missing(it, err);
        }
        if (start + (extent.size - 1) == last) {
            return;
        }
        extent.joined = true;
    }
}

/*
 * Unmap and forget a range, and map what remains of its extents, or, as long as
 * something is stuck, leave that to retry_missing().
 */
int DmaLayout::take_away(uint64_t iova, uint64_t last)
{
    const Iterator first = find(iova);
    Iterator end = first;

    while (end != extents_.end() && end->first <= last) {
        ++end;
    }
    if (first == end) {
        return 0;
    }

    const auto [front_iova, front] = *first;
    const auto [back_iova, back] = *std::prev(end);
    const uint64_t back_last = back_iova + (back.size - 1);
    const int ret = unmap_extents(first, end);
    const bool left = front_iova < iova && !first->second.mapped;
    const bool right = back_last > last && !std::prev(end)->second.mapped;

    for (Iterator it = first; it != end;) {
        if (it->second.mapped) {
            ++it;
            continue;
        }
        it = erase(it);
        if (it != end) {
            it->second.joined = false;
        }
    }
    if (!right && end != extents_.end() && end->first == back_last + 1) {
        end->second.joined = false;
    }

    const uint64_t pieces =
        (left ? count_powers_of_two(front_iova, iova - 1) : 0) +
        (right ? count_powers_of_two(last + 1, back_last) : 0);
    const bool in_one =
        !open_ || is_fixed() || extents_.size() + pieces > hard_limit_;
    const bool is_due = open_ && stuck_.empty();

    if (left) {
        remap(front_iova, iova - 1, front, front_iova, in_one,
              is_due && front.mapped);
    }
    if (right) {
        remap(last + 1, back_last, back, back_iova, in_one,
              is_due && back.mapped);
    }
    if (open_ && ((left && front.mapped) || (right && back.mapped))) {
        splits_++;
        event(DMA_LAYOUT_SPLIT, front_iova, back_last - front_iova + 1,
              in_one ? left + right : pieces);
    }
    return ret;
}

bool DmaLayout::is_stuck(uint64_t iova, uint64_t last) const
{
    const auto after = stuck_.upper_bound(last);

    return after != stuck_.begin() && std::prev(after)->second >= iova;
}

/* What is mapped of a range is discarded, but cannot be unmapped. */
void DmaLayout::set_stuck(uint64_t iova, uint64_t last, int err)
{
    for (Iterator it = find(iova); it != extents_.end() && it->first <= last;
         ++it) {
        uint64_t start = std::max(iova, it->first);
        uint64_t end_last = std::min(last, last_of(*it));

        if (!it->second.mapped) {
            continue;
        }
        event(DMA_LAYOUT_STUCK, start, end_last - start + 1, -err);
        while (is_stuck(start, end_last)) {
            const auto known = std::prev(stuck_.upper_bound(end_last));

            start = std::min(start, known->first);
            end_last = std::max(end_last, known->second);
            stuck_.erase(known);
        }
        stuck_.emplace(start, end_last);
    }
}

/* Forget what is stuck and is no longer, all of it or what is not mapped. */
void DmaLayout::free_stuck(bool mapped)
{
    for (auto it = stuck_.begin(); it != stuck_.end();) {
        const auto [iova, last] = *it;
        const Iterator extent = find(iova);
        const bool is_mapped = extent != extents_.end() &&
                               extent->first <= iova && extent->second.mapped;

        if ((is_mapped && !mapped) || take_away(iova, last)) {
            ++it;
            continue;
        }
        it = stuck_.erase(it);
        event(DMA_LAYOUT_FREED, iova, last - iova + 1, 0);
    }
}

/* Try again to unmap all that is stuck. */
void DmaLayout::retry_stuck()
{
    if (stuck_.empty()) {
        return;
    }
    free_stuck(true);
    /* Some can be in an extent that was unmapped for others in it. */
    free_stuck(false);
    if (open_) {
        retry_missing();
    }
}

int DmaLayout::discard(uint64_t iova, uint64_t size)
{
    const uint64_t last = iova + (size - 1);

    nchanges_++;
    if (!size || last < iova) {
        return -EINVAL;
    }
    return discard_range(iova, last);
}

int DmaLayout::discard_range(uint64_t iova, uint64_t last)
{
    int ret = take_away(iova, last);

    if (ret) {
        set_stuck(iova, last, ret);
    }
    if (!stuck_.empty()) {
        retry_stuck();
        ret = is_stuck(iova, last) ? -EBUSY : 0;
    } else if (open_) {
        retry_missing();
    }
    tell_pressure();
    return ret;
}

/* The gate */

/* Cut an extent that is not mapped.  Returns what is behind @size bytes. */
DmaLayout::Iterator DmaLayout::cut(Iterator it, uint64_t size)
{
    const uint64_t iova = it->first;
    DmaExtent front = it->second;
    DmaExtent back = it->second;

    front.size = size;
    back.size -= size;
    back.vaddr += size;
    back.joined = true;
    erase(it);
    insert(iova, front);
    return insert(iova + size, back);
}

/*
 * Map @size bytes that an extent starts with; then @it is what is behind them.
 */
int DmaLayout::map_front(Iterator &it, uint64_t size)
{
    const bool is_part = size < it->second.size;
    DmaExtent front = it->second;

    front.size = size;

    const int ret = map_or_make_room(it->first, front);

    if (!ret) {
        const Iterator back = is_part ? cut(it, size) : std::next(it);

        set_mapped(std::prev(back), true);
        it = back;
    }
    return ret;
}

/*
 * An extent starts with a piece that cannot be mapped: look for one that can,
 * at distances that double.  What is before it is missing, because of @err, and
 * @it is what is behind it.  Returns an error if there is too little of
 * something.
 */
int DmaLayout::skip_refused(Iterator &it, int &err, unsigned &nprobes)
{
    const uint64_t piece = UINT64_C(1) << it->second.granularity_shift;
    const uint64_t size = it->second.size;

    for (uint64_t run = piece; run < size && nprobes; run *= 2) {
        DmaExtent probe = it->second;

        probe.vaddr += run;
        probe.size = std::min(piece, size - run);

        const int ret = map_or_make_room(it->first + run, probe);

        if (is_shortage(ret)) {
            return ret;
        }
        if (!ret) {
            it = cut(it, run);
            set_missing(std::prev(it), err);

            const Iterator back =
                run + probe.size < size ? cut(it, probe.size) : std::next(it);

            set_mapped(std::prev(back), true);
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
 * Map what can be mapped of an extent that cannot be as a whole, because of
 * @err.  Halves, and halves of what fails, lead to the first piece that the
 * kernel refuses.  Returns an error if there is too little of something.
 */
int DmaLayout::map_parts(Iterator it, int err, unsigned &nprobes)
{
    const uint64_t piece = UINT64_C(1) << it->second.granularity_shift;
    const uint64_t last = last_of(*it);
    /* So many bytes fail together, or what is left of those that did. */
    uint64_t bad = it->second.size;
    bool is_tried = true;

    while (it != extents_.end() && it->first <= last) {
        int ret;

        if (!nprobes || room() < 2) {
            set_missing(it, err);
            return 0;
        }
        if (bad && bad <= piece && is_tried) {
            ret = skip_refused(it, err, nprobes);
            bad = 0;
            if (ret) {
                return ret;
            }
            continue;
        }

        const uint64_t size = !bad           ? it->second.size
                              : bad <= piece ? bad
                                             : std::bit_floor(bad - 1);

        ret = map_front(it, size);
        if (is_shortage(ret)) {
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
 * Map what is not mapped: all but what the kernel does not map whatever there
 * is left of anything.  Returns an error if there is too little of something.
 */
int DmaLayout::map_all()
{
    unsigned nprobes = kMaxProbes;
    Iterator it = extents_.begin();
    int ret = 0;

    while (it != extents_.end() && !ret) {
        const uint64_t last = last_of(*it);

        if (it->second.mapped) {
            ++it;
            continue;
        }
        if (is_put_off(it->first)) {
            set_missing(it, 0);
        } else {
            ret = map_or_make_room(it->first, it->second);
            if (!ret) {
                forget_refusal(it->first);
                set_mapped(it, true);
            } else if (!is_shortage(ret) && refused_.contains(it->first)) {
                set_missing(it, ret);
                ret = 0;
            } else if (!is_shortage(ret)) {
                ret = map_parts(it, ret, nprobes);
            }
        }
        it = extents_.upper_bound(last);
    }
    return ret;
}

int DmaLayout::open()
{
    int ret = 0;

    nchanges_++;
    if (open_) {
        return 0;
    }
    ask_for_limit();
    if (extents_.size() > limit_) {
        merge_some(extents_.size() - limit_, false);
    }
    if (extents_.size() > hard_limit_) {
        /* Not one by one, each time that a guest tries. */
        ret = -ENOSPC;
    }
    retry_stuck();
    if (!stuck_.empty()) {
        ret = -EBUSY;
    }
    open_ = true;
    was_open_ = true;
    drop_tail();
    if (!ret) {
        ret = map_all();
    }
    if (!ret && !missing_.empty()) {
        ret = -ENOSPC;
    }
    if (ret) {
        close();
        for (Iterator it = extents_.begin(); it != extents_.end(); ++it) {
            unmap_extents(it, std::next(it));
        }
        retry_stuck();
    } else {
        /* What was refused may not be any more. */
        retry_missing();
    }
    tell_pressure();
    return ret;
}

void DmaLayout::close()
{
    open_ = false;
    missing_.clear();
}

int DmaLayout::set_extent_size(uint64_t extent_size)
{
    const uint64_t old_size = extent_size_;
    uint64_t blocks = 0;

    if (was_open_) {
        return -EBUSY;
    }

    const Extents old = extents_;

    extent_size_ = extent_size;
    ask_for_limit();
    for (const auto &entry : extents_) {
        blocks += count_blocks(
            entry.first, last_of(entry),
            block_size(UINT64_C(1) << entry.second.granularity_shift));
    }
    if (!is_fixed() && blocks > limit_ / 2) {
        /* Better larger ones than too many. */
        make_room(0);
        if (extents_.size() <= limit_) {
            return 0;
        }
    }

    tail_ = extents_.end();
    extents_.clear();
    sizes_ = {};
    nseams_ = {};
    populated_size_ = 0;
    if (blocks > limit_) {
        extent_size_ = old_size;
        ask_for_limit();
        for (const auto &[iova, extent] : old) {
            insert(iova, extent);
        }
        return -ENOSPC;
    }
    for (const auto &[iova, extent] : old) {
        add(iova, iova + (extent.size - 1), extent, room());
    }
    return 0;
}

DmaLayoutStats DmaLayout::stats() const
{
    DmaLayoutStats stats = {};

    stats.extents = extents_.size();
    stats.mapped_extents = nmapped_;
    std::ranges::copy(sizes_.by_order(), stats.by_order);
    stats.largest_extent = sizes_.largest();
    stats.smallest_extent = sizes_.smallest();
    if (tail_ != extents_.end()) {
        const uint64_t size = tail_->second.size;

        stats.by_order[order_of(size)]++;
        stats.largest_extent = std::max(stats.largest_extent, size);
        stats.smallest_extent =
            stats.extents == 1 ? size : std::min(stats.smallest_extent, size);
    }
    for (const auto &[iova, last] : stuck_) {
        stats.stuck_size += last - iova + 1;
    }
    stats.populated_size = populated_size_ - stats.stuck_size;
    stats.mapped_size = mapped_size_;
    stats.missing_size = open_ ? populated_size_ - mapped_size_ : 0;
    stats.map_calls = map_calls_;
    stats.unmap_calls = unmap_calls_;
    stats.splits = splits_;
    stats.merges = merges_;
    stats.failures = failures_;
    stats.entries_left =
        limit_ == DMA_LAYOUT_NO_LIMIT ? DMA_LAYOUT_NO_LIMIT : room();
    stats.entries_limit = hard_limit_;
    stats.entries_reserve = hard_limit_ - limit_;
    stats.block_size = block_size(kPage);
    return stats;
}

const char *DmaLayout::broken_invariant() const
{
    uint64_t nmapped = 0;
    uint64_t nmissing = 0;
    uint64_t nrefused = 0;
    std::array<uint64_t, 2> nseams = {};
    uint64_t mapped_size = 0;
    uint64_t populated_size = 0;
    DmaExtentSizes sizes;

    for (auto it = extents_.begin(); it != extents_.end(); ++it) {
        const DmaExtent &extent = it->second;
        const uint64_t granularity = UINT64_C(1) << extent.granularity_shift;

        if (!extent.size || (it->first | extent.size) % kPage) {
            return "an extent is empty or not made of pages";
        }
        if (last_of(*it) < it->first) {
            return "an extent wraps";
        }
        if (it != extents_.begin() && last_of(*std::prev(it)) >= it->first) {
            return "extents overlap";
        }
        if (is_fixed() && extent.size != granularity) {
            return "an extent is not of the size of a page";
        }
        if (extent.mapped && !was_open_) {
            return "an extent is mapped before the gate was open";
        }
        if (!extent.mapped && open_ &&
            missing_.contains(it->first) == refused_.contains(it->first)) {
            return "an extent is not mapped, and not missing";
        }
        nmapped += extent.mapped;
        nmissing += missing_.contains(it->first);
        nrefused += !extent.mapped && refused_.contains(it->first);
        nseams[extent.mapped] += is_seam(it);
        mapped_size += extent.mapped ? extent.size : 0;
        populated_size += extent.size;
        sizes.add(extent.size);
    }
    if (tail_ != extents_.end()) {
        sizes.remove(tail_->second.size);
    }
    for (const auto &[iova, last] : stuck_) {
        const auto after = extents_.upper_bound(iova);

        if (after == extents_.begin() || !std::prev(after)->second.mapped ||
            last_of(*std::prev(after)) < last) {
            return "something is stuck that is not mapped";
        }
    }
    if (nmissing != missing_.size() || nrefused != refused_.size() ||
        nrefused != due_.size()) {
        return "something is missing that is mapped or not populated";
    }
    if (nmapped != nmapped_ || nseams != nseams_ ||
        mapped_size != mapped_size_ || populated_size != populated_size_ ||
        !(sizes == sizes_)) {
        return "a counter is wrong";
    }
    return nullptr;
}

} // namespace shared_dma

/* C interface */

static shared_dma::DmaLayout *unwrap(DmaLayout *layout)
{
    return reinterpret_cast<shared_dma::DmaLayout *>(layout);
}

static const shared_dma::DmaLayout *unwrap(const DmaLayout *layout)
{
    return reinterpret_cast<const shared_dma::DmaLayout *>(layout);
}

DmaLayout *dma_layout_new(const DmaLayoutBackend *backend, void *opaque)
{
    return reinterpret_cast<DmaLayout *>(
        new shared_dma::DmaLayout(*backend, opaque));
}

void dma_layout_free(DmaLayout *layout)
{
    delete unwrap(layout);
}

int dma_layout_set_extent_size(DmaLayout *layout, uint64_t extent_size)
{
    return unwrap(layout)->set_extent_size(extent_size);
}

int dma_layout_populate(DmaLayout *layout, uint64_t iova, uint64_t size,
                        uint64_t vaddr, uint64_t granularity, bool readonly)
{
    return unwrap(layout)->populate(iova, size, vaddr, granularity, readonly);
}

int dma_layout_discard(DmaLayout *layout, uint64_t iova, uint64_t size)
{
    return unwrap(layout)->discard(iova, size);
}

int dma_layout_open(DmaLayout *layout)
{
    return unwrap(layout)->open();
}

void dma_layout_close(DmaLayout *layout)
{
    unwrap(layout)->close();
}

bool dma_layout_is_open(const DmaLayout *layout)
{
    return unwrap(layout)->is_open();
}

uint64_t dma_layout_count_mapped(const DmaLayout *layout)
{
    return unwrap(layout)->nmapped();
}

bool dma_layout_next_extent(const DmaLayout *layout, uint64_t iova,
                            uint64_t last, DmaLayoutExtent *extent)
{
    const auto it = unwrap(layout)->next_extent(iova);

    if (it == unwrap(layout)->extents().end() || it->first > last) {
        return false;
    }
    *extent = {
        .iova = it->first,
        .size = it->second.size,
        .mapped = it->second.mapped,
    };
    return true;
}

uint64_t dma_layout_last(const DmaLayout *layout)
{
    const auto &extents = unwrap(layout)->extents();

    return extents.empty() ? 0 : shared_dma::last_of(*extents.rbegin());
}

void dma_layout_get_stats(const DmaLayout *layout, DmaLayoutStats *stats)
{
    *stats = unwrap(layout)->stats();
}
