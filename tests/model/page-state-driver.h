/*
 * Operations on a PageStateMap and its model, chosen by bytes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The fuzz target feeds the driver with libFuzzer's inputs, the unit test with
 * random bytes.  Input: the number of pages (2 bytes), then records of 7 bytes:
 *
 *     operation | flags << 4, two numbers that choose a range (2 bytes each),
 *     and a number for repeated operations (2 bytes)
 */

#ifndef TESTS_MODEL_PAGE_STATE_DRIVER_H
#define TESTS_MODEL_PAGE_STATE_DRIVER_H

#include <algorithm>
#include <cstdint>

#include "tests/model/byte-input.h"
#include "tests/model/page-state-pair.h"

namespace shared_dma {

class PageStateDriver {
public:
    static constexpr uint64_t kGroup = 4096;
    static constexpr uint64_t kMaxPages = 5 * kGroup;

    /* @done is called after the result of each operation has been checked. */
    PageStateDriver(ByteInput input, void (*done)())
        : input_(input), done_(done), pair_(input_.number() % (kMaxPages + 1))
    {
    }

    bool at_end() const { return input_.at_end(); }

    /* Execute the next record. */
    void step()
    {
        const uint8_t head = input_.byte();
        const uint8_t flags = head >> 4;
        const PageState state =
            flags & 1 ? PAGE_STATE_SHARED : PAGE_STATE_PRIVATE;
        const Range range = choose_range(flags);
        const uint64_t more = input_.number();

        switch (static_cast<Operation>(head % 8)) {
        case kConvert:
            convert(range, state);
            return;
        case kConvertStripes:
            convert_stripes(range, more, state);
            return;
        case kConvertOneByOne:
            convert_stripes(range, 0, state);
            return;
        case kConvertSilently:
            pair_.convert_silently(range.first, range.npages, state);
            break;
        case kNextRun:
            pair_.check_next_run(range.first, range.npages, state);
            break;
        case kAll:
            pair_.check_all_of(range.first, range.npages, state);
            break;
        case kCount:
            pair_.check_count(range.first, range.npages);
            break;
        case kEverything:
            check_everything();
            return;
        }
        done_();
    }

    void check_everything()
    {
        pair_.check_everything();
        done_();
    }

private:
    /* Bounds the number of conversions of one record. */
    static constexpr uint64_t kMaxRepeats = 64;

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
     * Choose a range.  Ranges that start and end a few pages from word and
     * group boundaries are as likely as all others together.
     */
    Range choose_range(uint8_t flags)
    {
        const uint64_t boundary = flags & 2 ? 64 : kGroup;
        uint64_t a = input_.number();
        uint64_t b = input_.number();

        if (flags & 4) {
            a = near_boundary(a, boundary);
            b = near_boundary(b, boundary);
        }
        a %= pair_.npages() + 1;
        b %= pair_.npages() + 1;
        if (flags & 8) {
            /* A short range */
            b = std::min(a + b % 130, pair_.npages());
        }
        return {std::min(a, b), std::max(a, b) - std::min(a, b)};
    }

    static uint64_t near_boundary(uint64_t number, uint64_t boundary)
    {
        return number / 8 * boundary + number % 8 - 4;
    }

    void convert(const Range &range, PageState state)
    {
        const uint64_t before = std::min<uint64_t>(range.first, 65);
        const uint64_t after =
            std::min<uint64_t>(pair_.npages() - range.first - range.npages, 65);

        pair_.convert(range.first, range.npages, state);
        /* Check the neighbours too, which must not have changed. */
        pair_.check(range.first - before, before + range.npages + after);
        done_();
    }

    /* Convert groups of pages with gaps between them. */
    void convert_stripes(Range range, uint64_t more, PageState state)
    {
        const uint64_t size = 1 + more % 3;
        const uint64_t distance = size + more / 4 % 130;
        const uint64_t end = range.first + range.npages;

        for (uint64_t i = 0; i < kMaxRepeats; i++) {
            const uint64_t first = range.first + i * distance;

            if (first + size > end) {
                break;
            }
            convert({first, size}, state);
        }
    }

    ByteInput input_;
    void (*done_)();
    PageStatePair pair_;
};

} // namespace shared_dma

#endif
