/*
 * A fake of a device such as virtio-mem that plugs parts of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The device does not record what is plugged.
 */

#ifndef TESTS_UNIT_FAKES_SOURCE_H
#define TESTS_UNIT_FAKES_SOURCE_H

#include "qom/object.h"
#include "system/shared-dma-compat.h"

#define TYPE_FAKE_SOURCE "fake-source"
OBJECT_DECLARE_SIMPLE_TYPE(FakeSource, FAKE_SOURCE)

struct FakeSource {
    Object parent_obj;
    uint64_t chunk_size;
    RamDiscardListener *listener;
};

FakeSource *fake_source_new(uint64_t chunk_size);

/*
 * Notify the listener that @size bytes at @offset are plugged or unplugged.
 * Plugging returns the listener's result.
 */
int fake_source_plug(FakeSource *source, uint64_t offset, uint64_t size);
void fake_source_unplug(FakeSource *source, uint64_t offset, uint64_t size);

#endif
