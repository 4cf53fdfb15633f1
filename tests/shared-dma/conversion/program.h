/*
 * Simulated conversions: the steps of threads
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SHARED_DMA_CONVERSION_PROGRAM_H
#define TESTS_SHARED_DMA_CONVERSION_PROGRAM_H

#include <array>
#include <cstdint>
#include <vector>

namespace shared_dma {

/* An action, its arguments, and the number of the call that fails */
using ConversionStep = std::array<uint8_t, 4>;

/* Start a machine; @config and @limit select its configuration. */
void conversion_start(uint8_t config, uint8_t limit);

/*
 * Execute the steps of all threads concurrently, then check everything.
 * @choices are passed to schedule_run().
 */
void conversion_round(const std::vector<std::vector<ConversionStep>> &threads,
                      const std::vector<uint8_t> &choices);

/* Stop the machine, and check that no mapping or backing is left. */
void conversion_stop();

} // namespace shared_dma

#endif
