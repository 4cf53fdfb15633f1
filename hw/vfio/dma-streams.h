/*
 * Streams of large requests, each of which starts where the one before ended
 *
 * A guest that shares much memory sends it in such pieces: of about 1 MiB with
 * SEV-SNP, and of 2 MiB with TDX.  Smaller requests are what the guest will
 * probably take back as they are, even if they happen to be neighbours.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_DMA_STREAMS_H
#define HW_VFIO_DMA_STREAMS_H

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace shared_dma {

/* The ends of the last large requests, exclusive */
class DmaStreams {
public:
    /* Maximum number of streams whose requests can alternate. */
    static constexpr size_t kMaxStreams = 8;
    /* Minimum size of a large request, in bytes */
    static constexpr uint64_t kMinSize = UINT64_C(512) << 10;

    static bool is_large(uint64_t size) { return size >= kMinSize; }

    DmaStreams() { ends_.fill(kNone); }

    /*
     * Record a large request from @iova to @end.  Returns whether it continues
     * a stream; if not, it replaces the oldest stream.
     */
    bool add(uint64_t iova, uint64_t end)
    {
        const auto known = std::find(ends_.begin(), ends_.end(), iova);
        const bool is_known = known != ends_.end();

        if (is_known) {
            current_ = known - ends_.begin();
        } else {
            current_ = oldest_;
            oldest_ = (oldest_ + 1) % ends_.size();
        }
        ends_[current_] = end;
        return is_known;
    }

    /* Extend the stream of the last request to @end. */
    void extend(uint64_t end) { ends_[current_] = end; }

private:
    /* No request starts here: they start at pages. */
    static constexpr uint64_t kNone = UINT64_MAX;

    std::array<uint64_t, kMaxStreams> ends_;
    size_t oldest_ = 0;
    size_t current_ = 0;
};

} // namespace shared_dma

#endif
