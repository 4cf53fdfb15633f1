/*
 * Programs for the test firmware, as qtests need them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The firmware's own header is C++: tests/nested/firmware/program-format.h.
 */

#ifndef TESTS_QTEST_GMEM_PROGRAM_H
#define TESTS_QTEST_GMEM_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum GmemOp {
    GMEM_SHARE,
    GMEM_UNSHARE,
    /* Says "sync" and waits for "go". */
    GMEM_SYNC,
    /* Says "reset", then "boot", and waits to be told where to go on. */
    GMEM_RESET,
} GmemOp;

typedef struct GmemStep {
    GmemOp op;
    uint64_t gpa;
    uint64_t size;
    /* What the hypercall must return. */
    int64_t expect;
} GmemStep;

/* The size of a program of so many steps. */
size_t gmem_program_size(size_t nsteps);

/* Write the program to @buf, which has that size. */
void gmem_program_pack(void *buf, const GmemStep *steps, size_t nsteps);

#ifdef __cplusplus
}
#endif

#endif
