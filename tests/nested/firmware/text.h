/*
 * The few functions of a C library that are needed
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_TEXT_H
#define TESTS_NESTED_TEXT_H

#include <stddef.h>
#include <stdint.h>

bool text_equal(const char *a, const char *b);

/*
 * If @text is @prefix and a decimal number, stores the number and returns
 * true.
 */
bool text_parse_number(const char *text, const char *prefix, uint64_t *number);

/* The compiler calls these for copies and clears of its own. */
extern "C" void *memcpy(void *to, const void *from, size_t size);
extern "C" void *memset(void *to, int value, size_t size);

#endif
