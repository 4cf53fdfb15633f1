/*
 * Fakes of error_report() and similar functions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "monitor/monitor.h"
#include "tests/unit/fakes/fakes.h"

static unsigned int nreports;

unsigned int fake_nreports(void)
{
    return qatomic_read(&nreports);
}

/* Format the report, so that its arguments are checked. */
int error_vprintf(const char *fmt, va_list ap)
{
    g_autofree char *text = g_strdup_vprintf(fmt, ap);

    if (strchr(text, '\n')) {
        qatomic_inc(&nreports);
    }
    return strlen(text);
}

int error_vprintf_unless_qmp(const char *fmt, va_list ap)
{
    return error_vprintf(fmt, ap);
}
