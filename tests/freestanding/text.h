/*
 * The C library functions that freestanding programs need
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FREESTANDING_TEXT_H
#define TESTS_FREESTANDING_TEXT_H

#include <stddef.h>
#include <stdint.h>

bool text_equal(const char *a, const char *b);

/*
 * Parses @prefix followed by a decimal number. Stores the number and returns
 * true, or returns false if @text has another form.
 */
bool text_parse_number(const char *text, const char *prefix, uint64_t *number);

/* The compiler generates calls of these. */
extern "C" void *memcpy(void *to, const void *from, size_t size);
extern "C" void *memset(void *to, int value, size_t size);

#endif
