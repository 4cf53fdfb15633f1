/*
 * The conversion path above a model of the kernel: what threads do
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SHARED_DMA_CONVERSION_PROGRAM_H
#define TESTS_SHARED_DMA_CONVERSION_PROGRAM_H

#include <array>
#include <cstdint>
#include <vector>

namespace shared_dma {

/* What is done, to what, and which of its calls fails. */
using ConversionStep = std::array<uint8_t, 4>;

/* A new machine; @config says how it is. */
void conversion_start(uint8_t config, uint8_t limit);

/*
 * Steps of each of some threads, at once, and a check of everything after
 * that.  The @choices are schedule_run()'s.
 */
void conversion_round(const std::vector<std::vector<ConversionStep>> &threads,
                      const std::vector<uint8_t> &choices);

/* All is taken apart, and nothing of it may be left. */
void conversion_stop();

} // namespace shared_dma

#endif
