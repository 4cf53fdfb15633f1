/*
 * The C library functions that freestanding programs need
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

bool text_parse_number(const char *text, const char *prefix, uint64_t *number)
{
    uint64_t value = 0;

    while (*prefix) {
        if (*text++ != *prefix++) {
            return false;
        }
    }
    if (!*text) {
        return false;
    }
    for (; *text; text++) {
        if (*text < '0' || *text > '9') {
            return false;
        }
        value = value * 10 + (*text - '0');
    }
    *number = value;
    return true;
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
