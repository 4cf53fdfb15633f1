/*
 * Test of the RamDiscardManager of RAM with a guest_memfd, without KVM
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "system/guest-memfd-stats.h"
#include "tests/unit/fakes/journal.h"
#include "tests/unit/guest-memfd-rig.h"

static void test_states(void)
{
    FakeBlock *fake = fake_block_new();
    g_autoptr(GuestMemfdInfo) info = query(fake);

    g_assert_cmpuint(info->size, ==, NPAGES * page_size());
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

static void test_register(void)
{
    FakeBlock *fake = fake_block_new();
    FakeListener a, b;

    make_shared(fake, 1, 2);
    make_shared(fake, 5, 4);
    journal_clear();

    /* A listener is notified of shared pages in its section. */
    register_section(&a, fake, 0, make_pages(fake, 2, 5), false);
    journal_assert("A+2/1 A+5/2");
    make_shared(fake, 0, 10);
    journal_assert("s0/10 A+3/2 fp0/10");
    make_private(fake, 6, 10);
    journal_assert("A-6/1 p6/10 fs6/10");
    unregister(&a);
    journal_assert("A-2/4");
    make_shared(fake, 7, 2);
    journal_assert("s7/2 fp7/2");

    /* A section may be discarded as a whole if the listener allows it. */
    register_section(&b, fake, 1, make_pages(fake, 4, 8), true);
    journal_assert("B+4/2 B+7/2");
    unregister(&b);
    journal_assert("B-4/8");

    /* Changes outside the section are not notified. */
    register_section(&a, fake, 0, make_pages(fake, 14, 2), false);
    make_private(fake, 0, 12);
    journal_assert("p0/12 fs0/12");
    unregister(&a);
    journal_assert("");
    fake_block_free(fake);
}

/* A new listener that refuses a run is notified of all other runs. */
static void test_register_refusal(void)
{
    FakeBlock *fake = fake_block_new();
    FakeListener a;

    make_shared(fake, 1, 1);
    make_shared(fake, 3, 1);
    make_shared(fake, 5, 1);
    journal_clear();
    journal_fail_calls(2, 2, ENOSPC);
    register_all(&a, fake, 0);
    journal_assert("A+1/1 A+3/1! A+5/1");
    g_assert_cmpuint(fake_stats(fake).failures, ==, 1);
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

/* Sections can begin and end inside pages. */
static void test_unaligned(void)
{
    FakeBlock *fake = fake_block_new();
    const uint64_t page = page_size();
    FakeListener a;
    MemoryRegionSection *section;

    register_section(&a, fake, 0, make_section(fake, page / 2, 2 * page),
                     false);
    section = a.listener.section;
    g_assert_cmpuint(section->offset_within_region, ==, page / 2);
    make_shared(fake, 0, 1);
    /* A notification for less than a page is 0/0 in the journal. */
    journal_assert("s0/1 A+0/0 fp0/1");
    make_shared(fake, 1, 1);
    journal_assert("s1/1 A+1/1 fp1/1");
    make_shared(fake, 2, 4);
    journal_assert("s2/4 A+2/0 fp2/4");
    make_private(fake, 3, 1);
    journal_assert("p3/1 fs3/1");
    /* This includes the last page, which is partly in the section. */
    unregister(&a);
    journal_assert("A-0/2");
    register_section(&a, fake, 0, make_section(fake, page / 2, page), false);
    journal_assert("A+0/1");
    unregister(&a);
    journal_assert("A-0/1");
    fake_block_free(fake);
}

static int stop_after;

static int note_section(const MemoryRegionSection *section, void *opaque)
{
    g_assert_cmpuint(section->offset_within_address_space, ==,
                     0x100000 + section->offset_within_region);
    journal_add(opaque, section->offset_within_region,
                int128_get64(section->size), "", 0);
    return --stop_after ? 0 : -ECANCELED;
}

static int replay(FakeBlock *fake, uint64_t first, uint64_t npages,
                  bool populated)
{
    MemoryRegionSection section = make_pages(fake, first, npages);

    if (populated) {
        return manager_class(fake)->replay_populated(
            fake->mr->rdm, &section, (ReplayRamDiscardState)note_section,
            (void *)"");
    }
    /* The type of the callback depends on the version of QEMU. */
    manager_class(fake)->replay_discarded(
        fake->mr->rdm, &section, (void *)note_section, (void *)"");
    return 0;
}

static void test_replay(void)
{
    FakeBlock *fake = fake_block_new();

    stop_after = 0;
    make_shared(fake, 1, 2);
    make_shared(fake, 5, 4);
    make_shared(fake, 12, 1);
    journal_clear();

    g_assert_cmpint(replay(fake, 0, NPAGES, true), ==, 0);
    journal_assert("1/2 5/4 12/1");
    g_assert_cmpint(replay(fake, 2, 5, true), ==, 0);
    journal_assert("2/1 5/2");
    replay(fake, 0, NPAGES, false);
    journal_assert("0/1 3/2 9/3 13/3");
    replay(fake, 4, 6, false);
    journal_assert("4/1 9/1");
    g_assert_cmpint(replay(fake, 13, 3, true), ==, 0);
    replay(fake, 5, 4, false);
    journal_assert("");

    stop_after = 2;
    g_assert_cmpint(replay(fake, 0, NPAGES, true), ==, -ECANCELED);
    journal_assert("1/2 5/4");
    fake_block_free(fake);
}

static void assert_stats(FakeBlock *fake, const GuestMemfdStats *expected)
{
    const GuestMemfdStats stats = fake_stats(fake);

#define ASSERT_STAT(name, label) \
    g_assert_cmpuint(stats.name, ==, expected->name);
    GUEST_MEMFD_STATS(ASSERT_STAT)
#undef ASSERT_STAT
}

static void test_stats(void)
{
    const GuestMemfdStats none = { };
    const GuestMemfdStats expected = {
        .failures = 1,
        .conversions_to_shared = 2,
        .conversions_to_private = 1,
        .shared_runs = 2,
        .unfreed = 1,
        .listeners = 1,
    };
    FakeBlock *fake = fake_block_new();
    FakeListener a;

    assert_stats(fake, &none);
    make_shared(fake, 0, 4);
    /* The second call frees the private backing. */
    journal_fail_calls(2, 2, EIO);
    make_shared(fake, 0, 4);
    make_private(fake, 1, 1);
    journal_fail_calls(1, 1, EIO);
    g_assert_cmpint(convert(fake, 0, 1, PAGE_STATE_PRIVATE), ==, -EIO);
    prepare_and_abort(fake, 0, 8, PAGE_STATE_PRIVATE);
    register_all(&a, fake, 0);
    assert_stats(fake, &expected);
    unregister(&a);
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    module_call_init(MODULE_INIT_QOM);

    g_test_add_func("/guest-memfd-manager/states", test_states);
    g_test_add_func("/guest-memfd-manager/from-region", test_from_region);
    g_test_add_func("/guest-memfd-manager/unfit", test_unfit);
    g_test_add_func("/guest-memfd-manager/register", test_register);
    g_test_add_func("/guest-memfd-manager/register-refusal",
                    test_register_refusal);
    g_test_add_func("/guest-memfd-manager/is-populated", test_is_populated);
    g_test_add_func("/guest-memfd-manager/unaligned", test_unaligned);
    g_test_add_func("/guest-memfd-manager/replay", test_replay);
    g_test_add_func("/guest-memfd-manager/stats", test_stats);
    g_test_add_func("/guest-memfd-manager/next-shared", test_next_shared);
    return g_test_run();
}
