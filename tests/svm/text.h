/*
 * The functions of the C library that the tests need
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SVM_TEXT_H
#define TESTS_SVM_TEXT_H

#include <stddef.h>

bool text_equal(const char *a, const char *b);

/* The compiler also generates calls to these functions. */
extern "C" void *memcpy(void *to, const void *from, size_t size);
extern "C" void *memset(void *to, int value, size_t size);

#endif
