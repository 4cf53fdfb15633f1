/*
 * Test of the manager of shared and private pages, without KVM
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All that the manager calls is faked, can fail, and is written down.  A line
 * of the test's journal has, in the order in which things happened:
 *
 *   s2/3 p2/3     attributes of 3 pages from page 2 on are set to shared, or
 *                 to private
 *   A+2/3 A-2/3   listener A is told to populate or to discard them
 *   fs2/3 fp2/3   their shared, or their private backing is freed
 *
 * with a '!' behind what failed.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/units.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "qemu/module.h"
#include "system/guest-memfd-backing.h"
#include "system/guest-memfd-limits.h"
#include "system/guest-memfd-manager.h"

#define NPAGES 16
#define NLISTENERS 3

/* What the kernel and listeners remember of a page. */
typedef struct FakePage {
    bool attribute_shared;
    bool told[NLISTENERS];
} FakePage;

typedef struct FakeBlock {
    RAMBlock block;
    MemoryRegion *mr;
    GuestMemfdManager *gmm;
    FakePage pages[NPAGES];
} FakeBlock;

typedef struct FakeListener {
    RamDiscardListener listener;
    FakeBlock *fake;
    int number;
    int refused_page;
} FakeListener;

static GString *journal;

/* The calls from number @fail_first to @fail_last fail with @fail_errno. */
static unsigned int ncalls;
static unsigned int fail_first;
static unsigned int fail_last;
static int fail_errno;

static uint64_t page_size(void)
{
    return qemu_real_host_page_size();
}

static int fake_call(void)
{
    ncalls++;
    return ncalls >= fail_first && ncalls <= fail_last ? -fail_errno : 0;
}

static void fail_calls(unsigned int first, unsigned int last, int err)
{
    ncalls = 0;
    fail_first = first;
    fail_last = last;
    fail_errno = err;
}

static void fail_no_calls(void)
{
    fail_calls(1, 0, 0);
}

static void note(const char *what, uint64_t offset, uint64_t size, int ret)
{
    g_string_append_printf(journal, "%s%s%" PRIu64 "/%" PRIu64 "%s",
                           journal->len ? " " : "", what,
                           offset / page_size(), size / page_size(),
                           ret ? "!" : "");
}

/* The journal must say this; then it is empty. */
static void assert_journal(const char *expected)
{
    g_assert_cmpstr(journal->str, ==, expected);
    g_string_truncate(journal, 0);
}

/* What the manager finds in QEMU */

int guest_memfd_free_shared(RAMBlock *block, uint64_t offset, uint64_t size)
{
    int ret = fake_call();

    note("fs", offset, size, ret);
    return ret;
}

int guest_memfd_free_private(RAMBlock *block, uint64_t offset, uint64_t size)
{
    int ret = fake_call();

    note("fp", offset, size, ret);
    return ret;
}

bool guest_memfd_check_block(const RAMBlock *block, Error **errp)
{
    if (block->flags & RAM_READONLY_FD) {
        error_setg(errp, "read-only");
        return false;
    }
    return true;
}

/* Blocks, accelerator, listeners */

static FakeBlock *fake_block_new(void)
{
    FakeBlock *fake = g_new0(FakeBlock, 1);

    fake->mr = MEMORY_REGION(object_new(TYPE_MEMORY_REGION));
    fake->mr->size = int128_make64(NPAGES * page_size());
    fake->mr->ram_block = &fake->block;
    fake->block.mr = fake->mr;
    fake->block.max_length = NPAGES * page_size();
    fake->block.page_size = page_size();
    guest_memfd_manager_create(&fake->block, &error_abort);
    fake->gmm = guest_memfd_manager_from_region(fake->mr);
    g_assert(fake->gmm);
    g_assert(fake->mr->rdm == RAM_DISCARD_MANAGER(fake->gmm));
    fail_no_calls();
    g_string_truncate(journal, 0);
    return fake;
}

static void fake_block_free(FakeBlock *fake)
{
    object_unref(fake->mr);
    g_free(fake);
}

static int fake_set_attributes(void *opaque, uint64_t offset, uint64_t size,
                               bool to_private)
{
    FakeBlock *fake = opaque;
    int ret = fake_call();

    note(to_private ? "p" : "s", offset, size, ret);
    for (uint64_t at = offset; !ret && at < offset + size; at += page_size()) {
        fake->pages[at / page_size()].attribute_shared = !to_private;
    }
    return ret;
}

static void fake_listener_note(FakeListener *fl, MemoryRegionSection *section,
                               bool populated, int ret)
{
    const uint64_t offset = section->offset_within_region;
    const uint64_t size = int128_get64(section->size);
    g_autofree char *what = g_strdup_printf("%c%c", 'A' + fl->number,
                                            populated ? '+' : '-');

    g_assert(section->mr == fl->fake->mr);
    note(what, offset, size, ret);
    for (uint64_t at = offset; !ret && at < offset + size; at += page_size()) {
        fl->fake->pages[at / page_size()].told[fl->number] = populated;
    }
}

static int fake_listener_populate(RamDiscardListener *rdl,
                                  MemoryRegionSection *section)
{
    FakeListener *fl = container_of(rdl, FakeListener, listener);
    const uint64_t refused = fl->refused_page * page_size();
    int ret = fake_call();

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

static RamDiscardManagerClass *manager_class(FakeBlock *fake)
{
    return RAM_DISCARD_MANAGER_GET_CLASS(fake->mr->rdm);
}

/* A section in bytes; its guest address is that of the region plus 1 MiB. */
static MemoryRegionSection make_section(FakeBlock *fake, uint64_t offset,
                                        uint64_t size)
{
    return (MemoryRegionSection) {
        .mr = fake->mr,
        .offset_within_region = offset,
        .offset_within_address_space = 0x100000 + offset,
        .size = int128_make64(size),
    };
}

static MemoryRegionSection make_pages(FakeBlock *fake, uint64_t first,
                                      uint64_t npages)
{
    return make_section(fake, first * page_size(), npages * page_size());
}

static void register_section(FakeListener *fl, FakeBlock *fake, int number,
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

static void register_all(FakeListener *fl, FakeBlock *fake, int number)
{
    register_section(fl, fake, number, make_pages(fake, 0, NPAGES), false);
}

static void unregister(FakeListener *fl)
{
    manager_class(fl->fake)->unregister_listener(fl->fake->mr->rdm,
                                                 &fl->listener);
    g_assert_null(fl->listener.section);
}

/* Conversions */

static GuestMemfdConversion make_conversion(FakeBlock *fake, uint64_t first,
                                            uint64_t npages, bool to_private)
{
    return (GuestMemfdConversion) {
        .manager = fake->gmm,
        .offset = first * page_size(),
        .size = npages * page_size(),
        .to_private = to_private,
        .set_attributes = fake_set_attributes,
        .opaque = fake,
    };
}

static int convert(FakeBlock *fake, uint64_t first, uint64_t npages,
                   bool to_private)
{
    const GuestMemfdConversion c = make_conversion(fake, first, npages,
                                                   to_private);
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

static void prepare_and_abort(FakeBlock *fake, uint64_t first, uint64_t npages,
                              bool to_private)
{
    const GuestMemfdConversion c = make_conversion(fake, first, npages,
                                                   to_private);

    guest_memfd_manager_lock(fake->gmm);
    g_assert_cmpint(guest_memfd_prepare(&c), ==, 0);
    guest_memfd_abort(&c);
    guest_memfd_manager_unlock(fake->gmm);
}

static void make_shared(FakeBlock *fake, uint64_t first, uint64_t npages)
{
    g_assert_cmpint(convert(fake, first, npages, false), ==, 0);
}

static void make_private(FakeBlock *fake, uint64_t first, uint64_t npages)
{
    g_assert_cmpint(convert(fake, first, npages, true), ==, 0);
}

static uint64_t get(FakeBlock *fake, const char *property)
{
    return object_property_get_uint(OBJECT(fake->gmm), property, &error_abort);
}

/* All pages as text, as "..##............": '#' is shared. */
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

static void assert_states(FakeBlock *fake, const char *expected)
{
    char states[NPAGES + 1];
    uint64_t nshared = 0;

    read_states(fake, states);
    g_assert_cmpstr(states, ==, expected);
    for (int i = 0; i < NPAGES; i++) {
        nshared += expected[i] == '#';
    }
    g_assert_cmpuint(get(fake, "shared-size"), ==, nshared * page_size());
}

/* The kernel and the first @nlisteners know what the manager says. */
static void assert_agreement(FakeBlock *fake, int nlisteners)
{
    char states[NPAGES + 1];

    read_states(fake, states);
    for (int i = 0; i < NPAGES; i++) {
        const bool shared = states[i] == '#';

        g_assert_cmpint(fake->pages[i].attribute_shared, ==, shared);
        for (int j = 0; j < nlisteners; j++) {
            g_assert_cmpint(fake->pages[i].told[j], ==, shared);
        }
    }
}

/* The tests */

static void test_states(void)
{
    FakeBlock *fake = fake_block_new();

    g_assert_cmpuint(get(fake, "size"), ==, NPAGES * page_size());
    assert_states(fake, "................");
    make_shared(fake, 2, 3);
    assert_states(fake, "..###...........");
    make_shared(fake, 4, 4);
    assert_states(fake, "..######........");
    make_shared(fake, 15, 1);
    assert_states(fake, "..######.......#");
    make_private(fake, 3, 2);
    assert_states(fake, "..#..###.......#");
    make_private(fake, 0, NPAGES);
    assert_states(fake, "................");
    make_shared(fake, 0, NPAGES);
    assert_states(fake, "################");
    assert_agreement(fake, 0);
    fake_block_free(fake);
}

static void test_from_region(void)
{
    FakeBlock *fake = fake_block_new();
    MemoryRegion mmio = { };
    RAMBlock plain_block = { .guest_memfd = -1 };
    MemoryRegion plain = { .ram_block = &plain_block };

    g_assert_true(object_resolve_path_component(OBJECT(fake->mr),
                                                "guest-memfd-manager") ==
                  OBJECT(fake->gmm));
    g_assert_cmpuint(manager_class(fake)->get_min_granularity(fake->mr->rdm,
                                                              fake->mr),
                     ==, page_size());
    g_assert_null(guest_memfd_manager_from_region(&mmio));
    g_assert_null(guest_memfd_manager_from_region(&plain));
    fake_block_free(fake);
}

/* A block that cannot have a guest_memfd has no manager. */
static void test_unfit(void)
{
    MemoryRegion *mr = MEMORY_REGION(object_new(TYPE_MEMORY_REGION));
    RAMBlock block = { .mr = mr, .flags = RAM_READONLY_FD };
    Error *err = NULL;

    g_assert_false(guest_memfd_manager_create(&block, &err));
    error_free_or_abort(&err);
    g_assert_null(mr->rdm);
    g_assert_null(object_resolve_path_component(OBJECT(mr),
                                                "guest-memfd-manager"));
    object_unref(mr);
}

static void test_order(void)
{
    FakeBlock *fake = fake_block_new();
    FakeListener a, b;

    register_all(&a, fake, 0);
    register_all(&b, fake, 1);
    assert_journal("");

    make_shared(fake, 2, 2);
    assert_journal("s2/2 B+2/2 A+2/2 fp2/2");
    make_shared(fake, 6, 2);
    assert_journal("s6/2 B+6/2 A+6/2 fp6/2");

    /* Runs that are shared are not told again; all else is the whole range */
    make_shared(fake, 0, 8);
    assert_journal("s0/8 B+0/2 A+0/2 B+4/2 A+4/2 fp0/8");
    make_shared(fake, 0, 8);
    assert_journal("s0/8 fp0/8");

    make_private(fake, 1, 2);
    assert_journal("B-1/2 A-1/2 p1/2 fs1/2");
    make_private(fake, 0, 9);
    assert_journal("B-0/1 A-0/1 B-3/5 A-3/5 p0/9 fs0/9");
    make_private(fake, 0, 9);
    assert_journal("p0/9 fs0/9");
    assert_agreement(fake, 2);

    unregister(&a);
    unregister(&b);
    fake_block_free(fake);
}

/* The n-th of three listeners refuses, in the first or the second run. */
static void test_refusal(void)
{
    static const char *expected[NLISTENERS][2] = {
        { "s0/8 C+0/2 B+0/2 A+0/2! C-0/2 B-0/2"
          " p0/2 p4/4 fs0/2 fs4/4",
          "s0/8 C+0/2 B+0/2 A+0/2 C+4/4 B+4/4 A+4/4! C-4/4 B-4/4"
          " C-0/2 B-0/2 A-0/2 p0/2 p4/4 fs0/2 fs4/4" },
        { "s0/8 C+0/2 B+0/2! C-0/2 p0/2 p4/4 fs0/2 fs4/4",
          "s0/8 C+0/2 B+0/2 A+0/2 C+4/4 B+4/4! C-4/4"
          " C-0/2 B-0/2 A-0/2 p0/2 p4/4 fs0/2 fs4/4" },
        { "s0/8 C+0/2! p0/2 p4/4 fs0/2 fs4/4",
          "s0/8 C+0/2 B+0/2 A+0/2 C+4/4!"
          " C-0/2 B-0/2 A-0/2 p0/2 p4/4 fs0/2 fs4/4" },
    };
    static const int refused_pages[] = { 1, 5 };

    for (int who = 0; who < NLISTENERS; who++) {
        for (int run = 0; run < ARRAY_SIZE(refused_pages); run++) {
            FakeBlock *fake = fake_block_new();
            FakeListener listeners[NLISTENERS];

            make_shared(fake, 2, 2);
            for (int i = 0; i < NLISTENERS; i++) {
                register_all(&listeners[i], fake, i);
            }
            g_string_truncate(journal, 0);
            listeners[who].refused_page = refused_pages[run];

            g_assert_cmpint(convert(fake, 0, 8, false), ==, -ENOSPC);
            assert_journal(expected[who][run]);
            assert_states(fake, "..##............");
            assert_agreement(fake, NLISTENERS);
            g_assert_cmpuint(get(fake, "failures"), ==, 1);

            listeners[who].refused_page = -1;
            make_shared(fake, 0, 8);
            assert_states(fake, "########........");
            assert_agreement(fake, NLISTENERS);
            for (int i = 0; i < NLISTENERS; i++) {
                unregister(&listeners[i]);
            }
            fake_block_free(fake);
        }
    }
}

static void test_attributes_refused(void)
{
    FakeBlock *fake = fake_block_new();
    FakeListener a;

    register_all(&a, fake, 0);
    make_shared(fake, 2, 2);
    g_string_truncate(journal, 0);

    fail_calls(1, 1, ENOMEM);
    g_assert_cmpint(convert(fake, 0, 4, false), ==, -ENOMEM);
    assert_journal("s0/4!");
    assert_states(fake, "..##............");
    assert_agreement(fake, 1);

    fail_calls(1, 1, ENOMEM);
    g_assert_cmpint(convert(fake, 0, 4, true), ==, -ENOMEM);
    assert_journal("A-2/2 p0/4! A+2/2");
    assert_states(fake, "..##............");
    assert_agreement(fake, 1);
    g_assert_cmpuint(get(fake, "failures"), ==, 2);

    unregister(&a);
    fake_block_free(fake);
}

static void test_attributes_lost(void)
{
    FakeBlock *fake = fake_block_new();
    FakeListener a;

    register_all(&a, fake, 0);
    make_shared(fake, 2, 4);
    g_string_truncate(journal, 0);

    /* Some of the pages are private now, nobody knows which. */
    fail_calls(1, 1, ENOTRECOVERABLE);
    g_assert_cmpint(convert(fake, 4, 4, true), ==, -ENOTRECOVERABLE);
    assert_journal("A-4/2 p4/4! p4/4 fs4/4");
    assert_states(fake, "..##............");
    g_assert_cmpuint(get(fake, "failures"), ==, 1);

    make_private(fake, 4, 2);
    assert_journal("p4/2 fs4/2");
    assert_agreement(fake, 1);
    make_shared(fake, 4, 2);
    assert_agreement(fake, 1);

    unregister(&a);
    fake_block_free(fake);
}

static void test_abort(void)
{
    FakeBlock *fake = fake_block_new();
    FakeListener a;

    register_all(&a, fake, 0);
    make_shared(fake, 2, 2);
    g_string_truncate(journal, 0);

    prepare_and_abort(fake, 0, 6, false);
    assert_journal("s0/6 A+0/2 A+4/2"
                   " A-0/2 A-4/2 p0/2 p4/2 fs0/2 fs4/2");
    assert_states(fake, "..##............");
    assert_agreement(fake, 1);

    prepare_and_abort(fake, 0, 6, true);
    assert_journal("A-2/2 p0/6 s2/2 A+2/2");
    assert_states(fake, "..##............");
    assert_agreement(fake, 1);
    g_assert_cmpuint(get(fake, "failures"), ==, 0);

    /* What cannot become shared again is private, for all. */
    make_shared(fake, 5, 1);
    g_string_truncate(journal, 0);
    fail_calls(2, 2, ENOMEM);
    prepare_and_abort(fake, 0, 6, true);
    fail_no_calls();
    assert_journal("A-2/2 A-5/1 p0/6 s2/2! p2/2 fs2/2 s5/1 A+5/1");
    assert_states(fake, ".....#..........");
    assert_agreement(fake, 1);
    g_assert_cmpuint(get(fake, "failures"), ==, 1);
    make_shared(fake, 2, 2);
    assert_states(fake, "..##.#..........");
    assert_agreement(fake, 1);

    unregister(&a);
    fake_block_free(fake);
}

/* A range over two blocks: the second part fails, the first is taken back. */
static void test_abort_parts(void)
{
    FakeBlock *first = fake_block_new(), *second = fake_block_new();
    FakeListener a, b;
    GuestMemfdConversion parts[2];

    register_all(&a, first, 0);
    register_all(&b, second, 1);
    make_shared(first, 14, 1);
    g_string_truncate(journal, 0);
    parts[0] = make_conversion(first, 12, 4, false);
    parts[1] = make_conversion(second, 0, 2, false);
    b.refused_page = 1;

    guest_memfd_manager_lock(first->gmm);
    guest_memfd_manager_lock(second->gmm);
    g_assert_cmpint(guest_memfd_prepare(&parts[0]), ==, 0);
    g_assert_cmpint(guest_memfd_prepare(&parts[1]), ==, -ENOSPC);
    guest_memfd_abort(&parts[0]);
    guest_memfd_manager_unlock(first->gmm);
    guest_memfd_manager_unlock(second->gmm);

    assert_journal("s12/4 A+12/2 A+15/1"
                   " s0/2 B+0/2! p0/2 fs0/2"
                   " A-12/2 A-15/1 p12/2 p15/1 fs12/2 fs15/1");
    assert_states(first, "..............#.");
    assert_states(second, "................");
    assert_agreement(first, 1);
    g_assert_cmpuint(get(first, "failures"), ==, 0);
    g_assert_cmpuint(get(second, "failures"), ==, 1);

    unregister(&a);
    unregister(&b);
    fake_block_free(first);
    fake_block_free(second);
}

static void test_register(void)
{
    FakeBlock *fake = fake_block_new();
    FakeListener a, b;

    make_shared(fake, 1, 2);
    make_shared(fake, 5, 4);
    g_string_truncate(journal, 0);

    /* Only what is shared in its section */
    register_section(&a, fake, 0, make_pages(fake, 2, 5), false);
    assert_journal("A+2/1 A+5/2");
    make_shared(fake, 0, 10);
    assert_journal("s0/10 A+3/2 fp0/10");
    make_private(fake, 6, 10);
    assert_journal("A-6/1 p6/10 fs6/10");
    unregister(&a);
    assert_journal("A-2/4");
    make_shared(fake, 7, 2);
    assert_journal("s7/2 fp7/2");

    /* A section may be discarded as a whole where listeners allow it */
    register_section(&b, fake, 1, make_pages(fake, 4, 8), true);
    assert_journal("B+4/2 B+7/2");
    unregister(&b);
    assert_journal("B-4/8");

    /* Nothing is told of what is elsewhere */
    register_section(&a, fake, 0, make_pages(fake, 14, 2), false);
    make_private(fake, 0, 12);
    assert_journal("p0/12 fs0/12");
    unregister(&a);
    assert_journal("");
    fake_block_free(fake);
}

/* A new listener that refuses a run is told of the others all the same. */
static void test_register_refusal(void)
{
    FakeBlock *fake = fake_block_new();
    FakeListener a;

    make_shared(fake, 1, 1);
    make_shared(fake, 3, 1);
    make_shared(fake, 5, 1);
    g_string_truncate(journal, 0);
    fail_calls(2, 2, ENOSPC);
    register_all(&a, fake, 0);
    assert_journal("A+1/1 A+3/1! A+5/1");
    g_assert_cmpuint(get(fake, "failures"), ==, 1);
    make_private(fake, 0, NPAGES);
    assert_agreement(fake, 1);
    unregister(&a);
    fake_block_free(fake);
}

static void assert_populated(FakeBlock *fake, uint64_t offset, uint64_t size,
                             bool expected)
{
    const MemoryRegionSection section = make_section(fake, offset, size);

    g_assert_cmpint(manager_class(fake)->is_populated(fake->mr->rdm, &section),
                    ==, expected);
}

static void test_is_populated(void)
{
    FakeBlock *fake = fake_block_new();
    const uint64_t page = page_size();

    make_shared(fake, 2, 3);
    assert_populated(fake, 2 * page, 3 * page, true);
    assert_populated(fake, 3 * page, page, true);
    assert_populated(fake, page, 2 * page, false);
    assert_populated(fake, 4 * page, 2 * page, false);
    assert_populated(fake, 0, NPAGES * page, false);
    assert_populated(fake, 8 * page, page, false);

    /* Parts of pages */
    assert_populated(fake, 2 * page + 1, 1, true);
    assert_populated(fake, 2 * page + 512, 3 * page - 1024, true);
    assert_populated(fake, 2 * page - 1, 2, false);
    assert_populated(fake, 5 * page - 1, 2, false);
    assert_populated(fake, 5 * page - 1, 1, true);
    fake_block_free(fake);
}

/* Sections that start and end within pages are told of their part. */
static void test_unaligned(void)
{
    FakeBlock *fake = fake_block_new();
    const uint64_t page = page_size();
    FakeListener a;
    MemoryRegionSection *told;

    register_section(&a, fake, 0, make_section(fake, page / 2, 2 * page),
                     false);
    told = a.listener.section;
    g_assert_cmpuint(told->offset_within_region, ==, page / 2);
    make_shared(fake, 0, 1);
    /* Less than a page is told of, which the journal shows as 0/0 */
    assert_journal("s0/1 A+0/0 fp0/1");
    make_shared(fake, 1, 1);
    assert_journal("s1/1 A+1/1 fp1/1");
    make_shared(fake, 2, 4);
    assert_journal("s2/4 A+2/0 fp2/4");
    make_private(fake, 3, 1);
    assert_journal("p3/1 fs3/1");
    /* Of the last page, too, of which it has a part */
    unregister(&a);
    assert_journal("A-0/2");
    register_section(&a, fake, 0, make_section(fake, page / 2, page), false);
    assert_journal("A+0/1");
    unregister(&a);
    assert_journal("A-0/1");
    fake_block_free(fake);
}

static int stop_after;

static int note_populated(const MemoryRegionSection *section, void *opaque)
{
    g_assert_cmpuint(section->offset_within_address_space, ==,
                     0x100000 + section->offset_within_region);
    note(opaque, section->offset_within_region, int128_get64(section->size),
         0);
    return --stop_after ? 0 : -ECANCELED;
}

static void note_discarded(const MemoryRegionSection *section, void *opaque)
{
    note_populated(section, opaque);
}

static int replay(FakeBlock *fake, uint64_t first, uint64_t npages,
                  bool populated)
{
    MemoryRegionSection section = make_pages(fake, first, npages);

    if (populated) {
        return manager_class(fake)->replay_populated(
            fake->mr->rdm, &section, (ReplayRamPopulate)note_populated,
            (void *)"");
    }
    manager_class(fake)->replay_discarded(
        fake->mr->rdm, &section, (ReplayRamDiscard)note_discarded,
        (void *)"");
    return 0;
}

static void test_replay(void)
{
    FakeBlock *fake = fake_block_new();

    stop_after = 0;
    make_shared(fake, 1, 2);
    make_shared(fake, 5, 4);
    make_shared(fake, 12, 1);
    g_string_truncate(journal, 0);

    g_assert_cmpint(replay(fake, 0, NPAGES, true), ==, 0);
    assert_journal("1/2 5/4 12/1");
    g_assert_cmpint(replay(fake, 2, 5, true), ==, 0);
    assert_journal("2/1 5/2");
    replay(fake, 0, NPAGES, false);
    assert_journal("0/1 3/2 9/3 13/3");
    replay(fake, 4, 6, false);
    assert_journal("4/1 9/1");
    g_assert_cmpint(replay(fake, 13, 3, true), ==, 0);
    replay(fake, 5, 4, false);
    assert_journal("");

    stop_after = 2;
    g_assert_cmpint(replay(fake, 0, NPAGES, true), ==, -ECANCELED);
    assert_journal("1/2 5/4");
    fake_block_free(fake);
}

static void test_counters(void)
{
    FakeBlock *fake = fake_block_new();

    make_shared(fake, 0, 4);
    make_shared(fake, 0, 4);
    make_private(fake, 1, 1);
    fail_calls(1, 1, EIO);
    g_assert_cmpint(convert(fake, 0, 1, true), ==, -EIO);
    prepare_and_abort(fake, 0, 8, true);
    g_assert_cmpuint(get(fake, "conversions-to-shared"), ==, 2);
    g_assert_cmpuint(get(fake, "conversions-to-private"), ==, 1);
    g_assert_cmpuint(get(fake, "failures"), ==, 1);
    g_assert_cmpuint(get(fake, "unfreed"), ==, 0);
    fake_block_free(fake);
}

/* The second call of a conversion without listeners frees its old backing. */
static void convert_unfreed(FakeBlock *fake, bool to_private, int err)
{
    fail_calls(2, 2, err);
    g_assert_cmpint(convert(fake, 0, 2, to_private), ==, 0);
    fail_no_calls();
}

/* What cannot be freed is counted, and tried again, whatever the error was. */
static void test_unfreed(void)
{
    static const int errors[] = { ENOMEM, EIO, EINVAL, ENOTSUP };
    FakeBlock *fake = fake_block_new();

    for (int i = 0; i < ARRAY_SIZE(errors); i++) {
        convert_unfreed(fake, false, errors[i]);
        assert_journal("s0/2 fp0/2!");
        assert_states(fake, "##..............");
        make_shared(fake, 0, 2);
        assert_journal("s0/2 fp0/2");
        convert_unfreed(fake, true, errors[i]);
        assert_journal("p0/2 fs0/2!");
        assert_states(fake, "................");
        make_private(fake, 0, 2);
        assert_journal("p0/2 fs0/2");
        g_assert_cmpuint(get(fake, "unfreed"), ==, 2 * (i + 1));
    }
    g_assert_cmpuint(get(fake, "failures"), ==, 0);
    fake_block_free(fake);
}

/* Only what is still in the state that it was converted to is freed. */
static void test_free_later(void)
{
    FakeBlock *fake = fake_block_new();
    const GuestMemfdConversion to_shared = make_conversion(fake, 0, 6, false);
    const GuestMemfdConversion to_private = make_conversion(fake, 0, 6, true);

    guest_memfd_manager_lock(fake->gmm);
    g_assert_cmpint(guest_memfd_prepare(&to_shared), ==, 0);
    guest_memfd_commit(&to_shared);
    guest_memfd_manager_unlock(fake->gmm);
    assert_journal("s0/6");
    make_private(fake, 2, 1);
    assert_journal("p2/1 fs2/1");
    guest_memfd_manager_lock(fake->gmm);
    guest_memfd_free_unused(&to_shared);
    assert_journal("fp0/2 fp3/3");
    guest_memfd_free_unused(&to_private);
    assert_journal("fs2/1");
    guest_memfd_manager_unlock(fake->gmm);
    assert_states(fake, "##.###..........");
    fake_block_free(fake);
}

static void note_changed(void *opaque, uint64_t offset, uint64_t size)
{
    note("c", offset, size, 0);
}

static void test_changed(void)
{
    FakeBlock *fake = fake_block_new();
    GuestMemfdConversion c = make_conversion(fake, 0, 8, false);

    make_shared(fake, 2, 2);
    make_shared(fake, 6, 1);
    g_string_truncate(journal, 0);
    c.changed = note_changed;
    guest_memfd_manager_lock(fake->gmm);
    g_assert_cmpint(guest_memfd_prepare(&c), ==, 0);
    guest_memfd_commit(&c);
    guest_memfd_manager_unlock(fake->gmm);
    assert_journal("s0/8 c0/2 c4/2 c7/1");
    fake_block_free(fake);
}

static void assert_next(FakeBlock *fake, uint64_t first, uint64_t npages,
                        int64_t expected, uint64_t expected_npages)
{
    uint64_t offset = first * page_size(), size = npages * page_size();
    bool found;

    guest_memfd_manager_lock(fake->gmm);
    found = guest_memfd_next_shared(fake->gmm, &offset, &size);
    guest_memfd_manager_unlock(fake->gmm);
    g_assert_cmpint(found, ==, expected >= 0);
    if (found) {
        g_assert_cmpuint(offset, ==, expected * page_size());
        g_assert_cmpuint(size, ==, expected_npages * page_size());
    }
}

static void test_next_shared(void)
{
    FakeBlock *fake = fake_block_new();

    assert_next(fake, 0, NPAGES, -1, 0);
    make_shared(fake, 3, 4);
    make_shared(fake, 9, 1);
    assert_next(fake, 0, NPAGES, 3, 4);
    assert_next(fake, 0, 5, 3, 2);
    assert_next(fake, 5, NPAGES - 5, 5, 2);
    assert_next(fake, 7, NPAGES - 7, 9, 1);
    assert_next(fake, 7, 2, -1, 0);
    assert_next(fake, 10, NPAGES - 10, -1, 0);
    assert_next(fake, NPAGES, 0, -1, 0);
    fake_block_free(fake);
}

/* A block with listeners and "..##...#........". */
static FakeBlock *sweep_new(FakeListener listeners[2])
{
    FakeBlock *fake = fake_block_new();

    register_all(&listeners[0], fake, 0);
    register_all(&listeners[1], fake, 1);
    make_shared(fake, 2, 2);
    make_shared(fake, 7, 1);
    return fake;
}

static void sweep_free(FakeBlock *fake, FakeListener listeners[2])
{
    unregister(&listeners[0]);
    unregister(&listeners[1]);
    fake_block_free(fake);
}

/*
 * Calls from number @first to @last of a conversion fail.  Returns whether so
 * many were made.
 */
static bool sweep_step(unsigned int first, unsigned int last, bool to_private)
{
    const char *before = "..##...#........";
    const char *after = to_private ? "................" : "##########......";
    FakeListener listeners[2];
    FakeBlock *fake = sweep_new(listeners);
    bool reached;
    int ret;

    fail_calls(first, last, ENOMEM);
    ret = convert(fake, 0, 10, to_private);
    reached = ncalls >= first;
    fail_no_calls();

    g_assert_true(ret == 0 || ret == -ENOMEM);
    g_assert_true(reached || ret == 0);
    assert_states(fake, ret ? before : after);
    if (first == last || !ret) {
        assert_agreement(fake, 2);
    }
    if (reached) {
        g_assert_cmpuint(get(fake, "failures") + get(fake, "unfreed"), >, 0);
    }
    /* No listener may have what is not shared, come what may */
    for (int i = 0; i < NPAGES; i++) {
        const bool shared = (ret ? before : after)[i] == '#';

        g_assert_true(shared || !fake->pages[i].told[0]);
        g_assert_true(shared || !fake->pages[i].told[1]);
    }

    /* Another try does what the first did not, and mends what it left */
    g_assert_cmpint(convert(fake, 0, 10, to_private), ==, 0);
    assert_states(fake, after);
    assert_agreement(fake, 2);
    sweep_free(fake, listeners);
    return reached;
}

static void test_sweep(gconstpointer opaque)
{
    const bool to_private = GPOINTER_TO_INT(opaque);
    unsigned int n;

    for (n = 1; sweep_step(n, n, to_private); n++) {
        /* One call fails */
    }
    /* Attributes, three runs told to two, and the backing */
    g_assert_cmpuint(n - 1, ==, to_private ? 2 : 8);
    for (n = 1; sweep_step(n, UINT_MAX, to_private); n++) {
        /* One call fails, and all that come after it */
    }
    g_assert_cmpuint(n - 1, ==, to_private ? 2 : 8);
}

int main(int argc, char **argv)
{
    /* Some of the tests cause reports */
    g_setenv("QTEST_SILENT_ERRORS", "1", true);
    g_test_init(&argc, &argv, NULL);
    module_call_init(MODULE_INIT_QOM);
    journal = g_string_new(NULL);

    g_test_add_func("/guest-memfd/states", test_states);
    g_test_add_func("/guest-memfd/from-region", test_from_region);
    g_test_add_func("/guest-memfd/unfit", test_unfit);
    g_test_add_func("/guest-memfd/order", test_order);
    g_test_add_func("/guest-memfd/refusal", test_refusal);
    g_test_add_func("/guest-memfd/attributes-refused",
                    test_attributes_refused);
    g_test_add_func("/guest-memfd/attributes-lost", test_attributes_lost);
    g_test_add_func("/guest-memfd/abort", test_abort);
    g_test_add_func("/guest-memfd/abort-parts", test_abort_parts);
    g_test_add_func("/guest-memfd/register", test_register);
    g_test_add_func("/guest-memfd/register-refusal", test_register_refusal);
    g_test_add_func("/guest-memfd/is-populated", test_is_populated);
    g_test_add_func("/guest-memfd/unaligned", test_unaligned);
    g_test_add_func("/guest-memfd/replay", test_replay);
    g_test_add_func("/guest-memfd/counters", test_counters);
    g_test_add_func("/guest-memfd/unfreed", test_unfreed);
    g_test_add_func("/guest-memfd/free-later", test_free_later);
    g_test_add_func("/guest-memfd/changed", test_changed);
    g_test_add_func("/guest-memfd/next-shared", test_next_shared);
    g_test_add_data_func("/guest-memfd/sweep/to-shared",
                         GINT_TO_POINTER(false), test_sweep);
    g_test_add_data_func("/guest-memfd/sweep/to-private",
                         GINT_TO_POINTER(true), test_sweep);
    return g_test_run();
}
