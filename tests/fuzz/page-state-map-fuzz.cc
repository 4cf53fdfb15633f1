/*
 * Fuzz target: PageStateMap against a model
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/fuzz/fuzz.h"
#include "tests/model/page-state-driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    shared_dma::PageStateDriver driver(shared_dma::ByteInput(data, size),
                                       shared_dma::count_fuzz_step);

    while (!driver.at_end()) {
        driver.step();
    }
    driver.check_everything();
    return 0;
}
