/*
 * Fuzz target: DmaLayout between models, with operations and failures
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Input: the setup of a run (3 bytes), then the records that
 * tests/model/dma-layout-driver.h describes.
 */

#include <cstdint>

#include "tests/fuzz/fuzz.h"
#include "tests/model/dma-layout-driver.h"

namespace {

using shared_dma::ByteInput;
using shared_dma::IommuKind;
using shared_dma::rig::DmaLayoutDriver;
using shared_dma::rig::DriverSetup;
using shared_dma::rig::DriverTally;
using shared_dma::rig::Kernel;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;

constexpr uint32_t kLimits[] = {0,  1,  2,   3,   5,   8,    13,   20,
                                40, 70, 130, 260, 500, 1000, 65535};

DriverSetup read_setup(ByteInput &input)
{
    const uint8_t flags = input.byte();
    const uint8_t kind = input.byte();

    return {
        .kind = kind % 4   ? IommuKind::kType1v2
                : kind % 8 ? IommuKind::kIommufdCut
                           : IommuKind::kIommufd,
        .limit = input.choose(kLimits),
        .extent_size = DMA_LAYOUT_AUTO,
        .section_size = flags % 2 ? 128 * kPage : 40 * kMiB,
        .kernel = flags & 2 ? Kernel::kReliable : Kernel::kUnreliable,
    };
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ByteInput input(data, size);
    DriverTally tally;

    DmaLayoutDriver(read_setup(input), tally).run(input);
    shared_dma::count_fuzz_steps(tally.steps);
    return 0;
}
