/*
 * A DmaLayout between models of the kernel and of populated memory
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

/* First IOVA of mappings that others make without the layout */
constexpr uint64_t kOthers = UINT64_C(1) << 47;

struct Event {
    DmaLayoutEvent what;
    uint64_t iova;
    uint64_t size;
    uint64_t count;

    bool operator==(const Event &) const = default;
};

/*
 * A layout, the model of its kernel, and the memory that was populated.  After
 * each step, the state of the layout is checked against both.
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
    void release_entries(uint64_t count);

    /* Mappings that contain one of these bytes cannot be unmapped. */
    std::set<uint64_t> &pinned() { return pinned_; }

    /* Let @count calls fail, starting with the @nth from now on (1: next). */
    void refuse_maps(int error, uint64_t nth, uint64_t count);

    void refuse_unmaps(uint64_t nth, uint64_t count);

    /* Check only if check(true) is called, for tests of very many steps. */
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

    /* Return each extent as "iova+size", in pages. */
    std::string extents() const;

    uint64_t count_events(DmaLayoutEvent what) const;

    const std::vector<Event> &events() const { return events_; }
    void forget_events() { events_.clear(); }

    /* Whether any mapped neighbours could be a single mapping */
    bool has_neighbours() const;

    void check(bool now = false);

private:
    using Entry = DmaExtentMap::Entry;

    static bool is_neighbour(const Entry &a, const Entry &b);

    /* Start a step, and return the number of missing extents. */
    uint64_t start_step();

    /* Whether @error keeps the gate closed; others make extents missing. */
    static bool is_shortage(int error);

    bool is_unmapped(uint64_t iova, uint64_t size) const;

    /* An extent that the kernel refuses even if resources are free */
    struct Refusal {
        uint64_t size;
        uint64_t nfailures;
        uint64_t last_step;

        /* The first step in which the extent may be tried again */
        uint64_t due() const
        {
            constexpr uint64_t kMaxDoublings = 16;

            return nfailures == 1
                       ? last_step
                       : last_step + (UINT64_C(1) << std::min(nfailures - 2,
                                                              kMaxDoublings));
        }
    };

    /* Return the record of a refused extent, or null. */
    Refusal *find_refusal(uint64_t iova, uint64_t size);

    void record_refusal(uint64_t iova, uint64_t size, int error);

    uint64_t count_refused() const;

    /* Return the number of missing extents that this step can try again. */
    uint64_t count_retryable() const;

    uint64_t count_missing() const;

    int record_failure(int error, bool injected);

    /* Check the error @ret of a refused request. */
    void check_refusal(int ret, uint64_t nmissing) const;

    /* Check that enough extents were tried again, if no call failed. */
    void check_retries() const;

    bool is_mapped(uint64_t iova, uint64_t last) const;

    int backend_map(uint64_t iova, uint64_t size, uint64_t vaddr,
                    DmaLayoutAccess access);

    /* Whether a range is populated, or is being populated */
    bool may_be_mapped(uint64_t iova, uint64_t last) const;

    int backend_unmap(uint64_t iova, uint64_t size);

    int backend_cut(uint64_t iova, uint64_t size);

    void backend_event(const Event &event);

    bool is_stuck(uint64_t iova, uint64_t last) const;

    /* Record the mapped parts of a discarded range as stuck. */
    void set_stuck(uint64_t iova, uint64_t last);

    /* Return the properties of the extent that contains @iova. */
    Memory memory_of(uint64_t iova) const;

    void check_populated() const;

    void check_mapped() const;

    /*
     * Check that extents that hold small requests are not larger than these,
     * if there are enough entries.
     */
    void check_small() const;

    /* Check that the backend was notified of all missing extents. */
    void check_missing();

    void check_stats() const;

    static DmaLayoutBackend backend();

    static Rig *from(void *opaque) { return static_cast<Rig *>(opaque); }

    IommuModel model_;
    DmaLayout layout_;
    Populated populated_;
    /*
     * Small requests, also those that were discarded, unless another request
     * overwrote them; each has an offset of its own, which keeps it apart
     */
    Populated small_;
    /* Whether there are so few entries that recorded requests can be joined */
    bool has_few_entries_;
    /* Discarded memory that is still mapped */
    Populated stuck_;
    /* Range that is being populated; empty if first > last */
    uint64_t requested_first_ = 1;
    uint64_t requested_last_ = 0;
    std::vector<Event> events_;
    std::map<uint64_t, uint64_t> reported_missing_;
    std::map<uint64_t, Refusal> refusals_;
    uint64_t nsteps_ = 0;
    /* Number of missing extents that can be mapped again in this step */
    uint64_t nretryable_ = 0;
    std::set<uint64_t> pinned_;
    uint64_t extent_size_ = DMA_LAYOUT_AUTO;
    bool was_open_ = false;
    /* Errors of the kernel in this step, and how many were injected */
    std::set<int> errors_;
    uint64_t ninjected_ = 0;
    /* Extents that are freed in this step can add missing extents. */
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
    uint64_t ncuts_ = 0;
    uint64_t nsplits_ = 0;
    uint64_t nmerges_ = 0;
};

} // namespace shared_dma::rig

#endif
