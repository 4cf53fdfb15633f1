/*
 * Lines in the kernel's trace
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_KERNEL_EDGE_TRACE_MARKER_H
#define TESTS_NESTED_KERNEL_EDGE_TRACE_MARKER_H

#include <stdint.h>

/*
 * Writes "edge WORD GPA SIZE" to the file that the environment names
 * (KERNEL_EDGE_TRACE), so that it has its place among the kernel's own events.
 * errno stays as it is.
 */
void trace_edge(const char *word, uint64_t gpa, uint64_t size);

#endif
