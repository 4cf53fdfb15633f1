/*
 * The guest's memory map, as Linux expects it from a boot loader (e820)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "memory-map.h"

#include "fw-cfg.h"
#include "memory-layout.h"
#include "message.h"
#include "x86.h"

namespace {

constexpr char E820_FILE[] = "etc/e820";

} // namespace

void MemoryMap::read()
{
    FwCfgItem file;

    if (!fw_cfg_find(E820_FILE, &file)) {
        fail_file(E820_FILE, "does not exist");
    }
    if (file.size % sizeof(E820Entry) || file.size > sizeof(entries_)) {
        fail_file(E820_FILE, "has an unexpected size");
    }
    fw_cfg_read(file.key, entries_, file.size);
    count_ = file.size / sizeof(E820Entry);

    cut(LOW_RAM_END, HIGH_RAM_BASE);
    for (const E820Entry &entry : *this) {
        if (entry.type == E820_RAM && entry.start == HIGH_RAM_BASE) {
            free_end_ = entry.end();
        }
    }
    if (free_end_ < KERNEL_MIN_BASE) {
        fail("the guest needs more RAM");
    }
    allocated_end_ = free_end_;
}

uint64_t MemoryMap::ram_size() const
{
    uint64_t size = 0;

    for (const E820Entry &entry : *this) {
        size += entry.type == E820_RAM ? entry.size : 0;
    }
    return size;
}

/* Adds an entry, in the order of addresses. */
void MemoryMap::add(uint64_t start, uint64_t end, uint32_t type)
{
    size_t at = count_++;

    if (at == MAX_ENTRIES) {
        fail_file(E820_FILE, "has too many entries");
    }
    for (; at && entries_[at - 1].start > start; at--) {
        entries_[at] = entries_[at - 1];
    }
    entries_[at] = {.start = start, .size = end - start, .type = type};
}

/* Removes the RAM from @start to @end. */
void MemoryMap::cut(uint64_t start, uint64_t end)
{
    for (size_t i = 0; i < count_; i++) {
        E820Entry &entry = entries_[i];
        const uint64_t entry_end = entry.end();

        if (entry.type != E820_RAM || entry.start >= start ||
            entry_end <= start) {
            continue;
        }
        entry.size = start - entry.start;
        if (entry_end > end) {
            add(end, entry_end, E820_RAM);
        }
    }
}

void MemoryMap::reserve(uint64_t start, uint64_t end, uint32_t type)
{
    cut(start, end);
    add(start, end, type);
}

uint64_t MemoryMap::allocate(uint64_t size, uint64_t align, uint64_t limit)
{
    const uint64_t end = free_end_ < limit ? free_end_ : limit;

    if (end < KERNEL_MIN_BASE || size > end - KERNEL_MIN_BASE) {
        fail("the guest needs more RAM");
    }

    const uint64_t start = (end - size) & ~(align - 1);

    if (start < KERNEL_MIN_BASE) {
        fail("the guest needs more RAM");
    }
    free_end_ = start;
    return start;
}

void MemoryMap::reserve_allocated(uint32_t type)
{
    free_end_ &= ~(PAGE_SIZE - 1);
    if (free_end_ < allocated_end_) {
        reserve(free_end_, allocated_end_, type);
        allocated_end_ = free_end_;
    }
}
