/*
 * What a test wants to fail, and what became of it
 *
 * A test writes this to a file, at any time, whose name is in the environment
 * (KERNEL_EDGE_CONTROL). The Python side (edge.py) reads the fields from here:
 * keep to one declaration a line, "NAME = NUMBER," or "TYPE name;".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_KERNEL_EDGE_CONTROL_H
#define TESTS_NESTED_KERNEL_EDGE_CONTROL_H

#include <stdint.h>

enum EdgeKind : uint32_t {
    EDGE_ATTRIBUTES = 0,
    EDGE_MAP = 1,
    EDGE_UNMAP = 2,
    EDGE_FREE_SHARED = 3,
    EDGE_FREE_PRIVATE = 4,
    EDGE_KINDS = 5,
};

enum EdgeMode : uint32_t {
    EDGE_OFF = 0,
    /* The chosen call fails. */
    EDGE_ONCE = 1,
    /* And all later ones of its kind. */
    EDGE_STICKY = 2,
};

struct EdgeControl {
    /* What is wanted: an EdgeMode. */
    uint32_t mode;
    /* Which of the calls of these kinds fails, from 1 on. */
    uint32_t nth;
    /* Bits, by EdgeKind. */
    uint32_t kinds;
    /* Conversions come as memory faults in place of hypercalls. */
    uint32_t implicit;
    /*
     * The kernel goes on only with the results that it accepts for SEV-SNP and
     * TDX guests.
     */
    uint32_t strict;
    /* In the order of EdgeKind: what a call of that kind fails with. */
    uint32_t error_attributes;
    uint32_t error_map;
    uint32_t error_unmap;
    uint32_t error_free_shared;
    uint32_t error_free_private;

    /* What came of it. Calls of these kinds: */
    uint32_t calls;
    /* How many failed, and the kind of the first one. */
    uint32_t hits;
    uint32_t hit_kind;
    /* Conversions that came as memory faults. */
    uint32_t faults;
    /* In the order of EdgeKind: all calls, whatever is wanted. */
    uint32_t count_attributes;
    uint32_t count_map;
    uint32_t count_unmap;
    uint32_t count_free_shared;
    uint32_t count_free_private;
};

/* Returns what a call of that kind has to fail with, or 0. */
uint32_t edge_error(EdgeKind kind);

/* Whether a hypercall has to be shown as a memory fault; counts it then. */
bool edge_is_implicit();

/* Whether results of conversions are those of SEV-SNP and TDX guests. */
bool edge_is_strict();

#endif
