/*
 * The guest's memory map, as Linux expects it from a boot loader (e820)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_LOADER_MEMORY_MAP_H
#define TESTS_NESTED_LOADER_MEMORY_MAP_H

#include <stddef.h>
#include <stdint.h>

constexpr uint32_t E820_RAM = 1;
constexpr uint32_t E820_RESERVED = 2;
constexpr uint32_t E820_ACPI = 3;

/* Entry in the format of QEMU and Linux */
struct [[gnu::packed]] E820Entry {
    uint64_t start;
    uint64_t size;
    uint32_t type;

    uint64_t end() const { return start + size; }
};

/*
 * Memory map, with an allocator that takes RAM from the end of the contiguous
 * RAM below 4 GiB.
 */
class MemoryMap {
public:
    /* Number of entries that fit into the parameters of Linux */
    static constexpr size_t MAX_ENTRIES = 128;

    /* Reads the map that QEMU provides, without the area of VGA and ROMs. */
    void read();

    const E820Entry *begin() const { return entries_; }
    const E820Entry *end() const { return entries_ + count_; }

    /* Returns the size of all RAM. */
    uint64_t ram_size() const;

    /* Adds the memory from @start to @end, which is not RAM any more. */
    void reserve(uint64_t start, uint64_t end, uint32_t type);

    /*
     * Allocates @size bytes of RAM that end at or below @limit. Returns their
     * address, a multiple of @align, which is a power of two.
     */
    uint64_t allocate(uint64_t size, uint64_t align, uint64_t limit);

    /* Reserves all pages that have been allocated. */
    void reserve_allocated(uint32_t type);

    /* Returns the end of the RAM below 4 GiB that is not allocated. */
    uint64_t free_end() const { return free_end_; }

private:
    void add(uint64_t start, uint64_t end, uint32_t type);
    void cut(uint64_t start, uint64_t end);

    E820Entry entries_[MAX_ENTRIES] = {};
    size_t count_ = 0;
    uint64_t free_end_ = 0;
    uint64_t allocated_end_ = 0;
};

#endif
