/*
 * A DmaLayout between models of its two sides: the kernel, and what is
 * populated
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_MODEL_DMA_LAYOUT_RIG_H
#define TESTS_MODEL_DMA_LAYOUT_RIG_H

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "hw/vfio/dma-layout.h"
#include "tests/model/check.h"
#include "tests/model/iommu-model.h"

namespace shared_dma::rig {

constexpr uint64_t kPage = DmaLayout::kPage;
constexpr uint64_t kKiB = UINT64_C(1) << 10;
constexpr uint64_t kMiB = UINT64_C(1) << 20;
constexpr uint64_t kGiB = UINT64_C(1) << 30;
constexpr uint64_t kTiB = UINT64_C(1) << 40;

/* Where those map that take entries behind the layout's back. */
constexpr uint64_t kOthers = UINT64_C(1) << 47;

/* What memory is like, but where. */
struct Memory {
    /* What to add to an IOVA for the address in QEMU. */
    uint64_t offset = UINT64_C(0x7f0000000000);
    uint64_t granularity = kPage;
    bool readonly = false;

    bool operator==(const Memory &) const = default;
};

/* What is populated: a list of ranges, joined where they are alike. */
class Populated {
public:
    struct Range {
        uint64_t last;
        Memory memory;
    };
    using Ranges = std::map<uint64_t, Range>;

    bool overlaps(uint64_t iova, uint64_t last) const
    {
        auto it = ranges_.upper_bound(last);

        return it != ranges_.begin() && std::prev(it)->second.last >= iova;
    }

    /* How many bytes of a range. */
    uint64_t count(uint64_t iova, uint64_t last) const
    {
        auto it = ranges_.upper_bound(iova);
        uint64_t size = 0;

        if (it != ranges_.begin()) {
            --it;
        }
        for (; it != ranges_.end() && it->first <= last; ++it) {
            const uint64_t first = std::max(it->first, iova);
            const uint64_t end_last = std::min(it->second.last, last);

            size += first <= end_last ? end_last - first + 1 : 0;
        }
        return size;
    }

    /* Nothing is there. */
    void add(uint64_t iova, uint64_t last, const Memory &memory)
    {
        auto it = ranges_.emplace(iova, Range{last, memory}).first;

        size_ += last - iova + 1;
        if (std::next(it) != ranges_.end()) {
            join(std::next(it));
        }
        join(it);
    }

    void remove(uint64_t iova, uint64_t last)
    {
        auto it = ranges_.upper_bound(iova);

        if (it != ranges_.begin()) {
            --it;
        }
        while (it != ranges_.end() && it->first <= last) {
            const uint64_t first = it->first;
            const Range range = it->second;

            if (range.last < iova) {
                ++it;
                continue;
            }
            it = ranges_.erase(it);
            if (first < iova) {
                ranges_.emplace(first, Range{iova - 1, range.memory});
            }
            if (range.last > last) {
                ranges_.emplace(last + 1, Range{range.last, range.memory});
            }
            size_ -= std::min(last, range.last) - std::max(iova, first) + 1;
        }
    }

    const Ranges &ranges() const { return ranges_; }
    uint64_t size() const { return size_; }

private:
    void join(Ranges::iterator it)
    {
        if (it == ranges_.begin()) {
            return;
        }

        auto before = std::prev(it);

        if (before->second.last + 1 == it->first &&
            before->second.memory == it->second.memory) {
            before->second.last = it->second.last;
            ranges_.erase(it);
        }
    }

    Ranges ranges_;
    uint64_t size_ = 0;
};

struct Event {
    DmaLayoutEvent what;
    uint64_t iova;
    uint64_t size;
    uint64_t count;

    bool operator==(const Event &) const = default;
};

/*
 * A layout, the kernel that it talks to, and what it was told.  After each
 * step all that can be known of it is checked.
 */
class Rig {
public:
    explicit Rig(IommuKind kind = IommuKind::kType1v2,
                 uint32_t limit = IommuModel::kDefaultEntryLimit)
        : model_(kind, limit), layout_(backend(), this)
    {
    }

    int set_extent_size(uint64_t size)
    {
        const int ret = layout_.set_extent_size(size);

        if (was_open_) {
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

    int populate(uint64_t iova, uint64_t size, const Memory &memory = {})
    {
        const uint64_t last = iova + (size - 1);
        const bool is_range = size && last >= iova;
        const bool overlaps = is_range && populated_.overlaps(iova, last);
        const uint64_t nmissing = start_step();

        requested_first_ = iova;
        requested_last_ = last;

        const int ret = layout_.populate(iova, size, iova + memory.offset,
                                         memory.granularity, memory.readonly);

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
            check_retries();
        } else {
            check_refusal(ret, nmissing);
            /* What could not be taken back of it. */
            set_stuck(iova, last);
        }
        check();
        return ret;
    }

    int discard(uint64_t iova, uint64_t size)
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

    int open()
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

    void close()
    {
        const uint64_t nmapped = layout_.extents().nmapped();

        layout_.close();
        MODEL_CHECK(!layout_.is_open());
        MODEL_CHECK_EQUAL(layout_.extents().nmapped(), nmapped);
        check();
    }

    void take_entries(uint64_t count)
    {
        for (; count && model_.entries_left().value_or(0); count--) {
            MODEL_CHECK_EQUAL(
                model_.map(kOthers + ntaken_ * kPage, kPage, 0, false), 0);
            ntaken_++;
        }
    }

    void give_entries_back(uint64_t count)
    {
        for (; count && ntaken_; count--) {
            ntaken_--;
            MODEL_CHECK_EQUAL(model_.unmap(kOthers + ntaken_ * kPage, kPage),
                              0);
        }
    }

    /* What contains one of these bytes cannot be unmapped. */
    std::set<uint64_t> &pinned() { return pinned_; }

    /* Let @count calls fail, of which the @nth from now on is the first. */
    void refuse_maps(int error, uint64_t nth, uint64_t count)
    {
        map_error_ = error;
        first_refused_ = nmaps_ + nth;
        nrefused_ = count;
    }

    void refuse_unmaps(uint64_t nth, uint64_t count)
    {
        first_kept_ = nunmaps_ + nth;
        nkept_ = count;
    }

    /* Check only when check() is called: for very many steps. */
    void check_seldom() { check_seldom_ = true; }

    IommuModel &model() { return model_; }
    DmaLayout &layout() { return layout_; }
    const Populated &populated() const { return populated_; }
    uint64_t stuck_size() const { return stuck_.size(); }
    uint64_t calls() const { return nmaps_ + nunmaps_; }
    uint64_t nmaps() const { return nmaps_; }
    uint64_t nunmaps() const { return nunmaps_; }
    DmaLayoutStats stats() const { return layout_.stats(); }
    uint64_t size() const { return layout_.extents().size(); }

    /* Each with "iova+size", in pages. */
    std::string extents() const
    {
        std::string text;

        for (const auto &[iova, extent] : layout_.extents()) {
            text += (text.empty() ? "" : " ") + std::to_string(iova / kPage) +
                    "+" + std::to_string(extent.size / kPage);
        }
        return text;
    }

    uint64_t count_events(DmaLayoutEvent what) const
    {
        return std::count_if(
            events_.begin(), events_.end(),
            [&](const Event &event) { return event.what == what; });
    }

    const std::vector<Event> &events() const { return events_; }
    void forget_events() { events_.clear(); }

    /* Neighbours that are mapped and could be a single mapping. */
    bool has_neighbours() const
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

    void check(bool now = false)
    {
        if (check_seldom_ && !now) {
            return;
        }
        MODEL_CHECK_EQUAL(layout_.broken_invariant(), nullptr);
        check_populated();
        check_mapped();
        check_missing();
        check_stats();
    }

private:
    using Entry = DmaExtentMap::Entry;

    static bool is_neighbour(const Entry &a, const Entry &b)
    {
        return a.first + a.second.size == b.first &&
               a.second.vaddr + a.second.size == b.second.vaddr &&
               a.second.granularity_shift == b.second.granularity_shift &&
               a.second.readonly == b.second.readonly && a.second.mapped &&
               b.second.mapped;
    }

    /* Returns how many extents are missing. */
    uint64_t start_step()
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

    /* Errors that keep the gate closed; others keep only memory unmapped. */
    static bool is_shortage(int error)
    {
        return error == -ENOSPC || error == -ENOMEM;
    }

    bool is_unmapped(uint64_t iova, uint64_t size) const
    {
        const auto it = layout_.extents().find(iova);

        return it != layout_.extents().end() && it->first == iova &&
               it->second.size == size && !it->second.mapped;
    }

    /* An extent that the kernel does not map, whatever it has left. */
    struct Refusal {
        uint64_t size;
        uint64_t nfailures;
        uint64_t last_step;

        /* The step from which on it can be tried again. */
        uint64_t due() const
        {
            constexpr uint64_t kMaxDoublings = 16;

            return nfailures == 1
                       ? last_step
                       : last_step + (UINT64_C(1) << std::min(nfailures - 2,
                                                              kMaxDoublings));
        }
    };

    /* What is known of an extent that is not mapped, or null. */
    Refusal *find_refusal(uint64_t iova, uint64_t size)
    {
        const auto it = refusals_.find(iova);

        return it != refusals_.end() && it->second.size == size ? &it->second
                                                                : nullptr;
    }

    void note_refusal(uint64_t iova, uint64_t size, int error)
    {
        Refusal *known = find_refusal(iova, size);
        const auto told = told_missing_.find(iova);

        if (is_shortage(error)) {
            return;
        }
        if (known) {
            known->nfailures++;
            known->last_step = nsteps_;
        } else if (told != told_missing_.end() && told->second == size) {
            refusals_[iova] = {size, 1, nsteps_};
        }
    }

    uint64_t count_refused() const
    {
        return std::ranges::count_if(refusals_, [this](const auto &refusal) {
            return is_unmapped(refusal.first, refusal.second.size);
        });
    }

    /* How many extents are missing that can be tried again in this step. */
    uint64_t count_retryable() const
    {
        uint64_t count = count_missing();

        if (count) {
            count -=
                std::ranges::count_if(refusals_, [this](const auto &refusal) {
                    return is_unmapped(refusal.first, refusal.second.size) &&
                           refusal.second.due() > nsteps_;
                });
        }
        return count;
    }

    uint64_t count_missing() const
    {
        return layout_.is_open()
                   ? layout_.extents().size() - layout_.extents().nmapped()
                   : 0;
    }

    int note_failure(int error, bool injected)
    {
        nfailed_++;
        ninjected_ += injected;
        errors_.insert(error);
        return error;
    }

    /* What the layout says when it refuses a range that it could take. */
    void check_refusal(int ret, uint64_t nmissing) const
    {
        MODEL_CHECK(ret == -ENOSPC || ret == -EBUSY || errors_.contains(ret));
        if (!ninjected_ && !was_stuck_ && ret == -ENOSPC) {
            MODEL_CHECK(model_.kind() == IommuKind::kType1v2 ||
                        layout_.extents().size() + DmaBudget::kSplitReserve >=
                            DmaBudget::kMaxExtents);
            /* What was missing can have been mapped too late to be merged. */
            MODEL_CHECK(extent_size_ == DMA_LAYOUT_PAGE || nmissing ||
                        !has_neighbours());
        }
    }

    /* When the kernel takes all, so many of the missing ones are mended. */
    void check_retries() const
    {
        constexpr uint64_t kAtOnce = 16;

        if (layout_.is_open() && errors_.empty() && !was_stuck_) {
            MODEL_CHECK(count_retryable() <=
                        nretryable_ - std::min(nretryable_, kAtOnce));
        }
    }

    bool is_mapped(uint64_t iova, uint64_t last) const
    {
        auto it = model_.mappings().upper_bound(last);

        return it != model_.mappings().begin() &&
               std::prev(it)->second.last() >= iova;
    }

    int backend_map(uint64_t iova, uint64_t size, uint64_t vaddr, bool readonly)
    {
        const Refusal *known = find_refusal(iova, size);

        /* Not with each step, forever. */
        MODEL_CHECK(!known || nsteps_ >= known->due());
        nmaps_++;
        if (nmaps_ >= first_refused_ && nmaps_ - first_refused_ < nrefused_) {
            note_refusal(iova, size, -map_error_);
            return note_failure(-map_error_, true);
        }

        const int ret = model_.map(iova, size, vaddr, readonly);

        MODEL_CHECK(model_.last_rule() != IommuRule::kOverlap);
        if (ret) {
            note_refusal(iova, size, ret);
            note_failure(ret, model_.last_rule() == IommuRule::kInjected);
        } else if (known) {
            refusals_.erase(iova);
        }
        MODEL_CHECK(may_be_mapped(iova, iova + (size - 1)));
        return ret;
    }

    /* Only what is populated, or is about to be, may be mapped, ever. */
    bool may_be_mapped(uint64_t iova, uint64_t last) const
    {
        const uint64_t first = std::max(iova, requested_first_);
        const uint64_t end_last = std::min(last, requested_last_);
        uint64_t size = populated_.count(iova, last);

        if (first <= end_last) {
            size += end_last - first + 1 - populated_.count(first, end_last);
        }
        return size == last - iova + 1;
    }

    int backend_unmap(uint64_t iova, uint64_t size)
    {
        const auto pin = pinned_.lower_bound(iova);
        int ret;

        nunmaps_++;
        if ((pin != pinned_.end() && *pin - iova < size) ||
            (nunmaps_ >= first_kept_ && nunmaps_ - first_kept_ < nkept_)) {
            nunmaps_refused_++;
            return note_failure(-EBUSY, true);
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
            note_failure(ret, true);
        }
        return ret;
    }

    void backend_event(const Event &event)
    {
        events_.push_back(event);
        nsplits_ += event.what == DMA_LAYOUT_SPLIT;
        nmerges_ += event.what == DMA_LAYOUT_MERGE;
        if (event.what == DMA_LAYOUT_MISSING) {
            told_missing_[event.iova] = event.size;
            if (event.count && !is_shortage(-static_cast<int>(event.count)) &&
                !find_refusal(event.iova, event.size)) {
                refusals_[event.iova] = {event.size, 1, nsteps_};
            }
        }
        if (event.what == DMA_LAYOUT_MENDED) {
            MODEL_CHECK_EQUAL(told_missing_[event.iova], event.size);
            told_missing_.erase(event.iova);
        }
    }

    bool is_stuck(uint64_t iova, uint64_t last) const
    {
        return stuck_.overlaps(iova, last);
    }

    /* What is mapped of a range that is, or is about to be, discarded. */
    void set_stuck(uint64_t iova, uint64_t last)
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

    /* Of the extent that contains an address. */
    Memory memory_of(uint64_t iova) const
    {
        const auto &[start, extent] =
            *std::prev(layout_.extents().upper_bound(iova));

        return {extent.vaddr - start, UINT64_C(1) << extent.granularity_shift,
                extent.readonly};
    }

    void check_populated() const
    {
        Populated both = populated_;
        uint64_t end = 0;

        for (const auto &[start, range] : stuck_.ranges()) {
            both.add(start, range.last, range.memory);
        }

        auto range = both.ranges().begin();

        /* None overlap, so that each is inside, and the sum, are enough. */
        for (const auto &[iova, extent] : layout_.extents()) {
            const uint64_t last = iova + (extent.size - 1);

            while (range != both.ranges().end() && range->second.last < iova) {
                ++range;
            }
            /* Or else it is not populated. */
            if (!MODEL_CHECK(range != both.ranges().end() &&
                             range->first <= iova &&
                             range->second.last >= last)) {
                return;
            }

            const Memory &memory = range->second.memory;

            MODEL_CHECK_EQUAL(extent.vaddr, iova + memory.offset);
            MODEL_CHECK_EQUAL(extent.readonly, memory.readonly);
            MODEL_CHECK_EQUAL(UINT64_C(1) << extent.granularity_shift,
                              memory.granularity);
            MODEL_CHECK(!extent.joined || (iova && iova == end));
            end = last + 1;
        }
        MODEL_CHECK_EQUAL(layout_.stats().populated_size, populated_.size());
    }

    void check_mapped() const
    {
        auto mapping = model_.mappings().begin();
        uint64_t nmapped = 0;

        for (const auto &[iova, extent] : layout_.extents()) {
            if (!extent.mapped) {
                continue;
            }
            if (!MODEL_CHECK(mapping != model_.mappings().end())) {
                return;
            }
            MODEL_CHECK_EQUAL(
                mapping->second,
                (shared_dma::IommuMapping{iova, extent.size, extent.vaddr,
                                          extent.readonly}));
            ++mapping;
            nmapped++;
        }
        MODEL_CHECK_EQUAL(nmapped + ntaken_, model_.mappings().size());
        MODEL_CHECK_EQUAL(layout_.extents().nmapped(), nmapped);
    }

    /* All that is missing was told. */
    void check_missing()
    {
        if (!layout_.is_open()) {
            told_missing_.clear();
        } else if (!stats().missing_size) {
            told_missing_.clear();
            return;
        } else {
            std::map<uint64_t, uint64_t> missing;

            for (const auto &[iova, extent] : layout_.extents()) {
                if (!extent.mapped) {
                    missing[iova] = extent.size;
                    MODEL_CHECK_EQUAL(told_missing_[iova], extent.size);
                }
            }
            told_missing_ = missing;
        }
    }

    void check_stats() const
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
        MODEL_CHECK_EQUAL(stats.extents, layout_.extents().size());
        MODEL_CHECK_EQUAL(stats.largest_extent, largest);
        MODEL_CHECK_EQUAL(stats.smallest_extent, largest ? smallest : 0);
        MODEL_CHECK(std::ranges::equal(stats.by_order, by_order));
        MODEL_CHECK_EQUAL(stats.mapped_extents, layout_.extents().nmapped());
        MODEL_CHECK_EQUAL(stats.populated_size, total - stuck_.size());
        MODEL_CHECK_EQUAL(stats.stuck_size, stuck_.size());
        MODEL_CHECK_EQUAL(stats.mapped_size, mapped);
        MODEL_CHECK_EQUAL(stats.mapped_size,
                          model_.mapped_bytes() - ntaken_ * kPage);
        MODEL_CHECK_EQUAL(stats.missing_size,
                          layout_.is_open() ? total - mapped : 0);
        MODEL_CHECK_EQUAL(stats.map_calls, nmaps_);
        MODEL_CHECK_EQUAL(stats.unmap_calls, nunmaps_);
        MODEL_CHECK_EQUAL(stats.failures, nfailed_);
        MODEL_CHECK_EQUAL(stats.splits, nsplits_);
        MODEL_CHECK_EQUAL(stats.merges, nmerges_);
        if (extent_size_ == DMA_LAYOUT_PAGE) {
            MODEL_CHECK_EQUAL(nsplits_ + nmerges_, 0u);
        }
    }

    static DmaLayoutBackend backend()
    {
        return {
            .map =
                [](void *opaque, uint64_t iova, uint64_t size, uint64_t vaddr,
                   bool readonly) {
                    return from(opaque)->backend_map(iova, size, vaddr,
                                                     readonly);
                },
            .unmap =
                [](void *opaque, uint64_t iova, uint64_t size) {
                    return from(opaque)->backend_unmap(iova, size);
                },
            .entries_left =
                [](void *opaque) {
                    const auto left = from(opaque)->model_.entries_left();

                    return left ? uint64_t{*left} : DMA_LAYOUT_NO_LIMIT;
                },
            .event =
                [](void *opaque, DmaLayoutEvent what, uint64_t iova,
                   uint64_t size, uint64_t count) {
                    from(opaque)->backend_event({what, iova, size, count});
                },
        };
    }

    static Rig *from(void *opaque) { return static_cast<Rig *>(opaque); }

    IommuModel model_;
    DmaLayout layout_;
    Populated populated_;
    /* Discarded, but mapped still. */
    Populated stuck_;
    /* What is being populated, if that is a range. */
    uint64_t requested_first_ = 1;
    uint64_t requested_last_ = 0;
    std::vector<Event> events_;
    std::map<uint64_t, uint64_t> told_missing_;
    std::map<uint64_t, Refusal> refusals_;
    uint64_t nsteps_ = 0;
    /* How many of what is missing could be mended in this step. */
    uint64_t nretryable_ = 0;
    std::set<uint64_t> pinned_;
    uint64_t extent_size_ = DMA_LAYOUT_AUTO;
    bool was_open_ = false;
    /* What the kernel said in this step, and how often it was told to. */
    std::set<int> errors_;
    uint64_t ninjected_ = 0;
    /* What is freed in this step leaves more missing. */
    bool was_stuck_ = false;
    uint64_t nunmaps_refused_ = 0;
    int map_error_ = 0;
    uint64_t first_refused_ = 0;
    uint64_t nrefused_ = 0;
    uint64_t first_kept_ = 0;
    uint64_t nkept_ = 0;
    bool check_seldom_ = false;
    uint64_t ntaken_ = 0;
    uint64_t nmaps_ = 0;
    uint64_t nunmaps_ = 0;
    uint64_t nfailed_ = 0;
    uint64_t nsplits_ = 0;
    uint64_t nmerges_ = 0;
};

} // namespace shared_dma::rig

#endif
