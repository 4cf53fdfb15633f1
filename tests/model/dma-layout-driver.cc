/*
 * Operations on a DmaLayout between models, and failures, chosen by bytes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/model/dma-layout-driver.h"

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "tests/model/check.h"

namespace shared_dma::rig {

namespace {

constexpr uint64_t kHalf = UINT64_C(1) << 63;

/* Range of the interrupt controllers of an x86 host, which is never mapped. */
constexpr uint64_t kReserved = 0xfee00000;

/* Maximum number of parts of a request that is made in parts */
constexpr uint64_t kMaxParts = 48;

/* Extent sizes that do not cut the sections into too many extents */
constexpr uint64_t kSmallSizes[] = {DMA_LAYOUT_PAGE, DMA_LAYOUT_AUTO, kPage,
                                    16 * kKiB, 64 * kKiB};
constexpr uint64_t kLargeSizes[] = {DMA_LAYOUT_AUTO, 2 * kMiB, 32 * kMiB, kGiB};
constexpr uint64_t kMaxSmallSection = 2 * kMiB;

/* Return a size in bytes, distributed logarithmically and mostly small. */
uint64_t to_size(uint64_t number)
{
    const uint64_t magnitude = number % 16 % 14;

    return kPage * (1 + (number >> 4) % (UINT64_C(1) << magnitude));
}

} // namespace

/* Operations, repeated according to their frequency: mostly conversions */
const DmaLayoutDriver::Operation DmaLayoutDriver::kOperations[32] = {
    &DmaLayoutDriver::populate_stream,
    &DmaLayoutDriver::populate_stream,
    &DmaLayoutDriver::populate_stream,
    &DmaLayoutDriver::populate_stream,
    &DmaLayoutDriver::populate_parts,
    &DmaLayoutDriver::populate,
    &DmaLayoutDriver::populate_free,
    &DmaLayoutDriver::populate_free,
    &DmaLayoutDriver::populate_free,
    &DmaLayoutDriver::populate_free,
    &DmaLayoutDriver::populate_free,
    &DmaLayoutDriver::populate_holes,
    &DmaLayoutDriver::discard,
    &DmaLayoutDriver::discard,
    &DmaLayoutDriver::discard,
    &DmaLayoutDriver::discard_inside,
    &DmaLayoutDriver::discard_inside,
    &DmaLayoutDriver::discard_inside,
    &DmaLayoutDriver::discard_ends,
    &DmaLayoutDriver::discard_ends,
    &DmaLayoutDriver::discard_holes,
    &DmaLayoutDriver::discard_sections,
    &DmaLayoutDriver::open,
    &DmaLayoutDriver::open,
    &DmaLayoutDriver::close,
    &DmaLayoutDriver::take_entries,
    &DmaLayoutDriver::release_entries,
    &DmaLayoutDriver::set_extent_size,
    &DmaLayoutDriver::try_invalid_range,
    &DmaLayoutDriver::retry,
    &DmaLayoutDriver::populate_free,
    &DmaLayoutDriver::populate_stream,
};

DmaLayoutDriver::DmaLayoutDriver(const DriverSetup &setup, DriverTally &tally)
    : setup_(setup), tally_(tally), rig_(setup.kind, setup.limit)
{
    const uint64_t size = setup.section_size;
    uint64_t base = kGiB - 3 * size / 2;

    /* Side by side, and across the boundary of a large block. */
    add_section(base, {});
    add_section(base, {.offset = kTiB});
    add_section(base, {.offset = kTiB, .access = DMA_LAYOUT_READ_ONLY});
    if (setup.kernel == Kernel::kUnreliable) {
        /* The section includes memory that the kernel refuses. */
        base = kReserved - size / 2;
        add_section(base, {});
        base = UINT64_MAX - size + 1;
        add_section(base, {.offset = 0});
    }
    if (setup.extent_size != DMA_LAYOUT_AUTO) {
        MODEL_CHECK_EQUAL(rig_.set_extent_size(setup.extent_size), 0);
    }
}

void DmaLayoutDriver::run(ByteInput input)
{
    while (!input.at_end()) {
        step(input);
    }
    finish();
}

void DmaLayoutDriver::add_section(uint64_t &iova, const Memory &memory)
{
    sections_.push_back(
        {iova, setup_.section_size, memory, {iova, iova, iova, iova}});
    iova += setup_.section_size;
}

void DmaLayoutDriver::step(ByteInput &input)
{
    const uint8_t operation = input.byte();
    const uint8_t place = input.byte();
    Section &section = sections_[place % sections_.size()];
    const uint8_t stream = input.byte();
    const uint64_t where = input.number();
    const uint64_t number = input.number();
    const Operands operands = {
        .section = section,
        .stream_end = section.stream_ends[stream % 4],
        .iova = section.iova + where % (section.size / kPage) * kPage,
        .size = to_size(number),
        .number = number,
        .flag = stream >= 128,
    };

    let_fail(input.byte(), operands);
    (this->*kOperations[operation % std::size(kOperations)])(operands);
    stop_failures();
    check_step();
}

void DmaLayoutDriver::check_step()
{
    const DmaLayoutStats stats = rig_.stats();

    tally_.with_missing += stats.missing_size != 0;
    if (setup_.extent_size == DMA_LAYOUT_PAGE) {
        MODEL_CHECK_EQUAL(stats.splits, 0u);
        MODEL_CHECK_EQUAL(stats.merges, 0u);
    }
    if (setup_.kernel == Kernel::kReliable && setup_.limit >= 10000) {
        MODEL_CHECK_EQUAL(stats.missing_size, 0u);
    }
    if (setup_.kernel == Kernel::kReliable &&
        setup_.kind == IommuKind::kIommufdCut) {
        MODEL_CHECK_EQUAL(stats.splits + stats.merges, 0u);
    }
}

/* Discard all memory, which must succeed after any operations. */
void DmaLayoutDriver::finish()
{
    rig_.pinned().clear();
    rig_.release_entries(UINT64_MAX);
    MODEL_CHECK_EQUAL(rig_.discard(0, kHalf), 0);
    MODEL_CHECK_EQUAL(rig_.discard(kHalf, kHalf), 0);
    MODEL_CHECK_EQUAL(rig_.size(), 0u);
    MODEL_CHECK_EQUAL(rig_.model().mappings().size(), 0u);
    tally_.cuts += rig_.stats().cuts;
    tally_.splits += rig_.stats().splits;
    tally_.merges += rig_.stats().merges;
    tally_.calls += rig_.calls();
}

/* Fail one call, several from the nth call on, or each unmap of an IOVA. */
void DmaLayoutDriver::let_fail(uint8_t how, const Operands &operands)
{
    constexpr int kMapErrors[] = {ENOSPC, ENOMEM, EFAULT, EINVAL,
                                  EBUSY,  EPERM,  EIO,    ENOSPC};
    const uint64_t nth = 1 + (how >> 3 & 3);
    const uint64_t which = how >> 5;

    if (setup_.kernel == Kernel::kReliable) {
        return;
    }
    failing_ = how % 8 >= 4;
    switch (how % 8) {
    case 4:
        rig_.model().fail_map(nth, kMapErrors[which]);
        break;
    case 5:
        rig_.refuse_maps(kMapErrors[which], nth, 1 + which * 3);
        break;
    case 6:
        if (setup_.kind == IommuKind::kIommufdCut && which % 2) {
            rig_.model().fail_cut(1 + which / 2 + (how >> 3 & 3), ENOMEM);
        } else if (which < 4) {
            rig_.model().fail_unmap(nth, which % 2 ? EIO : EINVAL);
        } else {
            rig_.refuse_unmaps(nth, which - 3);
        }
        break;
    case 7:
        /* The IOVA stays pinned until a step with another failure. */
        rig_.pinned().insert(operands.iova);
        return;
    }
    rig_.pinned().clear();
}

void DmaLayoutDriver::stop_failures()
{
    rig_.model().fail_map(0, 0);
    rig_.model().fail_unmap(0, 0);
    rig_.model().fail_cut(0, 0);
    rig_.refuse_maps(0, 0, 0);
    rig_.refuse_unmaps(0, 0);
    failing_ = false;
}

/* Populate a range, but not beyond the end of the section. */
void DmaLayoutDriver::populate_range(const Operands &operands, uint64_t iova,
                                     uint64_t size)
{
    const Section &section = operands.section;

    if (iova < section.iova || iova > section.last()) {
        return;
    }
    size = std::min(size, section.last() - iova + 1);

    const int ret = rig_.populate(iova, size, section.memory);

    if (!ret) {
        tally_.populated++;
    } else if (ret != -EEXIST) {
        tally_.refused++;
        if (setup_.kernel == Kernel::kReliable) {
            MODEL_CHECK_EQUAL(ret, -ENOSPC);
            MODEL_CHECK_EQUAL(setup_.kind, IommuKind::kType1v2);
            MODEL_CHECK(setup_.extent_size == DMA_LAYOUT_PAGE ||
                        !rig_.has_neighbours());
        }
    }
    operands.stream_end = iova + size;
    tally_.steps++;
}

/* Return how many bytes from @iova on are not populated, at most @size. */
uint64_t DmaLayoutDriver::free_size(uint64_t iova, uint64_t size) const
{
    const auto &ranges = rig_.populated().ranges();
    const auto next = ranges.upper_bound(iova);

    return next == ranges.end() ? size : std::min(size, next->first - iova);
}

void DmaLayoutDriver::discard_range(uint64_t iova, uint64_t size)
{
    const bool is_stuck = rig_.discard(iova, size);

    tally_.discarded += !is_stuck;
    tally_.stuck += is_stuck;
    tally_.steps++;
}

void DmaLayoutDriver::populate_stream(const Operands &operands)
{
    const uint64_t iova = operands.stream_end;

    populate_range(operands, iova,
                   operands.flag ? free_size(iova, operands.size)
                                 : operands.size);
}

void DmaLayoutDriver::populate_parts(const Operands &operands)
{
    constexpr uint64_t kSizes[] = {kPage, 4 * kPage, kLarge, 2 * kMiB};
    const uint64_t size =
        kSizes[2 * (operands.number / kMaxParts % 2) + operands.flag];

    for (uint64_t i = 0; i <= operands.number % kMaxParts; i++) {
        populate_range(operands, operands.stream_end, size);
    }
}

void DmaLayoutDriver::populate(const Operands &operands)
{
    populate_range(operands, operands.iova, operands.size);
}

void DmaLayoutDriver::populate_free(const Operands &operands)
{
    populate_range(operands, operands.iova,
                   free_size(operands.iova, operands.size));
}

void DmaLayoutDriver::populate_holes(const Operands &operands)
{
    for (uint64_t i = 0; i <= operands.number % kMaxParts; i++) {
        populate_range(operands, operands.iova + i * 2 * kPage, kPage);
    }
}

void DmaLayoutDriver::discard(const Operands &operands)
{
    discard_range(
        operands.iova,
        std::min(operands.size, operands.section.last() - operands.iova + 1));
}

/* Discard a part of the first populated range at or above an IOVA. */
void DmaLayoutDriver::discard_inside(const Operands &operands)
{
    const auto &ranges = rig_.populated().ranges();
    const auto it = ranges.lower_bound(operands.iova);

    if (it != ranges.end() && it->second.memory == operands.section.memory) {
        const uint64_t npages = (it->second.last - it->first + 1) / kPage;
        const uint64_t iova = it->first + operands.number * 31 % npages * kPage;

        discard_range(iova,
                      std::min(operands.size, it->second.last - iova + 1));
    }
}

/* Discard the start or end of the first populated range at or above an IOVA. */
void DmaLayoutDriver::discard_ends(const Operands &operands)
{
    const auto &ranges = rig_.populated().ranges();
    const auto it = ranges.lower_bound(operands.iova);

    if (it != ranges.end() && it->second.memory == operands.section.memory) {
        const uint64_t iova = it->first;
        const uint64_t last = it->second.last;
        const uint64_t size = std::min(operands.size, last - iova + 1);

        discard_range(operands.flag ? last - (size - 1) : iova, size);
    }
}

void DmaLayoutDriver::discard_holes(const Operands &operands)
{
    for (uint64_t i = 0; i <= operands.number % kMaxParts; i++) {
        const uint64_t iova = operands.iova + i * 2 * kPage;

        if (iova >= operands.iova && iova <= operands.section.last()) {
            discard_range(iova, kPage);
        }
    }
}

/* Discard a whole section, and possibly the one next to it. */
void DmaLayoutDriver::discard_sections(const Operands &operands)
{
    const Section *next = &operands.section + 1;
    uint64_t last = operands.section.last();

    if (operands.number % 4) {
        return;
    }
    if (operands.flag && next != sections_.data() + sections_.size() &&
        next->iova == last + 1) {
        last = next->last();
    }
    discard_range(operands.section.iova, last - operands.section.iova + 1);
}

void DmaLayoutDriver::open(const Operands &)
{
    const int ret = rig_.open();

    tally_.opened += !ret;
    tally_.not_opened += ret != 0;
    if (ret && setup_.kernel == Kernel::kReliable) {
        MODEL_CHECK_EQUAL(ret, -ENOSPC);
        MODEL_CHECK_EQUAL(setup_.kind, IommuKind::kType1v2);
    }
    tally_.steps++;
}

void DmaLayoutDriver::close(const Operands &)
{
    rig_.close();
    tally_.steps++;
}

void DmaLayoutDriver::take_entries(const Operands &operands)
{
    stop_failures();
    if (setup_.kernel == Kernel::kUnreliable) {
        rig_.take_entries(operands.number % 128);
        tally_.steps++;
    }
}

void DmaLayoutDriver::release_entries(const Operands &operands)
{
    stop_failures();
    rig_.release_entries(operands.number % 256);
    tally_.steps++;
}

void DmaLayoutDriver::set_extent_size(const Operands &operands)
{
    const uint64_t number = operands.number;
    const uint64_t size = setup_.section_size <= kMaxSmallSection
                              ? kSmallSizes[number % std::size(kSmallSizes)]
                              : kLargeSizes[number % std::size(kLargeSizes)];

    /* Keep an explicit size while the gate is closed. */
    if (rig_.layout().uses_cuts()) {
        rig_.set_extent_size(size);
    } else if (setup_.extent_size == DMA_LAYOUT_AUTO ||
               rig_.layout().is_open()) {
        if (!rig_.set_extent_size(size)) {
            setup_.extent_size = size;
        }
        tally_.steps++;
    }
}

void DmaLayoutDriver::try_invalid_range(const Operands &operands)
{
    const uint64_t iova = operands.iova;
    const uint64_t size = operands.flag ? 0 : 0 - iova + kPage;

    rig_.populate(iova, size, operands.section.memory);
    rig_.discard(iova, size);
    tally_.steps++;
}

/* Populate and discard a page, so that missing extents are tried again. */
void DmaLayoutDriver::retry(const Operands &operands)
{
    if (!rig_.populate(operands.iova, kPage, operands.section.memory)) {
        rig_.discard(operands.iova, kPage);
    }
    tally_.steps++;
}

} // namespace shared_dma::rig
