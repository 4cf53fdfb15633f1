/*
 * Memory devices that plug parts of a RAM block with a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bitmap.h"
#include "qemu/units.h"
#include "system/guest-memfd-backing.h"
#include "system/guest-memfd-internal.h"
#include "system/guest-memfd-source.h"
#include "trace/trace-system_shared_dma.h"

/* The size of a piece, unless a chunk is larger */
#define GUEST_MEMFD_PLUG_PIECE (64 * MiB)

bool guest_memfd_next_plugged(const GuestMemfdManager *gmm, uint64_t *offset,
                              uint64_t *size)
{
    const uint64_t end = *offset + *size;
    unsigned long end_chunk, chunk;

    if (!*size || !gmm->unplugged) {
        return *size;
    }
    end_chunk = DIV_ROUND_UP(end, gmm->chunk_size);
    chunk = find_next_zero_bit(gmm->unplugged, end_chunk,
                               *offset / gmm->chunk_size);
    if (chunk >= end_chunk) {
        return false;
    }
    *offset = MAX(*offset, chunk * gmm->chunk_size);
    chunk = find_next_bit(gmm->unplugged, end_chunk, chunk);
    *size = MIN(end, chunk * gmm->chunk_size) - *offset;
    return true;
}

bool guest_memfd_is_plugged(const GuestMemfdManager *gmm, uint64_t offset,
                            uint64_t size)
{
    uint64_t run = offset, run_size = size;

    return guest_memfd_next_plugged(gmm, &run, &run_size) && run == offset &&
           run_size == size;
}

bool guest_memfd_next_private(GuestMemfdManager *gmm, uint64_t *offset,
                              uint64_t *size)
{
    const uint64_t end_page = (*offset + *size) / gmm->page_size;
    uint64_t page = *offset / gmm->page_size, first, npages;

    while (page_state_map_next_run(gmm->pages, page, end_page - page,
                                   PAGE_STATE_PRIVATE, &first, &npages)) {
        uint64_t run = first * gmm->page_size;
        uint64_t run_size = npages * gmm->page_size;

        if (guest_memfd_next_plugged(gmm, &run, &run_size)) {
            *offset = run;
            *size = run_size;
            return true;
        }
        page = first + npages;
    }
    return false;
}

void guest_memfd_manager_set_accel(GuestMemfdManager *gmm,
                                   GuestMemfdSetAttributes *set_attributes)
{
    gmm->set_attributes = set_attributes;
}

/* Set the attributes of a range of the block, wherever the guest sees it. */
static int guest_memfd_set_attributes(GuestMemfdManager *gmm, uint64_t offset,
                                      uint64_t size, PageState state)
{
    /* No part of the block has been visible so far. */
    if (!gmm->set_attributes) {
        return 0;
    }
    return gmm->set_attributes(gmm, offset, size, state);
}

/*
 * Remove the attributes of chunks that are being unplugged.  Private pages are
 * the only ones that have attributes, and removing these needs no memory.  If
 * it fails nevertheless, the guest can use memory that is unplugged.
 */
static int guest_memfd_remove_attributes(void *opaque, uint64_t offset,
                                         uint64_t size, PageState state)
{
    GuestMemfdManager *gmm = opaque;
    const uint64_t end = offset + size;
    uint64_t run = offset, run_size = size;

    while (guest_memfd_next_private(gmm, &run, &run_size)) {
        if (guest_memfd_set_attributes(gmm, run, run_size,
                                       PAGE_STATE_SHARED)) {
            stat64_add(&gmm->stats.failures, 1);
        }
        run += run_size;
        run_size = end - run;
    }
    return 0;
}

static int guest_memfd_free_unplugged_run(GuestMemfdManager *gmm,
                                          uint64_t offset, uint64_t size,
                                          void *opaque)
{
    int ret = guest_memfd_free_unplugged(gmm->mr->ram_block, offset, size);

    guest_memfd_note_freed(gmm, offset, size, "unplugged", ret);
    return 0;
}

/* Unplug chunks, all of which are plugged. */
static int guest_memfd_unplug_run(GuestMemfdManager *gmm, uint64_t offset,
                                  uint64_t size, void *opaque)
{
    const GuestMemfdConversion c = {
        .manager = gmm,
        .offset = offset,
        .size = size,
        .to = PAGE_STATE_PRIVATE,
        .set_attributes = guest_memfd_remove_attributes,
        .opaque = gmm,
    };

    trace_guest_memfd_unplug(memory_region_name(gmm->mr), offset, size);
    /* This cannot fail, because the removal of attributes does not. */
    guest_memfd_prepare(&c);
    guest_memfd_mark(&c, offset, size);
    bitmap_set(gmm->unplugged, offset / gmm->chunk_size,
               size / gmm->chunk_size);
    stat64_add(&gmm->unplugged_size, size);
    return guest_memfd_free_unplugged_run(gmm, offset, size, NULL);
}

/*
 * Return the size of the pieces in which memory is plugged and unplugged, so
 * that conversions do not wait for long.
 */
static uint64_t guest_memfd_piece_size(const GuestMemfdManager *gmm)
{
    return ROUND_UP(GUEST_MEMFD_PLUG_PIECE, gmm->chunk_size);
}

/*
 * Call @fn with the manager locked for each piece of a range in which all or no
 * chunks are plugged, until it fails.
 */
static int guest_memfd_for_each_piece(GuestMemfdManager *gmm, uint64_t offset,
                                      uint64_t size, GuestMemfdRunFn fn)
{
    const uint64_t end = offset + size;
    int ret = 0;

    while (offset < end && !ret) {
        size = MIN(guest_memfd_piece_size(gmm), end - offset);
        guest_memfd_manager_lock_ahead(gmm);
        ret = fn(gmm, offset, size, NULL);
        guest_memfd_manager_unlock(gmm);
        offset += size;
    }
    return ret;
}

static void guest_memfd_unplug(GuestMemfdManager *gmm, uint64_t offset,
                               uint64_t size)
{
    const uint64_t end = offset + size;

    /* Only the BQL's owner changes what is plugged. */
    while (guest_memfd_next_plugged(gmm, &offset, &size)) {
        guest_memfd_for_each_piece(gmm, offset, size, guest_memfd_unplug_run);
        offset += size;
        size = end - offset;
    }
}

static void guest_memfd_source_discard(RamDiscardListener *rdl,
                                       MemoryRegionSection *section)
{
    guest_memfd_unplug(container_of(rdl, GuestMemfdManager, source_listener),
                       section->offset_within_region,
                       int128_get64(section->size));
}

/* Plug chunks, all of which are unplugged. */
static int guest_memfd_plug_run(GuestMemfdManager *gmm, uint64_t offset,
                                uint64_t size, void *opaque)
{
    int ret = guest_memfd_set_attributes(gmm, offset, size,
                                         PAGE_STATE_PRIVATE);

    trace_guest_memfd_plug(memory_region_name(gmm->mr), offset, size, ret);
    if (ret) {
        stat64_add(&gmm->stats.failures, 1);
        return ret;
    }
    bitmap_clear(gmm->unplugged, offset / gmm->chunk_size,
                 size / gmm->chunk_size);
    stat64_add(&gmm->unplugged_size, -size);
    /* The guest may have accessed the shared backing. */
    guest_memfd_note_freed(gmm, offset, size, "shared",
                           guest_memfd_free_shared(gmm->mr->ram_block, offset,
                                                   size));
    return 0;
}

static int guest_memfd_source_populate(RamDiscardListener *rdl,
                                       MemoryRegionSection *section)
{
    GuestMemfdManager *gmm = container_of(rdl, GuestMemfdManager,
                                          source_listener);
    const uint64_t offset = section->offset_within_region;
    const uint64_t size = int128_get64(section->size);
    int ret = guest_memfd_for_each_piece(gmm, offset, size,
                                         guest_memfd_plug_run);

    if (ret) {
        guest_memfd_unplug(gmm, offset, size);
        /* The rest may be preallocated. */
        guest_memfd_for_each_piece(gmm, offset, size,
                                   guest_memfd_free_unplugged_run);
    }
    return ret;
}

static void guest_memfd_add_source(GuestMemfdManager *gmm,
                                   RamDiscardManager *source)
{
    const uint64_t size = memory_region_size(gmm->mr);
    MemoryRegionSection section = {
        .mr = gmm->mr,
        .size = int128_make64(size),
    };

    g_assert(!gmm->source);
    gmm->source = source;
    guest_memfd_manager_lock_ahead(gmm);
    gmm->chunk_size = ram_discard_manager_get_min_granularity(source, gmm->mr);
    gmm->unplugged = bitmap_new(size / gmm->chunk_size);
    guest_memfd_manager_unlock(gmm);
    guest_memfd_unplug(gmm, 0, size);
    ram_discard_listener_init(&gmm->source_listener,
                              guest_memfd_source_populate,
                              guest_memfd_source_discard, true);
    ram_discard_manager_register_listener(source, &gmm->source_listener,
                                          &section);
}

static void guest_memfd_remove_source(GuestMemfdManager *gmm)
{
    ram_discard_manager_unregister_listener(gmm->source,
                                            &gmm->source_listener);
    gmm->source = NULL;
    guest_memfd_manager_lock_ahead(gmm);
    /* The addresses have no attributes, unlike those of private memory. */
    guest_memfd_places_clear(gmm->places);
    g_clear_pointer(&gmm->unplugged, g_free);
    stat64_set(&gmm->unplugged_size, 0);
    guest_memfd_manager_unlock(gmm);
}

bool guest_memfd_set_source(MemoryRegion *mr, RamDiscardManager *source)
{
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(mr);

    if (!gmm || (!source && !gmm->source)) {
        return false;
    }
    if (source) {
        guest_memfd_add_source(gmm, source);
    } else {
        guest_memfd_remove_source(gmm);
    }
    return true;
}

int guest_memfd_unplug_range(RAMBlock *block, uint64_t offset, uint64_t size)
{
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(block->mr);

    if (!gmm) {
        return ram_block_discard_range(block, offset, size);
    }
    guest_memfd_unplug(gmm, offset, size);
    return 0;
}

bool guest_memfd_prealloc(RAMBlock *block, uint64_t offset, uint64_t size,
                          Error **errp)
{
    int ret;

    if (block->guest_memfd < 0) {
        return qemu_prealloc_mem(block->fd, (char *)block->host + offset, size,
                                 1, NULL, false, errp);
    }
    ret = guest_memfd_allocate_private(block, offset, size);
    if (ret) {
        error_setg_errno(errp, -ret, "cannot preallocate 0x%" PRIx64 " bytes of"
                         " private memory", size);
        guest_memfd_free_private(block, offset, size);
    }
    return !ret;
}
