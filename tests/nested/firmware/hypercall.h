/*
 * KVM's hypercall to convert guest memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_HYPERCALL_H
#define TESTS_NESTED_HYPERCALL_H

#include <stdint.h>

/*
 * Asks the host to make @pages pages at @gpa private or shared, without
 * validating the arguments. Returns 0 or a negative errno.
 */
static inline int64_t map_gpa_range(uint64_t gpa, uint64_t pages,
                                    bool to_private)
{
    constexpr uint64_t KVM_HC_MAP_GPA_RANGE = 12;
    constexpr uint64_t KVM_MAP_GPA_RANGE_ENCRYPTED = 1 << 4;
    int64_t result;

    asm volatile("vmmcall"
                 : "=a"(result)
                 : "a"(KVM_HC_MAP_GPA_RANGE), "b"(gpa), "c"(pages),
                   "d"(to_private ? KVM_MAP_GPA_RANGE_ENCRYPTED : 0), "S"(0)
                 : "memory");
    return result;
}

#endif
