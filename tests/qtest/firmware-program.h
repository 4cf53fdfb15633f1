/*
 * Programs for the test firmware, for qtests
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
    /* Send "sync" and wait for "go". */
    FIRMWARE_SYNC,
    /* Send "reset", reboot, send "boot", and wait for "start STEP". */
    FIRMWARE_RESET,
} FirmwareOp;

typedef struct FirmwareStep {
    FirmwareOp op;
    uint64_t gpa;
    uint64_t size;
    /* Expected result of the hypercall */
    int64_t expect;
} FirmwareStep;

/* Return the size of a program of @nsteps steps in bytes. */
size_t firmware_program_size(size_t nsteps);

/* Write the program to @buf, which has firmware_program_size() bytes. */
void firmware_program_pack(void *buf, const FirmwareStep *steps, size_t nsteps);

#ifdef __cplusplus
}
#endif

#endif
