/*
 * Common code of the qtests of shared device assignment
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_SHARED_DMA_TEST_H
#define TESTS_QTEST_SHARED_DMA_TEST_H

#include "libqtest.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"

#define SHARED_DMA_RAM_SIZE (256 * MiB)

/* The size of the ROM of a guest that does not run, in bytes */
#define SHARED_DMA_ROM_SIZE (64 * KiB)

/* Return what this host lacks for a guest with private memory, or NULL. */
const char *shared_dma_lacks_private_memory(void);

/* Options of a guest with private memory, except for its firmware */
#define SHARED_DMA_PRIVATE \
    "-accel kvm -cpu host -m 256M -machine q35,kernel-irqchip=split," \
    "confidential-guest-support=sp0 -object sw-protected-vm,id=sp0 "

/* Start a guest that does not run, with an empty ROM. */
QTestState *shared_dma_start(const char *options);

/* Start such a guest with machine type @machine, without KVM. */
QTestState *shared_dma_start_tcg(const char *machine);

/*
 * Start a guest with private memory that does not run.  Only its ROM is shared,
 * SHARED_DMA_ROM_SIZE bytes.
 */
QTestState *shared_dma_start_private(const char *more_options);

/* Check that QEMU does not start with @options, and prints @message. */
void shared_dma_assert_refused(const char *options, const char *message);

/* Check this with the options of a guest with private memory added. */
void shared_dma_assert_refused_private(const char *options,
                                       const char *message);

/*
 * Execute a query, check the answer against the schema, and return it, a list.
 * Takes the reference to @arguments, which can be NULL.
 */
QList *shared_dma_query(QTestState *qts, const char *query, QDict *arguments);

/* Check that a query fails with @message. */
void shared_dma_assert_query_fails(QTestState *qts, const char *query,
                                   QDict *arguments, const char *message);

/* Return arguments with "ranges"; negative members are left out. */
QDict *shared_dma_window(int64_t start, int64_t size, int64_t max,
                         int64_t cells);

/* Check that invalid windows are refused. */
void shared_dma_assert_windows_checked(QTestState *qts, const char *query);

/* Check that the output of "info @name" contains a text. */
void shared_dma_assert_info(QTestState *qts, const char *name,
                            const char *format, ...) G_GNUC_PRINTF(3, 4);

#endif
