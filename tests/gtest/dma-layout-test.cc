/*
 * Helpers of the tests of DmaLayout
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/gtest/dma-layout-test.h"

#include <string>

#include "tests/model/check.h"

namespace shared_dma {

void model_check_failed(const char *file, int line, const std::string &what)
{
    ADD_FAILURE_AT(file, line) << what;
}

INSTANTIATE_TEST_SUITE_P(Kinds, DmaLayoutOf,
                         testing::Values(IommuKind::kType1v2,
                                         IommuKind::kIommufd),
                         [](const auto &info) {
                             return info.param == IommuKind::kType1v2
                                        ? "type1v2"
                                        : "iommufd";
                         });

void populate_streams(rig::Rig &rig, uint64_t nstreams, uint64_t count,
                      uint64_t size, uint64_t distance)
{
    for (uint64_t i = 0; i < count; i++) {
        for (uint64_t stream = 0; stream < nstreams; stream++) {
            ASSERT_EQ(rig.populate(stream * distance + i * size, size), 0);
        }
    }
}

} // namespace shared_dma
