/*
 * A DmaLayout between models of the kernel and of populated memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/model/dma-layout-rig.h"

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "tests/model/check.h"

namespace shared_dma::rig {

Rig::Rig(IommuKind kind, uint32_t limit)
    : model_(kind, limit), layout_(backend(), this),
      has_few_entries_(kind == IommuKind::kType1v2 && limit < 10000)
{
    if (kind == IommuKind::kIommufdCut) {
        layout_.use_cuts();
    }
}

int Rig::set_extent_size(uint64_t size)
{
    const int ret = layout_.set_extent_size(size);

    if (was_open_ || (layout_.uses_cuts() && size != DMA_LAYOUT_AUTO)) {
        MODEL_CHECK_EQUAL(ret, -EBUSY);
    } else if (!ret) {
        extent_size_ = size;
    } else {
        MODEL_CHECK_EQUAL(ret, -ENOSPC);
        MODEL_CHECK(model_.entries_left().has_value());
    }
    check();
    return ret;
}

int Rig::populate(uint64_t iova, uint64_t size, const Memory &memory)
{
    const uint64_t last = iova + (size - 1);
    const bool is_range = size && last >= iova;
    const bool overlaps = is_range && populated_.overlaps(iova, last);
    const uint64_t nmissing = start_step();

    requested_first_ = iova;
    requested_last_ = last;
    if (is_range && !overlaps) {
        /* Its first extents can be merged for lack of entries for the last. */
        small_.remove(iova, last);
    }

    const int ret =
        layout_.populate(iova, size, iova + memory.offset, memory.access);

    requested_first_ = 1;
    requested_last_ = 0;

    if (!is_range) {
        MODEL_CHECK_EQUAL(ret, -EINVAL);
    } else if (is_stuck(iova, last)) {
        MODEL_CHECK_EQUAL(ret, -EBUSY);
    } else if (overlaps) {
        MODEL_CHECK_EQUAL(ret, -EEXIST);
    } else if (!ret) {
        populated_.add(iova, last, memory);
        if (!DmaStreams::is_large(size)) {
            small_.add(iova, last, {.offset = nsteps_});
        }
        check_retries();
    } else {
        check_refusal(ret, nmissing);
        /* Mappings of the request that could not be undone. */
        set_stuck(iova, last);
    }
    check();
    return ret;
}

int Rig::discard(uint64_t iova, uint64_t size)
{
    const uint64_t last = iova + (size - 1);
    const bool is_range = size && last >= iova;

    if (is_range) {
        set_stuck(iova, last);
        populated_.remove(iova, last);
    }

    start_step();
    const int ret = layout_.discard(iova, size);

    if (!is_range) {
        MODEL_CHECK_EQUAL(ret, -EINVAL);
    } else {
        MODEL_CHECK_EQUAL(ret, is_stuck(iova, last) ? -EBUSY : 0);
        MODEL_CHECK(!ret == !is_mapped(iova, last));
        MODEL_CHECK(!ret || nunmaps_refused_ > 0);
    }
    check();
    return ret;
}

int Rig::open()
{
    const bool was_open = layout_.is_open();
    start_step();
    const uint64_t nunmaps_refused = nunmaps_refused_;
    const int ret = layout_.open();

    was_open_ = true;
    MODEL_CHECK_EQUAL(layout_.is_open(), !ret);
    MODEL_CHECK(!ret || is_shortage(ret) || (ret == -EBUSY && was_stuck_));
    MODEL_CHECK(ret || was_open || count_missing() == count_refused());
    MODEL_CHECK(ret || was_open || !stuck_.size());
    if (ret && nunmaps_refused_ == nunmaps_refused) {
        MODEL_CHECK_EQUAL(layout_.extents().nmapped(), 0u);
    }
    check();
    return ret;
}

void Rig::close()
{
    const uint64_t nmapped = layout_.extents().nmapped();

    layout_.close();
    MODEL_CHECK(!layout_.is_open());
    MODEL_CHECK_EQUAL(layout_.extents().nmapped(), nmapped);
    check();
}

void Rig::take_entries(uint64_t count)
{
    for (; count && model_.entries_left().value_or(0); count--) {
        MODEL_CHECK_EQUAL(
            model_.map(kOthers + ntaken_ * kPage, kPage, 0, false), 0);
        ntaken_++;
    }
}

void Rig::release_entries(uint64_t count)
{
    for (; count && ntaken_; count--) {
        ntaken_--;
        MODEL_CHECK_EQUAL(model_.unmap(kOthers + ntaken_ * kPage, kPage), 0);
    }
}

void Rig::refuse_maps(int error, uint64_t nth, uint64_t count)
{
    map_error_ = error;
    first_refused_ = nmaps_ + nth;
    nrefused_ = count;
}

void Rig::refuse_unmaps(uint64_t nth, uint64_t count)
{
    first_kept_ = nunmaps_ + nth;
    nkept_ = count;
}

std::string Rig::extents() const
{
    std::string text;

    for (const auto &[iova, extent] : layout_.extents()) {
        text += (text.empty() ? "" : " ") + std::to_string(iova / kPage) + "+" +
                std::to_string(extent.size / kPage);
    }
    return text;
}

uint64_t Rig::count_events(DmaLayoutEvent what) const
{
    return std::count_if(
        events_.begin(), events_.end(),
        [&](const Event &event) { return event.what == what; });
}

bool Rig::has_neighbours() const
{
    const auto &extents = layout_.extents();

    for (auto it = extents.begin(); it != extents.end(); ++it) {
        const auto next = std::next(it);

        if (next != extents.end() && is_neighbour(*it, *next)) {
            return true;
        }
    }
    return false;
}

void Rig::check(bool now)
{
    if (check_seldom_ && !now) {
        return;
    }
    MODEL_CHECK_EQUAL(layout_.broken_invariant(), nullptr);
    check_populated();
    check_mapped();
    check_small();
    check_missing();
    check_stats();
}

bool Rig::is_neighbour(const Entry &a, const Entry &b)
{
    return a.first + a.second.size == b.first &&
           a.second.vaddr + a.second.size == b.second.vaddr &&
           a.second.access == b.second.access && a.second.mapped &&
           b.second.mapped && a.second.large && b.second.large;
}

uint64_t Rig::start_step()
{
    errors_.clear();
    ninjected_ = 0;
    was_stuck_ = stuck_.size() != 0;
    nsteps_++;
    std::erase_if(refusals_, [this](const auto &refusal) {
        return !is_unmapped(refusal.first, refusal.second.size);
    });
    nretryable_ = count_retryable();
    return count_missing();
}

bool Rig::is_shortage(int error)
{
    return error == -ENOSPC || error == -ENOMEM;
}

bool Rig::is_unmapped(uint64_t iova, uint64_t size) const
{
    const auto it = layout_.extents().find(iova);

    return it != layout_.extents().end() && it->first == iova &&
           it->second.size == size && !it->second.mapped;
}

Rig::Refusal *Rig::find_refusal(uint64_t iova, uint64_t size)
{
    const auto it = refusals_.find(iova);

    return it != refusals_.end() && it->second.size == size ? &it->second
                                                            : nullptr;
}

void Rig::record_refusal(uint64_t iova, uint64_t size, int error)
{
    Refusal *known = find_refusal(iova, size);
    const auto reported = reported_missing_.find(iova);

    if (is_shortage(error)) {
        return;
    }
    if (known) {
        known->nfailures++;
        known->last_step = nsteps_;
    } else if (reported != reported_missing_.end() &&
               reported->second == size) {
        refusals_[iova] = {size, 1, nsteps_};
    }
}

uint64_t Rig::count_refused() const
{
    return std::ranges::count_if(refusals_, [this](const auto &refusal) {
        return is_unmapped(refusal.first, refusal.second.size);
    });
}

uint64_t Rig::count_retryable() const
{
    uint64_t count = count_missing();

    if (count) {
        count -= std::ranges::count_if(refusals_, [this](const auto &refusal) {
            return is_unmapped(refusal.first, refusal.second.size) &&
                   refusal.second.due() > nsteps_;
        });
    }
    return count;
}

uint64_t Rig::count_missing() const
{
    return layout_.is_open()
               ? layout_.extents().size() - layout_.extents().nmapped()
               : 0;
}

int Rig::record_failure(int error, bool injected)
{
    nfailed_++;
    ninjected_ += injected;
    errors_.insert(error);
    return error;
}

void Rig::check_refusal(int ret, uint64_t nmissing) const
{
    MODEL_CHECK(ret == -ENOSPC || ret == -EBUSY || errors_.contains(ret));
    if (!ninjected_ && !was_stuck_ && ret == -ENOSPC) {
        MODEL_CHECK(model_.kind() == IommuKind::kType1v2 ||
                    layout_.extents().size() + DmaBudget::kSplitReserve >=
                        DmaBudget::kMaxExtents);
        /* Missing extents may have been mapped too late to be merged. */
        MODEL_CHECK(extent_size_ == DMA_LAYOUT_PAGE || nmissing ||
                    !has_neighbours());
    }
}

void Rig::check_retries() const
{
    constexpr uint64_t kAtOnce = 16;

    if (layout_.is_open() && errors_.empty() && !was_stuck_) {
        MODEL_CHECK(count_retryable() <=
                    nretryable_ - std::min(nretryable_, kAtOnce));
    }
}

bool Rig::is_mapped(uint64_t iova, uint64_t last) const
{
    auto it = model_.mappings().upper_bound(last);

    return it != model_.mappings().begin() &&
           std::prev(it)->second.last() >= iova;
}

int Rig::backend_map(uint64_t iova, uint64_t size, uint64_t vaddr,
                     DmaLayoutAccess access)
{
    const uint64_t last = iova + (size - 1);
    const Refusal *known = find_refusal(iova, size);

    /*
     * Refused extents must not be tried in each step.  If one was merged, its
     * range can be tried as a part of the new extent, and what remains of that
     * is another extent, even if its range is the same.
     */
    std::erase_if(refusals_, [=](const auto &refusal) {
        return refusal.first >= iova && refusal.second.size < size &&
               refusal.first + (refusal.second.size - 1) <= last;
    });
    MODEL_CHECK(!known || !is_unmapped(iova, size) || nsteps_ >= known->due());
    nmaps_++;
    if (nmaps_ >= first_refused_ && nmaps_ - first_refused_ < nrefused_) {
        record_refusal(iova, size, -map_error_);
        return record_failure(-map_error_, true);
    }

    const int ret =
        model_.map(iova, size, vaddr, access == DMA_LAYOUT_READ_ONLY);

    MODEL_CHECK(model_.last_rule() != IommuRule::kOverlap);
    if (ret) {
        record_refusal(iova, size, ret);
        record_failure(ret, model_.last_rule() == IommuRule::kInjected);
    } else if (known) {
        refusals_.erase(iova);
    }
    MODEL_CHECK(may_be_mapped(iova, last));
    return ret;
}

bool Rig::may_be_mapped(uint64_t iova, uint64_t last) const
{
    const uint64_t first = std::max(iova, requested_first_);
    const uint64_t end_last = std::min(last, requested_last_);
    uint64_t size = populated_.count(iova, last);

    if (first <= end_last) {
        size += end_last - first + 1 - populated_.count(first, end_last);
    }
    return size == last - iova + 1;
}

int Rig::backend_unmap(uint64_t iova, uint64_t size)
{
    const auto pin = pinned_.lower_bound(iova);
    int ret;

    nunmaps_++;
    if ((pin != pinned_.end() && *pin - iova < size) ||
        (nunmaps_ >= first_kept_ && nunmaps_ - first_kept_ < nkept_)) {
        nunmaps_refused_++;
        return record_failure(-EBUSY, true);
    }
    ret = model_.unmap(iova, size);
    MODEL_CHECK(model_.last_rule() != IommuRule::kBisected);
    MODEL_CHECK(model_.last_rule() != IommuRule::kBisectedLate);
    MODEL_CHECK(model_.last_rule() != IommuRule::kUnmappedNothing);
    MODEL_CHECK(model_.last_rule() != IommuRule::kNothingThere);
    if (ret == -ENOENT) {
        ret = 0;
    }
    if (!ret) {
        stuck_.remove(iova, iova + (size - 1));
    }
    if (ret) {
        nunmaps_refused_++;
        record_failure(ret, true);
    }
    return ret;
}

/*
 * Check that only what is discarded is cut: the range may contain stuck memory
 * and gaps, but nothing that is populated.
 */
int Rig::backend_cut(uint64_t iova, uint64_t size)
{
    const uint64_t last = iova + (size - 1);
    const auto pin = pinned_.lower_bound(iova);
    int ret;

    nunmaps_++;
    MODEL_CHECK(is_mapped(iova, iova) && is_mapped(last, last));
    MODEL_CHECK(!populated_.overlaps(iova, last));
    if ((pin != pinned_.end() && *pin - iova < size) ||
        (nunmaps_ >= first_kept_ && nunmaps_ - first_kept_ < nkept_)) {
        return record_failure(-EBUSY, true);
    }
    ret = model_.cut(iova, size);
    if (ret) {
        return record_failure(ret, true);
    }
    ncuts_++;
    stuck_.remove(iova, last);
    return 0;
}

void Rig::backend_event(const Event &event)
{
    events_.push_back(event);
    nsplits_ += event.what == DMA_LAYOUT_SPLIT;
    nmerges_ += event.what == DMA_LAYOUT_MERGE;
    if (event.what == DMA_LAYOUT_MERGE) {
        MODEL_CHECK(!small_.overlaps(event.iova, event.iova + event.size - 1));
    }
    if (event.what == DMA_LAYOUT_MISSING) {
        reported_missing_[event.iova] = event.size;
        if (event.count && !is_shortage(-static_cast<int>(event.count)) &&
            !find_refusal(event.iova, event.size)) {
            refusals_[event.iova] = {event.size, 1, nsteps_};
        }
    }
    if (event.what == DMA_LAYOUT_RECOVERED) {
        MODEL_CHECK_EQUAL(reported_missing_[event.iova], event.size);
        reported_missing_.erase(event.iova);
    }
}

bool Rig::is_stuck(uint64_t iova, uint64_t last) const
{
    return stuck_.overlaps(iova, last);
}

void Rig::set_stuck(uint64_t iova, uint64_t last)
{
    for (const auto &[start, mapping] : model_.mappings()) {
        if (start >= kOthers || start > last ||
            mapping.iova + (mapping.size - 1) < iova) {
            continue;
        }
        const uint64_t first = std::max(start, iova);
        const uint64_t end_last =
            std::min(last, mapping.iova + (mapping.size - 1));

        stuck_.remove(first, end_last);
        stuck_.add(first, end_last, memory_of(first));
    }
}

Memory Rig::memory_of(uint64_t iova) const
{
    const auto &[start, extent] =
        *std::prev(layout_.extents().upper_bound(iova));

    return {extent.vaddr - start, extent.access};
}

void Rig::check_populated() const
{
    Populated both = populated_;
    uint64_t end = 0;

    for (const auto &[start, range] : stuck_.ranges()) {
        both.add(start, range.last, range.memory);
    }

    auto range = both.ranges().begin();

    /* Extents do not overlap, so check that each is populated, and the sum. */
    for (const auto &[iova, extent] : layout_.extents()) {
        const uint64_t last = iova + (extent.size - 1);

        while (range != both.ranges().end() && range->second.last < iova) {
            ++range;
        }
        /* An extent must be populated or stuck. */
        if (!MODEL_CHECK(range != both.ranges().end() && range->first <= iova &&
                         range->second.last >= last)) {
            return;
        }

        const Memory &memory = range->second.memory;

        MODEL_CHECK_EQUAL(extent.vaddr, iova + memory.offset);
        MODEL_CHECK_EQUAL(extent.access, memory.access);
        MODEL_CHECK(!extent.joined || (iova && iova == end));
        end = last + 1;
    }
    MODEL_CHECK_EQUAL(layout_.stats().populated_size, populated_.size());
}

void Rig::check_small() const
{
    const auto &smalls = small_.ranges();

    if (layout_.uses_cuts() || has_few_entries_) {
        return;
    }
    for (const auto &[iova, extent] : layout_.extents()) {
        const uint64_t last = iova + (extent.size - 1);
        const auto after = smalls.upper_bound(last);

        /* A request for a part of a stuck extent has replaced it in small_. */
        if (small_.overlaps(iova, last) && !is_stuck(iova, last)) {
            const auto &[first, range] = *std::prev(after);

            MODEL_CHECK(first <= iova && range.last >= last);
        }
    }
}

void Rig::check_mapped() const
{
    auto mapping = model_.mappings().begin();
    uint64_t nmapped = 0;
    uint64_t nparts = 0;

    for (const auto &[iova, extent] : layout_.extents()) {
        uint64_t done = 0;

        if (!extent.mapped) {
            continue;
        }
        /* A cut that failed can have left an extent in up to three parts. */
        do {
            if (!MODEL_CHECK(mapping != model_.mappings().end())) {
                return;
            }

            const uint64_t size =
                layout_.uses_cuts() ? mapping->second.size : extent.size;

            MODEL_CHECK_EQUAL(mapping->second,
                              (shared_dma::IommuMapping{
                                  iova + done, size, extent.vaddr + done,
                                  extent.access == DMA_LAYOUT_READ_ONLY}));
            done += size;
            ++mapping;
            nparts++;
        } while (done < extent.size);
        MODEL_CHECK_EQUAL(done, extent.size);
        nmapped++;
    }
    MODEL_CHECK_EQUAL(nparts + ntaken_, model_.mappings().size());
    MODEL_CHECK_EQUAL(layout_.extents().nmapped(), nmapped);
}

void Rig::check_missing()
{
    if (!layout_.is_open()) {
        reported_missing_.clear();
    } else if (!stats().missing_size) {
        reported_missing_.clear();
        return;
    } else {
        std::map<uint64_t, uint64_t> missing;

        for (const auto &[iova, extent] : layout_.extents()) {
            if (!extent.mapped) {
                missing[iova] = extent.size;
                MODEL_CHECK_EQUAL(reported_missing_[iova], extent.size);
            }
        }
        reported_missing_ = missing;
    }
}

void Rig::check_stats() const
{
    const DmaLayoutStats stats = layout_.stats();
    uint64_t largest = 0, smallest = UINT64_MAX, mapped = 0, total = 0;
    uint64_t by_order[64] = {};

    for (const auto &[iova, extent] : layout_.extents()) {
        int order = 0;

        while (extent.size >> order > 1) {
            order++;
        }
        by_order[order]++;
        largest = std::max(largest, extent.size);
        smallest = std::min(smallest, extent.size);
        mapped += extent.mapped ? extent.size : 0;
        total += extent.size;
    }

    DmaLayoutStats expected = {};

    expected.extents = layout_.extents().size();
    expected.mapped_extents = layout_.extents().nmapped();
    expected.largest_extent = largest;
    expected.smallest_extent = largest ? smallest : 0;
    /* Tests of DmaBudget check its values. */
    expected.block_size = stats.block_size;
    expected.populated_size = total - stuck_.size();
    expected.stuck_size = stuck_.size();
    expected.mapped_size = mapped;
    expected.missing_size = layout_.is_open() ? total - mapped : 0;
    expected.map_calls = nmaps_;
    expected.unmap_calls = nunmaps_;
    expected.failures = nfailed_;
    expected.cuts = ncuts_;
    expected.splits = nsplits_;
    expected.merges = nmerges_;
#define CHECK_STAT(name, label) MODEL_CHECK_EQUAL(stats.name, expected.name);
    DMA_LAYOUT_STATS(CHECK_STAT)
#undef CHECK_STAT
    MODEL_CHECK(std::ranges::equal(stats.by_order, by_order));
    MODEL_CHECK_EQUAL(stats.mapped_size,
                      model_.mapped_bytes() - ntaken_ * kPage);
    if (extent_size_ == DMA_LAYOUT_PAGE) {
        MODEL_CHECK_EQUAL(nsplits_ + nmerges_, 0u);
    }
}

DmaLayoutBackend Rig::backend()
{
    return {
        .map =
            [](void *opaque, uint64_t iova, uint64_t size, uint64_t vaddr,
               DmaLayoutAccess access) {
                return from(opaque)->backend_map(iova, size, vaddr, access);
            },
        .unmap =
            [](void *opaque, uint64_t iova, uint64_t size) {
                return from(opaque)->backend_unmap(iova, size);
            },
        .cut =
            [](void *opaque, uint64_t iova, uint64_t size) {
                return from(opaque)->backend_cut(iova, size);
            },
        .entries_left =
            [](void *opaque) {
                const auto left = from(opaque)->model_.entries_left();

                return left ? uint64_t{*left} : DMA_LAYOUT_NO_LIMIT;
            },
        .event =
            [](void *opaque, DmaLayoutEvent what, uint64_t iova, uint64_t size,
               uint64_t count) {
                from(opaque)->backend_event({what, iova, size, count});
            },
    };
}

} // namespace shared_dma::rig
