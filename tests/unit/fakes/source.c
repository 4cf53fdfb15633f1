/*
 * A fake of a device such as virtio-mem that plugs parts of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "tests/unit/fakes/source.h"

OBJECT_DEFINE_SIMPLE_TYPE_WITH_INTERFACES(FakeSource, fake_source, FAKE_SOURCE,
                                          OBJECT, { TYPE_RAM_DISCARD_MANAGER },
                                          { })

FakeSource *fake_source_new(uint64_t chunk_size)
{
    FakeSource *source = FAKE_SOURCE(object_new(TYPE_FAKE_SOURCE));

    source->chunk_size = chunk_size;
    return source;
}

static MemoryRegionSection fake_source_section(FakeSource *source,
                                               uint64_t offset, uint64_t size)
{
    return (MemoryRegionSection) {
        .mr = source->listener->section->mr,
        .offset_within_region = offset,
        .size = int128_make64(size),
    };
}

int fake_source_plug(FakeSource *source, uint64_t offset, uint64_t size)
{
    MemoryRegionSection section = fake_source_section(source, offset, size);

    return source->listener->notify_populate(source->listener, &section);
}

void fake_source_unplug(FakeSource *source, uint64_t offset, uint64_t size)
{
    MemoryRegionSection section = fake_source_section(source, offset, size);

    source->listener->notify_discard(source->listener, &section);
}

static uint64_t fake_source_get_min_granularity(const RamDiscardManager *rdm,
                                                const MemoryRegion *mr)
{
    return FAKE_SOURCE(rdm)->chunk_size;
}

static void fake_source_register_listener(RamDiscardManager *rdm,
                                          RamDiscardListener *rdl,
                                          MemoryRegionSection *section)
{
    g_assert_null(FAKE_SOURCE(rdm)->listener);
    FAKE_SOURCE(rdm)->listener = rdl;
    rdl->section = memory_region_section_new_copy(section);
}

static void fake_source_unregister_listener(RamDiscardManager *rdm,
                                            RamDiscardListener *rdl)
{
    g_assert_true(FAKE_SOURCE(rdm)->listener == rdl);
    FAKE_SOURCE(rdm)->listener = NULL;
    memory_region_section_free_copy(rdl->section);
    rdl->section = NULL;
}

static void fake_source_class_init(ObjectClass *oc, ClassInitData *data)
{
    RamDiscardManagerClass *rdmc = RAM_DISCARD_MANAGER_CLASS(oc);

    rdmc->get_min_granularity = fake_source_get_min_granularity;
    rdmc->register_listener = fake_source_register_listener;
    rdmc->unregister_listener = fake_source_unregister_listener;
}

static void fake_source_init(Object *obj)
{
}

static void fake_source_finalize(Object *obj)
{
    g_assert_null(FAKE_SOURCE(obj)->listener);
}
