/*
 * Programs for the test firmware, as qtests need them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The firmware's own header is C++: tests/nested/firmware/program-format.h.
 */

#ifndef TESTS_QTEST_FIRMWARE_PROGRAM_H
#define TESTS_QTEST_FIRMWARE_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum FirmwareOp {
    FIRMWARE_SHARE,
    FIRMWARE_UNSHARE,
    /* Says "sync" and waits for "go". */
    FIRMWARE_SYNC,
    /* Says "reset", then "boot", and waits to be told where to go on. */
    FIRMWARE_RESET,
} FirmwareOp;

typedef struct FirmwareStep {
    FirmwareOp op;
    uint64_t gpa;
    uint64_t size;
    /* What the hypercall must return. */
    int64_t expect;
} FirmwareStep;

/* The size of a program of so many steps. */
size_t firmware_program_size(size_t nsteps);

/* Write the program to @buf, which has that size. */
void firmware_program_pack(void *buf, const FirmwareStep *steps, size_t nsteps);

#ifdef __cplusplus
}
#endif

#endif
