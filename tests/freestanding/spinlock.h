/*
 * Spinlock
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FREESTANDING_SPINLOCK_H
#define TESTS_FREESTANDING_SPINLOCK_H

#include "x86.h"

class Spinlock {
public:
    void lock()
    {
        while (__atomic_exchange_n(&locked_, true, __ATOMIC_ACQUIRE)) {
            relax();
        }
    }

    void unlock() { __atomic_store_n(&locked_, false, __ATOMIC_RELEASE); }

private:
    bool locked_ = false;
};

#endif
