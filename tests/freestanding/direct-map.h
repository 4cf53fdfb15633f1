/*
 * Access to guest memory by its guest-physical address
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FREESTANDING_DIRECT_MAP_H
#define TESTS_FREESTANDING_DIRECT_MAP_H

#include <stdint.h>

/* Direct map of all guest-physical addresses below 512 GiB, see start.S */
constexpr uint64_t DIRECT_MAP_BASE = 0x8000000000;

/* Returns a pointer to guest memory or device registers at @gpa. */
template <typename T> static inline T *at_gpa(uint64_t gpa)
{
    return reinterpret_cast<T *>(DIRECT_MAP_BASE + gpa);
}

#endif
