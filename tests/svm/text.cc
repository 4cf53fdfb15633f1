/*
 * The functions of the C library that the tests need
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "text.h"

bool text_equal(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

extern "C" void *memcpy(void *to, const void *from, size_t size)
{
    void *result = to;

    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
    return result;
}

extern "C" void *memset(void *to, int value, size_t size)
{
    void *result = to;

    asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
    return result;
}
