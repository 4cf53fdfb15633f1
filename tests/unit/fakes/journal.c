/*
 * A journal of faked calls that can be made to fail
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "tests/unit/fakes/journal.h"

static GString *journal;
static unsigned int ncalls;
static unsigned int fail_first;
static unsigned int fail_last;
static int fail_errno;

static void __attribute__((constructor)) journal_init(void)
{
    journal = g_string_new(NULL);
    journal_fail_no_calls();
}

void journal_fail_calls(unsigned int first, unsigned int last, int err)
{
    ncalls = 0;
    fail_first = first;
    fail_last = last;
    fail_errno = err;
}

void journal_fail_no_calls(void)
{
    journal_fail_calls(1, 0, 0);
}

unsigned int journal_ncalls(void)
{
    return ncalls;
}

int journal_call(void)
{
    ncalls++;
    return ncalls >= fail_first && ncalls <= fail_last ? -fail_errno : 0;
}

void journal_add(const char *word, uint64_t start, uint64_t size,
                 const char *suffix, int ret)
{
    const uint64_t page_size = qemu_real_host_page_size();

    g_string_append_printf(journal, "%s%s%" PRIu64 "/%" PRIu64 "%s%s",
                           journal->len ? " " : "", word, start / page_size,
                           size / page_size, suffix, ret ? "!" : "");
}

void journal_assert(const char *expected)
{
    g_assert_cmpstr(journal->str, ==, expected);
    journal_clear();
}

void journal_clear(void)
{
    g_string_truncate(journal, 0);
}
