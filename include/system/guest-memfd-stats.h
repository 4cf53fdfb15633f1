/*
 * Statistics of a GuestMemfdManager
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each statistic is declared here once, and documented where QAPI declares it:
 * STAT(name, label) for member @name of GuestMemfdStats, which "info
 * guest-memfd" calls @label.
 */

#ifndef SYSTEM_GUEST_MEMFD_STATS_H
#define SYSTEM_GUEST_MEMFD_STATS_H

#define GUEST_MEMFD_STATS(STAT)                  \
    STAT(failures, "failures")                   \
    STAT(conversions_to_shared, "made shared")   \
    STAT(conversions_to_private, "made private") \
    STAT(shared_runs, "shared runs")             \
    STAT(unfreed, "not freed")                   \
    STAT(listeners, "listeners")

#endif
