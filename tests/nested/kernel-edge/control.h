/*
 * Fault injection: control of the calls that fail, and counters
 *
 * A test writes an EdgeControl to the file that is named by the environment
 * variable KERNEL_EDGE_CONTROL, at any time. The Python side (edge.py) parses
 * the fields from this header, so put each declaration on one line:
 * "NAME = NUMBER," or "TYPE name;".
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
    /* The nth call fails. */
    EDGE_ONCE = 1,
    /* The nth call and all later ones of its kind fail. */
    EDGE_STICKY = 2,
};

struct EdgeControl {
    /* The test sets these fields. */
    /* An EdgeMode */
    uint32_t mode;
    /* Number of the call that fails, counted from 1 over all kinds in @kinds */
    uint32_t nth;
    /* Bit mask of 1 << EdgeKind */
    uint32_t kinds;
    /* Not 0: show hypercalls that convert memory as memory faults. */
    uint32_t implicit;
    /*
     * Not 0: accept only those results of conversions that the kernel accepts
     * for SEV-SNP and TDX guests.
     */
    uint32_t strict;
    /* Not 0: also write to the trace what is mapped and unmapped. */
    uint32_t trace_maps;
    /* In the order of EdgeKind: errno of failing calls */
    uint32_t error_attributes;
    uint32_t error_map;
    uint32_t error_unmap;
    uint32_t error_free_shared;
    uint32_t error_free_private;

    /* The library sets these fields. */
    /* Number of calls of the kinds in @kinds */
    uint32_t calls;
    /* Number of failed calls, and the kind of the first one */
    uint32_t hits;
    uint32_t hit_kind;
    /* Conversions that were shown as memory faults */
    uint32_t faults;
    /* In the order of EdgeKind: all calls, in any mode */
    uint32_t count_attributes;
    uint32_t count_map;
    uint32_t count_unmap;
    uint32_t count_free_shared;
    uint32_t count_free_private;
};

/* Counts a call. Returns the errno to fail it with, or 0. */
uint32_t edge_error(EdgeKind kind);

/* Whether to show a hypercall as a memory fault. Counts it if so. */
bool edge_is_implicit();

/* Whether to accept only the results that SEV-SNP and TDX guests can get. */
bool edge_is_strict();

/* Whether to trace successful calls that map or unmap memory. */
bool edge_traces_maps();

#endif
