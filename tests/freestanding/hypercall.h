/*
 * KVM's hypercall to convert guest memory, as AMD processors execute it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FREESTANDING_HYPERCALL_H
#define TESTS_FREESTANDING_HYPERCALL_H

#include <stdint.h>

enum class PageState {
    Shared,
    Private
};

/* Result of a hypercall that KVM does not have, or not in this guest */
constexpr int64_t HYPERCALL_UNKNOWN = -1000;

/*
 * Asks the host to convert @pages pages at @gpa to @state, without validating
 * the arguments. Returns 0 or a negative errno.
 */
static inline int64_t map_gpa_range(uint64_t gpa, uint64_t pages,
                                    PageState state)
{
    constexpr uint64_t KVM_HC_MAP_GPA_RANGE = 12;
    constexpr uint64_t KVM_MAP_GPA_RANGE_ENCRYPTED = 1 << 4;
    int64_t result;

    asm volatile(
        "vmmcall"
        : "=a"(result)
        : "a"(KVM_HC_MAP_GPA_RANGE), "b"(gpa), "c"(pages),
          "d"(state == PageState::Private ? KVM_MAP_GPA_RANGE_ENCRYPTED : 0),
          "S"(0)
        : "memory");
    return result;
}

#endif
