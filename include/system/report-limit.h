/*
 * Reports that a guest can cause as fast as it runs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * They are limited to one every five seconds, which includes the number of
 * those that were left out, so that no guest can fill a log.
 */

#ifndef SYSTEM_REPORT_LIMIT_H
#define SYSTEM_REPORT_LIMIT_H

#include "qemu/timer.h"

#define REPORT_LIMIT_INTERVAL_NS (5 * NANOSECONDS_PER_SECOND)

/* When something may be reported again, and how often it was not. */
typedef struct ReportLimit {
    int64_t next_ns;
    unsigned int nsilent;
} ReportLimit;

/*
 * Whether it is time to report something again.  @nsilent is then how often it
 * was not since the last time.
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
 * literal, and add how many reports were left out.  Any thread may call these.
 */
void error_vreport_limited(const char *fmt, va_list ap) G_GNUC_PRINTF(1, 0);
void error_report_limited(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void warn_report_limited(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

#endif
