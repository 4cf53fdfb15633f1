/*
 * Helpers of the tests of DmaLayout
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_GTEST_DMA_LAYOUT_TEST_H
#define TESTS_GTEST_DMA_LAYOUT_TEST_H

#include <gtest/gtest.h>

#include <cstdint>

#include "hw/vfio/dma-layout.h"
#include "tests/model/dma-layout-rig.h"
#include "tests/model/iommu-model.h"

namespace shared_dma {

/* Tests that run with both kinds of IOMMU: they need no entry limit. */
class DmaLayoutOf : public testing::TestWithParam<IommuKind> {
protected:
    DmaLayoutOf() : rig(GetParam()) {}

    rig::Rig rig;
};

/* Populate @count ranges in each of @nstreams streams, in turn. */
void populate_streams(rig::Rig &rig, uint64_t nstreams, uint64_t count,
                      uint64_t size = rig::kLarge,
                      uint64_t distance = 16 * rig::kMiB);

} // namespace shared_dma

#endif
