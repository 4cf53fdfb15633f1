/*
 * PageStateMap against a model, with operations that the input chooses
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Input: the size of the map, 2 bytes, then records of 7 bytes:
 *
 *     operation | flags << 4, two numbers that choose a range (2 bytes each),
 *     and a number for what is done more than once (2 bytes)
 */

#include <algorithm>
#include <cstdint>

#include "tests/fuzz/fuzz.h"
#include "tests/model/page-state-pair.h"

namespace {

using shared_dma::FuzzInput;
using shared_dma::PageStatePair;

constexpr uint64_t kGroup = 4096;
constexpr uint64_t kMaxPages = 4 * kGroup + 130;

/* What is done more than once is done at most so often. */
constexpr uint64_t kMaxRepeats = 64;

class Run {
public:
    explicit Run(FuzzInput input)
        : input_(input), pair_(input_.number() % (kMaxPages + 1))
    {
    }

    void run()
    {
        while (!input_.at_end()) {
            step();
        }
        pair_.check_everything();
        shared_dma::count_fuzz_step();
    }

private:
    enum Operation {
        kConvert,
        kConvertSilently,
        kConvertStripes,
        kConvertOneByOne,
        kNextRun,
        kAll,
        kCount,
        kEverything,
    };

    struct Range {
        uint64_t first;
        uint64_t npages;
    };

    /*
     * Ranges that start, and end, a few pages from borders of words and groups
     * are as likely as all others together.
     */
    Range choose_range(uint8_t flags)
    {
        const uint64_t borders = flags & 2 ? 64 : kGroup;
        uint64_t a = input_.number();
        uint64_t b = input_.number();

        if (flags & 4) {
            a = near_border(a, borders);
            b = near_border(b, borders);
        }
        a %= pair_.npages() + 1;
        b %= pair_.npages() + 1;
        if (flags & 8) {
            /* A short one. */
            b = std::min(a + b % 130, pair_.npages());
        }
        return {std::min(a, b), std::max(a, b) - std::min(a, b)};
    }

    static uint64_t near_border(uint64_t number, uint64_t border)
    {
        return number / 8 * border + number % 8 - 4;
    }

    void step()
    {
        const uint8_t head = input_.byte();
        const uint8_t flags = head >> 4;
        const bool shared = flags & 1;
        const Range range = choose_range(flags);
        const uint64_t more = input_.number();

        switch (static_cast<Operation>(head % 8)) {
        case kConvert:
            convert(range, shared);
            break;
        case kConvertSilently:
            pair_.convert_silently(range.first, range.npages, shared);
            shared_dma::count_fuzz_step();
            break;
        case kConvertStripes:
            convert_stripes(range, more, shared);
            break;
        case kConvertOneByOne:
            convert_stripes(range, 0, shared);
            break;
        case kNextRun:
            pair_.check_next_run(range.first, range.npages, shared);
            shared_dma::count_fuzz_step();
            break;
        case kAll:
            pair_.check_all_of(range.first, range.npages, shared);
            shared_dma::count_fuzz_step();
            break;
        case kCount:
            pair_.check_count(range.first, range.npages);
            shared_dma::count_fuzz_step();
            break;
        case kEverything:
            pair_.check_everything();
            shared_dma::count_fuzz_step();
            break;
        }
    }

    void convert(const Range &range, bool shared)
    {
        const uint64_t before = std::min<uint64_t>(range.first, 65);
        const uint64_t after =
            std::min<uint64_t>(pair_.npages() - range.first - range.npages, 65);

        pair_.convert(range.first, range.npages, shared);
        /* What is around it has not changed. */
        pair_.check(range.first - before, before + range.npages + after);
        shared_dma::count_fuzz_step();
    }

    /* Pages with gaps in between, from the start of the range on. */
    void convert_stripes(Range range, uint64_t more, bool shared)
    {
        const uint64_t size = 1 + more % 3;
        const uint64_t distance = size + more / 4 % 130;
        const uint64_t end = range.first + range.npages;

        for (uint64_t i = 0; i < kMaxRepeats; i++) {
            const uint64_t first = range.first + i * distance;

            if (first + size > end) {
                break;
            }
            convert({first, size}, shared);
        }
    }

    FuzzInput input_;
    PageStatePair pair_;
};

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Run(FuzzInput(data, size)).run();
    return 0;
}
