/*
 * Simulated conversions: threads and locks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Threads run either freely, for ThreadSanitizer, or one at a time.  In the
 * latter case the running thread has the baton.  Choices decide whether it
 * passes the baton on when it takes a lock or calls the kernel.  A deadlock is
 * a failure.
 *
 * In both cases the order in which locks are taken is recorded.  It is a
 * failure if two locks are taken in both orders, even if no threads collide,
 * unless a third lock is always held.
 *
 * This code and the model are compiled without ThreadSanitizer, and their lock
 * is invisible to it: they must not appear to order the tested threads.
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

/* Select whether threads run one at a time; called before any exist. */
void schedule_set_baton(bool baton);

/* Discard the recorded locks of a machine that has been stopped. */
void schedule_forget();

/*
 * Call @body in @nthreads threads and wait for all of them.  @choices decide
 * which thread runs; after the last choice, pseudo-random numbers that are
 * seeded with @choices.
 */
void schedule_run(unsigned int nthreads, ScheduleBody *body, void *opaque,
                  const std::vector<uint8_t> &choices);

} // namespace shared_dma

#endif
