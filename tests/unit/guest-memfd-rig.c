/*
 * A RAM block with a guest_memfd manager, its listeners, and its conversions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "tests/unit/fakes/journal.h"
#include "tests/unit/guest-memfd-rig.h"

uint64_t page_size(void)
{
    return qemu_real_host_page_size();
}

int fake_free(RAMBlock *block, uint64_t offset, uint64_t size,
              PageState backing)
{
    int ret = journal_call();

    journal_add(backing == PAGE_STATE_SHARED ? "fs" : "fp", offset, size, "",
                ret);
    return ret;
}

int fake_free_unplugged(RAMBlock *block, uint64_t offset, uint64_t size)
{
    int ret = journal_call();

    journal_add("fu", offset, size, "", ret);
    return ret;
}

int fake_allocate(RAMBlock *block, uint64_t offset, uint64_t size)
{
    int ret = journal_call();

    journal_add("ap", offset, size, "", ret);
    return ret;
}

void fake_page_set(FakePage *page, PageState state)
{
    for (int i = 0; i < NLISTENERS; i++) {
        g_assert(state == PAGE_STATE_SHARED || !page->populated[i]);
    }
    page->attribute_shared = state == PAGE_STATE_SHARED;
}

static int fake_block_set_attributes(void *opaque, uint64_t offset,
                                     uint64_t size, PageState state)
{
    FakeBlock *fake = opaque;
    int ret = journal_call();

    journal_add(state == PAGE_STATE_PRIVATE ? "p" : "s", offset, size, "", ret);
    for (uint64_t at = offset; !ret && at < offset + size; at += page_size()) {
        fake_page_set(&fake->pages[at / page_size()], state);
    }
    return ret;
}

FakeBlock *fake_block_new(void)
{
    FakeBlock *fake = g_new0(FakeBlock, 1);

    fake->mr = fake_ram_new(&fake->block, NULL, NPAGES * page_size());
    fake->gmm = guest_memfd_manager_from_region(fake->mr);
    g_assert(fake->gmm);
    fake->set_attributes = fake_block_set_attributes;
    g_assert(fake->mr->rdm == RAM_DISCARD_MANAGER(fake->gmm));
    journal_fail_no_calls();
    journal_clear();
    return fake;
}

void fake_block_free(FakeBlock *fake)
{
    object_unref(fake->mr);
    g_free(fake);
}

static void fake_listener_note(FakeListener *fl, MemoryRegionSection *section,
                               bool populated, int ret)
{
    const uint64_t offset = section->offset_within_region;
    const uint64_t size = int128_get64(section->size);
    g_autofree char *what = g_strdup_printf("%c%c", 'A' + fl->number,
                                            populated ? '+' : '-');

    g_assert(section->mr == fl->fake->mr);
    journal_add(what, offset, size, "", ret);
    for (uint64_t at = offset; !ret && at < offset + size; at += page_size()) {
        FakePage *page = &fl->fake->pages[at / page_size()];

        g_assert(!populated || page->attribute_shared);
        page->populated[fl->number] = populated;
    }
}

static int fake_listener_populate(RamDiscardListener *rdl,
                                  MemoryRegionSection *section)
{
    FakeListener *fl = container_of(rdl, FakeListener, listener);
    const uint64_t refused = fl->refused_page * page_size();
    int ret = journal_call();

    if (fl->refused_page >= 0 && refused >= section->offset_within_region &&
        refused < section->offset_within_region +
                  int128_get64(section->size)) {
        ret = -ENOSPC;
    }
    fake_listener_note(fl, section, true, ret);
    return ret;
}

static void fake_listener_discard(RamDiscardListener *rdl,
                                  MemoryRegionSection *section)
{
    fake_listener_note(container_of(rdl, FakeListener, listener), section,
                       false, 0);
}

RamDiscardManagerClass *manager_class(FakeBlock *fake)
{
    return RAM_DISCARD_MANAGER_GET_CLASS(fake->mr->rdm);
}

MemoryRegionSection make_section(FakeBlock *fake, uint64_t offset,
                                 uint64_t size)
{
    return (MemoryRegionSection) {
        .mr = fake->mr,
        .offset_within_region = offset,
        .offset_within_address_space = 0x100000 + offset,
        .size = int128_make64(size),
    };
}

MemoryRegionSection make_pages(FakeBlock *fake, uint64_t first,
                               uint64_t npages)
{
    return make_section(fake, first * page_size(), npages * page_size());
}

void register_section(FakeListener *fl, FakeBlock *fake, int number,
                      MemoryRegionSection section, bool double_discard)
{
    *fl = (FakeListener) {
        .fake = fake,
        .number = number,
        .refused_page = -1,
    };
    ram_discard_listener_init(&fl->listener, fake_listener_populate,
                              fake_listener_discard, double_discard);
    manager_class(fake)->register_listener(fake->mr->rdm, &fl->listener,
                                           &section);
}

void register_all(FakeListener *fl, FakeBlock *fake, int number)
{
    register_section(fl, fake, number, make_pages(fake, 0, NPAGES), false);
}

void unregister(FakeListener *fl)
{
    manager_class(fl->fake)->unregister_listener(fl->fake->mr->rdm,
                                                 &fl->listener);
    g_assert_null(fl->listener.section);
}

GuestMemfdConversion make_conversion(FakeBlock *fake, uint64_t first,
                                     uint64_t npages, PageState to)
{
    return (GuestMemfdConversion) {
        .manager = fake->gmm,
        .offset = first * page_size(),
        .size = npages * page_size(),
        .to = to,
        .set_attributes = fake->set_attributes,
        .opaque = fake,
    };
}

int convert(FakeBlock *fake, uint64_t first, uint64_t npages,
            PageState to)
{
    const GuestMemfdConversion c = make_conversion(fake, first, npages, to);
    int ret;

    guest_memfd_manager_lock(fake->gmm);
    ret = guest_memfd_prepare(&c);
    if (!ret) {
        guest_memfd_commit(&c);
        guest_memfd_free_unused(&c);
    }
    guest_memfd_manager_unlock(fake->gmm);
    return ret;
}

void prepare_and_abort(FakeBlock *fake, uint64_t first, uint64_t npages,
                       PageState to)
{
    const GuestMemfdConversion c = make_conversion(fake, first, npages, to);

    guest_memfd_manager_lock(fake->gmm);
    g_assert_cmpint(guest_memfd_prepare(&c), ==, 0);
    guest_memfd_abort(&c);
    guest_memfd_manager_unlock(fake->gmm);
}

void make_shared(FakeBlock *fake, uint64_t first, uint64_t npages)
{
    g_assert_cmpint(convert(fake, first, npages, PAGE_STATE_SHARED), ==, 0);
}

void make_private(FakeBlock *fake, uint64_t first, uint64_t npages)
{
    g_assert_cmpint(convert(fake, first, npages, PAGE_STATE_PRIVATE), ==, 0);
}

GuestMemfdInfo *query(FakeBlock *fake)
{
    return guest_memfd_manager_query(fake->gmm, NULL);
}

GuestMemfdStats fake_stats(FakeBlock *fake)
{
    g_autoptr(GuestMemfdInfo) info = query(fake);

    return *qapi_GuestMemfdInfo_base(info);
}

/* Format the states of all pages: '#' is shared, '.' private. */
static void read_states(FakeBlock *fake, char *states)
{
    uint64_t offset = 0, size = NPAGES * page_size();

    memset(states, '.', NPAGES);
    states[NPAGES] = '\0';
    guest_memfd_manager_lock(fake->gmm);
    while (guest_memfd_next_shared(fake->gmm, &offset, &size)) {
        g_assert_cmpuint(size, >, 0);
        memset(states + offset / page_size(), '#', size / page_size());
        offset += size;
        size = NPAGES * page_size() - offset;
    }
    guest_memfd_manager_unlock(fake->gmm);
}

void assert_states(FakeBlock *fake, const char *expected)
{
    g_autoptr(GuestMemfdInfo) info = NULL;
    char states[NPAGES + 1];
    uint64_t nshared = 0;

    read_states(fake, states);
    g_assert_cmpstr(states, ==, expected);
    for (int i = 0; i < NPAGES; i++) {
        nshared += expected[i] == '#';
    }
    info = query(fake);
    g_assert_cmpuint(info->shared_size, ==, nshared * page_size());
}

void assert_agreement(FakeBlock *fake, int nlisteners)
{
    char states[NPAGES + 1];

    read_states(fake, states);
    for (int i = 0; i < NPAGES; i++) {
        const bool shared = states[i] == '#';

        g_assert_cmpint(fake->pages[i].attribute_shared, ==, shared);
        for (int j = 0; j < nlisteners; j++) {
            g_assert_cmpint(fake->pages[i].populated[j], ==, shared);
        }
    }
}
