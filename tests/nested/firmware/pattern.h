/*
 * Test patterns: words that depend on their position and on a seed
 *
 * No word of a pattern is zero. Patterns of different seeds differ in every
 * word, as do the memory and DMA patterns of one seed; the probability that a
 * word is equal is 2^-63.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_PATTERN_H
#define TESTS_NESTED_PATTERN_H

#include <stdint.h>

static inline uint64_t pattern_mix(uint64_t position, uint64_t seed)
{
    uint64_t x = position ^ seed * 0x9e3779b97f4a7c15;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x | 1;
}

/* Returns the word at @gpa of the memory pattern of @seed. */
static inline uint64_t memory_pattern(uint64_t gpa, uint64_t seed)
{
    return pattern_mix(gpa, seed);
}

/*
 * Returns the word at @offset of the DMA pattern of @seed. It does not depend
 * on the target address, because loading the device with new data is slow.
 */
static inline uint64_t dma_pattern(uint64_t offset, uint64_t seed)
{
    return pattern_mix(~offset, seed);
}

/* Returns the word that an audit writes to the start of the page at @gpa. */
static inline uint64_t audit_word(uint64_t gpa, uint64_t nonce)
{
    return pattern_mix(gpa ^ 1ull << 63, nonce);
}

#endif
