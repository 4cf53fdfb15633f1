/*
 * Extents that could not be mapped, and when to try again
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "dma-missing.h"

#include <algorithm>

namespace shared_dma {

void DmaMissing::add(uint64_t iova, int err)
{
    if (err && !is_shortage(err)) {
        refuse(iova);
    } else if (!refused_.contains(iova)) {
        short_.insert(iova);
    }
}

void DmaMissing::failed_again(uint64_t iova, int err)
{
    if (!is_shortage(err)) {
        refuse(iova);
    } else if (refused_.contains(iova)) {
        put_off(iova, 1);
    }
}

void DmaMissing::remove(uint64_t iova)
{
    const auto known = refused_.find(iova);

    short_.erase(iova);
    if (known != refused_.end()) {
        due_.erase({known->second.due, iova});
        refused_.erase(known);
    }
}

bool DmaMissing::is_put_off(uint64_t iova) const
{
    const auto known = refused_.find(iova);

    return known != refused_.end() && known->second.due > nchanges_;
}

std::optional<uint64_t> DmaMissing::next_short()
{
    auto next = short_.lower_bound(short_hand_);

    if (short_.empty()) {
        return {};
    }
    if (next == short_.end()) {
        next = short_.begin();
    }
    short_hand_ = *next + 1;
    return *next;
}

std::optional<uint64_t> DmaMissing::next_due() const
{
    if (due_.empty() || due_.begin()->first > nchanges_) {
        return {};
    }
    return due_.begin()->second;
}

/* Try an extent again immediately, and then at growing intervals. */
void DmaMissing::refuse(uint64_t iova)
{
    const auto [known, is_new] = refused_.try_emplace(iova);
    uint64_t &delay = known->second.delay;

    short_.erase(iova);
    delay = is_new ? 0 : std::clamp(2 * delay, UINT64_C(1), kMaxDelay);
    put_off(iova, delay);
}

void DmaMissing::put_off(uint64_t iova, uint64_t nchanges)
{
    uint64_t &due = refused_[iova].due;

    due_.erase({due, iova});
    due = nchanges_ + nchanges;
    due_.emplace(due, iova);
}

const char *DmaMissing::broken_invariant() const
{
    if (due_.size() != refused_.size()) {
        return "refused extents are not all due once";
    }
    for (const auto &[iova, refusal] : refused_) {
        if (!due_.contains({refusal.due, iova})) {
            return "a refused extent is never due";
        }
        if (short_.contains(iova)) {
            return "an extent is both short and refused";
        }
    }
    return nullptr;
}

} // namespace shared_dma
