/*
 * What fuzz targets share: their input, and a count of what they did
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An input is a header and then records of one size, an operation each, so
 * that a byte that changes, comes or goes leaves most of the others what they
 * were.  Each input is valid: numbers are brought into their range.
 */

#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <cstddef>
#include <cstdint>

#include "tests/model/fuzz-input.h"

extern "C" {
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
}

namespace shared_dma {

/*
 * Operations were done and their results checked.  How many there were is
 * printed at the end, as "steps N".
 */
void count_fuzz_steps(uint64_t count);
inline void count_fuzz_step()
{
    count_fuzz_steps(1);
}

} // namespace shared_dma

#endif
