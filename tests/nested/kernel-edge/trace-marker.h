/*
 * Writes lines to the kernel's trace
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_KERNEL_EDGE_TRACE_MARKER_H
#define TESTS_NESTED_KERNEL_EDGE_TRACE_MARKER_H

#include <stdint.h>

/*
 * Writes "edge WORD GPA SIZE" to the kernel's trace marker, so that the line is
 * ordered among the kernel's own events. The environment variable
 * KERNEL_EDGE_TRACE names the file. Preserves errno.
 */
void trace_edge(const char *word, uint64_t gpa, uint64_t size);

#endif
