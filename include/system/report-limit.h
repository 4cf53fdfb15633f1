/*
 * Rate-limited reports, for events that a guest can cause
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A guest can cause some reports as fast as it runs.  They are limited to one
 * every five seconds, with the number of suppressed ones, so that a guest
 * cannot fill a log.
 */

#ifndef SYSTEM_REPORT_LIMIT_H
#define SYSTEM_REPORT_LIMIT_H

#include "qemu/timer.h"

#define REPORT_LIMIT_INTERVAL_NS (5 * NANOSECONDS_PER_SECOND)

/* The time of the next report, and the number of suppressed reports */
typedef struct ReportLimit {
    int64_t next_ns;
    unsigned int nsilent;
} ReportLimit;

/*
 * Whether an event may be reported now.  If so, sets @nsilent to the number of
 * reports that were suppressed since the last one.
 */
static inline bool report_limit_allows(ReportLimit *limit,
                                       unsigned int *nsilent)
{
    const int64_t now_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    if (now_ns < limit->next_ns) {
        limit->nsilent++;
        return false;
    }
    *nsilent = limit->nsilent;
    limit->nsilent = 0;
    limit->next_ns = now_ns + REPORT_LIMIT_INTERVAL_NS;
    return true;
}

/*
 * Report at most once every five seconds for each @fmt, which must be a string
 * literal, and append the number of suppressed reports.  Any thread may call
 * these functions.
 */
void error_vreport_limited(const char *fmt, va_list ap) G_GNUC_PRINTF(1, 0);
void error_report_limited(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void warn_report_limited(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

#endif
