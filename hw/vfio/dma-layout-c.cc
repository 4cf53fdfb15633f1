/*
 * The IOMMU mappings of a container's populated memory: C interface
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "dma-layout.h"

#include <iterator>

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

void dma_layout_use_cuts(DmaLayout *layout)
{
    unwrap(layout)->use_cuts();
}

bool dma_layout_uses_cuts(const DmaLayout *layout)
{
    return unwrap(layout)->uses_cuts();
}

int dma_layout_set_extent_size(DmaLayout *layout, uint64_t extent_size)
{
    return unwrap(layout)->set_extent_size(extent_size);
}

int dma_layout_populate(DmaLayout *layout, uint64_t iova, uint64_t size,
                        uint64_t vaddr, DmaLayoutAccess access)
{
    return unwrap(layout)->populate(iova, size, vaddr, access);
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
    return unwrap(layout)->extents().nmapped();
}

bool dma_layout_next_extent(const DmaLayout *layout, uint64_t iova,
                            uint64_t last, DmaLayoutExtent *extent)
{
    const auto &extents = unwrap(layout)->extents();
    const auto it = extents.find(iova);

    if (it == extents.end() || it->first > last) {
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

    if (extents.empty()) {
        return 0;
    }
    return shared_dma::DmaExtentMap::last_of(*std::prev(extents.end()));
}

void dma_layout_get_stats(const DmaLayout *layout, DmaLayoutStats *stats)
{
    *stats = unwrap(layout)->stats();
}
