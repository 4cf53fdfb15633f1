/*
 * Common code of fuzz targets: step counter, and failed checks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/fuzz/fuzz.h"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>

#include "tests/model/check.h"

static uint64_t nsteps;

static void print_steps()
{
    std::fprintf(stderr, "steps %" PRIu64 "\n", nsteps);
}

int LLVMFuzzerInitialize(int *, char ***)
{
    return std::atexit(print_steps);
}

void shared_dma::count_fuzz_steps(uint64_t count)
{
    nsteps += count;
}

void shared_dma::model_check_failed(const char *file, int line,
                                    const std::string &what)
{
    std::fprintf(stderr, "%s:%d: %s, in step %" PRIu64 "\n", file, line,
                 what.c_str(), nsteps);
    std::abort();
}
