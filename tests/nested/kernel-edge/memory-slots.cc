/*
 * KVM's memory slots: guest addresses of QEMU's memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "memory-slots.h"

#include <pthread.h>
#include <stdlib.h>

namespace {

constexpr unsigned MAX_SLOTS = 256;

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
KvmMemoryRegion2 slots[MAX_SLOTS];

KvmMemoryRegion2 *find(uint32_t slot)
{
    for (KvmMemoryRegion2 &known : slots) {
        if (known.memory_size && known.slot == slot) {
            return &known;
        }
    }
    return nullptr;
}

KvmMemoryRegion2 *find_free()
{
    for (KvmMemoryRegion2 &known : slots) {
        if (!known.memory_size) {
            return &known;
        }
    }
    /* A test must not pass if it misses events. */
    abort();
}

} // namespace

void slots_set(const KvmMemoryRegion2 &region)
{
    pthread_mutex_lock(&lock);

    KvmMemoryRegion2 *known = find(region.slot);

    if (!known && region.memory_size) {
        known = find_free();
    }
    if (known) {
        *known = region;
    }
    pthread_mutex_unlock(&lock);
}

KvmMemoryRegion2 slots_get(uint32_t slot)
{
    KvmMemoryRegion2 result = {};

    pthread_mutex_lock(&lock);

    const KvmMemoryRegion2 *known = find(slot);

    if (known) {
        result = *known;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

bool slots_find(uint64_t address, uint64_t size,
                void (*function)(uint64_t gpa, uint64_t size))
{
    bool found = false;

    pthread_mutex_lock(&lock);
    for (const KvmMemoryRegion2 &known : slots) {
        const uint64_t base = known.userspace_addr;
        const uint64_t base_end = base + known.memory_size;
        const uint64_t first = address > base ? address : base;
        const uint64_t end =
            address + size < base_end ? address + size : base_end;

        if (known.memory_size && first < end) {
            function(known.guest_phys_addr + (first - base), end - first);
            found = true;
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

bool slots_is_guest_memfd(int fd)
{
    bool found = false;

    pthread_mutex_lock(&lock);
    for (const KvmMemoryRegion2 &known : slots) {
        found = found || (known.memory_size &&
                          (known.flags & KVM_MEMORY_HAS_GUEST_MEMFD) &&
                          known.guest_memfd == static_cast<uint32_t>(fd));
    }
    pthread_mutex_unlock(&lock);
    return found;
}
