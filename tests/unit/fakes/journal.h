/*
 * A journal of faked calls that can be made to fail
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An entry is a word, a range in pages, and "!" if the call failed, such as
 * "s2/3!" for a call "s" for 3 pages that start at page 2.
 */

#ifndef TESTS_UNIT_FAKES_JOURNAL_H
#define TESTS_UNIT_FAKES_JOURNAL_H

/*
 * Let calls @first to @last, inclusive, fail with the positive errno @err.  The
 * next call is number 1.
 */
void journal_fail_calls(unsigned int first, unsigned int last, int err);
void journal_fail_no_calls(void);

/* Return the number of calls since journal_fail_calls(). */
unsigned int journal_ncalls(void);

/* Count a call.  Returns 0, or a negative errno if the call must fail. */
int journal_call(void);

/*
 * Append an entry for the @size bytes at @start, with @suffix after the range.
 * @ret is the result of the call.
 */
void journal_add(const char *word, uint64_t start, uint64_t size,
                 const char *suffix, int ret);

/* Check that the journal is equal to @expected, and clear it. */
void journal_assert(const char *expected);

void journal_clear(void);

#endif
