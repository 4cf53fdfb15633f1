/*
 * What qtests of shared device assignment have in common
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_SHARED_DMA_TEST_H
#define TESTS_QTEST_SHARED_DMA_TEST_H

#include "libqtest.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"

#define SHARED_DMA_RAM_SIZE (256 * MiB)

/* The size of the ROM of a guest that does not run. */
#define SHARED_DMA_ROM_SIZE (64 * KiB)

/* Why there can be no guest with private memory on this machine, or NULL. */
const char *shared_dma_lacks_private_memory(void);

/* Options of a guest with private memory, all but its firmware. */
#define SHARED_DMA_PRIVATE \
    "-accel kvm -cpu host -m 256M -machine q35,kernel-irqchip=split," \
    "confidential-guest-support=sp0 -object sw-protected-vm,id=sp0 "

/* Start a guest that does not run, with an empty ROM. */
QTestState *shared_dma_start(const char *options);

/* The same, of that type of machine, without KVM. */
QTestState *shared_dma_start_tcg(const char *machine);

/*
 * Start a guest with private memory that does not run.  All that is shared of
 * it is its ROM, of SHARED_DMA_ROM_SIZE.
 */
QTestState *shared_dma_start_private(const char *more_options);

/* QEMU must not start with these options, and must say this. */
void shared_dma_assert_refused(const char *options, const char *message);

/* As above, with the options of a guest with private memory before them. */
void shared_dma_assert_refused_private(const char *options,
                                       const char *message);

/*
 * The answer to a query, a list, which must be what the schema says.  Takes
 * the reference to @arguments, which can be NULL.
 */
QList *shared_dma_query(QTestState *qts, const char *query, QDict *arguments);

/* The same must be an error, and say this. */
void shared_dma_assert_query_fails(QTestState *qts, const char *query,
                                   QDict *arguments, const char *message);

/* "ranges" with these members; those that are negative are left out. */
QDict *shared_dma_window(int64_t start, int64_t size, int64_t max,
                         int64_t cells);

/* Wrong windows must be errors. */
void shared_dma_assert_windows_checked(QTestState *qts, const char *query);

/* The text that is printed for "info @name" must have this in it. */
void shared_dma_assert_info(QTestState *qts, const char *name,
                            const char *format, ...) G_GNUC_PRINTF(3, 4);

#endif
