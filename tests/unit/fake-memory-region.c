/*
 * Memory regions as far as guest_memfd managers need them, for tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "exec/memory.h"
#include "qemu/module.h"
#include "qom/object.h"

void memory_region_ref(MemoryRegion *mr)
{
    object_ref(OBJECT(mr));
}

void memory_region_unref(MemoryRegion *mr)
{
    if (mr) {
        object_unref(OBJECT(mr));
    }
}

const char *memory_region_name(const MemoryRegion *mr)
{
    return "ram";
}

uint64_t memory_region_size(MemoryRegion *mr)
{
    return int128_get64(mr->size);
}

void memory_region_set_ram_discard_manager(MemoryRegion *mr,
                                           RamDiscardManager *rdm)
{
    g_assert(!mr->rdm || !rdm);
    mr->rdm = rdm;
}

MemoryRegionSection *memory_region_section_new_copy(MemoryRegionSection *s)
{
    memory_region_ref(s->mr);
    return g_memdup2(s, sizeof(*s));
}

void memory_region_section_free_copy(MemoryRegionSection *s)
{
    memory_region_unref(s->mr);
    g_free(s);
}

static const TypeInfo memory_region_types[] = {
    {
        .name = TYPE_MEMORY_REGION,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(MemoryRegion),
    },
    {
        .name = TYPE_RAM_DISCARD_MANAGER,
        .parent = TYPE_INTERFACE,
        .class_size = sizeof(RamDiscardManagerClass),
    },
};

DEFINE_TYPES(memory_region_types)
