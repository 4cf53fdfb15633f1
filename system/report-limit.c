/*
 * Rate-limited reports, for events that a guest can cause
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/timer.h"
#include "system/report-limit.h"

#define REPORT_LIMIT_INTERVAL_NS (5 * NANOSECONDS_PER_SECOND)

/* Time of the next report of a message, and the number of suppressed ones */
typedef struct ReportLimit {
    int64_t next_ns;
    unsigned int nsilent;
} ReportLimit;

static QemuMutex report_limit_lock;
/* ReportLimits by the address of the format that they apply to */
static GHashTable *report_limits;

static void __attribute__((constructor)) report_limit_init(void)
{
    qemu_mutex_init(&report_limit_lock);
    report_limits = g_hash_table_new(NULL, NULL);
}

/*
 * Whether to report a message.  If so, store in @nsilent how often it was
 * suppressed since the last report.
 */
static bool report_limit_allows(ReportLimit *limit, unsigned int *nsilent)
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

/* Return the text to report, or NULL if @fmt must not be reported yet. */
static char * G_GNUC_PRINTF(1, 0) report_limit_text(const char *fmt, va_list ap)
{
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    ReportLimit *limit;
    unsigned int nsilent;

    QEMU_LOCK_GUARD(&report_limit_lock);
    limit = g_hash_table_lookup(report_limits, fmt);
    if (!limit) {
        limit = g_new0(ReportLimit, 1);
        g_hash_table_insert(report_limits, (void *)fmt, limit);
    }
    if (!report_limit_allows(limit, &nsilent)) {
        return NULL;
    }
    return nsilent ? g_strdup_printf("%s (%u similar messages suppressed)",
                                     text, nsilent)
                   : g_steal_pointer(&text);
}

void error_vreport_limited(const char *fmt, va_list ap)
{
    g_autofree char *text = report_limit_text(fmt, ap);

    if (text) {
        error_report("%s", text);
    }
}

void error_report_limited(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_vreport_limited(fmt, ap);
    va_end(ap);
}

void warn_report_limited(const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = report_limit_text(fmt, ap);
    va_end(ap);
    if (text) {
        warn_report("%s", text);
    }
}
