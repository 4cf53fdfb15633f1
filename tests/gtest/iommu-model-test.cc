/*
 * The rules of the model IOMMU, one by one
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * tests/nested/iommu-replay checks that the kernel has the same rules.
 */

#include "tests/model/iommu-model.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

namespace {

using shared_dma::IommuKind;
using shared_dma::IommuMapping;
using shared_dma::IommuModel;
using shared_dma::IommuRule;
using shared_dma::IommuVersion;

constexpr uint64_t kPage = IommuModel::kPageSize;
constexpr uint64_t kMax = UINT64_MAX;
constexpr uint64_t kVaddr = UINT64_C(0x7f0000000000);

/* Rules that both backends share */
class IommuModelTest : public testing::TestWithParam<IommuKind> {
protected:
    int map(uint64_t page, uint64_t npages)
    {
        return model_.map(page * kPage, npages * kPage, kVaddr + page * kPage,
                          false);
    }

    int unmap(uint64_t page, uint64_t npages)
    {
        return model_.unmap(page * kPage, npages * kPage, &unmapped_);
    }

    bool mapped(uint64_t page) const { return model_.find(page * kPage); }

    IommuModel model_{GetParam()};
    uint64_t unmapped_ = kMax;
};

INSTANTIATE_TEST_SUITE_P(
    , IommuModelTest, testing::Values(IommuKind::kType1v2, IommuKind::kIommufd),
    [](const auto &info) {
        return info.param == IommuKind::kType1v2 ? "type1v2" : "iommufd";
    });

TEST_P(IommuModelTest, KeepsWhatWasMapped)
{
    EXPECT_EQ(model_.map(4 * kPage, 2 * kPage, kVaddr, true), 0);
    EXPECT_EQ(model_.map(0, 4 * kPage, kVaddr, false), 0);
    EXPECT_EQ(model_.last_rule(), IommuRule::kMapped);

    std::vector<IommuMapping> mappings;

    for (const auto &[iova, mapping] : model_.mappings()) {
        EXPECT_EQ(iova, mapping.iova);
        mappings.push_back(mapping);
    }
    EXPECT_EQ(mappings, (std::vector<IommuMapping>{
                            {0, 4 * kPage, kVaddr, false},
                            {4 * kPage, 2 * kPage, kVaddr, true}}));
    EXPECT_EQ(model_.mapped_bytes(), 6 * kPage);
    EXPECT_EQ(model_.find(4 * kPage - 1), &model_.mappings().at(0));
    EXPECT_EQ(model_.find(6 * kPage), nullptr);
}

TEST_P(IommuModelTest, CountsCallsAndBytes)
{
    map(0, 4);
    map(0, 4);
    unmap(0, 4);
    map(1, 1);
    unmap(0, 1);
    EXPECT_EQ(model_.map_calls(), 3u);
    EXPECT_EQ(model_.unmap_calls(), 2u);
    EXPECT_EQ(model_.mapped_bytes(), kPage);
    EXPECT_EQ(model_.bytes_ever_mapped(), 5 * kPage);
}

TEST_P(IommuModelTest, RefusesOverlaps)
{
    ASSERT_EQ(map(8, 4), 0);
    EXPECT_EQ(map(8, 4), -EEXIST);
    EXPECT_EQ(map(11, 4), -EEXIST);
    EXPECT_EQ(map(5, 4), -EEXIST);
    EXPECT_EQ(map(0, 100), -EEXIST);
    EXPECT_EQ(map(9, 1), -EEXIST);
    EXPECT_EQ(model_.mappings().size(), 1u);
    EXPECT_EQ(map(12, 1), 0);
    EXPECT_EQ(map(7, 1), 0);
}

TEST_P(IommuModelTest, RefusesReservedIovas)
{
    uint64_t msi = 0xfee00000 / kPage;
    uint64_t top = UINT64_C(1) << 36;

    EXPECT_EQ(map(msi, 1), -EINVAL);
    EXPECT_EQ(model_.last_rule(), IommuRule::kReserved);
    EXPECT_EQ(map(msi - 16, 1000), -EINVAL);
    EXPECT_EQ(map(msi - 1, 1), 0);
    EXPECT_EQ(map(top - 1, 2), -EINVAL);
    EXPECT_EQ(map(top - 1, 1), 0);
    EXPECT_EQ(map(top, 1), -EINVAL);
}

TEST_P(IommuModelTest, UnmapsSeveralAndSkipsHoles)
{
    map(10, 1);
    map(11, 3);
    map(20, 2);
    map(30, 1);
    EXPECT_EQ(unmap(5, 20), 0);
    EXPECT_EQ(unmapped_, 6 * kPage);
    EXPECT_EQ(model_.last_rule(), IommuRule::kUnmapped);
    EXPECT_EQ(model_.mappings().size(), 1u);
    EXPECT_TRUE(mapped(30));
    EXPECT_EQ(unmap(30, 1), 0);
    EXPECT_EQ(model_.mapped_bytes(), 0u);
}

TEST_P(IommuModelTest, RefusesSizeZero)
{
    EXPECT_EQ(map(1, 0), -EINVAL);
    EXPECT_EQ(unmap(1, 0), -EINVAL);
    EXPECT_EQ(unmapped_, 0u);
}

TEST_P(IommuModelTest, RefusesUnalignedMaps)
{
    EXPECT_EQ(model_.map(1, kPage, kVaddr, false), -EINVAL);
    EXPECT_EQ(model_.map(0, kPage + 1, kVaddr, false), -EINVAL);
    EXPECT_EQ(model_.map(0, kPage, kVaddr + 1, false), -EINVAL);
    EXPECT_TRUE(model_.mappings().empty());
}

TEST_P(IommuModelTest, FailsWhenAskedTo)
{
    model_.fail_map(2, ENOMEM);
    model_.fail_unmap(1, EIO);
    EXPECT_EQ(map(0, 1), 0);
    EXPECT_EQ(map(1, 1), -ENOMEM);
    EXPECT_EQ(model_.last_rule(), IommuRule::kInjected);
    EXPECT_FALSE(mapped(1));
    EXPECT_EQ(map(1, 1), 0);
    EXPECT_EQ(unmap(0, 2), -EIO);
    EXPECT_EQ(unmapped_, 0u);
    EXPECT_TRUE(mapped(0));
    EXPECT_EQ(unmap(0, 2), 0);

    model_.fail_map(1, ENOMEM);
    model_.fail_map(0, 0);
    EXPECT_EQ(map(0, 1), 0);
}

TEST_P(IommuModelTest, RefusesAddressesWithoutMemory)
{
    model_.add_memory(kVaddr, 4 * kPage, true);
    model_.add_memory(kVaddr + 4 * kPage, kPage, false);
    EXPECT_EQ(map(0, 4), 0);
    EXPECT_EQ(map(4, 1), -EFAULT);
    EXPECT_EQ(model_.map(4 * kPage, kPage, kVaddr + 4 * kPage, true), 0);
    EXPECT_EQ(model_.map(8 * kPage, 2 * kPage, kVaddr + 3 * kPage, false),
              -EFAULT);
    EXPECT_EQ(model_.map(8 * kPage, 2 * kPage, kVaddr + 3 * kPage, true), 0);
    EXPECT_EQ(model_.map(16 * kPage, 3 * kPage, kVaddr + 3 * kPage, true),
              -EFAULT);
    EXPECT_EQ(model_.map(16 * kPage, kPage, kVaddr - kPage, true), -EFAULT);
    EXPECT_EQ(model_.mappings().size(), 3u);
}

TEST_P(IommuModelTest, AcceptsAMillionMappings)
{
    constexpr uint64_t kCount = 1000000;
    IommuModel model(GetParam(), kCount);
    uint64_t unmapped;

    for (uint64_t i = 0; i < kCount; i++) {
        ASSERT_EQ(model.map((UINT64_C(1) << 32) + 2 * i * kPage, kPage, kVaddr,
                            false),
                  0);
    }
    EXPECT_EQ(model.mappings().size(), kCount);
    EXPECT_EQ(model.unmap(UINT64_C(1) << 32, 2 * kCount * kPage, &unmapped), 0);
    EXPECT_EQ(unmapped, kCount * kPage);
}

/* type1v2 */

TEST(IommuModelType1Test, LimitsEntries)
{
    IommuModel model(IommuKind::kType1v2, 2);

    EXPECT_EQ(model.entries_left(), 2u);
    EXPECT_EQ(model.map(0, 100 * kPage, kVaddr, false), 0);
    EXPECT_EQ(model.map(200 * kPage, kPage, kVaddr, false), 0);
    EXPECT_EQ(model.entries_left(), 0u);
    EXPECT_EQ(model.map(300 * kPage, kPage, kVaddr, false), -ENOSPC);
    /* Overlaps are checked before the limit, reserved IOVAs after it */
    EXPECT_EQ(model.map(99 * kPage, kPage, kVaddr, false), -EEXIST);
    EXPECT_EQ(model.map(0xfee00000, kPage, kVaddr, false), -ENOSPC);
    EXPECT_EQ(model.unmap(0, 100 * kPage), 0);
    EXPECT_EQ(model.entries_left(), 1u);
    EXPECT_EQ(model.map(300 * kPage, kPage, kVaddr, false), 0);
}

TEST(IommuModelType1Test, NeverBisects)
{
    IommuModel model(IommuKind::kType1v2);
    uint64_t unmapped;

    model.map(8 * kPage, kPage, kVaddr, false);
    model.map(10 * kPage, 4 * kPage, kVaddr, false);
    EXPECT_EQ(model.unmap(10 * kPage, kPage), -EINVAL);
    EXPECT_EQ(model.unmap(11 * kPage, 3 * kPage), -EINVAL);
    EXPECT_EQ(model.unmap(11 * kPage, kPage), -EINVAL);
    EXPECT_EQ(model.unmap(8 * kPage, 5 * kPage, &unmapped), -EINVAL);
    EXPECT_EQ(unmapped, 0u);
    EXPECT_EQ(model.last_rule(), IommuRule::kBisected);
    EXPECT_EQ(model.mappings().size(), 2u);
    EXPECT_EQ(model.unmap(8 * kPage, 6 * kPage), 0);
}

TEST(IommuModelType1Test, UnmapsNothing)
{
    IommuModel model(IommuKind::kType1v2);
    uint64_t unmapped = kMax;

    EXPECT_EQ(model.unmap(0, kPage, &unmapped), 0);
    EXPECT_EQ(unmapped, 0u);
    EXPECT_EQ(model.last_rule(), IommuRule::kUnmappedNothing);
}

TEST(IommuModelType1Test, UnmapsNothingUpToTheTop)
{
    IommuModel model(IommuKind::kType1v2);
    uint64_t unmapped = kMax;

    model.map(kPage, 2 * kPage, kVaddr, false);
    EXPECT_EQ(model.unmap(kPage, -kPage, &unmapped), 0);
    EXPECT_EQ(unmapped, 0u);
    EXPECT_EQ(model.last_rule(), IommuRule::kUnmappedToTop);
    EXPECT_EQ(model.unmap(2 * kPage, -2 * kPage), -EINVAL);
    EXPECT_EQ(model.mappings().size(), 1u);
    EXPECT_EQ(model.map(2 * kPage, -2 * kPage, 0, false), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kReserved);
    EXPECT_EQ(model.unmap(kPage, -2 * kPage), 0);
    EXPECT_TRUE(model.mappings().empty());
}

TEST(IommuModelType1Test, RefusesInvalidRanges)
{
    IommuModel model(IommuKind::kType1v2);

    EXPECT_EQ(model.map(-kPage, 2 * kPage, kVaddr, false), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kIovaWraps);
    EXPECT_EQ(model.map(0, 2 * kPage, -kPage, false), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kVaddrWraps);
    EXPECT_EQ(model.map(0, kPage, -kPage, false), 0);
    EXPECT_EQ(model.unmap(-kPage, 2 * kPage), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kIovaWraps);
    EXPECT_EQ(model.unmap(0, kMax), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kUnaligned);
    EXPECT_EQ(model.unmap(1, kPage), -EINVAL);
    EXPECT_EQ(model.mappings().size(), 1u);
}

TEST(IommuModelType1Test, Linux7RefusesRangesThatWrapFirst)
{
    IommuModel model(IommuKind::kType1v2, 2, shared_dma::x86_iova_ranges(),
                     IommuVersion::kLinux7_3);

    EXPECT_EQ(model.map(-kPage, 2 * kPage, kVaddr + 1, false), -EOVERFLOW);
    EXPECT_EQ(model.last_rule(), IommuRule::kIovaWraps);
    EXPECT_EQ(model.map(1, 2 * kPage, -kPage, false), -EOVERFLOW);
    EXPECT_EQ(model.last_rule(), IommuRule::kVaddrWraps);
    EXPECT_EQ(model.map(1, kPage, kVaddr, false), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kUnaligned);
    EXPECT_EQ(model.map(0, 0, kVaddr, false), -EINVAL);
    EXPECT_EQ(model.map(0, kPage, -kPage, false), 0);
    EXPECT_EQ(model.unmap(-kPage, 2 * kPage), -EOVERFLOW);
    EXPECT_EQ(model.last_rule(), IommuRule::kIovaWraps);
    EXPECT_EQ(model.unmap(1, -kPage), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kUnaligned);
}

TEST(IommuModelType1Test, Linux7UnmapsUpToTheTop)
{
    IommuModel model(IommuKind::kType1v2, 2, shared_dma::x86_iova_ranges(),
                     IommuVersion::kLinux7_3);
    uint64_t unmapped = 0;

    model.map(kPage, 2 * kPage, kVaddr, false);
    EXPECT_EQ(model.unmap(2 * kPage, -2 * kPage), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kBisected);
    EXPECT_EQ(model.map(2 * kPage, -2 * kPage, 0, false), -EEXIST);
    EXPECT_EQ(model.map(3 * kPage, -3 * kPage, 0, false), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kReserved);
    EXPECT_EQ(model.unmap(kPage, -kPage, &unmapped), 0);
    EXPECT_EQ(unmapped, 2 * kPage);
    EXPECT_TRUE(model.mappings().empty());
}

/* iommufd */

TEST(IommuModelIommufdTest, HasNoLimit)
{
    IommuModel model(IommuKind::kIommufd, 1);

    EXPECT_EQ(model.entries_left(), std::nullopt);
    EXPECT_EQ(model.map(0, kPage, kVaddr, false), 0);
    EXPECT_EQ(model.map(kPage, kPage, kVaddr, false), 0);
}

TEST(IommuModelIommufdTest, UnmapsMappingsBelowABisectedOne)
{
    IommuModel model(IommuKind::kIommufd);
    uint64_t unmapped;

    model.map(0, kPage, kVaddr, false);
    model.map(2 * kPage, kPage, kVaddr, false);
    model.map(4 * kPage, 4 * kPage, kVaddr, false);
    EXPECT_EQ(model.unmap(5 * kPage, 10 * kPage), -ENOENT);
    EXPECT_EQ(model.last_rule(), IommuRule::kBisected);
    EXPECT_EQ(model.mappings().size(), 3u);
    EXPECT_EQ(model.unmap(0, 5 * kPage, &unmapped), -ENOENT);
    EXPECT_EQ(model.last_rule(), IommuRule::kBisectedLate);
    EXPECT_EQ(unmapped, 0u);
    EXPECT_EQ(model.mappings().size(), 1u);
    EXPECT_EQ(model.mapped_bytes(), 4 * kPage);
}

TEST(IommuModelIommufdTest, UnmappingNothingIsAnError)
{
    IommuModel model(IommuKind::kIommufd);
    uint64_t unmapped;

    EXPECT_EQ(model.unmap(0, kPage), -ENOENT);
    EXPECT_EQ(model.last_rule(), IommuRule::kNothingThere);
    EXPECT_EQ(model.unmap(0, kMax - 1), -ENOENT);
    /* Unmapping the whole address space is an exception. */
    EXPECT_EQ(model.unmap(0, kMax, &unmapped), 0);
    EXPECT_EQ(unmapped, 0u);
}

TEST(IommuModelIommufdTest, UnmapsAll)
{
    IommuModel model(IommuKind::kIommufd);
    uint64_t unmapped;

    model.map(0, kPage, kVaddr, false);
    model.map(UINT64_C(1) << 40, 2 * kPage, kVaddr, false);
    EXPECT_EQ(model.unmap(0, kMax, &unmapped), 0);
    EXPECT_EQ(unmapped, 3 * kPage);
    EXPECT_TRUE(model.mappings().empty());
}

TEST(IommuModelIommufdTest, UnmapsUnalignedRanges)
{
    IommuModel model(IommuKind::kIommufd);
    uint64_t unmapped;

    model.map(4 * kPage, kPage, kVaddr, false);
    EXPECT_EQ(model.unmap(4 * kPage + 1, kPage), -ENOENT);
    EXPECT_EQ(model.unmap(4 * kPage - 1, kPage + 2, &unmapped), 0);
    EXPECT_EQ(unmapped, kPage);
}

TEST(IommuModelIommufdTest, ChecksInTheKernelsOrder)
{
    IommuModel model(IommuKind::kIommufd);

    EXPECT_EQ(model.map(kMax, 0, kVaddr, false), -EOVERFLOW);
    EXPECT_EQ(model.map(0, kMax, kVaddr, false), -EOVERFLOW);
    EXPECT_EQ(model.last_rule(), IommuRule::kNotANumber);
    EXPECT_EQ(model.map(0, kMax - 1, kVaddr, false), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kTooLarge);
    EXPECT_EQ(model.map(1, kPage, -kPage, false), -EOVERFLOW);
    EXPECT_EQ(model.last_rule(), IommuRule::kVaddrWraps);
    EXPECT_EQ(model.map(-kPage, 2 * kPage, 0, false), -EOVERFLOW);
    EXPECT_EQ(model.last_rule(), IommuRule::kIovaWraps);
    EXPECT_EQ(model.map(-kPage, kPage, 0, false), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kReserved);

    ASSERT_EQ(model.map(0xfedff000, kPage, kVaddr, false), 0);
    EXPECT_EQ(model.map(0xfedff000, 2 * kPage, kVaddr, false), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kReserved);
    EXPECT_EQ(model.map(0xfedff000, kPage, kVaddr + 1, false), -EEXIST);
    EXPECT_EQ(model.map(0, kPage, kVaddr + 1, false), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kUnalignedVaddr);

    EXPECT_EQ(model.unmap(kMax, 0), -EOVERFLOW);
    EXPECT_EQ(model.unmap(1, kMax), -EOVERFLOW);
    EXPECT_EQ(model.last_rule(), IommuRule::kNotANumber);
    EXPECT_EQ(model.unmap(3, kMax - 1), -EOVERFLOW);
    EXPECT_EQ(model.last_rule(), IommuRule::kIovaWraps);
}

TEST(IommuModelIommufdTest, Linux7ChecksVaddrBeforeSize)
{
    IommuModel model(IommuKind::kIommufd, 0, shared_dma::x86_iova_ranges(),
                     IommuVersion::kLinux7_3);

    EXPECT_EQ(model.map(0, kMax - 1, kVaddr, false), -EOVERFLOW);
    EXPECT_EQ(model.last_rule(), IommuRule::kVaddrWraps);
    EXPECT_EQ(model.map(0, kMax - 1, 0, false), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kTooLarge);
    EXPECT_EQ(model.map(0, 0, kVaddr, false), -EINVAL);
    EXPECT_EQ(model.last_rule(), IommuRule::kZeroSize);
}

} /* namespace */
