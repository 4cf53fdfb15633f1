/*
 * Common code of fuzz targets: entry points and step counter
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <cstddef>
#include <cstdint>

#include "tests/model/byte-input.h"

extern "C" {
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
}

namespace shared_dma {

/*
 * Count operations whose results have been checked.  The total is printed at
 * exit, as "steps N".
 */
void count_fuzz_steps(uint64_t count);
inline void count_fuzz_step()
{
    count_fuzz_steps(1);
}

} // namespace shared_dma

#endif
