/*
 * Fuzz target: conversions by several threads
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An input is two bytes for the machine, followed by records of 8 bytes: a step
 * in 4 bytes, and 4 choices of the thread to run.  Eight records are a round,
 * two steps for each thread.
 */

#include "tests/shared-dma/conversion/program.h"
#include "tests/shared-dma/conversion/schedule.h"
#include "tests/fuzz/fuzz.h"

using namespace shared_dma;

static constexpr unsigned int kThreads = 4;
static constexpr unsigned int kRecords = 8;
static constexpr unsigned int kMaxRounds = 32;

static void run_round(ByteInput &input)
{
    std::vector<std::vector<ConversionStep>> threads(kThreads);
    std::vector<uint8_t> choices;

    for (unsigned int i = 0; i < kRecords && !input.at_end(); i++) {
        ConversionStep step;

        for (uint8_t &byte : step) {
            byte = input.byte();
        }
        threads[i % kThreads].push_back(step);
        for (unsigned int j = 0; j < 4; j++) {
            choices.push_back(input.byte());
        }
    }
    conversion_round(threads, choices);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ByteInput input(data, size);
    const uint8_t config = input.byte();
    const uint8_t limit = input.byte();

    schedule_set_baton(true);
    conversion_start(config, limit);
    for (unsigned int i = 0; i < kMaxRounds && !input.at_end(); i++) {
        run_round(input);
    }
    conversion_stop();
    return 0;
}
