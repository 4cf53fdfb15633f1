/*
 * DMA by the edu device, with a check of its effect
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "device-check.h"

#include "cpu.h"
#include "edu.h"
#include "pattern.h"

namespace {

constexpr size_t BUFFER_WORDS = EDU_BUFFER_SIZE / sizeof(uint64_t);

/* Seed of the pattern that clears the buffer; seeds of programs are lower. */
constexpr uint64_t SEED_CLEAR = 1ull << 63;
constexpr uint64_t SCRATCH_POISON = 0xfeedfacefeedface;

bool master;
bool has_scratch;
uint64_t scratch_gpa;

/*
 * Content of the device's buffer. It is known after it was loaded or fetched,
 * and proven after it arrived somewhere: a load is lost silently if the device
 * cannot access the scratch page.
 */
uint64_t buffer[BUFFER_WORDS];
bool buffer_known;
bool buffer_proven;

volatile uint64_t *words_at(uint64_t gpa)
{
    return at_gpa<volatile uint64_t>(gpa);
}

/* Loads the DMA pattern of @seed into the device's buffer, if necessary. */
void load_buffer(uint64_t seed)
{
    volatile uint64_t *scratch = words_at(scratch_gpa);
    bool there = buffer_known;

    for (size_t i = 0; there && i < BUFFER_WORDS; i++) {
        there = buffer[i] == dma_pattern(i * sizeof(uint64_t), seed);
    }
    if (there) {
        return;
    }
    buffer_known = false;
    buffer_proven = false;
    if (!master) {
        return;
    }
    for (size_t i = 0; i < BUFFER_WORDS; i++) {
        buffer[i] = dma_pattern(i * sizeof(uint64_t), seed);
        scratch[i] = buffer[i];
    }
    edu_read_memory(scratch_gpa, EDU_BUFFER_SIZE);
    buffer_known = true;
}

/* Reads the device's buffer. Returns false if no data arrives. */
bool fetch_buffer()
{
    volatile uint64_t *scratch = words_at(scratch_gpa);

    for (size_t i = 0; i < BUFFER_WORDS; i++) {
        scratch[i] = SCRATCH_POISON;
    }
    edu_write_memory(scratch_gpa, EDU_BUFFER_SIZE);
    for (size_t i = 0; i < BUFFER_WORDS; i++) {
        buffer[i] = scratch[i];
        if (buffer[i] == SCRATCH_POISON) {
            buffer_known = false;
            buffer_proven = false;
            return false;
        }
    }
    buffer_known = true;
    buffer_proven = true;
    return true;
}

/* Whether the device's buffer really holds the DMA pattern of @seed. */
bool prove_buffer(uint64_t seed)
{
    if (buffer_proven) {
        return true;
    }
    if (!master || !fetch_buffer()) {
        return false;
    }
    for (size_t i = 0; i < BUFFER_WORDS; i++) {
        if (buffer[i] != dma_pattern(i * sizeof(uint64_t), seed)) {
            return false;
        }
    }
    return true;
}

uint64_t checksum(volatile uint64_t *words, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum = pattern_mix(sum, words[i]);
    }
    return sum;
}

size_t count_dma_pattern(volatile uint64_t *words, size_t count, uint64_t seed)
{
    size_t equal = 0;

    for (size_t i = 0; i < count; i++) {
        equal += words[i] == dma_pattern(i * sizeof(uint64_t), seed);
    }
    return equal;
}

uint64_t expected_word(uint64_t gpa, size_t index, uint64_t seed, bool zero)
{
    return zero ? 0 : memory_pattern(gpa + index * sizeof(uint64_t), seed);
}

/* Counts the words of the buffer that equal those in memory at @gpa. */
size_t count_buffer(uint64_t gpa, size_t count, uint64_t seed, bool zero)
{
    size_t equal = 0;

    for (size_t i = 0; i < count; i++) {
        equal += buffer[i] == expected_word(gpa, i, seed, zero);
    }
    return equal;
}

} // namespace

void device_set_scratch(uint64_t gpa)
{
    scratch_gpa = gpa;
    has_scratch = true;
}

const char *device_set_master(bool on, unsigned bits)
{
    master = on;
    return edu_set_master(on, bits) ? nullptr : "master-not-set";
}

const char *device_check_write(uint64_t gpa, size_t size, uint64_t seed,
                               bool blocked)
{
    volatile uint64_t *target = words_at(gpa);
    const size_t count = size / sizeof(uint64_t);

    if (!has_scratch) {
        return "no-scratch-page";
    }
    load_buffer(seed);
    if (blocked && !prove_buffer(seed)) {
        return "device-not-loaded";
    }
    if (count_dma_pattern(target, count, seed)) {
        return "pattern-already-in-memory";
    }

    const uint64_t before = checksum(target, count);

    edu_write_memory(gpa, size);
    if (blocked) {
        return checksum(target, count) == before ? nullptr
                                                 : "write-not-blocked";
    }
    if (count_dma_pattern(target, count, seed) != count) {
        return "did-not-arrive";
    }
    buffer_proven = true;
    return nullptr;
}

const char *device_check_read(uint64_t gpa, size_t size, uint64_t seed,
                              bool zero, bool blocked)
{
    volatile uint64_t *source = words_at(gpa);
    const size_t count = size / sizeof(uint64_t);

    if (!has_scratch) {
        return "no-scratch-page";
    }
    for (size_t i = 0; i < count; i++) {
        if (source[i] != expected_word(gpa, i, seed, zero)) {
            return "unexpected-memory-content";
        }
    }
    /* The device's buffer must not contain the expected data beforehand. */
    if (!buffer_known || !buffer_proven ||
        count_buffer(gpa, count, seed, zero)) {
        load_buffer(SEED_CLEAR);
        if (!prove_buffer(SEED_CLEAR)) {
            return "device-not-loaded";
        }
    }

    buffer_known = false;
    edu_read_memory(gpa, size);
    if (!fetch_buffer()) {
        return "scratch-page-unreachable";
    }

    const size_t arrived = count_buffer(gpa, count, seed, zero);

    if (blocked) {
        return arrived ? "read-not-blocked" : nullptr;
    }
    return arrived == count ? nullptr : "did-not-arrive";
}
