/*
 * Simulated conversions: the steps of threads
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/shared-dma/conversion/program.h"

#include <cerrno>

#include "tests/shared-dma/conversion/edge.h"
#include "tests/shared-dma/conversion/schedule.h"
#include "tests/shared-dma/conversion/world.h"
#include "tests/fuzz/fuzz.h"
#include "tests/model/check.h"

namespace shared_dma {

namespace {

using Threads = std::vector<std::vector<ConversionStep>>;

struct Range {
    uint64_t gpa;
    uint64_t size;
};

Range any_range(const ConversionStep &step)
{
    const uint64_t first = CONV_FIRST + step[1] % (CONV_LAST - CONV_FIRST);
    const uint64_t most = CONV_LAST - first;
    const uint64_t npages = 1 + step[2] % (step[2] < 192 ? 8 : 64);

    return {first * CONV_PAGE, (npages < most ? npages : most) * CONV_PAGE};
}

/* Return a range that is likely valid: mostly RAM, some in two blocks. */
Range good_range(const ConversionStep &step)
{
    static constexpr uint64_t starts[] = {248, 272, 280, 312, 364, 240};
    const uint64_t first = starts[step[1] % 6] + (step[1] >> 5);

    return {first * CONV_PAGE, (1 + step[2] % 16) * CONV_PAGE};
}

void convert(const Range &range, PageState to)
{
    const int ret = conv_convert(range.gpa, range.size, to);

    MODEL_CHECK(ret <= 0);
    MODEL_CHECK(range.size != 0 || ret == -EINVAL);
}

void convert_bad(const ConversionStep &step, PageState to)
{
    static constexpr Range ranges[] = {
        {256 * CONV_PAGE, 0},
        {256 * CONV_PAGE + 8, CONV_PAGE},
        {256 * CONV_PAGE, CONV_PAGE - 8},
        {UINT64_MAX - CONV_PAGE + 1, 2 * CONV_PAGE},
        {256 * CONV_PAGE, UINT64_MAX - CONV_PAGE + 1},
    };

    MODEL_CHECK_EQUAL(
        conv_convert(ranges[step[2] % 5].gpa, ranges[step[2] % 5].size, to),
        -EINVAL);
}

void arm_failure(const ConversionStep &step)
{
    static constexpr int errors[] = {ENOMEM, ENOSPC, EIO, EBUSY};

    if (step[3] >= 128) {
        world_fail(1 + (step[3] & 15), errors[step[3] >> 4 & 3],
                   step[3] >> 6 & 1);
    } else if (step[3] >= 112) {
        world_refuse_unmaps(step[3] & 1, step[3] >> 1 & 7);
    }
}

void do_step(const ConversionStep &step)
{
    const PageState to = page_state_from_private(step[0] >> 7);
    const Range range = any_range(step);

    arm_failure(step);
    switch (step[0] % 16) {
    case 0:
    case 1:
    case 2:
        convert(range, to);
        break;
    case 3:
    case 4:
    case 5:
        convert(good_range(step), to);
        break;
    case 6:
        conv_convert_fault(range.gpa, range.size, to);
        break;
    case 7:
        convert_bad(step, to);
        break;
    case 8:
    case 9:
        conv_toggle_listener(step[1] % CONV_CONTAINERS, step[2] % CONV_WINDOWS);
        break;
    case 10:
    case 11:
        conv_set_master(step[1] % CONV_DEVICES, step[2] & 1);
        break;
    case 12:
        /* QEMU would exit if this failed. */
        world_fail(0, 0, false);
        conv_move_window(step[1] % CONV_PLACES);
        break;
    case 13:
        if (step[1] < 64) {
            conv_reset();
        } else if (step[1] >= 128) {
            conv_toggle_chunk(step[1] % (CONV_BLOCK_PAGES / CONV_CHUNK_PAGES));
        } else {
            conv_query(step[1]);
        }
        break;
    case 14:
        world_touch(range.gpa >> CONV_PAGE_SHIFT);
        break;
    case 15:
        convert({256 * CONV_PAGE, 64 * CONV_PAGE}, to);
        break;
    }
    world_fail(0, 0, false);
}

void run_thread(unsigned int thread, void *opaque)
{
    for (const ConversionStep &step :
         (*static_cast<const Threads *>(opaque))[thread]) {
        do_step(step);
    }
}

} // namespace

void conversion_start(uint8_t config, uint8_t limit)
{
    static constexpr uint32_t limits[] = {65535, 8, 24, 64, 160};

    schedule_forget();
    world_start(limits[limit % 5]);
    conv_machine_start(config);
}

void conversion_round(const Threads &threads,
                      const std::vector<uint8_t> &choices)
{
    schedule_run(static_cast<unsigned int>(threads.size()), run_thread,
                 const_cast<Threads *>(&threads), choices);
    world_check();
    for (const auto &thread : threads) {
        for (size_t i = 0; i < thread.size(); i++) {
            count_fuzz_step();
        }
    }
}

void conversion_stop()
{
    for (unsigned int i = 0; i < CONV_CONTAINERS; i++) {
        world_refuse_unmaps(i, 0);
    }
    conv_machine_stop();
    world_stop();
}

} // namespace shared_dma
