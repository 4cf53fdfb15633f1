/*
 * The C port of DmaLayout, as a class with the interface of the C++ original
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/shared-dma/c-port/dma-layout-port.h"

#include "tests/model/check.h"

namespace shared_dma {

PortExtents::Iterator::Iterator(const ::DmaLayout *layout, bool found,
                                const PeekExtent &extent)
    : layout_(layout), at_end_(!found), extent_(extent)
{
}

PortExtents::Entry PortExtents::Iterator::operator*() const
{
    MODEL_CHECK(!at_end_);
    return {extent_.iova,
            {
                .size = extent_.size,
                .vaddr = extent_.vaddr,
                .access = extent_.access,
                .large = extent_.large,
                .joined = extent_.joined,
                .mapped = extent_.mapped,
            }};
}

PortExtents::Iterator &PortExtents::Iterator::operator++()
{
    MODEL_CHECK(!at_end_);
    at_end_ = !peek_find_after(layout_, extent_.iova, &extent_);
    return *this;
}

PortExtents::Iterator &PortExtents::Iterator::operator--()
{
    MODEL_CHECK(at_end_ ? peek_find_last(layout_, &extent_)
                        : peek_find_before(layout_, extent_.iova, &extent_));
    at_end_ = false;
    return *this;
}

bool PortExtents::Iterator::operator==(const Iterator &other) const
{
    return at_end_ == other.at_end_ &&
           (at_end_ || extent_.iova == other.extent_.iova);
}

PortExtents::Iterator PortExtents::find(uint64_t iova) const
{
    PeekExtent extent = {};
    const bool found = peek_find(layout_, iova, &extent);

    return {layout_, found, extent};
}

PortExtents::Iterator PortExtents::upper_bound(uint64_t iova) const
{
    PeekExtent extent = {};
    const bool found = peek_find_after(layout_, iova, &extent);

    return {layout_, found, extent};
}

/* Return the extent that starts at @iova; there must be one. */
DmaExtent PortExtents::at(uint64_t iova) const
{
    const Iterator it = find(iova);

    if (!MODEL_CHECK(it != end()) || !MODEL_CHECK_EQUAL(it->first, iova)) {
        return {};
    }
    return it->second;
}

DmaLayoutStats DmaLayout::stats() const
{
    DmaLayoutStats stats;

    dma_layout_get_stats(layout_, &stats);
    return stats;
}

} // namespace shared_dma
