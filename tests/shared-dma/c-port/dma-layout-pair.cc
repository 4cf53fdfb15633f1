/*
 * The C++ DmaLayout and its C port side by side, compared in each step
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/shared-dma/c-port/dma-layout-pair.h"

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "tests/model/check.h"

extern "C" {
#include "tests/shared-dma/c-port/peek.h"
}

namespace shared_dma {

namespace {

/* Larger numbers of extents are compared in one of so many steps only. */
constexpr uint64_t kMaxCompared = 2048;
constexpr uint64_t kStepsBetween = 100000;

bool is_same(const DmaExtentMap::Entry &entry, const PeekExtent &other)
{
    const auto &[iova, extent] = entry;

    return iova == other.iova && extent.size == other.size &&
           extent.vaddr == other.vaddr && extent.access == other.access &&
           extent.large == other.large && extent.joined == other.joined &&
           extent.mapped == other.mapped;
}

} // namespace

DmaLayout::DmaLayout(const DmaLayoutBackend &backend, void *opaque)
    : backend_(backend), opaque_(opaque), cpp_(cpp_backend(), this)
{
    const DmaLayoutBackend port = port_backend();

    port_ = dma_layout_new(&port, this);
}

std::string DmaLayout::Call::text() const
{
    constexpr const char *kNames[] = {"map", "unmap", "cut", "entries_left",
                                      "event"};
    std::string text = kNames[static_cast<int>(function)];

    for (const uint64_t argument : arguments) {
        text += " " + std::to_string(argument);
    }
    return text + " with " + std::to_string(nextents) + " extents, " +
           std::to_string(nmapped) + " mapped";
}

/* Backend */

uint64_t DmaLayout::record(Function function, uint64_t a, uint64_t b,
                           uint64_t c, uint64_t d, uint64_t result)
{
    records_.push_back({{function,
                         {a, b, c, d},
                         cpp_.extents().size(),
                         cpp_.extents().nmapped()},
                        result});
    return result;
}

uint64_t DmaLayout::replay(Function function, uint64_t a, uint64_t b,
                           uint64_t c, uint64_t d)
{
    const Call call = {function,
                       {a, b, c, d},
                       peek_count(port_),
                       dma_layout_count_mapped(port_)};

    if (!differs_) {
        if (nreplayed_ == records_.size()) {
            differ("one more call: " + call.text());
        } else if (const Call &expected = records_[nreplayed_].call;
                   call != expected) {
            differ(call.text() + ", but " + expected.text());
        }
    }
    if (differs_) {
        /* Let the operation end soon. */
        return static_cast<uint64_t>(-EIO);
    }
    return records_[nreplayed_++].result;
}

DmaLayoutBackend DmaLayout::cpp_backend()
{
    return {
        .map =
            [](void *opaque, uint64_t iova, uint64_t size, uint64_t vaddr,
               DmaLayoutAccess access) {
                DmaLayout *pair = from(opaque);
                const int ret = pair->backend_.map(pair->opaque_, iova, size,
                                                   vaddr, access);

                pair->record(Function::kMap, iova, size, vaddr, access, ret);
                return ret;
            },
        .unmap =
            [](void *opaque, uint64_t iova, uint64_t size) {
                DmaLayout *pair = from(opaque);
                const int ret = pair->backend_.unmap(pair->opaque_, iova, size);

                pair->record(Function::kUnmap, iova, size, 0, 0, ret);
                return ret;
            },
        .cut =
            [](void *opaque, uint64_t iova, uint64_t size) {
                DmaLayout *pair = from(opaque);
                const int ret = pair->backend_.cut(pair->opaque_, iova, size);

                pair->record(Function::kCut, iova, size, 0, 0, ret);
                return ret;
            },
        .entries_left =
            [](void *opaque) {
                DmaLayout *pair = from(opaque);

                return pair->record(Function::kEntriesLeft, 0, 0, 0, 0,
                                    pair->backend_.entries_left(pair->opaque_));
            },
        .event =
            [](void *opaque, DmaLayoutEvent what, uint64_t iova, uint64_t size,
               uint64_t count) {
                DmaLayout *pair = from(opaque);

                pair->backend_.event(pair->opaque_, what, iova, size, count);
                pair->record(Function::kEvent, what, iova, size, count, 0);
            },
    };
}

DmaLayoutBackend DmaLayout::port_backend()
{
    return {
        .map =
            [](void *opaque, uint64_t iova, uint64_t size, uint64_t vaddr,
               DmaLayoutAccess access) {
                return static_cast<int>(from(opaque)->replay(
                    Function::kMap, iova, size, vaddr, access));
            },
        .unmap =
            [](void *opaque, uint64_t iova, uint64_t size) {
                return static_cast<int>(
                    from(opaque)->replay(Function::kUnmap, iova, size, 0, 0));
            },
        .cut =
            [](void *opaque, uint64_t iova, uint64_t size) {
                return static_cast<int>(
                    from(opaque)->replay(Function::kCut, iova, size, 0, 0));
            },
        .entries_left =
            [](void *opaque) {
                return from(opaque)->replay(Function::kEntriesLeft, 0, 0, 0, 0);
            },
        .event =
            [](void *opaque, DmaLayoutEvent what, uint64_t iova, uint64_t size,
               uint64_t count) {
                from(opaque)->replay(Function::kEvent, what, iova, size, count);
            },
    };
}

/* Comparing */

void DmaLayout::differ(const std::string &what)
{
    differs_ = true;
    model_check_failed(__FILE__, __LINE__,
                       "the C port differs in step " + std::to_string(nsteps_) +
                           ": " + what);
}

/* Carry out an operation on both.  Returns the original's result. */
template <typename Cpp, typename Port> int DmaLayout::both(Cpp cpp, Port port)
{
    nsteps_++;
    records_.clear();
    nreplayed_ = 0;

    const int ret = cpp();

    if (differs_) {
        return ret;
    }

    const int port_ret = port();

    if (!differs_ && nreplayed_ != records_.size()) {
        differ("no " + records_[nreplayed_].call.text());
    }
    if (!differs_ && port_ret != ret) {
        differ("it returns " + std::to_string(port_ret) + " instead of " +
               std::to_string(ret));
    }
    if (!differs_) {
        compare_states();
    }
    return ret;
}

void DmaLayout::compare_states()
{
    compare_stats();
    if (dma_layout_is_open(port_) != cpp_.is_open() ||
        dma_layout_uses_cuts(port_) != cpp_.uses_cuts()) {
        differ("another mode");
    }
    if (cpp_.extents().size() <= kMaxCompared || nsteps_ % kStepsBetween == 0) {
        compare_extents();
    }
}

void DmaLayout::compare_stats()
{
    const DmaLayoutStats expected = cpp_.stats();
    DmaLayoutStats stats;

    dma_layout_get_stats(port_, &stats);
#define COMPARE(name, label)                                                \
    if (stats.name != expected.name) {                                      \
        differ(#name " is " + std::to_string(stats.name) + " instead of " + \
               std::to_string(expected.name));                              \
    }
    DMA_LAYOUT_STATS(COMPARE)
    COMPARE(entries_left, nullptr)
    COMPARE(entries_limit, nullptr)
    COMPARE(entries_reserve, nullptr)
#undef COMPARE
    if (!std::ranges::equal(stats.by_order, expected.by_order)) {
        differ("by_order");
    }
}

void DmaLayout::compare_extents()
{
    const DmaExtentMap &extents = cpp_.extents();
    uint64_t iova = 0;

    for (const auto &entry : extents) {
        DmaLayoutExtent found = {};
        PeekExtent extent;

        if (!peek_find(port_, iova, &extent) || !is_same(entry, extent)) {
            differ("the extent at " + std::to_string(entry.first));
            return;
        }
        if (!dma_layout_next_extent(port_, iova, entry.first, &found) ||
            found.iova != extent.iova || found.size != extent.size ||
            found.mapped != extent.mapped) {
            differ("what a query finds at " + std::to_string(entry.first));
            return;
        }
        iova = DmaExtentMap::last_of(entry) + 1;
    }

    const uint64_t last =
        extents.empty() ? 0 : DmaExtentMap::last_of(*std::prev(extents.end()));

    if (dma_layout_last(port_) != last) {
        differ("the last byte is " + std::to_string(dma_layout_last(port_)) +
               " instead of " + std::to_string(last));
    }
}

/* Operations */

void DmaLayout::use_cuts()
{
    cpp_.use_cuts();
    dma_layout_use_cuts(port_);
}

int DmaLayout::set_extent_size(uint64_t extent_size)
{
    return both(
        [=, this] { return cpp_.set_extent_size(extent_size); },
        [=, this] { return dma_layout_set_extent_size(port_, extent_size); });
}

int DmaLayout::populate(uint64_t iova, uint64_t size, uint64_t vaddr,
                        DmaLayoutAccess access)
{
    return both([=, this] { return cpp_.populate(iova, size, vaddr, access); },
                [=, this] {
                    return dma_layout_populate(port_, iova, size, vaddr,
                                               access);
                });
}

int DmaLayout::discard(uint64_t iova, uint64_t size)
{
    return both([=, this] { return cpp_.discard(iova, size); },
                [=, this] { return dma_layout_discard(port_, iova, size); });
}

int DmaLayout::open()
{
    return both([this] { return cpp_.open(); },
                [this] { return dma_layout_open(port_); });
}

void DmaLayout::close()
{
    both(
        [this] {
            cpp_.close();
            return 0;
        },
        [this] {
            dma_layout_close(port_);
            return 0;
        });
}

const char *DmaLayout::broken_invariant() const
{
    const char *broken = cpp_.broken_invariant();

    return broken || differs_ ? broken : peek_broken_invariant(port_);
}

} // namespace shared_dma
