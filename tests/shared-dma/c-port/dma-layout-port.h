/*
 * The C port of DmaLayout, as a class with the interface of the C++ original
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Tests of the original are compiled with "-include" of this header.  It takes
 * the place of hw/vfio/dma-layout.h, whose include guard it has.
 */

#ifndef HW_VFIO_DMA_LAYOUT_H
#define HW_VFIO_DMA_LAYOUT_H

#include <cstddef>
#include <cstdint>
#include <iterator>

#include "hw/vfio/dma-budget.h"
#include "hw/vfio/dma-extent-map.h"
#include "hw/vfio/dma-streams.h"

extern "C" {
#include "hw/vfio/dma-layout-c.h"
#include "tests/shared-dma/c-port/peek.h"
}

namespace shared_dma {

/* The extents of a layout, with the interface of a DmaExtentMap */
class PortExtents {
public:
    using Entry = DmaExtentMap::Entry;

    /* Entries are copies: the port has none. */
    class Iterator {
    public:
        using iterator_category = std::bidirectional_iterator_tag;
        using value_type = Entry;
        using difference_type = std::ptrdiff_t;
        using reference = Entry;

        struct pointer {
            Entry entry;

            const Entry *operator->() const { return &entry; }
        };

        /* Refers to @extent, or to the end if @found is false. */
        Iterator(const ::DmaLayout *layout, bool found,
                 const PeekExtent &extent);

        Entry operator*() const;
        pointer operator->() const { return {**this}; }
        Iterator &operator++();
        Iterator &operator--();
        bool operator==(const Iterator &other) const;

    private:
        const ::DmaLayout *layout_;
        bool at_end_;
        PeekExtent extent_;
    };

    explicit PortExtents(const ::DmaLayout *layout) : layout_(layout) {}

    Iterator begin() const { return find(0); }
    Iterator end() const { return {layout_, false, {}}; }
    Iterator find(uint64_t iova) const;
    Iterator upper_bound(uint64_t iova) const;
    DmaExtent at(uint64_t iova) const;
    bool empty() const { return !size(); }
    uint64_t size() const { return peek_count(layout_); }
    uint64_t nmapped() const { return dma_layout_count_mapped(layout_); }

private:
    const ::DmaLayout *layout_;
};

class DmaLayout {
public:
    static constexpr uint64_t kPage = DmaExtentMap::kPage;

    DmaLayout(const DmaLayoutBackend &backend, void *opaque)
        : layout_(dma_layout_new(&backend, opaque))
    {
    }
    ~DmaLayout() { dma_layout_free(layout_); }

    void use_cuts() { dma_layout_use_cuts(layout_); }
    bool uses_cuts() const { return dma_layout_uses_cuts(layout_); }
    int set_extent_size(uint64_t extent_size)
    {
        return dma_layout_set_extent_size(layout_, extent_size);
    }

    int populate(uint64_t iova, uint64_t size, uint64_t vaddr,
                 DmaLayoutAccess access)
    {
        return dma_layout_populate(layout_, iova, size, vaddr, access);
    }
    int discard(uint64_t iova, uint64_t size)
    {
        return dma_layout_discard(layout_, iova, size);
    }

    int open() { return dma_layout_open(layout_); }
    void close() { dma_layout_close(layout_); }
    bool is_open() const { return dma_layout_is_open(layout_); }

    DmaLayoutStats stats() const;
    PortExtents extents() const { return PortExtents(layout_); }
    const char *broken_invariant() const
    {
        return peek_broken_invariant(layout_);
    }

    DmaLayout(const DmaLayout &) = delete;
    DmaLayout &operator=(const DmaLayout &) = delete;

private:
    ::DmaLayout *layout_;
};

} // namespace shared_dma

#endif
