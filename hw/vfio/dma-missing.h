/*
 * Extents that could not be mapped, and when to try again
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An extent is *short* if there were not enough entries or memory: it can be
 * tried again at any time, and short extents take turns.  It is *refused* if
 * the kernel does not map it for any other reason, such as an address beyond
 * the IOMMU's width: it is tried again immediately, and then after 1, 2, 4 and
 * so on changes of the layout, at most kMaxDelay.
 *
 * Extents are named by their IOVA.
 */

#ifndef HW_VFIO_DMA_MISSING_H
#define HW_VFIO_DMA_MISSING_H

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace shared_dma {

class DmaMissing {
public:
    /* Maximum number of changes before a refused extent is tried again. */
    static constexpr uint64_t kMaxDelay = UINT64_C(1) << 16;

    /* Whether a mapping failed for lack of entries or memory. */
    static bool is_shortage(int err)
    {
        return err == -ENOSPC || err == -ENOMEM;
    }

    /* Count a change of the layout. */
    void count_change() { nchanges_++; }

    /*
     * An extent is missing because of @err, or for the same reason as before
     * if that is 0; it is short if there was none.
     */
    void add(uint64_t iova, int err);
    /* Record that trying a missing extent again failed with @err. */
    void failed_again(uint64_t iova, int err);
    /* Remove an extent that is no longer missing. */
    void remove(uint64_t iova);
    /* Remove all short extents; keep refused ones. */
    void clear_short() { short_.clear(); }

    bool is_short(uint64_t iova) const { return short_.contains(iova); }
    bool is_refused(uint64_t iova) const { return refused_.contains(iova); }
    /* Whether it is too early to try an extent again. */
    bool is_put_off(uint64_t iova) const;

    /* Whether no extent is missing */
    bool empty() const { return short_.empty() && refused_.empty(); }
    size_t nshort() const { return short_.size(); }
    size_t nrefused() const { return refused_.size(); }

    /* Return the short extent whose turn it is. */
    std::optional<uint64_t> next_short();
    /* Return the refused extent that has been due longest, if one is. */
    std::optional<uint64_t> next_due() const;

    /* Return what is inconsistent, or null.  Takes O(n), for tests. */
    const char *broken_invariant() const;

private:
    struct Refusal {
        uint64_t due;
        uint64_t delay;
    };

    void refuse(uint64_t iova);
    void put_off(uint64_t iova, uint64_t nchanges);

    std::set<uint64_t> short_;
    /* Where the search for the next short extent continues. */
    uint64_t short_hand_ = 0;
    std::map<uint64_t, Refusal> refused_;
    /* The refused extents as (due, IOVA). */
    std::set<std::pair<uint64_t, uint64_t>> due_;
    uint64_t nchanges_ = 0;
};

} // namespace shared_dma

#endif
