/*
 * Rate-limited reports, for events that a guest can cause
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each message is limited to one report every five seconds, which includes the
 * number of suppressed ones, so that no guest can fill a log.
 */

#ifndef SYSTEM_REPORT_LIMIT_H
#define SYSTEM_REPORT_LIMIT_H

/*
 * Report at most once every five seconds for each @fmt, which must be a string
 * literal, and append the number of suppressed reports.  Any thread may call
 * these functions.
 */
void error_vreport_limited(const char *fmt, va_list ap) G_GNUC_PRINTF(1, 0);
void error_report_limited(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void warn_report_limited(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

#endif
