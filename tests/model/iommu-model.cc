/*
 * A container's IOMMU, with exactly the rules of Linux 6.12 or 7.3
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/model/iommu-model.h"

#include <cassert>
#include <cerrno>
#include <iterator>
#include <utility>

namespace shared_dma {

namespace {

constexpr uint64_t kPageMask = IommuModel::kPageSize - 1;

/* Whether @size bytes (not 0) from @first on wrap around 2^64 */
bool wraps(uint64_t first, uint64_t size)
{
    return first + (size - 1) < first;
}

} /* namespace */

const char *iommu_rule_name(IommuRule rule)
{
    switch (rule) {
    case IommuRule::kMapped:
        return "mapped";
    case IommuRule::kUnmapped:
        return "unmapped";
    case IommuRule::kUnmappedParts:
        return "unmapped a part";
    case IommuRule::kUnmappedNothing:
        return "unmapped nothing";
    case IommuRule::kUnmappedToTop:
        return "unmapped nothing, up to the top";
    case IommuRule::kUnmappedAll:
        return "unmapped all";
    case IommuRule::kZeroSize:
        return "size 0";
    case IommuRule::kNotANumber:
        return "IOVA or size 2^64-1";
    case IommuRule::kTooLarge:
        return "too large";
    case IommuRule::kUnaligned:
        return "unaligned";
    case IommuRule::kUnalignedVaddr:
        return "unaligned vaddr";
    case IommuRule::kIovaWraps:
        return "IOVA wraps";
    case IommuRule::kVaddrWraps:
        return "vaddr wraps";
    case IommuRule::kReserved:
        return "not an allowed IOVA";
    case IommuRule::kOverlap:
        return "overlaps";
    case IommuRule::kNoEntryLeft:
        return "no entry left";
    case IommuRule::kNotMemory:
        return "not memory";
    case IommuRule::kBisected:
        return "bisects a mapping";
    case IommuRule::kBisectedLate:
        return "bisects a mapping, after unmapping others";
    case IommuRule::kNothingThere:
        return "no mapping in range";
    case IommuRule::kInjected:
        return "injected failure";
    }
    return "unknown";
}

std::vector<IovaRange> x86_iova_ranges()
{
    return {{0, 0xfedfffff}, {0xfef00000, (UINT64_C(1) << 48) - 1}};
}

IommuModel::IommuModel(IommuKind kind, uint32_t entry_limit,
                       std::vector<IovaRange> allowed, IommuVersion version)
    : kind_(kind), entry_limit_(entry_limit), allowed_(std::move(allowed)),
      version_(version)
{
    for (size_t i = 0; i < allowed_.size(); i++) {
        assert(allowed_[i].first <= allowed_[i].last);
        assert(allowed_[i].last < UINT64_MAX);
        assert(i == 0 || allowed_[i].first > allowed_[i - 1].last + 1);
    }
}

void IommuModel::add_memory(uint64_t vaddr, uint64_t size, bool writable)
{
    memory_[vaddr] = {size, writable};
}

bool IommuModel::is_memory(uint64_t vaddr, uint64_t size, bool readonly) const
{
    if (memory_.empty()) {
        return true;
    }
    /* A mapping can span several regions. */
    while (true) {
        auto it = memory_.upper_bound(vaddr);

        if (it == memory_.begin()) {
            return false;
        }
        it--;

        uint64_t offset = vaddr - it->first;
        const Memory &memory = it->second;

        if (offset >= memory.size || !(memory.writable || readonly)) {
            return false;
        }
        if (memory.size - offset >= size) {
            return true;
        }
        vaddr += memory.size - offset;
        size -= memory.size - offset;
    }
}

bool IommuModel::allowed(uint64_t iova, uint64_t last) const
{
    for (const IovaRange &range : allowed_) {
        if (iova >= range.first && last <= range.last) {
            return true;
        }
    }
    return false;
}

IommuModel::Mappings::const_iterator
IommuModel::first_ending_from(uint64_t iova) const
{
    auto it = mappings_.upper_bound(iova);

    if (it != mappings_.begin() && std::prev(it)->second.last() >= iova) {
        return std::prev(it);
    }
    return it;
}

bool IommuModel::overlaps(uint64_t iova, uint64_t last) const
{
    auto it = first_ending_from(iova);

    return it != mappings_.end() && it->first <= last;
}

const IommuMapping *IommuModel::find(uint64_t iova) const
{
    auto it = first_ending_from(iova);

    return it != mappings_.end() && it->first <= iova ? &it->second : nullptr;
}

std::optional<uint32_t> IommuModel::entries_left() const
{
    if (kind_ != IommuKind::kType1v2) {
        return std::nullopt;
    }
    return entry_limit_ - static_cast<uint32_t>(mappings_.size());
}

IommuModel::Mappings::const_iterator
IommuModel::remove(Mappings::const_iterator it, uint64_t &unmapped)
{
    unmapped += it->second.size;
    mapped_bytes_ -= it->second.size;
    return mappings_.erase(it);
}

int IommuModel::conclude(Verdict verdict)
{
    last_rule_ = verdict.rule;
    return -verdict.error;
}

int IommuModel::wrap_error_type1() const
{
    return version_ == IommuVersion::kLinux6_12 ? EINVAL : EOVERFLOW;
}

IommuModel::Verdict IommuModel::judge_map_type1(uint64_t iova, uint64_t size,
                                                uint64_t vaddr,
                                                bool readonly) const
{
    if (size == 0) {
        return {EINVAL, IommuRule::kZeroSize};
    }

    bool unaligned = (iova | size | vaddr) & kPageMask;

    if (unaligned && version_ == IommuVersion::kLinux6_12) {
        return {EINVAL, IommuRule::kUnaligned};
    }
    if (wraps(iova, size)) {
        return {wrap_error_type1(), IommuRule::kIovaWraps};
    }
    if (wraps(vaddr, size)) {
        return {wrap_error_type1(), IommuRule::kVaddrWraps};
    }
    if (unaligned) {
        return {EINVAL, IommuRule::kUnaligned};
    }

    uint64_t last = iova + (size - 1);
    bool checks_overlap =
        last != UINT64_MAX || version_ != IommuVersion::kLinux6_12;

    if (checks_overlap && overlaps(iova, last)) {
        return {EEXIST, IommuRule::kOverlap};
    }
    if (mappings_.size() >= entry_limit_) {
        return {ENOSPC, IommuRule::kNoEntryLeft};
    }
    if (!allowed(iova, last)) {
        return {EINVAL, IommuRule::kReserved};
    }
    if (!is_memory(vaddr, size, readonly)) {
        return {EFAULT, IommuRule::kNotMemory};
    }
    return {0, IommuRule::kMapped};
}

IommuModel::Verdict IommuModel::judge_map_iommufd(uint64_t iova, uint64_t size,
                                                  uint64_t vaddr,
                                                  bool readonly) const
{
    if (iova == UINT64_MAX || size == UINT64_MAX) {
        return {EOVERFLOW, IommuRule::kNotANumber};
    }
    if (size == 0) {
        return {EINVAL, IommuRule::kZeroSize};
    }

    bool vaddr_wraps = vaddr + size < vaddr;

    if (vaddr_wraps && version_ != IommuVersion::kLinux6_12) {
        return {EOVERFLOW, IommuRule::kVaddrWraps};
    }
    if (size > UINT64_MAX - kPageSize) {
        return {EINVAL, IommuRule::kTooLarge};
    }
    if (vaddr_wraps) {
        return {EOVERFLOW, IommuRule::kVaddrWraps};
    }
    if ((iova | size) & kPageMask) {
        return {EINVAL, IommuRule::kUnaligned};
    }
    if (wraps(iova, size)) {
        return {EOVERFLOW, IommuRule::kIovaWraps};
    }

    uint64_t last = iova + (size - 1);

    if (!allowed(iova, last)) {
        return {EINVAL, IommuRule::kReserved};
    }
    if (overlaps(iova, last)) {
        return {EEXIST, IommuRule::kOverlap};
    }
    if (vaddr & kPageMask) {
        return {EINVAL, IommuRule::kUnalignedVaddr};
    }
    if (!is_memory(vaddr, size, readonly)) {
        return {EFAULT, IommuRule::kNotMemory};
    }
    return {0, IommuRule::kMapped};
}

int IommuModel::map(uint64_t iova, uint64_t size, uint64_t vaddr, bool readonly)
{
    map_calls_++;
    if (map_failure_.due()) {
        return conclude({map_failure_.error, IommuRule::kInjected});
    }

    Verdict verdict = kind_ == IommuKind::kType1v2
                          ? judge_map_type1(iova, size, vaddr, readonly)
                          : judge_map_iommufd(iova, size, vaddr, readonly);

    if (verdict.error == 0) {
        mappings_[iova] = {iova, size, vaddr, readonly};
        mapped_bytes_ += size;
        bytes_ever_mapped_ += size;
    }
    return conclude(verdict);
}

IommuModel::Verdict IommuModel::unmap_type1(uint64_t iova, uint64_t size,
                                            uint64_t &unmapped)
{
    if (size == 0) {
        return {EINVAL, IommuRule::kZeroSize};
    }
    if ((iova | size) & kPageMask) {
        return {EINVAL, IommuRule::kUnaligned};
    }
    if (wraps(iova, size)) {
        return {wrap_error_type1(), IommuRule::kIovaWraps};
    }

    uint64_t last = iova + (size - 1);
    const IommuMapping *head = find(iova);
    const IommuMapping *tail = find(last);

    if ((head && head->iova != iova) || (tail && tail->last() != last)) {
        return {EINVAL, IommuRule::kBisected};
    }
    if (last == UINT64_MAX && version_ == IommuVersion::kLinux6_12) {
        return {0, IommuRule::kUnmappedToTop};
    }
    for (auto it = first_ending_from(iova);
         it != mappings_.end() && it->first <= last;) {
        it = remove(it, unmapped);
    }
    return {0, unmapped ? IommuRule::kUnmapped : IommuRule::kUnmappedNothing};
}

IommuModel::Verdict IommuModel::unmap_iommufd(uint64_t iova, uint64_t size,
                                              uint64_t &unmapped)
{
    if (iova == 0 && size == UINT64_MAX) {
        for (auto it = mappings_.cbegin(); it != mappings_.cend();) {
            it = remove(it, unmapped);
        }
        return {0, IommuRule::kUnmappedAll};
    }
    if (iova == UINT64_MAX || size == UINT64_MAX) {
        return {EOVERFLOW, IommuRule::kNotANumber};
    }
    return unmap_ioas(iova, size, unmapped);
}

/* The rules that unmapping and cutting have in common */
IommuModel::Verdict IommuModel::unmap_ioas(uint64_t iova, uint64_t size,
                                           uint64_t &unmapped)
{
    if (size == 0) {
        return {EINVAL, IommuRule::kZeroSize};
    }
    if (wraps(iova, size)) {
        return {EOVERFLOW, IommuRule::kIovaWraps};
    }

    uint64_t last = iova + (size - 1);

    for (auto it = first_ending_from(iova);
         it != mappings_.end() && it->first <= last;) {
        if (it->first < iova || it->second.last() > last) {
            return {ENOENT,
                    unmapped ? IommuRule::kBisectedLate : IommuRule::kBisected};
        }
        it = remove(it, unmapped);
    }
    if (unmapped == 0) {
        return {ENOENT, IommuRule::kNothingThere};
    }
    return {0, IommuRule::kUnmapped};
}

/* Let a mapping start at @iova, if one contains it. */
IommuModel::Verdict IommuModel::divide_at(uint64_t iova)
{
    const IommuMapping *whole = find(iova);

    if (!whole || whole->iova == iova) {
        return {0, IommuRule::kUnmapped};
    }
    if (iova & kPageMask) {
        return {EINVAL, IommuRule::kUnaligned};
    }
    if (cut_failure_.due()) {
        return {cut_failure_.error, IommuRule::kInjected};
    }

    IommuMapping &front = mappings_[whole->iova];
    IommuMapping back = front;

    front.size = iova - front.iova;
    back.iova = iova;
    back.size -= front.size;
    back.vaddr += front.size;
    mappings_[iova] = back;
    return {0, IommuRule::kUnmapped};
}

IommuModel::Verdict IommuModel::cut_iommufd(uint64_t iova, uint64_t size,
                                            uint64_t &unmapped)
{
    const size_t nmappings = mappings_.size();
    /* The kernel divides at the end first, and checks the arguments later. */
    Verdict verdict = divide_at(iova + size);

    if (!verdict.error && iova) {
        verdict = divide_at(iova);
    }
    if (!verdict.error && cut_failure_.due()) {
        verdict = {cut_failure_.error, IommuRule::kInjected};
    }
    if (verdict.error) {
        return verdict;
    }

    const bool has_parts = mappings_.size() > nmappings;

    verdict = unmap_ioas(iova, size, unmapped);
    if (verdict.rule == IommuRule::kNothingThere) {
        return {0, IommuRule::kUnmappedNothing};
    }
    if (!verdict.error && has_parts) {
        verdict.rule = IommuRule::kUnmappedParts;
    }
    return verdict;
}

int IommuModel::cut(uint64_t iova, uint64_t size, uint64_t *unmapped)
{
    uint64_t bytes = 0;

    assert(kind_ == IommuKind::kIommufdCut);
    unmap_calls_++;

    const Verdict verdict = cut_iommufd(iova, size, bytes);

    if (unmapped) {
        *unmapped = verdict.error ? 0 : bytes;
    }
    return conclude(verdict);
}

int IommuModel::unmap(uint64_t iova, uint64_t size, uint64_t *unmapped)
{
    uint64_t bytes = 0;
    Verdict verdict;

    unmap_calls_++;
    if (unmap_failure_.due()) {
        verdict = {unmap_failure_.error, IommuRule::kInjected};
    } else if (kind_ == IommuKind::kType1v2) {
        verdict = unmap_type1(iova, size, bytes);
    } else {
        verdict = unmap_iommufd(iova, size, bytes);
    }
    if (unmapped) {
        *unmapped = verdict.error ? 0 : bytes;
    }
    return conclude(verdict);
}

} /* namespace shared_dma */
