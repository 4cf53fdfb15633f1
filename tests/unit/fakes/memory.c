/*
 * Fakes of QEMU's memory regions and RAM blocks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "qom/object.h"
#include "tests/unit/fakes/fakes.h"

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

/* In QEMU 10.0, the function that this replaces has no result. */
int fake_set_ram_discard_manager(MemoryRegion *mr, RamDiscardManager *rdm)
{
    g_assert(!mr->rdm || !rdm);
    mr->rdm = rdm;
    return 0;
}

uint64_t ram_discard_manager_get_min_granularity(const RamDiscardManager *rdm,
                                                 const MemoryRegion *mr)
{
    return RAM_DISCARD_MANAGER_GET_CLASS(rdm)->get_min_granularity(rdm, mr);
}

void ram_discard_manager_register_listener(RamDiscardManager *rdm,
                                           RamDiscardListener *rdl,
                                           MemoryRegionSection *section)
{
    RAM_DISCARD_MANAGER_GET_CLASS(rdm)->register_listener(rdm, rdl, section);
}

void ram_discard_manager_unregister_listener(RamDiscardManager *rdm,
                                             RamDiscardListener *rdl)
{
    RAM_DISCARD_MANAGER_GET_CLASS(rdm)->unregister_listener(rdm, rdl);
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

MemoryRegion *fake_ram_new(RAMBlock *block, void *host, uint64_t size)
{
    MemoryRegion *mr = MEMORY_REGION(object_new(TYPE_MEMORY_REGION));

    mr->ram = true;
    mr->size = int128_make64(size);
    mr->ram_block = block;
    *block = (RAMBlock) {
        .mr = mr,
        .host = host,
        .max_length = size,
        .used_length = size,
        .page_size = qemu_real_host_page_size(),
    };
    guest_memfd_manager_create(block, &error_abort);
    return mr;
}

void fake_window_find(const FakeWindow *window, hwaddr addr, uint64_t size,
                      MemoryRegionSection *section)
{
    const hwaddr first = MAX(addr, window->gpa);
    const hwaddr last = MIN(addr + (size - 1),
                            window->gpa + (window->size - 1));

    if (first > last || (section->mr &&
                         section->offset_within_address_space <= first)) {
        return;
    }
    *section = (MemoryRegionSection) {
        .mr = window->mr,
        .offset_within_region = window->offset + (first - window->gpa),
        .offset_within_address_space = first,
        .size = int128_make64(last - first + 1),
    };
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
