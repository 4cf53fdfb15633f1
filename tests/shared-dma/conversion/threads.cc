/*
 * Test of conversions by several threads that run freely
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ThreadSanitizer looks for data races.  Steps are chosen at random; the checks
 * do not depend on the order of threads.
 */

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "tests/shared-dma/conversion/program.h"
#include "tests/shared-dma/conversion/schedule.h"
#include "tests/fuzz/fuzz.h"

using namespace shared_dma;

static constexpr unsigned int kThreads = 6;
static constexpr unsigned int kSteps = 64;
static constexpr unsigned int kRoundsOfMachine = 8;

/*
 * Disable ThreadSanitizer's check of the lock order, which does not recognize
 * that a third lock makes two orders safe.
 */
extern "C" const char *__tsan_default_options();
extern "C" const char *__tsan_default_options()
{
    return "detect_deadlocks=0";
}

static void usage()
{
    std::printf("Usage: conversion-threads [SEED [ROUNDS]]\n\n"
                "Convert memory in %u concurrent threads, %u steps each, and\n"
                "check the result; repeat ROUNDS times (default: 64).\n",
                kThreads, kSteps);
}

static void run_round(std::mt19937 &random)
{
    std::vector<std::vector<ConversionStep>> threads(kThreads);

    for (auto &thread : threads) {
        thread.resize(kSteps);
        for (ConversionStep &step : thread) {
            for (uint8_t &byte : step) {
                byte = static_cast<uint8_t>(random());
            }
        }
    }
    conversion_round(threads, {});
}

int main(int argc, char **argv)
{
    if (argc > 1 && !std::strcmp(argv[1], "--help")) {
        usage();
        return 0;
    }

    const auto seed = argc > 1 ? std::strtoul(argv[1], nullptr, 0) : 1;
    const auto rounds = argc > 2 ? std::strtoul(argv[2], nullptr, 0) : 64;
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));

    LLVMFuzzerInitialize(&argc, &argv);
    schedule_set_baton(false);
    for (unsigned long i = 0; i < rounds; i++) {
        if (i % kRoundsOfMachine == 0) {
            conversion_start(static_cast<uint8_t>(random()),
                             static_cast<uint8_t>(random()));
        }
        run_round(random);
        if (i % kRoundsOfMachine == kRoundsOfMachine - 1 || i + 1 == rounds) {
            conversion_stop();
        }
    }
    std::printf("%lu rounds of %u threads\n", rounds, kThreads);
    return 0;
}
