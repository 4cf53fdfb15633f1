/*
 * DmaLayout between models, with operations and failures that the input chooses
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Input: what is fixed for a run, 5 bytes (see Run::Run()), then records of 7
 * bytes:
 *
 *     operation | flags << 4, a section of memory | a stream << 4, where in it
 *     (2 bytes), how large (2 bytes), and what fails meanwhile
 */

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <iterator>
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "tests/model/dma-layout-rig.h"

namespace {

using shared_dma::DmaLayout;
using shared_dma::FuzzInput;
using shared_dma::IommuKind;
using shared_dma::rig::kGiB;
using shared_dma::rig::kKiB;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;
using shared_dma::rig::kTiB;
using shared_dma::rig::Memory;
using shared_dma::rig::Rig;

constexpr uint64_t kHalf = UINT64_C(1) << 63;

/* Where the interrupt controllers of an x86 host are: never mapped. */
constexpr uint64_t kReserved = 0xfee00000;

/* A request that comes in parts has so many of them at most. */
constexpr uint64_t kMaxParts = 48;

constexpr uint32_t kLimits[] = {0,  1,  2,   3,   5,   8,    13,   20,
                                40, 70, 130, 260, 500, 1000, 65535};

/* Small extents need small memory, or checking takes all the time. */
constexpr uint64_t kSmall[] = {DMA_LAYOUT_PAGE, DMA_LAYOUT_AUTO, kPage,
                               16 * kKiB, 64 * kKiB};
constexpr uint64_t kLarge[] = {DMA_LAYOUT_AUTO, 2 * kMiB, 32 * kMiB, kGiB};

constexpr uint64_t kGranularities[] = {kPage, 64 * kKiB, kMiB, 2 * kMiB,
                                       4 * kMiB};

class Run {
public:
    explicit Run(FuzzInput input)
        : input_(input), small_(input_.byte() % 2),
          rig_(input_.byte() % 4 ? IommuKind::kType1v2 : IommuKind::kIommufd,
               input_.choose(kLimits))
    {
        const uint64_t size = small_ ? 128 * kPage : 40 * kMiB;
        uint64_t base = kGiB - 3 * size / 2;

        /* Side by side, and across the border of a large block. */
        add_section(base, size, {});
        add_section(base, size, {.offset = kTiB});
        add_section(base, size, {.offset = kTiB, .readonly = true});
        base = 2 * kGiB;

        const uint64_t granularity = input_.choose(kGranularities);
        const uint64_t other = input_.choose(kGranularities);

        /* The coarser one first, so that the other one is aligned, too. */
        for (uint64_t unit :
             {std::max(granularity, other), std::min(granularity, other)}) {
            add_section(base, 64 * unit, {.granularity = unit});
        }
        /* Some that the kernel refuses. */
        base = kReserved - size / 2;
        add_section(base, size, {});
        base = UINT64_MAX - size + 1;
        add_section(base, size, {.offset = 0});
    }

    void run()
    {
        while (!input_.at_end()) {
            step();
        }
        /* All can go, whatever happened. */
        rig_.give_entries_back(UINT64_MAX);
        MODEL_CHECK_EQUAL(rig_.discard(0, kHalf), 0);
        MODEL_CHECK_EQUAL(rig_.discard(kHalf, kHalf), 0);
        MODEL_CHECK_EQUAL(rig_.size(), 0u);
        MODEL_CHECK_EQUAL(rig_.model().mappings().size(), 0u);
        shared_dma::count_fuzz_step();
    }

private:
    enum Operation {
        kPopulateStream,
        kPopulateStreamInParts,
        kPopulate,
        kPopulateFree,
        kPopulateHoles,
        kDiscard,
        kDiscardInside,
        kDiscardHoles,
        kDiscardSections,
        kOpen,
        kClose,
        kTakeEntries,
        kGiveEntriesBack,
        kSetExtentSize,
        kNoRange,
        kRetry,
    };

    struct Section {
        uint64_t iova;
        uint64_t size;
        Memory memory;
        uint64_t stream_ends[4];

        uint64_t unit() const { return memory.granularity; }
        uint64_t last() const { return iova + (size - 1); }
    };

    /* Where and how large an operation is */
    struct Operands {
        Section &section;
        uint64_t &stream_end;
        uint64_t iova;
        uint64_t size;
        uint64_t number;
        bool flag;
    };

    void add_section(uint64_t &iova, uint64_t size, const Memory &memory)
    {
        sections_.push_back({iova, size, memory, {iova, iova, iova, iova}});
        iova += size;
    }

    /* Small ones most of the time; evenly by magnitude. */
    static uint64_t to_size(const Section &section, uint64_t number)
    {
        const uint64_t magnitude = number % 16 % 14;

        return section.unit() *
               (1 + (number >> 4) % (UINT64_C(1) << magnitude));
    }

    void step()
    {
        const uint8_t head = input_.byte();
        const uint8_t place = input_.byte();
        Section &section = sections_[place % 16 % sections_.size()];
        const uint64_t where = input_.number();
        const uint64_t number = input_.number();
        const Operands operands = {
            .section = section,
            .stream_end = section.stream_ends[place >> 4 & 3],
            .iova = section.iova +
                    where % (section.size / section.unit()) * section.unit(),
            .size = to_size(section, number),
            .number = number,
            .flag = (head & 16) != 0,
        };

        let_fail(input_.byte(), operands);
        operate(static_cast<Operation>(head % 16), operands);
        be_kind();
    }

    /* Once, from the nth call on, or for what a discard is about to unmap. */
    void let_fail(uint8_t how, const Operands &operands)
    {
        constexpr int kMapErrors[] = {ENOSPC, ENOMEM, EFAULT, EINVAL,
                                      EBUSY,  EPERM,  EIO,    ENOSPC};
        const uint64_t nth = 1 + (how >> 2 & 7);
        const uint64_t which = how >> 5;

        switch (how % 4) {
        case 0:
            /* Nothing fails. */
            break;
        case 1:
            rig_.model().fail_map(nth, kMapErrors[which]);
            break;
        case 2:
            rig_.refuse_maps(kMapErrors[which], nth, 1 + which * 3);
            break;
        case 3:
            if (which < 4) {
                rig_.model().fail_unmap(nth, which % 2 ? EIO : EINVAL);
            } else {
                rig_.pinned().insert(operands.iova);
            }
            break;
        }
    }

    void be_kind()
    {
        rig_.model().fail_map(0, 0);
        rig_.model().fail_unmap(0, 0);
        rig_.refuse_maps(0, 0, 0);
        rig_.pinned().clear();
    }

    void operate(Operation operation, const Operands &operands)
    {
        const Section &section = operands.section;

        switch (operation) {
        case kPopulateStream:
            populate_stream(operands, operands.size);
            break;
        case kPopulateStreamInParts:
            for (uint64_t i = 0; i <= operands.number % kMaxParts; i++) {
                populate_stream(operands, section.unit()
                                              << (operands.flag ? 2 : 0));
            }
            break;
        case kPopulate:
            populate(operands, operands.iova, operands.size, false);
            break;
        case kPopulateFree:
            populate(operands, operands.iova, operands.size, true);
            break;
        case kPopulateHoles:
            for (uint64_t i = 0; i <= operands.number % kMaxParts; i++) {
                populate(operands, operands.iova + i * 2 * section.unit(),
                         section.unit(), false);
            }
            break;
        case kDiscard:
            discard(section, operands.iova, operands.size);
            break;
        case kDiscardInside:
            discard_inside(operands);
            break;
        case kDiscardHoles:
            for (uint64_t i = 0; i <= operands.number % kMaxParts; i++) {
                discard(section, operands.iova + i * 2 * section.unit(),
                        section.unit());
            }
            break;
        case kDiscardSections:
            discard_sections(operands);
            shared_dma::count_fuzz_step();
            break;
        case kOpen:
            rig_.open();
            shared_dma::count_fuzz_step();
            break;
        case kClose:
            rig_.close();
            shared_dma::count_fuzz_step();
            break;
        case kTakeEntries:
            be_kind();
            rig_.take_entries(operands.number % 128);
            shared_dma::count_fuzz_step();
            break;
        case kGiveEntriesBack:
            be_kind();
            rig_.give_entries_back(operands.number % 256);
            shared_dma::count_fuzz_step();
            break;
        case kSetExtentSize:
            set_extent_size(operands);
            shared_dma::count_fuzz_step();
            break;
        case kNoRange:
            try_no_range(operands);
            break;
        case kRetry:
            /* What failed may be done now. */
            retry(operands);
            break;
        }
    }

    /* At most up to the end of the section. */
    void populate(const Operands &operands, uint64_t iova, uint64_t size,
                  bool free_only)
    {
        const Section &section = operands.section;

        if (iova < section.iova || iova > section.last()) {
            return;
        }
        size = std::min(size, section.last() - iova + 1);
        if (free_only) {
            const auto &ranges = rig_.populated().ranges();
            const auto next = ranges.upper_bound(iova);

            if (next != ranges.end()) {
                size = std::min(size, next->first - iova);
            }
        }
        rig_.populate(iova, size, section.memory);
        operands.stream_end = iova + size;
        shared_dma::count_fuzz_step();
    }

    void populate_stream(const Operands &operands, uint64_t size)
    {
        populate(operands, operands.stream_end, size, operands.flag);
    }

    void discard(const Section &section, uint64_t iova, uint64_t size)
    {
        if (iova >= section.iova && iova <= section.last()) {
            rig_.discard(iova, std::min(size, section.last() - iova + 1));
            shared_dma::count_fuzz_step();
        }
    }

    /* Of the first range that is populated from there on, or its end. */
    void discard_inside(const Operands &operands)
    {
        const Section &section = operands.section;
        const auto &ranges = rig_.populated().ranges();
        const auto it = ranges.lower_bound(operands.iova);

        if (it != ranges.end() && it->second.memory == section.memory) {
            const uint64_t end = it->second.last + 1;
            const uint64_t size = std::min(operands.size, end - it->first);

            discard(section, operands.flag ? end - size : it->first, size);
        }
    }

    /* All of a section, and perhaps of the one next to it. */
    void discard_sections(const Operands &operands)
    {
        const Section *next = &operands.section + 1;
        uint64_t last = operands.section.last();

        if (operands.flag && next != sections_.data() + sections_.size() &&
            next->iova == last + 1) {
            last = next->last();
        }
        rig_.discard(operands.section.iova, last - operands.section.iova + 1);
    }

    void set_extent_size(const Operands &operands)
    {
        const uint64_t size = small_
                                  ? kSmall[operands.number % std::size(kSmall)]
                                  : kLarge[operands.number % std::size(kLarge)];

        rig_.set_extent_size(size);
    }

    void try_no_range(const Operands &operands)
    {
        const uint64_t iova = operands.iova;

        if (operands.flag) {
            rig_.populate(iova, 0, operands.section.memory);
            rig_.discard(iova, 0);
        } else {
            rig_.populate(iova, 0 - iova + kPage, operands.section.memory);
            rig_.discard(iova, 0 - iova + kPage);
        }
        shared_dma::count_fuzz_step();
    }

    /* A request that changes nothing, but gives what is missing a chance. */
    void retry(const Operands &operands)
    {
        const uint64_t unit = operands.section.unit();

        if (!rig_.populate(operands.iova, unit, operands.section.memory)) {
            rig_.discard(operands.iova, unit);
        }
        shared_dma::count_fuzz_step();
    }

    FuzzInput input_;
    bool small_;
    Rig rig_;
    std::vector<Section> sections_;
};

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Run(FuzzInput(data, size)).run();
    return 0;
}
