/*
 * Populated memory: IOVA ranges and their properties
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/model/populated.h"

#include <algorithm>
#include <iterator>

namespace shared_dma::rig {

bool Populated::overlaps(uint64_t iova, uint64_t last) const
{
    auto it = ranges_.upper_bound(last);

    return it != ranges_.begin() && std::prev(it)->second.last >= iova;
}

uint64_t Populated::count(uint64_t iova, uint64_t last) const
{
    auto it = ranges_.upper_bound(iova);
    uint64_t size = 0;

    if (it != ranges_.begin()) {
        --it;
    }
    for (; it != ranges_.end() && it->first <= last; ++it) {
        const uint64_t first = std::max(it->first, iova);
        const uint64_t end_last = std::min(it->second.last, last);

        size += first <= end_last ? end_last - first + 1 : 0;
    }
    return size;
}

void Populated::add(uint64_t iova, uint64_t last, const Memory &memory)
{
    auto it = ranges_.emplace(iova, Range{last, memory}).first;

    size_ += last - iova + 1;
    if (std::next(it) != ranges_.end()) {
        join(std::next(it));
    }
    join(it);
}

void Populated::remove(uint64_t iova, uint64_t last)
{
    auto it = ranges_.upper_bound(iova);

    if (it != ranges_.begin()) {
        --it;
    }
    while (it != ranges_.end() && it->first <= last) {
        const uint64_t first = it->first;
        const Range range = it->second;

        if (range.last < iova) {
            ++it;
            continue;
        }
        it = ranges_.erase(it);
        if (first < iova) {
            ranges_.emplace(first, Range{iova - 1, range.memory});
        }
        if (range.last > last) {
            ranges_.emplace(last + 1, Range{range.last, range.memory});
        }
        size_ -= std::min(last, range.last) - std::max(iova, first) + 1;
    }
}

void Populated::join(Ranges::iterator it)
{
    if (it == ranges_.begin()) {
        return;
    }

    auto before = std::prev(it);

    if (before->second.last + 1 == it->first &&
        before->second.memory == it->second.memory) {
        before->second.last = it->second.last;
        ranges_.erase(it);
    }
}

} // namespace shared_dma::rig
