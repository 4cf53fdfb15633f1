/*
 * What fuzz targets share: entry points, their input, and a step counter
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

using FuzzInput = ByteInput;

/*
 * Count an operation whose result has been checked.  The total is printed at
 * exit, as "steps N".
 */
void count_fuzz_step();

} // namespace shared_dma

#endif
