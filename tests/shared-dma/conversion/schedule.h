/*
 * The conversion path above a model of the kernel: threads and locks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Threads run free, for ThreadSanitizer, or one at a time.  In the latter case
 * the one that runs has the baton, and gives it on where it takes a lock or
 * calls the kernel, if the choices say so.  When all wait for one another,
 * that is a failure.
 *
 * Either way it is written down in which order locks are taken.  Two that are
 * taken in both orders are a failure, whether threads met there or not, unless
 * a third one is always held.
 *
 * This and the model are compiled without ThreadSanitizer, and their own lock
 * is unknown to it: what happens here must not look like an order between the
 * threads that are tested.
 */

#ifndef TESTS_SHARED_DMA_CONVERSION_SCHEDULE_H
#define TESTS_SHARED_DMA_CONVERSION_SCHEDULE_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/shared-dma/conversion/edge.h"

namespace shared_dma {

class SpinLock {
public:
    void take()
    {
        while (__atomic_exchange_n(&taken_, true, __ATOMIC_ACQUIRE)) {
            wait();
        }
    }
    void give() { __atomic_store_n(&taken_, false, __ATOMIC_RELEASE); }

private:
    static void wait();

    bool taken_ = false;
};

class SpinGuard {
public:
    explicit SpinGuard(SpinLock &lock) : lock_(lock) { lock_.take(); }
    ~SpinGuard() { lock_.give(); }
    SpinGuard(const SpinGuard &) = delete;
    SpinGuard &operator=(const SpinGuard &) = delete;

private:
    SpinLock &lock_;
};

constexpr unsigned int kMaxThreads = 8;

using ScheduleBody = void(unsigned int thread, void *opaque);

/* Whether threads run one at a time; before there are any. */
void schedule_set_baton(bool baton);

/* Forget the locks of a machine that is gone. */
void schedule_forget();

/*
 * Call @body in @nthreads threads and wait for all of them.  @choices decide
 * who runs; when they are used up, numbers that follow from them.
 */
void schedule_run(unsigned int nthreads, ScheduleBody *body, void *opaque,
                  const std::vector<uint8_t> &choices);

} // namespace shared_dma

#endif
