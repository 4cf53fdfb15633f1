/*
 * A DmaLayout between models of its two sides: the kernel, and what is
 * populated
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_MODEL_DMA_LAYOUT_RIG_H
#define TESTS_MODEL_DMA_LAYOUT_RIG_H

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "hw/vfio/dma-layout.h"
#include "tests/model/iommu-model.h"
#include "tests/model/populated.h"

namespace shared_dma::rig {

/* Where those map that take entries behind the layout's back. */
constexpr uint64_t kOthers = UINT64_C(1) << 47;

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
                 uint32_t limit = IommuModel::kDefaultEntryLimit);

    int set_extent_size(uint64_t size);
    int populate(uint64_t iova, uint64_t size, const Memory &memory = {});
    int discard(uint64_t iova, uint64_t size);
    int open();
    void close();
    void take_entries(uint64_t count);
    void give_entries_back(uint64_t count);

    /* What contains one of these bytes cannot be unmapped. */
    std::set<uint64_t> &pinned() { return pinned_; }

    /* Let @count calls fail, of which the @nth from now on is the first. */
    void refuse_maps(int error, uint64_t nth, uint64_t count);

    void refuse_unmaps(uint64_t nth, uint64_t count);

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
    std::string extents() const;

    uint64_t count_events(DmaLayoutEvent what) const;

    const std::vector<Event> &events() const { return events_; }
    void forget_events() { events_.clear(); }

    /* Neighbours that are mapped and could be a single mapping. */
    bool has_neighbours() const;

    void check(bool now = false);

private:
    using Entry = DmaExtentMap::Entry;

    static bool is_neighbour(const Entry &a, const Entry &b);

    /* Returns how many extents are missing. */
    uint64_t start_step();

    /* Errors that keep the gate closed; others keep only memory unmapped. */
    static bool is_shortage(int error);

    bool is_unmapped(uint64_t iova, uint64_t size) const;

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
    Refusal *find_refusal(uint64_t iova, uint64_t size);

    void note_refusal(uint64_t iova, uint64_t size, int error);

    uint64_t count_refused() const;

    /* How many extents are missing that can be tried again in this step. */
    uint64_t count_retryable() const;

    uint64_t count_missing() const;

    int note_failure(int error, bool injected);

    /* What the layout says when it refuses a range that it could take. */
    void check_refusal(int ret, uint64_t nmissing) const;

    /* When the kernel takes all, so many of the missing ones are mended. */
    void check_retries() const;

    bool is_mapped(uint64_t iova, uint64_t last) const;

    int backend_map(uint64_t iova, uint64_t size, uint64_t vaddr,
                    DmaLayoutAccess access);

    /* Only what is populated, or is about to be, may be mapped, ever. */
    bool may_be_mapped(uint64_t iova, uint64_t last) const;

    int backend_unmap(uint64_t iova, uint64_t size);

    void backend_event(const Event &event);

    bool is_stuck(uint64_t iova, uint64_t last) const;

    /* What is mapped of a range that is, or is about to be, discarded. */
    void set_stuck(uint64_t iova, uint64_t last);

    /* Of the extent that contains an address. */
    Memory memory_of(uint64_t iova) const;

    void check_populated() const;

    void check_mapped() const;

    /* All that is missing was told. */
    void check_missing();

    void check_stats() const;

    static DmaLayoutBackend backend();

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
